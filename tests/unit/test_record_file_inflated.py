"""A file of messages that somebody else made is read within a bound, whatever it claims to have."""

from __future__ import annotations

import zlib

import pytest

from schemas.log_record import RawRecord
from schemas.record_file import inflated, pack, unpack

RECORDS = [RawRecord(0, place, 1_600_000_000_000, b"k", bytes(5_000), [("ce_id", b"1")]) for place in range(200)]
PACKED = pack("audit.Message", RECORDS, {"partition": "0"})
HEAD = PACKED[: PACKED.index(b"\x00", PACKED.index(b"partition")) + 17]
"""Up to the first block; its last 16 bytes stand behind each."""


def test_a_file_without_compression_has_the_same_messages() -> None:
    whole = inflated("audit.Message", PACKED, 1 << 21)
    assert len(whole) > 1_000_000 > len(PACKED)
    assert unpack("audit.Message", whole) == unpack("audit.Message", PACKED)
    assert inflated("audit.Message", whole, 1 << 21) == whole


def _block(number: bytes, content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = packer.compress(content) + packer.flush()
    length = len(data) << 1
    return number + bytes([length & 0x7F | 0x80, length >> 7]) + data + HEAD[-16:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEAD + _block(b"\x02", bytes(1 << 23)), "unpacks to more than 2,097,152 bytes"),
        (HEAD + b"\xff" * 5_000_000, "more than 64 bits"),
        (HEAD + b"\x02" + b"\xfe" * 8 + b"\x01", "ends within a block"),
        (PACKED.replace(b'"timestamp_ms"', b'"timestamp_mt"'), "another Avro schema"),
        (PACKED.replace(b"\x0edeflate", b"\x0esnappy?", 1), "another codec|nrecognized codec|Unsupported"),
    ],
)
def test_a_file_that_claims_more_than_it_has_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        inflated("audit.Message", content, 1 << 21)
