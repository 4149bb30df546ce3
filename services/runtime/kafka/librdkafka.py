"""Poll and send with librdkafka where the extra `fast` is installed: faster than kafka-python, same guarantees.

Place in the flow: below `reader` and `producer`, the only users. Its faults are raised as kafka-python's.
"""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError, for_code

from runtime.kafka.access import KafkaAccess
from schemas.codec import Message
from schemas.log_record import RawRecord

client: Any = None
"""The module `confluent_kafka`; None where it is not installed, and kafka-python is used."""
with suppress(ImportError):
    import confluent_kafka as client

LOGGER = logging.getLogger("kafka.librdkafka")
"""Receives the client's log lines, which it would else write to standard error."""

_NO_GROUP = "escrutinio-by-hand"
"""The client requires a group's name though it joins none. It looks up the coordinator, which needs no grant."""
_AT_ONCE = 1000
"""Messages converted to records at a time: a batch of 20,000 does not fit the processor's cache."""

_CLOSE_S = 5.0
"""Time for a client to end."""


def translated(error: Any) -> KafkaError:
    """Return the fault as kafka-python's exception; codes below 0 are librdkafka's own."""
    if error.code() == client.KafkaError._AUTO_OFFSET_RESET:
        return OffsetOutOfRangeError(error.str())
    fault: type[KafkaError] = for_code(error.code()) if error.code() > 0 else KafkaError
    return fault(error.str())


def permanent_fault(error: Any) -> KafkaError | None:
    """Return an asynchronously reported fault that a retry does not help; None when no broker answers."""
    if error.code() in (client.KafkaError._AUTHENTICATION, client.KafkaError._SSL):
        return KafkaConnectionError(error.str())
    return translated(error) if error.fatal() else None


class Polling:
    """Poll manually assigned partitions: librdkafka's implementation of `reader._Client`.

    It prefetches in background threads, up to twice `max_fetch_bytes`, and waits without a report while no broker
    answers. It cuts a header's name at a NUL; the contract's names have none.
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
                "enable.partition.eof": True,  # reports the position after skipped control records
                "fetch.message.max.bytes": max_fetch_bytes,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,  # its default idles two thirds of the time
                "queued.min.messages": max_records,
                "queued.max.messages.kbytes": max(1, 2 * max_fetch_bytes // 1024),
                "max.poll.interval.ms": 86_400_000,  # a batch may take long: there is no group to leave
                "reconnect.backoff.max.ms": 1000,
                "error_cb": self._on_error,
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
        first = self._consumer.poll(wait_ms / 1000)  # `consume` would wait for the full number of messages
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if first is None:
            return {}
        found: dict[int, list[RawRecord]] = defaultdict(list)
        room = self._max_records - self._sort((first,), found)
        while room and (more := self._consumer.consume(min(room, _AT_ONCE), 0)):
            room -= self._sort(more, found)
        return found

    def position(self, partition: int) -> int:
        return self._next[partition]

    def close(self) -> None:
        """Close the client; leave it behind where it does not end within `_CLOSE_S`.

        A fault of a partition that comes just then makes librdkafka 2.16 wait for a lock that it holds
        (`rd_kafka_offset_reset` within itself), for ever.
        """
        closing = threading.Thread(target=self._consumer.close, name="close-librdkafka", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if closing.is_alive():
            LOGGER.warning("a client of topic %s does not end: it is left behind", self._topic)

    def _sort(self, messages: Iterable[Any], found: dict[int, list[RawRecord]]) -> int:
        """Add messages to their partition in `found`. Returns their number."""
        count = 0
        for m in messages:
            if m.error() is not None:
                self._handle_error(m)
                continue
            partition, offset = m.partition(), m.offset()
            found[partition].append(
                RawRecord(partition, offset, m.timestamp()[1], m.key(), m.value(), m.headers() or [])
            )
            self._next[partition] = offset + 1
            count += 1
        return count

    def _handle_error(self, message: Any) -> None:
        error, partition = message.error(), message.partition()
        if error.code() == client.KafkaError._PARTITION_EOF:
            self._next[partition] = message.offset()
        elif message.topic() is not None and partition in self._next:
            # else it concerns the group, which is not used, or what was read before
            raise translated(error)

    def _on_error(self, error: Any) -> None:
        """Keep a permanent fault. Called while polling. The reader's own requests report a broker that is away."""
        self._fault = self._fault or permanent_fault(error)


class Sending:
    """Send messages: librdkafka's implementation of `producer._Client`. Waits while no broker answers."""

    def __init__(self, kafka: KafkaAccess, linger_ms: int, *, batch_bytes: int, largest_message: int) -> None:
        self.fatal: KafkaError | None = None
        """The fault after which it sends nothing more."""
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
                "queue.buffering.max.kbytes": 2**31 - 1,  # the caller bounds the number of messages
                "reconnect.backoff.max.ms": 1000,
                "socket.nagle.disable": True,
                "error_cb": self._on_error,
            },
            logger=LOGGER,
        )

    def flight(self) -> "_Reports":
        return _Reports(self)

    def close(self, patience_s: float) -> None:
        self.producer.flush(patience_s)
        self.producer.purge()
        self.producer.flush(0)

    def _on_error(self, error: Any) -> None:
        self.fatal = self.fatal or (translated(error) if error.fatal() else None)


class _Reports:
    """The delivery reports of a sending, which librdkafka calls back while it is polled."""

    def __init__(self, by: Sending) -> None:
        self._by = by
        self._outcomes: deque[tuple[int, int] | KafkaError] = deque()
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
        if not self._outcomes:
            until = time.monotonic() + patience_s
            while not self._outcomes:
                if (left := until - time.monotonic()) <= 0:
                    return None
                self._by.producer.poll(min(left, 0.5))  # no signal is handled meanwhile
        self._unacknowledged -= 1
        outcome = self._outcomes.popleft()
        if isinstance(outcome, KafkaError):
            raise outcome
        return outcome

    def _reported(self, error: Any, message: Any) -> None:
        self._outcomes.append(self._refused(error) if error else (message.partition(), message.offset()))

    def _refused(self, error: Any) -> KafkaError:
        return self._by.fatal or translated(error)
