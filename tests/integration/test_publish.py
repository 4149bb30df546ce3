"""Sending against a real broker, with either client: in order, once, and with every fate known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregator.log.reader import Log
from ingest.errors import DeliveryFailed, Stopped
from ingest.publish.publisher import IN_FLIGHT, Publisher
from runtime.kafka.access import AccessRefused, KafkaAccess
from schemas.codec import Message
from schemas.topics import TOPICS
from tests.support.fix_aggregate import EventLog
from tests.support.fix_kafka import create_topic
from tests.support.fix_secured import GRANTS, SecuredBroker
from tests.support.servers import Broker

pytestmark = pytest.mark.usefixtures("kafka_client")
EVENTS = TOPICS[0].name


def _ignore(what: object) -> None:
    """Nobody listens."""


def message(number: int, key: bytes = b"k", size: int = 0) -> Message:
    return Message(key, b"%d" % number + b"." * size, [("ce_id", b"%d" % number), ("content-type", b"")])


def numbers(kafka: KafkaAccess, topic: str, partition: int = 0) -> list[int]:
    """What stands in a partition."""
    with Log(kafka, topic) as log:
        return [int(r.value.rstrip(b".") or b"-1") for rs in log.read_to_end(partition) for r in rs if r.value]


def publisher(
    kafka: KafkaAccess, notice: Callable[[str], None] = _ignore, stop: threading.Event | None = None
) -> Publisher:
    return Publisher(kafka, notice, stop or threading.Event(), linger_ms=0)


def test_everything_is_stored_in_order_with_its_key_and_headers(event_log: EventLog) -> None:
    sent: list[int] = []
    with publisher(event_log.kafka) as sending:
        offsets = sending.send(event_log.topic, map(message, range(3 * IN_FLIGHT)), sent.append)
    assert offsets == {0: list(range(3 * IN_FLIGHT))}
    assert sum(sent) == 3 * IN_FLIGHT
    assert numbers(event_log.kafka, event_log.topic) == list(range(3 * IN_FLIGHT))
    with Log(event_log.kafka, event_log.topic) as log:
        (last,) = log.messages_at(0, [3 * IN_FLIGHT - 1])
    expected = message(3 * IN_FLIGHT - 1)
    assert (last.key, last.value, last.headers) == (expected.key, expected.value, expected.headers)


def test_a_key_has_its_partition_and_that_its_order(event_log: EventLog, new_topic: Callable[..., str]) -> None:
    """The partition is the one that every client works out."""
    topic = new_topic("wide", partitions=3)
    keys = [b"a", b"bb", b"pe-2021-president-runoff", b"d"]
    theirs = {key: event_log.producer.send(topic, b"0", key).get(30).partition for key in keys}
    with publisher(event_log.kafka) as sending:
        offsets = sending.send(topic, [message(n, keys[n % 4]) for n in range(1, 401)], _ignore)
    for partition in set(theirs.values()):
        own = [n for n in range(1, 401) if theirs[keys[n % 4]] == partition]
        stood = sum(there == partition for there in theirs.values())
        assert numbers(event_log.kafka, topic, partition)[stood:] == own
        assert offsets[partition] == list(range(stood, stood + len(own)))


def test_no_more_is_sent_once_someone_else_writes_there(event_log: EventLog) -> None:
    event_log.append_raw(b"k", b"0")
    with publisher(event_log.kafka) as sending:
        offsets = sending.send(event_log.topic, map(message, range(10 * IN_FLIGHT)), _ignore, {0: 0})
    assert len(offsets[0]) == IN_FLIGHT
    assert numbers(event_log.kafka, event_log.topic) == [0, *range(IN_FLIGHT)]


def test_after_a_refused_message_the_fate_of_all_is_known(event_log: EventLog, new_topic: Callable[..., str]) -> None:
    """Nothing arrives once it was raised, though a lot was on its way when the refusal came."""
    topic = new_topic("small", max_message_bytes="200000")
    messages = [message(n, size=300_000 if n == 5 else 2_000) for n in range(IN_FLIGHT - 1)]
    with Log(event_log.kafka, topic) as log, publisher(event_log.kafka) as sending:
        assert log.end_offset(0) == 0
        with pytest.raises(DeliveryFailed, match="MessageSizeTooLarge"):
            sending.send(topic, messages, _ignore)
        end = log.end_offset(0)
        time.sleep(1)
        assert log.end_offset(0) == end
    stored = numbers(event_log.kafka, topic)
    assert stored == sorted(set(stored))
    assert 5 not in stored


def test_what_is_larger_than_any_message_is_refused_at_once(event_log: EventLog) -> None:
    with publisher(event_log.kafka) as sending, pytest.raises(DeliveryFailed, match="MessageSizeTooLarge"):
        sending.send(event_log.topic, [message(1), message(2, size=9 << 20)], _ignore)
    assert numbers(event_log.kafka, event_log.topic) == [1]


def test_a_sending_that_ends_in_the_middle_is_not_mixed_up_with_the_next(event_log: EventLog) -> None:
    def failing() -> Iterator[Message]:
        yield from map(message, range(10))
        raise ZeroDivisionError

    with publisher(event_log.kafka) as sending:
        with pytest.raises(ZeroDivisionError):
            sending.send(event_log.topic, failing(), _ignore)
        assert sending.send(event_log.topic, map(message, range(10, 15)), _ignore) == {0: [10, 11, 12, 13, 14]}
    assert numbers(event_log.kafka, event_log.topic) == list(range(15))


@pytest.mark.parametrize("killed_at", [0, IN_FLIGHT - 1, 2 * IN_FLIGHT + 500])
def test_a_broker_that_dies_is_waited_for_and_nothing_is_lost_doubled_or_turned_round(
    own_kafka_server: Broker, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr("ingest.publish.publisher._PATIENCE_S", 0.5)
    create_topic(own_kafka_server, EVENTS)
    kafka = KafkaAccess(own_kafka_server.bootstrap_servers)
    said: list[str] = []

    def notice(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            own_kafka_server.start()

    def messages() -> Iterator[Message]:
        for number in range(4 * IN_FLIGHT):
            if number == killed_at:
                own_kafka_server.kill()
            yield message(number, size=300)

    with publisher(kafka, notice) as sending:
        offsets = sending.send(EVENTS, messages(), _ignore)
    assert "no acknowledgement from" in said[2]
    assert offsets == {0: list(range(4 * IN_FLIGHT))}
    assert numbers(kafka, EVENTS) == list(range(4 * IN_FLIGHT))


def test_stopped_while_the_broker_is_away_it_lets_go(own_kafka_server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.publish.publisher._PATIENCE_S", 0.5)
    create_topic(own_kafka_server, EVENTS)
    kafka, stop = KafkaAccess(own_kafka_server.bootstrap_servers), threading.Event()
    with publisher(kafka, lambda _: stop.set(), stop) as sending:
        sending.send(EVENTS, [message(0)], _ignore)
        own_kafka_server.kill()
        with pytest.raises(Stopped):
            sending.send(EVENTS, map(message, range(1, 10)), _ignore)
        sending.__exit__(Stopped, Stopped(), None)
    own_kafka_server.start()
    stored = numbers(kafka, EVENTS)
    assert stored == list(range(len(stored))), "what was still on its way may arrive, and nothing else"
    assert stored


def test_what_is_no_longer_granted_is_refused(own_secured_server: SecuredBroker, tmp_path: Path) -> None:
    with publisher(own_secured_server.access("ingest")) as sending:
        assert sending.send(EVENTS, [message(0)], _ignore) == {0: [0]}
        tight = tmp_path / "grants.toml"
        tight.write_text(GRANTS.read_text().replace(f'write = ["{EVENTS}", ', "write = ["))
        assert f"- ingest may WRITE topic {EVENTS}" in own_secured_server.grant(file=tight).output
        with pytest.raises(AccessRefused, match=f"refuses ingest topic {EVENTS}"):
            sending.send(EVENTS, [message(1)], _ignore)
    assert own_secured_server.grant().exit_code == 0
    assert numbers(own_secured_server.access("aggregator"), EVENTS) == [0]
