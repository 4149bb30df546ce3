"""What is added up, what is expected, and what does not count: small elections of several kinds of unit."""

from __future__ import annotations

import pytest

from tests.acceptance.test_cases import LATER, NIGHT, STATED, Case, case, contest_file, votes

__all__ = ["case"]
HEAD = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"


def sheets(*rows: str) -> str:
    return HEAD + "".join(f"case,{row}\n" for row in rows)


def test_postal_votes_that_are_stated_for_a_county_are_added_to_its_precincts(case: Case) -> None:
    case.count(
        "precinct+county",
        2,
        sheets(
            f"precinct,1,broome,{NIGHT},10,5,15",
            f"precinct,2,broome,{NIGHT},20,6,26",
            f"county,broome,,{NIGHT},100,50,150",
            f"county,kings,,{NIGHT},7,1,8",
        ),
    )
    for area, (a, b, cast) in {"us": (137, 62, 199), "broome": (130, 61, 191), "kings": (7, 1, 8)}.items():
        count = case.show(area)
        assert (votes(count), count["ballots_cast"]) == ({"a": a, "b": b}, cast)
        assert (count["basis"], count["counting_level"]) == ("COMPUTED", "precinct + county")
    count = case.show("us")
    assert (count["sub_units"]["counted"], count["sub_units_counted"]["percent"]) == (2, "100.000")
    assert (count["progress"]["areas_reported"], count["progress"]["areas_expected"]) == (2, 2)
    assert "processed" not in count["stated_by"], "a unit of postal votes has no sheets"
    told = case.setup.json("results", "explain", "case", "broome")["publications"]
    assert told[-1]["change"]["votes.a"] == 130


