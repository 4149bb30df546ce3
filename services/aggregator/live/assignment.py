"""Claim, load and commit the partitions assigned to this process, and drop those revoked from it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aggregator.live.listener import Listener
from aggregator.live.partition import PartitionFold
from aggregator.log.group import Group
from aggregator.log.reader import Log
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import Fenced, TablesChanged
from aggregator.tables.writer import Writer
from results.rows import CHANGED_OUTSIDE
from runtime.kafka.errors import LogDamaged
from runtime.kafka.reader import Batch as LogBatch

logger = logging.getLogger(__name__)


_SHOWN = 20
"""Findings logged one by one for each batch; all are in the tables."""


class Replaced(Exception):
    """The group has assigned the partition to another member, and this one did not know it yet."""


class Assignment:
    """The partitions of this process. Only their member claims them: no two members keep fencing each other."""

    def __init__(self, writer: Writer, log: Log, group: Group | None, listener: Listener) -> None:
        self.cursors: dict[int, Cursor] = {}
        self._folds: dict[int, PartitionFold] = {}
        self._generations: dict[int, int] = {}
        self.reading: Iterator[list[LogBatch]] = iter(())
        self._writer, self._log, self._group, self._listener = writer, log, group, listener
        self._topic, self._topic_id = log.topic, log.topic_id()
        self._everything = dict.fromkeys(log.partitions(), 0)

    def refresh(self) -> bool:
        """Claim newly assigned partitions, drop revoked ones. Returns False when none may be worked on now."""
        owned = self._everything if self._group is None else self._group.owned()
        if owned is not None:
            self._listener.holds(owned)
        if owned is None or owned == self._generations:
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
        self.reading = self._log.read({partition: cursor.next_offset for partition, cursor in self.cursors.items()})
        return bool(owned)

    def _load(self, cursor: Cursor) -> PartitionFold:
        states, blocked = self._writer.load(cursor)
        if any(s.last is not None and s.last.offset >= cursor.next_offset for s in states.values()):
            raise TablesChanged(
                f"the cursor of {cursor.topic}/{cursor.partition} is at offset {cursor.next_offset}, "
                f"behind the aggregated events: {CHANGED_OUTSIDE}"
            )
        where = cursor.topic, cursor.partition, cursor.next_offset, cursor.epoch
        about = {"partition": cursor.partition, "offset": cursor.next_offset}
        logger.info("%s/%d: claimed at offset %d, epoch %d", *where, extra=about)
        return PartitionFold(states, blocked)

    def commit(self, read: LogBatch) -> None:
        """Fold records and write the batch. Raises Replaced when another member has the partition, else Fenced."""
        partition = read.partition
        batch = self._folds[partition].apply(read.records)
        begun = time.monotonic()
        with self._explain_fencing(partition):
            self.cursors[partition] = self._writer.commit(self.cursors[partition], batch)
        self._listener.committed(self.cursors[partition], read.records, batch, time.monotonic() - begun)
        log_findings(batch)

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
        """Check the topic's id and settings. Raises LogDamaged for another log, TopicUnfit for unsafe settings."""
        if (found := self._log.topic_id()) != self._topic_id:
            raise LogDamaged(
                f"topic {self._topic} is {found} now, {self._topic_id} was read: it was deleted and made again"
            )


def log_findings(batch: Batch) -> None:
    """Log the findings of a batch as warnings."""
    found = [(step.recorded, finding) for step in batch.steps for finding in step.findings]
    for recorded, finding in found[:_SHOWN]:
        about = {
            "contest_id": recorded.event.contest_id,
            "event_id": str(recorded.event.event_id),
            "partition": recorded.partition,
            "offset": recorded.offset,
            "code": finding.code,
        }
        logger.warning("offset %d: %s", recorded.offset, finding, extra=about)
    if len(found) > _SHOWN:
        logger.warning("and %d more findings, all in the tables", len(found) - _SHOWN)
