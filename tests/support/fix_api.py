"""The API on a port of its own, and the example's night behind it, of which the last updates are still to come."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.app import make_app
from api.metrics import Metrics
from api.registry.schemas import Registry
from api.server import serve
from deploy.local.server import free_port
from results.reader import Reader
from runtime.settings import Address
from schemas.codec import SCHEMAS
from schemas.topics import TOPICS
from tests.support.fix_setup import EXAMPLE, Setup
from tests.support.published import publish
from tests.support.servers import Broker
from tests.support.waiting import eventually

BEGUN = 10
"""Updates that were there before anybody published: no news."""
FIRST = 44
"""Updates that are there from the beginning, of the example's 48."""


@dataclass(frozen=True)
class Got:
    """An answer as it came."""

    status: int
    headers: HTTPMessage
    content: bytes


@dataclass(frozen=True)
class Api:
    """An API that answers at a port of this machine, and what it counts."""

    port: int
    counted: CollectorRegistry

    def request(self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes | None = None) -> Got:
        """Send a request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Got(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Got:
        """Ask for an address."""
        return self.request("GET", path, headers)

    def text(self, path: str) -> str:
        """What an address answers, which has to be there."""
        got = self.get(path)
        assert got.status == 200, (path, got.content)
        return got.content.decode()

    def json(self, path: str) -> Any:
        """What an address answers, as JSON."""
        return json.loads(self.text(path))

    def questions(self) -> float:
        """How often the database was asked for an answer."""
        return self.counted.get_sample_value("escrutinio_api_questions_total") or 0

    def follow(self, reader_url: str) -> None:
        """Wait until answers are from where the tables are."""
        with Reader(reader_url) as reader:
            there = {row["contest_id"]: row["last_offset"] for row in reader.status()}
        eventually(lambda: {c["contest_id"]: c["offset"] for c in self.json("/v1/status")["contests"]} == there)


@contextmanager
def serving(reader_url: str | None, **settings: Any) -> Iterator[Api]:
    """Serve it from this process, with real sockets."""
    counted, stop, port = CollectorRegistry(), threading.Event(), free_port()
    metrics = Metrics(counted)
    app = make_app(Registry(SCHEMAS.values(), TOPICS), metrics, reader_url, **settings)
    thread = threading.Thread(target=serve, args=(app, Address("127.0.0.1", port), stop))
    thread.start()
    try:
        eventually(lambda: metrics.not_ready() is None, metrics.not_ready)
        yield Api(port, counted)
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class Official:
    """The example's night: its first updates are in the tables, and there may be more."""

    setup: Setup
    folder: Path

    def load(self, first: int, last: int) -> None:
        """Publish some of the updates, count them, and publish the counts."""
        header, *lines = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        document = self.folder / f"updates-{first}.csv"
        document.write_text(header + "".join(lines[first:last]), encoding="utf-8")
        self.setup.load(document)
        publish(self.setup)


@pytest.fixture(scope="module")
def official(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path_factory: pytest.TempPathFactory
) -> Official:
    """The night, for a module that only reads it or adds to it."""
    folder = tmp_path_factory.mktemp("official") / "example"  # a document is named with its folder
    folder.mkdir()
    night = Official(new_setup(kafka_server), folder)
    night.load(0, BEGUN)
    night.load(BEGUN, FIRST)
    return night


@pytest.fixture(scope="module")
def api(official: Official) -> Iterator[Api]:
    """The API over that night."""
    with serving(official.setup.database.reader_url) as api:
        api.follow(official.setup.database.reader_url)
        yield api
