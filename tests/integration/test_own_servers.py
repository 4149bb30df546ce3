"""What the test plug-ins promise: real servers, where each test sees only its own."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from deploy.local import Broker
from tests.fix_postgres import Database


@pytest.mark.parametrize("_time", ["once", "again"])
def test_a_test_finds_its_database_empty(database: Database, _time: str) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("CREATE TABLE counts (vote_count bigint)")
        owner.execute("INSERT INTO counts VALUES (1)")
    for url in (database.writer_url, database.reader_url):
        with psycopg.connect(url) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("SELECT * FROM counts")


@pytest.mark.parametrize("_time", ["once", "again"])
def test_a_test_finds_its_topic_empty(kafka_server: Broker, new_topic: Callable[..., str], _time: str) -> None:
    topic = new_topic("results.events")
    producer = KafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, acks="all")
    try:
        assert producer.send(topic, b"first").get(timeout=30).offset == 0
    finally:
        producer.close()


def test_a_topic_is_never_made_by_accident(kafka_server: Broker, topic_prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap_servers)
    try:
        assert topic_prefix + "typo" not in admin.list_topics()
    finally:
        admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, max_block_ms=1000)
    try:
        with pytest.raises(Exception, match=r"(?i)metadata|unknown"):
            producer.send(topic_prefix + "typo", b"lost").get(timeout=5)
    finally:
        producer.close()
