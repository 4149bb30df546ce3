"""The fold: a contest's state, and what one more event of the log makes of it (pure).

A unit's state is its accepted update with the latest official time (`stated_at`), the highest sequence breaking
ties. The design said "the highest sequence"; but a bulletin that is found a day late must be kept, in its place
in the chain, without turning the count back, and then the order of the chain is not the order of the office. In a
feed that arrives in order the two rules are the same.

An update is accepted when its sequence is higher than every one accepted before it. A gap is a finding, but the
update counts: counts are absolute, so a lost event cannot shift a sum. A duplicate or a fork changes nothing; which of
the two an old sequence is, is known for the last of a chain and for the unit's state only, so that memory is bounded by
units, and by what the office states of whole areas, and not by events.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import neg, sub
from typing import Protocol
from uuid import UUID

from aggregator.fold.digest import Others, StateDigest
from results.vectors import AreaTotal, Layout, Vector
from schemas.chain import definition_fault, judge
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.rules import Finding
from schemas.types import AREA_TYPES, rfc3339


@dataclass(slots=True)
class Unit:
    """A reporting unit: the statement that is its state now, and the end of its chain of updates."""

    areas: tuple[str, ...]
    contribution: Vector
    stated_at: datetime
    sequence: int
    event_id: UUID
    offset: int
    leaf: bytes
    head_sequence: int
    head_event_id: UUID
    head_offset: int
    head_leaf: bytes
    first_sequence: int = 0
    """The first that this fold accepted of it; 0 where its beginning was not folded but read back."""


BLOCK = 16
"""Updates between two kept totals of an area: what is added up for a past offset, at most. More of them makes the
tables smaller and every answer about the past slower. It is part of what the tables hold: another number needs a
rebuild."""


@dataclass(frozen=True, slots=True)
class Block:
    """An area's total as it was at offset `end`, and the updates that led there from the block before.

    Between the ends of two blocks a total is the earlier one and the recorded changes of the updates up to there. Only
    the last update of a block may do more than its recorded change says: it closes the block, whose total says the
    rest.
    """

    unit_type: str
    area_id: str
    begin: int
    end: int
    offsets: tuple[int, ...]
    total: AreaTotal


@dataclass(slots=True)
class Step:
    """What one event did."""

    recorded: Recorded
    findings: tuple[Finding, ...] = ()
    accepted: bool = False
    is_current: bool = False
    change: dict[str, int] = field(default_factory=dict)
    """What the count gained or lost by it, by slot name; {} when it changed nothing."""
    changes: dict[str, Vector] = field(default_factory=dict)
    """By area what it changes its total over the units of its type by: by nothing, but by this event, too."""
    leaf: bytes = b""
    superseded_at: datetime | None = None
    """Of a statement that came late: the official time of the one that stays its unit's state."""
    is_moved: bool = False
    """Whether it names other areas than its unit's state did."""
    blocks: list[Block] = field(default_factory=list)
    last_reported_at: datetime | None = None
    """The latest time that the office had stated in an accepted update, with this one."""
    is_later: bool = False
    """Whether it was recorded later than every event before it, by the broker's clock."""

    @property
    def areas(self) -> tuple[str, ...]:
        """Areas whose total, over the units of its type, it touched."""
        return tuple(self.changes)


class Apart(Others, Protocol):
    """Units that a state keeps elsewhere, in another form (`sheets`)."""

    def __len__(self) -> int: ...

    def take_out(self, key: UnitKey) -> Unit | None:
        """A unit, which is no longer there then; None where it is not."""

    def widen(self, added: int) -> None:
        """The contest has so many more selections."""

    def offsets(self, key: UnitKey) -> tuple[int, int]:
        """Of a unit that is there: its state, and the last of its chain."""


Witness = tuple[UnitKey | None, tuple[int, ...]]
"""An event's unit (None for a definition), and the offsets by which it would be judged alike again, were the others
gone: its own, and those of its unit's state and head at that time."""


