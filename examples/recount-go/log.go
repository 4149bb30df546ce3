package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// vector is a message as hostile_log.json has it.
type vector struct {
	Offset       int64
	RecordedAtMs Time `json:"recorded_at_ms"`
	Key          string
	Headers      map[string]*string
	Value        []byte // base64 in the file
}

func (v vector) message() Message {
	m := Message{Offset: v.Offset, RecordedAt: v.RecordedAtMs, Key: v.Key, Value: v.Value}
	if header, is := v.Headers["schema_sha256"]; is {
		m.SchemaHeaders = append(m.SchemaHeaders, header)
	}
	return m
}

// readVectors gives the messages of a file's log, and those that are to be refused, each by itself.
func readVectors(file string) (log, refused []vector, err error) {
	var vectors struct{ Log, Refused []vector }
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &vectors)
	}
	return vectors.Log, vectors.Refused, err
}

// readAccess reads a client's .properties, and the certificate of the authority beside it.
func readAccess(servers, file string) (Access, error) {
	settings := map[string]string{"bootstrap.servers": servers}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return Access{}, err
		}
		for line := range strings.Lines(string(text)) {
			if name, value, is := strings.Cut(strings.TrimSpace(line), "="); is && !strings.HasPrefix(name, "#") {
				settings[name] = value
			}
		}
	}
	a := Access{brokers: strings.Split(settings["bootstrap.servers"], ",")}
	if strings.HasPrefix(settings["security.protocol"], "SASL") {
		a.user, a.password = settings["sasl.username"], settings["sasl.password"]
	}
	if strings.HasSuffix(settings["security.protocol"], "SSL") {
		pem, err := os.ReadFile(filepath.Join(filepath.Dir(file), settings["ssl.ca.location"]))
		if err != nil {
			return a, err
		}
		a.tls = &tls.Config{RootCAs: x509.NewCertPool()}
		a.tls.RootCAs.AppendCertsFromPEM(pem)
	}
	return a, nil
}

// readTopic reads the partition of a contest from offset 0 to its end, or to an offset, and hands on each message.
func readTopic(a Access, topic, contest string, to int64, take func(Message)) error {
	first, err := a.dial(a.brokers[0])
	if err != nil {
		return err
	}
	leaders, err := first.leaders(topic)
	if err != nil {
		return err
	}
	home := homeOf(contest, len(leaders))
	leader, err := a.dial(leaders[home])
	if err != nil {
		return err
	}
	end, err := leader.end(topic, home)
	if err == nil && to >= end {
		err = fmt.Errorf("offset %d is beyond the end of the log, %d", to, end)
	}
	if to >= 0 {
		end = to + 1
	}
	next := int64(0)
	each := func(m Message) error {
		if m.Offset < next || next >= end {
			return nil
		}
		if m.Offset != next {
			return fmt.Errorf("a hole in the offsets: %d stands where %d should", m.Offset, next)
		}
		next++
		m.IsElsewhere = homeOf(m.Key, len(leaders)) != home
		take(m)
		return nil
	}
	for err == nil && next < end {
		var read []byte
		if read, err = leader.read(topic, home, next); err != nil {
			return err
		}
		for d, isWhole := (&decoder{rest: read}), true; isWhole && err == nil; {
			isWhole, err = batch(d, each)
		}
	}
	return err
}

// homeOf is the partition of a contest: Kafka's default for its key.
func homeOf(key string, partitions int) int {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(key))
	rest := []byte(key)
	for ; len(rest) >= 4; rest = rest[4:] {
		k := binary.LittleEndian.Uint32(rest) * m
		h = h*m ^ (k^k>>24)*m
	}
	for i := len(rest) - 1; i >= 0; i-- {
		h ^= uint32(rest[i]) << (8 * i)
	}
	if len(rest) > 0 {
		h *= m
	}
	h = (h ^ h>>13) * m
	return int((h ^ h>>15) & 0x7fffffff % uint32(partitions))
}
