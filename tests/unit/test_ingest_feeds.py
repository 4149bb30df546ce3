"""Documents to statements: the office's forms, our own, and every way a document or a row can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.feeds import records
from ingest.feeds import registry as adapters
from ingest.feeds.statement import Kept, Rejection, Snapshot, Statement
from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.sources import documents, folder
from ingest.sources.archive import Archive
from schemas.count_update import CountUpdate
from schemas.identity import named
from schemas.types import CountStatus, ResultStage, ReviewReason
from tests.support.ingest_samples import (
    ACTA,
    ACTA_HEADER,
    ACTA_ROWS,
    DATA,
    DISTRICTS,
    EXAMPLE,
    FINAL,
    FINAL_HEADER,
    FINAL_ROWS,
    NATIONAL,
    contest,
    kept,
    needs_data,
    packed,
    parse,
    read_file,
)
from tests.support.strategies import NIGHT

OWN = (EXAMPLE / "updates.csv").read_text(encoding="utf-8")


def statements(snapshots: tuple[Snapshot, ...]) -> list[Statement]:
    return [s for snapshot in snapshots for s in snapshot.statements]


def rejections(snapshots: tuple[Snapshot, ...]) -> list[Rejection]:
    return [r for snapshot in snapshots for r in (*snapshot.rejections, *snapshot.incomplete)]


def only_rejection(snapshots: tuple[Snapshot, ...]) -> Rejection:
    assert not statements(snapshots)
    (rejection,) = rejections(snapshots)
    return rejection


def national(**changed: str) -> tuple[Snapshot, ...]:
    return parse(*(kept(changed.get(part, text), f"{part}.csv") for part, text in NATIONAL.items()))


# --- what the forms say


def test_sheets_of_the_dated_form() -> None:
    one, _, challenged, illegible, pending, annulled = statements(parse(kept(packed(ACTA))))
    assert (one.unit.id, one.unit.area_path) == ("000001", ("pe", "010000", "010100", "010101"))
    assert one.unit.name == "IE 18288 ISABEL LYNCH DE RUBIO"
    assert one.reported_at is None
    assert one.counts is not None
    assert one.counts.votes == {"peru-libre": 118, "fuerza-popular": 81}
    assert (one.counts.ballots_cast, one.counts.valid_votes, one.counts.registered_voters) == (214, None, 300)
    assert (challenged.count_status, challenged.review_reason) == (
        CountStatus.UNDER_REVIEW,
        ReviewReason.CHALLENGED_VOTES,
    )
    assert challenged.source_status == "VOTOS IMPUGNADOS"
    assert illegible.counts is not None
    assert illegible.counts.ballots_cast is None  # NA: not stated
    assert pending.unit.name is None
    assert pending.counts is not None
    assert pending.counts.votes == {"peru-libre": None, "fuerza-popular": None}
    assert (pending.counts.ballots_cast, pending.counts.registered_voters) == (None, 280)
    assert annulled.count_status is CountStatus.ANNULLED
    assert annulled.result_stage is ResultStage.ADJUDICATED
    assert one.original == ACTA_ROWS[0].encode()


def test_sheets_of_the_final_form_with_a_line_break_inside_a_field() -> None:
    one, abroad, annulled = statements(parse(kept(FINAL)))
    assert one.counts is not None
    assert (one.counts.valid_votes, one.counts.votes["fuerza-popular"]) == (199, 81)
    assert abroad.count_status is CountStatus.NOT_INSTALLED
    assert abroad.original == FINAL_ROWS[1].encode()
    assert annulled.documents[0].place == "row 4"
    assert one.observed_at == kept(FINAL).observed_at


def test_bulletin() -> None:
    (bulletin,) = statements(national())
    assert bulletin.counts is not None
    assert bulletin.sub_units is not None
    assert bulletin.published_percentages is not None
    assert bulletin.counts.votes == {"peru-libre": 5927689, "fuerza-popular": 6545132}
    assert bulletin.counts.registered_voters_counted == 17096826
    assert bulletin.sub_units.under_review_by_reason["MISSING_SIGNATURES"] == 58
    assert bulletin.published_percentages.valid_votes_share == {"peru-libre": "47.525", "fuerza-popular": "52.475"}
    assert bulletin.published_percentages.turnout == "77.841"
    assert (bulletin.unit.id, bulletin.unit.area_path) == ("pe", ())


def test_tables_overlap_without_harm() -> None:
    once, same = ([kept(text, f"{name}/{part}.csv") for part, text in NATIONAL.items()] for name in ("a", "b"))
    again = [kept(text + "\n", f"later/{part}.csv") for part, text in NATIONAL.items()]
    found = parse(*once, *same, *again)
    assert len(statements(found)) == 1
    assert not rejections(found)


def test_a_bulletin_names_each_file_once_with_all_its_rows() -> None:
    _, kuwait = statements(two_districts())
    assert [(document.name, document.place) for document in kuwait.documents] == [
        ("resultados.csv", "rows 4, 5"),
        ("totales.csv", "rows 6, 7, 8, 9"),
        ("resumen.csv", "row 3"),
        ("participacion.csv", "row 3"),
    ]


def test_the_rows_of_the_last_update_of_a_long_table() -> None:
    def long(text: str) -> str:
        header, _, rows = text.partition("\n")
        times = [f"2021-06-07T{hour:02}:48:00Z" for hour in range(5, 20)]
        return f"{header}\n" + "".join(rows.replace("2021-06-07T05:48:00Z", time) for time in times)

    *_, last = statements(national(**{part: long(text) for part, text in NATIONAL.items()}))
    assert [document.place for document in last.documents] == ["rows 30, 31", "rows 58, 59, 60, 61", "row 16", "row 16"]


def test_ids_of_selections_may_contain_dots() -> None:
    known = contest()
    first, second = known.selections
    dotted = first.model_copy(update={"selection_id": "lista.1.a"})
    text = OWN.replace("votes.peru-libre", "votes.lista.1.a").replace("share.peru-libre", "share.lista.1.a")
    found = parse(kept(text), of=named(known.model_copy(update={"selections": (dotted, second)})))
    one = statements(found)[0]
    assert one.counts is not None
    assert one.published_percentages is not None
    assert one.counts.votes == {"lista.1.a": 5927689, "fuerza-popular": 6545132}
    assert one.published_percentages.valid_votes_share["lista.1.a"] == "47.525"
    assert only_rejection(parse(kept(text))).finding.code == "F301"


# --- a document is wrong: nothing of it is believed

BAD_DOCUMENTS = {
    "truncated gzip": (packed(ACTA)[:-20], "damaged or cut off"),
    "truncated last row": (ACTA[:-40], "row 7 has 10 fields, the header 17; it is the last: the file is cut off"),
    "truncated in a quote": (
        ACTA_HEADER + ACTA_ROWS[0].replace("IE 18288", '"IE 18288')[:-30],
        "row 2: unexpected end of data, and the file does not end with a line end: it may be cut off",
    ),
    "short last row": (
        ACTA.rstrip("\n").rsplit(",", 3)[0] + "\n",
        "row 7 has 14 fields, the header 17; it is the last",
    ),
    "wrong encoding": (ACTA.encode("latin-1"), "line 4 is not UTF-8 (byte 0xcd"),
    "missing column": (
        "\n".join(",".join(line.split(",")[:14] + line.split(",")[15:]) for line in ACTA.splitlines()) + "\n",
        "column votos_nulos of onpe-tally-sheets acta is missing",
    ),
    "renamed column": (ACTA.replace("votos_nulos", "votos_nulo"), "is 'votos_nulo' its new name?"),
    "HTML": ("<!DOCTYPE html><html><body>503</body></html>", "HTML or XML, not CSV"),
    "JSON": ('{"error": 1}', "JSON, not CSV"),
    "wrong encoding after a byte order mark": (
        b"\xef\xbb\xbf" + ACTA.encode().replace(b"\n43,", b"\n\xcd43,"),
        "line 4 is not UTF-8 (byte 0xcd",
    ),
    "NUL in sheets": (ACTA.replace("IE 89015", "IE\x0089015"), "line 5 holds a NUL character"),
    "NUL in packed sheets": (packed(ACTA.replace("IE 89015", "IE\x0089015")), "line 5 holds a NUL character"),
    "NUL in own form": (OWN.replace("2021-06-07T06:48:00Z", "\0"), "line 3 holds a NUL character"),
    "NUL after a line break in a field": (FINAL.replace("EMBAJADA", "\0"), "line 4 holds a NUL character"),
    "one endless line": ("x" * 800_000, "row 1 is longer than 65,536 bytes"),
    "line ends of old Macs": (ACTA.replace("\n", "\r"), "row 1: a carriage return stands inside a line"),
    "empty": (b"", "the file is empty"),
    "empty gzip": (packed(""), "the file is empty"),
    "header only": (ACTA_HEADER, "a header and no rows"),
    "unclosed quote": (ACTA.replace("IE 89015", '"IE 89015'), "unexpected end of data"),
    "another table": ("a,b,c\n1,2,3\n", "no known table has the columns a, b, c"),
    "sheets of another election": (
        ACTA.replace("votos_perulibre", "votos_avanzapais"),
        "votos_perulibre of onpe-tally-sheets acta is missing",
    ),
    "sheets with one more party": (
        ACTA_HEADER.replace("descargado", "votos_avanzapais,descargado") + ACTA_ROWS[0].replace(",2021", ",7,2021"),
        "column votos_avanzapais is unknown: a table of another election?",
    ),
    "own form, another contest": (OWN.replace("pe-2021-president-runoff", "pe-2021-first-round"), "is another contest"),
    "own form, another selection": (OWN.replace("votes.peru-libre", "votes.avanza-pais"), "names no selection"),
    "own form, unknown column": (OWN.replace("blank_votes", "blanks"), "column blanks is unknown"),
}


@pytest.mark.parametrize(("content", "says"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
def test_a_damaged_document_is_refused_whole(content: bytes | str, says: str) -> None:
    rejection = only_rejection(parse(kept(content)))
    assert rejection.whole_document
    assert says in str(rejection)
    assert rejection.original == kept(content).content
    assert "Expected" in str(rejection)


def test_a_bulletin_of_another_election_is_refused() -> None:
    found = national(resultados=NATIONAL["resultados"].replace("00000007", "00000011"))
    rejection = only_rejection(found)
    assert rejection.finding.code == "F301"
    assert "row 3, column C_CODI_AGRUPOL: '00000011'" in str(rejection)
    assert rejection.document == "resultados.csv"


# --- a row is wrong: the others are good


def changed(row: int, column: str, value: str, header: str = ACTA_HEADER, rows: list[str] = ACTA_ROWS) -> str:
    """The document with one cell of one data row replaced."""
    at = header.strip().split(",").index(column)
    cells = rows[row].rstrip("\n").split(",")
    cells[at] = value
    return header + "".join([*rows[:row], ",".join(cells) + "\n", *rows[row + 1 :]])


def test_a_mesa_without_zeros_in_the_final_form_is_rejected_alone() -> None:
    found = parse(kept(changed(0, "mesa", "1", FINAL_HEADER, FINAL_ROWS)))
    assert [(r.finding.code, r.place) for r in rejections(found)] == [("F202", "row 2, column mesa")]
    assert len(statements(found)) == len(FINAL_ROWS) - 1


def published(snapshots: tuple[Snapshot, ...]) -> tuple[list[CountUpdate], Rejection]:
    """The events of documents in which one row or unit is bad, and its rejection."""
    found = changes_since(snapshots, ContestMemory(contest()))
    (rejection,) = found.rejections
    assert not rejection.whole_document
    assert rejection.original
    assert rejection.message("c").headers
    return list(found.events), rejection


LONG = "9" * 9_000

BAD_SHEETS = {
    "NaN": ("votos_nulos", "NaN", "F201 'NaN' is not a count", "row 3, column votos_nulos"),
    "minus zero": ("votos_nulos", "-0.0", "F201 '-0.0' is not a count", "row 3, column votos_nulos"),
    "negative count": ("votos_nulos", "-3", "F201 '-3'", "row 3, column votos_nulos"),
    "fractional count": ("votos_nulos", "12.5", "F201 '12.5'", "row 3, column votos_nulos"),
    "no count": ("num_votos", "many", "F201 'many'", "row 3, column num_votos"),
    "other digits": ("num_votos", "٢٢٦", "F201 '٢٢٦'", "row 3, column num_votos"),
    "mesa too long": ("num_mesa", "0000002", "F202 '0000002'", "row 3, column num_mesa"),
    "mesa with a letter": ("num_mesa", "2A", "F202 '2A'", "row 3, column num_mesa"),
    "unknown status": ("observacion", "PERDIDA", "F204 ", "row 3, column observacion"),
    "ubigeo of five digits": ("ubigeo", "10101", "F202 '10101'", "row 3, column ubigeo"),
    "time without zone": ("descargado", "2021-06-08T16:15:44", "F206 ", "row 3, column descargado"),
    "2^40": ("num_votos", str(2**40), f"F201 '{2**40}' is not a count", "row 3, column num_votos"),
    "before the election": ("descargado", "1900-01-01T00:00:00Z", "F304 stated at 1900-01-01T00:00:00.000Z, before",
        "row 3"),
    "to come": ("descargado", "2031-06-08T16:15:44Z",
        "F305 stated for 2031-06-08T16:15:44.000Z, but observed at", "row 3"),
    "last year": ("descargado", "9999-12-31T23:59:59Z", "F206 '9999-12-31T23:59:59Z' is not",
        "row 3, column descargado"),
    "before year 1": ("descargado", "0001-01-01T00:00:00+05:00", "F206 '0001-01", "row 3, column descargado"),
    "long id": ("num_mesa", LONG, f"F202 {LONG[:40]!r} is not the number of a mesa", "row 3, column num_mesa"),
    "long ubigeo": ("ubigeo", LONG, f"F202 {LONG[:40]!r} is not a ubigeo", "row 3, column ubigeo"),
    "control character in an id": ("num_mesa", "2\x07", "F202 '2\\x07' is not the number of a mesa",
        "row 3, column num_mesa"),
}  # fmt: skip


@pytest.mark.parametrize(("column", "value", "says", "place"), BAD_SHEETS.values(), ids=BAD_SHEETS.keys())
def test_of_sheets_the_good_rows_are_published(column: str, value: str, says: str, place: str) -> None:
    events, rejection = published(parse(kept(changed(1, column, value))))
    assert str(rejection.finding).startswith(says)
    assert rejection.place == place
    assert [e.reporting_unit.id for e in events] == ["000001", "000043", "001671", "009592", "018236"]


BAD_OWN_ROWS = {
    "NaN": ("blank_votes", "NaN", "F201 'NaN' is not a count", "row 3, column blank_votes"),
    "count in other digits": ("blank_votes", "\u0663", "F201 '\u0663' is not a count", "row 3, column blank_votes"),
    "minus zero": ("blank_votes", "-0.0", "F201 '-0.0' is not a count", "row 3, column blank_votes"),
    "2^40": ("votes.peru-libre", str(2**40), f"F201 '{2**40}' is not a count", "row 3, column votes.peru-libre"),
    "before the election": ("reported_at", "1900-01-01T00:00:00Z", "F304 stated at 1900-01-01T00:00:00.000Z, before",
        "row 3"),
    "last year": ("reported_at", "9999-12-31T23:59:59Z", "F206 '9999-12-31T23:59:59Z' is not",
        "row 3, column reported_at"),
    "before year 1": ("reported_at", "0001-01-01T00:00:00+05:00", "F206 '0001-01", "row 3, column reported_at"),
    "long id": ("unit_id", LONG, "F202 id: String should have at most 200 characters (got '9999", "row 3"),
    "control character in an id": ("unit_id", "p\x07e", "F202 id: an id must not have the invisible", "row 3"),
}  # fmt: skip


@pytest.mark.parametrize(("column", "value", "says", "place"), BAD_OWN_ROWS.values(), ids=BAD_OWN_ROWS.keys())
def test_of_the_own_form_the_good_rows_are_published(column: str, value: str, says: str, place: str) -> None:
    header, *rows = OWN.splitlines(keepends=True)[:5]
    events, rejection = published(parse(kept(changed(1, column, value, header, rows))))
    assert str(rejection.finding).startswith(says)
    assert rejection.place == place
    assert len(rejection.finding.message) < 300
    assert len(events) == 3


def test_of_the_own_form_a_note_is_read_and_an_empty_one_is_none() -> None:
    header, first, second = OWN.splitlines()[:3]
    remark = "Corrección: mesa 000043, «digitación»\nRes. 12"
    table = [f"{header},office_note", f'{first},"{remark}"', f"{second},", ""]
    assert [s.office_note for s in statements(parse(kept("\n".join(table))))] == [remark, None]


def test_only_a_row_that_states_sub_units_has_them_and_a_sheet_must_not() -> None:
    def row(**cells: str) -> str:
        return ",".join(cells.get(column, "") for column in columns) + "\n"

    columns = (
        "contest_id", "unit_type", "unit_id", "area_path", "reported_at", "votes.peru-libre", "sub_units.counted",
        "sub_units.under_review_by_reason.ILLEGIBLE",
    )  # fmt: skip
    said = {"contest_id": "pe-2021-president-runoff", "reported_at": "2021-06-07T06:00:00Z", "votes.peru-libre": "5"}
    sheet = {**said, "unit_type": "precinct", "area_path": "pe/010000/010100/010101"}
    reason = {"sub_units.under_review_by_reason.ILLEGIBLE": "1"}
    found = parse(
        kept(
            ",".join(columns)
            + "\n"
            + row(**said, unit_type="country", unit_id="pe", **{"sub_units.counted": "0"})
            + row(**said, unit_type="state", unit_id="010000", **reason)
            + row(**sheet, unit_id="000001")
            + row(**sheet, unit_id="000002", **{"sub_units.counted": "0"})
            + row(**{**sheet, "unit_type": "polling-place"}, unit_id="IE", **reason)
        )
    )
    country, state, precinct = statements(found)
    assert country.sub_units is not None
    assert (country.sub_units.counted, country.sub_units.pending) == (0, None)
    assert state.sub_units is not None
    assert state.sub_units.under_review_by_reason == {"ILLEGIBLE": 1}
    assert precinct.sub_units is None
    assert [(r.finding.code, r.place) for r in rejections(found)] == [
        ("F205", "row 5, column sub_units.counted"),
        ("F205", "row 6, column sub_units.under_review_by_reason.ILLEGIBLE"),
    ]


BAD_BULLETINS = {
    "NaN": ("totales", "77098", "NaN", "F201 'NaN' is not a count", "row 7, column TOTAL_VOTOS"),
    "minus zero": ("totales", "77098", "-0.0", "F201 '-0.0' is not a count", "row 7, column TOTAL_VOTOS"),
    "2^40": ("resultados", "5927689", str(2**40), f"F201 '{2**40}' is not a count", "row 4, column TOTAL_VOTOS"),
    "long id": ("resumen", "932801", LONG, f"F202 {LONG[:40]!r} is not a ubigeo", "row 3, column CCODI_UBIGEO"),
    "control character in an id": (
        "resumen", "932801", "93280\x07", "F202 '93280\\x07' is not a ubigeo", "row 3, column CCODI_UBIGEO",
    ),
}  # fmt: skip


def two_districts(**spoilt: tuple[str, str]) -> tuple[Snapshot, ...]:
    """Chachapoyas' rows, and after them Kuwait's, in which a cell may be replaced."""
    documents = []
    for part, text in DISTRICTS.items():
        header, *rows = text.splitlines(keepends=True)
        other = "".join(rows).replace("932801", "010101").replace("AL - KUWAIT", "CHACHAPOYAS")
        documents.append(kept(header + other + "".join(rows).replace(*spoilt.get(part, ("", ""))), f"{part}.csv"))
    return parse(*documents)


@pytest.mark.parametrize(("part", "was", "value", "says", "place"), BAD_BULLETINS.values(), ids=BAD_BULLETINS.keys())
def test_of_bulletins_the_good_units_are_published(part: str, was: str, value: str, says: str, place: str) -> None:
    events, rejection = published(two_districts(**{part: (was, value)}))
    assert str(rejection.finding).startswith(says)
    assert (rejection.document, rejection.place) == (f"{part}.csv", place)
    assert [e.reporting_unit.id for e in events] == ["010101"]


def two_times(time: str) -> tuple[Snapshot, ...]:
    """A publication, and behind it the same figures for another time."""
    documents = []
    for part, text in NATIONAL.items():
        header, _, rows = text.partition("\n")
        documents.append(kept(f"{header}\n{rows}{rows.replace('2021-06-07T05:48:00Z', time)}", f"{part}.csv"))
    return parse(*documents)


def test_of_bulletins_a_time_before_the_election_is_rejected_alone() -> None:
    events, rejection = published(two_times("1900-01-01T00:00:00Z"))
    assert len(events) == 1
    assert str(rejection.finding).startswith("F304 stated at 1900-01-01T00:00:00.000Z, before the count begins at 2021")
    assert (rejection.document, rejection.place) == ("resultados.csv", "rows 4, 5")


def test_of_bulletins_every_row_without_a_time_is_rejected_with_its_place() -> None:
    found = changes_since(two_times("0001-01-01T00:00:00+05:00"), ContestMemory(contest()))
    assert len(found.events) == 1
    assert {r.finding.code for r in found.rejections} == {"F206"}
    assert [r.place for r in found.rejections if r.document == "resultados.csv"] == [
        "row 4, column updated",
        "row 5, column updated",
    ]


def test_rows_that_contradict_each_other_name_all_their_partners() -> None:
    def again(text: str, figure: str) -> str:
        return text.splitlines()[2].replace("77098", figure) + "\n"

    text = NATIONAL["totales"]
    found = national(totales=text + again(text, "77099") + again(text, "77100"))
    assert not statements(found)
    assert {(r.place, r.finding.message) for r in rejections(found)} == {
        ("row 3", "contradicts totales.csv, row 6, totales.csv, row 7"),
        ("row 6", "contradicts totales.csv, row 3, totales.csv, row 7"),
        ("row 7", "contradicts totales.csv, row 3, totales.csv, row 6"),
    }


def test_two_different_rows_for_one_mesa_are_both_rejected() -> None:
    found = parse(kept(ACTA + ACTA_ROWS[0].replace("118", "119").replace("1,CONT", "000001,CONT", 1)))
    assert [(r.finding.code, r.place) for r in rejections(found)] == [
        ("F203", "row 2, column num_mesa"),
        ("F203", "row 8, column num_mesa"),
    ]
    assert "000001" not in [s.unit.id for s in statements(found)]


def test_of_equal_rows_the_first_stands() -> None:
    found = parse(kept(ACTA + ACTA_ROWS[0]))
    assert [r.place for r in rejections(found)] == ["row 8, column num_mesa"]
    assert len(statements(found)) == 6


def test_an_update_without_one_of_its_tables_is_rejected() -> None:
    found = parse(*(kept(text, f"{part}.csv") for part, text in NATIONAL.items() if part != "totales"))
    rejection = only_rejection(found)
    assert rejection.finding.code == "F205"
    assert "lacks its row in totales" in str(rejection)
    assert found[0].awaited == ("totales of 2021-06-07T05:48:00.000Z",)


def test_tables_that_disagree_are_rejected_with_both_places() -> None:
    rejection = only_rejection(national(participacion=NATIONAL["participacion"].replace("58964", "58965")))
    assert (rejection.finding.code, rejection.place) == ("F205", "row 2, column ACTAS_PROCESADAS")
    assert "participacion 58965 (participacion.csv, row 2)" in str(rejection)


def test_an_update_stated_twice_otherwise_is_rejected() -> None:
    text = NATIONAL["totales"]
    found = national(totales=text + text.splitlines()[2].replace("77098", "77099") + "\n")
    assert not statements(found)
    assert [r.finding.code for r in rejections(found)] == ["F203", "F203"]


def test_a_rejection_has_the_same_id_whenever_it_is_met() -> None:
    content = changed(1, "votos_nulos", "-3")
    (one,), (other,) = (rejections(parse(kept(content))) for _ in range(2))
    assert one.id == other.id
    message = one.message("c")
    headers = dict(message.headers)
    assert message.value == one.original
    assert headers["code"] == b"F201"
    assert headers["ce_id"] == str(one.id).encode()


def test_a_large_rejected_document_travels_by_its_hash() -> None:
    (rejection,) = rejections(parse(kept(b"\xff" * 1_000_000)))
    message = rejection.message("c")
    assert message.value == b""
    assert dict(message.headers)["original"] == b"archive"


def test_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    found = parse(kept(b"\xef\xbb\xbf" + ACTA.replace("\n", "\r\n").encode()))
    assert len(statements(found)) == 6
    assert not rejections(found)


# --- the whole of the real data


def content(statement: Statement) -> tuple[object, ...]:
    """What a statement says, without where it was read."""
    return (
        statement.unit, statement.reported_at, statement.count_status, statement.source_status, statement.review_reason,
        statement.result_stage, statement.office_note, statement.counts, statement.sub_units,
        statement.published_percentages,
    )  # fmt: skip


@needs_data
def test_the_example_says_what_the_national_tables_say() -> None:
    ours = statements(parse(kept(OWN)))
    theirs = statements(parse(*(read_file(path) for path in sorted((DATA / "national").glob("*.csv")))))
    assert len(ours) == 48
    assert [content(s) for s in ours] == [content(s) for s in theirs]


@needs_data
def test_district_tables() -> None:
    found = parse(*(read_file(path) for path in sorted((DATA / "districts").glob("*.csv.gz"))))
    assert not rejections(found)
    assert [len(snapshot.statements) for snapshot in found] == [1874] * 4
    silent = [s for s in found[0].statements if s.counts and s.counts.valid_votes is None]
    assert len(silent) == 62
    assert all(s.sub_units is not None and s.counts is not None and not s.counts.ballots_cast for s in silent)


def test_every_field_of_an_event_that_a_row_can_state_is_read() -> None:
    """A field added to the event must be taken from documents, or left out on purpose."""
    chained = {"event_id", "contest_id", "sequence", "previous_event_id", "kind", "correction", "source", "is_test"}
    chained.add("replaced_by")  # of a retraction, which only an operator states
    renamed = {"reporting_unit": "unit"}
    fields = {renamed.get(name, name) for name in CountUpdate.model_fields if name not in chained}
    assert fields <= set(Statement.__dataclass_fields__)


def test_documents_are_ordered_by_the_time_they_state() -> None:
    later = ACTA.replace("2021-06-08T16:15:44Z", "2021-06-09T01:12:42Z")
    recognised = [adapters.recognise(kept(text, name)) for name, text in (("b", FINAL), ("c", later), ("a", ACTA))]
    batches = adapters.plan([r for r in recognised if isinstance(r, adapters.Recognised)])
    assert [batch.parts[0].document.name for batch in batches] == ["a", "c", "b"]


def test_documents_are_ordered_by_the_earliest_time_of_any_row() -> None:
    mixed = ACTA.replace("2021-06-08T16:15:44Z", "2021-06-09T01:12:42Z", 1)
    later = ACTA.replace("2021-06-08T16:15:44Z", "2021-06-08T20:00:00Z")
    recognised = [adapters.recognise(kept(text, name)) for name, text in (("b", later), ("a", mixed))]
    batches = adapters.plan([r for r in recognised if isinstance(r, adapters.Recognised)])
    assert [batch.parts[0].document.name for batch in batches] == ["a", "b"]


def test_a_document_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []

    def records_of(document: Kept, limits: records.Limits) -> records.Records:
        unpacked.append(document.name)
        return records.Records(document, limits)

    monkeypatch.setattr(adapters, "Records", records_of)
    assert len(statements(national())) == 1
    assert unpacked == [f"{part}.csv" for part in NATIONAL]


def test_documents_that_were_dropped_to_save_memory_are_read_again_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = NATIONAL | {"resumen": NATIONAL["resumen"] + "x\n"}
    for name, tables in (("whole", NATIONAL), ("damaged", damaged)):
        paths = [tmp_path / name / f"{part}.csv" for part in tables]
        paths[0].parent.mkdir()
        for path, text in zip(paths, tables.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        found = []
        with Archive(tmp_path / "archive") as archive:
            monkeypatch.setattr(folder, "now", lambda: NIGHT)
            for held in (1 << 20, 0):
                monkeypatch.setattr(documents, "_HELD", held)
                reader = documents.Documents(archive, records.Limits())
                recognised = [one for path in paths if isinstance(one := reader.read(path), adapters.Recognised)]
                assert all((one.content is None) == (one.document.content == b"") == (not held) for one in recognised)
                (batch,) = reader.plan(recognised)
                found.append(reader.parse(batch, contest(), patient=True))
        assert found[0] == found[1]


def test_a_damaged_table_refuses_the_publication_it_is_a_part_of() -> None:
    """Its times are read as far as they can be, so that the others are neither published nor awaited without it."""
    cut = NATIONAL["totales"][:-30]
    (snapshot,) = national(totales=cut)
    assert not snapshot.awaited
    assert "it is the last: the file is cut off" in str(only_rejection((snapshot,)))


def test_tables_that_spell_an_instant_differently_make_one_publication() -> None:
    found = national(
        totales=NATIONAL["totales"].replace("05:48:00Z", "05:48:00+00:00"),
        resumen=NATIONAL["resumen"].replace("05:48:00Z", "00:48:00.000-05:00"),
    )
    assert len(statements(found)) == 1
    assert not rejections(found)


def test_the_example_contest() -> None:
    definition = contest()
    assert definition.contest_id == "pe-2021-president-runoff"
    assert len(definition.areas) == 2386
    assert (definition.counting_level, definition.later_counting_levels) == (("country",), (("precinct",),))
