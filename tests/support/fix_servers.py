"""Which kind of servers the session's tests run on: `pytest --servers=containers|local|auto`.

`auto` takes containers where an engine answers and the images can be had, and the local stack elsewhere; the report's
header says which, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import Broker, Postgres, jars, java
from deploy.local.postgres import program_version
from tests.support.servers import Servers

_WHY = pytest.StashKey[str]()
_LOCAL = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=("auto", "containers", "local"),
        default="auto",
        help="run the tests' Kafka and PostgreSQL in containers, or as the local stack's processes; auto: containers where "  # noqa: E501
        "a Docker engine answers and has the images",
    )


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--servers")
    local, why = wanted == "local", "asked for"
    if not local:
        from tests.support import containers

        try:
            why = containers.engine([containers.KAFKA_IMAGE, containers.POSTGRES_IMAGE]) + " answers"
        except containers.NoContainers as missing:
            if wanted == "containers":
                raise pytest.UsageError(f"--servers=containers: {missing}; start one, or use --servers=local") from None
            local, why = True, str(missing)
    config.stash[_LOCAL], config.stash[_WHY] = local, why


def pytest_report_header(config: pytest.Config) -> list[str]:
    if config.stash[_LOCAL]:
        found = java.find()
        parts = f"Kafka {jars.KAFKA_VERSION} on Java {java.version(found)} ({found}), {program_version()}"
        return [f"servers: local ({config.stash[_WHY]}): {parts}"]
    from tests.support import containers

    return [f"servers: containers ({config.stash[_WHY]}): {containers.KAFKA_IMAGE}, {containers.POSTGRES_IMAGE}"]


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config, new_root: Callable[[], Path]) -> Servers:
    """Makes the servers of the session's kind."""
    if pytestconfig.stash[_LOCAL]:
        return Servers(lambda: Broker(new_root()), lambda: Postgres(new_root()))
    from tests.support.containers import ContainerBroker, ContainerPostgres

    return Servers(ContainerBroker, ContainerPostgres)
