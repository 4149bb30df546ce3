"""A topic deleted and made again under its name while we run: nothing of it is counted, mirrored, or added to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from aggregator.live import run as consume
from aggregator.live.listener import Listener
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import TablesError
from backup import mirror
from backup.folder import TopicFolder
from backup.listener import Listener as MirrorListener
from runtime.kafka.errors import LogDamaged
from schemas.identity import Event
from schemas.topics import EVENTS, TopicNames
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog, count_of
from tests.support.fix_ingest import UPDATES, Desk, ignore
from tests.support.fix_kafka import make_again
from tests.support.fix_postgres import Database
from tests.support.ingest_samples import EXAMPLE
from tests.support.servers import Broker
from tests.support.waiting import eventually

Swap = Callable[[], None]


@pytest.fixture
def swap(event_log: EventLog, kafka_admin: KafkaAdminClient, new_topic: Callable[..., str]) -> Swap:
    """Puts another log with more and other events under the name of `event_log`."""

    def swap() -> None:
        make_again(kafka_admin, event_log.topic, new_topic)
        others: list[Event] = [contest(), *(sheet(n, {"a": 1000, "b": 0}) for n in range(40))]
        eventually(lambda: event_log.append(others) >= 40, lambda: "the other log has too few events")

    return swap


def test_the_aggregator_commits_nothing_of_another_log(event_log: EventLog, totals: Database, swap: Swap) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])

    class Swapping(Listener):
        def committed(self, cursor: Cursor, batch: Batch, seconds: float) -> None:  # noqa: ARG002
            assert cursor.next_offset == 3, "nothing of the other log is committed"
            swap()

    with pytest.raises((LogDamaged, TablesError), match="deleted and made again"):
        consume.run(totals.writer_url, event_log.kafka, event_log.topic, threading.Event(), listener=Swapping())
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [20, 40]


def test_a_shorter_log_under_the_same_name_is_named_as_another(
    event_log: EventLog, totals: Database, kafka_admin: KafkaAdminClient, new_topic: Callable[..., str]
) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])

    class Swapping(Listener):
        def committed(self, cursor: Cursor, batch: Batch, seconds: float) -> None:  # noqa: ARG002
            make_again(kafka_admin, event_log.topic, new_topic)

    with pytest.raises((LogDamaged, TablesError), match="deleted and made again"):
        consume.run(totals.writer_url, event_log.kafka, event_log.topic, threading.Event(), listener=Swapping())


def test_the_mirror_keeps_nothing_of_another_log(event_log: EventLog, tmp_path: Path, swap: Swap) -> None:
    def run(listener: MirrorListener) -> None:
        topics = [(event_log.topic, EVENTS)]
        mirror.run(event_log.kafka, tmp_path, topics, threading.Event(), ignore, follow=False, listener=listener)

    class Swapping(MirrorListener):
        def begun(self, topic: str, next_offsets: Mapping[int, int]) -> None:  # noqa: ARG002
            swap()  # the log was found to be the one mirrored: now it is read

    event_log.append([contest(), sheet(1)])
    run(MirrorListener())
    event_log.append([sheet(2)])
    with pytest.raises(LogDamaged, match="deleted and made again"):
        run(Swapping())
    with TopicFolder(tmp_path / event_log.topic, 1000) as folder:
        manifest = folder.manifest()
        assert manifest is not None
        assert manifest.next_offset(0) == 2


def test_ingest_publishes_nothing_to_another_log(
    kafka_server: Broker,
    kafka_producer: Any,
    kafka_admin: KafkaAdminClient,
    new_topic: Callable[..., str],
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
    with desk.pipeline() as pipeline:
        (definition,) = desk.messages(desk.names.events)
        make_again(kafka_admin, desk.names.events, new_topic)
        other = EventLog(kafka_server.bootstrap_servers, desk.names.events, kafka_producer)
        eventually(
            lambda: other.append_raw(definition.key, definition.value) == 0, lambda: "the other log has no event"
        )
        with pytest.raises(LogDamaged, match="deleted and made again"):
            pipeline.load([UPDATES])
    assert len(desk.messages(desk.names.events)) == 1
