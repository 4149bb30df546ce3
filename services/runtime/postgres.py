"""Connect to PostgreSQL, and raise its faults as our exceptions.

    DatabaseError              PostgreSQL refused a statement or the connection
    └── DatabaseUnreachable    PostgreSQL does not answer, or the connection broke; waiting may help

Place in the flow: below the modules that read or write tables. Keeps no state.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import DictRow, dict_row

from runtime.settings import LOCAL_HINT, local_stack
from schemas.errors import EscrutinioError

CONNECT_S = 10
"""Timeout for a new connection, in seconds."""

_TEMPORARY = ("08", "57", "53", "40", "55")
"""Classes of SQLSTATE that may pass: connection, shutdown, resources, conflict, object not in the required state."""

_ENDED = ("08", "57P")
"""SQLSTATEs with which a connection ends."""

_REFUSALS = (
    ("28P01", "password authentication failed", "the address has another password than the server"),
    ("28000", "not permitted to log in|pg_hba.conf", "ask the operator for an address with a role that may connect"),
    ("3D000", "database .* does not exist", "the address names another database than the count's"),
    ("42501", "permission denied for database", "the role may read another database, or none: check the address"),
    ("53300", "too many connections|too many clients|connection slots are reserved", "close one, or wait"),
)
"""Why a server refuses a connection: SQLSTATE, which the client does not pass on, its words, and what to do."""

_NO_ADDRESS = (
    "this is not an address of PostgreSQL; write postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, and in a password %40 "
    "for @, %25 for % and so on"
)
_NO_HOST = "the host of its address cannot be resolved (in a password write %40 for @)"

PATIENCE: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A host that vanishes without a word is noticed within 30 s; with the defaults an answer is awaited for two hours."""


class DatabaseError(EscrutinioError):
    """PostgreSQL refused a statement or the connection."""


class DatabaseUnreachable(DatabaseError):
    """PostgreSQL does not answer, or the connection broke. It may come back."""


def connect(url: str, **options: Any) -> psycopg.Connection[DictRow]:
    """Open a connection in autocommit mode whose rows are dicts. `options`: psycopg's. Raises DatabaseError."""
    try:
        return psycopg.connect(url, autocommit=True, row_factory=dict_row, **PATIENCE, **options)
    except psycopg.OperationalError as error:
        raise _not_connected(error) from error
    except (psycopg.Error, UnicodeError):
        raise DatabaseError(_NO_ADDRESS) from None  # the client's words repeat the address, and its password


async def connect_async(url: str) -> psycopg.AsyncConnection[DictRow]:
    """Open a connection as `connect` does, for a loop."""
    try:
        return await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row, **PATIENCE)
    except psycopg.OperationalError as error:
        raise _not_connected(error) from error
    except (psycopg.Error, UnicodeError):
        raise DatabaseError(_NO_ADDRESS) from None


@contextmanager
def faults_named() -> Iterator[None]:
    """Raise a fault of PostgreSQL as DatabaseUnreachable when it may pass, else as DatabaseError."""
    try:
        yield
    except (psycopg.errors.TransactionTimeout, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        raise DatabaseUnreachable(f"PostgreSQL ended the transaction: {_line(error)}") from error
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith(_ENDED):  # no SQLSTATE: the connection broke
            raise DatabaseUnreachable(f"the connection to PostgreSQL was lost: {_line(error)}") from error
        if error.sqlstate.startswith(_TEMPORARY):
            raise DatabaseUnreachable(f"PostgreSQL ended a statement ({error.sqlstate}): {_line(error)}") from error
        raise _refused(error) from error
    except psycopg.Error as error:
        raise _refused(error) from error


COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"


def copied_rows(db: psycopg.Connection[Any], query: LiteralString, parameters: Mapping[str, object]) -> Iterator[bytes]:
    """Run a query as a binary COPY. Yields each row as it comes: the number of its fields, then each with its length.

    For many rows of which nobody needs objects. The connection is in use until the last was asked for.
    """
    with db.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", parameters) as copy:
        head = len(COPY_HEADER)
        for row in map(bytes, copy):
            if (encoded := row[head:]) and encoded != COPY_TRAILER:
                yield encoded
            head = 0


def _not_connected(error: psycopg.OperationalError) -> DatabaseError:
    """Say why there is no connection: a server that refuses is not one that does not answer."""
    for sqlstate, words, what_to_do in _REFUSALS:
        # Of an address with several hosts the text has the answer of each.
        if found := re.search(rf"FATAL:\s+([^\n]*(?:{words})[^\n]*)", str(error)):
            kind = DatabaseUnreachable if sqlstate.startswith(_TEMPORARY) else DatabaseError
            return kind(f"PostgreSQL refused the connection ({sqlstate}): {found[1].strip()}; {what_to_do}")
    return DatabaseUnreachable(f"PostgreSQL does not answer: {_line(error)}{_hint(error)}")


def _refused(error: psycopg.Error) -> DatabaseError:
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:  # a time that PostgreSQL has and Python has not
        return DatabaseError(f"a value of PostgreSQL cannot be read, and none such is written here: {_line(error)}")
    return DatabaseError(f"PostgreSQL refused ({error.sqlstate}): {_line(error)}")


def _line(error: psycopg.Error) -> str:
    """Return the fault in one line, without a host that cannot be resolved: it may be the rest of a password."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    if text.startswith("connection is bad"):  # the client's own check of the address, which it quotes
        text = re.sub('".*"', '"…"', text)
    return _NO_HOST if "resolve host" in text else text


def _hint(error: psycopg.OperationalError) -> str:
    """Return the hint to start the local stack when nothing listens at its address; else nothing."""
    try:
        port = urlsplit(str(local_stack().get("reader_url", ""))).port
    except ValueError:
        return ""
    return LOCAL_HINT if port is not None and f"port {port} failed: Connection refused" in str(error) else ""
