"""Fold a contest: its state, and what the next statements and definitions of the log make of it (pure).

One way for everything: live, rebuild, replay and verification. A batch of statements is applied in rounds, the first
statement of each unit, then the second of each, and so on, since no unit's state depends on another's. The rules of a
unit's state are in `UnitTable.apply`.

A duplicate or a fork changes nothing; which of the two an old sequence is, is known for the last of a chain and for the
unit's state only, so that memory is bounded by units and not by events.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from aggregator.fold.digest import StateDigest
from aggregator.fold.expected import Expected
from aggregator.fold.totals import Blocks, Totals, Touches
from aggregator.fold.unit_table import NO_GROUP, Applied, UnitTable
from results.vectors import LevelTotal
from schemas.chain import definition_fault, source_fault
from schemas.columns.layout import Layout, Mask, Numbers
from schemas.columns.roll import Roll
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.rules import Finding
from schemas.source_status import SourceStatus
from schemas.types import TOTAL_LIMIT, from_milliseconds, rfc3339, to_milliseconds
from schemas.unit_roll import UnitRoll

TOO_LARGE = str(Finding("F407", "its figures would make a total reach 2^62: no election has as many votes"))


@dataclass(frozen=True, slots=True)
class Position:
    """The place of an event on the log. `recorded`: milliseconds."""

    partition: int
    offset: int
    recorded: int


@dataclass(slots=True)
class ContestState:
    """A contest at one offset of the log, changed in place: one owner at a time."""

    index: UnitIndex = field(default_factory=UnitIndex)
    definition: Recorded | None = None
    layout: Layout = field(default_factory=lambda: Layout(()))
    units: UnitTable = field(default_factory=lambda: UnitTable(Layout(()).size))
    all_totals: Totals = field(default_factory=lambda: Totals(Layout(()).size))
    """Totals by the type of the units that are added up, and area: a moved counting level only chooses among them."""
    digest: StateDigest = field(default_factory=StateDigest)
    roll: Roll = field(init=False)
    expected: Expected = field(default_factory=Expected)
    last: Position | None = None
    """The last event, accepted or not."""
    last_reported: int = NO_TIME
    """The latest time that the office had stated in an accepted update."""
    last_recorded: int = NO_TIME
    """The latest of the broker's times; not the last event's where the broker's clock was set back."""
    area_id: str | None = None
    """The area whose official statements are kept; None: the outermost."""
    official: list[Recorded] = field(default_factory=list)
    """The accepted statements about that area, in the order of the log."""

    def __post_init__(self) -> None:
        self.roll = Roll(self.index)

    @property
    def contest(self) -> ContestDefined:
        """The definition in force. Only for a state that has one."""
        assert self.definition is not None
        return self.definition.definition

    def total(self, area: str) -> LevelTotal | None:
        """Return the count of an area: over the units of the counting level, None where nothing counted."""
        level = self.contest.counting_level
        return LevelTotal.of(self.layout, level, {name: self.all_totals.total((name, area)) for name in level})

    def beyond_expected(self) -> dict[str, int]:
        """Return by how many the known tally sheets of areas exceed those that roll or definition expect."""
        return self.expected.exceeded(self.contest, self.roll, self.all_totals)

    def root(self) -> str:
        """Return the digest of the state: docs/contract.md."""
        return self.digest.root(self.units.state_leaf, self.units.head_leaf)


@dataclass(slots=True)
class Folded:
    """A batch of statements and what each did: entry i of each column is of statement i."""

    batch: StatementBatch
    accepted: Mask
    is_current: Mask
    is_moved: Mask
    """Whether it was accepted and names other areas than its unit's state did."""
    left: Numbers
    """The group of areas that its unit counted in before it, where it moved that; else NO_GROUP."""
    change: Numbers
    """What the count gained or lost by it. Shape (statements, layout.size)."""
    superseded: Numbers
    """Of a statement that came late: the official time of the one that stays its unit's state."""
    last_reported: Numbers
    """The latest time that the office had stated in an accepted update, with this one."""
    is_later: Mask
    """Whether it was recorded later than every event before it, by the broker's clock."""
    findings: dict[int, tuple[Finding, ...]]
    places: Numbers
    """The totals that it changed, each once."""
    blocks: Blocks | None


@dataclass(frozen=True, slots=True)
class Defined:
    """A definition, a part of a roll or a change of the source's state, and what it did."""

    recorded: Recorded
    accepted: bool
    is_later: bool
    findings: tuple[Finding, ...]


