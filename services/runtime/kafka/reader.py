"""Read a topic from given offsets, in batches, and refuse a damaged log.

Place in the flow: wherever something is read from Kafka. It decodes nothing: it returns bytes and their places. It
joins no group and commits no offset: the caller stores the offsets, and a crash leaves nothing. Metadata is requested
with kafka-python. Messages are polled with librdkafka where it is installed (the extra `fast`), which is several times
faster, and else with the same kafka-python client: the guarantees are the same.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from runtime.kafka import librdkafka, topics
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, KafkaFault, LogDamaged
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

STALL_S = 30.0
"""Time without a message, though the topic has more, after which the client is connected again."""
_RECONNECTIONS = 3
"""Consecutive reconnections without a message, after which BrokerAway is raised."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one partition, at least one, in the order of the log."""

    partition: int
    records: list[RawRecord]

    def __iter__(self) -> Iterator[RawRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def next_offset(self) -> int:
        """The offset after the last message."""
        return self.records[-1].offset + 1

    def before(self, end: int) -> "Batch | None":
        """Return the messages before an offset, None when there are none."""
        if self.next_offset <= end:
            return self
        kept = [record for record in self.records if record.offset < end]
        return Batch(self.partition, kept) if kept else None


class Reader:
    """Reads one topic. Connects when entered or first used; use it as a context manager, or close it.

    `whole`: the topic has every message ever written, and no transactions, so a hole in the offsets is a fault; else
    holes and control records are skipped. A client that returns nothing for `stall_s`, although the topic has more, is
    connected again. Requests raise AccessRefused for a missing grant, and BrokerAway; the next call connects again.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        topic: str,
        *,
        whole: bool = True,
        stall_s: float = STALL_S,
        max_records: int = 5000,
        max_fetch_bytes: int = 8 << 20,
    ) -> None:
        self.kafka, self.topic, self.whole, self.stall_s = kafka, topic, whole, stall_s
        self._max_records, self._max_fetch_bytes = max_records, max_fetch_bytes
        self._consumer: Any = None
        self._client: _Client | None = None

    def __enter__(self) -> Self:
        self._connected()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The next call opens them again."""
        client, consumer, self._client, self._consumer = self._client, self._consumer, None, None
        for one in (client, consumer):
            if one is not None:
                one.close()

    # --- metadata

    def partitions(self) -> list[int]:
        """Return the topic's partitions. Raises TopicUnfit when none are visible."""
        found = self._request("partitions_for_topic", self.topic)
        if not found:
            raise topics.missing(self.kafka, self.topic)
        return sorted(found)

    def ends(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Return the offset that the next message will get, by partition; of all partitions by default."""
        return self._offsets("end_offsets", partitions)

    def begins(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Return the first available offset by partition. More than 0 means that events were deleted."""
        return self._offsets("beginning_offsets", partitions)

    def end_offset(self, partition: int) -> int:
        """Return the offset that the next message of a partition will get."""
        return self.ends([partition])[partition]

    def begins_at(self, partition: int) -> int:
        """Return the first available offset of a partition."""
        return self.begins([partition])[partition]

    def has_more(self, places: Mapping[int, int]) -> bool:
        """Return whether there are messages at or after these places (the next offset by partition)."""
        return any(end > places[partition] for partition, end in self.ends(places).items())

    def _offsets(self, method: str, partitions: Iterable[int] | None) -> dict[int, int]:
        wanted = self.partitions() if partitions is None else partitions
        answer = self._request(method, [TopicPartition(self.topic, partition) for partition in wanted])
        return {at.partition: int(offset) for at, offset in answer.items()}

    def _request(self, method: str, *arguments: Any) -> Any:
        with self._translated_faults():
            return getattr(self._connected(), method)(*arguments)

    # --- reading

    def read(self, offsets: Mapping[int, int], *, wait_ms: int = 500) -> Iterator[list[Batch]]:
        """Read from `offsets` (the next by partition), without end; [] when nothing arrived. Raises LogDamaged."""
        yield from self._reading(dict(offsets), wait_ms)

    def read_to_end(self, partition: int, start: int = 0, end: int | None = None) -> Iterator[Batch]:
        """Read a partition from `start` up to, not including, `end` (its end at the time of the call)."""
        end = self.end_offset(partition) if end is None else end
        if start >= end:
            return
        position = {partition: start}
        for batches in self._reading(position):
            yield from filter(None, (batch.before(end) for batch in batches))
            if position[partition] >= end:
                return

    def read_on(self, places: dict[int, int]) -> Iterator[Batch]:
        """Read every partition from its place to the topic's end, until the end no longer moves.

        `places` (the next offset by partition) is updated; partitions that it lacks are read from offset 0. Raises
        LogDamaged as `read` does, and for a whole topic that lost its first messages, even if they were read before.
        """
        for partition in self.partitions():
            places.setdefault(partition, 0)
        self._check(places, from_zero=True)
        ends, reading = self.ends(places), self._reading(places)
        while True:
            if all(places[partition] >= end for partition, end in ends.items()):
                newer = self.ends(places)
                if newer == ends:
                    return
                ends = newer
            yield from next(reading)

    def messages_at(self, partition: int, offsets: Iterable[int]) -> Batch:
        """Read single messages of a partition. Raises LogDamaged for an offset that the log does not have."""
        end, found = self.end_offset(partition), list[RawRecord]()
        for offset in sorted(offsets):
            if offset >= end:
                raise LogDamaged(f"{self.topic}/{partition} ends at {end}: offset {offset} is not on it")
            found += next(self.read_to_end(partition, offset, offset + 1))
        return Batch(partition, found)

    def _reading(self, position: dict[int, int], wait_ms: int = 500) -> Iterator[list[Batch]]:
        """Read as `read` does. `position` is updated before the messages are yielded."""
        self._check(position)
        self._assign(position)
        moved_at, reconnections = time.monotonic(), 0
        while True:
            before = dict(position)
            with self._translated_faults():
                batches = self._poll(wait_ms)
                # Control records of transactions are not returned: only the client's position shows them.
                skipped = {} if batches and self.whole else {p: self._polling().position(p) for p in position}
            for batch in batches:
                self._advance(position, batch)
            for partition, offset in skipped.items():
                self._skip(position, partition, offset)
            now = time.monotonic()
            if position != before:
                moved_at, reconnections = now, 0
            elif now - moved_at > self.stall_s:
                if self.has_more(position):
                    reconnections += 1
                    self._connect_again(position, reconnections)
                moved_at = now
            yield batches

    def _check(self, position: dict[int, int], *, from_zero: bool = False) -> None:
        """Refuse a log that lost its first or last messages; begin at the first available offset unless `whole`."""
        begins, ends = self.begins(position), self.ends(position)
        for partition, offset in position.items():
            place, begin = f"{self.topic}/{partition}", begins[partition]
            if self.whole and begin > (0 if from_zero else offset):
                raise LogDamaged(f"{place} begins at offset {begin}: earlier events were deleted")
            if ends[partition] < offset:
                raise LogDamaged(
                    f"{place} ends at {ends[partition]}, before offset {offset}: "
                    "it is not the log that was read, or it lost its last messages"
                )
            position[partition] = max(offset, begin)

    def _advance(self, position: dict[int, int], batch: Batch) -> None:
        if self.whole:
            expected = position[batch.partition]
            for record in batch.records:
                self._no_hole(batch.partition, expected, record.offset)
                expected += 1
        position[batch.partition] = batch.next_offset

    def _skip(self, position: dict[int, int], partition: int, to: int) -> None:
        if self.whole:
            self._no_hole(partition, position[partition], to)
        position[partition] = max(position[partition], to)

    def _no_hole(self, partition: int, expected: int, found: int) -> None:
        if found != expected:
            raise LogDamaged(
                f"{self.topic}/{partition} has a hole: offset {expected} expected, {found} found. "
                "Events were removed, or written in a transaction"
            )

    def _connect_again(self, position: Mapping[int, int], times: int) -> None:
        if times > _RECONNECTIONS:
            raise BrokerAway(
                f"{self.kafka} returned no message of {self.topic}, which has more, in {_RECONNECTIONS} reconnections"
            )
        logger.warning(
            "%s: no message in %.0f s though the topic has more: reconnecting (%d)", self.topic, self.stall_s, times
        )
        self.close()
        self._assign(position)

    # --- connections

    def _poll(self, wait_ms: int) -> list[Batch]:
        try:
            return [Batch(partition, records) for partition, records in self._polling().poll(wait_ms).items()]
        except OffsetOutOfRangeError as error:
            fault = LogDamaged if self.whole else BrokerAway
            raise fault(f"{self.topic} no longer has the next offset: {error}") from error

    def _assign(self, position: Mapping[int, int]) -> None:
        with self._translated_faults():
            self._polling().assign(position)

    @contextmanager
    def _translated_faults(self) -> Iterator[None]:
        """Translate the clients' faults, and close the clients after one: the next call connects again."""
        try:
            with self.kafka.faults(f"topic {self.topic}"):
                yield
        except KafkaFault:
            self.close()
            raise

    def _polling(self) -> "_Client":
        consumer = self._connected()
        if self._client is None:
            self._client = (
                _KafkaPython(consumer, self.topic, self._max_records)
                if librdkafka.client is None
                else librdkafka.Polling(self.kafka, self.topic, self._max_records, self._max_fetch_bytes)
            )
        return self._client

    def _connected(self) -> Any:
        if self._consumer is None:
            self._consumer = self.kafka.open(
                KafkaConsumer,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                check_crcs=True,
                allow_auto_create_topics=False,
                max_poll_records=self._max_records,
                max_partition_fetch_bytes=self._max_fetch_bytes,
                fetch_max_wait_ms=100,
                reconnect_backoff_max_ms=1000,
                request_timeout_ms=10_000,  # a broker that is away is reported within seconds
            )
        return self._consumer


class _Client(Protocol):
    """Polls manually assigned partitions."""

    def assign(self, position: Mapping[int, int]) -> None:
        """Read these partitions from now on, from these offsets."""

    def poll(self, wait_ms: int) -> dict[int, list[RawRecord]]:
        """Return the messages that arrived, by partition, waiting for at most `wait_ms`, or less.

        Aborted messages are skipped. Raises OffsetOutOfRangeError, KafkaError or OSError; assign again after one.
        """

    def position(self, partition: int) -> int:
        """Return the next offset: the one after the last message, or after the records skipped since."""

    def close(self) -> None:
        """Close the connections."""


class _KafkaPython:
    """Polls with the reader's own consumer, which also requests metadata."""

    def __init__(self, consumer: Any, topic: str, max_records: int) -> None:
        self._consumer, self._topic, self._max_records = consumer, topic, max_records

    def assign(self, position: Mapping[int, int]) -> None:
        self._consumer.assign([TopicPartition(self._topic, partition) for partition in position])
        for partition, offset in position.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def poll(self, wait_ms: int) -> dict[int, list[RawRecord]]:
        polled = self._consumer.poll(timeout_ms=wait_ms, max_records=self._max_records)
        return {
            at.partition: [
                RawRecord(at.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records
            ]
            for at, records in polled.items()
            if records
        }

    def position(self, partition: int) -> int:
        return int(self._consumer.position(TopicPartition(self._topic, partition)))

    def close(self) -> None:
        """Do nothing: the reader closes the consumer."""
