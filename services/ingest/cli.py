"""`escrutinio-ingest`: the command. Alone in ingest it reads configuration: flags over environment over a file.

Place in the flow: before and after it. Exit codes: 0 everything was taken, 1 some rows were rejected, 2 unreadable input,
wrong use, or a fault. Reports go to standard output, everything said meanwhile to standard error.
"""

import gc
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pydantic import ValidationError

from ingest import operator as correcting
from ingest.errors import IngestError, Stopped
from ingest.feeds.table import BadCell, instant
from ingest.listener import Listener
from ingest.metrics import Metrics
from ingest.news import contest_file
from ingest.news.corrections import Wish
from ingest.pipeline import Connection, Pipeline
from ingest.progress import ProgressScreen
from ingest.publish import publisher as publish
from ingest.publish import reachable as broker
from ingest.report import Report
from ingest.sources import folder as source
from ingest.sources.archive import Archive
from ingest.watch import Watch
from runtime import logs, options
from runtime.health import new_registry, serve_health
from runtime.kafka.access import AccessError, KafkaAccess
from runtime.settings import Settings, SettingsError
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import EscrutinioError
from schemas.faults import first_fault
from schemas.types import ReportingUnitType, UpdateKind


class IngestSettings(Settings):
    """What ingest can be told, beside what every service can."""

    archive: Path = Path("archive")
    contest: Path | None = None
    replication_factor: int = 1


