"""A checkout with servers of its own: its commands are run as a person runs them, and measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import Stack
from deploy.local.postgres import OWNER, READER, WRITER, program_version
from tests.bench.figures import Run
from tests.bench.processes import cpu_seconds

HERE = Path(__file__).parents[2]


_WITHIN_S = 3_600.0
"""A command that runs longer is killed, and has failed."""
REJECTED = 1
"""Exit code of a load of which some rows are rejected; what it did is in its output."""


class CommandFailed(Exception):
    """A measured command failed; `str()` has its last lines."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a command works on: the prefix of its topics, and its database."""

    prefix: str
    database: str = "postgres"


class Site:
    """A checkout and its servers. Use as a context manager: it leaves nothing running, and deletes their data."""

    def __init__(self, checkout: Path) -> None:
        self.checkout, self.python = checkout, self._python(checkout)
        self.root = Path(tempfile.mkdtemp(prefix="escrutinio-bench-"))
        self.root.chmod(0o711)
        self.stack = Stack(self.root)
        self._databases: list[str] = []

    @staticmethod
    def _python(checkout: Path) -> str:
        if checkout == HERE:
            return sys.executable
        python = checkout / ".venv" / "bin" / "python"
        if not python.exists():
            sys.exit(f"{checkout} has no .venv: run `make .venv/installed` there first")
        return str(python)

    def __enter__(self) -> Site:
        try:
            self.stack.start()
            self.stack.api.stop()  # nobody asks it, and it asks the database
        except BaseException:
            self.close()
            raise
        self._settings = tomllib.loads((self.root / "escrutinio.toml").read_text(encoding="utf-8"))
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the servers and delete their data."""
        self.stack.reset()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def servers(self) -> dict[str, int]:
        """The pid of each server."""
        found = {"broker": self.stack.broker.status(), "PostgreSQL": self.stack.postgres.status()}
        return {name: status.pid for name, status in found.items() if status.pid is not None}

    @property
    def bootstrap_servers(self) -> str:
        """Address of the broker."""
        return str(self._settings["bootstrap_servers"])

    def urls(self, place: Place) -> dict[str, str]:
        """Return the addresses of a place's database by setting."""
        url = self.stack.postgres.url
        roles = {"owner_url": OWNER, "writer_url": WRITER, "reader_url": READER}
        return {setting: url(role, place.database) for setting, role in roles.items()}

    def new_database(self, prefix: str) -> Place:
        """Return a place with a new, migrated database for the topics of a prefix."""
        place = Place(prefix, f"bench_{len(self._databases) + 1}")
        self.stack.postgres.create_database(place.database)
        self._databases.append(place.database)
        self.run(place, "aggregator", "migrate")
        return place

    def drop(self, place: Place) -> None:
        """Delete a place's database."""
        self.stack.postgres.drop_database(place.database)

    def environment(self, place: Place) -> dict[str, str]:
        """Return the environment of a command: nothing of the caller's configuration."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("ESCRUTINIO_", "PYTHON"))}
        archive = str(self.archive(place))
        given = self._settings | self.urls(place) | {"topic_prefix": place.prefix, "archive": archive}
        return ours | {f"ESCRUTINIO_{k.upper()}": str(v) for k, v in given.items()}

    def archive(self, place: Place) -> Path:
        """Return the archive of a place."""
        archive = self.root / "archives" / (place.prefix or "none")
        archive.mkdir(parents=True, exist_ok=True)
        return archive

    def run(self, place: Place, module: str, *arguments: str) -> tuple[Run, str]:
        """Run a command of the checkout, its whole process. Returns what it cost and its output."""
        return self._run(place, [self.python, "-m", module, *arguments], self.checkout)

    def script(self, place: Place, script: Path, *arguments: str) -> tuple[Run, str]:
        """Run a program of this checkout with the services of the site's."""
        return self._run(place, [self.python, str(script), *arguments], self.checkout)

    def other(self, place: Place, command: list[str]) -> tuple[Run, str]:
        """Run any program on the site's servers."""
        return self._run(place, command, self.root)

    def limit(self, place: Place, limit: str, *arguments: str) -> Run:
        """Measure a limit with this checkout's code on the site's servers."""
        servers = self.servers
        pids = ["--broker", str(servers["broker"]), "--postgresql", str(servers["PostgreSQL"])]
        command = [sys.executable, "-m", "tests.bench.limits", limit, "--bootstrap-servers", self.bootstrap_servers]
        _, output = self._run(place, [*command, *pids, *arguments], HERE)
        return Run(**json.loads(output))

    def _run(self, place: Place, command: list[str], folder: Path) -> tuple[Run, str]:
        # Linux counts the peak of this process as the child's until it has started its program: keep this one small.
        servers = self.servers
        before = {name: cpu_seconds(pid) for name, pid in servers.items()}
        with self.started(place, command, folder) as (process, output):
            begun = time.perf_counter()
            ended = threading.Timer(_WITHIN_S, process.kill)
            ended.start()
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begun
            ended.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            said = output.read_text(encoding="utf-8", errors="replace")
        if process.returncode and not (process.returncode == REJECTED and said.strip()):
            lines = output.with_suffix(".err").read_text(encoding="utf-8", errors="replace").splitlines()
            last = " | ".join(line for line in [*said.splitlines(), *lines][-4:])
            raise CommandFailed(f"{' '.join(command[1:])[:200]} ended with {process.returncode}: {last}")
        cpu = {name: cpu_seconds(pid) - before[name] for name, pid in servers.items()}
        return Run(seconds, {"command": used.ru_utime + used.ru_stime} | cpu, used.ru_maxrss / 1024), said

    @contextmanager
    def started(self, place: Place, command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Start a command; its output goes to the given file, its errors beside it. It is ended at the end."""
        output = self.root / "output"
        with output.open("wb") as out, output.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                command, cwd=folder, env=self.environment(place), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
            try:
                yield process, output
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(30)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()

    @property
    def name(self) -> str:
        """The checkout's commit, with a word where files differ from it."""
        git = ["git", "-C", str(self.checkout), "describe", "--always", "--dirty"]
        found = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
        return found or "no commit"


def machine() -> Mapping[str, Any]:
    """Return what this machine is, and how busy it is now."""
    cpu = [
        line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "cores": os.cpu_count(),
        "processor": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "memory_gib": round(memory),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "postgresql": program_version().split()[-1],
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%d %B %Y").lstrip("0"),
    }
