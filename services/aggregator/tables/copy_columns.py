"""Encode the `count_update_history` rows of a run of updates as PostgreSQL's binary COPY (pure).

The reference implementation is `rows.update_row`; a test compares the tables. Values that many rows share are encoded
once, columns of a fixed length by numpy, and a row is joined from a few pieces. COPY lets us choose the order of the
columns: those of a fixed length come first.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from weakref import WeakKeyDictionary

import numpy as np
import orjson

from aggregator.columns.columns import NO_TIME
from aggregator.columns.figures import REASONS, STAGES, STATUSES
from aggregator.columns.roll import Roll
from aggregator.columns.runs import Run
from aggregator.columns.wire import NONE, Numbers, strings
from aggregator.tables.rows import BLOCK, UPDATE
from schemas.types import to_milliseconds

_FIXED = {
    "partition": ">i4", "log_offset": ">i8", "recorded_at": ">i8", "event_id": "V16", "sequence": ">i8",
    "observed_at": ">i8", "stated_at": ">i8", "is_test": "u1", "accepted": "u1", "is_current": "u1", "is_moved": "u1",
}  # fmt: skip
_ALIKE = {
    "kind": b"REPORTED", "correction": None, "sub_units": None, "published_percentages": None, "office_note": None,
    "superseded_at": None,
}  # fmt: skip
_ORDER = (
    *_FIXED, *_ALIKE, "contest_id", "unit_type", "unit_id", "unit_name", "area_path", "previous_event_id",
    "reported_at", "last_reported_at", "count_status", "source_status", "review_reason", "result_stage", "counts",
    "source", "change",
)  # fmt: skip
COLUMNS = {name: UPDATE[name] for name in _ORDER}
"""The columns and their types, in the order they are written."""
assert COLUMNS.keys() == UPDATE.keys()

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_CHUNK = 1_000
"""Rows sent at once: PostgreSQL reads them while the next are encoded."""
_EPOCH_MS = 946_684_800_000
"""2000-01-01, the epoch of PostgreSQL's timestamps in microseconds."""
_NULL = b"\xff\xff\xff\xff"
_TEXT, _INT8 = 25, 20
"""OIDs of the types in PostgreSQL."""
_LOWER_INCLUSIVE = 2
_BIGINT = np.dtype([("length", ">i4"), ("value", ">i8")])
_length = struct.Struct(">i").pack
_number = struct.Struct(">iq").pack
_count = struct.Struct(">h").pack
_range = struct.Struct(">ibiqiq").pack
_REMEMBERED = 1 << 17

_ROW = np.dtype(
    [
        ("count", ">i2"),
        *((f"{part}{name}", kind) for name, k in _FIXED.items() for part, kind in (("length of ", ">i4"), ("", k))),
    ]
)


