"""Send messages to Kafka, and wait until all are acknowledged.

Place in the flow: wherever something is written to the log. librdkafka sends where it is installed (the extra `fast`),
in a tenth of the time per message, and else kafka-python: the guarantees are the same. Both are idempotent and wait for
all replicas, so the broker stores every message once and in order; there are no transactions, because their control
records leave holes in the offsets. A crash leaves the first of the messages on the log. A refused message is not sent
again: the fault is raised, and the caller reads the log to know what is missing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner import murmur2
from kafka.serializer.abstract import Serializer

from runtime.kafka import librdkafka, topics
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import DeliveryFailed
from schemas.codec import Message
from schemas.log_record import RawRecord

IN_FLIGHT = 4_000
"""Limit of unacknowledged messages. Bounds memory: the clients do not."""
PATIENCE_S = 5.0
"""Time without an acknowledgement after which `waiting` is called, repeatedly."""
CLOSE_S = 10.0
"""Time limit for messages in flight when the producer is closed. After a fault they are dropped at once."""
_DROP_S = 1.0
"""Time limit for kafka-python's thread to drop messages in flight."""
_LARGEST_MESSAGE = 8 << 20
_AT_ONCE = 250
"""Messages between two looks at how many are unacknowledged."""
_BATCH = 131_072


