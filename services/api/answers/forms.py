"""Write answers as JSON, JSON Lines and CSV (pure).

JSON has its keys in the order of the models. A number is an integer, a share a decimal string beside its numerator and
denominator, and what is not stated is null: in CSV an empty cell.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from schemas.types import Frozen


class Form(StrEnum):
    """How an answer is written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.JSONL: "application/jsonl; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Listing(Frozen):
    """An answer with many of something, which can be lines as well."""

    def items(self) -> Sequence[BaseModel]:
        """Return the lines."""
        raise NotImplementedError

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """Return the lines as cells by column."""
        return (flat(item.model_dump(mode="json")) for item in self.items())

    def columns(self) -> Sequence[str]:
        """Return the names of the columns that are there without any line, too."""
        return ()


def written(found: BaseModel, form: Form = Form.JSON) -> bytes:
    """Write an answer in a form; only a listing has others than JSON."""
    if form is Form.JSON:
        return found.model_dump_json().encode() + b"\n"
    assert isinstance(found, Listing)
    if form is Form.JSONL:
        return b"".join(item.model_dump_json().encode() + b"\n" for item in found.items())
    return as_csv(found.rows(), found.columns())


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested objects as cells, under names joined by dots."""
    cells: dict[str, Any] = {}
    for name, of in value.items():
        if isinstance(of, Mapping):
            cells |= flat(of, f"{prefix}{name}.")
        else:
            cells[prefix + name] = " ".join(map(str, of)) if isinstance(of, list) else of
    return cells


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> bytes:
    """Write rows by column, as RFC 4180 has it: `columns`, and others in the order in which they come first."""
    rows = list(rows)
    columns = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(map(_cell, columns))
    lines.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Return a cell. A text that a spreadsheet would compute gets an apostrophe: names come from outside."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
