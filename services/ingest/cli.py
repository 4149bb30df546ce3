"""`escrutinio-ingest`: the command. Alone in ingest it reads configuration: flags over environment over a file.

Place in the flow: before and after it. Exit codes: 0 everything was taken, 1 some rows were rejected, 2 unreadable input,
wrong use, or a fault. Reports go to standard output, everything said meanwhile to standard error.
"""

import gc
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ingest import broker, contest_file, publish
from ingest.adapters.table import BadCell, instant
from ingest.archive import Archive
from ingest.errors import IngestError, Stopped
from ingest.listener import Listener
from ingest.metrics import Metrics
from ingest.pipeline import Connection, Pipeline
from ingest.report import Report
from ingest.screen import ProgressScreen
from ingest.watch import Watch
from runtime import logs
from runtime.access import AccessError, KafkaAccess
from runtime.health import new_registry, serving
from runtime.logs import LogFormat
from runtime.settings import Settings, SettingsError
from schemas.contest import ContestDefined
from schemas.errors import EscrutinioError
from schemas.types import ReportingUnitType

logger = logging.getLogger(__name__)


class IngestSettings(Settings):
    """What ingest can be told, beside what every service can."""

    archive: Path = Path("archive")
    contest: Path | None = None
    replication_factor: int = 1


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--bootstrap-servers", metavar="HOST:PORT[,…]", help="Kafka brokers. [ESCRUTINIO_BOOTSTRAP_SERVERS]"
        ),
        click.option(
            "--kafka-config",
            type=click.Path(path_type=Path),
            help="File that says how Kafka is reached, and as whom. [ESCRUTINIO_KAFKA_CONFIG]",
        ),
        click.option("--topic-prefix", help="Put before every topic's name, for rehearsals. [ESCRUTINIO_TOPIC_PREFIX]"),
    ):
        command = option(command)
    return command


def _working(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--archive", type=click.Path(path_type=Path), help="Folder that keeps every document. [ESCRUTINIO_ARCHIVE]"),
        click.option(
            "--contest", type=click.Path(path_type=Path, dir_okay=False),
            help="The contest's file; may be left out when the log has exactly one contest. [ESCRUTINIO_CONTEST]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Report as JSON."),
        click.option(
            "--log-format", type=click.Choice([one.value for one in LogFormat]),
            help="What is said meanwhile: text, or a JSON object a line; auto (unless told): JSON in containers. [ESCRUTINIO_LOG_FORMAT]",
        ),
    ):  # fmt: skip
        command = option(command)
    return _common(command)


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
@_common
@click.option(
    "--replication-factor", type=click.IntRange(1), help="Copies of every message. [ESCRUTINIO_REPLICATION_FACTOR]"
)
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
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Answer /metrics, /live and /ready there; nowhere unless told. [ESCRUTINIO_HTTP]",
)
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


def _run(
    flags: dict[str, Any],
    as_json: bool,
    work: Callable[[Pipeline, ProgressScreen, threading.Event], object],
    *,
    until_stopped: bool = False,
    revising: bool = False,
) -> None:
    """`until_stopped`: what is published and rejected is then said at once, it can be asked over HTTP how it is, and a stop as
    asked is no fault."""
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
            stack.enter_context(serving(settings.http, registry, metrics.pulse, metrics.not_ready, stop))
        screen = stack.enter_context(ProgressScreen(console))
        archive = Archive(settings.archive)
        pipeline = Pipeline(
            connection, archive, file, screen, stop, revising=revising, aloud=until_stopped, listener=listener
        )
        with pipeline:
            work(pipeline, screen, stop)
    _tell(pipeline.report, as_json)
    raise SystemExit(0 if until_stopped else pipeline.report.exit_code)


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
        _say_fault(fault)
        os._exit(2)  # a producer that cannot reach its broker would hold up, or fail in, an orderly exit
    except EscrutinioError as fault:
        _say_fault(fault)
        raise SystemExit(2) from None


def _say_fault(fault: EscrutinioError) -> None:
    if logs.is_json():
        logger.critical("%s", fault, extra={"fault": type(fault).__name__})
    else:
        click.echo(f"escrutinio-ingest: {fault}", err=True)
