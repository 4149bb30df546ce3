"""Check that a mirror is whole, and equal to the log. Runs between `folder` and the log; changes nothing.

Place in the flow: before anyone relies on the files, and before and after a restore. Each file is compared with its
SHA-256 and its offsets in the manifest, and optionally each record with that of the log.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from backup.errors import MirrorDamaged
from backup.folder import TopicFolder
from backup.manifest import Manifest
from backup.mirror import differing_fields
from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Description, Topics
from schemas.log_record import RawRecord

Progress = Callable[[int, int], None]
"""Called with the number of records done, and of all records."""


@dataclass(slots=True)
class TopicReport:
    """The result of checking a topic. `fault`: the first fault found, None when there is none."""

    topic: str
    events: int = 0
    segments: int = 0
    fault: str | None = None
    behind: int | None = None
    """Records of the log that are not in the files; None when the log was not compared."""
    restored_as: UUID | None = None
    """The topic's id on the log, where it differs from the mirrored one because the topic was restored."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "topic": self.topic,
            "events": self.events,
            "segments": self.segments,
            "fault": self.fault,
            "behind": self.behind,
            "restored_as": None if self.restored_as is None else str(self.restored_as),
        }

    def line(self) -> str:
        """Return the report as a line of text."""
        counts = f"{self.topic}: {self.events:,} records in {self.segments:,} files"
        if self.fault is not None:
            return f"{counts}; {self.fault}"
        if self.behind is None:
            return f"{counts}, whole"
        same = f"{counts}, the same as on the log" + (f", which has {self.behind:,} more" if self.behind else "")
        return same + (f"; it was restored there as topic {self.restored_as}" if self.restored_as else "")


def check(folder: TopicFolder, topic: str, kafka: KafkaAccess | None, progress: Progress) -> TopicReport:
    """Check all files of a topic, and with `kafka` compare each record with the log. Raises KafkaFault."""
    report = TopicReport(topic)
    try:
        manifest = folder.manifest()
        if manifest is None:
            raise MirrorDamaged(f"there is no mirror in {folder.path}: it has no manifest.json")
        report.segments = len(manifest.segments)
        if kafka is None:
            _read(folder, manifest, report, progress, lambda _partition: None)
            return report
        with Topics(kafka) as topics:
            found = topics.describe(topic)
        with Reader(kafka, topic) as log:
            _read(folder, manifest, report, progress, lambda partition: _on_log(manifest, partition, log, found))
            report.fault = report.fault or _compare_topic(manifest, log, found, report)
    except MirrorDamaged as damage:
        report.fault = str(damage)
    return report


def _read(
    folder: TopicFolder,
    manifest: Manifest,
    report: TopicReport,
    progress: Progress,
    log_of: Callable[[int], Iterator[RawRecord] | None],
) -> None:
    """Compare the files of every partition with the records that `log_of` yields for it, up to the first fault."""
    for partition in range(manifest.partitions):
        there = log_of(partition)
        for records in folder.read(partition, 0, manifest.next_offset(partition)):
            report.events += len(records)
            if there is not None and (fault := first_difference(records, there, f"{manifest.topic}/{partition}")):
                report.fault = fault
                return
            progress(report.events, manifest.events)


def _on_log(manifest: Manifest, partition: int, log: Reader, found: Description | None) -> Iterator[RawRecord]:
    """Return those of the mirrored records that the log has: none where its first records were deleted."""
    if found is None or partition >= found.partitions or log.begins_at(partition) > 0:
        return iter(())
    end = min(log.end_offset(partition), manifest.next_offset(partition))
    return chain.from_iterable(log.read_to_end(partition, 0, end))


def first_difference(records: Iterable[RawRecord], there: Iterator[RawRecord], place: str) -> str | None:
    """Return the first difference between mirrored records and the log, None when all are equal."""
    for here in records:
        other = next(there, None)
        if other is None:
            return f"{place}: the record at offset {here.offset} is not on the log"
        if here != other:
            fields = ", ".join(differing_fields(here, other))
            return f"{place}: the record at offset {here.offset} differs from the log in {fields}"
    return None


def _compare_topic(manifest: Manifest, log: Reader, found: Description | None, report: TopicReport) -> str | None:
    if found is None:
        return f"topic {manifest.topic} is not on the log"
    if found.partitions != manifest.partitions:
        return f"{manifest.topic} has {found.partitions} partitions on the log, {manifest.partitions} were mirrored"
    report.behind = sum(end - manifest.next_offset(p) for p, end in log.ends(range(manifest.partitions)).items())
    if found.topic_id != manifest.topic_id:
        report.restored_as = found.topic_id
    return None
