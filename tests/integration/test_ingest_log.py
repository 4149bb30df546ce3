"""Ingest against a real broker: what ends on the log, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
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
from kafka import TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient

from deploy.local import Broker
from ingest import publish, recall
from ingest.archive import Archive
from ingest.errors import ArchiveError, DeliveryFailed, IngestError, LogDamaged, Stopped, TopicRefused
from ingest.pipeline import Connection, Pipeline
from ingest.report import Report
from ingest.watch import Watch
from schemas.codec import Event, decode, encode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import is_named_right
from schemas.topics import TopicNames
from schemas.types import UpdateKind
from tests.ingest_samples import ACTA, ACTA_HEADER, ACTA_ROWS, DATA, EXAMPLE, NATIONAL, ROOT, contest, needs_data

UPDATES = EXAMPLE / "updates.csv"


class Quiet:
    """A screen that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

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
        return Connection(self.broker.bootstrap_servers, self.names)

    def create_topics(self) -> None:
        publish.create(self.broker.bootstrap_servers, self.connection.topics(), replication_factor=1)

    def pipeline(self, screen: Quiet | None = None, stop: threading.Event | None = None) -> Pipeline:
        return Pipeline(
            self.connection, Archive(self.folder / "archive"), contest(), screen or Quiet(), stop or threading.Event()
        )

    def load(self, *paths: Path) -> Report:
        with self.pipeline() as pipeline:
            return pipeline.load(paths)

    def messages(self, topic: str) -> list[recall.Record]:
        return list(recall.TopicReader(self.broker.bootstrap_servers, topic, True, notice=_ignore).to_end())

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
            timeout=120,
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


@pytest.fixture
def desk(kafka_server: Broker, topic_prefix: str, tmp_path: Path) -> Desk:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
    return desk


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def many_sheets(path: Path, count: int, minute: int = 15, more: int = 0) -> Path:
    """A document of `count` sheets; `more` votes on every third."""
    row = ACTA_ROWS[0].partition(",")[2].replace("16:15:44", f"16:{minute}:44")
    grown = row.replace("300,214,118,81", f"300,{214 + more},{118 + more},81")
    rows = [f"{n},{grown if n % 3 == 0 else row}" for n in range(1, count + 1)]
    return write(path, ACTA_HEADER + "".join(rows))


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


def eventually(ready: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)


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
        assert record.value.decode() == path.read_text(encoding="utf-8").splitlines(keepends=True)[2]
        assert dict(record.headers)["document_uri"] == b"sheets.csv"
        assert len(desk.updates()) == 5


def test_a_document_that_cannot_be_read_is_archived_and_named(desk: Desk, tmp_path: Path) -> None:
    bad = write(tmp_path / "page.csv", "<html>503</html>")
    run = desk.run("load", bad, UPDATES)
    assert run.returncode == 2
    assert "page.csv: F207 HTML or XML, not CSV" in run.stdout
    assert len(desk.updates()) == 44
    (record,) = desk.messages(desk.names.rejected)
    sha256 = dict(record.headers)["document_sha256"].decode()
    assert (tmp_path / "archive" / sha256[:2] / sha256).read_bytes() == bad.read_bytes() == record.value


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
    desk = Desk(own_kafka_server, TopicNames(), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
    documents = [UPDATES, many_sheets(tmp_path / "a.csv", 30_000)]
    process = desk.begin("load", *documents)
    time.sleep(3.5)
    own_kafka_server.kill()
    time.sleep(1)
    own_kafka_server.start()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert len(desk.updates()) == 30_044
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

    def say(self, line: str) -> None:
        super().say(line)
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
    desk = Desk(own_kafka_server, TopicNames(), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
    folder = tmp_path / "incoming"
    folder.mkdir()
    process = desk.begin("watch", "--every", "0.2", "--health-file", tmp_path / "alive", folder)
    eventually((tmp_path / "alive").exists)
    own_kafka_server.kill()
    write(folder / "a.csv", ACTA)
    time.sleep(8)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "no acknowledgement from" in output
    assert "stopped as asked while the broker was away" in output
    own_kafka_server.start()
    assert desk.load(folder).news.total() == 6


def test_without_a_broker_it_keeps_trying_until_stopped(own_kafka_server: Broker, tmp_path: Path) -> None:
    desk = Desk(own_kafka_server, TopicNames(), tmp_path, EXAMPLE / "contest.toml")
    desk.create_topics()
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
    with pytest.raises(TopicRefused, match=f"{setting}={value}, and must have"):
        desk.load(UPDATES)


def test_a_missing_topic_says_how_to_make_it(kafka_server: Broker, topic_prefix: str, tmp_path: Path) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    with pytest.raises(TopicRefused, match="escrutinio-ingest topics"):
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


def test_an_unreadable_message_on_the_log_is_said_and_passed_over(desk: Desk) -> None:
    desk.load(UPDATES)
    message = encode(desk.updates()[0])
    poison = type(message)(message.key, b"\x00\x00\x00\x00\x63poison", message.headers)
    with publish.Publisher(desk.broker.bootstrap_servers, _ignore, threading.Event(), linger_ms=0) as publisher:
        publisher.send(desk.names.events, [poison], _ignore)
    screen = Quiet()
    with desk.pipeline(screen) as pipeline:
        assert pipeline.load([UPDATES]).known == 48
    assert any("@45 is not an event" in line for line in screen.lines)


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


# --- watching


@pytest.fixture
def watched(desk: Desk, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    process = desk.begin("watch", "--every", "0.2", "--health-file", tmp_path / "alive", folder)
    yield process, folder
    process.kill()
    process.communicate()


def test_watch_takes_what_appears_and_stops_when_asked(
    desk: Desk, watched: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    process, folder = watched
    eventually((tmp_path / "alive").exists)
    write(folder / "bad.csv", "<html>")
    write(folder / "night" / "sheets.csv", ACTA)
    eventually(lambda: len(desk.updates()) == 6)
    write(
        folder / "night" / "sheets.csv",
        ACTA.replace("16:15:44", "16:45:44").replace("300,214,118,81", "300,215,119,81"),
    )
    eventually(lambda: len(desk.updates()) == 7)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2  # a document could not be read
    assert "stopped as asked" in output
    assert "bad.csv: F207 HTML" in output


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
