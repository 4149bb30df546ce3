"""Real PostgreSQL servers for tests: one per session, with a fresh database for each test, and one per session that
tests kill and start."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from deploy.local.postgres import DATABASE, OWNER, READER, SUPERUSER, WRITER
from tests.support.servers import Postgres, Servers


@dataclass(frozen=True)
class Database:
    """A database of one test, and how each role reaches it."""

    name: str
    owner_url: str
    writer_url: str
    reader_url: str

    def read(self, query: str, *values: object) -> list[Any]:
        """The rows that a reader gets."""
        with psycopg.connect(self.reader_url) as db:
            return db.execute(query, values or None).fetchall()

    def change(self, statement: str) -> int:
        """Change something as the owner; the number of rows."""
        with psycopg.connect(self.owner_url) as db:
            return db.execute(statement).rowcount


@pytest.fixture(scope="session")
def postgres_server(servers: Servers) -> Iterator[Postgres]:
    """The session's PostgreSQL. Not to be stopped by a test: it would not survive a crash of the machine, and so is
    faster."""
    for postgres in _running(servers.new_postgres()):
        with psycopg.connect(postgres.url(SUPERUSER, "postgres"), autocommit=True) as db:
            db.execute("ALTER SYSTEM SET fsync = off")
            db.execute("ALTER SYSTEM SET full_page_writes = off")
            db.execute("SELECT pg_reload_conf()")
        yield postgres


@pytest.fixture(scope="session")
def _restartable_postgres(servers: Servers) -> Iterator[Postgres]:
    yield from _running(servers.new_postgres())


@pytest.fixture
def own_postgres_server(_restartable_postgres: Postgres) -> Postgres:
    """A PostgreSQL to be killed and started again, running and with the database `escrutinio` empty."""
    _restartable_postgres.start()
    _restartable_postgres.drop_database(DATABASE)
    _restartable_postgres.create_database(DATABASE)
    return _restartable_postgres


def _running(postgres: Postgres) -> Iterator[Postgres]:
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.reset()


@pytest.fixture
def new_database(postgres_server: Postgres) -> Iterator[Callable[..., Database]]:
    """Makes databases on the session's server, copies of `template`, deleted after the test."""
    names: list[str] = []

    def make(template: str = "template1") -> Database:
        name = f"test_{uuid.uuid4().hex[:12]}"
        postgres_server.create_database(name, template)
        names.append(name)
        return database_of(postgres_server, name)

    yield make
    for name in names:
        postgres_server.drop_database(name)


@pytest.fixture
def database(new_database: Callable[..., Database]) -> Database:
    """A fresh, empty database."""
    return new_database()


def database_of(postgres: Postgres, name: str) -> Database:
    """How each role reaches the database `name`."""
    return Database(name, *(postgres.url(role, name) for role in (OWNER, WRITER, READER)))
