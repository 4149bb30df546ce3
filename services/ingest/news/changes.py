"""Find what is new in statements, compared with what the log says, and make it the next events of the units. Pure.

Place in the flow: between the feeds and `publish`; the heart of ingest. The memory that it compares with is rebuilt
from the log, so a crash loses nothing: what was published is known from the log, and what was not is news again.

A unit's statements are ordered by the office's own time (`stated_at`), its events by `sequence`. A statement is

- KNOWN when its figures are already published for that time, or are valid there and later ones were published since;
- a HEARTBEAT when it repeats the latest figures under a later time: the office published and changed nothing;
- NEWS otherwise, also when it is late: a unit's state is that of its highest (stated_at, sequence), so a late statement
  adds to the history before what was published for a later time.

What a later document only repeated was not published for its own time, so after a late statement with other figures
that document must be read again: it is then news. Such news is counted as late, and the callers read again.

Figures published for a time are not published for it again, even when other figures came between: an office that
returns to earlier figures without a later time is indistinguishable from an old copy of its document, and only such
copies are common.

A new or changed note of the office is news; the same figures without the note only repeat. After a retraction, which
has no figures, any statement is news.

What an *operator* replaced (basis OPERATOR, corrected or retracted) is held back: a statement that follows the
operator's in official time and repeats exactly the replaced figures is rejected as F208, logged, and kept in
`results.rejected`. An office states every sheet again with each publication, so otherwise a correction would last until
the next one, and figures that newsrooms were asked to withdraw would silently return. Other figures are news as ever
and chain on the operator's event; so are the same figures with a note of the office. If the office stands by its
figures, an operator states them again. The operator's own figures are a heartbeat when the office repeats them. Once
the office states something else, later statements are compared with that.

News by which the unit adds less to the count is CORRECTED, INFERRED: published, never smoothed. So is a unit that
comes back from review, counted, with fewer votes than it stated under review.

Sheets that state no official time are compared as columns first, which decides two things only: that a unit was never
stated and breaks no rule, or that it repeats its state exactly. Everything else is compared here, one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from operator import itemgetter
from uuid import UUID

import numpy as np
from pydantic import ValidationError

from ingest.feeds.statement import PassedOver, Rejection, Rejections, Sheets, Snapshot, Statement
from ingest.news.contest_memory import ContestMemory, Said, UnitMemory, extended_by, heartbeat_key, remember
from ingest.news.figures import Figures, decrease, figures, repeats
from ingest.news.held import held
from ingest.news.missing import no_longer_named
from ingest.news.new_events import STATED, First, FirstStatements, NewEvent, NewEvents, name_first
from ingest.news.roll_file import Nearest
from schemas.columns.layout import Numbers, is_sound
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, Source, UnitKey
from schemas.faults import first_fault
from schemas.feed_status import FeedStatus
from schemas.identity import NIL, named
from schemas.rules import CLOCK_TOLERANCE, CONTRADICTIONS, RULES, Finding, check
from schemas.types import CorrectionBasis, UpdateKind, to_milliseconds


class Outcome(Enum):
    """What a statement means to readers of the count; see the module's docstring."""

    KNOWN = "known"
    HEARTBEAT = "heartbeat"
    NEWS = "news"


@dataclass(slots=True)
class Changes:
    """The news of a batch of snapshots. `units`: the memory after its events, for `adopt` once they are on the log."""

    events: NewEvents = field(default_factory=NewEvents)
    findings: list[tuple[CountUpdate, Finding]] = field(default_factory=list)
    rejections: Rejections = field(default_factory=Rejections)
    left_out: Rejections = field(default_factory=Rejections)
    """Evidence that is left out of statements, and what is odd about documents: it costs no statement."""
    passed_over: list[PassedOver] = field(default_factory=list)
    heartbeats: list[FeedStatus] = field(default_factory=list)
    units: dict[UnitKey, UnitMemory] = field(default_factory=dict)
    heard: dict[UnitKey, int] = field(default_factory=dict)
    """The latest time for which a unit only repeated itself, in milliseconds."""
    heard_sheets: tuple[Numbers, Numbers] | None = None
    """The same of sheets that were compared as columns: numbers of units, and times."""
    statements: int = 0
    known: int = 0
    late: set[UUID] = field(default_factory=set)
    """Events that state a time before one for which their unit had already been stated."""


