"""Describe the messages of a topic as entries of its tree (pure)."""

from audit.errors import NotRead
from audit.tree.leaf import Entry, digest, headers_digest
from schemas.log_record import RawRecord


def entry_of(topic: str, record: RawRecord) -> Entry:
    """Return the entry of a message as it lies on the log. Raises NotRead where the client has another message."""
    if record.fault is not None:
        raise NotRead(
            f"{topic}/{record.partition}, offset {record.offset:,}: {record.fault}. Neither such a message is signed "
            "nor what stands behind it, and the mirror stops there too: keep the broker's files, and ask who wrote it"
        )
    return Entry(
        topic, record.partition, record.offset, record.timestamp_ms,
        digest(record.key), headers_digest(record.headers), digest(record.value),
    )  # fmt: skip
