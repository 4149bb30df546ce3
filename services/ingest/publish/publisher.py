"""Sends messages to Kafka and waits until they are acknowledged. A door; stage `send`.

Place in the flow: the last stage. The producer is idempotent and waits for all replicas, so the broker stores what is
sent in order and once; there are no transactions, because their control records leave holes in the offsets. A crash
leaves the first part of a document on the log; the next run reads it back and sends the rest. A failed delivery is never
repeated blindly: it is raised, and the log decides what is still news.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError
from kafka.partitioner import murmur2

from ingest.errors import BrokerAway, DeliveryFailed, Stopped, TopicRefused
from ingest.publish.producer import BATCH, LARGEST_MESSAGE, Flight, KafkaPython, Librdkafka, Producer
from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from runtime.kafka.topics import described
from schemas.codec import Message
from schemas.topics import Topic

IN_FLIGHT = 4_000
"""Unacknowledged messages at most: bounds memory, since the client does not."""
_PATIENCE_S = 5.0


class Publisher:
    """A producer. Use as a context manager. `linger_ms`: 20 for bulk, 0 live. `notice` is told when the broker keeps silent.

    A broker that is away is waited for without end: the producer holds what it was given, in order, and an idempotent one
    may repeat it. `stop` ends the waiting.
    """

    def __init__(
        self, kafka: KafkaAccess, notice: Callable[[str], None], stop: threading.Event, *, linger_ms: int
    ) -> None:
        self._notice = notice
        self._stop = stop
        self._kafka = kafka
        self._partitions: dict[tuple[str, bytes], int] = {}
        try:
            self._asked: Any = kafka.open(
                KafkaProducer,
                acks="all",
                enable_idempotence=True,
                batch_size=BATCH,
                linger_ms=linger_ms,
                max_request_size=LARGEST_MESSAGE,
                # Were a batch given up, a later one could still arrive and leave a hole before it.
                delivery_timeout_ms=2**31 - 1,
                max_block_ms=round(_PATIENCE_S * 1000),
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=1000,
            )
        except (KafkaError, OSError) as error:
            raise BrokerAway(f"no broker answers at {kafka}: {type(error).__name__}: {error}") from error
        plain = KafkaPython(self._asked)
        self._producer: Producer = plain if librdkafka.client is None else Librdkafka(kafka, linger_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KafkaError):  # what it still holds it may keep: the log says what arrived
            self._producer.close(0 if error is not None else 10)
            self._asked.close(timeout=0)

    def send(
        self,
        topic: str,
        messages: Iterable[Message],
        sent: Callable[[int], None],
        places: Mapping[int, int] | None = None,
    ) -> dict[int, list[int]]:
        """Sends in order and waits for every acknowledgement. Returns the offsets by partition, in the order of sending.

        `sent` is told of each message given to the producer. `places`: the next offset of each partition; as soon as a
        message is found elsewhere, since someone else writes there too, no more are sent. Raises DeliveryFailed when the broker refuses one, after the
        fate of all is known, AccessRefused when it is for want of a grant, and Stopped when asked to stop while the broker is away.
        """
        offsets: dict[int, list[int]] = {}
        flight = self._producer.flight()
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
                f"{topic} at {self._kafka}: {type(error).__name__}: {error}"
            ) from error
        return offsets

    def _hand_over(self, flight: Flight, topic: str, message: Message) -> None:
        while True:
            try:
                return flight.hand_over(topic, message, self._partition(topic, message.key))
            except KafkaTimeoutError:  # it knows no broker to ask for the topic; the message was not taken
                self._wait_on(_PATIENCE_S)

    def _settle(self, flight: Flight, down_to: int, offsets: dict[int, list[int]]) -> None:
        while flight.unacknowledged() > down_to:
            partition, offset = self._outcome(flight)
            offsets.setdefault(partition, []).append(offset)

    def _outcome(self, flight: Flight) -> tuple[int, int]:
        """Where the oldest message of those on their way was stored; raises KafkaError when it was refused."""
        since = time.monotonic()
        while (place := flight.oldest(_PATIENCE_S)) is None:
            self._wait_on(time.monotonic() - since)
        return place

    def _wait_on(self, silent_s: float) -> None:
        if self._stop.is_set():
            raise Stopped("stopped as asked while the broker was away; running the same again does the rest")
        self._notice(f"no acknowledgement from {self._kafka} for {silent_s:.0f} s; still trying")

    def _partition(self, topic: str, key: bytes) -> int:
        """The key's partition, as every Kafka client works it out. Once: hashing it for every message is a tenth of the sending."""
        if (topic, key) not in self._partitions:
            numbers = sorted(self._asked.partitions_for(topic))
            self._partitions[topic, key] = numbers[(murmur2(key) & 0x7FFFFFFF) % len(numbers)]
        return self._partitions[topic, key]


