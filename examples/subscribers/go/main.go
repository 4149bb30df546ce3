// A subscriber: the totals of a contest and of the areas directly in it, what is to report, and whether the feed lives.
//
//	go run . newsroom-demo.properties http://127.0.0.1:28081 pe-2021-president-runoff
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Cause is an event behind a change: of a correction and a retraction also why.
type Cause struct {
	Unit   *string `avro:"unit"`
	Kind   *string `avro:"kind"`
	Reason *string `avro:"reason"`
}

// AreaCount is the count of an area. A pointer is nil where nothing is stated, which is not zero.
type AreaCount struct {
	EventID         string           `avro:"event_id"`
	ContestID       string           `avro:"contest_id"`
	AreaID          string           `avro:"area_id"`
	AreaPath        []string         `avro:"area_path"`
	IsTest          bool             `avro:"is_test"`
	State           string           `avro:"state"`
	Reason          *string          `avro:"reason"`
	AsOfOffset      int64            `avro:"as_of_offset"`
	AsOfRecordedAt  time.Time        `avro:"as_of_recorded_at"`
	AsOfReportedAt  *time.Time       `avro:"as_of_reported_at"`
	PercentCounted  *string          `avro:"percent_counted"`
	PreviousEventID *string          `avro:"previous_event_id"`
	Change          map[string]int64 `avro:"change"`
	Events          []Cause          `avro:"events"`
	StatedBy        map[string]struct {
		Units int64 `avro:"units"`
	} `avro:"stated_by"`
	Selections []struct {
		SelectionID string `avro:"selection_id"`
		Votes       *int64 `avro:"votes"`
	} `avro:"selections"`
}

// Notice is what is to report.
type Notice struct {
	ContestID string           `avro:"contest_id"`
	Kind      string           `avro:"kind"`
	IsTest    bool             `avro:"is_test"`
	Sentence  string           `avro:"sentence"`
	Change    map[string]int64 `avro:"change"`
	Events    []Cause          `avro:"events"`
}

// Sign is a sign of life: an IngestStatus or an AggregatorStatus. What one of them has not stays empty.
type Sign struct {
	ContestID    string  `avro:"contest_id"`
	NextWithinMS int64   `avro:"next_within_ms"`
	Fault        *string `avro:"fault"`
	Blocked      *string `avro:"blocked"`
	NextOffset   int64   `avro:"next_offset"`
	EndOffset    *int64  `avro:"end_offset"`
}

