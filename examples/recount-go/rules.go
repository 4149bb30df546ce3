package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/rangetable"
)

// rule is what a value of a field must be; "" asks nothing.
type rule string

// rules has the rule of a field by its name, alone or with its record's. Every other string is a text.
var rules = map[string]rule{
	"contest_id": "id", "area_id": "id", "parent_id": "id", "area_path": "id", "counted_with": "id",
	"replaced_by": "id", "ReportingUnit.id": "id", "RollUnit.id": "id",
	"ReportingUnit.type": "type", "RollUnit.type": "type", "Area.type": "type",
	"counting_level": "type", "later_counting_levels": "type", "sheet_types": "type",
	"selection_id": "key", "list_id": "key", "suppressed": "key",
	"ContestDefined.name": "label", "election_name": "label", "election_date": "label",
	"ContestDefined.authority": "label", "time_zone": "label", "external_id": "label", "confirmed_units": "label",
	"registry": "label", "value": "label", "VoteTypeCounts.name": "label",
	"Counts": "figure", "VoteTypeCounts": "figure", "SubUnits": "figure",
	"expected_units": "figure", "registered_voters": "figure",
	"sequence": "ordinal", "revision": "ordinal", "part": "ordinal", "parts": "ordinal", "recount": "ordinal",
	"sha256": "hash", "document_sha256": "hash",
	"PublishedPercentages": "percentage", "leader_from_percent": "percentage",
	"votes_allowed": "thousand", "number_elected": "thousand", "ballot_order": "order",
}

func ruleOf(record, field string) rule {
	for _, name := range []string{record + "." + field, field, record} {
		if r, known := rules[name]; known {
			return r
		}
	}
	return ""
}

