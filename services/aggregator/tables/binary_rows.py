"""Read rows in PostgreSQL's binary format as columns (pure): many rows of which nobody needs objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.columns.layout import Numbers

EPOCH_MS = 946_684_800_000
"""2000-01-01, the epoch of PostgreSQL's timestamps, in milliseconds since 1970."""


class UnexpectedField(ValueError):
    """A row is not of the form that the aggregator writes."""


class BinaryRows:
    """Rows that were read, field by field, each a column. Fields are asked for in the order of the query."""

    def __init__(self, rows: Sequence[bytes]) -> None:
        joined = b"".join(rows)
        self._bytes = np.frombuffer(joined + bytes(1024), np.uint8)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self._at = np.cumsum(lengths) - lengths + 2

    def field(self, kind: str) -> Any:
        """Return a column without nulls, of a numpy type of known length."""
        width = np.dtype(kind).itemsize
        if (self._number(self._at) != width).any():
            raise UnexpectedField("a field that is null or of another length")
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, width)
        found = np.ascontiguousarray(windows[self._at + 4])
        self._at = self._at + 4 + width
        return found.view(kind).ravel().astype(kind.replace(">", "=")) if kind[0] == ">" else found

    def times(self) -> Numbers:
        """Return a column of times without nulls, in milliseconds since 1970."""
        return np.asarray(self.field(">i8") // 1000 + EPOCH_MS)

    def array(self, size: int, nothing: int, beyond: int) -> Numbers:
        """Return a column of bigint[], shape (rows, size): `nothing` for nulls, `beyond` behind the end of an array."""
        rows = len(self._at)
        found = np.full((rows, size), beyond, np.int64)
        is_null = self._number(self._at) < 0
        count = np.where(is_null, 0, self._number(self._at + 16))
        if (count > size).any():
            raise UnexpectedField("an array that is longer than the layout")
        self._at = self._at + np.where(is_null, 4, 24)
        for element in range(int(count.max(initial=0))):
            there = element < count
            stated = there & (self._number(self._at) == 8)
            found[there & ~stated, element] = nothing
            at = self._at[stated] + 4
            windows = np.lib.stride_tricks.sliding_window_view(self._bytes, 8)
            found[stated, element] = np.ascontiguousarray(windows[at]).view(">i8").ravel()
            self._at = self._at + np.where(there, 4, 0) + np.where(stated, 8, 0)
        return found

    def _number(self, at: Numbers) -> Numbers:
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, 4)
        return np.ascontiguousarray(windows[at]).view(">i4").ravel().astype(np.int64)
