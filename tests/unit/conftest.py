"""The unit tier: no network."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


class NetworkUsed(AssertionError):
    """A unit test reached for the network."""


def _refuse(*args: object, **_options: object) -> None:
    raise NetworkUsed(f"a unit test uses no network; it asked for {args[-1]!r}")


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Any attempt to connect raises."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse)
        patch.setattr(socket.socket, "connect_ex", _refuse)
        patch.setattr(socket, "getaddrinfo", _refuse)
        yield
