"""Is the mirror whole, and is it the log's? Runs between `folder` and the log; changes nothing.

Place in the flow: whenever somebody wants to rely on the files, and before and after a restore. Reading every file compares it with its
SHA-256 and its offsets with the manifest's; against the log, every record with the log's.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from backup.errors import MirrorDamaged
from backup.folder import TopicFolder
from backup.manifest import Manifest
from backup.mirror import differing
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Description, Topics
from schemas.log_record import RawRecord

Progress = Callable[[int, int], None]
"""Told how many of how many records are done."""


@dataclass(slots=True)
class Verdict:
    """What was found of a topic. `fault`: the first thing that is wrong; None when nothing is."""

    topic: str
    events: int = 0
    segments: int = 0
    fault: str | None = None
    behind: int | None = None
    """Records that the log has and the files do not; None when the log was not asked."""
    restored_as: UUID | None = None
    """The topic's id on the log, where it is another than when it was mirrored: it was restored."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "topic": self.topic,
            "events": self.events,
            "segments": self.segments,
            "fault": self.fault,
            "behind": self.behind,
            "restored_as": None if self.restored_as is None else str(self.restored_as),
        }

    def line(self) -> str:
        """For people."""
        told = f"{self.topic}: {self.events:,} records in {self.segments:,} files"
        if self.fault is not None:
            return f"{told}; {self.fault}"
        if self.behind is None:
            return f"{told}, whole"
        same = f"{told}, the same as on the log" + (f", which has {self.behind:,} more" if self.behind else "")
        return same + (f"; there it was restored as topic {self.restored_as}" if self.restored_as else "")


def check(folder: TopicFolder, topic: str, kafka: KafkaAccess | None, progress: Progress) -> Verdict:
    """Read all of a topic's files, and with `kafka` compare them with the log, record by record. Raises KafkaFault."""
    verdict = Verdict(topic)
    try:
        manifest = folder.manifest()
        if manifest is None:
            raise MirrorDamaged(f"there is no mirror in {folder.path}: it has no manifest.json")
        verdict.segments = len(manifest.segments)
        if kafka is None:
            _read(folder, manifest, verdict, progress, lambda _partition: None)
            return verdict
        with Topics(kafka) as topics:
            found = topics.describe(topic)
        with Reader(kafka, topic) as log:
            _read(folder, manifest, verdict, progress, lambda partition: _on_log(manifest, partition, log, found))
            verdict.fault = verdict.fault or _compare_topic(manifest, log, found, verdict)
    except MirrorDamaged as damage:
        verdict.fault = str(damage)
    return verdict


def _read(
    folder: TopicFolder,
    manifest: Manifest,
    verdict: Verdict,
    progress: Progress,
    log_of: Callable[[int], Iterator[RawRecord] | None],
) -> None:
    """Read the files of every partition, and compare them with `log_of` it, up to the first fault."""
    for partition in range(manifest.partitions):
        there = log_of(partition)
        for records in folder.read(partition, 0, manifest.next_offset(partition)):
            verdict.events += len(records)
            if there is not None and (fault := first_difference(records, there, f"{manifest.topic}/{partition}")):
                verdict.fault = fault
                return
            progress(verdict.events, manifest.events)


def _on_log(manifest: Manifest, partition: int, log: Reader, found: Description | None) -> Iterator[RawRecord]:
    """Return what the log has of the mirrored records; nothing where it lost its beginning."""
    if found is None or partition >= found.partitions or log.begins_at(partition) > 0:
        return iter(())
    end = min(log.end_offset(partition), manifest.next_offset(partition))
    return chain.from_iterable(log.read_to_end(partition, 0, end))


def first_difference(records: Iterable[RawRecord], there: Iterator[RawRecord], place: str) -> str | None:
    """What is wrong with the first of the mirrored records that is not the log's next; None when all are."""
    for here in records:
        other = next(there, None)
        if other is None:
            return f"{place}: the record at offset {here.offset} is not on the log"
        if here != other:
            return f"{place}: the record at offset {here.offset} is another on the log: it differs in {', '.join(differing(here, other))}"
    return None


def _compare_topic(manifest: Manifest, log: Reader, found: Description | None, verdict: Verdict) -> str | None:
    if found is None:
        return f"topic {manifest.topic} is not on the log"
    if found.partitions != manifest.partitions:
        return f"{manifest.topic} has {found.partitions} partitions on the log, {manifest.partitions} were mirrored"
    verdict.behind = sum(end - manifest.next_offset(p) for p, end in log.ends(range(manifest.partitions)).items())
    if found.topic_id != manifest.topic_id:
        verdict.restored_as = found.topic_id
    return None
