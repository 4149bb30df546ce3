"""Which state of a contest is meant: a point on one or more axes (pure).

- `offset`, the place on the log: what this system knew. Exact, and the same for everybody who has the log.
- `recorded_at`, the broker's time of an event: what this system knew *then*. It comes down to an offset: the last event before
  the first one that was recorded later.
- `stated_at`, the office's own time of a statement (where it states none, when it was fetched): what the count *was* then,
  by all that is known, later corrections of that time included.

Two together are bitemporal: what was believed at 21:40 (`recorded_at`) about the count of 19:23 (`stated_at`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.contest import ContestDefined
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import rfc3339


class MomentError(EscrutinioError):
    """Not a moment that can be asked for."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Inclusive on each axis. An axis that is not given does not limit; all that are given must hold."""

    offset: int | None = None
    recorded_at: datetime | None = None
    stated_at: datetime | None = None

    def passed_by(self, offset: int, recorded_at: datetime) -> bool:
        """Whether the log from here on is beyond the moment."""
        return (self.offset is not None and offset > self.offset) or (
            self.recorded_at is not None and recorded_at > self.recorded_at
        )

    def takes(self, recorded: Recorded) -> bool:
        """Whether an event before that point belongs to the state asked for."""
        if self.stated_at is None:
            return True
        event = recorded.event
        # Selections and areas hold for all times: a sheet of that night may belong to an area defined later.
        return isinstance(event, ContestDefined) or event.stated_at <= self.stated_at

    def held(self, definitions: Sequence[Recorded]) -> Recorded:
        """The definition by which was counted, of the accepted ones up to the moment: the last; by the office's time the last
        that was in effect, or the first where none was yet."""
        if self.stated_at is None:
            return definitions[-1]
        return [definitions[0], *(d for d in definitions[1:] if d.definition.effective_at <= self.stated_at)][-1]

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """`now`; `41` or `offset:41`; `2021-06-08T00:23Z` or `reported:…`; `recorded:…`; several, joined by commas.

        Raises MomentError for anything else.
        """
        moment: dict[str, int | datetime] = {}
        for part in [] if text == "now" else text.split(","):
            axis, colon, value = part.partition(":")
            if not colon or axis not in _AXES:
                axis, value = ("offset" if part.isdecimal() else "reported"), part
            field = _AXES[axis]
            if field in moment:
                raise MomentError(f"{text!r} gives {axis} twice")
            if field == "offset":
                moment[field] = _offset(value)
            else:
                moment[field] = instant(value) if value != part else instant(value, "neither an offset nor an")
        return cls(**moment)  # type: ignore[arg-type]

    def __str__(self) -> str:
        told = [
            *([f"offset {self.offset}"] if self.offset is not None else []),
            *([f"recorded by {rfc3339(self.recorded_at)}"] if self.recorded_at is not None else []),
            *([f"stated by {rfc3339(self.stated_at)}"] if self.stated_at is not None else []),
        ]
        return ", ".join(told) or "now"


NOW = Moment()
_AXES = {"offset": "offset", "recorded": "recorded_at", "reported": "stated_at"}


def instant(text: str, is_what: str = "no") -> datetime:
    """A time with its zone. Raises MomentError, saying what is expected; `is_what` where more than a time would do."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise MomentError(f"{text!r} is {is_what} ISO 8601 time such as 2021-06-08T00:23Z") from error
    if at.tzinfo is None:
        raise MomentError(f"{text!r} has no zone; write 2021-06-08T00:23Z or 2021-06-07T19:23-05:00")
    return at


def _offset(text: str) -> int:
    if not text.isdecimal():
        raise MomentError(f"{text!r} is not an offset: 0, 1, 2 …")
    return int(text)
