package main

import "slices"

const (
	second    = Time(1000)
	minute    = 60 * second
	dayOfTime = 24 * 60 * minute
)

// figures are the figures of a unit's counts, in the order of the schema.
var figures = []string{"ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "challenged_votes",
	"undervotes", "overvotes", "registered_voters", "registered_voters_counted"}

// sumOf adds up what a map states: the sum, and whether it names something and all of it is stated.
func sumOf(votes map[string]any) (sum int64, isWhole bool) {
	isWhole = len(votes) > 0
	for _, vote := range votes {
		n, is := vote.(int64)
		sum, isWhole = sum+n, isWhole && is
	}
	return sum, isWhole
}

// findings are the codes of every rule that an update breaks, but those of its chain.
func (c *Contest) findings(event *Record) codes {
	found := codes{}
	c.judgePlace(event, found)
	c.judgeTimes(event, found)
	judgeSheets(event.record("sub_units"), found)
	if counts := event.record("counts"); event.text("count_status") != "UNDER_REVIEW" {
		judgeFigures(event, counts, c.definition.votesAllowed, found)
	}
	judgeParts(event.record("counts"), found)
	found.add("F116", !isKnown("UpdateKind", event.text("kind")) || !isKnown("CountStatus", event.text("count_status")) ||
		!isKnown("ResultStage", event.text("result_stage")))
	return found
}

// known are the symbols that mean something here; any other is UNKNOWN.
var known = map[string][]string{
	"UpdateKind":   {"REPORTED", "CORRECTED", "RETRACTED"},
	"CountStatus":  {"PENDING", "IN_PROCESS", "COUNTED", "UNDER_REVIEW", "ANNULLED", "NOT_INSTALLED", "LOST"},
	"ResultStage":  {"PROVISIONAL", "ADJUDICATED", "PROCLAIMED"},
	"ReviewReason": {"CHALLENGED_VOTES", "MATERIAL_ERROR", "NULLITY_REQUEST", "ILLEGIBLE", "INCOMPLETE", "MISSING_SIGNATURES", "LOST", "DESTROYED", "OTHER"},
}

func isKnown(enum, symbol string) bool { return slices.Contains(known[enum], symbol) }

func (c *Contest) judgePlace(event *Record, found codes) {
	d, unit, counts := c.definition, event.record("reporting_unit"), event.record("counts")
	typ, id, path := unit.text("type"), unit.text("id"), unit.texts("area_path")
	retracts := event.text("kind") == "RETRACTED"
	for name := range counts.mapping("votes") {
		_, is := d.selectionIndex[name]
		found.add("F301", !is)
	}
	area := d.area(typ, id)
	if area != nil {
		found.add("F302", !slices.Equal(path, area.around))
	} else {
		last := d.areas[append([]string{""}, path...)[len(path)]]
		found.add("F302", last == nil || !slices.Equal(path, append(slices.Clone(last.around), last.id)))
	}
	found.add("F303", d.isAreaType[typ] && !d.isSheet[typ] && area == nil)
	found.add("F306", event.truth("is_test") != d.record.truth("is_test"))
	found.add("F307", d.isSheet[typ] && !retracts && !c.roll.onRoll(typ+"/"+id))
	ends := slices.Clone(path)
	if area != nil {
		ends = append(ends, id)
	}
	for _, id := range ends {
		if a := d.areas[id]; a != nil && a.record.get("ends_at") != nil && !retracts {
			found.add("F308", event.time("stated_at") >= a.record.time("ends_at"))
		}
	}
	if with := unit.get("counted_with"); with != nil {
		found.add("F309", with == id || statesMore(counts))
	}
	inLevel := slices.Contains(slices.Concat(append([][]string{d.level}, d.later...)...), typ)
	found.add("F118", !d.isAreaType[typ] && !d.isSheet[typ] && !inLevel)
}

// statesMore says whether any figure but the two of voters is stated.
func statesMore(counts *Record) bool {
	for _, of := range append(counts.records("by_vote_type"), counts) {
		for _, vote := range of.mapping("votes") {
			if vote != nil {
				return true
			}
		}
		for _, name := range figures[:7] {
			if of.get(name) != nil {
				return true
			}
		}
	}
	return false
}

