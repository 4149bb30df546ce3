"""`ContestDefined`: a contest's selections, areas, authority and counting level."""

from collections import Counter
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import chain
from typing import Annotated, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, model_validator

from schemas.count_update import Code, ReportingUnit, one_of_each_registry
from schemas.types import (
    DEPTH_LIMIT,
    Count,
    CountStatus,
    Event,
    Frozen,
    Id,
    Instant,
    Key,
    Label,
    Ordinal,
    ReportingUnitType,
    SelectionKind,
    Text,
    UnitType,
)

Level = tuple[UnitType, ...]
"""The types of the reporting units that are added up."""
SHEETS = (ReportingUnitType.POLLING_PLACE.value, ReportingUnitType.PRECINCT.value)
"""The usual types of units with one tally sheet each."""


def in_words(level: Level) -> str:
    """Return a counting level as people and the views name it: `precinct`, or `precinct + county`."""
    return " + ".join(level)


class Selection(Frozen):
    """One choice of a voter (NIST ContestSelection)."""

    selection_id: Key
    kind: SelectionKind = SelectionKind.CANDIDATE
    candidate: Text
    party: Text
    list_id: Key | None = None
    ballot_order: Annotated[int, Field(ge=1, lt=2**31)]
    external_id: Label | None
    """The authority's own code: ONPE's C_CODI_AGRUPOL."""
    withdrawn_at: Instant | None = None


ENDED = "ended"
"""No type of a unit."""