class Producer:
    """Sends messages. Use as a context manager. `linger_ms`: 20 for bulk, 0 live.

    Waits without end for a broker that is away: the client keeps the messages in order, and may send them again since
    it is idempotent. Every few seconds without an answer, `waiting` is called with the seconds waited so far; it may
    raise to end the wait. Opening raises AccessRefused and BrokerAway.
    """

    def __init__(self, kafka: KafkaAccess, waiting: Callable[[float], None], *, linger_ms: int = 20) -> None:
        self._kafka, self._waiting = kafka, waiting
        self._partitions: dict[tuple[str, bytes], int] = {}
        self._metadata: Any = kafka.open(
            KafkaProducer,
            acks="all",
            enable_idempotence=True,
            batch_size=_BATCH,
            linger_ms=linger_ms,
            max_request_size=_LARGEST_MESSAGE,
            # Were a batch dropped, a later one could still arrive and leave a hole before it.
            delivery_timeout_ms=2**31 - 1,
            max_block_ms=round(PATIENCE_S * 1000),
            reconnect_backoff_max_ms=1000,
            key_serializer=_Part("key"),
            value_serializer=_Part("value"),
        )
        self._client: _Client = (
            _KafkaPython(self._metadata)
            if librdkafka.client is None
            else librdkafka.Sending(kafka, linger_ms, batch_bytes=_BATCH, largest_message=_LARGEST_MESSAGE)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0 if error is not None else CLOSE_S)

    def close(self, patience_s: float = CLOSE_S) -> None:
        """Close the connections; drop messages still in flight after `patience_s`: the log shows which arrived."""
        with suppress(KafkaError):
            self._client.close(patience_s)
            self._metadata.close(timeout=0)

    def send(
        self,
        topic: str,
        messages: Iterable[Message | RawRecord],
        sent: Callable[[int], None] = lambda _: None,
        places: Mapping[int, int] | None = None,
        *,
        log_id: UUID | None = None,
    ) -> dict[int, list[int]]:
        """Send in order and wait for every acknowledgement. Returns the offsets by partition, in the order of sending.

        A Message goes to its key's partition; a RawRecord to its own, with its own time. `sent` is called with the
        number of messages given to the client. `places`: the next offset of each partition; sending ends as soon as a
        message gets another offset, because another producer writes there too. `log_id`: the id that the topic must
        have, before the first message is sent and after the last one was acknowledged.

        Raises LogDamaged when the topic has another id; before the first message, nothing was sent. Raises
        DeliveryFailed when the broker refuses a message, AccessRefused when a grant is missing, both after the
        outcome of all messages is known.
        """
        offsets: dict[int, list[int]] = {}
        flight = self._client.flight()
        try:
            given = 0
            for first, message in enumerate(messages):
                if log_id is not None and not first:
                    self._confirm(topic, log_id)
                self._hand_over(flight, topic, message)
                given += 1
                if given < _AT_ONCE:
                    continue
                sent(given)
                given = 0
                if flight.unacknowledged() >= IN_FLIGHT:
                    self._settle(flight, IN_FLIGHT // 2, offsets)
                    if places is not None and not follow(places, offsets):
                        break
            sent(given)
            self._settle(flight, 0, offsets)
        except KafkaError as error:
            while flight.unacknowledged():  # no message may arrive after the caller has read the log again
                with suppress(KafkaError):
                    self._outcome(flight)
            raise self._kafka.refusal(error, f"topic {topic}") or DeliveryFailed(
                f"{self._kafka} refuses a message on {topic}: {type(error).__name__}: {error}"
            ) from error
        if log_id is not None and offsets:
            self._confirm(topic, log_id)
        return offsets

    def _confirm(self, topic: str, log_id: UUID) -> None:
        with self._kafka.faults(f"topic {topic}"):
            topics.confirm(self._metadata, topic, log_id, str(self._kafka))

    def _hand_over(self, flight: "_Flight", topic: str, message: Message | RawRecord) -> None:
        since = 0.0
        while True:
            try:
                if isinstance(message, RawRecord):
                    return flight.hand_over(topic, message, message.partition, message.timestamp_ms)
                return flight.hand_over(topic, message, self._partition(topic, message.key), None)
            except KafkaTimeoutError:  # the client knows no leader for the topic, and did not accept the message
                since = since or time.monotonic() - PATIENCE_S
                self._waiting(time.monotonic() - since)

    def _settle(self, flight: "_Flight", down_to: int, offsets: dict[int, list[int]]) -> None:
        while flight.unacknowledged() > down_to:
            partition, offset = self._outcome(flight)
            offsets.setdefault(partition, []).append(offset)

    def _outcome(self, flight: "_Flight") -> tuple[int, int]:
        """Wait for the oldest message in flight. Returns its partition and offset; raises KafkaError when refused."""
        if (place := flight.oldest(PATIENCE_S)) is not None:
            return place
        since = time.monotonic() - PATIENCE_S
        self._waiting(PATIENCE_S)
        while (place := flight.oldest(PATIENCE_S)) is None:
            self._waiting(time.monotonic() - since)
        return place

    def _partition(self, topic: str, key: bytes) -> int:
        """Return the key's partition by Kafka's default hash. Cached: hashing takes a tenth of the time of sending."""
        if (topic, key) not in self._partitions:
            numbers = sorted(self._metadata.partitions_for(topic))
            self._partitions[topic, key] = numbers[partition_of(key, len(numbers))]
        return self._partitions[topic, key]


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, of so many, by Kafka's default hash."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def elsewhere(key: bytes | None, partition: int, partitions: int | None) -> str | None:
    """Say that a message stands in another partition than its key's, of so many; None where it is in its own.

    `partitions`: None where every key may stand everywhere.

    The rule needs the key alone: so the fold, a rebuild, a replay, a verification and ingest decide alike, in whatever
    order they read the partitions.
    """
    if not key or partitions is None or (own := partition_of(key, partitions)) == partition:
        return None
    return f"stands in partition {partition}, but messages with its key belong in partition {own}"


def follow(places: Mapping[int, int], offsets: Mapping[int, list[int]]) -> bool:
    """Return whether the offsets of `Producer.send` follow `places` without a gap: no other producer wrote there."""
    return all(given[-1] == places[p] + len(given) - 1 for p, given in offsets.items())


class _Flight(Protocol):
    """The messages of one call of `Producer.send` that were given to the client."""

    def hand_over(self, topic: str, message: Message | RawRecord, partition: int, timestamp_ms: int | None) -> None:
        """Queue a message. Raises KafkaTimeoutError while the client knows no leader, KafkaError when it refuses it."""

    def unacknowledged(self) -> int:
        """Return the number of messages that `oldest` has not returned yet."""

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        """Remove the oldest message, and return its partition and offset; per partition in the order of sending.

        Returns None when no outcome is known within `patience_s`. Raises KafkaError when refused, and removes it too.
        """


class _Client(Protocol):
    def flight(self) -> _Flight:
        """Begin a call of `send`."""

    def close(self, patience_s: float) -> None:
        """Close the connections, and drop messages in flight after `patience_s`."""


class _Part(Serializer):
    """Serializes a part of a message: kafka-python refuses a message whose key and value are both None."""

    def __init__(self, name: str) -> None:
        self._name = name

    def serialize(self, topic: str, headers: Any, data: Message | RawRecord) -> bytes | None:  # noqa: ARG002
        part: bytes | None = getattr(data, self._name)
        return part


class _KafkaPython:
    """Sends with the producer's own client, which also requests metadata."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def flight(self) -> "_Futures":
        return _Futures(self._producer)

    def close(self, patience_s: float) -> None:
        try:
            self._producer.close(timeout=patience_s)
        except KafkaTimeoutError:  # messages are in flight, and its thread would delay the exit
            self._producer._sender.force_close()
            self._producer.close(timeout=_DROP_S)


class _Futures:
    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._futures: deque[Any] = deque()

    def hand_over(self, topic: str, message: Message | RawRecord, partition: int, timestamp_ms: int | None) -> None:
        self._futures.append(
            self._producer.send(
                topic, message, message, list(message.headers), partition=partition, timestamp_ms=timestamp_ms
            )
        )

    def unacknowledged(self) -> int:
        return len(self._futures)

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        future = self._futures[0]
        try:
            stored = future.get(timeout=patience_s)
        except KafkaError:
            if not future.is_done:
                return None
            self._futures.popleft()
            raise
        self._futures.popleft()
        return stored.partition, stored.offset
