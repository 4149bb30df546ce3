"""What was measured: runs, figures with their median and their ratio to a limit, and the file that keeps them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SERVERS = ("PostgreSQL", "broker")


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `cpu`: CPU seconds by process, `command` is the measured one."""

    value: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    memory_mb: float | None = None
    events: int | None = None
    """Events that this run worked on, where that is known of the run only."""


@dataclass(slots=True)
class Figure:
    """A stage, measured several times. `title`: as in the table."""

    key: str
    title: str
    unit: str = "s"
    events: int | None = None
    limit: str | None = None
    """Key of the figure that is this one's limit: both have a rate."""
    start: str | None = None
    """Key of the figure with the seconds of the same command without work, which a rate leaves out."""
    runs: list[Run] = field(default_factory=list)
    fault: str | None = None

    @property
    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(run.value for run in self.runs)

    def cpu(self, process: str) -> float | None:
        """Return the median of a process's CPU seconds."""
        values = [run.cpu[process] for run in self.runs if process in run.cpu]
        return statistics.median(values) if values else None

    @property
    def memory_mb(self) -> float | None:
        """Peak memory of the command, the largest of the runs."""
        return max((run.memory_mb for run in self.runs if run.memory_mb is not None), default=None)


@dataclass(slots=True)
class Report:
    """The figures of one checkout, in the order of measuring."""

    checkout: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def rate(self, key: str) -> float | None:
        """Return events per second, without the command's start where that was measured."""
        figure = self.figures.get(key)
        if figure is None or not figure.runs or figure.events is None:
            return None
        start = self.figures.get(figure.start or "")
        seconds = figure.median - (start.median if start is not None and start.runs else 0.0)
        return figure.events / seconds if seconds > 0 else None

    def ratio(self, key: str) -> float | None:
        """Return the figure's rate as a share of its limit's."""
        limit = self.figures[key].limit
        rate, most = self.rate(key), self.rate(limit) if limit is not None else None
        return rate / most if rate and most else None

    def as_json(self) -> dict[str, Any]:
        """Return the figures with what is computed of them."""
        return {
            "checkout": self.checkout,
            "figures": [
                asdict(figure)
                | ({"median": figure.median} if figure.runs else {})
                | {"rate": self.rate(key), "ratio": self.ratio(key)}
                for key, figure in self.figures.items()
            ],
        }


def read(file: Path) -> tuple[dict[str, Any], list[Report]]:
    """Return the machine and the reports of a file: this checkout's first, then the one before where it has one."""
    held = json.loads(file.read_text(encoding="utf-8"))
    return held["about"], [_report(report) for report in held["reports"]]


def write(file: Path, about: Mapping[str, Any], reports: list[Report]) -> None:
    """Write the machine and the reports to a file."""
    held = {"about": about, "reports": [report.as_json() for report in reports]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def _report(held: Mapping[str, Any]) -> Report:
    computed = ("median", "rate", "ratio", "runs")
    figures = [
        Figure(**{k: v for k, v in one.items() if k not in computed}, runs=[Run(**run) for run in one["runs"]])
        for one in held["figures"]
    ]
    return Report(held["checkout"], {figure.key: figure for figure in figures})


HEAD = ("stage", "median", "per second", "of its limit", "CPU s: command", *SERVERS, "peak MB", "runs")


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Return the cells of a table, in the order of HEAD."""
    for key, figure in report.figures.items():
        if not figure.runs:
            yield figure.title, figure.fault or "not run", *[""] * (len(HEAD) - 2)
            continue
        values = [run.value for run in figure.runs]
        yield (
            figure.title,
            f"{_number(figure.median)} {figure.unit}" + (f" ({figure.fault})" if figure.fault else ""),
            _number(report.rate(key)),
            "" if (ratio := report.ratio(key)) is None else f"{ratio:.2f}",
            *(_number(figure.cpu(process)) for process in ("command", *SERVERS)),
            "" if figure.memory_mb is None else f"{figure.memory_mb:,.0f}",
            f"{len(values)}: {_number(min(values))} to {_number(max(values))}",
        )


def ratios(now: Report, before: Report) -> Iterator[tuple[str, ...]]:
    """Return the cells of the table of what both measured: before, now, and how many times as fast it is now."""
    for key, figure in now.figures.items():
        other = before.figures.get(key)
        if other is None or not other.runs or not figure.runs:
            continue
        cpu, other_cpu = figure.cpu("command"), other.cpu("command")
        memory = [figure.memory_mb, other.memory_mb]
        yield (
            figure.title,
            f"{_number(other.median)} {other.unit}",
            f"{_number(figure.median)} {figure.unit}",
            f"{other.median / figure.median:.2f}",
            f"{other_cpu / cpu:.2f}" if cpu and other_cpu else "",
            f"{memory[1] / memory[0]:.2f}" if memory[0] and memory[1] else "",
        )


RATIOS_HEAD = ("stage", "before", "now", "before / now", "of the command's CPU", "of its peak memory")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
