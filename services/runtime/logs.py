"""Write the log of a process to standard error: lines for people, or one JSON object per line for machines.

Place in the flow: beside it. The text for people is the `message`; its subject (`contest_id`, `event_id`, `partition`,
`offset`, `code` …) is in separate fields, given as `extra=` by the caller. Standard error is not buffered: a crash
loses only the line being written.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.types import rfc3339

if TYPE_CHECKING:
    from rich.console import Console

_JSON = "json"
"""Name of the handler that writes JSON."""

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

    class TimeFirst(JsonFormatter):
        def add_fields(
            self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
        ) -> None:
            """Put the time first, so that lines sort in the order in which they were written."""
            log_data["time"] = _time(record)
            super().add_fields(log_data, record, message_dict)

    return TimeFirst(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        json_ensure_ascii=False,
    )


class _OnConsole(logging.Handler):
    """A handler that prints lines for people, above a progress bar if the console shows one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{_time(record)} {record.levelname} {self.format(record)}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        except Exception:  # as in every handler of the library: a line that cannot be printed must not end the work
            self.handleError(record)


def configure(log_format: LogFormat) -> Console:
    """Configure the log of this process. Returns the console for a progress bar; `is_terminal` is false for JSON."""
    from rich.console import Console  # here: a command that logs nothing needs none

    console = Console(stderr=True)
    handler: logging.Handler
    if log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not console.is_terminal and _in_container()):
        console = Console(stderr=True, force_terminal=False)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_json_formatter())
        handler.name = _JSON
    else:
        handler = _OnConsole(console)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its faults reach us as exceptions
    return console


def log_fault(program: str, fault: Exception) -> None:
    """Write the fault that ends a process: its last line, as JSON if the log is JSON or is asked to be."""
    if not logging.getLogger().handlers and os.environ.get("ESCRUTINIO_LOG_FORMAT") == LogFormat.JSON:
        configure(LogFormat.JSON)
    if is_json():
        logging.getLogger(program).critical("%s", fault, extra={"fault": type(fault).__name__})
    else:
        print(f"{program}: {fault}", file=sys.stderr)  # noqa: T201


def is_json() -> bool:
    """Say whether this process logs JSON."""
    return any(handler.name == _JSON for handler in logging.getLogger().handlers)


def _in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def _time(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, UTC))
