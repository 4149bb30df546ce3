"""How far each contest is counted, as the API follows it: at each commit, over a take-over, over a database's end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from aggregator.tables.migrate import migrate
from api import positions as following
from api.positions import Position, Positions
from schemas.types import ReportingUnitType
from tests.integration.test_projections import rebuild
from tests.support.builders import CONTEST, contest, revised, sheet
from tests.support.fix_aggregate import EventLog, aggregate
from tests.support.fix_postgres import Database, database_of
from tests.support.servers import Postgres
from tests.support.waiting import WITHIN_S


def followed(url: str, ask: Callable[[Positions], Awaitable[Any]]) -> Any:
    """The answer of something that is asked while the positions are followed."""

    async def run() -> Any:
        positions = Positions(url)
        task = asyncio.create_task(positions.follow())
        try:
            async with asyncio.timeout(WITHIN_S):
                return await ask(positions)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return asyncio.run(run())


async def until(positions: Positions, holds: Callable[[], object]) -> None:
    seen = -1
    while not holds():
        seen = await positions.changed(seen)


@pytest.fixture
def beats_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only a notification can be why a commit is seen."""
    monkeypatch.setattr(following, "BEAT_S", WITHIN_S)


@pytest.mark.usefixtures("beats_rarely")
def test_a_commit_of_the_live_projection_is_noticed_at_once(event_log: EventLog, totals: Database) -> None:
    async def ask(positions: Positions) -> list[Position | None]:
        await until(positions, lambda: positions.away is None)
        found = [positions.of(CONTEST)]
        for event in (contest(), sheet(1)):
            event_log.append([event])
            await asyncio.to_thread(aggregate, event_log, totals)
            last = found[-1].offset if found[-1] is not None else -1
            await until(positions, lambda last=last: (p := positions.of(CONTEST)) is not None and p.offset > last)  # type: ignore[misc]
            found.append(positions.of(CONTEST))
        return found

    none, defined, counted = followed(totals.reader_url, ask)
    assert none is None
    assert (defined.offset, defined.next_offset, counted.offset, counted.next_offset) == (0, 1, 1, 2)
    assert (defined.layout, defined.blocked, defined.is_test) == (counted.layout, None, False)
    assert defined.digest != counted.digest


def test_a_take_over_and_a_definition_change_the_layout(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)

    async def ask(positions: Positions) -> list[Position]:
        found: list[Position] = []

        async def next_layout() -> None:
            known = {p.layout for p in found}
            await until(positions, lambda: [p for p in positions.all() if p.layout not in known])
            found.extend(positions.all())

        await next_layout()
        await asyncio.to_thread(rebuild, event_log, totals)
        await next_layout()
        event_log.append([revised(contest(), ReportingUnitType.COUNTRY)])
        await asyncio.to_thread(aggregate, event_log, totals)
        await next_layout()
        return found

    first, taken, defined = followed(totals.reader_url, ask)
    assert (first.offset, first.digest) == (taken.offset, taken.digest)
    assert defined.offset == 2


def test_a_killed_database_is_away_until_it_is_back(own_postgres_server: Postgres) -> None:
    database = database_of(own_postgres_server, "escrutinio")
    migrate(database.owner_url)

    async def ask(positions: Positions) -> list[str | None]:
        said = [positions.away]
        for act in (lambda: None, own_postgres_server.kill, own_postgres_server.start):
            before = positions.away is None
            await asyncio.to_thread(act)
            await until(positions, lambda before=before: (positions.away is None) != before)  # type: ignore[misc]
            said.append(positions.away)
        return said

    first, here, away, back = followed(database.reader_url, ask)
    assert first == "the database was not asked yet"
    assert here is None
    assert away is not None
    assert "PostgreSQL" in away
    assert back is None
