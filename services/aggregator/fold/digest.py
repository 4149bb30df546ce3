"""One hash for the whole state of a contest (pure). Specified, with test vectors, in docs/contract.md.

A Merkle tree of two levels: units fall into 256 buckets, by the first byte of the SHA-256 of their name. A change
re-hashes its own bucket only, so the digest can be kept at every commit; and the parts of a contest can be hashed
apart and joined, since a bucket does not depend on the order in which its units came.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

BUCKETS = 256
_EMPTY = hashlib.sha256(b"").digest()


class Others(Protocol):
    """Units whose entries are kept elsewhere."""

    stale: set[int]
    """Buckets in which they changed since the digest was last made."""

    def names(self, index: int) -> list[bytes]:
        """The names in a bucket, in their order."""

    def entries(self, index: int) -> bytes:
        """The entries of a bucket one after the other, in the order of the names."""


class StateDigest:
    """The digest of a growing set of units."""

    __slots__ = ("_buckets", "_hashes", "_stale", "definition")

    def __init__(self) -> None:
        self.definition = b"\0" * 32
        """SHA-256 of the canonical text of the contest's definition in force."""
        self._buckets: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]
        self._hashes = [_EMPTY] * BUCKETS
        self._stale: set[int] = set()

    def put(self, unit: bytes, entry: bytes) -> None:
        """Set a unit's entry: 64 bytes, the leaf of its current statement and that of the last of its chain.

        `unit` is its name, `type/id`, in UTF-8.
        """
        bucket = hashlib.sha256(unit).digest()[0]
        self._buckets[bucket][unit] = entry
        self._stale.add(bucket)

    def remove(self, unit: bytes) -> None:
        """Take a unit's entry out again."""
        bucket = hashlib.sha256(unit).digest()[0]
        del self._buckets[bucket][unit]
        self._stale.add(bucket)

    def root(self, others: Others | None = None) -> str:
        """SHA-256, in hexadecimal, of the definition's hash followed by the 256 bucket hashes.

        A bucket's hash is the SHA-256 of its units' entries in the byte order of their names, of those here and of the
        others.
        """
        for index in self._stale | others.stale if others is not None else self._stale:
            entries, bucket = b"", self._buckets[index]
            if others is not None:
                entries = others.entries(index)
                if bucket and entries:
                    names = enumerate(others.names(index))
                    bucket = bucket | {name: entries[64 * i : 64 * i + 64] for i, name in names}
            if bucket:
                entries = b"".join([bucket[unit] for unit in sorted(bucket)])
            self._hashes[index] = hashlib.sha256(entries).digest()
        self._stale.clear()
        if others is not None:
            others.stale.clear()
        return hashlib.sha256(self.definition + b"".join(self._hashes)).hexdigest()


def partition_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the lines `contest_id digest`, sorted: the digest that the cursor carries."""
    lines = "".join(f"{contest_id} {digest}\n" for contest_id, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
