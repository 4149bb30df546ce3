"""Connect to PostgreSQL, and name its faults in our words.

    DatabaseError              PostgreSQL refused what was asked
    └── DatabaseUnreachable    it does not answer, or went away; it may come back

Place in the flow: beneath whoever reads or writes tables. Keeps nothing; a crash leaves what PostgreSQL committed.
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
"""How long a connection may take to be made."""

_AWAY = ("08", "57", "53", "40", "55")
"""Classes of SQLSTATE that waiting may mend: connection, shutdown, resources, conflict, not in the right state now."""


class DatabaseError(EscrutinioError):
    """PostgreSQL refused what was asked."""


class DatabaseUnreachable(DatabaseError):
    """PostgreSQL does not answer, or went away. It may come back."""


def connect(url: str, **options: Any) -> psycopg.Connection[DictRow]:
    """Open a connection in autocommit mode whose rows are dicts. Raises DatabaseError.

    `options`: psycopg's own.
    """
    try:
        return psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_S, **options)
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"PostgreSQL does not answer: {error}{_hint(error)}") from error
    except psycopg.Error as error:
        raise DatabaseError(f"not an address of PostgreSQL: {error}") from error


@contextmanager
def faults_named() -> Iterator[None]:
    """Raise a fault of PostgreSQL as DatabaseUnreachable where it went away or gave up, else as DatabaseError."""
    try:
        yield
    except psycopg.errors.TransactionTimeout as error:
        raise DatabaseUnreachable(f"PostgreSQL ended the transaction: {error}") from error
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate[:2] in _AWAY:  # no SQLSTATE: the connection broke
            raise DatabaseUnreachable(f"PostgreSQL went away: {error}") from error
        raise _refused(error) from error
    except psycopg.Error as error:
        raise _refused(error) from error


def _refused(error: psycopg.Error) -> DatabaseError:
    return DatabaseError(f"PostgreSQL refused ({error.sqlstate}): {error}")


def _hint(error: psycopg.OperationalError) -> str:
    """The end of a message that nobody listens: what to do, where it is the local stack's address."""
    port = urlsplit(local_stack().get("reader_url", "")).port
    return LOCAL_HINT if port is not None and f"port {port} failed: Connection refused" in str(error) else ""
