"""Build and run the Kafka Streams application beside this file, where there is Maven."""

from __future__ import annotations

import shutil
import subprocess
from itertools import count
from pathlib import Path

from schemas.codec import WRITTEN
from tests.bench.figures import Run
from tests.bench.site import CommandFailed, Place, Site

_HERE = Path(__file__).with_name("streams")
_SCHEMA = WRITTEN["CountUpdate"]
_WITHIN_S = 300
_runs = count(1)

Totals = dict[str, tuple[int, ...]]
"""By area: ballots cast, then the votes of each selection in the order of their ids."""


def build() -> str:
    """Build the application with Maven. Returns why it cannot be run; empty when it can."""
    if shutil.which("mvn") is None:
        return "no Maven here"
    try:
        subprocess.run(
            ["mvn", "-q", "-B", "package"], cwd=_HERE, check=True, capture_output=True, text=True, timeout=_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        return f"Maven did not end within {_WITHIN_S} s"
    except subprocess.CalledProcessError as error:
        return " | ".join((error.stdout + error.stderr).splitlines()[:3])
    return ""


def run(site: Site, place: Place, topic: str, events: int) -> tuple[Run, Totals]:
    """Add up the first messages of a topic. Returns what it cost, and the totals. Raises CommandFailed."""
    number = next(_runs)
    state = site.root / "streams" / str(number)
    command = [
        "java", "-Xmx2g", "-XX:+UseSerialGC", f"-Dschema.id={_SCHEMA.id}",
        "-cp", f"{_HERE}/target/classes:{_HERE}/target/lib/*", "peer.Totals",
        site.bootstrap_servers, topic, str(events), str(_SCHEMA.path), str(state), f"peer-{number}",
    ]  # fmt: skip
    cost, said = site.other(place, command)
    lines = (line.split() for line in said.splitlines())
    totals = {area: tuple(int(part) for part in numbers) for area, *numbers in lines}
    if not totals and events > 1:
        raise CommandFailed("the Kafka Streams application printed no totals")
    return cost, totals
