"""Follow a log, and sign its tree every few seconds.

Place in the flow: behind Kafka, of which it only reads. What it signs it has read from the log, whose messages were
acknowledged, and every file of it is on the disk before. A crash loses what was read since the last checkpoint, which
the log still has.

Before it signs anything, it reads the log again from the first message, and compares it with what it signed before:
whoever changed a message, cut the end or put another log in its place has changed the tree. Then it signs nothing more,
and says which message it is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from audit.entries import entry_of
from audit.errors import Contradicted, FilesDamaged
from audit.metrics import Metrics
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint, opened, origin_of
from audit.tree.growing import Growing
from audit.tree.leaf import Entry
from audit.tree.merkle import leaf_hash, root_of
from audit.tree.note import Signer, Verifier
from audit.tree.tiles import WIDTH, entries_in, hashes_in, tile_of
from runtime.kafka.errors import BrokerAway
from runtime.kafka.reader import Batch, Reader

logger = logging.getLogger(__name__)

EVERY_S = 5.0
"""Between two checkpoints."""
_RETRY_S = 2.0


class Notary:
    """Signs one partition. Use within its folder's lock."""

    def __init__(self, folder: TreeFolder, topic: str, partition: int, signer: Signer) -> None:
        self._folder, self._topic, self.partition, self._signer = folder, topic, partition, signer
        self.origin = origin_of(signer.verifier.name, topic, partition)
        self.tree = Growing()
        self.signed: Checkpoint | None = None

    def begin(self, log: Reader, heard: Callable[[], None]) -> None:
        """Compare the log with what was signed of it. Raises Contradicted, FilesDamaged, NoteError.

        `heard` is called now and then: it takes some seconds for each million messages.
        """
        if (note := self._folder.checkpoint()) is None:
            return
        self.signed = checked(self._folder, note, self._signer.verifier, self.origin)
        compare(self._folder, self.signed, log, self.partition, heard)
        self.tree = Growing.read(self.signed.size, self._folder.read)

    def add(self, batch: Batch) -> None:
        """Add messages of the log."""
        for record in batch:
            if record.offset != self.tree.size:
                raise Contradicted(f"{self.origin}: offset {self.tree.size} expected, {record.offset} found")
            for tile, content in self.tree.add(bytes(entry_of(self._topic, record))):
                self._folder.put(tile, content)

    def sign(self) -> Checkpoint:
        """Sign the tree as it is, and write that; nothing where it is signed already."""
        found = Checkpoint(self.origin, self.tree.size, self.tree.root())
        if found != self.signed:
            for tile, content in self.tree.unfinished():
                self._folder.put(tile, content)
            # A crash here leaves files that nobody has signed; the next run makes the same.
            self._folder.sign(bytes(found.signed(self._signer)))
            self.signed = found
        return found


def run(
    log: Reader, folder: Path, signer: Signer, stop: threading.Event, metrics: Metrics, *,
    follow: bool, every_s: float = EVERY_S,
) -> list[Checkpoint]:  # fmt: skip
    """Sign every partition of a topic up to its end; with `follow` every few seconds until stopped.

    Returns the last checkpoints. Raises Contradicted, FilesDamaged, FolderFull, NoteError, KafkaFault.
    """
    with ExitStack() as opened_folders:
        notaries = dict[int, Notary]()
        for partition in log.partitions():
            one = opened_folders.enter_context(TreeFolder.of(folder, log.topic, partition))
            notaries[partition] = Notary(one, log.topic, partition, signer)
            notaries[partition].begin(log, metrics.compared)
        return _sign_on(log, notaries, stop, metrics, follow, every_s)


def _sign_on(
    log: Reader, notaries: Mapping[int, Notary], stop: threading.Event, metrics: Metrics, follow: bool, every_s: float
) -> list[Checkpoint]:
    while True:
        begun, at_s, is_whole = time.monotonic(), time.time(), False
        try:
            places = {partition: notary.tree.size for partition, notary in notaries.items()}
            for batch in log.read_on(places):
                notaries[batch.partition].add(batch)
                metrics.compared()
                if stop.is_set():
                    break
            else:
                is_whole = True
        except BrokerAway as fault:
            if not follow:
                raise
            logger.warning("%s; trying again", fault)
            metrics.lost(str(fault))
            stop.wait(_RETRY_S)
        found = []
        for partition, notary in notaries.items():
            before = notary.signed
            found.append(notary.sign())
            metrics.signed(log.topic, partition, found[-1].size)
            if found[-1] != before:
                logger.info("%s: signed at size %s", notary.origin, f"{found[-1].size:,}")
        if is_whole:
            metrics.whole(at_s)
        if not follow or stop.wait(max(0.0, begun + every_s - time.monotonic())) or stop.is_set():
            return found


def checked(folder: TreeFolder, note: bytes, key: Verifier, origin: str | None = None) -> Checkpoint:
    """Return what a checkpoint says, where its files agree. Raises NoteError, FilesDamaged."""
    found = opened(note, [key], origin)
    if root_of(found.size, folder.subtrees(found.size)) != found.root:
        raise FilesDamaged(f"{folder.path}: the tiles are not those of the checkpoint at size {found.size:,}")
    return found


def compare(
    folder: TreeFolder, signed: Checkpoint, log: Reader, partition: int, heard: Callable[[], None] = lambda: None
) -> None:
    """Compare the log with what was signed of it. Raises Contradicted with the first message that differs."""
    tree = Growing()
    for entry in _entries(log, partition, signed.size):
        if tree.add(bytes(entry)):
            heard()
    if tree.root() == signed.root:
        return
    for entry in _entries(log, partition, signed.size):
        tile = tile_of(0, entry.offset // WIDTH, signed.size)
        leaf = hashes_in(folder.read([tile])[tile])[entry.offset % WIDTH]
        if leaf != leaf_hash(bytes(entry)):
            raise Contradicted(f"{signed.origin}: {_difference(folder, signed, entry, leaf)}")
    raise FilesDamaged(f"{folder.path}: the tiles are not those of the checkpoint at size {signed.size:,}")


def _entries(log: Reader, partition: int, end: int) -> Iterator[Entry]:
    if (there := log.end_offset(partition)) < end:
        raise Contradicted(f"{log.topic}/{partition} ends at {there:,}, and {end:,} messages were signed: it was cut")
    for batch in log.read_to_end(partition, 0, end):
        yield from (entry_of(log.topic, record) for record in batch)


def _difference(folder: TreeFolder, signed: Checkpoint, entry: Entry, leaf: bytes) -> str:
    """Say in what a message differs from the one that was signed, where the files still have its entry."""
    bundle = replace(tile_of(0, entry.offset // WIDTH, signed.size), level=None)
    what = "another message"
    with suppress(FilesDamaged, ValueError, IndexError):
        then = entries_in(folder.read([bundle])[bundle])[entry.offset % WIDTH]
        if leaf_hash(then) == leaf:
            signed_entry = Entry.parse(then)
            names = [name for name in Entry._fields if getattr(entry, name) != getattr(signed_entry, name)]
            what = f"another {' and '.join(names)}"
    return f"offset {entry.offset:,} has {what} than was signed"
