"""Sheets compared and encoded by columns: the same messages, rejections and report as row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feeds import sheets
from ingest.feeds.statement import Rejection, Sheets, Snapshot
from ingest.news.changes import Changes, adopt, changes_since, published
from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.new_events import First
from ingest.publish.encode import encode_all
from ingest.report import Report
from schemas import codec
from schemas.codec import Message
from schemas.contest import ContestDefined
from tests.support.ingest_samples import (
    ACTA,
    ACTA_HEADER,
    ACTA_ROWS,
    DATA,
    FINAL_HEADER,
    FINAL_ROWS,
    contest,
    kept,
    needs_data,
    parse,
    read_file,
)

CONTEST = contest()
HEADER = ACTA_HEADER.strip().split(",")
USUAL = next(csv.reader(ACTA_ROWS))
FINAL_NAMES, FINAL_USUAL = FINAL_HEADER.strip().split(","), next(csv.reader(FINAL_ROWS))

NUMBERS = ("0", "1", "81", "118", "199", "213", "214", "300", "301", "NA")
ODD = ("", "-1", "1.0", "٣", "007", str(2**39), str(2**40 - 1), str(2**40), "x\ny", 'a "quoted" word', " ", "1" * 30)
CELLS = {
    "mesa": ("101", "102", "000102", "3", "43", "900000", "1234567", "", "x"),
    "ubigeo": ("010101", "020505", "932801", "010100", "999999", "10101", "pe"),
    "status": (*sheets.STATUSES, "CONTABILIZADAS", ""),
    "detail": ("ACTA ELECTORAL NORMAL", "ACTA ELECTORAL RESUELTA", ""),
    "name": ("NA", "", "IE SEMINARIO", "Ñandú 🏫", "a\x01b", "x" * 10_001),
    "time": (
        "2021-06-08T16:15:44Z", "2021-06-08T11:15:44-05:00", "2021-06-09T01:00:00Z", "2021-06-01T00:00:00Z",
        "1969-12-31T23:59:59.997Z", "2021-09-01T00:00:00Z", "yesterday",
    ),
}  # fmt: skip


def kinds(form: sheets._Columns) -> dict[str, tuple[str, ...]]:
    """What may stand in each column, right or wrong."""
    of = {form.mesa: "mesa", form.ubigeo: "ubigeo", form.status: "status", form.detail: "detail", form.name: "name"}
    named = {column: CELLS[kind] for column, kind in (of | ({form.time: "time"} if form.time else {})).items()}
    figures = (form.voters, form.cast, form.blank, form.invalid, form.challenged, *filter(None, [form.valid]))
    return named | dict.fromkeys((*figures, *form.votes), NUMBERS + ODD)


def document_of(final: bool, rows: list[dict[str, str]]) -> str:
    """A document of a usual row for each of `rows`, with some cells changed."""
    names, usual, form = (FINAL_NAMES, FINAL_USUAL, sheets._FINAL) if final else (HEADER, USUAL, sheets._DATED)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for n, cells in enumerate(rows, 101):
        writer.writerow((dict(zip(names, usual, strict=True)) | {form.mesa: str(n).zfill(6)} | cells).values())
    return text.getvalue()


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document of sheets whose rows are nearly right."""
    final = draw(st.booleans())
    choices = kinds(sheets._FINAL if final else sheets._DATED)
    spoilt = st.lists(st.sampled_from(sorted(choices)), max_size=2)
    rows = [{column: draw(st.sampled_from(choices[column])) for column in draw(spoilt)} for _ in range(draw(_FEW))]
    return document_of(final, rows)


_FEW = st.integers(1, 6)


