"""Messages that a client library cannot read: what is blocked, what goes on, and who says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry, generate_latest

from aggregator.cli import main
from aggregator.live import run
from aggregator.live.metrics import Metrics
from aggregator.replay import replay
from audit import notary
from audit.checkpoint_topic import CheckpointTopic
from audit.errors import NotRead
from audit.metrics import Metrics as AuditMetrics
from audit.store import TreeFolder
from audit.tree.checkpoint import opened
from audit.tree.note import Signer
from backup import mirror
from backup.folder import TopicFolder
from ingest.errors import IngestError
from ingest.listener import Listener
from ingest.publish.connection import Connection
from ingest.publish.memory import Memory
from results.moment import Moment
from results.reader import Reader
from runtime.kafka.errors import Unreadable
from runtime.kafka.producer import partition_of
from runtime.kafka.reader import Reader as LogReader
from schemas.codec import encode
from schemas.errors import ContractError
from schemas.identity import Event
from schemas.topics import EVENTS, TopicNames
from tests.support.builders import contest, sheet
from tests.support.fix_aggregate import EventLog, count_of, verified
from tests.support.fix_ingest import Quiet, ignore
from tests.support.fix_kafka import NoText, alter, flip_last_byte
from tests.support.fix_postgres import Database
from tests.support.servers import Broker
from tests.support.waiting import eventually

NAMES = [f"contest-{n}" for n in range(20)]
FIRST, BESIDE = [name for name in NAMES if partition_of(name.encode(), 2) == 0][:2]
OTHER = next(name for name in NAMES if partition_of(name.encode(), 2) == 1)


class NoLongText(str):
    """The huge name of a header that is no text."""

    def encode(self, *_: str) -> bytes:
        return str.encode(self) + b"\xff"


@pytest.fixture
def log(kafka_server: Broker, kafka_producer: Any, new_topic: Callable[..., str]) -> EventLog:
    """A log of two partitions, each event a batch of its own: FIRST and BESIDE in partition 0, OTHER in 1."""
    for name in ("results.rejected", "results.feed-status"):
        new_topic(name)
    log = EventLog(kafka_server.bootstrap_servers, new_topic("results.events", partitions=2), kafka_producer)
    for n in range(3):
        for name in (FIRST, BESIDE, OTHER):
            one_by_one(log, contest(contest_id=name) if n == 0 else sheet(n, contest_id=name))
    return log


def one_by_one(log: EventLog, *events: Event) -> None:
    for event in events:
        log.append([event])


def running(log: EventLog, totals: Database) -> str:
    """Aggregate until caught up. Returns the metrics then."""
    metrics = Metrics(registry := CollectorRegistry())
    run.run(
        totals.writer_url, log.kafka, log.topic, threading.Event(), batch_size=2, until_caught_up=True, listener=metrics
    )
    return generate_latest(registry).decode()


def unreadable(log: EventLog, totals: Database) -> str:
    metrics = Metrics(registry := CollectorRegistry())
    with pytest.raises(Unreadable, match=rf"{log.topic}/0 cannot be read from offset 4 on: the checksum"):
        run.run(totals.writer_url, log.kafka, log.topic, threading.Event(), until_caught_up=True, listener=metrics)
    return generate_latest(registry).decode()


def status(log: EventLog, totals: Database) -> tuple[int, str]:
    prefix = log.topic.removesuffix("results.events")
    options = ["--bootstrap-servers", log.bootstrap_servers, "--reader-url", totals.reader_url]
    answer = CliRunner().invoke(main, ["status", *options, "--topic-prefix", prefix], env={"COLUMNS": "300"})
    return answer.exit_code, answer.stdout


def updates(totals: Database) -> dict[str, int]:
    return dict(totals.read("SELECT contest_id, count(*) FROM results.update_history GROUP BY contest_id"))


def test_a_batch_that_cannot_be_read_blocks_its_partition_at_a_named_offset_and_no_other(
    log: EventLog, totals: Database, kafka_server: Broker
) -> None:
    alter(kafka_server, log.topic, 4, flip_last_byte)  # the second sheet of FIRST; that of BESIDE stands behind it
    for _ in range(2):  # a restart is not made worse by it
        scraped = unreadable(log, totals)
        assert 'partition_unreadable{partition="0"} 1.0' in scraped
        assert 'partition_unreadable{partition="1"} 0.0' in scraped
        assert f'contest_blocked{{contest="{BESIDE}"}} 1.0' in scraped
        assert f'contest_blocked{{contest="{OTHER}"}} 0.0' in scraped
        assert updates(totals) == {FIRST: 1, BESIDE: 1, OTHER: 2}
        with Reader(totals.reader_url) as reader:
            blocked = {row["contest_id"]: (row["blocked"], row["blocked_offset"]) for row in reader.status()}
        assert blocked == {FIRST: (True, 4), BESIDE: (True, 4), OTHER: (False, None)}
        assert (count_of(totals, FIRST).blocked or "").startswith(f"offset 4: {log.topic}/0 cannot be read from offset")
        exit_code, told = status(log, totals)
        assert exit_code == 1
        assert f"UNREADABLE {log.topic}/0 cannot be read from offset 4 on: the checksum" in " ".join(told.split())
        one_by_one(log, sheet(3, contest_id=FIRST))
    assert verified(log, totals, contest_id=FIRST).equal
    earlier = replay.replay(log.kafka, log.topic, FIRST, Moment(offset=3))
    assert earlier.root() == count_of(totals, FIRST).digest
    with pytest.raises(Unreadable, match="offset 4"):
        replay.replay(log.kafka, log.topic, FIRST, Moment())
    alter(kafka_server, log.topic, 4, flip_last_byte)  # mended
    assert 'partition_unreadable{partition="0"} 0.0' in running(log, totals)
    assert status(log, totals)[0] == 0
    assert not count_of(totals, BESIDE).blocked


def test_a_message_whose_key_can_be_read_blocks_its_contest_alone_and_is_parked_as_it_is(
    log: EventLog, totals: Database
) -> None:
    message = encode(sheet(3, contest_id=FIRST))
    offset = log.append_raw(message.key, message.value, [*message.headers, (NoText("odd"), b"1")])
    one_by_one(log, sheet(4, contest_id=FIRST), sheet(3, contest_id=BESIDE))
    scraped = running(log, totals)
    assert f'contest_blocked{{contest="{FIRST}"}} 1.0' in scraped
    assert f'contest_blocked{{contest="{BESIDE}"}} 0.0' in scraped
    assert updates(totals) == {FIRST: 2, BESIDE: 3, OTHER: 2}
    (parked, behind) = totals.read(
        "SELECT log_offset, key, value_sha256, headers, reason FROM checking.parked ORDER BY 1"
    )
    assert parked[:3] == (offset, message.key, sha256(message.value).hexdigest())
    assert parked[3][-1] == ["a\\xff", b"1".hex()]
    assert parked[4] == "the name of a header is not text: a\\xff"
    assert behind[0] == offset + 1
    assert status(log, totals)[0] == 1
    assert verified(log, totals, contest_id=FIRST).blocked_offset == offset
    assert replay.replay(log.kafka, log.topic, FIRST, Moment(offset=offset - 1)).last is not None
    with pytest.raises(ContractError, match=f"{FIRST} is blocked at offset {offset}: the name of a header is not text"):
        replay.replay(log.kafka, log.topic, FIRST, Moment())


def memory_of(log: EventLog, progress: Quiet) -> Memory:
    names = TopicNames(log.topic.removesuffix("results.events"))
    return Memory(Connection(log.kafka, names), progress, Listener())


def test_very_many_made_up_keys_cost_a_later_commit_and_who_asks_nothing(log: EventLog, totals: Database) -> None:
    for n in range(500):
        log.producer.send(log.topic, b"no event", f"made-up-{n}".encode())
    running(log, totals)
    queries = "SELECT sum(idx_scan) FROM pg_stat_all_tables WHERE schemaname = 'aggregate' AND relname = 'contest'"
    [(before,)] = totals.read(queries)
    for n in range(3, 6):
        log.append([sheet(n, contest_id=OTHER)])
        running(log, totals)
    [(after,)] = totals.read(queries)
    assert after - before < 500, "no commit asks for each key that was ever made up"
    exit_code, told = status(log, totals)
    assert exit_code == 1
    assert told.count("no event") + told.count("not the Confluent") <= 20
    assert "and messages with 480 more keys of no contest" in " ".join(told.split())
    memory = memory_of(log, progress := Quiet())
    memory.read()
    memory.refuse_blocked(FIRST)
    assert len([line for line in progress.lines if "passed over" in line]) == 21
    memory.close()


def test_of_a_huge_key_or_name_of_a_header_a_line_is_said(
    log: EventLog, totals: Database, caplog: pytest.LogCaptureFixture
) -> None:
    message, huge = encode(sheet(3, contest_id=FIRST)), "a" * (1 << 19)
    log.append_raw(huge.encode(), b"no event")
    log.append_raw(message.key, message.value, [*message.headers, (NoLongText(huge), b"1")])
    for _ in range(2):
        running(log, totals)
        one_by_one(log, sheet(4, contest_id=FIRST))
    assert max(len(record.getMessage()) for record in caplog.records) < 3000
    assert {len(str(getattr(record, "contest_id", ""))) for record in caplog.records} <= {0, len(FIRST), 801}
    rows = totals.read("SELECT length(key), length(contest_id), length(reason) FROM checking.parked ORDER BY 1 DESC")
    assert rows[0][:2] == (1 << 19, 801)
    assert max(reason for _, _, reason in rows) < 1100
    assert len(status(log, totals)[1]) < 20_000
    assert verified(log, totals, contest_id=FIRST).equal


def test_ingest_publishes_nothing_for_a_partition_that_it_cannot_read_back(log: EventLog, kafka_server: Broker) -> None:
    alter(kafka_server, log.topic, 4, flip_last_byte)
    memory = memory_of(log, progress := Quiet())
    memory.read()
    assert any("cannot be read from offset 4 on" in line for line in progress.lines)
    for name in (FIRST, BESIDE):
        with pytest.raises(IngestError, match=r"cannot be read from offset 4 on.* nothing more is published for it"):
            memory.refuse_blocked(name)
    memory.refuse_blocked(OTHER)
    assert memory.contests[OTHER].count((sheet(1).reporting_unit.type,)) == 2
    assert not memory.grown()
    memory.close()


def test_ingest_reads_the_log_though_what_stands_beside_it_cannot_be_read(log: EventLog, kafka_server: Broker) -> None:
    rejected = log.topic.replace("events", "rejected")
    log.producer.send(rejected, b"damaged", FIRST.encode()).get(30)
    alter(kafka_server, rejected, 0, flip_last_byte)
    memory = memory_of(log, progress := Quiet())
    memory.read()
    said = f"{rejected}/0 cannot be read from offset 0 on"
    assert any(said in line for line in progress.lines)
    memory.refuse_blocked(FIRST)
    progress.lines.clear()
    alter(kafka_server, rejected, 0, flip_last_byte)  # mended
    memory.read()
    assert not any(said in line for line in progress.lines)
    assert memory._rejected.next_offsets == {0: 1}
    memory.close()


def test_ingest_publishes_nothing_for_a_contest_with_a_message_that_its_client_cannot_read(log: EventLog) -> None:
    message = encode(sheet(3, contest_id=FIRST))
    log.append_raw(message.key, message.value, [*message.headers, (NoText("odd"), b"1")])
    memory = memory_of(log, Quiet())
    memory.read()
    with pytest.raises(IngestError, match="the name of a header is not text"):
        memory.refuse_blocked(FIRST)
    memory.refuse_blocked(BESIDE)
    memory.close()


@pytest.mark.parametrize("damage", ["batch", "header"])
def test_the_mirror_keeps_what_stands_before_and_other_partitions(
    log: EventLog, kafka_server: Broker, new_topic: Callable[..., str], tmp_path: Path, damage: str
) -> None:
    """And the notary signs what stands before, and no message that it has not read as it lies."""
    checkpoints = new_topic("results.checkpoints")
    if damage == "batch":
        alter(kafka_server, log.topic, 4, flip_last_byte)
        offset = 4
    else:
        offset = log.append_raw(FIRST.encode(), b"v", [(NoText("odd"), b"1")])
        one_by_one(log, sheet(3, contest_id=OTHER))
    for _ in range(2):
        with pytest.raises(Unreadable, match=rf"/0 cannot be read from offset {offset} on"):
            mirror.run(log.kafka, tmp_path, [(log.topic, EVENTS)], threading.Event(), ignore, follow=False)
        with TopicFolder(tmp_path / log.topic, 1000) as folder:
            manifest = folder.manifest()
            assert manifest is not None
            assert manifest.next_offset(0) == offset
            assert manifest.next_offset(1) == (3 if damage == "batch" else 4)
    key = Signer("log.example/test", Ed25519PrivateKey.generate())
    for _ in range(2):
        with (
            LogReader(log.kafka, log.topic) as reader,
            CheckpointTopic.opened(log.kafka, checkpoints, key.verifier) as published,
            pytest.raises(
                (Unreadable, NotRead), match=rf"/0 cannot be read from offset {offset} on|offset {offset}: the name"
            ),
        ):
            notary.run(
                reader, tmp_path, key, published, threading.Event(), AuditMetrics(CollectorRegistry()), follow=False
            )
        note = TreeFolder.of(tmp_path, log.topic, 0).note()
        assert opened(note, [key.verifier]).size == offset


def test_a_running_aggregator_waits_at_the_offset_and_goes_on_once_it_can_be_read(
    log: EventLog, totals: Database, kafka_server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_CHECK_S", 0.1)
    monkeypatch.setattr(run, "_QUERY_S", 0.1)
    stop, faults = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            run.run(totals.writer_url, log.kafka, log.topic, stop)
        except Exception as fault:
            faults.append(fault)

    def noted() -> list[str]:
        return [text for (text,) in totals.read("SELECT unreadable FROM checking.cursor ORDER BY partition")]

    for partition in (0, 1):
        alter(kafka_server, log.topic, 2, flip_last_byte, partition=partition)
    (thread := threading.Thread(target=work)).start()
    try:
        eventually(lambda: len(noted()) == 2 and all(noted()), lambda: f"{noted()}, {faults}")
        for partition in (0, 1):
            alter(kafka_server, log.topic, 2, flip_last_byte, partition=partition)
        eventually(lambda: updates(totals) == {FIRST: 2, BESIDE: 2, OTHER: 2}, lambda: f"{updates(totals)}, {faults}")
        assert noted() == [None, None]
    finally:
        stop.set()
        thread.join()
    assert not faults
