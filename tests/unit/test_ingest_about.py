"""The note beside a document: when and where it was published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.feeds.statement import Capture, Kept, Rejection
from ingest.sources import folder
from tests.support.ingest_samples import FINAL, kept, parse

JULY = datetime(2021, 7, 1, tzinfo=UTC)
AUGUST = datetime(2021, 8, 1, tzinfo=UTC)


def undated(document: Kept) -> Kept:
    """The document, of which nobody says when it was published."""
    return replace(document, stated_at=None)


def fetched(path: Path, note: str | None, stated_at: datetime | None = None) -> Capture | Rejection:
    path.write_text("a,b\n1,2\n")
    if note is not None:
        path.with_name(path.name + ".about.toml").write_text(note)
    return folder.fetch(path, stated_at, largest=1 << 20)


@pytest.mark.parametrize(
    ("note", "given", "stated_at", "uri"),
    [
        (None, None, None, None),
        (None, JULY, JULY, None),
        ("", JULY, JULY, None),
        ("stated_at = 2021-08-01T02:00:00+02:00", JULY, AUGUST, None),
        ('uri = "https://example.org/a.csv"', JULY, JULY, "https://example.org/a.csv"),
        ('stated_at = 2021-08-01T00:00:00Z\nuri = "urn:a"', None, AUGUST, "urn:a"),
    ],
)
def test_the_note_says_when_and_where_and_has_priority(
    tmp_path: Path, note: str | None, given: datetime | None, stated_at: datetime | None, uri: str | None
) -> None:
    found = fetched(tmp_path / "a.csv", note, given)
    assert isinstance(found, Capture)
    assert (found.stated_at, found.uri, found.name) == (stated_at, uri, f"{tmp_path.name}/a.csv")


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ("stated_at = ", "is not TOML"),
        ("stated_at = 2021-08-01T00:00:00", "stated_at: Input should have timezone info"),
        ("stated_at = 2021-08-01", "stated_at: Input should be a valid datetime"),
        ("reported_at = 2021-08-01T00:00:00Z", "reported_at: Extra inputs are not permitted"),
        ("uri = 1", "uri: Input should be a valid string"),
        ("# " + "x" * 65_536, "is larger than 64 KiB"),
    ],
)
def test_a_note_that_cannot_be_read_refuses_its_document(tmp_path: Path, note: str, says: str) -> None:
    found = fetched(tmp_path / "a.csv", note)
    assert isinstance(found, Rejection)
    assert found.whole_document
    assert found.finding.code == "F207"
    assert f"{tmp_path.name}/a.csv.about.toml, " in found.finding.message
    assert says in found.finding.message


def test_sheets_that_nobody_dates_are_refused_with_the_way_out() -> None:
    document = kept(FINAL)
    (dated,) = parse(document)
    assert {statement.stated_at for statement in dated.statements} == {document.stated_at}
    assert all(statement.reported_at is None for statement in dated.statements)
    (refused,) = parse(undated(document))
    (rejection,) = refused.rejections
    assert (rejection.finding.code, rejection.whole_document) == ("F211", True)
    assert "NAME.about.toml" in rejection.expected


HEAD = "contest_id,unit_type,unit_id,{},votes.peru-libre,votes.fuerza-popular\n"
ROW = "pe-2021-president-runoff,country,pe,{},{},3\n"


def test_a_row_has_the_offices_time_else_its_own_else_that_of_the_document() -> None:
    head = HEAD.format("reported_at,stated_at")
    rows = [
        ROW.format("2021-06-08T00:00:00Z,2021-06-09T00:00:00Z", 1),
        ROW.format(",2021-06-10T00:00:00Z", 2),
        ROW.format(",", 3),
    ]
    document = kept(head + "".join(rows))
    said = [(s.reported_at, s.stated_at) for snapshot in parse(document) for s in snapshot.statements]
    eighth, tenth = datetime(2021, 6, 8, tzinfo=UTC), datetime(2021, 6, 10, tzinfo=UTC)
    assert sorted(said, key=lambda times: times[1]) == [(eighth, eighth), (None, tenth), (None, document.stated_at)]
    *_, last = parse(undated(document))
    (rejection,) = last.rejections
    assert (rejection.finding.code, rejection.place) == ("F211", "row 4, column reported_at")


def test_a_document_without_any_time_is_refused_whole() -> None:
    (refused,) = parse(undated(kept(HEAD.replace("{},", "") + ROW.replace("{},", "", 1).format(1))))
    (rejection,) = refused.rejections
    assert (rejection.finding.code, rejection.whole_document) == ("F211", True)
