"""What is news? Compares statements with what the log already says, and chains the news. Pure; the heart of ingest.

Place in the flow: between the adapters and `publish`. The memory it compares with is rebuilt from the log (`recall`), so a
crash loses nothing: what was published is remembered by the log, what was not is found to be news again.

A unit's statements are ordered by the office's own time (`stated_at`), its events by `sequence`. A statement is

- KNOWN when its figures are already published for that time, or hold there and later ones were published since;
- a HEARTBEAT when it repeats the latest figures under a later time: the office spoke and said nothing new;
- NEWS otherwise, also when it arrives late: readers take a unit's state from its highest (stated_at, sequence), so a
  late statement fills in history behind what was published for a later time.

What a later document only repeated was not published for its time. A late statement of other figures therefore does
stand until that document is read again: it is then news. Such news is counted as late, and the callers read again.

Figures that were published for a time are not published for it again, also where others were between: an office that goes
back to its earlier figures without a later time says what an old copy of its document says, and only such copies are common.

A note of the office that is new or another is news; the same figures without it only repeat.

A retracted statement has no figures: the next one is news, whatever it says. What is accepted from the log is what the
fold accepts (`schemas.chain`).

What an *operator* took back (basis OPERATOR, corrected or retracted) is held: a statement that follows the operator's in
official time and repeats exactly the figures taken back is rejected as F208, said aloud and kept in `results.rejected`. An
office states every sheet again with each publication, so that without this a correction would last until the next one, and
what newsrooms were told to take back would be back without a word. Other figures are news as ever and chain on the
operator's event; so are the same figures with a note of the office. An office that stands by its figures is let through by
an operator, who states them again; the figures that the operator put in their place are a heartbeat when the office repeats
them. Once the office has said something else, what it says is judged against that.

News by which what the unit adds to the count falls is CORRECTED, INFERRED: published, never smoothed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from pydantic import ValidationError

from ingest.feeds.statement import Rejection, Snapshot, Statement
from schemas.chain import judge
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, ReportingUnit, Source, SubUnits, UnitKey
from schemas.faults import first_fault
from schemas.feed_status import FeedStatus
from schemas.identity import NIL, named
from schemas.identity import statement as statement_text
from schemas.rules import RULES, Finding, check
from schemas.types import CorrectionBasis, CountStatus, ReviewReason, UpdateKind, adding

_SUB_UNITS = tuple(SubUnits.model_fields)


class Outcome(Enum):
    """What a statement is to those who follow the count; see the module's docstring."""

    KNOWN = "known"
    HEARTBEAT = "heartbeat"
    NEWS = "news"


class Figures(NamedTuple):
    """What makes one statement differ from another. `valid` is what is stated, else the votes' sum when all are stated."""

    area_path: tuple[str, ...]
    count_status: CountStatus
    source_status: str | None
    review_reason: ReviewReason | None
    votes: tuple[tuple[str, int | None], ...]
    ballots_cast: int | None
    valid: int | None
    blank_votes: int | None
    invalid_votes: int | None
    challenged_votes: int | None
    registered_voters: int | None
    registered_voters_counted: int | None
    sub_units: tuple[object, ...] | None
    office_note: str | None


class Said(NamedTuple):
    """One published statement of a unit. A retraction has no figures.

    `taken_back`: of an operator's statement, the figures that it replaced, and those that this one's had replaced before.
    """

    stated_at: datetime
    sequence: int
    event_id: UUID
    figures: Figures | None
    taken_back: tuple[Figures, ...] = ()


class UnitMemory(NamedTuple):
    """A unit's chain so far: its last event, and what it said, ordered by (stated_at, sequence)."""

    sequence: int
    event_id: UUID
    said: tuple[Said, ...]


@dataclass(slots=True)
class ContestMemory:
    """What the log says of one contest: its latest definition, its units, its heartbeats (unit, time, repeated event)."""

    definition: ContestDefined
    units: dict[UnitKey, UnitMemory] = field(default_factory=dict)
    heartbeats: set[tuple[UnitKey, datetime, UUID]] = field(default_factory=set)
    heard: dict[UnitKey, datetime] = field(default_factory=dict)
    """The latest time for which a unit only repeated itself, as far as this run or a heartbeat of its own tells."""
    unchained: int = 0
    """Events on the log that readers do not accept: forged, broken, repeated or forked. They report them; here they count
    for nothing."""

    def hear(self, heartbeat: FeedStatus) -> None:
        """Takes a heartbeat into memory."""
        key = heartbeat_key(heartbeat)
        self.heartbeats.add(key)
        _latest(self.heard, key[0], key[1])

    def count(self, unit_type: str) -> int:
        """How many units of a type have been stated."""
        return sum(1 for key in self.units if key.type == unit_type)

    def complete_since(self, unit_type: str) -> datetime:
        """When the last of the units of a type was first stated. The contest has at least one."""
        return max(unit.said[0].stated_at for key, unit in self.units.items() if key.type == unit_type)


