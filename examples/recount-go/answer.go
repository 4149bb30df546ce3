package main

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

type object = map[string]any

// answer is the count of an area, with the names of `replay --json`.
type answer struct {
	c      *Contest
	area   *Area
	totals map[string]*Total // of every area
	total  *Total
	of     func(name string) (value any, isWhole bool) // a figure, and whether every unit states it
	stated *Record                                     // the office's own statement, where it is the answer
	adders int64                                       // units whose votes are added up
	adds   bool                                        // whether the office's own statement has a status that adds its votes
}

// answers gives the count of each area asked for; nil where there is none.
func (c *Contest) answers(areas []string) object {
	found := object{}
	if c.definition == nil {
		return found
	}
	totals := c.totals()
	digest := c.digest()
	for _, id := range areas {
		found[id] = nil
		if area := c.definition.areas[id]; area != nil {
			found[id] = c.answer(area, totals, digest)
		}
	}
	return found
}

func (c *Contest) answer(area *Area, totals map[string]*Total, digest any) any {
	d := c.definition
	a := &answer{c: c, area: area, totals: totals, total: totals[area.id]}
	own := c.units[area.typ+"/"+area.id]
	var last *Statement
	basis := "COMPUTED"
	if a.total.isAdded && !(len(d.level) == 1 && d.level[0] == area.typ) {
		last = &Statement{id: a.total.lastUpdate.id, offset: a.total.lastUpdate.offset, statedAt: a.total.statedAt}
		a.of, a.adders = a.sum, a.slot("units_adding").of
	} else {
		isPart := len(d.level) > 1 && slices.Contains(d.level, area.typ)
		if own == nil || own.state.kind == "RETRACTED" || isPart {
			return nil
		}
		basis, last, a.stated, a.adders = "OFFICIAL", own.state, own.state.update, 1
		a.of, a.adds = a.figureOfOffice, d.addsVotes(a.stated, area.typ)
	}
	r := object{
		"contest_id": c.id, "contest_name": d.record.text("name"), "authority": d.record.text("authority"),
		"time_zone": d.record.text("time_zone"), "area_id": area.id, "area_name": area.record.text("name"),
		"area_type": area.typ, "basis": basis, "counting_level": strings.Join(d.level, " + "),
		"as_of":       object{"offset": c.lastOffset, "recorded_at": instant(c.recordedAt), "reported_at": instantOrNil(c.reportedAt)},
		"last_update": object{"event_id": last.id, "offset": last.offset, "stated_at": instant(last.statedAt)},
		"official":    nil, "digest": digest, "blocked": nil,
	}
	if c.blocked != nil {
		r["blocked"] = c.blocked
	}
	if a.stated == nil {
		r["official"] = a.comparison(own)
	}
	for _, name := range append([]string{"annulled_ballots"}, figures[:7]...) {
		r[name], _ = a.of(name)
	}
	r["suppressed_units"], r["unknown_units"] = a.unitsThat("suppressed_units"), a.unitsThat("unknown_units")
	a.sheets(r)
	a.votes(r)
	r["stated_by"] = a.statedBy(r)
	return r
}

func (a *answer) slot(name string) Sum {
	if slot, known := a.c.slots[name]; known && slot < len(a.total.sums) {
		return a.total.sums[slot]
	}
	return Sum{}
}

// sum is a figure of what was added up: none where no unit states it, or where some unit is unknown.
func (a *answer) sum(name string) (any, bool) {
	s := a.slot(name)
	if s.of > 0 && s.units == 0 || a.slot("unknown_units").of > 0 {
		return nil, false
	}
	return s.value, s.units == s.of
}

// figureOfOffice is a figure that the office states itself: none of votes, ballots and voters where its statement adds
// none, and none at all where it is unknown.
func (a *answer) figureOfOffice(name string) (any, bool) {
	counts, sub := a.stated.record("counts"), a.stated.record("sub_units")
	var value any
	switch {
	case !isKnownUpdate(a.stated):
	case strings.HasPrefix(name, "not_counted."):
		if !a.adds && a.stated.text("count_status") != "ANNULLED" {
			value = counts.mapping("votes")[name[len("not_counted."):]]
		}
	case slices.Contains(ofSheets, name):
		value = sub.get(name)
	case !a.adds || name == "in_process":
	case strings.HasPrefix(name, "votes."):
		value = counts.mapping("votes")[name[len("votes."):]]
	case name == "valid_votes":
		value = validVotes(counts, a.c.definition.votesAllowed)
	default:
		value = counts.get(name)
	}
	return value, value != nil
}

