"""Restore a mirror into an empty Kafka: every record at its offset, with its recorded time.

Place in the flow: between `folder` and `kafka_log`, after the log was lost, before anything else is started. A topic is
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
from backup.kafka_log import KafkaLog
from backup.manifest import Manifest, Topic

_TYPE, _BEFORE, _AFTER, _IN_SYNC = (
    "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms",
    "min.insync.replicas",
)  # fmt: skip
_FOR_EVER = str(2**63 - 1)


def restore(
    folder: TopicFolder,
    topic: str,
    log: KafkaLog,
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
    found = log.describe(topic)
    if found is not None and found.partitions != wanted.partitions:
        raise LogRefused(
            f"topic {topic} exists with {found.partitions} partitions, {wanted.partitions} were mirrored; "
            "delete it, and restore again"
        )
    if found is not None and found.settings.get(_TYPE) != "CreateTime" and _is_used(log, found):
        report = check(folder, topic, log, progress)
        if report.fault is not None:
            raise LogRefused(f"topic {topic} exists and is not empty: {report.fault}. Nothing was written")
        notify(f"{topic}: already restored, every record is equal")
        return 0
    writing = {**wanted.settings, _TYPE: "CreateTime", _BEFORE: _FOR_EVER, _AFTER: _FOR_EVER}
    if found is None:
        log.create(wanted.model_copy(update={"settings": writing}))
    else:
        log.change(topic, dict(writing))
    written = 0
    for partition in range(manifest.partitions):
        written += _partition(folder, manifest, partition, log, progress, notify)
    # A crash here leaves a topic with every record that every service refuses; the next restore compares it and changes
    # its settings.
    log.change(topic, {_BEFORE: None, _AFTER: None, **wanted.settings})
    return written


def _is_used(log: KafkaLog, found: Topic) -> bool:
    return any(log.end(found.topic, partition) for partition in range(found.partitions))


def _partition(
    folder: TopicFolder,
    manifest: Manifest,
    partition: int,
    log: KafkaLog,
    progress: Progress,
    notify: Callable[[str], None],
) -> int:
    """Compare the records already there, and write the rest. Raises LogRefused."""
    place, end = f"{manifest.topic}/{partition}", manifest.next_offset(partition)
    there = log.end(manifest.topic, partition)
    if log.begin(manifest.topic, partition) != 0 or there > end:
        raise LogRefused(
            f"{place} is not the beginning of this mirror: it has other records. Delete the topic, and restore again"
        )
    if there:
        notify(f"{place}: {there:,} records are there already; comparing them")
        present = chain.from_iterable(log.read(manifest.topic, partition, 0, there))
        if fault := first_difference(chain.from_iterable(folder.read(partition, 0, there)), present, place):
            raise LogRefused(f"{fault}. Nothing was written; delete the topic, and restore again")
    written = 0
    for count in log.put(manifest.topic, partition, folder.read(partition, there, end)):
        written += count
        progress(there + written, end)
    return written


def _wanted(manifest: Manifest, replication_factor: int, notify: Callable[[str], None]) -> Topic:
    """Return the topic as it must be when restored."""
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
