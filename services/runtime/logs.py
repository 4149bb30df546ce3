"""What a process says while it works, on standard error: lines for people, or one JSON object per line for machines.

Place in the flow: beside it. Whatever was worth saying to a person is the `message`; what it is about (`contest_id`,
`event_id`, `partition`, `offset`, `code` …) stands beside it as fields of its own, given as `extra=` where it is logged. A
crash loses what was not yet written to standard error, which is not buffered.
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
"""Files that Docker and Podman put into every container."""


class LogFormat(StrEnum):
    """`AUTO`: JSON in a container, unless a person watches on a terminal; text anywhere else."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class _Json(JsonFormatter):
    """`time` (UTC, RFC 3339), `level`, `logger`, `message`, and the fields that were given."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        """The time first, so that lines sort as they were written."""
        log_data["time"] = _time(record)
        super().add_fields(log_data, record, message_dict)


class _OnConsole(logging.Handler):
    """Lines for people, above a progress bar where the console shows one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line, however long."""
        try:
            line = f"{_time(record)} {record.levelname} {self.format(record)}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        except Exception:  # as every handler of the library: what cannot be said must not end the work
            self.handleError(record)


def configure(log_format: LogFormat) -> Console:
    """Sends what this process logs to standard error, as asked. Returns the console for a progress bar, which shows none
    (`is_terminal` is false) where machines read."""
    console = Console(stderr=True)
    handler: logging.Handler
    if log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not console.is_terminal and _in_container()):
        console = Console(stderr=True, force_terminal=False)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Json())
    else:
        handler = _OnConsole(console)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it reaches us as an exception
    return console


def say_fault(program: str, fault: Exception, hint: str = "") -> None:
    """Why a process ends: its last line, of JSON where machines read. `hint`: the end of it."""
    if is_json():
        logging.getLogger(program).critical("%s%s", fault, hint, extra={"fault": type(fault).__name__})
    else:
        print(f"{program}: {fault}{hint}", file=sys.stderr)  # noqa: T201


def is_json() -> bool:
    """Whether machines read what this process says."""
    return any(isinstance(handler.formatter, _Json) for handler in logging.getLogger().handlers)


def _in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)


def _time(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, UTC))
