"""Real brokers for tests: one per session, with topics of its own for each test, and one per session that tests kill
and start.

Whatever a test does to the second, the next one finds it running, on the same port, and without topics.
"""

from __future__ import annotations

import gc
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.record.util import calc_crc32c

from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from schemas.topics import EVENTS
from tests.support.containers import ContainerBroker
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests whose brokers are killed, or refuse, leave a connection that was being made when its client was closed.

    kafka-python leaves it to the collector, which may come within a later test of that kind.
    """
    left = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
    for item in filter(_leaves_connections, items):
        item.add_marker(left)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Collect what tests of that kind left before one of another kind begins."""
    if _leaves_connections(item) and (nextitem is None or not _leaves_connections(nextitem)):
        gc.collect()


def _leaves_connections(item: pytest.Item) -> bool:
    return not {"own_kafka_server", "secured_server"}.isdisjoint(getattr(item, "fixturenames", ()))


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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of kafka-python in this process waits for 3 s instead of 10 s: for tests of a broker that is away, or
    that lets nobody in, which wait for the end of that time."""
    opened = KafkaAccess.open

    def open_(access: KafkaAccess, client: Callable[..., Any], **options: Any) -> Any:
        waits = {"bootstrap_timeout_ms": 3000, **options}
        if "request_timeout_ms" in waits:
            waits["request_timeout_ms"] = 3000
        return opened(access, client, **waits)

    monkeypatch.setattr(KafkaAccess, "open", open_)


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
        sent = producer.send(topic, b"within").get(30)
        getattr(producer, ending)()
    at = TopicPartition(topic, sent.partition)
    with closing(KafkaConsumer(bootstrap_servers=bootstrap_servers, isolation_level="read_committed")) as consumer:
        # The marker is written after the answer: what is sent meanwhile would stand before it.
        eventually(lambda: consumer.end_offsets([at])[at] >= sent.offset + 2)


def delete_records(bootstrap_servers: str, topic: str, before: int) -> None:
    """Take away the beginning of a topic."""
    with _admin(bootstrap_servers) as admin:
        admin.delete_records({TopicPartition(topic, 0): before})


def make_again(admin: KafkaAdminClient, topic: str, new_topic: Callable[..., str]) -> None:
    """Delete a topic and make another one under its name."""
    admin.delete_topics([topic])
    eventually(lambda: topic not in admin.list_topics(), lambda: f"{topic} is not deleted")
    assert new_topic("results." + topic.rpartition("results.")[2]) == topic


def alter(broker: Broker, topic: str, offset: int, change: Callable[[bytearray], None], *, partition: int = 0) -> None:
    """Alter the batch with an offset where the broker keeps it, without changing its length."""
    file = Path(getattr(broker, "root", "")) / "kafka" / "data" / f"{topic}-{partition}" / f"{0:020}.log"
    contained = broker if isinstance(broker, ContainerBroker) else None
    written, at = contained.segment(topic, partition) if contained else file.read_bytes(), 0
    while True:
        base, length = struct.unpack_from(">qi", written, at)
        end = at + 12 + length
        if base <= offset <= base + int.from_bytes(written[at + 23 : at + 27], "big"):
            break
        at = end
    batch = bytearray(written[at:end])
    change(batch)
    assert len(batch) == end - at
    if contained:
        contained.overwrite(topic, partition, at, bytes(batch))
        return
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(batch)


def flip_last_byte(batch: bytearray) -> None:
    """Damage a batch: its checksum is wrong."""
    batch[-1] ^= 0xFF


def with_codec(codec: int) -> Callable[[bytearray], None]:
    """Damage a batch whose checksum is right: it says that its records are compressed, and they are not."""

    def change(batch: bytearray) -> None:
        batch[22] = batch[22] & 0xF8 | codec
        batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")

    return change


def negative_key_length(batch: bytearray) -> None:
    """Damage the first record of a batch whose checksum is right: its key ends behind the batch."""
    batch[61 + 4] = 0x7E
    batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")


def marked_as_control(batch: bytearray) -> None:
    """Damage a batch whose checksum is right: it says that it has the marker of a transaction, and it has a message."""
    batch[22] |= 0x30
    batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")


def longer_than_its_file(batch: bytearray) -> None:
    """Damage the length of a batch: the broker finds neither its end nor what stands behind it."""
    batch[9] = 0x7F


def at_another_offset(batch: bytearray) -> None:
    """Damage the place of a batch, which no checksum covers: it is a hole."""
    batch[6] = 0x01


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "checksum": flip_last_byte,
    "gzip that is none": with_codec(1),
    "zstd that is none": with_codec(4),
    "an unknown codec": with_codec(7),
    "a record longer than its batch": negative_key_length,
    "a marker that is none": marked_as_control,
}


class NoText(str):
    """A header's name that is no text."""

    def encode(self, *_: str) -> bytes:
        return b"a\xff"


def _create(admin: KafkaAdminClient, topic: str, partitions: int, settings: dict[str, str]) -> None:
    """`settings` changes the log's (underscores stand for dots)."""
    changed = {key.replace("_", "."): value for key, value in settings.items()}
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": {**EVENTS.required, **changed}}
    admin.create_topics({topic: wanted}, wait_for_metadata=True)


def _admin(bootstrap_servers: str) -> closing[KafkaAdminClient]:
    return closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers))