class Area(Frozen):
    """An area of the contest. Only the outermost has no `parent_id`."""

    area_id: Id
    name: Text
    type: UnitType
    parent_id: Id | None
    expected_units: Count | None = None
    codes: tuple[Code, ...] = ()
    ends_at: Instant | None = None
    replaced_by: tuple[Id, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        one_of_each_registry(self.codes, f"area {self.area_id}")
        if self.replaced_by and self.ends_at is None:
            raise ValueError(f"area {self.area_id} is replaced, and does not end")
        return self


class ContestDefined(Event):
    """The first event of a contest; a later revision replaces it from its offset on.

    `counting_level` names the reporting unit types whose updates are added up; statements about larger areas are kept
    and compared. A revision may change it, but must not remove a selection or an area, nor say otherwise which units
    are sheets. An area does not move: it ends, and others replace it.
    """

    event_id: UUID
    contest_id: Id
    revision: Ordinal
    previous_event_id: UUID | None
    name: Label
    election_name: Label
    election_date: Label
    authority: Label
    time_zone: Label
    effective_at: Instant
    count_starts_at: Instant
    votes_allowed: Annotated[int, Field(ge=1, le=1000)] = 1
    number_elected: Annotated[int, Field(ge=1, le=1000)] = 1
    selections: tuple[Selection, ...]
    areas: tuple[Area, ...]
    counting_level: Level
    later_counting_levels: tuple[Level, ...]
    """A revision moves the level to the next of these once every expected unit of those types has been stated."""
    sheet_types: tuple[UnitType, ...] = SHEETS
    partial_sheets_count: bool = False
    expected_units: Count | None
    registered_voters: Count | None
    confirmed_units: tuple[Label, ...] = ()
    leader_from_percent: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,30})?$")] | None = None
    rules_version: Text | None = None
    is_test: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Refuse here what cannot be computed, not on election night.
        if self.election_date != date.fromisoformat(self.election_date).isoformat():
            raise ValueError(f"{self.election_date!r} is not a day as 2021-06-06")  # one of a week, or without hyphens
        try:
            self.zone  # noqa: B018
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{self.time_zone!r} is not an IANA time zone") from error
        for what, ids in (
            ("selection_id", [s.selection_id for s in self.selections]),
            ("area_id", [a.area_id for a in self.areas]),
        ):
            if twice := sorted(i for i, times in Counter(ids).items() if times > 1):
                raise ValueError(f"{what} given twice: {', '.join(twice[:5])}")
        for level in (self.counting_level, *self.later_counting_levels):
            if not level or len(set(level)) != len(level):
                raise ValueError("a counting level names at least one type, and each once")
        lists = {s.selection_id for s in self.selections}
        if unknown := [s.selection_id for s in self.selections if s.list_id is not None and s.list_id not in lists]:
            raise ValueError(f"selections below a list that is no selection: {', '.join(unknown[:5])}")
        roots = [a.area_id for a in self.areas if a.parent_id is None]
        if len(roots) != 1:
            raise ValueError(f"exactly one area has no parent; found {len(roots)}: {', '.join(roots[:5])}")
        known = {a.area_id for a in self.areas}
        if orphans := [a.area_id for a in self.areas if a.parent_id is not None and a.parent_id not in known]:
            raise ValueError(f"areas whose parent is not defined: {', '.join(orphans[:5])}")
        for area in self.areas:
            if strange := [other for other in area.replaced_by if other not in known or other == area.area_id]:
                raise ValueError(f"area {area.area_id} is replaced by what is no other area: {', '.join(strange[:5])}")
        parents = {a.area_id: a.parent_id for a in self.areas}
        depths = {roots[0]: 1}
        for area in self.areas:
            way: list[str] = []
            at = area.area_id
            while at not in depths:
                if at in way:
                    raise ValueError(f"areas that contain each other: {', '.join(way)}")
                way.append(at)
                if len(way) >= DEPTH_LIMIT:
                    break
                at = parents[at] or at
            if len(way) + depths.get(at, 1) > DEPTH_LIMIT:
                raise ValueError(f"area {area.area_id} is within more than {DEPTH_LIMIT - 1} others")
            depths.update((area_id, depths[at] + height) for height, area_id in enumerate(reversed(way), 1))
        types, counted = (
            {a.area_id: a.type for a in self.areas},
            {*self.counting_level, *chain(*self.later_counting_levels)},
        )
        for area_id, path in self.area_paths.items() if counted & self.area_types else ():
            if (kind := types[area_id]) in counted and kind in (within := [types[above] for above in path[:-1]]):
                outer = path[within.index(kind)]
                raise ValueError(f"{kind} is a counting level, but {outer} contains {area_id}: it would count twice")
        for level in (self.counting_level, *self.later_counting_levels):
            self._contain_no_other(self.areas_added_up(level))
        if (self.revision == 1) != (self.previous_event_id is None):
            raise ValueError("previous_event_id is given from revision 2 on, and only then")
        return self

    def _contain_no_other(self, kinds: frozenset[str]) -> None:
        """Refuse an area of some types that contains another one of another of them: its votes are added up twice."""
        for area in self.areas if len(kinds) > 1 else ():
            for above in self.area_paths[area.area_id][:-1] if area.type in kinds else ():
                if (outer := self.areas_by_id[above]).type in kinds:
                    names = f"{outer.type} {above} contains {area.type} {area.area_id}"
                    raise ValueError(f"{in_words(tuple(sorted(kinds)))} are added up together, but {names}")

    def areas_added_up(self, level: Level) -> frozenset[str]:
        """Return the types of a level of which areas state figures. Sheets stand within them, and beside those."""
        return self.area_types.intersection(level).difference(self.sheet_types)

    @cached_property
    def zone(self) -> ZoneInfo:
        """Time zone of the office, in which times are shown to people."""
        return ZoneInfo(self.time_zone)

    @property
    def one_vote(self) -> bool:
        """Whether a ballot has one vote. Of several, valid votes may be counted as ballots or as votes."""
        return self.votes_allowed == 1

    def is_sheet(self, unit_type: str) -> bool:
        """Say whether units of a type have one tally sheet each. Others state the numbers of theirs, or only add."""
        return unit_type in self.sheet_types

    @property
    def sheets_counted(self) -> Level:
        """The types of sheets that are added up now or later, in that order."""
        levels = (self.counting_level, *self.later_counting_levels)
        return tuple(dict.fromkeys(name for level in levels for name in level if self.is_sheet(name)))

    @property
    def sheets_expected(self) -> Level:
        """The types of the sheets of which areas expect a number.

        They are those that are added up; where areas are, those that will be later, or else all.
        """
        return tuple(filter(self.is_sheet, self.counting_level)) or self.sheets_counted or self.sheet_types

    def is_part(self, unit_type: str) -> bool:
        """Say whether statements about areas of a type are parts of their sums, as postal votes, and not the totals."""
        return unit_type in self.counting_level and len(self.counting_level) > 1

    def is_area(self, unit: ReportingUnit) -> bool:
        """Say whether a unit is one of the contest's areas, so that its figures belong to itself, too."""
        area = self.areas_by_id.get(unit.id)
        return area is not None and area.type == unit.type

    def areas_of(self, unit: ReportingUnit) -> tuple[str, ...]:
        """Return the ids of the areas that a unit's figures belong to, outermost first; an area contains itself."""
        return (*unit.area_path, unit.id) if self.is_area(unit) else unit.area_path

    def adding(self, unit_type: str) -> frozenset[CountStatus]:
        """Return the statuses in which the votes of units of a type count.

        A unit that sums others states, while it is in process, the votes of those that are counted.
        """
        partly = self.partial_sheets_count or not self.is_sheet(unit_type)
        return frozenset({CountStatus.COUNTED, CountStatus.IN_PROCESS} if partly else {CountStatus.COUNTED})

    @cached_property
    def selection_ids(self) -> tuple[str, ...]:
        """Ids of the selections, in ballot order."""
        return tuple(s.selection_id for s in sorted(self.selections, key=lambda s: s.ballot_order))

    @cached_property
    def by_external_id(self) -> dict[str, Selection]:
        """Selections by the authority's code."""
        return {s.external_id: s for s in self.selections if s.external_id is not None}

    @cached_property
    def areas_by_id(self) -> dict[str, Area]:
        """Areas by id."""
        return {a.area_id: a for a in self.areas}

    @cached_property
    def area_types(self) -> frozenset[str]:
        """The types of the areas."""
        return frozenset(area.type for area in self.areas)

    @cached_property
    def known_types(self) -> frozenset[str]:
        """The types of what a statement can be about: areas, sheets, and what is added up now or later."""
        return self.area_types.union(self.sheet_types, self.counting_level, *self.later_counting_levels)

    @cached_property
    def areas_within(self) -> dict[str, dict[str, int]]:
        """How many areas of each type are within each area, itself included, by its id; those that end as ENDED."""
        found: dict[str, dict[str, int]] = {area.area_id: {} for area in self.areas}
        for area in self.areas:
            kind = area.type if area.ends_at is None else ENDED
            for around in self.area_paths[area.area_id]:
                found[around][kind] = found[around].get(kind, 0) + 1
        return found

    @cached_property
    def ended_areas(self) -> dict[str, datetime]:
        """When areas end, by id."""
        return {area.area_id: area.ends_at for area in self.areas if area.ends_at is not None}

    @cached_property
    def root(self) -> Area:
        """The outermost area: the whole contest."""
        return next(a for a in self.areas if a.parent_id is None)

    @cached_property
    def area_paths(self) -> dict[str, tuple[str, ...]]:
        """For each area, the ids from the outermost area down to and including itself."""
        paths: dict[str, tuple[str, ...]] = {}

        for area in self.areas:
            way = [area.area_id]
            while way[-1] not in paths and (parent := self.areas_by_id[way[-1]].parent_id) is not None:
                way.append(parent)
            above = paths.get(way[-1], (way[-1],))
            paths[way[-1]] = above
            for area_id in reversed(way[:-1]):
                above = paths[area_id] = (*above, area_id)
        return paths


def midnight(election_date: str, time_zone: str) -> datetime:
    """Return when election day begins. Raises ValueError or OverflowError for what is no day, or no zone."""
    day = date.fromisoformat(election_date)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
