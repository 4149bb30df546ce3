"""Fetch documents from files and folders: the stage `fetch`, which changes nothing."""

import os
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds.statement import Capture

DOCUMENTS = (".csv", ".csv.gz")
"""Endings of the files in a folder that are documents. A file that the user names may have any ending."""
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", "~")
"""Endings of files that a program is still writing: it renames them when they are complete."""


def documents(paths: list[Path]) -> tuple[Path, ...]:
    """List every named file, and the visible `DOCUMENTS` of every named folder, in order and each once."""
    found: dict[Path, None] = {}
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        if not exists:
            raise SourceError(f"{path} does not exist")
        found.update(dict.fromkeys(filter(is_document, walk(path)) if is_folder else (path,)))
    return tuple(found)


def walk(folder: Path) -> tuple[Path, ...]:
    """List a folder's visible files by name. Raises SourceError: an unreadable part must not look empty."""
    found: list[Path] = []
    try:
        for inside, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths = (Path(inside, name) for name in names if not name.startswith("."))
            found.extend(path for path in paths if path.is_file())
    except OSError as error:
        raise SourceError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    return tuple(sorted(found))


def is_document(path: Path) -> bool:
    """Say whether a file in a folder is a document."""
    return path.name.endswith(DOCUMENTS)


def is_unfinished(path: Path) -> bool:
    """Say whether a file may become a document when a program has finished and renamed it."""
    return path.name.endswith(UNFINISHED)


def _raise(error: OSError) -> None:
    raise error


def fetch(path: Path, observed_at: datetime | None = None) -> Capture:
    """Read a file. `observed_at`: when the user fetched it; default now."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return Capture(uri(path), content, observed_at or now())


def now() -> datetime:
    """Return the current time in UTC, in whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def uri(path: Path) -> str:
    """Return the path as given; outside the working folder only its last folder and name, since events are public.

    Bytes that are not UTF-8 become U+FFFD: events are UTF-8.
    """
    path = Path(os.fsencode(path).decode(errors="replace"))
    if not path.is_absolute():
        return path.as_posix()
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return "/".join(path.parts[-2:])
