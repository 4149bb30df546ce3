"""The ETag of an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from api.caching import tag_of
from api.positions import Position

COUNTS = "/v1/contests/one/counts?"
POSITION = Position(
    contest_id="one", partition=0, offset=45, next_offset=46, layout="1.0", digest="a" * 64,
    recorded_at=datetime(2021, 6, 9, tzinfo=UTC), reported_at=None, blocked=None, is_test=False, notices=3,
    count_state="CURRENT", source_state=None,
)  # fmt: skip


def test_the_same_offset_of_another_log_has_another_tag() -> None:
    assert tag_of(COUNTS, replace(POSITION, digest="b" * 64)) != tag_of(COUNTS, POSITION)


def test_a_tag_stays_while_the_count_does_and_of_a_past_offset_for_ever() -> None:
    later = replace(POSITION, next_offset=60, count_state="DEAD", source_state="SILENT", notices=4)
    assert tag_of(COUNTS, later) == tag_of(COUNTS, POSITION)
    gone_on = replace(POSITION, offset=46, next_offset=47, digest="b" * 64)
    assert tag_of(f"{COUNTS}at_offset=20", gone_on) == tag_of(f"{COUNTS}at_offset=20", POSITION)
