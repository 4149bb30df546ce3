"""Archive every fetched document by the SHA-256 of its bytes: `ab/abcdef…`, with a note `ab/abcdef….json`.

Place in the flow: between fetching and parsing, so that every published event names bytes that are already safe. The
archive is trusted as evidence, not as memory: its loss costs the original documents, never an event.

A crash leaves at most a temporary file, which the next start removes, or bytes without their note, which the next
`keep` of the same bytes writes. The lock is the operating system's and ends with the process.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Self

from ingest.errors import ArchiveError
from ingest.feeds.statement import Capture, Kept
from runtime.files import FolderLock, read_regular, sweep, write_whole
from schemas.types import rfc3339


class Archive:
    """A folder of documents, locked by one ingest at a time. Use as a context manager.

    `beside`: without the lock, while an ingest may hold it; for an operator, who only adds documents of their own.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        self._folder = folder
        self._beside = beside
        self._lock = FolderLock(
            folder,
            f"another ingest is using the archive {folder}; wait for it or stop it: two at once could publish twice",
        )

    def __enter__(self) -> Self:
        if not self._beside:
            try:
                self._lock.__enter__()
                sweep(self._folder)
            except OSError as error:
                self._lock.__exit__(None, None, None)
                raise ArchiveError(f"the archive {self._folder} cannot be opened: {error.strerror}") from error
        return self

    def __exit__(self, *exception: Any) -> None:
        self._lock.__exit__(None, None, None)

    def keep(self, capture: Capture) -> Kept:
        """Store the document if it is new, and note when its bytes were first seen. Raises ArchiveError."""
        assert self._beside or self._lock.is_held, "keep() outside the archive's lock"
        sha256 = hashlib.sha256(capture.content).hexdigest()
        path = self._folder / sha256[:2] / sha256
        note = path.with_name(f"{sha256}.json")
        try:
            if not _holds(path, sha256):
                # A crash before the rename leaves a temporary file (removed at the next start) and no document;
                # nothing was published from it, and the source still has it.
                write_whole(path, capture.content)
            if not note.exists():
                # A crash here leaves bytes without a note. Nothing was published from them, so it is still true
                # that they are first seen when they are next kept: the same lines write the note then.
                said = {
                    "sha256": sha256,
                    "bytes": len(capture.content),
                    "name": capture.name,
                    "first_observed_at": rfc3339(capture.observed_at),
                }
                write_whole(note, (json.dumps(said, ensure_ascii=False, indent=1) + "\n").encode())
        except OSError as error:
            raise ArchiveError(f"{path} cannot be written: {error.strerror}") from error
        return Kept(capture.name, capture.content, sha256, capture.observed_at, capture.uri, capture.stated_at)

    def find(self, beginning: str) -> tuple[bytes, str]:
        """Find the document whose SHA-256 has this beginning; returns both. Raises ArchiveError unless there is one."""
        found = [path for path in self._folder.glob(f"{beginning[:2]}/{beginning}*") if len(path.name) == 64]
        if len(found) != 1:
            raise ArchiveError(
                f"the archive {self._folder} has {len(found) or 'no'} documents whose SHA-256 begins with {beginning}; "
                "check the code, or propose again"
            )
        (path,) = found
        try:
            content = read_regular(path)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != path.name:
            raise ArchiveError(f"{path} is damaged: its bytes have another SHA-256; restore it")
        return content, path.name


def _holds(path: Path, sha256: str) -> bool:
    """Say whether the document is there and undamaged; a damaged one is written again."""
    try:
        return hashlib.sha256(read_regular(path)).hexdigest() == sha256
    except FileNotFoundError:
        return False
