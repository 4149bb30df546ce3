"""The fold of a log in memory: what each event did, and the count at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.messages import fold_messages
from results.vectors import AreaTotal, LevelTotal
from schemas.columns.decoder import Decoder
from schemas.count_update import UnitKey
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.rules import Finding
from tests.support.strategies import Event, raw, recorded


@dataclass(frozen=True, slots=True)
class Step:
    """What one event did."""

    recorded: Recorded
    accepted: bool
    findings: tuple[Finding, ...]
    is_current: bool = False
    is_moved: bool = False
    change: dict[str, int] = field(default_factory=dict)
    """What the count gained or lost by it, by name."""
    leaf: bytes = b""
    areas: tuple[str, ...] = ()
    """Areas of whose totals it is the last update. Of a batch of one: all that it changed."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The state of a unit, and the last of its chain."""

    event_id: UUID
    head_sequence: int
    head_event_id: UUID


def folded(log: Iterable[Recorded], batch: int = 1, *, area_id: str | None = None) -> tuple[ContestState, list[Step]]:
    """The state at the end of a log, and the step of each event. `batch`: so many messages are folded at once."""
    return folded_messages([raw(r) for r in log], batch, area_id=area_id)


def fold(*events: Event, area_id: str | None = None) -> tuple[ContestState, list[Step]]:
    """The same of events, put on a log."""
    return folded(recorded(events), area_id=area_id)


def folded_messages(
    records: Sequence[RawRecord], batch: int = 1, *, area_id: str | None = None
) -> tuple[ContestState, list[Step]]:
    """The same of messages of one contest."""
    state, steps = ContestState(area_id=area_id), list[Step]()
    for state, done in batches(records, [batch], area_id=area_id):  # noqa: B007 - that of the last is returned
        steps += done
    return state, steps


def batches(
    records: Sequence[RawRecord], sizes: Sequence[int], *, area_id: str | None = None
) -> Iterator[tuple[ContestState, list[Step]]]:
    """Fold messages of one contest, batches of these sizes in turn: the state after each, and the steps in it."""
    state = ContestState(area_id=area_id)
    decoder = Decoder((records[0].key or b"").decode() if records else "", state.index)
    begin = number = 0
    while begin < len(records):
        size = sizes[number % len(sizes)]
        own = records[begin : begin + size]
        done = list[Folded | Defined]()
        stop = fold_messages(state, decoder, own, done.append, in_blocks=True)
        assert stop is None, stop
        yield state, [step for one in done for step in _steps(state, one, own)]
        begin, number = begin + size, number + 1


def _steps(state: ContestState, done: Folded | Defined, records: Sequence[RawRecord]) -> Iterator[Step]:
    if isinstance(done, Defined):
        yield Step(done.recorded, done.accepted, done.findings)
        return
    by_offset = {record.offset: record for record in records}
    totals = state.all_totals
    changed = [(int(totals.last_offset[place]), totals.places[place][1]) for place in done.places.tolist()]
    for entry, offset in enumerate(done.batch.offset.tolist()):
        yield Step(
            recorded_of_raw(by_offset[offset]),
            bool(done.accepted[entry]),
            done.findings.get(entry, ()),
            bool(done.is_current[entry]),
            bool(done.is_moved[entry]),
            state.layout.nonzero(done.change[entry].tolist()),
            done.batch.leaf[entry].tobytes(),
            tuple(area for last, area in changed if last == offset),
        )


def area_totals(state: ContestState) -> dict[str, AreaTotal]:
    """The count: the total of each area over the units of the counting level."""
    if state.definition is None:
        return {}
    level = state.contest.counting_level
    found = {area: state.total(area) for unit_type, area in state.all_totals.places if unit_type in level}
    return {area: _summed(total) for area, total in found.items() if total is not None}


def _summed(total: LevelTotal) -> AreaTotal:
    vectors = [part.vector for part in total.parts.values()]
    return replace(total.last, vector=[sum(slot) for slot in zip(*vectors, strict=True)], stated_at=total.stated_at)


def totals(state: ContestState) -> dict[str, dict[str, int]]:
    """The same figures by name, but for zeros."""
    named = {area: state.layout.nonzero(total.vector) for area, total in area_totals(state).items()}
    return {area: figures for area, figures in named.items() if figures}


def units(state: ContestState) -> dict[UnitKey, Unit]:
    """Every unit with an accepted statement."""
    table = state.units
    return {
        key: Unit(
            UUID(bytes=table.state_event_id[number].tobytes()),
            int(table.head_sequence[number]),
            UUID(bytes=table.head_event_id[number].tobytes()),
        )
        for number, key in enumerate(state.index.keys[: len(table)])
        if table.head_sequence[number]
    }


def whole(state: ContestState) -> object:
    """Everything in a state that may be asked for, whatever the numbers of its units and totals are."""
    all_totals = {place: total for place in state.all_totals.places if (total := state.all_totals.total(place))}
    return (
        state.root(), state.definition, units(state), all_totals, state.official, state.last, state.last_reported,
        state.last_recorded, state.layout,
    )  # fmt: skip
