"""Ingest against a real broker that dies, refuses or is away: what ends on the log all the same."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, KafkaAdminClient

from deploy.local.server import free_port
from ingest.errors import Stopped
from ingest.publish.publisher import Publisher
from runtime.healthcheck import ask
from runtime.kafka.errors import DeliveryFailed
from schemas.codec import Headers, Message, encode
from schemas.topics import TopicNames
from tests.support.fix_ingest import UPDATES, Desk, Quiet, at_work, ignore, unbroken, write
from tests.support.ingest_samples import ACTA, contest, many_sheets
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_any_moment_and_run_again_the_log_is_the_same(
    desk: Desk, kafka_server: Broker, tmp_path: Path, kills: int
) -> None:
    documents = [UPDATES, many_sheets(tmp_path / "a.csv", 12_000), many_sheets(tmp_path / "b.csv", 12_000, 45, 2)]
    undisturbed = Desk(kafka_server, TopicNames(f"{desk.names.prefix}calm."), tmp_path, desk.contest)
    undisturbed.create_topics()
    assert undisturbed.run("load", *documents).returncode == 0
    chance = random.Random()
    for _ in range(kills):
        process = desk.begin("load", *documents)
        try:
            process.communicate(timeout=chance.uniform(0.7, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert desk.run("load", *documents).returncode == 0
    ours, theirs = (
        [dict(record.headers)["ce_id"] for record in of.messages(of.names.events)] for of in (desk, undisturbed)
    )
    assert ours == theirs
    assert len(desk.updates()) == 44 + 12_000 + 4_000


class Fetching(Quiet):
    """Progress that kills the broker before each of the first `times` sendings, and starts it again once that is
    noticed."""

    def __init__(self, broker: Broker, times: int) -> None:
        super().__init__()
        self.broker, self.times, self.is_away = broker, times, False

    def start(self, what: str, rows: int) -> None:  # noqa: ARG002
        if rows and self.times:
            self.times -= 1
            self.is_away = True
            self.broker.kill()

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        super().warn(line)
        if "still trying" in line and self.is_away:
            self.is_away = False
            self.broker.start()


def test_a_broker_that_is_away_at_every_sending_is_no_failed_attempt(
    own_kafka_server: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.publish.delivery._RETRY_S", 0.1)
    monkeypatch.setattr("runtime.kafka.producer.PATIENCE_S", 0.5)
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    progress = Fetching(own_kafka_server, times=4)  # a delivery refused three times would end the run
    with desk.pipeline():
        pass  # the contest is on the log, so that the next one's producer is built when there is no broker
    with desk.pipeline(progress) as pipeline:
        report = pipeline.load([UPDATES])
    assert progress.times == 0
    assert report.news.total() == len(desk.updates()) == 44
    assert unbroken(desk.updates())


def limit(desk: Desk, largest: int, topic: str | None = None) -> None:
    """Sets the largest message that the log takes, or another topic, in bytes."""
    changed = ConfigResource("TOPIC", topic or desk.names.events, {"max.message.bytes": str(largest)})
    with closing(KafkaAdminClient(bootstrap_servers=desk.broker.bootstrap_servers)) as admin:
        admin.alter_configs([changed])


class Healing(Quiet):
    """Progress that lifts the limit as soon as it hears that a delivery was refused."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        super().warn(line)
        if "reading the log again" in line:
            limit(self.desk, 8 << 20)


def test_after_a_refused_delivery_the_log_is_read_before_going_on(desk: Desk) -> None:
    progress = Healing(desk)
    with desk.pipeline(progress) as pipeline:
        limit(desk, 500)
        report = pipeline.load([UPDATES])
    assert any("reading the log again before going on" in line for line in progress.lines), progress.lines
    assert report.news.total() == len(desk.updates()) == 44
    assert unbroken(desk.updates())


