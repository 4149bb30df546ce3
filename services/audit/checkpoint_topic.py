"""Say on a topic what is signed, and learn from it what was: by this process, or by whoever else has the key.

Place in the flow: `notary` asks it before it signs, and sends it what it signed before any file says so. A record's key
is the origin of a log, its value a signed note.

**A tree is claimed before it is signed**: the last note is sent again, and its header `next` has a note of its own, the
word `claim` above the text that is to be signed. The broker puts all claims into one order, and a tree is signed only
where its own, read back, contradicts none before it. So two notaries with one key never sign two trees of one size,
whatever their folders have: a folder that was restored from an old copy, or lost, is no folder without a past. A crash
leaves a claim, with which the same log agrees.

Only the largest tree of a log matters: of that size and above it nothing else is signed, and below it nothing that is
no part of it. A note or claim that the key has not signed is another's, and passed over.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from audit.tree.checkpoint import Checkpoint
from audit.tree.note import Note, NoteError, Signer, Verifier
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas.log_record import RawRecord
from schemas.topics import CHECKPOINTS

NEXT = "next"
"""The header of a claim."""
_CLAIM = "claim\n"
"""How its text begins: so it is no checkpoint."""
_PARTITION = 0


class CheckpointTopic:
    """What is on the topic. Raises KafkaFault; after BrokerAway, call it again."""

    def __init__(self, reader: Reader, producer: Producer, key: Verifier) -> None:
        self._reader, self._producer, self._key = reader, producer, key
        self._place = 0
        self._largest: dict[str, Checkpoint] = {}

    @classmethod
    @contextmanager
    def opened(cls, kafka: KafkaAccess, topic: str, key: Verifier) -> Iterator[Self]:
        """Connect, for as long as it is open. Raises TopicUnfit where checkpoints would not be kept."""
        with ExitStack() as stack:
            with Topics(kafka) as topics:
                topics.check(topic, CHECKPOINTS, to_write=True)
            yield cls(
                stack.enter_context(Reader(kafka, topic)),
                stack.enter_context(Producer(kafka, _waiting, linger_ms=0)),
                key,
            )

    def largest(self, origin: str) -> Checkpoint | None:
        """Return the largest tree of a log that is signed or claimed; of one size the first."""
        self._read_to(self._reader.end_offset(_PARTITION))
        return self._largest.get(origin)

    def claim(self, tree: Checkpoint, note: bytes, signer: Signer) -> Checkpoint | None:
        """Claim a tree, with the last note of its log. Returns the largest that was signed or claimed before."""
        text = f"{_CLAIM}{tree}"
        (offset,) = self._send(tree.origin, [note], [(NEXT, bytes(Note(text, (signer.sign(text),))))])
        self._read_to(offset)
        return self._largest.get(tree.origin)

    def send(self, origin: str, notes: Iterable[bytes]) -> None:
        """Send notes. They are on the topic when it returns."""
        self._send(origin, notes, [])

    def _send(self, origin: str, notes: Iterable[bytes], headers: list[tuple[str, bytes | None]]) -> list[int]:
        at_ms = time.time_ns() // 1_000_000
        records = [RawRecord(_PARTITION, 0, at_ms, origin.encode(), note, headers) for note in notes]
        return self._producer.send(self._reader.topic, records, log_id=self._reader.log_id)[_PARTITION]

    def _read_to(self, end: int) -> None:
        for batch in self._reader.read_to_end(_PARTITION, self._place, end):
            found = [one for record in batch for one in _trees(record)]
            found.sort(key=lambda one: one[0].size, reverse=True)
            for tree, note in found:
                known = self._largest.get(tree.origin)
                if (known is None or tree.size > known.size) and self._has_signed(note):
                    self._largest[tree.origin] = tree
            self._place = batch.next_offset

    def _has_signed(self, note: Note) -> bool:
        try:
            note.signed_by([self._key])
        except NoteError:
            return False
        return True


def _trees(record: RawRecord) -> Iterator[tuple[Checkpoint, Note]]:
    """Yield the trees that a record names as those of the log of its key, each with the note that has to be signed."""
    claims = ((_CLAIM, content) for name, content in record.headers if name == NEXT)
    for begin, content in (("", record.value), *claims):
        try:
            note = Note.parse(content or b"")
            tree = Checkpoint.parse(note.text.removeprefix(begin))
        except NoteError:
            continue
        if note.text.startswith(begin) and tree.origin.encode() == record.key:
            yield tree, note


def _waiting(silent_s: float) -> None:
    raise BrokerAway(f"no acknowledgement of a checkpoint for {silent_s:.0f} s")
