package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var namespace, _ = hex.DecodeString("6f1c43a297d05e0b8c1e2b6f0c9d3a51")

// identify gives the id that an event's content gives (UUIDv5 of its canonical text), and its leaf.
func identify(event *Record) (string, [32]byte) {
	text := canonical(event)
	sum := sha1.Sum(slices.Concat(namespace, text))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]), sha256.Sum256(text)
}

// notNull has the fields of each record that are in the text only with a value.
var notNull = map[string][]string{
	"CountUpdate": {"office_note", "recount", "registered_at", "replaced_by", "rules_version", "signed_at"},
	"Counts":      {"suppressed", "by_vote_type"},
}

// canonical writes the RFC 8785 JSON that names an event: of a CountUpdate without provenance, and flat.
func canonical(event *Record) []byte {
	left := []string{"event_id", "observed_at"}
	if event.schema.name == "CountUpdate" {
		left = append(left, "source", "published_percentages", "reporting_unit")
	}
	return appendRecord(nil, event, left, event.record("reporting_unit"))
}

// member is a key of an object with its value, in the order of the text.
type member struct {
	key   string
	value any
}

func appendRecord(to []byte, r *Record, left []string, unit *Record) []byte {
	members := make([]member, 0, len(r.schema.fields)+4)
	for _, i := range r.schema.sorted {
		f, value := &r.schema.fields[i], r.values[i]
		isAbsent := value == nil && slices.Contains(notNull[r.schema.name], f.name)
		if isAbsent || slices.Contains(left, f.name) || f.isDefault(value) {
			continue
		}
		members = append(members, member{f.name, value})
	}
	if unit != nil {
		members = append(members, member{"area_path", unit.get("area_path")},
			member{"unit_id", unit.get("id")}, member{"unit_type", unit.get("type")})
		if with := unit.get("counted_with"); with != nil {
			members = append(members, member{"counted_with", with})
		}
		slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	}
	to = append(to, '{')
	for i, m := range members {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendText(to, m.key), ':')
		to = appendValue(to, m.value)
	}
	return append(to, '}')
}

func appendValue(to []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(to, "null"...)
	case bool:
		return strconv.AppendBool(to, v)
	case int64:
		return strconv.AppendInt(to, v, 10)
	case Time:
		return time.UnixMilli(int64(v)).UTC().AppendFormat(to, `"2006-01-02T15:04:05.000Z"`)
	case string:
		return appendText(to, v)
	case []any:
		to = append(to, '[')
		for i, item := range v {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendValue(to, item)
		}
		return append(to, ']')
	case map[string]any:
		to = append(to, '{')
		for i, key := range keys(v) {
			if i > 0 {
				to = append(to, ',')
			}
			to = append(appendText(to, key), ':')
			to = appendValue(to, v[key])
		}
		return append(to, '}')
	}
	return appendRecord(to, value.(*Record), nil, nil)
}

func appendText(to []byte, text string) []byte {
	to = append(to, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c >= ' ':
			to = append(to, c)
		case c == '\b':
			to = append(to, `\b`...)
		case c == '\t':
			to = append(to, `\t`...)
		case c == '\n':
			to = append(to, `\n`...)
		case c == '\f':
			to = append(to, `\f`...)
		case c == '\r':
			to = append(to, `\r`...)
		default:
			to = fmt.Appendf(to, `\u%04x`, c)
		}
	}
	return append(to, '"')
}
