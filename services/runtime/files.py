"""Write files atomically, and lock a folder.

A crash in `write_whole` leaves the old file or the new one, and at most a temporary file next to it, whose name begins
with `TEMPORARY`. Nothing reads it; the process that holds the folder removes it (`sweep`). The operating system
releases a lock when the process ends.
"""

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import Self

from schemas.errors import EscrutinioError

TEMPORARY = ".writing-"


class FolderInUse(EscrutinioError):
    """Another process holds the folder."""


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file atomically and sync it to the disk. Makes its folder. `mode`: who may read it. Raises OSError."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)  # another process may have made it meanwhile
        _sync(path.parent.parent)
    handle, name = tempfile.mkstemp(
        prefix=f"{TEMPORARY}{path.name}-", dir=path.parent
    )  # two processes may write one file
    temporary = Path(name)
    try:
        with open(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the disk may be full: free the space of the partial file
            temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # until now a power cut can undo the rename, as if the crash had come before it


def sweep(folder: Path) -> None:
    """Remove the temporary files that a crash left in a folder and its subfolders."""
    for pattern in (f"{TEMPORARY}*", f"*/{TEMPORARY}*"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


class FolderLock:
    """A lock on a folder that one process holds at a time; makes the folder. Use as a context manager."""

    def __init__(self, folder: Path, in_use: str) -> None:
        """`in_use`: the message when another process holds it."""
        self._folder, self._in_use = folder, in_use
        self._handle: int | None = None

    @property
    def is_held(self) -> bool:
        """Say whether this process holds the lock."""
        return self._handle is not None

    def __enter__(self) -> Self:
        """Lock the folder. Raises OSError, or FolderInUse when another process holds it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise FolderInUse(self._in_use) from error
        self._handle = handle
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
