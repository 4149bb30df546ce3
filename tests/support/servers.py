"""What the tests need of a broker and of a database, whichever kind they run on.

Two kinds keep these promises: the local stack's (deploy/local) and containers (tests/support/containers.py). A test
that asks for more than is written here (files, process ids) is about one kind, and makes a server of that kind itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Server(Protocol):
    """One server on a port of 127.0.0.1 that stays the same from the first start to `reset`, as its data does."""

    def start(self) -> object:
        """Start it, and wait until it answers."""

    def stop(self) -> object:
        """End it in good order, and wait for its end."""

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait for its end."""

    def restart(self) -> None:
        """Stop it and start it."""

    def reset(self) -> object:
        """End it and delete its data."""


class Broker(Server, Protocol):
    """A Kafka broker without topics; a topic is never made by asking for it."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`."""


class Postgres(Server, Protocol):
    """A PostgreSQL with the database `escrutinio` and the roles owner, writer and reader, none of them a superuser."""

    @property
    def owner_url(self) -> str:
        """The owner's address of the database `escrutinio`."""

    @property
    def writer_url(self) -> str:
        """The writer's."""

    @property
    def reader_url(self) -> str:
        """The reader's."""

    def url(self, role: str, database: str = ...) -> str:
        """A `postgresql://` address with its password."""

    def create_database(self, name: str, template: str = ...) -> None:
        """A new database of the owner's, a copy of `template`, to which nobody may be connected."""

    def drop_database(self, name: str) -> None:
        """Delete a database, ending whatever is connected to it."""


@dataclass(frozen=True)
class Servers:
    """One kind of servers. Both make a server that is not started yet."""

    new_broker: Callable[[], Broker]
    new_postgres: Callable[[], Postgres]
