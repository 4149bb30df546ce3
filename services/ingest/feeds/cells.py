"""Read the cells of a row of our own form, by the names of their columns. Pure.

A cell of a figure, or of what decides where and how it counts, is read or refuses its row (BadCell). A cell beside the
figures that cannot be read is left out, and remembered in `left_out`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from pydantic import ValidationError

from ingest.feeds.table import BadCell, evidence, instant, share, whole
from schemas.codec import UNKNOWN
from schemas.count_update import Code
from schemas.faults import first_fault

SUPPRESSED = "suppressed"
"""A figure that the office holds back."""

_Word = TypeVar("_Word", bound=StrEnum)
_Value = TypeVar("_Value")


class Cells:
    """The cells of one row. A column that is not there is as an empty cell: None."""

    __slots__ = ("_at", "_row", "left_out", "suppressed")

    def __init__(self, at: Mapping[str, int], row: list[str]) -> None:
        """`at`: where each column stands in the row."""
        self._at, self._row = at, row
        self.left_out: list[BadCell] = []
        self.suppressed: list[str] = []
        """Columns of figures that are held back, of those that were read."""

    def text(self, column: str) -> str | None:
        """Return the text of a cell."""
        place = self._at.get(column)
        return None if place is None else self._row[place] or None

    def count(self, column: str) -> int | None:
        """Read a number."""
        text = self.text(column)
        return None if text is None else whole(text, column)

    def figure(self, column: str) -> int | None:
        """Read a number that may be held back."""
        text = self.text(column)
        if text is None:
            return None
        if text != SUPPRESSED:
            return whole(text, column)
        self.suppressed.append(column)
        return None

    def time(self, column: str) -> datetime | None:
        """Read a time."""
        text = self.text(column)
        return None if text is None else instant(text, column).astimezone(UTC)

    def word(self, column: str, words: type[_Word]) -> _Word | None:
        """Read one of the words of an enumeration. UNKNOWN is none: it stands for those of later releases."""
        if (text := self.text(column)) is None:
            return None
        allowed = [word for word in words if word != UNKNOWN]
        if text not in allowed:
            near = next((word for word in allowed if word.lower() == text.strip().lower()), None)
            hint = "" if near is None else f"; is {near.value!r} meant?"
            raise BadCell(column, "F204", f"{text[:40]!r} is unknown{hint}", f"one of {', '.join(allowed)}")
        return words(text)

    # --- beside the figures

    def beside(self, read: Callable[[], _Value]) -> _Value | None:
        """Return what `read` reads, None for what it refuses."""
        try:
            return read()
        except BadCell as bad:
            self.left_out.append(bad)
            return None

    def said(self, column: str) -> str | None:
        """Read a remark, a name or the office's own word."""
        text = self.text(column)
        return None if text is None else evidence(text, column, self.left_out.append)

    def percentage(self, column: str) -> str | None:
        """Read a percentage."""
        return share(self.text(column), column, self.left_out.append)

    def code(self, registry: str, column: str) -> Code | None:
        """Read the unit's id in another register."""
        try:
            return None if (text := self.text(column)) is None else Code(registry=registry, value=text)
        except ValidationError as error:
            self.left_out.append(BadCell(column, "F112", first_fault(error), "at most 200 visible characters"))
            return None
