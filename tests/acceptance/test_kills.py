"""Totals, notices and the live stream while whatever is behind them is killed in turn: what is told is what an
undisturbed run tells."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from kafka import KafkaConsumer, KafkaProducer

from api.database import WAIT_S
from api.positions import PATIENCE_S
from deploy.local.postgres import DATABASE
from deploy.local.server import free_port
from results.as_of import ContestAsOf
from results.moment import Moment
from results.reader import Reader
from runtime.healthcheck import ask
from schemas.area_count import AreaCount
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.notice import Notice
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import CHECKOUT, Setup
from tests.support.nights import Night, messages
from tests.support.published import notices, once, shown, totals
from tests.support.servers import Broker, Postgres
from tests.support.waiting import WITHIN_S, eventually

NIGHT = Night(
    events=12_000, units=4_000, states=5, counties=20, municipalities=60, documents=60, levels=(("precinct",),)
)
CONTEST = "pe-2021-night-1"
BEGUN = 1_000
"""So many messages are counted before anybody follows the stream."""
AWAY_FROM = 10
"""So many messages a newsroom reads; then it is away until the end."""


@pytest.fixture
def setup(own_kafka_server: Broker, own_postgres_server: Postgres, tmp_path: Path) -> Setup:
    database = database_of(own_postgres_server, DATABASE)
    made = Setup(own_kafka_server.bootstrap_servers, "kills.", database, tmp_path / "archive")
    made.run("aggregator", "migrate")
    made.run("ingest", "topics")
    return made


class Running:
    """A service in a process of its own, which is ended and started again."""

    def __init__(self, setup: Setup, *command: str) -> None:
        self._start = partial(setup.start, *command)
        self._process = self._start()

    def kill(self) -> None:
        """`kill -9`, and start."""
        self._end(signal.SIGKILL)
        self.start()

    def start(self) -> None:
        """Start it again."""
        self._process = self._start()

    def stop(self) -> int:
        """Ask it to end. Returns its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        return self._process.wait(WITHIN_S)


