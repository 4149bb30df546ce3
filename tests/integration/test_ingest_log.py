"""Ingest against a real broker: what ends on the log, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient

from deploy.local.server import free_port
from ingest.errors import ArchiveError, IngestError, Stopped
from ingest.listener import Listener
from ingest.pipeline import Connection, Pipeline
from ingest.publish import publisher as publish
from ingest.publish.log_reader import TopicReader
from ingest.report import Report
from ingest.sources.archive import Archive
from ingest.watch import Watch
from runtime.healthcheck import ask
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import DeliveryFailed, LogDamaged, TopicUnfit
from runtime.kafka.producer import IN_FLIGHT
from schemas.codec import Event, Headers, Message, decode, encode
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate
from schemas.identity import is_named_right, named
from schemas.log_record import RawRecord
from schemas.topics import TopicNames
from schemas.types import CorrectionBasis, CountStatus, UpdateKind
from tests.support.ingest_samples import (
    ACTA,
    ACTA_HEADER,
    ACTA_ROWS,
    DATA,
    EXAMPLE,
    FINAL,
    NATIONAL,
    ROOT,
    contest,
    many_sheets,
    needs_data,
)
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

UPDATES = EXAMPLE / "updates.csv"


class Quiet:
    """A screen that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str, **about: object) -> None:  # noqa: ARG002
        self.lines.append(line)

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        self.lines.append(f"WARNING {line}")

    def start(self, what: str, rows: int) -> None: ...

    def advance(self, rows: int, news: int, rejected: int) -> None: ...

    def done(self) -> None: ...


def _ignore(what: object) -> None:
    """Nobody listens."""


@dataclass
class Desk:
    """One ingest's place of work: a broker, topics of its own, an archive."""

    broker: Broker
    names: TopicNames
    folder: Path
    contest: Path

    @property
    def connection(self) -> Connection:
        return Connection(KafkaAccess(self.broker.bootstrap_servers), self.names)

    def create_topics(self) -> None:
        publish.create(KafkaAccess(self.broker.bootstrap_servers), self.connection.topics(), replication_factor=1)

    def pipeline(self, screen: Quiet | None = None, stop: threading.Event | None = None) -> Pipeline:
        return Pipeline(
            self.connection, Archive(self.folder / "archive"), contest(), screen or Quiet(), stop or threading.Event()
        )

    def load(self, *paths: Path) -> Report:
        with self.pipeline() as pipeline:
            return pipeline.load(paths)

    def messages(self, topic: str) -> list[RawRecord]:
        return list(TopicReader(KafkaAccess(self.broker.bootstrap_servers), topic, True, notice=_ignore).to_end())

    def log(self) -> list[Event]:
        return [decode(record.value, record.headers) for record in self.messages(self.names.events)]

    def updates(self) -> list[CountUpdate]:
        return [event for event in self.log() if isinstance(event, CountUpdate)]

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "ingest", *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}",
            "ESCRUTINIO_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "ESCRUTINIO_TOPIC_PREFIX": self.names.prefix,
            "ESCRUTINIO_ARCHIVE": str(self.folder / "archive"),
            "ESCRUTINIO_CONTEST": str(self.contest),
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def at_work(broker: Broker, names: TopicNames, folder: Path) -> Desk:
    """A desk for the example's contest, with its topics."""
    desk = Desk(broker, names, folder, EXAMPLE / "contest.toml")
    desk.create_topics()
    return desk


