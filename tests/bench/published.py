"""Measure what publishing costs the count, and how soon totals are on their topic and with a reader who begins."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from runtime.kafka.access import KafkaAccess
from schemas.area_count import AreaCount
from schemas.codec import decode, encode
from schemas.topics import TopicNames
from schemas.types import ReportingUnitType
from tests.bench.figures import Run
from tests.bench.processes import cpu_seconds
from tests.bench.site import CommandFailed, Place, Site
from tests.support.builders import bulletin, contest

_WITHIN_S = 300.0
_POLL_S = 0.01
_WARM_UP = 20
_COMMITTED = "SELECT coalesce(max(last_offset), -1) FROM results.contest"
_WAITING = """SELECT (SELECT count(*) FROM publish.outbox)
     + (SELECT count(*) FROM results.contest c LEFT JOIN publish.contest p USING (contest_id)
        WHERE p.totals_to IS DISTINCT FROM c.last_offset)"""


def counted(site: Site, log: Place, to: Place, *, publish: bool) -> tuple[Run, Run]:
    """Send a log again to the empty topics of a place, beside a running aggregator.

    Returns the seconds from the beginning of sending until the last event is committed, and until the last count is on
    its topic (with `publish`; else the same). Raises CommandFailed.
    """
    command = [site.python, "-m", "aggregator", "run", *(["--publish"] if publish else [])]
    from_topic, topic = TopicNames(log.prefix).events, TopicNames(to.prefix).events
    with (
        site.started(to, command, site.checkout) as (process, _),
        psycopg.connect(site.urls(to)["owner_url"], autocommit=True) as db,
    ):
        _until(db, "SELECT count(*) - 1 FROM checking.cursor", 0)  # it has claimed the log, and waits
        before, begun = cpu_seconds(process.pid), time.perf_counter()
        sent = site.limit(log, "produce", "--topic", from_topic, "--to-topic", topic)
        begun = time.perf_counter() - sent.value if sent.value else begun
        _until(db, _COMMITTED, (sent.events or 0) - 1)
        committed = Run(time.perf_counter() - begun, {"command": cpu_seconds(process.pid) - before})
        if not publish:
            return committed, committed
        _until(db, f"SELECT -({_WAITING})", 0)
        return committed, Run(time.perf_counter() - begun, {"command": cpu_seconds(process.pid) - before})


def _until(db: psycopg.Connection[Any], query: Any, least: int) -> None:
    deadline = time.perf_counter() + _WITHIN_S
    while True:
        (found,) = db.execute(query).fetchone() or (None,)
        if found is not None and found >= least:
            return
        if time.perf_counter() > deadline:
            raise CommandFailed(f"not within {_WITHIN_S:.0f} s: {query}")
        time.sleep(_POLL_S)


def read_from_the_beginning(site: Site, place: Place) -> tuple[Run, int]:
    """Read the totals of a place as a reader who begins: seconds from connecting to the last, and the areas."""
    begun, areas = time.perf_counter(), set[bytes]()
    consumer, ends = _consumer(site, place)
    with consumer:
        consumer.seek_to_beginning()
        messages = 0
        while any(consumer.position(at) < end for at, end in ends.items()):
            for records in consumer.poll(1000).values():
                for record in records:
                    assert isinstance(decode(record.value), AreaCount)
                    areas.add(record.key)
                    messages += 1
    return Run(time.perf_counter() - begun, events=messages), len(areas)


def latency(site: Site, place: Place, samples: int) -> list[float]:
    """Return the milliseconds from the sending of one update to its total on the topic, beside a running aggregator."""
    producer: Any = KafkaAccess(site.bootstrap_servers).open(KafkaProducer, acks="all", linger_ms=0)
    topic, seen = TopicNames(place.prefix).events, list[float]()
    definition = contest(level=(ReportingUnitType.COUNTRY,))

    def send(event: Any) -> int:
        message = encode(event)
        sent = producer.send(topic, key=message.key, value=message.value, headers=message.headers)
        return int(sent.get(_WITHIN_S).offset)

    consumer, _ = _consumer(site, place)
    with site.started(place, [site.python, "-m", "aggregator", "run", "--publish"], site.checkout), consumer:
        try:
            send(definition)
            update = None
            for sample in range(samples + _WARM_UP):
                update = bulletin(100 + sample, 50, counted=90, after=update, hours=12 + sample / 100)
                begun = time.perf_counter()
                _await(consumer, send(update), begun)
                seen.append((time.perf_counter() - begun) * 1000)
        finally:
            producer.close()
    return seen[_WARM_UP:]


def _await(consumer: Any, offset: int, begun: float) -> None:
    while time.perf_counter() - begun < _WITHIN_S:
        for records in consumer.poll(1000).values():
            for record in records:
                count = decode(record.value)
                if isinstance(count, AreaCount) and count.as_of_offset >= offset:
                    return
    raise CommandFailed(f"no total within {_WITHIN_S:.0f} s")


def _consumer(site: Site, place: Place) -> tuple[Any, dict[TopicPartition, int]]:
    topic = TopicNames(place.prefix).totals
    consumer: Any = KafkaAccess(site.bootstrap_servers).open(KafkaConsumer, fetch_max_wait_ms=10)
    parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(parts)
    ends = consumer.end_offsets(parts)
    for at, end in ends.items():
        consumer.seek(at, end)
    return consumer, ends
