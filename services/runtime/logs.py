"""Write the log of a process to standard error: lines for people, or one JSON object per line for machines.

Place in the flow: beside it. The text for people is the `message`; its subject (`contest_id`, `event_id`, `partition`,
`offset`, `code` …) is in separate fields, given as `extra=` by the caller. Standard error is not buffered: a crash
loses only the line being written.
"""

import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter
from rich.console import Console

from schemas.types import rfc3339

_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman create in every container."""


class LogFormat(StrEnum):
    """The form of log lines. `AUTO`: JSON in a container without a terminal; text everywhere else."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class _Json(JsonFormatter):
    """A JSON object with `time` (UTC, RFC 3339), `level`, `logger`, `message` and the given fields."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        """Put the time first, so that lines sort in the order in which they were written."""
        log_data["time"] = _time(record)
        super().add_fields(log_data, record, message_dict)


class _OnConsole(logging.Handler):
    """A handler that prints lines for people, above a progress bar if the console shows one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, whatever its length."""
        try:
            line = f"{_time(record)} {record.levelname} {self.format(record)}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        except Exception:  # as in every handler of the library: a line that cannot be printed must not end the work
            self.handleError(record)


def configure(log_format: LogFormat) -> Console:
    """Configure the log of this process. Returns the console for a progress bar; `is_terminal` is false for JSON."""
    console = Console(stderr=True)
    handler: logging.Handler
    if log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not console.is_terminal and _in_container()):
        console = Console(stderr=True, force_terminal=False)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Json())
    else:
        handler = _OnConsole(console)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its faults reach us as exceptions
    return console


def log_fault(program: str, fault: Exception, hint: str = "") -> None:
    """Write the fault that ends a process: its last line, as JSON if the log is JSON. `hint`: appended to it."""
    if is_json():
        logging.getLogger(program).critical("%s%s", fault, hint, extra={"fault": type(fault).__name__})
    else:
        print(f"{program}: {fault}{hint}", file=sys.stderr)  # noqa: T201


def is_json() -> bool:
    """Say whether this process logs JSON."""
    return any(isinstance(handler.formatter, _Json) for handler in logging.getLogger().handlers)


def _in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def _time(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, UTC))
