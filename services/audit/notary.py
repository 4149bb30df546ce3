"""Follow a log, and sign its tree every few seconds and where a publication of the office ends.

Place in the flow: behind Kafka. What it signs it has read from the log, whose messages were acknowledged. It writes in
this order, so that whoever sees a checkpoint finds all of its tree, and what a folder has was on the topic before:

1. the tiles, synced. A crash leaves files that nobody has signed; the next run makes the same.
2. the claim, on the topic (`checkpoint_topic`). A crash leaves it; the log that it is of agrees with it.
3. the signed checkpoints, on the topic. A crash leaves a folder that is older than the topic; the next run catches up.
4. those of publications, as files that stay; then `checkpoint`. A crash leaves the older one, with all its files; the
   next run finds the publications again, which follow from the log alone.

Before it signs anything, it reads the log again from the first message, and compares it with what it signed before, by
the folder and by the topic: whoever changed a message, cut the end or put another log in its place has changed the
tree. Then it signs nothing more, and says which message it is, where the folder has it. While no broker answers,
nothing is signed, and the folder stays as it is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from audit.checkpoint_topic import CheckpointTopic
from audit.entries import entry_of
from audit.errors import Contradicted, FilesDamaged, NotRead
from audit.metrics import Metrics
from audit.publications import Publications
from audit.store import TreeFolder
from audit.tree.checkpoint import Checkpoint, opened, origin_of
from audit.tree.growing import Growing
from audit.tree.leaf import Entry
from audit.tree.merkle import EMPTY, Peaks, leaf_hash, root_of
from audit.tree.note import NotProved, Signer, Verifier
from audit.tree.tiles import WIDTH, Tile, entries_in, hashes_in, tile_of
from runtime.kafka.errors import BrokerAway, Unreadable
from runtime.kafka.reader import Batch, Reader
from schemas.count_update import PAUSE_MS

logger = logging.getLogger(__name__)

EVERY_S = 5.0
"""Between two checkpoints."""
LIFE_S = 60.0
"""Between two records on the topic where nothing is new: the last checkpoint is sent again."""
_RETRY_S = 2.0
_PAUSE_S = PAUSE_MS / 1000 + 1
"""Nothing read for so long, up to the end of the log: a publication has ended."""


class Notary:
    """Signs one partition. Use within its folder's lock."""

    def __init__(
        self, folder: TreeFolder, log: Reader, partition: int, signer: Signer, published: CheckpointTopic
    ) -> None:
        self._folder, self._log, self.partition, self._signer = folder, log, partition, signer
        self._published = published
        self.origin = origin_of(signer.verifier.name, log.topic, partition)
        self.tree = Growing()
        self.signed: Checkpoint | None = None
        self._note = bytes(Checkpoint(self.origin, 0, EMPTY).signed(signer))
        self._publications, self._ends = Publications(), dict[int, Checkpoint]()
        self._kept = set(folder.kept())
        self._moved_at = time.monotonic()
        self._sent_at = float("-inf")

    def begin(self, heard: Callable[[], None]) -> None:
        """Compare the log with what was signed of it. Raises Contradicted, FilesDamaged, NoteError.

        `heard` is called now and then: it takes some seconds for each million messages.
        """
        known, note = self._published.largest(self.origin), self._folder.checkpoint()
        if note is not None:
            try:
                self.signed, self._note = checked(self._folder, note, self._signer.verifier, self.origin), note
            except NotProved as error:
                words = "another key signs into another folder: docs/proof.md, Another key"
                raise NotProved(f"{self._folder.path}: {error}; {words}") from error
        if known is not None and known.size > (0 if self.signed is None else self.signed.size):
            _compare(self._log, self.partition, known, heard)
        if self.signed is not None:
            self._read_again(self.signed, heard)

    def _read_again(self, signed: Checkpoint, heard: Callable[[], None]) -> None:
        for batch in _messages(self._log, self.partition, signed):
            for _ in self._grow(batch):
                heard()
        if self.tree.root() != signed.root:
            raise _first_difference(self._folder, signed, self._log, self.partition)

    def add(self, batch: Batch) -> None:
        """Add messages of the log. Raises NotRead once all before it are added."""
        self._moved_at = time.monotonic()
        for tile, content in self._grow(batch):
            self._folder.put(tile, content)

    def _grow(self, batch: Batch) -> Iterator[tuple[Tile, bytes]]:
        for record in batch:
            if record.offset != self.tree.size:
                raise Contradicted(f"{self.origin}: offset {self.tree.size} expected, {record.offset} found")
            if self._publications.ended_before(record):
                self._end_publication()
            yield from self.tree.add(bytes(entry_of(self._log.topic, record)))

    def _end_publication(self) -> None:
        if self.tree.size not in self._kept:
            self._ends[self.tree.size] = self._current()

    def _current(self) -> Checkpoint:
        return Checkpoint(self.origin, self.tree.size, self.tree.root())

    def sign(self) -> Checkpoint | None:
        """Sign the tree as it is, and where publications ended, unless that is done; say now and then that it is.

        Returns the last checkpoint. Nothing is signed while another notary is ahead of this one.
        """
        if time.monotonic() - self._moved_at > _PAUSE_S and self._publications.paused():
            self._end_publication()
        tree = self._current()
        if tree != self.signed or self._ends:
            for tile, content in self.tree.unfinished(*self._ends):
                self._folder.put(tile, content)
            self._folder.settle()
        if not self._agrees(self._published.largest(self.origin), tree):
            return self.signed
        if tree != self.signed or self._ends:
            if self._agrees(self._published.claim(tree, self._note, self._signer), tree):
                self._sign(tree)
        elif time.monotonic() - self._sent_at > LIFE_S:
            self._published.send(self.origin, [self._note])
            self._sent_at = time.monotonic()
        return self.signed

    def _sign(self, tree: Checkpoint) -> None:
        notes = {one.size: bytes(one.signed(self._signer)) for one in (*self._ends.values(), tree)}
        self._published.send(self.origin, notes.values())
        self._sent_at = time.monotonic()
        for size in self._ends:
            self._folder.keep(size, notes[size])
        self._folder.sign(notes[tree.size])
        self.signed, self._note = tree, notes[tree.size]
        self._kept |= self._ends.keys()
        self._ends.clear()

    def _agrees(self, known: Checkpoint | None, tree: Checkpoint) -> bool:
        """Say whether a tree may be signed beside one that was signed or claimed. Raises Contradicted where not ever.

        False: that one is larger than what was read of the log yet.
        """
        if known is None or known in (tree, self.signed):
            return True
        if known.size > tree.size:
            _check_end(self._log, self.partition, known)
            return False
        if root_of(known.size, self._folder.subtrees(tree.size)) != known.root:
            raise _contradiction(known)
        return True


