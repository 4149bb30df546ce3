package main

import "slices"

// Message is a record of the log.
type Message struct {
	Offset        int64
	RecordedAt    Time
	Key           string
	Value         []byte
	SchemaHeaders []*string
	IsElsewhere   bool // in another partition than its key's: it is none of its contest
}

// Log is the state of a partition: of each contest in it.
type Log struct {
	schemas  Schemas
	contests map[string]*Contest
}

// Verdict is what a message was made of.
type Verdict struct {
	Offset   int64    `json:"offset"`
	Accepted bool     `json:"accepted"`
	Findings []string `json:"findings"`
	Blocks   bool     `json:"blocks"`
	Digest   any      `json:"digest"`
}

// apply takes the next message, and says which contest it is of and what was made of it.
func (l *Log) apply(m Message) (*Contest, Verdict) {
	c := l.contests[m.Key]
	if c == nil {
		c = &Contest{id: m.Key, units: map[string]*Unit{}, slots: map[string]int{}, last: map[place]*Last{}}
		l.contests[m.Key] = c
	}
	c.lastOffset, c.recordedAt = m.Offset, m.RecordedAt
	if c.blocked != nil {
		return c, Verdict{Offset: m.Offset, Findings: []string{}}
	}
	unit, accepted, codes := "", false, codes{}
	event, err := l.schemas.read(m)
	if err == nil {
		unit, accepted, codes, err = c.accept(event, m.Offset)
	}
	if err != nil {
		c.blocked = &Blocked{m.Offset, err.Error()}
		return c, Verdict{Offset: m.Offset, Findings: []string{}, Blocks: true}
	}
	if !accepted || len(codes) > 0 {
		c.found = append(c.found, Found{m.Offset, unit, keys(codes), accepted})
	}
	return c, Verdict{Offset: m.Offset, Accepted: accepted, Findings: keys(codes)}
}

// codes are the codes of the rules that an event breaks.
type codes map[string]bool

func (c codes) add(code string, is bool) {
	if is {
		c[code] = true
	}
}

// accept decides about an event: its unit, if it is accepted, and what is found. An error blocks the contest.
func (c *Contest) accept(event *Record, offset int64) (string, bool, codes, error) {
	id, leaf := identify(event)
	unit := ""
	if r := event.record("reporting_unit"); r != nil {
		unit = r.text("type") + "/" + r.text("id")
	}
	refuse := func(code string) (string, bool, codes, error) { return unit, false, codes{code: true}, nil }
	if id != event.text("event_id") {
		return refuse("F404")
	}
	if event.schema.name == "ContestDefined" {
		d := define(event)
		d.id, d.leaf = id, leaf
		if code := c.faultOfDefinition(d); code != "" {
			return refuse(code)
		}
		c.definition = d
		return unit, true, nil, c.checkTotals(c.bound)
	}
	if c.definition == nil {
		return refuse("F405")
	}
	switch event.schema.name {
	case "UnitRoll":
		if code := c.takePart(event, id, leaf); code != "" {
			return refuse(code)
		}
		return unit, true, nil, nil
	case "CountUpdate":
		accepted, found, err := c.acceptUpdate(event, &Statement{id: id, leaf: leaf, offset: offset})
		return unit, accepted, found, err
	}
	return unit, true, nil, nil // a SourceStatus
}

func (c *Contest) faultOfDefinition(d *Definition) string {
	old := c.definition
	if old == nil {
		if d.revision != 1 {
			return "F401"
		}
		return ""
	}
	if d.revision != old.revision+1 {
		return "F401"
	}
	if d.record.text("previous_event_id") != old.id {
		return "F403"
	}
	for i, s := range old.selections {
		if i >= len(d.selections) || d.selections[i].text("selection_id") != s.text("selection_id") {
			return "F301"
		}
	}
	for id, a := range old.areas {
		if kept := d.area(a.typ, id); kept == nil || !slices.Equal(kept.around, a.around) {
			return "F302"
		}
	}
	sheets := slices.Equal(keys(old.isSheet), keys(d.isSheet))
	if !sheets || old.countsPartial != d.countsPartial || old.votesAllowed != d.votesAllowed {
		return "F302"
	}
	return ""
}