@contextmanager
def crowd(port: int, changes: int, followers: int) -> Iterator[Callable[[], Any]]:
    """Clients that follow the stream, and a tenth as many that poll. Yields what returns what they saw, at the end."""
    asked = {"followers": followers, "changes": changes, "timed": 1, "pollers": followers // 10, "seconds": 60}
    command = [sys.executable, "-m", "tests.bench.crowd", f"--port={port}", *(f"--{n}={v}" for n, v in asked.items())]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield lambda: json.loads(process.communicate(timeout=10 * WITHIN_S)[0])
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("turns", "followers", "events"),
    [
        (1, 100, NIGHT.events),
        pytest.param(10, 100, NIGHT.events, marks=pytest.mark.soak, id="turns"),
        pytest.param(1, 2000, 3_000, marks=pytest.mark.soak, id="crowd"),
    ],
)
def test_killed_in_turn_under_load_it_is_told_once_in_order_and_right(
    setup: Setup, own_kafka_server: Broker, own_postgres_server: Postgres, turns: int, followers: int, events: int
) -> None:
    port, http = free_port(), free_port()
    run = Running(setup, "aggregator", "run", "--publish")
    api = Running(setup, "api", "serve", f"--listen=127.0.0.1:{port}", f"--http=127.0.0.1:{http}")

    def kill(server: Broker | Postgres, away_s: float = 0) -> Callable[[], None]:
        def killed() -> None:
            server.kill()
            time.sleep(away_s)
            server.start()

        return killed

    def answers() -> None:
        eventually(lambda: ask(f"http://127.0.0.1:{http}/ready") is None)

    def restart() -> None:
        answers()
        assert api.stop() == 0
        api.start()

    def rebuild() -> None:
        setup.alone("aggregator", "rebuild")

    servers = [kill(own_kafka_server), kill(own_postgres_server), kill(own_postgres_server, WAIT_S + PATIENCE_S)]
    kills = [run.kill, api.kill, restart, *servers, rebuild] * turns
    log = list(messages(NIGHT))[:events]
    followed = sum(isinstance(decode(message.value), CountUpdate) for message in log[BEGUN:])
    with ExitStack() as opened:
        opened.callback(run.stop)
        opened.callback(api.stop)
        eventually(lambda: setup.database.read("SELECT FROM checking.cursor"))
        _send(setup, log[:BEGUN])
        eventually(lambda: setup.database.read("SELECT FROM results.contest WHERE last_offset = %s", BEGUN - 1))
        answers()
        saw = opened.enter_context(crowd(port, followed, followers))
        away = Newsroom(setup)
        away.read(AWAY_FROM)
        _send(setup, log[BEGUN:], kills)
        eventually(lambda: setup.database.read("SELECT FROM results.contest WHERE last_offset = %s", len(log) - 1))
        replayed = setup.json("aggregator", "notices", CONTEST)
        eventually(lambda: len(_of_the_log(notices(setup))) == len(replayed))
        seen = saw()
        assert {name: seen[name] for name in ("followers", "missed_or_doubled", "changes")} == {
            "followers": followers, "missed_or_doubled": 0, "changes": followers * followed,
        }  # fmt: skip
        assert seen["came_back"] >= 2 * followers
        with urlopen(f"http://127.0.0.1:{port}/v1/contests/{CONTEST}/counts") as answer:
            assert seen["counts"] == [json.load(answer)], "each has the count of the end as its last"
        answers()
        assert (run.stop(), api.stop()) == (0, 0)
    assert [str(notice.event_id) for notice in _of_the_log(notices(setup))] == [one["event_id"] for one in replayed]
    found = totals(setup)
    last: dict[str, Any] = {}
    for count in once(found):
        before = last.get(count.area_id)
        assert count.previous_event_id == (before.event_id if before is not None else None)
        assert before is None or before.as_of_offset < count.as_of_offset
        last[count.area_id] = count
    assert {count.area_id: count.event_id for count in found} == {area: count.event_id for area, count in last.items()}
    with Reader(setup.database.reader_url) as views:
        counts = ContestAsOf(views, CONTEST, Moment(offset=len(log) - 1)).counts(sorted(last))
    assert len(last) > NIGHT.municipalities
    for area, count in last.items():
        answer = counts[area].model_dump(mode="json")
        assert shown(count) == {name: answer[name] for name in shown(count)}
    away.read()
    assert away.totals == {area: count.event_id for area, count in last.items()}
    assert [str(event_id) for event_id in away.notices] == [one["event_id"] for one in replayed]


class Newsroom:
    """A reader in a group: it keeps the last total of each area, and each notice once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.totals: dict[str, Any] = {}
        self.notices: dict[Any, None] = {}

    def read(self, at_least: int | None = None) -> None:
        """Read on from where it was, so many messages or until the end, and commit."""
        topics = (self.setup.names.totals, self.setup.names.notices)
        settings = {"group_id": "newsroom-test", "auto_offset_reset": "earliest", "enable_auto_commit": False}
        number = 0
        with closing(KafkaConsumer(*topics, bootstrap_servers=self.setup.bootstrap_servers, **settings)) as consumer:
            while number < at_least if at_least is not None else not _is_at_end(consumer):
                for records in consumer.poll(500).values():
                    number += len(records)
                    for record in records:
                        self._keep(decode(record.value))
            consumer.commit()

    def _keep(self, event: Any) -> None:
        if isinstance(event, AreaCount):
            self.totals[event.area_id] = event.event_id
        elif isinstance(event, Notice) and not event.is_operational:
            self.notices[event.event_id] = None


def _is_at_end(consumer: Any) -> bool:
    ends = consumer.end_offsets(consumer.assignment())
    return bool(ends) and all(consumer.position(at) >= end for at, end in ends.items())


def _of_the_log(found: Sequence[Any]) -> list[Any]:
    return [notice for notice in once(found) if not notice.is_operational]


def _send(setup: Setup, log: Sequence[Any], kills: Sequence[Callable[[], object]] = ()) -> None:
    """Send messages in order, and kill at the end of each part but the last."""
    part = len(log) // (len(kills) + 1)
    settings = {"bootstrap_servers": setup.bootstrap_servers, "enable_idempotence": True}
    with closing(KafkaProducer(**settings)) as producer:
        for number, message in enumerate(log):
            producer.send(setup.names.events, key=message.key, value=message.value, headers=message.headers)
            if number % part == part - 1 and number // part < len(kills):
                kills[number // part]()
        producer.flush()
