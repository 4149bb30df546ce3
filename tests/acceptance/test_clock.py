"""Clocks that are wrong, and what the services make of them (docs/backup.md)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup.folder import TopicFolder
from backup.manifest import Manifest
from deploy.local import Broker
from schemas.types import to_milliseconds
from tests.acceptance.test_operator import FALL, on_the_log, row, table
from tests.support.fix_postgres import Database
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup

MINUTE_MS = 60_000
BEHIND, AN_HOUR_BEHIND, RIGHT = "2021-06-07T05:18:00Z", "2021-06-08T04:19:00Z", "2021-06-08T05:20:00Z"


def test_a_clock_that_is_behind_the_office_costs_no_votes_and_is_said(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path, at: Callable[[str], None]
) -> None:
    setup = new_setup(kafka_server)
    at(AN_HOUR_BEHIND)
    told = setup.load(table(tmp_path / "bulletin.csv", row(FALL)))
    assert (told["news"], told["findings"]) == ({"REPORTED": 1}, {"F111": 1})
    setup.aggregate()
    (event,) = on_the_log(setup)
    assert event.reported_at == datetime(2021, 6, 8, 5, 19, tzinfo=UTC)
    assert setup.show()["last_update"]["stated_at"] == "2021-06-08T05:19:00Z"


def test_the_declared_offset_of_a_source_takes_the_finding_away(
    kafka_server: Broker,
    new_setup: Callable[[Broker], Setup],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: Callable[[str], None],
) -> None:
    setup = new_setup(kafka_server)
    monkeypatch.setenv("ESCRUTINIO_CLOCK_AHEAD_S", '{"ONPE": 3600}')
    at(AN_HOUR_BEHIND)
    told = setup.load(table(tmp_path / "bulletin.csv", row(FALL)))
    assert (told["news"], told["findings"]) == ({"REPORTED": 1}, {})
    (event,) = on_the_log(setup)
    assert event.reported_at == datetime(2021, 6, 8, 4, 19, tzinfo=UTC)
    setup.aggregate()
    assert not setup.json("results", "explain", CONTEST)["statements"][0]["findings"]


def test_a_clock_that_is_a_day_behind_the_office_rejects_what_comes_from_the_future(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path, at: Callable[[str], None]
) -> None:
    setup = new_setup(kafka_server)
    bulletin = table(tmp_path / "bulletin.csv", row(FALL))
    at(BEHIND)
    assert setup.load(bulletin, expect=1)["rejected"] == {"F305": 1}
    at(RIGHT)
    assert setup.load(bulletin)["news"] == {"REPORTED": 1}


def test_a_clock_that_is_ahead_changes_no_event(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path, at: Callable[[str], None]
) -> None:
    ids = []
    for now in (RIGHT, "2021-06-09T05:20:00Z"):
        setup = new_setup(kafka_server)
        at(now)
        setup.load(table(tmp_path / "bulletin.csv", row(FALL)))
        (event,) = on_the_log(setup)
        ids.append(event.event_id)
    assert ids[0] == ids[1]


def test_a_brokers_clock_that_is_set_back_changes_no_figure(
    kafka_server: Broker,
    own_kafka_server: Broker,
    new_setup: Callable[[Broker], Setup],
    new_database: Callable[..., Database],
    tmp_path: Path,
) -> None:
    """The same log as a broker would have recorded it whose clock went back by an hour in the middle."""
    setup = new_setup(kafka_server)
    setup.load(EXAMPLE / "updates.csv")
    setup.aggregate()
    setup.run("backup", "mirror", str(tmp_path))
    files = TopicFolder(tmp_path / setup.names.events)
    records, manifest = [record for batch in files.read(0) for record in batch], files.manifest()
    assert manifest
    begin = to_milliseconds(datetime(2021, 6, 8, 6, tzinfo=UTC))
    times = [begin + n * MINUTE_MS - (60 * MINUTE_MS if n > 20 else 0) for n in range(len(records))]
    with files:
        files.begin(Manifest(**{**manifest.__dict__, "segments": ()}))
        files.append(0, [r._replace(timestamp_ms=time) for r, time in zip(records, times, strict=True)])

    new = Setup(own_kafka_server.bootstrap_servers, setup.prefix, new_database(), setup.archive)
    new.run("backup", "restore", str(tmp_path))
    new.run("aggregator", "migrate")
    new.aggregate()
    new.run("aggregator", "verify", CONTEST)
    now, real = new.show(), setup.show()
    assert (now["digest"], now["selections"]) == (real["digest"], real["selections"])
    # What was recorded in the hour that came twice counts from the latest time that the log had reached before it.
    for at, offset in (("06:19:59", 19), ("06:20:00", len(records) - 1)):
        past = new.json("results", "show", CONTEST, "--at-time", f"2021-06-08T{at}Z")
        assert past["as_of"]["offset"] == offset
