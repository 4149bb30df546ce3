"""Run the stages of ingest: `fetch → archive → parse → compare → send`.

Place in the flow: all of it. `sources.documents` reads documents, `publish.memory` knows what the log says,
`news.changes` finds what is new, `publish.delivery` sends it, `publish.definitions` keeps the contest's definition;
none of them knows the pipeline. A batch of documents is parsed, compared and checked completely before its first event
is sent. The order of sending is events, rejections, heartbeats, and then a move of the counting level: each follows
from the log and the documents alone, so after a crash between any two, running the same again sends the rest.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ingest.feeds.registry import Batch, Recognised
from ingest.feeds.statement import Rejection, Snapshot
from ingest.listener import Listener, Progress
from ingest.news.changes import Changes, changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.publish.connection import Connection
from ingest.publish.definitions import Definitions
from ingest.publish.delivery import Delivery
from ingest.publish.memory import Memory
from ingest.publish.publisher import inspect
from ingest.report import Report
from ingest.sources.archive import Archive
from ingest.sources.documents import Documents
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.types import ReportingUnitType


class Pipeline:
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
    ) -> None:
        """Connect nothing yet.

        Args:
            definition: The contest's file; None for the log's only contest.
            stop: Set to stop after the current batch, or while waiting for a broker.
            revising: Accept a log that defines the contest differently: `revise` is about to publish the file's.
            log_each: Log every new event and rejection, for users who do not wait for the report.
            following: A unit whose accepted events are kept in `memory.followed`.
        """
        self.report = Report()
        self.listener = listener or Listener()
        self.contest: ContestMemory
        self.memory = Memory(connection, progress, self.listener, following)
        self.documents = Documents(archive, self.memory.first_seen)
        self._delivery = Delivery(connection, self.memory, progress, self.listener, stop, log_each=log_each)
        self._definitions = Definitions(self.memory, self._delivery, self.report, self.listener, progress)
        self._connection, self._archive, self._definition = connection, archive, definition
        self._progress, self._stop, self._revising = progress, stop, revising

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._archive)
            stack.callback(self.memory.close)
            stack.enter_context(self._delivery)
            self._delivery.patiently(lambda: inspect(self._connection.kafka, self._connection.topics()))
            self._delivery.patiently(self.memory.read)
            self.contest = self._definitions.choose(self._definition, revising=self._revising)
            self._definitions.move_level(self.contest)  # a crash may have come between the last sheet and this
            self.listener.advanced()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def load(self, paths: Sequence[Path], observed_at: datetime | None = None) -> Report:
        """Load documents in the order of the times they state. Raises SourceError when there are none."""
        found = self.documents.find(paths)
        recognised = [one for path in found if (one := self.read(path, observed_at))]
        batches, again = self.documents.plan(recognised), False
        while True:
            late = self.report.late
            for batch in batches:
                if self._stop.is_set():
                    self._progress.say("stopped as asked, after a whole document; running the same again does the rest")
                    self.report.stopped = True
                    return self.report
                self.run(batch, again=again)
            if self.report.late == late:
                return self.report
            # A later document may have repeated only what stood before the late news. This ends: see `watch.look`.
            again = True

    def read(self, path: Path, observed_at: datetime | None = None) -> Recognised | None:
        """Fetch, archive and read a document. One that cannot be read is rejected, and None returned."""
        recognised = self.documents.read(path, observed_at)
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
        self.report.seconds += time.monotonic() - started
        self.publish(lambda: self._compare(snapshots), batch.names, again=again)
        self._definitions.move_level(self.contest)
        return tuple(what for snapshot in snapshots for what in snapshot.awaited)

    def publish(self, compare: Callable[[], Changes], name: str, *, again: bool = False) -> None:
        """Send what `compare` finds to be new, and count it; see `Delivery.publish`."""
        started = time.monotonic()
        changes = self._delivery.publish(self.contest, compare, name)
        self.report.add(changes, again=again)
        self.listener.published(changes.events, changes.findings, changes.heartbeats)
        self.listener.advanced()
        self.report.seconds += time.monotonic() - started

    def revise(
        self,
        definition: ContestDefined,
        effective_at: datetime | None = None,
        counting_level: ReportingUnitType | None = None,
    ) -> bool:
        """Publish the file's definition as the contest's next revision; see `Definitions.revise`."""
        return self._definitions.revise(self.contest, definition, effective_at, counting_level)

    def _compare(self, snapshots: Sequence[Snapshot]) -> Changes:
        """Find what the snapshots state that the log does not have, also when another writer has used it since."""
        found = changes_since(snapshots, self.contest)
        return changes_since(snapshots, self.contest) if found.events and self.memory.read_on() else found
