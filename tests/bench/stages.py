"""What is measured, stage by stage, on one checkout or on two in turns."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import psycopg

from schemas.topics import TopicNames
from tests.bench import latency, published
from tests.bench.figures import Figure, Report, Run, rows
from tests.bench.peers import streams
from tests.bench.site import HERE, CommandFailed, Place, Site

CONTEST = "pe-2021-president-runoff"
MADE_UP = "pe-2021-night-1"
RUNS = 3
_EXAMPLE = HERE / "examples" / "peru-2021-runoff"
_STATED = ("--stated-at", "2021-07-01T00:00:00Z")
"""So that two checkouts publish the same events."""
_PAST = Path(__file__).with_name("past.py")

Work = Callable[[Site], Run]


@dataclass(slots=True)
class Bench:
    """The sites, this checkout's first, each with its report. `on_figure` is called after each figure."""

    sites: Sequence[tuple[Site, Report]]
    folder: Path
    on_figure: Callable[[], None]
    runs: int = RUNS

    def measure(self, figure: Figure, work: Work, *, runs: int | None = None, only_here: bool = False) -> None:
        """Measure a figure's runs, the sites in turns, the one before first."""
        for _ in range(runs or self.runs):
            self.once(figure, work, only_here=only_here)
        self.show(figure.key)

    def once(self, figure: Figure, work: Work, *, only_here: bool = False) -> None:
        """Measure one more run of a figure on each site. A command that fails is noted, and its figure left out."""
        for site, report in self.sites[:1] if only_here else reversed(self.sites):
            held = report.figures.setdefault(figure.key, replace(figure, runs=[]))
            if held.fault is not None:
                continue
            try:
                held.runs.append(work(site))
            except CommandFailed as error:
                held.fault = str(error)
                print(f"{figure.title}: {error}", file=sys.stderr, flush=True)

    def events(self, key: str) -> None:
        """Note the number of events that a figure's last run counted itself."""
        for _, report in self.sites:
            if (figure := report.figures.get(key)) is not None and figure.runs:
                figure.events = figure.runs[-1].events

    def show(self, key: str) -> None:
        """Print a figure, as soon as it is there."""
        self.on_figure()
        for site, report in self.sites:
            if key in report.figures:
                cells = next(cells for cells, of in zip(rows(report), report.figures, strict=True) if of == key)
                label = "" if site is self.sites[0][0] else "before: "
                print(f"  {label}{'; '.join(filter(None, cells))}", flush=True)


def topic(place: Place) -> str:
    """Return the name of the log of a place."""
    return TopicNames(place.prefix).events


# Ingest


def ingest(bench: Bench, files: Sequence[Path]) -> Place:
    """Measure the loads of the sheets, each run on topics of its own. Returns the last run's place."""
    sheets = count_rows(files[0])
    first = Figure("ingest_first", "ingest: first sheet file, whole command", events=sheets, limit="produce")
    figures = {
        "one": Figure("ingest_one_row", "ingest: load of one changed row beside it"),
        "second": Figure("ingest_second", "ingest: second file"),
        "again": Figure("ingest_restart", "ingest: restart, the second file again, nothing new"),
    }
    one = changed_row(files, bench.folder / "one.csv")
    place = Place("")
    for number in range(1, bench.runs + 1):
        place = Place(f"r{number}.")
        for site, _ in bench.sites:
            site.run(place, "ingest", "topics")
            contest = ("--contest", str(_EXAMPLE / "contest.toml"))
            site.run(place, "ingest", "load", *_STATED, *contest, str(_EXAMPLE / "updates.csv"))
        bench.once(first, _load(place, files[0]))
        if one is not None:
            bench.once(figures["one"], _load(place, one))
        bench.once(figures["second"], _load(place, files[1]))
        bench.once(figures["again"], _load(place, files[1]))
    for figure in (first, *figures.values()):
        bench.show(figure.key)
    for file in files[2:]:
        for site, _ in bench.sites:
            _load(place, file)(site)
    return place


def _load(place: Place, file: Path) -> Work:
    return lambda site: site.run(place, "ingest", "load", *_STATED, str(file))[0]


def count_rows(file: Path) -> int:
    """Return the number of rows of a CSV file, without its header."""
    with _opened(file) as lines:
        return sum(1 for _ in csv.reader(lines)) - 1


def changed_row(files: Sequence[Path], to: Path) -> Path | None:
    """Write a file of the first row in which the second file differs from the first; None where none does."""
    with _opened(files[0]) as lines:
        reader = csv.reader(lines)
        header = next(reader)
        own = [i for i, name in enumerate(header) if name != "descargado"]
        known = {row[0]: hash(tuple(row[i] for i in own)) for row in reader}  # small: see Site._run
    with _opened(files[1]) as lines:
        reader = csv.reader(lines)
        if next(reader) != header:
            return None
        for row in reader:
            if row[0] in known and known[row[0]] != hash(tuple(row[i] for i in own)):
                with to.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows((header, row))
                return to
    return None


