"""Reading and sending against a real broker, and every promise of both with each of the two clients.

The clients are compared here and nowhere else: whatever flow of a service is tested runs once, with the one that is
installed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import MessageSizeTooLargeError

from ingest.errors import Stopped
from ingest.publish.publisher import Publisher
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessRefused, BrokerAway, DeliveryFailed, LogDamaged, TopicUnfit, Unreadable
from runtime.kafka.producer import IN_FLIGHT, Producer
from runtime.kafka.reader import Batch, Reader
from schemas.codec import Message
from schemas.log_record import RawRecord
from schemas.topics import TOPICS
from tests.support.fix_aggregate import EventLog
from tests.support.fix_kafka import (
    DAMAGES,
    NoText,
    alter,
    at_another_offset,
    create_topic,
    delete_records,
    longer_than_its_file,
    make_again,
    transact,
)
from tests.support.fix_secured import GRANTS, SecuredBroker
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

pytestmark = pytest.mark.usefixtures("each_kafka_client")
EVENTS = TOPICS[0].name


# --- reading


def filled(log: EventLog, messages: int) -> None:
    for number in range(messages):
        log.producer.send(log.topic, key=b"k", value=b"%d" % number, headers=[("ce_id", b"%d" % number)])
    log.producer.flush()


def offsets(batches: Iterator[Batch]) -> list[int]:
    return [record.offset for batch in batches for record in batch]


def until(reading: Iterator[list[Batch]], messages: int) -> list[RawRecord]:
    """So many messages of a reading without end."""
    deadline = time.monotonic() + WITHIN_S
    read: list[RawRecord] = []
    while len(read) < messages:
        assert time.monotonic() < deadline
        read += [record for batch in next(reading) for record in batch]
    return read


def test_a_message_comes_as_it_was_written(event_log: EventLog) -> None:
    written = [
        (b"k", b"v", [("a", b"1"), ("a", b"2"), ("é", b"\xff\x00")]),
        (b"k", None, []),
        (None, b"v", [("", b"")]),
        (b"", b"", [("a", b"")]),
    ]
    before = int(time.time() * 1000)
    for key, value, headers in written:
        event_log.append_raw(key, value, headers)
    with Reader(event_log.kafka, event_log.topic) as log:
        read = [record for records in log.read_to_end(0) for record in records]
    assert [(r.partition, r.offset, r.key, r.value, r.headers) for r in read] == [
        (0, offset, *message) for offset, message in enumerate(written)
    ]
    assert all(before - 1000 <= r.timestamp_ms <= int(time.time() * 1000) + 1000 for r in read)


def test_a_message_with_a_header_whose_name_is_no_text_is_told_from_the_others(event_log: EventLog) -> None:
    filled(event_log, 3)
    for number in (3, 4):
        event_log.producer.send(event_log.topic, key=b"k", value=b"%d" % number, headers=[(NoText("a"), b"1")])
    filled(event_log, 3)
    with Reader(event_log.kafka, event_log.topic, max_records=2) as log:
        for start in (0, 2, 4, 5):
            read = [record for batch in log.read_to_end(0, start) for record in batch]
            assert [r.offset for r in read] == list(range(start, 8))
            faults = [(r.offset, r.key, r.value, r.headers, r.fault) for r in read if r.fault is not None]
            fault = "the name of a header is not text: a\\xff"
            expected = [(n, b"k", b"%d" % n, [("a\\xff", b"1")], fault) for n in (3, 4)]
            assert faults == [one for one in expected if one[0] >= start]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_batch_that_cannot_be_read_is_named_and_what_stands_before_it_is_read(
    event_log: EventLog,
    kafka_server: Broker,
    new_topic: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytearray], None],
) -> None:
    monkeypatch.setattr("runtime.kafka.reader._LOOK_S", 0.2)
    topic = new_topic("damaged", partitions=2)
    for partition in (0, 1):
        for number in range(6):  # a batch each
            event_log.producer.send(topic, key=b"k", value=b"%d" % number, partition=partition).get(30)
    alter(kafka_server, topic, 4, damage)
    with Reader(event_log.kafka, topic) as log:
        assert offsets(log.read_to_end(0, 0, 4)) == [0, 1, 2, 3]
        for start in (0, 3, 4):
            reading, read = log.read_to_end(0, start), list[int]()
            with pytest.raises(Unreadable, match=rf"{topic}/0 cannot be read from offset 4 on: ") as fault:
                read.extend(record.offset for batch in reading for record in batch)
            assert read == list(range(start, 4))
            assert (fault.value.partition, fault.value.offset) == (0, 4)
        places: dict[int, int] = {}
        with pytest.raises(Unreadable):
            list(log.read_on(places))
        assert places[0] == 4
        assert offsets(log.read_to_end(1)) == list(range(6))
        assert offsets(log.read_to_end(0, 5)) == [5]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (longer_than_its_file, "the broker returns nothing there, though its end is 6"),
        (at_another_offset, "it has a hole"),
    ],
)
def test_a_batch_whose_place_is_damaged_is_named_and_other_partitions_are_read(
    event_log: EventLog,
    kafka_server: Broker,
    new_topic: Callable[..., str],
    damage: Callable[[bytearray], None],
    reason: str,
) -> None:
    topic = new_topic("displaced", partitions=2)
    for number in range(12):
        event_log.producer.send(topic, key=b"k", value=b"v", partition=number % 2).get(30)
    alter(kafka_server, topic, 4, damage)
    with Reader(event_log.kafka, topic) as log:
        reading, read = log.read({0: 0, 1: 0}), list[tuple[int, int]]()
        with pytest.raises(Unreadable, match=rf"{topic}/0 cannot be read from offset 4 on: {reason}"):
            read.extend((r.partition, r.offset) for batches in reading for batch in batches for r in batch)
        assert [offset for partition, offset in read if partition == 0] == [0, 1, 2, 3]
        assert offsets(log.read_to_end(1)) == list(range(6))


def test_a_topic_made_again_under_its_name_is_another_log(
    event_log: EventLog, kafka_admin: KafkaAdminClient, new_topic: Callable[..., str]
) -> None:
    filled(event_log, 3)
    with Reader(event_log.kafka, event_log.topic) as log:
        assert [r.value for r in until(log.read({0: 0}), 3)] == [b"0", b"1", b"2"]
        make_again(kafka_admin, event_log.topic, new_topic)
        eventually(lambda: event_log.append_raw(b"k", b"other") >= 9, lambda: "the new topic has too few messages")
        for start in (0, 3):
            with pytest.raises(LogDamaged, match="it was deleted and made again, or this is another cluster"):
                next(log.read({0: start}))


def test_nothing_is_sent_to_a_topic_made_again(
    event_log: EventLog, kafka_admin: KafkaAdminClient, new_topic: Callable[..., str]
) -> None:
    with Reader(event_log.kafka, event_log.topic) as log, Producer(event_log.kafka, lambda _: None) as producer:
        log.confirm()
        message = Message(b"k", b"v", [])
        assert producer.send(event_log.topic, [message], log_id=log.log_id) == {0: [0]}
        make_again(kafka_admin, event_log.topic, new_topic)
        with pytest.raises(LogDamaged, match="it was deleted and made again"):
            producer.send(event_log.topic, [message], log_id=log.log_id)
    with Reader(event_log.kafka, event_log.topic) as log:
        assert log.ends() == {0: 0}


@pytest.mark.parametrize("at_most", [1, 7, 1000])
def test_batches_are_bounded_and_leave_nothing_out(event_log: EventLog, at_most: int) -> None:
    filled(event_log, 100)
    with Reader(event_log.kafka, event_log.topic, max_records=at_most) as log:
        batches = list(log.read_to_end(0))
        assert max(map(len, batches)) <= at_most
        assert offsets(iter(batches)) == list(range(100))
        assert offsets(log.read_to_end(0, 17, 59)) == list(range(17, 59))


def test_another_place_may_be_read_at_any_time(event_log: EventLog) -> None:
    """What was fetched ahead for the place before is not taken for what is read now."""
    filled(event_log, 300)
    with Reader(event_log.kafka, event_log.topic, max_records=10) as log:
        for start in (250, 3, 199, 0, 120, 298, 5) * 4:
            assert until(log.read({0: start}), 1)[0].offset == start
        assert [r.value for r in log.messages_at(0, (270, 4, 99))] == [b"4", b"99", b"270"]


def test_a_live_tail_brings_what_comes_while_it_is_read(event_log: EventLog) -> None:
    with Reader(event_log.kafka, event_log.topic) as log:
        reading = log.read({0: 0}, wait_ms=50)
        assert next(reading) == []
        for number in range(5):
            event_log.append_raw(b"k", b"%d" % number)
            assert until(reading, 1)[0].offset == number


def test_partitions_are_read_side_by_side_each_in_order(event_log: EventLog, new_topic: Callable[..., str]) -> None:
    topic = new_topic("wide", partitions=3)
    for number in range(90):
        event_log.producer.send(topic, key=b"k", value=b"v", partition=number % 3)
    event_log.producer.flush()
    with Reader(event_log.kafka, topic) as log:
        read = until(log.read({0: 0, 1: 10, 2: 29}), 30 + 20 + 1)
    for partition, start in ((0, 0), (1, 10), (2, 29)):
        assert [r.offset for r in read if r.partition == partition] == list(range(start, 30))


@pytest.mark.parametrize("ending", ["commit_transaction", "abort_transaction"])
@pytest.mark.parametrize("followed", [False, True])
def test_what_a_transaction_leaves_is_a_hole(event_log: EventLog, ending: str, followed: bool) -> None:
    event_log.append_raw(b"k", b"before")
    transact(event_log.bootstrap_servers, event_log.topic, ending)
    if followed:
        event_log.append_raw(b"k", b"after")
    with Reader(event_log.kafka, event_log.topic) as log:
        with pytest.raises(LogDamaged, match="has a hole"):
            until(log.read({0: 0}), 100)
        with pytest.raises(LogDamaged, match="has a hole"):
            list(log.read_on({}))


def test_what_is_deleted_before_it_is_read_is_missed(event_log: EventLog) -> None:
    for _ in range(40):
        event_log.append_raw(b"k", b"v")
    with Reader(event_log.kafka, event_log.topic, max_records=1, max_fetch_bytes=1) as log:
        reading = log.read({0: 0})
        until(reading, 1)
        delete_records(event_log.bootstrap_servers, event_log.topic, 30)
        with pytest.raises(LogDamaged, match="no longer has the next offset"):
            until(reading, 39)


@pytest.mark.usefixtures("impatient")
def test_a_topic_that_is_deleted_while_it_is_read_is_missed(event_log: EventLog) -> None:
    filled(event_log, 3)
    with Reader(event_log.kafka, event_log.topic, stall_s=1) as log:
        reading = log.read({0: 0})
        until(reading, 3)
        with closing(KafkaAdminClient(bootstrap_servers=event_log.bootstrap_servers)) as admin:
            admin.delete_topics([event_log.topic])
        with pytest.raises(BrokerAway):
            until(reading, 1)
    with Reader(event_log.kafka, event_log.topic) as log, pytest.raises(TopicUnfit, match="escrutinio-ingest topics"):
        log.partitions()


def test_a_broker_that_comes_back_is_read_on(own_kafka_server: Broker) -> None:
    create_topic(own_kafka_server, EVENTS)
    kafka = KafkaAccess(own_kafka_server.bootstrap_servers)
    producer = KafkaProducer(bootstrap_servers=own_kafka_server.bootstrap_servers)
    log = EventLog(own_kafka_server.bootstrap_servers, EVENTS, producer)
    try:
        log.append_raw(b"k", b"0")
        with Reader(kafka, EVENTS) as reader:
            reading = reader.read({0: 0})
            until(reading, 1)
            own_kafka_server.kill()
            assert next(reading) == []
            own_kafka_server.start()
            log.append_raw(b"k", b"1")
            assert until(reading, 1)[0].offset == 1
    finally:
        producer.close()


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_stays_away_is_said(own_kafka_server: Broker) -> None:
    create_topic(own_kafka_server, EVENTS)
    with Reader(KafkaAccess(own_kafka_server.bootstrap_servers), EVENTS, stall_s=1) as log:
        reading = log.read({0: 0})
        assert next(reading) == []
        own_kafka_server.kill()
        with pytest.raises(BrokerAway):
            until(reading, 1)
        begun = time.monotonic()
    assert time.monotonic() - begun < WITHIN_S / 4, "letting go of it must not wait for it"


def test_a_secured_log_is_read_until_it_is_no_longer_granted(own_secured_server: SecuredBroker, tmp_path: Path) -> None:
    writer = closing(own_secured_server.access("ingest").open(KafkaProducer, acks="all"))
    with writer as producer, Reader(own_secured_server.access("aggregator"), EVENTS) as log:
        reading = log.read({0: 0})
        producer.send(EVENTS, key=b"k", value=b"v").get(30)
        until(reading, 1)
        tight = tmp_path / "grants.toml"
        tight.write_text(GRANTS.read_text().replace(f'"{EVENTS}", ', ""))
        assert f"- aggregator may READ topic {EVENTS}" in own_secured_server.grant(file=tight).output
        with pytest.raises(AccessRefused, match=f"refuses aggregator topic {EVENTS}"):
            until(reading, 1)


def test_a_reader_without_a_group_needs_no_grant_for_one(secured_server: SecuredBroker) -> None:
    """Who reads by hand commits nothing anywhere: a newsroom's auditor and ingest have no group of this name."""
    with (
        Reader(secured_server.access("newsroom-demo"), EVENTS) as newsroom,
        Reader(secured_server.access("ingest"), EVENTS) as ingest,
    ):
        readings, begun = [log.read({0: 0}, wait_ms=50) for log in (newsroom, ingest)], time.monotonic()
        while time.monotonic() - begun < 3:
            for reading in readings:
                next(reading)


