"""Reading records: of any bytes, each is read once, at its place, or the document is refused; and within bounds."""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
from collections.abc import Collection, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.feeds import registry
from ingest.feeds.records import Limits, Records, Refused
from ingest.feeds.statement import MOST_ALIKE, Rejection, Snapshot
from ingest.feeds.table import Table
from ingest.news.changes import changes_since
from ingest.news.contest_memory import ContestMemory
from ingest.publish.encode import encode_all
from ingest.sources import documents
from schemas.codec import decode
from tests.support.ingest_samples import ACTA, ACTA_HEADER, ACTA_ROWS, FINAL, NATIONAL, ROOT, contest, kept, parse

ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00"
"""What some program takes for a line's end, and NUL."""
CONTEST = contest()
OWN_HEADER = "contest_id,unit_type,unit_id,area_path,votes.peru-libre,office_note\n"
_OWN_ROW = "pe-2021-president-runoff,precinct,{id},pe/010000/010100/010101,{votes},{note}\n"


def read(text: str | bytes) -> Table | Rejection:
    recognised = registry.recognise(kept(text))
    return recognised if isinstance(recognised, Rejection) else recognised.content or pytest.fail("dropped")


_sloppy = st.lists(
    st.sampled_from(
        [
            *',,,""\n\n\nab1\u00f1',
            *ENDS,
            '"\n',
            "\r\n",
            ',"',
            '",',
            "\n7,x,y,z,5,\n",
            "\n7,x,y,z,5,,,\n",
            "\n,,,,,\n",
            f"\n{OWN_HEADER}",
        ]
    ),
    max_size=40,
)


@given(_sloppy.map("".join), st.sampled_from(["\n", "\r\n", ""]))
@example('1,"a,b,c,d,e\n2,b,c,d,5,e\n3,x",c,d,5,e', "\n")
@example('1,2,3,4,5,"a\nb"', "\n")
@example("1,2,3,4,5,6\r\n\n\n", "\n")
@example(f"1,2,3,4,5,\n,,,,,\n,\n{OWN_HEADER}2,2,3,4,5,6,,,\n,,,,,,,,,,\n3,2,3,4,5,6", "")
def test_every_byte_of_a_table_is_of_one_row_and_no_row_hides_in_another(rows: str, end: str) -> None:
    content = f"{OWN_HEADER}{rows}{end}".encode()
    table = read(content)
    if isinstance(table, Rejection):
        assert table.whole_document
        return
    records = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    header = records[0]
    repeated = [number for rows in table.passed_over for number in rows.rows]
    at = len(OWN_HEADER)
    for index, row in enumerate(table.rows):
        number, begin, after = table.spans[index].tolist()
        original = table.original(index)
        assert original == content[begin:after]
        assert not content[at:begin].replace(OWN_HEADER.encode(), b"").strip(b'\r\n,"'), "what is left out says nothing"
        at = after
        (alone,) = csv.reader(io.StringIO(original.decode(), newline=""), strict=True)
        assert row == alone[: len(header)] == records[number - 1][: len(header)]
        assert not any(alone[len(header) :])
        assert not any(line.count(b",") >= len(header) - 1 for line in original.removesuffix(b"\n").split(b"\n")[1:])
    assert not content[at:].replace(OWN_HEADER.encode(), b"").strip(b'\r\n,"')
    says_something = [number for number, record in enumerate(records[1:], 2) if any(record)]
    assert sorted([*table.spans[:, 0].tolist(), *repeated]) == says_something
    assert all(records[number - 1] == header for number in repeated)
    assert table.is_open_ended == (not content.endswith(b"\n") and table.number(-1) == len(records))


_cells = st.text(st.sampled_from([*'a1 ,"ñ', *ENDS.replace("\0", "")]), max_size=6)
_sheet_cells = st.sampled_from(
    ["1", "2", "000002", "-3", "NA", "٢", "1\x0b", "\x85", "PERDIDA", '"', "a,b", "x\r\ny", ""]
)


