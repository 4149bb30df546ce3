"""`SourceStatus`: the source falls silent, speaks again, or has ended. `source_status.v1.avsc` documents the fields."""

from enum import StrEnum
from uuid import UUID

from schemas.types import Event, Id, Instant, Text


class SourceState(StrEnum):
    """Whether the source of a contest's updates says anything."""

    SPEAKING = "SPEAKING"
    SILENT = "SILENT"
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"


class SourceStatus(Event):
    """A change of the source's state. It stands on the log, and changes no figure."""

    event_id: UUID
    contest_id: Id
    state: SourceState
    since: Instant
    reason: Text | None
    authority: Text | None
