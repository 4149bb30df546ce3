"""Fold parts of the log in several processes, and join them in order (see `join_parts`).

This process folds up to the contest's first definition alone, since the other parts begin under it, and then the first
part. A part that cannot be joined is read and folded again here: the same result, slower. Nothing is stored; a crash
leaves nothing, and workers end when their parent does.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from typing import Any

from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold, Part
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

PARALLEL_FROM = 250_000
"""Events from which several processes are faster: each needs a second to start, and half a second to send and join its
part (docs/benchmarks.md)."""


class WorkerLost(EscrutinioError):
    """A worker process was killed."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fold_here(log: Log, partition: int, begin: int, end: int, fold: ContestFold, on_progress: Progress) -> None:
    """Fold the offsets from `begin` up to, not including, `end`."""
    for batch in log.read_to_end(partition, begin, end):
        if not fold.apply(batch):
            return
        on_progress(batch.next_offset, end)


def fold_in_parts(
    log: Log, partition: int, begin: int, end: int, fold: ContestFold, on_progress: Progress, processes: int
) -> int:
    """Fold the same in several processes, this one among them. Returns how many parts had to be folded again."""
    if fold.definition is None:
        begin = _to_the_definition(log, partition, begin, end, fold)
    if fold.ended or fold.definition is None or begin >= end:
        return 0
    (_, own_end), *parts = split(begin, end, processes)
    again = 0
    with Workers(len(parts)) as workers:
        at = (log.kafka, log.topic, partition)
        futures = [workers.fold(at, part, fold) for part in parts]
        fold_here(log, partition, begin, own_end, fold, lambda to, _: on_progress(to + workers.done, end))
        for (first, last), future in zip(parts, futures, strict=True):
            if fold.ended:
                break
            part = workers.wait(future, lambda: on_progress(own_end + workers.done, end))
            if not fold.join(part):
                again += 1
                logger.info("offsets %d to %d cannot be joined: folding them again in this process", first, last - 1)
                fold_here(log, partition, first, last, fold, lambda _to, _end: None)
            on_progress(last, end)
    return again


def _to_the_definition(log: Log, partition: int, begin: int, end: int, fold: ContestFold) -> int:
    """Fold up to the contest's first definition. Returns the offset after it."""
    for records in log.read_to_end(partition, begin, end):
        for raw in records:
            if not fold.apply([raw]) or fold.definition is not None:
                return raw.offset + 1
    return end


def split(begin: int, end: int, parts: int) -> list[tuple[int, int]]:
    """Split offsets into non-empty ranges (begin, end exclusive) whose sizes differ by at most one."""
    parts = max(1, min(parts, end - begin))
    cuts = [begin + (end - begin) * i // parts for i in range(parts + 1)]
    return list(pairwise(cuts))


class Workers:
    """The worker processes. Use as a context manager: they end with it."""

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share the client's connections
        self._done, self._stop = context.Value("q", 0), context.Event()
        self._pool = ProcessPoolExecutor(max(1, number), context, _begin, (self._done, self._stop))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    @property
    def done(self) -> int:
        """Messages read by the workers so far."""
        return int(self._done.value)

    def fold(self, at: tuple[KafkaAccess, str, int], part: tuple[int, int], fold: ContestFold) -> "Future[bytes]":
        """Start folding a part in a worker, under the definition that `fold` has now."""
        assert fold.definition is not None
        return self._pool.submit(_fold, at, part, fold.contest_id, fold.moment, fold.definition)

    def wait(self, future: "Future[bytes]", on_wait: Callable[[], None]) -> Part:
        """Wait for a folded part. Raises what the worker raised, WorkerLost when it was killed."""
        while not wait([future], timeout=0.2).done:
            on_wait()
        try:
            part = pickle.loads(future.result())
        except BrokenProcessPool as error:
            raise WorkerLost("a worker process of the replay was killed; run the replay again") from error
        assert isinstance(part, Part)
        return part


_shared: tuple[Any, Any]
"""In a worker: the count of messages read, and the event to stop."""


def _begin(done: Any, stop: Any) -> None:
    global _shared
    _shared = done, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent sets `stop`
    gc.set_threshold(200_000, 20, 100)  # as in the parent: the state is a million objects that live to the end
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fold(
    at: tuple[KafkaAccess, str, int], part: tuple[int, int], contest_id: str, moment: Moment, assumed: Recorded
) -> bytes:
    """Fold a part in a worker. Pickled here, because the pool would use an older and slower protocol."""
    done, stop = _shared
    kafka, topic, partition = at
    fold = ContestFold(contest_id, moment, assumed=assumed)
    with Log(kafka, topic, max_records=5_000) as log:
        for records in log.read_to_end(partition, *part):
            if stop.is_set() or not fold.apply(records):
                break
            with done.get_lock():
                done.value += len(records)
    return pickle.dumps(fold.part(), protocol=5)
