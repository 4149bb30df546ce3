"""`IngestStatus`: a sign of life, by which a quiet source is no dead ingest. `ingest_status.v1.avsc` has the fields."""

from uuid import UUID

from schemas.source_status import SourceState
from schemas.types import Event, Id, Instant, Number, Text


class IngestStatus(Event):
    """What ingest says of itself and of its source, every few seconds."""

    event_id: UUID
    contest_id: Id
    at: Instant
    next_within_ms: Number
    asks_within_ms: Number
    started_at: Instant
    source: Text
    asked_at: Instant | None
    answered_at: Instant | None
    fault: Text | None
    spoke_at: Instant | None
    state: SourceState
    partition: Number
    next_offset: Number
