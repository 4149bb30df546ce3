"""Fetches documents: files, and the files of folders. A door; stage `fetch`.

Place in the flow: the first stage. It changes nothing, so a crash here leaves nothing.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds.statement import Capture

DOCUMENTS = (".csv", ".csv.gz")
"""How the documents in a folder are told from what else lies there. A file named by itself may be called anything."""
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", "~")
"""What programs call a file that they have not finished: it will have another name when they have."""


def documents(paths: list[Path]) -> tuple[Path, ...]:
    """Every file named or lying in a named folder, in order, each once. Of a folder only `DOCUMENTS` that are not hidden."""
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
    """The visible files under a folder, in the order of their names. Raises SourceError when any of it cannot be read:
    what cannot be read must not look empty."""
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
    """Whether a file of a folder is read."""
    return path.name.endswith(DOCUMENTS)


def is_unfinished(path: Path) -> bool:
    """Whether a file that is none may become one, under another name."""
    return path.name.endswith(UNFINISHED)


def _raise(error: OSError) -> None:
    raise error


def fetch(path: Path, observed_at: datetime | None = None) -> Capture:
    """A file's bytes. `observed_at` is now (whole milliseconds, UTC) unless the user says when the file was fetched."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return Capture(uri(path), content, observed_at or now())


def now() -> datetime:
    """Now, in whole milliseconds, UTC."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def uri(path: Path) -> str:
    """The path as given. Of one outside the working folder only its last folder and name: the rest is this machine's business.

    Bytes that are not UTF-8 are shown as such: events are.
    """
    path = Path(os.fsencode(path).decode(errors="replace"))
    if not path.is_absolute():
        return path.as_posix()
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return "/".join(path.parts[-2:])
