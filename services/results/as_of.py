"""Read a contest as of any moment from the tables: without the log, and without a replay.

The total of an area at an offset is the total kept at the end of the block before, plus the recorded changes of the few
updates after it (`aggregator.fold.totals.Blocks`), however long the history is. By official time it is the total at the
last offset before the area's first update with a later time, plus the late statements.

Reads only; all answers of one `ContestAsOf` are from one snapshot of the database.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from operator import add, sub
from typing import Any
from uuid import UUID

from results.count import Around, AsOf, Count, NothingCounted, OnRoll, count, find_area
from results.moment import Moment
from results.reader import Reader, area_key
from results.rows import recorded_of
from results.vectors import AreaTotal, LevelTotal
from schemas.chain import states_of
from schemas.columns.layout import Layout, Vector
from schemas.contest import Area, Level
from schemas.count_update import UnitKey
from schemas.log_record import Recorded
from schemas.types import rfc3339


@dataclass(frozen=True, slots=True)
class _Start:
    """A kept total to start from, and the offsets of the updates to add to it."""

    base: AreaTotal
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TotalUpTo:
    """An area's total at the last offset before its first update with a later official time."""

    total: AreaTotal
    end: int
    """That last offset."""
    next_stated_at: datetime | None
    """The later official time; None when there is none."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement about a unit: its offset, id, official time and areas, without its figures."""

    offset: int
    event_id: UUID
    stated_at: datetime
    areas: Sequence[str]


@dataclass(frozen=True, slots=True)
class _UnitChange:
    """The late change of a unit in one area."""

    area: str
    before: _Statement | None
    """The unit's state in the total that was read; None when it was not in the area, or the state did not change."""
    after: _Statement | None
    """The unit's state at the moment; None in the same two cases."""
    changed_by: Sequence[_Statement]
    """The statements up to the moment that changed the area."""


@dataclass(frozen=True, slots=True)
class _Irregular:
    """Units whose recorded changes are not enough: their numbers, and the accepted statements of each."""

    units: Sequence[int]
    statements: Sequence[Sequence[_Statement]]


