"""What is one unit and what is none: parts by vote type, totals among the rows, ids without their zeros."""

from __future__ import annotations

from typing import Any

from tests.acceptance.test_cases import NIGHT, STATED, Case, case, contest_file, votes

__all__ = ["case"]
HEAD = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast"


def row(unit: str, *cells: object, at: str = NIGHT) -> str:
    return f"case,precinct,{unit},broome,{at},{','.join(map(str, cells))}\n"


def load(case: Case, text: str, *, expect: int = 0, expected: int = 2, **of_file: Any) -> Any:
    """Publish the case's contest, load a document of it, and add it up. `of_file`: as of `contest_file`."""
    file = contest_file(case.folder, "precinct", expected, **of_file)
    document = case.folder / "in.csv"
    document.write_text(text)
    given = ("--contest", str(file))
    case.setup.run("ingest", "define", str(file))
    told = case.setup.json("ingest", "load", *given, "--stated-at", STATED, str(document), expect=expect)
    case.setup.aggregate()
    return told


def rejected(told: Any) -> list[tuple[str, str]]:
    return [(one["code"], one["place"]) for one in told["rejections"]]


def test_totals_and_ids_without_their_zeros_are_held_until_they_are_confirmed(case: Case) -> None:
    total = row("Total", 140, 110, 250), row("County Totals", 140, 110, 250)
    text = "".join((f"{HEAD}\n", row("001", 100, 50, 150), row("002", 40, 60, 100), *total))
    told = load(case, text, expect=1)
    assert (told["news"], rejected(told)) == ({"REPORTED": 2}, [("F209", "row 4"), ("F209", "row 5")])
    assert '"precinct/Total" to confirmed_units' in told["rejections"][0]["message"]
    assert votes(case.show("broome")) == {"a": 140, "b": 110}
    later = NIGHT.replace("21:", "22:")
    text = f"{HEAD}\n{row('1', 101, 50, 151, at=later)}{row('002', 41, 60, 101, at=later)}"
    told = load(case, text, expect=1)
    assert (told["news"], rejected(told)) == ({"REPORTED": 1}, [("F210", "row 2")])
    assert "from 001 on the log" in told["rejections"][0]["message"]
    assert votes(case.show("broome")) == {"a": 141, "b": 110}
    told = load(case, text, more='confirmed_units = ["precinct/1"]\n')
    assert (told["news"], told["rejected"]) == ({"REPORTED": 1}, {})
    assert votes(case.show("broome")) == {"a": 242, "b": 160}


def test_parts_by_vote_type_are_one_sheet(case: Case) -> None:
    modes = ("absentee", 89, 40, 133), ("early", 2, 2, 4), ("election day", 0, 2, 3), ("provisional", 1, 1, 2)
    rows = [row("CP01", *figures) for _, *figures in modes]
    told = load(case, f"{HEAD}\n{''.join(rows)}", expect=1, expected=1)
    assert {code for code, _ in rejected(told)} == {"F203"}
    assert all("by a column vote_type" in one["expected"] for one in told["rejections"])
    told = load(case, f"{HEAD},vote_type\n" + "".join(row("CP01", *cells, word) for word, *cells in modes), expected=1)
    assert (told["news"], told["rejected"]) == ({"REPORTED": 1}, {})
    count = case.show("broome")
    assert (votes(count), count["ballots_cast"]) == ({"a": 92, "b": 45}, 142)
    assert (count["sub_units"]["counted"], count["sub_units"]["total"]) == (1, 1)
    ((kept,),) = case.setup.database.read("SELECT counts -> 'by_vote_type' FROM results.update_history")
    assert [(part["vote_type"], part["name"], part["votes"], part["ballots_cast"]) for part in kept] == [
        ("ELECTION_DAY", "election day", {"a": 0, "b": 2}, 3),
        ("EARLY", "early", {"a": 2, "b": 2}, 4),
        ("ABSENTEE", "absentee", {"a": 89, "b": 40}, 133),
        ("PROVISIONAL", "provisional", {"a": 1, "b": 1}, 2),
    ]


NEVADA = {
    "biden": 35_261,
    "trump": 27_363,
    "jorgensen": 907,
    "lariva": 658,
    "hawkins": 344,
    "fuente": 185,
    "writein": 31,
}
MARKS = {"undervotes": 1_103, "overvotes": 31}


def test_a_county_in_the_shape_of_a_real_one_by_precinct_and_vote_type(case: Case) -> None:
    """Nevada County, California, in 2020: 97 precincts, undervotes and overvotes apart, votes by type."""
    types = ("absentee", "early_voting", "election_day", "provisional")
    figures = {**{f"votes.{name}": number for name, number in NEVADA.items()}, **MARKS}
    places = 97 * len(types)
    rows = []
    for place in range(places):
        more = [(place + 31 * n) % places for n in range(len(figures))]
        cells = [n // places + (at < n % places) for n, at in zip(figures.values(), more, strict=True)]
        unit, word = f"CP{place // len(types) + 1:02}", types[place % len(types)]
        rows.append(f"case,precinct,{unit},broome,{NIGHT},{word},{','.join(map(str, cells))},{sum(cells)}\n")
    head = f"contest_id,unit_type,unit_id,area_path,reported_at,vote_type,{','.join(figures)},ballots_cast\n"
    told = load(case, head + "".join(rows), expected=97, selections=tuple(NEVADA))
    assert (told["news"], told["rejected"], told["findings"]) == ({"REPORTED": 97}, {}, {})
    count = case.show("broome")
    assert votes(count) == NEVADA
    assert {name: count[name] for name in MARKS} == MARKS
    assert (count["ballots_cast"], count["sub_units"]["counted"]) == (65_883, 97)


def test_where_a_voter_may_mark_three_their_votes_exceed_the_ballots(case: Case) -> None:
    selections = ("a", "b", "c", "d")
    head = f"contest_id,unit_type,unit_id,area_path,reported_at,{','.join(f'votes.{s}' for s in selections)}"
    text = f"{head},ballots_cast,blank_votes,invalid_votes\n{row('1', 90, 80, 70, 40, 100, 20, 0)}"
    told = load(case, text, expected=1, selections=selections, more="votes_allowed = 3\n")
    assert (told["news"], told["findings"]) == ({"REPORTED": 1}, {})
    count = case.show("broome")
    assert (sum(n or 0 for n in votes(count).values()), count["ballots_cast"], count["blank_votes"]) == (280, 100, 20)
    assert (count["valid_votes"], count["share_base"], count["selections"][0]["share"]) == (None, 280, "32.143")


def test_valid_ballots_and_valid_votes_are_not_added_up(case: Case) -> None:
    """Of several votes on a ballot an office may count the ballots, and another the votes."""
    head = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast,valid_votes\n"
    rows = f"case,precinct,1,broome,{NIGHT},90,80,100,100\ncase,precinct,2,broome,{NIGHT},90,80,100,\n"
    case.count("precinct", 2, head + rows, more="votes_allowed = 3\n")
    count = case.show("us")
    assert (count["valid_votes"], count["stated_by"]["valid_votes"]) == (100, {"units": 1, "of": 2})
    assert [s["share"] for s in count["selections"]] == ["52.941", "47.059"]
