"""Messages that stand in another partition than their contest: nothing is counted of them, and nothing stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient
from prometheus_client import CollectorRegistry, generate_latest

from aggregator.live import run
from aggregator.live.metrics import Metrics
from aggregator.projections.catalog import Projections
from aggregator.projections.rebuild import Building, next_projection, take_over
from aggregator.replay.replay import replay
from aggregator.tables.errors import TablesError
from ingest.errors import IngestError
from results.count import NothingCounted
from results.moment import Moment
from results.reader import Reader
from runtime.kafka.errors import Unreadable
from runtime.kafka.producer import partition_of
from schemas.codec import encode
from tests.integration.test_unreadable import BESIDE, FIRST, NAMES, OTHER, memory_of, status
from tests.support.builders import contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of, verified
from tests.support.fix_ingest import Quiet
from tests.support.fix_kafka import alter, flip_last_byte
from tests.support.fix_postgres import Database
from tests.support.servers import Broker

NEW = next(name for name in NAMES if partition_of(name.encode(), 2) == 0 and name not in (FIRST, BESIDE))
"""A contest that stands in partition 1 alone, and belongs in 0."""


@pytest.fixture
def log(kafka_server: Broker, kafka_producer: Any, new_topic: Callable[..., str]) -> EventLog:
    """A log of two partitions, and in each messages of contests that belong in the other, first and last."""
    for name in ("results.rejected", "results.feed-status"):
        new_topic(name)
    log = EventLog(kafka_server.bootstrap_servers, new_topic("results.events", partitions=2), kafka_producer)
    put(
        log, 1, contest(contest_id=FIRST), sheet(7, contest_id=FIRST), contest(contest_id=NEW), sheet(1, contest_id=NEW)
    )
    put(log, 0, sheet(7, contest_id=OTHER))
    for name in (FIRST, BESIDE, OTHER):
        log.append([contest(contest_id=name), *(sheet(n, contest_id=name) for n in (1, 2))])
    put(log, 1, sheet(3, contest_id=FIRST))
    producer_sends(log, 0, OTHER.encode(), b"no event")
    for name in (FIRST, BESIDE, OTHER):
        log.append([sheet(3, contest_id=name)])
    return log


def put(log: EventLog, partition: int, *events: Any) -> None:
    for message in map(encode, events):
        producer_sends(log, partition, message.key, message.value, list(message.headers))


def producer_sends(log: EventLog, partition: int, key: bytes, value: bytes, headers: Any = ()) -> None:
    log.producer.send(log.topic, key=key, value=value, headers=list(headers), partition=partition).get(30)


def parked(totals: Database) -> list[Any]:
    return totals.read("SELECT partition, log_offset, contest_id, reason FROM checking.parked ORDER BY 1, 2")


@pytest.mark.parametrize("batch_size", [1, 20_000])
def test_a_message_in_another_partition_is_parked_and_stops_nothing(
    log: EventLog, totals: Database, batch_size: int
) -> None:
    for count in (3, 4):  # a restart is not made worse by it
        metrics = Metrics(registry := CollectorRegistry())
        run.run(
            totals.writer_url, log.kafka, log.topic, threading.Event(), batch_size=batch_size, until_caught_up=True,
            listener=metrics,
        )  # fmt: skip
        scraped = generate_latest(registry).decode()
        assert f"escrutinio_aggregator_unattributed_messages {7 + 2 * (count - 3)}.0" in scraped
        for name in (FIRST, BESIDE, OTHER):
            assert f'contest_blocked{{contest="{name}"}} 0.0' in scraped
            assert f'parked_messages{{contest="{name}"}} 0.0' in scraped
            assert not count_of(totals, name).blocked
            assert (report := verified(log, totals, contest_id=name)).equal, report.differences
            assert report.events == count + 1
            assert replay(log.kafka, log.topic, name, Moment()).root() == count_of(totals, name).digest
        put(log, 1, sheet(8, contest_id=FIRST))
        producer_sends(log, 0, OTHER.encode(), b"no event")
        log.append([sheet(4, contest_id=name) for name in (FIRST, BESIDE, OTHER)])
    aggregate(log, totals)
    assert {(where, name, reason) for where, _, name, reason in parked(totals)} == {
        (1, FIRST, "stands in partition 1, but messages with its key belong in partition 0"),
        (1, NEW, "stands in partition 1, but messages with its key belong in partition 0"),
        (0, OTHER, "stands in partition 0, but messages with its key belong in partition 1"),
    }
    with Reader(totals.reader_url) as reader:
        assert [row["parked"] for row in reader.status()] == [0, 0, 0]
    exit_code, told = status(log, totals)
    assert exit_code == 1
    assert "5 messages of no contest from offset 0 of partition 1: stands in partition 1, but" in " ".join(told.split())
    before, counts = parked(totals), [count_of(totals, name) for name in (FIRST, BESIDE, OTHER)]
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        with Building(totals.writer_url, log.kafka, log.topic, target, batch_size=3) as building:
            take_over(projections, building, target)
    assert parked(totals) == before
    assert [count_of(totals, name) for name in (FIRST, BESIDE, OTHER)] == counts


def test_a_contest_that_stands_elsewhere_alone_is_not_on_the_log(log: EventLog) -> None:
    with pytest.raises(NothingCounted, match=f"{NEW} is not on .*; partition 1 has messages with its key, which do"):
        replay(log.kafka, log.topic, NEW, Moment())


def test_a_partition_that_cannot_be_read_keeps_no_contest_of_another_from_a_replay(
    log: EventLog, totals: Database, kafka_server: Broker
) -> None:
    aggregate(log, totals)
    alter(kafka_server, log.topic, 0, flip_last_byte)
    with pytest.raises(Unreadable):
        replay(log.kafka, log.topic, FIRST, Moment())
    assert replay(log.kafka, log.topic, OTHER, Moment()).root() == count_of(totals, OTHER).digest
    assert verified(log, totals, contest_id=OTHER).equal


def test_ingest_passes_over_what_the_aggregator_passes_over(log: EventLog) -> None:
    memory = memory_of(log, progress := Quiet())
    memory.read()
    assert any("stands in partition 1, but messages with its key belong in partition 0" in x for x in progress.lines)
    for name in (FIRST, BESIDE, OTHER):
        memory.refuse_blocked(name)
        assert memory.contests[name].count((sheet(1).reporting_unit.type,)) == 3
    with pytest.raises(
        IngestError, match=f"{NEW} is in partition 1 of .*, and its next events would be in partition 0, where"
    ):
        memory.refuse_blocked(NEW)
    memory.close()


def test_a_changed_number_of_partitions_is_named_before_anything_is_read(
    log: EventLog, totals: Database, kafka_server: Broker
) -> None:
    aggregate(log, totals)
    moved = {name for name in (FIRST, BESIDE) if partition_of(name.encode(), 3) != 0}
    assert moved
    admin = KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap_servers)
    admin.create_partitions({log.topic: 3})
    admin.close()
    with pytest.raises(TablesError, match=r"belong in partition \d, of the 3 of .* The number of partitions was"):
        aggregate(log, totals)
    memory = memory_of(log, Quiet())
    memory.read()
    for name in moved:
        with pytest.raises(IngestError, match="the number of partitions was changed to 3, or somebody"):
            memory.refuse_blocked(name)
    memory.close()
