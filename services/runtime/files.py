"""Read files of a bounded size, write files atomically, and lock a folder.

Reading never waits for another program: what is no regular file is not opened. A crash in `write_whole` leaves the old
file or the new one, and at most a temporary file next to it, whose name begins with `TEMPORARY`. Nothing reads it; the
process that holds the folder removes it (`sweep`). The operating system releases a lock when the process ends.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Self

from schemas.errors import EscrutinioError

TEMPORARY = ".writing-"


class FolderInUse(EscrutinioError):
    """Another process holds the folder."""


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}
LARGEST = 1 << 30
"""Bytes of a file that is read whole, unless a smaller bound is given."""
_WITHOUT_WAITING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def not_regular(mode: int) -> str | None:
    """Say what a file is by its mode when it is no regular file; None for a regular one."""
    return None if stat.S_ISREG(mode) else f"it is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}"


def read_regular(path: Path, most: int = LARGEST, *, beneath: Path | None = None) -> bytes:
    """Read a regular file of at most `most` bytes.

    Args:
        beneath: A folder that no link may lead out of, also when one is put there meanwhile.

    Raises OSError: EINVAL for what is no regular file, which is not opened; EFBIG for a larger one; EAGAIN for one that
    changes while it is read; ELOOP for a link that leads out.
    """
    with open_regular(path, beneath=beneath) as file:
        before = os.fstat(file.fileno())
        content = b"" if before.st_size > most else file.read(most + 1)
        if max(before.st_size, len(content)) > most:
            raise OSError(errno.EFBIG, f"more than {most:,} bytes")
        after = os.fstat(file.fileno())
    if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
        raise OSError(errno.EAGAIN, "it changes while it is read")
    return content


def open_regular(path: Path, *, beneath: Path | None = None) -> BinaryIO:
    """Open a regular file, to read it in parts. Raises OSError as `read_regular`."""
    if (what := not_regular(path.stat().st_mode)) is not None:
        raise OSError(errno.EINVAL, what)
    file = open(_open(path, beneath), "rb")  # noqa: SIM115 - the caller closes it
    if (what := not_regular(os.fstat(file.fileno()).st_mode)) is not None:
        file.close()
        raise OSError(errno.EINVAL, what)
    return file


def read_text(path: Path, most: int = 1 << 20) -> str:
    """Read a text file that a person wrote, in UTF-8 with or without a mark.

    Raises OSError as `read_regular`, or ValueError in words for what is not UTF-8.
    """
    content = read_regular(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 (byte {error.start}); save the file as UTF-8 text") from error


def _open(path: Path, beneath: Path | None) -> int:
    if beneath is None:
        return os.open(path, _WITHOUT_WAITING)
    root, real = beneath.resolve(), path.resolve()
    if not real.is_relative_to(root):
        raise OSError(errno.ELOOP, f"it is a link that leads out of {beneath}")
    *folders, name = real.relative_to(root).parts
    inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:  # one by one: a link that is put there after `resolve` is not followed
            outer = inside
            inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outer)
            os.close(outer)
        return os.open(name, _WITHOUT_WAITING | os.O_NOFOLLOW, dir_fd=inside)
    finally:
        os.close(inside)


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file atomically and sync it to the disk. Makes its folder. `mode`: who may read it. Raises OSError."""
    _make(path.parent)
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


def _make(folder: Path) -> None:
    """Make a folder, and those above it, each synced where it stands: else a power cut can take a file's whole path."""
    if not folder.exists():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)  # another process may have made it meanwhile
        _sync(folder.parent)


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
