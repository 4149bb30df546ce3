"""`python -m tests.bench.page FIGURES [PAIRED]`: write the measured tables of docs/benchmarks.md.

The page is its own template: prose, and between two comments each table, which is made from the files of `make bench`.
PAIRED: of a run with `--before`, where FIGURES has none.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.figures import HEAD, RATIOS_HEAD, Figure, Report, ratios, read, rows
from tests.bench.site import HERE

PAGE = HERE / "docs" / "benchmarks.md"
_TABLE = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Target(NamedTuple):
    """What the issue asked of a figure. `value`: of the report, and of the one before; None where it was not run."""

    what: str
    asked: str
    value: Callable[[Report, Report | None], float | None]
    shown: str
    met: Callable[[float], bool]


def main() -> None:
    """Write the tables into the page."""
    files = [Path(name) for name in sys.argv[1:]]
    if not files:
        sys.exit("python -m tests.bench.page FIGURES [PAIRED]: the files that `make bench` wrote")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), files), encoding="utf-8")


def filled(page: str, files: Iterable[Path]) -> str:
    """Return the page with the tables of the files' figures."""
    held = [read(file) for file in files]
    (about, reports), (_, paired) = held[0], held[-1]
    now = reports[0]
    before = paired[1] if len(paired) > 1 else None
    tables = {
        "about": _about(about, now),
        "night": _table(HEAD, (cells for cells, key in _with_keys(now) if not _is_long(key))),
        "long": _table(HEAD, (cells for cells, key in _with_keys(now) if _is_long(key))),
        "paired": _table(RATIOS_HEAD, ratios(paired[0], before)) if before is not None else "Not run.\n",
        "targets": _table(("target", "asked", "here", "met"), _targets(now, paired[0], before)),
    }
    return _TABLE.sub(lambda found: found[1] + tables[found[2]] + found[3], page)


def _with_keys(report: Report) -> Iterable[tuple[tuple[str, ...], str]]:
    return zip(rows(report), report.figures, strict=True)


def _is_long(key: str) -> bool:
    return "_long" in key or key == "fill" or key.endswith("streams")


def _about(about: dict[str, Any], report: Report) -> str:
    return (
        f"Measured on {about['date']}, commit {report.checkout}, in {about.get('minutes', '?')} minutes:\n"
        f"{about['cores']} cores ({about['processor']}), {about['memory_gib']} GiB,\n"
        f"{about['system']}, Python {about['python']}, PostgreSQL {about['postgresql']}, Kafka as in `deploy/local`.\n"
        f"Load average before and after: {about['load']} and {about.get('load_after', '?')}.\n"
    )


def _table(head: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)


def _targets(now: Report, paired: Report, before: Report | None) -> Iterable[tuple[str, ...]]:
    for target in TARGETS:
        value = target.value(paired if target.shown == _TIMES else now, before)
        here = "not measured" if value is None else target.shown.format(value)
        yield target.what, target.asked, here, "" if value is None else "yes" if target.met(value) else "**no**"


_TIMES = "{:.1f} ×"


def _figure(report: Report, key: str) -> Figure | None:
    figure = report.figures.get(key)
    return figure if figure is not None and figure.runs else None


def _ratio(what: str, key: str, least: float) -> Target:
    def value(now: Report, _: Report | None) -> float | None:
        return now.ratio(key) if _figure(now, key) else None

    return Target(what, f"{least:.2f} of its limit", value, "{:.2f}", lambda ratio: ratio >= least)


def _most(what: str, key: str, most: float, unit: str) -> Target:
    def value(now: Report, _: Report | None) -> float | None:
        return figure.median if (figure := _figure(now, key)) else None

    return Target(what, f"at most {most:g} {unit}", value, "{:,.1f} " + unit, lambda median: median <= most)


def _memory(what: str, keys: tuple[str, ...], most: float) -> Target:
    def value(now: Report, _: Report | None) -> float | None:
        found = [figure.memory_mb for key in keys if (figure := _figure(now, key)) and figure.memory_mb]
        return max(found, default=None)

    return Target(what, f"at most {most:g} MB", value, "{:,.0f} MB", lambda memory: memory <= most)


def _faster(what: str, key: str, least: float) -> Target:
    def value(now: Report, before: Report | None) -> float | None:
        figure, other = _figure(now, key), before and _figure(before, key)
        return other.median / figure.median if figure and other else None

    return Target(what, f"{least:g} × as fast, paired", value, _TIMES, lambda times: times >= least)


def _of_peer(now: Report, _: Report | None) -> float | None:
    if not _figure(now, "live_long") or not _figure(now, "streams"):
        return None
    ours, theirs = now.rate("live_long"), now.rate("streams")
    return ours / theirs if ours and theirs else None


TARGETS = (
    _ratio("ingest, first sheet file", "ingest_first", 0.25),
    _faster("ingest, first sheet file", "ingest_first", 4),
    _faster("ingest, second file", "ingest_second", 6),
    _most("ingest, one row beside the first file", "ingest_one_row", 3, "s"),
    _most("ingest, restart", "ingest_restart", 3, "s"),
    _faster("live, 20,000 a batch", "live_20000", 2.5),
    _faster("live, 5,000 a batch", "live_5000", 2.5),
    Target("live, of Kafka Streams (totals only)", "1.3 ×", _of_peer, "{:.2f} ×", lambda times: times >= 1.3),
    _ratio("rebuild of the long night", "rebuild_long", 0.35),
    _faster("rebuild of the long night", "rebuild_long", 3),
    _ratio("replay of the real night", "replay", 0.35),
    _ratio("replay of the long night", "replay_long", 0.35),
    _most("restart of the aggregator", "restart", 3, "s"),
    _most("country as of an official time, long night", "past_long_2", 100, "ms"),
    _most("all districts as of an official time, long night", "past_long_3", 400, "ms"),
    _memory("peak memory of ingest", ("ingest_first", "ingest_second", "ingest_restart"), 300),
    _memory("peak memory of the aggregator, real night", ("live_20000", "restart"), 250),
    _faster("latency, p50", "latency_p50", 1),
    _faster("latency, p99", "latency_p99", 1),
)
"""What issue 11 asked; a figure is named by its key."""


if __name__ == "__main__":
    main()
