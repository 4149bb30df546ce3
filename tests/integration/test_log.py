"""The log's door against a real broker, with either client: what it brings, and how it says what it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from aggregator.log.errors import LogError, LogUnreachable
from aggregator.log.reader import Log
from runtime.kafka.access import AccessRefused, KafkaAccess
from schemas.log_record import RawRecord
from schemas.topics import TOPICS
from tests.support.fix_aggregate import EventLog
from tests.support.fix_kafka import create_topic
from tests.support.fix_secured import GRANTS, SecuredBroker
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S

pytestmark = pytest.mark.usefixtures("kafka_client")
EVENTS = TOPICS[0].name


def filled(log: EventLog, messages: int) -> None:
    for number in range(messages):
        log.producer.send(log.topic, key=b"k", value=b"%d" % number, headers=[("ce_id", b"%d" % number)])
    log.producer.flush()


def offsets(batches: Iterator[list[RawRecord]]) -> list[int]:
    return [record.offset for records in batches for record in records]


def until(batches: Iterator[list[RawRecord]], messages: int) -> list[RawRecord]:
    """So many messages of a reading without end."""
    deadline = time.monotonic() + WITHIN_S
    read: list[RawRecord] = []
    while len(read) < messages:
        assert time.monotonic() < deadline
        read += next(batches)
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
    with Log(event_log.kafka, event_log.topic) as log:
        read = [record for records in log.read_to_end(0) for record in records]
    assert [(r.partition, r.offset, r.key, r.value, r.headers) for r in read] == [
        (0, offset, *message) for offset, message in enumerate(written)
    ]
    assert all(before - 1000 <= r.timestamp_ms <= int(time.time() * 1000) + 1000 for r in read)


class _Broken(str):
    """A header's name that is no text."""

    def encode(self, *_: str) -> bytes:
        return b"a\xff"


def test_a_header_whose_name_is_no_text_is_refused(event_log: EventLog) -> None:
    event_log.append_raw(b"k", b"v", [(_Broken("a"), b"1")])
    with Log(event_log.kafka, event_log.topic) as log, pytest.raises(LogError, match="CorruptRecordError"):
        next(log.read_to_end(0))


@pytest.mark.parametrize("at_most", [1, 7, 1000])
def test_batches_are_bounded_and_leave_nothing_out(event_log: EventLog, at_most: int) -> None:
    filled(event_log, 100)
    with Log(event_log.kafka, event_log.topic, max_poll_records=at_most) as log:
        batches = list(log.read_to_end(0))
        assert max(map(len, batches)) <= at_most
        assert offsets(iter(batches)) == list(range(100))
        assert offsets(log.read_to_end(0, 17, 59)) == list(range(17, 59))


def test_another_place_may_be_read_at_any_time(event_log: EventLog) -> None:
    """What was fetched ahead for the place before is not taken for what is read now."""
    filled(event_log, 300)
    with Log(event_log.kafka, event_log.topic, max_poll_records=10) as log:
        for start in (250, 3, 199, 0, 120, 298, 5) * 4:
            assert until(log.read({0: start}), 1)[0].offset == start
        assert [r.value for r in log.messages_at(0, (270, 4, 99))] == [b"4", b"99", b"270"]


def test_a_live_tail_brings_what_comes_while_it_is_read(event_log: EventLog) -> None:
    with Log(event_log.kafka, event_log.topic) as log:
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
    with Log(event_log.kafka, topic) as log:
        read = until(log.read({0: 0, 1: 10, 2: 29}), 30 + 20 + 1)
    for partition, start in ((0, 0), (1, 10), (2, 29)):
        assert [r.offset for r in read if r.partition == partition] == list(range(start, 30))


@pytest.mark.parametrize("ending", ["commit_transaction", "abort_transaction"])
@pytest.mark.parametrize("followed", [False, True])
def test_what_a_transaction_leaves_is_a_hole(event_log: EventLog, ending: str, followed: bool) -> None:
    event_log.append_raw(b"k", b"before")
    writer = KafkaProducer(bootstrap_servers=event_log.bootstrap_servers, transactional_id=event_log.topic)
    try:
        writer.init_transactions()
        writer.begin_transaction()
        writer.send(event_log.topic, b"within").get(30)
        getattr(writer, ending)()
    finally:
        writer.close()
    if followed:
        event_log.append_raw(b"k", b"after")
    with Log(event_log.kafka, event_log.topic) as log, pytest.raises(LogError, match="has a hole"):
        until(log.read({0: 0}), 100)


