"""Start a process that outlives its starter, find it again later, and end it.

Role: the only code of the local stack that starts and signals processes. A process is identified by its pid *and* its
start time, so that a reused pid is never mistaken for ours.

A crash between the launch and the caller's record of it leaves a server that no file names. Nothing is lost: the
server holds the lock on its own data folder, and the next start fails with that server's own message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.local.account import Account, switch
from deploy.local.errors import StopFailed

_POLL_S = 0.02

# Processes this interpreter started: they must be waited for by it, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """A process we started. `born` is its start time, compared for equality only; `since` is local time, ISO 8601."""

    pid: int
    born: str
    since: str

    def alive(self) -> bool:
        """Return whether this process still runs. A zombie does not."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            del _children[self.pid]
        return _born(self.pid) == self.born

    def end(self, how: signal.Signals, patience_s: float) -> None:
        """Send signal `how`, wait `patience_s`, then send SIGKILL.

        Raises StopFailed if the process belongs to another user or does not die (stuck in the kernel).
        """
        for number, wait_s in ((how, patience_s), (signal.SIGKILL, 10.0)):
            if not self.alive():
                return
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return
            except PermissionError as error:
                raise StopFailed(f"process {self.pid} belongs to another user: stop it as that user") from error
            if self._gone_within(wait_s):
                return
        raise StopFailed(f"process {self.pid} still runs after SIGKILL")

    def _gone_within(self, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def spawn(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    account: Account | None = None,
) -> Process:
    """Launch `command` in a new session, with its output appended to `log`.

    A new session: neither the end of the shell nor Ctrl-C in it reaches the server.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **switch(account),
        )
    _children[child.pid] = child
    # Only we can reap our own child, so its pid is not reused yet, whether it runs or not.
    born = _born(child.pid) or "ended at once"
    return Process(child.pid, born, datetime.now().astimezone().isoformat(timespec="seconds"))


def _born(pid: int) -> str | None:
    """Return the start time of the process with this pid, or None if none runs."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; the fields are counted after it.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            # A zombie whose other threads are still ending holds its ports and files as before.
            if fields[0] not in "ZX" or len(os.listdir(f"/proc/{pid}/task")) > 1:
                return f"{_boot()}:{fields[19]}"
        return None
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None


def _boot() -> str:
    """Return the id of the machine's current boot: start times count from it, so they repeat after a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
