"""An ingest at its place of work: a real broker, topics of its own, an archive."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.pipeline import Pipeline
from ingest.publish.connection import Connection
from ingest.publish.log_reader import TopicReader
from ingest.publish.publisher import Publisher, create
from ingest.report import Report
from ingest.sources.archive import Archive
from runtime.kafka.access import KafkaAccess
from schemas.codec import decode, encode
from schemas.count_update import CountUpdate
from schemas.identity import Event, is_named_right
from schemas.log_record import RawRecord
from schemas.topics import TopicNames
from tests.support.fix_setup import in_process
from tests.support.ingest_samples import EXAMPLE, ROOT, contest
from tests.support.servers import Broker

PUBLISHED = datetime(2021, 7, 1, tzinfo=UTC)
"""When documents without a time of their own were published."""
UPDATES = EXAMPLE / "updates.csv"


class Quiet:
    """Progress that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str, **about: object) -> None:  # noqa: ARG002
        self.lines.append(line)

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        self.lines.append(f"WARNING {line}")

    def start(self, what: str, rows: int) -> None: ...

    def advance(self, rows: int, news: int, rejected: int) -> None: ...

    def done(self) -> None: ...


def ignore(what: object) -> None:
    """Ignore it."""


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
        create(KafkaAccess(self.broker.bootstrap_servers), self.connection.all_topics(), replication_factor=1)

    def pipeline(self, progress: Quiet | None = None, stop: threading.Event | None = None) -> Pipeline:
        return Pipeline(
            self.connection, Archive(self.folder / "archive"), contest(), progress or Quiet(), stop or threading.Event()
        )

    def load(self, *paths: Path) -> Report:
        with self.pipeline() as pipeline:
            return pipeline.load(paths, PUBLISHED)

    def messages(self, topic: str) -> list[RawRecord]:
        return list(TopicReader(KafkaAccess(self.broker.bootstrap_servers), topic, True, notice=ignore).to_end())

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
        """Run a command to its end, in this process."""
        words = ["ingest", *map(str, arguments)]
        return subprocess.CompletedProcess(words, *in_process(words, self.environment, self.folder))

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


def another(desk: Desk) -> Desk:
    """A second ingest on the same log, with an archive of its own."""
    folder = desk.folder / "another"
    folder.mkdir(exist_ok=True)
    return Desk(desk.broker, desk.names, folder, desk.contest)


def put(desk: Desk, *events: Event) -> None:
    """On the log, whatever it is."""
    with Publisher(KafkaAccess(desk.broker.bootstrap_servers), ignore, threading.Event(), linger_ms=0) as publisher:
        publisher.send(desk.names.events, [encode(event) for event in events], ignore)


def bulletin(time: str, figures_of: str) -> str:
    """The example's figures of one time, under another, in our own form."""
    header, *rows = UPDATES.read_text(encoding="utf-8").splitlines(keepends=True)
    return header + next(row for row in rows if figures_of in row).replace(figures_of, time)


@dataclass
class Between(Quiet):
    """Progress that does something once: after a batch was compared with the log, and before it is sent."""

    do: Callable[[], object]

    def __post_init__(self) -> None:
        super().__init__()

    def start(self, what: str, rows: int) -> None:  # noqa: ARG002
        if rows:
            do, self.do = self.do, lambda: None
            do()
