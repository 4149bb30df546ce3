"""Hold the total of an area, and read its figures: by how many units each is stated (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import NamedTuple
from uuid import UUID

from schemas.columns.layout import (
    COUNTS,
    NOT_COUNTED,
    NOT_STATED,
    OF_SHEETS,
    ON_BALLOT,
    REASONS,
    SHEETS,
    VOTERS,
    Layout,
    Vector,
)
from schemas.contest import Level


@dataclass(slots=True)
class AreaTotal:
    """The sum over an area's units of one type, and the last update that changed it."""

    vector: Vector
    stated_at: datetime | None = None
    """The latest official time of an update that changed it."""
    last_offset: int = -1
    last_event_id: UUID | None = None
    since: list[int] = field(default_factory=list)
    """Offsets of the updates since its last block."""
    kept_at: int = -1
    """Where its last block ends."""


class Figure(NamedTuple):
    """A figure of a total: the sum over the units that state it; None where none of them does, which is not zero."""

    value: int | None
    stated_by: int
    units: int
    """Those over which it is summed; of votes, those on whose ballots the selection stood."""

    @property
    def is_whole(self) -> bool:
        """Whether every unit states it."""
        return self.stated_by == self.units

    @property
    def is_on_ballot(self) -> bool:
        """Whether it could be stated: False for a selection that stood on none of the ballots that are counted."""
        return self.value is not None or self.units > 0


@dataclass(frozen=True)
class LevelTotal:
    """The count of an area: its totals over the units of each type of the counting level, one at least."""

    layout: Layout
    level: Level
    parts: Mapping[str, AreaTotal]

    @classmethod
    def of(cls, layout: Layout, level: Level, totals: Mapping[str, AreaTotal | None]) -> "LevelTotal | None":
        """Return the count from totals by type; None where nothing was added up."""
        parts = {name: total for name in level if (total := totals.get(name)) is not None and total.last_offset >= 0}
        return cls(layout, level, parts) if parts else None

    @property
    def last(self) -> AreaTotal:
        """The total that was changed last."""
        return max(self.parts.values(), key=lambda total: total.last_offset)

    @property
    def stated_at(self) -> datetime:
        """The latest official time of an update that changed it."""
        return max(total.stated_at for total in self.parts.values() if total.stated_at is not None)

    def number(self, name: str) -> int:
        """Return the sum in a slot, over all types; of sheets and their reasons, over those that count sheets."""
        slot = self.layout.slots[name]
        return sum(total.vector[slot] for total in (self._of_sheets if _is_of_sheets(name) else self.parts).values())

    def votes(self, begin: str = "") -> dict[str, int]:
        """Return the sums of the selections' slots, of `votes.X` or those whose names begin otherwise."""
        return {selection: self.number(f"{begin}votes.{selection}") for selection in self.layout.selections}

    @property
    def reasons(self) -> dict[str, int]:
        """The sheets under review by reason."""
        return {reason: self.number(f"under_review.{reason}") for reason in REASONS}

    @cached_property
    def has_sheets(self) -> bool:
        """Whether sheets are added up; else areas, which state the numbers of theirs."""
        return any(name in self.layout.sheet_types for name in self.level)

    @cached_property
    def _of_sheets(self) -> Mapping[str, AreaTotal]:
        """The totals that have the figures of sheets: beside sheets, other units only add votes and ballots.

        Their voters are on the rolls of the sheets: who votes by post is registered in a precinct.
        """
        if not self.has_sheets:
            return self.parts
        return {kind: total for kind, total in self.parts.items() if kind in self.layout.sheet_types}

    def figures(self) -> dict[str, Figure]:
        """Return the figures by name, without reasons of review and without the helpers.

        Where a unit states something that this release does not know, no figure has a value.
        """
        places = {kind: _places(self.layout, kind in self.layout.sheet_types) for kind in self.parts}
        found, unknown = {}, self.number("units_unknown")
        for number, (name, may_be_on_none, is_of_sheets) in enumerate(_names(self.layout)):
            value = units = lacking = added = 0
            for kind, total in (self._of_sheets if is_of_sheets else self.parts).items():
                vector, place = total.vector, places[kind][number]
                value += vector[place.slot]
                for base in place.bases:
                    units += vector[base]
                if place.less_unknown is not None:  # they are added below
                    units -= vector[place.less_unknown]
                if place.lacking is not None:
                    lacking += vector[place.lacking]
                added += vector[place.added]
            # The sum of no units is 0, unless units are added up on whose ballots the selection did not stand.
            is_stated = not unknown and (lacking < units or (not units and not (may_be_on_none and added)))
            found[name] = Figure(value if is_stated else None, units - lacking, units + unknown)
        return found

    @property
    def turnouts(self) -> tuple[str, ...]:
        """The rolls over which the ballots are a turnout: none where no ballots are added up.

        Ballots by post are of all voters, also of those whose sheets are not counted yet.
        """
        ballots = {
            kind: sum(
                total.vector[self.layout.slots[base]] for base in _base(self.layout, "ballots_cast", is_sheet=True)
            )
            for kind, total in self.parts.items()
        }
        if not any(ballots.values()):
            return ()
        beside = self.has_sheets and any(n for kind, n in ballots.items() if kind not in self.layout.sheet_types)
        return VOTERS[:1] if beside else VOTERS

    def not_counted(self) -> dict[str, int]:
        """Return the votes that units state and that do not count (yet), without zeros."""
        return {selection: number for selection, number in self.votes(NOT_COUNTED).items() if number}


