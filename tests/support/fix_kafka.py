"""Real brokers for tests: one per session, with topics of its own for each test, and one per session that tests kill
and start.

Whatever a test does to the second, the next one finds it running, on the same port, and without topics.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from runtime.kafka import librdkafka
from schemas.topics import EVENTS
from tests.support.servers import Broker, Servers
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def kafka_server(servers: Servers) -> Iterator[Broker]:
    """The session's broker. Not to be stopped by a test."""
    yield from _running(servers.new_broker())


@pytest.fixture(scope="session")
def _restartable_broker(servers: Servers) -> Iterator[Broker]:
    yield from _running(servers.new_broker())


@pytest.fixture
def own_kafka_server(_restartable_broker: Broker) -> Broker:
    """A broker to be killed and started again, running and without topics."""
    _restartable_broker.start()
    with _admin(_restartable_broker.bootstrap_servers) as admin:
        delete_topics(admin)
    return _restartable_broker


def delete_topics(admin: KafkaAdminClient) -> None:
    """Delete every topic but Kafka's own."""

    def there() -> list[str]:
        return [name for name in admin.list_topics() if not name.startswith("__")]

    if topics := there():
        admin.delete_topics(topics)
        eventually(lambda: not there(), lambda: f"{there()} are not deleted")


def _running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.reset()


@pytest.fixture(params=["kafka-python", "librdkafka"])
def each_kafka_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What polls and sends, in this process: each of the two clients in turn. For `test_runtime_kafka`, where they are
    compared."""
    if request.param == "kafka-python":
        monkeypatch.setattr(librdkafka, "client", None)
    assert (librdkafka.client is None) == (request.param == "kafka-python"), "the extra `fast` is to be installed"


@pytest.fixture
def topic_prefix() -> str:
    """What this test's topics start with, so that tests on one broker do not see each other."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def kafka_admin(kafka_server: Broker) -> Iterator[KafkaAdminClient]:
    """The session's administrator on the session's broker."""
    with _admin(kafka_server.bootstrap_servers) as admin:
        yield admin


@pytest.fixture
def new_topic(kafka_admin: KafkaAdminClient, topic_prefix: str) -> Callable[..., str]:
    """Makes a topic with the log's settings on the session's broker: `new_topic("results.events", partitions=3)`."""

    def make(name: str = "results.events", *, partitions: int = 1, **settings: str) -> str:
        topic = topic_prefix + name
        _create(kafka_admin, topic, partitions, settings)
        return topic

    return make


def create_topic(broker: Broker, topic: str, partitions: int = 1) -> None:
    """Make a topic with the log's settings on any broker."""
    with _admin(broker.bootstrap_servers) as admin:
        _create(admin, topic, partitions, {})


def transact(bootstrap_servers: str, topic: str, ending: str = "commit_transaction") -> None:
    """A message in a transaction, whose marker takes an offset: a hole."""
    settings = {"bootstrap_servers": bootstrap_servers, "transactional_id": topic}
    with closing(KafkaProducer(**settings)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"within").get(30)
        getattr(producer, ending)()


def delete_records(bootstrap_servers: str, topic: str, before: int) -> None:
    """Take away the beginning of a topic."""
    with _admin(bootstrap_servers) as admin:
        admin.delete_records({TopicPartition(topic, 0): before})


def _create(admin: KafkaAdminClient, topic: str, partitions: int, settings: dict[str, str]) -> None:
    """`settings` changes the log's (underscores stand for dots)."""
    changed = {key.replace("_", "."): value for key, value in settings.items()}
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": {**EVENTS.required, **changed}}
    admin.create_topics({topic: wanted}, wait_for_metadata=True)


def _admin(bootstrap_servers: str) -> closing[KafkaAdminClient]:
    return closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers))
