"""Do heavy parts in other processes, where there are several cores and several parts.

A worker gets one part after the other, and ends with this process, also when that is killed. Ctrl-C is for this process
alone: it ends once the parts at work are done.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self, TypeVar

from audit.errors import AuditError

_LEAST = 1 << 20
"""Bytes, packed, that are read in a second or so."""
Part = TypeVar("Part")
Made = TypeVar("Made")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Worker processes, started when first needed. Use as a context manager.

    `processes`: 1 does all of it here. None: one on each core, and none for what is done sooner than they start.
    `method`: multiprocessing's. "spawn" starts a worker anew, in half a second; "fork" copies this process at once,
    which must have one thread.
    """

    def __init__(self, processes: int | None = None, *, method: str = "spawn") -> None:
        self._processes, self._least = cores() if processes is None else processes, _LEAST if processes is None else 0
        self._context = multiprocessing.get_context(method)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Part], Made], parts: Sequence[Part], size: int) -> Iterator[Made]:
        """Yield what `work`, a function of a module, makes of each part, in their order. `size`: bytes of them all.

        Raises what `work` raises, and AuditError where the system ended a worker.
        """
        if self._processes == 1 or len(parts) < 2 or size < self._least:
            yield from map(work, parts)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._processes, self._context, initializer=_begin)
        waiting = [self._pool.submit(work, part) for part in parts]
        for place, future in enumerate(waiting):
            try:
                made = future.result()
            except BrokenProcessPool as error:
                raise AuditError("the system ended a process that read for this one: it may lack memory") from error
            yield made
            waiting[place] = None  # type: ignore[call-overload]  # what it made is no longer held


def _begin() -> None:
    """Begin a worker: it ends with the process that started it, and leaves Ctrl-C to that."""
    gc.set_threshold(1_000_000, 20, 100)  # what a part is made of has no cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
