"""Run a pipeline for a command, with the settings that it was given."""

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from pydantic import ValidationError

from ingest import operator
from ingest.errors import IngestError
from ingest.listener import Listener
from ingest.metrics import Metrics
from ingest.news import contest_file
from ingest.news.proposal import Wish
from ingest.pipeline import Pipeline
from ingest.progress import ConsoleProgress
from ingest.publish.connection import Connection
from ingest.sources import folder
from ingest.sources.archive import Archive
from runtime import logs
from runtime.commands import answer, stopping
from runtime.health import new_registry, serve_health
from runtime.settings import Settings
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.faults import first_fault
from schemas.types import ReportingUnitType, UpdateKind

Work = Callable[[Pipeline, ConsoleProgress, threading.Event], object]


class IngestSettings(Settings):
    """What ingest can be given, beside what every command can."""

    archive: Path = Path("archive")
    contest: Path | None = None
    replication_factor: int = 1


def run(flags: dict[str, Any], as_json: bool, work: Work, *, until_stopped: bool = False, **options: Any) -> None:
    """Do `work`, report, and end with the report's exit code.

    `until_stopped`: what is published and rejected is also logged at once, health is served over HTTP, and a stop as
    asked is no fault. `options`: those of `_at_work`.
    """
    with _at_work(flags, until_stopped=until_stopped, **options) as (pipeline, progress, stop):
        work(pipeline, progress, stop)
    if as_json:
        answer(pipeline.report.as_json())
    else:
        click.echo("\n".join(pipeline.report.lines()))
    raise SystemExit(0 if until_stopped else pipeline.report.exit_code)


@contextmanager
def _at_work(
    flags: dict[str, Any],
    *,
    until_stopped: bool = False,
    revising: bool = False,
    archive: Archive | None = None,
    following: UnitKey | None = None,
) -> Iterator[tuple[Pipeline, ConsoleProgress, threading.Event]]:
    """Open a pipeline that has read the log. Also yields where it shows progress, and the event that stops it."""
    settings = IngestSettings.load(**flags)
    # A document is a million small values without cycles: looking for cycles among them took a third of the time.
    gc.set_threshold(1_000_000, 20, 100)
    stop = stopping()
    console = logs.configure(settings.log_format)
    connection = Connection(settings.kafka, settings.names, 0 if until_stopped else 20)
    definition = read_contest(settings.contest) if settings.contest is not None else None
    with ExitStack() as stack:
        listener = Listener()
        if until_stopped:
            registry = new_registry("ingest")
            listener = metrics = Metrics(registry)
            stack.enter_context(serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop))
        progress = stack.enter_context(ConsoleProgress(console))
        pipeline = Pipeline(
            connection,
            archive or Archive(settings.archive),
            definition,
            progress,
            stop,
            revising=revising,
            log_each=until_stopped,
            listener=listener,
            following=following,
        )
        with pipeline:
            yield pipeline, progress, stop


def read_contest(path: Path) -> ContestDefined:
    """Read a contest's file and the areas that it names. Raises IngestError."""
    try:
        toml = path.read_text(encoding="utf-8")
        areas = (path.parent / contest_file.areas_name(toml)).read_text(encoding="utf-8")
        return contest_file.read(toml, areas)
    except (OSError, UnicodeDecodeError, contest_file.ContestFileError) as error:
        raise IngestError(f"the contest's file {path}: {error}") from error


def decide(
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
    """Propose an operator's decision; with a code, publish the one that was proposed under it."""
    archive = Archive(IngestSettings.load(**flags).archive, beside=True)
    if code is not None:
        if any(given is not None for given in (unit, reason, authority, replaces, figures)):
            raise click.UsageError("--confirm publishes what was proposed; it goes with --operator alone")
        _confirm(kind, archive, code, operator, as_json, flags)
    if unit is None or not reason or not authority:
        raise click.UsageError("give the unit, as country/pe, with --reason and --authority")
    try:
        wish = Wish(
            unit=_unit(unit),
            kind=kind,
            reason=reason,
            authority=authority,
            operator=operator,
            replaces=replaces,
            at=folder.now(),
        )
    except ValidationError as error:
        raise click.UsageError(first_fault(error)) from error
    _propose(archive, wish, figures, as_json, flags)


def _propose(archive: Archive, wish: Wish, figures: Path | UUID | None, as_json: bool, flags: dict[str, Any]) -> None:
    with _at_work(flags, archive=archive, following=wish.unit) as (pipeline, *_):
        proposal, code = operator.propose(pipeline, archive, wish, figures)
    if as_json:
        answer({"code": code, **json.loads(proposal.content())})
        return
    click.echo("\n".join(proposal.lines()))
    command = "correct" if wish.kind is UpdateKind.CORRECTED else "retract"
    click.echo("Nothing is published yet. A second person who has checked it publishes exactly this with:")
    click.echo(f"  escrutinio-ingest {command} --confirm {code} --operator NAME")


def _confirm(kind: UpdateKind, archive: Archive, code: str, name: str, as_json: bool, flags: dict[str, Any]) -> None:
    proposal, document = operator.proposed(archive, code)
    if proposal.event.kind is not kind:
        raise click.UsageError(f"the proposal {code} is to be {proposal.event.kind}, not {kind}")
    if not as_json:
        click.echo("\n".join(proposal.lines()))
    run(
        flags,
        as_json,
        lambda pipeline, *_: operator.confirm(pipeline, archive, proposal, document, name, folder.now()),
        archive=archive,
        following=proposal.event.unit,
    )


def _unit(text: str) -> UnitKey:
    kind, _, unit_id = text.partition("/")
    if kind not in list(ReportingUnitType) or not unit_id:
        raise click.UsageError(
            f"{text!r} is no unit: give its type and id, as country/pe; the type is one of "
            f"{', '.join(ReportingUnitType)}"
        )
    return UnitKey(kind, unit_id)