class ContestAsOf:
    """A contest as of one moment. Raises NothingCounted when the contest or the tables do not have that moment."""

    def __init__(self, reader: Reader, contest_id: str, moment: Moment) -> None:
        if (until := reader.until_stated_at()) is not None:  # these tables have nothing stated later
            moment = replace(moment, stated_at=min(until, moment.stated_at or until))
        self._reader, self._contest_id, self._stated_at = reader, contest_id, moment.stated_at
        self.moment = moment
        self._late: dict[tuple[Any, ...], tuple[list[dict[str, Any]], int]] = {}
        self._irregular_units: dict[str, _Irregular] = {}
        self.to_offset = reader.offset_of(contest_id, moment)
        """The last offset of the log that belongs to the moment."""
        definitions = reader.definitions(contest_id, self.to_offset)
        if not definitions:
            first = reader.first_event(contest_id)
            raise NothingCounted(
                f"contest {contest_id} was not defined yet ({moment}); "
                f"its first event is offset {first['log_offset']}, recorded {rfc3339(first['recorded_at'])}"
            )
        in_force = moment.definition_in_force(definitions)
        level = in_force.definition.counting_level
        self.contest = definitions[-1].definition.model_copy(update={"counting_level": level})
        self._layout = Layout.of(self.contest)
        self._definitions = definitions
        self.as_of = self._as_of(in_force)
        self.blocked = reader.blocked(contest_id, self.to_offset)
        """The reason why the contest is blocked before the moment, if it is."""

    @property
    def level(self) -> Level:
        """The types of the units that are added up."""
        return self.contest.counting_level

    def includes(self, recorded: Recorded) -> bool:
        """Say whether an accepted event belongs to the moment."""
        return recorded.offset <= self.to_offset and self.moment.includes(recorded)

    def count(self, area_id: str | None) -> Count:
        """Return the count of an area. Raises NothingCounted when nothing is known about it."""
        area = find_area(self.contest, area_id)
        totals = self.level_totals([area.area_id, self.contest.root.area_id])
        around = self._around([area.area_id], totals)[area.area_id]
        answer = count(self.contest, area, totals.get(area.area_id), self.official(area), self.as_of, None, around)
        return answer.model_copy(update={"blocked": self.blocked})

    def counts(self, areas: Sequence[str]) -> dict[str, Count]:
        """Return the counts of many areas by their ids, without the areas about which nothing is known."""
        known = [self.contest.areas_by_id[a] for a in areas if a in self.contest.areas_by_id]
        totals = self.level_totals([*(area.area_id for area in known), self.contest.root.area_id])
        official = self.statements([area_key(area) for area in known])
        around, found = self._around(areas, totals), {}
        for area in known:
            stated = [r for r in official.get(area_key(area), ()) if self.moment.includes(r)]
            with suppress(NothingCounted):
                found[area.area_id] = count(
                    self.contest, area, totals.get(area.area_id), stated, self.as_of, None, around[area.area_id]
                )
        return found

    def roll(self, area: Area) -> OnRoll | None:
        """Return what the contest's roll has of an area, None without a roll."""
        return self._reader.rolls(self.contest, [area.area_id], self.to_offset).get(area.area_id)

    def _around(self, areas: Sequence[str], totals: Mapping[str, LevelTotal]) -> dict[str, Around]:
        rolls = self._reader.rolls(self.contest, areas, self.to_offset)
        known = Around.of(None, totals.get(self.contest.root.area_id)).known_in_all
        return {area: Around(rolls.get(area), known) for area in areas}

    def official(self, area: Area) -> list[Recorded]:
        """Return the accepted statements about an area, by sequence."""
        return [r for rows in self.statements([area_key(area)]).values() for r in rows if self.moment.includes(r)]

    def statements(self, units: Sequence[UnitKey]) -> dict[UnitKey, list[Recorded]]:
        """Return the accepted statements by unit up to the moment's last offset, of any official time."""
        found: dict[UnitKey, list[Recorded]] = defaultdict(list)
        for row in self._reader.unit_history_to(self._contest_id, units, self.to_offset) if units else ():
            found[UnitKey(row["unit_type"], row["unit_id"])].append(recorded_of(row))
        return found

    def level_totals(self, areas: Sequence[str]) -> dict[str, LevelTotal]:
        """Return the counts of areas: over the units of the counting level, without empty ones."""
        by_type = {unit_type: self.totals(areas, unit_type) for unit_type in self.level}
        found = {}
        for area in dict.fromkeys(areas):
            parts = {unit_type: totals.get(area) for unit_type, totals in by_type.items()}
            if (total := LevelTotal.of(self._layout, self.level, parts)) is not None:
                found[area] = total
        return found

    def totals(self, areas: Sequence[str], unit_type: str) -> dict[str, AreaTotal]:
        """Return the totals of areas over the units of a type, without empty ones."""
        areas = list(dict.fromkeys(areas))
        up_to = self.totals_up_to(unit_type, areas, self._stated_at)
        found = {area: t.total for area, t in up_to.items() if t.total.last_offset >= 0}
        if self._stated_at is not None:
            self._add_late_statements(unit_type, {area: t.end for area, t in up_to.items()}, found)
        return found

    def totals_up_to(self, unit_type: str, areas: Sequence[str], stated_at: datetime | None) -> dict[str, TotalUpTo]:
        """Return each area's total over units of a type, as published up to an official time: without late statements.

        `stated_at` None: up to the moment's last offset.
        """
        starts = self._starts(unit_type, areas, stated_at)
        changes = self._reader.changes_at(self._contest_id, sorted({o for s in starts.values() for o in s.offsets}))
        found = {}
        for area, start in starts.items():
            total = replace(start.base, vector=list(start.base.vector))
            end, next_stated_at = self.to_offset, None
            for offset in start.offsets:
                row = changes[offset]
                if stated_at is not None and row["stated_at"] > stated_at:
                    end, next_stated_at = offset - 1, row["stated_at"]
                    break
                _record_update(total, row["stated_at"], offset, row["event_id"])
                self._layout.add_change(total.vector, row["change"])
            found[area] = TotalUpTo(total, end, next_stated_at)
        return found

    def _starts(self, unit_type: str, areas: Sequence[str], stated_at: datetime | None) -> dict[str, _Start]:
        """Find each area's last kept total with nothing beyond the moment or stated later, and the updates after it."""
        since = self._reader.totals_since(self._contest_id, unit_type, areas)
        by_area: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in self._reader.blocks_to(self._contest_id, unit_type, areas, self.to_offset):
            by_area[row["area_id"]].append(row)
        beyond = [area for area, rows in by_area.items() if self._is_beyond(rows, stated_at)]
        for area in beyond:
            by_area[area] = []
        if stated_at is not None:
            for row in self._reader.blocks_stated_by(self._contest_id, unit_type, beyond, stated_at):
                by_area[row["area_id"]].append(row)
        starts = {}
        for area in areas:
            rows = by_area.get(area, [])
            if not rows or (rows[0]["span"].upper - 1 <= self.to_offset and not _is_later(rows[0], stated_at)):
                base, offsets = (rows[0] if rows else None), since.get(area, ())
            else:
                base, offsets = (rows[1] if len(rows) > 1 else None), rows[0]["offsets"]
            after = base["span"].upper if base is not None else 0
            starts[area] = _Start(self._total_of(base), tuple(o for o in offsets if after <= o <= self.to_offset))
        return starts

    def _is_beyond(self, rows: Sequence[Mapping[str, Any]], stated_at: datetime | None) -> bool:
        """Say whether the kept total to start from, by the log, includes something stated later."""
        inside = rows[0]["span"].upper - 1 > self.to_offset
        base = rows[1] if inside and len(rows) > 1 else None if inside else rows[0]
        return base is not None and _is_later(base, stated_at)

    def _total_of(self, block: Mapping[str, Any] | None) -> AreaTotal:
        if block is None:
            return AreaTotal(self._layout.zero())
        vector = self._layout.widened(block["figures"])
        return AreaTotal(vector, block["stated_at"], block["last_offset"], block["last_event_id"])

    def _add_late_statements(self, unit_type: str, ends: Mapping[str, int], found: dict[str, AreaTotal]) -> None:
        """Add the statements made in time that came after `ends`, the offset up to which each total was read.

        Usually the recorded changes are added; an irregular unit's state in the total is replaced by its later one.
        """
        assert self._stated_at is not None
        if not ends:
            return
        rows, _ = self._late_changes(unit_type, ends, min(ends.values()))
        for row in rows:
            total = found.setdefault(row["area_id"], AreaTotal(self._layout.zero()))
            _record_update(total, row["stated_at"], row["log_offset"], row["event_id"])
            self._layout.add_change(total.vector, row["change"])
        changes = list(self._unit_changes(unit_type, ends))
        contributions = self._contributions(
            {s.offset for change in changes for s in (change.before, change.after) if s is not None}
        )
        for change in changes:
            total = found.setdefault(change.area, AreaTotal(self._layout.zero()))
            for statement in change.changed_by:
                _record_update(total, statement.stated_at, statement.offset, statement.event_id)
            for state, by in ((change.before, sub), (change.after, add)):
                if state is not None:
                    pairs = zip(total.vector, contributions[state.offset], strict=True)
                    total.vector = [by(had, given) for had, given in pairs]

    def _late_changes(self, unit_type: str, ends: Mapping[str, int], first: int) -> tuple[list[dict[str, Any]], int]:
        """Read the sums of late changes by area, once for the outermost area: `as_of` and its count need them."""
        assert self._stated_at is not None
        key = unit_type, *ends.items()
        if key not in self._late:
            irregular = self._irregular(unit_type)
            where = self._contest_id, unit_type, self.contest.root.area_id, self._stated_at, self.to_offset
            self._late[key] = self._reader.late_changes(*where, ends, first, irregular.units, self._layout.size)
        return self._late[key]

    def _irregular(self, unit_type: str) -> _Irregular:
        """Read the units of a type whose state at the moment is a late statement or that moved, once."""
        assert self._stated_at is not None
        if unit_type not in self._irregular_units:
            units = self._reader.irregular_units(self._contest_id, unit_type, self._stated_at, self.to_offset)
            by_unit: dict[str, list[_Statement]] = defaultdict(list)
            ids = list(units.values())
            for row in self._reader.statements_of_units(self._contest_id, unit_type, ids, self.to_offset):
                statement = _Statement(row["log_offset"], row["event_id"], row["stated_at"], row["areas"])
                by_unit[row["unit_id"]].append(statement)
            self._irregular_units[unit_type] = _Irregular(list(units), list(by_unit.values()))
        return self._irregular_units[unit_type]

    def _unit_changes(self, unit_type: str, ends: Mapping[str, int]) -> Iterator[_UnitChange]:
        """Find the late changes of irregular units of a type, in every area that they have been in."""
        assert self._stated_at is not None
        for statements in self._irregular(unit_type).statements:
            in_time = [s for s in statements if s.stated_at <= self._stated_at]
            for area in ends.keys() & {area for s in statements for area in s.areas}:
                before, _ = _state([s for s in statements if s.offset <= ends[area]], area)
                after, changed_by = _state(in_time, area)
                if before is after:
                    before = after = None
                if changed_by:  # no state in the area without a statement that changed it
                    yield _UnitChange(area, before, after, changed_by)

    def _contributions(self, offsets: Collection[int]) -> dict[int, Vector]:
        """Compute what statements added when they came: a selection that was added later is in none of them."""
        found = {}
        for row in self._reader.updates_at(self._contest_id, sorted(offsets)):
            *_, then = (defined for defined in self._definitions if defined.offset < row["log_offset"])
            layout = Layout.of(then.definition)
            found[row["log_offset"]] = self._layout.widened(layout.contribution(recorded_of(row).update))
        return found

    def _as_of(self, in_force: Recorded) -> AsOf:
        if self._stated_at is None:
            last = self._reader.last_event(self._contest_id, self.to_offset)
            return AsOf(
                offset=last["log_offset"], recorded_at=last["recorded_at"], reported_at=last["last_reported_at"]
            )
        roll = self._reader.last_roll(self._contest_id, self.to_offset)
        offset, recorded_at = max(in_force.offset, -1 if roll is None else roll), in_force.recorded_at
        root = self.contest.root.area_id
        for unit_type in self._reader.unit_types(self._contest_id):
            up_to = self.totals_up_to(unit_type, [root], self._stated_at)[root]
            _, late = self._late_changes(unit_type, {root: up_to.end}, up_to.total.last_offset)
            irregular = (s for of_unit in self._irregular(unit_type).statements for s in of_unit)
            offsets = (s.offset for s in irregular if s.stated_at <= self._stated_at)
            offset = max(offset, up_to.total.last_offset, late, *offsets)
        if offset != in_force.offset:
            recorded_at = self._reader.last_event(self._contest_id, offset)["recorded_at"]
        reported_at = self._reader.last_reported(self._contest_id, self._stated_at, self.to_offset)
        return AsOf(offset=offset, recorded_at=recorded_at, reported_at=reported_at)


def _is_later(block: Mapping[str, Any], stated_at: datetime | None) -> bool:
    """Say whether a kept total includes something stated later."""
    return stated_at is not None and block["stated_at"] > stated_at


def _state(statements: Iterable[_Statement], area: str) -> tuple[_Statement | None, list[_Statement]]:
    """Return a unit's state after its statements, if it is in `area`, and the statements that changed the area."""
    state: _Statement | None = None
    changed_by = []
    for statement, then in states_of(statements):
        if then is statement and (area in statement.areas or (state is not None and area in state.areas)):
            changed_by.append(statement)
        state = then
    return (state if state is not None and area in state.areas else None), changed_by


def _record_update(total: AreaTotal, stated_at: datetime, offset: int, event_id: Any) -> None:
    if total.stated_at is None or stated_at > total.stated_at:
        total.stated_at = stated_at
    if offset > total.last_offset:
        total.last_offset, total.last_event_id = offset, event_id
