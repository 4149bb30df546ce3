"""Check checkpoints that somebody kept against the log, and against each other.

Nothing of the notary's is needed but its public key: the tree is made again from the log. So whoever keeps a checkpoint
can say later whether the log still has all that was signed then, as it was.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from audit.entries import entry_of
from audit.errors import Contradicted, FilesDamaged
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint
from audit.tree.merkle import EMPTY, Peaks, consistency_proof, leaf_hash, root_of, verify_consistency
from runtime.kafka.reader import Reader


class Verified(NamedTuple):
    """A checkpoint, and what the log says. `root`: of the log at its size; None: the log is shorter."""

    checkpoint: Checkpoint
    root: bytes | None

    @property
    def holds(self) -> bool:
        """Say whether the log is the one that was signed."""
        return self.root == self.checkpoint.root


def verify(
    log: Reader, partition: int, checkpoints: Sequence[Checkpoint], progress: Callable[[int, int], None]
) -> list[Verified]:
    """Read the log once, and compare it with each checkpoint, in the order of their sizes. Raises KafkaFault."""
    wanted = sorted(checkpoints, key=lambda one: one.size)
    end = log.end_offset(partition)
    last = min(end, wanted[-1].size)
    roots, tree = {0: EMPTY}, Peaks()
    sizes = iter(sorted({one.size for one in wanted if 0 < one.size <= end}))
    following = next(sizes, None)
    for batch in log.read_to_end(partition, 0, last):
        for record in batch:
            tree.add(leaf_hash(bytes(entry_of(log.topic, record))))
            if tree.size == following:
                roots[following], following = tree.root(), next(sizes, None)
        progress(tree.size, last)
    return [Verified(one, roots.get(one.size)) for one in wanted]


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
