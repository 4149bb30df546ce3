"""`ContestDefined`: a contest's selections, areas, authority and counting level."""

from collections import Counter
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from schemas.types import DEPTH_LIMIT, Count, Frozen, Id, Instant, Key, Ordinal, ReportingUnitType, Text


class Selection(Frozen):
    """One choice of a voter (NIST ContestSelection)."""

    selection_id: Key
    candidate: Text
    party: Text
    ballot_order: Annotated[int, Field(ge=1, lt=2**31)]
    external_id: Id | None
    """The authority's own code: ONPE's C_CODI_AGRUPOL."""


class Area(Frozen):
    """An area of the contest. Only the outermost has no `parent_id`."""

    area_id: Id
    name: Text
    type: ReportingUnitType
    parent_id: Id | None


class ContestDefined(Frozen):
    """The first event of a contest; a later revision replaces it from its offset on.

    `counting_level` names the reporting unit type whose updates are added up; statements about larger areas are kept
    and compared. A revision may change it, but must not remove a selection or an area.
    """

    event_id: UUID
    contest_id: Id
    revision: Ordinal
    previous_event_id: UUID | None
    name: Id
    election_name: Id
    election_date: Id
    authority: Id
    time_zone: Id
    effective_at: Instant
    selections: tuple[Selection, ...]
    areas: tuple[Area, ...]
    counting_level: ReportingUnitType
    later_counting_levels: tuple[ReportingUnitType, ...]
    """A revision moves the level to the next of these once every expected unit of that type has been stated."""
    expected_units: Count
    registered_voters: Count | None
    is_test: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # Refuse here what cannot be computed, not on election night.
        date.fromisoformat(self.election_date)
        try:
            self.zone  # noqa: B018
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{self.time_zone!r} is not an IANA time zone") from error
        try:
            self.starts_at  # noqa: B018
        except OverflowError as error:
            raise ValueError(f"{self.election_date} does not begin in every time zone") from error
        for what, ids in (
            ("selection_id", [s.selection_id for s in self.selections]),
            ("area_id", [a.area_id for a in self.areas]),
        ):
            if twice := sorted(i for i, times in Counter(ids).items() if times > 1):
                raise ValueError(f"{what} given twice: {', '.join(twice[:5])}")
        roots = [a.area_id for a in self.areas if a.parent_id is None]
        if len(roots) != 1:
            raise ValueError(f"exactly one area has no parent; found {len(roots)}: {', '.join(roots[:5])}")
        known = {a.area_id for a in self.areas}
        if orphans := [a.area_id for a in self.areas if a.parent_id is not None and a.parent_id not in known]:
            raise ValueError(f"areas whose parent is not defined: {', '.join(orphans[:5])}")
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
        if (self.revision == 1) != (self.previous_event_id is None):
            raise ValueError("previous_event_id is given from revision 2 on, and only then")
        return self

    @cached_property
    def zone(self) -> ZoneInfo:
        """Time zone of the office, in which times are shown to people."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def starts_at(self) -> datetime:
        """Midnight of election day in the contest's own time zone: nothing is counted before it."""
        day = date.fromisoformat(self.election_date)
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

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
