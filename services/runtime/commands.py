"""The frame of every command: its answer, its faults and its exit code.

Exit codes: 0 success; 1 a negative answer; 2 wrong use, input that cannot be read, or a fault. Answers go to standard
output, everything else to standard error. A fault is one line, `PROGRAM: what is wrong, where, and what to do`.
"""

import json
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from schemas.errors import EscrutinioError


class Command(click.Command):
    """A command that ends on a fault with its exit code and one line that describes it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EscrutinioError as fault:
            from runtime import logs  # here: a help text needs no log

            logs.log_fault(ctx.find_root().command.name or "escrutinio", fault)
            ctx.exit(fault.exit_code)
        except KeyboardInterrupt:  # not 1: an interrupted question has no answer
            click.echo("interrupted", err=True)
            ctx.exit(128 + signal.SIGINT)


class Group(click.Group):
    """A program that lists its commands in the order in which they are added."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = {"help_option_names": ["-h", "--help"], "show_default": True}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the commands in the order in which they were added."""
        return list(self.commands)


json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, with the event's field names.")


def answer(value: Any) -> None:
    """Print an answer as JSON: times in the contract's form, other values as text."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_json_value))


def _json_value(value: object) -> str:
    from schemas.types import rfc3339

    return rfc3339(value) if isinstance(value, datetime) else str(value)


def show(as_json: bool, value: Callable[[], Any], drawn: Callable[[], Any]) -> None:
    """Print an answer as JSON, or as tables for a terminal."""
    if as_json:
        answer(value())
    else:
        console().print(drawn())


def console() -> Any:
    """Return the console for answers. A pipe gets plain text as wide as it needs."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=160)


def stopping() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set, so that the current batch is finished first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
