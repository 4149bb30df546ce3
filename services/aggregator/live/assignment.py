"""Claim, load and commit the partitions assigned to this process, and drop those revoked from it."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self

from aggregator.live.listener import Listener
from aggregator.live.partition import PartitionFold
from aggregator.log.group import Group
from aggregator.log.reader import Log
from aggregator.publish.outbox import Outbox
from aggregator.publish.partition_notices import PartitionNotices, Taken
from aggregator.publish.sender import Sender
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import Fenced, TablesChanged
from aggregator.tables.writer import Writer
from results.rows import CHANGED_OUTSIDE
from runtime.kafka.errors import Unreadable
from runtime.kafka.reader import Batch as LogBatch
from runtime.postgres import faults_named
from schemas.count_update import PAUSE_MS

logger = logging.getLogger(__name__)


_SHOWN = 20
"""Findings logged one by one for each batch; all are in the tables."""


_PAUSE_S = PAUSE_MS / 1000 + 1
"""Nothing read for so long, up to the end of the log: publications have ended. By no clock but this one's, so that
the broker's may be another."""


class Replaced(Exception):
    """The group has assigned the partition to another member, and this one did not know it yet."""


class Assignment:
    """The partitions of this process. Only their member claims them: no two members keep fencing each other.

    The next batch is folded while another thread commits the last one. Use as a context manager: leaving it waits for
    that commit, which is the only use of the writer's connection while it lasts.
    """

    def __init__(
        self, writer: Writer, log: Log, group: Group | None, listener: Listener, sender: Sender | None = None
    ) -> None:
        """`sender`: of the totals and notices that are published; None: none are."""
        self.cursors: dict[int, Cursor] = {}
        self._folds: dict[int, PartitionFold] = {}
        self._generations: dict[int, int] = {}
        self._reading: Iterator[list[LogBatch]] = iter(())
        self._writer, self._log, self._group, self._listener = writer, log, group, listener
        self._topic, self._topic_id = log.topic, log.topic_id()
        self.unreadable: dict[int, Unreadable] = {}
        """Partitions that are not read any more, and why."""
        self.unreadable_since = 0.0
        """When the last of them was found, by the monotonic clock."""
        self._everything = dict.fromkeys(log.partitions(), 0)
        self._thread = ThreadPoolExecutor(1, "commit")
        self._sender = sender
        self._read_at: dict[int, float] = {}
        """When something of a partition was read last, by the monotonic clock."""
        self._outbox = Outbox(writer.connection, writer.generation[0]) if sender is not None else None
        self._writing: tuple[int, Batch, Future[tuple[Cursor, float]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        with suppress(Exception):  # the run ends by another fault; what was committed is counted
            self.settle()

    def held(self) -> dict[int, Cursor]:
        """Return the cursors of the claimed partitions. Any thread may call it."""
        return dict(self.cursors)

    def refresh(self) -> bool:
        """Claim newly assigned partitions, drop revoked ones. Returns False when none may be worked on now."""
        owned = self._everything if self._group is None else self._group.owned()
        if owned is None:
            return False
        if is_new := owned != self._generations:
            self.settle()  # before the listener forgets a partition whose last batch is being committed
        self._listener.holds(owned)
        if not is_new:
            return bool(owned)
        assigned = sorted(p for p, generation in owned.items() if self._generations.get(p) != generation)
        for partition in sorted(self._generations.keys() - owned.keys()):
            at = self.cursors[partition].next_offset
            about = {"partition": partition, "offset": at}
            logger.info("%s/%d: revoked at offset %d", self._topic, partition, at, extra=about)
        if self._group is not None:
            names = ", ".join(map(str, sorted(owned))) or "none"
            logger.info("%s: partitions assigned to this member of group %s: %s", self._topic, self._group.name, names)
        self.cursors = {p: cursor for p, cursor in self.cursors.items() if p in owned}
        self._folds = {p: fold for p, fold in self._folds.items() if p in owned}
        self._generations = owned
        for partition in assigned:  # claim all before loading any, which is slow: they may be revoked meanwhile
            self.cursors[partition] = self._writer.claim(self._topic, self._topic_id, partition)
        for partition in assigned:
            with self._explain_fencing(partition):
                self._folds[partition] = self._load(self.cursors[partition])
            parked = self._writer.parked(self.cursors[partition])
            self._listener.loaded(self.cursors[partition], self._folds[partition], parked)
        self.read_all()
        return bool(owned)

    def read_all(self) -> None:
        """Read every partition from its cursor, also those that could not be read before."""
        self.settle()
        self.unreadable.clear()
        self._read_on()

    def read(self) -> list[LogBatch]:
        """Return the next batches. A partition that cannot be read is left out from then on, and noted in the tables.

        Raises what `settle` raises.
        """
        try:
            return next(self._reading)
        except Unreadable as fault:
            self.settle()
            cursor, at = self.cursors[fault.partition], fault.offset
            assert at == cursor.next_offset, "all before it is committed"
            about = {"partition": fault.partition, "offset": at}
            logger.error("%s; its contests are blocked, other partitions are read on", fault, extra=about)
            with self._explain_fencing(fault.partition):
                self._writer.put_unreadable(cursor, str(fault))
            self._listener.unreadable(fault.partition)
            self.unreadable[fault.partition], self.unreadable_since = fault, time.monotonic()
            self._read_on()
            return []

    def _read_on(self) -> None:
        readable = {p: cursor.next_offset for p, cursor in self.cursors.items() if p not in self.unreadable}
        self._reading = self._log.read(readable)

    def _load(self, cursor: Cursor) -> PartitionFold:
        partitions = len(self._everything)
        states, blocked = self._writer.load(cursor, partitions)
        if any(s.last is not None and s.last.offset >= cursor.next_offset for s in states.values()):
            raise TablesChanged(
                f"the cursor of {cursor.topic}/{cursor.partition} is at offset {cursor.next_offset}, "
                f"behind the aggregated events: {CHANGED_OUTSIDE}"
            )
        where = cursor.topic, cursor.partition, cursor.next_offset, cursor.epoch
        about = {"partition": cursor.partition, "offset": cursor.next_offset}
        logger.info("%s/%d: claimed at offset %d, epoch %d", *where, extra=about)
        notices = None
        if self._outbox is not None:
            end = self._log.end_offset(cursor.partition)
            self._outbox.begin(cursor.partition, end, states)
            notices = PartitionNotices(end, self._outbox.known_notices(), cursor.next_offset, states)
            self._read_at[cursor.partition] = time.monotonic()
        return PartitionFold(states, blocked, partitions=partitions, notices=notices)

    def commit(self, read: LogBatch) -> None:
        """Fold records and begin to write the batch, once the one before is written. Raises what `settle` raises."""
        fold, self._read_at[read.partition] = self._folds[read.partition], time.monotonic()
        batch, notices = fold.apply(read.records), fold.take_notices()
        self.settle()
        self._writing = (
            read.partition,
            batch,
            self._thread.submit(self._write, self.cursors[read.partition], batch, notices),
        )
        self._listener.folded(read.partition, batch)

    def _write(self, cursor: Cursor, batch: Batch, notices: Taken) -> tuple[Cursor, float]:
        begun, added = time.monotonic(), 0

        def tell(moved: Cursor) -> None:
            nonlocal added
            if self._outbox is not None:
                added = self._outbox.add(moved, batch, notices)

        moved = self._writer.commit(cursor, batch, also=tell)
        if added and self._sender is not None:
            self._sender.wake()
        return moved, time.monotonic() - begun

    def tell(self, *, is_idle: bool) -> None:
        """Publish what is committed and not told: counts, where the log was read too fast for them, and notices of
        publications that ended with a pause. Raises what `settle` raises.

        `is_idle`: nothing more was read.
        """
        self.settle()
        if self._outbox is None or self._sender is None:
            return
        for partition, cursor in self.cursors.items():
            fold, now = self._folds[partition], time.monotonic()
            if paused := now - self._read_at[partition] > _PAUSE_S:
                self._read_at[partition] = now  # the end of the log is asked for once in a while
            is_end = paused and self._log.end_offset(partition) == cursor.next_offset
            if not (is_end and fold.pause()) and not self._outbox.is_due(partition, is_idle=is_idle):
                continue
            with self._explain_fencing(partition), self._writer.holding(cursor):
                self._outbox.add(cursor, None, fold.take_notices(), is_idle=is_idle)
            self._sender.wake()

    def report(self) -> None:
        """Report what waits to be sent. Call it while nothing is written."""
        if self._outbox is not None:
            with faults_named():
                self._listener.unsent(self._outbox.unsent())

    def settle(self) -> None:
        """Wait until everything folded is committed.

        Raises Replaced when another member has the partition, else Fenced; then nothing of the batch was written.
        """
        if self._writing is None:
            return
        (partition, batch, written), self._writing = self._writing, None
        with self._explain_fencing(partition):
            self.cursors[partition], seconds = written.result()
        self._listener.committed(self.cursors[partition], batch, seconds)
        log_findings(partition, batch)

    @contextmanager
    def _explain_fencing(self, partition: int) -> Iterator[None]:
        """Turn Fenced into Replaced where another member of the group has fenced this one."""
        try:
            yield
        except Fenced as error:
            if self._group is None:
                raise
            if self._group.confirms(partition):
                raise Fenced(
                    f"{error}, though group {self._group.name} has assigned it to this one: the other is not a member",
                    error.generation,
                ) from error
            raise Replaced(str(error)) from error

    def check_log(self) -> None:
        """Check the topic's id and settings, and look for new partitions.

        Raises LogDamaged for another log, TopicUnfit for unsafe settings.
        """
        self._log.topic_id()
        self._log.confirm()
        if (found := dict.fromkeys(self._log.partitions(), 0)) != self._everything:
            self._log.close()  # its client knows the partitions of when it connected
            self._everything = found
            self.read_all()


def log_findings(partition: int, batch: Batch) -> None:
    """Log the findings of a batch as warnings."""
    found = [(contest.contest_id, one) for contest in batch.contests for one in contest.found]
    for contest_id, (offset, event_id, finding) in found[:_SHOWN]:
        about = {
            "contest_id": contest_id,
            "event_id": str(event_id),
            "partition": partition,
            "offset": offset,
            "code": finding.code,
        }
        logger.warning("offset %d: %s", offset, finding, extra=about)
    if len(found) > _SHOWN:
        logger.warning("and %d more findings, all in the tables", len(found) - _SHOWN)
