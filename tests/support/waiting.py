"""Waiting for what has to come. No test shows how fast: the limit is there so that what never comes ends, with a word
of why."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 240.0
"""Far more than anything takes on the slowest machine: two cores, and other tests' servers at work beside."""


def eventually(holds: Callable[[], Any], why_not: Callable[[], object] = lambda: "") -> None:
    """Waits until something holds. Fails with `why_not`."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about: {why_not()}"
        time.sleep(0.05)
