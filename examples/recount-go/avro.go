package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Time is a moment in milliseconds since 1970, UTC.
type Time int64

// Schema is a type of an .avsc file.
type Schema struct {
	kind    string // record, enum, array, map, union, or a primitive
	logical string
	name    string
	fields  []Field // of a record, in the order in which they are written
	sorted  []int   // the fields by name, as the canonical text has them
	index   map[string]int
	symbols []string
	items   *Schema // of an array or a map
	unions  []*Schema
}

// Field is a field of a record.
type Field struct {
	name       string
	schema     *Schema
	rule       rule
	hasDefault bool
	initial    any
}

// Record is a value with the fields of its schema.
type Record struct {
	schema *Schema
	values []any
}

// Schemas are the files of a folder: by the id that a message names, with the SHA-256 of each file.
type Schemas map[uint32]struct {
	schema *Schema
	sha256 string
}

func readSchemas(folder string) (Schemas, error) {
	var manifest struct {
		Schemas []struct {
			ID           uint32
			File, Sha256 string
		}
	}
	text, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err == nil {
		err = json.Unmarshal(text, &manifest)
	}
	found := Schemas{}
	for _, of := range manifest.Schemas {
		var tree any
		if text, err = os.ReadFile(filepath.Join(folder, of.File)); err == nil {
			err = json.Unmarshal(text, &tree)
		}
		if sum := sha256.Sum256(text); err == nil && hex.EncodeToString(sum[:]) != of.Sha256 {
			err = fmt.Errorf("%s is not the file that the manifest names", of.File)
		}
		if err != nil {
			return nil, err
		}
		entry := found[of.ID]
		entry.schema, entry.sha256 = parse(tree, map[string]*Schema{}), of.Sha256
		found[of.ID] = entry
	}
	return found, err
}

func parse(tree any, named map[string]*Schema) *Schema {
	switch t := tree.(type) {
	case string:
		if known := named[t]; known != nil {
			return known
		}
		return &Schema{kind: t}
	case []any:
		union := &Schema{kind: "union"}
		for _, branch := range t {
			union.unions = append(union.unions, parse(branch, named))
		}
		return union
	}
	t := tree.(map[string]any)
	s := &Schema{kind: t["type"].(string), index: map[string]int{}}
	s.logical, _ = t["logicalType"].(string)
	s.name, _ = t["name"].(string)
	if s.name != "" {
		named[s.name] = s
	}
	switch s.kind {
	case "array":
		s.items = parse(t["items"], named)
	case "map":
		s.items = parse(t["values"], named)
	case "enum":
		for _, symbol := range t["symbols"].([]any) {
			s.symbols = append(s.symbols, symbol.(string))
		}
	case "record":
		for i, of := range t["fields"].([]any) {
			of := of.(map[string]any)
			f := Field{name: of["name"].(string), schema: parse(of["type"], named)}
			f.rule = ruleOf(s.name, f.name)
			if of["default"] != nil || slices.Contains(keys(of), "default") {
				f.hasDefault, f.initial = true, initial(f.schema, of["default"])
			}
			s.index[f.name] = i
			s.fields, s.sorted = append(s.fields, f), append(s.sorted, i)
		}
		slices.SortFunc(s.sorted, func(a, b int) int { return strings.Compare(s.fields[a].name, s.fields[b].name) })
	}
	return s
}

// initial gives the value that a default of a schema stands for.
func initial(s *Schema, value any) any {
	switch s.kind {
	case "union":
		return initial(s.unions[0], value)
	case "int", "long":
		if s.logical == "timestamp-millis" {
			return Time(value.(float64))
		}
		return int64(value.(float64))
	case "array":
		items := []any{}
		for _, item := range value.([]any) {
			items = append(items, initial(s.items, item))
		}
		return items
	case "map":
		items := map[string]any{}
		for key, item := range value.(map[string]any) {
			items[key] = initial(s.items, item)
		}
		return items
	case "record":
		r := &Record{s, nil}
		for _, f := range s.fields {
			r.values = append(r.values, initial(f.schema, value.(map[string]any)[f.name]))
		}
		return r
	}
	return value
}

func (f *Field) isDefault(value any) bool { return f.hasDefault && reflect.DeepEqual(value, f.initial) }

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// decoder reads Avro's binary form. The first fault stands in err, and nothing is read after it.
type decoder struct {
	rest []byte
	err  error
}

func decode(s *Schema, body []byte) (*Record, error) {
	d := decoder{rest: body}
	r, _ := d.value(s).(*Record)
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes left over", len(d.rest))
	}
	return r, d.err
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, a...)
	}
	d.rest = nil
}

