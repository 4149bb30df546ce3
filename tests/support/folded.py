"""The fold of a log in memory, step by step."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.fold.fold import ContestState, Step, evolve
from schemas.log_record import Recorded
from tests.support.strategies import Event, recorded


def folded(log: Iterable[Recorded]) -> tuple[ContestState, list[Step]]:
    """The state at the end of a log, and the step of each event."""
    state = ContestState()
    return state, [evolve(state, r) for r in log]


def fold(*events: Event) -> tuple[ContestState, list[Step]]:
    """The same of events, put on a log."""
    return folded(recorded(events))
