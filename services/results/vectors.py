"""Hold the total of an area, and read its figures: by how many units each is stated (pure)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from schemas.columns.layout import NOT_STATED, OF_SHEETS, Layout, Vector
from schemas.types import SHEET_TYPES, ReportingUnitType


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
    """Those over which it is summed."""

    @property
    def is_whole(self) -> bool:
        """Whether every unit states it."""
        return self.stated_by == self.units


def figures_of(layout: Layout, vector: Vector, unit_type: ReportingUnitType) -> dict[str, Figure]:
    """Return the figures of a total over units of a type by name, without reasons of review and without the helpers."""
    named = layout.named(vector)
    base = dict.fromkeys(OF_SHEETS, named["units"])
    if unit_type in SHEET_TYPES:  # of sheets the rolls of all that are known are added up, and of those that count
        base |= {"registered_voters": named["units"], "registered_voters_counted": named["counted"]}
    found = {}
    for name, value in named.items():
        if name.startswith((NOT_STATED, "under_review.", "units")):
            continue
        units = base.get(name, named["units_counted"])
        lacking = named.get(NOT_STATED + name, 0)
        found[name] = Figure(value if lacking < units or not units else None, units - lacking, units)
    return found
