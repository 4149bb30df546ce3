"""Two writers on one log: nothing is published twice, and every chain holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ingest.report import Report
from runtime.files import FolderInUse
from runtime.kafka.producer import IN_FLIGHT
from schemas.identity import named
from schemas.types import CountStatus
from tests.support.fix_ingest import UPDATES, Between, Desk, Quiet, another, bulletin, put, unbroken, write
from tests.support.ingest_samples import ACTA, many_sheets


def test_two_ingests_on_one_archive_exclude_each_other(desk: Desk) -> None:
    with desk.pipeline(), pytest.raises(FolderInUse, match="another ingest is using the archive"):
        desk.load(UPDATES)


def test_someone_else_on_the_log_is_noticed_and_followed(desk: Desk, tmp_path: Path) -> None:
    """Another ingest, with another archive, publishes between our reading and our sending."""
    other = Desk(desk.broker, desk.names, tmp_path / "other", desk.contest)
    progress = Quiet()
    with desk.pipeline(progress) as pipeline:
        other.load(UPDATES)
        pipeline.load([write(tmp_path / "a.csv", ACTA)])
        assert any("another writer is using the log" in line for line in progress.lines)
        assert pipeline.load([UPDATES]).known >= 48
    assert unbroken(desk.updates())
    assert len(desk.updates()) == 50


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
    progress = Between(lambda: theirs.append(another(desk).load(UPDATES)))
    with desk.pipeline(progress) as pipeline:
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
