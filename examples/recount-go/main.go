// Recount reads the log of a count, decides what of it is accepted, and adds it up: by the words of docs/contract.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "recount:", err)
		code = 2
	}
	os.Exit(code)
}

func run() (int, error) {
	servers := flag.String("bootstrap-servers", "127.0.0.1:29092", "the broker's `address`")
	config := flag.String("kafka-config", "", "`file` with the broker's address and credentials")
	topic := flag.String("topic", "results.events", "the log")
	folder := flag.String("schemas", "schemas", "`folder` of the schemas")
	file := flag.String("vectors", "", "read the log from a `file` like hostile_log.json, and check all its messages")
	bundle := flag.String("bundle", "", "read the log from the `folder` of a bundle")
	to := flag.Int64("to-offset", -1, "the last `offset` that is read")
	at := flag.String("at-offsets", "", "`offsets`, separated by commas: an answer for each")
	everywhere := flag.Bool("all-areas", false, "count every area, not one alone")
	asJSON := flag.Bool("json", false, "answer as JSON")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: recount [flags] CONTEST [AREA]")
		flag.PrintDefaults()
	}
	flag.Parse()
	contest, area := flag.Arg(0), flag.Arg(1)
	if contest == "" || flag.NArg() > 2 {
		flag.Usage()
		return 2, nil
	}
	schemas, err := readSchemas(*folder)
	if err != nil {
		return 2, err
	}
	moments, err := offsets(*at)
	if err != nil {
		return 2, err
	}
	if *at != "" {
		*to = moments[len(moments)-1]
	}

	debug.SetGCPercent(400) // events are read and forgotten: fewer collections, a third of the time
	log := &Log{schemas, map[string]*Contest{}}
	verdicts := []Verdict{}
	tell := func() error { return log.tell(contest, area, *everywhere, *asJSON) }
	take := func(m Message) {
		if !m.IsElsewhere {
			c, verdict := log.apply(m)
			if *file != "" {
				if c.blocked == nil {
					verdict.Digest = c.digest()
				}
				verdicts = append(verdicts, verdict)
			}
		}
		for len(moments) > 0 && m.Offset == moments[0] && err == nil {
			err, moments = tell(), moments[1:]
		}
	}
	var refused []string
	if *file != "" {
		vectors, bad, fault := readVectors(*file)
		if fault != nil {
			return 2, fault
		}
		for _, of := range vectors {
			if *to < 0 || of.Offset <= *to {
				take(of.message())
			}
		}
		for _, of := range bad {
			reason := ""
			if _, fault := schemas.read(of.message()); fault != nil {
				reason = fault.Error()
			}
			refused = append(refused, reason)
		}
	} else if *bundle != "" {
		if fault := readBundle(*bundle, contest, *to, take); fault != nil {
			return 2, fault
		}
	} else {
		access, fault := readAccess(*servers, *config)
		if fault == nil {
			fault = readTopic(access, *topic, contest, *to, take)
		}
		if fault != nil {
			return 2, fault
		}
	}
	if *at == "" && err == nil {
		err = tell()
	}
	if *file != "" && *asJSON && err == nil {
		err = json.NewEncoder(os.Stdout).Encode(object{"log": verdicts, "cursor": log.cursor(), "refused": refused})
	}
	if err != nil {
		return 2, err
	}
	return log.code(contest), nil
}

func offsets(text string) (found []int64, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	slices.Sort(found)
	return found, nil
}

// code is 1 where the log does not agree with itself: an event was not accepted, or is missing in a chain.
func (l *Log) code(contest string) int {
	c := l.contests[contest]
	if c == nil || c.blocked != nil {
		return 1
	}
	for _, f := range c.found {
		if !f.Accepted || slices.Contains(f.Codes, "F401") || slices.Contains(f.Codes, "F403") {
			return 1
		}
	}
	return 0
}

// tell prints the state of a contest after the last message that was read.
func (l *Log) tell(contest, area string, everywhere, asJSON bool) error {
	c := l.contests[contest]
	if c == nil || c.definition == nil {
		return fmt.Errorf("no contest %s is defined up to here", contest)
	}
	areas := c.definition.order
	if !everywhere {
		if area == "" {
			area = c.definition.outermost
		}
		if areas = []string{area}; c.definition.areas[area] == nil {
			return fmt.Errorf("contest %s has no area %s", contest, area)
		}
	}
	counts := c.answers(areas)
	notAccepted := []Found{}
	findings := map[string][]int64{}
	for _, f := range c.found {
		if !f.Accepted {
			notAccepted = append(notAccepted, f)
		}
		for _, code := range f.Codes {
			findings[code] = append(findings[code], f.Offset)
		}
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(object{"contest_id": c.id, "offset": c.lastOffset, "digest": c.digest(),
			"blocked": c.blocked, "not_accepted": notAccepted, "findings": findings, "counts": counts})
	}
	fmt.Printf("%s up to offset %d\ndigest %s\n", c.id, c.lastOffset, c.digest())
	if c.blocked != nil {
		fmt.Printf("blocked at offset %d: %s\n", c.blocked.Offset, c.blocked.Reason)
	}
	for _, f := range notAccepted {
		fmt.Printf("not accepted: offset %d %s %s\n", f.Offset, f.Unit, strings.Join(f.Codes, " "))
	}
	for _, code := range keys(findings) {
		fmt.Printf("%s: %d events, the first at offset %d\n", code, len(findings[code]), findings[code][0])
	}
	for _, id := range areas {
		if count, is := counts[id].(object); is {
			inWords(count)
		} else {
			fmt.Printf("\n%s: no count\n", id)
		}
	}
	return nil
}

// inWords prints a count for people. What is not stated is a dash.
func inWords(count object) {
	line := func(name string, value any) {
		text := "–"
		if value != nil {
			text = fmt.Sprint(value)
		}
		fmt.Printf("  %-28q %15s\n", name, text)
	}
	fmt.Printf("\n%q (%s) %s\n", count["area_name"], count["area_id"], count["basis"])
	for _, s := range count["selections"].([]object) {
		line(s["party"].(string), s["votes"])
	}
	for _, name := range append([]string{"annulled_ballots"}, figures[:7]...) {
		line(name, count[name])
	}
	for _, name := range ofSheets {
		line("sheets "+name, count["sub_units"].(object)[name])
	}
	if official, is := count["official"].(object); is {
		for _, name := range keys(official["differences"].(object)) {
			line("less the office's "+name, official["differences"].(object)[name])
		}
	}
}
