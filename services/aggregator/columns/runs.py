"""A run of updates folded as columns, with all that the tables hold of each (pure).

Place in the flow: beside `fold.evolve`, which is the plain way and the reference: `verify` holds what was written of
each event against it. The units come first, sheet by sheet; then the areas, in each of which all that touched it,
whether it was read as columns or plainly, is added up in the order of the log, so that every kept total stands where
the plain fold would have put it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np

from aggregator.columns.columns import NO_TIME, Columns
from aggregator.columns.roll import Roll
from aggregator.columns.sheets import close_run, elsewhere, offsets_of, pack
from aggregator.columns.wire import Bytes, Mask, Numbers
from aggregator.fold import fold
from aggregator.fold.fold import Block, ContestState, Step, judged
from results.vectors import AreaTotal
from schemas.count_update import UnitKey
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.types import from_milliseconds, to_milliseconds

_ROOM = 2**62


@dataclass(slots=True)
class Run:
    """What updates that were folded as columns did. Entry i of each column is of `entries[i]` of `columns`: all were
    accepted, became their sheet's state, left it where it was, and nothing was found of them."""

    contest_id: str
    partition: int
    columns: Columns
    entries: Numbers
    offsets: Numbers
    recorded: Numbers
    """Milliseconds."""
    change: Numbers
    """By slot. Shape (entries, size)."""
    slots: tuple[str, ...]
    """Names of the slots."""
    last_reported: Numbers
    """The latest time that the office had stated by then; NO_TIME for none."""
    is_later: Mask
    """Whether it was recorded later than every event before it."""
    blocks: list[Block] = field(default_factory=list)
    """Of everything in the run, what was folded plainly too."""
    touched: set[tuple[str, str]] = field(default_factory=set)
    """Unit type and area of every total that was changed, likewise."""

    def __len__(self) -> int:
        return len(self.entries)

    def keys(self) -> set[UnitKey]:
        """The sheets."""
        keys = self.columns.roll.keys
        return {keys[number] for number in np.unique(self.columns.units[self.entries]).tolist()}


def fold_run(
    state: ContestState, run: Sequence[RawRecord], columns: Columns, plain: dict[int, Recorded], roll: Roll
) -> tuple[Run, list[Step]]:
    """Folds updates of one contest that follow each other, as they were read into columns and, by row, plainly. Returns
    what the columns did, and the steps of all others in their order."""
    sheets = pack(state, roll)
    offsets = offsets_of(state, run)
    kept, change = sheets.take_each(
        columns, np.arange(len(columns)), elsewhere(state, plain, roll), offsets[columns.rows], state.layout
    )
    entries = np.flatnonzero(kept)
    plain = plain | {row: recorded_of_raw(run[row]) for row in columns.rows[~kept].tolist()}
    before = state.last_reported_at, state.last_recorded_at
    steps = {row: judged(state, plain[row]) for row in sorted(plain)}
    close_run(state, run, columns, entries, before)
    recorded = np.fromiter((raw.timestamp_ms for raw in run), np.int64, len(run))
    latest = _up_to(before[1], recorded)
    is_later = recorded > np.concatenate([[_ms(before[1])], latest[:-1]])
    reported = np.full(len(run), NO_TIME)
    rows = columns.rows[entries]
    reported[rows] = np.where(columns.is_reported[entries], columns.reported[entries], NO_TIME)
    for row, step in steps.items():
        if step.accepted:
            reported[row] = _ms(step.recorded.update.reported_at)
    last_reported = _up_to(before[0], reported)
    for row, step in steps.items():
        step.is_later = bool(is_later[row])
        step.last_reported_at = from_milliseconds(ms) if (ms := int(last_reported[row])) != NO_TIME else None
    done = Run(
        contest_id=state.contest.contest_id,
        partition=run[0].partition,
        columns=columns,
        entries=entries,
        offsets=offsets[rows],
        recorded=recorded[rows],
        change=change,
        slots=state.layout.names,
        last_reported=last_reported[rows],
        is_later=is_later[rows],
    )
    _add_up(state, done, list(steps.values()))
    return done, list(steps.values())


def _ms(at: datetime | None) -> int:
    return NO_TIME if at is None else to_milliseconds(at)


def _up_to(before: datetime | None, times: Numbers) -> Numbers:
    """The latest of the times up to each."""
    return np.maximum(np.maximum.accumulate(times), _ms(before))


@dataclass(slots=True)
class _Touches:
    """What changed totals, area by area and in the order of the log in each. Entry i: the change of `row[i]` of all
    changes."""

    places: list[tuple[str, str]]
    place: Numbers
    row: Numbers
    offset: Numbers
    stated: Numbers
    event_id: Bytes
    closes: Mask


