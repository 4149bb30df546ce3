"""Describe a message of the log in one entry of the tree, as docs/proof.md specifies it (pure).

An entry binds where the message lies and every byte of it, and has none of it: so the tree's files can be public where
messages stay in bundles. Layout, numbers big-endian:

| bytes | what |
|---|---|
| 1 | 1, the version of this layout |
| 2 + n | length and name of the topic, UTF-8 |
| 4 | partition |
| 8 | offset: the index of the leaf |
| 8 | the broker's timestamp, milliseconds since 1970, signed |
| 32 | SHA-256 of the key; zeros: it has none |
| 32 | SHA-256 of the headers, as follows |
| 32 | SHA-256 of the value; zeros: it has none |

Of the headers, in their order: length and bytes of the name, length and bytes of the value. A length has 4 bytes; that
of a value that is null is 2**32 - 1.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

VERSION = 1
_ABSENT = bytes(32)
_PLACE = struct.Struct(">IQq")
_LENGTH = struct.Struct(">I")
_SHORT = 256
_LENGTHS = [_LENGTH.pack(length) for length in range(_SHORT)]
_NULL = b"\xff\xff\xff\xff"


class Entry(NamedTuple):
    """What the tree has of a message."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    headers: bytes
    value: bytes

    def __bytes__(self) -> bytes:
        """Return it as the tree hashes it. Raises ValueError where the layout has no room for what it says."""
        try:
            place = _PLACE.pack(self.partition, self.offset, self.timestamp_ms)
            return b"".join((_of_topic(self.topic), place, self.key, self.headers, self.value))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"no entry has room for this topic, partition, offset or time: {error}") from error

    @classmethod
    def parse(cls, content: bytes) -> "Entry":
        """Read an entry. Raises ValueError."""
        length = int.from_bytes(content[1:3])
        at = 3 + length
        if content[:1] != bytes([VERSION]) or len(content) != at + _PLACE.size + 3 * 32:
            raise ValueError("no entry of this layout")
        partition, offset, timestamp_ms = _PLACE.unpack_from(content, at)
        hashes = content[at + _PLACE.size :]
        return cls(content[3:at].decode(), partition, offset, timestamp_ms, hashes[:32], hashes[32:64], hashes[64:])


def digest(content: bytes | None) -> bytes:
    """Return the hash of a key or a value; zeros where there is none."""
    return _ABSENT if content is None else sha256(content).digest()


def headers_digest(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Return the hash of headers."""
    parts: list[bytes]
    try:  # a million messages have eleven million headers, and nearly all are short
        parts = [part for name, value in headers for part in (_NAMED[name], _LENGTHS[len(value)], value)]  # type: ignore[arg-type, misc]
    except (TypeError, IndexError):
        parts = [part for name, value in headers for part in (_NAMED[name], *_lengthy(value))]
    return sha256(b"".join(parts)).digest()


def _lengthy(value: bytes | None) -> tuple[bytes, ...]:
    return (_NULL,) if value is None else (_LENGTH.pack(len(value)), value)


@lru_cache
def _of_topic(topic: str) -> bytes:
    """Return how every entry of a topic begins."""
    name = topic.encode()
    return bytes([VERSION]) + len(name).to_bytes(2) + name


class _Named(dict[str, bytes]):
    """Names of headers, each behind its length: a log has few, and of more than that none is kept."""

    def __missing__(self, name: str) -> bytes:
        written = name.encode()
        made = _LENGTH.pack(len(written)) + written
        if len(self) < _SHORT:
            self[name] = made
        return made


_NAMED = _Named()