var (
	types = strings.Fields(`ballot-batch ballot-style-area borough city city-council combined-precinct congressional
		country county county-council drop-box judicial municipality polling-place precinct school special
		split-precinct state state-house state-senate town township utility village vote-center ward water`)
	hash       = regexp.MustCompile(`^[0-9a-f]{64}$`)
	percentage = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,30})?$`)
	day        = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	highest    = map[rule]int64{"figure": 1<<40 - 1, "ordinal": 1<<53 - 1, "thousand": 1000, "order": 1<<31 - 1}
)

// Unicode 14.0 is 15.0 without what 15.0 added.
var (
	assigned15 = rangetable.Assigned("15.0.0")
	added15    = ranges(`cf3 ece 10efd-10eff 1123f-11241 11b00-11b09 11f00-11f10 11f12-11f3a 11f3e-11f59 1342f
		13439-13455 1b132 1b155 1d2c0-1d2d3 1df25-1df2a 1e030-1e06d 1e08f 1e4d0-1e4f9 1f6dc 1f774-1f776 1f77b-1f77f
		1f7d9 1fa75-1fa77 1fa87-1fa88 1faad-1faaf 1fabb-1fabd 1fabf 1face-1facf 1fada-1fadb 1fae8 1faf7-1faf8 2b739
		31350-323af`)
	invisible = ranges(`0-1f 7f-9f ad 34f 61c 115f-1160 17b4-17b5 180b-180f 200b-200f 2028-202e 2060-206f 3164
		d800-dfff fe00-fe0f feff ffa0 fff0-fffb fffe-ffff 1bca0-1bca3 1d173-1d17a e0000-e0fff`)
)

func ranges(text string) *unicode.RangeTable {
	table := &unicode.RangeTable{}
	for _, word := range strings.Fields(text) {
		low, high, isRange := strings.Cut(word, "-")
		if !isRange {
			high = low
		}
		var r unicode.Range32
		fmt.Sscanf(low+" "+high, "%x %x", &r.Lo, &r.Hi)
		r.Stride = 1
		if r.Hi <= 0xffff {
			table.R16 = append(table.R16, unicode.Range16{Lo: uint16(r.Lo), Hi: uint16(r.Hi), Stride: 1})
		} else {
			table.R32 = append(table.R32, r)
		}
	}
	return table
}

func isKey(text string) bool {
	isOther := func(r rune) bool { return r < '!' || r > '~' }
	return len(text) >= 1 && len(text) <= 200 && !strings.ContainsFunc(text, isOther)
}

func isLabel(text string) bool {
	n := utf8.RuneCountInString(text)
	return n >= 1 && n <= 200 && !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(invisible, r) })
}

func isID(text string) bool {
	if isKey(text) {
		return true
	}
	isOther := func(r rune) bool {
		return r != ' ' && unicode.Is(unicode.Zs, r) || !unicode.Is(assigned15, r) || unicode.Is(added15, r)
	}
	return isLabel(text) && !strings.ContainsFunc(text, isOther) && strings.Trim(text, " ") == text &&
		!strings.Contains(text, "  ") && norm.NFC.IsNormalString(text)
}

func isType(text string) bool {
	word, isOther := strings.CutPrefix(text, "other:")
	return slices.Contains(types, text) ||
		isOther && word != "" && isID(text) && !strings.Contains(text, "/") && !strings.Contains(text, " + ")
}

func isBetween(at Time, first, last int) bool {
	year := time.UnixMilli(int64(at)).UTC().Year()
	return year >= first && year <= last
}

func (r rule) holds(value any) bool {
	switch v := value.(type) {
	case Time:
		return isBetween(v, 2, 9998)
	case int64:
		limit, known := highest[r]
		return !known || v <= limit && (v > 0 || v == 0 && r == "figure")
	case string:
		switch r {
		case "id":
			return isID(v)
		case "type":
			return isType(v)
		case "key":
			return isKey(v)
		case "label":
			return isLabel(v)
		case "hash":
			return hash.MatchString(v)
		case "percentage":
			return percentage.MatchString(v)
		}
		return utf8.RuneCountInString(v) <= 10_000 && !strings.Contains(v, "\x00")
	}
	return true
}

// check finds the first of the rules of a record that an event breaks.
func check(event *Record) error {
	if err := checkFields(event); err != nil {
		return err
	}
	switch event.schema.name {
	case "CountUpdate":
		return checkUpdate(event)
	case "ContestDefined":
		return checkDefinition(event)
	case "UnitRoll":
		part, revision := as[int64](event.get("part")), as[int64](event.get("revision"))
		return first(
			broken(part > as[int64](event.get("parts")), "a part above parts"),
			broken((event.get("previous_event_id") == nil) != (part == 1 && revision == 1), "previous_event_id"),
			broken(len(event.list("units")) > 20_000, "more than 20,000 units"))
	}
	return nil
}

func checkFields(r *Record) error {
	for i := range r.schema.fields {
		f := &r.schema.fields[i]
		if err := checkValue(f.rule, r.values[i]); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func checkValue(of rule, value any) error {
	switch v := value.(type) {
	case *Record:
		return checkFields(v)
	case []any:
		for _, item := range v {
			if err := checkValue(of, item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range v {
			if !isKey(name) {
				return fmt.Errorf("%q is no key", name)
			}
			if err := checkValue(of, item); err != nil {
				return err
			}
		}
	default:
		if !of.holds(value) {
			return fmt.Errorf("%.50q is no %s that the contract allows", fmt.Sprint(value), cmp.Or(of, "value"))
		}
	}
	return nil
}

func broken(is bool, format string, a ...any) error {
	if is {
		return fmt.Errorf(format, a...)
	}
	return nil
}

func first(faults ...error) error {
	for _, fault := range faults {
		if fault != nil {
			return fault
		}
	}
	return nil
}

func checkUpdate(event *Record) error {
	unit, counts, kind := event.record("reporting_unit"), event.record("counts"), event.text("kind")
	sequence, _ := event.number("sequence")
	var sum int64
	for _, vote := range counts.mapping("votes") {
		sum = min(sum+as[int64](vote), 1<<40)
	}
	for _, name := range counts.texts("suppressed") {
		value, isStated := counts.get(name), false
		_, isFigure := counts.schema.index[name]
		if selection, isVote := strings.CutPrefix(name, "votes."); isVote {
			value, isFigure = counts.mapping("votes")[selection]
		} else {
			isFigure = isFigure && slices.Contains(figures, name)
		}
		if isStated = value != nil; isStated || !isFigure {
			return fmt.Errorf("%s is suppressed, and no figure that is null", name)
		}
	}
	return first(
		broken((event.get("previous_event_id") == nil) != (sequence == 1), "previous_event_id is given from sequence 2 on"),
		broken(event.get("reported_at") != nil && event.time("reported_at") != event.time("stated_at"), "stated_at"),
		broken(kind != "UNKNOWN" && (event.get("correction") == nil) != (kind == "REPORTED"), "correction of %s", kind),
		broken(kind != "UNKNOWN" && event.get("replaced_by") != nil && kind != "RETRACTED", "replaced_by of %s", kind),
		broken(sum >= 1<<40, "the sum of the votes"),
		broken(len(unit.list("area_path")) > 16, "more than 16 areas"),
		broken(!isEachOnce(unit.records("codes"), "registry"), "several codes of a register"))
}

func isEachOnce(of []*Record, name string) bool {
	seen := map[string]bool{}
	for _, r := range of {
		seen[r.text(name)] = true
	}
	return len(seen) == len(of)
}

func checkDefinition(event *Record) error {
	revision, _ := event.number("revision")
	date, zone := event.text("election_date"), event.text("time_zone")
	_, dateFault := time.Parse(time.DateOnly, date)
	_, zoneFault := time.LoadLocation(zone)
	selections, areas := event.records("selections"), event.records("areas")
	if err := first(
		broken((event.get("previous_event_id") == nil) != (revision == 1), "previous_event_id is given from revision 2 on"),
		broken(!day.MatchString(date) || dateFault != nil, "%q is no day", date),
		broken(zone == "Local" || zoneFault != nil, "%q is no IANA time zone", zone),
		broken(!isEachOnce(selections, "selection_id"), "a selection twice"),
		broken(!isEachOnce(areas, "area_id"), "an area twice"),
	); err != nil {
		return err
	}
	d := define(event)
	for _, s := range selections {
		if _, known := d.selectionIndex[s.text("list_id")]; !known && s.get("list_id") != nil {
			return fmt.Errorf("list %q is no selection", s.text("list_id"))
		}
	}
	outermost := 0
	for _, a := range areas {
		id := a.text("area_id")
		if a.get("parent_id") == nil {
			outermost++
		} else if d.areas[a.text("parent_id")] == nil {
			return fmt.Errorf("the parent of %q is no area", id)
		}
		if !isEachOnce(a.records("codes"), "registry") {
			return fmt.Errorf("area %q has several codes of a register", id)
		}
		for _, other := range a.texts("replaced_by") {
			if other == id || d.areas[other] == nil || a.get("ends_at") == nil {
				return fmt.Errorf("area %q is replaced by %q", id, other)
			}
		}
		if len(d.areas[id].around) > 15 {
			return fmt.Errorf("area %q is within itself, or within more than 15 others", id)
		}
	}
	if outermost != 1 {
		return fmt.Errorf("%d areas have no parent", outermost)
	}
	for _, level := range append([][]string{d.level}, d.later...) {
		if sorted := slices.Sorted(slices.Values(level)); len(level) == 0 || len(slices.Compact(sorted)) < len(level) {
			return fmt.Errorf("a level names one type at least, and each once")
		}
		for _, a := range d.areas {
			for _, id := range a.around {
				within := d.areas[id].typ
				together := func(t string) bool { return slices.Contains(level, t) && !d.isSheet[t] }
				if slices.Contains(level, a.typ) && (within == a.typ || together(a.typ) && together(within)) {
					return fmt.Errorf("area %q and one around it are added up together", a.id)
				}
			}
		}
	}
	return nil
}
