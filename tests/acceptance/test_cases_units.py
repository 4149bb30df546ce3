"""What is added up, what is expected, and what does not count: small elections of several kinds of unit."""

from __future__ import annotations

from tests.acceptance.test_cases import FETCHED, LATER, NIGHT, Case, case, contest_file, votes

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
    assert count["turnout"]["of_registered_voters_counted"] == "45.000"
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
    case.setup.run("ingest", "load", "--contest", str(file), "--observed-at", FETCHED, str(document))
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
    load = ("ingest", "load", "--contest", str(file), "--observed-at", FETCHED, str(document))
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
