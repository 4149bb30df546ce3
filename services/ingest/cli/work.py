"""Run a pipeline for a command, with the settings that it was given."""

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import click
from pydantic import Field, TypeAdapter, ValidationError

from ingest import operator
from ingest.errors import IngestError
from ingest.feeds.records import Limits
from ingest.feeds.registry import DEFAULT_LIMITS
from ingest.listener import Listener
from ingest.news import contest_file
from ingest.news.contest_areas import LARGEST_AREAS
from ingest.news.contest_file import Contest
from ingest.news.proposal import Wish
from ingest.news.roll_file import LARGEST_ROLL
from ingest.news.silence import status
from ingest.pipeline import Pipeline
from ingest.progress import ConsoleProgress
from ingest.publish.connection import Connection
from ingest.report import Report
from ingest.sources import folder
from ingest.sources.archive import Archive
from runtime import logs
from runtime.commands import answer, say, stopping
from runtime.files import read_regular, read_text
from runtime.settings import Settings
from schemas.contest import Level
from schemas.count_update import UnitKey
from schemas.faults import first_fault
from schemas.rules import CLOCK_LIMIT
from schemas.source_status import SourceState, SourceStatus
from schemas.text import normal_id
from schemas.types import OTHER_TYPE, Label, ReportingUnitType, UpdateKind, is_type, rfc3339

_DAY_S = CLOCK_LIMIT // timedelta(seconds=1)
_Ahead = Annotated[int, Field(ge=-_DAY_S, le=_DAY_S)]
Work = Callable[[Pipeline, ConsoleProgress, threading.Event], object]


class IngestSettings(Settings):
    """What ingest can be given, beside what every command can."""

    archive: Path = Path("archive")
    contest: Path | None = None
    replication_factor: int = Field(1, ge=1, lt=2**15)
    largest_document: int = Field(DEFAULT_LIMITS.document_mib, ge=1, le=1024)
    largest_unpacked: int = Field(DEFAULT_LIMITS.unpacked_mib, ge=1, le=1024)
    most_rows: int = Field(DEFAULT_LIMITS.rows, ge=1, lt=2**31)
    clock_ahead_s: dict[Label, _Ahead] = Field(default_factory=dict)
    """Seconds by which the clock of a source is known to be ahead of ours, by its name; below 0 behind."""

    @property
    def clocks(self) -> dict[str, timedelta]:
        """How far the clock of a source is ahead of ours, by its name."""
        return {name: timedelta(seconds=ahead) for name, ahead in self.clock_ahead_s.items()}

    @property
    def limits(self) -> Limits:
        """What a document may hold."""
        return Limits(self.largest_document, self.largest_unpacked, self.most_rows)


def run(
    flags: dict[str, Any],
    as_json: bool,
    work: Work,
    *,
    lines: Callable[[Report], Iterator[str]] = Report.lines,
    until_stopped: bool = False,
    **options: Any,
) -> None:
    """Do `work`, report in `lines`, and end with the report's exit code.

    `until_stopped`: what is published and rejected is also logged at once, health is served over HTTP, and a stop as
    asked is no fault. `options`: those of `_at_work`.
    """
    with _at_work(flags, until_stopped=until_stopped, **options) as (pipeline, progress, stop):
        work(pipeline, progress, stop)
    if as_json:
        answer(pipeline.report.as_json())
    else:
        say(*lines(pipeline.report))
    raise SystemExit(0 if until_stopped else pipeline.report.exit_code)


@contextmanager
def _at_work(
    flags: dict[str, Any],
    *,
    until_stopped: bool = False,
    revising: bool = False,
    archive: Archive | None = None,
    following: UnitKey | None = None,
    complete: bool = False,
) -> Iterator[tuple[Pipeline, ConsoleProgress, threading.Event]]:
    """Open a pipeline that has read the log. Also yields where it shows progress, and the event that stops it."""
    settings = IngestSettings.load(**flags)
    settings.learn_schemas()
    # A document is a million small values without cycles: looking for cycles among them took a third of the time.
    gc.set_threshold(1_000_000, 20, 100)
    stop = stopping()
    console = logs.configure(settings.log_format)
    connection = Connection(settings.kafka, settings.names, 0 if until_stopped else 20)
    contest = read_contest(settings.contest) if settings.contest is not None else None
    with ExitStack() as stack:
        listener = Listener()
        if until_stopped:
            from ingest.metrics import Metrics
            from runtime.health import new_registry, serve_health

            registry = new_registry("ingest")
            listener = metrics = Metrics(registry)
            stack.enter_context(serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop))
        progress = stack.enter_context(ConsoleProgress(console))
        pipeline = Pipeline(
            connection,
            archive or Archive(settings.archive),
            None if contest is None else contest.definition,
            progress,
            stop,
            revising=revising,
            log_each=until_stopped,
            listener=listener,
            following=following,
            limits=settings.limits,
            clocks=settings.clocks,
            roll=None if contest is None else contest.roll,
            is_complete=complete or (contest is not None and contest.complete_publications),
        )
        del contest  # a roll of many sheets takes as much memory as their statements
        with pipeline:
            yield pipeline, progress, stop


def read_contest(path: Path) -> Contest:
    """Read a contest's file and the tables that it names. Raises IngestError."""
    text, areas_path, roll_path = contest_text(path)
    names = contest_file.Files(str(path), str(areas_path), str(roll_path or "the roll"))
    areas, roll, unreadable = tables(areas_path, roll_path)
    if unreadable:
        raise IngestError(unreadable[0])
    assert areas is not None
    try:
        return contest_file.read(text, areas, names, roll)
    except contest_file.ContestFileError as error:
        raise IngestError(str(error)) from error