@dataclass(slots=True)
class ContestState:
    """A contest at one offset of the log. `evolve` changes it in place: one owner at a time."""

    definition: Recorded | None = None
    layout: Layout = field(default_factory=lambda: Layout(()))
    units: dict[UnitKey, Unit] = field(default_factory=dict)
    sheets: Apart | None = None
    """Units that are not in `units`."""
    sums: dict[str, dict[str, AreaTotal]] = field(default_factory=dict)
    """Totals by the type of the units that are added up, then by area: a moved counting level only chooses among
    them."""
    official: dict[str, list[Recorded]] = field(default_factory=dict)
    """Accepted statements about areas, by area id, in the order of the log."""
    revisions: list[int] = field(default_factory=list)
    """Offsets of the accepted definitions."""
    moves: list[int] = field(default_factory=list)
    """Offsets, two for each time a unit changed its areas: of the update that was its state, and of the one that moved
    it."""
    digest: StateDigest = field(default_factory=StateDigest)
    last: Recorded | None = None
    last_reported_at: datetime | None = None
    last_recorded_at: datetime | None = None
    """The latest of the broker's times; not the last event's where the broker's clock was set back."""
    reported_by: Witness = (None, ())
    """Who first stated `last_reported_at`."""
    recorded_by: Witness = (None, ())
    """What was first recorded at `last_recorded_at`."""

    @property
    def totals(self) -> dict[str, AreaTotal]:
        """The count: totals by area over the units of the counting level."""
        return self.sums.get(self.contest.counting_level.value, {}) if self.definition is not None else {}

    @property
    def unit_count(self) -> int:
        """Units that were ever stated."""
        return len(self.units) + (len(self.sheets) if self.sheets is not None else 0)

    def unit(self, key: UnitKey) -> Unit | None:
        """A unit, from now on among `units`; None for one that was never stated."""
        unit = self.units.get(key)
        if unit is None and self.sheets is not None and (unit := self.sheets.take_out(key)) is not None:
            self.units[key] = unit
            self.digest.put(str(key).encode(), unit.leaf + unit.head_leaf)
        return unit

    def total(self, unit_type: str, area: str) -> AreaTotal:
        """The sum over an area's units of a type; of nothing yet where there are none."""
        totals = self.sums.setdefault(unit_type, {})
        total = totals.get(area)
        if total is None:
            total = totals[area] = AreaTotal(self.layout.zero())
        return total

    def root(self) -> str:
        """The digest of the state: docs/contract.md."""
        return self.digest.root(self.sheets)

    def offsets(self, key: UnitKey) -> tuple[int, int]:
        """Of a unit: its state, and the last of its chain."""
        if (unit := self.units.get(key)) is not None:
            return unit.offset, unit.head_offset
        assert self.sheets is not None
        return self.sheets.offsets(key)

    @property
    def contest(self) -> ContestDefined:
        """The definition in force. Only for a state that has one."""
        assert self.definition is not None
        return self.definition.definition


def evolve(state: ContestState, recorded: Recorded) -> Step:
    """Take one event into `state`. Never raises on data: what is wrong with it is in the step's findings."""
    step = judged(state, recorded)
    for area, change in step.changes.items():
        kind = recorded.update.reporting_unit.type.value
        total = state.total(kind, area)
        total.put(change, recorded.update.stated_at, recorded.offset, recorded.event.event_id)
        _keep(step, kind, area, total, close=step.is_moved)
    return step


def judged(state: ContestState, recorded: Recorded) -> Step:
    """What `evolve` does, but for the totals: these are still to be changed as the step says."""
    assert state.last is None or recorded.offset > state.last.offset, "the log is read once, in order"
    state.last = recorded
    event = recorded.event
    text = text_of(event)
    step, reported = Step(recorded, leaf=leaf(text)), state.last_reported_at
    if state.last_recorded_at is None or recorded.recorded_at > state.last_recorded_at:
        state.last_recorded_at, step.is_later = recorded.recorded_at, True
    if isinstance(event, ContestDefined):
        _define(state, step, event, text)
    else:
        _update(state, step, event, text)
    step.last_reported_at = state.last_reported_at
    if step.is_later:
        state.recorded_by = _witness(state, recorded)
    if state.last_reported_at is not reported:
        state.reported_by = _witness(state, recorded)
    return step


def _witness(state: ContestState, recorded: Recorded) -> Witness:
    key = recorded.event.unit if isinstance(recorded.event, CountUpdate) else None
    unit = state.units.get(key) if key is not None else None
    return key, (recorded.offset,) if unit is None else (recorded.offset, unit.offset, unit.head_offset)


def _define(state: ContestState, step: Step, event: ContestDefined, text: bytes) -> None:
    current = state.contest if state.definition is not None else None
    if fault := definition_fault(event, text, current):
        step.findings = (fault,)
        return
    step.accepted = step.is_current = True
    state.definition = step.recorded
    state.digest.definition = step.leaf
    state.revisions.append(step.recorded.offset)
    layout = Layout.of(event)
    added = [0] * (layout.size - state.layout.size) if current is not None else []
    state.layout = layout
    if added:
        for unit in state.units.values():
            unit.contribution.extend(added)
        if state.sheets is not None:
            state.sheets.widen(len(added))
        for totals in state.sums.values():
            for total in totals.values():
                total.vector.extend(added)


