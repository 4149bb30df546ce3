"""Follow how far each contest is counted, for every answer of the process.

Place in the flow: beside the answers. One task reads the views, which are the truth, at each beat; a notification of
the aggregator's commit only brings the next beat forward. Nothing is stored, so a crash leaves nothing. A database that
is away is asked again until it answers.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from results.named_sql import named_sql
from runtime.postgres import DatabaseError, connect_async, faults_named

logger = logging.getLogger(__name__)
_SQL = named_sql(__package__, "positions")

BEAT_S = 0.5
"""Seconds between two readings, where no notification comes."""
PATIENCE_S = 10.0
"""Longest wait for an answer before the database is away, in seconds."""
SESSION_S = 1800.0
"""Seconds after which the connection is made again: those of readers are ended when they are an hour old."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a contest is counted. `offset`: its last event on the log."""

    contest_id: str
    topic: str
    partition: int
    offset: int
    next_offset: int
    """Of the partition: every event before it is counted, of all its contests."""
    layout: str
    """Changes with a take-over, a definition and a roll."""
    digest: str
    recorded_at: datetime
    reported_at: datetime | None
    blocked: str | None
    """Why the contest stands still; its offset stays then."""
    is_test: bool
    notices: int
    """How many were published."""
    count_state: str | None
    """CURRENT, BEHIND the log, BLOCKED, or DEAD: the aggregator gives no sign of life. None: it never gave one."""
    source_state: str | None
    """SPEAKING, SILENT, CLOSED, UNREADABLE, or DEAD: ingest gives no sign of life. None: nobody watches the source."""


class Positions:
    """The positions of all contests, as they were last read."""

    def __init__(self, url: str) -> None:
        """`url`: of the database, with the role of a reader."""
        self._url = url
        self._found: Mapping[str, Position] = {}
        self._next = asyncio.Event()
        self.number = 0
        """Rises whenever a position, or `away`, has changed."""
        self.away: str | None = "the database was not asked yet"
        """Why the database does not answer, for operators; None when it does. The positions are those of before."""

    @property
    def told_away(self) -> str | None:
        """Return what everyone may know of it: no address, and no name of a role."""
        return None if self.away is None else "PostgreSQL does not answer"

    def of(self, contest_id: str) -> Position | None:
        """Return the position of a contest; None for an unknown one."""
        return self._found.get(contest_id)

    def all(self) -> list[Position]:
        """List the positions, by contest."""
        return list(self._found.values())

    async def changed(self, seen: int) -> int:
        """Wait until `number` is beyond `seen`, and return it."""
        while self.number <= seen:
            await self._next.wait()
        return self.number

    async def follow(self) -> None:
        """Read the positions until cancelled."""
        while True:
            try:
                with faults_named():
                    await self._read_on()
                continue
            except TimeoutError:
                self._put(self._found, f"PostgreSQL has not answered for {PATIENCE_S:.0f} s")
            except DatabaseError as error:
                self._put(self._found, str(error))
            await asyncio.sleep(BEAT_S)

    async def _read_on(self) -> None:
        until = time.monotonic() + SESSION_S
        async with asyncio.timeout(PATIENCE_S):
            db = await connect_async(self._url)
        async with db:
            with suppress(psycopg.errors.ReadOnlySqlTransaction):  # of a replica, which passes no notifications on
                await db.execute(_SQL["listen"])
            await db.execute(_SQL["make_room"])
            while time.monotonic() < until:
                async with asyncio.timeout(PATIENCE_S):
                    rows = await (await db.execute(_SQL["positions"])).fetchall()
                self._put(positions_of(rows), None)
                async for _ in db.notifies(timeout=BEAT_S, stop_after=1):
                    pass

    def _put(self, found: Mapping[str, Position], away: str | None) -> None:
        if (found, away) == (self._found, self.away):
            return
        if (away is None) != (self.away is None):
            logger.log(*((logging.INFO, "the database answers") if away is None else (logging.ERROR, away)))
        self._found, self.away, self.number = found, away, self.number + 1
        self._next.set()
        self._next = asyncio.Event()


def positions_of(rows: list[dict[str, Any]]) -> dict[str, Position]:
    """Return positions by contest, from the rows of `positions`."""
    return {row["contest_id"]: Position(**row) for row in rows}
