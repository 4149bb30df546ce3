"""What the stream keeps for its clients. Without a server."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from api.database import Database
from api.metrics import Metrics
from api.positions import Position, Positions
from api.stream.chunks import Chunk, Ids, Wanted, chunks_of
from api.stream.feed import LENGTH, Counted, Feed, Line
from api.stream.follower import Follower
from api.stream.routes import EventStream
from results.updates import LoggedUpdate

NOON = datetime(2021, 6, 7, 12, tzinfo=UTC)
POSITION = Position(
    contest_id="x", topic="results.events", partition=0, offset=0, next_offset=1, layout="1.0", digest="d",
    recorded_at=NOON, reported_at=NOON, blocked=None, is_test=False, notices=0, count_state=None, source_state=None,
)  # fmt: skip
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def positions() -> Positions:
    return Positions(NOWHERE)


@pytest.fixture
def feed(positions: Positions) -> Feed:
    metrics = Metrics(CollectorRegistry())
    return Feed(positions, Database(NOWHERE, metrics.questions), metrics)


def update(offset: int) -> LoggedUpdate:
    areas = ("pe", f"state-{offset % 25}", f"province-{offset % 200}", f"district-{offset % 1800}")
    return LoggedUpdate(
        offset=offset, event_id=uuid.UUID(int=offset), contest_id="x", unit=f"precinct/{offset}", unit_name=None,
        areas=areas, moved_from=None, kind="REPORTED", reason=None, count_status="COUNTED", stage="PROVISIONAL",
        is_test=False, stated_at=NOON, reported_at=NOON, recorded_at=NOON, change={"votes.a": 100, "votes.b": 90},
        document="d" * 40, document_sha256="0" * 64, place="row 1",
        topic="results.events", partition=0,
    )  # fmt: skip


@pytest.mark.parametrize("length", [1, LENGTH])
def test_the_bytes_of_updates_are_those_that_they_take(length: int) -> None:
    updates = [update(offset) for offset in range(2_000)]
    tracemalloc.start()
    try:
        parts = [updates[at : at + length] for at in range(0, len(updates), length)]
        chunks = [chunk for of in parts for chunk in chunks_of(of, of[0].offset, of[-1].offset + 1, LENGTH)]
        took, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < took / sum(chunk.size for chunk in chunks) < 1.3


def told(feed: Feed) -> Any:
    """The sign of life for clients of every contest."""
    return json.loads(feed.status(None).splitlines()[1].removeprefix(b"data: "))["database"]


def test_a_sign_of_life_is_of_now(feed: Feed, positions: Positions) -> None:
    positions._put({}, "it is away")
    assert told(feed) == "PostgreSQL does not answer"
    positions._put({}, None)
    assert told(feed) is None


def test_copies_for_clients_are_few_however_many_areas_are_followed(feed: Feed) -> None:
    """Each area that is followed has its own text of a chunk: without a bound they are many times the updates."""
    number = 20_000
    feed.lines[0] = Line(number, chunks_of([update(offset) for offset in range(number)], 0, number, LENGTH))
    wanted = [Wanted(contest, area) for contest in (None, "x") for area in (None, *(f"state-{n}" for n in range(25)))]

    async def read() -> list[Chunk]:
        found = []
        after = -1
        while after + 1 < number:
            chunk = await feed.chunk(0, after + 1)
            assert chunk is not None
            for of in wanted:
                assert b"id: " in chunk.written(of, after, Ids())
            found.append(chunk)
            after = chunk.end - 1
        return found

    chunks = asyncio.run(read())
    copies = sum(len(text) for chunk in chunks for _, _, text in chunk._written.values())
    assert copies < sum(chunk.size for chunk in chunks)


def test_a_client_that_was_told_of_a_database_that_is_away_is_not_told_an_error_after_it(
    feed: Feed, positions: Positions
) -> None:
    """The head of the answer is sent: it comes back, and is answered then that there is no such area."""
    sent = list[Message]()
    positions._put({}, "it is away")

    async def receive() -> Message:
        return await asyncio.Future[Message]()

    async def send(message: Message) -> None:
        sent.append(message)
        positions._put({"x": POSITION}, None)
        feed.lines[0], feed.counts[Wanted("x", "nobody")] = Line(1), Counted(1, b"")
        feed._wake()

    async def run() -> None:
        async with asyncio.timeout(10):
            await EventStream(Follower(feed, Wanted("x", "nobody"), None))({"type": "http"}, receive, send)

    asyncio.run(run())
    assert b"event: away" in sent[1]["body"]
    assert sent[-1] == {"type": "http.response.body"}
