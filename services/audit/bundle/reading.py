"""Read the messages of a bundle, file by file, in `workers`.

Place in the flow: below `checking`. Statements are decoded under the definition in force, so the few definitions are
found first, by their first bytes. Then a worker has one file in memory, and hands back the hashes of its leaves, which
lines of events.jsonl are others, the messages that are no statements, and the statements as columns.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audit.bundle.layout import EVENTS, RECORD, UNPACKED
from audit.bundle.lines import line_of
from audit.entries import entry_of
from audit.errors import FilesDamaged
from audit.store import CHECKPOINT
from audit.tree.merkle import leaf_hash
from runtime.files import open_regular, read_regular
from schemas.codec import MAGIC, SCHEMAS
from schemas.columns.decoder import Decoder
from schemas.columns.layout import NONE, NOT_ON_BALLOT, Layout, Numbers
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import is_update
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.record_file import inflated, unpack, unpack_some

_NAME = re.compile(r"([0-9]{20})-([0-9]{20})\.avro")
_BLOCK = 4 << 20
_DEFINITIONS = [
    bytes([MAGIC, *schema.id.to_bytes(4)]) for schema in SCHEMAS.values() if schema.record == ContestDefined.__name__
]
"""How a definition begins."""


class File(NamedTuple):
    """A file of messages: whose, which offsets by its name, and where their lines stand in events.jsonl."""

    path: Path
    topic: str
    partition: int
    first: int
    following: int
    lines: Path
    begin: int
    end: int


class Lines(NamedTuple):
    """Where lines begin in a file, in bytes, and how many lines it has."""

    begins: list[int]
    number: int


@dataclass(slots=True)
class Part:
    """What a file of messages has."""

    leaves: bytes = b""
    """Hashes of the leaves, one after the other."""
    edited: list[int] = field(default_factory=list)
    """Offsets whose line is another event."""
    more: int = 0
    """Lines of its region that have no message."""
    others: list[RawRecord] = field(default_factory=list)
    """The messages that are no statements."""
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    """Statements that are no events: offsets, and why."""
    batches: dict[str, StatementBatch] = field(default_factory=dict)
    """By contest, as the next two, which say what the numbers of units and groups stand for: its index is empty."""
    keys: dict[str, list[UnitKey]] = field(default_factory=dict)
    groups: dict[str, list[tuple[str, tuple[str, ...]]]] = field(default_factory=dict)


def partitions_of(bundle: Path) -> list[Path]:
    """List the folders of a bundle's partitions, by number. Raises FilesDamaged where one is missing."""
    folders = {path.parent for name in (CHECKPOINT, EVENTS) for path in bundle.glob(f"*/*/{name}")}
    if not folders:
        raise FilesDamaged(f"{bundle} is no bundle: it has no TOPIC/PARTITION/{CHECKPOINT}")
    if not any((folder / EVENTS).exists() for folder in folders) and (min(folders) / "tile").exists():
        raise FilesDamaged(f"{bundle} is the folder of `run`, and no bundle: `escrutinio-audit export` makes one of it")
    if {folder.name for folder in folders} != {str(number) for number in range(len(folders))}:
        names = ", ".join(sorted(f"{folder.parent.name}/{folder.name}" for folder in folders))
        raise FilesDamaged(f"{bundle} does not have the partitions of one topic from 0 on: {names}")
    return sorted(folders, key=lambda folder: int(folder.name))


def files_of(folder: Path, topic: str, partition: int) -> tuple[list[File], int]:
    """List the files of messages of a partition, and count the lines of events.jsonl behind them. Raises FilesDamaged.

    Their names say which offsets they have; whether they do is seen when they are read.
    """
    named, following = [], 0
    for path in sorted(folder.glob("messages/[!.]*")):
        if (name := _NAME.fullmatch(path.name)) is None:
            raise FilesDamaged(f"{path} is no file of messages, FIRST-FOLLOWING.avro")
        first, end = map(int, name.groups())
        if first != following or end <= first:
            raise FilesDamaged(f"{path}: offset {following:,} expected, offset {first:,} found")
        named.append((path, first, end))
        following = end
    lines = lines_of(folder / EVENTS, [first for _, first, _ in named] + [following])
    files = [
        File(path, topic, partition, first, end, folder / EVENTS, *places)
        for (path, first, end), places in zip(named, pairwise(lines.begins), strict=True)
    ]
    return files, max(lines.number - following, 0)


def lines_of(file: Path, numbers: Sequence[int]) -> Lines:
    """Find where lines begin, counted from 0; one that is not there begins where the file ends. Raises FilesDamaged."""
    places, line, at, last = dict.fromkeys(numbers, 0), 0, 0, b"\n"
    try:
        with open_regular(file) as opened:
            while block := opened.read(_BLOCK):
                ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
                places |= {one: at + int(ends[one - line - 1]) for one in numbers if line < one <= line + len(ends)}
                line, at, last = line + len(ends), at + len(block), block[-1:]
    except OSError as error:
        raise FilesDamaged.unread(file, error) from error
    begins = [at if number > line else places[number] for number in numbers]
    return Lines(begins, line + (last != b"\n"))


def definitions_in(files: Sequence[File]) -> Iterator[RawRecord]:
    """Yield all messages that are definitions, in their order, with their neighbours. Raises FilesDamaged."""
    begins = b"|".join(map(re.escape, _DEFINITIONS))
    pattern = re.compile(rb"\x02[\x80-\xff]{0,4}[\x00-\x7f](?:" + begins + b")")  # a value, its length, its schema
    for file in files:
        with _damage_named(file.path):
            yield from unpack_some(RECORD, inflated(RECORD, read_regular(file.path), UNPACKED), pattern)


