"""Pack messages of the log into the bytes of an Avro container file, and unpack them again (pure)."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
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
    rows = _reader(fastavro.reader, name, content)
    metadata = _metadata(rows)
    return metadata, list(_records(rows, int(metadata["partition"]) if partition is None else partition))


def unpack_some(name: str, content: bytes, pattern: re.Pattern[bytes]) -> list[RawRecord]:
    """Return the records of those blocks of a file in which a pattern is found, before it is known which has it.

    Much faster than `unpack`, where few are. Damaged bytes can make the Avro reader raise anything.
    """
    blocks = _reader(fastavro.block_reader, name, content)
    partition = int(_metadata(blocks)["partition"])
    found = (block for block in blocks if pattern.search(block.bytes_.getvalue()))
    return [record for block in found for record in _records(block, partition)]


def _reader(read: Any, name: str, content: bytes) -> Any:
    rows = read(io.BytesIO(content))
    if rows.writer_schema == {key: value for key, value in _schema(name).items() if not key.startswith("__")}:
        return rows
    return read(io.BytesIO(content), _schema(name))  # which takes three times as long


def _metadata(rows: Any) -> dict[str, str]:
    return {key.removeprefix(_PREFIX): text for key, text in rows.metadata.items() if key.startswith(_PREFIX)}


def _records(rows: Any, partition: int) -> Iterator[RawRecord]:
    for r in rows:
        headers = [(h["name"], h["value"]) for h in r["headers"]]
        yield RawRecord(partition, r["offset"], r["timestamp_ms"], r["key"], r["value"], headers)
