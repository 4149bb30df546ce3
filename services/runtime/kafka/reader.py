"""Read a topic from given offsets, in batches, and refuse a damaged log.

Place in the flow: wherever something is read from Kafka. It decodes nothing: it returns bytes and their places. It
joins no group and commits no offset: the caller stores the offsets, and a crash leaves nothing. Metadata is requested
with kafka-python. Messages are polled with librdkafka where it is installed (the extra `fast`), which is several times
faster, and else with the same kafka-python client: the guarantees are the same.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    CorruptRecordError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
)

from runtime.kafka import librdkafka, raw_batches, topics
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessRefused, BrokerAway, KafkaFault, LogDamaged, Unreadable
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

STALL_S = 30.0
"""Time without a message, though the topic has more, after which the client is connected again."""
_RECONNECTIONS = 3
"""Consecutive reconnections without a message, after which BrokerAway is raised."""


_LOOK_S = 2.0
"""Time without a message, though the topic has more, after which the reader looks for damage at the next offset."""


_AWAY = KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError
"""Faults of a broker that is away: then there is nothing to look at."""


class _Silence(Exception):
    """The client returns nothing, though the topic has more."""


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

    A message that the client cannot read has a `fault`. A batch that cannot be read at all, and a hole, is raised as
    Unreadable, as soon as all before it was returned; other partitions can be read on.
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
        self.log_id: UUID | None = None
        """The topic's id that is read; the first that is found, unless it was set before."""

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
        """Ask the brokers for the topic's partitions. Raises TopicUnfit when there are none, AccessRefused."""
        with self._translated_faults():
            about = topics.metadata_of(self._connected(), self.topic)
        if about is None or not about.partitions:
            raise topics.missing(self.kafka, self.topic)
        return sorted(partition.partition_index for partition in about.partitions)

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
        try:
            answer = self._request(method, [TopicPartition(self.topic, partition) for partition in wanted])
        except KeyError as error:  # kafka-python's own: a partition that was just added has no leader for it yet
            self.close()
            raise BrokerAway(f"{self.topic} has no leader yet for {error}") from error
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

    def read_on(self, places: dict[int, int], *, without: Collection[int] = ()) -> Iterator[Batch]:
        """Read every partition but those `without` from its place to the topic's end, until the end no longer moves.

        `places` (the next offset by partition) is updated; partitions that it lacks are read from offset 0. Raises
        LogDamaged as `read` does, and for a whole topic that lost its first messages, even if they were read before.
        """
        for partition in self.partitions():
            places.setdefault(partition, 0)
        here = {partition: offset for partition, offset in places.items() if partition not in without}
        if not here:
            return
        self._check(here, from_zero=True)
        ends, reading = self.ends(here), self._reading(here)
        while True:
            places.update(here)
            if all(here[partition] >= end for partition, end in ends.items()):
                newer = self.ends(here)
                if newer == ends:
                    return
                ends = newer
            batches = next(reading)
            places.update(here)
            yield from batches

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
        if not position:
            yield from self._nothing(wait_ms)
        self._check(position)
        self._assign(position)
        moved_at = looked_at = time.monotonic()
        reconnections = 0
        while True:
            before = dict(position)
            try:
                batches = self._read_next(position, wait_ms)
            except Exception as fault:  # of damaged bytes a client can raise any exception
                self.close()
                position.update(before)
                batches = self._read_raw(position, fault)
            now = time.monotonic()
            if position != before:
                moved_at, looked_at, reconnections = now, now, 0
            elif now - moved_at > self.stall_s:
                if self.has_more(position):
                    reconnections += 1
                    self._connect_again(position, reconnections)
                moved_at = now
            elif now - looked_at > _LOOK_S and self.has_more(position):
                looked_at = now  # of some damages librdkafka says nothing
                with suppress(_Silence):
                    batches = self._read_raw(position, _Silence())
            if batches:
                self.confirm()  # before anybody keeps them
            yield batches

    def _nothing(self, wait_ms: int) -> Iterator[list[Batch]]:
        while True:
            time.sleep(wait_ms / 1000)
            yield []

    def _read_next(self, position: dict[int, int], wait_ms: int) -> list[Batch]:
        with self._translated_faults():
            batches = self._poll(wait_ms)
            # Control records of transactions are not returned: only the client's position shows them.
            skipped = {} if batches and self.whole else {p: self._polling().position(p) for p in position}
        batches = [self._advance(position, batch) for batch in batches]
        for partition, offset in skipped.items():
            self._skip(position, partition, offset)
        return batches

    def _read_raw(self, position: dict[int, int], fault: Exception) -> list[Batch]:
        """Read without the client what it could not, and let it go on behind. Raises Unreadable.

        Raises `fault` where nothing that stands on the log explains it.
        """
        cause = fault.__cause__
        if (
            isinstance(fault, AccessRefused)
            or isinstance(cause, _AWAY)
            or (isinstance(fault, BrokerAway) and not cause)
        ):
            raise fault
        try:
            ends = self.ends(position)
            found = {partition: self._fetch_raw(partition, offset) for partition, offset in position.items()}
        except (KafkaFault, KafkaError, OSError):
            raise fault from None
        for _, unreadable in found.values():
            if unreadable is not None and unreadable.offset <= position[unreadable.partition]:
                raise unreadable from fault
        if self.whole and isinstance(fault, _Silence):
            for partition, (records, _) in found.items():
                if not records and ends[partition] > position[partition]:
                    reason = f"the broker returns nothing there, though its end is {ends[partition]}"
                    raise Unreadable(self.topic, partition, position[partition], reason)
        if not any(unreadable or any(r.fault for r in records) for records, unreadable in found.values()):
            raise fault
        batches = []
        for partition, (records, _) in found.items():
            own = [record for record in records if record.offset >= position[partition]][: self._max_records]
            batches += [Batch(partition, own)] if own else []
        batches = [self._advance(position, batch) for batch in batches]
        self.close()  # the client may have passed over some of them
        self._assign(position)
        return batches

    def _fetch_raw(self, partition: int, offset: int) -> tuple[list[RawRecord], Unreadable | None]:
        try:
            fetched = raw_batches.fetch(self._connected(), self.topic, partition, offset, self._max_fetch_bytes)
        except CorruptRecordError as error:
            return [], Unreadable(self.topic, partition, offset, f"the broker reports {error!r}")
        return raw_batches.read(fetched, self.topic, partition, offset)

    def _check(self, position: dict[int, int], *, from_zero: bool = False) -> None:
        """Refuse a log that lost its first or last messages; begin at the first available offset unless `whole`."""
        self.confirm()
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

    def _advance(self, position: dict[int, int], batch: Batch) -> Batch:
        """Move the position behind a batch, and return it. Of a hole, what stands before it is returned first."""
        if self.whole:
            begin = position[batch.partition]
            self._no_hole(batch.partition, begin, batch.records[0].offset)
            until = next((n for n, record in enumerate(batch.records) if record.offset != begin + n), len(batch))
            batch = Batch(batch.partition, batch.records[:until]) if until < len(batch) else batch
        position[batch.partition] = batch.next_offset
        return batch

    def _skip(self, position: dict[int, int], partition: int, to: int) -> None:
        if self.whole:
            self._no_hole(partition, position[partition], to)
        position[partition] = max(position[partition], to)

    def _no_hole(self, partition: int, expected: int, found: int) -> None:
        if found != expected:
            raise Unreadable(
                self.topic, partition, expected,
                f"it has a hole: offset {expected} expected, {found} found. "
                "Events were removed, or written in a transaction",
            )  # fmt: skip

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

    # --- identity

    def confirm(self) -> None:
        """Compare the topic's id with the one that was read before: `topics.confirm`."""
        with self._translated_faults():
            self.log_id = topics.confirm(self._connected(), self.topic, self.log_id, str(self.kafka))

    # --- connections

    def _poll(self, wait_ms: int) -> list[Batch]:
        try:
            return [Batch(partition, records) for partition, records in self._polling().poll(wait_ms).items()]
        except OffsetOutOfRangeError as error:
            if self.log_id is not None:
                self.confirm()  # a shorter log under the same name is named as another, not as one that lost events
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
