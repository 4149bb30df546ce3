"""The ETag of an answer, and what is remembered of answers. Without a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api import caching
from api.caching import LIVE, PAST, Answer, Memory, cache_control, tag_of
from api.positions import Position

AT = "/v1/contests/one"
COUNTS = f"{AT}/counts?"
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


@pytest.mark.parametrize(
    ("address", "is_past"),
    [
        (f"{AT}/counts?at_offset=20", True),
        (f"{AT}/counts?area=pe&at_offset=20", True),
        (f"{AT}/levels/state?at_offset=20&format=csv", True),
        (f"{AT}/counts?", False),
        (f"{AT}/counts?xat_offset=20", False),
        (f"{AT}/counts?at_offset=20&at_offset=48", False),  # the last one is asked about
        (f"{AT}/levels/state.csv?at_offset=20", True),
        (f"{AT}/areas/pe.csv?at_offset=20", True),
        (f"{AT}/chart.json?at_offset=20", True),
        (f"{AT}/levels/state/reconciliation?at_offset=20", False),
        (f"{AT}/changes?since=3&at_offset=20", False),  # it is of now, whatever stands there
        (f"{AT}/explain?at_offset=20", False),
        (f"{AT}?at_offset=20", False),
    ],
)
def test_only_an_answer_of_a_past_offset_keeps_its_tag_while_the_count_goes_on(address: str, is_past: bool) -> None:
    later = replace(POSITION, offset=50, next_offset=51, digest="b" * 64)
    assert (tag_of(address, POSITION) == tag_of(address, later)) is is_past
    assert cache_control(address, POSITION) == (PAST if is_past else LIVE)


def answer(content: bytes) -> Answer:
    return Answer("tag", content, "application/json", LIVE, {})


def test_memory_is_bounded_by_what_an_address_takes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "REMEMBERED_BYTES", 1_000_000)
    memory, addresses = Memory(), [f"{AT}/chart.json?x={n:07900}" for n in range(1000)]
    for address in addresses:
        memory.keep(address, answer(b"{}"))
    kept = [address for address in addresses if memory.find(address, "tag") is not None]
    assert 0 < sum(map(len, kept)) <= 1_000_000
    for address in kept:
        memory.keep(address, answer(b"{}"))
    before = memory.bytes
    assert 0 < before <= 1_000_000


def test_an_answer_is_compressed_once_for_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[bytes]()

    def compress(content: bytes) -> bytes:
        done.append(content)
        return content[:10]

    monkeypatch.setitem(caching._COMPRESS, "br", compress)

    async def ask() -> None:
        memory, given = Memory(), answer(b"x" * 1000)
        memory.keep(AT, given)
        got = await asyncio.gather(*(memory.encode(AT, given, "br") for _ in range(50)))
        assert got == [("br", b"x" * 10)] * 50
        assert await memory.encode(AT, given, "br") == ("br", b"x" * 10)

    asyncio.run(ask())
    assert len(done) == 1