def changes_since(snapshots: Sequence[Snapshot], memory: ContestMemory) -> Changes:
    """Find what the snapshots state that the log does not have. Does not change `memory`: see `adopt`."""
    changes = Changes()
    nearest = Nearest(memory.roll, memory.index.keys) if memory.roll.holds else None
    not_units = held(snapshots, memory)
    for snapshot in snapshots:
        changes.rejections.extend(snapshot.rejections)
        changes.left_out.extend(snapshot.left_out)
        changes.passed_over.extend(snapshot.passed_over)
        changes.statements += len(snapshot.statements)
        _compare_snapshot(snapshot, memory, changes, not_units, nearest, by_columns=len(snapshots) == 1)
    complete = [snapshot for snapshot in snapshots if snapshot.of_complete and len(snapshot.statements)]
    if complete and (missing := no_longer_named(complete, memory, changes.units)) is not None:
        changes.left_out.append(missing)
    return changes


def adopt(memory: ContestMemory, changes: Changes, *, alone: bool = True) -> None:
    """Add changes to the memory, once they are on the log. Unless `alone`, its events were read from the log."""
    if alone:
        remember(memory, *(event for event in changes.events.items if not isinstance(event, First)))
        for first in {id(item.of): item.of for item in changes.events.items if isinstance(item, First)}.values():
            ones, stated = np.ones(len(first.units), np.int64), first.columns.stated[first.entries]
            memory.append(first.units, ones, stated, first.event_id, first.content, {})
    for heartbeat in changes.heartbeats:
        memory.hear(heartbeat)
    if changes.heard:
        units = np.array([memory.index.number(key) for key in changes.heard])
        memory.hear_units(units, np.array(list(changes.heard.values())))
    if changes.heard_sheets is not None:
        memory.hear_units(*changes.heard_sheets)


def published(attempts: Sequence[Changes], memory: ContestMemory) -> Changes:
    """Return what several attempts to send the same snapshots put on the log. `memory`: the log after the last."""
    last = attempts[-1]
    if len(attempts) == 1:
        return last
    events = {event.event_id: event for one in attempts for event in one.events.items}
    kept = {
        event_id: event
        for event_id, event in events.items()
        if (unit := memory.units.get(event.unit)) and any(said.event_id == event_id for said in unit.said)
    }
    beats = {beat.event_id: beat for one in attempts for beat in one.heartbeats}
    findings = {(event.event_id, finding): (event, finding) for one in attempts for event, finding in one.findings}
    return replace(
        last,
        events=NewEvents(kept.values()),
        findings=[found for (event_id, _), found in findings.items() if event_id in kept],
        heartbeats=[beat for beat in beats.values() if heartbeat_key(beat) in memory.heartbeats],
        known=last.known + len(last.events) - len(kept),
        late=set().union(*(one.late for one in attempts)) & kept.keys(),
    )


@dataclass(slots=True)
class _BySheet:
    """What was decided by columns. `undecided`: places in the snapshot that are compared one by one."""

    undecided: Iterable[int]
    first: FirstStatements | None = None
    repeated: tuple[int, int] | None = None
    """The first statement that repeats a published one: its place, and the row of the other in the memory."""
    known: int = 0
    stated_again: bool = False
    """Whether some repeat what was published for their time."""


def _compare_columns(
    snapshot: Snapshot, memory: ContestMemory, changes: Changes, not_units: Mapping[UnitKey, Finding]
) -> _BySheet:
    """Find by columns which statements are first or repeat exactly the state of their unit."""
    assert isinstance(snapshot.statements, Sheets)
    sheets, contest = snapshot.statements.columns, memory.definition
    number, group, word = memory.index.number, memory.index.group, memory.word
    units = np.array([number(UnitKey("precinct", unit_id)) for unit_id in sheets.ids], np.int64)
    groups = np.array([group("precinct", path) if path else -1 for path in sheets.areas], np.int64)[sheets.area]
    words = np.array([word(text.encode()) for text in sheets.words], np.int64)[sheets.word]
    content = memory.content(groups, sheets.status, sheets.reason, words, sheets.figures)
    states, rows = memory.states(units), memory.statements
    entries = np.flatnonzero(states >= 0)
    of = rows[states[entries]]
    is_decided = np.ones(len(units), bool)
    if not_units:
        is_decided[:] = [UnitKey("precinct", unit_id) not in not_units for unit_id in sheets.ids]
    is_decided &= sheets.stated <= to_milliseconds(sheets.document.observed_at + CLOCK_TOLERANCE)
    same = is_decided[entries] & ~of["is_odd"] & (of["content"] == content[entries]).all(axis=1)
    known = entries[same & (of["stated"] == sheets.stated[entries])]
    heard = entries[same & (of["stated"] < sheets.stated[entries])]
    is_first = is_decided & (states < 0)
    is_first &= is_sound(sheets.status, np.ones(len(units), bool), sheets.figures, contest.votes_allowed)
    is_first &= sheets.stated >= to_milliseconds(contest.count_starts_at)
    if not contest.is_sheet("precinct") or "precinct" in contest.area_types or contest.ended_areas:
        is_first[:] = False  # rules that are asked one by one
    if memory.roll.holds:
        is_first &= memory.roll.is_listed(units)
    first = np.flatnonzero(is_first)
    decided = np.sort(np.concatenate((known, heard, first)))
    undecided = np.setdiff1d(np.arange(len(snapshot.statements)), sheets.places[decided], assume_unique=True)
    found = _BySheet(undecided.tolist(), known=len(known) + len(heard), stated_again=bool(len(known)))
    if len(first):
        found.first = name_first(memory, snapshot, first, units[first], content[first])
    if found.known:
        earliest = min(part[0] for part in (known, heard) if len(part))
        found.repeated = int(sheets.places[earliest]), int(states[earliest])
    if len(heard):
        changes.heard_sheets = units[heard], sheets.stated[heard]
    return found


