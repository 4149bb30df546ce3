package main

import (
	"errors"
	"slices"
)

// addend is what a unit adds to a figure: its value, or that it does not state it.
type addend struct {
	slot     int
	value    int64
	isStated bool
}

// Addends are all that a unit adds, reckoned once, under the definition at its offset.
type Addends struct {
	areas   []string // to which it adds
	figures []addend // votes, ballots, and how many units hold some back or are unknown
	sheets  []addend // numbers of sheets and registered voters
	largest int64
}

// Sum is a figure of a total: of how many units it is known, of those that are added up.
type Sum struct{ value, units, of int64 }

// Total is the sum of an area.
type Total struct {
	sums       []Sum
	lastUpdate *Statement
	statedAt   Time
	isAdded    bool // anything was ever added up
}

// ofSheets are the numbers of sheets that an area states.
var ofSheets = []string{"total", "processed", "counted", "counted_normal", "annulled", "not_installed", "under_review",
	"to_be_processed", "pending"}

func (c *Contest) slot(name string) int {
	slot, known := c.slots[name]
	if !known {
		slot = len(c.slots)
		c.slots[name] = slot
	}
	return slot
}

// addendsOf reckons what an update adds, wherever its type is added up.
func (c *Contest) addendsOf(event *Record) *Addends {
	d, unit, counts := c.definition, event.record("reporting_unit"), event.record("counts")
	typ, status := unit.text("type"), event.text("count_status")
	a := &Addends{areas: unit.texts("area_path")}
	if d.area(typ, unit.text("id")) != nil {
		a.areas = append(a.areas, unit.text("id"))
	}
	add := func(to *[]addend, name string, value any) {
		n, is := value.(int64)
		*to = append(*to, addend{c.slot(name), n, is})
		a.largest = max(a.largest, n)
	}
	one := int64(1)
	isSheet, isMerged := d.isSheet[typ], unit.get("counted_with") != nil
	switch {
	case event.text("kind") == "RETRACTED" || isMerged && !isSheet:
		return a
	case !isKnown("UpdateKind", event.text("kind")) || !isKnown("CountStatus", status):
		add(&a.figures, "unknown_units", one)
		return a
	}

	isPartial := status == "IN_PROCESS" && (!isSheet || d.countsPartial)
	addsFigures := (status == "COUNTED" || isPartial) && !isMerged
	votes := counts.mapping("votes")
	for _, s := range d.selections {
		id := s.text("selection_id")
		vote, isNamed := votes[id]
		if addsFigures && (isNamed || len(votes) == 0) {
			add(&a.figures, "votes."+id, vote)
		} else if vote != nil && !addsFigures && status != "ANNULLED" {
			add(&a.figures, "not_counted."+id, vote)
		}
	}
	if (addsFigures || status == "ANNULLED" && !isMerged) && !isSheet {
		add(&a.figures, "others_with_ballots", one)
	}
	if addsFigures {
		add(&a.figures, "units_adding", one)
		add(&a.figures, "annulled_ballots", int64(0))
		for _, name := range figures[:7] {
			value := counts.get(name)
			if name == "valid_votes" {
				value = validVotes(counts, d.votesAllowed)
			}
			add(&a.figures, name, value)
		}
	}
	if status == "ANNULLED" && !isMerged {
		ballots := counts.get("ballots_cast")
		for _, name := range []string{"ballots_cast", "invalid_votes"} {
			add(&a.figures, name, ballots)
		}
		add(&a.figures, "annulled_ballots", as[int64](ballots))
	}
	if counts.get("suppressed") != nil {
		add(&a.figures, "suppressed_units", one)
	}

	if !isSheet {
		sub := event.record("sub_units")
		add(&a.sheets, "in_process", int64(0)) // which areas have no word for
		for _, name := range ofSheets {
			add(&a.sheets, name, sub.get(name))
		}
		for reason, n := range sub.mapping("under_review_by_reason") {
			if isKnown("ReviewReason", reason) {
				add(&a.sheets, "under_review."+reason, n)
			}
		}
		if addsFigures {
			add(&a.sheets, "registered_voters", counts.get("registered_voters"))
			add(&a.sheets, "registered_voters_counted", counts.get("registered_voters_counted"))
		}
		return a
	}
	voters := counts.get("registered_voters")
	add(&a.sheets, "registered_voters", voters)
	if status == "COUNTED" || status == "ANNULLED" || status == "NOT_INSTALLED" || isPartial {
		if isMerged {
			voters = nil
		}
		add(&a.sheets, "registered_voters_counted", voters)
	}
	reason := event.text("review_reason")
	if reason == "" && status == "LOST" {
		reason = "LOST"
	} else if !isKnown("ReviewReason", reason) {
		reason = "OTHER"
	}
	states := append([]string{"total"}, map[string][]string{
		"COUNTED":       {"processed", "counted", "counted_normal"},
		"ANNULLED":      {"processed", "counted", "annulled"},
		"NOT_INSTALLED": {"processed", "counted", "not_installed"},
		"UNDER_REVIEW":  {"processed", "under_review"},
		"LOST":          {"processed", "under_review"},
		"PENDING":       {"to_be_processed", "pending"},
		"IN_PROCESS":    {"to_be_processed", "in_process"},
	}[status]...)
	for _, name := range append([]string{"in_process"}, ofSheets...) {
		isIn := int64(0)
		if slices.Contains(states, name) {
			isIn = 1
		}
		add(&a.sheets, name, isIn)
	}
	if slices.Contains(states, "under_review") {
		add(&a.sheets, "under_review."+reason, one)
	}
	for _, s := range d.selections {
		if status == "IN_PROCESS" && votes[s.text("selection_id")] != nil {
			add(&a.sheets, "partially_reporting", one)
			break
		}
	}
	return a
}

