"""Everything lost but the mirror of the log: the procedures of docs/backup.md, as a person runs them."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from deploy.local import Broker
from deploy.local.postgres import installed
from tests.support.fix_postgres import Database
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup

ROWS = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
DUMP, RESTORE = (installed() / name for name in ("pg_dump", "pg_restore"))


def part(path: Path, begin: int, end: int) -> Path:
    """Some of the night's updates."""
    path.write_text("".join([ROWS[0], *ROWS[begin:end]]), encoding="utf-8")
    return path


@pytest.fixture
def night(kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path) -> Setup:
    """The night, recorded in two halves, with a correction by an operator at the end."""
    setup = new_setup(kafka_server)
    setup.load(part(tmp_path / "one.csv", 1, 30))
    setup.aggregate()
    setup.load(part(tmp_path / "two.csv", 30, 49))
    who = ("--operator", "Ana", "--reason", "typed in wrongly", "--authority", "ONPE")
    code = setup.json("ingest", "retract", "country/pe", *who)["code"]
    setup.run("ingest", "retract", "--confirm", code, "--operator", "Luis")
    before_it = setup.json("results", "explain", CONTEST)["statements"][-1]["event_id"]
    code = setup.json("ingest", "correct", "country/pe", "--figures-of", before_it, *who)["code"]
    setup.run("ingest", "correct", "--confirm", code, "--operator", "Luis")
    setup.aggregate()
    return setup


def told(setup: Setup, offset: int, recorded_at: str) -> list[Any]:
    """What readers are told: now, at a past offset, at a time of recording; with the digests."""
    return [
        setup.show(),
        setup.json("aggregator", "replay", CONTEST),
        setup.json("aggregator", "replay", CONTEST, "--to-offset", str(offset)),
        setup.json("results", "show", CONTEST, "--at-offset", str(offset)),
        setup.json("results", "show", CONTEST, "--at-time", recorded_at),
        setup.json("results", "explain", CONTEST),
    ]


def test_an_empty_machine_has_the_same_night_from_the_log_alone(
    night: Setup, own_kafka_server: Broker, new_database: Callable[..., Database], tmp_path: Path
) -> None:
    half = night.json("results", "show", CONTEST, "--at-offset", "29")
    before = told(night, 29, half["as_of"]["recorded_at"])
    assert len({str(answer["as_of"]) for answer in before[:5] if "as_of" in answer}) > 1

    folder, archive = str(tmp_path / "mirror"), tmp_path / "archive"
    night.run("backup", "mirror", folder)
    shutil.copytree(night.archive, archive)
    checked = night.json("backup", "check", folder, "--against-log", "--archive", str(archive))
    assert (checked["whole"], checked["topics"][0]["behind"], checked["archive"]["missing"]) == (True, 0, [])

    new = Setup(own_kafka_server.bootstrap_servers, night.prefix, new_database(), archive)
    assert new.json("backup", "restore", folder)["written"][night.names.events] == checked["topics"][0]["events"]
    new.run("ingest", "topics")  # every setting is what ingest demands
    new.run("aggregator", "migrate")
    new.aggregate()
    assert told(new, 29, half["as_of"]["recorded_at"]) == before
    new.run("aggregator", "verify", CONTEST)
    assert new.json("backup", "check", folder, "--against-log")["whole"]

    survived = Setup(new.bootstrap_servers, night.prefix, night.database, archive)
    assert "the topic was deleted and made again" in survived.refused("aggregator", "run", "--until-caught-up")
    survived.run("aggregator", "rebuild", expect=1)
    survived.run("aggregator", "take-over", "v2", "--reason", "the log was restored")
    survived.aggregate()
    assert told(survived, 29, half["as_of"]["recorded_at"]) == before

    again = new.load(EXAMPLE / "updates.csv")
    assert (again["news"], again["heartbeats"]) == ({}, 0), "ingest remembers what the old one said"
    new.run("backup", "mirror", folder, expect=2)
    new.run("backup", "mirror", str(tmp_path / "mirror-of-the-new"))


@pytest.mark.soak
def test_a_restore_that_is_killed_goes_on(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], own_kafka_server: Broker, tmp_path: Path
) -> None:
    """With enough records that it is killed at work: the office's sheets, made up from one."""
    setup = new_setup(kafka_server)
    setup.load(many_sheets(tmp_path / "sheets.csv", 20_000))
    folder = str(tmp_path / "mirror")
    setup.run("backup", "mirror", "--segment-events", "500", folder)
    new = Setup(own_kafka_server.bootstrap_servers, setup.prefix, setup.database, setup.archive)
    at, kills, chance = TopicPartition(setup.names.events, 0), 0, random.Random(3)
    consumer: Any = KafkaConsumer(bootstrap_servers=new.bootstrap_servers, group_id=None)

    def there() -> int:
        try:
            return int(consumer.end_offsets([at])[at])
        except KafkaError:
            return 0

    while kills < 4:
        process = new.start("backup", "restore", folder)
        wanted = there() + chance.randint(500, 3_000)
        while process.poll() is None and there() < wanted:
            time.sleep(0.005)
        assert process.poll() is None, "killed at work"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert "message.timestamp.type=CreateTime" in new.refused(
            "ingest", "load", "--contest", str(EXAMPLE / "contest.toml"), str(EXAMPLE)
        )
    consumer.close()
    new.run("backup", "restore", folder)
    checked = new.json("backup", "check", folder, "--against-log")
    assert (checked["whole"], checked["topics"][0]["events"]) == (True, 20_001)


def many_sheets(path: Path, count: int, at: str = "2021-06-08T16:15:44Z", blank_votes: int = 1) -> Path:
    """Sheets of the office's kind."""
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.peru-libre,votes.fuerza-popular,ballots_cast,blank_votes,invalid_votes\n"  # noqa: E501
    row = f"pe/010000/010100/010101,{at},118,81,{213 + blank_votes},{blank_votes},14"
    path.write_text(
        head + "".join(f"{CONTEST},precinct,{n:06d},{row}\n" for n in range(1, count + 1)), encoding="utf-8"
    )
    return path


@pytest.mark.skipif(not DUMP.exists(), reason="the PostgreSQL package brings no pg_dump")
def test_a_dump_restored_into_a_new_database_serves_and_goes_on(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], new_database: Callable[..., Database], tmp_path: Path
) -> None:
    setup = new_setup(kafka_server)
    setup.load(part(tmp_path / "one.csv", 1, 30))
    setup.aggregate()
    dump = str(tmp_path / "escrutinio.dump")
    given = [
        "--format=custom",
        "--schema=aggregate*",
        "--schema=checking*",
        "--schema=results*",
        "--schema=publish",
        f"--dbname={setup.database.owner_url}",
        f"--file={dump}",
    ]
    subprocess.run([DUMP, *given], check=True)
    restored = Setup(setup.bootstrap_servers, setup.prefix, new_database(), setup.archive)
    subprocess.run(
        [RESTORE, "--exit-on-error", "--single-transaction", f"--dbname={restored.database.owner_url}", dump],
        check=True,
    )
    assert restored.show() == setup.show()
    setup.load(part(tmp_path / "two.csv", 30, 49))
    setup.aggregate()
    restored.aggregate()
    assert restored.show() == setup.show()
    assert restored.show()["digest"] == setup.json("aggregator", "replay", CONTEST)["digest"]
    restored.run("aggregator", "verify", CONTEST)
