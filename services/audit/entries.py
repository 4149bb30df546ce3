"""Describe the messages of a topic as entries of its tree (pure)."""

from functools import lru_cache

from audit.errors import NotRead
from audit.tree.leaf import Entry, digest, headers_digest
from schemas.log_record import RawRecord

_of_key = lru_cache(digest)
"""A log has as many keys as contests."""


def entry_of(topic: str, record: RawRecord) -> Entry:
    """Return the entry of a message as it lies on the log. Raises NotRead where the client has another message."""
    if record.fault is not None:
        raise NotRead(
            f"{topic}/{record.partition}, offset {record.offset:,}: {record.fault}. Neither such a message is signed "
            "nor what stands behind it, and the mirror stops there too: keep the broker's files, and ask who wrote it"
        )
    return Entry(
        topic, record.partition, record.offset, record.timestamp_ms,
        _of_key(record.key), headers_digest(record.headers), digest(record.value),
    )  # fmt: skip
