"""A subscriber of the topics, and a reader of the tables, see that the count stands still, is behind, or is blocked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.publish.alive import BEHIND_S, CountSigns
from aggregator.tables.batch import Cursor
from runtime.kafka.access import KafkaAccess
from runtime.postgres import DatabaseError
from schemas.aggregator_status import AggregatorStatus
from schemas.codec import decode, encode
from schemas.identity import Event
from schemas.source_status import SourceState
from schemas.topics import TopicNames
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog
from tests.support.fix_postgres import Database
from tests.support.fix_setup import Setup
from tests.support.published import at_work, begin, messages, notices, publish
from tests.support.servers import Broker
from tests.support.strategies import an_ingest_status
from tests.support.waiting import eventually

NOW = datetime(2021, 6, 6, 19, 23, tzinfo=UTC)


class Watch:
    """What a test says of the time, and who looks at the count at that time."""

    def __init__(self, setup: Setup, producer: Any) -> None:
        self.setup, self.at_s, self._producer = setup, 0.0, producer

    def append(self, *events: Event) -> int:
        """Append events to the log; returns the offset of the last."""
        return EventLog(self.setup.bootstrap_servers, self.setup.names.events, self._producer).append(events)

    def now(self) -> datetime:
        """The time of the aggregator's clock."""
        return NOW + timedelta(seconds=self.at_s)

    @contextmanager
    def looking(self, url: str | None = None) -> Iterator[Callable[[], None]]:
        """An aggregator that holds every partition, and counts nothing. Yields what looks once."""
        setup, kafka = self.setup, KafkaAccess(self.setup.bootstrap_servers)
        signs = CountSigns(
            url or setup.database.writer_url, kafka, setup.names.events, setup.names,
            now=self.now, monotonic=lambda: self.at_s,
        )  # fmt: skip
        rows = setup.database.read("SELECT topic, partition, next_offset, epoch FROM checking.cursor")
        signs.held = lambda: {cursor.partition: cursor for cursor in (Cursor(*row) for row in rows)}
        with signs._saying() as look:
            yield look

    def said(self) -> list[tuple[str, str]]:
        """The operational notices of the contest."""
        publish(self.setup)
        return [(n.kind.value, n.sentence) for n in notices(self.setup) if n.is_operational and n.contest_id == CONTEST]


@pytest.fixture
def watch(new_setup: Callable[[Broker], Setup], kafka_server: Broker, kafka_producer: Any) -> Watch:
    return Watch(new_setup(kafka_server), kafka_producer)


def signs_of(setup: Setup, contest_id: str | None = CONTEST) -> list[AggregatorStatus]:
    """Every sign of life of the count of a contest; None: of all."""
    found = [decode(record.value, record.headers) for record in messages(setup, setup.names.count_status)]
    assert all(isinstance(sign, AggregatorStatus) for sign in found)
    return [sign for sign in found if contest_id in (None, sign.contest_id)]  # type: ignore[misc]


def test_the_count_gives_signs_of_life_until_it_is_killed(watch: Watch) -> None:
    setup = watch.setup
    watch.append(contest(), sheet(1))
    process = setup.start("aggregator", "run", "--publish")
    try:
        eventually(lambda: [s for s in signs_of(setup) if s.next_offset == 2])
        watch.append(sheet(2))
        eventually(lambda: [s for s in signs_of(setup) if s.next_offset == 3])
        first, *_, last = signs_of(setup)
        assert (last.partition, last.end_offset, last.unsent, last.blocked) == (0, 3, 0, None)
        assert first.started_at == last.started_at <= first.at < last.at
        status = "SELECT is_alive, is_behind, next_offset, end_offset, blocked FROM results.count_status"
        assert setup.database.read(status) == [(True, False, 3, 3, None)]
    finally:
        process.kill()
        process.wait()
    watch.append(sheet(3))
    eventually(lambda: setup.database.read(status) == [(False, False, 3, 3, None)])
    ((at,),) = setup.database.read("SELECT at FROM results.count_status")  # the sign that the view judges
    assert datetime.now(UTC) - at > 2 * timedelta(milliseconds=last.next_within_ms)
    setup.aggregate()
    assert setup.database.read(status) == [(False, False, 4, 3, None)]
    setup.run("aggregator", "rebuild")
    assert setup.database.read(status) == [(False, False, 4, 3, None)]


def test_a_count_that_is_behind_is_said_once_and_so_is_its_return(watch: Watch) -> None:
    begin(watch.setup, watch.append, contest())
    with watch.looking() as look:
        look()
        watch.append(sheet(1))
        for watch.at_s in (1, BEHIND_S, BEHIND_S + 5, BEHIND_S + 10):
            look()
    with watch.looking() as look:
        for watch.at_s in (BEHIND_S + 20, 3 * BEHIND_S):
            look()
    behind = ("COUNT_BEHIND", "At 2021-06-06T19:24:05.000Z the count is behind the log by 1.")
    assert watch.said() == [behind]
    with watch.looking() as look:
        look()
        look()
    current = ("COUNT_CURRENT", "At 2021-06-06T19:26:00.000Z the count is up to date.")
    assert watch.said() == [behind, current]


