"""The log split by offset over processes: each folds its part, and this one puts them together in order (see `merge`).

This process takes the first part itself, up to the contest's first definition alone, since the others begin under it.
A part that does not join is read and folded once more, here: always the plain fold's result, merely slower. Nothing is
kept anywhere; a crash leaves nothing, and workers whose parent is gone end by themselves.
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
from aggregator.replay.fold_to_moment import Folding, Part
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

WORTH_IT = 250_000
"""Events from which several processes are faster: each costs a second of work to start, and its part is sent here and joined in
half a second (docs/benchmarks.md)."""


class WorkerLost(EscrutinioError):
    """A process that folded a part ended without a word."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fold_here(log: Log, partition: int, begin: int, end: int, folding: Folding, on_progress: Progress) -> None:
    """Folds the offsets from `begin` up to, not including, `end`."""
    for batch in log.read_to_end(partition, begin, end):
        if not folding.take(batch):
            return
        on_progress(batch.next_offset, end)


def fold_in_parts(
    log: Log, partition: int, begin: int, end: int, folding: Folding, on_progress: Progress, processes: int
) -> int:
    """The same by several processes, this one among them. Returns how many parts did not join and were folded again."""
    if folding.definition is None:
        begin = _to_the_definition(log, partition, begin, end, folding)
    if folding.ended or folding.definition is None or begin >= end:
        return 0
    (_, own_end), *parts = split(begin, end, processes)
    again = 0
    with Workers(len(parts)) as workers:
        at = (log.kafka, log.topic, partition)
        futures = [workers.fold(at, part, folding) for part in parts]
        fold_here(log, partition, begin, own_end, folding, lambda to, _: on_progress(to + workers.done, end))
        for (first, last), future in zip(parts, futures, strict=True):
            if folding.ended:
                break
            part = workers.wait(future, lambda: on_progress(own_end + workers.done, end))
            if not folding.join(part):
                again += 1
                logger.info("offsets %d to %d are folded again, here", first, last - 1)
                fold_here(log, partition, first, last, folding, lambda _to, _end: None)
            on_progress(last, end)
    return again


def _to_the_definition(log: Log, partition: int, begin: int, end: int, folding: Folding) -> int:
    """Folds up to the contest's definition; returns the offset after it."""
    for batch in log.read_to_end(partition, begin, end):
        for raw in batch:
            if not folding.take([raw]) or folding.definition is not None:
                return raw.offset + 1
    return end


def split(begin: int, end: int, parts: int) -> list[tuple[int, int]]:
    """So many ranges of offsets, each without its end, of sizes that differ by one at most; none is empty."""
    parts = max(1, min(parts, end - begin))
    cuts = [begin + (end - begin) * i // parts for i in range(parts + 1)]
    return list(pairwise(cuts))


class Workers:
    """The other processes. Use as a context manager: at its end, whatever the reason, they end too."""

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
        """Messages that the workers have read so far."""
        return int(self._done.value)

    def fold(self, at: tuple[KafkaAccess, str, int], part: tuple[int, int], folding: Folding) -> "Future[bytes]":
        """Has a part folded, under the definition that `folding` has now."""
        assert folding.definition is not None
        return self._pool.submit(_fold, at, part, folding.contest_id, folding.moment, folding.definition)

    def wait(self, future: "Future[bytes]", on_wait: Callable[[], None]) -> Part:
        """The folded part. Raises what the worker raised, WorkerLost where it was killed."""
        while not wait([future], timeout=0.2).done:
            on_wait()
        try:
            part = pickle.loads(future.result())
        except BrokenProcessPool as error:
            raise WorkerLost("a process that folded a part of the log was ended from outside; run it again") from error
        assert isinstance(part, Part)
        return part


_shared: tuple[Any, Any]
"""In a worker: the count of messages read, and the sign to stop."""


def _begin(done: Any, stop: Any) -> None:
    global _shared
    _shared = done, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent tells us to stop
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
    """In a worker: the part, pickled here and not by the pool, which would do it in an older and slower form."""
    done, stop = _shared
    kafka, topic, partition = at
    folding = Folding(contest_id, moment, assumed=assumed)
    with Log(kafka, topic, max_records=5_000) as log:
        for batch in log.read_to_end(partition, *part):
            if stop.is_set() or not folding.take(batch):
                break
            with done.get_lock():
                done.value += len(batch)
    return pickle.dumps(folding.part(), protocol=5)
