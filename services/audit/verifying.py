"""Check checkpoints that somebody kept against the log, and against each other.

Nothing of the notary's is needed but its public key: the tree is made again from the log. So whoever keeps a checkpoint
can say later whether the log still has all that was signed then, as it was. Of a long log each core reads a range.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from audit.entries import entry_of
from audit.errors import Contradicted, FilesDamaged
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint
from audit.tree.merkle import EMPTY, Peaks, consistency_proof, leaf_hash, root_of, verify_consistency
from audit.workers import Workers, cores
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from schemas.errors import EscrutinioError

_LEVEL = 10
"""Of the subtrees that are hashed each by itself."""
_LEAVES = 1 << _LEVEL
_LONGEST = 1 << 18
"""Messages of a range: what it is made into is told then."""
_BYTES = 100
"""Of a message, as `Workers` take it: sooner than in other processes 10,000 messages are read here."""


class Verified(NamedTuple):
    """A checkpoint, and what the log says. `root`: of the log at its size; None: the log is shorter."""

    checkpoint: Checkpoint
    root: bytes | None

    @property
    def holds(self) -> bool:
        """Say whether the log is the one that was signed."""
        return self.root == self.checkpoint.root


class _Range(NamedTuple):
    """Messages of a partition, from `begin`, where a subtree of _LEVEL begins, to before `end`.

    `sizes`: of the trees whose roots are wanted, ascending.
    """

    kafka: KafkaAccess
    topic: str
    log_id: UUID | None
    partition: int
    begin: int
    end: int
    sizes: Sequence[int]


def verify(
    kafka: KafkaAccess,
    topic: str,
    partition: int,
    checkpoints: Sequence[Checkpoint],
    progress: Callable[[int, int], None],
) -> list[Verified]:
    """Read the log once, and compare it with each checkpoint, in the order of their sizes. Raises KafkaFault.

    Several processes share a long log where this one can be copied: a new one would start for as long as it reads.
    """
    wanted = sorted(checkpoints, key=lambda one: one.size)
    with Reader(kafka, topic) as log:
        log.confirm()
        last = min(log.end_offset(partition), wanted[-1].size)
        whole = _Range(kafka, topic, log.log_id, partition, 0, last, [one.size for one in wanted])
    can_copy = sys.platform == "linux" and threading.active_count() == 1
    ranges, tree, roots = _divided(whole), Peaks(), {0: EMPTY}
    with Workers(None if can_copy else 1, method="fork" if can_copy else "spawn") as workers:
        for part, made in zip(ranges, workers.map(_made, ranges, last * _BYTES), strict=True):
            for size, hashes in _subtrees(part) if made is None else made:
                if size % _LEAVES == 0:
                    tree.add(hashes.pop(), _LEVEL)
                roots[size] = tree.root(hashes)
                progress(size, last)
    return [Verified(one, roots.get(one.size)) for one in wanted]


def _divided(whole: _Range) -> list[_Range]:
    """Divide a range, one part for each core, or more."""
    length = min(_LONGEST, max(1, -(-whole.end // (cores() * _LEAVES))) * _LEAVES)
    return [whole._replace(begin=begin, end=min(begin + length, whole.end)) for begin in range(0, whole.end, length)]


def _subtrees(part: _Range) -> Iterator[tuple[int, list[bytes]]]:
    """Yield sizes of the tree, each with the subtrees that follow the last whole one of _LEVEL, or that itself."""
    wanted = {size for size in part.sizes if part.begin < size <= part.end}
    stops = iter(sorted(wanted.union(range(part.begin + _LEAVES, part.end + 1, _LEAVES))))
    stop, tree = next(stops, None), Peaks()
    with Reader(part.kafka, part.topic) as log:
        log.log_id = part.log_id
        for batch in log.read_to_end(part.partition, part.begin, part.end):
            for record in batch:
                tree.add(leaf_hash(bytes(entry_of(part.topic, record))))
                if record.offset + 1 == stop:
                    yield stop, tree.peaks()
                    tree = Peaks() if stop % _LEAVES == 0 else tree
                    stop = next(stops, None)


def _made(part: _Range) -> list[tuple[int, list[bytes]]] | None:
    """Make the subtrees of a range in a worker; None for a fault, which whoever asked for it then meets and raises."""
    try:
        return list(_subtrees(part))
    except EscrutinioError:
        return None


def extends(old: Checkpoint, new: Checkpoint, files: TreeFolder) -> bool:
    """Say whether one checkpoint extends another, by the files of the log. Raises FilesDamaged for those of another.

    The files have to be of the newer one: then what they say of the older one is proved by the key's own signature.
    """
    subtrees = files.subtrees(new.size)
    if root_of(new.size, subtrees) != new.root:
        raise FilesDamaged(
            f"{files.path}: the tiles are not those of {new.origin} at size {new.size:,}, whose root differs"
        )
    proof = consistency_proof(old.size, new.size, subtrees) if old.size else []
    return verify_consistency(old.size, new.size, old.root, new.root, proof)


def partition_of(checkpoints: Sequence[Checkpoint], topic: str) -> int:
    """Return the partition of a topic that checkpoints are of. Raises Contradicted where they are not all of one."""
    origins = {one.origin for one in checkpoints}
    if len(origins) > 1:
        raise Contradicted(f"the checkpoints are of several logs: {', '.join(sorted(origins))}")
    name, _, number = origins.pop().rpartition("/")
    if not name.endswith(f"/{topic}") or not number.isdigit():
        raise Contradicted(f"the checkpoints are of {name}/{number}, not of {topic}")
    return int(number)
