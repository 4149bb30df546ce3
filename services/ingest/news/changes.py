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

News by which the unit adds less to the count is CORRECTED, INFERRED: published, never smoothed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from uuid import UUID

from pydantic import ValidationError

from ingest.feeds.statement import Rejection, Snapshot, Statement
from ingest.news.contest_memory import ContestMemory, Said, UnitMemory, extended_by, heartbeat_key, keep_latest
from ingest.news.figures import Figures, decrease, figures, repeats
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, Source, UnitKey
from schemas.faults import first_fault
from schemas.feed_status import FeedStatus
from schemas.identity import NIL, named
from schemas.rules import RULES, Finding, check
from schemas.types import CorrectionBasis, UpdateKind, adding


class Outcome(Enum):
    """What a statement means to readers of the count; see the module's docstring."""

    KNOWN = "known"
    HEARTBEAT = "heartbeat"
    NEWS = "news"


@dataclass(slots=True)
class Changes:
    """The news of a batch of snapshots. `units`: the memory after its events, for `adopt` once they are on the log."""

    events: list[CountUpdate] = field(default_factory=list)
    findings: list[tuple[CountUpdate, Finding]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    heartbeats: list[FeedStatus] = field(default_factory=list)
    units: dict[UnitKey, UnitMemory] = field(default_factory=dict)
    heard: dict[UnitKey, datetime] = field(default_factory=dict)
    statements: int = 0
    known: int = 0
    late: set[UUID] = field(default_factory=set)
    """Events that state a time before one for which their unit had already been stated."""


def changes_since(snapshots: Iterable[Snapshot], memory: ContestMemory) -> Changes:
    """Find what the snapshots state that the log does not have. Does not change `memory`: see `adopt`."""
    changes = Changes()
    for snapshot in snapshots:
        changes.rejections.extend(snapshot.rejections)
        changes.statements += len(snapshot.statements)
        _compare_snapshot(snapshot, memory, changes)
    return changes


def adopt(memory: ContestMemory, changes: Changes) -> None:
    """Add changes to the memory, once they are on the log."""
    memory.units.update(changes.units)
    for heartbeat in changes.heartbeats:
        memory.hear(heartbeat)
    for key, time in changes.heard.items():
        keep_latest(memory.heard, key, time)


def published(attempts: Sequence[Changes], memory: ContestMemory) -> Changes:
    """Return what several attempts to send the same snapshots put on the log. `memory`: the log after the last."""
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


def _compare_snapshot(snapshot: Snapshot, memory: ContestMemory, changes: Changes) -> None:
    contest, repeated = memory.definition, False
    first: tuple[Statement, Said] | None = None  # what a heartbeat names: the same on every reading of the document
    brought = False  # news, now or in an earlier run
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
            keep_latest(changes.heard, key, stated_at)
            repeated = True  # the time is that of observation, the figures are published: there is nothing to check
            changes.known += 1
            continue
        try:
            event = _event(statement, before, predecessor, now, snapshot, part, parts, contest)
        except ValidationError as error:
            changes.rejections.append(_reject(statement, Finding("F202", first_fault(error))))
            continue
        findings = check(event, contest)
        if predecessor is not None and any(repeats(earlier, now) for earlier in predecessor.taken_back):
            held = f"{event.unit} repeats figures that an operator took back, in event {predecessor.event_id}"
            findings = (*findings, Finding("F208", held))
        if fatal := next((finding for finding in findings if finding.rejects), None):
            changes.rejections.append(_reject(statement, fatal))
            continue
        if outcome is Outcome.HEARTBEAT:
            keep_latest(changes.heard, key, stated_at)
            repeated = True
            changes.known += 1
            continue
        event = named(event)
        changes.events.append(event)
        changes.findings.extend((event, finding) for finding in findings)
        changes.units[key] = extended_by(before, event, now)
        heard = max((t for d in (memory.heard, changes.heard) if (t := d.get(key))), default=None)
        if before is not None and stated_at < max(before.said[-1].stated_at, heard or stated_at):
            changes.late.add(event.event_id)
        brought = True
    if repeated and not brought and first is not None:
        _hear(*first, single=parts == 1, memory=memory, changes=changes)


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
    """Build the unit's next event from a statement, still without its id."""
    earlier, states = predecessor.figures if predecessor else None, adding(statement.unit.type)
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


def _reject(statement: Statement, finding: Finding) -> Rejection:
    first = statement.documents[0]
    return Rejection(
        finding, first.uri, first.sha256, statement.observed_at, first.place, RULES[finding.code], statement.original
    )