@dataclass(slots=True)
class Changes:
    """What a batch of snapshots brings. `units` is the memory after its events; the caller adopts it once they are on the log."""

    events: list[CountUpdate] = field(default_factory=list)
    findings: list[tuple[CountUpdate, Finding]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    heartbeats: list[FeedStatus] = field(default_factory=list)
    units: dict[UnitKey, UnitMemory] = field(default_factory=dict)
    heard: dict[UnitKey, datetime] = field(default_factory=dict)
    statements: int = 0
    known: int = 0
    late: set[UUID] = field(default_factory=set)
    """Those of the events that state a time before one for which their unit was already heard."""


def figures(unit: ReportingUnit, said: Statement | CountUpdate) -> Figures:
    """The figures of a statement or of an event about `unit`."""
    path, status, source_status, reason = unit.area_path, said.count_status, said.source_status, said.review_reason
    counts, sub, note = said.counts, _flat(said.sub_units), said.office_note
    if counts is None:
        return Figures(path, status, source_status, reason, (), None, None, None, None, None, None, None, sub, note)
    votes = counts.votes
    valid = counts.valid_votes
    if valid is None and votes:
        valid = 0
        for n in votes.values():
            if n is None:
                valid = None
                break
            valid += n
    return Figures(
        path, status, source_status, reason, tuple(sorted(votes.items())), counts.ballots_cast, valid, counts.blank_votes,
        counts.invalid_votes, counts.challenged_votes, counts.registered_voters, counts.registered_voters_counted, sub, note,
    )  # fmt: skip


def _flat(sub: SubUnits | None) -> tuple[object, ...] | None:
    if sub is None:
        return None
    return tuple(tuple(sorted(value.items())) if isinstance(value, dict) else value for value in sub.__dict__.values())


def remember(memory: ContestMemory, event: CountUpdate) -> bool:
    """Takes an event of the log into memory if whoever folds the log accepts it; says whether.

    So that the next event continues the chain that readers see, also after a gap, a fork or a forgery.
    """
    key = event.unit
    unit = memory.units.get(key)
    accepted, _ = judge(event, statement_text(event), memory.definition, unit.sequence if unit else 0)
    if not accepted:
        memory.unchained += 1
        return False
    memory.units[key] = extended(unit, event)
    return True


def since(snapshots: Iterable[Snapshot], memory: ContestMemory) -> Changes:
    """What the snapshots bring that the log does not have. Reads `memory`, does not change it: see `adopt`."""
    changes = Changes()
    for snapshot in snapshots:
        changes.rejections.extend(snapshot.rejections)
        changes.statements += len(snapshot.statements)
        _since_snapshot(snapshot, memory, changes)
    return changes


def adopt(memory: ContestMemory, changes: Changes) -> None:
    """Takes changes into memory, once the log has them."""
    memory.units.update(changes.units)
    for heartbeat in changes.heartbeats:
        memory.hear(heartbeat)
    for key, time in changes.heard.items():
        _latest(memory.heard, key, time)


def published(attempts: Sequence[Changes], memory: ContestMemory) -> Changes:
    """What of several attempts at sending the same snapshots is on the log. `memory`: what the log says after the last."""
    last = attempts[-1]
    if len(attempts) == 1:
        return last
    events = {event.event_id: event for one in attempts for event in one.events}
    kept = {
        event_id: event
        for event_id, event in events.items()
        if (unit := memory.units.get(event.unit)) and any(said.event_id == event_id for said in unit.said)
    }
    beats = {beat.event_id: beat for one in attempts for beat in one.heartbeats}
    findings = {(event.event_id, finding): (event, finding) for one in attempts for event, finding in one.findings}
    return replace(
        last,
        events=list(kept.values()),
        findings=[found for (event_id, _), found in findings.items() if event_id in kept],
        heartbeats=[beat for beat in beats.values() if heartbeat_key(beat) in memory.heartbeats],
        known=last.known + len(last.events) - len(kept),
        late=set().union(*(one.late for one in attempts)) & kept.keys(),
    )


def _latest(times: dict[UnitKey, datetime], key: UnitKey, time: datetime) -> None:
    if key not in times or times[key] < time:
        times[key] = time


def heartbeat_key(heartbeat: FeedStatus) -> tuple[UnitKey, datetime, UUID]:
    """What makes a heartbeat one: which unit repeated which event under which time."""
    return (
        UnitKey(heartbeat.unit_type, heartbeat.unit_id),
        heartbeat.reported_at or heartbeat.observed_at,
        heartbeat.last_event_id,
    )


def _since_snapshot(snapshot: Snapshot, memory: ContestMemory, changes: Changes) -> None:
    contest, repeated = memory.definition, False
    first: tuple[Statement, Said] | None = None  # what a heartbeat names: the same on every reading of the document
    brought = False  # something new, now or in an earlier run
    parts = len(snapshot.statements)
    for part, statement in enumerate(snapshot.statements, start=1):
        key = UnitKey(statement.unit.type.value, statement.unit.id)
        stated_at = statement.stated_at
        before = changes.units.get(key) or memory.units.get(key)
        now = figures(statement.unit, statement)
        outcome, predecessor = compare(before, stated_at, now)
        if outcome is Outcome.NEWS and predecessor and _was_heard(memory, key, predecessor, before, stated_at, now):
            outcome = Outcome.KNOWN
        if predecessor is not None:
            first = first or (statement, predecessor)
        if outcome is Outcome.KNOWN:
            changes.known += 1
            brought = brought or (predecessor is not None and predecessor.stated_at == stated_at)
            continue
        if outcome is Outcome.HEARTBEAT and statement.reported_at is None:
            _latest(changes.heard, key, stated_at)
            repeated = True  # its time is ours, its figures are published: nothing left to check
            changes.known += 1
            continue
        try:
            event = _event(statement, before, predecessor, now, snapshot, part, parts, contest)
        except ValidationError as error:
            changes.rejections.append(_reject(statement, Finding("F202", first_fault(error))))
            continue
        findings = check(event, contest)
        if predecessor is not None and any(_repeats(was, now) for was in predecessor.taken_back):
            held = f"{event.unit} repeats figures that an operator took back, in event {predecessor.event_id}"
            findings = (*findings, Finding("F208", held))
        if fatal := next((finding for finding in findings if finding.rejects), None):
            changes.rejections.append(_reject(statement, fatal))
            continue
        if outcome is Outcome.HEARTBEAT:
            _latest(changes.heard, key, stated_at)
            repeated = True
            changes.known += 1
            continue
        event = named(event)
        changes.events.append(event)
        changes.findings.extend((event, finding) for finding in findings)
        changes.units[key] = _extended(before, event, now)
        heard = max((t for d in (memory.heard, changes.heard) if (t := d.get(key))), default=None)
        if before is not None and stated_at < max(before.said[-1].stated_at, heard or stated_at):
            changes.late.add(event.event_id)
        brought = True
    if repeated and not brought and first is not None:
        _hear(*first, single=parts == 1, memory=memory, changes=changes)


def compare(unit: UnitMemory | None, stated_at: datetime, now: Figures) -> tuple[Outcome, Said | None]:
    """What figures stated for a time are to a unit that said what it said, and the statement they follow in official time."""
    if unit is None:
        return Outcome.NEWS, None
    said = unit.said
    after = len(said)  # the first statement of a later time; nearly always none is
    while after and said[after - 1].stated_at > stated_at:
        after -= 1
    at = after
    while at and said[at - 1].stated_at == stated_at:
        at -= 1
        if _repeats(said[at].figures, now):
            return Outcome.KNOWN, said[at]
    if not after:
        return Outcome.NEWS, None
    predecessor = said[after - 1]
    if _repeats(predecessor.figures, now):
        return (Outcome.HEARTBEAT if after == len(said) else Outcome.KNOWN), predecessor
    return Outcome.NEWS, predecessor


def _repeats(was: Figures | None, now: Figures) -> bool:
    """Whether `now` says nothing that `was` did not. A note that is missing is not withdrawn: most forms have no place for one."""
    if was is not None and was.office_note is not None and now.office_note is None:
        was = was._replace(office_note=None)
    return was == now


def _was_heard(
    memory: ContestMemory, key: UnitKey, predecessor: Said, unit: UnitMemory | None, stated_at: datetime, now: Figures
) -> bool:
    """Whether these figures were a heartbeat under this time, and others were stated for the same time only after that."""
    if unit is None or predecessor.stated_at != stated_at:
        return False
    return any(
        _repeats(said.figures, now) and (key, stated_at, said.event_id) in memory.heartbeats for said in unit.said
    )


def _hear(statement: Statement, repeated: Said, *, single: bool, memory: ContestMemory, changes: Changes) -> None:
    """One heartbeat for a publication that brought nothing new: its unit's, or where it has many, the whole contest's."""
    root = memory.definition.root
    heartbeat = named(
        FeedStatus(
            event_id=NIL,
            contest_id=memory.definition.contest_id,
            unit_type=statement.unit.type.value if single else root.type.value,
            unit_id=statement.unit.id if single else root.area_id,
            reported_at=statement.reported_at,
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
    """The statement as the unit's next event, not yet named."""
    was, states = predecessor.figures if predecessor else None, adding(statement.unit.type)
    fall = _fall(was, now, contest.selection_ids, states) if was is not None else ""
    correction = None
    if fall:
        assert predecessor is not None
        correction = Correction(
            reason=fall,
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
        kind=UpdateKind.CORRECTED if fall else UpdateKind.REPORTED,
        correction=correction,
        reported_at=statement.reported_at,
        observed_at=statement.observed_at,
        count_status=statement.count_status,
        source_status=statement.source_status,
        review_reason=statement.review_reason,
        result_stage=statement.result_stage,
        counts=statement.counts,
        sub_units=statement.sub_units,
        published_percentages=statement.published_percentages,
        office_note=statement.office_note,
        source=Source(
            name=snapshot.source,
            snapshot_id=snapshot.snapshot_id,
            part=part,
            parts=parts,
            documents=statement.documents,
        ),
        is_test=contest.is_test,
    )


def extended(unit: UnitMemory | None, event: CountUpdate) -> UnitMemory:
    """The unit's memory with one event more."""
    return _extended(unit, event, None if event.kind is UpdateKind.RETRACTED else figures(event.reporting_unit, event))


def _extended(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> UnitMemory:
    new = Said(event.stated_at, event.sequence, event.event_id, now, _taken_back(unit, event, now))
    if unit is None:
        return UnitMemory(event.sequence, event.event_id, (new,))
    at = len(unit.said)
    while at and unit.said[at - 1].stated_at > new.stated_at:
        at -= 1
    return UnitMemory(event.sequence, event.event_id, (*unit.said[:at], new, *unit.said[at:]))


def _taken_back(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> tuple[Figures, ...]:
    """The figures that an operator's event takes back, with those taken back by the one it replaces; never its own."""
    correction = event.correction
    if unit is None or correction is None or correction.basis is not CorrectionBasis.OPERATOR:
        return ()
    replaced = next((said for said in unit.said if said.event_id == correction.replaces_event_id), None)
    if replaced is None:
        return ()
    return tuple(was for was in (replaced.figures, *replaced.taken_back) if was is not None and was != now)


def _fall(was: Figures, now: Figures, ballot: tuple[str, ...], states: Collection[CountStatus]) -> str:
    """Every figure by which the unit adds less to the count than before: `peru-libre −90, counted −1`; empty if none."""
    before, after = adds(was, states), adds(now, states)
    lost = None if now.count_status in states else 0  # not stated is not zero; not counted is
    falls = []
    for name in (*(s for s in ballot if s in before), *(n for n in before if n not in ballot)):
        had, has = before[name], after.get(name, lost)
        if had is not None and has is not None and has < had:
            falls.append(f"{name} −{had - has}")
    return ", ".join(falls)


def adds(f: Figures, states: Collection[CountStatus]) -> dict[str, int | None]:
    """What a unit adds to the count; None where it does not state it."""
    if f.count_status is CountStatus.ANNULLED:  # its ballots are null votes
        return {"ballots_cast": f.ballots_cast, "invalid_votes": f.ballots_cast}
    if f.count_status not in states:
        return {}
    adds = dict(f.votes)
    adds |= {
        "ballots_cast": f.ballots_cast,
        "valid_votes": f.valid,
        "blank_votes": f.blank_votes,
        "invalid_votes": f.invalid_votes,
        "registered_voters_counted": f.registered_voters_counted,
    }
    if f.sub_units is not None:
        stated = dict(zip(_SUB_UNITS, f.sub_units, strict=True))
        adds |= {name: n for name in ("processed", "counted") if isinstance(n := stated[name], int)}
    return adds


def _reject(statement: Statement, finding: Finding) -> Rejection:
    first = statement.documents[0]
    return Rejection(
        finding, first.uri, first.sha256, statement.observed_at, first.place, RULES[finding.code], statement.original
    )
