"""Restore a mirror into an empty Kafka: every record at its offset, with its recorded time.

Place in the flow: between `folder` and the log, after the log was lost, before anything else is started. A topic is
created with its former partitions and settings, but with CreateTime, under which the broker keeps the times of the
records; when every record is there it is set to LogAppendTime, which every service demands. So every service refuses a
topic that is not complete. A crash leaves such a topic: the next restore compares its records with the mirror and adds
the rest. A complete and equal topic is not changed.
"""

from collections.abc import Callable
from itertools import chain

from backup.check import Progress, check, first_difference
from backup.errors import LogRefused, MirrorDamaged
from backup.folder import TopicFolder
from backup.manifest import Manifest, Topic
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas.log_record import RawRecord
from schemas.topics import EVENTS

_TYPE, _BEFORE, _AFTER, _IN_SYNC = (
    "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms",
    "min.insync.replicas",
)  # fmt: skip
_FOR_EVER = str(2**63 - 1)
_SILENCE_S = 60.0
"""Seconds without an acknowledgement after which the restore ends."""


def restore(
    folder: TopicFolder,
    topic: str,
    kafka: KafkaAccess,
    replication_factor: int | None,
    progress: Progress,
    notify: Callable[[str], None],
) -> int:
    """Restore one topic. Returns the number of records written. `replication_factor`: None for the mirrored one.

    Nothing is written before every file was compared with the manifest. Raises MirrorDamaged, LogRefused for a topic
    that is not empty and not the beginning of this mirror.
    """
    report = check(folder, topic, None, progress)
    manifest = folder.manifest()
    if manifest is None or report.fault is not None:
        raise MirrorDamaged(f"{report.fault}. Nothing was written")
    if manifest.topic != topic:
        raise MirrorDamaged(
            f"{folder.path} is the mirror of {manifest.topic}, not of {topic}; is it the right --topic-prefix?"
        )
    wanted = _wanted(manifest, replication_factor or manifest.replication_factor, notify)
    with Reader(kafka, topic) as log:
        return _restore(folder, manifest, wanted, log, progress, notify)


def _restore(
    folder: TopicFolder,
    manifest: Manifest,
    wanted: Topic,
    log: Reader,
    progress: Progress,
    notify: Callable[[str], None],
) -> int:
    topic = wanted.topic
    with Topics(log.kafka) as topics:
        found = topics.describe(topic)
    if found is not None and found.partitions != wanted.partitions:
        raise LogRefused(
            f"topic {topic} exists with {found.partitions} partitions, {wanted.partitions} were mirrored; "
            "delete it, and restore again"
        )
    if found is not None and found.changed.get(_TYPE) != "CreateTime" and any(log.ends().values()):
        report = check(folder, topic, log.kafka, progress)
        if report.fault is not None:
            raise LogRefused(f"topic {topic} exists and is not empty: {report.fault}. Nothing was written")
        notify(f"{topic}: already restored, every record is equal")
        return 0
    writing = {**wanted.settings, _TYPE: "CreateTime", _BEFORE: _FOR_EVER, _AFTER: _FOR_EVER}
    with Topics(log.kafka) as topics:
        copies = wanted.replication_factor
        if found is not None or not topics.create(topic, writing, partitions=wanted.partitions, copies=copies):
            topics.change(topic, dict(writing))
    written = 0
    with Producer(log.kafka, _give_up) as producer:
        for partition in range(manifest.partitions):
            written += _partition(folder, manifest, partition, log, producer, progress, notify)
    # A crash here leaves a topic with every record that every service refuses; the next restore compares it and changes
    # its settings.
    with Topics(log.kafka) as topics:
        topics.change(topic, {_BEFORE: None, _AFTER: None, **wanted.settings, **EVENTS.required})
    return written


def _give_up(silent_s: float) -> None:
    if silent_s >= _SILENCE_S:
        raise BrokerAway(
            f"the broker acknowledged nothing for {silent_s:.0f} s; run the same command again to continue"
        )


def _partition(
    folder: TopicFolder,
    manifest: Manifest,
    partition: int,
    log: Reader,
    producer: Producer,
    progress: Progress,
    notify: Callable[[str], None],
) -> int:
    """Compare the records already there, and write the rest. Raises LogRefused."""
    place, end = f"{manifest.topic}/{partition}", manifest.next_offset(partition)
    there = log.end_offset(partition)
    if log.begins_at(partition) != 0 or there > end:
        raise LogRefused(
            f"{place} is not the beginning of this mirror: it has other records. Delete the topic, and restore again"
        )
    if there:
        notify(f"{place}: {there:,} records are there already; comparing them")
        present = chain.from_iterable(log.read_to_end(partition, 0, there))
        if fault := first_difference(chain.from_iterable(folder.read(partition, 0, there)), present, place):
            raise LogRefused(f"{fault}. Nothing was written; delete the topic, and restore again")
    written = 0
    for records in folder.read(partition, there, end):
        _put(producer, manifest.topic, partition, records)
        written += len(records)
        progress(there + written, end)
    return written


def _put(producer: Producer, topic: str, partition: int, records: list[RawRecord]) -> None:
    """Write records, each with its recorded time. Raises LogRefused when one gets another offset than it had."""
    place = f"{topic}/{partition}"
    if (unwritable := next((r.offset for r in records if any(v is None for _, v in r.headers)), None)) is not None:
        raise LogRefused(
            f"{place}: the record at offset {unwritable} has a header without a value, which the client cannot write"
        )
    given = producer.send(topic, records, places={partition: records[0].offset})[partition]
    for record, offset in zip(records, given, strict=False):  # another producer's record ended the sending
        if offset != record.offset:
            raise LogRefused(
                f"{place}: the record at offset {record.offset} got offset {offset}: another producer writes to the "
                "topic. Delete the topic, and restore again"
            )


def _wanted(manifest: Manifest, replication_factor: int, notify: Callable[[str], None]) -> Topic:
    settings = dict(manifest.settings)
    if int(settings.get(_IN_SYNC, "1")) > replication_factor:
        notify(
            f"{manifest.topic}: {_IN_SYNC} is lowered from {settings[_IN_SYNC]} "
            f"to {replication_factor}, the replication factor"
        )
        settings[_IN_SYNC] = str(replication_factor)
    return Topic(
        topic=manifest.topic, topic_id=manifest.topic_id, partitions=manifest.partitions,
        replication_factor=replication_factor, settings=settings,
    )  # fmt: skip
