"""Several aggregators share a log as a consumer group: they come, go and are killed; no event is lost and none
doubled."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError
from kafka.partitioner import murmur2
from prometheus_client import CollectorRegistry, generate_latest
from psycopg.conninfo import make_conninfo

from aggregator.cli import main
from aggregator.live import run as consume
from aggregator.live.assignment import Assignment
from aggregator.live.metrics import Metrics
from aggregator.live.partition import PartitionFold
from aggregator.log.group import Group
from aggregator.log.reader import Log
from aggregator.replay import replay
from aggregator.replay.answer import of_state
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import Fenced
from aggregator.tables.rows import Parked
from aggregator.tables.writer import Writer
from results.moment import Moment
from runtime.postgres import DatabaseUnreachable
from schemas.errors import EscrutinioError
from schemas.log_record import RawRecord
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of, verified
from tests.support.fix_postgres import Database
from tests.support.fix_setup import Setup
from tests.support.fix_tables import or_none
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

PARTITIONS = 4
SESSION_S = 3


def _contest_of(partition: int) -> str:
    """A contest whose key falls into this partition."""
    return next(
        c for c in (f"contest-{i}" for i in range(1000)) if (murmur2(c.encode()) & 0x7FFFFFFF) % PARTITIONS == partition
    )


CONTESTS = [_contest_of(partition) for partition in range(PARTITIONS)]


@pytest.fixture
def wide_log(kafka_server: Broker, kafka_producer: Any, new_topic: Callable[..., str]) -> EventLog:
    """An empty log of several partitions."""
    topic = new_topic("results.events", partitions=PARTITIONS, max_message_bytes="8388608")
    return EventLog(kafka_server.bootstrap_servers, topic, kafka_producer)


class Appender(threading.Thread):
    """Defines every contest, then appends a sheet of each, again and again, until it is told to end."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self.sheets = 0
        self._log, self._ended = log, threading.Event()

    def run(self) -> None:
        self._log.append([contest(c) for c in CONTESTS])
        while not self._ended.is_set():
            self._log.append([sheet(self.sheets, {"a": self.sheets % 100, "b": 1}, contest_id=c) for c in CONTESTS])
            self.sheets += 1
            time.sleep(0.1)

    def end(self) -> None:
        """Ends it; what it wrote is on the log."""
        self._ended.set()
        self.join()


class Members:
    """Aggregators of one group, as processes."""

    def __init__(self, log: EventLog, totals: Database, folder: Path) -> None:
        self._totals, self._folder = totals, folder
        prefix = log.topic.removesuffix("results.events")
        self._setup, self._name = Setup(log.bootstrap_servers, prefix, totals, folder), f"{prefix}group"
        self._processes: list[subprocess.Popen[str]] = []
        self._admin = KafkaAdminClient(bootstrap_servers=log.bootstrap_servers)
        self._db = psycopg.connect(totals.reader_url, autocommit=True)

    def start(self) -> subprocess.Popen[str]:
        """Start one more."""
        options = ("--batch-size", "100", "--group", self._name, "--session-timeout", str(SESSION_S))
        with (self._folder / f"{len(self._processes)}.log").open("wb") as said:
            process = self._setup.start("aggregator", "run", *options, said=said.fileno())
        self._processes.append(process)
        return process

    def said(self) -> str:
        """What all of them said so far."""
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("*.log")))

    def held_by(self, process: subprocess.Popen[str]) -> set[int]:
        """The partitions that the group gives to this process, by the broker's word."""
        try:
            group = self._admin.describe_groups([self._name])[self._name]
        except CoordinatorNotAvailableError:  # the first group of a broker makes it prepare itself
            return set()
        if group["group_state"] != "Stable":
            return set()
        return {
            partition
            for member in group["members"]
            if f"-{process.pid}-" in member["member_id"]
            for topic in member["member_assignment"]["assigned_partitions"]
            for partition in topic["partitions"]
        }

    def cursors(self) -> dict[int, int]:
        """How far each partition is aggregated."""
        return dict(self._db.execute("SELECT partition, next_offset FROM checking.cursor").fetchall())

    def at_work(self, process: subprocess.Popen[str], partitions: int = 1) -> set[int]:
        """Wait until it holds so many partitions at least, and has moved each that it holds. Returns them."""
        held: set[int] = set()
        before: dict[int, int] = {}

        def moved() -> bool:
            nonlocal held, before
            assert process.poll() is None, self.said()
            if (now := self.held_by(process)) != held:
                held, before = now, self.cursors()
            cursors = self.cursors()
            return len(held) >= partitions and all(cursors.get(p, 0) > before.get(p, 0) for p in held)

        self.until(moved)
        return held

    def kill(self, process: subprocess.Popen[str]) -> None:
        """kill -9, and wait until every partition has moved on without it."""
        process.kill()
        process.wait()
        before = self.cursors()
        self.until(lambda: all(self.cursors()[p] > before[p] for p in range(PARTITIONS)))

    def freeze(self, process: subprocess.Popen[str], partitions: set[int]) -> None:
        """Stop it where it is, but not in the middle of a transaction: that is a test of its own, below."""
        while True:
            process.send_signal(signal.SIGSTOP)
            try:
                with psycopg.connect(self._totals.owner_url) as db:
                    rows = "SELECT FROM aggregate.cursor WHERE partition = ANY (%s) FOR UPDATE NOWAIT"
                    db.execute(rows, (sorted(partitions),))
                return
            except psycopg.errors.LockNotAvailable:
                process.send_signal(signal.SIGCONT)
                time.sleep(0.05)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it."""
        eventually(true, self.said)

    def stop(self) -> None:
        """Kills what still runs."""
        self._admin.close()
        self._db.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def members(wide_log: EventLog, totals: Database, tmp_path: Path) -> Iterator[Members]:
    """A group for the test's own log and database."""
    group = Members(wide_log, totals, tmp_path)
    yield group
    group.stop()


