"""Prove a total: the statements behind it, in one file, and check such a file without any of ours.

The file is an Avro object container, as those of a bundle: the messages as they lie on the log. Its metadata say what
total it is, and have the signed checkpoint and the hashes by which all messages together are proved to be in its tree.
docs/recount.md specifies it.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from audit.bundle.layout import UNPACKED
from audit.bundle.words import Language, Said
from audit.entries import entry_of
from audit.errors import NothingStated
from audit.recount.contest_log import ContestLog
from audit.recount.figures import behind
from audit.recount.reading import Reading
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint, opened, origin_of
from audit.tree.merkle import leaf_hash, root_above, shared_proof
from audit.tree.note import NoteError, NotProved, Verifier
from audit.tree.tiles import HASH
from runtime.kafka.producer import partition_of
from runtime.kafka.reader import Reader
from schemas.columns.layout import STATUSES
from schemas.columns.wire import is_update
from schemas.log_record import RawRecord
from schemas.record_file import inflated, pack, unpack

MAGIC = b"Obj\x01"
"""Begins the file, as any Avro object container."""
RECORD = "audit.Total"
SHOWN = 60
"""Statements that people are shown."""


class Document(NamedTuple):
    """A document of the office behind a statement, and where in it."""

    name: str
    sha256: str
    place: str


class Statement(NamedTuple):
    """A statement behind a total."""

    offset: int
    event_id: str
    unit: str
    status: str
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """A total, and what it is made of. `offset`: as of the message there."""

    contest_id: str
    area_id: str
    topic: str
    partition: int
    offset: int
    figures: Mapping[str, int | None]
    """By name; None: not stated."""
    statements: Sequence[Statement]
    checkpoint: Checkpoint

    def lines(self, language: Language = "en", shown: int = SHOWN) -> Iterator[str]:
        """Yield what it says to people: the first statements and the figures."""
        about = {"area": self.area_id, "contest": self.contest_id, "offset": self.offset}
        signed = {"origin": self.checkpoint.origin, "size": self.checkpoint.size}
        yield Said("total.holds", about | {"count": len(self.statements)}).text(language)
        yield Said("total.signed", signed).text(language)
        yield from (f"    {name}: {of:,}" for name, of in self.figures.items() if of)
        for one in self.statements[:shown]:
            documents = "; ".join(f"{of.name}, {of.place}, SHA-256 {of.sha256}" for of in one.documents)
            yield f"    {one.offset:,} {one.unit} {one.status}: {documents}"
        if (more := len(self.statements) - shown) > 0:
            yield Said("total.more", {"count": more}).text(language)
        yield Said("total.cannot").text(language)

    def facts(self) -> dict[str, Any]:
        """Return what it says to programs."""
        statements = [
            one._asdict() | {"documents": [document._asdict() for document in one.documents]} for one in self.statements
        ]
        names = ("contest_id", "area_id", "topic", "partition", "offset", "figures")
        return {name: getattr(self, name) for name in names} | {"statements": statements}


def prove(log: Reader, files: Path, key: Verifier, contest_id: str, area_id: str, offset: int | None) -> bytes:
    """Prove the total of an area, as of a message of the log; by default the last that is signed.

    Raises NothingStated, NoteError or NotSigned where it is not signed yet, FilesDamaged, KafkaFault.
    """
    partition = partition_of(contest_id.encode(), len(log.partitions()))
    folder = TreeFolder.of(files, log.topic, partition)
    note = folder.note()
    size = opened(note, [key]).size
    offset = size - 1 if offset is None else offset
    if offset >= size:
        raise NoteError(f"offset {offset:,} is not signed yet: the last checkpoint is at size {size:,}")
    reading, kept, named = Reading(contest_id), dict[int, RawRecord](), area_id.encode()
    for batch in log.read_to_end(partition, 0, offset + 1):
        reading.add(batch)  # a statement that counts in the area names it, in its path or as its unit
        kept |= {one.offset: one for one in batch if not is_update(one) or named in (one.value or b"")}
    if (contest_log := reading.log()) is None:
        raise NothingStated(f"up to offset {offset:,}, {log.topic} defines no contest {contest_id}")
    entries, figures = _behind(contest_log, area_id, offset)
    wanted = {one.offset for one in contest_log.definitions} | set(contest_log.batch.offset[entries].tolist())
    records = [kept[one] for one in sorted(wanted)]
    about = {
        "topic": log.topic,
        "partition": str(partition),
        "contest": contest_id,
        "area": area_id,
        "offset": str(offset),
        "figures": json.dumps(figures),
        "checkpoint": note.decode(),
        "hashes": b64encode(b"".join(shared_proof(sorted(wanted), size, folder.subtrees(size)))).decode(),
    }
    content = pack(RECORD, records, about)
    check(content, key)
    return content


def _behind(log: ContestLog, area_id: str, offset: int) -> tuple[Any, dict[str, int | None]]:
    moment = log.at(offset)
    if moment is None or (area := moment.contest.areas_by_id.get(area_id)) is None:
        raise NothingStated(f"the contest has no area {area_id!r} at offset {offset:,}")
    entries, figures = behind(moment, area)
    if not len(entries):
        raise NothingStated(f"nothing is stated about {area.name} ({area_id}) at offset {offset:,}")
    return entries, figures


def check(content: bytes, key: Verifier) -> Total:
    """Return the total that a file proves. Raises NotProved where it does not prove it, NoteError."""
    about, records, hashes, claimed = _opened(content)
    topic, contest_id, area_id = about["topic"], about["contest"], about["area"]
    partition, offset = int(about["partition"]), int(about["offset"])
    signed = opened(about["checkpoint"].encode(), [key], origin_of(key.name, topic, partition))
    try:
        leaves = [leaf_hash(bytes(entry_of(topic, record))) for record in records]
        root = root_above([record.offset for record in records], leaves, signed.size, hashes)
    except ValueError as error:
        raise NotProved(f"the messages are not those that were signed: {error}") from error
    if root != signed.root:
        raise NotProved("the messages are not those that were signed")
    if offset >= signed.size:
        raise NotProved(f"the total is as of offset {offset:,}, and {signed.size:,} messages are signed")
    if records[-1].offset > offset:
        raise NotProved(f"message {records[-1].offset:,} is later than the total, which is as of {offset:,}")
    reading = Reading(contest_id)
    reading.add(records)
    if (log := reading.log()) is None or reading.blocked is not None:
        raise NotProved(f"the messages do not count: {reading.blocked or 'none defines the contest'}")
    try:
        entries, figures = _behind(log, area_id, offset)
    except NothingStated as error:
        raise NotProved(f"the statements are not of the area: {error}") from error
    if len(entries) + len(log.definitions) != len(records):
        raise NotProved(f"only {len(entries):,} of {len(records) - len(log.definitions):,} statements count there")
    if figures != claimed:
        names = sorted(name for name in figures | claimed if figures.get(name) != claimed.get(name))
        words = ", ".join(f"{name}: {claimed.get(name)} said, {figures.get(name)} summed" for name in names[:5])
        raise NotProved(f"the statements do not add up to the total: {words}")
    return Total(contest_id, area_id, topic, partition, offset, figures, _statements(log, entries), signed)


def _opened(content: bytes) -> tuple[dict[str, str], list[RawRecord], list[bytes], dict[str, int | None]]:
    try:
        about, records = unpack(RECORD, inflated(RECORD, content, UNPACKED))
        hashes = b64decode(about["hashes"], validate=True)
        figures = {str(name): None if of is None else int(of) for name, of in json.loads(about["figures"]).items()}
        int(about["partition"]), int(about["offset"]), about["topic"], about["contest"], about["area"]
        about["checkpoint"]
    except Exception as error:  # damaged bytes can make the Avro reader raise anything
        raise NoteError(f"no proof of a total: {type(error).__name__}: {error}") from error
    if not records or len(hashes) % HASH:
        raise NoteError("no proof of a total: it has no messages, or damaged hashes")
    return about, records, [hashes[at : at + HASH] for at in range(0, len(hashes), HASH)], figures


def _statements(log: ContestLog, entries: Any) -> list[Statement]:
    batch, found = log.batch, list[Statement]()
    documents: dict[bytes, list[dict[str, str]]] = {}
    for entry in np.sort(entries).tolist():
        publication = batch.publications[entry]
        if publication not in documents:
            documents[publication] = json.loads(publication)["documents"]
        named = tuple(
            Document(document["name"], document["sha256"], place.decode())
            for document, place in zip(documents[publication], batch.places[entry], strict=True)
        )
        event_id = str(UUID(bytes=batch.event_id[entry].tobytes()))
        unit, status = batch.index.keys[int(batch.unit[entry])], STATUSES[int(batch.status[entry])]
        found.append(Statement(int(batch.offset[entry]), event_id, str(unit), status, named))
    return found
