"""Every disk full once, at work: nothing is lost, it is said, and it goes on once there is room (docs/backup.md)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import Broker, Postgres
from deploy.local.server import State
from tests.acceptance.test_operator import on_the_log
from tests.acceptance.test_restore import many_sheets
from tests.support.fix_disk import SmallDisk
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup
from tests.support.waiting import WITHIN_S, eventually

SHEETS = 20_000
LOAD = ("ingest", "load", "--contest", str(EXAMPLE / "contest.toml"))


@contextmanager
def at_work(setup: Setup, said: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command under way, which says into a file what it does; killed at the end if it still runs."""
    with said.open("w") as file:
        process = setup.start(*command, said=file.fileno())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(said: Path, word: str) -> None:
    eventually(lambda: word in said.read_text(), lambda: said.read_text()[-3000:])


def ended(process: subprocess.Popen[str], said: Path) -> None:
    """It ends by itself, and well."""
    assert process.wait(WITHIN_S) == 0, said.read_text()[-3000:]


def test_the_archive(
    kafka_server: Broker,
    new_setup: Callable[[Broker], Setup],
    small_disk: Callable[[Path, int], SmallDisk],
    tmp_path: Path,
) -> None:
    setup = new_setup(kafka_server)
    disk = small_disk(setup.archive, 4)
    setup.load(EXAMPLE / "updates.csv")
    disk.fill()
    sheets = many_sheets(tmp_path / "sheets.csv", 1000)
    said = setup.refused(*LOAD, str(sheets))
    assert "cannot be written: No space left on device" in said
    assert len(on_the_log(setup)) == 44, "nothing is published from a document that is not kept"
    disk.make_room()
    assert setup.load(sheets)["news"] == {"REPORTED": 1000}
    assert not list(setup.archive.rglob(".writing-*"))


def test_the_brokers_data(
    new_root: Callable[[], Path],
    new_setup: Callable[[Broker], Setup],
    small_disk: Callable[[Path, int], SmallDisk],
    tmp_path: Path,
) -> None:
    root = new_root()
    disk = small_disk(root / "kafka", 200)
    broker, said = Broker(root), tmp_path / "said"
    broker.start()
    try:
        setup = new_setup(broker)
        disk.fill(leave=4 << 20)
        with at_work(setup, said, *LOAD, str(many_sheets(tmp_path / "sheets.csv", SHEETS))) as ingest:
            until(said, "still trying")
            assert ingest.poll() is None, "it waits"
            assert broker.status().state is State.CRASHED, "a broker whose only disk is full ends itself"
            disk.make_room()
            broker.start()
            ended(ingest, said)
        updates = on_the_log(setup)
        assert len(updates) == len({u.event_id for u in updates}) == SHEETS
        setup.aggregate()
        assert setup.json("aggregator", "status")["contests"][0]["findings"] == {}
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def loaded(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path_factory: pytest.TempPathFactory
) -> Setup:
    """More on the log than fits into a database's small disk; nothing of it is added up."""
    setup = new_setup(kafka_server)
    setup.load(EXAMPLE / "updates.csv", many_sheets(tmp_path_factory.mktemp("loaded") / "sheets.csv", SHEETS))
    return setup


@pytest.mark.parametrize(("leave", "batch_size"), [(4 << 20, 2000), (9 << 20, 500)], ids=["tables", "write-ahead-log"])
def test_the_databases_data(
    leave: int,
    batch_size: int,
    loaded: Setup,
    new_root: Callable[[], Path],
    small_disk: Callable[[Path, int], SmallDisk],
    tmp_path: Path,
) -> None:
    root = new_root()
    disk = small_disk(root / "postgres", 150)
    postgres, said = Postgres(root), tmp_path / "said"
    postgres.start()
    try:
        setup = replace(loaded, database=database_of(postgres, "escrutinio"))
        setup.run("aggregator", "migrate")
        disk.fill(leave)
        run = ("aggregator", "run", "--until-caught-up", "--batch-size", str(batch_size))
        with at_work(setup, said, *run) as aggregator:
            until(said, "No space left on device")
            until(said, "trying again")
            assert aggregator.poll() is None, "it waits"
            disk.make_room()
            postgres.start()
            ended(aggregator, said)
        assert setup.show()["digest"] == setup.json("aggregator", "replay", CONTEST)["digest"]
        setup.run("aggregator", "verify", CONTEST)
    finally:
        postgres.stop()