@pytest.fixture
def writer(wide_log: EventLog) -> Iterator[Appender]:
    """Writes to every contest all the while."""
    thread = Appender(wide_log)
    thread.start()
    yield thread
    thread.end()


def _ends(log: EventLog) -> dict[int, int]:
    with Log(log.kafka, log.topic) as reader:
        return {p: reader.end_offset(p) for p in range(PARTITIONS)}


def _nothing_lost_nothing_doubled(log: EventLog, totals: Database, undisturbed: Database, sheets: int) -> None:
    rows, ids, places = "count(*)", "count(DISTINCT event_id)", "count(DISTINCT (partition, log_offset))"
    assert totals.read(f"SELECT {rows}, {ids}, {places} FROM results.update_history") == [(sheets * PARTITIONS,) * 3]  # noqa: S608
    lives = dict(totals.read("SELECT DISTINCT contest_id, partition FROM results.update_history"))
    assert lives == {contest_id: partition for partition, contest_id in enumerate(CONTESTS)}
    aggregate(log, undisturbed)
    for contest_id in CONTESTS:
        state = replay.replay(log.kafka, log.topic, contest_id, Moment())
        count = count_of(totals, contest_id)
        assert count == count_of(undisturbed, contest_id) == of_state(state, state.root())
        assert count.selections[0].votes == sum(n % 100 for n in range(sheets))
        assert verified(log, totals, contest_id=contest_id).equal


