"""Fetch documents from files and folders: the stage `fetch`, which changes nothing.

What is no regular file (a pipe, a socket, a device) is not opened, and no link is followed out of a folder: such
entries are passed over, and named with the reason, without anything of their content.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds.statement import Capture, Rejection
from ingest.sources import about
from runtime.files import not_regular, read_regular
from schemas.rules import Finding

DOCUMENTS = (".csv", ".csv.gz")
"""Endings of the files in a folder that are documents. A file that the user names may have any ending."""
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", "~")
"""Endings of files that a program is still writing: it renames them when they are complete."""


@dataclass(slots=True)
class Listing:
    """What paths lead to. `files`: each once, in order, with the folder that it was found in; None for a named file.

    `passed_over`: what is not read, and why. `unreadable`: those of them that are folders, which must not look empty.
    """

    files: dict[Path, Path | None] = field(default_factory=dict)
    passed_over: dict[Path, str] = field(default_factory=dict)
    unreadable: set[Path] = field(default_factory=set)


def documents(paths: list[Path]) -> Listing:
    """List every named file, and the visible `DOCUMENTS` of every named folder."""
    found = Listing()
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        if not exists:
            raise SourceError(f"{path} does not exist")
        if not is_folder:
            found.files.setdefault(path)
            continue
        inside = walk(path)
        for file in filter(is_document, inside.files):
            found.files.setdefault(file, path)
        found.passed_over |= inside.passed_over | about.of_nothing(inside.files)
        found.unreadable |= inside.unreadable
    return found


def walk(folder: Path) -> Listing:
    """List a folder's visible files by name. Raises SourceError when it cannot be read itself."""
    found = Listing()

    def unreadable(inside: Path, error: OSError) -> None:
        if inside == folder:
            raise error
        found.passed_over[inside] = f"it cannot be read: {error.strerror}"
        found.unreadable.add(inside)

    try:
        root = folder.resolve()
        for path in sorted(_entries(folder, unreadable)):
            if (why := _not_read(path, root)) is None:
                found.files[path] = folder
            else:
                found.passed_over[path] = why
    except OSError as error:
        raise SourceError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    except RuntimeError as error:  # it is a link that leads in a circle
        raise SourceError(f"{folder} cannot be read: {error}") from error
    return found


def _entries(folder: Path, unreadable: Callable[[Path, OSError], None]) -> Iterator[Path]:
    """Yield what is visible below a folder, without the folders that are entered, unless named as a document."""
    folders = [folder]  # not os.walk, which in Python 3.11 calls itself for each level
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path, entered = Path(entry), entry.is_dir(follow_symlinks=False)
                    if entered:
                        folders.append(path)
                    if not entered or is_document(path):
                        yield path
        except OSError as error:
            unreadable(inside, error)


def _not_read(path: Path, root: Path) -> str | None:
    """Say why an entry is not read; None for a regular file inside of `root`, also if a link leads there."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not path.resolve().is_relative_to(root):
                return "it is a link that leads out of the folder"
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                return "it is a link to a folder"
    except FileNotFoundError:
        return "it is a link to nothing" if path.is_symlink() else None  # None: removed; reading it says so
    except (OSError, RuntimeError) as error:  # of links that lead in a circle
        return f"it cannot be read: {error}"
    return not_regular(mode)


def is_document(path: Path) -> bool:
    """Say whether a file in a folder is a document."""
    return path.name.endswith(DOCUMENTS)


def is_expected(path: Path) -> bool:
    """Say whether a file in a folder is a document, the note beside one, or may become one when it is renamed."""
    return path.name.endswith((*DOCUMENTS, about.ENDING, *UNFINISHED))


def fetch(
    path: Path, stated_at: datetime | None = None, *, largest: int, beneath: Path | None = None
) -> Capture | Rejection:
    """Read a file of at most `largest` bytes, and the note beside it; a larger one is rejected unread.

    Args:
        stated_at: When it was published, where the note does not say so.
        beneath: The folder that no link may lead out of.

    Raises:
        SourceError: It cannot be read.
    """
    name, at = name_of(path), now()

    def refused(message: str, expected: str) -> Rejection:
        finding = Finding("F207", f"{message}: it is neither read nor archived")
        return Rejection(finding, name, "", at, "", expected, b"")

    try:
        content, said = read_regular(path, largest, beneath=beneath), about.read(path, beneath)
        return Capture(name, content, at, said.uri, said.stated_at or stated_at)
    except about.BadNote as bad:
        return refused(f"the note beside it, {name_of(about.beside(path))}, {bad}", about.EXPECTED)
    except OSError as error:
        if error.errno == errno.EFBIG:
            mib = largest >> 20
            return refused(f"it is larger than {mib} MiB", f"at most {mib} MiB, or a higher --largest-document")
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def now() -> datetime:
    """Return the current time in UTC, in whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def name_of(path: Path) -> str:
    """Return a file's name, behind that of its folder where the path has one: events are public.

    Bytes that are not UTF-8 become U+FFFD: events are UTF-8.
    """
    parts = Path(os.fsencode(path).decode(errors="replace")).parts
    return "/".join([part for part in parts if part not in ("/", "..")][-2:])