def _add_up(state: ContestState, run: Run, steps: Sequence[Step]) -> None:
    """Changes the totals, and keeps those that are due."""
    touches, changes = _touches(run, steps)
    if not touches.place.size:
        return
    wide = float(np.abs(changes).max(initial=0)) * len(touches.row) >= _ROOM
    ends = np.flatnonzero(np.diff(touches.place, append=-1)) + 1
    begin = 0
    for end in ends.tolist():
        unit_type, area = touches.places[int(touches.place[begin])]
        total = state.total(unit_type, area)
        kind = object if wide or max(total.vector) >= _ROOM else np.int64  # Python's numbers have no end
        vectors = np.cumsum(changes[touches.row[begin:end]].astype(kind), axis=0) + np.array(total.vector, kind)
        run.blocks += _blocks(unit_type, area, total, vectors, touches, begin, end)
        run.touched.add((unit_type, area))
        begin = end


def _touches(run: Run, steps: Sequence[Step]) -> tuple[_Touches, Numbers]:
    """Everything that touched an area, and the changes that it did there. Shape of these (changes, size)."""
    numbers: dict[tuple[str, str], int] = {}
    columns, entries, groups = run.columns, run.entries, run.columns.roll.groups
    known = np.unique(columns.groups[entries])
    depth = max((len(groups[g][1]) for g in known.tolist()), default=0)
    areas = np.full((len(groups), depth), -1, np.int64)
    for g in known.tolist():
        unit_type, path = groups[g]
        areas[g, : len(path)] = [numbers.setdefault((unit_type, area), len(numbers)) for area in path]
    place = areas[columns.groups[entries]].T.ravel()
    row = np.tile(np.arange(len(entries)), depth)
    place, row = place[place >= 0], row[place >= 0]
    others = [(step, area, change) for step in steps for area, change in step.changes.items()]
    units = [step.recorded.update.unit.type for step, _, _ in others]
    changes = [run.change, *(np.array([change], np.int64) for _, _, change in others)]
    more = [numbers.setdefault((kind, area), len(numbers)) for kind, (_, area, _) in zip(units, others, strict=True)]
    recorded = [step.recorded for step, _, _ in others]
    closes = np.concatenate([np.zeros(len(entries), bool), np.array([step.is_moved for step, _, _ in others], bool)])
    offset = np.concatenate([run.offsets, np.array([r.offset for r in recorded], np.int64)])
    stated = np.concatenate([columns.stated[entries], np.array([_ms(r.stated_at) for r in recorded], np.int64)])
    ids = b"".join(r.event.event_id.bytes for r in recorded)
    event_id = np.concatenate([columns.event_id[entries], np.frombuffer(ids, np.uint8).reshape(-1, 16)])
    place = np.concatenate([place, np.array(more, np.int64)])
    row = np.concatenate([row, np.arange(len(entries), len(entries) + len(others))])
    order = np.lexsort((offset[row], place))
    place, row = place[order], row[order]
    touches = _Touches(list(numbers), place, row, offset[row], stated[row], event_id[row], closes[row])
    return touches, np.concatenate(changes)


def _blocks(
    unit_type: str, area: str, total: AreaTotal, vectors: Numbers, touches: _Touches, begin: int, end: int
) -> Iterator[Block]:
    """Brings a total up to date; the blocks that end on the way. `vectors`: the total after each touch."""
    offsets = touches.offset[begin:end].tolist()
    stated = np.maximum(np.maximum.accumulate(touches.stated[begin:end]), _ms(total.stated_at))

    def after(i: int) -> AreaTotal:
        return AreaTotal(
            vectors[i].tolist(),
            from_milliseconds(int(stated[i])),
            offsets[i],
            UUID(bytes=touches.event_id[begin + i].tobytes()),
            [],
            total.kept_at,
        )

    since, kept = total.since, 0
    for i in _closing(len(since), touches.closes[begin:end]):
        first, total.kept_at = total.kept_at + 1, offsets[i]
        yield Block(unit_type, area, first, offsets[i], (*since, *offsets[kept : i + 1]), after(i))
        since, kept = [], i + 1
    last = after(len(offsets) - 1)
    total.vector, total.stated_at = last.vector, last.stated_at
    total.last_offset, total.last_event_id = last.last_offset, last.last_event_id
    total.since = [*since, *offsets[kept:]]


def _closing(already: int, closes: Mask) -> Iterator[int]:
    """Which touches end a block: every so many-th since the one before, and what closes one."""
    begin = -already
    for close in [*np.flatnonzero(closes).tolist(), len(closes)]:
        for i in range(begin + fold.BLOCK - 1, close, fold.BLOCK):
            yield i
            begin = i + 1
        if close < len(closes):
            yield close
            begin = close + 1
