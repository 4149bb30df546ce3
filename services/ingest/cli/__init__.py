"""`escrutinio-ingest`: from what an office publishes to the log. A command's modules are imported when it runs.

Exit codes: 0 everything is on the log, 1 some rows were rejected, 2 wrong use, unreadable input, or a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime import options
from runtime.commands import Command, Group, json_option, say

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@click.group(cls=Group, name="escrutinio-ingest")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Put official count updates on the log: what is new, once, in order; what is wrong, beside it.

    \b
    Example:
      escrutinio-ingest topics
      escrutinio-ingest load --contest examples/peru-2021-runoff/contest.toml examples/peru-2021-runoff/updates.csv
    """


_STATED_AT = (
    "When the documents were published that state no time, as 2021-07-01T00:00:00Z. A time in a document, or in the "
    "note beside it (NAME.about.toml), has priority."
)


def _time(_context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    from ingest.feeds.table import BadCell, instant

    if text is None:
        return None
    try:
        return instant(text, "")
    except BadCell as bad:
        raise click.BadParameter(
            f"{text!r} is not a time with its zone, in whole milliseconds, as 2021-07-01T00:00:00Z", param=parameter
        ) from bad


def _bounded(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag, text in (
        ("--most-rows", "Rows of a document. Default: 100000."),
        ("--largest-unpacked", "MiB of a document when unpacked. Default: 64."),
        ("--largest-document", "MiB of a document as it is; a larger one is rejected unread. Default: 32."),
    ):
        command = options.setting(flag, text, options.Whole(1))(command)
    return command


def _working(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.setting("--archive", "Folder that keeps every document. Default: archive.", click.Path(path_type=Path)),
        options.setting(
            "--contest",
            "The contest's file; may be left out when the log has exactly one contest.",
            click.Path(path_type=Path, dir_okay=False),
        ),
        json_option,
        options.log_format,
    ):
        command = option(command)
    return options.kafka(command)


@main.command()
@options.kafka
@options.setting("--replication-factor", "Copies of every message. Default: 1.", options.Whole(1))
def topics(**flags: Any) -> None:
    """Create the topics that are missing, and check the settings of all.

    \b
    Example:
      escrutinio-ingest topics --bootstrap-servers broker-1:9092 --replication-factor 3
    """
    from ingest.cli.work import IngestSettings
    from ingest.publish.connection import Connection
    from ingest.publish.publisher import create, inspect

    settings = IngestSettings.load(**flags)
    connection = Connection(settings.kafka, settings.names)
    created = create(connection.kafka, connection.all_topics(), replication_factor=settings.replication_factor)
    inspect(connection.kafka, connection.all_topics())
    for name, new in created.items():
        say(f"{name}: {'created' if new else 'there, settings are right'}")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_working
@_bounded
@click.option(
    "--stated-at",
    callback=_time,
    metavar="TIME",
    help=_STATED_AT,
)
@click.option(
    "--complete",
    is_flag=True,
    help="Each publication among the files names every unit that the office knows: one that is missing is named.",
)
def load(files: tuple[Path, ...], stated_at: datetime | None, complete: bool, as_json: bool, **flags: Any) -> None:
    """Load documents: files, and every file in the folders named.

    Running it again, on the same or on overlapping files, publishes nothing twice.

    \b
    Example:
      escrutinio-ingest load --contest contest.toml national/ actas/2021-06-08T1615Z.csv.gz
    """
    from ingest.cli.work import run

    run(flags, as_json, lambda pipeline, *_: pipeline.load(files, stated_at), complete=complete)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_working
@_bounded
@click.option(
    "--every", "every_s", type=options.Seconds(0.05), default=5.0, help="Seconds between looks at the folder."
)
@click.option(
    "--silent-after",
    "silent_after_s",
    type=options.Seconds(1),
    default=1800.0,
    help="Seconds without news or a repetition after which the log says that the source is silent.",
)
@options.http
def watch(folder: Path, every_s: float, silent_after_s: float, as_json: bool, **flags: Any) -> None:
    """Load what appears in a folder, until stopped (SIGTERM or Ctrl-C finish the document in hand).

    Says on results.ingest-status every 5 seconds that it lives, and on the log when the source falls silent.

    \b
    Example:
      escrutinio-ingest watch --contest contest.toml --http 127.0.0.1:9464 incoming/
    """
    from datetime import timedelta

    from ingest.cli.work import run
    from ingest.watch import Watch

    silent_after = timedelta(seconds=silent_after_s)
    if not folder.is_dir():
        raise click.BadParameter(f"{folder} is not a folder", param_hint="FOLDER")
    run(
        flags,
        as_json,
        lambda pipeline, progress, stop: Watch(pipeline, folder, progress, stop, every_s, silent_after).run(),
        until_stopped=True,
    )


@main.command()
@click.argument("contest_file_path", metavar="CONTEST_FILE", type=click.Path(path_type=Path))
@_working
@click.option(
    "--effective-at",
    callback=_time,
    metavar="TIME",
    help="From which official time a revision holds. Default: that of the last.",
)
@click.option(
    "--counting-level",
    metavar="TYPE",
    help="Add up units of this type from now on, also when not every one has been stated, or official statements "
    "contradict their sum. Of several types: precinct+county.",
)
def define(
    contest_file_path: Path, effective_at: datetime | None, counting_level: str | None, as_json: bool, **flags: Any
) -> None:
    """Publish a contest's definition, or a changed one as its next revision, and say what it holds.

    \b
    Example:
      escrutinio-ingest define examples/peru-2021-runoff/contest.toml
    """
    from ingest.cli.work import level_of, read_contest, run
    from ingest.report import Report

    level = None if counting_level is None else level_of(counting_level)
    wanted = read_contest(contest_file_path).definition
    run(
        {**flags, "contest": contest_file_path},
        as_json,
        lambda pipeline, *_: pipeline.revise(wanted, effective_at, level),
        lines=Report.lines_of_definitions,
        revising=True,
    )


@main.command()
@_working
@click.option("--authority", required=True, metavar="NAME", help="On whose word it is closed.")
@click.option("--reason", required=True, help="What the office says, and where: it is published.")
@click.option("--since", callback=_time, metavar="TIME", help="Since when, by the office's word. Default: now.")
def close(authority: str, reason: str, since: datetime | None, as_json: bool, **flags: Any) -> None:
    """Publish that the office's count is closed: by its word, nothing more will come.

    It changes no figure, and stops nobody: a source that says something all the same is said to speak again. May be run
    beside `watch`.

    \b
    Example:
      escrutinio-ingest close --contest contest.toml --authority ONPE --reason "100 % counted, communiqué of 15 June"
    """
    from ingest.cli.work import close_count

    close_count(authority, reason, since, as_json, **flags)


class _Commands(click.Group):
    command_class = Command


@main.group(cls=_Commands)
def contest() -> None:
    """Check a contest's file and documents before anything is published."""


@contest.command()
@click.argument("contest_file_path", metavar="CONTEST_FILE", type=click.Path(path_type=Path))
@click.argument("documents", nargs=-1, type=click.Path(path_type=Path))
@json_option
@options.log_format
@_bounded
@click.option(
    "--stated-at",
    callback=_time,
    metavar="TIME",
    help=_STATED_AT,
)
def check(
    contest_file_path: Path, documents: tuple[Path, ...], stated_at: datetime | None, as_json: bool, **flags: Any
) -> None:
    """Say what is missing or contradictory in a contest's file, and what documents would become.

    Publishes nothing, and needs no broker. Exit code: 0 fine, 1 findings, 2 something cannot be read. The file is
    described in docs/contest.md.

    \b
    Example:
      escrutinio-ingest contest check contest.toml 2020-11-03T2130.csv
    """
    from ingest.cli.check_contest import check_contest

    check_contest(contest_file_path, documents, stated_at, as_json, **flags)


def _deciding(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("unit", metavar="[TYPE/ID]", required=False),
        click.option("--reason", help="Why, in words that newsrooms will read."),
        click.option("--authority", help="On whose word, such as 'ONPE, by telephone, M. Rojas'."),
        click.option(
            "--operator", required=True, metavar="NAME", help="Who does this step; kept in the archive, not on the log."
        ),
        click.option(
            "--replaces", type=click.UUID, metavar="EVENT", help="The event to replace. Default: the unit's state."
        ),
        click.option(
            "--confirm",
            "code",
            metavar="CODE",
            help="Publish what was proposed under this code; goes with --operator alone.",
        ),
    ):
        command = option(command)
    return _working(command)


@main.command()
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
    """Correct a unit's statement on the log, with the right figures. Two steps, for two people.

    The first shows what will change and prints a code; the second publishes exactly that, if the log still is what was
    shown. Runs beside `watch`, with the same archive.

    \b
    Example:
      escrutinio-ingest correct country/pe --figures right.csv --operator Ana --authority 'ONPE, by telephone' \\
          --reason 'the 05:19 bulletin was the one of 04:18 with two digits swapped'
      escrutinio-ingest correct --confirm 5f0c… --operator Luis
    """
    from ingest.cli.work import decide
    from schemas.types import UpdateKind

    if flags["code"] is None and (figures is None) == (figures_of is None):
        raise click.UsageError("give the right figures: --figures FILE, or --figures-of EVENT, and not both")
    decide(UpdateKind.CORRECTED, figures or figures_of, replaced_by=(), **flags)


@main.command()
@_deciding
@click.option(
    "--replaced-by",
    multiple=True,
    metavar="ID",
    help="The id of a unit that takes the place of this one, as of a precinct that was split; may be repeated.",
)
def retract(**flags: Any) -> None:
    """Retract a unit's statement on the log: the unit then adds nothing. Two steps, as `correct`.

    \b
    Example:
      escrutinio-ingest retract precinct/000123 --operator Ana --authority ONPE \\
          --reason 'the sheet is of another district'
      escrutinio-ingest retract --confirm 5f0c… --operator Luis
    """
    from ingest.cli.work import decide
    from schemas.types import UpdateKind

    decide(UpdateKind.RETRACTED, None, **flags)
