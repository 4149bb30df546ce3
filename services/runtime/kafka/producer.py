"""Send messages to Kafka, and wait until all are acknowledged.

Place in the flow: wherever something is put on the log. librdkafka sends where it is installed (the extra `fast`), since it handles a message
in a tenth of the time, and kafka-python elsewhere: the promises are the same. Both are idempotent and wait for all replicas, so the
broker stores in order and once what was handed over; there are no transactions, because their control records leave holes in the
offsets. A crash leaves a first part of what was sent on the log. A refused message is never repeated blindly: it is raised, and the log
decides what is still to be sent.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner import murmur2
from kafka.serializer.abstract import Serializer

from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import DeliveryFailed
from schemas.codec import Message
from schemas.log_record import RawRecord

IN_FLIGHT = 4_000
"""Unacknowledged messages at most: bounds memory, since the clients do not."""
PATIENCE_S = 5.0
"""How often a broker that keeps silent is spoken of."""
CLOSE_S = 10.0
"""How long what is still on its way may take to arrive when the work is done. After a fault it is dropped at once."""
_DROP_S = 1.0
"""How long kafka-python's thread may take to drop what is on its way."""
_LARGEST_MESSAGE = 8 << 20
_BATCH = 131_072


class Producer:
    """Sends, by one client. Use as a context manager. `linger_ms`: 20 for bulk, 0 live.

    A broker that is away is waited for without end: the client holds what it was given, in order, and an idempotent one
    may repeat it. `waiting` is called after each few seconds without an answer, with how many there were, and may raise to end it.
    Opening raises AccessRefused and BrokerAway.
    """

    def __init__(self, kafka: KafkaAccess, waiting: Callable[[float], None], *, linger_ms: int = 20) -> None:
        self._kafka, self._waiting = kafka, waiting
        self._partitions: dict[tuple[str, bytes], int] = {}
        self._asked: Any = kafka.open(
            KafkaProducer,
            acks="all",
            enable_idempotence=True,
            batch_size=_BATCH,
            linger_ms=linger_ms,
            max_request_size=_LARGEST_MESSAGE,
            # Were a batch dropped, a later one could still arrive and leave a hole before it.
            delivery_timeout_ms=2**31 - 1,
            max_block_ms=round(PATIENCE_S * 1000),
            allow_auto_create_topics=False,
            reconnect_backoff_max_ms=1000,
            key_serializer=_Part("key"),
            value_serializer=_Part("value"),
        )
        self._client: _Client = (
            _KafkaPython(self._asked)
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
        """Close the connections, and drop what is still on its way after so many seconds: the log says what arrived."""
        with suppress(KafkaError):
            self._client.close(patience_s)
            self._asked.close(timeout=0)

    def send(
        self,
        topic: str,
        messages: Iterable[Message | RawRecord],
        sent: Callable[[int], None] = lambda _: None,
        places: Mapping[int, int] | None = None,
    ) -> dict[int, list[int]]:
        """Send in order and wait for every acknowledgement. Returns the offsets by partition, in the order of sending.

        A Message goes to its key's partition; a RawRecord to its own, with the time it has. `sent` is called with the number of messages
        as they are handed over. `places`: the next offset of each partition; as soon as a message is found elsewhere, since someone else
        writes there too, no more are sent.

        Raises DeliveryFailed when the broker refuses one, after the fate of all is known, and AccessRefused when it is for want
        of a grant.
        """
        offsets: dict[int, list[int]] = {}
        flight = self._client.flight()
        try:
            for message in messages:
                self._hand_over(flight, topic, message)
                sent(1)
                if flight.unacknowledged() >= IN_FLIGHT:
                    self._settle(flight, IN_FLIGHT // 2, offsets)
                    if places is not None and not follow(places, offsets):
                        break
            self._settle(flight, 0, offsets)
        except KafkaError as error:
            while flight.unacknowledged():  # nothing may arrive any more once the log is read again
                with suppress(KafkaError):
                    self._outcome(flight)
            raise self._kafka.refusal(error, f"topic {topic}") or DeliveryFailed(
                f"{self._kafka} refuses a message on {topic}: {type(error).__name__}: {error}"
            ) from error
        return offsets

    def _hand_over(self, flight: "_Flight", topic: str, message: Message | RawRecord) -> None:
        since = time.monotonic()
        while True:
            try:
                if isinstance(message, RawRecord):
                    return flight.hand_over(topic, message, message.partition, message.timestamp_ms)
                return flight.hand_over(topic, message, self._partition(topic, message.key), None)
            except KafkaTimeoutError:  # it knows no broker to ask for the topic; the message was not accepted
                self._waiting(time.monotonic() - since)

    def _settle(self, flight: "_Flight", down_to: int, offsets: dict[int, list[int]]) -> None:
        while flight.unacknowledged() > down_to:
            partition, offset = self._outcome(flight)
            offsets.setdefault(partition, []).append(offset)

    def _outcome(self, flight: "_Flight") -> tuple[int, int]:
        """Return where the oldest message of those on their way was stored. Raises KafkaError when it was refused."""
        since = time.monotonic()
        while (place := flight.oldest(PATIENCE_S)) is None:
            self._waiting(time.monotonic() - since)
        return place

    def _partition(self, topic: str, key: bytes) -> int:
        """Return the key's partition, as every Kafka client works it out. Once: hashing it each time is a tenth of the sending."""
        if (topic, key) not in self._partitions:
            numbers = sorted(self._asked.partitions_for(topic))
            self._partitions[topic, key] = numbers[(murmur2(key) & 0x7FFFFFFF) % len(numbers)]
        return self._partitions[topic, key]


def follow(places: Mapping[int, int], offsets: Mapping[int, list[int]]) -> bool:
    """Say whether offsets, as `Producer.send` returns them, are those from `places` on, and nobody else's between them."""
    return all(given[-1] == places[p] + len(given) - 1 for p, given in offsets.items())


class _Flight(Protocol):
    """What one sending has handed over."""

    def hand_over(self, topic: str, message: Message | RawRecord, partition: int, timestamp_ms: int | None) -> None:
        """Accept the message, and return at once. Raises KafkaTimeoutError when it does not know where to yet, KafkaError when
        it never will."""

    def unacknowledged(self) -> int:
        """Return how many messages are still to be asked for with `oldest`."""

    def oldest(self, patience_s: float) -> tuple[int, int] | None:
        """Return partition and offset of the first of them, which is then done with; of one partition in the order of sending.

        None when that is not known within so many seconds. Raises KafkaError when it was refused, which ends it as well.
        """


class _Client(Protocol):
    """One of the two."""

    def flight(self) -> _Flight:
        """Begin a sending."""

    def close(self, patience_s: float) -> None:
        """Close the connections, and after so many seconds drop what is still on its way."""


class _Part(Serializer):
    """Reads a part of a message: kafka-python, when given key and value, refuses a message that has neither."""

    def __init__(self, name: str) -> None:
        self._name = name

    def serialize(self, topic: str, headers: Any, data: Message | RawRecord) -> bytes | None:  # noqa: ARG002
        part: bytes | None = getattr(data, self._name)
        return part


class _KafkaPython:
    """By the client that is asked too."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def flight(self) -> "_Futures":
        return _Futures(self._producer)

    def close(self, patience_s: float) -> None:
        try:
            self._producer.close(timeout=patience_s)
        except KafkaTimeoutError:  # something is on its way, and its thread is left at work: it would hold up the exit
            self._producer._sender.force_close()
            self._producer.close(timeout=_DROP_S)


class _Futures:
    """kafka-python gives a future for each message."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._waiting: deque[Any] = deque()

    def hand_over(self, topic: str, message: Message | RawRecord, partition: int, timestamp_ms: int | None) -> None:
        self._waiting.append(
            self._producer.send(
                topic, message, message, list(message.headers), partition=partition, timestamp_ms=timestamp_ms
            )
        )

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