def _compare_snapshot(
    snapshot: Snapshot,
    memory: ContestMemory,
    changes: Changes,
    not_units: Mapping[UnitKey, Finding],
    nearest: Nearest | None,
    *,
    by_columns: bool,
) -> None:
    contest = memory.definition
    parts = len(snapshot.statements)
    if by_columns and isinstance(snapshot.statements, Sheets):
        sheets = _compare_columns(snapshot, memory, changes, not_units)
    else:
        sheets = _BySheet(range(parts))
    changes.known += sheets.known
    first: tuple[int, Said] | None = None  # what a heartbeat names: the same on every reading of the document
    if sheets.repeated is not None:
        first = sheets.repeated[0], memory.said(sheets.repeated[1])
    repeated = changes.heard_sheets is not None
    brought = sheets.stated_again or sheets.first is not None  # news, now or in an earlier run
    events: list[tuple[int, NewEvent]] = []
    for place in sheets.undecided:
        statement, part = snapshot.statements[place], place + 1
        key = UnitKey(statement.unit.type, statement.unit.id)
        if (why := not_units.get(key)) is not None:
            changes.rejections.append(_reject(statement, why))
            continue
        stated_at = statement.stated_at
        before = changes.units.get(key) or memory.units.get(key)
        now = figures(statement.unit, statement, one_vote=memory.layout.one_vote)
        outcome, predecessor = compare(before, stated_at, now)
        if outcome is Outcome.NEWS and predecessor and _was_heard(memory, key, predecessor, before, stated_at, now):
            outcome = Outcome.KNOWN
        if predecessor is not None and (first is None or place < first[0]):
            first = place, predecessor
        if outcome is Outcome.KNOWN:
            changes.left_out.extend(statement.left_out)
            changes.known += 1
            brought = brought or (predecessor is not None and predecessor.stated_at == stated_at)
            continue
        try:
            event = _event(statement, before, predecessor, now, snapshot, part, parts, contest)
        except ValidationError as error:
            changes.rejections.append(_reject(statement, Finding("F202", first_fault(error))))
            continue
        findings = check(event, contest)
        if nearest is not None and (off := nearest.finding(statement.unit, memory)) is not None:
            findings = (*findings, off)
        if predecessor is not None and any(repeats(earlier, now) for earlier in predecessor.taken_back):
            held = f"{event.unit} repeats figures that an operator took back, in event {predecessor.event_id}"
            findings = (*findings, Finding("F208", held))
        if any(odd.finding.code == "F113" for odd in statement.left_out):
            broken = [finding for finding in findings if finding.code in CONTRADICTIONS]
            findings = (*findings, *(Finding("F207", _CUT.format(finding)) for finding in broken))
        if fatal := next((finding for finding in findings if finding.rejects), None):
            changes.rejections.append(_reject(statement, fatal))
            continue
        changes.left_out.extend(statement.left_out)
        if outcome is Outcome.HEARTBEAT:
            changes.heard[key] = max(to_milliseconds(stated_at), changes.heard.get(key, NO_TIME))
            repeated = True
            changes.known += 1
            continue
        event = named(event)
        events.append((place, event))
        changes.findings.extend((event, finding) for finding in findings)
        changes.units[key] = extended_by(before, event, now)
        heard = max(memory.heard(key), changes.heard.get(key, NO_TIME))
        if before is not None and (stated_at < before.said[-1].stated_at or to_milliseconds(stated_at) < heard):
            changes.late.add(event.event_id)
        brought = True
    if sheets.first is not None:
        places = sheets.first.columns.places[sheets.first.entries].tolist()
        events.extend((place, First(sheets.first, i)) for i, place in enumerate(places))
        events.sort(key=itemgetter(0))
    changes.events.items.extend(event for _, event in events)
    if repeated and not brought and first is not None:
        _hear(snapshot.statements[first[0]], first[1], single=parts == 1, memory=memory, changes=changes)


