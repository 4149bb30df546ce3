"""What `verify` found: the differences between the tables and the log, each by name (pure)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

SHOWN = 20
"""Differences told one by one; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where the tables do not say what the log says. `offset`, `event_id`, `unit`: of the event behind it."""

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
    """What a comparison found, up to and with `offset`."""

    contest_id: str
    offset: int
    is_copy: bool = False
    """Whether the log has another name than the one the tables were built from. A copy has log times of its own: they are left out."""
    events: int = 0
    log_digest: str = ""
    table_digest: str = ""
    blocked_offset: int | None = None
    """The first message of the contest that cannot be read, where the tables' end was compared; what the log says."""
    blocked_reason: str | None = None
    parked_count: int = 0
    """That one and all of the contest that follow it, as far as the tables have read."""
    count: int = 0
    differences: list[Mismatch] = field(default_factory=list)
    """The first SHOWN."""

    @property
    def equal(self) -> bool:
        """Whether the tables say what the log says."""
        return not self.count

    def add(self, difference: Mismatch) -> None:
        """Takes a difference down."""
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
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


def mismatches(name: str, kept: object, true: object) -> Iterator[str]:
    """Where a value differs from what the log says; of a map, which of its values."""
    if isinstance(kept, dict) and isinstance(true, dict):
        for key in sorted(kept.keys() | true.keys()):
            yield from mismatches(f"{name}.{key}", kept.get(key), true.get(key))
    elif kept != true:
        yield f"{name} is {_short(kept)}, by the log {_short(true)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
