"""A message of the log with its position, as clients hand it to the fold (pure)."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.source_status import SourceStatus
from schemas.types import EARLIEST_MS, LATEST_MS, from_milliseconds
from schemas.unit_roll import UnitRoll


class RawRecord(NamedTuple):
    """A message. `timestamp_ms` is the broker's (LogAppendTime). Kafka lets key, value and a header's value be null.

    A tuple, because one is made for every message: a frozen dataclass would need four times as long.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    fault: str | None = None
    """Why the client cannot read the message as it is: then it is no event, whatever its value says."""

    @property
    def recorded_at(self) -> datetime:
        """The broker's time; where it is none of our years, the nearest of them: such a message is no event."""
        return from_milliseconds(min(max(self.timestamp_ms, EARLIEST_MS), LATEST_MS))


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event and its position on the log. `recorded_at` is the broker's time."""

    partition: int
    offset: int
    recorded_at: datetime
    event: CountUpdate | ContestDefined | SourceStatus | UnitRoll

    @property
    def update(self) -> CountUpdate:
        """The event, which must be an update."""
        assert isinstance(self.event, CountUpdate)
        return self.event

    @property
    def stated_at(self) -> datetime:
        """The official time of the event, which must be an update."""
        return self.update.stated_at

    @property
    def definition(self) -> ContestDefined:
        """The event, which must be a definition."""
        assert isinstance(self.event, ContestDefined)
        return self.event

    @property
    def roll(self) -> UnitRoll:
        """The event, which must be a part of a roll."""
        assert isinstance(self.event, UnitRoll)
        return self.event


def recorded_of_raw(raw: RawRecord) -> Recorded:
    """Decode a message of the log. Raises ContractError when it is not an event of the log."""
    from schemas.codec import decode  # here: the read side needs no Avro, and `escrutinio show` starts sooner

    if raw.fault is not None:
        raise ContractError(raw.fault)
    event = decode(raw.value, raw.headers)
    if not isinstance(event, CountUpdate | ContestDefined | SourceStatus | UnitRoll):
        raise ContractError(f"a {type(event).__name__} does not belong on the log")
    if raw.key != event.contest_id.encode():
        raise ContractError(f"key {raw.key!r} is not the event's contest {event.contest_id}")
    if not EARLIEST_MS <= raw.timestamp_ms <= LATEST_MS:
        raise ContractError(f"the broker's time, {raw.timestamp_ms} ms, is outside the years 3 to 9997")
    return Recorded(raw.partition, raw.offset, raw.recorded_at, event)
