"""Hold what the messages of a partition say: what the checks of a bundle and a recount read (pure).

Place in the flow: `checking.check` reads the messages once and makes one `Evidence` of each partition; the checks of
documents and times, and the recount, start from it. Nothing here is trusted: that the messages are signed is a check of
its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.columns.layout import Layout
from schemas.columns.statement_batch import StatementBatch
from schemas.contest import ContestDefined
from schemas.log_record import Recorded


@dataclass(slots=True)
class OfContest:
    """What the log says of one contest, in its order. A message that is no event, or is refused, is in none of it."""

    definitions: list[Recorded]
    """Each accepted ContestDefined; never empty."""
    statements: StatementBatch
    """Every CountUpdate, also one that is not to be counted (`is_sound`), in the layout of the last definition.

    Entries are judged under the definition in force at their offset; those before the first one are not judged.
    """
    rolls: list[Recorded] = field(default_factory=list)
    """Each accepted part of a UnitRoll."""
    sources: list[Recorded] = field(default_factory=list)
    """Each accepted SourceStatus."""

    @property
    def contest(self) -> ContestDefined:
        """The last definition."""
        return self.definitions[-1].definition

    @property
    def layout(self) -> Layout:
        """What the columns of `statements.figures` and `.contribution` are."""
        return Layout.of(self.contest)

    def in_force(self, offset: int) -> ContestDefined | None:
        """Return the definition in force before an offset; None before the first."""
        return next((one.definition for one in reversed(self.definitions) if one.offset < offset), None)


@dataclass(slots=True)
class Evidence:
    """What is on one partition."""

    topic: str
    partition: int
    size: int
    """Messages that were read."""
    contests: dict[str, OfContest] = field(default_factory=dict)
    """By contest id. One that is stated and never defined is not here."""

    @property
    def place(self) -> str:
        """TOPIC/PARTITION, as checks name it."""
        return f"{self.topic}/{self.partition}"


def find(found: Sequence[Evidence], contest_id: str) -> tuple[Evidence, OfContest] | None:
    """Return the evidence of a contest; None where no partition defines it."""
    return next(((one, one.contests[contest_id]) for one in found if contest_id in one.contests), None)
