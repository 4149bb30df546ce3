"""Both servers together, the API over them, and the files with which services and newsrooms find them.

Place: behind `python -m deploy.local` and `make demo`. A start that fails or is interrupted stops the servers it
started, and no others. The files are written once both servers answer.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.api import Api
from deploy.local.kafka import Broker
from deploy.local.postgres import Postgres
from deploy.local.progress import Steps
from deploy.local.server import Server, State, Status, make_root
from runtime.files import write_whole

DEFAULT_ROOT = Path(__file__).resolve().parents[2] / ".local"


class Stack:
    """The broker, the database and the API below one root folder."""

    def __init__(self, root: Path = DEFAULT_ROOT, steps: Steps | None = None) -> None:
        self.root = root.absolute()
        self.steps = steps or Steps(quiet=True)
        self.broker = Broker(self.root, self.steps)
        self.postgres = Postgres(self.root, self.steps)
        self.api = Api(self.root, self.steps)
        self.settings_file = self.root / "escrutinio.toml"
        self.access_file = self.root / "newsroom-demo.properties"
        self.archive = self.root / "archive"

    @property
    def parts(self) -> tuple[Server, ...]:
        return (self.broker, self.postgres, self.api)

    def start(self) -> bool:
        """Start what does not run, and write the settings file. Returns False if everything was running."""
        make_root(self.root)
        started: list[Server] = []

        def start(part: Server) -> None:
            if part.start():
                started.append(part)

        pool = ThreadPoolExecutor(2)
        try:
            jobs = [pool.submit(start, part) for part in (self.broker, self.postgres)]
            for job in jobs:
                job.result()
            if self.postgres in started:
                self.api.stop()  # the database may have another port than before
            start(self.api)
            self.archive.mkdir(exist_ok=True)
            self._write_settings()
            self._write_access()
        except BaseException:
            pool.shutdown()  # waits until the other server runs or has failed
            for part in started:
                part.stop()
            raise
        pool.shutdown()
        return bool(started)

    def stop(self) -> bool:
        """Stop what runs. Returns False if nothing did."""
        stopped = [part.stop() for part in reversed(self.parts)]
        return any(stopped)

    def status(self) -> list[Status]:
        """Return the state of each server."""
        return [part.status() for part in self.parts]

    def runs(self) -> bool:
        """Return whether every server answers."""
        return all(status.state is State.RUNNING for status in self.status())

    def reset(self) -> list[Path]:
        """Stop all of it and delete everything of theirs below the root. Returns the deleted paths."""
        deleted = [path for part in self.parts for path in part.reset()]
        for path in (self.archive, self.root / "logs", self.root / "run"):
            if path.is_dir():
                shutil.rmtree(path)
                deleted.append(path)
        for file in (self.settings_file, self.access_file):
            if file.exists():
                file.unlink()
                deleted.append(file)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()
        return deleted

    def _write_settings(self) -> None:
        settings = {
            "bootstrap_servers": self.broker.bootstrap_servers,
            "owner_url": self.postgres.owner_url,
            "writer_url": self.postgres.writer_url,
            "reader_url": self.postgres.reader_url,
            "archive": str(self.archive),
        }
        # A JSON string without escaped letters is a TOML string.
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()]
        head = "# The addresses of the local stack, written when it starts, with passwords for this machine only.\n"
        write_whole(self.settings_file, (head + "".join(lines)).encode(), mode=0o600)

    def _write_access(self) -> None:
        """Write what a newsroom is given. The programs read a password; the broker asks for none."""
        settings = {
            "bootstrap.servers": self.broker.bootstrap_servers,
            "security.protocol": "PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "newsroom-demo",
            "sasl.password": "none",
            "ssl.ca.location": "ca.crt",
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        write_whole(self.access_file, "".join(lines).encode(), mode=0o600)
