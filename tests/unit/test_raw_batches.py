"""Record batches as bytes: where reading ends when one of them cannot be read."""

from __future__ import annotations

import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from runtime.kafka import raw_batches
from runtime.kafka.raw_batches import Fetched
from tests.support.fix_kafka import flip_last_byte


def batch(base: int, messages: int) -> bytearray:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for number in range(messages):
        builder.append(number, 0, b"k", b"v", [])
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    return made


@pytest.mark.parametrize("base", [2, 5, 1 << 60], ids=["next", "behind a gap", "damaged as well"])
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_the_fault_is_at_the_offset_at_which_reading_ends(base: int, offset: int) -> None:
    """Further on, a reader that is at the end of what it read would wait for it without end."""
    damaged = batch(base, 1)
    flip_last_byte(damaged)
    records, unreadable = raw_batches.read(Fetched(bytes(batch(0, 2) + damaged)), "t", 0, offset)
    assert [record.offset for record in records] == [0, 1]
    assert unreadable is not None
    assert unreadable.offset == 2
    _, unreadable = raw_batches.read(Fetched(bytes(damaged)), "t", 0, offset)
    assert unreadable is not None
    assert unreadable.offset == offset
