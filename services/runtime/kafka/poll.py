"""Polls partitions of a topic from given offsets. A door beneath the doors that read Kafka.

Two clients do it, with the same promises: librdkafka where it is installed (the extra `fast`), since it brings several times as
many messages a second, and kafka-python elsewhere. Only the polling is told from the client: what is on the brokers, where
a partition ends, what is granted is asked with kafka-python in both cases, and faults are kafka-python's. Reads only, and
commits no offset; a crash leaves nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from kafka import TopicPartition
from kafka.errors import CorruptRecordError, KafkaError

from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess

Record = TypeVar("Record")
Make = Callable[[int, int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]], Record]
"""Makes a record of partition, offset, the broker's time in milliseconds, key, value and headers."""

NO_GROUP = "escrutinio-by-hand"
"""librdkafka wants a group's name though it joins none. It looks for the group's coordinator, which nobody needs to be granted."""


AT_ONCE = 1000
"""So many messages of librdkafka's are made records at a time: a batch of 20,000 no longer fits the processor's cache."""


class Poller(Protocol[Record]):
    """Messages of partitions that are assigned by hand."""

    def assign(self, position: Mapping[int, int]) -> None:
        """These partitions are read from now on, each from its offset."""

    def poll(self, wait_ms: int) -> list[Record]:
        """What has come, at once; waits for `wait_ms` at most where nothing has, and may give [] before.

        Aborted messages are left out. Raises OffsetOutOfRangeError, KafkaError or OSError; what was polled last is then to be
        assigned anew.
        """

    def position(self, partition: int) -> int:
        """The offset that comes next. After a message the next one, and further once something is passed over without a message."""

    def close(self) -> None:
        """Let go of what it holds."""


def poller(
    kafka: KafkaAccess, asking: Any, topic: str, make: Make[Record], *, max_records: int, max_fetch_bytes: int
) -> Poller[Record]:
    """The faster of the installed ones. `asking` is kafka-python's consumer of the door, which closes it."""
    if librdkafka.client is not None:
        return Librdkafka(kafka, topic, make, max_records, max_fetch_bytes)
    return KafkaPython(asking, topic, make, max_records)


class KafkaPython(Generic[Record]):
    """The consumer that asks does it too."""

    def __init__(self, consumer: Any, topic: str, make: Make[Record], max_records: int) -> None:
        self._consumer, self._topic, self._make, self._max_records = consumer, topic, make, max_records

    def assign(self, position: Mapping[int, int]) -> None:
        """As promised."""
        self._consumer.assign([TopicPartition(self._topic, partition) for partition in position])
        for partition, offset in position.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def poll(self, wait_ms: int) -> list[Record]:
        """As promised."""
        make = self._make
        return [
            make(r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers))
            for records in self._consumer.poll(timeout_ms=wait_ms, max_records=self._max_records).values()
            for r in records
        ]

    def position(self, partition: int) -> int:
        """As promised."""
        return int(self._consumer.position(TopicPartition(self._topic, partition)))

    def close(self) -> None:
        """The consumer is not ours."""


class Librdkafka(Generic[Record]):
    """A consumer of its own, made when partitions are assigned: many doors are only opened to ask.

    It fetches ahead in threads of its own, up to twice `max_fetch_bytes`. A broker that is away it waits for in silence. A header's
    name it brings only up to a NUL, which no name of ours has.
    """

    def __init__(
        self, kafka: KafkaAccess, topic: str, make: Make[Record], max_records: int, max_fetch_bytes: int
    ) -> None:
        self._kafka, self._topic, self._make = kafka, topic, make
        self._max_records, self._max_fetch_bytes = max_records, max_fetch_bytes
        self._consumer: Any = None
        self._next: dict[int, int] = {}
        self._fault: KafkaError | None = None

    def _connect(self) -> Any:
        return librdkafka.client.Consumer(
            self._kafka.properties
            | {
                "group.id": NO_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "check.crcs": True,
                "enable.partition.eof": True,  # tells the position after what is passed over without a message
                "fetch.message.max.bytes": self._max_fetch_bytes,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,  # its default idles two thirds of the time
                "queued.min.messages": self._max_records,
                "queued.max.messages.kbytes": max(1, 2 * self._max_fetch_bytes // 1024),
                "max.poll.interval.ms": 86_400_000,  # a batch may take its time: there is no group to be thrown out of
                "reconnect.backoff.max.ms": 1000,
                "error_cb": self._hear,
            },
            logger=librdkafka.LOGGER,
        )

    def assign(self, position: Mapping[int, int]) -> None:
        """As promised."""
        self._consumer = self._consumer or self._connect()
        self._next = dict(position)
        try:
            self._consumer.assign(
                [librdkafka.client.TopicPartition(self._topic, p, offset) for p, offset in position.items()]
            )
        except librdkafka.client.KafkaException as error:
            raise librdkafka.translated(error.args[0]) from error

    def poll(self, wait_ms: int) -> list[Record]:
        """As promised."""
        assert self._consumer is not None, "nothing is assigned"
        first = self._consumer.poll(wait_ms / 1000)  # `consume` would wait until as many have come as are asked for
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if first is None:
            return []
        try:
            records = self._records((first,))
            while (room := self._max_records - len(records)) and (
                more := self._consumer.consume(min(room, AT_ONCE), 0)
            ):
                records += self._records(more)
        except SystemError as error:
            raise CorruptRecordError("a header's name is not UTF-8") from error
        return records

    def _records(self, messages: Iterable[Any]) -> list[Record]:
        make, records = self._make, []
        for m in messages:
            if m.error() is not None:
                self._told(m)
                continue
            partition, offset = m.partition(), m.offset()
            records.append(make(partition, offset, m.timestamp()[1], m.key(), m.value(), m.headers() or []))
            self._next[partition] = offset + 1
        return records

    def position(self, partition: int) -> int:
        """As promised."""
        return self._next[partition]

    def close(self) -> None:
        """As promised."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _told(self, message: Any) -> None:
        error, partition = message.error(), message.partition()
        if error.code() == librdkafka.client.KafkaError._PARTITION_EOF:
            self._next[partition] = message.offset()
        elif message.topic() is not None:  # else it is about the group, which there is not
            raise librdkafka.translated(error)

    def _hear(self, error: Any) -> None:
        """Called while polling. Whoever asks the brokers hears by himself that none answers."""
        self._fault = self._fault or librdkafka.hopeless(error)