// addsVotes says whether a statement about a unit of a type has a status in which its votes are added up.
func (d *Definition) addsVotes(update *Record, typ string) bool {
	status := update.text("count_status")
	return isKnownUpdate(update) && (status == "COUNTED" || status == "IN_PROCESS" && (d.countsPartial || !d.isSheet[typ]))
}

func isKnownUpdate(update *Record) bool {
	return isKnown("CountStatus", update.text("count_status")) && isKnown("UpdateKind", update.text("kind"))
}

// unitsThat counts the units of a kind: those that were added up, or the one of the office's own statement.
func (a *answer) unitsThat(kind string) int64 {
	if a.stated == nil {
		return a.slot(kind).of
	}
	isMeant := !isKnownUpdate(a.stated)
	if kind == "suppressed_units" {
		isMeant = !isMeant && a.stated.record("counts").get("suppressed") != nil
	}
	if isMeant {
		return 1
	}
	return 0
}

// votes puts in what each selection has, with shares and the lead.
func (a *answer) votes(r object) {
	d := a.c.definition
	allWhole, all := true, int64(0)
	type has struct {
		id    string
		votes int64
	}
	ranked, selections := []has{}, []object{}
	for _, s := range d.selections {
		id := s.text("selection_id")
		value, isWhole := a.of("votes." + id)
		isOnBallot := a.slot("votes."+id).of > 0 || a.adders == 0 || a.unitsThat("unknown_units") > 0
		if a.stated != nil {
			votes := a.stated.record("counts").mapping("votes")
			_, isNamed := votes[id]
			isOnBallot = isNamed || len(votes) == 0 || !a.adds
		}
		if !isOnBallot {
			value, isWhole = nil, true
		}
		notCounted, _ := a.of("not_counted." + id)
		if a.stated == nil {
			notCounted = a.slot("not_counted." + id).value
		}
		if notCounted == int64(0) {
			notCounted = nil
		}
		allWhole = allWhole && isWhole
		if n, is := value.(int64); is {
			all += n
			ranked = append(ranked, has{id, n})
		}
		var published any
		if a.stated != nil && isKnownUpdate(a.stated) {
			published = a.stated.record("published_percentages").mapping("valid_votes_share")[id]
		}
		selections = append(selections, object{"selection_id": id, "candidate": s.text("candidate"),
			"party": s.text("party"), "votes": value, "share": nil, "published_share": published,
			"not_counted": notCounted, "withdrawn_at": instantOrNil(s.get("withdrawn_at")), "is_on_ballot": isOnBallot})
	}
	from := d.record.get("leader_from_percent")
	isWithheld := from != nil && !a.reaches(r, from.(string))
	r["selections"], r["share_base"], r["lead"], r["leader"], r["lead_is_withheld"] = selections, nil, nil, nil, isWithheld
	if !allWhole {
		return
	}
	if valid, isWhole := a.of("valid_votes"); d.votesAllowed > 1 {
		r["share_base"] = all
	} else if isWhole {
		r["share_base"] = valid
	}
	for _, s := range selections {
		s["share"] = percent(s["votes"], r["share_base"])
	}
	slices.SortStableFunc(ranked, func(a, b has) int { return int(b.votes - a.votes) })
	if len(ranked) < 2 || isWithheld {
		return
	}
	r["lead"] = ranked[0].votes - ranked[1].votes
	if ranked[0].votes > ranked[1].votes {
		r["leader"] = ranked[0].id
	}
}

