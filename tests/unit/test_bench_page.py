"""The page of the benchmarks: its tables are those of the figures, and no limit is guessed."""

from __future__ import annotations

from pathlib import Path

from tests.bench.figures import Figure, Report, Run, read, write
from tests.bench.page import PAGE, filled

ABOUT = {
    "date": "1 January 2026", "cores": 2, "processor": "some", "memory_gib": 24, "system": "Linux", "postgresql": "18",
    "python": "3.11", "load": 0.1,
}  # fmt: skip


def measured(seconds: float) -> Report:
    """A report of a limit of 100,000/s and a stage that does 10,000 events in some seconds after one of its start."""
    cpu = {"command": 1.0, "PostgreSQL": 0.5, "broker": 0.25}
    figures = (
        Figure("consume", "limit", events=10_000, runs=[Run(0.1), Run(0.05), Run(4.0)]),
        Figure("start_replay", "start", runs=[Run(1.0)]),
        Figure("replay", "replay", "s", 10_000, "consume", "start_replay", [Run(seconds + 1, cpu, 99.0)]),
        Figure("verify", "verify", events=10_000, fault="it failed"),
    )
    return Report("abc", {figure.key: figure for figure in figures})


def test_a_ratio_is_to_the_median_of_its_limit_and_without_the_start() -> None:
    report = measured(0.5)
    assert report.rate("consume") == 100_000
    assert report.rate("replay") == 20_000
    assert report.ratio("replay") == 0.2
    assert report.rate("verify") is report.ratio("verify") is report.rate("unknown") is None


def test_the_file_keeps_the_figures(tmp_path: Path) -> None:
    write(file := tmp_path / "a" / "bench.json", ABOUT, [measured(0.5), measured(2)])
    assert read(file) == (ABOUT, [measured(0.5), measured(2)])


def test_the_tables_of_the_page_are_made_from_the_file(tmp_path: Path) -> None:
    write(file := tmp_path / "bench.json", ABOUT, [measured(0.25), measured(2)])
    page = filled(PAGE.read_text(encoding="utf-8"), [file])
    assert "| replay | 1.25 s | 40,000 | 0.40 | 1.00 | 0.50 | 0.25 | 99 | 1: 1.25 to 1.25 |" in page
    assert "| verify | it failed |" in page
    assert "| replay | 3.00 s | 1.25 s | 2.40 | 1.00 | 1.00 |" in page
    assert "| replay of the real night | 0.35 of its limit | 0.40 | yes |" in page
    assert "| restart of the aggregator | at most 3 s | not measured |  |" in page
    assert filled(page, [file]) == page
