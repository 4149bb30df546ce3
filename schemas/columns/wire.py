"""Read Avro fields of many messages at once, each as a column (pure): the reader is derived from the released schema.

The messages of one schema are one array of bytes; a field is read by a few numpy operations at all the places that were
reached. It knows what Avro and this project's own encoder write. A message that is written otherwise in any way, or
states a field that has no column (FIELDS), is no longer `ok`: the general decoder reads it. So a new version of the
schema is read from its first day, and by columns as long as its new fields are null.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from schemas.codec import MAGIC, OWN, SCHEMAS, Schema, filters_of
from schemas.columns.layout import NONE, Bytes, Mask, Numbers
from schemas.log_record import RawRecord
from schemas.types import COUNT_LIMIT, ResultStage, UpdateKind, from_milliseconds

Span = tuple[Numbers, Numbers]
"""Where something begins on the wire, and where it ends, of each message."""
Column = Any
"""Numbers of a long, an enum (its code) or a time; a Mask of a boolean; Bytes (n, 16) of a UUID; a Span of a text."""

NO_TIME = -(2**63)
"""A time that is not stated."""

FIELDS = frozenset(
    {
        "event_id", "contest_id", "reporting_unit.id", "reporting_unit.type", "reporting_unit.name",
        "reporting_unit.area_path", "sequence", "previous_event_id", "kind", "reported_at", "stated_at",
        "observed_at", "count_status", "source_status", "review_reason", "result_stage", "counts", "counts.votes",
        "counts.ballots_cast", "counts.valid_votes", "counts.blank_votes", "counts.invalid_votes",
        "counts.challenged_votes", "counts.undervotes", "counts.overvotes", "counts.registered_voters",
        "counts.registered_voters_counted", "source.name", "source.snapshot_id", "source.part", "source.parts",
        "source.is_complete", "source.documents", "source.documents.name", "source.documents.uri",
        "source.documents.sha256", "source.documents.place", "is_test",
    }
)  # fmt: skip
"""The fields of a CountUpdate that are read; every other one must be null."""

_PREFIX = 5
_PADDING = 1024
"""Beyond the end, so that a constant or a UUID is never read out of bounds."""
_MOST_AREAS, _MOST_DOCUMENTS = 8, 4
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_DIGITS = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
_HYPHENS = np.array([8, 13, 18, 23])

_UPDATES = {s.id: s for s in OWN.values() if s.record == "CountUpdate"}
_FILTERS = [name for name, _ in filters_of(UpdateKind.REPORTED, ResultStage.PROVISIONAL, False)]
_HEADERS = {
    s.id: [*(name for name, _ in s.headers), "ce_id", "ce_source", "ce_subject", "ce_time", *_FILTERS]
    for s in _UPDATES.values()
}


def schema_of(raw: RawRecord) -> Schema | None:
    """Return the schema that a message names in its value, if that is one of a CountUpdate of this release.

    A schema that was learnt is none: what it adds has no column, and its codes are others.
    """
    return None if (schema_id := _schema_id(raw)) is None else _UPDATES.get(schema_id)


def is_update(raw: RawRecord) -> bool:
    """Say whether a message names a schema of CountUpdate in its value, of this release or a later one."""
    schema = None if (schema_id := _schema_id(raw)) is None else SCHEMAS.get(schema_id)
    return schema is not None and schema.record == "CountUpdate"


def _schema_id(raw: RawRecord) -> int | None:
    value = raw.value
    if value is None or len(value) <= _PREFIX or value[0] != MAGIC or raw.fault is not None:
        return None
    return int.from_bytes(value[1:_PREFIX], "big")


def read(records: Sequence[RawRecord], schema: Schema, key: bytes, selections: Sequence[str]) -> "Wire":
    """Read all fields of messages of one schema. `wire.ok` says which could be; `key`: of the contest's messages."""
    wire = Wire(records, key, selections)
    wire.ok &= np.array([raw.key == key and _has_headers(raw, schema) for raw in records], bool)
    wire.read_record(schema.avro, "", None)
    wire.ok &= wire.at == wire.end
    return wire


def _has_headers(raw: RawRecord, schema: Schema) -> bool:
    headers = raw.headers
    names = [name for name, _ in headers]
    return names == _HEADERS[schema.id] and headers[3][1] == schema.headers[3][1]


