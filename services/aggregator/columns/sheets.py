"""The states of ordinary tally sheets, as columns, and what a batch of statements makes of them (pure).

Place in the flow: a part of a `fold.ContestState`, in a replay and in the live run alike. A sheet whose state is the
last of its chain is a row of numbers here; every other unit is a `fold.Unit`. A unit is in one of the two, and goes
from one to the other when it has to: what `take` cannot vouch for is left to the plain fold, unit by unit, since no
unit's state depends on another's.

In a replay totals are added up at the end (`settle`): they are sums, and what last touched an area is a maximum, the
same in any order; where the blocks of an area's total begin is then not known, as in a merged state. The live run has
to know it: `runs`.

Over 400 lines until the one fold replaces it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np

from aggregator.columns.columns import NO_TIME, Columns
from aggregator.columns.roll import TYPES, Roll, wire_name
from aggregator.columns.wire import LARGEST, Mask, Numbers
from aggregator.fold.digest import BUCKETS
from aggregator.fold.fold import ContestState, Step, Unit, Witness, evolve
from results.vectors import Layout
from schemas.count_update import UnitKey
from schemas.identity import text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.types import from_milliseconds, to_milliseconds

COLUMNS = (
    ("group", np.int64, ()), ("stated", np.int64, ()), ("sequence", np.int64, ()), ("offset", np.int64, ()),
    ("first", np.int64, ()), ("event_id", np.uint8, (16,)), ("leaf", np.uint8, (32,)),
)  # fmt: skip


class Sheets:
    """Rows are numbers of the `roll`; `here` says which of them are in use."""

    def __init__(self, roll: Roll, size: int) -> None:
        self.roll = roll
        self.here: Mask = np.zeros(0, bool)
        self.figures: Numbers = np.zeros((0, size), np.int64)
        """What each adds to the count, by slot; zeros of what is not here."""
        for name, kind, shape in COLUMNS:
            setattr(self, name, np.zeros((0, *shape), kind))
        self.group: Numbers
        self.stated: Numbers
        self.sequence: Numbers
        self.offset: Numbers
        self.first: Numbers
        """The first sequence that this fold accepted."""
        self.event_id: Any
        self.leaf: Any
        self.touched = _Touched(size)
        self.stale: set[int] = set()
        self._sort_anew()

    def _sort_anew(self) -> None:
        self._buckets: list[Numbers] = [np.zeros(0, np.int64)] * BUCKETS
        self._new: list[list[int]] = [[] for _ in range(BUCKETS)]
        self._sorted = 0

    def __len__(self) -> int:
        return int(self.here.sum())

    def take(
        self, columns: Columns, entries: Numbers, elsewhere: Collection[int], offsets: Numbers, layout: Layout
    ) -> Mask:
        """Takes the statements of sheets that only go on in their chains. Which entries were taken; the others are for
        the plain fold.

        `elsewhere`: sheets that are not here, or of which the batch says more. `offsets`: on the log, by entry of
        `columns`.
        """
        unit, entry, begins, taken = self._chosen(columns, entries, elsewhere, strictly=False)
        ends = _ends(begins) & taken
        last = entry[ends]
        figures = columns.contributions(layout, last)
        self.touched.add(
            columns.groups[last],
            figures - self.figures[unit[ends]],
            columns.stated[last],
            offsets[last],
            columns.event_id[last],
        )
        self._put(columns, unit[ends], entry[begins & taken], last, offsets, figures)
        return _in_order(entry, taken)

    def take_each(
        self, columns: Columns, entries: Numbers, elsewhere: Collection[int], offsets: Numbers, layout: Layout
    ) -> tuple[Mask, Numbers]:
        """The same where every statement is to be written down: only those of which there is nothing to be found, and
        the totals are not touched. Also what each that was taken adds to the count or takes from it. Shape (taken,
        size)."""
        unit, entry, begins, taken = self._chosen(columns, entries, elsewhere, strictly=True)
        figures = columns.contributions(layout, entry[taken])
        before = np.empty_like(figures)
        before[1:] = figures[:-1]
        before[begins[taken]] = self.figures[unit[begins & taken]]
        ends = _ends(begins)
        self._put(
            columns, unit[ends & taken], entry[begins & taken], entry[ends & taken], offsets, figures[ends[taken]]
        )
        return _in_order(entry, taken), (figures - before)[np.argsort(entry[taken])]

    def _chosen(
        self, columns: Columns, entries: Numbers, elsewhere: Collection[int], *, strictly: bool
    ) -> tuple[Numbers, Numbers, Mask, Mask]:
        """Sheet by sheet, in the order of the log: sheets, entries, which begin a sheet, and which are taken: all of a
        sheet's or none."""
        self._make_room()
        units = columns.units[entries]
        order = np.argsort(units, kind="stable")
        unit, entry = units[order], entries[order]
        begins = np.ones(len(unit), bool)
        begins[1:] = unit[1:] != unit[:-1]
        good = self._goes_on(columns, unit, entry, begins, strictly)
        refused = np.zeros(len(self.here), bool)
        refused[unit[~good]] = True
        refused[list(elsewhere)] = True
        return unit, entry, begins, ~refused[unit]

    def _goes_on(self, columns: Columns, unit: Numbers, entry: Numbers, begins: Mask, strictly: bool) -> Mask:
        """Of each statement whether it is accepted, becomes its sheet's state, and leaves it where it is; strictly,
        whether it is the very next of the chain, too, and breaks no rule."""
        sequence, stated, group = columns.sequence[entry], columns.stated[entry], columns.groups[entry]
        had_sequence = _before(sequence, begins, np.where(self.here[unit], self.sequence[unit], 0))
        had_stated = _before(stated, begins, np.where(self.here[unit], self.stated[unit], NO_TIME))
        had_group = _before(group, begins, np.where(self.here[unit], self.group[unit], group))
        good: Mask = (sequence > had_sequence) & (stated >= had_stated) & (group == had_group)
        if strictly:
            had_id = _before(columns.event_id[entry], begins, self.event_id[unit])
            follows = (columns.previous[entry] == had_id).all(axis=1)
            good &= (sequence == had_sequence + 1) & (follows | (had_sequence == 0)) & columns.is_sound[entry]
        return good

    def _put(
        self, columns: Columns, unit: Numbers, first: Numbers, last: Numbers, offsets: Numbers, figures: Numbers
    ) -> None:
        """Makes each sheet's last statement its state."""
        new = ~self.here[unit]
        self.first[unit[new]] = columns.sequence[first[new]]
        self.here[unit] = True
        self.figures[unit] = figures
        self.group[unit], self.stated[unit] = columns.groups[last], columns.stated[last]
        self.sequence[unit], self.offset[unit] = columns.sequence[last], offsets[last]
        self.event_id[unit], self.leaf[unit] = columns.event_id[last], columns.leaves(last)
        self._spoil(unit)

    def _spoil(self, numbers: Numbers) -> None:
        buckets = self.roll.buckets
        self.stale.update([buckets[n] for n in numbers.tolist()])

    def _make_room(self) -> None:
        if (known := len(self.roll.keys)) <= len(self.here):
            return
        room = max(1024, known, 2 * len(self.here))
        for name in ("here", "figures", *(name for name, _, _ in COLUMNS)):
            had = getattr(self, name)
            grown = np.zeros((room, *had.shape[1:]), had.dtype)
            grown[: len(had)] = had
            setattr(self, name, grown)

    def widen(self, added: int) -> None:
        """The contest has so many more selections."""
        self.figures = np.pad(self.figures, ((0, 0), (0, added)))
        self.touched.widen(added)

    def take_out(self, key: UnitKey) -> Unit | None:
        """A sheet as a unit of the plain fold, where it is then; None where it is not here."""
        number = self.roll.of_key(key)
        if not 0 <= number < len(self.here) or not self.here[number]:
            return None
        unit = self._unit(number)
        self.here[number], self.figures[number] = False, 0
        self.stale.add(self.roll.buckets[number])
        return unit

    def _unit(self, number: int) -> Unit:
        event_id, leaf = UUID(bytes=self.event_id[number].tobytes()), self.leaf[number].tobytes()
        sequence, offset = int(self.sequence[number]), int(self.offset[number])
        return Unit(
            areas=self.roll.groups[self.group[number]][1],
            contribution=self.figures[number].tolist(),
            stated_at=from_milliseconds(int(self.stated[number])),
            sequence=sequence,
            event_id=event_id,
            offset=offset,
            leaf=leaf,
            head_sequence=sequence,
            head_event_id=event_id,
            head_offset=offset,
            head_leaf=leaf,
            first_sequence=int(self.first[number]),
        )

    def put_back(self, key: UnitKey, unit: Unit) -> bool:
        """Takes a unit whose state is the last of its chain. False, and nothing is done, where it cannot be kept
        here."""
        number = self.roll.number(wire_name(key)) if key.type in TYPES and unit.offset == unit.head_offset else -1
        if number < 0 or max(unit.contribution) >= LARGEST:
            return False
        self._make_room()
        self.here[number] = True
        self.figures[number] = unit.contribution
        self.group[number], self.stated[number] = self.roll.group(key.type, unit.areas), to_milliseconds(unit.stated_at)
        self.sequence[number], self.offset[number], self.first[number] = unit.sequence, unit.offset, unit.first_sequence
        self.event_id[number] = np.frombuffer(unit.event_id.bytes, np.uint8)
        self.leaf[number] = np.frombuffer(unit.leaf, np.uint8)
        self.stale.add(self.roll.buckets[number])
        return True

    def numbers(self) -> Numbers:
        """Of the sheets that are here."""
        return np.flatnonzero(self.here)

    def has(self, key: UnitKey) -> bool:
        """Whether a unit is here."""
        number = self.roll.of_key(key)
        return 0 <= number < len(self.here) and bool(self.here[number])

    def numbers_of(self, others: "Sheets") -> tuple[Numbers, Numbers]:
        """The numbers of others' sheets, theirs and ours."""
        theirs = others.numbers()
        wires = others.roll.wires
        ours = np.fromiter((self.roll.number(wires[n]) for n in theirs.tolist()), np.int64, len(theirs))
        self._make_room()
        return theirs, ours

    def groups_in(self, roll: Roll) -> Numbers:
        """The numbers that another roll has for each of our groups."""
        return np.array([roll.group(*group) for group in self.roll.groups], np.int64)

    def offsets(self, key: UnitKey) -> tuple[int, int]:
        """Of a sheet that is here: its state, which is the last of its chain."""
        assert self.has(key)
        offset = int(self.offset[self.roll.of_key(key)])
        return offset, offset

    def names(self, index: int) -> list[bytes]:
        """What `digest.Others` asks for."""
        names = self.roll.names
        return [names[n] for n in self._bucket(index).tolist()]

    def entries(self, index: int) -> bytes:
        """What `digest.Others` asks for: state and end of a sheet's chain are the same statement."""
        leaves = self.leaf[self._bucket(index)]
        return np.concatenate([leaves, leaves], axis=1).tobytes()

    def _bucket(self, index: int) -> Numbers:
        """The numbers of the sheets in a bucket of the digest, in the order of their names."""
        buckets, names = self.roll.buckets, self.roll.names
        self._make_room()
        for number in range(self._sorted, len(buckets)):
            self._new[buckets[number]].append(number)
        self._sorted = len(buckets)
        if new := self._new[index]:
            known = [*self._buckets[index].tolist(), *new]
            self._buckets[index] = np.array(sorted(known, key=names.__getitem__), np.int64)
            new.clear()
        numbers = self._buckets[index]
        here: Numbers = numbers[self.here[numbers]]
        return here

    def __getstate__(self) -> dict[str, Any]:
        """To be sent to another process: without the room that is not in use."""
        known = len(self.roll.keys)
        cut = {name: getattr(self, name)[:known] for name in ("here", "figures", *(name for name, _, _ in COLUMNS))}
        left_out = ("_buckets", "_new", "_sorted")
        return {name: part for name, part in (self.__dict__ | cut).items() if name not in left_out}

    def __setstate__(self, parts: dict[str, Any]) -> None:
        self.__dict__ |= parts
        self._sort_anew()


