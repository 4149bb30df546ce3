package main

import (
	"cmp"
	"slices"
)

// Contest is the state of a contest after a message of the log.
type Contest struct {
	id         string
	definition *Definition // in force; nil before the first
	units      map[string]*Unit
	roll       Roll
	slots      map[string]int // the place of each summed figure
	last       map[place]*Last
	bound      int64 // no total is larger
	lastOffset int64 // of any message of the contest
	recordedAt Time
	reportedAt any // the latest Time of an accepted update; nil before any
	found      []Found
	blocked    *Blocked
}

// Unit is a reporting unit with the last accepted update of its chain and the one that is its state.
type Unit struct {
	name, typ  string
	head       *Statement
	state      *Statement
	statements []*Statement // of an area, all that were accepted
}

// place is a type of units in an area.
type place struct{ typ, area string }

// Last is the last update that became the state of a unit of a place, and the latest time of all that did.
type Last struct {
	update   *Statement
	statedAt Time
}

// Statement is an accepted update.
type Statement struct {
	id       string
	leaf     [32]byte
	offset   int64
	sequence int64
	statedAt Time
	kind     string
	adds     *Addends
	update   *Record // of an area alone
}

// Found is a message of the contest with a finding, or one that was not accepted.
type Found struct {
	Offset   int64
	Unit     string
	Codes    []string
	Accepted bool
}

// Blocked is where a contest ends, and why.
type Blocked struct {
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
}

// Definition is a ContestDefined, ready to be asked.
type Definition struct {
	record         *Record
	id             string
	leaf           [32]byte
	revision       int64
	selections     []*Record // by ballot_order
	selectionIndex map[string]int
	areas          map[string]*Area
	order          []string
	outermost      string
	level          []string
	later          [][]string
	isSheet        map[string]bool
	isAreaType     map[string]bool
	votesAllowed   int64
	countsPartial  bool
}

// Area is an area of a contest with the ids of those around it, outermost first.
type Area struct {
	id, typ string
	around  []string
	record  *Record
}

func define(event *Record) *Definition {
	d := &Definition{record: event, selectionIndex: map[string]int{}, areas: map[string]*Area{},
		isSheet: map[string]bool{}, isAreaType: map[string]bool{}}
	d.revision, _ = event.number("revision")
	d.votesAllowed, _ = event.number("votes_allowed")
	d.countsPartial = event.truth("partial_sheets_count")
	d.selections = event.records("selections")
	slices.SortStableFunc(d.selections, func(a, b *Record) int {
		return cmp.Compare(a.get("ballot_order").(int64), b.get("ballot_order").(int64))
	})
	for i, s := range d.selections {
		d.selectionIndex[s.text("selection_id")] = i
	}
	for _, r := range event.records("areas") {
		a := &Area{id: r.text("area_id"), typ: r.text("type"), record: r}
		d.areas[a.id], d.isAreaType[a.typ] = a, true
		d.order = append(d.order, a.id)
		if r.get("parent_id") == nil {
			d.outermost = a.id
		}
	}
	for _, a := range d.areas {
		for parent := a.record.text("parent_id"); d.areas[parent] != nil && len(a.around) < 17; {
			a.around = append(a.around, parent)
			parent = d.areas[parent].record.text("parent_id")
		}
		slices.Reverse(a.around)
	}
	d.level = event.texts("counting_level")
	for _, level := range event.list("later_counting_levels") {
		types := []string{}
		for _, t := range level.([]any) {
			types = append(types, t.(string))
		}
		d.later = append(d.later, types)
	}
	for _, t := range event.texts("sheet_types") {
		d.isSheet[t] = true
	}
	return d
}

// area gives the area that a unit is, by type and id; nil where it is none.
func (d *Definition) area(typ, id string) *Area {
	if a := d.areas[id]; a != nil && a.typ == typ {
		return a
	}
	return nil
}