class Wire:
    """Messages one after the other, and how far each is read.

    A message that is no longer `ok` is read on, as whatever stands there, and never out of bounds.
    """

    def __init__(self, records: Sequence[RawRecord], key: bytes, selections: Sequence[str]) -> None:
        values = [r.value or b"" for r in records]
        self.joined = b"".join(values)
        self.characters = self.joined.decode("latin-1")
        self._bytes = np.frombuffer(self.joined + bytes(_PADDING), np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        self.end = np.cumsum(lengths)
        self.at = self.end - lengths + _PREFIX
        self.ok: Mask = np.ones(len(values), bool)
        self.columns: dict[str, Column] = {}
        """By the path of the field, as in FIELDS; `has …`: whether it is stated, `… text`: where its text begins."""
        self.votes: list[Numbers] = []
        """By selection, in their order."""
        self.documents: list[tuple[Span, Span]] = []
        """Of each document in turn: where its name, URI and hash stand, and its place; empty where there are fewer."""
        self._key, self._selections = key, selections
        self._keep_in_bounds()

    # --- by the schema

    def read_record(self, schema: Mapping[str, Any], path: str, where: Mask | None) -> None:
        """Read every field of a record, in the order of the schema."""
        for field in schema["fields"]:
            self._read(field["type"], f"{path}{field['name']}", where)

    def _read(self, schema: Any, path: str, where: Mask | None) -> None:
        if isinstance(schema, list):
            self._read_optional(schema, path, where)
            return
        kind = schema if isinstance(schema, str) else schema.get("logicalType") or schema["type"]
        if kind == "record":
            self.read_record(schema, f"{path}.", where)
            return
        if path not in FIELDS:  # a new field that is never null: no message of this version is ordinary
            self.ok[:] = False
            return
        if kind == "enum":
            self.columns[path] = self._enum(len(schema["symbols"]), where)
        elif kind == "map":
            self.votes = self._votes(where)
        elif kind == "array" and schema["items"] == "string":
            self.columns[path] = self._span(lambda: self._strings(where))
        elif kind == "array":
            self._documents()
        elif kind == "uuid":
            self.columns[f"{path} text"] = self.at + 1
            self.columns[path] = self._uuid(where)
        elif kind == "boolean":
            self.columns[path] = self._flag()
        elif path == "contest_id":
            self._constant(self._key, np.ones(len(self.at), bool))
        elif kind == "string":
            self.columns[path] = self._span(lambda: self._string(where))
        else:
            self.columns[path] = self._long(where)

    def _read_optional(self, schema: Sequence[Any], path: str, where: Mask | None) -> None:
        value = self._long(where)
        null = schema.index("null")
        stated: Mask = value == 1 - null
        self.ok &= stated | (value == null)
        if where is not None:
            stated &= where
        if path not in FIELDS:
            self.ok &= ~stated
            return
        self.columns[f"has {path}"] = stated
        kind = schema[1 - null]
        self._read(kind, path, stated)
        if kind == "long":
            figures = self.columns[path]
            self.ok &= (figures >= 0) & (figures < COUNT_LIMIT)
            self.columns[path] = np.where(stated, figures, NONE)
        elif isinstance(kind, dict) and kind["type"] != "record" and kind.get("logicalType") != "uuid":
            nothing = NO_TIME if kind.get("logicalType") == "timestamp-millis" else NONE
            self.columns[path] = np.where(stated, self.columns[path], nothing)

    def _votes(self, where: Mask | None) -> list[Numbers]:
        """Read a map of optional numbers whose keys are the selections, in one order for all messages."""
        present: Mask = np.ones(len(self.at), bool) if where is None else where
        columns = dict.fromkeys(self._selections, np.full(len(self.at), NONE, np.int64))
        if not self._selections:  # an empty map is spelled otherwise
            self.ok &= ~present
        order = self._map_keys(present)
        self.ok &= ~present | (self._long(present) == len(order))
        for selection in order:
            self._constant(selection.encode(), present)
            self._read_optional(["null", "long"], "counts.votes", present)
            columns[selection] = self.columns["counts.votes"]
        self.ok &= ~present | (self._long(present) == 0)
        return [columns[selection] for selection in self._selections]

    def _map_keys(self, present: Mask) -> Sequence[str]:
        """Return the order in which the first message names the selections: that of all ordinary ones."""
        first = np.flatnonzero(present & self.ok)
        if not first.size:
            return self._selections
        return _keys(self.joined[int(self.at[first[0]]) : int(self.end[first[0]])], self._selections)

    def _documents(self) -> None:
        count = self._long(None)
        self.ok &= (count >= 1) & (count <= _MOST_DOCUMENTS)
        count = np.where(self.ok, count, 0)
        for i in range(int(count.max(initial=0))):
            there = count > i
            begin = self.at.copy()
            self._string(there)
            self._optional_string(there)
            self._string(there)
            middle = self.at.copy()
            self._string(there)
            self.documents.append(((begin, middle), (middle, self.at.copy())))
        self.ok &= self._long(None) == 0

    # --- by the kind of the value

    def _keep_in_bounds(self) -> None:
        lost = self.at > self.end
        if lost.any():
            self.ok &= ~lost
            self.at = np.minimum(self.at, self.end)

    def _span(self, pass_over: Any) -> Span:
        begin = self.at.copy()
        pass_over()
        return begin, self.at.copy()

    def _long(self, where: Mask | None) -> Numbers:
        """Read Avro's zigzag number; 0 elsewhere."""
        if where is not None:
            values = np.zeros(len(self.at), np.int64)
            if (chosen := np.flatnonzero(where)).size:
                values[chosen], self.at[chosen] = self._long_at(self.at[chosen], chosen)
            return values
        values, self.at = self._long_at(self.at, None)
        return values

    def _long_at(self, at: Numbers, chosen: Numbers | None) -> tuple[Numbers, Numbers]:
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
        if more.size:  # nothing that a model accepts is so long
            self.ok[more if chosen is None else chosen[more]] = False
        ends = self.end if chosen is None else self.end[chosen]
        if (lost := at > ends).any():
            self.ok[np.flatnonzero(lost) if chosen is None else chosen[lost]] = False
            at = np.minimum(at, ends)
        return (values >> 1) ^ -(values & 1), at

    def _enum(self, symbols: int, where: Mask | None) -> Numbers:
        values = self._long(where)
        ordinary = (values >= 0) & (values < symbols)
        self.ok &= ordinary
        return np.where(ordinary, values, 0)

    def _flag(self) -> Mask:
        values = self._bytes[self.at]
        self.ok &= values <= 1
        self.at = self.at + 1
        self._keep_in_bounds()
        there: Mask = values == 1
        return there

    def _string(self, where: Mask | None) -> None:
        self._pass(self._long(where), where)

    def _optional_string(self, where: Mask) -> None:
        stated = self._long(where)
        self.ok &= (stated == 0) | (stated == 1)
        self._string(where & (stated == 1))

    def _pass(self, lengths: Numbers, where: Mask | None) -> None:
        """Pass over the bytes of a string."""
        sound = (lengths >= 0) & (lengths <= self.end - self.at)
        self.ok &= sound
        self.at = self.at + (np.where(sound, lengths, 0) if where is None else np.where(sound & where, lengths, 0))

    def _strings(self, where: Mask | None) -> None:
        """Pass over an array of strings, one block."""
        assert where is None
        count = self._long(None)
        self.ok &= (count >= 1) & (count <= _MOST_AREAS)
        count = np.where(self.ok, count, 0)
        for i in range(int(count.max(initial=0))):
            self._string(count > i)
        self.ok &= self._long(None) == 0

    def _constant(self, expected: bytes, where: Mask) -> None:
        """Pass over a string that is the same in all."""
        lengths = self._long(where)
        chosen = np.flatnonzero(where)
        found = self._bytes_at(self.at[where], len(expected))
        self.ok[chosen[(found != np.frombuffer(expected, np.uint8)).any(axis=1)]] = False
        self.ok &= (lengths == len(expected)) | ~where
        self._pass(lengths, where)

    def _bytes_at(self, at: Numbers, length: int) -> Bytes:
        """Return so many bytes from each place on. Shape (places, length)."""
        assert length <= _PADDING
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, length)
        return np.ascontiguousarray(windows[np.minimum(at, len(windows) - 1)])

    def _uuid(self, where: Mask | None) -> Bytes:
        """Read a UUID in its one usual spelling; zeros elsewhere."""
        begin = self.at + 1
        chosen = np.arange(len(self.at)) if where is None else np.flatnonzero(where)
        lengths = self._long(where)
        self.ok[chosen] &= lengths[chosen] == 36
        found = self._bytes_at(begin[chosen], 36)
        digits = _HEX[found[:, _DIGITS]]
        sound = (digits < 16).all(axis=1) & (found[:, _HYPHENS] == ord("-")).all(axis=1)
        self.ok[chosen[~sound]] = False
        ids = np.zeros((len(self.at), 16), np.uint8)
        ids[chosen] = digits[:, ::2] << 4 | digits[:, 1::2] & 15
        self._pass(lengths, where)
        return ids

    def slices(self, span: Span, rows: Numbers) -> list[bytes]:
        """Return the bytes of a span, of some messages."""
        begins, ends, joined = span[0][rows].tolist(), span[1][rows].tolist(), self.joined
        return [joined[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _keys(wire: bytes, selections: Sequence[str]) -> Sequence[str]:
    """Return the keys of a map of optional numbers in their order; `selections` where these are not its keys."""
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
    """Return so many strings that follow each other on the wire."""
    found, at = [], 0
    for _ in range(count):
        length, shift = wire[at] & 0x7F, 7
        while wire[at] > 127:
            at += 1
            length |= (wire[at] & 0x7F) << shift
            shift += 7
        at += 1
        found.append(wire[at : at + (length >> 1)])
        at += length >> 1
    return found


def string(raw: bytes) -> bytes:
    """Return a string as it stands on the wire."""
    return long(len(raw)) + raw


def long(value: int) -> bytes:
    """Return an integer as it stands on the wire: zigzag, of variable length."""
    n = value << 1 ^ value >> 63
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def instant(ms: int) -> datetime | None:
    """Return a time of a column, None for one that is not stated."""
    return None if ms == NO_TIME else from_milliseconds(ms)
