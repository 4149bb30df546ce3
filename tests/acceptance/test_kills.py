"""Totals and notices while whatever is behind them is killed in turn: what is told is what an undisturbed run tells."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer

from deploy.local.postgres import DATABASE
from results.as_of import ContestAsOf
from results.moment import Moment
from results.reader import Reader
from schemas.area_count import AreaCount
from schemas.codec import decode
from schemas.notice import Notice
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import Setup
from tests.support.nights import Night, messages
from tests.support.published import notices, once, shown, totals
from tests.support.servers import Broker, Postgres
from tests.support.waiting import WITHIN_S, eventually

NIGHT = Night(
    events=12_000, units=4_000, states=5, counties=20, municipalities=60, documents=60, levels=(("precinct",),)
)
CONTEST = "pe-2021-night-1"
AWAY_FROM = 10
"""So many messages a newsroom reads; then it is away until the end."""


@pytest.fixture
def setup(own_kafka_server: Broker, own_postgres_server: Postgres, tmp_path: Path) -> Setup:
    database = database_of(own_postgres_server, DATABASE)
    made = Setup(own_kafka_server.bootstrap_servers, "kills.", database, tmp_path / "archive")
    made.run("aggregator", "migrate")
    made.run("ingest", "topics")
    return made


@pytest.mark.parametrize("turns", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_killed_in_turn_under_load_it_is_told_once_in_order_and_right(
    setup: Setup, own_kafka_server: Broker, own_postgres_server: Postgres, turns: int
) -> None:
    run = setup.start("aggregator", "run", "--publish")

    def kill_the_run() -> None:
        nonlocal run
        run.send_signal(signal.SIGKILL)
        run.wait()
        run = setup.start("aggregator", "run", "--publish")

    def kill(server: Broker | Postgres) -> Callable[[], None]:
        def killed() -> None:
            server.kill()
            server.start()

        return killed

    kills = [kill_the_run, kill(own_kafka_server), kill(own_postgres_server)] * turns
    log = list(messages(NIGHT))
    try:
        eventually(lambda: setup.database.read("SELECT FROM checking.cursor"))
        away = Newsroom(setup)
        _send(setup, log, kills, away)
        eventually(lambda: setup.database.read("SELECT FROM results.contest WHERE last_offset = %s", len(log) - 1))
        replayed = setup.json("aggregator", "notices", CONTEST)
        eventually(lambda: len(_of_the_log(notices(setup))) == len(replayed))
    finally:
        run.terminate()
    assert run.wait(WITHIN_S) == 0
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


def _send(setup: Setup, log: Sequence[Any], kills: Sequence[Callable[[], None]], away: Newsroom) -> None:
    """Send the log in order, and kill in the middle of each part."""
    part = len(log) // (len(kills) + 1)
    settings = {"bootstrap_servers": setup.bootstrap_servers, "enable_idempotence": True}
    with closing(KafkaProducer(**settings)) as producer:
        for number, message in enumerate(log):
            producer.send(setup.names.events, key=message.key, value=message.value, headers=message.headers)
            if number == part // 2:
                producer.flush()
                away.read(AWAY_FROM)
            if number % part == part - 1 and number // part < len(kills):
                kills[number // part]()
        producer.flush()
