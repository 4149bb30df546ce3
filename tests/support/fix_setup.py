"""The commands as a person runs them, pointed at topics and a database of one's own on the tests' servers."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.topics import TopicNames
from tests.support.fix_postgres import Database, database_of
from tests.support.servers import Broker, Postgres

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "peru-2021-runoff"
CONTEST = "pe-2021-president-runoff"
STATED = "2021-07-01T00:00:00Z"
"""When the final sheets, which state no time, are said to have been fetched: the same in every run."""


@dataclass(frozen=True)
class Setup:
    """Topics, a database and an archive of one's own, and the commands pointed at them."""

    bootstrap_servers: str
    prefix: str
    database: Database
    archive: Path

    @property
    def names(self) -> TopicNames:
        """The topics."""
        return TopicNames(self.prefix)

    @property
    def environment(self) -> dict[str, str]:
        """What points the commands here."""
        return os.environ | {
            "ESCRUTINIO_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ESCRUTINIO_TOPIC_PREFIX": self.prefix,
            "ESCRUTINIO_OWNER_URL": self.database.owner_url,
            "ESCRUTINIO_WRITER_URL": self.database.writer_url,
            "ESCRUTINIO_READER_URL": self.database.reader_url,
            "ESCRUTINIO_ARCHIVE": str(self.archive),
        }

    def start(self, *command: str, said: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start `ingest load …` or `aggregator run …`; its standard error goes to the open file `said`."""
        line = [sys.executable, "-m", *command]
        return subprocess.Popen(
            line, cwd=CHECKOUT, env=self.environment, stdout=subprocess.DEVNULL, stderr=said, text=True
        )

    def run(self, *command: str, expect: int = 0) -> str:
        """Run a command in this process; its standard output. Fails the test on another exit code, with what was
        printed."""
        return self.ended(command, expect)[0]

    def refused(self, *command: str) -> str:
        """Run a command that ends with exit code 2; what it says on standard error."""
        return self.ended(command, 2)[1]

    def ended(self, command: tuple[str, ...], expect: int) -> tuple[str, str]:
        """Run a command that ends with this exit code; its standard output and standard error."""
        code, out, err = in_process(command, self.environment)
        assert code == expect, f"{command}: exit code {code}\n{out}\n{err}"
        return out, err

    def alone(self, *command: str) -> str:
        """Run a command in a process of its own, where what else this one does would slow it down; its standard
        output."""
        line = [sys.executable, "-m", *command]
        return subprocess.run(
            line, cwd=CHECKOUT, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def json(self, *command: str, expect: int = 0) -> Any:
        """The command's answer, with --json."""
        return json.loads(self.run(*command, "--json", expect=expect))

    def load(self, *files: Path | str, expect: int = 0, stated: str = STATED) -> Any:
        """`escrutinio-ingest load`, of documents that were published at `stated`, and its report."""
        said = ("--contest", str(EXAMPLE / "contest.toml"), "--stated-at", stated)
        return self.json("ingest", "load", *said, *map(str, files), expect=expect)

    def aggregate(self) -> None:
        """`escrutinio-aggregator run` to the end of the log."""
        self.run("aggregator", "run", "--until-caught-up")

    def show(self, *area: str) -> Any:
        """`escrutinio show --json`."""
        return self.json("results", "show", CONTEST, *area)

    def digests_after(self, documents: Iterable[Path]) -> list[str]:
        """Load and aggregate them one by one; the contest's digest after each."""
        found = []
        for document in documents:
            self.load(document)
            self.aggregate()
            found.append(str(self.show()["digest"]))
        return found


def in_process(command: Sequence[str], environment: Mapping[str, str], folder: Path = CHECKOUT) -> tuple[int, str, str]:
    """Run `python -m …` in a folder, without the second that a process takes to begin: its exit code, standard output
    and standard error.

    What a command sets for the whole process (loggers, the collector's thresholds, handlers of signals) is as before
    afterwards.
    """
    root, kafka, thresholds = logging.getLogger(), logging.getLogger("kafka"), gc.get_threshold()
    handlers, levels = list(root.handlers), (root.level, kafka.level)
    gone = dict.fromkeys(os.environ.keys() - environment.keys())
    package, *arguments = command
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(folder),
        CliRunner().isolation(env={**gone, **environment}) as (out, err, _),
    ):
        patch.setattr(sys, "argv", [package, *arguments])
        patch.setattr(signal, "signal", lambda *_: None)  # Ctrl-C is for the session
        try:
            importlib.import_module(f"{package}.cli").main(arguments)
        except SystemExit as end:
            code = end.code
            if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
                raise KeyboardInterrupt from end
        finally:
            root.handlers[:] = handlers
            root.setLevel(levels[0])
            kafka.setLevel(levels[1])
            gc.set_threshold(*thresholds)
            sys.stdout.flush()
            sys.stderr.flush()
        assert code is None or isinstance(code, int), code
        return code or 0, out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture(scope="session")
def new_setup(
    postgres_server: Postgres, migrated_template: str, new_root: Callable[[], Path]
) -> Iterator[Callable[[Broker], Setup]]:
    """Makes setups on the session's PostgreSQL, for a broker."""
    made: list[str] = []

    def make(broker: Broker) -> Setup:
        name = f"accept_{uuid.uuid4().hex[:12]}"
        postgres_server.create_database(name, migrated_template)
        made.append(name)
        setup = Setup(broker.bootstrap_servers, f"{name}.", database_of(postgres_server, name), new_root() / "archive")
        setup.run("ingest", "topics")
        return setup

    yield make
    for name in made:
        postgres_server.drop_database(name)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the clock by which ingest fetches documents."""
    return lambda time: monkeypatch.setattr("ingest.sources.folder.now", lambda: datetime.fromisoformat(time))