def test_a_delivery_that_is_always_refused_ends_the_run(desk: Desk) -> None:
    desk.load(UPDATES)
    limit(desk, 500)
    with desk.pipeline() as pipeline, pytest.raises(DeliveryFailed, match=r"results\.events"):
        pipeline.load([write(desk.folder / "a.csv", ACTA)])
    limit(desk, 8 << 20)
    assert desk.load(desk.folder / "a.csv").news.total() == 6
    assert unbroken(desk.updates())


def test_stopped_while_the_broker_is_away_it_ends(own_kafka_server: Broker, tmp_path: Path) -> None:
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    folder = tmp_path / "incoming"
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    process = desk.begin("watch", "--every", "0.2", "--http", address, folder)
    eventually(lambda: ask(f"http://{address}/ready") is None)
    own_kafka_server.kill()
    write(folder / "a.csv", ACTA)
    eventually(lambda: "no broker answers at" in (ask(f"http://{address}/live") or ""))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2
    assert "no broker answers at" in output
    assert "stopped as asked while the broker was away" in output
    own_kafka_server.start()
    assert desk.load(folder).news.total() == 6


def test_without_a_broker_it_keeps_trying_until_stopped(own_kafka_server: Broker, tmp_path: Path) -> None:
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    own_kafka_server.kill()
    progress, stop = Quiet(), threading.Event()
    threading.Timer(2, stop.set).start()
    with pytest.raises(Stopped), desk.pipeline(progress, stop):
        pass
    assert any("no broker answers" in line for line in progress.lines)


def test_a_rejection_that_the_log_does_not_take_stops_nothing(desk: Desk, tmp_path: Path) -> None:
    """Of two rejections one is larger than the topic takes: the other is there, and so is every event."""
    text = ACTA.replace("123,87,0,16", "123,87,0,-16").replace("88,123,4,10", "88,123,4,-10")
    path = write(tmp_path / "sheets.csv", text.replace("IE 89015", "I" * 2_000))
    limit(desk, 2_500, desk.names.rejected)
    progress = Quiet()
    for run in (1, 2):
        with desk.pipeline(progress) as pipeline:
            report = pipeline.load([path, UPDATES])
        assert (report.undelivered, report.rejected["F201"], report.exit_code) == (1, 2, 2)
        assert len(desk.messages(desk.names.rejected)) == 1
        assert len(desk.updates()) == 4 + 44
        assert len([line for line in progress.lines if "row 5, column votos_nulos" in line]) == run
    assert any("results.rejected does not take it" in line for line in progress.lines)
    limit(desk, 8 << 20, desk.names.rejected)
    assert desk.load(path).undelivered == 0
    assert len(desk.messages(desk.names.rejected)) == 2
    assert unbroken(desk.updates())


def test_a_start_reads_only_the_end_of_the_rejections_and_whatever_is_odd_there_stops_nothing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "sheets.csv", ACTA.replace("2021-06-08T16:15:44Z", "yesterday"))
    desk.load(path)
    good = desk.messages(desk.names.rejected)
    assert len(good) == 6
    odd: list[Headers] = [
        [("ce_type", b"escrutinio.Rejected"), ("ce_id", b"\xff" * 36)], [("ce_id", b"")], [("ce_id", b"x" * 100_000)],
        [], [("", b""), ("ce_type", b"\xff")],
    ]  # fmt: skip
    messages = [Message(b"\xff", b"\xff", headers) for headers in odd]
    messages.append(encode(contest()))  # an event, in the wrong place
    with Publisher(desk.connection.kafka, ignore, threading.Event(), linger_ms=0) as publisher:
        publisher.send(desk.names.rejected, messages, ignore)
    monkeypatch.setattr("ingest.publish.memory.RECENT", len(messages) + 2)
    with desk.pipeline() as pipeline:
        assert len(pipeline.memory.rejected & {value for r in good for n, value in r.headers if n == "ce_id"}) == 2
        assert pipeline.load([path, UPDATES]).news.total() == 44
    there = desk.messages(desk.names.rejected)
    assert len(there) == len(good) + len(messages) + 4
    assert {r.value for r in there[-4:]} == {r.value for r in good[:4]}, "older ones stand there again"
