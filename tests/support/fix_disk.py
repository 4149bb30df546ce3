"""Disks that are soon full: a small file system in memory, mounted for a test. Needs root that may mount; skipped
elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system. What stands on it is to be stopped before the test ends."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes."""
        stat = os.statvfs(self.path)
        room = stat.f_bavail * stat.f_frsize
        with suppress(OSError), self._filler.open("wb") as file:
            file.write(b"\0" * max(0, room - leave))

    def make_room(self) -> None:
        """Gives it back."""
        self._filler.unlink()


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], SmallDisk]]:
    """Mounts one over a folder: `small_disk(path, megabytes)`."""
    mounted: list[Path] = []

    def mount(path: Path, megabytes: int) -> SmallDisk:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "escrutinio-test", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"no small disk can be mounted here: {error}")
        if done.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return SmallDisk(path)

    yield mount
    for path in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(path)], check=False)