func (d *decoder) bytes(n int64) []byte {
	if n < 0 || n > int64(len(d.rest)) {
		d.fail("the body ends too early")
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) long() int64 {
	var n uint64
	for shift := 0; shift < 70; shift += 7 {
		b := d.bytes(1)
		if b == nil {
			return 0
		}
		if shift == 63 && b[0] > 1 {
			break
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return int64(n>>1) ^ -int64(n&1)
		}
	}
	d.fail("a number of more than 64 bits")
	return 0
}

func (d *decoder) text() string {
	b := d.bytes(d.long())
	if !utf8.Valid(b) {
		d.fail("a text is not UTF-8")
	}
	return string(b)
}

// blocks reads what stands in an array or a map, block by block, with or without their size.
func (d *decoder) blocks(item func()) {
	for d.err == nil {
		count := d.long()
		if count < 0 {
			count = -count
			d.long()
		}
		if count == 0 {
			return
		}
		for ; count != 0 && d.err == nil; count-- {
			item()
		}
	}
}

func (d *decoder) value(s *Schema) any {
	switch s.kind {
	case "null":
		return nil
	case "boolean":
		b := d.bytes(1)
		if len(b) == 1 && b[0] > 1 {
			d.fail("a boolean is neither 0 nor 1")
		}
		return len(b) == 1 && b[0] == 1
	case "int", "long":
		if s.logical == "timestamp-millis" {
			return Time(d.long())
		}
		return d.long()
	case "string":
		text := d.text()
		if s.logical == "uuid" && d.err == nil && !uuid.MatchString(text) {
			d.fail("%q is not spelled as a UUID", text)
		}
		return text
	case "enum":
		if n := d.long(); n >= 0 && n < int64(len(s.symbols)) {
			return s.symbols[n]
		}
		d.fail("no such symbol of %s", s.name)
	case "union":
		if n := d.long(); n >= 0 && n < int64(len(s.unions)) {
			return d.value(s.unions[n])
		}
		d.fail("no such branch")
	case "array":
		items := []any{}
		d.blocks(func() { items = append(items, d.value(s.items)) })
		return items
	case "map":
		items := map[string]any{}
		d.blocks(func() { key := d.text(); items[key] = d.value(s.items) })
		return items
	case "record":
		r := &Record{s, make([]any, len(s.fields))}
		for i := range s.fields {
			r.values[i] = d.value(s.fields[i].schema)
		}
		return r
	default:
		d.fail("type %s is not read", s.kind)
	}
	return nil
}

// The fields of a record by name; of a field that is null, or that this version has not, the zero value.

func (r *Record) get(name string) any {
	if r == nil {
		return nil
	}
	if i, known := r.schema.index[name]; known {
		return r.values[i]
	}
	return nil
}

func as[T any](value any) T { typed, _ := value.(T); return typed }

func (r *Record) text(name string) string               { return as[string](r.get(name)) }
func (r *Record) truth(name string) bool                { return as[bool](r.get(name)) }
func (r *Record) time(name string) Time                 { return as[Time](r.get(name)) }
func (r *Record) record(name string) *Record            { return as[*Record](r.get(name)) }
func (r *Record) mapping(name string) map[string]any    { return as[map[string]any](r.get(name)) }
func (r *Record) list(name string) []any                { return as[[]any](r.get(name)) }
func (r *Record) number(name string) (n int64, is bool) { n, is = r.get(name).(int64); return }

func (r *Record) texts(name string) (found []string) {
	for _, item := range r.list(name) {
		found = append(found, item.(string))
	}
	return found
}

func (r *Record) records(name string) (found []*Record) {
	for _, item := range r.list(name) {
		found = append(found, item.(*Record))
	}
	return found
}

func keys[V any](of map[string]V) []string {
	found := make([]string, 0, len(of))
	for key := range of {
		found = append(found, key)
	}
	slices.Sort(found)
	return found
}

// read gives the event of a message, or why it is no event.
func (schemas Schemas) read(m Message) (*Record, error) {
	if len(m.Value) < 5 || m.Value[0] != 0 {
		return nil, errors.New("not the Confluent wire format")
	}
	id := uint32(m.Value[1])<<24 | uint32(m.Value[2])<<16 | uint32(m.Value[3])<<8 | uint32(m.Value[4])
	of, known := schemas[id]
	if !known {
		return nil, fmt.Errorf("schema id %d is unknown", id)
	}
	for _, header := range m.SchemaHeaders {
		if header == nil || *header != of.sha256 {
			return nil, fmt.Errorf("the header names another schema than id %d", id)
		}
	}
	event, err := decode(of.schema, m.Value[5:])
	if err != nil {
		return nil, fmt.Errorf("not a %s: %w", of.schema.name, err)
	}
	switch of.schema.name {
	case "ContestDefined", "UnitRoll", "CountUpdate", "SourceStatus":
	default:
		return nil, fmt.Errorf("a %s does not belong on the log", of.schema.name)
	}
	if event.text("contest_id") != m.Key {
		return nil, errors.New("the key is not its contest")
	}
	if !isBetween(m.RecordedAt, 3, 9997) {
		return nil, errors.New("the broker's time is outside the years 3 to 9997")
	}
	if err := check(event); err != nil {
		return nil, fmt.Errorf("not a %s: %w", of.schema.name, err)
	}
	return event, nil
}
