"""Kafka, as the backup needs it: topics described and made, records read and put back. A door.

Place in the flow: between Kafka and `mirror`, `check`, `restore`. Reading changes nothing. Writing puts records where the next offset of a
partition is the one they had, and raises when it is not; a crash leaves a first part of them, which the next restore compares
and goes on from.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError
from kafka.serializer.abstract import Serializer

from backup.errors import LogAway, LogRefused
from backup.manifest import Record, Topic
from runtime.kafka.access import KafkaAccess
from runtime.kafka.topics import described

_STALL_S = 30.0
_LARGEST = 8 << 20
_UNACKNOWLEDGED = 2_000
_TIMESTAMPS = "message.timestamp."


class KafkaLog:
    """The brokers. Use as a context manager. Whatever asks them raises AccessRefused for want of a grant."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._consumer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the connection; the next question makes another."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    # --- topics

    def describe(self, topic: str) -> Topic | None:
        """The topic; None when it is not there. Raises LogAway."""
        with _Admin(self._kafka) as admin:
            found = admin.call(f"topic {topic}", described, topic)
        if found is None:
            return None
        about, settings = found
        own = {n: e["value"] for n, e in settings.items() if e["config_source"] == "DYNAMIC_TOPIC_CONFIG"}
        partitions = about["partitions"]
        return Topic(
            topic=topic, topic_id=UUID(str(about["topic_id"])), partitions=len(partitions),
            replication_factor=len(partitions[0]["replica_nodes"]), settings=dict(sorted(own.items())),
        )  # fmt: skip

    def create(self, topic: Topic) -> None:
        """Makes a topic, with these partitions, copies and settings; its id is the broker's to choose."""
        plan = {
            "num_partitions": topic.partitions,
            "replication_factor": topic.replication_factor,
            "configs": topic.settings,
        }
        with _Admin(self._kafka) as admin:
            admin.call(
                f"to make topic {topic.topic}",
                KafkaAdminClient.create_topics,
                {topic.topic: plan},
                wait_for_metadata=True,
            )

    def change(self, topic: str, settings: dict[str, str | None]) -> None:
        """Changes settings of a topic; None takes one back to the broker's default."""
        wanted = {
            name: (AlterConfigOp.DELETE, None) if value is None else (AlterConfigOp.SET, value)
            for name, value in settings.items()
        }
        with _Admin(self._kafka) as admin:
            admin.call(
                f"to change topic {topic}",
                KafkaAdminClient.alter_configs,
                [ConfigResource(ConfigResourceType.TOPIC, topic, wanted)],
            )

    # --- records

    def begin(self, topic: str, partition: int) -> int:
        """The first offset still there."""
        return int(self._ask("beginning_offsets", topic, partition))

    def end(self, topic: str, partition: int) -> int:
        """The offset the next record will get."""
        return int(self._ask("end_offsets", topic, partition))

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[list[Record]]:
        """The records from `start` up to, not including, `end`, in batches. Raises LogRefused at a hole, and LogAway."""
        if start >= end:
            return
        at = TopicPartition(topic, partition)
        consumer = self._connected()
        heard = time.monotonic()
        try:
            consumer.assign([at])
            consumer.seek(at, start)
            while start < end:
                records = [
                    Record(r.offset, r.timestamp, r.key, r.value, list(r.headers))
                    for r in consumer.poll(timeout_ms=500, max_records=5000).get(at, [])
                ]
                for record in records:
                    self._no_hole(at, start, record.offset)
                    start += 1
                if records:
                    heard = time.monotonic()
                    yield records[: len(records) - max(0, start - end)]
                    continue
                self._no_hole(at, start, consumer.position(at))  # a transaction's marker is passed over in silence
                if time.monotonic() - heard > _STALL_S:
                    raise LogAway(f"{topic}/{partition} brings nothing at offset {start}, though it ends at {end}")
        except (KafkaError, OSError) as error:
            self.close()
            raise self._kafka.refusal(error, f"topic {topic}") or LogAway(
                f"reading {topic} from {self._kafka}: {error!r}"
            ) from error

    def _no_hole(self, at: TopicPartition, expected: int, found: int) -> None:
        if found != expected:
            raise LogRefused(
                f"{at.topic}/{at.partition} has a hole: offset {expected} expected, {found} found. Records were removed, or "
                "written in a transaction"
            )

    def put(self, topic: str, partition: int, batches: Iterable[list[Record]]) -> Iterator[int]:
        """Writes records, each with its own time, and gives out how many are acknowledged. Raises LogRefused when one does
        not get the offset that it had."""
        try:
            producer: Any = self._kafka.open(
                KafkaProducer, acks="all", enable_idempotence=True, linger_ms=20,
                batch_size=131_072, max_request_size=_LARGEST, allow_auto_create_topics=False,
                key_serializer=_Part("key"), value_serializer=_Part("value"),
            )  # fmt: skip
            try:
                for records in batches:
                    for begin in range(0, len(records), _UNACKNOWLEDGED):
                        yield _put(producer, TopicPartition(topic, partition), records[begin : begin + _UNACKNOWLEDGED])
            finally:
                producer.close(timeout=10)
        except (KafkaError, OSError) as error:
            raise self._kafka.refusal(error, f"topic {topic}") or LogAway(
                f"writing {topic} to {self._kafka}: {error!r}"
            ) from error

    def _ask(self, what: str, topic: str, partition: int) -> Any:
        at = TopicPartition(topic, partition)
        try:
            return getattr(self._connected(), what)([at])[at]
        except (KafkaError, OSError) as error:
            self.close()
            raise self._kafka.refusal(error, f"topic {topic}") or LogAway(
                f"{self._kafka} does not answer: {error!r}"
            ) from error

    def _connected(self) -> Any:
        if self._consumer is None:
            try:
                self._consumer = self._kafka.open(
                    KafkaConsumer,
                    group_id=None,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    isolation_level="read_committed",
                    check_crcs=True,
                    allow_auto_create_topics=False,
                    max_poll_records=5000,
                    max_partition_fetch_bytes=_LARGEST,
                    fetch_max_wait_ms=100,
                    request_timeout_ms=10_000,
                    bootstrap_timeout_ms=10_000,
                )
            except (KafkaError, OSError) as error:
                raise LogAway(f"no broker answers at {self._kafka}: {error!r}{self._kafka.hint}") from error
        return self._consumer


