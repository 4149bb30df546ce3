"""Rebuild beside, then take over: a projection is built anew from the log while the live one serves and goes on.

It is the ordinary fold and the ordinary store with another target, whose indexes are made when the bulk is there. Interrupted, it goes on from its own cursor when it is
started again. It never passes the live projection, so that both can be compared at one offset.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from aggregator.live.partition import PartitionFold
from aggregator.log.reader import Log
from aggregator.projections.catalog import NotEqual, Projections, ReadersBusy, Standing, TakeOver
from aggregator.tables.batch import Cursor
from aggregator.tables.writer import Store
from results.projection import LIVE, Projection, ProjectionError
from runtime.kafka.access import KafkaAccess

logger = logging.getLogger(__name__)

_CLOSE = 1_000
"""Events that may be left to read when the live writer is held for the take-over: a fraction of a second."""
_TRIES = 60

OnProgress = Callable[[int, int], None]


class Building:
    """A projection that is brought up, with connections of its own. Use as a context manager.

    Raises ProjectionError for a kept replay, which would be no past state any more.
    """

    def __init__(
        self, writer_url: str, kafka: KafkaAccess, topic: str, projection: Projection, batch_size: int = 20_000
    ) -> None:
        if not projection.is_rebuilt:
            raise ProjectionError(
                f"{projection} is a kept replay: it is read with --schema {projection.name}, or dropped"
            )
        self.projection = projection
        with ExitStack() as opened:
            self._store = opened.enter_context(Store(writer_url, projection))
            self._log = opened.enter_context(Log(kafka, topic, max_records=batch_size))
            topic_id = self._log.topic_id()
            self._cursors: dict[int, Cursor] = {}
            self._folds: dict[int, PartitionFold] = {}
            for partition in self._log.partitions():
                self._cursors[partition] = self._store.claim(topic, topic_id, partition)
                self._folds[partition] = PartitionFold(*self._store.load(self._cursors[partition]))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def behind(self, targets: Mapping[int, int]) -> int:
        """Events left to the targets, or to the log's ends."""
        ends = {p: min(target, self._log.end_offset(p)) for p, target in targets.items()}
        return sum(max(0, end - self._cursors[p].next_offset) for p, end in ends.items())

    def advance_to(self, targets: Mapping[int, int], on_progress: OnProgress = lambda _done, _end: None) -> None:
        """Fold and commit up to the targets (next offset by partition)."""
        for partition, asked in targets.items():
            target = min(asked, self._log.end_offset(partition))  # another log may be shorter than the live one's was
            for batch in self._log.read_to_end(partition, self._cursors[partition].next_offset, target):
                cursor = self._store.commit(self._cursors[partition], self._folds[partition].take(batch.records))
                self._cursors[partition] = cursor
                on_progress(cursor.next_offset, target)


def next_projection(projections: Projections) -> Projection:
    """The one that an interrupted rebuild left, else a new one."""
    for standing in projections.standing():
        if standing.kind == "unfinished rebuild":
            return standing.projection
    projection = Projection(f"v{projections.next_version()}")
    projections.create(projection)
    projections.put_indexes_off(projection)
    return projection


def take_over(
    projections: Projections,
    building: Building,
    projection: Projection,
    reason: str | None = None,
    on_progress: OnProgress = lambda _done, _end: None,
) -> TakeOver:
    """Bring a projection up to the live one and make it the live one. Rolling back is this with the former one.

    Raises NotEqual, the live one unchanged, when it does not say the same and no reason is given.
    """
    for attempt in range(1, _TRIES + 1):
        bring_up(projections, building, on_progress)
        try:
            return projections.take_over(projection, building.advance_to, reason)
        except NotEqual as error:
            raise NotEqual(
                f"not taken over: {error}. Nothing was changed. Compare: escrutinio show CONTEST --schema {projection.name}. "
                f"Where the difference is meant: take-over {projection.name} --reason '…'"
            ) from error
        except ReadersBusy as busy:
            logger.warning("%s; try %d of %d", busy, attempt, _TRIES)
            time.sleep(1)
    raise ReadersBusy(f"readers held views in each of {_TRIES} tries; nothing was changed. Try again later.")


def bring_up(projections: Projections, building: Building, on_progress: OnProgress = lambda _done, _end: None) -> None:
    """Build until it is close behind the live one, with all its indexes."""
    while building.behind(targets := _targets(projections.of(LIVE))) > _CLOSE:
        building.advance_to(targets, on_progress)
    if projections.make_indexes(building.projection):  # which took its time
        bring_up(projections, building, on_progress)
    else:
        building.advance_to(targets, on_progress)


def _targets(live: Standing) -> dict[int, int]:
    return {p.partition: p.next_offset for p in live.places}
