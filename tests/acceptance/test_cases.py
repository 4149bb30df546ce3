"""Small elections on which a count can go wrong: what is right, in text, in JSON, in SQL and by replay alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.fix_setup import Setup
from tests.support.servers import Broker

NIGHT = "2020-11-03T21:30:00-05:00"
LATER = "2020-11-03T22:30:00-05:00"
STATED = "2020-11-05T00:00:00Z"
AREAS = """area_id,name,type,parent_id
us,United States,country,
ny,New York,state,us
broome,Broome,county,ny
kings,Kings,county,ny
"""


def contest_file(
    folder: Path,
    level: str,
    expected: int | None,
    selections: Sequence[str] = ("a", "b"),
    *,
    more: str = "",
    areas: str = AREAS,
    of_selections: Mapping[str, str] | None = None,
) -> Path:
    """Write a contest file and its areas. Returns its path.

    `level`: types with + between are added up together. `more`: further lines of the file; `of_selections`: of some.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "areas.csv").write_text(areas)
    types = json.dumps(level.split("+"))
    file = folder / "contest.toml"
    file.write_text(
        'contest_id = "case"\nname = "A case"\nelection_name = "A case"\nelection_date = "2020-11-03"\n'
        'authority = "County clerk"\ntime_zone = "America/New_York"\nareas = "areas.csv"\n'
        + (f"expected_units = {expected}\n" if expected is not None else "")
        + f"counting_levels = [{types}]\n{more}"
        + "".join(
            f'[[selections]]\nselection_id = "{s}"\ncandidate = "{s}"\nparty = "{s}"\nballot_order = {n}\n'
            + (of_selections or {}).get(s, "")
            for n, s in enumerate(selections, 1)
        )
    )
    return file


_PROGRESS = ("expected", "beyond_expected", "areas_reported", "areas_expected", "voters_outstanding")


