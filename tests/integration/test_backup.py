"""The log to files and back, against real brokers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fastavro
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from backup import check as checking
from backup import mirror
from backup.check import TopicReport
from backup.errors import LogRefused, MirrorDamaged
from backup.folder import TopicFolder
from backup.manifest import Manifest
from backup.restore import restore
from deploy.local import Broker
from deploy.local.server import free_port
from runtime.files import FolderInUse
from runtime.healthcheck import ask
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, LogDamaged, TopicUnfit
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Description, Topics
from schemas.log_record import RawRecord
from schemas.topics import EVENTS
from tests.support.fix_disk import SmallDisk
from tests.support.fix_kafka import create_topic, transact
from tests.support.ingest_samples import ROOT
from tests.support.waiting import WITHIN_S, eventually


def ignore(*_: object) -> None:
    """Nobody listens."""


def access(broker: Broker) -> KafkaAccess:
    return KafkaAccess(broker.bootstrap_servers)


def described(broker: Broker, topic: str) -> Description | None:
    with Topics(access(broker)) as topics:
        return topics.describe(topic)


@dataclass
class Desk:
    """A topic, a folder for its mirror, and what is done with them."""

    broker: Broker
    topic: str
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def files(self) -> TopicFolder:
        return TopicFolder(self.folder / self.topic)

    def mirror(self, most_events: int = 10) -> Manifest:
        (manifest,) = mirror.run(
            access(self.broker), self.folder, [(self.topic, EVENTS)], threading.Event(), self.said.append,
            follow=False, most_events=most_events,
        )  # fmt: skip
        return manifest

    def check(self, log: bool = True) -> TopicReport:
        return checking.check(self.files, self.topic, access(self.broker) if log else None, ignore)

    def restore(self, broker: Broker, replication_factor: int | None = None) -> int:
        return restore(self.files, self.topic, access(broker), replication_factor, ignore, self.said.append)

    def records(self, broker: Broker | None = None, partition: int = 0) -> list[RawRecord]:
        with Reader(access(broker or self.broker), self.topic) as log:
            return [record for batch in log.read_to_end(partition) for record in batch]

    def append(self, count: int, partition: int = 0, size: int = 20) -> None:
        """Records of every shape: with and without key, value and headers."""
        producer: Any = KafkaProducer(
            bootstrap_servers=self.broker.bootstrap_servers, acks="all", linger_ms=5, max_request_size=4 << 20
        )
        for n in range(count):
            value = None if n % 7 == 3 else os.urandom(size)
            headers = [("ce_id", str(n).encode()), ("empty", b"")] if n % 3 else []
            producer.send(self.topic, value, None if n % 7 == 4 else b"key", headers, partition=partition)
        producer.close()


@pytest.fixture
def desk(kafka_server: Broker, new_topic: Callable[..., str], tmp_path: Path) -> Desk:
    return Desk(kafka_server, new_topic(), tmp_path / "mirror")


def again(desk: Desk, partitions: int = 1) -> None:
    """The topic, deleted and made again."""
    admin = KafkaAdminClient(bootstrap_servers=desk.broker.bootstrap_servers)
    admin.delete_topics([desk.topic])
    eventually(lambda: desk.topic not in admin.list_topics())
    admin.close()
    create_topic(desk.broker, desk.topic, partitions)


def rewrite(desk: Desk, **changed: Any) -> None:
    """The manifest, altered."""
    path = desk.files.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


# --- mirror


def test_what_is_mirrored_is_what_the_log_has(desk: Desk) -> None:
    desk.append(57)
    manifest = desk.mirror()
    assert manifest.events == 57
    assert [r for batch in desk.files.read(0) for r in batch] == desk.records()
    assert desk.check() == TopicReport(desk.topic, 57, len(manifest.segments), None, 0, None)


def test_any_avro_reader_reads_the_files(desk: Desk) -> None:
    """As docs/backup.md says, with nothing of ours."""
    desk.append(23)
    desk.mirror()
    folder = desk.folder / desk.topic
    manifest = json.loads((folder / "manifest.json").read_text())
    read = []
    for segment in manifest["segments"]:
        with (folder / segment["file"]).open("rb") as file:
            rows: Any = fastavro.reader(file)
            read += [(row["offset"], row["timestamp_ms"], row["key"], row["value"]) for row in rows]
            assert rows.metadata["escrutinio.topic"] == desk.topic
    assert read == [record[1:5] for record in desk.records()]


def test_it_goes_on_where_the_files_end_and_files_stay_few(desk: Desk) -> None:
    for _ in range(15):
        desk.append(1)
        desk.mirror()
    manifest = desk.mirror()
    assert manifest.events == 15
    assert max(segment.events for segment in manifest.segments) <= 10
    assert len(manifest.segments) <= 1 + 4
    files = {p.relative_to(desk.files.path).as_posix() for p in desk.files.path.glob("*/*")}
    assert files == {segment.file for segment in manifest.segments}, "what was taken in is gone"
    assert desk.check().fault is None


def test_every_partition_is_mirrored(kafka_server: Broker, new_topic: Callable[..., str], tmp_path: Path) -> None:
    desk = Desk(kafka_server, new_topic(partitions=3), tmp_path)
    desk.append(13, partition=0)
    desk.append(5, partition=2)
    manifest = desk.mirror()
    assert [manifest.next_offset(partition) for partition in range(3)] == [13, 0, 5]
    assert desk.check().fault is None


def test_another_log_of_the_same_name_is_refused(desk: Desk) -> None:
    desk.append(12)
    known = desk.mirror()
    again(desk)
    desk.append(20)
    with pytest.raises(LogRefused, match=r"topic_id .* was made again"):
        desk.mirror()
    found = described(desk.broker, desk.topic)
    assert found
    rewrite(desk, topic_id=str(found.topic_id))
    with pytest.raises(LogRefused, match=r"at offset 11 is not the one that was mirrored .*differs in timestamp_ms, "):
        desk.mirror()
    assert desk.files.manifest() == known.model_copy(update={"topic_id": found.topic_id}), "nothing was added"


def test_a_log_that_lost_what_it_had_is_refused(desk: Desk) -> None:
    desk.append(12)
    desk.mirror()
    again(desk)
    desk.append(3)
    found = described(desk.broker, desk.topic)
    assert found
    rewrite(desk, topic_id=str(found.topic_id))
    with pytest.raises(LogRefused, match="ends at offset 3, and 12 records are mirrored"):
        desk.mirror()


def test_a_hole_is_refused(desk: Desk) -> None:
    desk.append(5)
    transact(desk.broker.bootstrap_servers, desk.topic)
    with pytest.raises(LogDamaged, match="has a hole: offset 6 expected, 7 found"):
        desk.mirror(most_events=2)
    manifest = desk.files.manifest()
    assert manifest
    assert manifest.events == 6, "what came before the hole is kept"


def test_a_topic_that_could_lose_events_is_refused(desk: Desk, new_topic: Callable[..., str]) -> None:
    desk.topic = new_topic("lossy", retention_ms="1000")
    with pytest.raises(TopicUnfit, match=r"retention.ms=1000, and must have -1"):
        desk.mirror()
    desk.topic = "nowhere"
    with pytest.raises(TopicUnfit, match="does not exist"):
        desk.mirror()


def test_a_broker_that_is_away_is_a_fault_unless_it_follows(own_kafka_server: Broker, tmp_path: Path) -> None:
    own_kafka_server.stop()
    with pytest.raises(BrokerAway):
        Desk(own_kafka_server, "results.events", tmp_path).mirror()


def test_one_mirror_at_a_time(desk: Desk) -> None:
    desk.append(1)
    with desk.files, pytest.raises(FolderInUse, match="another mirror is at work"):
        desk.mirror()


@dataclass
class Follower:
    """`escrutinio-backup mirror --follow` as a process."""

    desk: Desk
    prefix: str
    folder: Path

    def start(self, out: int = subprocess.PIPE, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "backup", "mirror", "--follow", "--every", "0.05", "--segment-events", "64", str(self.folder)],  # noqa: E501
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}",
                "ESCRUTINIO_BOOTSTRAP_SERVERS": self.desk.broker.bootstrap_servers,
                "ESCRUTINIO_TOPIC_PREFIX": self.prefix,
                **settings,
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def mirrored(self) -> int:
        manifest = self.desk.files.manifest()
        return manifest.events if manifest else 0

    def at_least(self, events: int) -> None:
        eventually(lambda: self.mirrored() >= events)


def following(broker: Broker, prefix: str, folder: Path) -> Follower:
    """A follower of all three topics of a prefix."""
    for name in ("results.events", "results.rejected", "results.feed-status"):
        create_topic(broker, prefix + name)
    return Follower(Desk(broker, f"{prefix}results.events", folder), prefix, folder)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_any_moment_it_goes_on_without_loss(
    kafka_server: Broker, topic_prefix: str, tmp_path: Path, kills: int
) -> None:
    follower = following(kafka_server, topic_prefix, tmp_path)
    chance, total = random.Random(7), 0
    for _ in range(kills):
        process = follower.start()
        try:
            for _ in range(4):
                total += 150
                follower.desk.append(150)
            follower.at_least(min(total, follower.mirrored() + chance.randint(1, 200)))
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert follower.desk.check(log=False).fault is None, "whole after every kill"
    process = follower.start()
    follower.desk.append(150)  # so that it is this one, and not those before it, that has mirrored all
    total += 150
    eventually(lambda: follower.mirrored() == total)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, out
    assert f"{topic_prefix}results.events: {total:,} records" in out
    report = follower.desk.check()
    assert (report.fault, report.events, report.behind) == (None, total, 0)


def test_a_full_disk_is_said_and_waited_for(
    kafka_server: Broker, topic_prefix: str, small_disk: Callable[[Path, int], SmallDisk], tmp_path: Path
) -> None:
    follower = following(kafka_server, topic_prefix, tmp_path / "mirror")
    disk = small_disk(follower.folder, 4)
    follower.desk.append(100)
    said = tmp_path / "said"
    url = f"http://127.0.0.1:{(port := free_port())}"

    def told(metric: str) -> bool:
        with urlopen(f"{url}/metrics", timeout=5) as answer:
            return metric in answer.read().decode()

    with said.open("w") as out:
        process = follower.start(out.fileno(), ESCRUTINIO_HTTP=f"127.0.0.1:{port}")
    try:
        follower.at_least(100)
        assert told('escrutinio_mirror_part_up{part="folder"} 1.0')
        disk.fill()
        follower.desk.append(1000, size=500)
        eventually(lambda: "cannot be written: No space left on device" in said.read_text())
        eventually(lambda: told('escrutinio_mirror_part_up{part="folder"} 0.0'))
        assert told('escrutinio_mirror_part_up{part="kafka"} 1.0')
        assert "No space left on device" in (ask(f"{url}/live") or "")
        assert follower.desk.check(log=False).fault is None, "what was mirrored is whole"
        assert process.poll() is None
        disk.make_room()
        follower.at_least(1100)
        eventually(lambda: told('escrutinio_mirror_part_up{part="folder"} 1.0') and ask(f"{url}/live") is None)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)
    assert process.returncode == 0, said.read_text()
    assert follower.desk.check().fault is None


# --- check


def test_an_altered_file_is_named(desk: Desk) -> None:
    desk.append(25)
    manifest = desk.mirror()
    path = desk.files.path / manifest.segments[1].file
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + b"abc")
    fault = desk.check(log=False).fault
    assert fault is not None
    assert str(path) in fault
    assert "SHA-256" in fault
    path.unlink()
    assert "is missing" in (desk.check(log=False).fault or "")
    path.write_bytes(whole)
    assert desk.check(log=False).fault is None
    rewrite(desk, segments=[s.model_dump() for s in manifest.segments if s != manifest.segments[1]])
    assert "where 10 comes next" in (desk.check(log=False).fault or "")


def test_the_first_record_that_differs_from_the_log_is_named(desk: Desk) -> None:
    desk.append(25)
    desk.mirror()
    (records,) = ([r for batch in desk.files.read(0) for r in batch],)
    forged = [r._replace(value=b"forged") if r.offset in (13, 20) else r for r in records]
    manifest = desk.files.manifest()
    shutil.rmtree(desk.files.path)
    with desk.files as folder:
        assert manifest
        folder.begin(Manifest(**{**manifest.__dict__, "segments": ()}))
        folder.append(0, forged)
    assert desk.check(log=False).fault is None, "by itself it is whole"
    assert desk.check().fault == f"{desk.topic}/0: the record at offset 13 differs from the log in value"


def test_a_shorter_log_differs_and_a_longer_one_does_not(desk: Desk) -> None:
    desk.append(5)
    desk.mirror()
    desk.append(4)
    assert (desk.check().fault, desk.check().behind) == (None, 4)
    desk.mirror()
    again(desk)
    assert desk.check().fault == f"{desk.topic}/0: the record at offset 0 is not on the log"


def test_a_mirror_at_work_does_not_disturb_who_reads(desk: Desk) -> None:
    desk.append(4)
    desk.mirror()
    desk.append(3)
    desk.mirror()
    reading = desk.files.read(0)
    assert [r.offset for r in next(reading)] == [0, 1, 2, 3]
    desk.append(3)
    manifest = desk.mirror()
    assert len(manifest.segments) == 1, "the file that is read next was taken in by another"
    assert [r.offset for batch in reading for r in batch] == [4, 5, 6]


# --- restore


@pytest.fixture
def empty(own_kafka_server: Broker) -> Broker:
    """A broker that holds nothing."""
    return own_kafka_server


def test_restored_records_keep_offset_time_and_bytes(
    kafka_server: Broker, new_topic: Callable[..., str], tmp_path: Path, empty: Broker
) -> None:
    desk = Desk(kafka_server, new_topic(partitions=3, max_message_bytes="2000000"), tmp_path)
    desk.append(25, partition=0)
    desk.append(4, partition=2)
    desk.append(1, partition=2, size=1_500_000)
    with Producer(access(kafka_server), ignore) as producer:
        assert producer.send(desk.topic, [RawRecord(2, 5, 0, None, None, [])]) == {2: [5]}
    desk.mirror()
    assert desk.restore(empty) == 31
    for partition in range(3):
        assert desk.records(empty, partition) == desk.records(partition=partition)
    before, after = described(kafka_server, desk.topic), described(empty, desk.topic)
    assert before
    assert after
    assert replace(after, settings={}) == replace(before, topic_id=after.topic_id, settings={})
    there = Desk(empty, desk.topic, tmp_path)
    report = there.check()
    assert (report.fault, report.restored_as) == (None, after.topic_id)
    started_ms = time.time_ns() // 1_000_000
    there.append(1)
    assert there.records()[-1].timestamp_ms >= started_ms - 60_000, "the broker's own time from now on"
    assert there.restore(empty) == 0, "there already"
    with pytest.raises(LogRefused, match="made again"):
        there.mirror()


def test_an_interrupted_restore_compares_and_goes_on(desk: Desk, empty: Broker) -> None:
    desk.append(40)
    desk.mirror()

    class Interrupted(Exception):
        pass

    def interrupt_at(written: int) -> Callable[[int, int], None]:
        def progress(_done: int, _of: int) -> None:
            with Reader(access(empty), desk.topic) as log:
                if described(empty, desk.topic) and log.end_offset(0) >= written:
                    raise Interrupted

        return progress

    for written in (10, 30):
        with pytest.raises(Interrupted):
            restore(desk.files, desk.topic, access(empty), None, interrupt_at(written), desk.said.append)
    found = described(empty, desk.topic)
    assert found
    assert found.settings["message.timestamp.type"] == "CreateTime", "every service refuses it"
    assert desk.restore(empty) == 10
    assert desk.said == [f"{desk.topic}/0: {n} records are there already; comparing them" for n in (10, 30)]
    assert desk.records(empty) == desk.records()


def test_what_is_not_the_beginning_of_the_mirror_is_not_written_to(desk: Desk, empty: Broker) -> None:
    desk.append(10)
    desk.mirror()
    there = Desk(empty, desk.topic, desk.folder)
    create_topic(empty, desk.topic)
    there.append(2)
    with pytest.raises(LogRefused, match=r"exists and is not empty: .* offset 0 differs from the log"):
        desk.restore(empty)
    again(there)
    with Topics(access(empty)) as topics:
        topics.change(desk.topic, {"message.timestamp.type": "CreateTime"})
    there.append(2)
    with pytest.raises(LogRefused, match=r"offset 0 differs from the log.* Nothing was written"):
        desk.restore(empty)
    again(there, partitions=2)
    with pytest.raises(LogRefused, match="exists with 2 partitions, 1 were mirrored"):
        desk.restore(empty)
    again(there)
    assert desk.restore(empty) == 10, "empty, as `escrutinio-ingest topics` makes it"
    assert desk.records(empty) == desk.records()


def test_somebody_who_writes_meanwhile_is_found(desk: Desk, empty: Broker) -> None:
    desk.append(5000)
    desk.mirror(most_events=2000)
    there = Desk(empty, desk.topic, desk.folder)
    intruded: list[bool] = []

    def intrude(_done: int, _of: int) -> None:
        if described(empty, desk.topic) and not intruded:
            intruded.append(True)
            there.append(1)

    with pytest.raises(LogRefused, match="another producer writes to the topic"):
        restore(desk.files, desk.topic, access(empty), None, intrude, ignore)


def test_a_damaged_mirror_writes_nothing(desk: Desk, empty: Broker) -> None:
    desk.append(25)
    manifest = desk.mirror()
    (desk.files.path / manifest.segments[-1].file).write_bytes(b"")
    with pytest.raises(MirrorDamaged, match="Nothing was written"):
        desk.restore(empty)
    assert described(empty, desk.topic) is None