// life is what is known of those who say that they live.
type life struct {
	who, is string
	end     int64
	silence *time.Timer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	access, contest := read(os.Args[1]), os.Args[3]
	registry = os.Args[2]

	fromTheBeginning := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	parts := make(chan kgo.FetchTopicPartition)
	follow(ctx, parts, access, kgo.ConsumeTopics("results.totals"), fromTheBeginning)
	follow(ctx, parts, access, kgo.ConsumeTopics("results.ingest-status", "results.count-status"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	notices := follow(ctx, parts, access, kgo.ConsumeTopics("results.notices"), fromTheBeginning,
		kgo.ConsumerGroup(access["sasl.username"]+".desk"), kgo.SessionTimeout(10*time.Second), kgo.DisableAutoCommit())

	totals, isLive := map[string]AreaCount{}, false
	dead, lives := make(chan *life), map[string]*life{"results.ingest-status": {who: "ingest"}, "results.count-status": {who: "the count"}}
	for _, one := range lives {
		one.silence = time.AfterFunc(10*time.Second, func() { dead <- one })
	}
	for {
		select {
		case <-ctx.Done():
			notices.Close() // leaves the group: who comes next goes on at once
			return
		case one := <-dead:
			one.is = "dead"
			say("DEAD: "+one.who+", or its way to the broker; the figures are no longer new", false)
		case part := <-parts:
			for _, r := range part.Records {
				switch part.Topic {
				case "results.totals":
					row := decode[AreaCount](r.Value)
					before, known := totals[row.AreaID]
					isLate := known && (row.AsOfOffset < before.AsOfOffset || row.EventID == before.EventID)
					if row.ContestID == contest && len(row.AreaPath) <= 2 && !isLate {
						totals[row.AreaID] = row
						if isLive {
							row.tell(before.EventID)
						}
					}
				case "results.notices":
					if notice := decode[Notice](r.Value); notice.ContestID == contest {
						say("NOTICE "+notice.Kind+": "+notice.Sentence, notice.IsTest)
						why(notice.Change, notice.Events, notice.IsTest)
					}
					if err := notices.CommitRecords(ctx, r); err != nil && ctx.Err() == nil {
						log.Fatal(err)
					}
				default:
					if sign := decode[Sign](r.Value); sign.ContestID == contest {
						lives[part.Topic].hear(sign)
					}
				}
			}
			if n := len(part.Records); part.Topic == "results.totals" && !isLive && part.Records[n-1].Offset+1 >= part.HighWatermark {
				isLive = true
				for _, area := range slices.Sorted(maps.Keys(totals)) {
					totals[area].tell("")
				}
			}
		}
	}
}

// hear prints how one is, where that has changed. It is behind where it lacks what was on the log at the sign before.
func (one *life) hear(sign Sign) {
	one.silence.Reset(2 * time.Duration(sign.NextWithinMS) * time.Millisecond)
	now := or(sign.Fault, or(sign.Blocked, "alive"))
	if now == "alive" && sign.NextOffset < one.end {
		now = "behind the log"
	}
	if sign.EndOffset != nil {
		one.end = *sign.EndOffset
	}
	if now != one.is {
		one.is = now
		say(strings.ToUpper(one.who)+": "+now, false)
	}
}

// tell prints a count; and what changed and why, where it follows the one that was printed before.
func (row AreaCount) tell(before string) {
	at := row.AsOfRecordedAt
	if row.AsOfReportedAt != nil {
		at = *row.AsOfReportedAt
	}
	figures := []string{}
	for _, s := range row.Selections {
		votes := "not stated"
		if s.Votes != nil {
			votes = fmt.Sprint(*s.Votes)
		}
		if _, isPart := row.StatedBy["votes."+s.SelectionID]; isPart {
			votes += " (stated by some)"
		}
		figures = append(figures, s.SelectionID+" "+votes)
	}
	said := fmt.Sprintf("%s; %s %% counted", strings.Join(figures, ", "), or(row.PercentCounted, "?"))
	if row.State != "COUNTED" {
		said = row.State + ", " + or(row.Reason, "")
	}
	say(fmt.Sprintf("TOTAL %s as of %s (%d): %s", row.AreaID, at.UTC().Format(time.RFC3339), row.AsOfOffset, said), row.IsTest)
	if row.PreviousEventID != nil && *row.PreviousEventID == before {
		why(row.Change, row.Events, row.IsTest)
	}
}

func why(change map[string]int64, events []Cause, isTest bool) {
	for _, name := range slices.Sorted(maps.Keys(change)) {
		say(fmt.Sprintf("  %s %+d", name, change[name]), isTest)
	}
	for _, event := range events {
		if event.Reason != nil {
			say(fmt.Sprintf("  %s %s: %s", or(event.Kind, ""), or(event.Unit, ""), *event.Reason), isTest)
		}
	}
}

// say prints a line. Texts of others may have invisible characters.
func say(line string, isTest bool) {
	if isTest {
		line = "TEST, no result: " + line
	}
	fmt.Println(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, line))
}

func or(text *string, otherwise string) string {
	if text == nil {
		return otherwise
	}
	return *text
}

// follow reads topics into a channel until the program ends.
func follow(ctx context.Context, into chan<- kgo.FetchTopicPartition, access map[string]string, what ...kgo.Opt) *kgo.Client {
	authority, err := os.ReadFile(access["ssl.ca.location"])
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	user := scram.Auth{User: access["sasl.username"], Pass: access["sasl.password"]}
	client, err := kgo.NewClient(append(what, kgo.SeedBrokers(strings.Split(access["bootstrap.servers"], ",")...),
		kgo.DialTLSConfig(&tls.Config{RootCAs: pool}), kgo.SASL(user.AsSha512Mechanism()))...)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for ctx.Err() == nil {
			fetched := client.PollFetches(ctx)
			if err := fetched.Err0(); err != nil && ctx.Err() == nil {
				log.Fatal(err)
			}
			fetched.EachPartition(func(part kgo.FetchTopicPartition) {
				if len(part.Records) > 0 {
					into <- part
				}
			})
		}
	}()
	return client
}

var (
	registry string
	schemas  = map[uint32]avro.Schema{}
)

// decode reads a message with the schema that it was written with: fields that a later release adds are passed over.
func decode[T any](value []byte) (into T) {
	id := binary.BigEndian.Uint32(value[1:5])
	if schemas[id] == nil {
		answer, err := http.Get(fmt.Sprintf("%s/schemas/ids/%d/schema", registry, id))
		if err != nil || answer.StatusCode != http.StatusOK {
			log.Fatalf("schema %d: %v %v", id, answer, err)
		}
		text, _ := io.ReadAll(answer.Body)
		if schemas[id], err = avro.ParseBytesWithCache(text, "", &avro.SchemaCache{}); err != nil {
			log.Fatal(err)
		}
	}
	if err := avro.Unmarshal(schemas[id], value[5:], &into); err != nil {
		log.Fatal(err)
	}
	return into
}

// read gives the settings of a newsroom's access file; the certificate lies beside it.
func read(file string) map[string]string {
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	settings := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		name, value, _ := strings.Cut(line, "=")
		settings[name] = value
	}
	settings["ssl.ca.location"] = filepath.Join(filepath.Dir(file), settings["ssl.ca.location"])
	return settings
}
