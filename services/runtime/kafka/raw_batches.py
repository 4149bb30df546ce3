"""Fetch record batches as bytes, and read what a client library cannot: which message, at which offset, and why.

Place in the flow: below `reader`, which comes here only after its client failed. Two things are told apart. A message
whose header has a name that is no text is returned with its key, its value and a `fault`. A batch whose records cannot
be reached (its checksum is wrong, its codec is not installed, its bytes end early) has no keys: it is an `Unreadable`.
Messages of aborted transactions are left out, as the clients leave them out.
The layout is that of Kafka's documentation, "Record Batch", magic 2; other magics are unreadable.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    ThrottlingQuotaExceededError,
    for_code,
)
from kafka.protocol.consumer import FetchRequest
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

from runtime.kafka import topics
from runtime.kafka.errors import Unreadable
from schemas.log_record import RawRecord

_HEAD = struct.Struct(">qi")
"""Base offset, and length of what follows."""
_MAGIC_AT = 16
_MARKER = struct.Struct(">hh")
"""Key of a marker: version and type."""
_ABORT = 0
"""Type of the marker that ends an aborted transaction."""
_HEADER = DefaultRecordBatch.HEADER_STRUCT.size


class Fetched(NamedTuple):
    """Record batches as bytes, the last one perhaps in part."""

    batches: bytes
    aborted: Sequence[tuple[int, int]] = ()
    """Aborted transactions in them: first offset, and id of the producer."""


def fetch(consumer: Any, topic: str, partition: int, offset: int, most_bytes: int) -> Fetched:
    """Fetch record batches from the leader. `consumer`: kafka-python's, connected.

    Returns the batch with the offset and those behind it; nothing at the end of the log.
    Raises CorruptRecordError where the broker cannot read it, other KafkaErrors as the client does.
    """
    manager, about = consumer._manager, topics.metadata_of(consumer, topic)
    leader = next((p.leader_id for p in (about.partitions if about else ()) if p.partition_index == partition), -1)
    if leader < 0:
        raise NotLeaderForPartitionError(f"{topic}/{partition} has no leader")
    of = FetchRequest.FetchTopic
    asked = of.FetchPartition(
        partition=partition, current_leader_epoch=-1, fetch_offset=offset, last_fetched_epoch=-1,
        partition_max_bytes=most_bytes,
    )  # fmt: skip
    request = FetchRequest(
        max_wait_ms=100, min_bytes=1, max_bytes=most_bytes, isolation_level=1, session_id=0, session_epoch=-1,
        topics=[of(topic=topic, partitions=[asked])], forgotten_topics_data=[], rack_id="",
        min_version=4, max_version=12,
    )  # fmt: skip

    async def answered() -> Any:
        return await manager.send(request, leader)

    response = manager.run(answered)
    answer = next((p for t in response.responses for p in t.partitions), None)  # None: throttled, or refused as a whole
    for code in (response.error_code or 0, answer.error_code if answer else 0):
        if (fault := for_code(code)) is not NoError:
            raise fault(f"{topic}/{partition} at offset {offset}")
    if answer is None or (not answer.records and response.throttle_time_ms):
        raise ThrottlingQuotaExceededError(f"{topic}/{partition} at offset {offset}")
    aborted = sorted((one.first_offset, one.producer_id) for one in answer.aborted_transactions or ())
    return Fetched(bytes(answer.records or b""), aborted)


def read(fetched: Fetched, topic: str, partition: int, offset: int) -> tuple[list[RawRecord], Unreadable | None]:
    """Read record batches: all messages up to the first unreadable batch, and its fault.

    `offset`: that was asked for. The first batch may begin before it. The fault is at the offset behind the last
    message that could be read, and not at the batch's own, which may be behind a gap, or damaged itself.
    """
    records: list[RawRecord] = []
    waiting, aborting = list(fetched.aborted), set[int]()
    for buffer in _batches(fetched.batches):
        try:
            batch, found = _batch(buffer, partition)
            while waiting and waiting[0][0] <= batch.last_offset:
                aborting.add(waiting.pop(0)[1])
            if batch.is_control_batch:
                if any(_MARKER.unpack(record.key or b"")[1] == _ABORT for record in found):
                    aborting.discard(batch.producer_id)
            elif not (batch.is_transactional and batch.producer_id in aborting):
                records += found
        except Exception as error:  # of damaged bytes the client and its codecs can raise any exception
            at = max(offset, records[-1].offset + 1 if records else 0)
            return records, Unreadable(topic, partition, at, _reason(error))
    return records, None


def _reason(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KafkaError) and error.args else f"{type(error).__name__}: {error}"


def _batches(fetched: bytes) -> Iterator[memoryview]:
    """Yield each whole batch, and the first one though it is cut off."""
    whole, at = memoryview(fetched), 0
    while at + _HEADER <= len(whole):
        _, length = _HEAD.unpack_from(whole, at)
        end = at + _HEAD.size + length
        if end > len(whole) and at:
            return  # the next fetch begins with it
        yield whole[at:end]
        if length <= 0:
            return
        at = end


def _batch(buffer: memoryview, partition: int) -> tuple[Any, list[RawRecord]]:
    """Read the header and all records of a batch, or raise what is wrong with it."""
    if len(buffer) < _HEADER or buffer[_MAGIC_AT] != 2:
        raise CorruptRecordError("the header of the batch is damaged")
    batch: Any = DefaultRecordBatch(buffer)
    if batch.size_in_bytes != len(buffer) or not batch.validate_crc():
        raise CorruptRecordError("the checksum of the batch is wrong: its bytes were damaged")
    batch._maybe_uncompress()
    data, at = batch._buffer, batch._pos
    found: list[RawRecord] = []
    for _ in range(batch.records_count):
        length, begin = decode_varint(data, at)
        at = begin + length
        if length < 0 or at > len(data):
            raise CorruptRecordError("the batch ends within a record")
        found.append(_record(batch, bytes(data[begin:at]), partition))
    if at != len(data):
        raise CorruptRecordError(f"{len(data) - at} bytes are left over behind the records of the batch")
    if batch.is_control_batch and any(len(record.key or b"") != _MARKER.size for record in found):
        raise CorruptRecordError("the batch is marked as one of a transaction, and is none")
    return batch, found


def _record(batch: Any, data: bytes, partition: int) -> RawRecord:
    _, at = decode_varint(data, 0)  # attributes
    later_ms, at = decode_varint(data, at)
    delta, at = decode_varint(data, at)

    def part(at: int) -> tuple[bytes | None, int]:
        length, at = decode_varint(data, at)
        if length < 0:
            return None, at
        if at + length > len(data):
            raise CorruptRecordError("a field ends behind its record")
        return data[at : at + length], at + length

    key, at = part(at)
    value, at = part(at)
    count, at = decode_varint(data, at)
    headers: list[tuple[str, bytes | None]] = []
    fault = None
    for _ in range(count):
        name, at = part(at)
        content, at = part(at)
        name = name or b""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = name.decode(errors="backslashreplace")
            fault = fault or f"the name of a header is not text: {text}"
        headers.append((text, content))
    if at != len(data):
        raise CorruptRecordError(f"{len(data) - at} bytes are left over behind a record")
    is_broker_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    timestamp_ms = batch.max_timestamp if is_broker_time else batch.first_timestamp + later_ms
    return RawRecord(partition, batch.base_offset + delta, timestamp_ms, key, value, headers, fault)
