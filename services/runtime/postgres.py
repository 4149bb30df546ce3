"""Connect to PostgreSQL, and raise its faults as our exceptions.

    DatabaseError              PostgreSQL refused a statement or the connection
    └── DatabaseUnreachable    PostgreSQL does not answer, or the connection broke; waiting may help

Place in the flow: below the modules that read or write tables. Keeps no state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import DictRow, dict_row

from runtime.settings import LOCAL_HINT, local_stack
from schemas.errors import EscrutinioError

CONNECT_S = 10
"""Timeout for a new connection, in seconds."""

_TEMPORARY = ("08", "57", "53", "40", "55")
"""Classes of SQLSTATE that may pass: connection, shutdown, resources, conflict, object not in the required state."""


_NO_ADDRESS = (
    "this is not an address of PostgreSQL; write postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, and in a password %40 "
    "for @, %25 for % and so on"
)
_NO_HOST = "the host of its address cannot be resolved (in a password write %40 for @)"


class DatabaseError(EscrutinioError):
    """PostgreSQL refused a statement or the connection."""


class DatabaseUnreachable(DatabaseError):
    """PostgreSQL does not answer, or the connection broke. It may come back."""


def connect(url: str, **options: Any) -> psycopg.Connection[DictRow]:
    """Open a connection in autocommit mode whose rows are dicts. `options`: psycopg's. Raises DatabaseError."""
    try:
        return psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_S, **options)
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"PostgreSQL does not answer: {_line(error)}{_hint(error)}") from error
    except psycopg.Error:
        raise DatabaseError(_NO_ADDRESS) from None  # the client's words repeat the address, and its password


@contextmanager
def faults_named() -> Iterator[None]:
    """Raise a fault of PostgreSQL as DatabaseUnreachable when it may pass, else as DatabaseError."""
    try:
        yield
    except psycopg.errors.TransactionTimeout as error:
        raise DatabaseUnreachable(f"PostgreSQL ended the transaction: {_line(error)}") from error
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate[:2] in _TEMPORARY:  # no SQLSTATE: the connection broke
            raise DatabaseUnreachable(f"the connection to PostgreSQL was lost: {_line(error)}") from error
        raise _refused(error) from error
    except psycopg.Error as error:
        raise _refused(error) from error


def _refused(error: psycopg.Error) -> DatabaseError:
    return DatabaseError(f"PostgreSQL refused ({error.sqlstate}): {_line(error)}")


def _line(error: psycopg.Error) -> str:
    """Return the fault in one line, without a host that cannot be resolved: it may be the rest of a password."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    return _NO_HOST if "resolve host" in text else text


def _hint(error: psycopg.OperationalError) -> str:
    """Return the hint to start the local stack when nothing listens at its address; else nothing."""
    try:
        port = urlsplit(str(local_stack().get("reader_url", ""))).port
    except ValueError:
        return ""
    return LOCAL_HINT if port is not None and f"port {port} failed: Connection refused" in str(error) else ""