def row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no row to the columns."""
    ordinary: Callable[..., Any] = sheets._ordinary

    def none(*arguments: Any) -> Any:
        rows, columns = ordinary(*arguments)
        return np.zeros_like(rows), columns

    monkeypatch.setattr(sheets, "_ordinary", none)


def outcome(snapshots: tuple[Snapshot, ...], memory: ContestMemory) -> tuple[Changes, tuple[object, ...]]:
    """What a document brings, taken into memory as if sent; and everything of it that anyone sees."""
    found = changes_since(snapshots, memory)
    messages: list[Message] = list(encode_all(found.events.items))
    assert messages == [codec.encode(event) for event in found.events]
    report = Report(seconds=1)
    report.add(found)
    seen = (messages, [str(f) for f in found.findings], [r.message("c") for r in found.rejections], found.heartbeats)
    adopt(memory, found)
    return found, (*seen, found.late, found.known, list(report.lines()))


def both_ways(texts: list[str], of: ContestDefined = CONTEST) -> tuple[ContestMemory, list[Changes]]:
    """Load documents one after the other, by columns and row by row, and compare after each."""
    fast, slow, changes = ContestMemory(of), ContestMemory(of), []
    for n, text in enumerate(texts):
        document = kept(text, f"{n}.csv", datetime(2021, 7, 1, n, tzinfo=UTC))
        found, seen = outcome(parse(document, of=of), fast)
        with pytest.MonkeyPatch.context() as patch:
            row_by_row(patch)
            snapshots = parse(document, of=of)
            assert not any(len(s.statements.columns.places) for s in snapshots if isinstance(s.statements, Sheets))
            _, expected = outcome(snapshots, slow)
        assert seen == expected
        assert fast.units == slow.units
        changes.append(found)
    return fast, changes


@given(st.lists(documents(), min_size=1, max_size=3))
def test_by_columns_and_row_by_row_a_document_brings_the_same(texts: list[str]) -> None:
    memory, changes = both_ways([*texts, texts[0]])
    rebuilt = ContestMemory(CONTEST)
    for event in (event for found in changes for event in found.events):
        assert remember(rebuilt, event)
    assert rebuilt.units == memory.units


@pytest.mark.parametrize("final", [False, True])
def test_each_odd_cell_brings_the_same(final: bool) -> None:
    choices = kinds(sheets._FINAL if final else sheets._DATED)
    rows = [{column: cell} for column, cells in choices.items() for cell in cells]
    usual = document_of(final, [{} for _ in rows])
    _, changes = both_ways([document_of(final, rows), usual, document_of(final, rows)])
    assert changes[0].rejections
    assert changes[0].findings


def test_ordinary_rows_are_compared_by_columns() -> None:
    _, (first, again) = both_ways([ACTA, ACTA])
    assert [type(item) for item in first.events.items] == [First] * 6
    assert (again.known, len(again.events)) == (6, 0)


@needs_data
def test_the_collected_files_bring_the_same_both_ways() -> None:
    names = ("2021-06-08T1615Z", "2021-06-09T0112Z", "final")
    texts = [parse_text(f"{name}.csv.gz", 2000) for name in names]
    _, changes = both_ways(texts)
    assert all(len(found.events) for found in changes)


def parse_text(name: str, rows: int) -> str:
    """The first rows of a collected file, as text."""
    import gzip

    return "".join(gzip.decompress(read_file(DATA / "actas" / name).content).decode().splitlines(True)[: rows + 1])


def test_over_several_attempts_first_statements_are_counted_once() -> None:
    memory, snapshots = ContestMemory(CONTEST), parse(kept(ACTA))
    attempts = [changes_since(snapshots, memory)]
    for event in attempts[0].events[:2]:
        remember(memory, event)
    attempts.append(changes_since(snapshots, memory))
    adopt(memory, attempts[-1])
    found = published(attempts, memory)
    assert ([event.unit.id for event in found.events.items], found.known) == (
        ["000001", "000002", "000043", "001671", "009592", "018236"], 0,
    )  # fmt: skip


def test_a_revision_with_a_further_selection_keeps_what_is_remembered() -> None:
    memory, snapshots = ContestMemory(CONTEST), parse(kept(ACTA))
    adopt(memory, changes_since(snapshots, memory))
    before = dict(memory.units)
    third = CONTEST.selections[0].model_copy(update={"selection_id": "third", "ballot_order": 9, "external_id": None})
    memory.definition = CONTEST.model_copy(update={"selections": (*CONTEST.selections, third)})
    assert memory.units == before
    found = changes_since(parse(kept(ACTA), of=memory.definition), memory)
    assert (found.known, len(found.events)) == (6, 0)


# --- one strict reader of header and rows


@given(documents(), st.data())
def test_every_record_is_published_rejected_or_refused_with_its_document(text: str, data: st.DataObject) -> None:
    """Also when a quote, a separator or a line end is put anywhere: no row is swallowed, none is shifted."""
    at = data.draw(st.integers(0, len(text)))
    spoilt = text[:at] + data.draw(st.sampled_from(['"', ",", "\n", "\r", "\r\n", '""', '",'])) + text[at:]
    snapshots = parse(kept(spoilt))
    rejections: list[Rejection] = [r for snapshot in snapshots for r in snapshot.rejections]
    if any(r.whole_document for r in rejections):
        return
    stated = [s for snapshot in snapshots for s in snapshot.statements]
    places = [s.documents[0].place for s in stated] + [r.place.partition(",")[0] for r in rejections]
    records = list(csv.reader(io.StringIO(spoilt, newline=""), strict=True))
    while not any(records[-1]):  # nothing but commas is no record
        records.pop()
    assert sorted(places) == sorted(f"row {n}" for n in range(2, len(records) + 1))
    assert len(records) >= len(list(csv.reader(io.StringIO(text)))) - 1
    for s in stated:
        (n,) = map(int, re.findall(r"\d+", s.documents[0].place))
        assert list(csv.reader(io.StringIO(s.original.decode(), newline=""))) == [records[n - 1]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ACTA.replace("num_mesa,obs", 'num_mesa,"obs', 1), "closed only in line|unexpected end"),
        (ACTA_HEADER.replace(",local", ',"local', 1) + ACTA_ROWS[0].replace("IE 1", '"IE 1') + ACTA_ROWS[1], "row 1"),
        (ACTA_HEADER + ACTA_ROWS[0].replace(",IE", ',"IE') + ACTA_ROWS[1].replace(",0,300", '",0,300'), "quote joins"),
    ],
    ids=["header", "header and row", "two rows"],
)  # fmt: skip
def test_a_quote_joins_no_rows(text: str, says: str) -> None:
    (snapshot,) = parse(kept(text))
    (rejection,) = snapshot.rejections
    assert rejection.whole_document
    assert re.search(says, rejection.finding.message)
    assert not len(snapshot.statements)