// reaches says whether a share of the expected sheets is counted.
func (a *answer) reaches(r object, from string) bool {
	counted, isCounted := r["progress"].(object)["counted"].(int64)
	expected, isExpected := r["progress"].(object)["expected"].(int64)
	limit, _ := new(big.Rat).SetString(from)
	return isCounted && isExpected && expected > 0 &&
		new(big.Rat).Mul(big.NewRat(counted, expected), big.NewRat(100, 1)).Cmp(limit) >= 0
}

// sheets puts in the numbers of sheets and voters, and what is made of them.
func (a *answer) sheets(r object) {
	c, d := a.c, a.c.definition
	hasSheets := c.levelHasSheets() && a.stated == nil
	n := object{}
	for _, name := range append([]string{"in_process"}, ofSheets...) {
		n[name], _ = a.of(name)
	}
	stated, isStated := n["total"].(int64)
	onRoll, votersOnRoll := a.onRoll()
	expected, from := a.expected(n["total"], onRoll)
	notStated, beyond := int64(0), int64(0)
	progress := object{"expected": expected, "expected_from": from, "counted": n["counted"], "processed": n["processed"],
		"under_review": n["under_review"], "partially_reporting": a.unitsThat("partially_reporting"), "not_stated": nil,
		"beyond_expected": beyond, "voters_outstanding": nil}
	if isStated && expected != nil {
		notStated = max(0, expected.(int64)-stated)
		progress["not_stated"] = notStated
	}
	if limit, _ := a.expectedByOffice(onRoll); isStated && limit != nil {
		progress["beyond_expected"] = max(0, stated-limit.(int64))
	}
	if a.stated != nil {
		progress["partially_reporting"], progress["not_stated"] = int64(0), nil
	}
	progress["areas_reported"], progress["areas_expected"] = a.areasReported()

	counted, isWholeCounted := a.of("registered_voters_counted")
	voters, isWholeVoters := a.of("registered_voters")
	isOutermost := a.area.id == d.outermost
	switch ofAll := d.record.get("registered_voters"); {
	case a.stated != nil:
		if voters == nil && isOutermost {
			voters, isWholeVoters = ofAll, ofAll != nil
		}
	case onRoll != nil:
		voters, isWholeVoters = votersOnRoll, votersOnRoll != nil
	case isOutermost && ofAll != nil:
		voters, isWholeVoters = ofAll, true
	case hasSheets && (expected == nil || notStated > 0):
		voters = nil
	}
	if votersOnRoll != nil && isWholeCounted && counted != nil {
		progress["voters_outstanding"] = max(0, votersOnRoll.(int64)-counted.(int64))
	}
	if expected != nil && a.stated == nil {
		n["total"] = max(stated, expected.(int64))
		for _, name := range []string{"to_be_processed", "pending"} {
			if value, is := n[name].(int64); is {
				n[name] = value + notStated
			}
		}
	} else if hasSheets {
		n["total"] = nil
	}
	reasons := object{}
	for _, reason := range known["ReviewReason"] {
		if value := a.slot("under_review." + reason).value; value > 0 && a.stated == nil {
			reasons[reason] = value
		}
	}
	var published *Record
	if a.stated != nil && isKnownUpdate(a.stated) {
		published = a.stated.record("published_percentages")
		for reason, value := range a.stated.record("sub_units").mapping("under_review_by_reason") {
			reasons[reason] = value
		}
	}
	ofExpected := func(name string) object {
		var share any
		if _, isWhole := a.of(name); isWhole {
			share = percent(n[name], expected)
		}
		return object{"percent": share, "published": published.get("sub_units_" + name)}
	}
	ballots, isWholeBallots := a.of("ballots_cast")
	turnout := object{"registered_voters_counted": counted, "of_registered_voters_counted": nil,
		"registered_voters": voters, "of_registered_voters": nil, "published": published.get("turnout")}
	if isWholeBallots && (a.stated != nil || a.slot("ballots_cast").of > 0) {
		othersAdd := hasSheets && a.slot("others_with_ballots").of > 0
		if isWholeCounted && !othersAdd {
			turnout["of_registered_voters_counted"] = percent(ballots, counted)
		}
		if isWholeVoters {
			turnout["of_registered_voters"] = percent(ballots, voters)
		}
	}
	r["sub_units"], r["progress"], r["under_review_by_reason"], r["turnout"] = n, progress, reasons, turnout
	r["sub_units_processed"], r["sub_units_counted"] = ofExpected("processed"), ofExpected("counted")
}

