"""Read the views for answers: a few connections, each in a thread, and nobody waits for long.

Place in the flow: between the answers and PostgreSQL. The library `results` waits for the database, so it runs in
threads; the loop that answers requests does not. Who gets no connection in time is told to come back. Nothing is
stored, so a crash leaves nothing; a connection that broke is replaced.
"""

import asyncio
from collections import Counter as Counts
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from prometheus_client import Counter
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from api.positions import Position, positions_of
from api.problems import BUSY, RETRY_S, TOO_OFTEN, Problem
from results.named_sql import named_sql
from results.projection import LIVE
from results.reader import Reader
from results.version import check
from runtime.postgres import PATIENCE, DatabaseUnreachable, faults_named
from schemas.log_record import Recorded

CONNECTIONS = 4
"""Questions that are answered at once: PostgreSQL shares the machine's cores with us."""
EACH = 8
"""Questions at once of one who asks, at most: however dear they are, others wait for no more than these."""
WAITING = 200
"""Questions that wait for a connection, at most."""
WAIT_S = 5.0
"""Longest wait for a connection, in seconds."""
QUESTION_S = 20
"""A question is ended after so many seconds, however many statements it has."""
LIFETIME_S = 1800.0
"""A connection is closed after so many seconds: the aggregator ends a reader's session that is an hour old."""
_POSITIONS = named_sql("api", "positions")["positions"]
Db = psycopg.Connection[dict[str, Any]]
Found = TypeVar("Found")


class Database:
    """The views, for many who ask at once."""

    def __init__(self, url: str, questions: Counter, connections: int = CONNECTIONS) -> None:
        """`url`: with the role of a reader. `questions`: counts them. `connections`: at most."""
        limits = f"-c transaction_timeout={QUESTION_S}s"  # of the whole question, which is one
        kwargs: dict[str, Any] = PATIENCE | {"row_factory": dict_row, "prepare_threshold": None, "options": limits}
        self._pool: ConnectionPool[Db] = ConnectionPool(
            url, kwargs=kwargs, min_size=1, max_size=connections, open=False, configure=_configured,
            check=ConnectionPool.check_connection, timeout=WAIT_S, reconnect_timeout=WAIT_S, num_workers=1,
            max_lifetime=LIFETIME_S,
        )  # fmt: skip
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="answers")
        self._free = asyncio.Semaphore(connections)
        self._definitions: tuple[object, dict[tuple[str, int], Recorded]] = (None, {})
        self._asking = Counts[str]()
        """Questions at once, by who asks."""
        self._questions = questions
        self.waiting = 0
        """Questions that wait for a connection."""

    def open(self) -> None:
        """Begin to connect, without waiting for it."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close the connections, once the questions at hand are answered."""
        self._threads.shutdown(cancel_futures=True)
        self._pool.close()

    async def ask(self, question: Callable[[Reader, Mapping[str, Position]], Found], who: str | None = None) -> Found:
        """Ask the views, all in one snapshot; `question` is given the positions of that snapshot as well.

        `who`: asks; None: nobody who is limited. Raises Problem when there is no connection in time, or for too many
        questions at once; DatabaseUnreachable when the database does not answer.
        """
        if who is None:
            return await self._ask(question)
        if self._asking[who] >= EACH:
            raise Problem(TOO_OFTEN, f"more than {EACH} questions at once that nobody asked before", RETRY_S)
        self._asking[who] += 1
        try:
            return await self._ask(question)
        finally:
            self._asking[who] -= 1
            if not self._asking[who]:
                del self._asking[who]

    async def _ask(self, question: Callable[[Reader, Mapping[str, Position]], Found]) -> Found:
        self._questions.inc()
        if self.waiting >= WAITING:
            raise Problem(BUSY, f"{self.waiting} questions wait already", RETRY_S)
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise Problem(BUSY, f"no connection was free for {WAIT_S:.0f} s", RETRY_S) from None
        finally:
            self.waiting -= 1
        loop = asyncio.get_running_loop()
        # Nobody may wait for it any more, and the thread is still at work.
        asking = self._threads.submit(self._asked, question)
        asking.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        return await asyncio.wrap_future(asking)

    def _asked(self, question: Callable[[Reader, Mapping[str, Position]], Found]) -> Found:
        try:
            with faults_named(), self._pool.connection() as db:
                positions = positions_of(db.execute(_POSITIONS).fetchall())
                return question(Reader.within(db, self._known(positions)), positions)
        except PoolTimeout as error:
            raise DatabaseUnreachable(f"PostgreSQL has not answered for {WAIT_S:.0f} s") from error

    def _known(self, positions: Mapping[str, Position]) -> dict[tuple[str, int], Recorded]:
        """Return the definitions that were read since the last take-over: each is large, and read once."""
        layouts = {contest_id: position.layout for contest_id, position in positions.items()}
        if self._definitions[0] != layouts:
            self._definitions = layouts, {}
        return self._definitions[1]


def _configured(db: Db) -> None:
    db.autocommit = True
    check(db, LIVE, *LIVE.readable)
    db.autocommit = False
    db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    db.read_only = True