def _ends(begins: Mask) -> Mask:
    """Which are the last of their sheet."""
    ends = np.ones(len(begins), bool)
    ends[:-1] = begins[1:]
    return ends


def _in_order(entry: Numbers, taken: Mask) -> Mask:
    """What is said sheet by sheet, said in the order of the log."""
    return taken[np.argsort(entry)]


def _before(column: Any, begins: Mask, kept: Any) -> Any:
    """Of each statement what the one of its sheet before it had; of the first in the batch what is kept of the
    sheet."""
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[begins] = kept[begins]
    return before


class _Touched:
    """What the areas of a group were changed by, and by what last; not yet in the totals."""

    def __init__(self, size: int) -> None:
        self.figures: Numbers = np.zeros((0, size), np.int64)
        self.stated: Numbers = np.zeros(0, np.int64)
        self.offset: Numbers = np.zeros(0, np.int64)
        self.event_id: Any = np.zeros((0, 16), np.uint8)

    def add(self, group: Numbers, change: Numbers, stated: Numbers, offset: Numbers, event_id: Any) -> None:
        """Changes of sheets, each of its group."""
        if not group.size:
            return
        self._make_room(int(group.max()) + 1)
        order = np.lexsort((offset, group))
        group = group[order]
        ends = np.flatnonzero(np.diff(group, append=-1))
        begins = np.concatenate([[0], ends[:-1] + 1])
        changed, latest = group[ends], order[ends]
        self.figures[changed] += np.add.reduceat(change[order], begins)
        self.stated[changed] = np.maximum(self.stated[changed], np.maximum.reduceat(stated[order], begins))
        later = offset[latest] > self.offset[changed]
        self.offset[changed[later]] = offset[latest[later]]
        self.event_id[changed[later]] = event_id[latest[later]]

    def _make_room(self, known: int) -> None:
        more = known - len(self.offset)
        if more > 0:
            more += known
            self.figures = np.pad(self.figures, ((0, more), (0, 0)))
            self.stated = np.pad(self.stated, (0, more), constant_values=NO_TIME)
            self.offset = np.pad(self.offset, (0, more), constant_values=-1)
            self.event_id = np.pad(self.event_id, ((0, more), (0, 0)))

    def widen(self, added: int) -> None:
        self.figures = np.pad(self.figures, ((0, 0), (0, added)))


