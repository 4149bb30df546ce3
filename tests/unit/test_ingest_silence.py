"""When a source is said to be silent, and when to speak again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ingest.news.silence import Heard, changed, status
from schemas.identity import is_named_right
from schemas.source_status import SourceState, SourceStatus
from tests.support.strategies import minute

CONTEST = "pe-2021-president-runoff"
AFTER = timedelta(minutes=30)


def silent(heard: Heard, now: int, why: str | None = None) -> SourceStatus | None:
    """What the log lacks at a time."""
    return changed(CONTEST, heard, minute(0), minute(now), AFTER, why)


def last(state: SourceState, since: int, *, spoke: int | None = None, has_spoken: bool = False) -> Heard:
    """What the log says after a change of the state."""
    return Heard(None if spoke is None else minute(spoke), status(CONTEST, state, minute(since)), has_spoken)


@pytest.mark.parametrize(
    ("heard", "now", "state", "since"),
    [
        (Heard(), 29, None, None),
        (Heard(), 30, SourceState.SILENT, 0),
        (Heard().spoke(minute(30)), 59, None, None),
        (Heard().spoke(minute(30)), 60, SourceState.SILENT, 30),
        (Heard().spoke(minute(-90)), 1, SourceState.SILENT, -90),  # a restart forgets no silence
        (last(SourceState.SPEAKING, 10, spoke=10), 39, None, None),
        (last(SourceState.SPEAKING, 10, spoke=10), 40, SourceState.SILENT, 10),
        (last(SourceState.SILENT, 5, spoke=5), 500, None, None),
        (last(SourceState.SILENT, 5, spoke=39, has_spoken=True), 40, SourceState.SPEAKING, 39),
        (last(SourceState.CLOSED, 5, spoke=4), 500, None, None),
        (last(SourceState.CLOSED, 1, spoke=4), 500, None, None),  # closed for a time before the last news
        (last(SourceState.CLOSED, 5, spoke=6, has_spoken=True), 20, SourceState.SPEAKING, 6),
    ],
)
def test_a_change_is_said_once(heard: Heard, now: int, state: SourceState | None, since: int | None) -> None:
    found = silent(heard, now)
    assert (found and found.state, found and found.since) == (state, None if since is None else minute(since))
    if found is not None:
        assert is_named_right(found)
        assert silent(heard._replace(last=found, has_spoken=False), now) is None, "the log has it"


def test_what_keeps_a_source_silent_is_said() -> None:
    found = silent(Heard(), 30, "it cannot be read: Permission denied")
    assert found is not None
    assert (found.reason, found.authority) == ("it cannot be read: Permission denied", None)