def define(state: ContestState, recorded: Recorded) -> Defined:
    """Fold an event that is no statement."""
    event, current = recorded.event, state.contest if state.definition is not None else None
    later = _pass(
        state, recorded.partition, np.array([recorded.offset]), np.array([to_milliseconds(recorded.recorded_at)])
    )
    text = text_of(event)
    if isinstance(event, UnitRoll):
        fault = state.roll.accept(event, text, current)
        state.digest.roll = state.roll.leaf
        state.units.grow_to(len(state.index.keys))
        return Defined(recorded, fault is None, bool(later[0]), () if fault is None else (fault,))
    if isinstance(event, SourceStatus):
        fault = source_fault(event, text, current)
        return Defined(recorded, fault is None, bool(later[0]), () if fault is None else (fault,))
    assert isinstance(event, ContestDefined)
    if fault := definition_fault(event, text, current):
        return Defined(recorded, False, bool(later[0]), (fault,))
    state.definition, state.digest.definition = recorded, leaf(text)
    layout = Layout.of(event)
    if added := layout.size - state.layout.size:
        state.units.widen("contribution", added)
        state.all_totals.widen("vector", added)
    state.layout = layout
    if state.area_id is None:
        state.area_id = event.root.area_id
    return Defined(recorded, True, bool(later[0]), ())


def fold_statements(
    state: ContestState, partition: int, batch: StatementBatch, *, in_blocks: bool
) -> tuple[list[Folded], int | None]:
    """Fold statements that follow each other. `in_blocks`: keep totals of the past, as the tables do.

    Returns what was folded, and the entry at which it ended because that must not be counted: TOO_LARGE.
    """
    if state.definition is not None:
        state.roll.judge(batch, state.contest)
    if not len(batch) or _has_room(state, batch):
        return ([_fold(state, partition, batch, in_blocks)] if len(batch) else []), None
    folded: list[Folded] = []
    for entry in range(len(batch)):  # some figure is beyond all measure: which statement it is must not depend on
        one = batch[entry : entry + 1]  # how the log was cut into batches
        if not _has_room(state, one):
            return folded, entry
        folded.append(_fold(state, partition, one, in_blocks))
    return folded, None


def _has_room(state: ContestState, batch: StatementBatch) -> bool:
    """Say whether totals stay below the limit whatever the batch changes: of one statement, only by its own figures."""
    added = int(batch.contribution[batch.is_sound].max(initial=0)) * len(batch)
    return added + int(state.all_totals.vector.max(initial=0)) < TOTAL_LIMIT


def _fold(state: ContestState, partition: int, batch: StatementBatch, in_blocks: bool) -> Folded:
    units = state.units
    units.grow_to(len(state.index.keys))
    to = Applied.to(len(batch), state.layout.size)
    for chosen in batch.rounds(np.flatnonzero(batch.is_judged)):
        units.apply(batch, chosen, to)
    _touch_digest(state, batch, to)
    _keep_official(state, partition, batch, to.accepted)
    is_moved = to.accepted & (to.state_group != NO_GROUP) & (to.state_group != batch.group)
    change = np.where(to.is_current[:, None], batch.contribution - to.state, 0)
    reported = np.where(to.accepted, batch.reported, NO_TIME)
    last_reported = np.maximum(np.maximum.accumulate(reported), state.last_reported)
    state.last_reported = int(last_reported[-1])
    touches = _touches(state, batch, to, is_moved, change)
    return Folded(
        batch=batch,
        accepted=to.accepted,
        is_current=to.is_current,
        is_moved=is_moved,
        left=np.where(to.is_current & is_moved, to.state_group, NO_GROUP),
        change=change,
        superseded=np.where(to.accepted & ~to.is_current, to.state_stated, NO_TIME),
        last_reported=last_reported,
        is_later=_pass(state, partition, batch.offset, batch.recorded),
        findings=_findings(batch, to, state.index),
        places=np.unique(touches.place),
        blocks=state.all_totals.add(touches, batch, in_blocks=in_blocks) if len(touches.place) else None,
    )


def _keep_official(state: ContestState, partition: int, batch: StatementBatch, accepted: Mask) -> None:
    """Keep the accepted statements about the area that is asked about. They are among those read one by one."""
    for entry, update in batch.updates.items():
        unit = update.reporting_unit
        if accepted[entry] and unit.id == state.area_id and state.contest.is_area(unit):
            at = from_milliseconds(int(batch.recorded[entry]))
            state.official.append(Recorded(partition, int(batch.offset[entry]), at, update))


