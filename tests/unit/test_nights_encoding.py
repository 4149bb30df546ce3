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
        (SMALL, "8653f19ba3b70fdb89a46deb77f03d503cc9bc7ca71c0b5090921525aba294b4"),
        (ROUGH, "b290ad96ca7c5dd460fbbb15e87e6408295cff007e08ac28c4bc20ef1aa6e8e6"),
    ],
    ids=["small", "rough"],
)
def test_a_night_measured_today_is_the_one_measured_in_a_year(night: Night, sha256: str) -> None:
    # Pinned. A new version of the schema changes it; nothing else may.
    made = hashlib.sha256()
    for message in messages(night):
        made.update(repr((message.key, message.value, message.headers)).encode())
    assert made.hexdigest() == sha256