def _put(producer: Any, at: TopicPartition, records: list[Record]) -> int:
    place = f"{at.topic}/{at.partition}"
    if (strange := next((r.offset for r in records if any(v is None for _, v in r.headers)), None)) is not None:
        raise LogRefused(
            f"{place}: the record of offset {strange} has a header without a value, which this client cannot write"
        )
    sent = [
        producer.send(at.topic, r, r, list(r.headers), partition=at.partition, timestamp_ms=r.timestamp_ms)
        for r in records
    ]
    for record, future in zip(records, sent, strict=True):
        if (given := future.get(60).offset) != record.offset:
            raise LogRefused(
                f"{place}: the record of offset {record.offset} was given offset {given}: somebody else writes to the topic. "
                "Delete it, and restore again"
            )
    return len(records)


class _Part(Serializer):
    """Takes a part out of a record: a client that is given key and value apart refuses a record that has neither."""

    def __init__(self, name: str) -> None:
        self._name = name

    def serialize(self, topic: str, headers: Any, data: Record) -> bytes | None:  # noqa: ARG002
        """The part's bytes."""
        part: bytes | None = getattr(data, self._name)
        return part


class _Admin:
    """An admin client whose failures are LogAway."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka

    def __enter__(self) -> Self:
        try:
            self._client: Any = self._kafka.open(KafkaAdminClient, bootstrap_timeout_ms=10_000)
        except (KafkaError, OSError) as error:
            raise LogAway(f"no broker answers at {self._kafka}: {error!r}{self._kafka.hint}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, what: str, ask: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One request, made by `ask` of the client, for `what`."""
        try:
            return ask(self._client, *arguments, **options)
        except (KafkaError, OSError) as error:
            raise self._kafka.refusal(error, what) or LogAway(f"{what} at {self._kafka}: {error!r}") from error
