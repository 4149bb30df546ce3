"""The real files, and a night loaded from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fix_setup import CHECKOUT, CONTEST, Setup
from tests.support.servers import Broker

DATA = CHECKOUT.parent / "shared" / "data" / "peru-2021-runoff"


@pytest.fixture(scope="session")
def data() -> Path:
    """The office's own files. They are not part of the project; the README of the example says where they are from."""
    if not DATA.is_dir():
        pytest.skip("the office's own files are not here (looked beside the checkout, in shared/data/peru-2021-runoff)")
    return DATA


ACTAS = ("2021-06-08T1615Z", "2021-06-09T0112Z", "final")


@dataclass(frozen=True)
class Night:
    """The loaded night."""

    setup: Setup
    reports: dict[str, Any]
    counts: dict[str, Any]
    explained: Any
    data: Path


@pytest.fixture(scope="session")
def night(kafka_server: Broker, new_setup: Callable[[Broker], Setup], data: Path) -> Night:
    """48 bulletins, then the sheets' three moments."""
    setup = new_setup(kafka_server)
    reports, counts = {}, {}
    reports["national"] = setup.load(data / "national")
    setup.aggregate()
    counts["national"] = setup.show()
    explained = setup.json("results", "explain", CONTEST)
    for moment in ACTAS:
        reports[moment] = setup.load(data / "actas" / f"{moment}.csv.gz")
        setup.aggregate()
        counts[moment] = setup.show()
    return Night(setup, reports, counts, explained, data)