class Case:
    """A contest of its own on topics and a database of its own."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup, self.folder = setup, folder

    def count(self, level: str, expected: int | None, *documents: str, **of_file: Any) -> None:
        """Load documents one by one, and add them up. `of_file`: as of `contest_file`."""
        file = contest_file(self.folder, level, expected, **of_file)
        for number, text in enumerate(documents):
            document = self.folder / f"t{number}.csv"
            document.write_text(text)
            given = ("--contest", str(file), "--stated-at", STATED, str(document))
            self.setup.run("ingest", "load", *given)
        self.setup.aggregate()

    def show(self, area: str) -> Any:
        """The count of an area: the same by replay, from kept totals, and in `results.area_count`."""
        shown = self.setup.json("results", "show", "case", area)
        replayed = self.setup.json("aggregator", "replay", "case", area)
        past = self.setup.json("results", "show", "case", area, "--at-offset", str(shown["as_of"]["offset"]))
        for name in (
            "selections",
            "lead",
            "leader",
            "stated_by",
            "turnout",
            "sub_units",
            "ballots_cast",
            "valid_votes",
            "progress",
            "unknown_units",
            "suppressed_units",
        ):
            assert shown[name] == replayed[name] == past[name], name
        (row,) = self.setup.database.read(
            "SELECT votes, ballots_cast, valid_votes, total, processed, to_be_processed, counted_percent::text,"
            " turnout_of_counted_percent::text, turnout_of_roll_percent::text, expected, beyond_expected,"
            " areas_reported, areas_expected, voters_outstanding, not_counted, undervotes, suppressed_units,"
            " unknown_units"
            " FROM results.area_count WHERE area_id = %s",
            area,
        )
        turnout = shown["turnout"]
        assert row == (
            {s["selection_id"]: s["votes"] for s in shown["selections"] if s["is_on_ballot"]},
            *(shown["ballots_cast"], shown["valid_votes"]),
            *(shown["sub_units"][name] for name in ("total", "processed", "to_be_processed")),
            shown["sub_units_counted"]["percent"],
            *(turnout["of_registered_voters_counted"], turnout["of_registered_voters"]),
            *(shown["progress"][name] for name in _PROGRESS),
            {s["selection_id"]: s["not_counted"] for s in shown["selections"] if s["not_counted"]},
            *(shown[name] for name in ("undervotes", "suppressed_units", "unknown_units")),
        )
        shares = self.setup.database.read(
            "SELECT selection_id, share::text, is_on_ballot FROM results.selection_count WHERE area_id = %s",
            area,
        )
        assert set(shares) == {(s["selection_id"], s["share"], s["is_on_ballot"]) for s in shown["selections"]}
        return shown

    def text(self, area: str) -> str:
        """What a person reads."""
        return self.setup.run("results", "show", "case", area)


@pytest.fixture
def case(kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path) -> Case:
    return Case(new_setup(kafka_server), tmp_path / "case")


def votes(count: Any) -> dict[str, int | None]:
    return {s["selection_id"]: s["votes"] for s in count["selections"]}


@pytest.mark.parametrize("level", ["country", "state"])
def test_a_figure_that_nobody_states_is_not_stated_and_no_zero(case: Case, level: str) -> None:
    """Official where the country itself is stated, computed where a state is."""
    unit = {"country": "us", "state": "ny"}[level]
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b\n"
    case.count(level, 100, f"{head}case,{level},{unit},{NIGHT},5,\n")
    count = case.show("us")
    assert count["basis"] == {"country": "OFFICIAL", "state": "COMPUTED"}[level]
    assert votes(count) == {"a": 5, "b": None}
    assert [s["share"] for s in count["selections"]] == [None, None]
    assert count["lead"] is count["leader"] is None
    for name in ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes"):
        assert count[name] is None, name
    turnout = count["turnout"]
    assert turnout["registered_voters_counted"] is turnout["of_registered_voters_counted"] is None
    sheets = count["sub_units"]
    assert sheets["processed"] is sheets["counted"] is sheets["to_be_processed"] is None
    rows = [" ".join(line.split()) for line in case.text("us").splitlines()]
    for row in (
        "b (b) not stated –",
        "Blank votes not stated",
        "Ballots cast not stated",
        "to be processed not stated",
    ):
        assert row in rows


def test_a_sum_says_how_many_units_state_it(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast,blank_votes"
    head += ",registered_voters\n"
    one = f"case,precinct,1,us/ny/broome,{NIGHT},10,5,15,0,40\n"
    two = f"case,precinct,2,us/ny/broome,{NIGHT},20,,25,,\n"
    case.count("precinct", 2, head + one + two)
    count = case.show("broome")
    assert votes(count) == {"a": 30, "b": 5}
    assert count["stated_by"] == {
        "votes.b": {"units": 1, "of": 2},
        "valid_votes": {"units": 1, "of": 2},
        "blank_votes": {"units": 1, "of": 2},
        "invalid_votes": {"units": 0, "of": 2},
        "challenged_votes": {"units": 0, "of": 2},
        "undervotes": {"units": 0, "of": 2},
        "overvotes": {"units": 0, "of": 2},
        "registered_voters": {"units": 1, "of": 2},
        "registered_voters_counted": {"units": 1, "of": 2},
    }
    assert [s["share"] for s in count["selections"]] == [None, None]
    assert count["lead"] is None
    assert (count["ballots_cast"], count["blank_votes"], count["invalid_votes"]) == (40, 0, None)
    assert count["turnout"]["of_registered_voters_counted"] is None, "40 ballots of two sheets, voters of one"
    assert "5 (stated by 1 of 2)" in case.text("broome")


def test_once_every_unit_states_a_figure_there_are_shares_and_the_change_says_so(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    one = f"case,precinct,1,us/ny/broome,{NIGHT},10,5,15\n"
    case.count(
        "precinct",
        2,
        f"{head}{one}case,precinct,2,us/ny/broome,{NIGHT},20,,26\n",
        f"{head}{one}case,precinct,2,us/ny/broome,{LATER},20,6,26\n",
    )
    count = case.show("broome")
    assert (votes(count), count["lead"], count["leader"]) == ({"a": 30, "b": 11}, 19, "a")
    assert [s["share"] for s in count["selections"]] == ["73.171", "26.829"]
    told = case.setup.json("results", "explain", "case", "precinct/2")["statements"][-1]
    assert told["change"] == {"votes.b": 6, "valid_votes": 26, "not_stated.votes.b": -1, "not_stated.valid_votes": -1}
    past = case.setup.json("results", "show", "case", "broome", "--at-reported", "2020-11-04T02:30Z")
    assert (votes(past), past["lead"]) == ({"a": 30, "b": 5}, None)
    apart = case.setup.json("results", "diff", "case", "2020-11-04T02:30Z", "2020-11-04T03:30Z", "--area", "broome")[
        "area"
    ]
    assert apart["stated_by_before"]["votes.b"] == {"units": 1, "of": 2}
    assert "votes.b" not in apart["stated_by_after"]
    assert "5 (stated by 1 of 2)" in case.setup.run(
        "results", "diff", "case", "2020-11-04T02:30Z", "2020-11-04T03:30Z", "--area", "broome"
    )
    (point, _) = case.setup.json("results", "timeline", "case", "broome")["computed"]
    assert (point["lead"], [s["share"] for s in point["selections"]]) == (None, [None, None])


def test_sheets_that_some_counties_do_not_state_give_no_percentage(case: Case) -> None:
    """Of ten sheets one county counted four; of the other nobody knows."""
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b,sub_units.total,sub_units.counted\n"
    case.count("county", 10, f"{head}case,county,broome,{NIGHT},5,4,6,4\ncase,county,kings,{NIGHT},1,2,,\n")
    for area, total, percent in (("us", 10, None), ("ny", 6, None)):
        count = case.show(area)
        assert (count["sub_units"]["total"], count["sub_units"]["counted"]) == (total, 4)
        assert count["sub_units_counted"]["percent"] == percent
        assert count["stated_by"]["counted"] == {"units": 1, "of": 2}


def test_a_selection_that_was_not_on_a_ballot_is_not_missing_there(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    two = f"case,precinct,2,us/ny/broome,{NIGHT},20,not on ballot,20\n"
    three = f"case,precinct,3,us/ny/kings,{NIGHT},20,not on ballot,20\n"
    case.count("precinct", 3, f"{head}case,precinct,1,us/ny/broome,{NIGHT},10,5,15\n{two}{three}")
    count = case.show("broome")
    assert votes(count) == {"a": 30, "b": 5}
    assert [s["share"] for s in count["selections"]] == ["85.714", "14.286"]
    assert "votes.b" not in count["stated_by"]
    explained = case.setup.json("results", "explain", "case", "precinct/2")["statements"][-1]
    assert explained["findings"] == []
    kings = case.show("kings")
    assert votes(kings) == {"a": 20, "b": None}, "where it stood on no ballot it has no votes: that is not zero"
    assert [s["is_on_ballot"] for s in kings["selections"]] == [True, False]
    assert "votes.b" not in kings["stated_by"]
    assert "b (b) not on ballot –" in [" ".join(line.split()) for line in case.text("kings").splitlines()]


def test_a_count_that_is_set_to_zero_and_back(case: Case) -> None:
    """Live county feeds do. What the office never stated stays not stated."""
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b,ballots_cast,sub_units.total,sub_units.counted\n"
    rows = (
        ("2020-11-03T21:30:00-05:00", "0,0,0,100,0"),
        ("2020-11-03T22:30:00-05:00", "5000,4000,9000,100,60"),
        ("2020-11-03T23:30:00-05:00", "0,0,0,100,0"),
        ("2020-11-04T00:30:00-05:00", "5200,4100,9300,100,63"),
    )
    case.count("county", 100, head + "".join(f"case,county,broome,{at},{figures}\n" for at, figures in rows))
    kinds = [s["kind"] for s in case.setup.json("results", "explain", "case", "county/broome")["statements"]]
    assert kinds == ["REPORTED", "REPORTED", "CORRECTED", "REPORTED"]
    count = case.show("ny")
    assert votes(count) == {"a": 5_200, "b": 4_100}
    sheets = count["sub_units"]
    assert (sheets["counted"], sheets["total"]) == (63, 100)
    assert sheets["processed"] is sheets["to_be_processed"] is None


def test_a_unit_that_moves_is_told_where_it_left_and_where_it_entered(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    case.count(
        "precinct",
        2,
        f"{head}case,precinct,1,us/ny/broome,{NIGHT},10,5,15\ncase,precinct,2,us/ny/broome,{NIGHT},20,6,26\n",
        f"{head}case,precinct,1,us/ny/kings,{LATER},10,5,15\ncase,precinct,2,us/ny/broome,{LATER},20,6,26\n",
    )
    moments = "2020-11-04T02:30Z", "2020-11-04T03:30Z"
    for area, sign, told in (
        ("broome", -1, "moved to Kings (kings): precinct/1"),
        ("kings", 1, "moved here from Broome (broome): precinct/1"),
    ):
        (*_, last) = case.setup.json("results", "explain", "case", area)["publications"]
        assert last["sentences"][0] == told
        expected = {"votes.a": 10, "votes.b": 5, "counted": 1, "ballots_cast": 15, "total": 1}
        assert {name: last["change"][name] for name in expected} == {n: sign * v for n, v in expected.items()}
        apart = case.setup.json("results", "diff", "case", *moments, "--area", area)["area"]
        was, now = (s["votes"] for s in (apart["selections"][0], apart["selections"][1]))
        if area == "broome":  # in Kings nothing was counted before
            assert (was["change"], now["change"]) == (sign * 10, sign * 5)
    told = case.setup.json("results", "explain", "case", "precinct/1")["statements"][-1]["sentences"]
    assert "moved from Broome (broome) to Kings (kings)" in told
    whole = case.setup.json("results", "explain", "case", "ny")["publications"]
    assert whole[-1]["change"] == {}


def test_more_sheets_than_expected_are_said_aloud(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    rows = (("P1", "100,50,150"), ("P2", "40,60,100"), ("P3", "1,2,3"))
    case.count("precinct", 2, head + "".join(f"case,precinct,{u},us/ny/broome,{NIGHT},{f}\n" for u, f in rows))
    assert case.show("us")["progress"]["beyond_expected"] == 1
    assert "MORE THAN EXPECTED: 1 tally sheets" in " ".join(case.text("us").split())
    (status,) = case.setup.json("aggregator", "status")["contests"]
    assert status["beyond_expected"] == {"us": 1}
    assert "MORE THAN EXPECTED" in case.setup.run("aggregator", "status")


def test_two_spellings_of_an_id_are_one_unit_and_a_sheet_names_its_nearest_area_alone(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    case.count(
        "precinct",
        2,
        f"{head}case,precinct,Kings 1,us/ny/broome,{NIGHT},100,50,150\n"
        f"case,precinct,Kings 2,broome,{NIGHT},40,60,100\n",
        f"{head}case,precinct,Kings 1 ,broome,{LATER},110,55,165\n"
        f"case,precinct,Kings\u00a0 2,ny/broome,{LATER},41,61,102\n",
    )
    count = case.show("us")
    assert votes(count) == {"a": 151, "b": 116}
    assert (count["sub_units"]["counted"], count["sub_units"]["total"]) == (2, 2)
    assert votes(case.show("broome")) == {"a": 151, "b": 116}


def test_what_differs_from_the_offices_own_statement_is_a_table_largest_first(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
    sheets = f"case,precinct,1,broome,{NIGHT},10,5,15\ncase,precinct,2,kings,{NIGHT},20,6,26\n"
    case.count("precinct", 2, f"{head}{sheets}case,state,ny,,{NIGHT},29,40,69\n")
    assert case.show("ny")["official"]["differences"] == {"votes.a": 1, "votes.b": -29, "ballots_cast": -28}
    told = [" ".join(line.split()) for line in case.text("ny").splitlines()]
    begin = next(n for n, line in enumerate(told) if "largest first" in line)
    assert told[begin + 1 : begin + 4] == ["votes.b −29", "ballots_cast −28", "votes.a +1"]
