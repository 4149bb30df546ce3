"""kill -9 at random moments, of every part, in the middle of the sheets: the end is as if nothing had happened.

All of it in `make soak`: twice each on 8,000 made-up sheets and their corrections, forty times on the real night. In
every run compose's services are killed in turn (tests/compose), and each command by itself.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from aggregator.tables.migrate import migrate
from deploy.local.postgres import DATABASE
from tests.acceptance.conftest import ACTAS, Night
from tests.acceptance.test_operator import on_the_log
from tests.acceptance.test_restore import many_sheets
from tests.support.fix_ingest import unbroken
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import CONTEST, EXAMPLE, STATED, Setup
from tests.support.servers import Broker, Postgres, Server


class Killer:
    """Starts a command again and again, and kills it a random number of events further, while it is at work."""

    def __init__(
        self, start: Callable[[], subprocess.Popen[str]], position: Callable[[], int | None], end: int, wanted: int
    ) -> None:
        """`position`: how far the work is, from 0 to `end`; None while nobody answers. `wanted`: kills."""
        self.kills, self._wanted = 0, wanted
        self._start, self._position, self._end, self._random = start, position, end, random.Random(random.random())

    def run(self) -> None:
        """Until it was killed as often as wanted in the middle of its work. Each step leaves enough for those to
        come."""
        deadline = time.monotonic() + 900
        while self.kills < self._wanted and time.monotonic() < deadline and (before := self._known()) < self._end:
            further = self._random.randint(1, max(1, (self._end - before) // (self._wanted - self.kills + 1)))
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


@pytest.mark.soak
def test_everything_killed_at_random_ends_where_an_undisturbed_run_ends(
    kafka_server: Broker,
    new_setup: Callable[[Broker], Setup],
    own_kafka_server: Broker,
    own_postgres_server: Postgres,
    tmp_path: Path,
) -> None:
    files = [
        EXAMPLE / "updates.csv",
        many_sheets(tmp_path / "one.csv", 8_000),
        many_sheets(tmp_path / "two.csv", 8_000, at="2021-06-09T01:12:00Z", blank_votes=2),
    ]
    calm = new_setup(kafka_server)
    calm.load(*files)
    calm.aggregate()
    killed = a_new_setup(own_kafka_server, own_postgres_server, tmp_path)
    killed_at_random_it_ends_as(calm, killed, files, kills=2, servers=[own_postgres_server, own_kafka_server])


@pytest.mark.soak
def test_the_real_night_killed_forty_times_ends_where_an_undisturbed_run_ends(
    night: Night, own_kafka_server: Broker, own_postgres_server: Postgres, data: Path, tmp_path: Path
) -> None:
    files = [data / "national", *(data / "actas" / f"{m}.csv.gz" for m in ACTAS)]
    killed = a_new_setup(own_kafka_server, own_postgres_server, tmp_path)
    servers = [own_postgres_server, own_kafka_server] * 2
    killed_at_random_it_ends_as(night.setup, killed, files, kills=20, servers=servers)


def a_new_setup(broker: Broker, postgres: Postgres, folder: Path) -> Setup:
    """Everything on servers that may be killed."""
    database = database_of(postgres, DATABASE)
    migrate(database.owner_url)
    setup = Setup(broker.bootstrap_servers, "killed.", database, folder / "archive")
    setup.run("ingest", "topics")
    return setup


def killed_at_random_it_ends_as(
    calm: Setup, setup: Setup, files: Sequence[Path], *, kills: int, servers: Sequence[Server]
) -> None:
    """Load and aggregate the files in `setup`, killing both commands and the servers; the end is as in `calm`."""
    load = ["load", "--contest", str(EXAMPLE / "contest.toml"), "--stated-at", STATED, *map(str, files)]
    end_of_log, calm_end = (EndOfLog(one.bootstrap_servers, one.names.events) for one in (setup, calm))
    everything = calm_end()
    assert everything is not None
    calm_end.close()

    def cursor() -> int | None:
        try:
            with psycopg.connect(setup.database.reader_url, connect_timeout=5) as db:
                row = db.execute("SELECT next_offset FROM checking.cursor").fetchone()
                return int(row[0]) if row else 0
        except psycopg.OperationalError:
            return None

    ingest = Killer(lambda: setup.start("ingest", *load), end_of_log, everything, kills)
    # What ingest has sent by its own last kill is enough for the aggregator's.
    aggregator = Killer(lambda: setup.start("aggregator", "run", "--batch-size", "200"), cursor, everything // 2, kills)
    threads = [threading.Thread(target=killer.run) for killer in (ingest, aggregator)]
    for thread in threads:
        thread.start()
    seen = EndOfLog(setup.bootstrap_servers, setup.names.events)
    at: list[int] = []
    for number, server in enumerate(servers, start=1):
        while ((position := seen()) is None or position < everything * number // (2 * len(servers))) and threads[
            0
        ].is_alive():
            time.sleep(0.05)
        at.append(position or 0)
        server.kill()
        server.start()
    for thread in threads:
        thread.join()
    seen.close()
    end_of_log.close()
    assert max(at) < everything, "the servers were killed in the middle of the work"
    assert (ingest.kills, aggregator.kills) == (kills, kills)

    setup.run("ingest", *load)
    setup.aggregate()
    events = on_the_log(setup)
    assert unbroken(events)
    assert setup.show()["digest"] == calm.show()["digest"]
    undisturbed, disturbed = (one.json("aggregator", "status")["contests"][0]["findings"] for one in (calm, setup))
    assert undisturbed == disturbed
    told = setup.database.read("SELECT count(*), count(DISTINCT event_id) FROM results.update_history")
    assert told == [(len(events), len(events))]
    assert setup.json("aggregator", "replay", CONTEST) == setup.show()
