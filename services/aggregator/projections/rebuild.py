"""Rebuild a projection from the log beside the live one, then let it take over.

The ordinary fold and writer, with another target whose indexes are created after the bulk. After a crash the rebuild
continues from its own cursor. It never passes the live projection, so that both can be compared at the same offset.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Self

from aggregator.live.partition import PartitionFold
from aggregator.log.reader import Log
from aggregator.projections.catalog import NotEqual, Projections, ProjectionStatus, ReadersBusy, TakeOver
from aggregator.tables.batch import Cursor
from aggregator.tables.writer import Writer
from results.projection import LIVE, Projection, ProjectionError
from runtime.kafka.access import KafkaAccess

logger = logging.getLogger(__name__)

_CLOSE = 1_000
"""Events that may be left to read while the live writer is held for the take-over: a fraction of a second."""
_TRIES = 60

OnProgress = Callable[[int, int], None]


class Building:
    """A projection under construction, with its own connections. Raises ProjectionError for a kept replay."""

    def __init__(
        self, writer_url: str, kafka: KafkaAccess, topic: str, projection: Projection, batch_size: int = 20_000
    ) -> None:
        if not projection.is_rebuilt:
            raise ProjectionError(
                f"{projection} is a kept replay and cannot take over; query it with --schema {projection.name}"
            )
        self.projection = projection
        with ExitStack() as opened:
            self._writer = opened.enter_context(Writer(writer_url, projection))
            self._log = opened.enter_context(Log(kafka, topic, max_records=batch_size))
            topic_id = self._log.topic_id()
            self._cursors: dict[int, Cursor] = {}
            self._folds: dict[int, PartitionFold] = {}
            for partition in self._log.partitions():
                self._cursors[partition] = self._writer.claim(topic, topic_id, partition)
                self._folds[partition] = PartitionFold(*self._writer.load(self._cursors[partition]))
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
            for batch in self._log.read_to_end(partition, self._cursors[partition].next_offset, target):
                cursor = self._writer.commit(self._cursors[partition], self._folds[partition].apply(batch.records))
                self._cursors[partition] = cursor
                on_progress(cursor.next_offset, target)


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
    """Bring a projection up to the live one, and switch to it. Raises NotEqual if they differ without a reason."""
    for attempt in range(1, _TRIES + 1):
        catch_up(projections, building, on_progress)
        try:
            return projections.take_over(projection, building.advance_to, reason)
        except NotEqual as error:
            raise NotEqual(
                f"not taken over: {error}. Nothing was changed. "
                f"Compare: escrutinio show CONTEST --schema {projection.name}. "
                f"If the difference is intended: take-over {projection.name} --reason '…'"
            ) from error
        except ReadersBusy as busy:
            logger.warning("%s; attempt %d of %d", busy, attempt, _TRIES)
            time.sleep(1)
    raise ReadersBusy(f"readers held the views in each of {_TRIES} attempts; nothing was changed. Try again later.")


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
