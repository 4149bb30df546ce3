"""Documents to statements: the office's forms, our own, and every way a document or a row can be wrong."""

from __future__ import annotations

import pytest

from ingest import adapters
from ingest.statement import Rejection, Snapshot, Statement
from schemas.count_update import CountUpdate
from schemas.types import CountStatus, ResultStage, ReviewReason
from tests.ingest_samples import (
    ACTA,
    ACTA_HEADER,
    ACTA_ROWS,
    DATA,
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
    twice = [kept(text, f"{part}.csv") for part, text in NATIONAL.items()]
    again = [kept(text + "\n", f"later/{part}.csv") for part, text in NATIONAL.items()]
    found = parse(*twice, *again)
    assert len(statements(found)) == 1
    assert not rejections(found)


# --- a document is wrong: nothing of it is believed

BAD_DOCUMENTS = {
    "truncated gzip": (packed(ACTA)[:-20], "damaged or cut off"),
    "truncated last row": (ACTA[:-40], "row 7: the file does not end with a line end"),
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
    assert rejection.uri == "resultados.csv"


# --- a row is wrong: the others are good


def changed(row: int, column: str, value: str, header: str = ACTA_HEADER, rows: list[str] = ACTA_ROWS) -> str:
    """The document with one cell of one data row replaced."""
    at = header.strip().split(",").index(column)
    cells = rows[row].rstrip("\n").split(",")
    cells[at] = value
    return header + "".join([*rows[:row], ",".join(cells) + "\n", *rows[row + 1 :]])


BAD_ROWS = {
    "negative count": (changed(1, "votos_nulos", "-3"), "F201", "row 3, column votos_nulos"),
    "fractional count": (changed(1, "votos_nulos", "12.5"), "F201", "row 3, column votos_nulos"),
    "no count": (changed(1, "num_votos", "many"), "F201", "row 3, column num_votos"),
    "other digits": (changed(1, "num_votos", "٢٢٦"), "F201", "row 3, column num_votos"),
    "mesa too long": (changed(1, "num_mesa", "0000002"), "F202", "row 3, column num_mesa"),
    "mesa with a letter": (changed(1, "num_mesa", "2A"), "F202", "row 3, column num_mesa"),
    "mesa without zeros in the final form": (
        changed(0, "mesa", "1", FINAL_HEADER, FINAL_ROWS),
        "F202",
        "row 2, column mesa",
    ),
    "unknown status": (changed(1, "observacion", "PERDIDA"), "F204", "row 3, column observacion"),
    "ubigeo of five digits": (changed(1, "ubigeo", "10101"), "F202", "row 3, column ubigeo"),
    "time without zone": (changed(1, "descargado", "2021-06-08T16:15:44"), "F206", "row 3, column descargado"),
}


@pytest.mark.parametrize(("content", "code", "place"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_rejected_alone(content: str, code: str, place: str) -> None:
    found = parse(kept(content))
    (rejection,) = rejections(found)
    assert (rejection.finding.code, rejection.place) == (code, place)
    assert not rejection.whole_document
    assert rejection.original.decode() in content
    assert len(statements(found)) == len(content.splitlines()) - 2 - content.count("\r\n")


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
        statement.result_stage, statement.counts, statement.sub_units, statement.published_percentages,
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
    renamed = {"reporting_unit": "unit"}
    fields = {renamed.get(name, name) for name in CountUpdate.model_fields if name not in chained}
    assert fields <= set(Statement.__dataclass_fields__)


def test_documents_are_ordered_by_the_time_they_state() -> None:
    later = ACTA.replace("2021-06-08T16:15:44Z", "2021-06-09T01:12:42Z")
    recognised = [adapters.recognise(kept(text, name)) for name, text in (("b", FINAL), ("c", later), ("a", ACTA))]
    batches = adapters.plan([r for r in recognised if isinstance(r, adapters.Recognised)])
    assert [batch.documents[0].uri for batch in batches] == ["a", "c", "b"]


def test_the_example_contest() -> None:
    definition = contest()
    assert definition.contest_id == "pe-2021-president-runoff"
    assert len(definition.areas) == 2386
    assert (definition.counting_level, definition.later_counting_levels) == ("country", ("precinct",))