def settle(state: ContestState) -> None:
    """Adds to the totals what the sheets changed since they were last settled."""
    sheets = state.sheets
    if not isinstance(sheets, Sheets):
        return
    touched, sheets.touched = sheets.touched, _Touched(state.layout.size)
    for group in np.flatnonzero(touched.offset >= 0).tolist():
        unit_type, areas = sheets.roll.groups[group]
        change = touched.figures[group].tolist()
        stated_at, offset = from_milliseconds(int(touched.stated[group])), int(touched.offset[group])
        event_id = UUID(bytes=touched.event_id[group].tobytes())
        for area in areas:
            state.total(unit_type, area).put(change, stated_at, offset, event_id)


def unpack(state: ContestState) -> ContestState:
    """The same state with every unit and total as the plain fold has them."""
    settle(state)
    if isinstance(state.sheets, Sheets):
        for number in state.sheets.numbers().tolist():
            state.unit(state.sheets.roll.keys[number])
        state.sheets = None
    return state


def pack(state: ContestState, roll: Roll) -> Sheets:
    """Keeps as columns what can be: sheets among the units whose state is the last of their chain."""
    sheets = state.sheets
    if sheets is None:
        sheets = state.sheets = Sheets(roll, state.layout.size)
    assert isinstance(sheets, Sheets)
    for key in [key for key, unit in state.units.items() if unit.offset == unit.head_offset]:
        if sheets.put_back(key, state.units[key]):
            del state.units[key]
            state.digest.remove(str(key).encode())
    return sheets