func (c *Contest) judgeTimes(event *Record, found codes) {
	stated := event.time("stated_at")
	found.add("F304", stated < c.definition.record.time("count_starts_at") && !c.definition.record.truth("is_test"))
	ahead := stated - event.time("observed_at")
	found.add("F111", ahead > 5*minute && ahead <= dayOfTime)
	found.add("F305", ahead > dayOfTime)
	before := stated
	for _, name := range []string{"registered_at", "signed_at"} {
		if at, is := event.get(name).(Time); is {
			found.add("F114", at > before+5*minute)
			before = at
		}
	}
}

// isFalse says whether all figures of an equation are stated, and whole is not the sum of the others.
func isFalse(r *Record, whole string, parts ...string) bool {
	total, is := r.number(whole)
	for _, part := range parts {
		n, isStated := r.number(part)
		total, is = total-n, is && isStated
	}
	return is && total != 0
}

func judgeSheets(sub *Record, found codes) {
	found.add("F101", isFalse(sub, "processed", "counted", "under_review"))
	found.add("F102", isFalse(sub, "total", "processed", "to_be_processed"))
	found.add("F103", isFalse(sub, "counted", "counted_normal", "annulled", "not_installed"))
	sum, isWhole := sumOf(sub.mapping("under_review_by_reason"))
	review, isStated := sub.number("under_review")
	found.add("F104", isWhole && isStated && sum != review)
}

func judgeFigures(event, counts *Record, allowed int64, found codes) {
	votes, status := counts.mapping("votes"), event.text("count_status")
	sum, isWhole := sumOf(votes)
	ballots, hasBallots := counts.number("ballots_cast")
	valid, hasValid := counts.number("valid_votes")
	found.add("F106", hasValid && isWhole && (allowed == 1 && sum != valid || sum > valid*allowed))
	if isWhole && (!hasValid || allowed > 1) {
		valid, hasValid = sum, true
	}
	n := func(name string) int64 { n, _ := counts.number(name); return n }
	has := func(name string) bool { return counts.get(name) != nil }
	pair := has("blank_votes") && has("invalid_votes") || has("undervotes") && has("overvotes")
	all := valid + n("undervotes") + n("overvotes")
	if allowed == 1 {
		all += n("blank_votes") + n("invalid_votes") + n("challenged_votes")
	}
	found.add("F105", hasBallots && hasValid && pair && (allowed == 1 && all != ballots || all > ballots*allowed))

	if hasBallots {
		for _, vote := range votes {
			found.add("F107", as[int64](vote) > ballots)
		}
		found.add("F107", max(n("blank_votes"), n("invalid_votes"), n("challenged_votes")) > ballots)
		found.add("F107", has("valid_votes") && n("valid_votes") > ballots*allowed || max(n("undervotes"), n("overvotes")) > ballots*allowed)
		voters, is := counts.number("registered_voters_counted")
		if !is {
			voters, is = counts.number("registered_voters")
		}
		found.add("F108", is && ballots > voters)
	}
	held := counts.texts("suppressed")
	if status == "COUNTED" && event.record("reporting_unit").get("counted_with") == nil {
		found.add("F109", len(votes) == 0 || !hasBallots && !slices.Contains(held, "ballots_cast"))
		for name, vote := range votes {
			found.add("F109", vote == nil && !slices.Contains(held, "votes."+name))
		}
	}
	if status == "ANNULLED" {
		for _, vote := range votes {
			found.add("F110", as[int64](vote) > 0)
		}
		found.add("F110", hasBallots && has("invalid_votes") && n("invalid_votes") != ballots)
	}
}

// judgeParts compares a whole with the sum of its parts by type of vote, where all of them state a figure.
func judgeParts(counts *Record, found codes) {
	parts := counts.records("by_vote_type")
	if len(parts) == 0 {
		return
	}
	compare := func(whole any, of func(*Record) any) {
		total, is := whole.(int64)
		for _, part := range parts {
			n, isStated := of(part).(int64)
			total, is = total-n, is && isStated
		}
		found.add("F115", is && total != 0)
	}
	for _, name := range []string{"ballots_cast", "blank_votes", "invalid_votes", "undervotes", "overvotes"} {
		compare(counts.get(name), func(part *Record) any { return part.get(name) })
	}
	for name, vote := range counts.mapping("votes") {
		compare(vote, func(part *Record) any { return part.mapping("votes")[name] })
	}
}