def test_members_that_join_leave_and_are_killed_lose_and_double_nothing(
    wide_log: EventLog,
    totals: Database,
    migrated_template: str,
    new_database: Callable[..., Database],
    members: Members,
    writer: Appender,
) -> None:
    first, second = members.start(), members.start()
    assert members.at_work(first, 2) | members.at_work(second, 2) == set(range(PARTITIONS))
    third = members.start()
    assert members.at_work(third)
    members.kill(third)
    members.kill(second)
    second = members.start()
    members.at_work(second, 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(WITHIN_S) == 0
    assert members.at_work(second, PARTITIONS) == set(range(PARTITIONS))
    writer.end()
    members.until(lambda: members.cursors() == _ends(wide_log))
    second.send_signal(signal.SIGTERM)
    assert second.wait(WITHIN_S) == 0
    _nothing_lost_nothing_doubled(wide_log, totals, new_database(migrated_template), writer.sheets)


def test_a_member_that_was_frozen_writes_nothing_and_works_again(
    wide_log: EventLog,
    totals: Database,
    migrated_template: str,
    new_database: Callable[..., Database],
    members: Members,
    writer: Appender,
) -> None:
    first, second = members.start(), members.start()
    members.at_work(second, 2)
    members.freeze(first, members.at_work(first))
    assert members.at_work(second, PARTITIONS) == set(range(PARTITIONS))
    first.send_signal(signal.SIGCONT)
    assert members.at_work(first)
    writer.end()
    members.until(lambda: members.cursors() == _ends(wide_log))
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    _nothing_lost_nothing_doubled(wide_log, totals, new_database(migrated_template), writer.sheets)


class Run(threading.Thread):
    """A run of the aggregator in this process, as a member of a group."""

    def __init__(self, log: EventLog, totals: Database) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.at: dict[int, int] = {}
        self.fault: EscrutinioError | None = None
        self._log, self._totals = log, totals

    def run(self) -> None:
        def on_progress(progress: consume.Progress) -> None:
            self.at[progress.partition] = progress.offset

        try:
            consume.run(
                self._totals.writer_url,
                self._log.kafka,
                self._log.topic,
                self.stop,
                group=self._log.topic,
                session_timeout_s=SESSION_S,
                on_progress=on_progress,
            )
        except EscrutinioError as error:
            self.fault = error


def test_a_batch_that_took_too_long_is_not_written_and_the_member_joins_again(
    wide_log: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aggregator.log.group.PATIENCE_S", 5)
    fold, stuck, go_on = PartitionFold.apply, threading.Event(), threading.Event()

    def apply(own: PartitionFold, records: list[RawRecord]) -> Batch:
        if threading.current_thread() is slow and not stuck.is_set():
            stuck.set()
            go_on.wait(WITHIN_S)
        return fold(own, records)

    monkeypatch.setattr(PartitionFold, "apply", apply)
    slow, other = Run(wide_log, totals), Run(wide_log, totals)
    wide_log.append([contest(c) for c in CONTESTS])
    slow.start()
    try:
        assert stuck.wait(WITHIN_S)
        other.start()
        eventually(lambda: other.at == dict.fromkeys(range(PARTITIONS), 1))
        go_on.set()
        eventually(lambda: "joining group" in caplog.text)
        sheets = 0

        def has_its_share_again() -> bool:
            nonlocal sheets
            wide_log.append([sheet(sheets, contest_id=c) for c in CONTESTS])
            sheets += 1
            return len(slow.at) == 2

        eventually(has_its_share_again)
        eventually(lambda: {**other.at, **slow.at} == dict.fromkeys(range(PARTITIONS), 1 + sheets))
        assert (slow.fault, other.fault) == (None, None)
    finally:
        go_on.set()
        for run in (slow, other):
            run.stop.set()
            run.join(WITHIN_S)
    assert "nothing was written" in caplog.text
    assert {count_of(totals, c).sub_units["counted"] for c in CONTESTS} == {sheets}


def test_a_writer_from_outside_the_group_is_not_fought_with(
    wide_log: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consume, "_AGAIN_S", 3600.0)
    member = Run(wide_log, totals)
    wide_log.append([contest(c) for c in CONTESTS])
    member.start()
    try:
        eventually(lambda: len(member.at) == PARTITIONS)
        aggregate(wide_log, totals)
        wide_log.append([sheet(1, contest_id=CONTESTS[0])])
        # taken back: it may have been a member that woke up late
        eventually(lambda: (count := or_none(count_of, totals, CONTESTS[0])) and count.sub_units["counted"] == 1)
        aggregate(wide_log, totals)
        wide_log.append([sheet(2, contest_id=CONTESTS[0])])
        eventually(lambda: not member.is_alive())
    finally:
        member.stop.set()
        member.join(WITHIN_S)
    assert isinstance(member.fault, Fenced)
    assert "the other is not a member" in str(member.fault)


def test_a_writer_that_is_frozen_in_its_commit_does_not_keep_the_partition(
    event_log: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.tables.writer.COMMIT_S", 1)
    event_log.append([contest()])
    with Log(event_log.kafka, event_log.topic) as log:
        topic_id, records = log.topic_id(), next(log.read_to_end(0)).records
    batch = PartitionFold().apply(records)
    taken: list[Cursor] = []

    def frozen() -> Iterator[Parked]:
        with Writer(make_conninfo(totals.writer_url, options="-c lock_timeout=20s")) as other:
            taken.append(other.claim(event_log.topic, topic_id, 0))
        yield Parked(records[0], CONTEST, "never written")

    batch.parked = frozen()  # type: ignore[assignment]
    with Writer(totals.writer_url) as writer:
        cursor = writer.claim(event_log.topic, topic_id, 0)
        with pytest.raises(DatabaseUnreachable):
            writer.commit(cursor, batch)
    assert [(c.next_offset, c.epoch) for c in taken] == [(0, 2)]
    aggregate(event_log, totals)


class Answers(Group):
    """A group that assigns what the test says."""

    name = "a group"
    held: dict[int, int]

    def __init__(self) -> None:
        self.held = {0: 1}

    def owned(self) -> dict[int, int]:
        return self.held


def test_a_partition_that_is_revoked_while_its_batch_is_committed_is_no_fault(
    wide_log: EventLog, totals: Database
) -> None:
    """The metrics forget a revoked partition only once its last batch is counted."""
    wide_log.append([contest(CONTESTS[0]), sheet(1, contest_id=CONTESTS[0])])
    registry, group = CollectorRegistry(), Answers()
    with (
        Writer(totals.writer_url) as writer,
        Log(wide_log.kafka, wide_log.topic) as log,
        Assignment(writer, log, group, Metrics(registry)) as assignment,
    ):
        assert assignment.refresh()
        batches = next(filter(None, iter(assignment.read, None)))
        assignment.commit(batches[0])
        group.held = {}
        assert not assignment.refresh()
    assert totals.read("SELECT next_offset FROM checking.cursor WHERE partition = 0") == [(2,)]
    assert registry.get_sample_value("escrutinio_aggregator_batch_events_sum") == 2
    assert 'partition="0"' not in generate_latest(registry).decode()


def test_until_caught_up_is_for_one_run_that_reads_everything() -> None:
    done = CliRunner().invoke(main, ["run", "--until-caught-up", "--group", "night"])
    assert done.exit_code == 2
    assert "reads every partition" in done.output
