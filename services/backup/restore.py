"""Puts a mirror into an empty Kafka: every record at the offset it had, with the time at which it was recorded. Runs between
`folder` and the log.

Place in the flow: after the log was lost, before anything else is started. A topic is made with the partitions and settings that it
had, but with CreateTime, under which the broker keeps the times it is given; when every record is there it is set to
LogAppendTime, which every service demands. So a topic that is not yet whole is refused by all of them. A crash leaves such a topic:
the next restore compares what is there record by record and goes on after it. One that is there, whole and the same, is left alone.
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

_TYPE, _BEFORE, _AFTER, _IN_SYNC = (
    "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms", "min.insync.replicas",
)  # fmt: skip
_FOR_EVER = str(2**63 - 1)
_SILENCE_S = 60.0
"""How long the broker may acknowledge nothing."""


def restore(
    folder: TopicFolder,
    topic: str,
    kafka: KafkaAccess,
    replication_factor: int | None,
    progress: Progress,
    say: Callable[[str], None],
) -> int:
    """Restores one topic; how many records were written now. `replication_factor`: as it was, if not given.

    Nothing is written before every file was read and compared with the manifest. Raises MirrorDamaged, and LogRefused where a topic is
    not empty and not the beginning of this mirror.
    """
    verdict = check(folder, topic, None, progress)
    manifest = folder.manifest()
    if manifest is None or verdict.fault is not None:
        raise MirrorDamaged(f"{verdict.fault}. Nothing was written")
    if manifest.topic != topic:
        raise MirrorDamaged(
            f"{folder.path} is the mirror of {manifest.topic}, not of {topic}; is it the right --topic-prefix?"
        )
    wanted = _wanted(manifest, replication_factor or manifest.replication_factor, say)
    with Reader(kafka, topic) as log:
        return _restore(folder, manifest, wanted, log, progress, say)


def _restore(
    folder: TopicFolder,
    manifest: Manifest,
    wanted: Topic,
    log: Reader,
    progress: Progress,
    say: Callable[[str], None],
) -> int:
    topic = wanted.topic
    with Topics(log.kafka) as topics:
        found = topics.describe(topic)
    if found is not None and found.partitions != wanted.partitions:
        raise LogRefused(
            f"topic {topic} exists with {found.partitions} partitions, {wanted.partitions} were mirrored; delete it, and restore again"
        )
    if found is not None and found.changed.get(_TYPE) != "CreateTime" and any(log.ends().values()):
        verdict = check(folder, topic, log.kafka, progress)
        if verdict.fault is not None:
            raise LogRefused(f"topic {topic} exists and is not empty: {verdict.fault}. Nothing was written")
        say(f"{topic}: there already, whole and the same")
        return 0
    writing = {**wanted.settings, _TYPE: "CreateTime", _BEFORE: _FOR_EVER, _AFTER: _FOR_EVER}
    with Topics(log.kafka) as topics:
        copies = wanted.replication_factor
        if found is not None or not topics.create(topic, writing, partitions=wanted.partitions, copies=copies):
            topics.change(topic, dict(writing))
    written = 0
    with Producer(log.kafka, _give_up) as producer:
        for partition in range(manifest.partitions):
            written += _partition(folder, manifest, partition, log, producer, progress, say)
    # A crash here leaves a topic that has every record and is refused by every service; the next restore compares and ends it.
    with Topics(log.kafka) as topics:
        topics.change(topic, {_BEFORE: None, _AFTER: None, **wanted.settings})
    return written


def _give_up(silent_s: float) -> None:
    if silent_s >= _SILENCE_S:
        raise BrokerAway(f"the broker acknowledged nothing for {silent_s:.0f} s; run the same again to go on")


def _partition(
    folder: TopicFolder,
    manifest: Manifest,
    partition: int,
    log: Reader,
    producer: Producer,
    progress: Progress,
    say: Callable[[str], None],
) -> int:
    """Compares what is there, and writes the rest. Raises LogRefused."""
    place, end = f"{manifest.topic}/{partition}", manifest.next_offset(partition)
    there = log.end_offset(partition)
    if log.begins_at(partition) != 0 or there > end:
        raise LogRefused(
            f"{place} is not the beginning of this mirror: it has other records. Delete the topic, and restore again"
        )
    if there:
        say(f"{place}: {there:,} records are there already; comparing them")
        begun = chain.from_iterable(log.read_to_end(partition, 0, there))
        if fault := first_difference(chain.from_iterable(folder.read(partition, 0, there)), begun, place):
            raise LogRefused(f"{fault}. Nothing was written; delete the topic, and restore again")
    written = 0
    for records in folder.read(partition, there, end):
        _put(producer, manifest.topic, partition, records)
        written += len(records)
        progress(there + written, end)
    return written


def _put(producer: Producer, topic: str, partition: int, records: list[RawRecord]) -> None:
    """Write records, each with its own time. Raises LogRefused when one does not get the offset that it had."""
    place = f"{topic}/{partition}"
    if (strange := next((r.offset for r in records if any(v is None for _, v in r.headers)), None)) is not None:
        raise LogRefused(
            f"{place}: the record of offset {strange} has a header without a value, which the client cannot write"
        )
    given = producer.send(topic, records, places={partition: records[0].offset})[partition]
    for record, offset in zip(records, given, strict=False):  # what was found elsewhere ended the sending
        if offset != record.offset:
            raise LogRefused(
                f"{place}: the record of offset {record.offset} was given offset {offset}: somebody else writes to the topic. "
                "Delete it, and restore again"
            )


def _wanted(manifest: Manifest, replication_factor: int, say: Callable[[str], None]) -> Topic:
    """The topic as it is to be in the end."""
    settings = dict(manifest.settings)
    if int(settings.get(_IN_SYNC, "1")) > replication_factor:
        say(f"{manifest.topic}: {_IN_SYNC} was {settings[_IN_SYNC]}, and is {replication_factor} with as many copies")
        settings[_IN_SYNC] = str(replication_factor)
    return Topic(
        topic=manifest.topic, topic_id=manifest.topic_id, partitions=manifest.partitions,
        replication_factor=replication_factor, settings=settings,
    )  # fmt: skip
