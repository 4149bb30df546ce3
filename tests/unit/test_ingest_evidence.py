"""Evidence never costs votes: what is odd beside the figures, or about a document, is told, and the rows are published.

The files have the shape of those that people who do this work met; names and figures are the tests' own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.cli.work import IngestSettings
from ingest.feeds.records import Limits
from ingest.feeds.registry import Recognised
from ingest.feeds.statement import MOST_ALIKE, Rejection, by_our_clock, in_words
from ingest.metrics import Metrics
from ingest.news import contest_file
from ingest.news.changes import Changes, adopt, changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.news.new_events import First
from ingest.publish.encode import encode_all
from ingest.report import Report
from ingest.sources.archive import Archive
from ingest.sources.documents import Documents
from runtime.settings import SettingsError
from schemas.codec import decode
from schemas.contest import ContestDefined
from tests.support.ingest_samples import ACTA, ACTA_HEADER, ACTA_ROWS, DISTRICTS, NATIONAL, contest, kept, parse

TOML = """
contest_id = "us-2020-dogcatcher"
name = "Dogcatcher"
election_name = "General Election"
election_date = "2020-11-03"
authority = "County clerk"
time_zone = "America/New_York"
expected_units = 10
counting_levels = ["precinct"]
selections = [
    {selection_id = "a", candidate = "Ann", party = "Ants", ballot_order = 1},
    {selection_id = "b", candidate = "Bob", party = "Bees", ballot_order = 2},
]
"""
AREAS = "area_id,name,type,parent_id\nus,US,country,\nny,New York,state,us\nbroome,Broome,county,ny\n"
CONTEST = contest_file.read(TOML, AREAS).definition
HEADER = "contest_id,unit_type,unit_id,area_path,reported_at,votes.a,votes.b,ballots_cast\n"
MORNING = datetime(2020, 11, 5, tzinfo=UTC)


def row(unit: str, *figures: object, of: str = "us-2020-dogcatcher", at: str = "2020-11-03T21:30:00-05:00") -> str:
    return f"{of},precinct,{unit},us/ny/broome,{at},{','.join(map(str, figures or (10, 5, 15)))}\n"


def changes(text: str | bytes, of: ContestDefined = CONTEST, observed_at: datetime = MORNING) -> Changes:
    return changes_since(parse(kept(text, "in.csv", observed_at), of=of), ContestMemory(of))


def refused(text: str | bytes) -> Rejection:
    """The one rejection of a document."""
    found = changes(text)
    (rejection,) = found.rejections
    assert rejection.whole_document
    assert not found.events
    return rejection


def votes(found: Changes) -> dict[str, list[int | None]]:
    return {event.reporting_unit.id: list(event.counts.votes.values()) for event in found.events if event.counts}


def told(found: Changes) -> list[str]:
    return [f"{odd.place}: {odd.finding}" for odd in found.left_out]


# --- percentages, remarks, names

PERCENTAGES = [
    "61.2%",
    "61,2",
    "-",
    "1,204.5",
    "n/a",
    "NaN",
    "-0.0",
    "٧٧",
    "７７.5",
    "7_7",
    "+77",
    "1000",
    "1E2",
    "inf",
]


@pytest.mark.parametrize("text", PERCENTAGES)
def test_a_percentage_that_cannot_be_read_is_left_out_and_costs_no_votes(text: str) -> None:
    header = HEADER.replace("\n", ",published.turnout,published.valid_votes_share.a\n")
    good, odd = row("1").replace("\n", ",61.2,66.7\n"), row("2", 20, 5, 25).replace("\n", f',"{text}",80\n')
    found = changes(header + good + odd)
    assert votes(found) == {"1": [10, 5], "2": [20, 5]}
    assert told(found) == [f"row 3, column published.turnout: F112 {text!r} is not a percentage: left out"]
    (left_out,) = found.left_out
    assert left_out.original == odd.encode()
    assert dict(left_out.message(CONTEST.contest_id).headers)["code"] == b"F112"
    second = found.events[1].published_percentages
    assert second is not None
    assert (second.turnout, second.valid_votes_share) == (None, {"a": "80.000"})


def test_of_a_row_all_that_is_left_out_is_one_record() -> None:
    """A table may have millions of such cells."""
    columns = [f"published.{name}" for name in ("valid_votes_share.a", "valid_votes_share.b", "turnout")]
    header = HEADER.replace("\n", f",{','.join(columns)}\n")
    found = changes(header + row("1").replace("\n", ",66 %,33 %,-\n"))
    assert votes(found) == {"1": [10, 5]}
    assert told(found) == [
        "row 2, column published.valid_votes_share.a: F112 '66 %' is not a percentage; '33 %' is not a percentage in "
        "published.valid_votes_share.b; '-' is not a percentage in published.turnout: left out"
    ]


def test_a_row_with_nothing_else_but_a_percentage_that_cannot_be_read_states_its_votes() -> None:
    found = changes(HEADER.replace("\n", ",published.turnout\n") + row("1").replace("\n", ",x\n"))
    assert votes(found) == {"1": [10, 5]}
    assert found.events[0].published_percentages is None


def test_in_bulletins_a_percentage_that_cannot_be_read_is_left_out() -> None:
    tables = {**DISTRICTS, "participacion": DISTRICTS["participacion"].replace("77.84100000000001", "s/d")}
    tables["resultados"] = tables["resultados"].replace("47.525000000000006", "NaN")
    (snapshot,) = parse(*(kept(text, f"{part}.csv") for part, text in tables.items()))
    (statement,) = snapshot.statements
    assert statement.counts is not None
    assert statement.counts.votes == {"peru-libre": 5927689, "fuerza-popular": 6545132}
    shares = statement.published_percentages
    assert shares is not None
    assert (shares.valid_votes_share, shares.turnout) == ({"fuerza-popular": "52.475"}, None)
    assert [f"{odd.document} {odd.place}: {odd.finding.message}" for odd in statement.left_out] == [
        "resultados.csv row 2, column POR_VALIDOS: 'NaN' is not a percentage: left out",
        "participacion.csv row 2, column POR_CIUDADANOS_VOTARON: 's/d' is not a percentage: left out",
    ]


@pytest.mark.parametrize("column", ["office_note", "source_status", "unit_name"])
def test_a_remark_that_an_event_cannot_hold_is_left_out(column: str) -> None:
    header = HEADER.replace("\n", f",{column}\n")
    found = changes(
        header + row("1").replace("\n", f",{'é' * 10_000}\n") + row("2").replace("\n", f",{'x' * 10_001}\n")
    )
    assert votes(found) == {"1": [10, 5], "2": [10, 5]}
    place = f"row 3, column {column}"
    assert told(found) == [f"{place}: F112 '{'x' * 40}' … has 10,001 characters: left out"]
    assert len(str(found.events[0])) > 10_000 > len(str(found.events[1]))


def test_a_percentage_of_something_unknown_is_left_out_once_a_document() -> None:
    header = HEADER.replace("\n", ",published.reporting,published.valid_votes_share.c,published.turnout\n")
    found = changes(header + "".join(row(str(n)).replace("\n", ",7,8,9\n") for n in range(5)))
    assert len(found.events) == 5
    assert told(found) == [
        f"row 1, column {column}: F112 column {column} is no percentage of us-2020-dogcatcher: left out"
        for column in ("published.reporting", "published.valid_votes_share.c")
    ]
    assert "column votes.c names no selection" in str(refused(HEADER.replace("votes.b", "votes.c") + row("1")))


def test_of_a_row_that_is_rejected_no_percentage_is_told() -> None:
    header = HEADER.replace("\n", ",published.turnout\n")
    bad_figure, twice, elsewhere = row("1", "x", 5, 15), row("2"), row("3").replace("broome", "kings")
    text = header + "".join(r.replace("\n", f",n/a{n}\n") for n, r in enumerate((bad_figure, twice, twice, elsewhere)))
    found = changes(text)
    assert sorted(rejection.finding.code for rejection in found.rejections) == ["F201", "F203", "F203", "F302"]
    assert not found.left_out


def test_what_is_left_out_is_told_again_with_the_same_id_when_the_document_is_read_again() -> None:
    """After a crash between the events and what is told of them, running again sends the rest."""
    text = HEADER.replace("\n", ",published.turnout\n") + row("1").replace("\n", ",x\n")
    memory = ContestMemory(CONTEST)
    (snapshot,) = parse(kept(text, "in.csv", MORNING), of=CONTEST)
    first = changes_since((snapshot,), memory)
    assert len(first.events) == 1
    adopt(memory, first)
    again = changes_since((snapshot,), memory)
    assert not again.events
    assert [odd.id for odd in again.left_out] == [odd.id for odd in first.left_out]


def test_of_many_percentages_that_cannot_be_read_one_record_stands_for_most() -> None:
    rows = "".join(row(str(n)).replace("\n", ",x\n") for n in range(MOST_ALIKE + 50))
    found = changes(HEADER.replace("\n", ",published.turnout\n") + rows)
    assert len(found.events) == MOST_ALIKE + 50
    assert len(found.left_out) == MOST_ALIKE + 1
    report = Report()
    report.add(found)
    assert report.findings == {"F112": MOST_ALIKE + 50}
    assert (report.exit_code, report.rows_rejected) == (0, 0)
    lines = "\n".join(report.lines())
    assert f"published with findings: {MOST_ALIKE + 50} × F112" in lines
    assert "in.csv, row 2, column published.turnout: F112 'x' is not a percentage: left out" in lines
    assert f"and {MOST_ALIKE + 50 - 20} more left out, all in results.rejected" in lines
    assert report.as_json()["left_out"][0]["place"] == "row 2, column published.turnout"
    assert sum("left out. Expected" in line for line in report.lines()) == 20


def test_what_is_left_out_is_counted_as_a_finding_and_not_as_a_rejection() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    found = changes(
        HEADER.replace("\n", ",published.turnout\n")
        + row("1").replace("\n", ",x\n")
        + row("2", "x", 1, 1).replace("\n", ",\n")
    )
    metrics.rejected([*found.rejections, *found.left_out])
    assert registry.get_sample_value("escrutinio_ingest_findings_total", {"code": "F112"}) == 1
    assert registry.get_sample_value("escrutinio_ingest_rejected_total", {"code": "F201"}) == 1


# --- figures that a source never states


def test_that_a_source_does_not_state_a_figure_is_said_once_for_all_its_rows() -> None:
    header = HEADER.replace(",ballots_cast", "")
    text = header + "".join(row(str(n), 10, "" if n < 3 else 5) for n in range(40))
    found = changes(text)
    assert len(found.events) == 40
    report = Report()
    said = report.add(found)
    assert [str(finding) for _, finding in said] == [
        "F109 County clerk does not state votes.b of precinct/0",
        "F109 County clerk does not state ballots_cast of precinct/0",
    ]
    assert report.findings == {"F109": 2}
    assert [line for line in report.lines() if "F109 " in line] == [
        "  F109 County clerk does not state ballots_cast of 40 counted units",
        "  F109 County clerk does not state votes.b of 3 counted units",
    ]
    assert report.as_json()["unstated"][0] == {"source": "County clerk", "figure": "ballots_cast", "units": 40}
    assert not report.add(changes(text.replace(",10,", ",11,"))), "nor again for the next document of the run"


# --- the office's clock


def test_the_offices_clock_may_be_a_day_ahead_and_its_own_time_is_published() -> None:
    seen = datetime(2020, 11, 4, 2, 0, tzinfo=UTC)  # 21:00 in New York
    text = HEADER + row("1", at="2020-11-03T22:30:00-05:00") + row("2", at="2020-11-05T21:00:00-05:00")
    found = changes(text, observed_at=seen)
    assert [(e.reporting_unit.id, e.reported_at) for e in found.events] == [
        ("1", datetime(2020, 11, 4, 3, 30, tzinfo=UTC))
    ]
    ((_, finding),) = found.findings
    assert (finding.code, "the office's clock is 1 h 30 min ahead of ours" in finding.message) == ("F111", True)
    assert [r.finding.code for r in found.rejections] == ["F305"]
    report = Report()
    report.add(found)
    assert "  F111, the first: precinct/1 stated for 2020-11-04T03:30:00.000Z" in "\n".join(report.lines())


def test_a_declared_offset_of_a_source_takes_the_finding_away() -> None:
    text = HEADER + row("1", at="2020-11-03T22:30:00-05:00")
    snapshots = parse(kept(text, "in.csv", datetime(2020, 11, 4, 2, 30, tzinfo=UTC)), of=CONTEST)
    ours = tuple(by_our_clock(snapshot, timedelta(hours=1)) for snapshot in snapshots)
    found = changes_since(ours, ContestMemory(CONTEST))
    assert [event.reported_at for event in found.events] == [datetime(2020, 11, 4, 2, 30, tzinfo=UTC)]
    assert not found.findings
    assert by_our_clock(snapshots[0], timedelta(0)) == snapshots[0]


def test_documents_of_a_source_with_an_offset_are_read_by_our_clock(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(HEADER + row("1") + row("2", at=""), encoding="utf-8")
    times = []
    for ahead in ({"County clerk": timedelta(hours=2)}, {"ONPE": timedelta(hours=2)}):
        with Archive(tmp_path / "archive") as archive:
            reader = Documents(archive, Limits(), ahead)
            recognised = reader.read(path, MORNING)
            assert isinstance(recognised, Recognised)
            (batch,) = reader.plan([recognised])
            snapshots = reader.parse(batch, CONTEST, patient=False)
            times.append([statement.reported_at for snapshot in snapshots for statement in snapshot.statements])
    assert times == [[datetime(2020, 11, 4, 0, 30, tzinfo=UTC), None], [datetime(2020, 11, 4, 2, 30, tzinfo=UTC), None]]


def test_offsets_are_declared_by_source_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "escrutinio.toml"
    file.write_text('[clock_ahead_s]\n"County clerk" = 3600\nONPE = -30\n', encoding="utf-8")
    assert IngestSettings.load().clocks == {"County clerk": timedelta(hours=1), "ONPE": timedelta(seconds=-30)}
    for wrong in ('"County clerk" = 86401', '"County clerk" = "1h"', '"County clerk" = 0.5'):
        file.write_text(f"[clock_ahead_s]\n{wrong}\n", encoding="utf-8")
        with pytest.raises(SettingsError, match="clock_ahead_s"):
            IngestSettings.load()


# --- several contests in a table


def test_rows_of_other_contests_are_told_and_passed_over() -> None:
    text = HEADER + row("1") + row("1", 7, 8, 15, of="us-2020-sheriff") * 3 + row("2") + row("9", of="us-2020-judge")
    found = changes(text)
    assert votes(found) == {"1": [10, 5], "2": [10, 5]}
    assert [str(rows) for rows in found.passed_over] == [
        "in.csv, rows 3 to 5: of another contest, 'us-2020-sheriff'; passed over",
        "in.csv, row 7: of another contest, 'us-2020-judge'; passed over",
    ]
    assert not found.rejections
    report = Report()
    report.add(found)
    assert report.exit_code == 0
    assert "in.csv, rows 3 to 5: of another contest, 'us-2020-sheriff'; passed over" in list(report.lines())
    assert report.as_json()["rows_passed_over"] == 4
    assert report.as_json()["other_rows"][0]["place"] == "rows 3 to 5"


def test_votes_for_selections_of_other_contests_are_theirs_unless_a_row_of_ours_has_some() -> None:
    header = HEADER.replace("\n", ",votes.sheriff\n")
    ours, theirs = row("1").replace("\n", ",\n"), row("1", "", "", 15, of="us-2020-sheriff").replace("\n", ",9\n")
    found = changes(header + ours + theirs)
    assert votes(found) == {"1": [10, 5]}
    assert "column votes.sheriff names no selection" in str(refused(header + ours.replace(",\n", ",3\n") + theirs))
    assert "column votes.sheriff names no selection" in str(refused(header + ours)), "a table of one contest"


def test_a_document_without_a_row_of_the_contest_is_refused() -> None:
    message = str(refused(HEADER + row("1", of="us-2020-sheriff")))
    assert (
        "row 2, column contest_id: 'us-2020-sheriff' is another contest, and no row is of us-2020-dogcatcher" in message
    )


@pytest.mark.parametrize(
    "text", ["US-2020-Dogcatcher", " us-2020-dogcatcher", "us_2020_dogcatcher", "us 2020 dogcatcher\u00a0", "", " "]
)
def test_a_contest_that_is_nearly_ours_is_rejected_and_not_passed_over(text: str) -> None:
    found = changes(HEADER + row("1") + row("2", of=text))
    assert not found.passed_over
    assert [(r.finding.code, r.place) for r in found.rejections] == [("F301", "row 3, column contest_id")]


def test_many_other_contests_are_told_in_few_lines() -> None:
    found = changes(HEADER + row("1") + "".join(row("1", of=f"c{n}") for n in range(500)))
    assert len(found.passed_over) == 21
    assert str(found.passed_over[-1]) == "in.csv, rows 23 to 502: of 480 other contests; passed over"


def test_rows_in_words() -> None:
    assert [in_words(rows) for rows in ([7], [3, 5, 6, 7, 9], [2, 3])] == ["row 7", "rows 3, 5 to 7, 9", "rows 2, 3"]
    assert in_words(range(2, 200, 2)).endswith("38, 40 and 79 more")


# --- the shape of a table

READ = {
    "a byte order mark, CRLF": b"\xef\xbb\xbf" + (HEADER + row("1") + row("2")).replace("\n", "\r\n").encode(),
    "rows of commas": HEADER + ",,,,,,,\n" + row("1") + ",,\n,,,,,,,,,,\n" + row("2") + ",,,,,,,\n",
    "empty columns at the end": HEADER.replace("\n", ",,\n") + row("1").replace("\n", ",,\n") + row("2"),
    "empty fields at the end": HEADER + row("1").replace("\n", ",,,,\n") + row("2").replace("\n", ",\n"),
}


@pytest.mark.parametrize("text", READ.values(), ids=READ.keys())
def test_what_says_nothing_costs_nothing(text: str | bytes) -> None:
    found = changes(text)
    assert votes(found) == {"1": [10, 5], "2": [10, 5]}
    assert [*found.rejections, *found.left_out, *found.passed_over] == []
    rows = {event.reporting_unit.id: event.source.documents[0].place for event in found.events}
    lines = kept(text).content.decode().splitlines()
    assert rows == {n: f"row {next(i for i, line in enumerate(lines, 1) if f',{n},us/' in line)}" for n in "12"}


def test_a_last_line_without_its_end_is_read_and_told() -> None:
    found = changes(HEADER + row("1") + row("2").rstrip("\n"))
    assert votes(found) == {"1": [10, 5], "2": [10, 5]}
    assert told(found) == ["row 3: F113 the file does not end with a line end, so its last cell may be cut off"]
    assert [odd.original for odd in found.left_out] == [row("2").rstrip("\n").encode()]
    assert not changes(HEADER + row("1") + ",,,").left_out, "a row of commas is nothing"
    (statement,) = changes(HEADER + row("1") + HEADER[:-1]).events
    assert statement.source.documents[0].place == "row 2"


def test_a_last_line_without_its_end_that_contradicts_itself_is_rejected_as_cut_off() -> None:
    found = changes(HEADER + row("1") + row("2").rstrip("5\n"))
    assert votes(found) == {"1": [10, 5]}
    ((place, finding),) = ((r.place, str(r.finding)) for r in found.rejections)
    assert place == "row 3"
    assert finding.startswith("F207 the file does not end with a line end, and its last row contradicts itself")
    assert "F107 a 10 exceed ballots cast 1" in finding
    assert not found.left_out
    whole = changes(HEADER + row("2").replace(",15\n", ",1\n"))
    assert votes(whole) == {"2": [10, 5]}, "with its end, it is what the office says"


def test_of_sheets_and_bulletins_a_last_line_without_its_end_is_told_too() -> None:
    (sheets,) = parse(kept(ACTA.rstrip("\n")))
    assert len(sheets.statements) == 6
    assert [[odd.place for odd in s.left_out] for s in sheets.statements] == [[]] * 5 + [["row 7"]]
    (bulletin,) = parse(*(kept(text.rstrip("\n"), f"{part}.csv") for part, text in NATIONAL.items()))
    assert [f"{odd.document} {odd.place}" for odd in bulletin.statements[0].left_out] == [
        "resultados.csv row 3",
        "totales.csv row 5",
        "resumen.csv row 2",
        "participacion.csv row 2",
    ]


def test_of_sheets_the_columns_name_the_rows_of_the_document_too() -> None:
    """Ordinary sheets are sent as columns: rows that say nothing must not move their places."""
    commas = "," * ACTA_HEADER.count(",") + "\n"
    text = ACTA_HEADER + commas + ACTA_ROWS[0] + ACTA_HEADER + commas + "".join(ACTA_ROWS[1:])
    found = changes_since(parse(kept(text)), ContestMemory(contest()))
    places = [event.source.documents[0].place for event in found.events]
    assert places == ["row 3", *(f"row {n}" for n in range(6, 11))]
    assert sum(isinstance(item, First) for item in found.events.items) > 3
    sent = [decode(message.value, message.headers) for message in encode_all(found.events.items)]
    assert sent == list(found.events)


@pytest.mark.parametrize("text", ["n/a", "weather", "OTHER "])
def test_a_reason_of_a_review_that_is_unknown_is_left_out(text: str) -> None:
    found = changes(HEADER.replace("\n", ",review_reason\n") + row("1").replace("\n", f",{text}\n"))
    assert votes(found) == {"1": [10, 5]}
    hint = "; is 'OTHER' meant?" if text.strip() == "OTHER" else ""
    assert told(found) == [f"row 2, column review_reason: F112 {text!r} is unknown{hint}: left out"]


def test_a_value_without_a_column_is_not_lost_silently() -> None:
    assert "row 2 has 9 fields, the header 8" in str(refused(HEADER + row("1").replace("\n", ",7\n") + row("2")))
    assert "a column without a name stands before others" in str(
        refused(HEADER.replace(",votes.a", ",,,votes.a") + row("1").replace("us/ny/broome", "us/ny/broome,,"))
    )


def test_a_header_in_the_middle_is_named_and_the_rows_behind_it_are_published() -> None:
    found = changes(HEADER + row("1") + HEADER + row("2") + HEADER)
    assert votes(found) == {"1": [10, 5], "2": [10, 5]}
    assert [str(rows) for rows in found.passed_over] == [
        "in.csv, rows 3, 5: the header again; were two files put together?; passed over"
    ]
    assert found.events[1].source.documents[0].place == "row 4"


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("votes.a,votes.b", "votes.b,votes.a"),
        "unit_id,unit_type\n",
        NATIONAL["totales"].partition("\n")[0] + "\n",
    ],
)
def test_another_header_in_the_middle_refuses_the_document(header: str) -> None:
    """What follows it has other columns: figures would be read as those of somebody else."""
    assert "row 3 is another header: the file has two tables" in str(refused(HEADER + row("1") + header + row("2")))


WHOLE = HEADER + row("1")
REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "semicolons": (
        WHOLE.replace(",", ";"),
        "separated by semicolons; its columns are those of own-form updates",
        "save it as CSV with commas",
    ),
    "tabs": (WHOLE.replace(",", "\t"), "separated by tabs; its columns are those of own-form updates", "commas"),
    "semicolons, of no known form": (
        '"UF";"CARGO";"VOTOS"\n"AL";1;99\n',
        "separated by semicolons",
        "own-form updates: contest_id",
    ),
    "semicolons below a title": (
        "Results;;\n" + WHOLE.replace(",", ";"),
        "separated by semicolons; its columns are those of own-form",
        "commas",
    ),
    "a title with a semicolon": (
        "Results; official\n" + WHOLE,
        "row 2 has the columns of own-form updates",
        "remove the line above it",
    ),
    "title lines": (
        "Official Results,,,\n\nGeneral Election,,,\n" + WHOLE,
        "row 1 is no header but 'Official Results'; row 4 has the columns of own-form updates",
        "remove the 3 lines above it",
    ),
    "other case": (
        WHOLE.replace("contest_id", "Contest_ID").replace("votes.a", "Votes.a"),
        "columns of own-form updates in other letters or with spaces: 'Contest_ID' is contest_id, 'Votes.a' is votes.a",
        "correct the header",
    ),
    "spaces": (
        WHOLE.replace("unit_id", " unit_id").replace("votes.a", "votes.a\u00a0"),
        "' unit_id' is unit_id, 'votes.a\\xa0' is votes.a",
        "correct the header",
    ),
    "every name in capitals": (
        HEADER.upper() + row("1"),
        "columns of own-form updates in other letters",
        "correct the header",
    ),
    "words for names": (
        WHOLE.replace("contest_id,unit_type,unit_id", "Contest ID,Unit-Type,Unit Id"),
        "'Contest ID' is contest_id, 'Unit-Type' is unit_type",
        "correct",
    ),
    "other case in the office's form": (
        NATIONAL["totales"].replace("AGRUPACION", "Agrupacion"),
        "'Agrupacion' is AGRUPACION",
        "correct",
    ),
    "half of a form": (
        "contest_id,precinct,candidate,votes\n1,2,3,4\n",
        "the nearest is own-form updates, of which it lacks unit_type, unit_id",
        "any contest can be written as own-form",
    ),
    "no known form": (
        "county,precinct,candidate,votes\n1,2,3,4\n",
        "no known table has the columns county, precinct",
        "any contest can be written as own-form updates: contest_id",
    ),
    "UTF-16": (WHOLE.encode("utf-16"), "the file is UTF-16", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16, big end first, without a mark": (WHOLE.encode("utf-16-be"), "the file is UTF-16", "CSV UTF-8"),
    "UTF-16, little end first, without a mark": (WHOLE.encode("utf-16-le"), "the file is UTF-16", "CSV UTF-8"),
    "Latin-1": (
        WHOLE.replace("us/ny", "us/ñy").encode("latin-1"),
        "line 2 is not UTF-8 (byte 0xf1",
        "iconv -f LATIN1 -t UTF-8",
    ),
    "a workbook": (b"PK\x03\x04" + b"\0" * 40, "a workbook or another packed file", "save the sheet as CSV UTF-8"),
}


@pytest.mark.parametrize(("text", "says", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_another_shape_is_refused_with_the_nearest_form_and_the_way_out(
    text: str | bytes, says: str, expected: str
) -> None:
    rejection = refused(text)
    assert rejection.finding.code == "F207"
    assert says in rejection.finding.message
    assert expected in rejection.expected


# --- repeated units


def test_rows_of_one_unit_name_all_their_partners() -> None:
    found = changes(HEADER + row("1") + row("2") + row("1", 9, 5, 14) + row("1", 8, 5, 13) + row("2"))
    assert votes(found) == {"2": [10, 5]}
    assert {r.place: r.finding.message for r in found.rejections} == {
        "row 2, column unit_id": "precinct 1 stands in rows 4, 5 too, with other figures: none of them is published",
        "row 4, column unit_id": "precinct 1 stands in rows 2, 5 too, with other figures: none of them is published",
        "row 5, column unit_id": "precinct 1 stands in rows 2, 4 too, with other figures: none of them is published",
        "row 6, column unit_id": "precinct 2 is repeated from row 3",
    }


def test_many_rows_of_one_unit_are_told_in_short_messages() -> None:
    found = changes(HEADER + "".join(row("1", n, 5, n + 5) for n in range(3000)))
    assert sum(r.rows for r in found.rejections) == 3000
    assert max(len(r.finding.message) for r in found.rejections) < 200
    assert "rows 3 to 22 and 2,979 more too" in next(iter(found.rejections)).finding.message
