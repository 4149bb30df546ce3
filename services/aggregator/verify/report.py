"""The result of `verify`: every mismatch between the tables and the log (pure)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

SHOWN = 20
"""Mismatches listed one by one; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One mismatch between the tables and the log. `offset`, `event_id`, `unit`: of the event it concerns."""

    table: str
    what: str
    offset: int | None = None
    event_id: UUID | None = None
    unit: str | None = None

    def __str__(self) -> str:
        where = f" offset {self.offset}" if self.offset is not None else ""
        about = f", {self.unit}" if self.unit is not None else ""
        which = f" (event {self.event_id})" if self.event_id is not None else ""
        return f"{self.table}{where}{about}: {self.what}{which}"


@dataclass(slots=True)
class Report:
    """The result of a comparison up to and including `offset`."""

    contest_id: str
    offset: int
    is_copy: bool = False
    """Whether the topic is another one than the tables were built from. Its log times are its own: not compared."""
    events: int = 0
    log_digest: str = ""
    table_digest: str = ""
    blocked_offset: int | None = None
    """The first unreadable message of the contest on the log, where the tables were compared to their end."""
    blocked_reason: str | None = None
    stop: tuple[int, str] | None = None
    """Offset and reason of the first message that the fold could not count."""
    parked_count: int = 0
    """The unreadable message and all later ones of the contest, as far as the tables have read."""
    count: int = 0
    differences: list[Mismatch] = field(default_factory=list)
    """The first SHOWN."""
    partition: int = 0
    """Of the contest."""

    @property
    def equal(self) -> bool:
        """Whether the tables equal the log."""
        return not self.count

    def add(self, difference: Mismatch) -> None:
        """Add a mismatch."""
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "contest_id": self.contest_id,
            "offset": self.offset,
            "is_copy": self.is_copy,
            "events": self.events,
            "equal": self.equal,
            "log_digest": self.log_digest,
            "table_digest": self.table_digest,
            "blocked_offset": self.blocked_offset,
            "blocked_reason": self.blocked_reason,
            "parked_count": self.parked_count,
            "difference_count": self.count,
            "differences": [
                asdict(d) | {"event_id": None if d.event_id is None else str(d.event_id)} for d in self.differences
            ],
        }


_NOTHING = object()
"""What a map does not have, which is not null."""


def mismatches(name: str, kept: object, expected: object) -> Iterator[str]:
    """Yield how a value of the tables differs from that of the log; for a map, each value that differs."""
    if isinstance(kept, dict) and isinstance(expected, dict):
        for key in sorted(kept.keys() | expected.keys()):
            yield from mismatches(f"{name}.{key}", kept.get(key, _NOTHING), expected.get(key, _NOTHING))
    elif kept != expected:
        yield f"{name} is {_short(kept)}, by the log {_short(expected)}"


def _short(value: object) -> str:
    text = "not there" if value is _NOTHING else value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
