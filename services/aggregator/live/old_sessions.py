"""End readers' sessions that are too old, while the aggregator runs.

A reader can lift its own timeouts, and hold a view or an old snapshot for as long as its session lasts. The aggregator
does this, because it runs wherever the count does, locally and in compose. It has a connection of its own, so that no
commit waits for it, and no fault of it stops the run.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from runtime.postgres import DatabaseError, connect
from schemas.types import rfc3339

logger = logging.getLogger(__name__)

_EVERY_S = 60.0


@contextmanager
def old_sessions_ended(writer_url: str, older_than_s: float) -> Iterator[None]:
    """End the sessions of readers that are older than `older_than_s` seconds, every minute until the context ends."""
    done = threading.Event()
    thread = threading.Thread(target=_end, args=(writer_url, older_than_s, done), daemon=True, name="old sessions")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(1)  # it may be connecting to a server that is silent


def _end(writer_url: str, older_than_s: float, done: threading.Event) -> None:
    is_logged = False
    while not done.is_set():
        try:
            with connect(writer_url, application_name="escrutinio: old sessions") as db:
                query = "SELECT pid, role, since FROM access.end_old_sessions(make_interval(secs => %s))"
                for row in db.execute(query, (older_than_s,)):
                    since = rfc3339(row["since"])
                    logger.warning("ended session %d of reader %s: open since %s", row["pid"], row["role"], since)
        except (
            psycopg.errors.InvalidSchemaName,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.InsufficientPrivilege,
        ):
            if not is_logged:
                logger.warning(
                    "readers' old sessions are not ended: an administrator runs deploy/postgres/database.sql in this "
                    "database, as the job `roles` of docker-compose.yml does"
                )
            is_logged = True
        except (psycopg.Error, DatabaseError) as error:  # the run reports a server that does not answer
            logger.debug("cannot end old sessions now: %s", error)
        done.wait(_EVERY_S)