def sum_up(state: ContestState) -> dict[str, dict[str, AreaTotal]]:
    """All totals anew, from the units alone. What last touched an area may be a unit that has left it: that is not in
    here."""
    sums: dict[str, dict[str, AreaTotal]] = {}
    for key, unit in state.units.items():
        totals = sums.setdefault(key.type, {})
        for area in unit.areas:
            total = totals.get(area)
            if total is None:
                total = totals[area] = AreaTotal(state.layout.zero())
            total.put(unit.contribution, unit.stated_at, unit.offset, unit.event_id)
    return sums


def _keep(step: Step, unit_type: str, area: str, total: AreaTotal, *, close: bool) -> None:
    """Takes the update down in the history of an area's total, and ends the block when it is full."""
    offset = step.recorded.offset
    total.since.append(offset)
    if close or len(total.since) >= BLOCK:
        kept = replace(total, vector=list(total.vector), since=[], kept_at=offset)
        step.blocks.append(Block(unit_type, area, total.kept_at + 1, offset, tuple(total.since), kept))
        total.since, total.kept_at = [], offset


def _update(state: ContestState, step: Step, event: CountUpdate, text: bytes) -> None:
    recorded, key = step.recorded, event.unit
    unit = state.unit(key)
    contest = state.contest if state.definition is not None else None
    accepted, findings = judge(event, text, contest, unit.head_sequence if unit is not None else 0)
    if findings and findings[0].code in ("F404", "F405"):
        step.findings = tuple(findings)
        return
    step.findings = (*findings, *_chain(unit, event))
    if not accepted:
        return
    step.accepted = True
    if key.type in AREA_TYPES:
        state.official.setdefault(key.id, []).append(recorded)
    if event.reported_at is not None and (state.last_reported_at is None or event.reported_at > state.last_reported_at):
        state.last_reported_at = event.reported_at
    if unit is None:
        before = state.layout.zero()
        unit = state.units[key] = Unit(
            areas=(),
            contribution=before,
            stated_at=event.stated_at,
            sequence=0,
            event_id=event.event_id,
            offset=-1,
            leaf=b"",
            head_sequence=0,
            head_event_id=event.event_id,
            head_offset=-1,
            head_leaf=b"",
            first_sequence=event.sequence,
        )
    unit.head_sequence, unit.head_event_id = event.sequence, event.event_id
    unit.head_offset, unit.head_leaf = recorded.offset, step.leaf
    step.is_moved = unit.areas not in (event.counting_areas, ())
    if event.stated_at >= unit.stated_at:
        step.is_current = True
        _replace(state, unit, step, event)
    else:
        step.superseded_at = unit.stated_at
    state.digest.put(str(key).encode(), unit.leaf + unit.head_leaf)


def _replace(state: ContestState, unit: Unit, step: Step, event: CountUpdate) -> None:
    """`event` becomes the unit's state."""
    before, after = unit.contribution, state.layout.contribution(event)
    left, unit.areas = unit.areas, event.counting_areas
    if step.is_moved:
        state.moves += (unit.offset, step.recorded.offset)
    unit.stated_at, unit.sequence, unit.event_id = event.stated_at, event.sequence, event.event_id
    unit.offset, unit.leaf, unit.contribution = step.recorded.offset, step.leaf, after
    change = list(map(sub, after, before))
    step.change = state.layout.nonzero(change)
    changes = dict.fromkeys(unit.areas, change)
    if step.is_moved:
        changes = {area: change if area in unit.areas else list(map(neg, before)) for area in left}
        changes |= {area: after for area in unit.areas if area not in left}
    step.changes = changes


def _chain(unit: Unit | None, event: CountUpdate) -> Iterable[Finding]:
    head = 0 if unit is None else unit.head_sequence
    if unit is not None and event.sequence <= head:
        if event.event_id in (unit.head_event_id, unit.event_id):
            yield Finding("F402", f"{event.unit} sequence {event.sequence} stands on the log already")
        else:
            yield Finding("F401", f"{event.unit} sequence {event.sequence} again; its chain is at {head}")
    elif event.sequence != head + 1:
        yield Finding(
            "F401",
            f"{event.unit} sequence {event.sequence} after {head}: {event.sequence - head - 1} missing",
        )
    elif unit is not None and event.previous_event_id != unit.head_event_id:
        yield Finding(
            "F403",
            f"{event.unit} sequence {event.sequence} follows {event.previous_event_id}, "
            f"the log has {unit.head_event_id}",
        )
    if unit is not None and event.sequence > head and event.stated_at < unit.stated_at:
        yield Finding(
            "F406",
            f"{event.unit} of {rfc3339(event.stated_at)} arrived after that of {rfc3339(unit.stated_at)}",
        )
