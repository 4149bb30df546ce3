"""Copy the log to files, continuing where the files end. Runs between the log and `folder`.

Place in the flow: beside it, for as long as there is a log. Records are on disk when a call returns. A crash loses
records that were read and not yet written, which the log still has.

Before anything is added, the log must be the one that was mirrored: the same topic id, the same number of partitions,
complete from offset 0, at least as long, and with the same last mirrored record, byte by byte. Else nothing is written.
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
from runtime.kafka.errors import BrokerAway, Unreadable
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas import topics as contract
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

_RETRY_S = 2.0
_NOTIFY_EVERY_S = 2.0
_LOOK_AGAIN_S = 60.0
"""Interval of trying a partition again that could not be read."""


def run(
    kafka: KafkaAccess,
    folder: Path,
    topics: Sequence[tuple[str, contract.Topic]],
    stop: threading.Event,
    notify: Callable[[str], None],
    *,
    follow: bool,
    listener: Listener | None = None,
    every_s: float = 1.0,
    most_events: int = MOST_EVENTS,
) -> list[Manifest]:
    """Mirror topics (name, and the contract that each must keep) to their ends; with `follow` until stopped.

    With `follow`, tries again when no broker answers or the disk is full. Returns the manifests.
    """
    listener = listener or Listener()
    with ExitStack() as stack:
        mirrors = []
        for name, topic in topics:
            files = stack.enter_context(TopicFolder(folder / name, most_events))
            log = Reader(kafka, name)
            stack.callback(log.close)
            mirrors.append(_Mirror(log, files, topic, most_events, notify, listener))
        while True:
            pause, at_s = every_s, time.time()
            try:
                for mirror in mirrors:
                    mirror.advance(stop)
                faults = [fault for mirror in mirrors for fault in mirror.unreadable.values()]
                if not stop.is_set() and not faults:  # when stopped, it may not have reached the end
                    listener.whole(at_s)
                for fault in faults if not follow else ():
                    raise fault
            except (BrokerAway, FolderFull) as fault:
                if not follow:
                    raise
                logger.warning("%s; trying again", fault)
                listener.lost("kafka" if isinstance(fault, BrokerAway) else "folder", str(fault))
                for mirror in mirrors:
                    mirror.mark_stale()
                pause = _RETRY_S
            if not follow or stop.wait(pause):
                return [mirror.manifest for mirror in mirrors if mirror.manifest is not None]


class _Mirror:
    def __init__(
        self,
        log: Reader,
        folder: TopicFolder,
        contract: contract.Topic,
        most_events: int,
        notify: Callable[[str], None],
        listener: Listener,
    ) -> None:
        self.manifest = folder.manifest()
        self._log, self._folder, self._topic, self._contract, self._notify = log, folder, log.topic, contract, notify
        self._most_events, self._listener = most_events, listener
        self._verified = self._stale = False
        self.unreadable: dict[int, Unreadable] = {}
        """Partitions that are not mirrored any more, and why. All that stands before is in the files."""
        self._looked_at = time.monotonic()

    def advance(self, stop: threading.Event) -> None:
        """Add the new records of the log. Raises LogRefused when it is not the log that was mirrored."""
        if self._stale:
            self._reload()
        if self.unreadable and time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self.unreadable.clear()
            self._looked_at = time.monotonic()
        if not self._verified or self._grown():
            self.manifest = self._verify()
            self._verified = True
            places = {partition: self.manifest.next_offset(partition) for partition in range(self.manifest.partitions)}
            self._listener.begun(self._topic, places)
            for partition in range(self.manifest.partitions):
                if partition not in self.unreadable:
                    self._add_readable(partition, stop)

    def mark_stale(self) -> None:
        """After a fault, read the manifest again and verify the log again before adding records."""
        self._stale = True

    def _reload(self) -> None:
        self._folder.sweep()
        self.manifest = self._folder.manifest()
        self._verified = self._stale = False

    def _grown(self) -> bool:
        assert self.manifest is not None
        ends = self._log.ends(range(self.manifest.partitions))
        self._listener.ends(self._topic, ends)
        readable = ends.keys() - self.unreadable.keys()
        return any(ends[partition] != self.manifest.next_offset(partition) for partition in readable)

    def _verify(self) -> Manifest:
        """Verify that the log is the one mirrored, and return the manifest. Raises LogRefused."""
        with Topics(self._log.kafka) as topics:
            found = Topic.of(self._topic, topics.check(self._topic, self._contract))
        self._log.log_id = found.topic_id
        known = self.manifest
        if known is None:
            manifest = Manifest(**found.__dict__)
        else:
            for name in ("topic_id", "partitions"):
                if getattr(found, name) != getattr(known, name):
                    raise LogRefused(
                        f"{name} of {self._topic} is {getattr(found, name)}, "
                        f"the files in {self._folder.path} are of a topic with {getattr(known, name)}: "
                        "it was made again, and is another log. Mirror it into another folder"
                    )
            manifest = Manifest(**{**known.__dict__, **found.__dict__})
        for partition in range(manifest.partitions):
            self._verify_partition(manifest, partition)
        if manifest != known:
            self._folder.begin(manifest)
        return manifest

    def _verify_partition(self, manifest: Manifest, partition: int) -> None:
        place, at = f"{self._topic}/{partition}", manifest.next_offset(partition)
        if (begin := self._log.begins_at(partition)) > 0:
            raise LogRefused(f"{place} begins at offset {begin}: earlier records were deleted")
        if (end := self._log.end_offset(partition)) < at:
            raise LogRefused(f"{place} ends at offset {end}, and {at} records are mirrored: the log has lost records")
        if at:
            (here,) = next(self._folder.read(partition, at - 1))
            (there,) = self._log.messages_at(partition, [at - 1])
            if here != there:
                raise LogRefused(
                    f"{place}: the record at offset {at - 1} is not the one that was mirrored (it differs in "
                    f"{', '.join(differing_fields(here, there))}). This is another log; mirror it into another folder"
                )

    def _add_readable(self, partition: int, stop: threading.Event) -> None:
        try:
            self._add(partition, stop)
        except Unreadable as fault:
            if partition not in self.unreadable:
                logger.error("%s; all before it is mirrored, and so are other partitions", fault)
            self.unreadable[partition] = fault
            self._listener.unreadable(self._topic, partition)

    def _add(self, partition: int, stop: threading.Event) -> None:
        assert self.manifest is not None
        start, end = self.manifest.next_offset(partition), self._log.end_offset(partition)
        self._listener.ends(self._topic, {partition: end})
        notified_at = time.monotonic()
        for records in _chunks(_whole(self._topic, self._log.read_to_end(partition, start, end)), self._most_events):
            self.manifest = self._folder.append(partition, records)
            self._listener.mirrored(self._topic, partition, records[-1].offset + 1, len(records))
            if time.monotonic() - notified_at > _NOTIFY_EVERY_S:
                notified_at = time.monotonic()
                self._notify(f"{self._topic}/{partition}: {records[-1].offset + 1:,} of {end:,}")
            if stop.is_set():
                return


def differing_fields(one: RawRecord, other: RawRecord) -> list[str]:
    """Return the names of the fields in which two records differ."""
    return [name for name in RawRecord._fields if getattr(one, name) != getattr(other, name)]


def _chunks(batches: Iterable[Iterable[RawRecord]], most_events: int) -> Iterator[list[RawRecord]]:
    """Group records into chunks that fit into a file. Raises Unreadable once all before it are yielded."""
    chunk: list[RawRecord] = []
    size, fault = 0, None
    try:
        for batch in batches:
            for record in batch:
                chunk.append(record)
                size += len(record.value or b"")
                if len(chunk) == most_events or size >= MOST_BYTES:
                    yield chunk
                    chunk, size = [], 0
    except Unreadable as error:
        fault = error
    if chunk:
        yield chunk
    if fault is not None:
        raise fault


def _whole(topic: str, batches: Iterable[Iterable[RawRecord]]) -> Iterator[list[RawRecord]]:
    """Yield records up to the first that a client cannot read as it is: a copy of it would be another message."""
    for batch in batches:
        sound: list[RawRecord] = []
        for record in batch:
            if record.fault is not None:
                yield sound
                raise Unreadable(topic, record.partition, record.offset, record.fault)
            sound.append(record)
        yield sound
