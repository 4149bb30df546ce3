"""A moment of a contest: a point on one or more axes (pure).

- `offset`, the position on the log: what this system knew. Exact, and the same for every copy of the log.
- `recorded_at`, the broker's time of an event: what this system knew *then*. It stands for an offset: that of the last
  event before the first one that was recorded later.
- `stated_at`, the official time of a statement (if it has none, when it was observed): what the count *was* then, as
  known now, with later corrections of that time.

Two together are bitemporal: what was known at 21:40 (`recorded_at`) about the count of 19:23 (`stated_at`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import rfc3339


class MomentError(EscrutinioError):
    """The text is not a moment."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A limit on each axis, inclusive; an axis that is not given does not limit. Events must satisfy all of them."""

    offset: int | None = None
    recorded_at: datetime | None = None
    stated_at: datetime | None = None

    def passed_by(self, offset: int, recorded_at: datetime) -> bool:
        """Say whether the log is beyond the moment from this event on."""
        return (self.offset is not None and offset > self.offset) or (
            self.recorded_at is not None and recorded_at > self.recorded_at
        )

    def includes(self, recorded: Recorded) -> bool:
        """Say whether an event before that point belongs to the moment."""
        if self.stated_at is None:
            return True
        event = recorded.event
        # Selections and areas are valid for all times: a sheet of that night may belong to an area defined later.
        return not isinstance(event, CountUpdate) or event.stated_at <= self.stated_at

    def definition_in_force(self, definitions: Sequence[Recorded]) -> Recorded:
        """Return the last accepted definition; by official time the last in effect by then, or else the first."""
        if self.stated_at is None:
            return definitions[-1]
        return [definitions[0], *(d for d in definitions[1:] if d.definition.effective_at <= self.stated_at)][-1]

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Parse `now`; `41` or `offset:41`; `2021-06-08T00:23Z` or `reported:…`; `recorded:…`; or several with commas.

        Raises MomentError for anything else.
        """
        moment: dict[str, int | datetime] = {}
        for part in [] if text == "now" else text.split(","):
            axis, colon, value = part.partition(":")
            if not colon or axis not in _AXES:
                axis, value = ("offset" if part.isascii() and part.isdecimal() else "reported"), part
            field = _AXES[axis]
            if field in moment:
                raise MomentError(f"{text!r} gives {axis} twice")
            if field == "offset":
                moment[field] = _offset(value)
            else:
                moment[field] = instant(value) if value != part else instant(value, "neither an offset nor an")
        return cls(**moment)  # type: ignore[arg-type]

    def __str__(self) -> str:
        axes = [
            *([f"offset {self.offset}"] if self.offset is not None else []),
            *([f"recorded by {rfc3339(self.recorded_at)}"] if self.recorded_at is not None else []),
            *([f"stated by {rfc3339(self.stated_at)}"] if self.stated_at is not None else []),
        ]
        return ", ".join(axes) or "now"


NOW = Moment()
_AXES = {"offset": "offset", "recorded": "recorded_at", "reported": "stated_at"}


def instant(text: str, is_what: str = "not an") -> datetime:
    """Parse a time with its zone. Raises MomentError; `is_what` is in its message when an offset is accepted too."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise MomentError(f"{text!r} is {is_what} ISO 8601 time such as 2021-06-08T00:23Z") from error
    if at.tzinfo is None:
        raise MomentError(f"{text!r} has no zone; write 2021-06-08T00:23Z or 2021-06-07T19:23-05:00")
    if not 1 < at.year < 9999:
        raise MomentError(f"{text!r} is outside the years 2 to 9998")
    return at.astimezone(UTC)  # PostgreSQL has no zones beyond 16 hours


def _offset(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise MomentError(f"{text!r} is not an offset: 0, 1, 2 …")
    return int(text)
