"""kill -9 at random moments, of every part, in the middle of the real sheets: the end is as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.codec import decode
from schemas.count_update import CountUpdate
from tests.acceptance.conftest import ACTAS, Night
from tests.support.fix_setup import CONTEST, EXAMPLE, FETCHED, Setup
from tests.support.servers import Broker, Postgres

KILLS = 20


class Killer:
    """Starts a command again and again, and kills it a random number of events further, while it is at work."""

    def __init__(
        self, start: Callable[[], subprocess.Popen[str]], position: Callable[[], int | None], end: int, seed: int
    ) -> None:
        """`position`: how far the work is, from 0 to `end`; None while nobody answers."""
        self.kills = 0
        self._start, self._position, self._end, self._random = start, position, end, random.Random(seed)

    def run(self) -> None:
        """Until it was killed KILLS times in the middle of its work. Each step leaves enough for those to come."""
        deadline = time.monotonic() + 900
        while self.kills < KILLS and time.monotonic() < deadline and (before := self._known()) < self._end:
            further = self._random.randint(1, max(1, (self._end - before) // (KILLS - self.kills + 1)))
            process, moved = self._start(), False
            while process.poll() is None and not moved and time.monotonic() < deadline:
                now = self._position()
                moved = now is not None and now >= before + further
                time.sleep(0.01)
            at_work = process.poll() is None and moved
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.kills += at_work and self._known() < self._end

    def _known(self) -> int:
        while (position := self._position()) is None:
            time.sleep(0.1)
        return position


class EndOfLog:
    """Asks the broker how many events it has. Slow answers are no answers: meanwhile ingest would run on unwatched."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._servers, self._partition = bootstrap_servers, TopicPartition(topic, 0)
        self._consumer: Any = None

    def __call__(self) -> int | None:
        """The end offset; None while no broker answers."""
        try:
            if self._consumer is None:
                self._consumer = KafkaConsumer(
                    bootstrap_servers=self._servers, enable_auto_commit=False, bootstrap_timeout_ms=1000
                )
            return int(self._consumer.end_offsets([self._partition], timeout_ms=1000)[self._partition])
        except KafkaError:
            self.close()
            return None

    def close(self) -> None:
        """Lets go of the connection."""
        if self._consumer is not None:
            self._consumer.close(timeout_ms=0)
            self._consumer = None


def test_everything_killed_at_random_ends_where_an_undisturbed_run_ends(
    night: Night, own_kafka_server: Broker, own_postgres_server: Postgres, new_root: Callable[[], Path], data: Path
) -> None:
    from aggregator.tables.migrate import migrate
    from tests.support.fix_postgres import database_of

    database = database_of(own_postgres_server, "escrutinio")
    migrate(database.owner_url)
    setup = Setup(own_kafka_server.bootstrap_servers, "killed.", database, new_root() / "archive")
    setup.run("ingest", "topics")
    files = [data / "national", *(data / "actas" / f"{m}.csv.gz" for m in ACTAS)]
    load = ["load", "--contest", str(EXAMPLE / "contest.toml"), "--observed-at", FETCHED, *map(str, files)]
    everything = 1 + 44 + 90_305 + 1  # definition, bulletins, sheets, the moved counting level

    end_of_log = EndOfLog(setup.bootstrap_servers, setup.names.events)

    def cursor() -> int | None:
        try:
            with psycopg.connect(database.reader_url, connect_timeout=5) as db:
                row = db.execute("SELECT next_offset FROM results.cursor").fetchone()
                return int(row[0]) if row else 0
        except psycopg.OperationalError:
            return None

    ingest = Killer(lambda: setup.start("ingest", *load), end_of_log, everything, seed=1)
    # What ingest has sent by its own 20th kill is enough for the aggregator's.
    aggregator = Killer(
        lambda: setup.start("aggregator", "run", "--batch-size", "500"), cursor, everything // 2, seed=2
    )
    threads = [threading.Thread(target=killer.run) for killer in (ingest, aggregator)]
    for thread in threads:
        thread.start()
    seen = EndOfLog(setup.bootstrap_servers, setup.names.events)
    at: list[int] = []
    for number, server in enumerate((own_postgres_server, own_kafka_server, own_postgres_server, own_kafka_server)):
        while ((position := seen()) is None or position < everything * (number + 1) // 8) and threads[0].is_alive():
            time.sleep(0.05)
        at.append(position or 0)
        server.kill()
        server.start()
    for thread in threads:
        thread.join()
    seen.close()
    end_of_log.close()
    assert max(at) < everything, "the servers were killed in the middle of the work"
    assert (ingest.kills, aggregator.kills) == (KILLS, KILLS)

    setup.run("ingest", *load)
    setup.aggregate()
    events = _events(setup)
    assert len(events) == everything
    assert max(Counter(event_id for event_id, _ in events).values()) == 1
    _chains_are_whole([update for _, update in events if isinstance(update, CountUpdate)])
    assert setup.show()["digest"] == night.setup.show()["digest"]
    undisturbed, disturbed = (
        setup.json("aggregator", "status")["contests"][0]["findings"] for setup in (night.setup, setup)
    )
    assert undisturbed == disturbed
    with psycopg.connect(database.reader_url) as db:
        assert db.execute("SELECT count(*), count(DISTINCT event_id) FROM results.update_history").fetchone() == (
            90_349,
            90_349,
        )
    assert setup.json("aggregator", "replay", CONTEST) == setup.show()


def _events(setup: Setup) -> list[tuple[str, object]]:
    partition = TopicPartition(setup.names.events, 0)
    consumer = KafkaConsumer(bootstrap_servers=setup.bootstrap_servers, group_id=None, max_poll_records=10_000)
    try:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        events: list[tuple[str, object]] = []
        while consumer.position(partition) < end:
            for record in consumer.poll(500).get(partition, []):
                event = decode(record.value)
                events.append((str(event.event_id), event))
        assert len(events) == end, "the offsets have no hole"
        return events
    finally:
        consumer.close()


def _chains_are_whole(updates: list[CountUpdate]) -> None:
    last: dict[object, CountUpdate] = {}
    for update in updates:
        before = last.get(update.unit)
        assert update.sequence == (before.sequence + 1 if before else 1)
        assert update.previous_event_id == (before.event_id if before else None)
        last[update.unit] = update