@pytest.fixture
def desk(kafka_server: Broker, topic_prefix: str, tmp_path: Path) -> Desk:
    return at_work(kafka_server, TopicNames(topic_prefix), tmp_path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def unbroken(updates: list[CountUpdate]) -> bool:
    """Every unit's chain holds, and nothing stands twice."""
    last: dict[object, CountUpdate] = {}
    for update in updates:
        before = last.get(update.unit)
        if update.sequence != (before.sequence + 1 if before else 1) or not is_named_right(update):
            return False
        if update.previous_event_id != (before.event_id if before else None):
            return False
        last[update.unit] = update
    return len({u.event_id for u in updates}) == len(updates)


# --- the night itself


def test_the_example_is_44_events_and_4_heartbeats(desk: Desk) -> None:
    report = desk.load(UPDATES)
    assert report.news == Counter({UpdateKind.REPORTED: 42, UpdateKind.CORRECTED: 2})
    assert (report.heartbeats, report.exit_code) == (4, 0)
    definition, *updates = desk.log()
    assert isinstance(definition, ContestDefined)
    assert len(updates) == 44
    assert unbroken(desk.updates())
    reasons = {
        u.reported_at.strftime("%d %H:%M"): u.correction.reason
        for u in desk.updates()
        if u.correction and u.reported_at
    }
    assert reasons == {
        "07 23:18": "fuerza-popular −276, invalid_votes −19",
        "08 05:19": "peru-libre −90, fuerza-popular −90, ballots_cast −197, valid_votes −180, blank_votes −2, invalid_votes −15, "
        "registered_voters_counted −300, counted −1",
    }
    again = desk.load(UPDATES)
    assert (again.news.total(), again.heartbeats, again.known) == (0, 0, 48)
    assert len(desk.log()) == 45
    assert len(desk.messages(desk.names.feed_status)) == 4


@needs_data
def test_the_national_tables_add_nothing_to_the_example(desk: Desk) -> None:
    desk.load(UPDATES)
    report = desk.load(DATA / "national")
    assert (report.news.total(), report.heartbeats) == (0, 0)


def test_all_sheets_stated_moves_the_counting_level_once(desk: Desk, tmp_path: Path) -> None:
    areas = EXAMPLE / "areas.csv"
    toml = (
        (EXAMPLE / "contest.toml").read_text(encoding="utf-8").replace("expected_units = 86488", "expected_units = 6")
    )
    desk.contest = write(tmp_path / "small" / "contest.toml", toml)
    write(tmp_path / "small" / "areas.csv", areas.read_text(encoding="utf-8"))
    five = write(tmp_path / "1.csv", ACTA_HEADER + "".join(ACTA_ROWS[:5]))
    six = write(tmp_path / "2.csv", ACTA.replace("16:15:44", "18:00:00"))
    assert desk.run("load", UPDATES, five).returncode == 0
    assert [e.counting_level for e in desk.log() if isinstance(e, ContestDefined)] == ["country"]
    for _ in range(2):
        assert desk.run("load", UPDATES, five, six).returncode == 0
        first, moved = [e for e in desk.log() if isinstance(e, ContestDefined)]
        assert (moved.revision, moved.counting_level, moved.previous_event_id) == (2, "precinct", first.event_id)
        assert moved.effective_at.isoformat() == "2021-06-08T18:00:00+00:00"
    back = desk.run("define", "--counting-level", "country", desk.contest)
    assert back.returncode == 2
    assert "every expected precinct is stated, so that the next run would move on from country again" in back.stderr
    write(desk.contest, toml.replace('["country", "precinct"]', '["country"]'))
    assert desk.run("define", desk.contest).returncode == 2  # not by a change of the file alone
    assert desk.run("define", "--counting-level", "country", desk.contest).returncode == 0
    assert desk.run("load", UPDATES).returncode == 0
    last = [e for e in desk.log() if isinstance(e, ContestDefined)][-1]
    assert (last.revision, last.counting_level, last.later_counting_levels) == (3, "country", ())


def test_the_counting_level_moves_to_the_last_that_is_complete(desk: Desk, tmp_path: Path) -> None:
    """The middle level never is: three levels must not keep the count on the first."""
    file = revised(
        desk, tmp_path / "three",
        ('["country", "precinct"]', '["country", "municipality", "precinct"]'), ("expected_units = 86488", "expected_units = 6"),
    )  # fmt: skip
    run = desk.run("load", UPDATES, write(tmp_path / "a.csv", ACTA))
    assert run.returncode == 0
    assert "all 6 expected units are stated: the precinct is now what is added up" in run.stderr
    last = definitions(desk)[-1]
    assert (last.revision, last.counting_level, last.later_counting_levels) == (2, "precinct", ())
    back = desk.run("define", "--counting-level", "municipality", file)
    assert back.returncode == 2
    assert "municipality is none of the contest's counting_levels" not in back.stderr
    assert "every expected precinct is stated, so that the next run would move on from municipality" in back.stderr


# --- bad input


def test_bad_rows_are_kept_beside_once_and_the_good_published(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path / "sheets.csv", ACTA.replace("123,87,0,16", "123,87,0,-16"))
    for _ in range(2):
        run = desk.run("load", "--json", path)
        assert run.returncode == 1
        report = json.loads(run.stdout)
        assert report["rejected"] == {"F201": 1}
        assert report["rejections"][0]["place"] == "row 3, column votos_nulos"
        (record,) = desk.messages(desk.names.rejected)
        assert record.value == path.read_text(encoding="utf-8").splitlines(keepends=True)[2].encode()
        assert dict(record.headers)["document_uri"] == b"sheets.csv"
        assert len(desk.updates()) == 5


def test_a_document_that_cannot_be_read_is_archived_and_named(desk: Desk, tmp_path: Path) -> None:
    bad = write(tmp_path / "page.csv", "<html>503</html>")
    run = desk.run("load", bad, UPDATES)
    assert run.returncode == 2
    assert "page.csv: F207 HTML or XML, not CSV" in run.stdout
    assert len(desk.updates()) == 44
    (record,) = desk.messages(desk.names.rejected)
    sha256 = (dict(record.headers)["document_sha256"] or b"").decode()
    assert (tmp_path / "archive" / sha256[:2] / sha256).read_bytes() == bad.read_bytes() == record.value


def test_a_file_name_that_is_not_utf8_is_shown_as_such(desk: Desk, tmp_path: Path) -> None:
    good, bad = (Path(os.fsdecode(os.fsencode(tmp_path) + name)) for name in (b"/f\xe9.csv", b"/\xff.csv"))
    good.write_text(ACTA.replace("123,87,0,16", "123,87,0,-16"), encoding="utf-8")
    bad.write_text("<html>503</html>", encoding="utf-8")
    run = desk.run("load", tmp_path)
    assert run.returncode == 2, run.stderr
    assert "f�.csv, row 3, column votos_nulos: F201" in run.stdout
    assert "�.csv: F207 HTML or XML" in run.stdout
    assert {document.uri for update in desk.updates() for document in update.source.documents} == {"f�.csv"}
    assert len(desk.updates()) == 5
    assert len(desk.messages(desk.names.rejected)) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("load", "nowhere.csv"), "nowhere.csv does not exist"),
        (("load", "--observed-at", "yesterday", str(UPDATES)), "'yesterday' is not a time with its zone"),
        (("load", "--contest", "none.toml", str(UPDATES)), "the contest's file none.toml"),
        (("watch", "nowhere"), "nowhere is not a folder"),
        (("load",), "Missing argument"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    run = desk.run(*arguments)
    assert run.returncode == 2
    assert says in run.stderr
    assert "Traceback" not in run.stderr


# --- faults


def test_killed_at_any_moment_and_run_again_the_log_is_the_same(
    desk: Desk, kafka_server: Broker, tmp_path: Path
) -> None:
    documents = [UPDATES, many_sheets(tmp_path / "a.csv", 12_000), many_sheets(tmp_path / "b.csv", 12_000, 45, 2)]
    undisturbed = Desk(kafka_server, TopicNames(f"{desk.names.prefix}calm."), tmp_path, desk.contest)
    undisturbed.create_topics()
    assert undisturbed.run("load", *documents).returncode == 0
    chance = random.Random()
    for _ in range(6):
        process = desk.begin("load", *documents)
        try:
            process.communicate(timeout=chance.uniform(0.7, 3.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert desk.run("load", *documents).returncode == 0
    assert [r.value for r in desk.messages(desk.names.events)] == [
        r.value for r in undisturbed.messages(undisturbed.names.events)
    ]
    assert len(desk.updates()) == 44 + 12_000 + 4_000


def test_a_broker_that_dies_in_the_middle_costs_time_only(own_kafka_server: Broker, tmp_path: Path) -> None:
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    documents = [UPDATES, many_sheets(tmp_path / "a.csv", 30_000)]
    process = desk.begin("load", *documents)
    time.sleep(3.5)
    own_kafka_server.kill()
    time.sleep(1)
    own_kafka_server.start()
    output, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, output
    assert len(desk.updates()) == 30_044
    assert unbroken(desk.updates())


class Fetching(Quiet):
    """A screen that kills the broker before each of the first `times` sendings, and starts it again once that is noticed
    for the third time."""

    def __init__(self, broker: Broker, times: int) -> None:
        super().__init__()
        self.broker, self.times, self.silent = broker, times, 0

    def start(self, what: str, rows: int) -> None:  # noqa: ARG002
        if rows and self.times:
            self.times -= 1
            self.silent = 3
            self.broker.kill()

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        super().warn(line)
        if "still trying" in line and self.silent:
            self.silent -= 1
            if not self.silent:
                self.broker.start()


def test_a_broker_that_is_away_at_every_sending_is_no_failed_attempt(
    own_kafka_server: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.pipeline._RETRY_S", 0.1)
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    screen = Fetching(own_kafka_server, times=4)  # a delivery refused three times would end the run
    with desk.pipeline():
        pass  # the contest is on the log, so that the next one's producer is built when there is no broker
    with desk.pipeline(screen) as pipeline:
        report = pipeline.load([UPDATES])
    assert screen.times == 0
    assert report.news.total() == len(desk.updates()) == 44
    assert unbroken(desk.updates())


class Striking(Fetching):
    """A screen that kills the broker when `after` events were handed over."""

    def __init__(self, broker: Broker, after: int) -> None:
        super().__init__(broker, times=1)
        self.after = after

    def start(self, what: str, rows: int) -> None: ...

    def advance(self, rows: int, news: int, rejected: int) -> None:  # noqa: ARG002
        self.after -= news
        if self.after <= 0 and self.times:
            super().start("", 1)


def test_a_broker_that_dies_while_it_is_sent_to_is_waited_for(
    own_kafka_server: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.kafka.producer.PATIENCE_S", 1.0)
    desk = at_work(own_kafka_server, TopicNames(), tmp_path)
    screen = Striking(own_kafka_server, after=5_000)
    with desk.pipeline(screen) as pipeline:
        report = pipeline.load([many_sheets(tmp_path / "a.csv", 12_000)])
    assert screen.times == 0
    assert any("no acknowledgement from" in line for line in screen.lines), screen.lines
    assert not any("reading the log again" in line for line in screen.lines), screen.lines
    assert report.news.total() == len(desk.updates()) == 12_000
    assert unbroken(desk.updates())


def limit(desk: Desk, largest: int) -> None:
    """Sets the largest message that the log takes, in bytes."""
    admin = KafkaAdminClient(bootstrap_servers=desk.broker.bootstrap_servers)
    try:
        admin.alter_configs([ConfigResource("TOPIC", desk.names.events, {"max.message.bytes": str(largest)})])
    finally:
        admin.close()


class Healing(Quiet):
    """A screen that lifts the limit as soon as it hears that a delivery was refused."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        super().warn(line)
        if "reading the log again" in line:
            limit(self.desk, 8 << 20)


def test_after_a_refused_delivery_the_log_is_read_before_going_on(desk: Desk) -> None:
    screen = Healing(desk)
    with desk.pipeline(screen) as pipeline:
        limit(desk, 500)
        report = pipeline.load([UPDATES])
    assert any("reading the log again before going on" in line for line in screen.lines), screen.lines
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
    screen, stop = Quiet(), threading.Event()
    threading.Timer(2, stop.set).start()
    with pytest.raises(Stopped), desk.pipeline(screen, stop):
        pass
    assert any("no broker answers" in line for line in screen.lines)


def test_two_ingests_on_one_archive_exclude_each_other(desk: Desk) -> None:
    with desk.pipeline(), pytest.raises(ArchiveError, match="another ingest is using the archive"):
        desk.load(UPDATES)


def test_someone_else_on_the_log_is_noticed_and_followed(desk: Desk, tmp_path: Path) -> None:
    """Another ingest, with another archive, publishes between our reading and our sending."""
    other = Desk(desk.broker, desk.names, tmp_path / "other", desk.contest)
    screen = Quiet()
    with desk.pipeline(screen) as pipeline:
        other.load(UPDATES)
        pipeline.load([write(tmp_path / "a.csv", ACTA)])
        assert any("someone else is writing" in line for line in screen.lines)
        assert pipeline.load([UPDATES]).known >= 48
    assert unbroken(desk.updates())
    assert len(desk.updates()) == 50


def another(desk: Desk) -> Desk:
    """A second ingest on the same log, with an archive of its own."""
    folder = desk.folder / "another"
    folder.mkdir(exist_ok=True)
    return Desk(desk.broker, desk.names, folder, desk.contest)


@dataclass
class Between(Quiet):
    """A screen that does something once: after a batch was compared with the log, and before it is sent."""

    do: Callable[[], object]

    def __post_init__(self) -> None:
        super().__init__()

    def start(self, what: str, rows: int) -> None:  # noqa: ARG002
        if rows:
            do, self.do = self.do, lambda: None
            do()


def test_what_a_second_writer_published_before_is_not_published_again(desk: Desk) -> None:
    with desk.pipeline() as pipeline:
        assert another(desk).run("load", UPDATES).returncode == 0
        report = pipeline.load([UPDATES])
    assert (report.news.total(), report.heartbeats, report.known) == (0, 0, 48)
    assert len(desk.updates()) == 44
    assert unbroken(desk.updates())


def test_two_pipelines_by_turns_make_one_chain(desk: Desk, tmp_path: Path) -> None:
    documents = [many_sheets(tmp_path / f"{minute}.csv", 30, minute, more=minute) for minute in (15, 30, 45)]
    with desk.pipeline() as one, another(desk).pipeline() as two:
        for document in documents:
            for pipeline in (one, two):
                pipeline.load([document])
        assert (one.report.news.total(), two.report.news.total()) == (30 + 10 + 10, 0)
    assert len(desk.updates()) == 50
    assert unbroken(desk.updates())


def test_of_two_who_send_the_same_at_once_one_is_counted(desk: Desk) -> None:
    """Nobody can exclude it: readers take the first and report the second."""
    theirs: list[Report] = []
    screen = Between(lambda: theirs.append(another(desk).load(UPDATES)))
    with desk.pipeline(screen) as pipeline:
        ours = pipeline.load([UPDATES])
        assert pipeline.contest.unchained == 44
    assert (theirs[0].news.total(), ours.news.total(), ours.known) == (44, 0, 48)
    assert unbroken(list({update.event_id: update for update in desk.updates()}.values()))
    assert desk.load(UPDATES).news.total() == 0


def test_what_a_second_writer_overtook_is_published_behind_it(desk: Desk, tmp_path: Path) -> None:
    theirs = many_sheets(tmp_path / "theirs.csv", 30, 15)
    ours = many_sheets(tmp_path / "ours.csv", 60, 45, more=2)
    with desk.pipeline(Between(lambda: another(desk).load(theirs))) as pipeline:
        report = pipeline.load([ours])
        assert pipeline.contest.unchained == 30  # ours of the sheets that both state
    accepted = [unit.sequence for unit in pipeline.contest.units.values()]
    assert Counter(accepted) == Counter({1: 30 + 20, 2: 10})
    assert (report.news.total(), report.known) == (30 + 10, 20)
    assert desk.load(theirs, ours).news.total() == 0


def test_who_publishes_the_same_as_someone_else_stops_at_once(desk: Desk, tmp_path: Path) -> None:
    sheets = many_sheets(tmp_path / "sheets.csv", 3 * IN_FLIGHT, 15)
    with desk.pipeline(Between(lambda: another(desk).load(sheets))) as pipeline:
        report = pipeline.load([sheets])
    assert (report.news.total(), report.known) == (0, 3 * IN_FLIGHT)
    assert 3 * IN_FLIGHT < len(desk.updates()) <= 4 * IN_FLIGHT


def test_events_are_sent_once_though_what_goes_beside_them_is_refused(desk: Desk, tmp_path: Path) -> None:
    admin = KafkaAdminClient(bootstrap_servers=desk.broker.bootstrap_servers)
    try:
        small = ConfigResource("TOPIC", desk.names.rejected, configs={"max.message.bytes": "300"})
        admin.alter_configs([small])
    finally:
        admin.close()
    path = write(tmp_path / "sheets.csv", ACTA.replace("123,87,0,16", "123,87,0,-16"))
    with pytest.raises(DeliveryFailed, match=r"results\.rejected"), desk.pipeline() as pipeline:
        pipeline.load([path])
    assert len(desk.updates()) == 5
    assert unbroken(desk.updates())


def test_a_folder_without_documents_is_said(desk: Desk, tmp_path: Path) -> None:
    run = desk.run("load", tmp_path)
    assert (run.returncode, "there are no documents in" in run.stderr) == (2, True)


# --- what the log says that readers do not accept


def put(desk: Desk, *events: Event) -> None:
    """On the log, whatever it is."""
    with publish.Publisher(
        KafkaAccess(desk.broker.bootstrap_servers), _ignore, threading.Event(), linger_ms=0
    ) as publisher:
        publisher.send(desk.names.events, [encode(event) for event in events], _ignore)


def test_forged_repeated_and_forked_events_are_not_remembered(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES)
    *_, before, last = updates = desk.updates()
    following = {"sequence": 45, "previous_event_id": last.event_id, "count_status": CountStatus.ANNULLED}
    forged = last.model_copy(update=following)
    forked = named(before.model_copy(update={"previous_event_id": last.event_id, "is_test": False, "sequence": 43}))
    put(desk, forged, last, forked)
    with desk.pipeline() as pipeline:
        assert pipeline.contest.unchained == 3
        assert pipeline.load([UPDATES]).known == 48
        (unit,) = pipeline.contest.units.values()
        assert [said.event_id for said in unit.said] == [update.event_id for update in updates]
    report = desk.load(write(tmp_path / "next.csv", bulletin("2021-06-09T01:00:00Z", "2021-06-07T05:48:00Z")))
    assert report.news.total() == 1
    assert desk.updates()[-1].previous_event_id == last.event_id


def bulletin(time: str, figures_of: str) -> str:
    """The example's figures of one time, under another, in our own form."""
    header, *rows = UPDATES.read_text(encoding="utf-8").splitlines(keepends=True)
    return header + next(row for row in rows if figures_of in row).replace(figures_of, time)


def test_after_a_retraction_of_the_office_the_same_figures_are_news(desk: Desk, tmp_path: Path) -> None:
    first, second = "2021-06-07T05:48:00Z", "2021-06-07T06:48:00Z"
    desk.load(write(tmp_path / "1.csv", bulletin(first, first)))
    (event,) = desk.updates()
    correction = Correction(
        reason="a wrong file", basis=CorrectionBasis.SOURCE_DECLARED, authority="ONPE", replaces_event_id=event.event_id
    )
    retracted = {"sequence": 2, "previous_event_id": event.event_id, "kind": UpdateKind.RETRACTED}
    put(desk, named(event.model_copy(update={**retracted, "correction": correction})))
    report = desk.load(write(tmp_path / "2.csv", bulletin(second, first)))
    assert report.news == Counter({UpdateKind.REPORTED: 1})
    assert [update.sequence for update in desk.updates()] == [1, 2, 3]
    assert desk.load(tmp_path / "1.csv", tmp_path / "2.csv").news.total() == 0


# --- what comes late

FIRST, SECOND, THIRD = (f"2021-06-07T{hour}:48:00Z" for hour in ("05", "06", "07"))


def repeated_with_a_gap(folder: Path) -> tuple[Path, Path]:
    """A document that states the same for the first and the third time, and one with other figures for the second."""
    header, _, row = bulletin(FIRST, FIRST).partition("\n")
    around = write(folder / "around.csv", f"{header}\n{row}{row.replace(FIRST, THIRD)}")
    return around, write(folder / "between.csv", bulletin(SECOND, SECOND))


def stated(desk: Desk) -> list[tuple[str, int | None]]:
    """Time and ballots of every update, in the order of the log."""
    return [
        (update.stated_at.strftime("%H:%M"), update.counts.ballots_cast if update.counts else None)
        for update in desk.updates()
    ]


SETTLED = [("05:48", 13_308_277), ("06:48", 15_065_072), ("07:48", 13_308_277)]


def test_after_late_news_the_later_documents_of_a_load_are_read_again(desk: Desk, tmp_path: Path) -> None:
    around, between = repeated_with_a_gap(tmp_path / "night")
    report = desk.load(around, between)
    assert stated(desk) == SETTLED
    assert unbroken(desk.updates())
    assert [update.kind for update in desk.updates()] == ["REPORTED", "REPORTED", "CORRECTED"]
    assert (report.documents, report.statements, report.late, report.known) == (2, 3, 1, 1)
    assert desk.load(around, between).news.total() == 0


def test_late_news_of_a_later_run_is_told_and_settles_once_the_folder_is_loaded(desk: Desk, tmp_path: Path) -> None:
    around, between = repeated_with_a_gap(tmp_path / "night")
    desk.load(around)
    report = desk.load(between)
    assert report.late == 1
    assert any("are to be loaded once more" in line for line in report.lines())
    assert desk.load(tmp_path / "night").news.total() == 1
    assert stated(desk) == SETTLED
    assert desk.load(tmp_path / "night").news.total() == 0


def test_watch_reads_the_folder_once_more_after_late_news(desk: Desk, tmp_path: Path) -> None:
    folder, screen = tmp_path / "incoming", Quiet()
    around, between = repeated_with_a_gap(tmp_path / "night")
    folder.mkdir()
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        around.rename(folder / "around.csv")
        watch.look()  # sees it
        watch.look()  # it held still
        assert len(desk.updates()) == 1
        between.rename(folder / "between.csv")
        watch.look()
        watch.look()
        assert stated(desk) == SETTLED[:2]
        watch.look()
        assert stated(desk) == SETTLED
        read = pipeline.report.documents
        for _ in range(3):
            watch.look()
        assert pipeline.report.documents == read
    assert stated(desk) == SETTLED
    assert unbroken(desk.updates())


# --- what the archive is not needed for


def test_a_lost_archive_costs_no_event_of_an_undated_document(desk: Desk, tmp_path: Path) -> None:
    final = write(tmp_path / "final.csv", FINAL)
    changed = many_sheets(tmp_path / "later.csv", 1)
    desk.load(final)
    (seen,) = {update.observed_at for update in desk.updates()}
    shutil.rmtree(tmp_path / "archive")
    with desk.pipeline() as pipeline:
        again = pipeline.take(final)
        assert again is not None
        assert again.document.observed_at == seen
        report = pipeline.load([final, changed])
    assert report.documents == 3
    assert [update.observed_at for update in desk.updates()[:3]] == [seen] * 3
    assert len(desk.updates()) == 4
    assert not desk.messages(desk.names.feed_status)
    shutil.rmtree(tmp_path / "archive")
    assert desk.load(final, changed).news.total() == 0


def test_a_lost_archive_costs_no_heartbeat_of_a_document_that_only_repeated(desk: Desk, tmp_path: Path) -> None:
    header, _, rows = FINAL.partition("\n")
    copy = write(tmp_path / "copy.csv", f"{header}\n{rows.replace('91L', '91M')}")
    desk.load(write(tmp_path / "final.csv", FINAL))
    for _ in range(2):
        assert desk.load(copy).news.total() == 0
        assert len(desk.messages(desk.names.feed_status)) == 1
        shutil.rmtree(tmp_path / "archive")


# --- settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cleanup.policy", "compact"), ("retention.ms", "86400000"), ("message.timestamp.type", "CreateTime")],
)
def test_a_topic_that_could_lose_or_change_events_is_refused(
    kafka_server: Broker, new_topic: Callable[..., str], topic_prefix: str, tmp_path: Path, setting: str, value: str
) -> None:
    new_topic("results.events", **{setting.replace(".", "_"): value})
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
    with pytest.raises(TopicUnfit, match=f"{setting}={value}, and must have"):
        desk.load(UPDATES)


def test_a_missing_topic_says_how_to_make_it(kafka_server: Broker, topic_prefix: str, tmp_path: Path) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    with pytest.raises(TopicUnfit, match="escrutinio-ingest topics"):
        desk.load(UPDATES)


def test_a_log_without_its_beginning_is_refused(desk: Desk) -> None:
    desk.load(UPDATES)
    admin = KafkaAdminClient(bootstrap_servers=desk.broker.bootstrap_servers)
    try:
        admin.delete_records({TopicPartition(desk.names.events, 0): 5})
    finally:
        admin.close()
    with pytest.raises(LogDamaged, match="begins at offset 5"):
        desk.load(UPDATES)


NEWER_ID = b"\x00\x00\x00\x00\x63"
"""Schema id 99."""


def put_raw(desk: Desk, value: bytes, headers: Headers) -> None:
    """A message of the contest on the log, as it is."""
    with publish.Publisher(
        KafkaAccess(desk.broker.bootstrap_servers), _ignore, threading.Event(), linger_ms=0
    ) as publisher:
        publisher.send(desk.names.events, [Message(encode(contest()).key, value, headers)], _ignore)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (NEWER_ID + b"poison", []),  # nothing but the id would say that it is of a newer release
        (NEWER_ID + b"poison", [("ce_type", b"escrutinio.CountUpdate")]),
        (b"\x01" + NEWER_ID[1:] + b"poison", encode(contest()).headers),
        (b"\x00\x00\x00\x00\x00poison", encode(contest()).headers),
        (encode(contest()).value[:-1], encode(contest()).headers),
    ],
    ids=["bare", "without a hash", "another first byte", "an id below all", "cut short"],
)
def test_an_unreadable_message_on_the_log_is_said_and_passed_over(desk: Desk, value: bytes, headers: Headers) -> None:
    desk.load(UPDATES)
    put_raw(desk, value, headers)
    screen = Quiet()
    with desk.pipeline(screen) as pipeline:
        assert pipeline.load([UPDATES]).known == 48
    assert any("@45 is not an event" in line for line in screen.lines)


def test_on_a_log_of_a_newer_release_nothing_is_published(desk: Desk, tmp_path: Path) -> None:
    """It would take for news what the newer one has said, and fork the chain of its unit."""
    first, *rest = UPDATES.read_text(encoding="utf-8").splitlines(keepends=True)
    before = write(tmp_path / "before.csv", first + "".join(rest[:20]))
    after = write(tmp_path / "after.csv", first + "".join(rest[20:]))
    says = "results.events offset {}: schema id 99 is of a newer release (this one knows 1, 2, 3, 4); start that one"
    with desk.pipeline() as at_work:
        at_work.load([before])
        events = len(desk.log())
        newer = [(n, b"f" * 64 if n == "schema_sha256" else v) for n, v in encode(desk.updates()[-1]).headers]
        put_raw(desk, NEWER_ID + b"what a newer release says", newer)
        with pytest.raises(IngestError, match=re.escape(says.format(events))):
            at_work.load([after])  # at work while the newer one was started and wrote

    for command in (("load", after), ("watch", tmp_path), ("define", desk.contest)):
        run = desk.run(*command)
        assert (run.returncode, says.format(events) in run.stderr) == (2, True), run.stderr
    for topic, messages in ((desk.names.events, events + 1), (desk.names.rejected, 0)):
        assert len(desk.messages(topic)) == messages


# --- the contest


def test_without_a_contest_file_the_only_contest_of_the_log_is_meant(desk: Desk) -> None:
    desk.load(UPDATES)
    with Pipeline(desk.connection, Archive(desk.folder / "archive"), None, Quiet(), threading.Event()) as pipeline:
        assert pipeline.load([UPDATES]).known == 48


def test_without_any_contest_one_must_be_named(desk: Desk) -> None:
    pipeline = Pipeline(desk.connection, Archive(desk.folder / "archive"), None, Quiet(), threading.Event())
    with pytest.raises(IngestError, match="name one with --contest"), pipeline:
        pass


def test_a_changed_contest_file_is_refused_until_it_is_defined(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES)
    text = (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
    desk.contest = write(
        tmp_path / "changed" / "contest.toml", text.replace('party = "Perú Libre"', 'party = "Partido Perú Libre"')
    )
    write(tmp_path / "changed" / "areas.csv", (EXAMPLE / "areas.csv").read_text(encoding="utf-8"))
    refused = desk.run("load", UPDATES)
    assert refused.returncode == 2
    assert "is defined otherwise on the log, in selections" in refused.stderr
    for _ in range(2):
        assert desk.run("define", desk.contest).returncode == 0
        definitions = [e for e in desk.log() if isinstance(e, ContestDefined)]
        assert [d.revision for d in definitions] == [1, 2]
    assert desk.run("load", UPDATES).returncode == 0


def test_a_revision_must_not_take_an_area_away(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES)
    fewer = write(tmp_path / "fewer" / "contest.toml", (EXAMPLE / "contest.toml").read_text(encoding="utf-8"))
    write(
        tmp_path / "fewer" / "areas.csv",
        "".join((EXAMPLE / "areas.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:-1]),
    )
    run = desk.run("define", fewer)
    assert run.returncode == 2
    assert "a revision must keep the contest's areas, where they are; 950202 is not" in run.stderr


def revised(desk: Desk, folder: Path, *replaced: tuple[str, str]) -> Path:
    """The example's contest with changed words, as a file of its own; the desk's from now on."""
    toml = (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
    for was, becomes in replaced:
        assert was in toml
        toml = toml.replace(was, becomes)
    write(folder / "areas.csv", (EXAMPLE / "areas.csv").read_text(encoding="utf-8"))
    desk.contest = write(folder / "contest.toml", toml)
    return desk.contest


def definitions(desk: Desk) -> list[ContestDefined]:
    return [event for event in desk.log() if isinstance(event, ContestDefined)]


def test_a_revision_holds_from_when_the_known_one_does_or_later(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("define", desk.contest).returncode == 0
    for number, (arguments, holds_from) in enumerate(
        [
            ((), "2021-06-06T05:00:00+00:00"),
            (("--effective-at", "2021-06-08T00:00:00-05:00"), "2021-06-08T05:00:00+00:00"),
            ((), "2021-06-08T05:00:00+00:00"),
        ]
    ):
        file = revised(desk, tmp_path / str(number), ('party = "Perú Libre"', f'party = "Perú Libre {number}"'))
        assert desk.run("define", *arguments, file).returncode == 0
        last = definitions(desk)[-1]
        assert (last.revision, last.effective_at.isoformat()) == (number + 2, holds_from)
    file = revised(desk, tmp_path / "early", ('party = "Perú Libre"', 'party = "Perú"'))
    early = desk.run("define", "--effective-at", "2021-06-08T04:59:59Z", file)
    assert early.returncode == 2
    assert "2021-06-08T04:59:59.000Z is earlier than 2021-06-08T05:00:00.000Z" in early.stderr
    assert len(definitions(desk)) == 4
    later = desk.run("define", "--effective-at", "2021-06-08T06:00:00Z", tmp_path / "2" / "contest.toml")
    assert later.returncode == 0
    assert definitions(desk)[-1].effective_at.isoformat() == "2021-06-08T06:00:00+00:00"


def test_changed_counting_levels_are_defined_as_a_revision(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES)
    file = revised(desk, tmp_path / "new", ('["country", "precinct"]', '["country", "polling-place", "precinct"]'))
    refused = desk.run("load", UPDATES)
    assert refused.returncode == 2
    assert "is defined otherwise on the log, in counting_levels" in refused.stderr
    for _ in range(2):
        assert desk.run("define", file).returncode == 0
        _, last = definitions(desk)
        assert (last.counting_level, last.later_counting_levels) == ("country", ("polling-place", "precinct"))
    assert desk.run("load", UPDATES).returncode == 0


def test_an_operator_moves_the_counting_level(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES, write(tmp_path / "a.csv", ACTA))
    for _ in range(2):
        assert desk.run("define", "--counting-level", "precinct", desk.contest).returncode == 0
        first, moved = definitions(desk)
        assert (moved.counting_level, moved.later_counting_levels) == ("precinct", ())
        assert moved.previous_event_id == first.event_id
        assert moved.effective_at.isoformat() == "2021-06-08T16:15:44+00:00"
    assert desk.run("define", desk.contest).returncode == 0  # how far it has moved is not in the file
    assert desk.run("load", UPDATES).returncode == 0
    assert len(definitions(desk)) == 2
    unknown = desk.run("define", "--counting-level", "county", desk.contest)
    assert unknown.returncode == 2
    assert "county is none of the contest's counting_levels: country, precinct" in unknown.stderr


# --- watching


@pytest.fixture
def watched(desk: Desk, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    process = desk.begin("watch", "--every", "0.2", folder)
    yield process, folder
    process.kill()
    process.communicate()


def test_watch_takes_what_appears_and_stops_when_asked(desk: Desk, watched: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = watched
    write(folder / "bad.csv", "<html>")
    write(folder / "night" / "sheets.csv", ACTA)
    eventually(lambda: len(desk.updates()) == 6)
    write(
        folder / "night" / "sheets.csv",
        ACTA.replace("16:15:44", "16:45:44").replace("300,214,118,81", "300,215,119,81"),
    )
    eventually(lambda: len(desk.updates()) == 7)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert "stopped as asked" in output
    assert "Z WARNING rejected: incoming/bad.csv: F207 HTML" in output


def test_watch_says_once_what_it_does_not_read(desk: Desk, tmp_path: Path) -> None:
    folder, screen = tmp_path / "incoming", Quiet()
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        for name in ("night/sheets.xlsx", "UPPER.CSV", ".hidden", "copying.csv.part", "copying.csv~", "sheets.csv"):
            write(folder / name, ACTA)

        def passed_over() -> list[str]:
            return [line for line in screen.lines if line.startswith("WARNING ")]

        for _ in range(3):
            watch.look()
        assert passed_over() == [
            f"WARNING {name} is passed over: only .csv and .csv.gz are read"
            for name in ("incoming/UPPER.CSV", "night/sheets.xlsx")
        ]
        assert len(desk.updates()) == 6
        (folder / "UPPER.CSV").unlink()
        watch.look()
        write(folder / "UPPER.CSV", ACTA)
        watch.look()
        assert len(passed_over()) == 3, "it was put there again"


def test_watch_waits_for_the_tables_of_an_update(desk: Desk, tmp_path: Path) -> None:
    folder, screen = tmp_path / "incoming", Quiet()
    folder.mkdir()
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        for part in ("resultados", "totales", "resumen"):
            write(folder / f"{part}.csv", NATIONAL[part])
        watch.look()  # sees them
        watch.look()  # they held still
        assert any("waiting for participacion of 2021-06-07T05:48:00.000Z" in line for line in screen.lines)
        assert not desk.updates()
        write(folder / "participacion.csv", NATIONAL["participacion"])
        watch.look()
        watch.look()
        assert len(desk.updates()) == 1
        assert pipeline.report.awaited == ()
        assert not desk.messages(desk.names.rejected)


def test_watch_rejects_what_no_waiting_mends(desk: Desk, tmp_path: Path) -> None:
    """Of two updates one is complete and has an unknown total, the other lacks a table."""
    folder, screen = tmp_path / "incoming", Quiet()
    for part, text in NATIONAL.items():
        header, _, rows = text.partition("\n")
        later = rows.replace("05:48:00Z", "06:48:00Z") if part != "participacion" else ""
        write(folder / f"{part}.csv", f"{header}\n{rows}{later}".replace("VOTOS NULOS", "VOTOS VICIADOS", 1))
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        watch.look()
        watch.look()
        (rejection,) = pipeline.report.rejections
        assert str(rejection.finding) == "F205 unknown total 'VOTOS VICIADOS'"
        assert (rejection.uri, rejection.place) == ("incoming/totales.csv", "row 4, column AGRUPACION")
        assert pipeline.report.awaited == ("participacion of 2021-06-07T06:48:00.000Z",)
    assert len(desk.messages(desk.names.rejected)) == 1
    assert not desk.updates()


def test_load_rejects_an_incomplete_publication(desk: Desk, tmp_path: Path) -> None:
    report = desk.load(*(write(tmp_path / f"{p}.csv", t) for p, t in NATIONAL.items() if p != "participacion"))
    (rejection,) = report.rejections
    assert str(rejection.finding) == "F205 the country at 2021-06-07T05:48:00.000Z lacks its row in participacion"
    assert len(desk.messages(desk.names.rejected)) == 1
    assert not desk.updates()


def corrected() -> dict[str, str]:
    """The national tables with nine votes fewer, wherever they are stated."""
    tables = dict(NATIONAL)
    for was, becomes in (("5927689", "5927680"), ("12472821", "12472812"), ("13308277", "13308268")):
        tables = {part: text.replace(was, becomes) for part, text in tables.items()}
    return tables


def ballots(desk: Desk) -> list[int | None]:
    return [update.counts.ballots_cast if update.counts else None for update in desk.updates()]


def test_watch_publishes_a_second_capture_of_an_update_by_itself(desk: Desk, tmp_path: Path) -> None:
    folder, screen = tmp_path / "incoming", Quiet()
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        for name, tables in (("first", NATIONAL), ("second", corrected())):
            for part, text in tables.items():
                write(folder / name / f"{part}.csv", text)
            watch.look()  # sees them
            watch.look()  # they held still
        assert not pipeline.report.rejected
    assert ballots(desk) == [13_308_277, 13_308_268]
    assert [update.kind for update in desk.updates()] == ["REPORTED", "CORRECTED"]
    assert {document.uri.split("/")[0] for document in desk.updates()[1].source.documents} == {"second"}


def test_watch_fills_in_from_the_latest_tables_what_a_second_capture_lacks(desk: Desk, tmp_path: Path) -> None:
    folder, screen, later = tmp_path / "incoming", Quiet(), corrected()
    for part, text in NATIONAL.items():
        write(folder / "first" / f"{part}.csv", text)
    with desk.pipeline(screen) as pipeline:
        watch = Watch(pipeline, folder, screen, threading.Event())
        for parts in ((), ("totales", "resumen", "participacion"), ("resultados",)):
            for part in parts:
                write(folder / "second" / f"{part}.csv", later[part])
            watch.look()
            watch.look()
        assert not pipeline.report.rejected
    assert ballots(desk)[-1] == 13_308_268
    last = desk.updates()[-1]
    assert last.counts is not None
    assert last.counts.votes["peru-libre"] == 5_927_680
    assert {document.uri.split("/")[0] for document in last.source.documents} == {"second"}


class Following(Listener):
    """Remembers what it is told of looks and batches."""

    def __init__(self) -> None:
        self.told: list[str | int] = []

    def looked(self, fault: str | None) -> None:
        self.told.append(fault or "looked")

    def advanced(self) -> None:
        self.told.append("advanced")

    def pending(self, documents: int) -> None:
        self.told.append(documents)


def test_who_listens_is_told_of_each_look_and_batch_and_of_a_folder_that_cannot_be_read(
    desk: Desk, tmp_path: Path
) -> None:
    folder, following = tmp_path / "incoming", Following()
    write(folder / "a.csv", ACTA)
    write(folder / "b.csv", ACTA.replace("16:15:44", "16:45:44"))
    archive, stop = Archive(tmp_path / "archive"), threading.Event()
    with Pipeline(desk.connection, archive, contest(), Quiet(), stop, listener=following) as pipeline:
        watch = Watch(pipeline, folder, Quiet(), stop)
        following.told.clear()
        watch.look()
        assert following.told == ["looked", 2, "advanced"]
        following.told.clear()
        watch.look()
        assert following.told == ["looked", "advanced", "advanced", 0, "advanced"]
        following.told.clear()
        folder.rename(tmp_path / "away")
        watch.look()
        (fault,) = following.told
        assert "incoming cannot be read: No such file or directory" in str(fault)


# --- a hole in the log


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_log_with_a_hole_is_refused(desk: Desk, at_the_end: bool) -> None:
    desk.load(UPDATES)
    message = encode(desk.updates()[0])
    producer = KafkaProducer(bootstrap_servers=desk.broker.bootstrap_servers, transactional_id="intruder")
    try:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(desk.names.events, message.value, message.key, message.headers, partition=0)
        producer.commit_transaction()  # its marker takes an offset
    finally:
        producer.close()
    if not at_the_end:
        put(desk, decode(message.value, message.headers))
    with pytest.raises(LogDamaged, match="has a hole: offset 46 expected, 47 found"):
        desk.load(UPDATES)
