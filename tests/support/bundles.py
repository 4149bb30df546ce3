"""Bundles as `export` writes them, of messages and documents that a test has in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.bundle import rejected
from audit.bundle.layout import DOCUMENTS, EVENTS, RECORD, REJECTED, SCHEMAS, messages_file, schema_file
from audit.bundle.lines import line_of
from audit.entries import entry_of
from audit.store import CHECKPOINT
from audit.tree.checkpoint import Checkpoint, origin_of
from audit.tree.growing import Growing
from audit.tree.note import Signer, Verifier
from schemas.codec import SCHEMAS as RELEASED
from schemas.codec import Message, encode
from schemas.identity import Event
from schemas.log_record import RawRecord
from schemas.record_file import pack
from schemas.topics import TopicNames

SIGNER = Signer("log.example/test", Ed25519PrivateKey.generate())
TOPIC = TopicNames().events
RECORDED = 1_623_200_000_000
"""When the first message of `records_of` was recorded; each next one a second later."""


def records_of(events: Iterable[Event | Message]) -> list[RawRecord]:
    """The messages of events, as they lie on a log."""
    messages = [event if isinstance(event, Message) else encode(event) for event in events]
    return [
        RawRecord(0, offset, RECORDED + 1000 * offset, one.key, one.value, list(one.headers))
        for offset, one in enumerate(messages)
    ]


def write(
    folder: Path,
    records: Sequence[RawRecord],
    rejections: Sequence[RawRecord] = (),
    documents: Mapping[str, bytes] | None = None,
    *,
    in_one_file: int = 10_000,
) -> Verifier:
    """Write a bundle, and return the key that signs it. `documents`: by name; None: without any."""
    here, tree = folder / TOPIC / "0", Growing()
    for record in records:
        tree.add(bytes(entry_of(TOPIC, record)))
    (here / "messages").mkdir(parents=True)
    signed = Checkpoint(origin_of(SIGNER.verifier.name, TOPIC, 0), len(records), tree.root()).signed(SIGNER)
    (here / CHECKPOINT).write_bytes(bytes(signed))
    (here / EVENTS).write_bytes(b"".join(map(line_of, records)))
    for begin in range(0, len(records), in_one_file):
        some = records[begin : begin + in_one_file]
        content = pack(RECORD, some, {"topic": TOPIC, "partition": "0"})
        (here / messages_file(begin, begin + len(some))).write_bytes(content)
    beside = folder / TopicNames().rejected / "0"
    (beside / "messages").mkdir(parents=True)
    content = pack(RECORD, rejections, {"topic": TopicNames().rejected, "partition": "0"})
    (beside / messages_file(0, len(rejections))).write_bytes(content)
    (beside / REJECTED).write_bytes(b"".join(map(rejected.line_of, rejections)))
    (folder / SCHEMAS).mkdir()
    for schema in RELEASED.values():
        (folder / SCHEMAS / schema_file(schema)).write_text(schema.text, encoding="utf-8")
    if documents is not None:
        (folder / DOCUMENTS).mkdir()
        for content in documents.values():
            (folder / DOCUMENTS / hashlib.sha256(content).hexdigest()).write_bytes(content)
    return SIGNER.verifier
