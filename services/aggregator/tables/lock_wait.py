"""Wait for a lock of PostgreSQL for a limited time, and name the session that holds it.

A statement that waits for a lock holds back everybody who comes after it, the live writer too. So each attempt is
short, and between two attempts the others go on. Only while a statement waits does PostgreSQL know for whom: a second
connection asks it then. An attempt that fails is rolled back; a crash leaves nothing of it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow

from results.named_sql import named_sql
from runtime.postgres import DatabaseError, connect
from schemas.errors import EscrutinioError
from schemas.types import rfc3339

logger = logging.getLogger(__name__)
_SQL = named_sql(__package__, "lock_wait")

LOCK_WAIT_S = 60.0
"""Default of how long a command waits for locks, in seconds."""
_ATTEMPT_MS = 500
"""Longest wait of one attempt: others wait this long behind it. Below the second after which a reader's session looks
for a deadlock, and its statement would be the one that ends."""
_PAUSE_S = 1.0
_ASK_S = 0.1
IN_THE_WAY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_AT_ONCE = "concurrently"
"""In PostgreSQL's words for two sessions that changed the same rights at once: `tuple concurrently updated` (XX000). A
reader's DROP OWNED of its group writes every right of the group, though it changes none."""
_MOST_CHARACTERS = 200
"""Of a statement that is shown."""

Answer = TypeVar("Answer")


class LockedOut(EscrutinioError):
    """Other sessions hold a lock for too long. Nothing was changed. `pids`: theirs, if PostgreSQL named them."""

    def __init__(self, message: str, pids: list[int]) -> None:
        super().__init__(message)
        self.pids = pids


@dataclass(frozen=True, slots=True)
class _Session:
    pid: int
    role: str
    application: str
    address: str | None
    transaction_since: datetime | None
    statement_since: datetime | None
    statement: str

    def __str__(self) -> str:
        origin = " at ".join(filter(None, (self.application, self.address))) or "PostgreSQL itself"
        words = [f"session {self.pid} of role {self.role} ({origin})"]
        if self.transaction_since is not None:
            words.append(f"in a transaction since {rfc3339(self.transaction_since)}")
        if self.statement_since is not None:
            words.append(f"last statement at {rfc3339(self.statement_since)}: {self.statement}")
        return ", ".join(words)


def _session(row: Mapping[str, Any]) -> _Session:
    return _Session(**{field.name: row[field.name] for field in fields(_Session)})


class LockWait:
    """How the owner's connection `db` waits for locks. `url`: its address; `limit_s`: how long, in seconds."""

    def __init__(self, url: str, db: psycopg.Connection[DictRow], limit_s: float = LOCK_WAIT_S) -> None:
        self._url, self._db, self.limit_s = url, db, limit_s

    def run(self, what: str, work: Callable[[], Answer]) -> Answer:
        """Run `work` in a transaction, again and again while somebody holds a lock. Raises LockedOut after the limit.

        Args:
            what: the work in words, for messages: `migration 0003_pre_name`.
        """

        def attempt() -> Answer:
            with self.named(what), self._db.transaction():
                self._db.execute(f"SET LOCAL lock_timeout = {_ATTEMPT_MS}")
                return work()

        return self.retried(attempt)

    def retried(self, attempt: Callable[[], Answer]) -> Answer:
        """Call `attempt` until it does not raise LockedOut. Raises it after the limit, and says what to do."""
        deadline, told = time.monotonic() + self.limit_s, ""
        while True:
            try:
                return attempt()
            except LockedOut as locked:
                if time.monotonic() + _PAUSE_S > deadline:
                    ends = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in locked.pids)
                    remedy = (
                        f"Wait until that session ends, or end it as the superuser of PostgreSQL: {ends}. "
                        if ends
                        else "pg_stat_activity lists the sessions: wait until those in a transaction end, or end them. "
                    )
                    raise LockedOut(
                        f"{locked}. It did not end in {self.limit_s:.0f} s (--lock-wait); nothing of this was changed. "
                        f"{remedy}Then run this again.",
                        locked.pids,
                    ) from locked
                if told != str(locked):
                    logger.warning("%s", locked)
                told = str(locked)
            time.sleep(_PAUSE_S)

    @contextmanager
    def named(self, what: str) -> Iterator[None]:
        """Raise a lock timeout as LockedOut, with the session that held the lock."""
        holders: list[_Session] = []
        writing: list[_Session] = []
        done = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(self._db.info.backend_pid, done, holders, writing), daemon=True
        )
        thread.start()
        try:
            yield
        except IN_THE_WAY as error:
            done.set()
            thread.join()
            who = "; and for ".join(map(str, holders)) or "a lock (PostgreSQL did not say whose)"
            raise LockedOut(f"{what} waits for {who}", [holder.pid for holder in holders]) from error
        except psycopg.errors.InternalError_ as error:
            if _AT_ONCE not in str(error):
                raise
            done.set()
            thread.join()
            who = "; and ".join(map(str, writing)) or "another session (PostgreSQL did not say whose)"
            raise LockedOut(
                f"{what} met a change of the same rights by {who}", [session.pid for session in writing]
            ) from error
        finally:
            done.set()
            thread.join()

    def _watch(self, pid: int, done: threading.Event, holders: list[_Session], writing: list[_Session]) -> None:
        """Keep the sessions that were last in the way of session `pid`, and the readers' that last wrote something."""
        db: psycopg.Connection[Any] | None = None
        try:
            while not done.wait(_ASK_S):
                if db is None:
                    db = connect(self._url, application_name="escrutinio: who holds a lock")
                rows = db.execute(_SQL["in_the_way"], {"pid": pid, "most": _MOST_CHARACTERS}).fetchall()
                for kind, found in (("holds_lock", holders), ("is_writing_reader", writing)):
                    if some := [_session(row) for row in rows if row[kind]]:
                        found[:] = some
        except (psycopg.Error, DatabaseError) as error:  # the work goes on, and a wait has no name
            logger.debug("cannot ask who holds a lock: %s", error)
        finally:
            if db is not None:
                db.close()