def test_who_votes_by_post_is_on_the_roll_of_a_precinct(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,registered_voters")
    rows = f"case,precinct,1,broome,{NIGHT},10,5,15,100\ncase,county,broome,,{NIGHT},20,10,30,40\n"
    case.count("precinct+county", 1, head + rows)
    count = case.show("us")
    assert (count["ballots_cast"], count["turnout"]["registered_voters_counted"]) == (45, 100)
    turnout = count["turnout"]
    assert (turnout["of_registered_voters"], turnout["of_registered_voters_counted"]) == ("45.000", None)
    assert "registered_voters_counted" not in count["stated_by"]


def test_a_sheet_in_process_counts_where_the_contest_says_so(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    rows = f"case,precinct,1,broome,{NIGHT},100,50,150,IN_PROCESS\ncase,precinct,2,broome,{NIGHT},30,20,50,COUNTED\n"
    case.count("precinct", 2, head + rows, more="partial_sheets_count = true\n")
    count = case.show("us")
    assert votes(count) == {"a": 130, "b": 70}
    assert (count["progress"]["counted"], count["progress"]["partially_reporting"]) == (1, 1)
    assert "partially reporting" in case.text("us")


def test_votes_of_a_sheet_in_process_are_shown_and_do_not_count(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    rows = f"case,precinct,1,broome,{NIGHT},100,50,150,IN_PROCESS\ncase,precinct,2,broome,{NIGHT},30,20,50,COUNTED\n"
    case.count("precinct", 2, head + rows)
    count = case.show("us")
    assert votes(count) == {"a": 30, "b": 20}
    assert [s["not_counted"] for s in count["selections"]] == [100, 50]
    assert "Votes stated and not counted (yet) a 100 · b 50" in " ".join(case.text("us").split())


def test_what_happens_to_be_known_is_no_hundred_percent(case: Case) -> None:
    case.count("precinct", 10, sheets(f"precinct,5,broome,{NIGHT},12,3,15"))
    county, country = case.show("broome"), case.show("us")
    assert (county["sub_units"]["counted"], county["sub_units"]["total"]) == (1, None)
    assert county["sub_units_counted"]["percent"] is county["progress"]["expected"] is None
    assert (country["sub_units_counted"]["percent"], country["progress"]["not_stated"]) == ("10.000", 9)


def test_an_area_knows_what_it_waits_for_by_its_definition(case: Case) -> None:
    areas = (
        "area_id,name,type,parent_id,expected_units\nus,United States,country,,\nny,New York,state,us,\n"
        "broome,Broome,county,ny,1\nkings,Kings,county,ny,4\n"
    )
    rows = (
        f"precinct,{n},{area},{NIGHT},1{n},{n},1{2 * n}" for n, area in ((1, "broome"), (2, "broome"), (3, "kings"))
    )
    case.count("precinct", 5, sheets(*rows), areas=areas)
    kings, broome = case.show("kings"), case.show("broome")
    assert (kings["progress"]["expected_from"], kings["sub_units_counted"]["percent"]) == ("DEFINITION", "25.000")
    assert (broome["progress"]["expected"], broome["progress"]["beyond_expected"]) == (1, 1)
    (status,) = case.setup.json("aggregator", "status")["contests"]
    assert status["beyond_expected"] == {"broome": 1}
    assert "broome: 1 tally sheets above" in " ".join(case.setup.run("aggregator", "status").split())


def test_a_candidate_who_withdraws_is_shown_as_withdrawn(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,votes.c")
    first = f"{head}case,precinct,1,broome,{NIGHT},10,5,18,3\ncase,precinct,2,broome,{NIGHT},20,6,27,1\n"
    case.count("precinct", 2, first, selections=("a", "b", "c"))
    withdrawn = {"c": "withdrawn_at = 2020-11-04T03:00:00Z\n"}
    file = contest_file(case.folder, "precinct", 2, ("a", "b", "c"), of_selections=withdrawn)
    case.setup.run("ingest", "define", str(file))
    later = HEAD.replace("ballots_cast", "ballots_cast,invalid_votes")
    document = case.folder / "later.csv"
    document.write_text(f"{later}case,precinct,1,broome,{LATER},10,5,18,3\ncase,precinct,2,broome,{LATER},20,6,27,1\n")
    case.setup.run("ingest", "load", "--contest", str(file), "--stated-at", STATED, str(document))
    case.setup.aggregate()
    count = case.show("us")
    assert (votes(count)["a"], votes(count)["b"], count["invalid_votes"]) == (30, 11, 4)
    assert [s["withdrawn_at"] for s in count["selections"]] == [None, None, "2020-11-04T03:00:00Z"]
    assert "c (c), withdrawn" in case.text("us")


def test_areas_of_one_kind_within_each_other_and_a_kind_of_the_offices_own(case: Case) -> None:
    areas = (
        "area_id,name,type,parent_id\nat,Austria,country,\n4,Upper Austria,state,at\n"
        "4A,Linz and around,other:Regionalwahlkreis,4\nL,Linz,county,4A\nL1,Linz 1,county,L\n"
    )
    rows = f"case,municipality,M1,L1,{NIGHT},7,2,9\ncase,other:Wahlkarten,W,4A,{NIGHT},3,1,4\n"
    case.count("municipality+other:Wahlkarten", None, HEAD + rows, areas=areas, more='sheet_types = ["municipality"]\n')
    assert votes(case.show("L1")) == votes(case.show("L")) == {"a": 7, "b": 2}
    assert votes(case.show("4A")) == votes(case.show("at")) == {"a": 10, "b": 3}
    assert case.show("4A")["area_type"] == "other:Regionalwahlkreis"


def test_no_leader_is_named_before_enough_is_counted(case: Case) -> None:
    file = 'leader_from_percent = "50"\n'
    case.count("precinct", 4, sheets(f"precinct,1,broome,{NIGHT},10,5,15"), more=file)
    count = case.show("us")
    assert (count["lead"], count["leader"], count["lead_is_withheld"]) == (None, None, True)
    assert "No leader is named" in case.text("us")
    case.count("precinct", 4, sheets(f"precinct,2,kings,{LATER},11,5,16"), more=file)
    assert (case.show("us")["leader"], case.show("us")["lead"]) == ("a", 11)


def test_a_roll_says_what_exists_and_what_is_still_out(case: Case) -> None:
    """Mis-spelt ids are held until the roll names them; what is out is known at every level."""
    file = contest_file(case.folder, "precinct", None, more='roll = "roll.csv"\n')
    roll = "unit_id,area_id,registered_voters\n01001,broome,100\n01002,broome,200\n01003,kings,300\n"
    (case.folder / "roll.csv").write_text(roll)
    case.setup.run("ingest", "define", str(file))
    head = HEAD.replace("ballots_cast", "ballots_cast,registered_voters")
    document = case.folder / "one.csv"
    document.write_text(
        f"{head}case,precinct,1001,broome,{NIGHT},7,5,12,90\ncase,precinct,01002,broome,{NIGHT},9,2,11,200\n"
    )
    load = ("ingest", "load", "--contest", str(file), "--stated-at", STATED, str(document))
    told = case.setup.run(*load, expect=1)
    assert "F307" in told
    assert "01001" in told
    case.setup.aggregate()
    us, broome, kings = (case.show(area) for area in ("us", "broome", "ny"))
    assert votes(us) == votes(broome) == {"a": 9, "b": 2}
    assert (us["progress"]["expected"], us["progress"]["expected_from"]) == (3, "ROLL")
    assert (broome["sub_units_counted"]["percent"], us["sub_units_counted"]["percent"]) == ("50.000", "33.333")
    assert (us["progress"]["voters_outstanding"], broome["progress"]["voters_outstanding"]) == (400, 100)
    assert kings["progress"]["not_stated"] == 2
    (case.folder / "roll.csv").write_text(f"{roll}1001,broome,90\n")
    case.setup.run("ingest", "define", str(file))
    case.setup.run(*load)
    case.setup.aggregate()
    assert votes(case.show("us")) == {"a": 16, "b": 7}
    assert case.show("us")["progress"]["expected"] == 4
    assert case.setup.json("results", "show", "case", "us", "--at-offset", "2")["progress"]["expected"] == 3
    case.setup.run("aggregator", "verify", "case")
    case.setup.run("aggregator", "rebuild")
    case.setup.run("aggregator", "verify", "case")
    assert case.show("us")["progress"]["voters_outstanding"] == 400


def test_towns_add_up_to_the_states_own_statement_and_state_no_ballots(case: Case) -> None:
    """In the shape of AP's feed: votes and precincts reporting, no ballots, no precincts processed."""
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,sub_units.counted,sub_units.total\n"
    areas = (
        "area_id,name,type,parent_id\nus,United States,country,\nri,Rhode Island,state,us\nb,Bristol,county,ri\n"
        "40001,Barrington,municipality,b\n40002,Bristol,municipality,b\n"
    )
    rows = (f"state,ri,,{NIGHT},3288,2497,8,8", f"municipality,40001,,{NIGHT},1037,1663,5,5")
    last = f"case,municipality,40002,,{NIGHT},2251,834,3,3\n"
    case.count("municipality", 8, head + "".join(f"case,{row}\n" for row in rows), areas=areas)
    early = case.show("ri")
    assert (early["progress"]["areas_reported"], early["progress"]["areas_expected"]) == (1, 2)
    assert early["sub_units_counted"]["percent"] == "62.500"
    case.count("municipality", 8, head + last, areas=areas)
    count = case.show("ri")
    assert (count["basis"], votes(count)) == ("COMPUTED", {"a": 3288, "b": 2497})
    assert set(count["official"]["differences"].values()) == {0}
    assert (count["sub_units"]["counted"], count["sub_units_counted"]["percent"]) == (8, "100.000")
    assert count["ballots_cast"] is count["sub_units"]["processed"] is count["sub_units_processed"]["percent"] is None
    assert case.show("40001")["basis"] == "OFFICIAL"


# What is neither zero nor a hundred percent


def test_a_unit_counted_with_another_states_nothing_and_makes_no_zero(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,counted_with,registered_voters")
    rows = (
        f"precinct,1,broome,{NIGHT},10,,,,20",
        f"precinct,2,broome,{NIGHT},,,,1,50",
        f"precinct,3,kings,{NIGHT},,,,1,50",
    )
    case.count("precinct", 3, head + "".join(f"case,{row}\n" for row in rows))
    broome, kings = case.show("broome"), case.show("kings")
    assert (votes(broome), broome["ballots_cast"], broome["blank_votes"]) == ({"a": 10, "b": None}, None, None)
    assert broome["stated_by"]["votes.b"] == {"units": 0, "of": 1}
    assert broome["stated_by"]["registered_voters_counted"] == {"units": 1, "of": 2}
    for count in (broome, kings):
        turnout = count["turnout"]
        assert turnout["of_registered_voters_counted"] is turnout["of_registered_voters"] is None


def test_an_annulled_sheet_makes_no_zero_of_what_the_others_do_not_state(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    rows = f"precinct,1,broome,{NIGHT},10,,10,", f"precinct,2,broome,{NIGHT},,,7,ANNULLED"
    none = f"precinct,3,kings,{NIGHT},9,not on ballot,9,", f"precinct,4,kings,{NIGHT},,not on ballot,5,ANNULLED"
    case.count("precinct", None, head + "".join(f"case,{row}\n" for row in (*rows, *none)))
    broome, kings = case.show("broome"), case.show("kings")
    assert (votes(broome), broome["ballots_cast"], broome["blank_votes"]) == ({"a": 10, "b": None}, 17, None)
    assert (votes(kings), [s["is_on_ballot"] for s in kings["selections"]]) == ({"a": 9, "b": None}, [True, False])


def test_after_an_annulled_sheet_a_selection_can_be_added(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    rows = f"case,precinct,1,broome,{NIGHT},10,5,15,\ncase,precinct,2,broome,{NIGHT},,,10,ANNULLED\n"
    case.count("precinct", 3, head + rows)
    file = contest_file(case.folder, "precinct", 3, ("a", "b", "c"))
    case.setup.run("ingest", "define", str(file))
    case.setup.aggregate()
    case.setup.run("aggregator", "rebuild")
    case.setup.aggregate()  # starts from the rows of the units, and checks the totals against them
    assert votes(case.show("us")) == {"a": 10, "b": 5, "c": None}


@pytest.mark.parametrize("status", ["UNDER_REVIEW", "PENDING", "LOST", "ANNULLED"])
def test_votes_of_a_county_that_do_not_count_are_not_its_count(case: Case, status: str) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    case.count("county", None, f"{head}case,county,broome,,{NIGHT},10,5,15,{status}\n")
    county = case.show("broome")
    assert (county["basis"], votes(county), county["lead"]) == ("OFFICIAL", {"a": None, "b": None}, None)
    waiting = [None, None] if status == "ANNULLED" else [10, 5]
    assert [s["not_counted"] for s in county["selections"]] == waiting
    assert votes(case.show("ny")) == {"a": 0, "b": 0}


@pytest.mark.parametrize("third", ["7,9,16,UNDER_REVIEW", "7,9,16,IN_PROCESS", ",,16,ANNULLED"])
def test_a_total_of_what_counts_is_held_too(case: Case, third: str) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    cast = 266 if third.endswith("ANNULLED") else 250
    rows = f"P1,broome,{NIGHT},100,50,150,", f"P2,broome,{NIGHT},40,60,100,", f"P3,broome,{NIGHT},{third}"
    total = f"Total,broome,{NIGHT},140,110,{cast},"
    if third.startswith("7"):
        total = f"All,broome,{NIGHT},147,119,266,\ncase,precinct,{total}"
    file = contest_file(case.folder, "precinct", None)
    document = case.folder / "t.csv"
    document.write_text(head + "".join(f"case,precinct,{row}\n" for row in (*rows, total)))
    told = case.setup.run("ingest", "load", "--contest", str(file), "--stated-at", STATED, str(document), expect=1)
    assert "F209" in told
    case.setup.aggregate()
    assert (votes(case.show("us")), case.show("us")["ballots_cast"]) == ({"a": 140, "b": 110}, cast)


def test_with_a_roll_the_total_of_an_area_beside_its_precincts_is_held(case: Case) -> None:
    file = contest_file(case.folder, "precinct+county", None, more='roll = "roll.csv"\n')
    (case.folder / "roll.csv").write_text("unit_id,area_id,registered_voters\n1,broome,100\n2,broome,200\n")
    document = case.folder / "t.csv"
    rows = f"precinct,1,broome,{NIGHT},10,5,15", f"precinct,2,broome,{NIGHT},20,5,25"
    document.write_text(sheets(*rows, f"county,broome,,{NIGHT},30,10,40"))
    told = case.setup.run("ingest", "load", "--contest", str(file), "--stated-at", STATED, str(document), expect=1)
    assert "F209" in told
    case.setup.aggregate()
    assert votes(case.show("us")) == {"a": 30, "b": 10}


def test_an_area_that_ended_does_not_stand_for_its_successor(case: Case) -> None:
    areas = (
        "area_id,name,type,parent_id,ends_at,replaced_by\nus,United States,country,,,\nny,New York,state,us,,\n"
        "broome,Broome,county,ny,2020-11-03T22:00:00-05:00,queens\nkings,Kings,county,ny,,\nqueens,Queens,county,ny,,\n"
    )
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b,ballots_cast,sub_units.total,sub_units.counted\n"
    rows = f"case,county,broome,{NIGHT},5,4,9,6,6\ncase,county,kings,{LATER},1,2,3,4,4\n"
    case.count("county", None, head + rows, areas=areas)
    count = case.show("us")
    assert (count["progress"]["areas_reported"], count["progress"]["areas_expected"]) == (None, 2)
    assert count["sub_units_counted"]["percent"] is None, "Queens has stated nothing"


def test_more_sheets_than_the_office_said_earlier_are_no_two_hundred_percent(case: Case) -> None:
    head = HEAD.replace("ballots_cast", "ballots_cast,sub_units.total")
    rows = f"precinct,1,broome,{NIGHT},10,5,15,", f"precinct,2,broome,{LATER},1,2,3,", f"state,ny,,{NIGHT},11,7,18,1"
    case.count("precinct", None, head + "".join(f"case,{row}\n" for row in rows))
    count = case.show("ny")
    assert (count["progress"]["expected"], count["sub_units_counted"]["percent"]) == (None, None)


def test_postal_votes_are_no_statement_of_the_office_about_the_whole(case: Case) -> None:
    rows = f"precinct,1,broome,{NIGHT},10,5,15", f"county,broome,,{NIGHT},100,50,150"
    case.count("precinct+county", 1, sheets(*rows))
    assert case.show("broome")["official"] is None
    assert case.setup.database.read("SELECT * FROM checking.reconciliation") == []
    bases = case.setup.database.read("SELECT basis FROM checking.area_count_by_basis WHERE area_id = 'broome'")
    assert bases == [("COMPUTED",)]
    explained = case.setup.json("results", "explain", "case", "broome")
    assert (explained["statements"], explained["publications"][0]["change"]["votes.a"]) == ([], 110)
    alone = case.setup.json("results", "explain", "case", "county/broome")
    assert (alone["publications"], alone["statements"][0]["change"]["votes.a"]) == ([], 100)


def test_a_word_that_stands_for_later_ones_is_none_of_a_document(case: Case) -> None:
    file = contest_file(case.folder, "precinct", None)
    document = case.folder / "t.csv"
    head = HEAD.replace("ballots_cast", "ballots_cast,count_status")
    document.write_text(f"{head}case,precinct,1,broome,{NIGHT},1,2,3,UNKNOWN\ncase,precinct,2,broome,{NIGHT},4,5,9,\n")
    told = case.setup.run("ingest", "load", "--contest", str(file), "--stated-at", STATED, str(document), expect=1)
    assert "row 2, column count_status: F204 'UNKNOWN' is unknown. Expected one of PENDING" in told
    case.setup.aggregate()
    assert votes(case.show("us")) == {"a": 4, "b": 5}


def test_the_total_of_an_area_is_held_also_when_it_comes_in_a_file_of_its_own(case: Case) -> None:
    file = contest_file(case.folder, "precinct+county", None)
    load = ("ingest", "load", "--contest", str(file), "--stated-at", STATED)
    first, second = case.folder / "precincts.csv", case.folder / "counties.csv"
    first.write_text(sheets(f"precinct,1,broome,{NIGHT},100,50,150", f"precinct,2,broome,{NIGHT},40,60,100"))
    second.write_text(sheets(f"county,broome,,{LATER},140,110,250", f"county,kings,,{LATER},7,1,8"))
    case.setup.run(*load, str(first))
    told = case.setup.run(*load, str(second), expect=1)
    assert "F209 the votes of county/broome are the sum of the 2 units in it that are counted already" in told
    case.setup.aggregate()
    assert votes(case.show("us")) == {"a": 147, "b": 111}
