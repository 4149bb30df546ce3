"""Avro fields of many messages at once, each a column of numbers (pure): what `columns` reads with.

A run of messages is one array of bytes; a field is read by a few numpy operations at all the places that were reached.
It knows what Avro and this project's own encoder write, and the order of no field; whatever is written otherwise is no
longer `ok`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.codec import MAGIC, SCHEMAS
from schemas.log_record import RawRecord

Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Span = tuple[Numbers, Numbers]
"""Where something begins on the wire, and where it ends, of each message."""

NONE = -1
"""A number that is not stated, which is not zero."""

_PREFIX = 5
_PADDING = 1024
"""No id is longer: 200 characters."""
LARGEST = 2**32
"""What no sheet has as many of; so that sums of a run cannot leave 64 bits. The contract takes up to 2^53."""
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_DIGITS = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
_HYPHENS = np.array([8, 13, 18, 23])

_KINDS = {s.id: s.sha256.encode() for s in SCHEMAS.values() if s.record == "CountUpdate"}
_NAMES = [*(name for name, _ in SCHEMAS[4].headers), "ce_id", "ce_source", "ce_subject", "ce_time"]
"""Of the headers that every message of ours has."""
assert _NAMES[3] == "schema_sha256"
_WITH_NOTE = frozenset(s.id for s in SCHEMAS.values() if any(f["name"] == "office_note" for f in s.avro["fields"]))
assert set(_KINDS) == {2, 4}, "another version of CountUpdate: teach the columns its fields before it is read by them"


class Wire:
    """The messages one after the other, and how far each is read. What is not ordinary is no longer `ok`; it is read
    on, as whatever stands there, and never out of bounds."""

    def __init__(self, records: Sequence[RawRecord]) -> None:
        values = [r.value or b"" for r in records]
        self.joined = b"".join(values)
        self.characters = self.joined.decode("latin-1")
        self._bytes = np.frombuffer(self.joined + bytes(_PADDING), np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        self.end = np.cumsum(lengths)
        self.at = self.end - lengths
        kinds = [value[4] if value[:4] == _HEAD and len(value) > _PREFIX else 0 for value in values]
        self.ok = np.array(
            [kind in _KINDS and _names_right(r.headers, _KINDS[kind]) for kind, r in zip(kinds, records, strict=True)],
            bool,
        )
        self.has_note = np.array([kind in _WITH_NOTE for kind in kinds], bool)
        self.at += _PREFIX
        self._keep_in_bounds()

    def _keep_in_bounds(self) -> None:
        lost = self.at > self.end
        if lost.any():
            self.ok &= ~lost
            self.at = np.minimum(self.at, self.end)

    def only(self, ordinary: Mask) -> None:
        """The others are not ordinary."""
        self.ok &= ordinary

    def long(self, where: Mask | None = None) -> Numbers:
        """Avro's zigzag number; 0 elsewhere."""
        if where is not None:
            values = np.zeros(len(self.at), np.int64)
            if (chosen := np.flatnonzero(where)).size:
                values[chosen], self.at[chosen] = self._long(self.at[chosen], chosen)
            return values
        values, self.at = self._long(self.at, None)
        return values

    def _long(self, at: Numbers, chosen: Numbers | None) -> tuple[Numbers, Numbers]:
        byte = self._bytes[at]
        values = (byte & 0x7F).astype(np.int64)
        at = at + 1
        more, shift = np.flatnonzero(byte > 127), 7
        while more.size and shift < 63:
            byte = self._bytes[np.minimum(at[more], len(self._bytes) - 1)]
            values[more] |= (byte & 0x7F).astype(np.int64) << shift
            at[more] += 1
            padded = more[byte == 0]  # a longer spelling than our encoder's: the same unit would have two names
            self.ok[padded if chosen is None else chosen[padded]] = False
            more, shift = more[byte > 127], shift + 7
        if more.size:  # nothing that a model takes is so long
            self.ok[more if chosen is None else chosen[more]] = False
        ends = self.end if chosen is None else self.end[chosen]
        if (lost := at > ends).any():
            self.ok[np.flatnonzero(lost) if chosen is None else chosen[lost]] = False
            at = np.minimum(at, ends)
        return (values >> 1) ^ -(values & 1), at

    def enum(self, symbols: int, where: Mask | None = None) -> Numbers:
        """A number below `symbols`."""
        values = self.long(where)
        ordinary = (values >= 0) & (values < symbols)
        self.ok &= ordinary
        return np.where(ordinary, values, 0)

    def branch(self, where: Mask | None = None) -> Mask:
        """Whether a union with null has something."""
        values = self.long(where)
        self.ok &= (values == 0) | (values == 1)
        there: Mask = values == 1
        return there

    def flag(self) -> Mask:
        """A boolean."""
        values = self._bytes[self.at]
        self.ok &= values <= 1
        self.at = self.at + 1
        self._keep_in_bounds()
        there: Mask = values == 1
        return there

    def optional_count(self, where: Mask) -> Numbers:
        """A number of votes or people, NONE where it is not stated."""
        stated = where & self.branch(where)
        values = self.long(stated)
        self.ok &= (values >= 0) & (values < LARGEST)
        return np.where(stated, values, NONE)

    def _pass(self, lengths: Numbers, where: Mask | None) -> None:
        """Passes over the bytes of a string."""
        sound = (lengths >= 0) & (lengths <= self.end - self.at)
        self.ok &= sound
        self.at = self.at + (np.where(sound, lengths, 0) if where is None else np.where(sound & where, lengths, 0))

    def string(self, where: Mask | None = None) -> None:
        """A string."""
        self._pass(self.long(where), where)

    def optional_string(self) -> Span:
        """A string, with its length; an empty span where there is none."""
        stated = self.branch()
        begin = self.at.copy()
        self.string(stated)
        return begin, self.at.copy()

    def strings(self, most: int) -> None:
        """An array of strings, one block."""
        count = self.long()
        self.ok &= (count >= 1) & (count <= most)
        count = np.where(self.ok, count, 0)
        for i in range(int(count.max(initial=0))):
            self.string(count > i)
        self.ok &= self.long() == 0

    def constant(self, expected: bytes, where: Mask | None = None) -> None:
        """A string that is the same in all."""
        lengths = self.long(where)
        same = lengths == len(expected)
        if where is not None:
            same |= ~where
        at, chosen = (self.at, None) if where is None else (self.at[where], np.flatnonzero(where))
        found = self._rows(at, len(expected))
        differs = (found != np.frombuffer(expected, np.uint8)).any(axis=1)
        self.ok[np.flatnonzero(differs) if chosen is None else chosen[differs]] = False
        self.ok &= same
        self._pass(lengths, where)

    def _rows(self, at: Numbers, length: int) -> Bytes:
        """So many bytes from a place on, of each. Shape (places, length)."""
        assert length <= _PADDING
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, length)
        return np.ascontiguousarray(windows[np.minimum(at, len(windows) - 1)])

    def uuid(self, where: Mask | None = None) -> Bytes:
        """A UUID in its one usual spelling. Shape (messages, 16); zeros elsewhere."""
        begin = self.at + 1
        chosen = np.arange(len(self.at)) if where is None else np.flatnonzero(where)
        lengths = self.long(where)
        self.ok[chosen] &= lengths[chosen] == 36
        found = self._rows(begin[chosen], 36)
        digits = _HEX[found[:, _DIGITS]]
        sound = (digits < 16).all(axis=1) & (found[:, _HYPHENS] == ord("-")).all(axis=1)
        self.ok[chosen[~sound]] = False
        ids = np.zeros((len(self.at), 16), np.uint8)
        ids[chosen] = digits[:, ::2] << 4 | digits[:, 1::2] & 15
        self._pass(lengths, where)
        return ids

    def map_keys(self, present: Mask, selections: Sequence[str]) -> Sequence[str]:
        """The order in which the first message that has them names the selections: that of all ordinary ones."""
        first = np.flatnonzero(present & self.ok)
        if not first.size:
            return selections
        at, end = int(self.at[first[0]]), int(self.end[first[0]])
        return _keys(self.joined[at:end], selections)

    def documents(self, most: int = 4) -> list[tuple[Span, Span]]:
        """An array of documents, one block; of each the spans of its address and hash, and of its place."""
        count = self.long()
        self.ok &= (count >= 1) & (count <= most)
        count = np.where(self.ok, count, 0)
        found: list[tuple[Span, Span]] = []
        for i in range(int(count.max(initial=0))):
            there = count > i
            begin = self.at.copy()
            self.string(there)
            self.string(there)
            middle = self.at.copy()
            self.string(there)
            found.append(((begin, middle), (middle, self.at.copy())))
        self.ok &= self.long() == 0
        return found

    def slices(self, span: Span, rows: Numbers) -> list[bytes]:
        """The bytes of a span, of some messages."""
        begins, ends, joined = span[0][rows].tolist(), span[1][rows].tolist(), self.joined
        return [joined[begin:end] for begin, end in zip(begins, ends, strict=True)]


