"""Is the copy of the archive whole? Compares every document with its name, and every document that the log names with what is there.

Place in the flow: after the archive was copied. Reads only. The events are taken from a mirror, whose files are checked on the way.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup.check import Progress
from backup.errors import BackupError
from backup.folder import TopicFolder
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus

_NAME = re.compile(r"[0-9a-f]{64}")
SHOWN = 20


@dataclass(slots=True)
class ArchiveReport:
    """What was found. `damaged`: paths whose bytes have another SHA-256; `missing`: SHA-256 and a place on the log that names it."""

    documents: int = 0
    named: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not self.damaged and not self.missing

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "documents": self.documents,
            "named_on_the_log": self.named,
            "damaged": self.damaged,
            "missing": [{"sha256": sha256, "named_by": place} for sha256, place in self.missing],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"archive: {self.documents:,} documents; the log names {self.named:,}"
        told = [f"damaged: {path}" for path in self.damaged]
        told += [f"missing: {sha256}, named by {place}" for sha256, place in self.missing]
        yield from told[:SHOWN]
        if len(told) > SHOWN:
            yield f"… and {len(told) - SHOWN:,} more"
        if self.is_whole:
            yield "every document is what its name says, and every one that the log names is there"


def check(archive: Path, mirrored: list[TopicFolder], progress: Progress) -> ArchiveReport:
    """Reads every document, and every event of the mirrored topics. Raises MirrorDamaged."""
    if not archive.is_dir():
        raise BackupError(f"there is no archive at {archive}")
    report = ArchiveReport()
    paths = sorted(path for path in archive.glob("*/*") if _NAME.fullmatch(path.name))
    for number, path in enumerate(paths, start=1):
        report.documents += 1
        if _sha256(path) != path.name:
            report.damaged.append(str(path))
        progress(number, len(paths))
    named: dict[str, str] = {}
    for folder in mirrored:
        for sha256, place in _named_in(folder, progress):
            named.setdefault(sha256, place)
    report.named = len(named)
    there = {path.name for path in paths}
    report.missing = [(sha256, place) for sha256, place in named.items() if sha256 not in there]
    return report


def _sha256(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def _named_in(folder: TopicFolder, progress: Progress) -> Iterator[tuple[str, str]]:
    """Every document that a record of the topic names, and the record's place. What is no event names none."""
    manifest = folder.manifest()
    if manifest is None:
        return
    done = 0
    for partition in range(manifest.partitions):
        for records in folder.read(partition):
            for record in records:
                place = f"{manifest.topic}/{partition} offset {record.offset}"
                for name, value in record.headers:
                    if name == "document_sha256" and value:
                        yield value.decode(errors="replace"), place
                try:
                    event = decode(record.value, record.headers)
                except ContractError:
                    continue
                if isinstance(event, CountUpdate):
                    for document in event.source.documents:
                        yield document.sha256, place
                elif isinstance(event, FeedStatus):
                    yield event.document_sha256, place
            done += len(records)
            progress(done, manifest.events)
