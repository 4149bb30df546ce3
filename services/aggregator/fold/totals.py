"""Add the changes of units up to the totals of areas, and keep totals of the past (pure)."""

from dataclasses import dataclass
from uuid import UUID

import numpy as np

from aggregator.fold.growing import Growing
from results.vectors import AreaTotal
from schemas.columns.layout import Bytes, Mask, Numbers
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.types import from_milliseconds

BLOCK = 16
"""Updates between two kept totals of an area: what is added up for a past offset, at most. More of them makes the
tables smaller and every answer about the past slower. It is part of what the tables hold: another number needs a
rebuild."""

Place = tuple[str, str]
"""Type of the units that are added up, and area."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Totals as they were at the end of a block of updates: entry i of each column is of one block.

    Between the ends of two blocks a total is the earlier one and the recorded changes of the updates up to there. Only
    the last update of a block may do more than its recorded change says (it moves a unit): it closes the block.
    """

    place: Numbers
    begin: Numbers
    """The first offset, inclusive; the block before ends just before it."""
    end: Numbers
    offsets: list[list[int]]
    """Of the updates in the block."""
    vector: Numbers
    stated: Numbers
    event_id: Bytes


@dataclass(slots=True)
class Touches:
    """What changes totals: entry i is of statement `statement[i]`, and changes one place by `changes[row[i]]`."""

    place: Numbers
    statement: Numbers
    row: Numbers
    closes: Mask
    """Whether it closes its block."""
    changes: Numbers
    """Shape (rows, layout.size)."""


