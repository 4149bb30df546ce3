"""Write the log of a process to standard error: lines for people, or one JSON object per line for machines.

Place in the flow: beside it. The text for people is the `message`; its subject (`contest_id`, `event_id`, `partition`,
`offset`, `code` …) is in separate fields, given as `extra=` by the caller. Standard error is not buffered: a crash
loses only the line being written. Whatever a process says goes through here, also a traceback, a warning, a wrong
flag, and what is said before the settings are read: a log of JSON has no other line, and no character is invisible.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.text import visible, visible_json

if TYPE_CHECKING:
    from runtime.terminal import Terminal

_JSON, _TEXT = "json", "text"
"""Names of the handlers."""

_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman create in every container."""


class LogFormat(StrEnum):
    """The form of log lines. `AUTO`: JSON in a container without a terminal; text everywhere else."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def _json_formatter() -> logging.Formatter:
    """Make JSON objects of `time` (UTC, RFC 3339), `level`, `logger`, `message` and the given fields."""
    from pythonjsonlogger.json import JsonFormatter  # here: most commands write text

    time = _clock()

    class TimeFirst(JsonFormatter):
        def add_fields(
            self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
        ) -> None:
            """Put the time first, so that lines sort in the order in which they were written."""
            log_data["time"] = time(record)
            super().add_fields(log_data, record, message_dict)

        def format(self, record: logging.LogRecord) -> str:
            return visible_json(super().format(record))

    return TimeFirst(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        json_ensure_ascii=False,
    )


class _TextFormatter(logging.Formatter):
    """Make a line of a record, and an indented one of each line of its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._time = _clock()

    def format(self, record: logging.LogRecord) -> str:
        lines = [visible(f"{self._time(record)} {record.levelname} {record.getMessage()}")]
        if record.exc_info:
            told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n").split("\n")
            lines += [f"    {visible(line)}" for line in told]
        return "\n".join(lines)


class _Handler(logging.Handler):
    """A handler that says in its own form that a record cannot be written, where the library prints a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # as in every handler of the library: such a line must not end the work
            about = {"levelname": "ERROR", "levelno": logging.ERROR, "name": record.name}
            fault = f"{record.pathname}, line {record.lineno}: this line of the log cannot be written: {error!r}"
            line = self.format(logging.makeLogRecord({**about, "msg": "%s", "args": (fault,)}))
        with suppress(OSError, ValueError):  # nobody reads the log any more
            self.write(line)

    def write(self, line: str) -> None:
        raise NotImplementedError


class _OnConsole(_Handler):
    """A handler that prints lines for people, above a progress bar if the console shows one."""

    def __init__(self, console: Terminal) -> None:
        super().__init__()
        self.name, self._console = _TEXT, console
        self.setFormatter(_TextFormatter())

    def write(self, line: str) -> None:
        for one in line.split("\n"):
            self._console.print(one, soft_wrap=True)


class _AsJson(_Handler):
    """A handler that writes an object on a line."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self._stream = _JSON, sys.stderr
        self.setFormatter(_json_formatter())

    def write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def configure(log_format: LogFormat) -> Terminal:
    """Configure the log of this process. Returns the console for a progress bar; `is_terminal` is false for JSON."""
    from runtime.terminal import Terminal  # here: a command that logs nothing needs none

    as_json = _wants_json(log_format)
    console = Terminal(stderr=True, force_terminal=False) if as_json else Terminal(stderr=True)
    handler = _AsJson() if as_json else _OnConsole(console)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its faults reach us as exceptions
    return console


def log_fault(program: str, fault: Exception | str) -> None:
    """Write the fault that ends a process: its last line, as JSON if the log is JSON or is asked to be."""
    if is_json():
        _configure_once()
        extra = {} if isinstance(fault, str) else {"fault": type(fault).__name__}
        logging.getLogger(program).critical("%s", fault, extra=extra)
    else:
        print(visible(f"{program}: {fault}"), file=sys.stderr)  # noqa: T201


def as_json(program: str, line: str) -> str:
    """Return a line of an answer as a line of the log."""
    record = {"name": program, "levelname": "INFO", "levelno": logging.INFO, "msg": "%s", "args": (line,)}
    return _json_formatter().format(logging.makeLogRecord(record))


def is_json() -> bool:
    """Say whether this process logs JSON; before the settings are read, whether its flag or environment asks for it."""
    names = {handler.name for handler in logging.getLogger().handlers}
    return _JSON in names or (_TEXT not in names and _wants_json(_asked_for()))


def hold_process(program: str) -> None:
    """Log what would be printed otherwise: exceptions that nobody catches, of any thread, and warnings."""

    def log(error: BaseException | None, where: str) -> None:
        if isinstance(error, KeyboardInterrupt):
            log_fault(program, "interrupted")
        elif not isinstance(error, SystemExit):
            _configure_once()
            logging.getLogger(program).critical("unexpected fault%s: please report it", where, exc_info=error)

    sys.excepthook = lambda _kind, error, _trace: log(error, "")
    threading.excepthook = lambda about: log(about.exc_value, f" in thread {about.thread and about.thread.name}")
    sys.unraisablehook = lambda about: log(about.exc_value, f", which nobody can catch, in {about.object!r}")
    logging.captureWarnings(capture=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # where it was replaced
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _configure_once() -> None:
    if not {_JSON, _TEXT} & {handler.name for handler in logging.getLogger().handlers}:
        configure(_asked_for())


def _asked_for() -> LogFormat:
    """Return the format that the flag asks for, else the environment; AUTO for what is none."""
    asked = os.environ.get("ESCRUTINIO_LOG_FORMAT", "")
    for word, after in pairwise((*sys.argv[1:], "")):
        if word == "--log-format":
            asked = after
        elif word.startswith("--log-format="):
            asked = word.partition("=")[2]
    return LogFormat(asked) if asked in list(LogFormat) else LogFormat.AUTO


def _wants_json(log_format: LogFormat) -> bool:
    if log_format is not LogFormat.AUTO:
        return log_format is LogFormat.JSON
    from runtime.terminal import Terminal

    return _in_container() and not Terminal(stderr=True).is_terminal


def _in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def _clock() -> Callable[[logging.LogRecord], str]:
    from schemas.types import rfc3339  # here: a help text needs no model, and nothing is imported while Python ends

    return lambda record: rfc3339(datetime.fromtimestamp(record.created, UTC))