def fold_run(
    state: ContestState,
    run: Sequence[RawRecord],
    columns: Columns,
    entries: Numbers,
    plain: dict[int, Recorded],
    roll: Roll,
) -> tuple[Numbers, list[tuple[int, Step]]]:
    """Folds messages that follow each other: some `entries` of the columns they were read into, and those that were
    read plainly, by row. Returns the entries that were taken as columns, all of them accepted, and the steps of all
    others by row."""
    sheets = pack(state, roll)
    offsets = offsets_of(state, run)[columns.rows]
    kept = sheets.take(columns, entries, elsewhere(state, plain, roll), offsets, state.layout)
    plain = plain | {row: recorded_of_raw(run[row]) for row in columns.rows[entries[~kept]].tolist()}
    before = state.last_reported_at, state.last_recorded_at
    steps = [(row, evolve(state, plain[row])) for row in sorted(plain)]
    close_run(state, run, columns, entries[kept], before)
    return entries[kept], steps


def offsets_of(state: ContestState, run: Sequence[RawRecord]) -> Numbers:
    """Where messages stand that are the next of the log."""
    offsets = np.fromiter((raw.offset for raw in run), np.int64, len(run))
    assert state.last is None or offsets[0] > state.last.offset, "the log is read once, in order"
    assert (np.diff(offsets) > 0).all(), "the log is read once, in order"
    return offsets


