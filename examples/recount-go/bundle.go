package main

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// unpacked is what a block may have without compression; who wrote it may claim anything.
const unpacked = 1 << 29

// fields of a message in a bundle, in the order in which they are written.
var inBundle = []string{"offset", "timestamp_ms", "key", "value", "headers"}

// readBundle reads the partition of a contest from the folder of a bundle, to its end or to an offset.
func readBundle(folder, contest string, to int64, take func(Message)) error {
	partitions, err := filepath.Glob(filepath.Join(folder, "*", "*", "checkpoint"))
	if err != nil || len(partitions) == 0 {
		return fmt.Errorf("%s is no bundle: it has no TOPIC/PARTITION/checkpoint", folder)
	}
	topic := filepath.Dir(filepath.Dir(partitions[0]))
	home := homeOf(contest, len(partitions))
	files, err := filepath.Glob(filepath.Join(topic, strconv.Itoa(home), "messages", "*.avro"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s has no messages of partition %d", topic, home)
	}
	slices.Sort(files) // by their first offsets, which have equally many digits
	next := int64(0)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			err = container(content, func(m Message) error {
				if m.Offset != next {
					return fmt.Errorf("a hole in the offsets: %d stands where %d should", m.Offset, next)
				}
				if next++; to < 0 || m.Offset <= to {
					m.IsElsewhere = homeOf(m.Key, len(partitions)) != home
					take(m)
				}
				return nil
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if to >= next {
		return fmt.Errorf("offset %d is beyond the end of the bundle, %d", to, next)
	}
	return nil
}

// container reads an Avro object container file: a head, and blocks of records that may be compressed.
func container(content []byte, take func(Message) error) error {
	d := &decoder{rest: content}
	if string(d.bytes(4)) != "Obj\x01" {
		return fmt.Errorf("no Avro object container file")
	}
	head := map[string][]byte{}
	d.blocks(func() { name := d.text(); head[name] = d.bytes(d.long()) })
	var schema struct{ Fields []struct{ Name string } }
	if err := json.Unmarshal(head["avro.schema"], &schema); err != nil {
		return err
	}
	if !slices.EqualFunc(schema.Fields, inBundle, func(f struct{ Name string }, name string) bool { return f.Name == name }) {
		return fmt.Errorf("its records are no messages of a bundle")
	}
	mark := d.bytes(16)
	for d.err == nil && len(d.rest) > 0 {
		count, body := d.long(), d.bytes(d.long())
		if codec := string(head["avro.codec"]); codec == "deflate" {
			var err error
			packed := flate.NewReader(bytes.NewReader(body))
			if body, err = io.ReadAll(io.LimitReader(packed, unpacked+1)); err != nil {
				return err
			}
			if len(body) > unpacked {
				return fmt.Errorf("a block unpacks to more than %d bytes", unpacked)
			}
		} else if codec != "null" && codec != "" {
			return fmt.Errorf("codec %q is not read", codec)
		}
		block := &decoder{rest: body}
		for ; count > 0 && block.err == nil; count-- {
			if m := block.message(); block.err == nil {
				if err := take(m); err != nil {
					return err
				}
			}
		}
		if block.err == nil && len(block.rest) > 0 {
			block.fail("bytes are left over")
		}
		if block.err != nil {
			return block.err
		}
		if !bytes.Equal(d.bytes(16), mark) {
			d.fail("a block does not end with the file's mark")
		}
	}
	return d.err
}

func (d *decoder) message() Message {
	m := Message{Offset: d.long(), RecordedAt: Time(d.long())}
	m.Key = string(d.optional())
	m.Value = d.optional()
	d.blocks(func() {
		name, value := d.text(), d.optional()
		if name == "schema_sha256" {
			var text *string
			if value != nil {
				of := string(value)
				text = &of
			}
			m.SchemaHeaders = append(m.SchemaHeaders, text)
		}
	})
	return m
}

// optional reads a union of null and bytes.
func (d *decoder) optional() []byte {
	switch branch := d.long(); {
	case branch == 1:
		return append([]byte{}, d.bytes(d.long())...)
	case branch != 0:
		d.fail("no such branch")
	}
	return nil
}
