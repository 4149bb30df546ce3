"""Publish the definition of a contest, its revisions, its roll of units, and the moves of its counting level.

Place in the flow: at the start, and after each batch. What is published is decided in `news.definitions` and
`news.roll_file`. A crash before it leaves the definition out, and the next run publishes it; one between a definition
and the last part of its roll is named by the next `load`, and `define` sends the rest.
"""

from collections.abc import Sequence
from datetime import datetime

from ingest.errors import IngestError
from ingest.feeds.statement import Kept
from ingest.listener import Listener, Progress
from ingest.news.contest_memory import ContestMemory
from ingest.news.definitions import differing, expected, moved_level, next_revision, only_contest
from ingest.news.roll_file import RollRow, is_same, next_parts, stated_beside
from ingest.news.summary import Defined, Enrolled
from ingest.news.take_over import in_one_line
from ingest.publish.delivery import Delivery
from ingest.publish.memory import Memory
from ingest.report import Report
from schemas.chain import definition_fault
from schemas.contest import ContestDefined, Level, in_words
from schemas.identity import text_of
from schemas.unit_roll import UnitRoll


class Definitions:
    """Publish definitions and read them back from the log."""

    def __init__(
        self, memory: Memory, delivery: Delivery, report: Report, listener: Listener, progress: Progress
    ) -> None:
        self._memory, self._delivery = memory, delivery
        self._report, self._listener, self._progress = report, listener, progress
        self._waiting: Level = ()
        """The level that waits, as it was said last."""

    def choose(
        self, wanted: ContestDefined | None, rows: Sequence[RollRow] | None, roll: Kept | None, *, revising: bool
    ) -> ContestMemory:
        """Return the file's contest, and publish it if it is new to the log; without a file, the log's only contest.

        Args:
            rows, roll: Of the contest's roll, with its archived file; None without one.

        Raises:
            IngestError: The log defines the contest differently, and the caller is not `revising` it.
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
            if rows is not None and roll is not None:
                self.enrol(self._memory.contests[wanted.contest_id], rows, roll)
            return self._memory.contests[wanted.contest_id]
        if not revising and (differences := differing(wanted, known.definition)):
            raise IngestError(
                f"{wanted.contest_id} is defined differently on the log, in {', '.join(differences)}; "
                "publish the change as a revision: escrutinio-ingest define CONTEST_FILE"
            )
        if not revising and rows is not None and not is_same(rows, known.roll):
            has = f"revision {known.roll.revision}" if known.roll.holds else "none"
            raise IngestError(
                f"the roll of {wanted.contest_id} is another one than on the log, which has {has}; publish it: "
                "escrutinio-ingest define CONTEST_FILE"
            )
        return known

    def enrol(self, contest: ContestMemory, rows: Sequence[RollRow], roll: Kept) -> bool:
        """Publish the contest's roll, in as many parts as it needs. Returns False when nothing changes.

        Raises IngestError when readers would refuse a part.
        """
        contest_id = contest.definition.contest_id
        parts: Sequence[UnitRoll] = ()
        sent = 0

        def missing() -> UnitRoll | None:
            nonlocal parts, sent
            known = self._memory.contests[contest_id]
            last = None if known.roll.last is None else known.roll.last.event_id
            if parts and parts[0].event_id == last:
                parts, sent = parts[1:], sent + 1
            if not parts or parts[0].previous_event_id != last:  # the first time, or another writer was there
                parts = next_parts(rows, contest_id, known.roll, roll.sha256, roll.observed_at)
            if parts and (fault := known.roll.fault(parts[0], text_of(parts[0]), known.definition)):
                raise IngestError(f"the roll of {contest_id} cannot be published: {fault.message}")
            return parts[0] if parts else None

        # A crash between two parts leaves a roll that does not hold yet; the next `define` sends the rest.
        self._delivery.put(missing)
        if sent or not self._report.rolls:
            beside = stated_beside(contest)
            self._report.rolls.append(Enrolled.of(contest.roll, contest_id, is_new=sent > 0, beside=beside))
        self._listener.enrolled(contest_id, sent)
        return sent > 0

    def revise(
        self,
        contest: ContestMemory,
        definition: ContestDefined,
        effective_at: datetime | None,
        counting_level: Level | None,
    ) -> bool:
        """Publish the contest's next revision; see `next_revision`. Returns False when nothing changes."""
        revision = next_revision(definition, contest, effective_at, counting_level)
        if revision is None:
            known, said = contest.definition, [defined.definition.event_id for defined in self._report.defined]
            if known.event_id not in said:
                self._report_defined(known, is_new=False)
            return False
        self._define(revision)
        self._report.waiting = None
        return True

    def move_level(self, contest: ContestMemory) -> None:
        """Move the counting level on when every expected unit of a later level has been stated."""
        move = moved_level(contest)
        self._listener.waits(contest.definition.contest_id, bool(move.waiting))
        self._report.waiting = in_one_line(move.waiting, move.contradictions) if move.waiting else None
        if self._report.waiting is not None and move.waiting != self._waiting:
            self._progress.warn(self._report.waiting)
        self._waiting = move.waiting
        if (moved := move.definition) is None:
            return
        self._define(moved)
        level = moved.counting_level
        self._progress.say(
            f"all {expected(level, moved, contest):,} expected units are stated: the {in_words(level)} is now what is "
            "added up"
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

        self._delivery.put(missing)
        self._report_defined(definition, is_new=True)
        self._listener.defined(definition)

    def _report_defined(self, definition: ContestDefined, *, is_new: bool) -> None:
        contest_id = definition.contest_id
        ended = self._memory.contests[contest_id].standing_in_ended()
        self._report.defined.append(Defined(definition, *self._memory.defined_at[contest_id], is_new, ended))
