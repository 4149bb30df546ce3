"""Encode new events as messages: first statements of sheets column by column, all others by `schemas.codec`. Pure.

Place in the flow: just before `send`. `schemas.codec.encode` is the reference implementation: the bytes are the same,
and a test compares them. A field of all statements is one column of pieces, joined in the order of the released schema.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from ingest.news.new_events import First, FirstStatements, NewEvent
from schemas.codec import MAGIC, WRITTEN, Message, encode, filters_of
from schemas.columns.layout import COUNTS, NONE, STAGES, Bytes, Layout, Numbers
from schemas.columns.wire import long, string
from schemas.types import UpdateKind, from_milliseconds, rfc3339, to_milliseconds

_SCHEMA = WRITTEN["CountUpdate"]
_PREFIX = bytes([MAGIC]) + _SCHEMA.id.to_bytes(4, "big")
_AT_ONCE = 4096
"""First statements that are encoded at a time: their pieces need memory."""
_Pieces = bytes | list[bytes]
"""The bytes of a field: the same in all, or of each."""


def encode_all(events: Iterable[NewEvent]) -> Iterator[Message]:
    """Encode new events, in their order. Those of first statements must stand in theirs."""
    blocks: dict[int, Iterator[tuple[int, Message]]] = {}
    for event in events:
        if not isinstance(event, First):
            yield encode(event)
            continue
        if id(event.of) not in blocks:
            blocks[id(event.of)] = _in_blocks(event.of)
        yield next(message for i, message in blocks[id(event.of)] if i == event.i)


def _in_blocks(of: FirstStatements) -> Iterator[tuple[int, Message]]:
    for begin in range(0, len(of.entries), _AT_ONCE):
        chosen = np.arange(begin, min(begin + _AT_ONCE, len(of.entries)))
        yield from zip(chosen.tolist(), encode_columns(of, chosen), strict=True)


def encode_columns(of: FirstStatements, chosen: Numbers) -> list[Message]:
    """Encode some of first statements, column by column."""
    sheets, entries, contest = of.columns, of.entries[chosen], of.contest
    snapshot, document = of.snapshot, sheets.document
    ids = _uuid_texts(of.event_id[chosen])
    units = [sheets.ids[entry].encode() for entry in entries.tolist()]
    stated = sheets.stated[entries].tolist()
    one = long(1) + _string(document.name) + _optional(document.uri) + _string(document.sha256)
    given: dict[str, _Pieces] = {
        "event_id": [b"\x48" + text for text in ids],  # 36 characters
        "contest_id": _string(contest.contest_id),
        "reporting_unit.id": [_LONGS[len(unit)] + unit for unit in units],
        "reporting_unit.type": _string("precinct"),
        "reporting_unit.name": _by_code([_optional(text) for text in sheets.names], sheets.name[entries]),
        "reporting_unit.area_path": _by_code(
            [_array(map(_string, path)) for path in sheets.areas], sheets.area[entries]
        ),
        "sequence": long(1),
        "kind": long(0),
        "stated_at": _looked_up(long, stated),
        "observed_at": long(to_milliseconds(document.observed_at)),
        "count_status": _by_code(_LONGS, sheets.status[entries]),
        "source_status": _by_code([_optional(text) for text in sheets.words], sheets.word[entries]),
        "review_reason": _figures(sheets.reason[entries]),
        "result_stage": _by_code(_LONGS, sheets.stage[entries]),
        "source.name": _string(snapshot.source),
        "source.snapshot_id": _string(snapshot.snapshot_id),
        "source.part": [long(place + 1) for place in sheets.places[entries].tolist()],
        "source.parts": long(len(snapshot.statements)),
        "source.is_complete": bytes([snapshot.is_complete]),
        "source.documents": [
            b"".join((one, _LONGS[len(place)], place, _END))
            for place in [b"row %d" % row for row in sheets.numbers[entries].tolist()]
        ],
        "is_test": bytes([contest.is_test]),
    }
    slots, votes = Layout.of(contest).slots, list[_Pieces]([long(len(contest.selection_ids))])
    for name in COUNTS:
        given[f"counts.{name}"] = _figures(sheets.figures[entries, slots[name]])
    for selection in contest.selection_ids:
        votes += [_string(selection), _figures(sheets.figures[entries, slots[f"votes.{selection}"]])]
    given["counts.votes"] = _join([*votes, long(0)], len(entries))
    pieces: list[_Pieces] = [_PREFIX]
    _place(_SCHEMA.avro, "", given, pieces)
    key, source = contest.contest_id.encode(), ("ce_source", f"urn:escrutinio:contest:{contest.contest_id}".encode())
    times = {ms: ("ce_time", rfc3339(from_milliseconds(ms)).encode()) for ms in set(stated)}
    shared = [*_SCHEMA.headers]
    filters = [filters_of(UpdateKind.REPORTED, stage, contest.is_test) for stage in STAGES]
    stages = sheets.stage[entries].tolist()
    return [
        Message(
            key,
            value,
            [*shared, ("ce_id", event_id), source, ("ce_subject", b"precinct/" + unit), times[ms], *filters[stage]],
        )
        for value, event_id, unit, ms, stage in zip(
            _join(pieces, len(entries)), ids, units, stated, stages, strict=True
        )
    ]


def _place(schema: Any, path: str, given: Mapping[str, _Pieces], pieces: list[_Pieces]) -> None:
    """Append the pieces of a field in the order of the schema. What is not given must be null."""
    kind = schema if isinstance(schema, str | list) else schema["type"]
    if path in given:
        pieces.append(given[path])
    elif isinstance(kind, dict):
        _place(kind, path, given, pieces)
    elif isinstance(kind, list):
        stated = any(name.startswith(f"{path}.") for name in given)
        branch = kind.index(next(s for s in kind if (s != "null") is stated))
        pieces.append(long(branch))
        if stated:
            _place(kind[branch], path, given, pieces)
    else:
        assert kind == "record", f"{path} is not given"
        for field in schema["fields"]:
            _place(field["type"], f"{path}.{field['name']}".lstrip("."), given, pieces)


def _join(pieces: list[_Pieces], count: int) -> list[bytes]:
    """Join the pieces of each of so many."""
    columns = [repeat(piece, count) if isinstance(piece, bytes) else piece for piece in pieces]
    return list(map(b"".join, zip(*columns, strict=True)))


def _by_code(texts: list[bytes] | tuple[bytes, ...], codes: Numbers) -> list[bytes]:
    return [texts[code] for code in codes.tolist()]


def _figures(column: Numbers) -> list[bytes]:
    """Numbers that may be null, which NONE stands for."""
    return _looked_up(lambda n: _NULL if n == NONE else _STATED + long(n), column.tolist())


def _looked_up(write: Callable[[int], bytes], numbers: list[int]) -> list[bytes]:
    known = {n: write(n) for n in set(numbers)}
    return [known[n] for n in numbers]


def _optional(text: str | None) -> bytes:
    return _NULL if text is None else _STATED + _string(text)


def _array(items: Iterable[bytes]) -> bytes:
    """A list that is not empty: one block, and the end."""
    found = list(items)
    return long(len(found)) + b"".join(found) + long(0)


def _string(text: str) -> bytes:
    return string(text.encode())


def _uuid_texts(ids: Bytes) -> list[bytes]:
    """Event ids as texts of 36 characters."""
    digits = np.frombuffer(ids.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    texts = np.full((len(ids), 36), ord("-"), np.uint8)
    for begin, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)):
        hyphens = sum(begin >= at for at in (8, 12, 16, 20))
        texts[:, begin + hyphens : end + hyphens] = digits[:, begin:end]
    joined = texts.tobytes()
    return [joined[begin : begin + 36] for begin in range(0, len(joined), 36)]


_LONGS = tuple(map(long, range(64)))
_END = long(0)
_NULL, _STATED = long(0), long(1)
"""Branches of a union with null, which all released ones begin with."""
