"""`make demo`, as a stranger runs it, with its data in a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from deploy.local import Stack
from schemas.topics import NOTICES
from tests.acceptance.test_restore import many_sheets
from tests.support.fix_setup import CHECKOUT

NINETEEN_TWENTY_THREE = """\
OFFICIAL (stated by ONPE), as of 2021-06-08T00:23Z (7 June 2021, 19:23 in America/Lima)

Selection                                              Votes      Share  ONPE's own
Perú Libre (Pedro Castillo Terrones)               8,548,929    50.27 %    50.269 %
Fuerza Popular (Keiko Fujimori Higuchi)            8,457,547    49.73 %    49.731 %
Lead (Perú Libre)                                     91,382
"""


@pytest.fixture
def root(new_root: Callable[[], Path]) -> Iterator[Path]:
    """A stack's folder; what runs in it is stopped."""
    root = new_root()
    yield root
    Stack(root).reset()


def demo(root: Path, expect: int = 0, **environment: str) -> str:
    """What the demo prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--root", str(root)],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def notices(root: Path) -> int:
    """How many notices were published."""
    place = TopicPartition(NOTICES.name, 0)
    with closing(KafkaConsumer(bootstrap_servers=Stack(root).broker.bootstrap_servers)) as consumer:
        end: int = consumer.end_offsets([place])[place]
    return end


def test_the_demo_shows_the_count_of_19_23_may_be_run_again_and_goes_on_to_the_sheets(
    root: Path, tmp_path: Path
) -> None:
    first = demo(root)
    assert NINETEEN_TWENTY_THREE.rstrip() in first
    assert "news: 2 CORRECTED, 42 REPORTED; nothing new: 4; heartbeats: 4" in first
    assert "08 Jun 18:19   8,670,028       8,567,920" in first
    assert Stack(root).runs()
    assert notices(root) == 11, "the falls, corrections and the new leader of the night are news, not its past"
    again = demo(root)
    assert notices(root) == 11
    assert "news: none; nothing new: 48; heartbeats: 0" in again
    assert _from(again, "The count as it stands") == _from(first, "The count as it stands")
    many_sheets(tmp_path / "one.csv", 100)
    assert "news: 100 REPORTED" in demo(root, FULL="1", ACTAS=str(tmp_path))


@pytest.mark.soak
def test_the_whole_night_goes_on_from_the_bulletins_to_the_sheets(root: Path, data: Path) -> None:
    shown = demo(root, FULL="1", ACTAS=str(data / "actas"))
    assert NINETEEN_TWENTY_THREE.rstrip() in shown
    assert "COMPUTED (our sum of every precinct)" in shown
    assert "8,835,653" in shown


def test_the_whole_night_without_its_files_says_what_is_needed(root: Path) -> None:
    assert "make demo FULL=1 ACTAS=folder" in demo(root, expect=2, FULL="1", ACTAS="")
    assert not Stack(root).runs()


def _from(shown: str, heading: str) -> str:
    return shown[shown.index(heading) :]
