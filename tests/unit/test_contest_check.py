"""`contest check` says what is wrong with a contest's files and what documents would become.

Nothing is asked of a broker: this lane has no network.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingest.cli import main as cli
from ingest.feeds.statement import Snapshot
from ingest.news.changes import Changes, changes_since
from ingest.rehearsal import Rehearsal
from schemas.rules import RULES
from tests.support.ingest_samples import ACTA, EXAMPLE
from tests.support.small_contest import AREAS, HEADER, TOML, row, written

REPEATED = HEADER + row("1", "broome") + row("2", "broome", 40, 60) + row("1", "broome", hour=22)


@pytest.fixture(autouse=True)
def _without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESCRUTINIO_BOOTSTRAP_SERVERS", raising=False)


def check(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["contest", "check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def checked(toml: str = TOML, areas: str = AREAS, roll: str | None = None, **documents: str) -> tuple[int, str]:
    """The exit code and the words for files in this folder."""
    if roll is not None:
        Path("roll.csv").write_text(roll, encoding="utf-8")
    file = written(Path.cwd(), toml, areas, **documents)
    result = check(file, *(f"{name}.csv" for name in documents))
    return result.exit_code, result.output


def test_a_whole_file_is_fine() -> None:
    code, said = checked()
    assert code == 0
    assert said.splitlines()[0] == "would be defined: ny-2020-president"
    assert said.splitlines()[-1] == "nothing is missing or contradictory"


def test_a_file_with_faults_is_a_negative_answer_and_its_documents_wait() -> None:
    code, said = checked(
        TOML.replace("America/New_York", "EST"), AREAS.replace("ny,New York,state,us\n", ""), t1=REPEATED
    )
    assert code == 1
    assert "would be defined" not in said
    assert "must be mended (3):\n  contest.toml, line 6: time_zone 'EST' is an abbreviation" in said
    assert "  areas.csv, row 3, column parent_id: parent_id 'ny' is no area_id of the table. Allowed:" in said
    assert "  areas.csv, row 4, column parent_id" in said
    assert said.splitlines()[-1] == "the documents are read when this is mended"


def test_what_is_odd_is_a_finding_and_documents_are_read_all_the_same() -> None:
    code, said = checked(areas=AREAS + "7,A,county,ny\n07,B,county,ny\n", t1=HEADER + row("1", "07"))
    assert code == 1
    assert "is odd, and may be meant (1):\n  areas.csv, row 7, column area_id: area_id '07' differs from '7'" in said
    assert "would be published: 1 statement, 1 REPORTED; about 1 precinct" in said


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("contest.toml", b"name = ", "the contest's file contest.toml: not TOML: Invalid value"),
        ("contest.toml", TOML.encode("utf-16"), "the contest's file contest.toml: line 1 is not UTF-8"),
        ("areas.csv", AREAS.replace("New", "N\u00e9w").encode("latin-1"), "the table of areas areas.csv, which"),
        ("areas.csv", None, "the table of areas areas.csv, which the contest's file names: No such file"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes | None, says: str) -> None:
    written(Path.cwd())
    if content is None:
        Path(name).unlink()
    else:
        Path(name).write_bytes(content)
    result = check("contest.toml")
    assert result.exit_code == 2
    assert says in result.output
    assert "nothing is missing" not in result.output


def test_a_table_that_cannot_be_read_hides_no_fault_of_the_file() -> None:
    written(Path.cwd(), TOML.replace("2020-11-03", "3.11.2020"))
    Path("areas.csv").unlink()
    result = check("contest.toml")
    assert result.exit_code == 2
    assert "must be mended (1):\n  contest.toml, line 4: election_date '3.11.2020' is not a day" in result.output
    assert "the table of areas areas.csv, which" in result.output


def test_documents_are_told_as_published_rejected_and_passed_over() -> None:
    later = HEADER + row("1", "broome", 99, hour=23) + row("2", "kngs") + row("3", "kings", "many")
    code, said = checked(t1=REPEATED, t2=later)
    assert code == 1
    assert said[said.index("2 documents") :].splitlines()[:8] == [
        "2 documents, 4 statements",
        "would be published: 3 statements, 1 CORRECTED, 2 REPORTED; about 2 precinct",
        "would be added up: 2 precinct",
        "would be passed over, because they repeat others: 1",
        "  t1.csv: 2 published, 1 passed over, 0 rejected",
        "  t2.csv: 1 published, 0 passed over, 2 rejected",
        "would be rejected: 1 × F201 (a count is a non-negative whole number)",
        f"would be rejected: 1 × F302 ({RULES['F302']})",
    ]
    assert "  t2.csv, row 3, column area_path: F302 the contest has no area 'kngs'" in said
    assert "  t2.csv, row 4, column votes.lee: F201 'many' is not a count" in said


def test_a_finding_is_said_with_its_rule_and_is_published() -> None:
    code, said = checked(t1=HEADER + row("1", "kings").replace(",150\n", ",10\n"))
    assert code == 0
    assert f"would be published with a finding: 2 × F107 ({RULES['F107']})" in said
    assert "  F107, the first: precinct/1 " in said
    document = HEADER + row("1", "kings") + row("1", "kings").replace("ny-2020-president", "another")
    code, said = checked(t1=document)
    assert "t1.csv, row 3: of another contest, 'another'; passed over" in said


def test_what_is_never_added_up_and_what_is_too_much_are_doubts() -> None:
    code, said = checked(
        TOML.replace('["precinct"]', '["municipality"]'), AREAS + "x,X,municipality,kings\n", t1=REPEATED
    )
    assert code == 1
    assert "in doubt: no statement is about a municipality, which is what is added up: nothing would be counted" in said
    code, said = checked(TOML.replace("= 3", "= 1"), t1=REPEATED)
    assert code == 1
    assert "in doubt: 2 units of type precinct are stated, but 1 are expected; see expected_units" in said


def test_whole_documents_that_are_refused_or_not_read_are_unreadable(tmp_path: Path) -> None:
    written(tmp_path, bad=HEADER.replace("votes.roe", "votes.doe") + row("1", "kings"))
    os.mkfifo(tmp_path / "pipe.csv")
    result = check("contest.toml", "bad.csv", "pipe.csv")
    assert result.exit_code == 2
    assert "would be rejected: 1 × F301 (every selection is one of the contest's)" in result.output
    assert "pipe.csv cannot be read: it is a named pipe" in result.output
    assert "none.csv does not exist" in check("contest.toml", "none.csv").output


def test_the_level_moves_as_it_would_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    toml = TOML.replace('["precinct"]', '["county", "precinct"]').replace("= 3", "= 2")
    code, said = checked(toml, t1=REPEATED)
    assert code == 0
    assert said.splitlines()[-1].startswith("the counting level would move on to precinct: every one that is expected")
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "archive").exists()


def test_the_answer_as_json_has_every_fault_with_its_place() -> None:
    file = written(Path.cwd(), TOML.replace('party = "Independent"\n', ""), t1=REPEATED)
    broken = json.loads(check("--json", file, "t1.csv").output)
    assert (broken["definition"], broken["documents"], broken["unreadable"]) == (None, None, None)
    assert broken["faults"] == [
        {
            "file": "contest.toml",
            "place": "selection 2, line 18",
            "message": "party is missing",
            "allowed": 'the name in tables and answers; "Independent" for one without a party',
            "example": 'party = "Green Party"',
            "refuses": True,
        }
    ]
    whole = json.loads(check("--json", written(Path.cwd()), "t1.csv").output)
    assert whole["definition"]["areas"] == {"country": 1, "state": 1, "county": 2}
    assert whole["documents"]["news"] == {"REPORTED": 2}
    assert (whole["documents"]["known"], whole["documents"]["units"]) == (1, {"precinct": 2})
    assert whole["faults"] == whole["documents"]["doubts"] == []


def test_the_offices_own_forms_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "actas.csv").write_text(ACTA, encoding="utf-8")
    result = check(EXAMPLE / "contest.toml", EXAMPLE / "updates.csv", "actas.csv")
    assert result.exit_code == 0
    assert (
        "would be published: 50 statements, 2 CORRECTED, 48 REPORTED; about 1 country and 6 precinct" in result.output
    )
    assert "would be passed over, because they repeat others: 4" in result.output


ROLL = "unit_id,area_id,registered_voters\n0001,broome,500\n0002,broome,\n0003,kings,700\n"
ON_ROLL = TOML.replace("expected_units = 3\n", 'roll = "roll.csv"\n')


def test_a_sheet_that_is_not_on_the_roll_is_rejected_and_the_nearest_named() -> None:
    t1 = HEADER + row("0001", "broome") + row("2", "broome", 40, 60) + row("Total", "broome", 140, 110)
    code, said = checked(ON_ROLL, roll=ROLL, t1=t1 + row("00O3", "kings"))
    assert code == 1
    assert "  the roll would have 3 sheets\n" in said
    assert "would be published: 1 statement, 1 REPORTED; about 1 precinct" in said
    assert f"would be rejected: 3 × F307 ({RULES['F307']})" in said
    assert "t1.csv, row 3: F307 precinct/2 is not on the roll; is '0002' meant? Expected" in said
    assert "t1.csv, row 4: F307 precinct/Total is not on the roll. Expected" in said
    assert "t1.csv, row 5: F307 precinct/00O3 is not on the roll; is '0003' meant?" in said


def test_what_is_on_the_roll_is_no_total_and_no_second_spelling() -> None:
    document = HEADER + row("0001", "broome") + row("1", "broome", 40, 60) + row("Total", "broome", 140, 110)
    assert "2 × F210" in checked(t1=document)[1]
    code, said = checked(ON_ROLL, roll=ROLL + "1,broome,\nTotal,broome,\n", t1=document)
    assert code == 1, "the roll has two ids that differ by zeros"
    assert "rejected:" not in said


def test_a_roll_that_is_missing_or_wrong_is_named() -> None:
    code, said = checked(ON_ROLL)
    assert code == 2
    assert "roll.csv, which the contest's file names: No such file" in said
    code, said = checked(ON_ROLL, roll=ROLL.replace("kings", "kngs"), t1=REPEATED)
    assert code == 1
    assert "roll.csv, row 4, column area_id: 'kngs' is no area of the contest; is 'kings' meant?" in said
    code, said = checked(TOML.replace("expected", 'roll = "roll.csv"\nexpected').replace("= 3", "= 4"), roll=ROLL)
    assert code == 1
    assert "contest.toml, line 8: expected_units is 4, but roll.csv has 3 sheets" in said
    header, *rows = AREAS.splitlines()
    areas = [f"{header},expected_units", *(f"{one},{'7' * one.startswith('kings')}" for one in rows)]
    code, said = checked(ON_ROLL, "\n".join(areas) + "\n", roll=ROLL)
    assert "areas.csv: expected_units of kings is 7, but roll.csv has" in said


def test_units_of_a_type_that_nobody_adds_up_are_said_once_for_the_type() -> None:
    postal = row("P1", "broome") + row("P2", "kings", 40, 60)
    document = HEADER + row("1", "broome") + postal.replace(",precinct,", ",other:postal,")
    code, said = checked(t1=document)
    assert code == 0
    assert "2 statements are about a unit of type other:postal, which is no area's and is added up nowhere" in said
    assert f"1 × F118 ({RULES['F118']})" in said
    level = TOML.replace('["precinct"]', '["precinct", ["other:postal", "precinct"]]')
    assert "F118" not in checked(level, t1=document)[1]


def test_a_complete_document_of_many_times_is_judged_as_a_whole() -> None:
    toml = TOML.replace("expected", "complete_publications = true\nexpected")
    series = HEADER + row("1", "broome", hour=20) + row("2", "broome", 40, 60, hour=21) + row("3", "kings", hour=22)
    assert "F117" not in checked(toml, t1=series)[1]
    lacking = HEADER + row("1", "broome", hour=22) + row("3", "kings", hour=23)
    code, said = checked(toml, t1=series, t2=lacking)
    assert code == 0
    assert "would be published with a finding: 1 × F117" in said


def test_only_a_document_of_one_time_is_complete_on_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, bool]] = []

    def noted(rehearsal: Rehearsal, snapshots: Sequence[Snapshot]) -> Changes:
        changes = changes_since(snapshots, rehearsal.contest)
        found.extend((event.reporting_unit.id, event.source.is_complete) for event in changes.events)
        return changes

    monkeypatch.setattr(Rehearsal, "_compare", noted)
    toml = TOML.replace("expected", "complete_publications = true\nexpected")
    checked(toml, t1=HEADER + row("1", "broome", hour=20) + row("2", "broome", hour=21))
    checked(toml, t1=HEADER + row("1", "broome") + row("2", "broome") + row("3", "broome", "x"))
    assert found == [("1", False), ("2", False), ("1", True), ("2", True)]


def test_a_complete_publication_names_what_it_lacks() -> None:
    toml = TOML.replace("expected", "complete_publications = true\nexpected")
    t1 = HEADER + row("1", "broome") + row("2", "broome", 40, 60) + row("3", "kings")
    t2 = HEADER + row("1", "broome", hour=22) + row("3", "kings", hour=22)
    code, said = checked(toml, t1=t1, t2=t2)
    assert code == 0
    assert f"would be published with a finding: 1 × F117 ({RULES['F117']})" in said
    assert "F117" not in checked(t1=t1, t2=t2)[1]
    assert "F117" not in checked(toml, t1=t1, t2=t2 + row("2", "broome", 40, 60, hour=22))[1]


def test_a_level_whose_sum_the_office_contradicts_waits() -> None:
    """A total row that nobody holds, since it is confirmed, would be counted twice."""
    toml = TOML.replace('["precinct"]', '["county", "precinct"]\nconfirmed_units = ["precinct/Total"]')
    t1 = HEADER + row("1", "broome") + row("2", "broome", 40, 60) + row("Total", "broome", 140, 110)
    county = "ny-2020-president,county,broome,,2020-11-03T21:30:00-05:00,140,110,250\n"
    code, said = checked(toml, t1=t1 + county)
    assert code == 1
    assert "in doubt: every expected precinct is stated, but the counting level waits" in said
    assert (
        "ballots_cast of county/broome: the sum is 500, but 250 at 2020-11-04T02:30:00.000Z leaves at most 250" in said
    )
    assert "would move on" not in said
    right = t1.replace("Total,broome,2020-11-03T21:30:00-05:00,140,110,250", "3,kings,2020-11-03T21:30:00-05:00,1,1,2")
    code, said = checked(toml, t1=right + county)
    assert code == 0
    assert said.splitlines()[-1].startswith("the counting level would move on to precinct")


def test_a_selection_that_has_withdrawn_lacks_no_votes_afterwards() -> None:
    toml = TOML.replace("ballot_order = 2", "ballot_order = 2\nwithdrawn_at = 2020-11-03T22:00:00-05:00")
    without = HEADER.replace(",votes.roe", "") + row("1", "broome", hour=22).replace(",100,50,", ",100,")
    assert "F109" in checked(t1=without)[1]
    code, said = checked(toml, t1=without)
    assert code == 0
    assert "F109" not in said
    assert "2 Ben Roe (Independent, withdrawn 2020-11-04T03:00:00.000Z)" in said
    assert "F109" in checked(toml, t1=without.replace("T22:", "T21:"))[1]


def test_a_county_with_more_sheets_than_its_own_is_in_doubt() -> None:
    areas = AREAS.replace("parent_id", "parent_id,expected_units").replace("country,", "country,,")
    areas = areas.replace("state,us", "state,us,9").replace("county,ny", "county,ny,1")
    t1 = HEADER + row("1", "broome") + row("2", "broome", 40, 60) + row("3", "kings")
    code, said = checked(areas=areas, t1=t1)
    assert code == 1
    assert "in doubt: 2 sheets are stated in broome, but 1 are expected; see expected_units in the table" in said
    assert said.count("in doubt") == 1
