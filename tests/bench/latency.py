"""Measure one update at a time: from `send` to the moment when a reader's query sees it."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from kafka import KafkaProducer

from runtime.kafka.access import KafkaAccess
from schemas.codec import encode
from schemas.count_update import CountUpdate
from schemas.topics import TopicNames
from schemas.types import ReportingUnitType
from tests.bench.site import CommandFailed, Place, Site
from tests.support.builders import bulletin, contest

_WARM_UP = 20
_WITHIN_S = 30.0
_QUERY = "SELECT 1 FROM results.unit_count WHERE contest_id = %s AND unit_type = 'country' AND event_id = %s"


def measure(site: Site, place: Place, samples: int) -> list[float]:
    """Return the milliseconds of each update, beside a running aggregator. Raises CommandFailed."""
    command = [site.python, "-m", "aggregator", "run"]
    producer: Any = KafkaAccess(site.bootstrap_servers).open(KafkaProducer, acks="all", linger_ms=0)
    topic = TopicNames(place.prefix).events
    seen: list[float] = []
    try:
        with (
            site.started(place, command, site.checkout) as (process, output),
            psycopg.connect(site.urls(place)["reader_url"], autocommit=True) as db,
        ):
            definition = contest(level=(ReportingUnitType.COUNTRY,))
            _send(producer, topic, definition)
            update: CountUpdate | None = None
            for sample in range(samples + _WARM_UP):
                update = bulletin(100 + sample, 50, counted=90, after=update, hours=12 + sample / 100)
                begun = time.perf_counter()
                _send(producer, topic, update)
                while db.execute(_QUERY, (definition.contest_id, update.event_id)).fetchone() is None:
                    if process.poll() is not None:
                        lines = output.with_suffix(".err").read_text(encoding="utf-8").splitlines()[-3:]
                        raise CommandFailed(f"the aggregator ended: {' | '.join(lines)}")
                    if time.perf_counter() - begun > _WITHIN_S:
                        raise CommandFailed(f"update {sample} is not visible after {_WITHIN_S:.0f} s")
                seen.append((time.perf_counter() - begun) * 1000)
    finally:
        producer.close()
    return seen[_WARM_UP:]


def _send(producer: Any, topic: str, event: Any) -> None:
    message = encode(event)
    producer.send(topic, key=message.key, value=message.value, headers=message.headers)
