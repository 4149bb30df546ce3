"""Messages in Avro container files: what is packed is unpacked, and read as fastavro reads it."""

from __future__ import annotations

import io
import random
import re
from typing import Any

import fastavro
import pytest

from schemas.log_record import RawRecord
from schemas.record_file import _as_packed, pack, unpack, unpack_some
from tests.support.wild_logs import wild_log

_NAMES = ("ce_id", "kind", "", "a" * 63, "b" * 64, "ñ", "c" * 9000)
_CONTENTS = (None, b"", b"\0", b"x" * 63, b"y" * 64, bytes(range(256)) * 40)


def _odd(seed: int) -> list[RawRecord]:
    """Records with whatever Kafka lets them have."""
    chance = random.Random(seed)

    def record(offset: int) -> RawRecord:
        headers = [(chance.choice(_NAMES), chance.choice(_CONTENTS)) for _ in range(chance.randrange(5))]
        time = chance.choice((0, -1, 2**62, -(2**63), 1_623_200_000_000))
        return RawRecord(3, offset, time, chance.choice(_CONTENTS), chance.choice(_CONTENTS), headers)

    return [record(offset) for offset in range(chance.randrange(200))]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_packed_is_unpacked_as_fastavro_reads_it(seed: int) -> None:
    for records in (_odd(seed), _odd(random.randrange(10**9)), wild_log(seed)):
        content = pack("audit.Message", records, {"topic": "t", "partition": "3"})
        about, found = unpack("audit.Message", content, records[0].partition if records else None)
        assert (about, found) == ({"topic": "t", "partition": "3"}, records)
        rows: Any = fastavro.reader(io.BytesIO(content))
        assert [(one.key, one.value) for one in found] == [(row["key"], row["value"]) for row in rows]


def test_a_file_of_another_writer_is_read() -> None:
    records = _odd(1)
    content = pack("audit.Message", records, {"partition": "3"})
    rows: Any = fastavro.reader(io.BytesIO(content))
    schema = rows.writer_schema | {"doc": "of another program"}
    other = io.BytesIO()
    fastavro.writer(other, schema, list(rows), codec="null", metadata={"escrutinio.partition": "3"})
    assert unpack("audit.Message", other.getvalue())[1] == records


def test_only_blocks_with_the_pattern_are_unpacked() -> None:
    records = [RawRecord(0, offset, 0, None, random.randbytes(900), []) for offset in range(200)]
    records[150] = records[150]._replace(value=b"needle" * 150)
    found = unpack_some("audit.Message", pack("audit.Message", records, {"partition": "0"}), re.compile(b"needle"))
    assert records[150] in found
    assert len(found) < 40


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_damaged_file_is_not_read(cut: int) -> None:
    content = pack("audit.Message", _odd(2), {"partition": "0"})
    with pytest.raises((EOFError, ValueError, IndexError)):
        unpack("audit.Message", content[:-cut])


def test_a_number_without_end_is_refused_before_it_is_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="more than 64 bits"):
        next(_as_packed(b"\xff" * 10_000_000, 1, 0))
    with pytest.raises(ValueError, match="more than 64 bits"):
        next(_as_packed(b"\x80" * 10_000_000, 1, 0))
