"""Ingest, aggregator, mirror, monitor and API as processes of their own that are asked over HTTP how they are, and a
database to take from them."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aggregator.tables.migrate import migrate
from deploy.local.server import free_port
from runtime.healthcheck import ask
from tests.support.fix_postgres import database_of
from tests.support.fix_setup import EXAMPLE, Setup
from tests.support.servers import Broker, Postgres


@dataclass
class Observed:
    """A service that runs, and how it is asked."""

    command: tuple[str, ...]
    setup: Setup
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[Any] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; it may be started again after its end."""
        self.process = self.setup.start(*self.command, "--http", f"127.0.0.1:{self.port}")

    def stop(self) -> None:
        """Ends it, also one that hangs."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def not_live(self) -> str | None:
        """Why it is not live, if it is so."""
        return ask(f"{self.url}/live")

    def not_ready(self) -> str | None:
        """Why it is not ready, if it is so."""
        return ask(f"{self.url}/ready")

    def text(self) -> str:
        """What Prometheus gets."""
        with urlopen(f"{self.url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def families(self) -> dict[str, tuple[str, list[tuple[str, dict[str, str], float]]]]:
        """By the name that queries use (a counter's with `_total`): type, and every sample with its labels."""
        return {
            family.name + ("_total" if family.type == "counter" else ""): (
                family.type,
                [(sample.name, sample.labels, sample.value) for sample in family.samples],
            )
            for family in text_string_to_metric_families(self.text())
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample of a name that has these labels."""
        samples = [s for _, found in self.families().values() for s in found]
        found = [value for n, has, value in samples if n == name and labels.items() <= has.items()]
        assert len(found) < 2, f"{name} {labels} has {len(found)} samples"
        return found[0] if found else None


@dataclass
class Night:
    """A watched folder, a database of its own, and the services, not started yet."""

    folder: Path
    postgres: Postgres
    setup: Setup
    ingest: Observed
    aggregator: Observed
    mirror: Observed
    monitor: Observed
    api: Observed
    audit: Observed

    def publish_the_48(self) -> None:
        """Puts the 48 official updates of the example into the folder."""
        shutil.copy(EXAMPLE / "updates.csv", self.folder)

    def put(self, name: str, text: str) -> None:
        """Puts a document into the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")

    @property
    def is_caught_up(self) -> bool:
        """Whether all that is in the folder is on the log, and all that is there in the tables."""
        for service in (self.ingest, self.aggregator):
            assert service.process is None or service.process.poll() is None, f"{service.command} has ended"
        if self.ingest.not_ready() is not None or self.aggregator.not_ready() is not None:
            return False
        published = self.ingest.families()["escrutinio_ingest_events_published_total"][1]
        committed = self.aggregator.value("escrutinio_aggregator_committed_offset", partition="0")
        return committed == sum(value for _, _, value in published)


@contextmanager
def night_on(broker: Broker, postgres: Postgres, root: Path) -> Iterator[Night]:
    """Everything for a night, on topics and a database of its own on these servers."""
    name = f"observed_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    database = database_of(postgres, name)
    migrate(database.owner_url)
    setup = Setup(broker.bootstrap_servers, f"{name}.", database, root / "archive")
    setup.run("ingest", "topics")
    folder = root / "incoming"
    folder.mkdir()
    contest = str(EXAMPLE / "contest.toml")
    ingest = Observed(("ingest", "watch", str(folder), "--contest", contest, "--every", "0.2"), setup)
    mirror = Observed(("backup", "mirror", "--follow", "--every", "0.2", str(root / "mirror")), setup)
    monitor = Observed(("grants", "watch", "--every", "0.2"), setup)
    api = Observed(("api", "serve", "--listen", f"127.0.0.1:{free_port()}"), setup)
    setup.run("audit", "key", "log.example/observed", str(root / "log.key"))
    audit = Observed(("audit", "run", "--signing-key", str(root / "log.key"), str(root / "proof")), setup)
    aggregator = Observed(("aggregator", "run"), setup)
    night = Night(folder, postgres, setup, ingest, aggregator, mirror, monitor, api, audit)
    try:
        yield night
    finally:
        for service in (night.ingest, night.aggregator, night.mirror, night.monitor, night.api, night.audit):
            service.stop()


@pytest.fixture
def observed_night(
    kafka_server: Broker, own_postgres_server: Postgres, new_root: Callable[[], Path]
) -> Iterator[Night]:
    """A night on the session's broker and a PostgreSQL that may be stopped."""
    with night_on(kafka_server, own_postgres_server, new_root()) as night:
        yield night


def documented_metrics(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By name: type and labels, from the tables of docs/metrics.md (`| `name` | type | labels | … |`)."""
    found = re.findall(r"^\| `(escrutinio_\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in found}
