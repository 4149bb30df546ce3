"""`AggregatorStatus`: a sign of life, by which a count that stands still is no quiet one. `…v1.avsc` has the fields."""

from uuid import UUID

from schemas.types import Event, Id, Instant, Number, Text


class AggregatorStatus(Event):
    """What the aggregator says of itself and of the count of a contest, every few seconds."""

    event_id: UUID
    contest_id: Id
    at: Instant
    next_within_ms: Number
    started_at: Instant
    partition: Number
    next_offset: Number
    end_offset: Number | None
    unsent: Number
    blocked: Text | None