def follow(places: Mapping[int, int], offsets: Mapping[int, list[int]]) -> bool:
    """Whether offsets, as `Publisher.send` returns them, are those from `places` on, and nobody else's between them."""
    return all(given[-1] == places[p] + len(given) - 1 for p, given in offsets.items())


def create(kafka: KafkaAccess, topics: Iterable[tuple[str, Topic]], *, replication_factor: int) -> dict[str, bool]:
    """Creates the topics that are missing, one partition each. Returns, by name, whether it was created now."""
    created = {}
    with _admin(kafka) as admin:
        for name, topic in topics:
            settings = {**topic.initial, **topic.required}
            if replication_factor > 1:
                settings["min.insync.replicas"] = "2"
                settings["unclean.leader.election.enable"] = "false"
            plan = {name: {"num_partitions": 1, "replication_factor": replication_factor, "configs": settings}}
            try:
                admin.call(f"to make topic {name}", KafkaAdminClient.create_topics, plan, wait_for_metadata=True)
                created[name] = True
            except TopicAlreadyExistsError:
                created[name] = False
    return created


def inspect(kafka: KafkaAccess, topics: Iterable[tuple[str, Topic]]) -> None:
    """Raises TopicRefused for the first topic that is missing or has a setting under which events could be lost, and
    AccessRefused for one that is not granted to us."""
    with _admin(kafka) as admin:
        for name, topic in topics:
            found = admin.call(f"topic {name}", described, name)
            if found is None:
                raise TopicRefused(f"topic {name} does not exist at {kafka}; create it: escrutinio-ingest topics")
            about, settings = found
            copies = min(len(partition["replica_nodes"]) for partition in about["partitions"])
            if fault := unsafe(topic, {setting: one["value"] for setting, one in settings.items()}, copies):
                setting, found, wanted = fault
                raise TopicRefused(
                    f"topic {name} has {setting}={found}, and must have {wanted}: it could lose or change events. "
                    f"Set it: kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}={wanted}"
                )


def unsafe(topic: Topic, settings: Mapping[str, str], copies: int) -> tuple[str, str, str] | None:
    """The first setting under which events could be lost, what it is, and what it must be. `copies`: of every message.

    With several copies an acknowledged message must be on two brokers, and a broker that lacks it must not lead.
    """
    for setting, wanted in topic.required.items():
        if settings[setting] != wanted:
            return setting, settings[setting], wanted
    if copies > 1:
        if int(settings["min.insync.replicas"]) < 2:
            return "min.insync.replicas", settings["min.insync.replicas"], "2"
        if settings["unclean.leader.election.enable"] != "false":
            return "unclean.leader.election.enable", settings["unclean.leader.election.enable"], "false"
    return None


class _admin:
    """An admin client whose failures are BrokerAway."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka

    def __enter__(self) -> Self:
        try:
            self._client: Any = self._kafka.open(KafkaAdminClient)
        except (KafkaError, OSError) as error:
            raise BrokerAway(f"no broker answers at {self._kafka}: {type(error).__name__}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, what: str, ask: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """One request, made by `ask` of the client, for `what`."""
        try:
            return ask(self._client, *args, **options)
        except TopicAlreadyExistsError:
            raise
        except KafkaError as error:
            raise self._kafka.refusal(error, what) or BrokerAway(
                f"{what} at {self._kafka}: {type(error).__name__}: {error}"
            ) from error
