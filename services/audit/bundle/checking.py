"""Check a bundle offline: what is signed, what follows from it, and what is not in it.

Place in the flow: on an auditor's machine, with a public key from elsewhere. It reads files alone. Each check says what
holds and what does not, with the first places; nothing is believed that another check has not shown.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from audit.bundle.layout import DOCUMENTS, EVENTS, RECORD
from audit.bundle.words import Language, Said
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

    code: str
    """What was checked: its name in words.TEXTS."""
    place: str
    """TOPIC/PARTITION; empty for what is checked of the whole bundle."""
    holds: bool | None
    said: Said
    places: list[Said] = field(default_factory=list)

    def lines(self, language: Language) -> Iterator[str]:
        """Yield what it says to people."""
        outcome = {True: "holds", False: "fails", None: "unchecked"}[self.holds]
        name = ": ".join(filter(None, (self.place, Said(self.code).text(language))))
        yield f"{name}: {Said(outcome).text(language)}: {self.said.text(language)}"
        yield from (f"    {place.text(language)}" for place in self.places)

    def facts(self) -> dict[str, Any]:
        """Return what it says to programs."""
        return {
            "check": self.code,
            "place": self.place,
            "holds": self.holds,
            "says": {"code": self.said.code, **self.said.of, "text": self.said.text()},
            "places": [{"code": place.code, **place.of, "text": place.text()} for place in self.places],
        }


@dataclass(slots=True)
class _Found:
    """What is found while the messages are read."""

    tree: Growing = field(default_factory=Growing)
    root: bytes = b""
    misnamed: list[Said] = field(default_factory=list)
    unreadable: list[Said] = field(default_factory=list)
    chains: list[Said] = field(default_factory=list)
    lines: list[Said] = field(default_factory=list)
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
        yield Check("signature", place, False, Said("signature.fails", {"fault": str(error)}))
    else:
        yield Check("signature", place, True, Said("signature.holds", {"name": key.name, "size": signed.size}))
    found = _messages(folder, place, None if signed is None else signed.size)
    documents |= found.documents
    yield _of_tree(place, signed, found)
    types = ", ".join(f"{count:,} {name}" for name, count in sorted(found.types.items()))
    yield of_places("events", place, found.unreadable, types=types)
    yield of_places("ids", place, found.misnamed)
    yield of_places("chains", place, found.chains)
    yield of_places(EVENTS, place, found.lines)


def _of_tree(place: str, signed: Checkpoint | None, found: _Found) -> Check:
    size = found.tree.size
    if signed is None:
        return Check("tree", place, None, Said("tree.unchecked", {"size": size}))
    about = {"signed": signed.size, "size": size, "more": size - signed.size}
    if size < signed.size:
        return Check("tree", place, False, Said("tree.short", about))
    if found.root != signed.root:
        return Check("tree", place, False, Said("tree.altered", about))
    return Check("tree", place, True, Said("tree.holds", about))


def of_places(code: str, place: str, places: list[Said], **about: Any) -> Check:
    """Return the check of what has to hold everywhere: `places` has where it does not."""
    said = Said("some.fail", {"count": len(places)}) if places else Said(f"{code}.holds", about)
    return Check(code, place, not places, said, places[:SHOWN])


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
            found.lines.append(Said("events.jsonl.place", {"offset": record.offset}))
        for sha256 in documents_of(event):
            found.documents.setdefault(sha256, f"{place} {where}")
        if isinstance(event, str):
            found.unreadable.append(Said("events.place", {"offset": record.offset, "fault": event}))
            continue
        found.types[type(event).__name__] += 1
        if not is_named_right(event):
            found.misnamed.append(Said("ids.place", {"offset": record.offset, "event_id": str(event.event_id)}))
        if isinstance(event, CountUpdate):
            unit = event.contest_id, event.unit
            if event.previous_event_id != (before := last.get(unit)):
                named = {"named": str(event.previous_event_id), "last": str(before), "unit": str(event.unit)}
                found.chains.append(Said("chains.place", {"offset": record.offset, **named}))
            last[unit] = event.event_id
    if len(lines) > found.tree.size:
        found.lines.append(Said("events.jsonl.more", {"count": len(lines) - found.tree.size}))
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
    count = {"count": len(named)}
    if not folder.is_dir():
        return Check(DOCUMENTS, "", None, Said("documents.unchecked", count))
    faults = []
    for sha256, place in named.items():
        about = {"sha256": sha256, "place": place}
        try:
            is_it = hashlib.sha256(_read(folder / sha256)).hexdigest() == sha256
        except FilesDamaged:
            faults.append(Said("documents.missing", about))
        else:
            faults += [] if is_it else [Said("documents.swapped", about)]
    return of_places(DOCUMENTS, "", faults, **count)


def _read(file: Path) -> bytes:
    try:
        return read_regular(file)
    except OSError as error:
        raise FilesDamaged(f"{file} cannot be read: {error.strerror or error}") from error
