"""Options that the commands share: how Kafka is reached, and which topics are meant. What is not given is found by `settings`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def kafka_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--bootstrap-servers`, `--kafka-config` and `--topic-prefix`."""
    for option in (
        click.option("--bootstrap-servers", metavar="HOST:PORT[,…]", help="Kafka brokers. [ESCRUTINIO_BOOTSTRAP_SERVERS]"),
        click.option(
            "--kafka-config", type=click.Path(path_type=Path),
            help="File that says how Kafka is reached, and as whom. [ESCRUTINIO_KAFKA_CONFIG]",
        ),
        click.option("--topic-prefix", help="Put before every topic's name, for rehearsals. [ESCRUTINIO_TOPIC_PREFIX]"),
    ):  # fmt: skip
        command = option(command)
    return command
