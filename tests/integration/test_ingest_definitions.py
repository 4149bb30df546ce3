"""The contest on the log: its definition, its revisions, and the moves of its counting level."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from ingest.cli.work import read_contest
from ingest.errors import IngestError
from ingest.news import roll_file
from ingest.news.summary import Enrolled
from ingest.pipeline import Pipeline
from ingest.report import Report
from ingest.sources.archive import Archive
from schemas.contest import ContestDefined
from schemas.unit_roll import UnitRoll
from tests.support.fix_ingest import UPDATES, Desk, Quiet, write
from tests.support.ingest_samples import ACTA, ACTA_HEADER, ACTA_ROWS, EXAMPLE
from tests.support.small_contest import HEADER, TOML, row, written

BULLETIN = """\
contest_id,unit_type,unit_id,reported_at,votes.peru-libre,votes.fuerza-popular,ballots_cast
pe-2021-president-runoff,country,pe,2021-06-08T12:00:00Z,118,81,214
"""
"""What the office states when the first of the example's sheets is counted."""


def revised(desk: Desk, folder: Path, *replaced: tuple[str, str], areas: slice = slice(None)) -> Path:
    """The example's contest with changed words, or some of its areas, as a file of its own; the desk's from now on."""
    toml = (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
    for was, becomes in replaced:
        assert was in toml
        toml = toml.replace(was, becomes)
    lines = (EXAMPLE / "areas.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    write(folder / "areas.csv", "".join(lines[areas]))
    desk.contest = write(folder / "contest.toml", toml)
    return desk.contest


def definitions(desk: Desk) -> list[ContestDefined]:
    return [event for event in desk.log() if isinstance(event, ContestDefined)]


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
    revised(desk, tmp_path / "changed", ('party = "Perú Libre"', 'party = "Partido Perú Libre"'))
    refused = desk.run("load", UPDATES)
    assert refused.returncode == 2
    assert "is defined differently on the log, in selections" in refused.stderr
    for _ in range(2):
        assert desk.run("define", desk.contest).returncode == 0
        assert [d.revision for d in definitions(desk)] == [1, 2]
    assert desk.run("load", UPDATES).returncode == 0


def test_a_revision_must_not_take_an_area_away(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES)
    run = desk.run("define", revised(desk, tmp_path / "fewer", areas=slice(-1)))
    assert run.returncode == 2
    assert "a revision must keep the contest's areas, where they are; 950202 is not" in run.stderr


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
    assert "is defined differently on the log, in counting_levels" in refused.stderr
    for _ in range(2):
        assert desk.run("define", file).returncode == 0
        _, last = definitions(desk)
        assert (last.counting_level, last.later_counting_levels) == (("country",), (("polling-place",), ("precinct",)))
    assert desk.run("load", UPDATES).returncode == 0


def test_an_operator_moves_the_counting_level(desk: Desk, tmp_path: Path) -> None:
    desk.load(UPDATES, write(tmp_path / "a.csv", ACTA))
    for _ in range(2):
        assert desk.run("define", "--counting-level", "precinct", desk.contest).returncode == 0
        first, moved = definitions(desk)
        assert (moved.counting_level, moved.later_counting_levels) == (("precinct",), ())
        assert moved.previous_event_id == first.event_id
        assert moved.effective_at.isoformat() == "2021-06-08T16:15:44+00:00"
    assert desk.run("define", desk.contest).returncode == 0  # how far it has moved is not in the file
    assert desk.run("load", UPDATES).returncode == 0
    assert len(definitions(desk)) == 2
    unknown = desk.run("define", "--counting-level", "county", desk.contest)
    assert unknown.returncode == 2
    assert "county is none of the contest's counting_levels: country, precinct" in unknown.stderr


def test_all_sheets_stated_moves_the_counting_level_once(desk: Desk, tmp_path: Path) -> None:
    few = ("expected_units = 86488", "expected_units = 6")
    revised(desk, tmp_path / "small", few)
    five = write(tmp_path / "1.csv", ACTA_HEADER + "".join(ACTA_ROWS[:5]))
    six = write(tmp_path / "2.csv", ACTA.replace("16:15:44", "18:00:00"))
    bulletin = write(tmp_path / "bulletin.csv", BULLETIN)
    assert desk.run("load", bulletin, five).returncode == 0
    assert [d.counting_level for d in definitions(desk)] == [("country",)]
    for _ in range(2):
        assert desk.run("load", bulletin, five, six).returncode == 0
        first, moved = definitions(desk)
        assert (moved.revision, moved.counting_level, moved.previous_event_id) == (2, ("precinct",), first.event_id)
        assert moved.effective_at.isoformat() == "2021-06-08T18:00:00+00:00"
    back = desk.run("define", "--counting-level", "country", desk.contest)
    assert back.returncode == 2
    assert "every expected precinct is stated, so that the next run would move on from country again" in back.stderr
    revised(desk, tmp_path / "small", few, ('["country", "precinct"]', '["country"]'))
    assert desk.run("define", desk.contest).returncode == 2  # not by a change of the file alone
    assert desk.run("define", "--counting-level", "country", desk.contest).returncode == 0
    assert desk.run("load", bulletin).returncode == 0
    last = definitions(desk)[-1]
    assert (last.revision, last.counting_level, last.later_counting_levels) == (3, ("country",), ())


def test_a_level_that_official_statements_contradict_waits_until_an_operator_decides(
    desk: Desk, tmp_path: Path
) -> None:
    """Six sheets cannot be the whole country that the office has stated."""
    revised(desk, tmp_path / "small", ("expected_units = 86488", "expected_units = 6"))
    sheets = write(tmp_path / "a.csv", ACTA)
    loaded = desk.run("load", UPDATES, sheets)
    assert loaded.returncode == 0
    waits = (
        "every expected precinct is stated, but the counting level waits: their sum contradicts the office's own "
        "statements. ballots_cast of country/pe: the sum is 639, but 18,247,086 at 2021-06-08T12:52:00.000Z leaves "
        "at least "
    )
    assert waits in loaded.stdout
    assert loaded.stderr.count(waits) == 1
    assert [d.counting_level for d in definitions(desk)] == [("country",)]
    assert desk.run("define", "--counting-level", "precinct", desk.contest).returncode == 0
    assert [d.counting_level for d in definitions(desk)] == [("country",), ("precinct",)]
    assert waits not in desk.run("load", UPDATES, sheets).stdout


def test_the_counting_level_moves_to_the_last_that_is_complete(desk: Desk, tmp_path: Path) -> None:
    """The middle level never is: three levels must not keep the count on the first."""
    file = revised(
        desk, tmp_path / "three",
        ('["country", "precinct"]', '["country", "municipality", "precinct"]'), ("expected_units = 86488", "expected_units = 6"),  # noqa: E501
    )  # fmt: skip
    run = desk.run("load", write(tmp_path / "bulletin.csv", BULLETIN), write(tmp_path / "a.csv", ACTA))
    assert run.returncode == 0
    assert "all 6 expected units are stated: the precinct is now what is added up" in run.stderr
    last = definitions(desk)[-1]
    assert (last.revision, last.counting_level, last.later_counting_levels) == (2, ("precinct",), ())
    back = desk.run("define", "--counting-level", "municipality", file)
    assert back.returncode == 2
    assert "municipality is none of the contest's counting_levels" not in back.stderr
    assert "every expected precinct is stated, so that the next run would move on from municipality" in back.stderr


def test_define_says_what_it_has_published(desk: Desk, tmp_path: Path) -> None:
    desk.contest = written(tmp_path / "small")
    first = desk.run("define", desk.contest)
    assert first.returncode == 0
    (event,) = definitions(desk)
    held = [
        "  President; General election of 3 November 2020; County clerk",
        "  2 selections: 1 Ana Lee (Green Party) and 2 Ben Roe (Independent)",
        "  4 areas: 1 country, 1 state and 2 county",
        "  added up: precinct; expected sheets: 3",
        "  holds from 2020-11-03T05:00:00.000Z; election day 2020-11-03 in America/New_York",
    ]
    head = f"ny-2020-president, revision 1, offset 0, event {event.event_id}"
    assert first.stdout.splitlines() == [f"published: {head}", *held]
    assert desk.run("define", desk.contest).stdout.splitlines() == [f"nothing is changed; on the log is: {head}", *held]
    written(tmp_path / "small", TOML.replace("= 3\n", "= 4\nregistered_voters = 2400\n"))
    (said,) = json.loads(desk.run("define", "--json", desk.contest).stdout)["definitions"]
    _, event = definitions(desk)
    assert (said["event_id"], said["revision"], said["offset"]) == (str(event.event_id), 2, 1)
    assert (said["is_new"], said["expected_units"], said["registered_voters"]) == (True, 4, 2400)
    assert said["areas"] == {"country": 1, "state": 1, "county": 2}
    assert [one["candidate"] for one in said["selections"]] == ["Ana Lee", "Ben Roe"]
    assert desk.run("load", write(tmp_path / "in.csv", HEADER + row("1", "kings"))).returncode == 0
    assert len(desk.updates()) == 1


def test_what_a_check_says_of_documents_is_what_a_load_does(desk: Desk, tmp_path: Path) -> None:
    """Ids with odd spaces, the nearest area alone, a fall, a repetition, rows that are rejected."""
    t1 = HEADER + row("Kings 1", "kings") + row("Kings 2", "ny/kings", 40, 60) + row("B", "queens")
    t2 = HEADER + row("Kings 1 ", "kings", 90, hour=22) + row("Kings\u00a0 2", "us/ny/kings", 40, 60, hour=22)
    desk.contest = written(tmp_path / "small", t1=t1, t2=t2 + row("C", "broome", "many"))
    documents = [desk.contest.with_name("t1.csv"), desk.contest.with_name("t2.csv")]
    checked = json.loads(desk.run("contest", "check", "--json", desk.contest, *documents).stdout)["documents"]
    assert desk.log() == []
    loaded = json.loads(desk.run("load", "--json", *documents).stdout)
    of_both = ("documents", "statements", "news", "known", "rejected", "findings", "rejections")
    assert {name: checked[name] for name in of_both} == {name: loaded[name] for name in of_both}
    assert (checked["news"], checked["known"]) == ({"CORRECTED": 1, "REPORTED": 2}, 1)
    assert checked["rejected"] == {"F201": 1, "F302": 1}
    assert [(u.reporting_unit.id, u.reporting_unit.area_path[-1], u.sequence) for u in desk.updates()] == [
        ("Kings 1", "kings", 1), ("Kings 2", "kings", 1), ("Kings 1", "kings", 2),
    ]  # fmt: skip


ROLL = "unit_id,area_id,registered_voters\n0001,broome,500\n0002,broome,600\n0003,kings,700\n"


def test_a_roll_is_published_in_parts_and_says_which_sheets_there_are(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = TOML.replace("expected_units = 3\n", 'roll = "roll.csv"\n')
    desk.contest = written(tmp_path / "small", toml, t1=HEADER + row("0001", "broome") + row("2", "broome"), roll=ROLL)
    document = desk.contest.with_name("t1.csv")
    monkeypatch.setattr(roll_file, "MOST_UNITS", 2)
    assert defined(desk).rolls == [Enrolled("ny-2020-president", 1, 3, 1800, is_new=True)]
    assert defined(desk).rolls == [Enrolled("ny-2020-president", 1, 3, 1800, is_new=False)]
    contest, *parts = desk.log()
    assert isinstance(contest, ContestDefined)
    assert [(part.part, part.parts, len(part.units)) for part in parts if isinstance(part, UnitRoll)] == [
        (1, 2, 2),
        (2, 2, 1),
    ]
    loaded = desk.run("load", document)
    assert loaded.returncode == 1
    assert "t1.csv, row 3: F307 precinct/2 is not on the roll; is '0002' meant?" in loaded.stdout
    assert [update.unit.id for update in desk.updates()] == ["0001"]
    written(tmp_path / "small", toml, t1=document.read_text(encoding="utf-8"), roll=ROLL + "2,broome,\n")
    refused = desk.run("load", document)
    assert refused.returncode == 2
    assert "the roll of ny-2020-president is another one than on the log, which has revision 1" in refused.stderr
    published = desk.run("define", desk.contest)
    assert published.returncode == 0
    assert "published: the roll of ny-2020-president, revision 2: 4 sheets\n" in published.stdout
    assert desk.run("load", document).returncode == 0
    assert [update.unit.id for update in desk.updates()] == ["0001", "2"]


def defined(desk: Desk) -> Report:
    """What `define` reports, in this process."""
    contest = read_contest(desk.contest)
    pipeline = Pipeline(
        desk.connection,
        Archive(desk.folder / "archive"),
        contest.definition,
        Quiet(),
        threading.Event(),
        roll=contest.roll,
        revising=True,
    )
    with pipeline:
        pipeline.revise(contest.definition)
    return pipeline.report
