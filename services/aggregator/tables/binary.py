"""Encode rows in PostgreSQL's binary COPY format (pure).

A row is the number of its fields, then each field: its length (-1: null) and its bytes. Columns of numbers are encoded
for all rows at once; a row is then joined from a few pieces.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.tables.binary_rows import EPOCH_MS
from schemas.columns.layout import Bytes, Mask, Numbers

NULL = b"\xff\xff\xff\xff"
_TEXT, _INT8 = 25, 20
"""OIDs of the types in PostgreSQL."""
_LOWER_INCLUSIVE = 2
_length = struct.Struct(">i").pack
_ONE_TEXT = struct.pack(">iiiii", 1, 0, 25, 1, 1)
field_count = struct.Struct(">h").pack
_range = struct.Struct(">ibiqiq").pack

Words = NDArray[np.uint32]
Part = tuple[Words, Mask | None]
"""Some columns of all rows as words of four bytes, of which each field here is a multiple; and which of them are sent
(None: all)."""
_NULL_WORD = np.uint32(2**32 - 1)


def sized(raw: bytes) -> bytes:
    """Encode a field of any type by its bytes."""
    return _length(len(raw)) + raw


def sized_or_null(raw: bytes | None) -> bytes:
    """Encode a field that may be null."""
    return NULL if raw is None else _length(len(raw)) + raw


def text(value: str) -> bytes:
    """Encode a text."""
    return sized(value.encode())


def number(value: int) -> bytes:
    """Encode a bigint."""
    return struct.pack(">iq", 8, value)


def texts(values: Sequence[bytes]) -> bytes:
    """Encode an array of texts."""
    if not values:
        return sized(struct.pack(">iii", 0, 0, _TEXT))
    if len(values) == 1:
        (value,) = values
        length = len(value)
        return _length(24 + length) + _ONE_TEXT + _length(length) + value
    return sized(struct.pack(">iiiii", 1, 0, _TEXT, len(values), 1) + b"".join(map(sized, values)))


def numbers(values: Numbers) -> bytes:
    """Encode an array of bigint, without its length."""
    elements = np.empty((len(values), 3), ">i4")
    elements[:, 0] = 8
    elements[:, 1:] = np.asarray(values).astype(">i8").view(">i4").reshape(-1, 2)
    return struct.pack(">iiiii", 1, 0, _INT8, len(values), 1) + elements.tobytes()


def few_numbers(values: Sequence[int]) -> bytes:
    """Encode a field of a few numbers as an array of bigint."""
    pairs = [part for value in values for part in (8, value)]
    return sized(struct.pack(">iiiii" + "iq" * len(values), 1, 0, _INT8, len(values), 1, *pairs))


def span(begin: int, end: int) -> bytes:
    """Encode an int8range, `end` exclusive."""
    return _range(25, _LOWER_INCLUSIVE, 8, begin, 8, end)


def microseconds(ms: Numbers) -> Numbers:
    """Convert times to PostgreSQL's."""
    return (ms - EPOCH_MS) * 1000


def of_kind(values: Any, kind: str) -> Part:
    """Encode a column without nulls. `kind`: its numpy type, big-endian."""
    return of_words(_words(np.asarray(values).astype(kind), len(values)))


def of_bytes(values: Bytes, is_null: Mask | None = None) -> Part:
    """Encode a column whose values have one length. Shape (rows, length)."""
    return of_words(_words(np.ascontiguousarray(values), len(values)), is_null)


def of_times(ms: Numbers, nothing: int | None = None) -> Part:
    """Encode a column of times, null where it is `nothing`."""
    return of_words(_words(microseconds(ms).astype(">i8"), len(ms)), None if nothing is None else ms == nothing)


def of_words(values: Words, is_null: Mask | None = None) -> Part:
    """Encode a column by the words of its values. Shape (rows, words)."""
    rows, width = values.shape
    encoded = np.empty((rows, 1 + width), np.uint32)
    encoded[:, 0] = _word(4 * width)
    encoded[:, 1:] = values
    if is_null is None or not is_null.any():
        return encoded, None
    encoded[is_null, 0] = _NULL_WORD
    sent = np.ones(encoded.shape, bool)
    sent[is_null, 1:] = False
    return encoded, sent


def of_arrays(values: Numbers, is_null: Mask, *, empty_is_null: bool) -> Part:
    """Encode a column of bigint[] of one length, with nulls among the elements. Shape (rows, elements).

    `empty_is_null`: an array of nulls only is null itself.
    """
    rows, size = values.shape
    nulls = is_null.sum(axis=1)
    widths = np.where(is_null.all(axis=0), 1, 3)  # most slots are null in every row of a batch
    ends = 6 + np.cumsum(widths)
    encoded = np.full((rows, int(ends[-1])), _NULL_WORD)
    sent = np.ones(encoded.shape, bool)
    head = np.empty((rows, 6), ">i4")
    head[:, 0] = 20 + 12 * size - 8 * nulls
    head[:, 1:] = 1, 0, _INT8, size, 1
    head[:, 2] = nulls > 0
    encoded[:, :6] = head.view(np.uint32)
    numbers = values.astype(">i8").view(np.uint32).reshape(rows, size, 2)
    for slot in np.flatnonzero(widths == 3).tolist():
        end, null = int(ends[slot]), is_null[:, slot]
        encoded[:, end - 3] = np.where(null, _NULL_WORD, _word(8))
        encoded[:, end - 2 : end] = numbers[:, slot]
        sent[null, end - 2 : end] = False
    if empty_is_null:
        empty = nulls == size
        encoded[empty, 0] = _NULL_WORD
        sent[empty, 1:] = False
    return encoded, sent


def _words(values: Any, rows: int) -> Words:
    return np.asarray(values.view(np.uint32).reshape(rows, values.nbytes // (4 * rows) if rows else 1))


def _word(number: int) -> np.uint32:
    return np.uint32(np.frombuffer(_length(number), np.uint32)[0])


def rows_of(parts: Iterable[Part]) -> list[bytes]:
    """Join parts: the bytes of each row."""
    found = list(parts)
    whole = np.concatenate([encoded for encoded, _ in found], axis=1)
    rows, width = whole.shape
    if all(sent is None for _, sent in found):
        joined, ends = whole.tobytes(), np.arange(1, rows + 1) * width
    else:
        kept = np.concatenate([np.ones(e.shape, bool) if sent is None else sent for e, sent in found], axis=1)
        joined, ends = whole[kept].tobytes(), np.cumsum(kept.sum(axis=1))
    begins = np.append(0, 4 * ends[:-1]).tolist()
    return [joined[begin:end] for begin, end in zip(begins, (4 * ends).tolist(), strict=True)]
