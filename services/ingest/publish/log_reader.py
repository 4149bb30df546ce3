"""Reads a topic from where it was last read to its end. A door; ingest's only memory is what this brings back.

Place in the flow: at the start (from offset 0), and after a failed delivery (from the last known offset). Reads only, so a
crash leaves nothing. A log that does not begin at offset 0, has a hole in its offsets, or is shorter than it once was, is
refused: ingest would take what is missing for news. A consumer that stands still before the end is built anew, and given up
after three times in a row that brought nothing.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from ingest.errors import BrokerAway, LogDamaged, TopicRefused
from runtime.kafka.access import AccessRefused, KafkaAccess
from runtime.kafka.poll import Poller, poller
from schemas.codec import Headers

_POLL_MS = 500
_ASK_MS = 5000
_STALL_S = 20.0
_REBUILDS = 3
_AT_ONCE = 5000
_FETCHED = 8 << 20


class Record(NamedTuple):
    """One message of a topic."""

    partition: int
    offset: int
    value: bytes
    headers: Headers


@dataclass(slots=True)
class TopicReader:
    """A place in a topic. `whole` topics must still have every message. `notice` is told of progress in words."""

    kafka: KafkaAccess
    topic: str
    whole: bool
    notice: Callable[[str], None]
    next_offsets: dict[int, int] = field(default_factory=dict)
    """By partition: the first offset not read yet."""
    _asker: Any = None
    """A consumer that only asks for the end: building one takes a hundred times as long as the answer."""

    def to_end(self) -> Iterator[Record]:
        """Every message up to the topic's end, which is asked for again until it holds still. Raises on a fault."""
        vain = 0
        while vain < _REBUILDS:
            before = dict(self.next_offsets)
            try:
                if (yield from self._read()):
                    return
            except KafkaError as error:
                raise self._refusal(error) or BrokerAway(
                    f"reading {self.topic} from {self.kafka}: {_words(error)}"
                ) from error
            if before != self.next_offsets:
                vain = 0
                continue
            vain += 1
            self.notice(f"{self.topic}: nothing arrives before the end; building the consumer anew ({vain})")
        raise BrokerAway(f"{self.topic} does not give out what it says it has, after {_REBUILDS} attempts")

    def grown(self) -> bool:
        """Whether there are messages after the last one read. Raises BrokerAway."""
        try:
            self._asker = self._asker or self._consumer()
            ends = self._asker.end_offsets([TopicPartition(self.topic, n) for n in self.next_offsets], _ASK_MS)
        except KafkaError as error:
            self.close()
            raise self._refusal(error) or BrokerAway(
                f"asking {self.kafka} for {self.topic}: {_words(error)}"
            ) from error
        return any(end > self.next_offsets[tp.partition] for tp, end in ends.items())

    def close(self) -> None:
        """Lets go of the connection; the place in the topic is kept."""
        if self._asker is not None:
            self._asker.close(timeout_ms=0)
            self._asker = None

    def _read(self) -> Generator[Record, None, bool]:
        """True when the end was reached, False when nothing more came before it."""
        consumer = self._consumer()
        reading = poller(self.kafka, consumer, self.topic, _record, max_records=_AT_ONCE, max_fetch_bytes=_FETCHED)
        try:
            ends = self._assign(consumer, reading)
            heard, said = time.monotonic(), time.monotonic()
            while True:
                if all(self.next_offsets[tp.partition] >= end for tp, end in ends.items()):
                    newer = consumer.end_offsets(list(ends))
                    if newer == ends:
                        return True
                    ends = newer
                records = reading.poll(_POLL_MS)
                for record in records:
                    self._pass_over(record.partition, record.offset)
                    self.next_offsets[record.partition] = record.offset + 1
                    yield record
                for tp in ends:  # control records move the position without giving a message
                    self._pass_over(tp.partition, reading.position(tp.partition))
                now = time.monotonic()
                if records:
                    heard = now
                elif now - heard > _STALL_S:
                    return False
                if now - said > 2:
                    said = now
                    self.notice(f"{self.topic}: read {sum(self.next_offsets.values())} of {sum(ends.values())}")
        finally:
            reading.close()
            consumer.close()

    def _pass_over(self, partition: int, to: int) -> None:
        """Moves on to an offset, without a message. Raises LogDamaged when a `whole` topic has a hole there."""
        at = self.next_offsets[partition]
        if self.whole and to > at:
            raise LogDamaged(
                f"{self.topic}[{partition}] has a hole: offset {at} expected, {to} found. Events were removed, or written in "
                "a transaction, and nothing is published on top of it"
            )
        self.next_offsets[partition] = max(at, to)

    def _consumer(self) -> Any:
        try:
            return self.kafka.open(
                KafkaConsumer,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                check_crcs=True,
                allow_auto_create_topics=False,
                max_poll_records=_AT_ONCE,
                max_partition_fetch_bytes=_FETCHED,
                fetch_max_wait_ms=100,
            )
        except (KafkaError, OSError) as error:
            raise BrokerAway(f"no broker answers at {self.kafka}: {_words(error)}") from error

    def _assign(self, consumer: Any, reading: Poller[Record]) -> dict[TopicPartition, int]:
        """Assigns every partition at its next offset; returns the ends. Raises TopicRefused and LogDamaged."""
        numbers = consumer.partitions_for_topic(self.topic)
        if not numbers:
            raise TopicRefused(
                f"topic {self.topic} does not exist at {self.kafka} (create it: escrutinio-ingest topics), or is no longer "
                "granted to us (`escrutinio-grants apply`)"
            )
        partitions = [TopicPartition(self.topic, n) for n in sorted(numbers)]
        starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        position = {}
        for tp in partitions:
            if self.whole and starts[tp] != 0:
                raise LogDamaged(
                    f"{self.topic}[{tp.partition}] begins at offset {starts[tp]}, not 0: its beginning was deleted, and nothing is published on top of it"
                )
            at = self.next_offsets.setdefault(tp.partition, starts[tp])
            if at > ends[tp]:
                raise LogDamaged(
                    f"{self.topic}[{tp.partition}] ends at offset {ends[tp]}, but had {at}: it lost what it had acknowledged"
                )
            position[tp.partition] = max(at, starts[tp])
        reading.assign(position)
        return dict(ends)

    def _refusal(self, error: Exception) -> AccessRefused | None:
        return self.kafka.refusal(error, f"topic {self.topic}")


def _record(
    partition: int, offset: int, _ms: int, _key: bytes | None, value: bytes | None, headers: list[tuple[str, Any]]
) -> Record:
    return Record(partition, offset, value or b"", headers)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