_CUT = "the file does not end with a line end, and its last row contradicts itself, so it may be cut off: {}"


def compare(unit: UnitMemory | None, stated_at: datetime, now: Figures) -> tuple[Outcome, Said | None]:
    """Compare figures stated for a time with a unit's history. Returns also the statement that they follow in time."""
    if unit is None:
        return Outcome.NEWS, None
    said = unit.said
    after = len(said)  # the first statement of a later time; nearly always none is
    while after and said[after - 1].stated_at > stated_at:
        after -= 1
    at = after
    while at and said[at - 1].stated_at == stated_at:
        at -= 1
        if repeats(said[at].figures, now):
            return Outcome.KNOWN, said[at]
    if not after:
        return Outcome.NEWS, None
    predecessor = said[after - 1]
    if repeats(predecessor.figures, now):
        return (Outcome.HEARTBEAT if after == len(said) else Outcome.KNOWN), predecessor
    return Outcome.NEWS, predecessor


def _was_heard(
    memory: ContestMemory, key: UnitKey, predecessor: Said, unit: UnitMemory | None, stated_at: datetime, now: Figures
) -> bool:
    """Say whether these figures were a heartbeat for this time before other figures were stated for it."""
    if unit is None or predecessor.stated_at != stated_at:
        return False
    return any(
        repeats(said.figures, now) and (key, stated_at, said.event_id) in memory.heartbeats for said in unit.said
    )


def _hear(statement: Statement, repeated: Said, *, single: bool, memory: ContestMemory, changes: Changes) -> None:
    """Add one heartbeat for a publication without news: of its only unit, or of the whole contest."""
    root = memory.definition.root
    heartbeat = named(
        FeedStatus(
            event_id=NIL,
            contest_id=memory.definition.contest_id,
            unit_type=statement.unit.type if single else root.type,
            unit_id=statement.unit.id if single else root.area_id,
            reported_at=statement.reported_at,
            stated_at=statement.stated_at,
            observed_at=statement.observed_at,
            last_event_id=repeated.event_id,
            document_sha256=statement.documents[0].sha256,
        )
    )
    if heartbeat_key(heartbeat) not in memory.heartbeats:
        changes.heartbeats.append(heartbeat)


def _event(
    statement: Statement,
    unit: UnitMemory | None,
    predecessor: Said | None,
    now: Figures,
    snapshot: Snapshot,
    part: int,
    parts: int,
    contest: ContestDefined,
) -> CountUpdate:
    """Build the unit's next event from a statement, still without its id."""
    earlier, states = predecessor.figures if predecessor else None, contest.adding(statement.unit.type)
    reason = decrease(earlier, now, contest.selection_ids, states) if earlier is not None else ""
    correction = None
    if reason:
        assert predecessor is not None
        correction = Correction(
            reason=reason,
            basis=CorrectionBasis.INFERRED,
            authority=snapshot.source,
            replaces_event_id=predecessor.event_id,
        )
    return CountUpdate(
        event_id=NIL,
        contest_id=contest.contest_id,
        reporting_unit=statement.unit,
        sequence=unit.sequence + 1 if unit else 1,
        previous_event_id=unit.event_id if unit else None,
        kind=UpdateKind.CORRECTED if reason else UpdateKind.REPORTED,
        correction=correction,
        **{name: getattr(statement, name) for name in STATED},
        source=Source(
            name=snapshot.source,
            snapshot_id=snapshot.snapshot_id,
            part=part,
            parts=parts,
            documents=statement.documents,
            authority=statement.authority,
            channel=statement.channel,
            is_complete=snapshot.is_complete,
        ),
        is_test=contest.is_test,
    )


def _reject(statement: Statement, finding: Finding) -> Rejection:
    first = statement.documents[0]
    expected = _INSTEAD.get(finding.code, RULES[finding.code])
    return Rejection(
        finding, first.name, first.sha256, statement.observed_at, first.place, expected, statement.original
    )


_INSTEAD = {
    "F209": "units that add figures of their own",
    "F210": "one spelling of an id",
    "F307": "a sheet of the roll; one that is right, and missing there, goes into the roll: define it, and load again",
}
"""What is expected instead of a row that is held, where the rule does not say it."""
