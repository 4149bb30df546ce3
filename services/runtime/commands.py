"""The frame of every command: its answer, its faults and its exit code.

Exit codes: 0 success; 1 a negative answer; 2 wrong use, input that cannot be read, or a fault. Answers go to standard
output, everything else to standard error. A fault is one line, `PROGRAM: what is wrong, where, and what to do`. Where
the log is JSON, each line of an answer in words is an object too; every character of it is visible.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from schemas.errors import EscrutinioError
from schemas.text import visible, visible_json


class Command(click.Command):
    """A command that ends on a fault with its exit code and one line that describes it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EscrutinioError as fault:
            from runtime import logs  # here: a help text needs no log

            logs.log_fault(_program(), fault)
            ctx.exit(fault.exit_code)
        except KeyboardInterrupt:  # not 1: an interrupted question has no answer
            say("interrupted", err=True)
            ctx.exit(128 + signal.SIGINT)


class Group(click.Group):
    """A program that lists its commands in the order in which they are added."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = {"help_option_names": ["-h", "--help"], "show_default": True}

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:
        """Run the program; without `args`, as this process's own, whose every line is a line of its log."""
        if args is None:
            from runtime import logs

            logs.hold_process(self.name or "escrutinio")
        return super().main(args, *others, **options)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the program's own flags."""
        with _wrong_use_named(self.name or "escrutinio"):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for."""
        with _wrong_use_named(self.name or "escrutinio"):
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the commands in the order in which they were added."""
        return list(self.commands)


@contextmanager
def _wrong_use_named(program: str) -> Iterator[None]:
    """Say what is wrong with the words of the command line: they may be names of files that others gave."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as wrong:
        from runtime import logs

        if logs.is_json():
            logs.log_fault(program, wrong.format_message())
            raise click.exceptions.Exit(wrong.exit_code) from wrong
        raise click.UsageError(visible(wrong.format_message()), wrong.ctx) from wrong


PROGRESS_EVERY_S = 2.0
"""Seconds between two words of how far long work is."""
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, with the event's field names.")


def answer(value: Any) -> None:
    """Print an answer as JSON: times in the contract's form, other values as text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_json_value)
    click.echo(visible_json(text))


def say(*lines: str, err: bool = False) -> None:
    """Print lines of an answer in words; as objects, a line each, where the log is JSON."""
    from runtime import logs

    shown = [logs.as_json(_program(), line) if logs.is_json() else visible(line) for line in lines]
    click.echo("\n".join(shown), err=err)


def tell(as_json: bool, value: Any, lines: Sequence[str]) -> None:
    """Print an answer as JSON, or as lines in words."""
    if as_json:
        answer(value)
    else:
        say(*lines)


class Progress:
    """Says every few seconds how far long work is."""

    def __init__(self, name: str, notify: Callable[[str], None]) -> None:
        self._name, self._notify, self._said_at = name, notify, time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        """Note how much is done of all there is to do."""
        if time.monotonic() - self._said_at >= PROGRESS_EVERY_S:
            self._said_at = time.monotonic()
            self._notify(f"{self._name}: {done:,} of {of:,}")


def _program() -> str:
    context = click.get_current_context(silent=True)
    return (context and context.find_root().command.name) or "escrutinio"


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
    from runtime.terminal import Terminal

    terminal = Terminal()
    return terminal if terminal.is_terminal else Terminal(width=160)


def stopping(within_s: float = 20.0) -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set, so that the current batch is finished first.

    A process that has not ended `within_s` after the signal, because a disk or a network share does not answer, is
    ended where it is: as after any crash, running the same again does the rest.
    """
    stop = threading.Event()
    program = _program()

    def end() -> None:
        from runtime import logs

        line = f"not stopped within {within_s:g} s: ended at once; running the same again does the rest"
        try:  # not by the handlers of the log: what does not answer may hold them
            os.set_blocking(2, False)
            os.write(2, f"{logs.as_json(program, line) if logs.is_json() else line}\n".encode())
        finally:
            os._exit(128 + signal.SIGTERM)

    def asked(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            guard = threading.Timer(within_s, end)
            guard.daemon = True
            guard.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    return stop