// validVotes are those that a unit states, or the sum of its votes where it states all that were on its ballots.
func validVotes(counts *Record, allowed int64) any {
	if sum, isWhole := sumOf(counts.mapping("votes")); counts.get("valid_votes") == nil && isWhole && allowed == 1 {
		return sum
	}
	return counts.get("valid_votes")
}

// levelHasSheets says whether the numbers of sheets and voters are those of sheets, and not what areas state.
func (c *Contest) levelHasSheets() bool {
	return slices.ContainsFunc(c.definition.level, func(t string) bool { return c.definition.isSheet[t] })
}

// totals adds up all units of the counting level, for every area.
func (c *Contest) totals() map[string]*Total {
	totals := map[string]*Total{}
	for id := range c.definition.areas {
		totals[id] = &Total{sums: make([]Sum, len(c.slots))}
	}
	for of, last := range c.last {
		if t := totals[of.area]; slices.Contains(c.definition.level, of.typ) {
			if t.statedAt = max(t.statedAt, last.statedAt); !t.isAdded {
				t.statedAt = last.statedAt
			}
			if t.isAdded = true; t.lastUpdate == nil || t.lastUpdate.offset < last.update.offset {
				t.lastUpdate = last.update
			}
		}
	}
	ofSheetsAlone := c.levelHasSheets()
	for _, u := range c.units {
		isAdded := slices.Contains(c.definition.level, u.typ)
		for _, area := range u.state.adds.areas {
			t := totals[area]
			if !isAdded || u.state.kind == "RETRACTED" {
				continue
			}
			t.add(u.state.adds.figures)
			if !ofSheetsAlone || c.definition.isSheet[u.typ] {
				t.add(u.state.adds.sheets)
			}
		}
	}
	return totals
}

func (t *Total) add(what []addend) {
	for _, a := range what {
		s := &t.sums[a.slot]
		s.of++
		if a.isStated {
			s.units++
			s.value += a.value
		}
	}
}

// checkTotals refuses (F407) what makes a total of 2^62; it adds up only where a bound says that it may.
func (c *Contest) checkTotals(bound int64) error {
	c.bound = bound
	if c.bound < 1<<62 {
		return nil
	}
	c.bound = 0
	for _, t := range c.totals() {
		for _, s := range t.sums {
			c.bound = max(c.bound, s.value)
		}
	}
	if c.bound >= 1<<62 {
		return errors.New("F407: a total would reach 2^62")
	}
	return nil
}
