"""A subscriber of the topics alone tells quiet, dead and behind, as docs/contract.md says."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.codec import decode
from schemas.ingest_status import IngestStatus
from schemas.source_status import SourceState, SourceStatus
from schemas.topics import TopicNames
from tests.support.fix_ingest import UPDATES, Desk, at_work, write
from tests.support.fix_setup import CONTEST, Setup
from tests.support.ingest_samples import ACTA
from tests.support.servers import Broker
from tests.support.waiting import eventually

ALIVE, BEHIND = "alive", "you are behind"
SOURCE, INGEST, BROKER = "the source does not answer", "ingest is dead", "the broker is away"


class Subscriber:
    """A reader of the two topics that has only what docs/contract.md says."""

    def __init__(self, broker: Broker, names: TopicNames) -> None:
        self._broker, self._names = broker.bootstrap_servers, names
        self.position = 0
        self.last: IngestStatus | None = None

    def verdict(self) -> str:
        """What is the matter, by the table in the contract."""
        try:
            sign = self._last_sign()
        except KafkaError:
            return BROKER
        self.last = sign
        if sign is None or datetime.now(UTC) - sign.at > 2 * timedelta(milliseconds=sign.next_within_ms):
            return INGEST
        if sign.fault is not None:
            return SOURCE
        return BEHIND if self.position < sign.next_offset else ALIVE

    def state(self) -> SourceState | None:
        """Whether the source says anything, by the last sign."""
        return None if self.last is None else self.last.state

    def _last_sign(self) -> IngestStatus | None:
        topic = TopicPartition(self._names.ingest_status, 0)
        consumer = KafkaConsumer(bootstrap_servers=self._broker, enable_auto_commit=False)
        try:
            consumer.assign([topic])
            end = consumer.end_offsets([topic])[topic]
            if not end:
                return None
            consumer.seek(topic, end - 1)
            *_, message = next(iter(consumer.poll(timeout_ms=4_000).values()))  # the next may have come meanwhile
            sign = decode(message.value, message.headers)
            assert isinstance(sign, IngestStatus)
            return sign
        finally:
            consumer.close(autocommit=False)


@pytest.fixture
def place(own_kafka_server: Broker, topic_prefix: str, tmp_path: Path) -> tuple[Desk, Path]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return at_work(own_kafka_server, TopicNames(topic_prefix), tmp_path), folder


def states(desk: Desk) -> list[tuple[SourceState, str | None]]:
    """What the log says of the source."""
    return [(event.state, event.reason) for event in desk.log() if isinstance(event, SourceStatus)]


def later(minutes: int) -> str:
    """The sheets with other figures, of a later time."""
    return ACTA.replace("16:15:44", f"16:{15 + minutes}:44").replace(
        "300,214,118,81", f"300,{214 + minutes},{118 + minutes},81"
    )


def speaks_and_breaks(desk: Desk, subscriber: Subscriber, folder: Path, minutes: int) -> str | None:
    """Let the source speak, then take its folder away. Return the reason of the silence that follows."""
    away = desk.folder / "away"
    if away.exists():
        away.rename(folder)
    changes = len(states(desk))
    write(folder / "sheets.csv", later(minutes))
    eventually(lambda: len(states(desk)) > changes)
    folder.rename(away)
    eventually(lambda: subscriber.verdict() == SOURCE)
    eventually(lambda: len(states(desk)) == changes + 2)
    spoke, (state, reason) = states(desk)[changes:]
    assert (spoke, state) == ((SourceState.SPEAKING, None), SourceState.SILENT)
    return reason


def test_a_subscriber_of_the_topics_alone_tells_what_is_the_matter(place: tuple[Desk, Path]) -> None:
    desk, folder = place
    subscriber = Subscriber(desk.broker, desk.names)
    process = desk.begin("watch", "--every", "0.2", "--silent-after", "3", folder)
    try:
        write(folder / "sheets.csv", ACTA)
        eventually(lambda: subscriber.verdict() == BEHIND)
        eventually(lambda: len(desk.updates()) == 6)
        subscriber.position = len(desk.log()) + 9
        eventually(lambda: subscriber.verdict() == ALIVE)
        assert subscriber.state() is SourceState.SPEAKING
        # the source is silent
        eventually(lambda: states(desk) == [(SourceState.SILENT, None)])
        eventually(lambda: (subscriber.verdict(), subscriber.state()) == (ALIVE, SourceState.SILENT))
        # it speaks again, and is broken: on a slow machine it may be silent before its folder is away
        why = "it cannot be read: No such file or directory"
        reasons = (speaks_and_breaks(desk, subscriber, folder, minutes) for minutes in range(1, 10))
        assert why in reasons
        assert subscriber.last is not None
        assert (subscriber.last.source, subscriber.last.fault) == (f"{desk.folder.name}/incoming", why)
        (desk.folder / "away").rename(folder)
        changes = len(states(desk))
        write(folder / "sheets.csv", later(10))
        eventually(lambda: (SourceState.SPEAKING, None) in states(desk)[changes:])
        # ingest is killed
        process.kill()
        process.wait()
        eventually(lambda: subscriber.verdict() == INGEST)
        # the broker is away
        desk.broker.kill()
        assert subscriber.verdict() == BROKER
    finally:
        process.kill()
        process.communicate()


def test_a_silence_is_neither_repeated_nor_forgotten_by_a_restart(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    desk.load(write(folder / "sheets.csv", ACTA))

    def looked_for_long(begun: int) -> bool:
        """A sign of life that is later than the silence."""
        signs = desk.messages(desk.names.ingest_status)[begun:]
        return bool(states(desk)) and len(signs) > 1

    for _ in range(2):
        begun = len(desk.messages(desk.names.ingest_status))
        process = desk.begin("watch", "--every", "0.2", "--silent-after", "1", folder)
        eventually(partial(looked_for_long, begun))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert states(desk) == [(SourceState.SILENT, None)]


def test_the_office_closes_its_count_once_and_may_speak_again(desk: Desk, tmp_path: Path) -> None:
    desk.load(write(tmp_path / "sheets.csv", ACTA))
    close = ("close", "--authority", "ONPE", "--reason", "100 % counted")
    for _ in range(2):
        done = desk.run(*close, "--since", "2021-06-15T20:00:00Z", "--json")
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout)["state"] == "CLOSED"
    (closed,) = (event for event in desk.log() if isinstance(event, SourceStatus))
    assert (closed.authority, closed.reason) == ("ONPE", "100 % counted")
    assert closed.since == datetime(2021, 6, 15, 20, tzinfo=UTC)
    before = desk.run(*close[:-1], "again", "--since", "2021-06-05T20:00:00Z")
    assert (before.returncode, "is before the count began" in before.stdout + before.stderr) == (2, True)
    future = desk.run(*close, "--since", "2099-06-15T20:00:00Z")
    assert (future.returncode, "is to come" in future.stdout + future.stderr) == (2, True)


def test_what_is_said_of_the_source_is_kept_and_changes_no_figure(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup]
) -> None:
    setup = new_setup(kafka_server)
    setup.load(UPDATES)
    setup.aggregate()
    before = setup.show()
    setup.run("ingest", "close", "--authority", "ONPE", "--reason", "100 % counted", "--since", "2021-06-15T20:00:00Z")
    setup.aggregate()
    after = setup.show()
    assert after["as_of"]["offset"] == before["as_of"]["offset"] + 1
    unchanged = ("digest", "votes", "figures", "sub_units", "progress")
    assert {name: after.get(name) for name in unchanged} == {name: before.get(name) for name in unchanged}
    (contest,) = setup.json("aggregator", "status")["contests"]
    assert contest["source"] == {
        "state": "CLOSED", "since": "2021-06-15T20:00:00Z", "reason": "100 % counted", "authority": "ONPE",
    }  # fmt: skip
    assert "CLOSED since 2021-06-15T20:00:00Z: 100 % counted; ONPE" in setup.run("aggregator", "status")
    setup.run("aggregator", "verify", CONTEST)
    replayed = setup.json("aggregator", "replay", CONTEST)
    assert (replayed["digest"], replayed["as_of"]["offset"]) == (after["digest"], after["as_of"]["offset"])
    setup.run("aggregator", "rebuild")
    assert setup.show()["digest"] == after["digest"]
