"""The unit tier: no network, and properties that are the same everywhere.

On CI (where `CI` is set) hypothesis draws the same examples each time; elsewhere it looks for new ones.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Its usual folder, `.hypothesis` in the root, would be collected by the next run.
set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache" / "hypothesis")

# A shared machine may stall for a second: slow is not wrong here.
_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", _calm, max_examples=40)
settings.register_profile("ci", _calm, max_examples=40, derandomize=True, database=None)
settings.register_profile("thorough", _calm, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))


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
