"""Real brokers for tests: one per session, with topics of its own for each test, and one to kill."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from kafka.admin import KafkaAdminClient

from runtime.kafka import librdkafka
from schemas.topics import EVENTS
from tests.support.servers import Broker, Servers


@pytest.fixture(scope="session")
def kafka_server(servers: Servers) -> Iterator[Broker]:
    """The session's broker. Not to be stopped by a test."""
    yield from _running(servers.new_broker())


@pytest.fixture
def own_kafka_server(servers: Servers) -> Iterator[Broker]:
    """A broker of the test's own, running, to be killed and started again."""
    yield from _running(servers.new_broker())


def _running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.reset()


@pytest.fixture(params=["kafka-python", "librdkafka"])
def each_kafka_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What polls and sends, in this process: each of the two clients in turn. For `test_runtime_kafka`, where they are compared."""
    if request.param == "kafka-python":
        monkeypatch.setattr(librdkafka, "client", None)
    assert (librdkafka.client is None) == (request.param == "kafka-python"), "the extra `fast` is to be installed"


@pytest.fixture
def topic_prefix() -> str:
    """What this test's topics start with, so that tests on one broker do not see each other."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture
def new_topic(kafka_server: Broker, topic_prefix: str) -> Callable[..., str]:
    """Makes a topic with the log's settings on the session's broker: `new_topic("results.events", partitions=3)`."""

    def make(name: str = "results.events", *, partitions: int = 1, **settings: str) -> str:
        topic = topic_prefix + name
        create_topic(kafka_server, topic, partitions, settings)
        return topic

    return make


def create_topic(broker: Broker, topic: str, partitions: int = 1, settings: dict[str, str] | None = None) -> None:
    """Make a topic with the log's settings, changed by `settings` (underscores stand for dots)."""
    changed = {key.replace("_", "."): value for key, value in (settings or {}).items()}
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    try:
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": {**EVENTS.required, **changed}}
        admin.create_topics({topic: wanted}, wait_for_metadata=True)
    finally:
        admin.close()
