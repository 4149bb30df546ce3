"""Messages of a later release: its schemas are `tests/unit/tomorrow`. Nothing of ours computes their ids."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro

from schemas import codec
from schemas.codec import Message
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.log_record import RawRecord
from tests.support import as_documented

FOLDER = Path(__file__).parents[1] / "unit" / "tomorrow"
IDS = {"CountUpdate": 10, "ContestDefined": 11}
SCHEMAS: dict[str, Any] = {
    "CountUpdate": json.loads((FOLDER / "count_update.v2.avsc").read_text(encoding="utf-8")),
    "ContestDefined": json.loads((FOLDER / "contest.v2.avsc").read_text(encoding="utf-8")),
}
RULING = {
    "ruling_id": UUID("0b0d1e54-6c9f-5d0f-9f43-0d7a0e3f2b11"),
    "court": None,
    "ruled_at": datetime(2021, 6, 12, 15, 30, 0, 250_000, tzinfo=UTC),
    "outcome": "OVERTURNED",
    "is_final": True,
    "appeals": {"first": datetime(2021, 6, 10, tzinfo=UTC)},
}
"""A group of fields that no release knows."""


@contextmanager
def learnt(folder: Path = FOLDER) -> Iterator[None]:
    """Know a later release's schemas, and none of them afterwards."""
    known = dict(codec.SCHEMAS)
    try:
        codec.learn(folder)
        yield
    finally:
        codec.SCHEMAS.clear()
        codec.SCHEMAS.update(known)


def fields(event: CountUpdate | ContestDefined) -> dict[str, Any]:
    """What a plain client reads of an event of today."""
    message = codec.encode(event)
    found: dict[str, Any] = as_documented.read(message.value, codec.WRITTEN[type(event).__name__].avro)
    return found


def written(event: CountUpdate | ContestDefined, changes: dict[str, Any] | None = None) -> Message:
    """The message of an event as the later release writes it, with other values by path: `counts.spoiled_ballots`."""
    record, said = type(event).__name__, fields(event)
    for path, value in (changes or {}).items():
        *steps, last = path.split(".")
        place: Any = said
        for step in steps:
            place = place[int(step) if step.isdecimal() else step]
        place[last] = value
    schema = SCHEMAS[record]
    whole = as_documented.read(_bytes(said, record), schema)  # with the defaults of what is not given
    event_id = as_documented.id_of(as_documented.text_of(whole, schema))
    now = dict(codec.encode(event).headers)
    sha256 = next(e["sha256"] for e in _manifest() if e["id"] == IDS[record])
    headers = now | {"schema_sha256": sha256.encode(), "ce_id": str(event_id).encode()}
    return Message(event.contest_id.encode(), _bytes(whole | {"event_id": event_id}, record), list(headers.items()))


def raw(messages: Sequence[Message], begin: int = 0) -> list[RawRecord]:
    """Messages on the log."""
    return [
        RawRecord(0, begin + i, 1_623_045_000_000 + i, m.key, m.value, list(m.headers)) for i, m in enumerate(messages)
    ]


def _manifest() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())["schemas"]
    return found


def _bytes(said: dict[str, Any], record: str) -> bytes:
    body = io.BytesIO(b"\0" + IDS[record].to_bytes(4))
    body.seek(5)
    fastavro.schemaless_writer(body, fastavro.parse_schema(SCHEMAS[record]), said)
    return body.getvalue()
