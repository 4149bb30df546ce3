"""What the test plug-ins promise: real servers, where each test sees only its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient

from runtime.kafka.access import KafkaAccess
from tests.support.fix_kafka import create_topic
from tests.support.fix_postgres import Database
from tests.support.servers import Broker, Postgres, Server

ENDS: dict[str, Callable[[Server], object]] = {"killed": lambda one: one.kill(), "stopped": lambda one: one.stop()}


@pytest.mark.parametrize("_time", ["once", "again"])
def test_a_test_finds_its_database_empty(database: Database, _time: str) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("CREATE TABLE counts (vote_count bigint)")
        owner.execute("INSERT INTO counts VALUES (1)")
    for url in (database.writer_url, database.reader_url):
        with psycopg.connect(url) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("SELECT * FROM public.counts")


@pytest.mark.parametrize("_time", ["once", "again"])
def test_a_test_finds_its_topic_empty(kafka_producer: Any, new_topic: Callable[..., str], _time: str) -> None:
    assert kafka_producer.send(new_topic("results.events"), b"first").get(timeout=30).offset == 0


def test_a_topic_is_never_made_by_accident(
    kafka_server: Broker, kafka_admin: KafkaAdminClient, topic_prefix: str
) -> None:
    assert topic_prefix + "typo" not in kafka_admin.list_topics()
    one = closing(KafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, max_block_ms=1000))
    with one as producer, pytest.raises(Exception, match=r"(?i)metadata|unknown"):
        producer.send(topic_prefix + "typo", b"lost").get(timeout=5)


@pytest.mark.parametrize("client", [KafkaConsumer, KafkaProducer, KafkaAdminClient])
def test_no_client_of_ours_makes_a_topic_by_asking_for_it(kafka_server: Broker, client: Any) -> None:
    with closing(KafkaAccess(kafka_server.bootstrap_servers).open(client)) as opened:
        metadata = opened._metadata if client is KafkaProducer else opened._manager.cluster
        assert not metadata.metadata_request().allow_auto_topic_creation


@pytest.mark.parametrize("end", ENDS)
def test_a_broker_comes_back_with_its_port_and_its_data(own_kafka_server: Broker, end: str) -> None:
    before = own_kafka_server.bootstrap_servers
    create_topic(own_kafka_server, "kept")

    def next_offset() -> int:
        with closing(KafkaProducer(bootstrap_servers=before, acks="all")) as producer:
            return int(producer.send("kept", b"x").get(timeout=30).offset)

    assert next_offset() == 0
    ENDS[end](own_kafka_server)
    host, _, port = before.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    own_kafka_server.start()
    assert own_kafka_server.bootstrap_servers == before
    assert next_offset() == 1


@pytest.mark.parametrize("end", ENDS)
def test_a_database_comes_back_with_its_port_and_its_data(own_postgres_server: Postgres, end: str) -> None:
    before = own_postgres_server.owner_url
    with psycopg.connect(before) as owner:
        owner.execute("CREATE TABLE kept ()")
    ENDS[end](own_postgres_server)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(before)
    own_postgres_server.start()
    assert own_postgres_server.owner_url == before
    with psycopg.connect(before) as owner:
        assert owner.execute("SELECT count(*) FROM kept").fetchone() == (0,)
