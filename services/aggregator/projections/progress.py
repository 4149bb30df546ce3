"""Tell how far a projection is built, and estimate the time that is left: in metrics, and in lines where asked.

Metrics are those of docs/metrics.md; a scrape only reads them.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from runtime.health import Liveness

_LINE_S = 10.0
_WINDOW_S = 30.0
"""The rate is that of the last so many seconds: it falls while a log grows, and what is left of a rebuild takes
longer."""


class BuildProgress:
    """Record the progress of a rebuild. `say`: called with a line every ten seconds."""

    def __init__(
        self, registry: CollectorRegistry, say: Callable[[str], None], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.liveness = Liveness()
        self._say, self._now_s = say, now_s
        self._seen: list[tuple[float, int]] = []
        self._said_s = now_s()
        self._is_done = False

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"escrutinio_rebuild_{name}", text, registry=registry)

        self._next = gauge("next_offset", "Next offset to be built.")
        self._end = gauge("end_offset", "Offset up to which is built now.")
        self._left = gauge("seconds_left", "Estimate of the time until then.")

    def __call__(self, next_offset: int, end: int) -> float | None:
        """Record where the rebuild is. Returns the estimate of the seconds left; None while there is no rate."""
        now_s = self._now_s()
        if self._seen and next_offset < self._seen[-1][1]:  # another partition
            self._seen.clear()
        self._seen = [*(at for at in self._seen if now_s - at[0] <= _WINDOW_S), (now_s, next_offset)]
        self.liveness.record_progress()
        self._next.set(next_offset)
        self._end.set(end)
        begun_s, begun = self._seen[0]
        if now_s <= begun_s or next_offset <= begun:
            return None
        rate = (next_offset - begun) / (now_s - begun_s)
        left_s = (end - next_offset) / rate
        self._left.set(left_s)
        if now_s - self._said_s >= _LINE_S:
            self._said_s = now_s
            self._say(f"offset {next_offset:,} of {end:,}, {rate:,.0f} events/s, about {left_s:,.0f} s left")
        return left_s

    def done(self) -> None:
        """Record that nothing is left to build."""
        self._is_done = True
        self._left.set(0)

    def not_ready(self) -> str | None:
        """Return why the projection is not built; None when it is."""
        return None if self._is_done else "the projection is not built yet"
