"""The ten questions of docs/tables.md: the page's query, asked of the real night, has the page's answer."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Night

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^\*\*(.+\?)\*\*\n\n((?:    .+\n)+)\n((?:    .+\n)+)", PAGE, re.MULTILINE)
FUNCTIONS = {"abs", "count", "date_trunc", "int", "max", "min", "numeric", "sum"}


def test_there_are_ten() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize(("query", "answer"), [q[1:] for q in QUESTIONS], ids=[q[0] for q in QUESTIONS])
def test_one_query_answers_the_question(night: Night, query: str, answer: str) -> None:
    with psycopg.connect(night.setup.database.reader_url, options="-c TimeZone=UTC") as db:
        copy = db.cursor().copy(f"COPY ({query.strip().removesuffix(';')}) TO STDOUT (NULL 'null')".encode())
        with copy as rows:
            text = b"".join(bytes(part) for part in rows).decode()
    assert text.replace("\t", " | ").splitlines() == [line.strip() for line in answer.splitlines()]


@pytest.mark.parametrize("query", [q[1] for q in QUESTIONS], ids=[q[0] for q in QUESTIONS])
def test_the_page_is_enough_to_write_the_query(query: str) -> None:
    assert query.count("\n") <= 6
    views = set(re.findall(r"^### `(\w+)`", PAGE.split("## The schema `checking`")[0], re.MULTILINE))
    assert set(re.findall(r"\b(?:FROM|JOIN) results\.(\w+)", query)) <= views
    columns = {name for view in views for name in re.findall(r"^\| `(\w+)`", _described(view), re.MULTILINE)}
    own = set(re.findall(r"\bAS (\w+)", query))
    words = set(re.findall(r"\b[a-z_]+\b", re.sub(r"'[^']*'", "", query)))
    assert words <= columns | views | own | FUNCTIONS | {"results"}


def _described(view: str) -> str:
    """What the page has of a view."""
    return PAGE.split(f"### `{view}`\n")[1].split("\n##")[0]