def test_what_is_deleted_before_it_is_read_is_missed(event_log: EventLog) -> None:
    for _ in range(40):
        event_log.append_raw(b"k", b"v")
    with Log(event_log.kafka, event_log.topic, max_poll_records=1, max_fetch_bytes=1) as log:
        reading = log.read({0: 0})
        until(reading, 1)
        admin = KafkaAdminClient(bootstrap_servers=event_log.bootstrap_servers)
        try:
            admin.delete_records({TopicPartition(event_log.topic, 0): 30})
        finally:
            admin.close()
        with pytest.raises(LogError, match="no longer has the offset"):
            until(reading, 39)


def test_a_topic_that_is_deleted_while_it_is_read_is_missed(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.log.reader.STALL_S", 1)
    filled(event_log, 3)
    with Log(event_log.kafka, event_log.topic) as log:
        reading = log.read({0: 0})
        until(reading, 3)
        admin = KafkaAdminClient(bootstrap_servers=event_log.bootstrap_servers)
        try:
            admin.delete_topics([event_log.topic])
        finally:
            admin.close()
        with pytest.raises(LogUnreachable):
            until(reading, 1)
    with Log(event_log.kafka, event_log.topic) as log, pytest.raises(LogError, match="escrutinio-ingest topics"):
        log.topic_id()


def test_a_broker_that_comes_back_is_read_on(own_kafka_server: Broker) -> None:
    create_topic(own_kafka_server, EVENTS)
    kafka = KafkaAccess(own_kafka_server.bootstrap_servers)
    producer = KafkaProducer(bootstrap_servers=own_kafka_server.bootstrap_servers)
    log = EventLog(own_kafka_server.bootstrap_servers, EVENTS, producer)
    try:
        log.append_raw(b"k", b"0")
        with Log(kafka, EVENTS) as door:
            reading = door.read({0: 0})
            until(reading, 1)
            own_kafka_server.kill()
            assert next(reading) == []
            own_kafka_server.start()
            log.append_raw(b"k", b"1")
            assert until(reading, 1)[0].offset == 1
    finally:
        producer.close()


def test_a_broker_that_stays_away_is_said(own_kafka_server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.log.reader.STALL_S", 1)
    create_topic(own_kafka_server, EVENTS)
    with Log(KafkaAccess(own_kafka_server.bootstrap_servers), EVENTS) as log:
        reading = log.read({0: 0})
        assert next(reading) == []
        own_kafka_server.kill()
        with pytest.raises(LogUnreachable):
            until(reading, 1)
        begun = time.monotonic()
    assert time.monotonic() - begun < WITHIN_S / 4, "letting go of it must not wait for it"


def test_a_secured_log_is_read_until_it_is_no_longer_granted(own_secured_server: SecuredBroker, tmp_path: Path) -> None:
    producer = own_secured_server.access("ingest").open(KafkaProducer, acks="all")
    try:
        with Log(own_secured_server.access("aggregator"), EVENTS) as log:
            reading = log.read({0: 0})
            producer.send(EVENTS, key=b"k", value=b"v").get(30)
            until(reading, 1)
            tight = tmp_path / "grants.toml"
            tight.write_text(GRANTS.read_text().replace(f'"{EVENTS}", ', ""))
            assert f"- aggregator may READ topic {EVENTS}" in own_secured_server.grant(file=tight).output
            with pytest.raises(AccessRefused, match=f"refuses aggregator topic {EVENTS}"):
                until(reading, 1)
    finally:
        producer.close()


def test_a_reader_without_a_group_needs_no_grant_for_one(secured_server: SecuredBroker) -> None:
    """Who reads by hand commits nothing anywhere: a newsroom's auditor and ingest have no group of this name."""
    for principal in ("newsroom-demo", "ingest"):
        with Log(secured_server.access(principal), EVENTS) as log:
            reading, begun = log.read({0: 0}), time.monotonic()
            while time.monotonic() - begun < 3:
                next(reading)


def test_a_stalled_reading_is_made_anew(event_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.log.reader.STALL_S", 0.3)
    with Log(event_log.kafka, event_log.topic) as log:
        first = log._poller
        reading = log.read({0: 0}, wait_ms=50)
        assert next(reading) == []
        log._poller.assign({})  # it brings nothing any more
        monkeypatch.setattr(first, "position", lambda _partition: 0)
        event_log.append_raw(b"k", b"v")
        assert until(reading, 1)[0].offset == 0
        assert log._poller is not first
