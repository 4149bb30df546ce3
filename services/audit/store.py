"""Keep the files of one partition's tree, as c2sp.org/tlog-tiles has them: any web server can serve the folder.

Place in the flow: `notary` writes, proofs and checks read. Each file is written whole, synced and renamed, tiles first
and the checkpoint last: after a crash there is the checkpoint of before, with all its files, and at most files of a
tree that nobody has signed, which are made again. Tiles are synced several at once, in any order, since a disk needs
longer to sync one than we need to make it; `settle` waits for all.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.errors import Contradicted, FilesDamaged, FolderFull, NotSigned
from audit.tree.merkle import Subtrees
from audit.tree.tiles import HASH, Tile, subtrees_from
from runtime.files import FolderLock, read_regular, sweep, write_whole

CHECKPOINT = "checkpoint"
CHECKPOINTS = "checkpoints"
"""Folder of those that are kept, each named by its size."""
_AT_ONCE = 4
"""Tiles that are written at a time."""
_WAITING = 64
"""Tiles that wait to be written: bounds memory where the disk is slow."""


class TreeFolder:
    """The files of a tree. To write, use it as a context manager, which locks the folder; reading needs no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock(path, f"another notary is at work in {path}; stop it, or choose another folder")
        self._writers = ThreadPoolExecutor(_AT_ONCE, "tiles")
        self._unsettled = deque[Future[None]]()

    @classmethod
    def of(cls, root: Path, topic: str, partition: int) -> Self:
        """Return the folder of a partition below the one that has all of them."""
        return cls(root / topic / str(partition))

    def __enter__(self) -> Self:
        try:
            self._lock.__enter__()
        except OSError as error:
            raise FolderFull(f"{self.path} cannot be opened: {error.strerror}") from error
        for folder in (self.path, *(of for of in self.path.glob("tile/**/") if of.is_dir())):
            sweep(folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writers.shutdown()
        self._lock.__exit__(kind, error, trace)

    def checkpoint(self) -> bytes | None:
        """Return the last checkpoint, a signed note; None before the first. Raises FilesDamaged."""
        return self._note(CHECKPOINT)

    def _note(self, name: str) -> bytes | None:
        try:
            return read_regular(self.path / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FilesDamaged.unread(self.path / name, error) from error

    def kept(self) -> list[int]:
        """List the sizes of the checkpoints that are kept."""
        names = [file.name for file in self.path.glob(f"{CHECKPOINTS}/[0-9]*")]
        return sorted(int(name) for name in names if len(name) < 19 and name.isascii() and name.isdigit())

    def keep(self, size: int, checkpoint: bytes) -> None:
        """Keep a checkpoint beside the last one. Every file of its tree has to be there. Raises FolderFull."""
        self._write(self.path / CHECKPOINTS / str(size), checkpoint)

    def note(self, size: int | None = None) -> bytes:
        """Return the last checkpoint, or the one that is kept of a size. Raises NotSigned, FilesDamaged."""
        name = CHECKPOINT if size is None else f"{CHECKPOINTS}/{size}"
        if (note := self._note(name)) is not None:
            return note
        if size is None:
            raise NotSigned(f"{self.path} has no checkpoint yet: `escrutinio-audit run` makes them")
        raise NotSigned(f"{self.path} keeps no checkpoint of size {size}: {CHECKPOINTS}/ has those that it keeps")

    def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """Return the content of tiles; of a partial one that is gone, from the full one. Raises FilesDamaged."""
        return {tile: self._read(tile) for tile in tiles}

    def subtrees(self, size: int) -> Subtrees:
        """Return what finds whole subtrees of the tree at a size."""
        return subtrees_from(size, self.read)

    def _read(self, tile: Tile) -> bytes:
        for one in (tile, Tile(tile.level, tile.index)):
            try:
                content = read_regular(self.path / one.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise FilesDamaged.unread(self.path / one.path, error) from error
            if tile.level is not None and len(content) != one.width * HASH:
                raise FilesDamaged(f"{self.path / one.path} has {len(content):,} bytes, not {one.width * HASH:,}")
            return content if tile.level is None else content[: tile.width * HASH]
        raise FilesDamaged(f"{self.path / tile.path} is missing")

    def put(self, tile: Tile, content: bytes) -> None:
        """Write a tile, which is there once `settle` returns. Raises what `settle` does, of an earlier one."""
        self._unsettled.append(self._writers.submit(self._put, tile, content))
        self.settle(_WAITING)

    def settle(self, but: int = 0) -> None:
        """Wait until all tiles but so many are written. Raises FilesDamaged, FolderFull.

        Raises Contradicted where a tile is there with another content.
        """
        while len(self._unsettled) > but:
            self._unsettled.popleft().result()

    def _put(self, tile: Tile, content: bytes) -> None:
        path = self.path / tile.path
        try:
            there = read_regular(path)
        except FileNotFoundError:
            self._write(path, content)
            return
        except OSError as error:
            raise FilesDamaged.unread(path, error) from error
        if there != content:
            raise Contradicted(f"{path} was written with another content: the log was another one then")

    def sign(self, checkpoint: bytes) -> None:
        """Replace the checkpoint. Every file of its tree has to be there. Raises FolderFull."""
        self._write(self.path / CHECKPOINT, checkpoint)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_whole(path, content)
        except OSError as error:
            raise FolderFull(f"{path} cannot be written: {error.strerror}") from error
