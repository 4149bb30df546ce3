"""Hash a log into a Merkle tree, and prove what is in it and what it extends (pure).

The hashes are those of RFC 6962, section 2.1: of a leaf SHA-256(0x00 || entry), of a node SHA-256(0x01 || left ||
right). A subtree is named by its level and its index in it: it is whole, and has 2**level leaves from index * 2**level
on. Proofs are lists of 32-byte hashes, from the leaves to the root. They are made from the hashes of whole subtrees
(`Subtrees`), which are never all in memory, and are checked without any of it (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise

EMPTY = sha256(b"").digest()
"""The root of a tree without leaves."""
Subtrees = Callable[[Sequence[tuple[int, int]]], Sequence[bytes]]
"""Returns the hashes of whole subtrees, each named by level and index, in the same order."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\x01" + left + right).digest()


def whole(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the whole subtrees that the leaves from `begin` to before `end` consist of, as level and index, from left.

    Those that a node of RFC 6962 has beneath it: `begin` is a multiple of the largest of them.
    """
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield level, begin >> level
        begin += 1 << level


def joined(hashes: Iterable[bytes]) -> bytes:
    """Return the hash above whole subtrees that stand side by side, the largest first; of none, EMPTY."""
    found = list(hashes)
    if not found:
        return EMPTY
    root = found.pop()
    while found:
        root = node_hash(found.pop(), root)
    return root


class Peaks:
    """A tree that grows by the hashes of leaves, and is nothing but its root: of each whole subtree the hash."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, subtree: bytes, level: int = 0) -> None:
        """Add the hash of a leaf, or of the next whole subtree of a level: the size is a multiple of its leaves."""
        before = self.size >> level
        while before & 1:
            subtree = node_hash(self._peaks.pop(), subtree)
            before >>= 1
        self._peaks.append(subtree)
        self.size += 1 << level

    def peaks(self) -> list[bytes]:
        """Return the hashes of the whole subtrees that the tree consists of, the largest first."""
        return list(self._peaks)

    def root(self, following: Iterable[bytes] = ()) -> bytes:
        """Return the root of the tree as it is, or with smaller whole subtrees that follow it."""
        return joined([*self._peaks, *following])


def root_of(size: int, subtrees: Subtrees) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return joined(subtrees(list(whole(0, size))))


def inclusion_proof(index: int, size: int, subtrees: Subtrees) -> list[bytes]:
    """Prove that a leaf is in the tree of the first `size` leaves. Raises ValueError where it is not."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return _hashes(_beside(index, 0, size), subtrees)


def consistency_proof(old: int, new: int, subtrees: Subtrees) -> list[bytes]:
    """Prove that the tree of the first `new` leaves extends that of the first `old`.

    Raises ValueError where `old` is 0, of which there is nothing to prove, or more than `new`.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} leaves extends none of {old}")
    return _hashes(_below(old, new), subtrees)


def verify_inclusion(index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a proof shows that the leaf with this hash is at `index` of the tree of this size and root."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(other, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, other)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a proof shows that the tree of size `new` extends that of size `old`. Each extends the empty tree."""
    if not 0 <= old <= new:
        return False
    if old == new or old == 0:
        return not proof and old_root == (new_root if old else EMPTY)
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, other)
        at, last = at >> 1, last >> 1
    return last == 0 and (before, after) == (old_root, new_root)


def shared_proof(indices: Sequence[int], size: int, subtrees: Subtrees) -> list[bytes]:
    """Prove that several leaves are in the tree of the first `size` leaves: the hashes that they need, each once.

    `indices`: ascending. The hashes are those of the largest nodes with none of the leaves, from left to right.
    """
    found, ways = list[_Range](), [(0, size, 0, len(indices))]
    while ways:
        begin, end, first, last = ways.pop()
        if first == last:
            found.append((begin, end))
        elif end - begin > 1:
            middle = _split(begin, end)
            cut = bisect_left(indices, middle, first, last)
            ways += [(middle, end, cut, last), (begin, middle, first, cut)]
    return _hashes(found, subtrees)


def root_above(indices: Sequence[int], leaves: Sequence[bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that the hashes of leaves and a shared proof give. Raises ValueError where they do not fit.

    `indices`: of the leaves, ascending.
    """
    if any(one >= other for one, other in pairwise(indices)) or not 0 <= indices[0] <= indices[-1] < size:
        raise ValueError(f"the leaves are not in ascending order, or beyond a tree of {size} leaves")
    beside = iter(proof)

    def node(begin: int, end: int, first: int, last: int) -> bytes:
        if first == last:
            return next(beside)
        if end - begin == 1:
            return leaves[first]
        middle = _split(begin, end)
        cut = bisect_left(indices, middle, first, last)
        return node_hash(node(begin, middle, first, cut), node(middle, end, cut, last))

    try:
        root = node(0, size, 0, len(indices))
    except StopIteration as error:
        raise ValueError("the proof has too few hashes") from error
    if next(beside, None) is not None:
        raise ValueError("the proof has more hashes than it needs")
    return root


_Range = tuple[int, int]


def _split(begin: int, end: int) -> int:
    """Return where the node over these leaves is divided: after the largest power of two that is less than all."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def _beside(index: int, begin: int, end: int) -> list[_Range]:
    """List the ranges of leaves beside the way from a leaf to the node over `begin` to `end`, from below."""
    found: list[_Range] = []
    while end - begin > 1:
        middle = _split(begin, end)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def _below(old: int, new: int) -> list[_Range]:
    """List the ranges of leaves that a consistency proof has (RFC 6962, section 2.1.2)."""
    found: list[_Range] = []
    begin, end = 0, new
    while end != old:
        middle = _split(begin, end)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    if begin:
        found.append((begin, end))
    return found[::-1]


def _hashes(ranges: Sequence[_Range], subtrees: Subtrees) -> list[bytes]:
    """Return the hash of each range, asking for all subtrees at once."""
    parts = [list(whole(begin, end)) for begin, end in ranges]
    found = iter(subtrees([name for names in parts for name in names]))
    return [joined([next(found) for _ in names]) for names in parts]
