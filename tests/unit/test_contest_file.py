"""A contest's file and its areas: every fault is named at once, with its place, what is allowed, and an example."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.news.contest_areas import read_areas
from ingest.news.contest_fault import Fault
from ingest.news.contest_file import ContestFileError, Files, examine, read
from schemas.contest import SHEETS, Area, ContestDefined
from schemas.count_update import Code, ReportingUnit
from schemas.types import SelectionKind
from tests.support.small_contest import AREAS, TOML, small

FILES = Files("contest.toml", "areas.csv")


def faults(toml: str = TOML, areas: str = AREAS) -> list[str]:
    """What is wrong, as a journalist reads it."""
    found = examine(toml, areas, FILES)
    assert (found.definition is None) is any(fault.refuses for fault in found.faults)
    return list(map(str, found.faults))


def one(toml: str = TOML, areas: str = AREAS) -> str:
    (fault,) = faults(toml, areas)
    return fault


def test_a_whole_file_has_no_fault() -> None:
    assert faults() == []
    assert small().areas_by_id["broome"].parent_id == "ny"


IN_THE_FILE = {
    "a date as Americans write it": (
        ('"2020-11-03"', '"11/03/2020"'),
        "contest.toml, line 4: election_date '11/03/2020' is not a day in this form; is 2020-11-03 or "
        "2020-03-11 meant? Allowed: the day of the election as year-month-day, with all digits. Example: "
        'election_date = "2020-11-03"',
    ),
    "a date as Germans write it": (
        ('"2020-11-03"', '"13.11.2020"'),
        "line 4: election_date '13.11.2020' is not a day in this form; is 2020-11-13 meant?",
    ),
    "a date without dashes": (
        ('"2020-11-03"', '"20201103"'),
        "line 4: election_date '20201103' is not a day",
    ),
    "a day that there is not": (
        ('"2020-11-03"', '"2020-11-31"'),
        "line 4: election_date '2020-11-31' is not a day",
    ),
    "no date": (
        ('"2020-11-03"', "5"),
        "line 4: election_date is '5'. Allowed: the day",
    ),
    "an abbreviation that IANA has": (
        ('"America/New_York"', '"EST"'),
        "contest.toml, line 6: time_zone 'EST' is an abbreviation: it does not say when clocks change; is "
        "'America/New_York' meant? Allowed: an IANA name of the form Area/City, or UTC; no abbreviation. "
        'Example: time_zone = "America/New_York"',
    ),
    "an abbreviation that it has not": (
        ('"America/New_York"', '"pdt"'),
        'Example: time_zone = "America/Los_Angeles"',
    ),
    "a zone of a country": (
        ('"America/New_York"', '"Japan"'),
        "there is no time zone named 'Japan'. Allowed: an IANA name",
    ),
    "a level with a slip": (
        ('"precinct"', '"precincts"'),
        "contest.toml, line 8: counting_levels is 'precincts'; is 'precinct' meant? Allowed: a list of one or"
        " more of country, state",
    ),
    "a level twice": (
        ('["precinct"]', '["precinct", "precinct"]'),
        "line 8: counting_levels names a type twice: precinct and precinct. Allowed: each type once",
    ),
    "a level without areas": (
        ('["precinct"]', '["municipality", "precinct"]'),
        "contest.toml, line 8: counting_levels has municipality, but no area is of type municipality: nothing would"
        " ever be added up. Allowed: types that areas.csv has, and sheets: country, state, county, "
        'polling-place, precinct. Example: counting_levels = ["precinct"]',
    ),
    "no number of sheets for a level that is reached": (
        ('expected_units = 3\ncounting_levels = ["precinct"]', 'counting_levels = ["county", "precinct"]'),
        "contest.toml, line 7: counting_levels moves on to precinct, but not by itself: it is not known when every "
        "sheet is stated. Allowed: expected_units or a roll, for a level that is reached by itself",
    ),
    "a level of several types with a slip": (
        ('["precinct"]', '[["precinct", "conty"]]'),
        "contest.toml, line 8: counting_levels is 'conty'; is 'county' meant?",
    ),
    "a type of another sort": (
        ('["precinct"]', '["other:"]'),
        "line 8: counting_levels is 'other:'. Allowed: a list of one or more of country, state",
    ),
    "types of which none has areas": (
        ('["precinct"]', '[["ward", "other:Bezirk"]]'),
        "counting_levels has ward and other:Bezirk, but no area is one of them: nothing would ever be added up",
    ),
    "sheets of no known type": (
        ("expected", 'sheet_types = ["sheet"]\nexpected'),
        "line 7: sheet_types is 'sheet'. Allowed: a list of country, state",
    ),
    "no votes allowed": (
        ("expected", "votes_allowed = 0\nexpected"),
        "line 7: votes_allowed is '0'. Allowed: how many selections a voter may mark, 1 to 1000",
    ),
    "more than all": (
        ("expected", "leader_from_percent = 100.5\nexpected"),
        "line 7: leader_from_percent is '100.5': more than 100 percent. Allowed: a number from 0 to 100",
    ),
    "a unit without a type": (
        ("expected", 'confirmed_units = ["0001"]\nexpected'),
        "line 7: confirmed_units is '0001': no type, / and id. Allowed: a list of units, each as type/id",
    ),
    "a kind with a slip": (
        ('party = "Independent"\n', 'party = "Independent"\nkind = "candidate"\n'),
        "selection 2, line 22: kind is 'candidate'. Allowed: one of CANDIDATE, PARTY_LIST, ",
    ),
    "a list that is no selection": (
        ('party = "Independent"\n', 'party = "Independent"\nlist_id = "green"\n'),
        "selections below a list that is no selection: roe",
    ),
    "a number in quotes": (
        ("= 3\n", '= "3"\n'),
        "line 7: expected_units is '3'. Allowed: how many sheets there will be in all, in digits, without quotes",
    ),
    "a key with a slip": (
        ("authority", "authorithy"),
        "contest.toml, line 5: the key authorithy is unknown; is 'authority' meant? Allowed: areas, authority,",
    ),
    "a key of a selection with a slip": (
        ("ballot_order = 2", "ballot-order = 2"),
        "contest.toml, selection 2, line 18: the key ballot-order is unknown; is 'ballot_order' meant?",
    ),
    "no party": (
        ('party = "Independent"\n', ""),
        "contest.toml, selection 2, line 18: party is missing. Allowed: the name in tables and answers; "
        '"Independent" for one without a party. Example: party = "Green Party"',
    ),
    "an empty party": (
        ('"Independent"', '""'),
        "selection 2, line 21: party is ''. Allowed: the name in tables",
    ),
    "an id with a space": (
        ('"roe"', '"ben roe"'),
        "selection 2, line 19: selection_id is 'ben roe'. Allowed: a short name",
    ),
    "an id that is invisible": (
        ('"lee"', '"\\u200b"'),
        "selection 1, line 12: selection_id is '\\u200b'. Allowed: a short",
    ),
    "no selection": (
        (TOML[TOML.index("[[") :], ""),
        "contest.toml: selections is missing. Allowed: a [[selections]] for each choice of a voter. Example: "
        "[[selections]]",
    ),
    "a time without zone": (
        ("expected", "effective_at = 2020-11-03T05:00:00\nexpected"),
        "line 7: effective_at is '2020-11-03 05:00:00'. Allowed: a time with its zone, without quotes. "
        "Example: effective_at = 2020-11-03T05:00:00Z",
    ),
}


@pytest.mark.parametrize(("change", "says"), IN_THE_FILE.values(), ids=IN_THE_FILE.keys())
def test_what_is_wrong_in_the_file_is_said_with_its_line_what_is_allowed_and_an_example(
    change: tuple[str, str], says: str
) -> None:
    assert change[0] in TOML
    said = faults(TOML.replace(*change, 1))
    assert [says in text for text in said].count(True) == 1
    assert len(said) == (2 if "the key" in says else 1), "the right key is missing, too"


def test_two_selections_with_one_code_or_place_are_refused_and_both_named() -> None:
    alike = TOML.replace('"0007"', '"0014"').replace("ballot_order = 2", "ballot_order = 1")
    assert faults(alike) == [
        "contest.toml, selection 2, line 23: Ana Lee (selection 1, line 16) and Ben Roe (selection 2, line 23) have "
        "the same "
        "external_id '0014'. Allowed: each external_id once. Example: external_id = \"00000014\"",
        "contest.toml, selection 2, line 22: Ana Lee (selection 1, line 15) and Ben Roe (selection 2, line 22) have "
        "the same "
        "ballot_order '1'. Allowed: each ballot_order once. Example: ballot_order = 2",
    ]
    with pytest.raises(
        ContestFileError, match=r"Ana Lee .* and Ben Roe .*And 1 more: `escrutinio-ingest contest check`"
    ):
        read(alike, AREAS, FILES)
    endless = re.sub("ballot_order = .", "ballot_order = 0x" + "F" * 5_000, TOML)
    assert "have the same ballot_order int too long" in faults(endless)[-1]
    assert "have the same selection_id 'lee'" in one(TOML.replace('"roe"', '"lee"'))


def test_a_key_of_the_file_below_the_selections_is_named_as_such() -> None:
    said = faults(TOML.replace("expected_units = 3\n", "") + "expected_units = 3\n")
    assert (
        "contest.toml, selection 2, line 23: expected_units is a key of the file, and stands below [[selections]]. "
        "Allowed: keys of the file above the first [[selections]]. Example: expected_units = 3"
    ) in said


def test_everything_that_is_wrong_is_said_at_once() -> None:
    toml = (
        TOML.replace("2020-11-03", "3.11.2020")
        .replace("America/New_York", "EST")
        .replace('party = "Green Party"\n', "")
    )
    said = faults(toml, AREAS.replace("county", "County"))
    assert [text.partition(": ")[0] for text in said] == [
        "contest.toml, selection 1, line 11",
        "contest.toml, line 4",
        "contest.toml, line 6",
        "areas.csv, row 4, column type",
        "areas.csv, row 5, column type",
    ]


IN_THE_TABLE = {
    "semicolons": (
        AREAS.replace(",", ";"),
        "areas.csv, row 1: the columns are separated by semicolons, as spreadsheets of some countries do. "
        "Allowed: commas: save it as CSV UTF-8, comma delimited. Example: area_id,name,type,parent_id",
    ),
    "tabs": (
        AREAS.replace(",", "\t"),
        "row 1: the columns are separated by tabs",
    ),
    "a title": (
        "Areas of New York\n\n" + AREAS,
        "row 1: 'Areas of New York' is no header; the header stands in row 3. Allowed: the header first: "
        "delete the rows above it",
    ),
    "another header": (
        AREAS.replace("parent_id", "Parent ID"),
        "column parent_id is missing; is 'Parent ID' meant? Allowed: the columns area_id,name,type,parent_id,"
        " spelled so, in any order; besides, expected_units, ends_at, replaced_by and code: with a register's name, "
        "and no others",
    ),
    "a column more": (
        AREAS.replace("\n", ",x\n"),
        "row 1: column 'x' is unknown",
    ),
    "nothing": (
        "",
        "row 1: the header is '': column area_id is missing",
    ),
    "no areas": (
        AREAS.splitlines()[0] + "\n,,,\n",
        "areas.csv: it has a header and no areas. Allowed: at least the outermost",
    ),
    "a comma in a name": (
        AREAS.replace("Broome", "Broome, N.Y."),
        "row 4: it has 5 fields, the header 4. Allowed: 4 fields in every row; a name with a comma stands in "
        "quotes. Example: broome,Broome,county,ny",
    ),
    "a type with a slip": (
        AREAS.replace("Broome,county", "Broome,County"),
        "row 4, column type: 'County' is no type of area; is 'county' meant? Allowed: one of country, state, county",
    ),
    "a parent that is missing": (
        AREAS.replace("Broome,county,ny", "Broome,county,nj"),
        "areas.csv, row 4, column parent_id: parent_id 'nj' is no area_id of the table. Allowed: the area_id "
        "of another row, or nothing for the outermost area",
    ),
    "a parent without zeros": (
        AREAS.replace("kings", "0kings").replace("Broome,county,ny", "Broome,county,KINGS"),
        "row 4, column parent_id: parent_id 'KINGS' is no area_id of the table; is '0kings' meant?",
    ),
    "an area twice": (
        AREAS.replace("kings", "broome"),
        "row 5, column area_id: area_id 'broome' also stands in row 4",
    ),
    "two outermost": (
        AREAS.replace("Kings,county,ny", "Kings,county,"),
        "row 5, column parent_id: exactly one area has no parent_id, the outermost; found 2: us (row 2) and "
        "kings (row 5)",
    ),
    "a circle": (
        AREAS + "a,A,county,b\nb,B,county,a\n",
        "row 6, column parent_id: these areas contain each other: a (row 6) and b (row 7). Allowed: a "
        "parent_id that leads to the outermost area",
    ),
    "itself": (
        AREAS + "a,A,county,a\n",
        "row 6, column parent_id: these areas contain each other: a (row 6)",
    ),
    "no name": (
        AREAS.replace("Broome,", ","),
        "row 4, column name: it is empty",
    ),
    "an invisible id": (
        AREAS.replace("broome,", "br\u200boome,"),
        "row 4, column area_id: area_id: an id must not have the invisible character U+200B",
    ),
    "no id": (
        AREAS.replace("broome,", ","),
        "row 4, column area_id: area_id: String should have at least 1 character",
    ),
}


@pytest.mark.parametrize(("areas", "says"), IN_THE_TABLE.values(), ids=IN_THE_TABLE.keys())
def test_what_is_wrong_in_the_table_is_said_with_its_row_what_is_allowed_and_an_example(areas: str, says: str) -> None:
    assert says in one(areas=areas)
    with pytest.raises(ContestFileError):
        read(TOML, areas)


def test_types_are_brought_into_their_normal_form() -> None:
    toml = TOML.replace('["precinct"]', '["\u00a0precinct", ["other:a  b", "county"]]')
    toml = toml.replace("expected", 'sheet_types = ["other:a \u00a0b", "precinct"]\nexpected')
    found = small(toml, AREAS.replace(",county,", ",county\u00a0,"))
    assert found.counting_level == ("precinct",)
    assert found.later_counting_levels == (("other:a b", "county"),)
    assert found.sheet_types == ("other:a b", "precinct")
    roll = "unit_id,area_id,unit_type\n1,kings,other:a\u00a0b\n".encode()
    rolled = read(toml.replace("expected", 'roll = "roll.csv"\nexpected'), AREAS, FILES, roll).roll
    assert rolled is not None
    assert rolled.rows[0].type == "other:a b"


def test_areas_of_two_types_that_are_added_up_together_do_not_contain_each_other() -> None:
    areas = AREAS + "m1,A town,municipality,kings\n"
    said = one(TOML.replace('["precinct"]', '[["county", "municipality"]]'), areas)
    assert "has county and municipality added up together, but county kings contains municipality m1: counted" in said
    values = {name: getattr(small(areas=areas), name) for name in ContestDefined.model_fields}
    together = "county + municipality are added up together, but county kings contains municipality m1"
    for level in ("counting_level", "later_counting_levels"):
        both = ("municipality", "county")
        with pytest.raises(ValueError, match=re.escape(together)):
            ContestDefined(**values | {level: both if level == "counting_level" else (both,)})
    for level in ('[["precinct", "county"]]', '["county", "municipality"]', '[["precinct", "state"]]'):
        assert [text for text in faults(TOML.replace('["precinct"]', level), areas) if "twice" in text] == []
    assert faults(TOML.replace('["precinct"]', '[["county", "municipality"]]'), AREAS + "m1,M,municipality,ny\n") == []


def test_what_may_be_one_candidate_and_seats_that_nobody_can_fill_are_odd() -> None:
    more = 'selection_id = "lee2"\ncandidate = "ANA LEE"\nparty = "Green party"\nballot_order = 9\n'
    twice = f"{TOML}[[selections]]\n{more}"
    (said,) = faults(twice)
    assert "Ana Lee (selection 1" in said
    assert "differ by case alone: votes for one candidate would stand apart" in said
    (said,) = faults(TOML.replace("expected_units", "number_elected = 3\nexpected_units", 1))
    assert "number_elected is 3, and there are 2 selections" in said


def test_a_register_has_one_code_of_an_area_and_successors_are_areas_of_the_contest() -> None:
    table = AREAS.replace("\n", ",code:FIPS,code: FIPS\n", 1)
    assert "row 1: column code:FIPS stands twice" in faults(areas=table)[0]
    kings = small().areas_by_id["kings"]
    values = {name: getattr(kings, name) for name in Area.model_fields}
    twice = Code(registry="FIPS", value="1"), Code(registry="FIPS", value="2")
    with pytest.raises(ValueError, match="area kings has several codes of FIPS"):
        Area(**values | {"codes": twice})
    with pytest.raises(ValueError, match="precinct/1 has several codes of FIPS"):
        ReportingUnit(id="1", type="precinct", name=None, area_path=("us",), codes=twice)
    with pytest.raises(ValueError, match="area kings is replaced, and does not end"):
        Area(**values | {"replaced_by": ("broome",)})
    whole = {name: getattr(small(), name) for name in ContestDefined.model_fields}
    for other in ("queens", "kings"):
        ended = Area(**values | {"replaced_by": (other,), "ends_at": small().effective_at})
        with pytest.raises(ValueError, match=f"area kings is replaced by what is no other area: {other}"):
            ContestDefined(**whole | {"areas": (*small().areas[:-1], ended)})


def test_units_of_a_counting_level_that_contain_each_other_are_refused() -> None:
    areas = AREAS + "city,City of Kings,county,kings\n"
    assert faults(areas=areas) == []
    for level in ('["county"]', '[["precinct", "county"]]', '["precinct", "county"]'):
        said = one(TOML.replace('["precinct"]', level), areas)
        assert "counting_levels has county, but county kings contains county city: counted twice" in said
    known = small(areas=areas)
    with pytest.raises(ValueError, match="county is a counting level, but kings contains city"):
        ContestDefined(
            **{name: getattr(known, name) for name in ContestDefined.model_fields} | {"counting_level": ("county",)}
        )


def test_every_key_reaches_the_definition() -> None:
    toml = TOML.replace(
        'counting_levels = ["precinct"]\n',
        """counting_levels = ["county", ["precinct", "other:Postal  district"]]