def contest_text(path: Path) -> tuple[str, Path, Path | None]:
    """Return the text of a contest's file, and where its tables of areas and of units lie. Raises IngestError."""
    try:
        text = read_text(path)
        areas, roll = contest_file.beside(text)
    except (OSError, ValueError, contest_file.ContestFileError) as error:
        raise IngestError(f"the contest's file {path}: {_in_words(error)}") from error
    return text, path.parent / areas, None if roll is None else path.parent / roll


def tables(areas: Path, roll: Path | None) -> tuple[str | None, bytes | None, list[str]]:
    """Read the tables beside a contest's file. Also returns why one cannot be read."""
    text, content, unreadable = None, None, list[str]()
    try:
        text = read_text(areas, LARGEST_AREAS)
    except (OSError, ValueError) as error:
        unreadable.append(f"the table of areas {areas}, which the contest's file names: {_in_words(error)}")
    try:
        content = None if roll is None else read_regular(roll, LARGEST_ROLL)
    except OSError as error:
        unreadable.append(f"the roll {roll}, which the contest's file names: {_in_words(error)}")
    return text, content, unreadable


def _in_words(error: Exception) -> str:
    """Say a fault without the number and the path that Python puts around it; the sentence names the file."""
    return getattr(error, "strerror", None) or str(error)


def decide(
    kind: UpdateKind,
    figures: Path | UUID | None,
    *,
    unit: str | None,
    reason: str | None,
    authority: str | None,
    operator: str,
    replaces: UUID | None,
    replaced_by: tuple[str, ...],
    code: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Propose an operator's decision; with a code, publish the one that was proposed under it."""
    archive = Archive(IngestSettings.load(**flags).archive, beside=True)
    if code is not None:
        if any(given is not None for given in (unit, reason, authority, replaces, replaced_by or None, figures)):
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
            replaced_by=tuple(map(normal_id, replaced_by)) or None,
            at=folder.now(),
        )
    except ValidationError as error:
        raise click.UsageError(first_fault(error)) from error
    _propose(archive, wish, figures, as_json, flags)


def close_count(authority: str, reason: str, since: datetime | None, as_json: bool, **flags: Any) -> None:
    """Publish that the office's count is closed, once."""
    try:
        for text in (authority, reason):
            TypeAdapter(Label).validate_python(text)
    except ValidationError as error:
        raise click.UsageError(f"--authority and --reason: {first_fault(error)}") from error
    at = since or folder.now()
    if at > folder.now():
        raise click.UsageError("--since is to come; publish it then")

    def closed(pipeline: Pipeline, last: SourceStatus | None) -> SourceStatus | None:
        if last is not None and (last.state, last.reason, last.authority) == (SourceState.CLOSED, reason, authority):
            return None
        contest = pipeline.contest.definition
        if at < contest.count_starts_at:
            raise click.UsageError(f"--since is before the count began, {rfc3339(contest.count_starts_at)}")
        return status(contest.contest_id, SourceState.CLOSED, at, reason=reason, authority=authority)

    archive = Archive(IngestSettings.load(**flags).archive, beside=True)
    with _at_work(flags, archive=archive) as (pipeline, *_):
        pipeline.note(lambda heard: closed(pipeline, heard.last))
        now = pipeline.contest.source.last
    assert now is not None
    if as_json:
        answer(now.model_dump(mode="json"))
    else:
        say(f"closed since {rfc3339(now.since)}, on the word of {now.authority}: {now.reason}")


def _propose(archive: Archive, wish: Wish, figures: Path | UUID | None, as_json: bool, flags: dict[str, Any]) -> None:
    with _at_work(flags, archive=archive, following=wish.unit) as (pipeline, *_):
        proposal, code = operator.propose(pipeline, archive, wish, figures)
    if as_json:
        answer({"code": code, **json.loads(proposal.content())})
        return
    command = "correct" if wish.kind is UpdateKind.CORRECTED else "retract"
    say(
        *proposal.lines(),
        "Nothing is published yet. A second person who has checked it publishes exactly this with:",
        f"  escrutinio-ingest {command} --confirm {code} --operator NAME",
    )


def _confirm(kind: UpdateKind, archive: Archive, code: str, name: str, as_json: bool, flags: dict[str, Any]) -> None:
    proposal, document = operator.proposed(archive, code)
    if proposal.event.kind is not kind:
        raise click.UsageError(f"the proposal {code} is to be {proposal.event.kind}, not {kind}")
    if not as_json:
        say(*proposal.lines())
    run(
        flags,
        as_json,
        lambda pipeline, *_: operator.confirm(pipeline, archive, proposal, document, name, folder.now()),
        archive=archive,
        following=proposal.event.unit,
    )


def _unit(text: str) -> UnitKey:
    word, _, unit_id = text.partition("/")
    kind = normal_id(word)
    if not is_type(kind) or not unit_id:
        raise click.UsageError(
            f"{text!r} is no unit: give its type and id, as country/pe; the type is one of "
            f"{', '.join(ReportingUnitType)}, or {OTHER_TYPE} and a name"
        )
    return UnitKey(kind, normal_id(unit_id))


def level_of(text: str) -> Level:
    """Read a counting level: a type, or several with + between them. Raises UsageError."""
    level = tuple(map(normal_id, text.split("+")))
    for name in level:
        if not is_type(name):
            known = ", ".join(ReportingUnitType)
            raise click.UsageError(
                f"{name!r} is no type of units: give one of {known}, or {OTHER_TYPE} and a name; where several are "
                "added up together, precinct+county"
            )
    return level
