"""Check a copy of the archive: each document against its name, and each document that the log names for its presence.

Place in the flow: after the archive was copied. Changes nothing. The events are read from a mirror, checking its files.
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
from runtime.files import read_regular
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus

_NAME = re.compile(r"[0-9a-f]{64}")
SHOWN = 20


@dataclass(slots=True)
class ArchiveReport:
    """The result. `damaged`: paths of what is no document with the SHA-256 of its name.

    `missing`: SHA-256, where the log names it.
    """

    documents: int = 0
    named: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not self.damaged and not self.missing

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "documents": self.documents,
            "named_on_the_log": self.named,
            "damaged": self.damaged,
            "missing": [{"sha256": sha256, "named_by": place} for sha256, place in self.missing],
        }

    def lines(self) -> Iterator[str]:
        """Return the report as lines of text."""
        yield f"archive: {self.documents:,} documents; the log names {self.named:,}"
        faults = [f"damaged: {path}" for path in self.damaged]
        faults += [f"missing: {sha256}, named by {place}" for sha256, place in self.missing]
        yield from faults[:SHOWN]
        if len(faults) > SHOWN:
            yield f"… and {len(faults) - SHOWN:,} more"
        if self.is_whole:
            yield "every document has the SHA-256 of its name, and none that the log names is missing"


def check(archive: Path, mirrored: list[TopicFolder], progress: Progress) -> ArchiveReport:
    """Check every document, and look up those that the mirrored events name. Raises MirrorDamaged."""
    if not archive.is_dir():
        raise BackupError(f"there is no archive at {archive}")
    report = ArchiveReport()
    paths = sorted(path for path in archive.glob("*/*") if _NAME.fullmatch(path.name))
    for number, path in enumerate(paths, start=1):
        report.documents += 1
        if not _is_whole(path):
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


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(read_regular(path)).hexdigest() == path.name
    except OSError:
        return False


def _named_in(folder: TopicFolder, progress: Progress) -> Iterator[tuple[str, str]]:
    """Yield the SHA-256 of each document that a record names, and the record's place. Unreadable records name none."""
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
