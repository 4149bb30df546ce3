"""Write files whole, and hold a folder alone.

A crash in `write_whole` leaves the old file or the new one, and at most a temporary file beside it, whose name begins with
`TEMPORARY`: nobody reads it, and who holds the folder removes it (`sweep`). A lock is the operating system's and dies with the process.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import EscrutinioError

TEMPORARY = ".writing-"


class FolderInUse(EscrutinioError):
    """Another process holds the folder."""


def write_whole(path: Path, content: bytes) -> None:
    """Write all of a file or nothing of it; it is on the disk when this returns. Makes its folder. Raises OSError."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        _sync(path.parent.parent)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # what was written of it is to leave room for others
            temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # until now a power cut may undo the rename: as if the crash had come before it


def sweep(folder: Path) -> None:
    """Remove what a crash left of files that were being written in a folder and those in it."""
    for pattern in (f"{TEMPORARY}*", f"*/{TEMPORARY}*"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


class FolderLock:
    """A folder, made where it is missing, that one process holds at a time. Use as a context manager."""

    def __init__(self, folder: Path, in_use: str) -> None:
        """`in_use`: what to say when another holds it."""
        self._folder, self._in_use = folder, in_use
        self._handle: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._handle is not None

    def __enter__(self) -> Self:
        """Raises OSError, and FolderInUse."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise FolderInUse(self._in_use) from error
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