class Rows:
    """Encode the rows of runs; strings that recur are encoded once."""

    def __init__(self) -> None:
        self._units: WeakKeyDictionary[Roll, dict[int, bytes]] = WeakKeyDictionary()
        self._names: dict[bytes, bytes] = {}
        self._publications: dict[bytes, bytes] = {}
        self._addresses: dict[bytes, bytes] = {}

    def updates(self, run: Run) -> Iterator[bytes]:
        """Encode the rows of `count_update_history`, in the order of COLUMNS."""
        yield HEADER
        rows = zip(*self._pieces(run), strict=True)
        while chunk := list(islice(rows, _CHUNK)):
            yield b"".join([piece for row in chunk for piece in row])
        yield TRAILER

    def _pieces(self, run: Run) -> list[list[bytes]]:
        """Return the pieces of the rows: lists as long as the run, in the order of COLUMNS."""
        columns, entries = run.columns, run.entries
        roll, chosen = columns.roll, entries.tolist()
        numbers, units = columns.units[entries].tolist(), self._units.setdefault(roll, {})
        for n in set(numbers).difference(units):
            units[n] = _text(run.contest_id) + _text(roll.keys[n].type) + _text(roll.keys[n].id)
        paths = {g: _array(roll.groups[g][1]) for g in set(columns.groups[entries].tolist())}
        counted = columns.has_counts[entries].tolist()
        return [
            _fixed(run),
            [units[n] for n in numbers],
            self._unit_names(run),
            [paths[g] for g in columns.groups[entries].tolist()],
            _previous(run),
            _times(np.where(columns.is_reported[entries], columns.reported[entries], NO_TIME)),
            _times(run.last_reported),
            _states(run),
            [_json(columns.count_texts[i].encode()) if c else _NULL for i, c in zip(chosen, counted, strict=True)],
            self._sources(run),
            _changes(run),
        ]

    def blocks(self, run: Run) -> Iterator[bytes]:
        """Encode the rows of `area_total_block`, in the order of BLOCK."""
        yield HEADER
        places = {
            place: _count(len(BLOCK)) + b"".join(map(_text, (run.contest_id, *place))) for place in sorted(run.touched)
        }
        for block in run.blocks:
            total = block.total
            assert total.stated_at is not None
            assert total.last_event_id is not None
            yield b"".join(
                (
                    places[block.unit_type, block.area_id],
                    _range(25, _LOWER_INCLUSIVE, 8, block.begin, 8, block.end + 1),
                    _numbers(block.offsets),
                    _numbers(total.vector),
                    _number(8, (to_milliseconds(total.stated_at) - _EPOCH_MS) * 1000),
                    _number(8, total.last_offset),
                    _sized(total.last_event_id.bytes),
                )
            )
        yield TRAILER

    def _unit_names(self, run: Run) -> list[bytes]:
        known = self._room(self._names)
        names = run.columns.wire.slices(run.columns.spans.name, run.columns.rows[run.entries])
        for name in set(names).difference(known):
            known[name] = _sized(strings(name, 1)[0]) if name else _NULL
        return [known[name] for name in names]

    def _sources(self, run: Run) -> list[bytes]:
        columns, rows = run.columns, run.columns.rows[run.entries]
        spans, slices = columns.spans, columns.wire.slices
        publications, published = self._room(self._publications), slices(spans.publication, rows)
        for wire in set(published).difference(publications):
            name, snapshot = map(_word, strings(wire, 2))
            publications[wire] = b'{"name":%b,"snapshot_id":%b,"part":%%d,"parts":%%d,"documents":[%%b]}' % (
                name.replace(b"%", b"%%"),
                snapshot.replace(b"%", b"%%"),
            )
        documents = [self._documents(slices(address, rows), slices(place, rows)) for address, place in spans.documents]
        joined = (
            documents[0]
            if len(documents) == 1
            else [b",".join(filter(None, row)) for row in zip(*documents, strict=True)]
        )
        parts = zip(published, spans.part[rows].tolist(), spans.parts[rows].tolist(), joined, strict=True)
        return [_json(publications[wire] % (part, of, document)) for wire, part, of, document in parts]

    def _documents(self, addresses: list[bytes], places: list[bytes]) -> list[bytes]:
        """Encode one document for each row; empty where the row has fewer."""
        known = self._room(self._addresses)
        for wire in set(addresses).difference(known, {b""}):
            uri, sha256 = map(_word, strings(wire, 2))
            known[wire] = b'{"uri":%b,"sha256":%b,"place":' % (uri, sha256)
        return [
            b"%b%b}" % (known[address], _word(strings(place, 1)[0])) if address else b""
            for address, place in zip(addresses, places, strict=True)
        ]

    def _room(self, known: dict[bytes, bytes]) -> dict[bytes, bytes]:
        if len(known) >= _REMEMBERED:
            known.clear()
        return known