class Totals(Growing):
    """The totals of a contest, by the number of their place."""

    vector: Numbers
    stated: Numbers
    last_offset: Numbers
    event_id: Bytes
    kept_at: Numbers
    count: Numbers
    """Updates since the last block."""

    def __init__(self, size: int) -> None:
        super().__init__(
            vector=(np.int64, (size,), 0),
            stated=(np.int64, (), NO_TIME),
            last_offset=(np.int64, (), -1),
            event_id=(np.uint8, (16,), 0),
            kept_at=(np.int64, (), -1),
            count=(np.int64, (), 0),
        )
        self.places: list[Place] = []
        self.since: list[list[int]] = []
        """Offsets of the updates since the last block, by place."""
        self._numbers: dict[Place, int] = {}
        self._of_groups = np.zeros((0, 1), np.int64)
        self._known: set[int] = set()
        """Groups whose places are in it."""

    def number(self, place: Place) -> int:
        """Return the number of a place, a new one if it has none."""
        number = self._numbers.setdefault(place, len(self.places))
        if number == len(self.places):
            self.places.append(place)
            self.since.append([])
            self.grow_to(len(self.places))
        return number

    def find(self, place: Place) -> int | None:
        """Return the number of a place whose total was changed, None for any other."""
        return self._numbers.get(place)

    def of_groups(self, index: UnitIndex, groups: Numbers) -> Numbers:
        """Return the places of each group of units, outermost first, -1 behind the last. Shape (groups, depth).

        Filled for `groups` alone: others may be of refused messages, and name any areas.
        """
        missing = [group for group in np.unique(groups).tolist() if group not in self._known]
        if missing:
            self._known.update(missing)
            named = {group: index.groups[group] for group in missing}
            depth = max(self._of_groups.shape[1], *(len(areas) for _, areas in named.values()))
            table = np.full((len(index.groups), depth), -1, np.int64)
            table[: len(self._of_groups), : self._of_groups.shape[1]] = self._of_groups
            for group, (unit_type, areas) in named.items():
                table[group, : len(areas)] = [self.number((unit_type, area)) for area in areas]
            self._of_groups = table
        return self._of_groups

    def total(self, place: Place) -> AreaTotal | None:
        """Return a total, None where nothing was added up."""
        number = self.find(place)
        if number is None or self.last_offset[number] < 0:
            return None
        stated = int(self.stated[number])
        return AreaTotal(
            self.vector[number].tolist(),
            None if stated == NO_TIME else from_milliseconds(stated),
            int(self.last_offset[number]),
            UUID(bytes=self.event_id[number].tobytes()),
            self.since[number],
            int(self.kept_at[number]),
        )

    def add(self, touches: Touches, batch: StatementBatch, *, in_blocks: bool) -> Blocks | None:
        """Change totals. Returns the blocks that end on the way; None, without keeping any, unless `in_blocks`."""
        order = np.argsort(touches.place * len(batch) + touches.statement, kind="stable")
        place, statement = touches.place[order], touches.statement[order]
        closes, row = touches.closes[order], touches.row[order]
        begins = _begins(place)
        ends = self._ends_of_blocks(place, begins, closes) if in_blocks else np.zeros(len(place), bool)
        starts = begins.copy()
        starts[1:] |= ends[:-1]
        chunk = np.flatnonzero(starts)
        last = np.append(chunk[1:], len(place)) - 1
        of, closing = place[chunk], ends[last]
        vector = np.add.reduceat(touches.changes[row], chunk, axis=0)
        vector = _running_sum(vector, begins[chunk]) + self.vector[of]
        stated = np.maximum.reduceat(batch.stated[statement], chunk)
        stated = np.maximum(_running_maximum(stated, begins[chunk]), self.stated[of])
        offset, event_id = batch.offset[statement], batch.event_id[statement[last]]
        blocks = None
        if in_blocks:
            before = np.empty(len(chunk), np.int64)  # where the block before ends
            before[1:] = offset[last[:-1]]
            before[begins[chunk]] = self.kept_at[of[begins[chunk]]]
            offsets = self._offsets_of_blocks(place, offset, chunk, last, begins[chunk], closing)
            blocks = Blocks(
                of[closing], before[closing] + 1, offset[last[closing]], offsets, vector[closing], stated[closing],
                event_id[closing],
            )  # fmt: skip
            self.kept_at[of] = np.where(closing, offset[last], before)
        final = np.append(begins[chunk][1:], True)
        changed = of[final]
        self.vector[changed], self.stated[changed] = vector[final], stated[final]
        self.last_offset[changed], self.event_id[changed] = offset[last[final]], event_id[final]
        return blocks

    def _ends_of_blocks(self, place: Numbers, begins: Mask, closes: Mask) -> Mask:
        """Say which touches end a block: every BLOCKth since the one before, and what closes one."""
        starts = begins.copy()
        starts[1:] |= closes[:-1]
        first = np.flatnonzero(starts)
        segment = np.cumsum(starts) - 1
        already = np.where(begins[first], self.count[place[first]], 0)
        position = np.arange(len(place)) - first[segment] + already[segment]
        return np.asarray(closes | (position % BLOCK == BLOCK - 1))

    def _offsets_of_blocks(
        self, place: Numbers, offset: Numbers, chunk: Numbers, last: Numbers, begins: Mask, closing: Mask
    ) -> list[list[int]]:
        """Return the offsets of the updates in each block that ends, and keep those since the last of each place."""
        found, offsets = [], offset.tolist()
        rows = zip(place[chunk].tolist(), chunk.tolist(), last.tolist(), begins.tolist(), closing.tolist(), strict=True)
        for of, first, final, is_first, is_closing in rows:
            own = offsets[first : final + 1]
            if is_first:
                own = self.since[of] + own
            if is_closing:
                found.append(own)
            self.since[of] = [] if is_closing else own
            self.count[of] = 0 if is_closing else len(own)
        return found


def _begins(place: Numbers) -> Mask:
    begins = np.ones(len(place), bool)
    begins[1:] = place[1:] != place[:-1]
    return begins


def _running_sum(values: Numbers, begins: Mask) -> Numbers:
    """Add rows up from each beginning on."""
    summed: Numbers = np.cumsum(values, axis=0)
    first = np.flatnonzero(begins)
    return np.asarray(summed - (summed[first] - values[first])[np.cumsum(begins) - 1])


def _running_maximum(values: Numbers, begins: Mask) -> Numbers:
    """Return the largest value from each beginning on."""
    found, rank = np.unique(values, return_inverse=True)
    from_here = (np.cumsum(begins) - 1) * len(found)
    return np.asarray(found[np.maximum.accumulate(from_here + rank) - from_here])
