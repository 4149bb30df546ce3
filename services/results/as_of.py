"""A contest as it was at any moment, read off the tables: without the log, and without folding anything again.

The total of an area at an offset is the one kept at the end of the block before, and the recorded changes of the few
updates after it (`fold.Block`), whatever the length of the history. By the office's time it is the total at the last offset
before the area's first update of a later time, and then, unit by unit, what came late.

Reads only; every answer of one `Past` is of one snapshot of the database.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from operator import add, sub
from typing import Any
from uuid import UUID

from results.count import AsOf, Count, NothingCounted, count, find_area
from results.moment import Moment
from results.reader import Reader, area_key
from results.rows import recorded_of
from results.vectors import AreaTotal, Layout, Vector
from schemas.chain import states_of
from schemas.contest import Area
from schemas.count_update import UnitKey
from schemas.log_record import Recorded
from schemas.types import AREA_TYPES, rfc3339


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A kept total, and the offsets of the updates after it that are wanted."""

    base: AreaTotal
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """An area's total at the last offset before its first update of a later official time."""

    total: AreaTotal
    end: int
    """That offset."""
    later: datetime | None
    """That later time; None when there is none."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A statement about a unit: its place on the log and in the country, without its figures."""

    offset: int
    event_id: UUID
    stated_at: datetime
    areas: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Turn:
    """What became of a unit in one area: its state as the area's total was read and its state at the moment, None and None where
    they are the same, and the statements that changed the area up to then."""

    area: str
    before: _Placed | None
    after: _Placed | None
    touches: Sequence[_Placed]


