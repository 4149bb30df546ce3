"""Compute one hash of the whole state of a contest (pure). Specified, with test vectors, in docs/contract.md.

A Merkle tree of two levels: units fall into 256 buckets, by the first byte of the SHA-256 of their name. A change
re-hashes its own bucket only, so the digest can be kept at every commit.
"""

import hashlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from schemas.columns.layout import Bytes, Numbers

BUCKETS = 256
_EMPTY = hashlib.sha256(b"").digest()


class StateDigest:
    """The digest of a growing set of units, which are given by number."""

    def __init__(self) -> None:
        self.definition = b"\0" * 32
        """SHA-256 of the canonical text of the contest's definition in force."""
        self.roll = b"\0" * 32
        """`Roll.leaf` of the roll in force; zeros without one."""
        self._names: dict[int, list[bytes]] = defaultdict(list)  # by bucket: of made-up contests there may be very many
        self._numbers: dict[int, list[int]] = defaultdict(list)
        """In the order of the names."""
        self._bucket: dict[int, int] = {}
        self._hashes = [_EMPTY] * BUCKETS
        self._stale: set[int] = set()
        self._root: tuple[bytes, str] | None = None
        """The last root, and the hashes before its buckets: it is asked for at every commit, of every contest."""

    def add(self, number: int, name: str) -> None:
        """Add a unit. `name`: `type/id`."""
        raw = name.encode()
        bucket = self._bucket[number] = hashlib.sha256(raw).digest()[0]
        place = bisect_left(self._names[bucket], raw)
        self._names[bucket].insert(place, raw)
        self._numbers[bucket].insert(place, number)
        self._stale.add(bucket)

    def touch(self, numbers: Iterable[int]) -> None:
        """Note that the leaves of these units changed."""
        self._stale.update(map(self._bucket.__getitem__, numbers))

    def root(self, leaf: Bytes, head_leaf: Bytes) -> str:
        """Return the SHA-256, in hexadecimal, of the hashes of definition and roll and the 256 bucket hashes.

        A bucket's hash is the SHA-256 of its units' entries in the byte order of their names; an entry is the leaf of
        the unit's current statement and that of the last of its chain. `leaf`, `head_leaf`: by unit number.
        """
        begin = self.definition + self.roll
        if not self._stale and self._root is not None and self._root[0] == begin:
            return self._root[1]
        for bucket in self._stale:
            numbers: Numbers = np.array(self._numbers[bucket], np.int64)
            entries = np.concatenate([leaf[numbers], head_leaf[numbers]], axis=1)
            self._hashes[bucket] = hashlib.sha256(entries.tobytes()).digest()
        self._stale.clear()
        root = hashlib.sha256(begin + b"".join(self._hashes)).hexdigest()
        self._root = begin, root
        return root


def partition_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the lines `contest_id digest`, sorted: the digest that the cursor carries."""
    lines = "".join(f"{contest_id} {digest}\n" for contest_id, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
