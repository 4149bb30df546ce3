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
from typing import Any, Self

from ingest.errors import SourceError
from ingest.feeds.records import Limits
from ingest.feeds.registry import DEFAULT_LIMITS, Batch, Recognised
from ingest.feeds.statement import Capture, Kept, Rejection, Snapshot
from ingest.listener import Listener, Progress
from ingest.news.changes import Changes, changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.news.roll_file import RollFile
from ingest.publish.connection import Connection
from ingest.publish.definitions import Definitions
from ingest.publish.delivery import Delivery
from ingest.publish.memory import Memory
from ingest.publish.publisher import inspect
from ingest.report import Report
from ingest.sources import folder
from ingest.sources.archive import Archive
from ingest.sources.documents import Documents
from schemas.contest import ContestDefined, Level
from schemas.count_update import UnitKey


class Loader(ABC):
    """Read documents, compare them with a memory, and give what is new to `publish`: a pipeline without its log."""

    contest: ContestMemory

    def __init__(self, documents: Documents, progress: Progress, stop: threading.Event, listener: Listener) -> None:
        """`stop`: set to stop after the current batch."""
        self.report = Report()
        self.documents, self.listener = documents, listener
        self._progress, self._stop = progress, stop
        self._is_complete = False

    def load(self, paths: Sequence[Path], observed_at: datetime | None = None) -> Report:
        """Load documents in the order of the times they state. Raises SourceError when there are none.

        What cannot be read is passed over and named, and the others are loaded.
        """
        found, recognised = self.documents.find(paths), list[Recognised]()
        for path, why in found.passed_over.items():
            fault = folder.is_document(path) or path in found.unreadable
            self._pass_over(f"{folder.uri(path)} is passed over: {why}", fault=fault)
        for path, beneath in found.files.items():
            if self._stop.is_set():
                return self._stopped()
            try:
                recognised += filter(None, (self.read(path, observed_at, beneath=beneath),))
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

    def read(
        self, path: Path, observed_at: datetime | None = None, *, beneath: Path | None = None
    ) -> Recognised | None:
        """Fetch, archive and read a document. One that cannot be read is rejected, and None returned.

        `beneath`: the folder that no link may lead out of. Raises SourceError.
        """
        recognised = self.documents.read(path, observed_at, beneath=beneath)
        self.report.documents += 1
        self.listener.fetched()
        if isinstance(recognised, Rejection):
            unreadable = Snapshot("unreadable", "", (), (recognised,))
            self.publish(lambda: self._compare((unreadable,)), recognised.uri)
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
        super().__init__(Documents(archive, self.memory.first_seen, limits, clocks), progress, stop, listener)
        self._delivery = Delivery(connection, self.memory, progress, self.listener, stop, log_each=log_each)
        self._definitions = Definitions(self.memory, self._delivery, self.report, self.listener, progress)
        self._connection, self._archive, self._definition = connection, archive, definition
        self._revising, self._roll, self._is_complete = revising, roll, is_complete

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

    def _kept(self, roll: RollFile) -> Kept:
        """Archive a roll."""
        return self._archive.keep(Capture(roll.name, roll.content, folder.now()), self.memory.first_seen)

    def _move_level(self) -> None:
        self._definitions.move_level(self.contest)

    def _compare(self, snapshots: Sequence[Snapshot]) -> Changes:
        """Find what the snapshots state that the log does not have, also when another writer has used it since."""
        found = super()._compare(snapshots)
        return super()._compare(snapshots) if found.events and self.memory.read_on() else found
