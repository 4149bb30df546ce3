"""The data dictionary: every view and column says what it is, and docs/tables.md says the same.

The page is written anew with `WRITE_PAGE=1 pytest tests/integration/test_dictionary.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.fix_postgres import Database

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
FIRST = ("contest", "area_count", "selection_count", "unit_count", "update_history")
HEAD = """\
# Tables

What readers see in PostgreSQL: the views of the schema `results`. Most questions need the first five. The same stands
beside each view and column in the database: `\\d+ results.area_count` in psql. Null is *not stated*, which is not zero.
What the figures mean is in [the contract](contract.md#what-is-added-up).

This page is made from the database's own comments, and a test compares them.
"""
_TYPES = {"timestamp with time zone": "timestamptz"}

Row = tuple[str, str, str, str, str]
"""View, its comment, column, its type, its comment."""


def described(totals: Database) -> list[Row]:
    return totals.read(
        "SELECT c.relname, obj_description(c.oid), a.attname, format_type(a.atttypid, NULL),"
        " col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = 'results'::regnamespace AND c.relkind = 'v' ORDER BY c.relname, a.attnum"
    )


def page(rows: list[Row]) -> Iterator[str]:
    """The lines of the page."""
    views = dict.fromkeys(view for view, *_ in rows)
    yield from HEAD.splitlines()
    for heading, names in (
        ("The five to begin with", FIRST),
        ("For checking, and for programs", [view for view in views if view not in FIRST]),
    ):
        yield from ("", f"## {heading}")
        for name in names:
            columns = [row for row in rows if row[0] == name]
            yield from ("", f"### `{name}`", "", columns[0][1], "", "| column | type | |", "|---|---|---|")
            for _, _, column, kind, comment in columns:
                yield f"| `{column}` | {_TYPES.get(kind, kind)} | {comment} |"


def test_every_view_and_every_column_says_what_it_is(totals: Database) -> None:
    rows = described(totals)
    assert [row[:3] for row in rows if not row[1] or not row[4]] == []
    assert {comment[-1] for row in rows for comment in (row[1], row[4])} == {"."}


def test_the_page_says_what_the_database_says(totals: Database) -> None:
    text = "\n".join(page(described(totals))) + "\n"
    if os.environ.get("WRITE_PAGE"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