_HEAD = bytes([MAGIC, 0, 0, 0])


def is_update(raw: RawRecord) -> bool:
    """Whether a message says that it is an update."""
    value = raw.value
    return value is not None and len(value) > _PREFIX and value[:4] == _HEAD and value[4] in _KINDS


def _names_right(headers: Sequence[tuple[str, bytes | None]], sha256: bytes) -> bool:
    """Whether the header that names the schema names that of the value, among the headers of an ordinary message."""
    return [name for name, _ in headers] == _NAMES and headers[3][1] == sha256


def _keys(wire: bytes, selections: Sequence[str]) -> Sequence[str]:
    """The keys of a map of optional numbers, in their order; the selections as they are where these are not its
    keys."""
    found: list[str] = []
    at = next((i for i, byte in enumerate(wire, 1) if byte < 128), len(wire))
    try:
        for _ in selections:
            (key,) = strings(wire[at:], 1)
            found.append(key.decode())
            at += len(string(key))
            at += 1 if wire[at] == 0 else 1 + next(i for i, byte in enumerate(wire[at + 1 :], 1) if byte < 128)
    except (IndexError, StopIteration, UnicodeDecodeError):
        return selections
    return found if sorted(found) == sorted(selections) else selections


def strings(wire: bytes, count: int) -> list[bytes]:
    """So many strings that follow each other on the wire; of a run that was found to hold them."""
    found, at = [], 0
    for _ in range(count):
        length, shift = 0, 0
        while True:
            byte = wire[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 128:
                break
        found.append(wire[at : at + (length >> 1)])
        at += length >> 1
    return found


def string(raw: bytes) -> bytes:
    """A string as it stands on the wire."""
    length, out = len(raw) << 1, bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + raw
