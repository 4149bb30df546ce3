"""What the commands share: options, errors in one line, progress, answers as text or JSON."""

import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aggregator import render
from aggregator.count import Count, NothingCounted
from aggregator.moment import NOW, Moment, MomentError, instant
from aggregator.projection import Projection, ProjectionError
from runtime import logs
from runtime.logs import LogFormat
from schemas.errors import EscrutinioError
from schemas.types import rfc3339

F = TypeVar("F", bound=Callable[..., Any])
logger = logging.getLogger(__name__)
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
            if logs.is_json():
                logger.critical("%s", error, extra={"fault": type(error).__name__})
            else:
                errors.print(f"[red]{type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(2)


def option(name: str, env: str, text: str) -> Callable[[F], F]:
    """A setting's flag; what is not given is found by `settings.load`."""
    return click.option(name, default=None, help=f"{text} [env: ESCRUTINIO_{env}; file: {env.lower()}]")


_servers = option("--bootstrap-servers", "BOOTSTRAP_SERVERS", "Kafka, host:port.")
_access = click.option(
    "--kafka-config",
    type=click.Path(path_type=Path),
    help="File that says how Kafka is reached, and as whom. [env: ESCRUTINIO_KAFKA_CONFIG; file: kafka_config]",
)


def kafka(command: F) -> F:
    """How Kafka is reached."""
    return _servers(_access(command))


reader = option("--reader-url", "READER_URL", "PostgreSQL as a reader.")
writer = option("--writer-url", "WRITER_URL", "PostgreSQL as the writer.")
owner = option("--owner-url", "OWNER_URL", "PostgreSQL as the owner of the database.")
prefix = option("--topic-prefix", "TOPIC_PREFIX", "Put before the topics' names, in a rehearsal.")


log_format_option = click.option(
    "--log-format",
    type=click.Choice([one.value for one in LogFormat]),
    help="How to say what is done: text, or a JSON object a line; auto, if not given: JSON in containers. "
    "[env: ESCRUTINIO_LOG_FORMAT; file: log_format]",
)


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
