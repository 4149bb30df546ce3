"""Publish the definition of a contest, its revisions, and the moves of its counting level.

Place in the flow: at the start, and after each batch. What is published is decided in `news.definitions`. A crash
before it leaves the definition out, and the next run publishes it.
"""

from datetime import datetime

from ingest.errors import IngestError
from ingest.listener import Listener, Progress
from ingest.news.contest_memory import ContestMemory
from ingest.news.definitions import differing, expected, moved_level, next_revision, only_contest
from ingest.news.summary import Defined
from ingest.publish.delivery import Delivery
from ingest.publish.memory import Memory
from ingest.report import Report
from schemas.chain import definition_fault
from schemas.contest import ContestDefined
from schemas.identity import text_of
from schemas.types import ReportingUnitType


class Definitions:
    """Publish definitions and read them back from the log."""

    def __init__(
        self, memory: Memory, delivery: Delivery, report: Report, listener: Listener, progress: Progress
    ) -> None:
        self._memory, self._delivery = memory, delivery
        self._report, self._listener, self._progress = report, listener, progress

    def choose(self, wanted: ContestDefined | None, *, revising: bool) -> ContestMemory:
        """Return the file's contest, and publish it if it is new to the log; without a file, the log's only contest.

        Raises IngestError when the log defines the contest differently, unless the caller is `revising` it.
        """
        only = only_contest(self._memory.contests) if wanted is None else None
        definition = wanted if only is None else only.definition
        assert definition is not None
        self._memory.at_work = definition.contest_id
        self._memory.refuse_blocked(definition.contest_id)
        if wanted is None:
            return self._memory.contests[definition.contest_id]
        known = self._memory.contests.get(wanted.contest_id)
        if known is None:
            self._define(wanted)
            return self._memory.contests[wanted.contest_id]
        if not revising and (differences := differing(wanted, known.definition)):
            raise IngestError(
                f"{wanted.contest_id} is defined differently on the log, in {', '.join(differences)}; "
                "publish the change as a revision: escrutinio-ingest define CONTEST_FILE"
            )
        return known

    def revise(
        self,
        contest: ContestMemory,
        definition: ContestDefined,
        effective_at: datetime | None,
        counting_level: ReportingUnitType | None,
    ) -> bool:
        """Publish the contest's next revision; see `next_revision`. Returns False when nothing changes."""
        revision = next_revision(definition, contest, effective_at, counting_level)
        if revision is None:
            known, said = contest.definition, [defined.definition.event_id for defined in self._report.defined]
            if known.event_id not in said:
                self._report.defined.append(Defined(known, *self._memory.defined_at[known.contest_id], is_new=False))
            return False
        self._define(revision)
        return True

    def move_level(self, contest: ContestMemory) -> None:
        """Move the counting level on when every expected unit of a later level has been stated."""
        moved = moved_level(contest)
        if moved is None:
            return
        self._define(moved)
        level = moved.counting_level
        self._progress.say(
            f"all {expected(level, moved):,} expected units are stated: the {level} is now what is added up"
        )

    def _define(self, definition: ContestDefined) -> None:
        """Publish a definition. Raises IngestError when readers would refuse it, or another writer's came first."""

        def missing() -> ContestDefined | None:
            contest = self._memory.contests.get(definition.contest_id)
            held = contest.definition if contest else None
            if held is not None and held.event_id == definition.event_id:
                return None
            if refused := definition_fault(definition, text_of(definition), held):
                raise IngestError(f"{definition.contest_id} cannot be defined like this: {refused.message}")
            return definition

        self._delivery.define(missing)
        self._report.defined.append(Defined(definition, *self._memory.defined_at[definition.contest_id]))
        self._listener.defined(definition)