// acceptUpdate places an update in the chain of its unit, and takes it where it counts.
func (c *Contest) acceptUpdate(event *Record, s *Statement) (bool, codes, error) {
	r := event.record("reporting_unit")
	s.sequence, _ = event.number("sequence")
	s.statedAt, s.kind = event.time("stated_at"), event.text("kind")
	found := c.findings(event)
	refused := slices.ContainsFunc(keys(found), func(code string) bool { return code[:2] == "F3" && code != "F305" })

	name := r.text("type") + "/" + r.text("id")
	unit := c.units[name]
	if unit == nil {
		unit = &Unit{name: name, typ: r.text("type"), head: &Statement{}}
	}
	switch n := unit.head.sequence; {
	case s.sequence > n+1:
		found["F401"] = true
	case s.sequence == n+1:
		found.add("F403", n > 0 && event.text("previous_event_id") != unit.head.id)
	default:
		again := s.id == unit.head.id || s.id == unit.state.id
		found.add("F402", again)
		found.add("F401", !again)
		return false, found, nil
	}
	isLate := unit.state != nil && s.statedAt < unit.state.statedAt
	found.add("F406", isLate)
	if refused {
		return false, found, nil
	}

	s.adds = c.addendsOf(event)
	before := *unit
	unit.head = s
	if c.definition.area(r.text("type"), r.text("id")) != nil {
		s.update = event
		unit.statements = append(unit.statements, s)
	}
	if !isLate {
		unit.state = s
	}
	c.units[name] = unit
	if err := c.checkTotals(c.bound + s.adds.largest); err != nil {
		*unit = before
		if before.state == nil {
			delete(c.units, name)
		}
		return false, nil, err
	}
	if !isLate {
		c.touch(before.state, s, unit.typ)
	}
	if at, is := event.get("reported_at").(Time); is && (c.reportedAt == nil || at > c.reportedAt.(Time)) {
		c.reportedAt = at
	}
	return true, found, nil
}

// touch notes which areas a unit is in now, or was in till now.
func (c *Contest) touch(before, s *Statement, typ string) {
	areas := slices.Clone(s.adds.areas)
	if before != nil {
		areas = append(areas, before.adds.areas...)
	}
	for _, area := range areas {
		last := c.last[place{typ, area}]
		if last == nil {
			last = &Last{statedAt: s.statedAt}
			c.last[place{typ, area}] = last
		}
		last.update, last.statedAt = s, max(last.statedAt, s.statedAt)
	}
}

// Roll is what is accepted of the rolls of units: the parts of the revision at work, and the one that holds.
type Roll struct {
	revision, part, parts int64
	last                  string // the id of the part that was accepted last
	atWork, holds         Parts
	isHeld                bool // a revision was accepted whole
}

// Parts are the units of a revision, with the leaves of its messages.
type Parts struct {
	leaves [][32]byte
	units  map[string]*Record
}

// onRoll says whether the roll that holds has a unit; everything is on none.
func (r *Roll) onRoll(name string) bool { return len(r.holds.units) == 0 || r.holds.units[name] != nil }

// takePart takes a part of a roll, or says which rule it breaks.
func (c *Contest) takePart(event *Record, id string, leaf [32]byte) string {
	roll, d := &c.roll, c.definition
	revision, _ := event.number("revision")
	part, _ := event.number("part")
	parts, _ := event.number("parts")
	isNext := revision == roll.revision && part == roll.part+1 && roll.part < roll.parts
	isFirst := revision == roll.revision+1 && part == 1
	if !isNext && !isFirst {
		return "F401"
	}
	if event.text("previous_event_id") != roll.last || isNext && parts != roll.parts {
		return "F403"
	}
	units := map[string]*Record{}
	if isNext {
		units = roll.atWork.units
	}
	added := map[string]*Record{}
	var voters int64
	for _, u := range units {
		voters += as[int64](u.get("registered_voters"))
	}
	var isOutside, isNoSheet, isTwice bool
	for _, u := range event.records("units") {
		name := u.text("type") + "/" + u.text("id")
		isOutside = isOutside || d.areas[u.text("area_id")] == nil
		isNoSheet = isNoSheet || !d.isSheet[u.text("type")]
		isTwice = isTwice || units[name] != nil || added[name] != nil
		added[name] = u
		voters += as[int64](u.get("registered_voters"))
	}
	switch {
	case isOutside:
		return "F302"
	case isNoSheet:
		return "F303"
	case isTwice:
		return "F402"
	case voters >= 1<<62:
		return "F407"
	}
	if isFirst {
		roll.atWork = Parts{units: map[string]*Record{}}
	}
	for name, u := range added {
		roll.atWork.units[name] = u
	}
	roll.atWork.leaves = append(roll.atWork.leaves, leaf)
	roll.revision, roll.part, roll.parts, roll.last = revision, part, parts, id
	if part == parts {
		roll.holds, roll.isHeld = roll.atWork, true
	}
	return ""
}