def _fixed(run: Run) -> list[bytes]:
    """Encode the number of columns, those of a fixed length, and those that are equal in every row."""
    columns, entries = run.columns, run.entries
    table = np.zeros(len(entries), _ROW)
    table["count"] = len(COLUMNS)
    for name in _FIXED:
        table[f"length of {name}"] = _ROW.fields[name][0].itemsize if _ROW.fields else 0
    table["partition"], table["log_offset"] = run.partition, run.offsets
    table["event_id"] = np.ascontiguousarray(columns.event_id[entries]).view("V16").ravel()
    table["sequence"], table["is_test"] = columns.sequence[entries], columns.spans.is_test[columns.rows[entries]]
    table["accepted"], table["is_current"] = 1, 1
    for name, times in (
        ("recorded_at", run.recorded),
        ("observed_at", columns.observed[entries]),
        ("stated_at", columns.stated[entries]),
    ):  # fmt: skip
        table[name] = _microseconds(times)
    alike = b"".join(_NULL if value is None else _sized(value) for value in _ALIKE.values())
    whole, size = table.tobytes(), _ROW.itemsize
    return [whole[at : at + size] + alike for at in range(0, len(whole), size)]


def _microseconds(times: Numbers) -> Numbers:
    return (times - _EPOCH_MS) * 1000


def _previous(run: Run) -> list[bytes]:
    whole = np.ascontiguousarray(run.columns.previous[run.entries]).tobytes()
    first = (run.columns.sequence[run.entries] == 1).tolist()
    sized = _length(16)
    return [_NULL if f else sized + whole[16 * i : 16 * i + 16] for i, f in enumerate(first)]


def _times(times: Numbers) -> list[bytes]:
    found: dict[int, bytes] = {}
    numbers: list[int] = times.tolist()
    for ms in set(numbers):
        found[ms] = _NULL if ms == NO_TIME else _number(8, (ms - _EPOCH_MS) * 1000)
    return [found[ms] for ms in numbers]


def _states(run: Run) -> list[bytes]:
    columns, entries = run.columns, run.entries
    states = list(
        zip(
            columns.status[entries].tolist(),
            (columns.words[i] for i in entries.tolist()),
            columns.reason[entries].tolist(),
            columns.stage[entries].tolist(),
            strict=True,
        )
    )
    made = {}
    for state in set(states):
        status, word, reason, stage = state
        made[state] = (
            _text(STATUSES[status].value)
            + (_NULL if word == "null" else _text(orjson.loads(word)))
            + (_NULL if reason == NONE else _text(REASONS[reason].value))
            + _text(STAGES[stage].value)
        )
    return [made[state] for state in states]


def _changes(run: Run) -> list[bytes]:
    """Encode what each update changed in the count, by slot name."""
    rows, slots = np.nonzero(run.change)
    names = [b"%b:%%d" % orjson.dumps(name).replace(b"%", b"%%") for name in run.slots]
    figures = run.change[rows, slots].tolist()
    changes = [names[slot] % figure for slot, figure in zip(slots.tolist(), figures, strict=True)]
    ends = np.searchsorted(rows, np.arange(len(run) + 1)).tolist()
    return [_json(b"{%b}" % b",".join(changes[begin:end])) for begin, end in pairwise(ends)]


def _numbers(values: Sequence[int]) -> bytes:
    array = np.empty(len(values), _BIGINT)
    array["length"], array["value"] = 8, values
    return _sized(struct.pack(">iiiii", 1, 0, _INT8, len(values), 1) + array.tobytes())


def _sized(raw: bytes) -> bytes:
    return _length(len(raw)) + raw


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _json(text: bytes) -> bytes:
    return _length(len(text) + 1) + b"\x01" + text


def _word(raw: bytes) -> bytes:
    return orjson.dumps(raw.decode())


def _array(texts: tuple[str, ...]) -> bytes:
    items = b"".join(map(_text, texts))
    return _sized(struct.pack(">iiiii", 1, 0, _TEXT, len(texts), 1) + items)
