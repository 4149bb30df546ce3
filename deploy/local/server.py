"""One server of the local stack: start it, find it again, detect its crash, stop it, delete it.

Role: what Kafka and PostgreSQL have in common. Each is one process, recorded in `<root>/run/<name>.json`.
The record is replaced atomically, so a crash leaves the old or the new one:

- before the launch: it has ports and data, and no process; the next start launches one;
- after the launch: it has the process; the next start finds it running, or crashed and launches another.

A lock file makes starts and stops of the same server wait for each other, over processes and threads.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from deploy.local.account import Account
from deploy.local.errors import StartFailed
from deploy.local.process import Process, spawn
from deploy.local.progress import Steps
from runtime.files import write_whole

HOST = "127.0.0.1"
_READY_WITHIN_S = 90.0
_STOP_WITHIN_S = 30.0
_POLL_S = 0.05
_LAUNCHES = 5
# Below the range that Linux uses for outgoing connections, so that our ports stay free while the server is stopped.
_PORTS = range(20_000, 32_000)


class State(StrEnum):
    """The state of a server."""

    RUNNING = "running"
    SILENT = "not answering"
    CRASHED = "crashed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """The answer of `status` for one server. `log_tail` is filled when it crashed or does not answer."""

    part: str
    state: State
    address: str | None
    pid: int | None
    since: str | None
    log: Path
    log_tail: list[str]


@dataclass
class Record:
    """The content of `run/<name>.json`: `facts` are set once (passwords, ids), `process` while one should run."""

    ports: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    process: Process | None = None


class Server(ABC):
    """One server below `root`. Nothing happens before `start`."""

    name: ClassVar[str]
    title: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    account: Account | None = None

    def __init__(self, root: Path, steps: Steps | None = None) -> None:
        self.root = root.absolute()
        self.steps = steps or Steps(quiet=True)
        self.log = self.root / "logs" / f"{self.name}.log"
        self._record_file = self.root / "run" / f"{self.name}.json"

    # What each server defines.

    @abstractmethod
    def _prepare(self, record: Record) -> None:
        """Make what the launch needs: programs, data folder, facts. Repeatable."""

    @abstractmethod
    def _command(self, record: Record) -> tuple[list[str | Path], Path, Mapping[str, str]]:
        """Return the server's command line, working folder and environment."""

    @abstractmethod
    def _answers(self, record: Record) -> bool:
        """Return whether it serves a client now."""

    @abstractmethod
    def _folders(self, record: Record) -> list[Path]:
        """Return what `reset` deletes."""

    @abstractmethod
    def _once_ready(self, record: Record) -> None:
        """Finish the setup, after each start. Repeatable."""

    def _passes(self, log_tail: list[str]) -> bool:
        """Return whether a launch that failed with these lines may work a moment later."""
        return any("already in use" in line for line in log_tail)

    # What all servers share.

    def start(self) -> bool:
        """Start it and wait until it answers. Returns False if it was already running. Raises StartFailed.

        A start that fails or is interrupted leaves no process behind.
        """
        with self._locked():
            record = self._load()
            if self._runs_already(record):
                return False
            if record.process:
                self.steps.line(self.title, "crashed or was killed; starting it again")
            for folder in ("logs", "run"):
                (self.root / folder).mkdir(exist_ok=True)
            self._prepare(record)
            with self.steps.step(self.title, "starting") as step:
                self._launch(record)
                step.say(f"runs on {self._address(record)}")
            return True

    def stop(self) -> bool:
        """Stop it and wait for its end. Returns False if it was not running. Raises StopFailed."""
        if not self._record_file.exists():
            return False
        with self._locked():
            return self._stop(self._load())

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would. `status` then says `crashed`."""
        record = self._load()
        if record.process:
            record.process.end(signal.SIGKILL, 0)

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def status(self) -> Status:
        """Return its state, from its process and from the server's own answer."""
        record = self._load()
        process = record.process
        if process is None:
            state = State.STOPPED
        elif not process.alive():
            state = State.CRASHED
        else:
            state = State.RUNNING if self._answers(record) else State.SILENT
        return Status(
            part=self.title,
            state=state,
            address=self._address(record) if record.ports else None,
            pid=process.pid if process else None,
            since=process.since if process else None,
            log=self.log,
            log_tail=self._log_tail(0)[-5:] if state in (State.CRASHED, State.SILENT) else [],
        )

    def reset(self) -> list[Path]:
        """Stop it and delete its data, log and record. Returns the deleted paths."""
        if not self.root.exists():
            return []
        with self._locked():
            record = self._load()
            self._stop(record)
            found = [path for path in (*self._folders(record), self.log, self._record_file) if path.exists()]
            for path in found:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            return found

    # Helpers.

    def _runs_already(self, record: Record) -> bool:
        """Wait until it answers. Returns False where no process runs, or the one there ends meanwhile."""
        if not (record.process and record.process.alive()):
            return False
        try:
            with self.steps.step(self.title, "checking whether it runs") as step:
                self._wait_until_ready(record, 0)
                step.say(f"already runs on {self._address(record)}")
        except StartFailed:
            if record.process.alive():
                raise
            return False
        return True

    def _stop(self, record: Record) -> bool:
        ran = record.process is not None and record.process.alive()
        if record.process:
            with self.steps.step(self.title, "stopping" if ran else "was not running any more") as step:
                record.process.end(self.stop_signal, _STOP_WITHIN_S)
                if ran:
                    step.say("stopped")
            record.process = None
            self._save(record)
        return ran

    def _address(self, record: Record) -> str:
        return f"{HOST}:{record.ports[self.port_names[0]]}"

    def _launch(self, record: Record) -> None:
        for launch in range(1, _LAUNCHES + 1):
            self._choose_ports(record)
            command, cwd, env = self._command(record)
            log_start = self.log.stat().st_size if self.log.exists() else 0
            try:
                record.process = spawn(command, cwd=cwd, env=env, log=self.log, account=self.account)
                self._save(record)
                self._wait_until_ready(record, log_start)
                self._once_ready(record)
                return
            except BaseException as error:
                if record.process:
                    record.process.end(self.stop_signal, _STOP_WITHIN_S)
                    record.process = None
                    self._save(record)
                again = isinstance(error, StartFailed) and self._passes(error.log_tail)
                if not again or launch == _LAUNCHES:
                    raise
                time.sleep(launch * 0.5)

    def _wait_until_ready(self, record: Record, log_start: int) -> None:
        assert record.process is not None
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._answers(record):
            if not record.process.alive():
                raise StartFailed(f"{self.title} ended while starting; {self.log}:", self._log_tail(log_start))
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.title}, process {record.process.pid}, did not answer on {self._address(record)} "
                    f"within {_READY_WITHIN_S:.0f} s; {self.log}:",
                    self._log_tail(log_start),
                )
            time.sleep(_POLL_S)

    def _choose_ports(self, record: Record) -> None:
        """Keep the ports of the last time, so that clients find the server again, unless one is in use."""
        chosen: dict[str, int] = {}
        for name in self.port_names:
            port = record.ports.get(name)
            # The children of a killed server may hold its port for a moment.
            if port is not None and not _is_free(port):
                time.sleep(1)
            chosen[name] = port if port is not None and _is_free(port) else free_port(chosen.values())
        record.ports = chosen
        self._save(record)

    def _log_tail(self, start: int, line_count: int = 15) -> list[str]:
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(start, size - 16_384))
                return file.read().decode(errors="replace").splitlines()[-line_count:]
        except FileNotFoundError:
            return []

    def _load(self) -> Record:
        try:
            kept = json.loads(self._record_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Record()
        process = kept.pop("process")
        return Record(**kept, process=Process(**process) if process else None)

    def _save(self, record: Record) -> None:
        write_whole(self._record_file, (json.dumps(asdict(record), indent=2) + "\n").encode(), mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_root(self.root)
        (self.root / "run").mkdir(exist_ok=True)
        with self._record_file.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def make_root(root: Path) -> None:
    """Make the root folder, such that PostgreSQL's account may enter it. An existing one is left alone."""
    if not root.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o711)


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port of 127.0.0.1 that is free now and not among `taken`."""
    while (port := random.choice(_PORTS)) in taken or not _is_free(port):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: closing connections of the last run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