def run(
    log: Reader, folder: Path, signer: Signer, published: CheckpointTopic, stop: threading.Event, metrics: Metrics, *,
    follow: bool, every_s: float = EVERY_S,
) -> list[Checkpoint]:  # fmt: skip
    """Sign every partition of a topic up to its end; with `follow` every few seconds until stopped.

    Returns the last checkpoints. Raises Contradicted, FilesDamaged, FolderFull, NotRead, NoteError, KafkaFault.
    """
    with ExitStack() as opened_folders:
        notaries = dict[int, Notary]()
        for partition in log.partitions():
            one = opened_folders.enter_context(TreeFolder.of(folder, log.topic, partition))
            notaries[partition] = Notary(one, log, partition, signer, published)
            notaries[partition].begin(metrics.compared)
        return _sign_on(log, notaries, stop, metrics, follow, every_s)


def _sign_on(
    log: Reader, notaries: Mapping[int, Notary], stop: threading.Event, metrics: Metrics, follow: bool, every_s: float
) -> list[Checkpoint]:
    while True:
        begun, at_s = time.monotonic(), time.time()
        try:
            try:
                is_whole = _read_on(log, notaries, stop, metrics)
            except (NotRead, Unreadable):
                _sign(log, notaries, metrics)  # all that stands before it
                raise
            if _sign(log, notaries, metrics) and is_whole:
                metrics.whole(at_s)
        except BrokerAway as fault:
            if not follow:
                raise
            logger.warning("%s; trying again", fault)
            metrics.lost(str(fault))
            stop.wait(_RETRY_S)
        if not follow or stop.wait(max(0.0, begun + every_s - time.monotonic())) or stop.is_set():
            return [notary.signed for notary in notaries.values() if notary.signed is not None]


