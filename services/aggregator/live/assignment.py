"""The partitions of this process: claimed, loaded, committed, and dropped when they are another's."""

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
from aggregator.tables.writer import Store
from results.rows import CHANGED_OUTSIDE
from runtime.kafka.errors import LogDamaged
from runtime.kafka.reader import Batch as LogBatch

logger = logging.getLogger(__name__)


_SHOWN = 20
"""Findings of a batch that are logged one by one; all are in the tables."""


class Replaced(Exception):
    """Another member of the group has the partition, and this one had not heard of it yet."""


class Assignment:
    """The partitions of this process: claimed and loaded when they are given to it, forgotten when they are taken.

    Who is given a partition claims it, nobody else does; so two members never take it from each other in turn.
    """

    def __init__(self, store: Store, log: Log, group: Group | None, listener: Listener) -> None:
        self.cursors: dict[int, Cursor] = {}
        self._folds: dict[int, PartitionFold] = {}
        self._tenures: dict[int, int] = {}
        self.reading: Iterator[list[LogBatch]] = iter(())
        self._store, self._log, self._group, self._listener = store, log, group, listener
        self._topic, self._topic_id = log.topic, log.topic_id()
        self._everything = dict.fromkeys(log.partitions(), 0)

    def look(self) -> bool:
        """Ask what is ours, and make it so. False when nothing may be worked on now: it is being settled, or nothing is ours."""
        owned = self._everything if self._group is None else self._group.owned()
        if owned is not None:
            self._listener.holds(owned)
        if owned is None or owned == self._tenures:
            return bool(owned)
        given = sorted(partition for partition, tenure in owned.items() if self._tenures.get(partition) != tenure)
        for partition in sorted(self._tenures.keys() - owned.keys()):
            at = self.cursors[partition].next_offset
            about = {"partition": partition, "offset": at}
            logger.info("%s/%d: given up at offset %d", self._topic, partition, at, extra=about)
        if self._group is not None:
            has = ", ".join(map(str, sorted(owned))) or "none"
            logger.info("%s: this member of group %s has partitions: %s", self._topic, self._group.name, has)
        self.cursors = {p: cursor for p, cursor in self.cursors.items() if p in owned}
        self._folds = {p: fold for p, fold in self._folds.items() if p in owned}
        self._tenures = owned
        for partition in given:  # all of them before any is loaded, which takes long: the group may change its mind
            self.cursors[partition] = self._store.claim(self._topic, self._topic_id, partition)
        for partition in given:
            with self._fencing(partition):
                self._folds[partition] = self._load(self.cursors[partition])
            parked = self._store.parked(self.cursors[partition])
            self._listener.loaded(self.cursors[partition], self._folds[partition], parked)
        self.reading = self._log.read({partition: cursor.next_offset for partition, cursor in self.cursors.items()})
        return bool(owned)

    def _load(self, cursor: Cursor) -> PartitionFold:
        states, blocked = self._store.load(cursor)
        if any(s.last is not None and s.last.offset >= cursor.next_offset for s in states.values()):
            raise TablesChanged(
                f"the cursor of {cursor.topic}/{cursor.partition} stands at offset {cursor.next_offset}, behind what is "
                f"aggregated: {CHANGED_OUTSIDE}"
            )
        logger.info(
            "%s/%d: at offset %d, epoch %d",
            cursor.topic,
            cursor.partition,
            cursor.next_offset,
            cursor.epoch,
            extra={"partition": cursor.partition, "offset": cursor.next_offset},
        )
        return PartitionFold(states, blocked)

    def commit(self, read: LogBatch) -> None:
        """Fold the records of a partition and write what they make. Raises Replaced, or Fenced for what is not the group's
        doing."""
        partition = read.partition
        batch = self._folds[partition].take(read.records)
        begun = time.monotonic()
        with self._fencing(partition):
            self.cursors[partition] = self._store.commit(self.cursors[partition], batch)
        self._listener.committed(self.cursors[partition], read.records, batch, time.monotonic() - begun)
        say_findings(batch)

    @contextmanager
    def _fencing(self, partition: int) -> Iterator[None]:
        """Tells who has fenced us: another member, to whom the group has given the partition, or somebody else."""
        try:
            yield
        except Fenced as error:
            if self._group is None:
                raise
            if self._group.confirms(partition):
                raise Fenced(
                    f"{error}, though group {self._group.name} gives it to this one: the other is not of that group",
                    error.turn,
                ) from error
            raise Replaced(str(error)) from error

    def check_log(self) -> None:
        """Raises LogDamaged when the log is no longer the one that is read, or could now lose events."""
        if (found := self._log.topic_id()) != self._topic_id:
            raise LogDamaged(
                f"topic {self._topic} is {found} now, {self._topic_id} was read: it was deleted and made again"
            )


def say_findings(batch: Batch) -> None:
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
