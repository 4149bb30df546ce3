"""What one commit writes, and how far a partition has been read (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.columns.runs import Run
from aggregator.fold.fold import ContestState, Step
from schemas.log_record import RawRecord


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that waits, with the one that blocked its contest."""

    raw: RawRecord
    contest_id: str
    reason: str


def follows(offset: int) -> str:
    """Why a message waits that is not itself the one that cannot be read."""
    return f"follows the unreadable message at offset {offset}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a partition has been read, and by whom."""

    topic: str
    partition: int
    next_offset: int
    epoch: int


@dataclass(slots=True)
class Batch:
    """What one commit writes."""

    next_offset: int
    digest: str
    steps: list[Step] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    """What was folded as columns, and so has no steps."""
    parked: list[Parked] = field(default_factory=list)
    states: Mapping[str, ContestState] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[str, tuple[int, str]] = field(default_factory=dict)