def is_definition(record: RawRecord) -> bool:
    """Say whether a message names a schema of definitions."""
    return record.value is not None and record.value[:5] in _DEFINITIONS


def read_file(work: tuple[File, Mapping[str, Sequence[Recorded]]]) -> Part:
    """Read a file of messages. With it: the definitions of each contest, in their order. Raises FilesDamaged."""
    file, definitions = work
    found, leaves, lines, by_key = Part(), list[bytes](), list[bytes](), dict[bytes | None, list[RawRecord]]()
    for record in records_of(file):
        try:
            leaves.append(leaf_hash(bytes(entry_of(file.topic, record))))
        except ValueError as error:
            raise FilesDamaged(f"{file.path}, offset {record.offset:,}: {error}") from error
        lines.append(line_of(record))
        if is_update(record):
            by_key.setdefault(record.key, []).append(record)
        else:
            found.others.append(record)
    found.leaves = b"".join(leaves)
    made = b"".join(lines)
    if (written := _lines(file, 2 * len(made) + _BLOCK)) != made:
        there = written.splitlines(keepends=True)
        found.edited = [file.first + i for i, line in enumerate(lines) if i >= len(there) or there[i] != line]
        found.more = max(len(there) - len(lines), 0)
    for key, records in by_key.items():
        contest_id = "" if key is None else key.decode(errors="replace")
        _add_statements(found, contest_id, records, definitions.get(contest_id, ()))
    return found


def records_of(file: File) -> list[RawRecord]:
    """Return the messages of a file, none but the last missing. Raises FilesDamaged."""
    with _damage_named(file.path):
        about, records = unpack(RECORD, inflated(RECORD, read_regular(file.path), UNPACKED))
    place = f"{file.topic}/{file.partition}"
    if f"{about.get('topic')}/{about.get('partition')}" != place:
        raise FilesDamaged(f"{file.path} is of {about.get('topic')}/{about.get('partition')}, not of {place}")
    for expected, record in enumerate(records, start=file.first):
        if record.offset != expected:
            raise FilesDamaged(f"{file.path}: offset {expected:,} expected, offset {record.offset:,} found")
    if len(records) > file.following - file.first:
        raise FilesDamaged(f"{file.path} has {len(records):,} messages, more than its name says")
    return records


def _lines(file: File, most: int) -> bytes:
    try:
        with open_regular(file.lines) as opened:
            opened.seek(file.begin)
            return opened.read(min(file.end - file.begin, most))
    except OSError as error:
        raise FilesDamaged.unread(file.lines, error) from error


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Name the file that cannot be read: damaged bytes can make the Avro reader raise anything."""
    try:
        yield
    except OSError as error:
        raise FilesDamaged.unread(path, error) from error
    except Exception as error:
        raise FilesDamaged(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _add_statements(
    found: Part, contest_id: str, records: Sequence[RawRecord], definitions: Sequence[Recorded]
) -> None:
    index = UnitIndex()
    decoder, size = Decoder(contest_id, index), Layout.of(definitions[-1].definition).size if definitions else 0
    parts = [
        widened(_decoded(decoder, stretch, contest, found.unreadable), size)
        for contest, stretch in _stretches(records, definitions)
    ]
    found.batches[contest_id] = replace(StatementBatch.join(parts), index=UnitIndex())
    found.keys[contest_id], found.groups[contest_id] = index.keys, index.groups


def _stretches(
    records: Sequence[RawRecord], definitions: Sequence[Recorded]
) -> Iterator[tuple[ContestDefined | None, Sequence[RawRecord]]]:
    """Yield messages with the definition in force."""
    offsets = [record.offset for record in records]
    ends = [int(np.searchsorted(offsets, one.offset)) for one in definitions]
    for number, (begin, end) in enumerate(pairwise((0, *ends, len(records)))):
        if begin < end:
            yield definitions[number - 1].definition if number else None, records[begin:end]


def _decoded(
    decoder: Decoder,
    records: Sequence[RawRecord],
    contest: ContestDefined | None,
    unreadable: list[tuple[int, str]],
) -> StatementBatch:
    """Decode messages, and note those that are no events."""
    batch, fault = decoder.decode(records, contest)
    if fault is None:
        return batch
    readable = []
    for record in records:
        try:
            recorded_of_raw(record)
            readable.append(record)
        except ContractError as error:
            unreadable.append((record.offset, str(error)))
    return decoder.decode(readable, contest)[0]


def widened(batch: StatementBatch, size: int) -> StatementBatch:
    """Return a batch of an earlier layout of its contest in a later one, which has more selections at its end."""
    more = size - batch.figures.shape[1]
    if more <= 0:
        return batch
    stated, added = np.full((len(batch), more), NONE), np.zeros((len(batch), more), np.int64)
    stated[:, ::_OF_A_SELECTION] = NOT_ON_BALLOT
    return replace(
        batch,
        figures=np.hstack((batch.figures, stated)),
        contribution=np.hstack((batch.contribution, added)),
    )


_OF_A_SELECTION = Layout(("a",)).size - Layout(()).size
"""Slots of a selection: its votes are the first."""


def joined(parts: Sequence[Part], contest_id: str) -> StatementBatch:
    """Join what was read of a contest, under one index. Some part must have it."""
    index, batches = UnitIndex(), []
    for part in parts:
        if (batch := part.batches.get(contest_id)) is not None:
            units: Numbers = np.array([index.number(key) for key in part.keys[contest_id]], np.int64)
            groups: Numbers = np.array([index.group(*of) for of in part.groups[contest_id]], np.int64)
            batches.append(replace(batch, index=index, unit=units[batch.unit], group=groups[batch.group]))
    return StatementBatch.join(batches)
