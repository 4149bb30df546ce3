"""Rebuild a projection from the log beside the live one, then let it take over.

The ordinary fold and writer, with another target whose indexes are created after the bulk. After a crash the rebuild
continues from its own cursor. It never passes the live projection, so that both can be compared at the same offset.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from typing import Self

from aggregator.live.partition import PartitionFold
from aggregator.log.reader import Log
from aggregator.projections.catalog import NotEqual, Projections, ProjectionStatus, TakeOver
from aggregator.tables.batch import Cursor
from aggregator.tables.lock_wait import LOCK_WAIT_S
from aggregator.tables.writer import Writer
from results.projection import LIVE, Projection, ProjectionError
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Batch as LogBatch

_CLOSE = 1_000
"""Events that may be left to read while the live writer is held for the take-over: a fraction of a second."""
_COMMIT_S = 30.0
"""Seconds after which a transaction ends with the batch in hand: well within the writer's limit."""
_PER_COMMIT = 20
"""Batches in one transaction: units and totals are written once for all of them."""

OnProgress = Callable[[int, int], None]


class Building:
    """A projection under construction, with its own connections. Raises ProjectionError for a kept replay."""

    def __init__(
        self,
        writer_url: str,
        kafka: KafkaAccess,
        topic: str,
        projection: Projection,
        batch_size: int = 10_000,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        if not projection.is_rebuilt:
            raise ProjectionError(
                f"{projection} is a kept replay and cannot take over; query it with --schema {projection.name}"
            )
        self.projection = projection
        with ExitStack() as opened:
            self._writer = opened.enter_context(Writer(writer_url, projection, lock_wait_s))
            self._log = opened.enter_context(Log(kafka, topic, max_records=batch_size))
            topic_id = self._log.topic_id()
            self._cursors: dict[int, Cursor] = {}
            self._folds: dict[int, PartitionFold] = {}
            partitions = self._log.partitions()
            for partition in partitions:
                cursor = self._cursors[partition] = self._writer.claim(topic, topic_id, partition)
                states, blocked = self._writer.load(cursor, len(partitions))
                self._folds[partition] = PartitionFold(states, blocked, partitions=len(partitions))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def behind(self, targets: Mapping[int, int]) -> int:
        """Count the events left up to the targets, or to the ends of the log."""
        ends = {p: min(target, self._log.end_offset(p)) for p, target in targets.items()}
        return sum(max(0, end - self._cursors[p].next_offset) for p, end in ends.items())

    def advance_to(self, targets: Mapping[int, int], on_progress: OnProgress = lambda _done, _end: None) -> None:
        """Fold and commit up to the targets (next offset by partition)."""
        for partition, asked in targets.items():
            target = min(asked, self._log.end_offset(partition))  # another log may be shorter than that of the live one
            batches = self._log.read_to_end(partition, self._cursors[partition].next_offset, target)
            while first := next(batches, None):
                self._commit(partition, chain([first], islice(batches, _PER_COMMIT - 1)), target, on_progress)

    def _commit(self, partition: int, batches: Iterator[LogBatch], target: int, on_progress: OnProgress) -> None:
        """Write batches in one transaction: the next is folded while the last is written, units and totals come once.

        A crash here leaves nothing of them: the rebuild goes on from the cursor.
        """
        fold, begun, is_last = self._folds[partition], time.monotonic(), False
        with self._writer.writing(self._cursors[partition]) as write, ThreadPoolExecutor(1, "copy") as thread:
            written: Future[Cursor] | None = None
            for number, batch in enumerate(batches, 1):
                next_offset = batch.next_offset
                is_late = time.monotonic() - begun > _COMMIT_S
                is_last = number == _PER_COMMIT or is_late or next_offset >= target
                made = fold.apply(batch.records, whole=is_last)
                if written is not None:
                    written.result()
                written = thread.submit(write, made)
                on_progress(next_offset, target)
                if is_last:
                    break
            assert written is not None
            assert is_last
            cursor = written.result()
        self._cursors[partition] = cursor


def next_projection(projections: Projections) -> Projection:
    """Return the projection of an interrupted rebuild, else create a new one."""
    for status in projections.statuses():
        if status.kind == "unfinished rebuild":
            return status.projection
    projection = Projection(f"v{projections.next_version()}")
    projections.create(projection)
    projections.defer_indexes(projection)
    return projection


def take_over(
    projections: Projections,
    building: Building,
    projection: Projection,
    reason: str | None = None,
    on_progress: OnProgress = lambda _done, _end: None,
) -> TakeOver:
    """Bring a projection up to the live one, and switch to it.

    Raises NotEqual if they differ without a reason, LockedOut when somebody was in the way in every attempt.
    """

    def attempt() -> TakeOver:
        catch_up(projections, building, on_progress)
        try:
            return projections.take_over(projection, building.advance_to, reason)
        except NotEqual as error:
            raise NotEqual(
                f"not taken over: {error}. Nothing was changed. "
                f"Compare: escrutinio show CONTEST --schema {projection.name}. "
                f"If the difference is intended: take-over {projection.name} --reason '…'"
            ) from error

    catch_up(projections, building, on_progress)  # before the time for locks runs: this may take minutes
    return projections.locks.retried(attempt)


def catch_up(projections: Projections, building: Building, on_progress: OnProgress = lambda _done, _end: None) -> None:
    """Build a projection up to the live one, and create its indexes."""
    while building.behind(targets := _targets(projections.of(LIVE))) > _CLOSE:
        building.advance_to(targets, on_progress)
    if projections.create_indexes(building.projection):  # which may take minutes
        catch_up(projections, building, on_progress)
    else:
        building.advance_to(targets, on_progress)


def _targets(live: ProjectionStatus) -> dict[int, int]:
    return {p.partition: p.next_offset for p in live.places}
