"""`Notice`: something that a newsroom would report of a contest. `notice.v1.avsc` documents the fields."""

from enum import StrEnum
from uuid import UUID

from schemas.area_count import Cause
from schemas.types import Event, Id, Instant, Number, Text


class NoticeKind(StrEnum):
    """What a notice is about."""

    FIRST_RESULTS = "FIRST_RESULTS"
    LEAD_CHANGED = "LEAD_CHANGED"
    FELL = "FELL"
    CORRECTED = "CORRECTED"
    RETRACTED = "RETRACTED"
    COUNTED_PERCENT = "COUNTED_PERCENT"
    ALL_COUNTED = "ALL_COUNTED"
    LEVEL_MOVED = "LEVEL_MOVED"
    BLOCKED = "BLOCKED"
    FINAL = "FINAL"
    SOURCE_SILENT = "SOURCE_SILENT"
    SOURCE_SPEAKING = "SOURCE_SPEAKING"
    BEGINS_HERE = "BEGINS_HERE"
    COUNT_BEHIND = "COUNT_BEHIND"
    COUNT_CURRENT = "COUNT_CURRENT"
    INGEST_DEAD = "INGEST_DEAD"
    INGEST_BACK = "INGEST_BACK"
    UNKNOWN = "UNKNOWN"


class Notice(Event):
    """Something that a newsroom would report, and the events behind it."""

    event_id: UUID
    contest_id: Id
    kind: NoticeKind
    is_operational: bool
    is_test: bool
    area_id: Id | None
    area_name: Text | None
    as_of_offset: Number
    recorded_at: Instant
    stated_at: Instant | None
    snapshot_id: Text | None
    sentence: Text
    percent: str | None
    leader: str | None
    lead: int | None
    leader_before: str | None
    lead_before: int | None
    votes: dict[str, int | None]
    counted: int | None
    percent_counted: str | None
    change: dict[str, int]
    events: tuple[Cause, ...]
    events_total: int