@given(st.lists(st.tuples(_cells, _cells, _cells), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_every_record_of_our_own_form_is_published_or_rejected_at_its_place(
    rows: Sequence[tuple[str, str, str]], end: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(OWN_HEADER.strip().split(","))
    for id_, votes, note in rows:
        line = _OWN_ROW.strip().split(",")
        writer.writerow([cell.format(id=id_, votes=votes, note=note) for cell in line])
    accounted_for(kept(text.getvalue()).content, len(rows))


_contests = st.sampled_from([*[CONTEST.contest_id] * 3, "f-other", "g-other", CONTEST.contest_id.upper(), " "])
_shares = st.sampled_from(["", "61.2", "61.2%", "61,2", "-", "n/a", "NaN"])
_kinds = st.sampled_from(["row"] * 4 + ["commas", "header"])


@given(
    st.lists(st.tuples(_kinds, _contests, st.sampled_from("1234"), st.sampled_from("5x"), _shares), max_size=8),
    st.sampled_from(["", ",,"]),
    st.sampled_from(["\n", ""]),
)
def test_every_record_is_published_or_rejected_or_told_as_passed_over(
    rows: Sequence[tuple[str, str, str, str, str]], spare: str, end: str
) -> None:
    header = "contest_id,unit_type,unit_id,area_path,votes.peru-libre,published.turnout"
    lines, silent = [header], set()
    for kind, of, unit_id, votes, share in [*rows, ("row", CONTEST.contest_id, "9", "5", "1.5")]:
        if kind == "commas":
            silent.add(len(lines) + 1)
        row = f'{of},precinct,{unit_id},pe/010000/010100/010101,{votes},"{share}"'
        lines.append({"row": row, "commas": ",,,,,", "header": header}[kind] + spare)
    accounted_for(("\n".join(lines) + end).encode(), len(lines) - 1, silent)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 16), _sheet_cells), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_record_of_sheets_is_published_or_rejected_at_its_place(
    changed: Sequence[tuple[int, int, str]], end: str
) -> None:
    rows = [row.strip().split(",") for row in ACTA_ROWS]
    for row, column, cell in changed:
        rows[row][column] = cell
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([ACTA_HEADER.strip().split(","), *rows])
    accounted_for(text.getvalue().encode(), len(rows))


def accounted_for(content: bytes, rows: int, silent: Collection[int] = ()) -> None:
    """Every row is in one event, in one rejection or told as passed over, by its number; or the document is refused.

    What is rejected or left out has the row's bytes. `silent`: rows of commas, which are nothing.
    """
    snapshots = parse(kept(content), of=CONTEST)
    found = changes_since(snapshots, ContestMemory(CONTEST))
    rejections = list(found.rejections)
    if any(rejection.whole_document for rejection in rejections):
        assert len(rejections) == 1
        assert not found.events
        return
    published = [event.source.documents[0].place for event in found.events]
    rejected = [rejection.place.partition(",")[0] for rejection in rejections]
    passed_over = [f"row {number}" for one in found.passed_over for number in one.rows]
    assert sorted(published + rejected + passed_over, key=lambda place: int(place.split()[1])) == [
        f"row {number}" for number in range(2, rows + 2) if number not in silent
    ]
    records = list(_originals(content))
    assert {odd.place.partition(",")[0] for odd in found.left_out} <= {*published, *rejected}
    for rejection in (*rejections, *found.left_out):
        assert rejection.original == records[int(rejection.place.partition(",")[0].split()[1]) - 1]


def _originals(content: bytes) -> Sequence[bytes]:
    """Split a well-formed document: a line feed outside of quotes ends a record."""
    found, begin, quoted = [], 0, False
    for at, byte in enumerate(content):
        quoted ^= byte == ord('"')
        if byte == ord("\n") and not quoted:
            found.append(content[begin : at + 1])
            begin = at + 1
    return [*found, content[begin:]]


@given(st.sampled_from(list(NATIONAL)), st.integers(0, 28), _sheet_cells, st.booleans())
def test_every_update_of_a_bulletin_is_published_or_rejected(part: str, column: int, cell: str, again: bool) -> None:
    header, *rows = NATIONAL[part].splitlines(keepends=True)
    cells = next(csv.reader([rows[-1].rstrip("\n")]))
    cells[column % len(cells)] = cell
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    changed = "".join([header, *(rows if again else rows[:-1]), text.getvalue()])
    tables = {**NATIONAL, part: changed}
    snapshots = parse(*(kept(table, f"{name}.csv") for name, table in tables.items()), of=CONTEST)
    found = changes_since(snapshots, ContestMemory(CONTEST))
    told = [*found.rejections, *(rejection for snapshot in snapshots for rejection in snapshot.incomplete)]
    assert found.events or told
    if not any(rejection.whole_document for rejection in told):
        number = len(rows) + 1 + again
        of_row = [event for event in found.events if any(str(number) in d.place for d in event.source.documents)]
        assert of_row or any(f"{part}.csv" in str(rejection) for rejection in told)


_Edits = Sequence[tuple[int, int, bytes]]
_edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=8)), max_size=4)


