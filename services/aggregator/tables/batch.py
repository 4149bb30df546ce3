"""The content of one commit, and the position of a partition (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.columns.runs import Run
from aggregator.fold.fold import ContestState, Step
from schemas.log_record import RawRecord


@dataclass(frozen=True, slots=True)
class Parked:
    """A message of a blocked contest, and why it is not counted."""

    raw: RawRecord
    contest_id: str
    reason: str


def follows(offset: int) -> str:
    """Return the reason for a message behind the unreadable one."""
    return f"follows the unreadable message at offset {offset}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next offset of a partition, and the epoch of the writer that holds it."""

    topic: str
    partition: int
    next_offset: int
    epoch: int


@dataclass(slots=True)
class Batch:
    """The content of one commit."""

    next_offset: int
    digest: str
    steps: list[Step] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    """Updates folded as columns, which have no steps."""
    parked: list[Parked] = field(default_factory=list)
    states: Mapping[str, ContestState] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[str, tuple[int, str]] = field(default_factory=dict)
