"""Flags of settings that several commands share; `runtime.settings` reads what is not given as a flag."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click


class Whole(click.IntRange):
    """A whole number in the digits 0 to 9."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what Python reads besides: other scripts' digits, 1_000, and thousands of digits."""
        if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value):
            self.fail(f"{value[:40]!r} is not a whole number in the digits 0 to 9", param, ctx)
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A time in seconds, of an hour at most."""

    def __init__(self, least: float) -> None:
        super().__init__(least, 3600)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what Python reads besides, such as nan, which no limit refuses."""
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            self.fail(f"{value[:40]!r} is not a number of seconds such as 0.5", param, ctx)
        return super().convert(value, param, ctx)


F = TypeVar("F", bound=Callable[..., Any])


def setting(flag: str, text: str, kind: Any = None, metavar: str | None = None) -> Callable[[F], F]:
    """Make the flag of a setting, `--reader-url` for `reader_url`; its help names the other places for the setting."""
    name = flag.removeprefix("--").replace("-", "_")
    return click.option(flag, type=kind, metavar=metavar, help=f"{text} [env: ESCRUTINIO_{name.upper()}; file: {name}]")


bootstrap_servers = setting("--bootstrap-servers", "Kafka brokers.", metavar="HOST:PORT[,…]")
kafka_config = setting(
    "--kafka-config", "File with the addresses and credentials for Kafka.", click.Path(path_type=Path)
)
topic_prefix = setting("--topic-prefix", "Prefix of every topic's name, for rehearsals. Default: none.")
http = setting("--http", "Serve /metrics, /live and /ready at this address. Default: do not.", metavar="HOST:PORT")
log_format = setting(
    "--log-format",
    "Log lines as text or as JSON objects. Default: auto, which is JSON in containers.",
    click.Choice(["auto", "text", "json"]),
)
reader_url = setting("--reader-url", "Address of PostgreSQL, with the role of a reader.")
writer_url = setting("--writer-url", "Address of PostgreSQL, with the role of the writer.")
owner_url = setting("--owner-url", "Address of PostgreSQL, with the role of the database's owner.")


def kafka(command: F) -> F:
    """Add `--bootstrap-servers`, `--kafka-config` and `--topic-prefix`."""
    return bootstrap_servers(kafka_config(topic_prefix(command)))
