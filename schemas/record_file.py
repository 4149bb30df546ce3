"""Pack messages of the log into the bytes of an Avro container file, and unpack them again (pure)."""

import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
_SYNC = 16
"""Bytes behind each block."""


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
    metadata, blocks = _blocks(name, content)
    of = int(metadata["partition"]) if partition is None else partition
    return metadata, [record for block in blocks for record in _records(block, of)]


def inflated(name: str, content: bytes, most: int) -> bytes:
    """Return a file as it is without compression, so that reading it needs no more memory than its bytes say.

    Raises ValueError for one of more than `most` bytes, or of another schema, whose records can go on without bytes.
    Damaged bytes can make the Avro reader raise anything.
    """
    file = io.BytesIO(content)
    blocks: Any = fastavro.block_reader(file)
    if not _is_ours(blocks, name) or blocks.codec not in ("deflate", "null"):
        raise ValueError("it has another Avro schema, or another codec")
    if blocks.codec == "null":
        return content
    at = file.tell()
    parts, size = [content[:at].replace(b"\x14avro.codec\x0edeflate", b"\x14avro.codec\x08null", 1)], at
    if fastavro.block_reader(io.BytesIO(parts[0])).codec != "null":
        raise ValueError("its codec stands in no known place")
    while at < len(content):
        begin = at
        _, at = _long(content, at)
        number = content[begin:at]
        length, at = _long(content, at)
        if not 0 <= length <= len(content) - at - _SYNC:
            raise ValueError("it ends within a block")
        whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[at : at + length], max(most - size, 1))
        size, at = size + len(whole), at + length + _SYNC
        if size >= most:
            raise ValueError(f"it unpacks to more than {most:,} bytes")
        parts += (number, _as_long(len(whole)), whole, content[at - _SYNC : at])
    return b"".join(parts)


def _as_long(number: int) -> bytes:
    """Write a long that is not below 0."""
    content, rest = bytearray(), number << 1
    while rest > 0x7F:
        content.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*content, rest])


def unpack_some(name: str, content: bytes, pattern: re.Pattern[bytes]) -> list[RawRecord]:
    """Return the records of those blocks of a file in which a pattern is found, before it is known which has it.

    Much faster than `unpack`, where few are. Damaged bytes can make the Avro reader raise anything.
    """
    metadata, blocks = _blocks(name, content)
    found = (block for block in blocks if pattern.search(block.bytes_.getvalue()))
    return [record for block in found for record in _records(block, int(metadata["partition"]))]


def _blocks(name: str, content: bytes) -> tuple[dict[str, str], Iterable[Any]]:
    blocks: Any = fastavro.block_reader(io.BytesIO(content))
    if not _is_ours(blocks, name):
        blocks = fastavro.block_reader(io.BytesIO(content), _schema(name))
    return {k.removeprefix(_PREFIX): text for k, text in blocks.metadata.items() if k.startswith(_PREFIX)}, blocks


def _is_ours(blocks: Any, name: str) -> bool:
    """Say whether a file has our schema, letter by letter."""
    ours = {key: value for key, value in _schema(name).items() if not key.startswith("__")}
    return bool(blocks.writer_schema == ours)


def _records(block: Any, partition: int) -> list[RawRecord]:
    """Return the records of a block: as fastavro reads them, and in a third of its time where they are as `pack` has
    them."""
    if block.reader_schema is None:
        with suppress(ValueError, IndexError):
            return list(_as_packed(block.bytes_.getvalue(), block.num_records, partition))
    return [
        RawRecord(
            partition, r["offset"], r["timestamp_ms"], r["key"], r["value"],
            [(h["name"], h["value"]) for h in r["headers"]],
        )
        for r in block
    ]  # fmt: skip


def _as_packed(data: bytes, count: int, partition: int) -> Iterator[RawRecord]:
    """Yield the records in the bytes of a block. Raises ValueError or IndexError for what it does not know."""
    at, names = 0, _Names()
    for _ in range(count):
        offset, at = _long(data, at)
        timestamp_ms, at = _long(data, at)
        key, at = _optional(data, at)
        value, at = _optional(data, at)
        headers: list[tuple[str, bytes | None]] = []
        some, at = _long(data, at)
        for _ in range(some):
            begin, end = at + 1, at + 1 + (data[at] >> 1)
            if data[at] & 0x81:
                raise ValueError("a name of more than 63 bytes")
            if data[end] == 2 and not data[end + 1] & 0x81:
                first, at = end + 2, end + 2 + (data[end + 1] >> 1)
                headers.append((names[data[begin:end]], data[first:at]))
            else:
                content, at = _optional(data, end)
                headers.append((names[data[begin:end]], content))
        if some:
            end_of_array, at = _long(data, at)
            if some < 0 or end_of_array:
                raise ValueError("headers in several parts")
        yield RawRecord(partition, offset, timestamp_ms, key, value, headers)
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left of a block")


def _long(data: bytes, at: int) -> tuple[int, int]:
    """Read a long. Returns it, and where it ends."""
    byte = data[at]
    found, shift = byte & 0x7F, 7
    while byte & 0x80:
        at += 1
        byte = data[at]
        found |= (byte & 0x7F) << shift
        shift += 7
        if found >> 64 or shift > 70:  # before the number fills the memory
            raise ValueError("a number of more than 64 bits")
    return (found >> 1) ^ -(found & 1), at + 1


def _optional(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Read bytes that may be null. Returns them, and where they end."""
    branch, at = _long(data, at)
    if branch == 0:
        return None, at
    length, at = _long(data, at)
    if branch != 1 or not 0 <= length <= len(data) - at:
        raise ValueError("neither null nor bytes")
    return data[at : at + length], at + length


class _Names(dict[bytes, str]):
    """Names of headers as text: a log has few."""

    def __missing__(self, name: bytes) -> str:
        found = self[name] = name.decode()
        return found
