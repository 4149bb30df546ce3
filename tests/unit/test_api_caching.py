"""What is remembered of answers: by which ETag, in how much memory, and compressed once. Without a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from api import caching
from api.caching import LIVE, PAST, Answer, Memory, cache_control, tag_of
from api.positions import Position
from tests.support.builders import STARTS

AT = "/v1/contests/a%2Fb"
FIRST = Position("a/b", "results.events", 0, 40, 41, "1.1", "", STARTS, None, None, False, 7, None, None)
NEXT = replace(FIRST, offset=41, next_offset=42)

PAST_ONES = [
    f"{AT}/counts?at_offset=5",
    f"{AT}/counts?area=pe&at_offset=40",
    f"{AT}/counts?at_offset=99&at_offset=5",
    f"{AT}/count%73?at_offset=5",
    f"{AT}/levels/state?at_offset=5&format=csv",
    f"{AT}/levels/a%2Fb?at_offset=5",
    f"{AT}/levels/state.csv?at_offset=5",
    f"{AT}/levels/state%2Ecsv?at_offset=5",
    *(f"{AT}{path}?at_offset=5" for path in ("/areas/pe.csv", "/chart.json")),
]
LIVE_ONES = [
    f"{AT}/counts?",
    f"{AT}/counts?at_offset=41",
    f"{AT}/counts?at_offset=5&at_offset=41",
    f"{AT}/counts?xat_offset=5",
    f"{AT}/levels/state/reconciliation?at_offset=5",
    *(f"{AT}{path}?at_offset=5" for path in ("", "/changes", "/timeline", "/units")),
]


@pytest.mark.parametrize("address", PAST_ONES)
def test_an_answer_of_a_past_offset_keeps_its_tag_while_the_count_goes_on(address: str) -> None:
    assert tag_of(address, FIRST) == tag_of(address, NEXT)
    assert cache_control(address, FIRST) == PAST


@pytest.mark.parametrize("address", LIVE_ONES)
def test_an_answer_that_is_none_of_a_past_offset_does_not_keep_it_whatever_its_address_says(address: str) -> None:
    assert tag_of(address, FIRST) != tag_of(address, NEXT)
    assert cache_control(address, FIRST) == LIVE


def test_the_same_offset_of_another_log_has_another_tag() -> None:
    assert tag_of(f"{AT}/counts?", replace(FIRST, digest="b" * 64)) != tag_of(f"{AT}/counts?", FIRST)


def test_a_tag_stays_while_the_count_does() -> None:
    later = replace(FIRST, next_offset=60, count_state="DEAD", source_state="SILENT", notices=8)
    assert tag_of(f"{AT}/counts?", later) == tag_of(f"{AT}/counts?", FIRST)


def test_the_tag_of_notices_changes_with_them_however_they_are_written() -> None:
    more = replace(FIRST, notices=8)
    for path in ("notices", "notice%73"):
        assert tag_of(f"{AT}/{path}?", FIRST) != tag_of(f"{AT}/{path}?", more)
    assert tag_of(f"{AT}/counts?", FIRST) == tag_of(f"{AT}/counts?", more)


def test_memory_is_bounded_however_long_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "REMEMBERED_BYTES", 1_000_000)
    memory = Memory()
    addresses = [f"{number}".ljust(8_000, "a") for number in range(1_000)]
    for address in addresses:
        memory.keep(address, answer(b"{}"))
    kept = [address for address in addresses if memory.find(address, "tag") is not None]
    assert kept == addresses[-len(kept) :]
    assert 0 < len(kept) * 8_000 < memory.bytes <= 1_000_000


def test_an_answer_is_compressed_once_for_all_who_ask_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[bytes] = []

    def compress(content: bytes) -> bytes:
        compressed.append(content)
        return b"short"

    monkeypatch.setitem(caching._COMPRESS, "br", compress)

    async def ask() -> None:
        memory, kept = Memory(), answer(b"x" * 1_000)
        memory.keep("here", kept)
        before = memory.bytes
        leaving = asyncio.ensure_future(memory.encode("here", kept, "br"))
        staying = [asyncio.ensure_future(memory.encode("here", kept, "br")) for _ in range(20)]
        await asyncio.sleep(0)
        leaving.cancel()
        assert await asyncio.gather(*staying) == [("br", b"short")] * 20
        assert memory.bytes == before + 5

    asyncio.run(ask())
    assert len(compressed) == 1


def answer(content: bytes) -> Answer:
    return Answer("tag", content, "application/json", LIVE, {})