_OF_BALLOTS = ("units_counted", "units_annulled")
"""Slots that count the units which should state their ballots."""


@lru_cache
def _is_of_sheets(name: str) -> bool:
    """Say whether a slot is about sheets or the voters on their rolls."""
    return name in SHEETS or name.removeprefix(NOT_STATED) in (*OF_SHEETS, *VOTERS) or name.startswith("under_review.")


class _Place(NamedTuple):
    """The slots of a figure in the vectors of one type of unit."""

    slot: int
    bases: tuple[int, ...]
    """They count the units which should state it."""
    less_unknown: int | None
    lacking: int | None
    added: int


@lru_cache
def _names(layout: Layout) -> tuple[tuple[str, bool, bool], ...]:
    """Return each figure's name, whether it may have stood on no ballot, and whether it is about sheets."""
    names = (*COUNTS, "annulled_ballots", *SHEETS, *(f"votes.{selection}" for selection in layout.selections))
    return tuple((name, ON_BALLOT + name in layout.slots, _is_of_sheets(name)) for name in names)


@lru_cache
def _places(layout: Layout, is_sheet: bool) -> tuple[_Place, ...]:
    slots, found = layout.slots, []
    for name, *_ in _names(layout):
        bases = _base(layout, name, is_sheet=is_sheet)
        less_unknown = slots["units_unknown"] if "units" in bases else None
        lacking, added = slots.get(NOT_STATED + name), slots["units_counted"]
        found.append(_Place(slots[name], tuple(slots[base] for base in bases), less_unknown, lacking, added))
    return tuple(found)


def _base(layout: Layout, name: str, *, is_sheet: bool) -> tuple[str, ...]:
    """Return the slots that count the units which should state a figure."""
    if ON_BALLOT + name in layout.slots:
        return (ON_BALLOT + name,)
    if name in SHEETS:
        return ("units",)
    if name in ("ballots_cast", "invalid_votes", "annulled_ballots"):
        return _OF_BALLOTS
    if is_sheet:  # the rolls of all sheets that are known are added up, and of the counted
        partly = ("in_process",) if layout.partial_sheets_count else ()
        bases = {"registered_voters": ("units",), "registered_voters_counted": ("counted", *partly)}
        return bases.get(name, ("units_counted",))
    return ("units_counted",)