def first_rows(file: Path, count: int, to: Path) -> Path:
    """Write the first rows of a CSV file to another."""
    with _opened(file) as lines, to.open("w", encoding="utf-8", newline="") as made:
        for _, line in zip(range(count + 1), lines, strict=False):
            made.write(line)
    return to


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


# Limits


def limits(bench: Bench, place: Place, name: str = "", *, runs: int | None = None, produce: bool = True) -> None:
    """Measure the limits for the messages of a place: `name` is appended to their keys."""
    log = topic(place)
    here = bench.sites[0][0]

    def consume(site: Site) -> Run:
        return site.limit(place, "consume", "--topic", log)

    def copy(site: Site) -> Run:
        fresh = here.new_database(place.prefix)
        try:
            return site.limit(fresh, "copy", "--topic", log)
        finally:
            here.drop(fresh)

    def send(site: Site) -> Run:
        send.number += 1  # type: ignore[attr-defined]
        to = Place(f"p{send.number}.")  # type: ignore[attr-defined]
        site.run(to, "ingest", "topics")
        return site.limit(place, "produce", "--topic", log, "--to-topic", topic(to))

    send.number = 0  # type: ignore[attr-defined]
    figures = [(Figure(f"consume{name}", "limit: librdkafka consumes the same messages"), consume)]
    if produce:
        figures.append((Figure(f"produce{name}", "limit: librdkafka produces the same messages"), send))
    figures.append((Figure(f"copy{name}", "limit: COPY of the same rows, with their indexes"), copy))
    for figure, work in figures:
        for _ in range(runs or bench.runs):
            bench.once(figure, work, only_here=True)
        bench.events(figure.key)
        bench.show(figure.key)


# The aggregator


Places = dict[Site, Place]
"""Where the tables of each site are."""


def aggregate(bench: Bench, place: Place, figure: Figure, batch_size: int = 20_000, runs: int | None = None) -> Places:
    """Measure the live way into new tables. Returns the places with those of the last run."""
    last: Places = {}

    def work(site: Site) -> Run:
        if site in last:
            site.drop(last.pop(site))
        last[site] = site.new_database(place.prefix)
        return site.run(last[site], "aggregator", "run", "--until-caught-up", "--batch-size", str(batch_size))[0]

    bench.measure(figure, work, runs=runs)
    return last


def drop(places: Places) -> None:
    """Delete the tables of each site."""
    for site, place in places.items():
        site.drop(place)


def start_of_run(bench: Bench) -> None:
    """Measure a run over an empty log."""
    empty = Place("empty.")
    for site, _ in bench.sites:
        site.run(empty, "ingest", "topics")
    drop(aggregate(bench, empty, Figure("start_run", "aggregator run: start, over an empty log")))


def replay(bench: Bench, place: Place, contest: str, events: int, name: str = "", *, runs: int | None = None) -> None:
    """Measure a replay in memory, in one process, and its start."""

    def to(*options: str) -> Work:
        def work(site: Site) -> Run:
            return site.run(place, "aggregator", "replay", contest, "--json", *options, *_one_process(site))[0]

        return work

    start = f"start_replay{name}"
    bench.measure(Figure(start, "replay: start, to offset 1"), to("--to-offset", "1"), runs=runs)
    title = f"replay of {events:,} events, one process"
    bench.measure(Figure(f"replay{name}", title, events=events, limit=f"consume{name}", start=start), to(), runs=runs)


def _one_process(site: Site) -> tuple[str, ...]:
    """Return the option that an earlier release needs."""
    _, said = site.run(Place(""), "aggregator", "replay", "--help")
    return ("--processes", "1") if "--processes" in said else ()


def read_side(
    bench: Bench, places: Places, contest: str, events: int, name: str = "", *, runs: int | None = None
) -> None:
    """Measure the restart over filled tables, verify, and questions about the past."""

    def command(module: str, *arguments: str) -> Work:
        return lambda site: site.run(places[site], module, *arguments)[0]

    bench.measure(
        Figure(f"restart{name}", f"aggregator: restart over the units of {events:,} events"),
        command("aggregator", "run", "--until-caught-up"),
        runs=runs,
    )
    bench.measure(
        Figure(f"verify{name}", f"verify of {events:,} events", events=events, limit=f"consume{name}"),
        command("aggregator", "verify", contest, "--json"),
        runs=runs,
    )
    past(bench, places, contest, events, name)


