"""A message of the log and its place: what passes between the doors and the fold (pure)."""

from dataclasses import dataclass
from datetime import datetime

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One message. `timestamp_ms` is the broker's (LogAppendTime); Kafka lets key, value and a header's value be null."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event and its place on the log. `recorded_at` is the broker's time."""

    partition: int
    offset: int
    recorded_at: datetime
    event: CountUpdate | ContestDefined


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that waits, with the one that blocked its contest."""

    raw: RawRecord
    contest_id: str
    reason: str
