"""What the commands share: options, errors in one line, progress, answers as text or JSON."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aggregator import render
from aggregator.count import Count, NothingCounted
from aggregator.moment import NOW, Moment, MomentError, instant
from aggregator.projection import Projection, ProjectionError
from runtime import logs
from runtime.options import setting
from runtime.settings import local_database_hint
from schemas.errors import EscrutinioError
from schemas.types import rfc3339

errors = Console(stderr=True, highlight=False)


class Command(click.Command):
    """Turns our errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NothingCounted as error:
            errors.print(f"[red]no answer:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(1)
        except EscrutinioError as error:
            hint = local_database_hint(error)
            if logs.is_json():
                logs.say_fault("escrutinio-aggregator", error, hint)
            else:
                errors.print(f"[red]{type(error).__name__}:[/] {escape(f'{error}{hint}')}", soft_wrap=True)
            ctx.exit(2)


reader = setting("--reader-url", "PostgreSQL as a reader.")
writer = setting("--writer-url", "PostgreSQL as the writer.")
owner = setting("--owner-url", "PostgreSQL as the owner of the database.")


def projection(_context: click.Context, parameter: click.Parameter, name: str | None) -> Projection:
    """The projection of a name; the live one where none is given."""
    try:
        return Projection(name)
    except ProjectionError as error:
        raise click.BadParameter(str(error), param=parameter) from error


schema_option = click.option(
    "--schema",
    callback=projection,
    metavar="NAME",
    help="Read this projection (see `projections`), not the live one.",
)


json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, with the event's field names.")


def at_instant(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A time with its zone."""
    if value is None:
        return None
    try:
        return instant(value)
    except MomentError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def progress_bar(console: Console | None = None) -> Progress:
    """A bar on standard error, or on a console of it, where that is a terminal."""
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


def shown_on(bar: Progress) -> Callable[[int, int], None]:
    """Shows how far a reading of the log is."""
    task = bar.add_task("events", total=None, rate="")
    return lambda done, end: bar.update(task, completed=done, total=end)


def of_moment(answer: Count, moment: Moment) -> Count:
    """The answer, saying what was asked for."""
    return answer if moment == NOW else answer.model_copy(update={"moment": str(moment)})


def json_value(value: object) -> str:
    """Times in the contract's form; ids as they print."""
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def tell(answer: Any, drawn: Callable[[], Any]) -> None:
    """The answer as JSON, or where that was not asked for (None) as it is drawn."""
    if answer is not None:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        render.out().print(drawn())
