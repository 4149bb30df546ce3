"""The log, as Kafka holds it: a door that reads, and refuses a log that could not be the truth.

It knows Kafka and no event: what comes out is bytes with their place. Holds nothing that a crash could lose; where
to read from is kept in PostgreSQL, in the same transaction as what was read. A `Group` says which partitions are to be
read by this process, where several share them; no offset is ever committed to Kafka.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from aggregator.log.errors import LogError, LogUnreachable
from runtime.kafka.access import AccessRefused, KafkaAccess
from runtime.kafka.poll import Poller, poller
from runtime.kafka.topics import described
from schemas.log_record import RawRecord
from schemas.topics import EVENTS

logger = logging.getLogger(__name__)

STALL_S = 30.0
"""How long a consumer may bring nothing while the log is known to have more, before it is made anew."""


class Log:
    """A topic, read from given offsets. Use as a context manager."""

    def __init__(
        self, kafka: KafkaAccess, topic: str, *, max_poll_records: int = 5000, max_fetch_bytes: int = 8 << 20
    ) -> None:
        self.topic = topic
        self.kafka = kafka
        self._max_poll_records, self._max_fetch_bytes = max_poll_records, max_fetch_bytes
        self._consumer = self._connect()
        self._poller = self._polling()

    def _polling(self) -> Poller[RawRecord]:
        most, largest = self._max_poll_records, self._max_fetch_bytes
        return poller(self.kafka, self._consumer, self.topic, RawRecord, max_records=most, max_fetch_bytes=largest)

    def _connect(self) -> Any:
        try:
            return self.kafka.open(
                KafkaConsumer,
                group_id=None,  # the cursor lives in PostgreSQL
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                check_crcs=True,
                max_poll_records=self._max_poll_records,
                max_partition_fetch_bytes=self._max_fetch_bytes,
                fetch_max_wait_ms=100,
                reconnect_backoff_max_ms=1000,
                request_timeout_ms=10_000,  # a broker that is gone is noticed, and said, within seconds
                bootstrap_timeout_ms=10_000,
            )
        except (KafkaError, OSError) as error:
            raise LogUnreachable(f"no Kafka broker answers at {self.kafka}: {error!r}{self.kafka.hint}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._poller.close()
        self._consumer.close()

    def topic_id(self) -> UUID:
        """The topic's id: another one means another log under the same name.

        Raises LogError when the topic is missing or may lose, compact or re-time events; the message names the
        setting and the command that mends it. Here as in all that asks the brokers, but `partitions`, AccessRefused for want of a
        grant.
        """
        admin = open_admin(self.kafka)
        try:
            found = described(admin, self.topic)
        except KafkaError as error:
            raise self._refusal(error) or LogUnreachable(
                f"{self.kafka} does not describe {self.topic}: {error!r}"
            ) from error
        finally:
            admin.close()
        if found is None:
            raise self._missing()
        about, settings = found
        for name, value in EVENTS.required.items():
            if settings[name]["value"] != value:
                raise LogError(
                    f"topic {self.topic} has {name}={settings[name]['value']}, the log needs {value}: "
                    "it could lose or change events. Nothing was read."
                )
        return UUID(str(about["topic_id"]))

    def partitions(self) -> list[int]:
        """The topic's partitions. Raises LogError where there are none to be seen: the brokers do not tell why."""
        found = self._call(self._consumer.partitions_for_topic, self.topic)
        if not found:
            raise self._missing()
        return sorted(found)

    def _missing(self) -> LogError:
        return LogError(
            f"topic {self.topic} is not on {self.kafka} (`escrutinio-ingest topics` creates it), or is not granted to us "
            "(`escrutinio-grants` grants it)"
        )

    def end_offset(self, partition: int) -> int:
        """The offset the next message will get."""
        return int(self._call(self._consumer.end_offsets, [self._at(partition)])[self._at(partition)])

    def begins_at(self, partition: int) -> int:
        """The first offset still there. More than 0 means that events are gone."""
        return int(self._call(self._consumer.beginning_offsets, [self._at(partition)])[self._at(partition)])

    def read(self, offsets: dict[int, int], *, wait_ms: int = 500) -> Iterator[list[RawRecord]]:
        """Batches of messages from `offsets` (next offset by partition) on, for ever; [] when nothing came.

        Each partition's offsets are consecutive: a hole raises LogError, since the log has no transactions and
        loses nothing. A consumer that stalls in silence is made anew.
        """
        position = dict(offsets)
        for partition, offset in position.items():
            if (first := self.begins_at(partition)) > offset:
                raise LogError(f"{self.topic}/{partition} begins at offset {first}: events from {offset} on are gone")
            if (end := self.end_offset(partition)) < offset:
                raise LogError(
                    f"{self.topic}/{partition} ends at {end}, before offset {offset}: it is not the log that was read"
                )
        self._poller.assign(position)
        last_news = time.monotonic()
        while True:
            records = self._poll(wait_ms)
            for record in records:
                self._no_hole(record.partition, position[record.partition], record.offset)
                position[record.partition] += 1
            if not records:  # a transaction's marker at the end is passed over in silence
                for partition, offset in position.items():
                    self._no_hole(partition, offset, self._poller.position(partition))
            if records:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > STALL_S:
                if any(self.end_offset(p) > o for p, o in position.items()):
                    logger.warning("no message in %.0f s though the log has more: reconnecting", STALL_S)
                    self.close()
                    self._consumer = self._connect()
                    self._poller = self._polling()
                    self._poller.assign(position)
                last_news = time.monotonic()
            yield records

    def _no_hole(self, partition: int, expected: int, found: int) -> None:
        if found != expected:
            raise LogError(
                f"{self.topic}/{partition} has a hole: offset {expected} expected, {found} found. "
                "Events were removed, or written in a transaction."
            )

    def _poll(self, wait_ms: int) -> list[RawRecord]:
        try:
            return self._poller.poll(wait_ms)
        except OffsetOutOfRangeError as error:
            raise LogError(f"{self.topic} no longer has the offset that comes next: {error}") from error
        except (KafkaError, OSError) as error:
            raise self._refusal(error) or LogUnreachable(
                f"reading {self.topic} from {self.kafka} failed: {error!r}"
            ) from error

    def read_to_end(self, partition: int, start: int = 0, end: int | None = None) -> Iterator[list[RawRecord]]:
        """Batches from `start` up to, not including, `end` (the end of the log at the time of the call)."""
        if end is None:
            end = self.end_offset(partition)
        if start >= end:
            return
        for records in self.read({partition: start}):
            wanted = [r for r in records if r.offset < end]
            if wanted:
                yield wanted
            if wanted and wanted[-1].offset == end - 1:
                return

    def messages_at(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        """Single messages, each looked up by itself. Raises LogError for an offset that is not there."""
        end = self.end_offset(partition)
        for offset in sorted(offsets):
            if offset >= end:
                raise LogError(f"{self.topic}/{partition} ends at {end}: offset {offset} is not on it")
            yield from next(self.read_to_end(partition, offset, offset + 1))

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def _call(self, ask: Any, *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except (KafkaError, OSError) as error:
            raise self._refusal(error) or LogUnreachable(f"{self.kafka} does not answer: {error!r}") from error

    def _refusal(self, error: Exception) -> AccessRefused | None:
        return self.kafka.refusal(error, f"topic {self.topic}")


def open_admin(kafka: KafkaAccess) -> Any:
    try:
        return kafka.open(KafkaAdminClient)
    except (KafkaError, OSError) as error:
        raise LogUnreachable(f"no Kafka broker answers at {kafka}: {error!r}{kafka.hint}") from error


def last_heartbeat(kafka: KafkaAccess, topic: str) -> RawRecord | None:
    """The latest message of the feed-status topic, None when there is none."""
    with Log(kafka, topic) as log:
        newest: RawRecord | None = None
        for partition in log.partitions():
            first, end = log.begins_at(partition), log.end_offset(partition)
            for records in log.read_to_end(partition, max(first, end - 1), end):
                newest = max((*records, *([newest] if newest else [])), key=lambda r: r.timestamp_ms)
        return newest