// onRoll gives the number of the area's sheets on the roll that holds, and of their voters; nil where none says it.
func (a *answer) onRoll() (any, any) {
	c, d := a.c, a.c.definition
	if len(c.roll.holds.units) == 0 {
		return nil, nil
	}
	types := slices.DeleteFunc(slices.Clone(d.level), func(t string) bool { return !d.isSheet[t] })
	if len(types) == 0 {
		types = slices.DeleteFunc(slices.Concat(d.later...), func(t string) bool { return !d.isSheet[t] })
	}
	if len(types) == 0 {
		types = keys(d.isSheet)
	}
	sheets, voters, isWhole := int64(0), int64(0), true
	for _, u := range c.roll.holds.units {
		in := d.areas[u.text("area_id")]
		if slices.Contains(types, u.text("type")) && (in.id == a.area.id || slices.Contains(in.around, a.area.id)) {
			n, is := u.number("registered_voters")
			sheets, voters, isWhole = sheets+1, voters+n, isWhole && is
		}
	}
	if !isWhole {
		return sheets, nil
	}
	return sheets, voters
}

// expected is how many sheets the area has, and who says so.
func (a *answer) expected(known, onRoll any) (any, any) {
	c, d := a.c, a.c.definition
	if a.stated != nil && known != nil {
		return known, "OFFICE"
	}
	if n, from := a.expectedByOffice(onRoll); n != nil || a.stated != nil {
		return n, from
	}
	isPart := len(d.level) > 1 && slices.Contains(d.level, a.area.typ)
	if own := c.units[a.area.typ+"/"+a.area.id]; own != nil && !isPart && own.state.kind != "RETRACTED" && isKnownUpdate(own.state.update) {
		if n, is := own.state.update.record("sub_units").number("total"); is && n >= as[int64](known) {
			return n, "OFFICE"
		}
	}
	if known == nil {
		return nil, nil
	}
	if c.levelHasSheets() {
		whole := &answer{c: c, area: d.areas[d.outermost], total: a.totals[d.outermost]}
		ofAll, _ := whole.sum("total")
		if n := d.record.get("expected_units"); n != nil && n == ofAll && whole.total.isAdded {
			return known, "ALL_STATED"
		}
		return nil, nil
	}
	reported, all := a.areasReported()
	if _, isWhole := a.of("total"); isWhole && reported != nil && reported == all {
		return known, "OFFICE"
	}
	return nil, nil
}

// expectedByOffice is how many sheets the area has by the roll, or by the definition.
func (a *answer) expectedByOffice(onRoll any) (any, any) {
	d := a.c.definition
	if onRoll != nil {
		return onRoll, "ROLL"
	}
	if n := a.area.record.get("expected_units"); n != nil {
		return n, "DEFINITION"
	}
	if n := d.record.get("expected_units"); n != nil && a.area.id == d.outermost {
		return n, "DEFINITION"
	}
	return nil, nil
}

// areasReported counts the areas that are added up in this one: those with a statement, and all that have not ended.
func (a *answer) areasReported() (any, any) {
	c, d := a.c, a.c.definition
	isAreas := slices.ContainsFunc(d.level, func(t string) bool { return d.isAreaType[t] && !d.isSheet[t] })
	if !isAreas || a.stated != nil {
		return nil, nil
	}
	reported, all, isSure := int64(0), int64(0), true
	for _, area := range d.areas {
		if area.id != a.area.id && !slices.Contains(area.around, a.area.id) {
			continue
		}
		if area.record.get("ends_at") != nil {
			isSure = false
			continue
		}
		if !slices.Contains(d.level, area.typ) || d.isSheet[area.typ] {
			continue
		}
		all++
		if u := c.units[area.typ+"/"+area.id]; u != nil && u.state.kind != "RETRACTED" {
			reported++
		}
	}
	if !isSure {
		return nil, all
	}
	return reported, all
}