def _read_on(log: Reader, notaries: Mapping[int, Notary], stop: threading.Event, metrics: Metrics) -> bool:
    """Add what is new on the log. Returns whether all of it was read."""
    places = {partition: notary.tree.size for partition, notary in notaries.items()}
    for batch in log.read_on(places):
        notaries[batch.partition].add(batch)
        metrics.compared()
        if stop.is_set():
            return False
    return True


def _sign(log: Reader, notaries: Mapping[int, Notary], metrics: Metrics) -> bool:
    """Sign what was read of each partition. Returns whether all of it is signed."""
    for partition, notary in notaries.items():
        before, signed = notary.signed, notary.sign()
        if signed is not None:
            metrics.signed(log.topic, partition, signed.size)
            if signed != before:
                logger.info("%s: signed at size %s", notary.origin, f"{signed.size:,}")
    return all(one.signed is not None and one.signed.size == one.tree.size for one in notaries.values())


def checked(folder: TreeFolder, note: bytes, key: Verifier, origin: str | None = None) -> Checkpoint:
    """Return what a checkpoint says, where its files agree. Raises NoteError, FilesDamaged."""
    found = opened(note, [key], origin)
    if root_of(found.size, folder.subtrees(found.size)) != found.root:
        raise FilesDamaged(f"{folder.path}: the tiles are not those of the checkpoint at size {found.size:,}")
    return found


def _compare(log: Reader, partition: int, known: Checkpoint, heard: Callable[[], None]) -> None:
    """Compare the log with a tree that was signed, or was to be, and that the folder does not have."""
    tree = Peaks()
    for batch in _messages(log, partition, known):
        for record in batch:
            tree.add(leaf_hash(bytes(entry_of(log.topic, record))))
        heard()
    if tree.root() != known.root:
        raise _contradiction(known)


def _contradiction(known: Checkpoint) -> Contradicted:
    return Contradicted(
        f"{known.origin}: the topic of checkpoints has another tree of size {known.size:,} than the log. The log was "
        "altered, or another notary has this key and another log. Nothing is signed; compare the checkpoints"
    )


def _check_end(log: Reader, partition: int, signed: Checkpoint) -> None:
    if (there := log.end_offset(partition)) < signed.size:
        raise Contradicted(
            f"{log.topic}/{partition} ends at {there:,}, and {signed.size:,} messages were signed: it was cut"
        )


def _messages(log: Reader, partition: int, signed: Checkpoint) -> Iterator[Batch]:
    """Yield the messages of a tree."""
    _check_end(log, partition, signed)
    yield from log.read_to_end(partition, 0, signed.size)


def _first_difference(folder: TreeFolder, signed: Checkpoint, log: Reader, partition: int) -> Contradicted:
    """Return the fault of the first message that differs. Raises FilesDamaged where none does."""
    for batch in _messages(log, partition, signed):
        for record in batch:
            entry = entry_of(log.topic, record)
            tile = tile_of(0, entry.offset // WIDTH, signed.size)
            leaf = hashes_in(folder.read([tile])[tile])[entry.offset % WIDTH]
            if leaf != leaf_hash(bytes(entry)):
                return Contradicted(f"{signed.origin}: {_difference(folder, signed, entry, leaf)}")
    raise FilesDamaged(f"{folder.path}: the tiles are not those of the checkpoint at size {signed.size:,}")


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