def elsewhere(state: ContestState, plain: Mapping[int, Recorded], roll: Roll) -> set[int]:
    """Numbers of the sheets that are not kept as columns, or are spoken of by what was read plainly."""
    keys = [*state.units, *(r.update.unit for r in plain.values())]
    return {number for key in keys if (number := roll.of_key(key)) >= 0}


def close_run(
    state: ContestState,
    run: Sequence[RawRecord],
    columns: Columns,
    entries: Numbers,
    before: tuple[datetime | None, datetime | None],
) -> None:
    """What a state tells of the contest's last event, and of the latest times, with `entries` of a run of which all
    others are folded. `before`: the times as they were then."""
    if not entries.size:
        return
    _note_times(state, run, columns, entries, before)
    last = run[int(columns.rows[entries[-1]])]
    if state.last is None or last.offset > state.last.offset:
        state.last = recorded_of_raw(last)
        assert text_of(state.last.event) == columns.texts[int(entries[-1])], "read plainly it says the same"


def _note_times(
    state: ContestState,
    run: Sequence[RawRecord],
    columns: Columns,
    entries: Numbers,
    before: tuple[datetime | None, datetime | None],
) -> None:
    """The latest times with those of `entries`, and who first had them. `before`: what they were before the run."""
    rows = columns.rows[entries]
    recorded = np.fromiter((run[row].timestamp_ms for row in rows.tolist()), np.int64, len(rows))
    if (first := _first_latest(recorded, run, rows, before[1], state.last_recorded_at, state.recorded_by)) is not None:
        state.last_recorded_at = from_milliseconds(int(recorded[first]))
        state.recorded_by = _witness(run, columns, entries, first)
    reported = np.where(columns.is_reported[entries], columns.reported[entries], NO_TIME)
    if (first := _first_latest(reported, run, rows, before[0], state.last_reported_at, state.reported_by)) is not None:
        state.last_reported_at = from_milliseconds(int(reported[first]))
        state.reported_by = _witness(run, columns, entries, first)


def _first_latest(
    times: Numbers,
    run: Sequence[RawRecord],
    rows: Numbers,
    before: datetime | None,
    now: datetime | None,
    now_by: Witness,
) -> int | None:
    """Which of the times is the latest of the run, and the first of those that are; None where another is."""
    first = int(times.argmax())
    latest = int(times[first])
    if latest == NO_TIME or (before is not None and latest <= to_milliseconds(before)):
        return None
    if now is not None and now != before:  # one that was folded plainly is later than all before
        ms = to_milliseconds(now)
        if latest < ms or (latest == ms and run[int(rows[first])].offset > now_by[1][0]):
            return None
    return first


def _witness(run: Sequence[RawRecord], columns: Columns, entries: Numbers, which: int) -> Witness:
    entry = int(entries[which])
    offset = run[int(columns.rows[entry])].offset
    return columns.key(entry), (offset, offset, offset)