def _pass(state: ContestState, partition: int, offset: Numbers, recorded: Numbers) -> Mask:
    """Note the last event and the latest time of recording. Returns which were recorded later than all before."""
    assert state.last is None or int(offset[0]) > state.last.offset, "the log is read once, in order"
    assert (np.diff(offset) > 0).all(), "the log is read once, in order"
    latest = np.maximum(np.maximum.accumulate(recorded), state.last_recorded)
    is_later = recorded > np.append(state.last_recorded, latest[:-1])
    state.last = Position(partition, int(offset[-1]), int(recorded[-1]))
    state.last_recorded = int(latest[-1])
    return np.asarray(is_later)


def _touch_digest(state: ContestState, batch: StatementBatch, to: Applied) -> None:
    fresh = to.accepted & (to.head_sequence == 0)
    for number in batch.unit[fresh].tolist():
        state.digest.add(number, str(state.index.keys[number]))
    state.digest.touch(np.unique(batch.unit[to.accepted & ~fresh]).tolist())


def _touches(state: ContestState, batch: StatementBatch, to: Applied, is_moved: Mask, change: Numbers) -> Touches:
    """List every change of a total. One that moves a unit changes the areas that it leaves, too."""
    current = np.append(batch.group[to.is_current], to.state_group[to.is_current & is_moved])
    places = state.all_totals.of_groups(state.index, current)
    stay = np.flatnonzero(to.is_current & ~is_moved)
    place = places[batch.group[stay]].T.ravel()
    statement = np.tile(stay, places.shape[1])
    place, statement = place[place >= 0], statement[place >= 0]
    moves: list[tuple[int, int, Numbers]] = []
    for entry in np.flatnonzero(to.is_current & is_moved).tolist():
        left, joined = (set(places[group].tolist()) - {-1} for group in (to.state_group[entry], batch.group[entry]))
        moves += [(of, entry, -to.state[entry]) for of in left - joined]
        moves += [(of, entry, batch.contribution[entry]) for of in joined - left]
        moves += [(of, entry, change[entry]) for of in left & joined]
    if not moves:
        return Touches(place, statement, statement, np.zeros(len(place), bool), change)
    return Touches(
        place=np.concatenate([place, [of for of, _, _ in moves]]),
        statement=np.concatenate([statement, [entry for _, entry, _ in moves]]),
        row=np.concatenate([statement, np.arange(len(batch), len(batch) + len(moves))]),
        closes=np.repeat([False, True], [len(place), len(moves)]),
        changes=np.concatenate([change, np.array([vector for _, _, vector in moves])]),
    )


def _findings(batch: StatementBatch, to: Applied, index: UnitIndex) -> dict[int, tuple[Finding, ...]]:
    """Return what is to be found of each statement: by itself, and in the chain of its unit."""
    sequence, head = batch.sequence, to.head_sequence
    late = (head > 0) & (batch.stated < to.state_stated)
    odd = batch.is_judged & ((sequence != head + 1) | ~to.follows | late)
    found = dict(batch.findings)
    for entry in np.flatnonzero(odd).tolist():
        chain = _chain(batch, to, index, entry)
        found[entry] = (*found.get(entry, ()), *chain)
    return found


def _chain(batch: StatementBatch, to: Applied, index: UnitIndex, entry: int) -> Iterator[Finding]:
    unit, sequence, head = index.keys[int(batch.unit[entry])], int(batch.sequence[entry]), int(to.head_sequence[entry])
    stated, state = int(batch.stated[entry]), int(to.state_stated[entry])
    if sequence <= head:
        if to.repeats[entry]:
            yield Finding("F402", f"{unit} sequence {sequence} stands on the log already")
        else:
            yield Finding("F401", f"{unit} sequence {sequence} again; its chain is at {head}")
        return
    if sequence != head + 1:
        yield Finding("F401", f"{unit} sequence {sequence} after {head}: {sequence - head - 1} missing")
    elif not to.follows[entry]:
        previous, known = (UUID(bytes=ids[entry].tobytes()) for ids in (batch.previous, to.head_event_id))
        yield Finding("F403", f"{unit} sequence {sequence} follows {previous}, the log has {known}")
    if head and stated < state:
        times = rfc3339(from_milliseconds(stated)), rfc3339(from_milliseconds(state))
        yield Finding("F406", f"{unit} of {times[0]} arrived after that of {times[1]}")
