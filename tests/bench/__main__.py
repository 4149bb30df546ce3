"""`make bench`: what this machine does with the real night and with a longer, made-up one, each stage beside its limit.

Every stage is a command as a person runs it, on servers of the bench's own; its limit is measured in the same run. The
figures are printed, and written as JSON, of which `python -m tests.bench.page` makes the tables of docs/benchmarks.md.
With `--before` the same stages of another checkout are measured in turns with this one's.

Needs the office's files for the sheets (see examples/peru-2021-runoff/README.md): `make bench ACTAS=folder`. Linux.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import stages
from tests.bench.figures import HEAD, RATIOS_HEAD, Figure, Report, ratios, rows, write
from tests.bench.site import HERE, CommandFailed, Place, Site, machine

_JSON = HERE / ".cache" / "bench.json"


def main() -> None:
    """Measure, print, and write the figures. Exits with 1 when a stage failed."""
    asked = _parser().parse_args()
    files = sorted(asked.actas.glob("*.csv*"))
    if len(files) < 2:
        sys.exit("no sheet files: make bench ACTAS=folder (examples/peru-2021-runoff/README.md says where they are)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    about, begun = dict(machine()), time.monotonic()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="escrutinio-bench-files-")))
        sites = [opened.enter_context(Site(path)) for path in (HERE, *([asked.before] if asked.before else []))]
        reports = [Report(site.name) for site in sites]
        bench = stages.Bench(
            list(zip(sites, reports, strict=True)), folder, lambda: write(asked.json, about, reports), asked.runs
        )
        if asked.rows:
            files = [stages.first_rows(file, asked.rows, folder / f"{n}.csv") for n, file in enumerate(files)]
        try:
            _measure(bench, files, asked.events)
        except CommandFailed as error:
            print(f"the bench ends here: {error}", file=sys.stderr)
            reports[0].figures["end"] = Figure("end", "what follows was not measured", fault=str(error))
    about |= {"minutes": round((time.monotonic() - begun) / 60, 1), "load_after": round(os.getloadavg()[0], 2)}
    write(asked.json, about, reports)
    _print(reports)
    print(f"{about['minutes']} minutes; the figures are in {asked.json}")
    sys.exit(any(figure.fault for report in reports for figure in report.figures.values()))


def _measure(bench: stages.Bench, files: list[Path], events: int) -> None:
    night = stages.ingest(bench, files)
    stages.limits(bench, night)
    held = bench.sites[0][1].figures["consume"].events or 0
    stages.audit(bench, night, held)
    _aggregator(bench, night, held)
    stages.publishing(bench, night, held)
    stages.visible(bench, samples=300)
    if events:
        _longer(bench, stages.fill(bench, events), events)


def _aggregator(bench: stages.Bench, night: Place, events: int) -> None:
    stages.start_of_run(bench)
    tables: stages.Places = {}
    for size in (20_000, 5_000):
        stages.drop(tables)
        title = f"live: {events:,} events to committed, {size:,} a batch"
        tables = stages.aggregate(
            bench, night, Figure(f"live_{size}", title, events=events, limit="copy", start="start_run"), size
        )
    stages.compare(bench, tables, stages.CONTEST)
    stages.replay(bench, night, stages.CONTEST, events)
    stages.read_side(bench, tables, stages.CONTEST, events)
    stages.rebuild(bench, tables, stages.CONTEST, events, runs=1)
    stages.drop(tables)


def _longer(bench: stages.Bench, long: Place, events: int) -> None:
    """Measure the stages that a longer log shows better, once each."""
    stages.limits(bench, long, "_long", runs=1, produce=False)
    title = f"live: {events:,} events to committed, 20,000 a batch"
    live = Figure("live_long", title, events=events, limit="copy_long", start="start_run")
    tables = stages.aggregate(bench, long, live, runs=1)
    stages.compare(bench, tables, stages.MADE_UP)
    stages.peer(bench, long, tables, stages.MADE_UP, events, runs=1)
    stages.replay(bench, long, stages.MADE_UP, events, "_long", runs=1)
    stages.read_side(bench, tables, stages.MADE_UP, events, "_long", runs=1)
    stages.rebuild(bench, tables, stages.MADE_UP, events, "_long", runs=1)
    stages.drop(tables)


def _print(reports: list[Report]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    for report in reports:
        console.print(_table(f"checkout {report.checkout}", HEAD, list(rows(report))))
    if len(reports) > 1:
        title = f"{reports[1].checkout} before, {reports[0].checkout} now"
        console.print(_table(title, RATIOS_HEAD, list(ratios(*reports))))


def _table(title: str, head: tuple[str, ...], cells: list[tuple[str, ...]]) -> Table:
    table = Table(*head, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in cells:
        table.add_row(*row)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    beside = HERE.parent / "shared" / "data" / "peru-2021-runoff" / "actas"
    parser.add_argument(
        "--actas", type=Path, default=Path(os.environ.get("ACTAS") or beside), help="folder of the sheets' files"
    )
    parser.add_argument("--before", type=lambda text: Path(text).resolve(), metavar="CHECKOUT", help="compare with it")
    parser.add_argument("--json", type=Path, default=_JSON, metavar="FILE", help="file of the figures")
    parser.add_argument("--runs", type=int, default=stages.RUNS, help="of each stage of the real night")
    parser.add_argument("--rows", type=int, metavar="N", help="only the first rows of each sheet file")
    parser.add_argument(
        "--events", type=int, default=1_000_000, metavar="N", help="length of the made-up night; 0: none"
    )
    return parser


if __name__ == "__main__":
    main()
