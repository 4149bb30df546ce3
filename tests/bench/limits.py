"""The limits of this machine for the messages of a topic: `python -m tests.bench.limits consume|produce|copy`.

Each is the least that any program does with them, with the same client and servers: librdkafka hands over bytes, of
which nothing is made; it sends messages, and PostgreSQL copies rows, that were made before the clock started. copy
needs a migrated database, that of ESCRUTINIO_OWNER_URL. Prints a run as JSON. Linux.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from aggregator.live.partition import PartitionFold
from aggregator.log.reader import Log
from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from runtime.postgres import COPY_HEADER, COPY_TRAILER
from schemas.log_record import RawRecord
from tests.bench.processes import cpu_seconds

_BATCH = 20_000
_AT_ONCE = 5_000


def main() -> None:
    """Measure one limit once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("limit", choices=("consume", "produce", "copy"))
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True, help="of the messages")
    parser.add_argument("--to-topic", help="produce: an empty topic of one partition")
    parser.add_argument("--to-servers", metavar="HOST:PORT", help="produce: its broker, where it is another")
    parser.add_argument("--broker", type=int, required=True, metavar="PID")
    parser.add_argument("--postgresql", type=int, required=True, metavar="PID")
    asked = parser.parse_args()
    kafka = KafkaAccess(asked.bootstrap_servers)
    gc.disable()
    match asked.limit:
        case "consume":
            work = consuming(kafka, asked.topic)
        case "produce":
            work = producing(
                kafka, asked.topic, KafkaAccess(asked.to_servers or asked.bootstrap_servers), asked.to_topic
            )
        case _:
            work = copying(kafka, asked.topic, os.environ["ESCRUTINIO_OWNER_URL"])
    before, begun = _cpu(asked), time.perf_counter()
    count = work()
    seconds = time.perf_counter() - begun
    cpu = {process: after - before[process] for process, after in _cpu(asked).items()}
    print(json.dumps({"value": seconds, "cpu": cpu, "events": count}))


def _cpu(asked: argparse.Namespace) -> dict[str, float]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "command": own.ru_utime + own.ru_stime,
        "PostgreSQL": cpu_seconds(asked.postgresql),
        "broker": cpu_seconds(asked.broker),
    }


def consuming(kafka: KafkaAccess, topic: str) -> Callable[[], int]:
    """Return the work of reading every message as librdkafka hands it over, of partition 0."""
    client = librdkafka.client
    consumer = client.Consumer(
        kafka.properties
        | {
            "group.id": "escrutinio-bench",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.message.max.bytes": 8 << 20,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 100_000,
        }
    )
    _, end = consumer.get_watermark_offsets(client.TopicPartition(topic, 0))

    def work() -> int:
        consumer.assign([client.TopicPartition(topic, 0, 0)])
        done = 0
        while done < end:
            found = consumer.consume(_AT_ONCE, 0.1)
            if found and (fault := found[-1].error()) is not None:
                raise SystemExit(f"topic {topic}: {fault.str()}")
            done += len(found)
        return done

    return work


def producing(kafka: KafkaAccess, topic: str, to: KafkaAccess, to_topic: str) -> Callable[[], int]:
    """Return the work of sending the messages of a topic to another and waiting for every acknowledgement."""
    messages = [(raw.value, raw.key, raw.headers) for raw in _records(kafka, topic)]
    sending = librdkafka.Sending(to, 20, batch_bytes=131_072, largest_message=8 << 20)
    producer = sending.producer

    def work() -> int:
        produce = producer.produce
        for number, (value, key, headers) in enumerate(messages):
            produce(to_topic, value, key, 0, headers=headers)
            if number % _AT_ONCE == 0:
                while len(producer) > 4 * _AT_ONCE:
                    producer.poll(0.01)
        if left := producer.flush(60):
            raise SystemExit(f"topic {to_topic}: {left} messages are not acknowledged after 60 s")
        return len(messages)

    return work


def copying(kafka: KafkaAccess, topic: str, owner_url: str) -> Callable[[], int]:
    """Return the work of copying the rows of all updates into tables with the same indexes, in one transaction."""
    rows: defaultdict[tuple[str, tuple[str, ...]], list[bytes]] = defaultdict(list)
    fold, batch, count = PartitionFold(), list[RawRecord](), 0
    for raw in _records(kafka, topic):
        batch.append(raw)
        if len(batch) == _BATCH:
            _add(fold, batch, rows)
            count += len(batch)
            batch = []
    if batch:
        _add(fold, batch, rows)
    db: psycopg.Connection[Any] = psycopg.connect(owner_url)
    for table in {table for table, _ in rows}:
        statement = "CREATE TABLE {} (LIKE aggregate.{} INCLUDING ALL)"
        db.execute(sql.SQL(statement).format(sql.Identifier(f"copied_{table}"), sql.Identifier(table)))
    db.commit()

    def work() -> int:
        for (table, columns), encoded in rows.items():
            into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
                sql.Identifier(f"copied_{table}"), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with db.cursor() as cursor, cursor.copy(into) as copy:
                copy.write(COPY_HEADER)
                for some in encoded:
                    copy.write(some)
                copy.write(COPY_TRAILER)
        db.commit()
        return count + len(batch)

    return work


def _add(
    fold: PartitionFold, batch: list[RawRecord], rows: defaultdict[tuple[str, tuple[str, ...]], list[bytes]]
) -> None:
    for contest in fold.apply(batch).contests:
        for table, columns, encoded in contest.copies:
            rows[table, tuple(columns)].append(encoded)


def _records(kafka: KafkaAccess, topic: str) -> list[RawRecord]:
    with Log(kafka, topic, max_records=_BATCH) as log:
        return [raw for some in log.read_to_end(0) for raw in some]


if __name__ == "__main__":
    main()
