"""The data dictionary: every view and column says what it is, and docs/tables.md says the same.

`WRITE_PAGE=1 pytest tests/integration/test_dictionary.py` writes it again. Its head stays as it is, with the questions
of `tests/acceptance/test_questions.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.fix_postgres import Database

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
FIRST = (
    "contest",
    "area_count",
    "selection_count",
    "area_history",
    "unit_count",
    "update_history",
    "count_status",
    "ingest_status",
    "notice",
)
"""The views of `results`, in the order of the page."""
BEGIN = "## The schema `results`"
_TYPES = {"timestamp with time zone": "timestamptz"}

Row = tuple[str, str, str, str, str, str]
"""Schema, view, its comment, column, its type, its comment."""


def described(totals: Database) -> list[Row]:
    return totals.read(
        "SELECT c.relnamespace::regnamespace::text, c.relname, obj_description(c.oid), a.attname,"
        " format_type(a.atttypid, NULL), col_description(c.oid, a.attnum)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace IN ('results'::regnamespace, 'checking'::regnamespace) AND c.relkind = 'v'"
        " ORDER BY c.relname, a.attnum"
    )


def page(rows: list[Row]) -> Iterator[str]:
    """The lines of the page, from BEGIN on."""
    other = dict.fromkeys(view for schema, view, *_ in rows if schema == "checking")
    for heading, names in ((BEGIN, FIRST), ("## The schema `checking`: for checking, and for programs", other)):
        yield from (*([""] if heading != BEGIN else []), heading)
        for name in names:
            columns = [row for row in rows if row[1] == name]
            yield from ("", f"### `{name}`", "", columns[0][2], "", "| column | type | |", "|---|---|---|")
            for *_, column, kind, comment in columns:
                yield f"| `{column}` | {_TYPES.get(kind, kind)} | {comment} |"


def test_every_view_and_every_column_says_what_it_is(totals: Database) -> None:
    rows = described(totals)
    assert [row[:4] for row in rows if not row[2] or not row[5]] == []
    assert {comment[-1] for row in rows for comment in (row[2], row[5])} == {"."}


def test_what_people_read_stands_apart_from_what_programs_read(totals: Database) -> None:
    rows = described(totals)
    assert {view for schema, view, *_ in rows if schema == "results"} == set(FIRST)
    names = [view for _, view in {row[:2] for row in rows}]
    assert len(names) == len(set(names)), "a name is found in both schemas"


def test_the_page_says_what_the_database_says(totals: Database) -> None:
    head, text = PAGE.read_text(encoding="utf-8").split(BEGIN)[0], "\n".join(page(described(totals))) + "\n"
    if os.environ.get("WRITE_PAGE"):
        PAGE.write_text(head + text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == head + text