// statedBy names every figure that some units do not state.
func (a *answer) statedBy(r object) object {
	found := object{}
	if a.stated != nil {
		return found
	}
	names := append(slices.Clone(figures), "annulled_ballots", "in_process")
	for _, s := range a.c.definition.selections {
		names = append(names, "votes."+s.text("selection_id"))
	}
	unknown := a.unitsThat("unknown_units")
	for _, name := range append(names, ofSheets...) {
		if s := a.slot(name); s.units < s.of+unknown {
			found[name] = object{"units": s.units, "of": s.of + unknown}
		}
	}
	isDefined := a.area.id == a.c.definition.outermost && a.c.definition.record.get("registered_voters") != nil
	if isDefined || len(a.c.roll.holds.units) > 0 {
		delete(found, "registered_voters")
	}
	if r["progress"].(object)["expected"] != nil {
		delete(found, "total")
	}
	return found
}

// comparison sets the sums beside the office's statement that is nearest in time.
func (a *answer) comparison(own *Unit) any {
	d := a.c.definition
	if own == nil || len(d.level) > 1 && slices.Contains(d.level, a.area.typ) {
		return nil
	}
	taken := map[any]bool{}
	for _, s := range own.statements {
		if s.kind == "RETRACTED" {
			taken[s.update.record("correction").get("replaces_event_id")] = true
		}
	}
	apart := func(s *Statement) Time { return max(a.total.statedAt-s.statedAt, s.statedAt-a.total.statedAt) }
	var nearest *Statement
	for _, s := range own.statements {
		if s.kind != "RETRACTED" && !taken[s.id] && (nearest == nil || apart(s) <= apart(nearest)) {
			nearest = s
		}
	}
	if nearest == nil {
		return nil
	}
	differences := object{}
	var counts, sub *Record
	if isKnownUpdate(nearest.update) {
		sub = nearest.update.record("sub_units")
	}
	if d.addsVotes(nearest.update, a.area.typ) {
		counts = nearest.update.record("counts")
	}
	compare := func(name string, theirs any) {
		ours, isWhole := a.of(name)
		isOnNone := strings.HasPrefix(name, "votes.") && a.slot(name).of == 0 && a.adders > 0
		if ours != nil && isWhole && theirs != nil && !isOnNone {
			differences[name] = ours.(int64) - theirs.(int64)
		}
	}
	for _, name := range figures {
		if name != "registered_voters" {
			compare(name, counts.get(name))
		}
	}
	for id, votes := range counts.mapping("votes") {
		compare("votes."+id, votes)
	}
	for _, name := range ofSheets {
		compare(name, sub.get(name))
	}
	for reason, n := range sub.mapping("under_review_by_reason") {
		if isKnown("ReviewReason", reason) {
			differences["under_review."+reason] = a.slot("under_review."+reason).value - n.(int64)
		}
	}
	return object{"event_id": nearest.id, "offset": nearest.offset,
		"reported_at": instantOrNil(nearest.update.get("reported_at")), "stated_at": instant(nearest.statedAt),
		"seconds_apart": int64(apart(nearest) / second), "differences": differences}
}

// percent gives part of whole with three places, rounded half up.
func percent(part, whole any) any {
	p, isPart := part.(int64)
	w, isWhole := whole.(int64)
	if !isPart || !isWhole || w == 0 {
		return nil
	}
	n := new(big.Int).Mul(big.NewInt(p), big.NewInt(200_000))
	n.Add(n, big.NewInt(w)).Div(n, new(big.Int).Mul(big.NewInt(2), big.NewInt(w)))
	thousandths := n.Int64()
	return fmt.Sprintf("%d.%03d", thousandths/1000, thousandths%1000)
}

// instant writes a time as ISO 8601.
func instant(at Time) string {
	moment := time.UnixMilli(int64(at)).UTC()
	if at%second == 0 {
		return moment.Format("2006-01-02T15:04:05Z")
	}
	return moment.Format("2006-01-02T15:04:05.000000Z")
}

func instantOrNil(value any) any {
	if at, is := value.(Time); is {
		return instant(at)
	}
	return nil
}
