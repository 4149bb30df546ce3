"""CPU seconds and memory of processes, on Linux."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, of its children that run, and of those that ended."""
    children = Path("/proc").glob("[0-9]*/stat")
    ticks = sum(_fields(Path(f"/proc/{pid}/stat"))[11:15])
    for stat in children:
        fields = _fields(stat)
        if fields and fields[1] == pid:
            ticks += sum(fields[11:15])
    return ticks / _TICKS


def _fields(stat: Path) -> list[int]:
    """Return the numbers of a `stat` file from `state` on (0 in its place); none of a process that has ended."""
    try:
        text = stat.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [0, *(int(field) for field in text.rpartition(")")[2].split()[1:])]
