"""Grow a tree by entries, and say which files it has then (pure).

It keeps the hashes of the unfinished tiles alone, at most 255 for each level: memory does not grow with the log.
"""

from collections.abc import Iterator, Sequence

from audit.tree.merkle import joined, leaf_hash
from audit.tree.tiles import HEIGHT, WIDTH, Tile, bundle, top_of


class Growing:
    """A tree, up to its last entry."""

    def __init__(self) -> None:
        self.size = 0
        self._entries: list[bytes] = []
        """Of the unfinished bundle."""
        self._tails: list[list[bytes]] = []
        """Of the unfinished tile of each level."""

    def add(self, entry: bytes) -> list[tuple[Tile, bytes]]:
        """Add an entry. Returns the files that are full by it: mostly none."""
        full: list[tuple[Tile, bytes]] = []
        self._entries.append(entry)
        self.size += 1
        if len(self._entries) == WIDTH:
            full.append((Tile(None, self.size // WIDTH - 1), bundle(self._entries)))
            self._entries.clear()
        top, level = leaf_hash(entry), 0
        while True:
            if level == len(self._tails):
                self._tails.append([])
            tail = self._tails[level]
            tail.append(top)
            if len(tail) < WIDTH:
                return full
            level += 1
            full.append((Tile(level - 1, (self.size >> HEIGHT * level) - 1), b"".join(tail)))
            top = top_of(tail)
            tail.clear()

    def unfinished(self, *earlier: int) -> Iterator[tuple[Tile, bytes]]:
        """Yield the partial files of the tree as it is, and those that it had at earlier sizes and are not full yet."""
        for size in (*earlier, self.size):
            if (width := size - self.size // WIDTH * WIDTH) > 0:
                yield Tile(None, self.size // WIDTH, width), bundle(self._entries[:width])
            for level, tail in enumerate(self._tails):
                index = (self.size >> HEIGHT * level) // WIDTH
                if (width := (size >> HEIGHT * level) - index * WIDTH) > 0:
                    yield Tile(level, index, width), b"".join(tail[:width])

    def root(self) -> bytes:
        """Return the root of the tree as it is."""
        return joined(one for tail in reversed(self._tails) for one in _wholes(tail))


def _wholes(tail: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the hashes of the whole subtrees that some neighbours consist of, the largest first."""
    begin = 0
    for level in reversed(range(len(tail).bit_length())):
        if len(tail) >> level & 1:
            yield top_of(tail[begin : begin + (1 << level)])
            begin += 1 << level