class Past:
    """A contest at one moment. Raises NothingCounted where there was no contest yet, or the tables do not reach."""

    def __init__(self, views: Reader, contest_id: str, moment: Moment) -> None:
        if (until := views.until_stated_at()) is not None:  # these tables know of nothing stated later
            moment = replace(moment, stated_at=min(until, moment.stated_at or until))
        self._views, self._contest_id, self._stated_at = views, contest_id, moment.stated_at
        self.moment = moment
        self.to_offset = views.offset_of(contest_id, moment)
        """The last offset of the log that is looked at."""
        definitions = views.definitions(contest_id, self.to_offset)
        if not definitions:
            first = views.first_event(contest_id)
            raise NothingCounted(
                f"contest {contest_id} was not defined yet ({moment}); its first event is offset {first['log_offset']}, "
                f"recorded {rfc3339(first['recorded_at'])}"
            )
        held = moment.held(definitions)
        level = held.definition.counting_level
        self.contest = definitions[-1].definition.model_copy(update={"counting_level": level})
        self._layout = Layout.of(self.contest)
        self.as_of = self._as_of(held)
        self.blocked = views.blocked(contest_id, self.to_offset)
        """Why the contest stands still before the moment, if it does."""

    @property
    def level(self) -> str:
        """The type of the units that were added up."""
        return self.contest.counting_level.value

    def holds(self, recorded: Recorded) -> bool:
        """Whether an accepted event belongs to the moment."""
        return recorded.offset <= self.to_offset and self.moment.takes(recorded)

    def count(self, area_id: str | None) -> Count:
        """The count of an area. Raises NothingCounted."""
        area = find_area(self.contest, area_id)
        total = self.totals([area.area_id]).get(area.area_id)
        answer = count(self.contest, area, total, self.official(area), self.as_of, None)
        return answer.model_copy(update={"blocked": self.blocked})

    def counts(self, areas: Sequence[str]) -> dict[str, Count]:
        """The counts of many areas by their ids, read at once. Those of which nothing is known are left out."""
        known = [self.contest.areas_by_id[a] for a in areas if a in self.contest.areas_by_id]
        totals = self.totals([area.area_id for area in known])
        official = self.statements([area_key(area) for area in known if area.type in AREA_TYPES])
        found = {}
        for area in known:
            stated = [r for r in official.get(area_key(area), ()) if self.moment.takes(r)]
            with suppress(NothingCounted):
                found[area.area_id] = count(self.contest, area, totals.get(area.area_id), stated, self.as_of, None)
        return found

    def official(self, area: Area) -> list[Recorded]:
        """The accepted statements about an area, by sequence."""
        if area.type not in AREA_TYPES:
            return []
        return [r for rows in self.statements([area_key(area)]).values() for r in rows if self.moment.takes(r)]

    def statements(self, units: Sequence[UnitKey]) -> dict[UnitKey, list[Recorded]]:
        """By unit the accepted statements that stand on the log up to the moment, whatever time they speak of."""
        found: dict[UnitKey, list[Recorded]] = defaultdict(list)
        for row in self._views.unit_history_to(self._contest_id, units, self.to_offset) if units else ():
            found[UnitKey(row["unit_type"], row["unit_id"])].append(recorded_of(row))
        return found

    def totals(self, areas: Sequence[str], unit_type: str | None = None) -> dict[str, AreaTotal]:
        """The totals of areas over the units of a type, the counting level by default. Areas without one are left out."""
        kind = unit_type or self.level
        reached = self.reached(kind, areas, self._stated_at)
        found = {area: r.total for area, r in reached.items() if r.total.last_offset >= 0}
        if self._stated_at is not None:
            self._take_late(kind, {area: r.end for area, r in reached.items()}, found)
        return found

    def reached(self, kind: str, areas: Sequence[str], stated_at: datetime | None) -> dict[str, Reached]:
        """For each area the total over units of a type as it was published up to an official time, or to the moment's end
        of the log when that is None: without what came late."""
        stretches = self._stretches(kind, areas, stated_at)
        changes = self._views.changes_at(self._contest_id, sorted({o for s in stretches.values() for o in s.offsets}))
        found = {}
        for area, stretch in stretches.items():
            total = replace(stretch.base, vector=list(stretch.base.vector))
            end, later = self.to_offset, None
            for offset in stretch.offsets:
                row = changes[offset]
                if stated_at is not None and row["stated_at"] > stated_at:
                    end, later = offset - 1, row["stated_at"]
                    break
                _touch(total, row["stated_at"], offset, row["event_id"])
                self._layout.add_changes(total.vector, row["change"])
            found[area] = Reached(total, end, later)
        return found

    def _stretches(self, kind: str, areas: Sequence[str], stated_at: datetime | None) -> dict[str, _Stretch]:
        """For each area the last kept total that holds nothing beyond the moment or stated later, and what follows it in
        its block."""
        since = self._views.totals_since(self._contest_id, kind, areas)
        by_area: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in self._views.blocks_to(self._contest_id, kind, areas, self.to_offset):
            by_area[row["area_id"]].append(row)
        beyond = [area for area, rows in by_area.items() if self._is_beyond(rows, stated_at)]
        for area in beyond:
            by_area[area] = []
        if stated_at is not None:
            for row in self._views.blocks_stated_by(self._contest_id, kind, beyond, stated_at):
                by_area[row["area_id"]].append(row)
        stretches = {}
        for area in areas:
            rows = by_area.get(area, [])
            if not rows or (rows[0]["span"].upper - 1 <= self.to_offset and not _is_later(rows[0], stated_at)):
                base, offsets = (rows[0] if rows else None), since.get(area, ())
            else:
                base, offsets = (rows[1] if len(rows) > 1 else None), rows[0]["offsets"]
            after = base["span"].upper if base is not None else 0
            stretches[area] = _Stretch(self._total_of(base), tuple(o for o in offsets if after <= o <= self.to_offset))
        return stretches

    def _is_beyond(self, rows: Sequence[Mapping[str, Any]], stated_at: datetime | None) -> bool:
        """Whether the kept total to start from, by the log, holds something stated later."""
        inside = rows[0]["span"].upper - 1 > self.to_offset
        base = rows[1] if inside and len(rows) > 1 else None if inside else rows[0]
        return base is not None and _is_later(base, stated_at)

    def _total_of(self, block: Mapping[str, Any] | None) -> AreaTotal:
        if block is None:
            return AreaTotal(self._layout.zero())
        vector = self._layout.widened(block["figures"])
        return AreaTotal(vector, block["stated_at"], block["last_offset"], block["last_event_id"])

    def _take_late(self, kind: str, ends: Mapping[str, int], found: dict[str, AreaTotal]) -> None:
        """Adds what was stated in time and came after the offsets that the totals were read up to.

        Of most units the recorded changes tell it. Of the irregular ones the state at the moment is put in place of the one
        that the total was read with.
        """
        assert self._stated_at is not None
        where = self._contest_id, kind, self._stated_at, self.to_offset
        irregular = self._views.irregular_units(*where)
        late = self._views.late_changes(*where, ends, irregular)
        for area, row in late.items():
            total = found.setdefault(area, AreaTotal(self._layout.zero()))
            _touch(total, row["stated_at"], row["log_offset"], row["event_id"])
            self._layout.add_changes(total.vector, row["change"] or {})
        turns = list(self._turns(kind, irregular, ends))
        contributions = self._contributions(
            {s.offset for turn in turns for s in (turn.before, turn.after) if s is not None}
        )
        for turn in turns:
            total = found.setdefault(turn.area, AreaTotal(self._layout.zero()))
            for touch in turn.touches:
                _touch(total, touch.stated_at, touch.offset, touch.event_id)
            for state, by in ((turn.before, sub), (turn.after, add)):
                if state is not None:
                    pairs = zip(total.vector, contributions[state.offset], strict=True)
                    total.vector = [by(had, given) for had, given in pairs]

    def _turns(self, kind: str, unit_ids: Sequence[str], ends: Mapping[str, int]) -> Iterator[_Turn]:
        """What became of units of a type, in each of the areas that they ever were in."""
        assert self._stated_at is not None
        courses: dict[str, list[_Placed]] = defaultdict(list)
        for row in self._views.courses(self._contest_id, kind, unit_ids, self.to_offset):
            courses[row["unit_id"]].append(_Placed(row["log_offset"], row["event_id"], row["stated_at"], row["areas"]))
        for statements in courses.values():
            in_time = [s for s in statements if s.stated_at <= self._stated_at]
            for area in ends.keys() & {area for s in statements for area in s.areas}:
                before, _ = _state([s for s in statements if s.offset <= ends[area]], area)
                after, touches = _state(in_time, area)
                if before is after:
                    before = after = None
                if touches:  # a state in the area touched it
                    yield _Turn(area, before, after, touches)

    def _contributions(self, offsets: Collection[int]) -> dict[int, Vector]:
        """By offset what updates add to the count."""
        rows = self._views.updates_at(self._contest_id, sorted(offsets))
        return {row["log_offset"]: self._layout.contribution(recorded_of(row).update) for row in rows}

    def _as_of(self, held: Recorded) -> AsOf:
        if self._stated_at is None:
            last = self._views.last_event(self._contest_id, self.to_offset)
            return AsOf(
                offset=last["log_offset"], recorded_at=last["recorded_at"], reported_at=last["last_reported_at"]
            )
        offset, recorded_at = held.offset, held.recorded_at
        root = self.contest.root.area_id
        for kind in self._views.unit_types(self._contest_id):
            reached = self.reached(kind, [root], self._stated_at)[root].total.last_offset
            late = self._views.last_late(self._contest_id, kind, self._stated_at, self.to_offset, reached)
            offset = max(offset, reached, late)
        if offset != held.offset:
            recorded_at = self._views.last_event(self._contest_id, offset)["recorded_at"]
        reported_at = self._views.last_reported(self._contest_id, self._stated_at, self.to_offset)
        return AsOf(offset=offset, recorded_at=recorded_at, reported_at=reported_at)


def _is_later(block: Mapping[str, Any], stated_at: datetime | None) -> bool:
    """Whether a kept total holds something stated later."""
    return stated_at is not None and block["stated_at"] > stated_at


def _state(statements: Iterable[_Placed], area: str) -> tuple[_Placed | None, list[_Placed]]:
    """A unit's state by these statements (in the order of its chain) if it is in `area`, and those that changed the area."""
    state: _Placed | None = None
    touches = []
    for placed, then in states_of(statements):
        if then is placed and (area in placed.areas or (state is not None and area in state.areas)):
            touches.append(placed)
        state = then
    return (state if state is not None and area in state.areas else None), touches


def _touch(total: AreaTotal, stated_at: datetime, offset: int, event_id: Any) -> None:
    if total.stated_at is None or stated_at > total.stated_at:
        total.stated_at = stated_at
    if offset > total.last_offset:
        total.last_offset, total.last_event_id = offset, event_id
