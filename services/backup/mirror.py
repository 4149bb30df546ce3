"""Copies the log to files, and goes on where the files end. Runs between `kafka_log` and `folder`.

Place in the flow: beside it, for as long as there is a log. What a call has returned is on the disk. A crash loses what was read and not
yet written, which the log still has.

Before anything is added, the log must be the one that the files are of: the same topic id, as many partitions, whole from its first
offset, at least as long, and its record where the files end the same, byte by byte. Else nothing is written.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from backup.errors import FolderFull, LogAway, LogRefused
from backup.folder import MOST_BYTES, MOST_EVENTS, TopicFolder
from backup.kafka_log import KafkaLog
from backup.listener import Listener
from backup.manifest import Manifest, Record

logger = logging.getLogger(__name__)

_RETRY_S = 2.0
_SAY_EVERY_S = 2.0


def run(
    log: KafkaLog,
    folder: Path,
    topics: Sequence[tuple[str, Mapping[str, str]]],
    stop: threading.Event,
    say: Callable[[str], None],
    *,
    follow: bool,
    listener: Listener | None = None,
    every_s: float = 1.0,
    most_events: int = MOST_EVENTS,
) -> list[Manifest]:
    """Mirrors topics (name, and the settings that each must have) to their ends; with `follow` until told to stop.

    A follower waits for a broker that is away and for a disk that is full. Returns what is mirrored.
    """
    listener = listener or Listener()
    with ExitStack() as stack:
        mirrors = []
        for name, needed in topics:
            files = stack.enter_context(TopicFolder(folder / name, most_events))
            mirrors.append(_Mirror(log, files, name, needed, most_events, say, listener))
        while True:
            pause, at_s = every_s, time.time()
            try:
                for mirror in mirrors:
                    mirror.go_on(stop)
                if not stop.is_set():  # else it may have ended before the end
                    listener.whole(at_s)
            except (LogAway, FolderFull) as fault:
                if not follow:
                    raise
                logger.warning("%s; trying again", fault)
                listener.lost("kafka" if isinstance(fault, LogAway) else "folder", str(fault))
                for mirror in mirrors:
                    mirror.doubt()
                pause = _RETRY_S
            if not follow or stop.wait(pause):
                return [mirror.manifest for mirror in mirrors if mirror.manifest is not None]


class _Mirror:
    """One topic's."""

    def __init__(
        self,
        log: KafkaLog,
        folder: TopicFolder,
        topic: str,
        needed: Mapping[str, str],
        most_events: int,
        say: Callable[[str], None],
        listener: Listener,
    ) -> None:
        self.manifest = folder.manifest()
        self._log, self._folder, self._topic, self._needed, self._say = log, folder, topic, needed, say
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
        """After a fault: before it goes on, what the files say is what is mirrored, and the log has to agree with it anew."""
        self._doubted = True

    def _look_again(self) -> None:
        self._folder.sweep()
        self.manifest = self._folder.manifest()
        self._agreed = self._doubted = False

    def _grown(self) -> bool:
        assert self.manifest is not None
        ends = {partition: self._log.end(self._topic, partition) for partition in range(self.manifest.partitions)}
        self._listener.ends(self._topic, ends)
        return any(end != self.manifest.next_offset(partition) for partition, end in ends.items())

    def _agree(self) -> Manifest:
        """The manifest, once the log is known to be what it is of. Raises LogRefused."""
        found = self._log.describe(self._topic)
        if found is None:
            raise LogRefused(f"topic {self._topic} does not exist; `escrutinio-ingest topics` creates it")
        for name, value in self._needed.items():
            if found.settings.get(name) != value:
                raise LogRefused(
                    f"topic {self._topic} has {name}={found.settings.get(name)}, the log needs {value}: it could lose or "
                    "change events"
                )
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
        if (begin := self._log.begin(self._topic, partition)) > 0:
            raise LogRefused(f"{place} begins at offset {begin}: its beginning was deleted")
        if (end := self._log.end(self._topic, partition)) < at:
            raise LogRefused(f"{place} ends at offset {end}, and {at} records are mirrored: it lost what it had")
        if at:
            (here,) = next(self._folder.read(partition, at - 1))
            (there,) = next(self._log.read(self._topic, partition, at - 1, at))
            if here != there:
                raise LogRefused(
                    f"{place}: the record at offset {at - 1} is not the one that was mirrored (it differs in "
                    f"{', '.join(differing_fields(here, there))}). This is another log; mirror it into another folder"
                )

    def _add(self, partition: int, stop: threading.Event) -> None:
        assert self.manifest is not None
        start, end = self.manifest.next_offset(partition), self._log.end(self._topic, partition)
        self._listener.ends(self._topic, {partition: end})
        said = time.monotonic()
        for records in _chunks(self._log.read(self._topic, partition, start, end), self._most_events):
            self.manifest = self._folder.append(partition, records)
            self._listener.mirrored(self._topic, partition, records[-1].offset + 1, len(records))
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                self._say(f"{self._topic}/{partition}: {records[-1].offset + 1:,} of {end:,}")
            if stop.is_set():
                return


def differing_fields(one: Record, other: Record) -> list[str]:
    """The names of what two records differ in."""
    return [name for name in Record._fields if getattr(one, name) != getattr(other, name)]


def _chunks(batches: Iterator[list[Record]], most_events: int) -> Iterator[list[Record]]:
    """The same records in as many as fit into a file."""
    chunk: list[Record] = []
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
