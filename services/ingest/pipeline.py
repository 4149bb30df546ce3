"""Run the stages of ingest: `fetch → archive → parse → compare → send`.

Place in the flow: all of it. `sources.documents` reads documents, `publish.memory` knows what the log says,
`news.changes` finds what is new, `publish.delivery` sends it, `publish.definitions` keeps the contest's definition;
none of them knows the pipeline. A batch of documents is parsed, compared and checked completely before its first event
is sent. The order of sending is events, rejections, heartbeats, and then a move of the counting level: each follows
from the log and the documents alone, so after a crash between any two, running the same again sends the rest.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from ingest.errors import SourceError
from ingest.feeds.records import Limits
from ingest.feeds.registry import DEFAULT_LIMITS, Batch, Recognised
from ingest.feeds.statement import Capture, Kept, Rejection, Snapshot
from ingest.listener import Listener, Progress
from ingest.news.changes import Changes, changes_since
from ingest.news.contest_memory import ContestMemory, is_of_operator
from ingest.news.roll_file import RollFile
from ingest.news.silence import Heard
from ingest.publish.alive import signs_of_life
from ingest.publish.connection import Connection
from ingest.publish.definitions import Definitions
from ingest.publish.delivery import Delivery
from ingest.publish.memory import Memory
from ingest.publish.publisher import inspect
from ingest.report import Report
from ingest.sources import folder
from ingest.sources.archive import Archive
from ingest.sources.documents import Documents
from runtime.repeating import NEXT_WITHIN_MS, Repeating
from schemas.contest import ContestDefined, Level
from schemas.count_update import UnitKey
from schemas.identity import NIL, named
from schemas.ingest_status import IngestStatus
from schemas.source_status import SourceStatus
from schemas.types import rfc3339


class Asked(NamedTuple):
    """What a source was asked: its name, when, when it answered last, and why it did not when it was asked last.

    `within_ms`: within which time it is asked again.
    """

    source: str = ""
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    fault: str | None = None
    within_ms: int = 0


class Loader(ABC):
    """Read documents, compare them with a memory, and give what is new to `publish`: a pipeline without its log."""

    contest: ContestMemory

    def __init__(self, documents: Documents, progress: Progress, stop: threading.Event, listener: Listener) -> None:
        """`stop`: set to stop after the current batch."""
        self.report = Report()
        self.documents, self.listener = documents, listener
        self._progress, self._stop = progress, stop
        self._is_complete = False

    def load(self, paths: Sequence[Path], stated_at: datetime | None = None) -> Report:
        """Load documents in the order of their times. Raises SourceError when there are none.

        `stated_at`: when those were published that state no time, where the note beside them does not say so.

        What cannot be read is passed over and named, and the others are loaded.
        """
        found, recognised = self.documents.find(paths), list[Recognised]()
        for path, why in found.passed_over.items():
            fault = folder.is_document(path) or path in found.unreadable
            self._pass_over(f"{folder.name_of(path)} is passed over: {why}", fault=fault)
        for path, beneath in found.files.items():
            if self._stop.is_set():
                return self._stopped()
            try:
                recognised += filter(None, (self.read(path, stated_at, beneath=beneath),))
            except SourceError as fault:
                self._pass_over(str(fault), fault=True)
        batches, again = self.documents.plan(recognised), False
        while True:
            late = self.report.late
            for batch in batches:
                if self._stop.is_set():
                    return self._stopped()
                self.run(batch, again=again)
            if self.report.late == late:
                return self.report
            # A later document may have repeated only what stood before the late news. This ends: see `watch.look`.
            again = True

    def _stopped(self) -> Report:
        self._progress.say("stopped as asked, after a whole document; running the same again does the rest")
        self.report.stopped = True
        return self.report

    def _pass_over(self, line: str, *, fault: bool) -> None:
        """Log what is not read. A `fault`: it was to be read."""
        self._progress.warn(line)
        if fault:
            self.report.passed_over.append(line)

    def read(self, path: Path, stated_at: datetime | None = None, *, beneath: Path | None = None) -> Recognised | None:
        """Fetch, archive and read a document. One that cannot be read is rejected, and None returned.

        `beneath`: the folder that no link may lead out of. Raises SourceError.
        """
        recognised = self.documents.read(path, stated_at, beneath=beneath)
        self.report.documents += 1
        self.listener.fetched()
        if isinstance(recognised, Rejection):
            unreadable = Snapshot("unreadable", "", (), (recognised,))
            self.publish(lambda: self._compare((unreadable,)), recognised.document)
            return None
        return recognised

    def run(self, batch: Batch, *, patient: bool = False, again: bool = False) -> tuple[str, ...]:
        """Parse, compare and send a batch. Returns what is awaited.

        Args:
            patient: Wait for what is incomplete; otherwise it is rejected.
            again: The batch was run before, and the report counts only what is new.
        """
        started = time.monotonic()
        self._progress.start(batch.names, 0)
        snapshots = self.documents.parse(batch, self.contest.definition, patient=patient)
        if self._is_complete:
            is_one = sum(len(snapshot.statements) > 0 for snapshot in snapshots) == 1
            snapshots = tuple(replace(snapshot, is_complete=is_one, of_complete=True) for snapshot in snapshots)
        self.report.seconds += time.monotonic() - started
        self.publish(lambda: self._compare(snapshots), batch.names, again=again)
        self._move_level()
        return tuple(what for snapshot in snapshots for what in snapshot.awaited)

    @abstractmethod
    def publish(self, compare: Callable[[], Changes], name: str, *, again: bool = False) -> None:
        """Send what `compare` finds to be new, and count it. `again`: it was counted before."""

    @abstractmethod
    def _move_level(self) -> None:
        """Move the counting level on when every expected unit of a later level has been stated."""

    def _compare(self, snapshots: Sequence[Snapshot]) -> Changes:
        """Find what the snapshots state that the memory does not have."""
        return changes_since(snapshots, self.contest)


class Pipeline(Loader):
    """One ingest at work. Use as a context manager: entering reads the log, and publishes the contest if it is new."""

    def __init__(
        self,
        connection: Connection,
        archive: Archive,
        definition: ContestDefined | None,
        progress: Progress,
        stop: threading.Event,
        *,
        revising: bool = False,
        log_each: bool = False,
        listener: Listener | None = None,
        following: UnitKey | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clocks: Mapping[str, timedelta] = MappingProxyType({}),
        roll: RollFile | None = None,
        is_complete: bool = False,
    ) -> None:
        """Connect nothing yet.

        Args:
            definition: The contest's file; None for the log's only contest.
            stop: Set to stop after the current batch, or while waiting for a broker.
            revising: Accept a log that defines the contest differently: `revise` is about to publish the file's.
            log_each: Log every new event and rejection, for users who do not wait for the report.
            following: A unit whose accepted events are kept in `memory.followed`.
            clocks: How far the clock of a source is known to be ahead of ours, by its name.
            roll: The contest's roll of units, where its file names one.
            is_complete: Every publication, or document of several, names every unit that the office knows.
        """
        self.memory = Memory(connection, progress, listener := listener or Listener(), following)
        super().__init__(Documents(archive, limits, clocks), progress, stop, listener)
        self._delivery = Delivery(connection, self.memory, progress, self.listener, stop, log_each=log_each)
        self._definitions = Definitions(self.memory, self._delivery, self.report, self.listener, progress)
        self._connection, self._archive, self._definition = connection, archive, definition
        self._revising, self._roll, self._is_complete = revising, roll, is_complete
        self.began_at = folder.now()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._archive)
            stack.callback(self.memory.close)
            stack.enter_context(self._delivery)
            self._delivery.patiently(lambda: inspect(self._connection.kafka, self._connection.topics()))
            self._delivery.patiently(self.memory.read)
            rows, roll = (None, None) if self._roll is None else (self._roll.rows, self._kept(self._roll))
            self.contest = self._definitions.choose(self._definition, rows, roll, revising=self._revising)
            if not self._revising:
                self._roll = None
            self._move_level()  # a crash may have come between the last sheet and this
            self.listener.advanced()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def publish(self, compare: Callable[[], Changes], name: str, *, again: bool = False) -> None:
        """Send what `compare` finds to be new, and count it; see `Delivery.publish`."""
        started = time.monotonic()
        changes = self._delivery.publish(self.contest, compare, name)
        findings = self.report.add(changes, again=again)
        self.report.undelivered = self._delivery.undelivered
        events = changes.events
        if changes.heartbeats or any(not is_of_operator(event) for event in events.items):
            self.contest.source = self.contest.source.spoke(folder.now())
        self.listener.published(events.kinds(), events.latest(), findings, changes.heartbeats)
        self.listener.advanced()
        self.report.seconds += time.monotonic() - started

    def revise(
        self,
        definition: ContestDefined,
        effective_at: datetime | None = None,
        counting_level: Level | None = None,
    ) -> bool:
        """Publish the file's definition as the contest's next revision, then its roll, where they are changed.

        Returns False when nothing changes; see `Definitions.revise`.
        """
        changed = self._definitions.revise(self.contest, definition, effective_at, counting_level)
        if self._roll is not None:
            changed = self._definitions.enrol(self.contest, self._roll.rows, self._kept(self._roll)) or changed
        return changed

    def note(self, change: Callable[[Heard], SourceStatus | None]) -> None:
        """Publish the change of the source's state that `change` makes of what the log says, unless that is None."""
        if change(self.contest.source) is None:
            return
        self.read_on()
        if change(self.contest.source) is None:
            return
        self._delivery.put(lambda: change(self.contest.source))
        if (status := self.contest.source.last) is not None:
            said = f": {status.reason}" if status.reason else ""
            self._progress.say(f"the source is {status.state} since {rfc3339(status.since)}{said}")

    def read_on(self) -> None:
        """Read what others have put on the log."""
        self._delivery.patiently(self.memory.read_on)

    def signs_of_life(self, asked: Callable[[], Asked]) -> Repeating:
        """Say every few seconds that this ingest lives, while the result is open. `asked`: of the source."""
        contest_id = self.contest.definition.contest_id
        partition = self.memory.defined_at[contest_id][0]

        def status() -> IngestStatus:
            of = asked()
            return named(
                IngestStatus(
                    event_id=NIL,
                    contest_id=contest_id,
                    at=folder.now(),
                    next_within_ms=NEXT_WITHIN_MS,
                    asks_within_ms=of.within_ms,
                    started_at=self.began_at,
                    source=of.source,
                    asked_at=of.asked_at,
                    answered_at=of.answered_at,
                    fault=of.fault,
                    spoke_at=self.contest.source.spoke_at,
                    state=self.contest.source.state,
                    partition=partition,
                    next_offset=self.memory.next_offsets[partition],
                )
            )

        return signs_of_life(self._connection, status, self._progress)

    def _kept(self, roll: RollFile) -> Kept:
        """Archive a roll."""
        return self._archive.keep(Capture(roll.name, roll.content, folder.now()))

    def _move_level(self) -> None:
        self._definitions.move_level(self.contest)

    def _compare(self, snapshots: Sequence[Snapshot]) -> Changes:
        """Find what the snapshots state that the log does not have, also when another writer has used it since."""
        found = super()._compare(snapshots)
        return super()._compare(snapshots) if found.events and self.memory.read_on() else found
