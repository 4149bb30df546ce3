"""`UnitRoll`: a part of the list of a contest's tally sheets. `unit_roll.v1.avsc` documents the fields."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from schemas.count_update import UnitKey
from schemas.types import Count, Event, Frozen, Id, Instant, Ordinal, UnitType

MOST_UNITS = 20_000
"""Units in one part, at most: some 2 MB, below what a broker takes."""


class RollUnit(Frozen):
    """A tally sheet that exists."""

    type: UnitType
    id: Id
    area_id: Id
    registered_voters: Count | None

    @property
    def key(self) -> UnitKey:
        """The unit's key within its contest."""
        return UnitKey(self.type, self.id)


class UnitRoll(Event):
    """A part of a roll. The parts of a revision follow each other, and hold together once the last one is accepted."""

    event_id: UUID
    contest_id: Id
    revision: Ordinal
    part: Ordinal
    parts: Ordinal
    previous_event_id: UUID | None
    observed_at: Instant
    document_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    units: Annotated[tuple[RollUnit, ...], Field(max_length=MOST_UNITS)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.part > self.parts:
            raise ValueError(f"part {self.part} of {self.parts}")
        if (self.revision == 1 and self.part == 1) != (self.previous_event_id is None):
            raise ValueError("previous_event_id is given from the second part on, and only then")
        return self
