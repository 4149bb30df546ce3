"""Poll and send by librdkafka, where the extra `fast` is installed: several times as fast as kafka-python, with the same promises.

Place in the flow: beneath `reader` and `producer`, which alone use it. Its faults are raised under kafka-python's names, so that one
reading of them serves both.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka.errors import CorruptRecordError, KafkaConnectionError, KafkaError, OffsetOutOfRangeError, for_code

from runtime.kafka.access import KafkaAccess
from schemas.codec import Message
from schemas.log_record import RawRecord

client: Any = None
"""The module `confluent_kafka`; None where it is not installed, and kafka-python does everything."""
with suppress(ImportError):
    import confluent_kafka as client

LOGGER = logging.getLogger("kafka.librdkafka")
"""Receives its log lines, which it would else write to standard error."""

_NO_GROUP = "escrutinio-by-hand"
"""A group's name is wanted though none is joined. It looks for the group's coordinator, which nobody needs to be granted."""
_AT_ONCE = 1000
"""So many messages are made records at a time: a batch of 20,000 no longer fits the processor's cache."""


def translated(error: Any) -> KafkaError:
    """Return the same fault as kafka-python names it; codes below 0 are librdkafka's own."""
    if error.code() == client.KafkaError._AUTO_OFFSET_RESET:
        return OffsetOutOfRangeError(error.str())
    fault: type[KafkaError] = for_code(error.code()) if error.code() > 0 else KafkaError
    return fault(error.str())


def hopeless(error: Any) -> KafkaError | None:
    """Return the fault where waiting does not mend what the client reports beside its work; None for a broker that is away."""
    if error.code() in (client.KafkaError._AUTHENTICATION, client.KafkaError._SSL):
        return KafkaConnectionError(error.str())
    return translated(error) if error.fatal() else None


class Polling:
    """Polls partitions that are assigned by hand, as `reader` asks of its clients.

    It fetches ahead in threads of its own, up to twice `max_fetch_bytes`. For a broker that is away it waits in silence. A header's
    name it brings only up to a NUL, which no name of ours has.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, max_records: int, max_fetch_bytes: int) -> None:
        self._topic, self._max_records = topic, max_records
        self._next: dict[int, int] = {}
        self._fault: KafkaError | None = None
        self._consumer: Any = client.Consumer(
            kafka.properties
            | {
                "group.id": _NO_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "check.crcs": True,
                "enable.partition.eof": True,  # tells the position after what is passed over without a message
                "fetch.message.max.bytes": max_fetch_bytes,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,  # its default idles two thirds of the time
                "queued.min.messages": max_records,
                "queued.max.messages.kbytes": max(1, 2 * max_fetch_bytes // 1024),
                "max.poll.interval.ms": 86_400_000,  # a batch may take its time: there is no group to be thrown out of
                "reconnect.backoff.max.ms": 1000,
                "error_cb": self._hear,
            },
            logger=LOGGER,
        )

    def assign(self, position: Mapping[int, int]) -> None:
        self._next = dict(position)
        try:
            self._consumer.assign([client.TopicPartition(self._topic, p, offset) for p, offset in position.items()])
        except client.KafkaException as error:
            raise translated(error.args[0]) from error

    def poll(self, wait_ms: int) -> dict[int, list[RawRecord]]:
        first = self._consumer.poll(wait_ms / 1000)  # `consume` would wait until as many have come as are asked for
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if first is None:
            return {}
        found: dict[int, list[RawRecord]] = defaultdict(list)
        try:
            room = self._max_records - self._sort((first,), found)
            while room and (more := self._consumer.consume(min(room, _AT_ONCE), 0)):
                room -= self._sort(more, found)
        except SystemError as error:
            raise CorruptRecordError("a header's name is not UTF-8") from error
        return found

    def position(self, partition: int) -> int:
        return self._next[partition]

    def close(self) -> None:
        self._consumer.close()

    def _sort(self, messages: Iterable[Any], found: dict[int, list[RawRecord]]) -> int:
        """Add messages to what was found of their partitions; returns how many."""
        count = 0
        for m in messages:
            if m.error() is not None:
                self._heed(m)
                continue
            partition, offset = m.partition(), m.offset()
            found[partition].append(
                RawRecord(partition, offset, m.timestamp()[1], m.key(), m.value(), m.headers() or [])
            )
            self._next[partition] = offset + 1
            count += 1
        return count

    def _heed(self, message: Any) -> None:
        error, partition = message.error(), message.partition()
        if error.code() == client.KafkaError._PARTITION_EOF:
            self._next[partition] = message.offset()
        elif message.topic() is not None:  # else it is about the group, which there is not
            raise translated(error)

    def _hear(self, error: Any) -> None:
        """Called while polling. That no broker answers is heard by who asks them."""
        self._fault = self._fault or hopeless(error)


class Sending:
    """Sends, as `producer` asks of its clients. It connects in its own time, and waits in silence for a broker that is away."""

    def __init__(self, kafka: KafkaAccess, linger_ms: int, *, batch_bytes: int, largest_message: int) -> None:
        self.fatal: KafkaError | None = None
        """Why it sends nothing any more."""
        self.producer = client.Producer(
            kafka.properties
            | {
                "acks": "all",
                "enable.idempotence": True,
                "batch.size": batch_bytes,
                "linger.ms": linger_ms,
                "message.max.bytes": largest_message,
                # Were a batch dropped, a later one could still arrive and leave a hole before it.
                "message.timeout.ms": 0,
                "queue.buffering.max.kbytes": 2**31 - 1,  # who hands over bounds their number
                "reconnect.backoff.max.ms": 1000,
                "socket.nagle.disable": True,
                "error_cb": self._hear,
            },
            logger=LOGGER,
        )

    def flight(self) -> "_Reports":
        return _Reports(self)

    def close(self, patience_s: float) -> None:
        self.producer.flush(patience_s)
        self.producer.purge()
        self.producer.flush(0)

    def _hear(self, error: Any) -> None:
        self.fatal = self.fatal or (translated(error) if error.fatal() else None)


class _Reports:
    """librdkafka reports the fate of each message while it is polled."""

    def __init__(self, by: Sending) -> None:
        self._by = by
        self._fates: deque[tuple[int, int] | KafkaError] = deque()
        self._unacknowledged = 0

    def hand_over(self, topic: str, message: Message | RawRecord, partition: int, timestamp_ms: int | None) -> None:
        try:
            self._by.producer.produce(
                topic, message.value, message.key, partition,
                on_delivery=self._reported, timestamp=timestamp_ms or 0, headers=message.headers,
            )  # fmt: skip
        except client.KafkaException as error:
            raise self._refused(error.args[0]) from error
        self._unacknowledged += 1

    def unacknowledged(self) -> int:
        return self._unacknowledged

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        until = time.monotonic() + patience_s
        while not self._fates:
            if (left := until - time.monotonic()) <= 0:
                return None
            self._by.producer.poll(min(left, 0.5))  # it is deaf to signals meanwhile
        self._unacknowledged -= 1
        fate = self._fates.popleft()
        if isinstance(fate, KafkaError):
            raise fate
        return fate

    def _reported(self, error: Any, message: Any) -> None:
        self._fates.append(self._refused(error) if error else (message.partition(), message.offset()))

    def _refused(self, error: Any) -> KafkaError:
        return self._by.fatal or translated(error)
