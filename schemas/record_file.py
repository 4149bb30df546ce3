"""Pack messages of the log into the bytes of an Avro container file, and unpack them again (pure)."""

import io
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import fastavro

from schemas.log_record import RawRecord

_BYTES = ["null", "bytes"]
_HEADER = {
    "type": "record",
    "name": "Header",
    "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": _BYTES}],
}
_PREFIX = "escrutinio."


@cache
def _schema(name: str) -> Any:
    fields = [
        {"name": "offset", "type": "long"},
        {"name": "timestamp_ms", "type": "long"},
        {"name": "key", "type": _BYTES},
        {"name": "value", "type": _BYTES},
        {"name": "headers", "type": {"type": "array", "items": _HEADER}},
    ]
    return fastavro.parse_schema({"type": "record", "name": _PREFIX + name, "fields": fields})


def pack(name: str, records: Iterable[RawRecord], metadata: Mapping[str, str]) -> bytes:
    """Return a file's bytes. `name`: of the Avro record, after `escrutinio.`, as are the names of `metadata`."""
    content = io.BytesIO()
    rows = (raw._asdict() | {"headers": [{"name": n, "value": v} for n, v in raw.headers]} for raw in records)
    about = {_PREFIX + key: text for key, text in metadata.items()}
    fastavro.writer(content, _schema(name), rows, codec="deflate", metadata=about)
    return content.getvalue()


def unpack(name: str, content: bytes, partition: int | None = None) -> tuple[dict[str, str], list[RawRecord]]:
    """Return a file's metadata and records. `partition`: theirs; by default the metadata name it.

    Damaged bytes can make the Avro reader raise anything.
    """
    rows: Any = fastavro.reader(io.BytesIO(content), _schema(name))
    metadata = {key.removeprefix(_PREFIX): text for key, text in rows.metadata.items() if key.startswith(_PREFIX)}
    of = int(metadata["partition"]) if partition is None else partition
    return metadata, [
        RawRecord(
            of, r["offset"], r["timestamp_ms"], r["key"], r["value"], [(h["name"], h["value"]) for h in r["headers"]]
        )
        for r in rows
    ]
