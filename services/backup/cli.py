"""`escrutinio-backup`: the command. Alone in the backup it reads configuration: flags over environment over a file.

Place in the flow: before and after it. Exit codes: 0 done and whole, 1 something differs or is missing, 2 wrong use or a fault.
Answers go to standard output, everything said meanwhile to standard error.
"""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from backup import check as checking
from backup import documents, mirror, restore
from backup.folder import MOST_EVENTS, TopicFolder
from backup.manifest import Manifest
from backup.metrics import Metrics
from runtime import logs, options
from runtime.health import new_registry, serving
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessError
from runtime.settings import Settings, SettingsError
from schemas.errors import EscrutinioError
from schemas.topics import TOPICS

logger = logging.getLogger(__name__)

_EVERY_S = 2.0


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
    return as_json(options.log_format(options.kafka(command)))


_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escrutinio")
def cli() -> None:
    """Keeps a second copy of the log in files, checks it, and puts it back.

    \b
    Example:
      escrutinio-backup mirror --follow /backup/log
      escrutinio-backup check --against-log /backup/log
      escrutinio-backup restore /backup/log
    """


@cli.command("mirror")
@_folder
@_options
@click.option(
    "--follow", is_flag=True, help="Go on until stopped (SIGTERM or Ctrl-C), waiting for a broker that is away."
)
@click.option(
    "--every", "every_s", type=click.FloatRange(0.05), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option(
    "--segment-events",
    type=click.IntRange(1),
    default=MOST_EVENTS,
    show_default=True,
    help="Records in a file, at most.",
)
@options.http
def mirror_command(
    folder: Path,
    follow: bool,
    every_s: float,
    segment_events: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Copy the log into FOLDER, or what it has got since.

    \b
    Example:
      escrutinio-backup mirror --bootstrap-servers broker-1:9092 /backup/log
    """
    settings = _settings(flags)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    topics = list(zip(_topics(settings), TOPICS, strict=True))

    kafka = _kafka(settings)
    metrics = Metrics(registry := new_registry("backup"))
    with serving(settings.http, registry, metrics.pulse, metrics.not_ready, stop):
        manifests = mirror.run(
            kafka, folder, topics, stop, _say,
            follow=follow, listener=metrics, every_s=every_s, most_events=segment_events,
        )  # fmt: skip
    _tell(as_json, {"topics": [_told(m) for m in manifests]}, [_line(m) for m in manifests])


@cli.command("check")
@_folder
@_options
@click.option("--against-log", is_flag=True, help="Compare with Kafka, record by record.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A copy of the archive: every document is what its name says, and every one that the log names is there.",
)
def check_command(folder: Path, against_log: bool, archive: Path | None, as_json: bool, **flags: Any) -> None:
    """Is the mirror in FOLDER whole? Exit code 1, and the first thing that is wrong, when it is not.

    \b
    Example:
      escrutinio-backup check /backup/log --archive /backup/archive
    """
    settings = _settings(flags)
    folders = [TopicFolder(folder / topic) for topic in _topics(settings)]
    kafka = _kafka(settings) if against_log else None
    verdicts = [
        checking.check(one, topic, kafka, _Progress(topic))
        for one, topic in zip(folders, _topics(settings), strict=True)
    ]
    answer: dict[str, Any] = {"topics": [verdict.as_json() for verdict in verdicts]}
    lines = [verdict.line() for verdict in verdicts]
    whole = all(verdict.fault is None for verdict in verdicts)
    if archive is not None and whole:
        of_archive = documents.check(archive, folders, _Progress("archive"))
        answer["archive"] = of_archive.as_json()
        lines.extend(of_archive.lines())
        whole = of_archive.is_whole
    elif archive is not None:
        lines.append("archive: not checked, since the mirror is not whole")
    _tell(as_json, {"whole": whole, **answer}, lines)
    raise SystemExit(0 if whole else 1)


@cli.command("restore")
@_folder
@_options
@click.option(
    "--replication-factor", type=click.IntRange(1), help="Copies of every record; as many as there were if not given."
)
def restore_command(folder: Path, replication_factor: int | None, as_json: bool, **flags: Any) -> None:
    """Put the mirror in FOLDER into an empty Kafka, every record at its offset and with its time.

    Run again after an interruption it compares what is there and goes on. Start no other service before it has ended.

    \b
    Example:
      escrutinio-backup restore --bootstrap-servers new-broker:9092 /backup/log
    """
    settings = _settings(flags)
    kafka, written = _kafka(settings), {}
    for topic in _topics(settings):
        written[topic] = restore.restore(
            TopicFolder(folder / topic), topic, kafka, replication_factor, _Progress(topic), _say
        )
    lines = [f"{topic}: {count:,} records written" for topic, count in written.items()]
    _tell(as_json, {"written": written}, lines)


class _Progress:
    """Says now and then how far a long work is."""

    def __init__(self, what: str) -> None:
        self._what, self._said = what, time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self._said >= _EVERY_S:
            self._said = time.monotonic()
            _say(f"{self._what}: {done:,} of {of:,}")


def _say(line: str) -> None:
    logger.info("%s", line)


def _tell(as_json: bool, answer: dict[str, Any], lines: list[str]) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False, indent=1) if as_json else "\n".join(lines))


def _told(manifest: Manifest) -> dict[str, Any]:
    return {
        "topic": manifest.topic,
        "topic_id": str(manifest.topic_id),
        "events": manifest.events,
        "segments": len(manifest.segments),
        "bytes": sum(segment.bytes for segment in manifest.segments),
        "next_offsets": [manifest.next_offset(partition) for partition in range(manifest.partitions)],
    }


def _line(manifest: Manifest) -> str:
    size = sum(segment.bytes for segment in manifest.segments)
    return f"{manifest.topic}: {manifest.events:,} records in {len(manifest.segments):,} files, {size:,} bytes"


def _settings(flags: dict[str, Any]) -> Settings:
    try:
        settings = Settings.load(**flags)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    logs.configure(settings.log_format)
    return settings


def _kafka(settings: Settings) -> KafkaAccess:
    try:
        return settings.kafka
    except (SettingsError, AccessError) as error:
        raise click.UsageError(str(error)) from error


def _topics(settings: Settings) -> list[str]:
    """The names in use."""
    return [settings.topic_prefix + topic.name for topic in TOPICS]


def main() -> None:
    """The console script: faults become one clear line and exit code 2."""
    try:
        cli()
    except EscrutinioError as fault:
        logs.say_fault("escrutinio-backup", fault)
        sys.exit(2)
