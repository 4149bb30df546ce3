"""Name the files of a tree, and read and write what is in them, as c2sp.org/tlog-tiles has them (pure).

A tile has the hashes of up to 256 neighbours at a level that is a multiple of 8. A full one never changes; a partial
one has its width in its name, and so never changes either: a tree that grows adds files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from audit.tree.merkle import Subtrees, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH = 32


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile. `level`: of tiles, so that its hashes are of subtrees of 256**level leaves; None: a bundle of entries."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Return where it is, below the log's prefix."""
        number = f"{self.index:03d}"
        number = number.zfill(-(-len(number) // 3) * 3)
        parts = [number[at : at + 3] for at in range(0, len(number), 3)]
        name = "/".join(["tile", "entries" if self.level is None else str(self.level), *(f"x{p}" for p in parts[:-1])])
        return f"{name}/{parts[-1]}" + (f".p/{self.width}" if self.width < WIDTH else "")


def tile_of(level: int, index: int, size: int) -> Tile:
    """Return the tile at a place in the tree of `size` leaves, as wide as it is there."""
    return Tile(level, index, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield every tile of the tree of `size` leaves, and every bundle of entries."""
    for index in range(-(-size // WIDTH)):
        yield Tile(None, index, tile_of(0, index, size).width)
    yield from new_tiles(0, size)


def new_tiles(old: int, size: int) -> Iterator[Tile]:
    """Yield the tiles of the tree of `size` leaves that the tree of `old` has not, from the lowest level on."""
    level = 0
    while size >> HEIGHT * level:
        before, after = old >> HEIGHT * level, size >> HEIGHT * level
        if before < after:
            yield from (tile_of(level, index, size) for index in range(before // WIDTH, -(-after // WIDTH)))
        level += 1


def subtrees_from(size: int, read: Callable[[Sequence[Tile]], Mapping[Tile, bytes]]) -> Subtrees:
    """Return what finds whole subtrees of the tree of `size` leaves in its tiles. `read` returns their content."""

    def tile_over(level: int, index: int) -> tuple[Tile, int, int]:
        """Return the tile that has a subtree, where its hashes begin there, and how many they are."""
        of, below = divmod(level, HEIGHT)
        first = index << below
        return tile_of(of, first // WIDTH, size), first % WIDTH, 1 << below

    def subtrees(names: Sequence[tuple[int, int]]) -> list[bytes]:
        places = [tile_over(*name) for name in names]
        content = read(list(dict.fromkeys(tile for tile, _, _ in places)))
        return [top_of(hashes_in(content[tile])[begin : begin + number]) for tile, begin, number in places]

    return subtrees


def hashes_in(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile."""
    return [tile[at : at + HASH] for at in range(0, len(tile), HASH)]


def bundle(entries: Iterable[bytes]) -> bytes:
    """Return entries as a bundle: each behind its length."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def entries_in(content: bytes) -> list[bytes]:
    """Return the entries of a bundle. Raises ValueError where it ends within one."""
    found, at = list[bytes](), 0
    while at < len(content):
        end = at + 2 + int.from_bytes(content[at : at + 2])
        if end > len(content) or at + 2 > len(content):
            raise ValueError(f"the bundle ends within its entry {len(found)}")
        found.append(content[at + 2 : end])
        at = end
    return found


def top_of(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over a power of two of neighbours."""
    while len(hashes) > 1:
        one = iter(hashes)
        hashes = [node_hash(left, right) for left, right in zip(one, one, strict=True)]
    return hashes[0]
