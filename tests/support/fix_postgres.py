"""Real PostgreSQL servers for tests: one per session, with a fresh database for each test, and one to kill."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from deploy.local.postgres import OWNER, READER, WRITER
from tests.support.servers import Postgres, Servers


@dataclass(frozen=True)
class Database:
    """A database of one test, and how each role reaches it."""

    name: str
    owner_url: str
    writer_url: str
    reader_url: str


@pytest.fixture(scope="session")
def postgres_server(servers: Servers) -> Iterator[Postgres]:
    """The session's PostgreSQL. Not to be stopped by a test."""
    yield from _running(servers.new_postgres())


@pytest.fixture
def own_postgres_server(servers: Servers) -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, running, to be killed and started again."""
    yield from _running(servers.new_postgres())


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
