"""Prove that a message is on the log, in one file, and check such a file without any of ours.

The proof is one of c2sp.org/tlog-proof. Its `extra` has the message itself, as JSON: nothing protects that but the
proof, which `check` compares with it. docs/proof.md specifies both.
"""

import json
import re
from base64 import b64decode, b64encode
from typing import NamedTuple
from uuid import UUID

from audit.entries import entry_of
from audit.errors import NoSuchEvent
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint, Proof, opened, origin_of
from audit.tree.merkle import inclusion_proof
from audit.tree.note import NoteError, NotProved, Verifier
from runtime.kafka.reader import Reader
from schemas.log_record import RawRecord


class Proved(NamedTuple):
    """A message that is on the log."""

    topic: str
    record: RawRecord
    checkpoint: Checkpoint


def find(log: Reader, event: str, partition: int) -> RawRecord:
    """Return the message at an offset of a partition, or the first with an event's id, of any partition.

    Raises NoSuchEvent, LogDamaged for an offset that the log does not have.
    """
    if partition not in (known := log.partitions()):
        raise NoSuchEvent(f"{log.topic} has no partition {partition}: the last one is {known[-1]}")
    if re.fullmatch("[0-9]{1,18}", event):
        (record,) = log.messages_at(partition, [int(event)])
        return record
    try:
        wanted = ("ce_id", str(UUID(event)).encode())
    except ValueError as error:
        raise NoSuchEvent(f"{event!r} is neither an offset nor the id of an event") from error
    for one in log.partitions():
        for batch in log.read_to_end(one):
            for record in batch:
                if wanted in record.headers:
                    return record
    raise NoSuchEvent(f"no event of {log.topic} has the id {event}")


def prove(folder: TreeFolder, topic: str, record: RawRecord, key: Verifier, size: int | None = None) -> Proof:
    """Prove that a message is in the last signed tree, or in that of a size whose checkpoint is kept.

    Raises NoteError or NotSigned where it is not; FilesDamaged.
    """
    note = folder.note(size)
    signed = opened(note, [key])
    if record.offset >= signed.size:
        raise NoteError(f"offset {record.offset:,} is not signed yet: the checkpoint is at size {signed.size:,}")
    hashes = inclusion_proof(record.offset, signed.size, folder.subtrees(signed.size))
    made = Proof(record.offset, tuple(hashes), note, _written(topic, record))
    made.check(bytes(entry_of(topic, record)), [key])
    return made


def check(content: bytes, key: Verifier) -> Proved:
    """Return the message that a proof is about. Raises NotProved where it does not prove it, NoteError."""
    proof = Proof.parse(content)
    topic, record, entry = _read(proof.extra)
    if record.offset != proof.index:
        raise NotProved(f"the proof is of message {proof.index}, and has message {record.offset} with it")
    signed = proof.check(entry, [key])
    if signed.origin != origin_of(key.name, topic, record.partition):
        raise NotProved(f"the checkpoint is of {signed.origin}, and the message of {topic}/{record.partition}")
    return Proved(topic, record, signed)


def _written(topic: str, record: RawRecord) -> bytes:
    about = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _base64(record.key),
        "headers": [[name, _base64(value)] for name, value in record.headers],
        "value": _base64(record.value),
    }
    return json.dumps(about, ensure_ascii=False).encode()


def _read(extra: bytes) -> tuple[str, RawRecord, bytes]:
    """Return the topic, the message and its entry."""
    try:
        of = json.loads(extra)
        headers = [(str(name), _bytes(value)) for name, value in of["headers"]]
        place = int(of["partition"]), int(of["offset"]), int(of["timestamp_ms"])
        record = RawRecord(*place, _bytes(of["key"]), _bytes(of["value"]), headers)
        return (topic := str(of["topic"])), record, bytes(entry_of(topic, record))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise NoteError("the proof has no message with it that can be read") from error


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
