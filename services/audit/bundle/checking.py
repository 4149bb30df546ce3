"""Check a bundle offline: what is signed, what follows from it, and what is not in it.

Place in the flow: on an auditor's machine, with a public key from elsewhere. It reads files alone. Each check says what
holds and what does not, with the first places; nothing is believed that another check has not shown.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from audit.bundle.layout import DOCUMENTS, EVENTS, RECORD
from audit.bundle.writing import documents_of, read
from audit.entries import entry_of
from audit.errors import FilesDamaged
from audit.store import CHECKPOINT
from audit.tree.checkpoint import Checkpoint, opened, origin_of
from audit.tree.growing import Growing
from audit.tree.note import NotProved, Verifier
from runtime.files import read_regular
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import is_named_right
from schemas.log_record import RawRecord
from schemas.record_file import unpack

SHOWN = 20
"""Places that a check names."""


@dataclass(slots=True)
class Check:
    """What was checked. `holds`: None: it could not be checked. `places`: the first at which it does not hold."""

    name: str
    holds: bool | None
    said: str
    places: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    """What is found while the messages are read."""

    tree: Growing = field(default_factory=Growing)
    root: bytes = b""
    misnamed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    types: Counter[str] = field(default_factory=Counter)
    documents: dict[str, str] = field(default_factory=dict)
    """The first place that names each, by SHA-256."""


def check(bundle: Path, key: Verifier) -> list[Check]:
    """Check every partition of a bundle. Raises FilesDamaged for what is no bundle or cannot be read."""
    folders = sorted(path.parent for path in bundle.glob(f"*/*/{CHECKPOINT}"))
    if not folders:
        raise FilesDamaged(f"{bundle} is no bundle: it has no TOPIC/PARTITION/{CHECKPOINT}")
    found, documents = list[Check](), dict[str, str]()
    for folder in folders:
        found += _partition(folder, key, documents)
    return [*found, _documents(bundle / DOCUMENTS, documents)]


def _partition(folder: Path, key: Verifier, documents: dict[str, str]) -> Iterator[Check]:
    topic, number = folder.parent.name, folder.name
    place = f"{topic}/{number}"
    signed: Checkpoint | None = None
    try:
        signed = opened(_read(folder / CHECKPOINT), [key], origin_of(key.name, topic, number))
    except NotProved as error:
        yield Check(f"{place}: signature", False, str(error))
    else:
        yield Check(f"{place}: signature", True, f"{key.name} signed {signed.size:,} messages")
    found = _messages(folder, place, None if signed is None else signed.size)
    documents |= found.documents
    yield _of_tree(place, signed, found)
    types = ", ".join(f"{count:,} {name}" for name, count in sorted(found.types.items()))
    yield _of(f"{place}: events", found.unreadable, f"every message is an event: {types}")
    yield _of(f"{place}: ids", found.misnamed, "every event has the id that follows from its content")
    yield _of(f"{place}: chains", found.chains, "every statement names the one before it of its unit")
    yield _of(f"{place}: {EVENTS}", found.lines, "it has the same events as the messages")


def _of_tree(place: str, signed: Checkpoint | None, found: _Found) -> Check:
    name, size = f"{place}: tree", found.tree.size
    if signed is None:
        return Check(name, None, f"{size:,} messages, and nothing signed to compare them with")
    if size < signed.size:
        return Check(name, False, f"{signed.size:,} messages were signed, and there are {size:,}: some are missing")
    if found.root != signed.root:
        return Check(name, False, f"the {signed.size:,} messages are not those that were signed")
    more = f"; {size - signed.size:,} more are not signed" if size > signed.size else ""
    return Check(name, True, f"the {signed.size:,} messages are those that were signed, in their order{more}")


def _of(name: str, places: list[str], holds: str) -> Check:
    return Check(name, not places, holds if not places else f"{len(places):,} do not hold", places[:SHOWN])


def _messages(folder: Path, place: str, size: int | None) -> _Found:
    found, last = _Found(), dict[tuple[str, UnitKey], UUID]()
    lines = _read(folder / EVENTS).splitlines(keepends=True)
    for record in _records(folder, place):
        where = f"offset {record.offset:,}"
        if record.offset != found.tree.size:
            raise FilesDamaged(f"{folder}: offset {found.tree.size:,} expected, {where} found")
        found.tree.add(bytes(entry_of(place.rpartition("/")[0], record)))
        if found.tree.size == size:
            found.root = found.tree.root()
        event, line = read(record)
        if record.offset >= len(lines) or lines[record.offset] != line:
            found.lines.append(f"{where} is another event than the message")
        for sha256 in documents_of(event):
            found.documents.setdefault(sha256, f"{place} {where}")
        if isinstance(event, str):
            found.unreadable.append(f"{where}: {event}")
            continue
        found.types[type(event).__name__] += 1
        if not is_named_right(event):
            found.misnamed.append(f"{where}: {event.event_id} is not the id of its content")
        if isinstance(event, CountUpdate):
            unit = event.contest_id, event.unit
            if event.previous_event_id != last.get(unit):
                found.chains.append(f"{where}: {event.unit} follows {event.previous_event_id}, not {last.get(unit)}")
            last[unit] = event.event_id
    if len(lines) > found.tree.size:
        found.lines.append(f"{len(lines) - found.tree.size:,} lines have no message")
    if size == 0:
        found.root = Growing().root()
    return found


def _records(folder: Path, place: str) -> Iterator[RawRecord]:
    for file in sorted(folder.glob("messages/*.avro")):
        content = _read(file)
        try:
            about, records = unpack(RECORD, content)
        except Exception as error:  # damaged bytes can make the Avro reader raise anything
            raise FilesDamaged(f"{file} cannot be read: {type(error).__name__}: {error}") from error
        if f"{about.get('topic')}/{about.get('partition')}" != place:
            raise FilesDamaged(f"{file} is of {about.get('topic')}/{about.get('partition')}, not of {place}")
        yield from records


def _documents(folder: Path, named: dict[str, str]) -> Check:
    if not folder.is_dir():
        return Check("documents", None, f"the bundle has none of the {len(named):,} that the log names")
    faults = []
    for sha256, place in named.items():
        try:
            is_it = hashlib.sha256(_read(folder / sha256)).hexdigest() == sha256
        except FilesDamaged:
            faults.append(f"{sha256}, named by {place}, is missing")
        else:
            faults += [] if is_it else [f"{sha256}, named by {place}, is another document"]
    return _of("documents", faults, f"each of the {len(named):,} documents that the log names is here, byte by byte")


def _read(file: Path) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise FilesDamaged(f"{file} cannot be read: {error.strerror or error}") from error


def lines_of(checks: Iterable[Check]) -> Iterator[str]:
    """Return the report for people."""
    words = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}
    for one in checks:
        yield f"{one.name}: {words[one.holds]}: {one.said}"
        yield from (f"    {place}" for place in one.places)
    yield "What this cannot show: what never reached the log; what others were shown; whether the documents are those"
    yield "that the office published. See docs/proof.md."
