"""What is remembered of answers: by which ETag. Without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.caching import LIVE, PAST, cache_control, tag_of
from api.positions import Position
from tests.support.builders import STARTS

AT = "/v1/contests/a%2Fb"
FIRST = Position("a/b", 0, 40, 41, "1.1", "", STARTS, None, None, False, 7, None, None)
NEXT = replace(FIRST, offset=41, next_offset=42)

PAST_ONES = [
    f"{AT}/counts?at_offset=5",
    f"{AT}/counts?area=pe&at_offset=40",
    f"{AT}/counts?at_offset=99&at_offset=5",
    f"{AT}/count%73?at_offset=5",
    f"{AT}/levels/state?at_offset=5&format=csv",
    f"{AT}/levels/a%2Fb?at_offset=5",
]
LIVE_ONES = [
    f"{AT}/counts?",
    f"{AT}/counts?at_offset=41",
    f"{AT}/counts?at_offset=5&at_offset=41",
    f"{AT}/counts?xat_offset=5",
    f"{AT}/levels/state.csv?at_offset=5",
    f"{AT}/levels/state%2Ecsv?at_offset=5",
    f"{AT}/levels/state/reconciliation?at_offset=5",
    *(f"{AT}{path}?at_offset=5" for path in ("", "/areas/pe.csv", "/chart.json", "/changes", "/timeline", "/units")),
]


@pytest.mark.parametrize("address", PAST_ONES)
def test_an_answer_of_a_past_offset_keeps_its_tag_while_the_count_goes_on(address: str) -> None:
    assert tag_of(address, FIRST) == tag_of(address, NEXT)
    assert cache_control(address, FIRST) == PAST


@pytest.mark.parametrize("address", LIVE_ONES)
def test_an_answer_that_is_none_of_a_past_offset_does_not_keep_it_whatever_its_address_says(address: str) -> None:
    assert tag_of(address, FIRST) != tag_of(address, NEXT)
    assert cache_control(address, FIRST) == LIVE


def test_the_tag_of_notices_changes_with_them_however_they_are_written() -> None:
    more = replace(FIRST, notices=8)
    for path in ("notices", "notice%73"):
        assert tag_of(f"{AT}/{path}?", FIRST) != tag_of(f"{AT}/{path}?", more)
    assert tag_of(f"{AT}/counts?", FIRST) == tag_of(f"{AT}/counts?", more)