def _working(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.setting("--archive", "Folder that keeps every document.", click.Path(path_type=Path)),
        options.setting(
            "--contest",
            "The contest's file; may be left out when the log has exactly one contest.",
            click.Path(path_type=Path, dir_okay=False),
        ),
        click.option("--json", "as_json", is_flag=True, help="Report as JSON."),
        options.log_format,
    ):
        command = option(command)
    return options.kafka(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escrutinio")
def cli() -> None:
    """Puts official count updates on the log: what is new, once, in order; what is wrong, beside it.

    \b
    Example:
      escrutinio-ingest topics
      escrutinio-ingest load --contest examples/peru-2021-runoff/contest.toml examples/peru-2021-runoff/updates.csv
    """


@cli.command()
@options.kafka
@options.setting("--replication-factor", "Copies of every message.", click.IntRange(1))
def topics(**flags: Any) -> None:
    """Create the topics that are missing, and check the settings of all.

    \b
    Example:
      escrutinio-ingest topics --bootstrap-servers broker-1:9092 --replication-factor 3
    """
    settings, kafka = _settings(flags)
    connection = Connection(kafka, settings.names)
    broker.reach(kafka)
    created = publish.create(settings.kafka, connection.topics(), replication_factor=settings.replication_factor)
    publish.inspect(kafka, connection.topics())
    for name, new in created.items():
        click.echo(f"{name}: {'created' if new else 'there, settings are right'}")


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_working
@click.option("--observed-at", metavar="TIME", help="When the files were fetched, if not now, as 2021-07-01T00:00:00Z.")
def load(files: tuple[Path, ...], observed_at: str | None, as_json: bool, **flags: Any) -> None:
    """Load documents: files, and every file in the folders named.

    Running it again, on the same or on overlapping files, publishes nothing twice.

    \b
    Example:
      escrutinio-ingest load --contest contest.toml national/ actas/2021-06-08T1615Z.csv.gz
    """
    observed = _time(observed_at)
    _run(flags, as_json, lambda pipeline, *_: pipeline.load(files, observed))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_working
@click.option(
    "--every", "every_s", type=click.FloatRange(0.05), default=5.0, show_default=True, help="Seconds between looks."
)
@options.http
def watch(folder: Path, every_s: float, as_json: bool, **flags: Any) -> None:
    """Load what appears in a folder, until stopped (SIGTERM or Ctrl-C finish the document in hand).

    \b
    Example:
      escrutinio-ingest watch --contest contest.toml --http 127.0.0.1:9464 incoming/
    """
    if not folder.is_dir():
        raise click.BadParameter(f"{folder} is not a folder", param_hint="FOLDER")

    def work(pipeline: Pipeline, screen: ProgressScreen, stop: threading.Event) -> None:
        Watch(pipeline, folder, screen, stop, every_s=every_s).run()

    _run(flags, as_json, work, until_stopped=True)


@cli.command()
@click.argument("contest_file_path", metavar="CONTEST_FILE", type=click.Path(path_type=Path))
@_working
@click.option(
    "--effective-at", metavar="TIME", help="From which official time a revision holds; as the last if not given."
)
@click.option(
    "--counting-level",
    type=click.Choice([level.value for level in ReportingUnitType]),
    help="Add up this level from now on, also when not every unit of it has been stated.",
)
def define(
    contest_file_path: Path, effective_at: str | None, counting_level: str | None, as_json: bool, **flags: Any
) -> None:
    """Publish a contest's definition, or a changed one as its next revision.

    \b
    Example:
      escrutinio-ingest define examples/peru-2021-runoff/contest.toml
    """
    wanted, effective = _contest(contest_file_path), _time(effective_at)

    def work(pipeline: Pipeline, *_: object) -> None:
        pipeline.revise(wanted, effective, ReportingUnitType(counting_level) if counting_level is not None else None)

    _run({**flags, "contest": contest_file_path}, as_json, work, revising=True)


def _deciding(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("unit", metavar="[TYPE/ID]", required=False),
        click.option("--reason", help="Why, in words that newsrooms will read."),
        click.option("--authority", help="On whose word, such as 'ONPE, by telephone, M. Rojas'."),
        click.option("--operator", required=True, metavar="NAME", help="Who does this step; kept in the archive, not on the log."),
        click.option("--replaces", type=click.UUID, metavar="EVENT", help="The event to replace; the unit's state if not given."),
        click.option("--confirm", "code", metavar="CODE", help="Publish what was proposed under this code; takes --operator alone."),
    ):  # fmt: skip
        command = option(command)
    return _working(command)


@cli.command()
@_deciding
@click.option(
    "--figures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A table in our own form, with one row: the unit's.",
)
@click.option(
    "--figures-of", type=click.UUID, metavar="EVENT", help="An earlier event of the unit: its figures hold again."
)
def correct(figures: Path | None, figures_of: UUID | None, **flags: Any) -> None:
    """Correct what stands on the log about a unit, with the right figures. Two steps, for two people.

    The first shows what will change and prints a code; the second publishes exactly that, if the log still is what was
    shown. Runs beside `watch`, with the same archive.

    \b
    Example:
      escrutinio-ingest correct country/pe --figures right.csv --operator Ana --authority 'ONPE, by telephone' \\
          --reason 'the 05:19 bulletin was the one of 04:18 with two digits swapped'
      escrutinio-ingest correct --confirm 5f0c… --operator Luis
    """
    if flags["code"] is None and (figures is None) == (figures_of is None):
        raise click.UsageError("give the right figures: --figures FILE, or --figures-of EVENT, and not both")
    _decide(UpdateKind.CORRECTED, figures or figures_of, **flags)


@cli.command()
@_deciding
def retract(**flags: Any) -> None:
    """Take back what stands on the log about a unit: it then adds nothing. Two steps, as `correct`.

    \b
    Example:
      escrutinio-ingest retract precinct/000123 --operator Ana --authority ONPE --reason 'the sheet is of another district'
      escrutinio-ingest retract --confirm 5f0c… --operator Luis
    """
    _decide(UpdateKind.RETRACTED, None, **flags)


def _decide(
    kind: UpdateKind,
    figures: Path | UUID | None,
    *,
    unit: str | None,
    reason: str | None,
    authority: str | None,
    operator: str,
    replaces: UUID | None,
    code: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Proposes, or with a code confirms."""
    archive = Archive(_settings(flags)[0].archive, beside=True)
    now = source.now()
    if code is not None:
        if any(given is not None for given in (unit, reason, authority, replaces, figures)):
            raise click.UsageError("--confirm publishes what was proposed, and takes --operator alone")
        proposal, document = correcting.proposed(archive, code)
        if proposal.event.kind is not kind:
            raise click.UsageError(f"the proposal {code} is to be {proposal.event.kind}, not {kind}")
        if not as_json:
            click.echo("\n".join(proposal.lines()))
        _run(
            flags, as_json,
            lambda pipeline, *_: correcting.confirm(pipeline, archive, proposal, document, operator, now),
            archive=archive, following=proposal.event.unit,
        )  # fmt: skip
    if unit is None or not reason or not authority:
        raise click.UsageError("give the unit, as country/pe, with --reason and --authority")
    try:
        wish = Wish(
            unit=_unit(unit), kind=kind, reason=reason, authority=authority, operator=operator, replaces=replaces, at=now
        )  # fmt: skip
    except ValidationError as error:
        raise click.UsageError(first_fault(error)) from error
    with _at_work(flags, archive=archive, following=wish.unit) as (pipeline, *_):
        proposal, code = correcting.propose(pipeline, archive, wish, figures)
    if as_json:
        told = {"code": code, **json.loads(proposal.content())}
        click.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    click.echo("\n".join(proposal.lines()))
    command = "correct" if kind is UpdateKind.CORRECTED else "retract"
    click.echo("Nothing is published yet. Whoever has looked at it publishes exactly this with:")
    click.echo(f"  escrutinio-ingest {command} --confirm {code} --operator NAME")


def _unit(text: str) -> UnitKey:
    kind, _, unit_id = text.partition("/")
    if kind not in list(ReportingUnitType) or not unit_id:
        raise click.UsageError(
            f"{text!r} is no unit: its type and id, as country/pe, type one of {', '.join(ReportingUnitType)}"
        )
    return UnitKey(kind, unit_id)


def _run(
    flags: dict[str, Any],
    as_json: bool,
    work: Callable[[Pipeline, ProgressScreen, threading.Event], object],
    *,
    until_stopped: bool = False,
    **options: Any,
) -> None:
    """`until_stopped`: what is published and rejected is then said at once, it can be asked over HTTP how it is, and a stop as
    asked is no fault. `options`: `_at_work`'s."""
    with _at_work(flags, until_stopped=until_stopped, **options) as (pipeline, screen, stop):
        work(pipeline, screen, stop)
    _tell(pipeline.report, as_json)
    raise SystemExit(0 if until_stopped else pipeline.report.exit_code)


@contextmanager
def _at_work(
    flags: dict[str, Any],
    *,
    until_stopped: bool = False,
    revising: bool = False,
    archive: Archive | None = None,
    following: UnitKey | None = None,
) -> Iterator[tuple[Pipeline, ProgressScreen, threading.Event]]:
    """A pipeline that has read the log, and what tells it to stop."""
    settings, kafka = _settings(flags)
    # A document is a million small values without cycles: looking for cycles among them took a third of the time.
    gc.set_threshold(1_000_000, 20, 100)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    console = logs.configure(settings.log_format)
    connection = Connection(kafka, settings.names, 0 if until_stopped else 20)
    file = _contest(settings.contest) if settings.contest is not None else None
    with ExitStack() as stack:
        listener = Listener()
        if until_stopped:
            registry = new_registry("ingest")
            listener = metrics = Metrics(registry)
            stack.enter_context(serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop))
        screen = stack.enter_context(ProgressScreen(console))
        pipeline = Pipeline(
            connection, archive or Archive(settings.archive), file, screen, stop,
            revising=revising, aloud=until_stopped, listener=listener, following=following,
        )  # fmt: skip
        with pipeline:
            yield pipeline, screen, stop


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        for line in report.lines():
            click.echo(line)


def _settings(flags: dict[str, Any]) -> tuple[IngestSettings, KafkaAccess]:
    try:
        settings = IngestSettings.load(**flags)
        return settings, settings.kafka
    except (SettingsError, AccessError) as error:
        raise click.UsageError(str(error)) from error


def _contest(path: Path) -> ContestDefined:
    try:
        toml = path.read_text(encoding="utf-8")
        areas = (path.parent / contest_file.areas_name(toml)).read_text(encoding="utf-8")
        return contest_file.read(toml, areas)
    except (OSError, UnicodeDecodeError) as error:
        raise IngestError(f"the contest's file {path}: {error}") from error
    except contest_file.ContestFileError as error:
        raise IngestError(f"the contest's file {path}: {error}") from error


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return instant(text, "")
    except BadCell as bad:
        raise click.UsageError(
            f"{text!r} is not a time with its zone, in whole milliseconds, as 2021-07-01T00:00:00Z"
        ) from bad


def main() -> None:
    """The console script: faults become one clear line and exit code 2."""
    try:
        cli()
    except Stopped as fault:
        logs.log_fault("escrutinio-ingest", fault)
        os._exit(2)  # a producer that cannot reach its broker would hold up, or fail in, an orderly exit
    except EscrutinioError as fault:
        logs.log_fault("escrutinio-ingest", fault)
        raise SystemExit(2) from None