sheet_types = ["precinct"]
partial_sheets_count = true
count_starts_at = 2020-11-03T21:00:00-05:00
votes_allowed = 3
number_elected = 2
confirmed_units = ["precinct/ 0001"]
leader_from_percent = 0.5
rules_version = "of 2019"
complete_publications = true
""".replace("  district", " district"),
    ).replace('external_id = "0007"', 'external_id = "0007"\nlist_id = "lee"\nwithdrawn_at = 2020-11-01T00:00:00Z')
    toml = toml.replace('party = "Green Party"', 'party = "Green Party"\nkind = "PARTY_LIST"')
    contest = read(toml, AREAS, FILES)
    of = contest.definition
    assert contest.complete_publications
    assert of.counting_level == ("county",)
    assert of.later_counting_levels == (("precinct", "other:Postal district"),)
    assert of.sheet_types == ("precinct",)
    assert of.partial_sheets_count
    assert of.count_starts_at == datetime(2020, 11, 4, 2, tzinfo=UTC)
    assert (of.votes_allowed, of.number_elected) == (3, 2)
    assert of.confirmed_units == ("precinct/0001",)
    assert (of.leader_from_percent, of.rules_version) == ("0.5", "of 2019")
    lee, roe = of.selections
    assert (lee.kind, lee.list_id, lee.withdrawn_at) == (SelectionKind.PARTY_LIST, None, None)
    assert (roe.kind, roe.list_id) == (SelectionKind.CANDIDATE, "lee")
    assert roe.withdrawn_at == datetime(2020, 11, 1, tzinfo=UTC)


def test_without_these_keys_a_contest_is_the_ordinary_one() -> None:
    of = read(TOML.replace("expected_units = 3\n", ""), AREAS).definition
    assert of.expected_units is None
    assert of.count_starts_at == of.effective_at == datetime(2020, 11, 3, 5, tzinfo=UTC)
    assert (of.votes_allowed, of.number_elected, of.sheet_types) == (1, 1, SHEETS)


MORE = """\
area_id,name,type,parent_id,expected_units,ends_at,replaced_by,code:FIPS,code: USGS
us,United States,country,,,,,,
ny,New York,state,us,900,,,36,
broome,Broome,county,ny,84,,,36007,974102
kings,Kings,county,ny,,2020-11-04T00:00:00-05:00,brooklyn;  flat  bush,36047,
brooklyn,Brooklyn,borough,ny,,,,,
flat bush,Flatbush,other:Neighbourhood,ny,0,,,,
"""


def test_more_is_said_of_an_area_in_further_columns() -> None:
    areas = small(areas=MORE).areas_by_id
    assert [area.expected_units for area in areas.values()] == [None, 900, 84, None, None, 0]
    assert areas["broome"].codes == (Code(registry="FIPS", value="36007"), Code(registry="USGS", value="974102"))
    assert areas["kings"].ends_at == datetime(2020, 11, 4, 5, tzinfo=UTC)
    assert areas["kings"].replaced_by == ("brooklyn", "flat bush")
    assert areas["flat bush"].type == "other:Neighbourhood"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((",84,", ",84.0,"), "row 4, column expected_units: '84.0' is no number of sheets. Allowed: digits"),
        (("T00:00:00-05:00", ""), "row 5, column ends_at: '2020-11-04' is not a time with its zone. Allowed: a time"),
        (("brooklyn; ", "broklyn; "), "row 5, column replaced_by: 'broklyn' is no other area_id of the table; is "),
        (("2020-11-04T00:00:00-05:00", ""), "column replaced_by: kings is replaced, but does not end"),
        ((",36007,", ",36\u202e007,"), "row 4, column code:…: value: an id must not have the invisible character"),
        (("code: USGS", "code:"), "row 1: column 'code:' is unknown. Allowed: the columns area_id,name,type,parent_id"),
        (("code: USGS", "ends_at"), "row 1: column ends_at stands twice"),
    ],
)
def test_what_is_wrong_in_a_further_column_is_said(change: tuple[str, str], says: str) -> None:
    assert says in one(areas=MORE.replace(*change, 1))


def test_what_is_odd_is_said_and_refuses_nothing() -> None:
    odd = {
        "expected_units is 0": (TOML.replace("= 3", "= 0"), AREAS),
        "area_id '07' differs from '7' of row 6 by leading zeros alone": (
            TOML,
            AREAS + "7,A,county,ny\n07,B,county,ny\n",
        ),
        "p1 is a precinct, which is counted as a sheet": (TOML, AREAS + "p1,First,precinct,kings\n"),
    }
    for says, (toml, areas) in odd.items():
        assert says in one(toml, areas)
        assert read(toml, areas).definition.contest_id == "ny-2020-president"


@pytest.mark.parametrize(
    "areas",
    [
        "\ufeff" + AREAS,
        AREAS.replace("\n", "\r\n"),
        AREAS.rstrip("\n"),
        AREAS.replace("\n", ",,\n"),
        AREAS.replace("\n", "\n,,,\n"),
        "\n".join(",".join(reversed(line.split(","))) for line in AREAS.splitlines()),
        AREAS.replace("broome", " broome\u00a0").replace(",ny", ", ny "),
    ],
    ids=["mark of the encoding", "CRLF", "no last line end", "empty columns", "empty rows", "another order", "spaces"],
)
def test_what_spreadsheets_make_of_a_table_is_read(areas: str) -> None:
    assert small(areas=areas).areas == small().areas


def test_a_table_of_another_kind_has_an_end() -> None:
    _, found = read_areas(AREAS + "x,X,city,ny\n" * 10_000, "areas.csv")
    assert len(found) == 100


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", *"abcdefg"])), max_size=8))
def test_areas_are_one_tree_or_the_reason_is_said(edges: list[tuple[str, str]]) -> None:
    table = "".join(f"{child},{child},county,{parent}\n" for child, parent in edges)
    found = examine(TOML, f"area_id,name,type,parent_id\n{table}", FILES)
    parents = dict(edges)
    whole = len(parents) == len(edges) and list(parents.values()).count("") == 1
    for child in parents:
        for _ in range(len(parents)):
            child = parents.get(child, "") or child
        whole = whole and parents.get(child) == ""
    assert (found.definition is not None) is whole
    assert all(isinstance(fault, Fault) and fault.file == "areas.csv" for fault in found.faults)