def test_a_stalled_client_is_connected_again(event_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reader(event_log.kafka, event_log.topic, stall_s=3) as log:
        reading = log.read({0: 0}, wait_ms=50)
        assert next(reading) == []
        first = log._client
        assert first is not None
        first.assign({})  # it brings nothing any more
        monkeypatch.setattr(first, "position", lambda _partition: 0)
        event_log.append_raw(b"k", b"v")
        assert until(reading, 1)[0].offset == 0
        assert log._client is not first


class Halting(Reader):
    """A reader of which each connection brings as many messages as planned, and then stands still."""

    def __init__(self, log: EventLog, *plan: int) -> None:
        super().__init__(log.kafka, log.topic, stall_s=0.1, max_records=1)
        self.plan, self._left = list(plan), 0

    def _assign(self, position: Mapping[int, int]) -> None:
        super()._assign(position)
        self._left = self.plan.pop(0)

    def _poll(self, wait_ms: int) -> list[Batch]:
        if not self._left:
            time.sleep(0.05)
            return []
        deadline = time.monotonic() + WITHIN_S
        while not (batches := super()._poll(wait_ms)):
            assert time.monotonic() < deadline
        self._left -= 1
        return batches


def test_a_reading_that_gets_on_is_not_given_up_however_often_it_halts(event_log: EventLog) -> None:
    filled(event_log, 5)
    with Halting(event_log, 1, 1, 1, 0, 0, 1, 0, 0, 1) as log:
        assert offsets(log.read_on({})) == [0, 1, 2, 3, 4]


def test_a_reading_that_does_not_get_on_is_given_up_after_three_times(event_log: EventLog) -> None:
    filled(event_log, 5)
    with Halting(event_log, 1, 0, 0, 0, 1) as log:
        with pytest.raises(BrokerAway, match="which has more, in 3 reconnections"):
            list(log.read_on({}))
        assert log.plan == [1]


def test_every_partition_is_read_on_from_its_place_to_the_end(
    event_log: EventLog, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("wide", partitions=3)
    places = {1: 2}
    with Reader(event_log.kafka, topic, max_records=7) as log:
        assert list(log.read_on({})) == []
        for number in range(30):
            event_log.producer.send(topic, key=b"k", value=b"v", partition=number % 3)
        event_log.producer.flush()
        read = [(r.partition, r.offset) for batch in log.read_on(places) for r in batch]
        assert sorted(read) == [(p, offset) for p in range(3) for offset in range(2 if p == 1 else 0, 10)]
        assert places == {0: 10, 1: 10, 2: 10}
        assert not log.has_more(places)
        event_log.producer.send(topic, value=b"v", partition=2).get(30)
        assert log.has_more(places)
        assert [(r.partition, r.offset) for batch in log.read_on(places) for r in batch] == [(2, 10)]


@pytest.mark.parametrize("followed", ["", "text", NoText("odd")], ids=["at the end", "text", "no text"])
def test_a_topic_that_need_not_be_whole_is_read_over_what_is_missing(event_log: EventLog, followed: str) -> None:
    filled(event_log, 5)
    transact(event_log.bootstrap_servers, event_log.topic)
    transact(event_log.bootstrap_servers, event_log.topic, "abort_transaction")
    if followed:
        event_log.append_raw(b"k", b"after", [(followed, b"a header")])
    delete_records(event_log.bootstrap_servers, event_log.topic, 2)
    places = {0: 1}
    with Reader(event_log.kafka, event_log.topic, whole=False) as log:
        assert offsets(log.read_on(places)) == [2, 3, 4, 5, *([9] if followed else [])]
        assert places == {0: 10 if followed else 9}
        places[0] += 5
        with pytest.raises(LogDamaged, match="before offset"):
            list(log.read_on(places))


def test_a_whole_topic_without_its_beginning_is_refused_though_it_was_read_before(event_log: EventLog) -> None:
    filled(event_log, 5)
    delete_records(event_log.bootstrap_servers, event_log.topic, 2)
    with Reader(event_log.kafka, event_log.topic) as log:
        with pytest.raises(LogDamaged, match="begins at offset 2"):
            list(log.read_on({0: 4}))
        with pytest.raises(LogDamaged, match="begins at offset 2"):
            next(log.read({0: 1}))
        assert offsets(log.read_to_end(0, 2)) == [2, 3, 4]


@pytest.mark.usefixtures("impatient")
def test_after_a_fault_the_next_call_connects_again(own_kafka_server: Broker) -> None:
    create_topic(own_kafka_server, EVENTS)
    with Reader(KafkaAccess(own_kafka_server.bootstrap_servers), EVENTS) as log:
        assert log.ends() == {0: 0}
        own_kafka_server.kill()
        with pytest.raises(BrokerAway):
            log.ends()
        own_kafka_server.start()
        assert log.ends() == {0: 0}


# --- sending


def _ignore(what: object) -> None:
    """Nobody listens."""


def message(number: int, key: bytes = b"k", size: int = 0) -> Message:
    return Message(key, b"%d" % number + b"." * size, [("ce_id", b"%d" % number), ("content-type", b"")])


def numbers(kafka: KafkaAccess, topic: str, partition: int = 0) -> list[int]:
    """What stands in a partition."""
    with Reader(kafka, topic) as log:
        return [int(r.value.rstrip(b".") or b"-1") for batch in log.read_to_end(partition) for r in batch if r.value]


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
    with Reader(event_log.kafka, event_log.topic) as log:
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
    with Reader(event_log.kafka, topic) as log, publisher(event_log.kafka) as sending:
        assert log.end_offset(0) == 0
        with pytest.raises(DeliveryFailed, match="MessageSizeTooLarge"):
            sending.send(topic, messages, _ignore)
        end = log.end_offset(0)
        time.sleep(1)
        assert log.end_offset(0) == end
    stored = numbers(event_log.kafka, topic)
    assert stored == sorted(set(stored))
    assert 5 not in stored


def test_a_batch_that_unpacks_to_more_than_a_message_may_have_is_refused(event_log: EventLog) -> None:
    """No client has a bound for it: on the log it would end each reader at each start."""
    settings = {"compression_type": "gzip", "max_request_size": 2**31 - 1}
    with closing(KafkaProducer(bootstrap_servers=event_log.bootstrap_servers, **settings)) as producer:
        producer.send(event_log.topic, bytes(7 << 20)).get(30)
        with pytest.raises(MessageSizeTooLargeError):
            producer.send(event_log.topic, bytes(64 << 20)).get(30)
    with Reader(event_log.kafka, event_log.topic) as reader:
        assert [len(record.value or b"") for batch in reader.read_to_end(0) for record in batch] == [7 << 20]


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


@pytest.mark.parametrize(
    "killed_at", [0, *(pytest.param(at, marks=pytest.mark.soak) for at in (IN_FLIGHT - 1, 2 * IN_FLIGHT + 500))]
)
def test_a_broker_that_dies_is_waited_for_and_nothing_is_lost_doubled_or_turned_round(
    own_kafka_server: Broker, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr("runtime.kafka.producer.PATIENCE_S", 0.5)
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
    monkeypatch.setattr("runtime.kafka.producer.PATIENCE_S", 0.5)
    create_topic(own_kafka_server, EVENTS)
    kafka, stop = KafkaAccess(own_kafka_server.bootstrap_servers), threading.Event()
    others, killed = threading.enumerate(), list[bool]()
    with publisher(kafka, lambda _: stop.set() if killed else None, stop) as sending:
        sending.send(EVENTS, [message(0)], _ignore)
        own_kafka_server.kill()
        killed.append(True)
        with pytest.raises(Stopped):
            sending.send(EVENTS, map(message, range(1, 10)), _ignore)
        begun = time.monotonic()
        sending.__exit__(Stopped, Stopped(), None)
    assert time.monotonic() - begun < WITHIN_S / 4, "letting go of it must not wait for the broker"
    eventually(lambda: not set(threading.enumerate()) - set(others))  # a thread of its own would hold up the exit
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

        def send_on() -> None:
            for number in range(1, 1000):  # the broker hears of a changed grant a moment later
                sending.send(EVENTS, [message(number)], _ignore)

        with pytest.raises(AccessRefused, match=f"refuses ingest topic {EVENTS}"):
            send_on()
    assert own_secured_server.grant().exit_code == 0
    stored = numbers(own_secured_server.access("aggregator"), EVENTS)
    assert stored == list(range(len(stored))), "each once, and what was refused not at all"


def test_a_record_is_put_back_with_its_partition_its_time_and_what_it_lacks(
    event_log: EventLog, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("wide", partitions=3, message_timestamp_type="CreateTime")
    records = [
        RawRecord(2, 0, 1_600_000_000_123, b"k", b"v", [("a", b""), ("é", b"\xff")]),
        RawRecord(2, 1, 1_600_000_000_001, None, b"v", []),
        RawRecord(2, 2, 1_600_000_000_002, b"k", None, []),
        RawRecord(2, 3, 1_600_000_000_003, None, None, []),
    ]
    with publisher(event_log.kafka) as sending:
        assert sending.send(topic, records, places={2: 0}) == {2: [0, 1, 2, 3]}
    with Reader(event_log.kafka, topic) as log:
        assert list(log.messages_at(2, range(4))) == records


def test_who_sends_may_end_the_waiting_for_a_broker(own_kafka_server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.kafka.producer.PATIENCE_S", 0.5)
    monkeypatch.setattr("runtime.kafka.producer.CLOSE_S", 1.0)
    create_topic(own_kafka_server, EVENTS)

    def waiting(silent_s: float) -> None:
        if silent_s > 1:
            raise BrokerAway("silent")

    with Producer(KafkaAccess(own_kafka_server.bootstrap_servers), waiting, linger_ms=0) as sending:
        sending.send(EVENTS, [message(0)])
        own_kafka_server.kill()
        with pytest.raises(BrokerAway, match="silent"):
            sending.send(EVENTS, [message(1)])
