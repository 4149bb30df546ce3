"""Archive every fetched document by the SHA-256 of its bytes: `ab/abcdef…`, with a note `ab/abcdef….json`.

Place in the flow: between fetching and parsing, so that every published event names bytes that are already safe. The
archive is trusted as evidence, not as memory: its loss costs the original documents, never an event.

A crash leaves at most a temporary file, which the next start removes, or bytes without their note, which the next
`keep` of the same bytes writes. The lock is the operating system's and ends with the process.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ingest.errors import ArchiveError
from ingest.feeds.statement import Capture, Kept
from runtime.files import FolderLock, read_regular, sweep, write_whole
from schemas.types import rfc3339

_NOTHING: Mapping[str, datetime | None] = {}


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

    def keep(self, capture: Capture, on_log: Mapping[str, datetime | None] = _NOTHING) -> Kept:
        """Store the document if it is new, and note when its bytes were first seen. Raises ArchiveError.

        `on_log`: when the log says that a document was first seen, by SHA-256. It has priority: an archive can be lost.
        """
        assert self._beside or self._lock.is_held, "keep() outside the archive's lock"
        sha256 = hashlib.sha256(capture.content).hexdigest()
        path = self._folder / sha256[:2] / sha256
        note = path.with_name(f"{sha256}.json")
        try:
            if not _holds(path, sha256):
                # A crash before the rename leaves a temporary file (removed at the next start) and no document;
                # nothing was published from it, and the source still has it.
                write_whole(path, capture.content)
            noted = _first_seen(note, sha256)
            first_seen = on_log.get(sha256) or noted
            if noted is None:
                # A crash here leaves bytes without a note. Nothing was published from them, so it is still true
                # that they are first seen when they are next kept: the same lines write the note then.
                first_seen = first_seen or capture.observed_at
                about = {
                    "sha256": sha256,
                    "bytes": len(capture.content),
                    "uri": capture.uri,
                    "first_observed_at": rfc3339(first_seen),
                }
                write_whole(note, (json.dumps(about, ensure_ascii=False, indent=1) + "\n").encode())
        except OSError as error:
            raise ArchiveError(f"{path} cannot be written: {error.strerror}") from error
        assert first_seen is not None
        return Kept(capture.uri, capture.content, sha256, first_seen)

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


def _first_seen(note: Path, sha256: str) -> datetime | None:
    try:
        about = json.loads(read_regular(note))
        return datetime.fromisoformat(about["first_observed_at"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{note} is damaged ({error}); restore it, or remove it to have {sha256[:12]}… count as first seen now"
        ) from error