def test_an_ingest_that_is_dead_is_said_once_and_so_is_its_return(watch: Watch, kafka_producer: Any) -> None:
    begin(watch.setup, watch.append, contest())

    def sign(contest_id: str = CONTEST, **changes: Any) -> None:
        made = encode(an_ingest_status(contest_id=contest_id, at=watch.now(), next_within_ms=10_000, **changes))
        kafka_producer.send(watch.setup.names.ingest_status, key=made.key, value=made.value, headers=made.headers).get(
            30
        )

    with watch.looking() as look:
        look()
        watch.at_s = 100
        look()  # it was never watched
        sign(fault="no route")
        sign("xx-of-another-log")
        for watch.at_s in (100, 120, 121, 130):
            look()
    row = "SELECT contest_id, at, fault, state, is_alive FROM results.ingest_status"
    assert watch.setup.database.read(row) == [(CONTEST, NOW + timedelta(seconds=100), "no route", "SPEAKING", False)]
    dead = ("INGEST_DEAD", "Ingest is dead, or cannot reach us: its last sign of life is of 2021-06-06T19:24:40.000Z.")
    assert watch.said() == [dead]
    with watch.looking() as look:
        look()
        sign()
        look()
        sign(state=SourceState.CLOSED)
        for watch.at_s in (131, 200):
            look()
    back = ("INGEST_BACK", "Ingest lives again: its last sign of life is of 2021-06-06T19:25:10.000Z.")
    assert watch.said() == [dead, back]


def test_what_waits_to_be_sent_is_not_said_to_be_told(watch: Watch) -> None:
    begin(watch.setup, watch.append, contest())
    with at_work(watch.setup, TopicNames(f"nowhere-{os.getpid()}.")):
        end = watch.append(sheet(1)) + 1
        eventually(lambda: watch.setup.database.read("SELECT FROM results.area_count WHERE counted = 1"))
    with watch.looking() as look:
        look()
    *_, waits = signs_of(watch.setup)
    assert (waits.next_offset, waits.end_offset, waits.unsent) == (end - 1, end, 4)
    publish(watch.setup)
    with watch.looking() as look:
        look()
    *_, sent = signs_of(watch.setup)
    assert (sent.next_offset, sent.end_offset, sent.unsent) == (end, end, 0)


def test_a_count_that_stands_still_says_why(watch: Watch, monkeypatch: pytest.MonkeyPatch, kafka_producer: Any) -> None:
    begin(watch.setup, watch.append, contest())
    with watch.looking() as look:
        look()
        monkeypatch.setattr("aggregator.publish.alive.connect", _refuse)
        with pytest.raises(DatabaseError):
            look()
    *_, before, away = signs_of(watch.setup)
    assert (before.blocked, away.blocked) == (None, "PostgreSQL does not answer")
    assert before.next_offset == away.next_offset == away.end_offset
    monkeypatch.undo()
    kafka_producer.send(watch.setup.names.events, key=CONTEST.encode(), value=b"nothing").get(30)
    publish(watch.setup)
    with watch.looking() as look:
        look()
    assert signs_of(watch.setup)[-1].blocked == "first byte is 110, not 0: not the Confluent wire format"


def _refuse(_: str) -> None:
    raise DatabaseError("PostgreSQL does not answer")


def test_in_a_group_each_contest_is_said_by_who_holds_its_partition(
    kafka_server: Broker, kafka_producer: Any, new_topic: Callable[..., str], totals: Database, tmp_path: Path
) -> None:
    topic = new_topic("results.events", partitions=4, max_message_bytes="8388608")
    setup = Setup(kafka_server.bootstrap_servers, topic.removesuffix("results.events"), totals, tmp_path)
    setup.run("ingest", "topics")
    contests = [f"xx-{n}" for n in range(8)]
    Watch(setup, kafka_producer).append(*(contest(one) for one in contests))

    def speakers() -> list[datetime]:
        """When those began who said each contest last."""
        last = {sign.contest_id: sign.started_at for sign in signs_of(setup, None)}
        return list(last.values())

    with ExitStack() as first, ExitStack() as second:
        first.enter_context(at_work(setup, group=topic))
        eventually(lambda: len(speakers()) == len(contests))
        (begun,) = set(speakers())
        second.enter_context(at_work(setup, group=topic))
        eventually(lambda: len(set(speakers())) == 2)
        first.close()
        eventually(lambda: len(set(speakers())) == 1 and begun not in speakers())
    for one in contests:
        found = signs_of(setup, one)
        assert len({sign.partition for sign in found}) == 1
        offsets = [sign.next_offset for sign in found]
        assert offsets == sorted(offsets)
