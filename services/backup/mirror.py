"""Copies the log to files, and goes on where the files end. Runs between the log and `folder`.

Place in the flow: beside it, for as long as there is a log. What a call has returned is on the disk. A crash loses what was read and not
yet written, which the log still has.

Before anything is added, the log must be the one that the files are of: the same topic id, as many partitions, whole from its first
offset, at least as long, and its record where the files end the same, byte by byte. Else nothing is written.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from backup.errors import FolderFull, LogRefused
from backup.folder import MOST_BYTES, MOST_EVENTS, TopicFolder
from backup.listener import Listener
from backup.manifest import Manifest, Topic
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas import topics as contract
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

_RETRY_S = 2.0
_SAY_EVERY_S = 2.0


def run(
    kafka: KafkaAccess,
    folder: Path,
    topics: Sequence[tuple[str, contract.Topic]],
    stop: threading.Event,
    say: Callable[[str], None],
    *,
    follow: bool,
    listener: Listener | None = None,
    every_s: float = 1.0,
    most_events: int = MOST_EVENTS,
) -> list[Manifest]:
    """Mirror topics (name, and the contract that each must keep) to their ends; with `follow` until `stop` is set.

    A follower waits for a broker that is away and for a disk that is full. Returns what is mirrored.
    """
    listener = listener or Listener()
    with ExitStack() as stack:
        mirrors = []
        for name, topic in topics:
            files = stack.enter_context(TopicFolder(folder / name, most_events))
            log = Reader(kafka, name)
            stack.callback(log.close)
            mirrors.append(_Mirror(log, files, topic, most_events, say, listener))
        while True:
            pause, at_s = every_s, time.time()
            try:
                for mirror in mirrors:
                    mirror.go_on(stop)
                if not stop.is_set():  # else it may have ended before the end
                    listener.whole(at_s)
            except (BrokerAway, FolderFull) as fault:
                if not follow:
                    raise
                logger.warning("%s; trying again", fault)
                listener.lost("kafka" if isinstance(fault, BrokerAway) else "folder", str(fault))
                for mirror in mirrors:
                    mirror.doubt()
                pause = _RETRY_S
            if not follow or stop.wait(pause):
                return [mirror.manifest for mirror in mirrors if mirror.manifest is not None]


class _Mirror:
    """One topic's."""

    def __init__(
        self,
        log: Reader,
        folder: TopicFolder,
        contract: contract.Topic,
        most_events: int,
        say: Callable[[str], None],
        listener: Listener,
    ) -> None:
        self.manifest = folder.manifest()
        self._log, self._folder, self._topic, self._contract, self._say = log, folder, log.topic, contract, say
        self._most_events, self._listener = most_events, listener
        self._agreed = self._doubted = False

    def go_on(self, stop: threading.Event) -> None:
        """Adds what the log has got since. Raises LogRefused, and then nothing was added that does not belong there."""
        if self._doubted:
            self._look_again()
        if not self._agreed or self._grown():
            self.manifest = self._agree()
            self._agreed = True
            places = {partition: self.manifest.next_offset(partition) for partition in range(self.manifest.partitions)}
            self._listener.begun(self._topic, places)
            for partition in range(self.manifest.partitions):
                self._add(partition, stop)

    def doubt(self) -> None:
        """After a fault: read from the files what is mirrored, and compare it with the log again, before going on."""
        self._doubted = True

    def _look_again(self) -> None:
        self._folder.sweep()
        self.manifest = self._folder.manifest()
        self._agreed = self._doubted = False

    def _grown(self) -> bool:
        assert self.manifest is not None
        ends = self._log.ends(range(self.manifest.partitions))
        self._listener.ends(self._topic, ends)
        return any(end != self.manifest.next_offset(partition) for partition, end in ends.items())

    def _agree(self) -> Manifest:
        """The manifest, once the log is known to be what it is of. Raises LogRefused."""
        with Topics(self._log.kafka) as topics:
            found = Topic.of(self._topic, topics.check(self._topic, self._contract))
        known = self.manifest
        if known is None:
            manifest = Manifest(**found.__dict__)
        else:
            for what in ("topic_id", "partitions"):
                if getattr(found, what) != getattr(known, what):
                    raise LogRefused(
                        f"{what} of {self._topic} is {getattr(found, what)}, the files in {self._folder.path} are of a topic with "
                        f"{getattr(known, what)}: it was made again, and is another log. Mirror it into another folder"
                    )
            manifest = Manifest(**{**known.__dict__, **found.__dict__})
        for partition in range(manifest.partitions):
            self._same(manifest, partition)
        if manifest != known:
            self._folder.begin(manifest)
        return manifest

    def _same(self, manifest: Manifest, partition: int) -> None:
        place, at = f"{self._topic}/{partition}", manifest.next_offset(partition)
        if (begin := self._log.begins_at(partition)) > 0:
            raise LogRefused(f"{place} begins at offset {begin}: its beginning was deleted")
        if (end := self._log.end_offset(partition)) < at:
            raise LogRefused(f"{place} ends at offset {end}, and {at} records are mirrored: it lost what it had")
        if at:
            (here,) = next(self._folder.read(partition, at - 1))
            (there,) = self._log.messages_at(partition, [at - 1])
            if here != there:
                raise LogRefused(
                    f"{place}: the record at offset {at - 1} is not the one that was mirrored (it differs in "
                    f"{', '.join(differing(here, there))}). This is another log; mirror it into another folder"
                )

    def _add(self, partition: int, stop: threading.Event) -> None:
        assert self.manifest is not None
        start, end = self.manifest.next_offset(partition), self._log.end_offset(partition)
        self._listener.ends(self._topic, {partition: end})
        said = time.monotonic()
        for records in _chunks(self._log.read_to_end(partition, start, end), self._most_events):
            self.manifest = self._folder.append(partition, records)
            self._listener.mirrored(self._topic, partition, records[-1].offset + 1, len(records))
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                self._say(f"{self._topic}/{partition}: {records[-1].offset + 1:,} of {end:,}")
            if stop.is_set():
                return


def differing(one: RawRecord, other: RawRecord) -> list[str]:
    """The names of what two records differ in."""
    return [name for name in RawRecord._fields if getattr(one, name) != getattr(other, name)]


def _chunks(batches: Iterable[Iterable[RawRecord]], most_events: int) -> Iterator[list[RawRecord]]:
    """The same records in as many as fit into a file."""
    chunk: list[RawRecord] = []
    size = 0
    for batch in batches:
        for record in batch:
            chunk.append(record)
            size += len(record.value or b"")
            if len(chunk) == most_events or size >= MOST_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk
