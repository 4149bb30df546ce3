"""A contest's roll: what is wrong with its file, and the parts that it becomes on the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import IngestError
from ingest.news import roll_file
from ingest.news.contest_file import ContestFileError, Files, examine, read
from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.proposal import Wish, decided, propose
from ingest.news.roll_file import RollRow, expectation_of, is_same, next_parts, read_roll, stated_beside
from ingest.news.summary import Defined, Enrolled
from schemas.codec import decode, encode
from schemas.columns.roll import Roll
from schemas.columns.unit_index import UnitIndex
from schemas.contest import ContestDefined
from schemas.count_update import Correction, ReportingUnit, UnitKey
from schemas.identity import NIL, named, text_of
from schemas.types import CorrectionBasis, UpdateKind
from schemas.unit_roll import UnitRoll
from tests.support.builders import sheet
from tests.support.small_contest import AREAS, TOML, small

CONTEST = small()
ROLL = "unit_id,area_id,registered_voters\n0001,broome,500\n0002,broome,\n0003,kings,700\n"
ROWS = [
    RollRow("precinct", "0001", "broome", 500),
    RollRow("precinct", "0002", "broome", None),
    RollRow("precinct", "0003", "kings", 700),
]
AT = datetime(2020, 11, 1, tzinfo=UTC)


def faults(text: str, toml: str = TOML) -> list[str]:
    _, found = read_roll(text, "roll.csv", expectation_of(small(toml)))
    return list(map(str, found))


@pytest.mark.parametrize(
    "text",
    [
        ROLL,
        "\ufeff" + ROLL.replace("\n", "\r\n"),
        ROLL.replace("\n", ",,\n"),
        ROLL.replace("\n", "\n,,\n").rstrip("\n"),
        ROLL.replace("0001,broome", " 0001 , broome\u00a0"),
        "registered_voters,unit_type,unit_id,area_id\n500,,0001,broome\n,precinct,0002,broome\n700,,0003,kings\n",
    ],
    ids=["as it is", "mark, CRLF", "empty columns", "empty rows", "spaces", "another order"],
)
def test_what_spreadsheets_make_of_a_roll_is_read(text: str) -> None:
    assert read_roll(text, "roll.csv", expectation_of(CONTEST)) == (ROWS, [])


FAULTS = {
    "a unit twice": (
        ROLL + "0001,broome,500\n",
        "roll.csv, row 5, column unit_id: precinct '0001' also stands in row 2. Allowed: each sheet once, in one area. "
        "Example: 0001,broome,precinct,812",
    ),
    "a unit in two areas": (
        ROLL + "0001,kings,500\n",
        "row 5, column unit_id: precinct '0001' also stands in row 2, in area broome, and here in kings. Allowed",
    ),
    "an unknown area": (
        ROLL.replace(",kings", ",king"),
        "row 4, column area_id: 'king' is no area of the contest; is 'kings' meant? Allowed: the area_id of the",
    ),
    "no id": (ROLL.replace("0002", ""), "row 3, column unit_id: '' is no id. Allowed: 1 to 200 visible characters"),
    "an invisible id": (ROLL.replace("0002", "00\u200b02"), "row 3, column unit_id: the id has U+200B in it"),
    "no character": (ROLL.replace("0002", "00\u037802"), "row 3, column unit_id: the id has U+0378 in it"),
    "too long an id": (ROLL.replace("0002", "0" * 201), "is no id. Allowed: 1 to 200 visible characters"),
    "a number with a comma": (
        ROLL.replace("700", '"1,700"'),
        "column registered_voters: '1,700' is no number of voters",
    ),
    "a number that is too large": (ROLL.replace("700", "9" * 15), "is no number of voters. Allowed: digits"),
    "another type": (
        ROLL.replace("registered_voters", "unit_type").replace("500", "county").replace("700", ""),
        "row 2, column unit_type: 'county' is no type of sheets. Allowed: one of polling-place, precinct (sheet_types)",
    ),
    "semicolons": (ROLL.replace(",", ";"), "row 1: the columns are separated by semicolons"),
    "another header": (
        ROLL.replace("unit_id", "precinct"),
        "row 1: the header is 'precinct,area_id,registered_voters': column unit_id is missing. Allowed: the columns "
        "unit_id,area_id, spelled so, in any order; besides, unit_type and registered_voters, and no others",
    ),
    "a comma in an id": (ROLL.replace("0003", "3, south"), "row 4: it has 4 fields, the header 3"),
    "a quote": (ROLL.replace("0002,", '"0002"x,'), "roll.csv, line 3: ',' expected after '\"'"),
    "nothing": ("", "row 1: the header is ''"),
    "no sheets": ("unit_id,area_id\n", "roll.csv: it has a header and no sheets. Allowed: at least one sheet"),
}


@pytest.mark.parametrize(("text", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_is_said_with_its_row_what_is_allowed_and_an_example(text: str, says: str) -> None:
    (said,) = faults(text)
    assert says in said
    with pytest.raises(ContestFileError):
        read(TOML, AREAS, roll=text.encode())


def test_ids_that_differ_by_zeros_are_odd_and_refuse_nothing() -> None:
    (said,) = faults(ROLL + "1,kings,\n")
    assert "row 5, column unit_id: '1' differs from '0001' of row 2 by leading zeros alone" in said
    contest = read(TOML, AREAS, roll=ROLL.encode() + b"1,kings,\n")
    assert contest.roll is not None
    assert contest.roll.rows[-1] == RollRow("precinct", "1", "kings", None)


def test_of_several_types_of_sheets_each_row_says_its_own() -> None:
    toml = TOML.replace('["precinct"]', '[["precinct", "polling-place"]]')
    said = faults(ROLL, toml)
    assert len(said) == 3
    assert "roll.csv, row 2, column unit_type: no type. Allowed: one of polling-place, precinct" in said[0]
    assert faults("unit_id,area_id,unit_type\n1,kings,precinct\n1,kings,polling-place\n", toml) == []


def test_a_roll_that_is_no_text_is_named_and_one_of_another_kind_has_an_end() -> None:
    found = examine(TOML, AREAS, Files(), ROLL.replace("broome", "bro\xf6me").encode("latin-1"))
    assert next(str(fault) for fault in found.faults).startswith("the roll, row 2: it is not UTF-8. Allowed: UTF-8")
    assert len(faults("unit_id,area_id\n" + "x,queens\n" * 10_000)) == 100


# --- on the log


def parts(rows: Sequence[RollRow], roll: Roll, sha256: str = "0" * 64, at: datetime = AT) -> Sequence[UnitRoll]:
    return next_parts(rows, CONTEST.contest_id, roll, sha256, at)


def put(roll: Roll, *events: UnitRoll) -> None:
    for event in events:
        assert decode(encode(event).value) == event
        assert roll.accept(event, text_of(event), CONTEST) is None


def many(number: int) -> list[RollRow]:
    return [RollRow("precinct", f"{n:04d}", ("broome", "kings")[n % 2], n) for n in range(number)]


def test_the_parts_of_a_roll_are_readable_and_hold_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_file, "MOST_UNITS", 4)
    roll, rows = Roll(UnitIndex()), many(10)
    made = parts(rows, roll)
    assert [(part.revision, part.part, part.parts, len(part.units)) for part in made] == [
        (1, 1, 3, 4), (1, 2, 3, 4), (1, 3, 3, 2),
    ]  # fmt: skip
    put(roll, *made)
    assert is_same(rows, roll)
    assert is_same(rows[::-1], roll), "their order is nothing"
    assert parts(rows, roll) == ()
    assert [part.revision for part in parts(rows[1:], roll)] == [2, 2, 2]
    put(roll, *parts(rows[1:], roll))
    assert is_same(rows[1:], roll)


def test_long_ids_make_more_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_file, "_LARGEST_PART", 2_000)
    rows = [RollRow("precinct", str(n) * 200, "kings", None) for n in range(1, 10)]
    assert [len(part.units) for part in parts(rows, Roll(UnitIndex()))] == [2, 2, 2, 2, 1]


@given(st.integers(1, 9), st.integers(0, 8), st.booleans())
def test_after_a_crash_between_two_parts_the_same_run_sends_the_rest(number: int, sent: int, is_second: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll_file, "MOST_UNITS", 2)
        roll, rows = Roll(UnitIndex()), many(2 * number)
        if is_second:
            put(roll, *parts(many(3), roll))
        made = parts(rows, roll)
        put(roll, *made[: min(sent, number)])
        rest = parts(rows, roll)
        assert list(rest) == list(made[min(sent, number) :])
        put(roll, *rest)
        assert is_same(rows, roll)


def test_another_file_after_a_crash_is_the_next_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_file, "MOST_UNITS", 2)
    for rows, sha256 in ((many(8), "0" * 64), (many(6), "1" * 64)):
        roll = Roll(UnitIndex())
        put(roll, parts(many(6), roll)[0])
        made = parts(rows, roll, sha256)
        assert {part.revision for part in made} == {2}
        put(roll, *made)
        assert is_same(rows, roll)


def test_an_area_that_ends_and_still_has_a_statement_is_named() -> None:
    end = {"ends_at": CONTEST.effective_at, "replaced_by": ("broome",)}
    areas = tuple(a.model_copy(update=end) if a.area_id == "kings" else a for a in CONTEST.areas)
    level = {"areas": areas, "counting_level": ("county", "precinct"), "revision": 2}
    values = {name: getattr(CONTEST, name) for name in ContestDefined.model_fields} | level
    ended = named(ContestDefined(**values | {"previous_event_id": CONTEST.event_id, "event_id": NIL}))
    memory = ContestMemory(CONTEST)
    of = {
        "kings": ReportingUnit(id="kings", type="county", name=None, area_path=("us", "ny")),
        "0009": ReportingUnit(id="0009", type="precinct", name=None, area_path=CONTEST.area_paths["kings"]),
        "0008": ReportingUnit(id="0008", type="precinct", name=None, area_path=CONTEST.area_paths["broome"]),
        "ny": ReportingUnit(id="ny", type="state", name=None, area_path=("us",)),
    }
    events = []
    for unit in of.values():
        event = sheet(1, {"lee": 1, "roe": 2}, contest_id=CONTEST.contest_id, hours=24 * 600)
        events.append(named(event.model_copy(update={"reporting_unit": unit})))
        assert remember(memory, events[-1])
    assert memory.standing_in_ended() == {}
    memory.definition = ended
    assert memory.standing_in_ended() == {"kings": 2}
    *_, line = Defined(ended, 0, 7, ended=memory.standing_in_ended()).lines()
    assert line.startswith(
        "  county kings ends at 2020-11-03T05:00:00.000Z, replaced by broome, and the statements of 2"
    )
    back = {"kind": UpdateKind.RETRACTED, "counts": None, "sequence": 2, "previous_event_id": events[0].event_id}
    why = Correction(
        reason="merged", basis=CorrectionBasis.OPERATOR, authority="x", replaces_event_id=events[0].event_id
    )
    assert remember(memory, named(events[0].model_copy(update=back | {"correction": why})))
    assert memory.standing_in_ended() == {"kings": 1}


def test_what_was_stated_before_a_roll_and_is_not_on_it_is_named_and_can_only_be_retracted() -> None:
    memory = ContestMemory(CONTEST)
    unit = ReportingUnit(id="0009", type="precinct", name=None, area_path=CONTEST.area_paths["kings"])
    event = sheet(1, {"lee": 1, "roe": 2}, contest_id=CONTEST.contest_id, hours=24 * 600)
    event = named(event.model_copy(update={"reporting_unit": unit}))
    assert remember(memory, event)
    assert stated_beside(memory) == []
    put(memory.roll, *parts(ROWS, memory.roll))
    assert stated_beside(memory) == [UnitKey("precinct", "0009")]
    (line, beside) = Enrolled.of(memory.roll, "x", is_new=True, beside=stated_beside(memory)).lines()
    assert line == "published: the roll of x, revision 1: 3 sheets"
    assert beside.strip().startswith("not on it, but stated before and still counted: precinct/0009; `retract` takes")
    wish = Wish(
        unit=event.unit, kind=UpdateKind.RETRACTED, reason="no sheet of ours", authority="Clerk", operator="Ana",
        replaced_by=("0001", "0002"), at=event.observed_at + timedelta(hours=1),
    )  # fmt: skip
    taken_back = propose(wish, (event,), CONTEST, None)
    assert taken_back.event.replaced_by == ("0001", "0002")
    assert "  replaced by 0001, 0002" in list(taken_back.lines())
    assert len(decided(taken_back.event, CONTEST.event_id, memory).events) == 1
    corrected = event.model_copy(update={"counts": event.counts and event.counts.model_copy(update={"blank_votes": 5})})
    again = propose(
        wish.model_copy(update={"kind": UpdateKind.CORRECTED, "replaced_by": None}), (event,), CONTEST, corrected
    )
    with pytest.raises(IngestError, match=r"precinct/0009 cannot be published: F307 .* is not on the roll"):
        decided(again.event, CONTEST.event_id, memory)
    assert remember(memory, taken_back.event)
    assert stated_beside(memory) == []
