"""How long something takes, and a line of a report."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rate(items: int, work: Callable[[], object]) -> float:
    """Items per second, the best of three runs."""
    return items / min(timed(work) for _ in range(3))


def line(what: str, value: float, unit: str, limit: float | None = None) -> None:
    """A line of the report, with the ratio to a limit of the same run."""
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    print(f"{what:<58}{shown:>10} {unit}" + (f"   {value / limit:.2f} of the limit" if limit else ""), flush=True)
