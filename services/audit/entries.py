"""Describe the messages of a topic as entries of its tree (pure)."""

from audit.tree.leaf import Entry, digest, headers_digest
from schemas.log_record import RawRecord


def entry_of(topic: str, record: RawRecord) -> Entry:
    """Return the entry of a message as it lies on the log."""
    return Entry(
        topic, record.partition, record.offset, record.timestamp_ms,
        digest(record.key), headers_digest(record.headers), digest(record.value),
    )  # fmt: skip
