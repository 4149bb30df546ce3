"""The bytes of a made-up night: those of the contract's own encoder, and the same as ever."""

from __future__ import annotations

import hashlib

import pytest

from schemas.codec import encode
from tests.support.nights import Night, log, messages, rough

SMALL = Night(events=2_000, units=120, states=3, counties=5, municipalities=12)
ROUGH = rough(Night(events=1_000, units=30, states=3, counties=5, municipalities=12))


@pytest.mark.parametrize("night", [SMALL, ROUGH], ids=["small", "rough"])
def test_a_nights_encoder_writes_the_bytes_of_the_contract(night: Night) -> None:
    for (_, event), message in zip(log(night), messages(night), strict=True):
        assert message == encode(event)


@pytest.mark.parametrize(
    ("night", "sha256"),
    [
        (SMALL, "8eb1f83c4cf1aac9e03c0b4ee67416b8e84c43486976f4276b62dc2d5c423209"),
        (ROUGH, "e14b2ffeece7b83436cd84b44e6dc884f54e5942856e51be7a458e70bbe44bbe"),
    ],
    ids=["small", "rough"],
)
def test_a_night_measured_today_is_the_one_measured_in_a_year(night: Night, sha256: str) -> None:
    # Pinned. A new version of the schema changes it; nothing else may.
    made = hashlib.sha256()
    for message in messages(night):
        made.update(repr((message.key, message.value, message.headers)).encode())
    assert made.hexdigest() == sha256