def past(bench: Bench, places: Places, contest: str, events: int, name: str) -> None:
    """Measure as-of questions: one process a site, some moments on each axis."""
    for site, report in reversed(bench.sites):
        try:
            _, said = site.script(places[site], _PAST, contest)
        except CommandFailed as error:
            print(f"as of past moments: {error}", file=sys.stderr, flush=True)
            continue
        for number, (what, milliseconds) in enumerate(json.loads(said).items()):
            key = f"past{name}_{number}"
            runs = [Run(value) for value in milliseconds]
            report.figures[key] = Figure(key, f"{what}, of {events:,} events", "ms", runs=runs)
    for key in [key for key in bench.sites[0][1].figures if key.startswith(f"past{name}_")]:
        bench.show(key)


def rebuild(
    bench: Bench, places: Places, contest: str, events: int, name: str = "", *, runs: int | None = None
) -> None:
    """Measure a rebuild with its take-over, after which the digest must be the same."""

    def work(site: Site) -> Run:
        before = digest(site, places[site], contest)
        run, _ = site.run(places[site], "aggregator", "rebuild")
        if digest(site, places[site], contest) != before:
            raise CommandFailed("rebuild: the digest is another than before")
        return run

    title = f"rebuild of {events:,} events, with the take-over"
    bench.measure(
        Figure(f"rebuild{name}", title, events=events, limit=f"copy{name}", start="start_run"), work, runs=runs
    )


def digest(site: Site, place: Place, contest: str) -> str:
    """Return the digest that the tables show."""
    return str(json.loads(site.run(place, "results", "show", contest, "--json")[1])["digest"])


def compare(bench: Bench, places: Places, contest: str) -> None:
    """Say whether the tables of the sites have one digest."""
    try:
        found = {digest(site, places[site], contest) for site, _ in bench.sites}
    except CommandFailed as error:
        print(f"the digests were not compared: {error}", file=sys.stderr, flush=True)
        return
    if len(found) > 1:
        print(f"THE CHECKOUTS DIFFER: digests of {contest} are {', '.join(sorted(found))}", file=sys.stderr, flush=True)


# The audit


def audit(bench: Bench, place: Place, events: int) -> None:
    """Measure the root of the night's log, a proof, and the check of its bundle: of this checkout alone."""
    site, folder = bench.sites[0][0], bench.folder / "audit"
    key, bundle = folder / "log.key", str(folder / "bundle")
    public = ("--key", f"{key}.pub")
    site.run(place, "audit", "key", "log.example/bench", str(key))
    empty = Place("unsigned.")
    site.run(empty, "ingest", "topics")

    def signed(of: Place, name: str) -> tuple[str, str]:
        """The folder of a notary, and its checkpoint."""
        site.run(of, "audit", "run", "--once", "--signing-key", str(key), str(folder / name))
        return str(folder / name), str(folder / name / f"{of.prefix}results.events" / "0" / "checkpoint")

    (proof, checkpoint), (_, nothing) = signed(place, "proof"), signed(empty, "none")

    def command(of: Place, *line: str) -> Work:
        return lambda site: site.run(of, "audit", line[0], *public, *line[1:])[0]

    start = Figure("start_audit", "audit verify: start, over an empty log")
    bench.measure(start, command(empty, "verify", nothing), only_here=True)
    title = f"audit: the root of {events:,} events, made again (verify)"
    root = Figure("audit_root", title, events=events, limit="consume", start="start_audit")
    bench.measure(root, command(place, "verify", checkpoint), only_here=True)
    proved = Figure("audit_prove", "audit: proof of an event, whole command")
    bench.measure(proved, command(place, "prove", proof, "41"), only_here=True)
    site.run(place, "audit", "export", *public, "--archive", str(site.archive(place)), proof, bundle)
    title = f"audit: check of the bundle of {events:,} events, with its documents"
    bench.measure(
        Figure("audit_check", title, events=events, limit="consume"), command(place, "check", bundle), only_here=True
    )


# Another program

_TOTALS = """
SELECT area_id, ballots_cast, votes FROM checking.area_total
WHERE is_now AND contest_id = %s AND unit_type = 'precinct' AND ballots_cast > 0
"""


