"""Repeat a piece of work in a thread of its own, whatever fails: a fault is logged once, and the work begins again.

Place in the flow: beside a service's work, which goes on meanwhile. A crash leaves what the piece of work leaves.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from schemas.errors import EscrutinioError

SIGN_EVERY_S = 5.0
"""Interval of signs of life."""
NEXT_WITHIN_MS = 10_000
"""What a sign of life promises: the next is sent every SIGN_EVERY_S, and takes some time to be stored."""
_JOIN_S = 30.0

logger = logging.getLogger(__name__)


class Repeating:
    """Repeat a piece of work while it is open. Use as a context manager.

    Args:
        name: Of the thread.
        opened: Connects, and yields the work. It is opened again after a fault, and left at the end.
        every_s: Interval of the work; `wake` shortens it.
        again_s: Seconds until a new attempt after a fault.
        fault: Words before a fault in the log.
        warn: Logs a line.
    """

    def __init__(
        self,
        name: str,
        opened: Callable[[], AbstractContextManager[Callable[[], object]]],
        *,
        every_s: float,
        again_s: float,
        fault: str,
        warn: Callable[[str], object] = logger.warning,
    ) -> None:
        self._opened, self._every_s, self._again_s = opened, every_s, again_s
        self._fault, self._warn, self._said = fault, warn, ""
        self._woken, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._woken.set()
        self._thread.join(_JOIN_S)

    def wake(self) -> None:
        """Let the work be done now."""
        self._woken.set()

    def _run(self) -> None:
        while True:
            try:
                with self._opened() as work:
                    while not self._ended.is_set():
                        work()
                        self._said = ""
                        self._woken.wait(self._every_s)
                        self._woken.clear()
                return
            except EscrutinioError as fault:
                if (line := f"{self._fault}: {fault}") != self._said:
                    self._said = line
                    self._warn(line)
            except Exception:  # whatever it is, the service works on, and this does not end without a word
                logger.exception("%s", self._fault)
            if self._ended.wait(self._again_s):
                return
