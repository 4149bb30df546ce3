"""Documents on which votes could be lost for want of something beside them: what is published, told and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.test_cases import NIGHT, STATED, Case, case, contest_file, votes

__all__ = ["case"]
AREA = "case,county,broome"
SHEETS = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
SHEET = f"case,precinct,1,us/ny/broome,{NIGHT},10,5,15\n"


def load(case: Case, text: str | bytes, expect: int = 0, **keys: str) -> Any:
    """Load a document of the case, and add it up. `keys`: further ones of the contest's file."""
    file = contest_file(case.folder, "county" if "county" in str(text) else "precinct", 2)
    file.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()) + file.read_text())
    document = case.folder / "in.csv"
    document.write_bytes(text.encode() if isinstance(text, str) else text)
    given = ("--contest", str(file), "--stated-at", STATED, str(document))
    told = case.setup.json("ingest", "load", *given, expect=expect)
    case.setup.aggregate()
    return told


def statements(case: Case, unit: str) -> Any:
    return case.setup.json("results", "explain", "case", unit)["statements"]


def test_a_turnout_that_cannot_be_read_costs_no_votes(case: Case) -> None:
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b,ballots_cast,published.turnout\n"
    texts = ("61.2%", '"61,2"', "0.612", "100.04", "-", '"1,204.5"')
    rows = (f"{AREA},2020-11-03T21:0{n}:00-05:00,{5000 + n},4000,{9000 + n},{text}\n" for n, text in enumerate(texts))
    told = load(case, head + "".join(rows))
    assert (told["news"], told["rejected"], told["findings"]) == ({"REPORTED": 6}, {}, {"F112": 4})
    assert [(odd["place"], odd["message"].split(" is ")[0]) for odd in told["left_out"]] == [
        (f"row {n}, column published.turnout", repr(texts[n - 2].strip('"'))) for n in (2, 3, 6, 7)
    ]
    count = case.show("broome")
    assert (votes(count), count["ballots_cast"]) == ({"a": 5005, "b": 4000}, 9005)


def test_rows_of_another_contest_are_told_and_the_others_counted(case: Case) -> None:
    told = load(case, f"{SHEETS}{SHEET}f-other,precinct,1,us/ny/broome,{NIGHT},7,8,15\n")
    assert (told["news"], told["rejected"], told["rows_passed_over"]) == ({"REPORTED": 1}, {}, 1)
    assert (told["other_rows"][0]["what"], told["other_rows"][0]["place"]) == ("of another contest, 'f-other'", "row 3")
    assert votes(case.show("broome")) == {"a": 10, "b": 5}


def test_an_office_whose_clock_is_ahead_is_counted(case: Case, at: Callable[[str], None]) -> None:
    at(NIGHT)
    head = "contest_id,unit_type,unit_id,reported_at,votes.a,votes.b,ballots_cast\n"
    text = f"{head}{AREA},2020-11-03T22:30:00-05:00,5,4,9\n"
    told = load(case, text)
    assert (told["news"], told["findings"]) == ({"REPORTED": 1}, {"F111": 1})
    count = case.show("broome")
    assert (votes(count), count["last_update"]["stated_at"]) == ({"a": 5, "b": 4}, "2020-11-04T03:30:00Z")
    (finding,) = statements(case, "county/broome")[0]["findings"]
    assert "the office's clock is 1 h 0 min ahead of ours" in str(finding)


def test_an_offset_that_is_declared_takes_the_finding_away(
    case: Case, at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(NIGHT)
    monkeypatch.setenv("ESCRUTINIO_CLOCK_AHEAD_S", '{"County clerk": 3600}')
    told = load(case, SHEETS + SHEET.replace("21:30", "22:30"))
    assert (told["news"], told["findings"]) == ({"REPORTED": 1}, {})
    assert case.show("broome")["last_update"]["stated_at"] == "2020-11-04T02:30:00Z"
    assert statements(case, "precinct/1")[0]["findings"] == []


def test_a_test_is_counted_before_election_day(case: Case) -> None:
    told = load(case, SHEETS + SHEET.replace(NIGHT, "2020-10-20T12:00:00-04:00"), is_test="true")
    assert (told["news"], told["rejected"]) == ({"REPORTED": 1}, {})
    assert votes(case.show("broome")) == {"a": 10, "b": 5}


def test_that_ballots_are_never_stated_is_said_once(case: Case) -> None:
    head, row = SHEETS.replace(",ballots_cast", ""), SHEET.replace(",15\n", "\n")
    told = load(case, head + "".join(row.replace("precinct,1", f"precinct,{n}") for n in range(30)))
    assert (told["news"], told["findings"]) == ({"REPORTED": 30}, {"F109": 1})
    assert told["unstated"] == [{"source": "County clerk", "figure": "ballots_cast", "units": 30}]


WHOLE = SHEETS + SHEET
READ: dict[str, str | bytes] = {
    "a mark and CRLF": b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode(),
    "no line end": WHOLE[:-1],
    "rows of commas": WHOLE + ",,,,,,,\n" * 2,
    "empty columns": WHOLE.replace("\n", ",,,\n"),
    "the header again": WHOLE + SHEETS,
}
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a semicolon": (WHOLE.replace(",", ";"), "separated by semicolons; its columns are those of own-form updates"),
    "other case": (WHOLE.replace("contest_id", "Contest_ID"), "'Contest_ID' is contest_id"),
    "spaces": (WHOLE.replace("unit_id", " unit_id"), "' unit_id' is unit_id"),
    "title lines": ("Official Results,,,,,,,\n" + WHOLE, "row 2 has the columns of own-form updates"),
    "Latin-1": (WHOLE.replace("broome", "bróome").encode("latin-1"), "if the file is Latin-1, convert it: iconv"),
    "UTF-16": (WHOLE.encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
}


def test_every_shape_of_a_file_is_counted_or_refused_with_the_way_out(case: Case) -> None:
    for what, (text, says) in REFUSED.items():
        (rejection,) = load(case, text, expect=2)["rejections"]
        assert says in f"{rejection['message']}; {rejection['expected']}", what
    for number, (what, text) in enumerate(READ.items()):
        raw = text.encode() if isinstance(text, str) else text
        told = load(case, raw.replace(b"precinct,1,", b"precinct,%d," % number))
        assert (told["news"], told["rejected"]) == ({"REPORTED": 1}, {}), what
    assert votes(case.show("broome")) == {"a": 10 * len(READ), "b": 5 * len(READ)}
