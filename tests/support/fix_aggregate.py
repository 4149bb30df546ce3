"""A log and a database to aggregate it into, fresh for each test, on the session's servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import KafkaProducer

from aggregator.live import run as consume
from aggregator.tables.migrate import migrate
from aggregator.verify.compare import verify
from aggregator.verify.report import Report
from results.count import Count
from results.projection import LIVE, Projection
from results.reader import Reader
from runtime.kafka.access import KafkaAccess
from schemas.codec import Message, encode
from schemas.identity import Event
from schemas.topics import TopicNames
from tests.support.builders import CONTEST
from tests.support.fix_postgres import Database
from tests.support.servers import Broker, Postgres


@dataclass
class EventLog:
    """A topic with the log's settings, and a plain way to append to it."""

    bootstrap_servers: str
    topic: str
    producer: Any = field(repr=False)

    @property
    def kafka(self) -> KafkaAccess:
        """How the log is reached."""
        return KafkaAccess(self.bootstrap_servers)

    def append(self, events: Iterable[Event]) -> int:
        """Append events in order; returns the offset of the last."""
        messages = [encode(event) for event in events]
        sent = [self.producer.send(self.topic, key=m.key, value=m.value, headers=m.headers) for m in messages]
        self.producer.flush()
        return int(sent[-1].get(30).offset) if sent else -1

    def append_messages(self, messages: Iterable[Message]) -> int:
        """Append messages as they are; returns the offset of the last."""
        return [self.append_raw(m.key, m.value, m.headers) for m in messages][-1]

    def append_raw(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> int:
        """Append any bytes."""
        future = self.producer.send(self.topic, key=key, value=value, headers=list(headers))
        self.producer.flush()
        return int(future.get(30).offset)


@pytest.fixture(scope="session")
def lasting_producer(kafka_server: Broker) -> Iterator[Any]:
    """The session's producer to the session's broker."""
    settings = {"acks": "all", "linger_ms": 5, "max_request_size": 8 * 1024 * 1024}
    with closing(KafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, **settings)) as producer:
        yield producer


@pytest.fixture
def kafka_producer(lasting_producer: Any) -> Any:
    """The session's producer, which forgets where a test has sent.

    For a topic that a test deleted, kafka-python's thread would ask as fast as it can, on a core of the session's.
    """
    yield lasting_producer
    lasting_producer.flush()
    lasting_producer._accumulator._batches.clear()


@pytest.fixture
def event_log(kafka_server: Broker, kafka_producer: Any, topic_prefix: str, new_topic: Callable[..., str]) -> EventLog:
    """An empty log of the test's own."""
    topic = new_topic("results.events", max_message_bytes="8388608")
    assert topic == TopicNames(topic_prefix).events
    return EventLog(kafka_server.bootstrap_servers, topic, kafka_producer)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """A database with every migration applied, to be copied."""
    from tests.support.fix_postgres import database_of

    postgres_server.create_database("migrated")
    migrate(database_of(postgres_server, "migrated").owner_url)
    return "migrated"


@pytest.fixture
def totals(migrated_template: str, new_database: Callable[..., Database]) -> Database:
    """A migrated, empty database."""
    return new_database(migrated_template)


def aggregate(log: EventLog, totals: Database, *, batch_size: int = 20_000) -> None:
    """Run the aggregator until it has caught up."""
    consume.run(
        totals.writer_url,
        log.kafka,
        log.topic,
        threading.Event(),
        batch_size=batch_size,
        until_caught_up=True,
    )


def verified(
    log: EventLog, totals: Database, to_offset: int | None = None, contest_id: str = CONTEST, at: Projection = LIVE
) -> Report:
    """What a comparison of the tables with the log finds."""
    with Reader(totals.reader_url, at) as views:
        return verify(views, log.kafka, log.topic, contest_id, to_offset)


def count_of(totals: Database, contest_id: str, area_id: str | None = None) -> Count:
    """The count as a reader gets it."""
    with Reader(totals.reader_url) as views:
        return views.count(contest_id, area_id)
