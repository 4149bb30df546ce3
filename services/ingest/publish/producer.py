"""Messages on their way to Kafka: handed to a producer, and not yet known to be stored. A door beneath `publish`.

Place in the flow: within one sending. Two clients do it, with the same promises: librdkafka where it is installed (the extra `fast`),
since it takes a message in a tenth of the time, and kafka-python elsewhere. Both are idempotent and wait for all replicas,
so the broker stores in order and once what was handed over; neither gives a message up. A crash leaves the first part of
what was handed over on the log.
"""

import time
from collections import deque
from typing import Any, Protocol

from kafka.errors import KafkaError

from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from schemas.codec import Message

LARGEST_MESSAGE = 8 << 20
BATCH = 131_072


class Flight(Protocol):
    """What one sending has handed over."""

    def hand_over(self, topic: str, message: Message, partition: int) -> None:
        """Takes the message, and returns at once. Raises KafkaTimeoutError when it does not know where to yet, KafkaError when it never will."""

    def unacknowledged(self) -> int:
        """How many messages are still to be asked for with `oldest`."""

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        """Partition and offset of the first of them, which is then done with; of one partition in the order of sending.

        None when that is not known within so many seconds. Raises KafkaError when it was refused, which ends it as well.
        """


class Producer(Protocol):
    """Sends, by one client."""

    def flight(self) -> Flight:
        """For a sending of its own."""

    def close(self, patience_s: float) -> None:
        """Lets go of the connections, and after so many seconds of what is still on its way."""


class KafkaPython:
    """By kafka-python: `producer`, which is the door's."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def flight(self) -> Flight:
        """As promised."""
        return _Futures(self._producer)

    def close(self, patience_s: float) -> None:
        """As promised."""
        self._producer.close(timeout=patience_s)


class _Futures:
    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._waiting: deque[Any] = deque()

    def hand_over(self, topic: str, message: Message, partition: int) -> None:
        sent = self._producer.send(topic, message.value, message.key, message.headers, partition=partition)
        self._waiting.append(sent)

    def unacknowledged(self) -> int:
        return len(self._waiting)

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        future = self._waiting[0]
        try:
            stored = future.get(timeout=patience_s)
        except KafkaError:
            if not future.is_done:
                return None
            self._waiting.popleft()
            raise
        self._waiting.popleft()
        return stored.partition, stored.offset


class Librdkafka:
    """By librdkafka. It connects in its own time, and waits in silence for a broker that is away."""

    def __init__(self, kafka: KafkaAccess, linger_ms: int) -> None:
        self.fatal: KafkaError | None = None
        """Why it sends nothing any more."""
        self.producer = librdkafka.client.Producer(
            kafka.properties
            | {
                "acks": "all",
                "enable.idempotence": True,
                "batch.size": BATCH,
                "linger.ms": linger_ms,
                "message.max.bytes": LARGEST_MESSAGE,
                # Were a batch given up, a later one could still arrive and leave a hole before it.
                "message.timeout.ms": 0,
                "queue.buffering.max.kbytes": 2**31 - 1,  # who hands over bounds their number
                "reconnect.backoff.max.ms": 1000,
                "socket.nagle.disable": True,
                "error_cb": self._hear,
            },
            logger=librdkafka.LOGGER,
        )

    def flight(self) -> Flight:
        """As promised."""
        return _Reports(self)

    def close(self, patience_s: float) -> None:
        """As promised."""
        self.producer.flush(patience_s)
        self.producer.purge()
        self.producer.flush(0)

    def _hear(self, error: Any) -> None:
        self.fatal = self.fatal or (librdkafka.translated(error) if error.fatal() else None)


class _Reports:
    """librdkafka reports the fate of each message while it is polled."""

    def __init__(self, by: Librdkafka) -> None:
        self._by = by
        self._fates: deque[tuple[int, int] | KafkaError] = deque()
        self._unacknowledged = 0

    def hand_over(self, topic: str, message: Message, partition: int) -> None:
        try:
            self._by.producer.produce(
                topic, message.value, message.key, partition, on_delivery=self._reported, headers=message.headers
            )
        except librdkafka.client.KafkaException as error:
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
        return self._by.fatal or librdkafka.translated(error)