def peer(bench: Bench, place: Place, tables: Places, contest: str, events: int, *, runs: int | None = None) -> None:
    """Measure the Kafka Streams application, and compare its totals of the sheets with the tables'."""
    here, report = bench.sites[0]
    start = Figure("start_streams", "peer: Kafka Streams, start, one message")
    title = f"peer: Kafka Streams adds up {events:,} events, totals only, no database"
    figure = Figure("streams", title, events=events, limit="consume_long", start=start.key)
    if fault := streams.build():
        report.figures[figure.key] = replace(figure, fault=f"not run: {fault}")
        return
    found: streams.Totals = {}

    def work(to: int) -> Work:
        def run(site: Site) -> Run:
            nonlocal found
            cost, found = streams.run(site, place, topic(place), to)
            return cost

        return run

    bench.measure(start, work(1), runs=runs, only_here=True)
    bench.measure(figure, work(events), runs=runs, only_here=True)
    with psycopg.connect(here.urls(tables[here])["reader_url"]) as db:
        ours = {
            area: (cast, *(votes[selection] for selection in sorted(votes)))
            for area, cast, votes in db.execute(_TOTALS, (contest,))
        }
    theirs = {area: totals for area, totals in found.items() if totals[0] > 0}
    if ours != theirs:
        report.figures[figure.key].fault = "its totals are others than those of the tables"
        differing = sorted(area for area in ours.keys() | theirs.keys() if ours.get(area) != theirs.get(area))
        for area in differing[:3]:
            print(f"area {area}: tables {ours.get(area)}, Kafka Streams {theirs.get(area)}", file=sys.stderr)
    else:
        print(f"  the totals of {len(ours):,} areas are equal", flush=True)


# A longer log


def fill(bench: Bench, events: int) -> Place:
    """Put a made-up night on a topic of each site. Returns the place."""
    place, here = Place("long."), bench.sites[0][0]
    command = ("--bootstrap-servers", here.bootstrap_servers, "--topic", topic(place), "--events", str(events))
    figure = Figure("fill", f"the generator: a made-up night of {events:,} events", events=events)
    bench.measure(figure, lambda site: site.run(place, "tests.support.nights", *command)[0], runs=1, only_here=True)
    for site, _ in bench.sites[1:]:
        site.run(place, "ingest", "topics")
        to = ("--to-topic", topic(place), "--to-servers", site.bootstrap_servers)
        here.limit(place, "produce", "--topic", topic(place), *to)
    return place


def visible(bench: Bench, samples: int) -> None:
    """Measure how long one update needs to the reader's view, and to the topic of totals."""
    _latencies(bench, "latency", "publish to visible", lambda site, place: latency.measure(site, place, samples))
    _latencies(bench, "total", "publish to its total", lambda site, place: published.latency(site, place, samples))


def _latencies(bench: Bench, name: str, what: str, measure: Callable[[Site, Place], list[float]]) -> None:
    for site, report in reversed(bench.sites):
        place = Place(f"one-{name}.")
        site.run(place, "ingest", "topics")
        place = site.new_database(place.prefix)
        try:
            milliseconds = measure(site, place)
        except CommandFailed as error:
            print(f"latency: {error}", file=sys.stderr, flush=True)
            continue
        finally:
            site.drop(place)
        ordered = sorted(milliseconds)
        for share in (50, 99):
            value = ordered[min(len(ordered) - 1, len(ordered) * share // 100)]
            key = f"{name}_p{share}"
            title = f"one update, {what}: p{share} of {len(ordered)}"
            report.figures[key] = Figure(key, title, "ms", runs=[Run(value)])
    for share in (50, 99):
        bench.show(f"{name}_p{share}")


def publishing(bench: Bench, night: Place, events: int) -> None:
    """Measure the night live, with and without totals and notices in turns; then what readers of totals have of it."""
    title = f"live, as it is sent: {events:,} events to committed"
    without = Figure("unpublished", f"{title}, without totals", events=events)
    committed = Figure("published", f"{title}, with totals", events=events)
    told = Figure("told", "until the last total is on its topic", events=events)
    reading = Figure("totals_read", "a reader of totals begins: until it has those of every area")
    for number in range(bench.runs):
        for site, report in reversed(bench.sites):
            for publish in (False, True):
                place = Place(f"t{number}{'p' if publish else ''}.")
                site.run(place, "ingest", "topics")
                place = site.new_database(place.prefix)
                try:
                    ended, last = published.counted(site, night, place, publish=publish)
                    if publish:
                        _note(report, committed, ended)
                        _note(report, told, last)
                        read, areas = published.read_from_the_beginning(site, place)
                        _note(report, replace(reading, title=f"{reading.title} ({areas:,})", events=read.events), read)
                    else:
                        _note(report, without, ended)
                except CommandFailed as error:
                    print(f"publishing: {error}", file=sys.stderr, flush=True)
                finally:
                    site.drop(place)
    for figure in (without, committed, told, reading):
        bench.show(figure.key)


def _note(report: Report, figure: Figure, run: Run) -> None:
    report.figures.setdefault(figure.key, replace(figure, runs=[])).runs.append(run)
