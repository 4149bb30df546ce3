"""Flags of settings that several commands share. What is not given is found by `settings`: in the environment, then in the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from runtime.logs import LogFormat

F = TypeVar("F", bound=Callable[..., Any])


def setting(flag: str, text: str, kind: Any = None, metavar: str | None = None) -> Callable[[F], F]:
    """The flag of a setting, `--reader-url` of `reader_url`; its help says where else the setting may stand."""
    name = flag.removeprefix("--").replace("-", "_")
    return click.option(flag, type=kind, metavar=metavar, help=f"{text} [env: ESCRUTINIO_{name.upper()}; file: {name}]")


kafka_config = setting(
    "--kafka-config", "File that says how Kafka is reached, and as whom.", click.Path(path_type=Path)
)
topic_prefix = setting("--topic-prefix", "Put before every topic's name, for rehearsals.")
http = setting("--http", "Answer /metrics, /live and /ready there; nowhere unless told.", metavar="HOST:PORT")
log_format = setting(
    "--log-format",
    "What is said meanwhile: text, or a JSON object a line; auto (unless told): JSON in containers.",
    click.Choice([one.value for one in LogFormat]),
)


def kafka(command: F) -> F:
    """`--bootstrap-servers`, `--kafka-config` and `--topic-prefix`."""
    servers = setting("--bootstrap-servers", "Kafka brokers.", metavar="HOST:PORT[,…]")
    return servers(kafka_config(topic_prefix(command)))