@given(st.sampled_from([ACTA, FINAL, OWN_HEADER, *NATIONAL.values()]), _edits, st.booleans())
def test_whatever_the_bytes_are_they_end_in_events_or_rejections(text: str, edits: _Edits, pack: bool) -> None:
    content = bytearray(gzip.compress(text.encode()) if pack else text.encode())
    for at, length, new in edits:
        begin = at % (len(content) + 1)
        content[begin : begin + length] = new
    found = changes_since(parse(kept(bytes(content)), of=CONTEST), ContestMemory(CONTEST))
    for rejection in found.rejections:
        rejection.message(CONTEST.contest_id)
    for event, message in zip(found.events, encode_all(found.events.items), strict=True):
        assert decode(message.value, message.headers) == event


# --- bounds


def only(snapshots: Sequence[Snapshot]) -> Rejection:
    (rejection,) = (rejection for snapshot in snapshots for rejection in snapshot.rejections)
    return rejection


BEYOND = {
    "line ends": (b"\n" * (3 << 20), Limits(), "the file is empty"),
    "a header and line ends": (ACTA_HEADER.encode() + b"\n" * (3 << 20), Limits(), "more than 100,000 rows"),
    "a gzip bomb": (gzip.compress(b"\n" * (3 << 20)), Limits(unpacked_mib=2), "larger than 2 MiB when unpacked"),
    "a large table": (b"x" * (3 << 20), Limits(unpacked_mib=2), "larger than 2 MiB when unpacked"),
    "many rows": (ACTA.encode(), Limits(rows=5), "the table has more than 5 rows"),
    "many cells": (
        f"contest_id,unit_type,unit_id,{','.join(f'votes.{n}' for n in range(97))}\n{'1,' * 99}1\n".encode()
        + b"2" + b",2" * 99 + b"\n", Limits(rows=4), "the table has more than 192 cells, 100 in a row",
    ),
    "an endless row": (ACTA.encode() + b"," * (3 << 20) + b"\n", Limits(), "row 8 is longer than 1,048,576 bytes"),
    "an open quote": (ACTA.encode() + b'"' + b"\n" * (3 << 20), Limits(), "row 8 is longer than 1,048,576 bytes"),
    "a wide header": (b"," * (1 << 17) + b"\n", Limits(), "row 1 is longer than 65,536 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "limits", "says"), BEYOND.values(), ids=BEYOND.keys())
def test_a_document_beyond_a_limit_is_one_rejection_that_names_it(content: bytes, limits: Limits, says: str) -> None:
    recognised = registry.recognise(kept(content), limits)
    rejection = recognised if isinstance(recognised, Rejection) else recognised.content
    assert isinstance(rejection, Rejection)
    assert rejection.whole_document
    assert says in rejection.finding.message
    assert len(rejection.message("c").value or b"") < 1_000_000


def test_as_many_rows_as_the_limit_are_read() -> None:
    assert len(list(Records(kept(ACTA), Limits(rows=6)))) == 7
    with pytest.raises(Refused, match="more than 5 rows"):
        list(Records(kept(ACTA), Limits(rows=5)))


def test_reading_needs_no_more_memory_than_the_limits_say() -> None:
    """64 KB of gzip that hold 64 MB of line ends, and 90,000 rows without an id: in a process of its own, measured."""
    program = """
import gzip, resource
from tests.unit.test_ingest_records import ACTA_HEADER, kept, parse

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before = peak()
packed, bad = gzip.compress(ACTA_HEADER.encode() + b"\\n" * (63 << 20)), ACTA_HEADER + "x,,,,,,,,,,,,,,,,\\n" * 90_000
print(*(sum(len(snapshot.rejections) for snapshot in parse(kept(content))) for content in (packed, bad)))
print(peak() - before)
"""
    path = f"{ROOT}:{ROOT / 'services'}"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True).stdout.split()
    assert found[:2] == ["1", str(MOST_ALIKE + 2)]
    assert int(found[2]) < 250, "MiB"


def test_of_many_rejections_that_are_alike_one_stands_for_the_others() -> None:
    text = OWN_HEADER + "pe-2021-president-runoff,,7,,,\n" * 1000 + "pe-2021-president-runoff,precinct,7,,x,\n"
    (snapshot,) = parse(kept(text))
    *singles, others = (r for r in snapshot.rejections if "unit_type" in r.place)
    assert [r.place for r in singles] == [f"row {n}, column unit_type" for n in range(2, MOST_ALIKE + 2)]
    assert (others.place, others.rows) == (f"row {MOST_ALIKE + 2} to row 1001, column unit_type", 1000 - MOST_ALIKE)
    assert others.finding.message == f"{1000 - MOST_ALIKE} rows more; the first of them: unit_type is empty"
    assert dict(others.message("c").headers)["original"] == b"archive"
    assert sum(r.rows for r in changes_since((snapshot,), ContestMemory(CONTEST)).rejections) == 1001
    assert len({r.id for r in snapshot.rejections}) == len(snapshot.rejections)


def test_many_rows_of_one_mesa_are_told_in_short_messages() -> None:
    rows = "".join(ACTA_ROWS[0].replace("214,118", f"{n},118") for n in range(3000))
    (snapshot,) = parse(kept(ACTA_HEADER + rows))
    assert sum(r.rows for r in snapshot.rejections) == 3000
    assert max(len(r.finding.message) for r in snapshot.rejections) < 300


def test_every_text_of_a_rejection_is_bounded() -> None:
    document = kept(ACTA_HEADER, "n" * 5000)
    rejection = Refused(document, "F207", "m" * 5000, "e" * 5000).rejection
    assert sum(len(value or b"") for _, value in rejection.message("c").headers) < 5000
    assert "…" in rejection.finding.message


def test_of_a_publication_the_largest_tables_are_refused_that_do_not_fit_in_memory_with_the_others() -> None:
    limits = Limits(unpacked_mib=1)
    blown = NATIONAL["totales"] + "X,1,1,2021-06-07T05:48:00Z,1\n" * 30_000
    documents = [kept(text, f"{part}.csv") for part, text in NATIONAL.items()]
    documents += [kept(f"{blown}{'Y,1,1,2021-06-07T05:48:00Z,1' * n}\n", f"blown-{n}.csv") for n in range(3)]
    recognised = [one for d in documents if isinstance(one := registry.recognise(d, limits), registry.Recognised)]
    assert len(recognised) == 7
    *refused, batch = sorted(registry.plan(recognised, limits), key=lambda batch: len(batch.parts))
    assert {part.document.name for part in batch.parts} >= {f"{part}.csv" for part in NATIONAL}
    rejections = [only(registry.parse(one, CONTEST)) for one in refused]
    assert all("larger than 2 MiB" in rejection.finding.message for rejection in rejections)
    assert len(batch.parts) + len(refused) == 7
    assert refused


def test_of_a_publication_the_tables_of_many_short_cells_are_refused_too() -> None:
    limits = Limits(unpacked_mib=1)
    rows = "".join(f"{n},{n},2021-06-07T05:48:00Z\n" for n in range(20_000))
    documents = [kept(f"AGRUPACION,TOTAL_VOTOS,updated\n{rows}{n},1,2021-06-07T05:48:00Z\n") for n in range(3)]
    assert sum(len(document.content) for document in documents) < 2 << 20
    recognised = [one for d in documents if isinstance(one := registry.recognise(d, limits), registry.Recognised)]
    assert all(one.size > len(one.document.content) for one in recognised)
    refused, _ = sorted(registry.plan(recognised, limits), key=lambda batch: len(batch.parts))
    assert "takes five times that" in only(registry.parse(refused, CONTEST)).finding.message


@pytest.mark.parametrize("at", ["read", "parse"])
def test_a_mistake_of_ours_that_a_document_brings_out_refuses_this_document(
    at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> tuple[Snapshot, ...]:
        raise RecursionError("maximum recursion depth exceeded")

    if at == "read":
        monkeypatch.setattr(registry, "read", broken)
        rejection = documents.recognise(kept(ACTA), registry.DEFAULT_LIMITS)
    else:
        recognised = documents.recognise(kept(ACTA), registry.DEFAULT_LIMITS)
        assert isinstance(recognised, registry.Recognised)
        monkeypatch.setitem(registry._PARSERS, recognised.family, broken)
        (batch,) = registry.plan([recognised])
        rejection = only(documents.parse(batch, CONTEST))
    assert isinstance(rejection, Rejection)
    assert rejection.whole_document
    assert "this release cannot read it: RecursionError: maximum" in rejection.finding.message
    assert "in broken" in caplog.text
