"""`escrutinio-backup`: copy the log into files, check the copy, restore it. Exit code 1: a difference was found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime import options
from runtime.commands import Group, Progress, json_option, stopping, tell

if TYPE_CHECKING:
    from backup.manifest import Manifest
    from runtime.settings import Settings

logger = logging.getLogger(__name__)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    return json_option(options.log_format(options.kafka(command)))


_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group(cls=Group, name="escrutinio-backup")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Keep a second copy of the log in files, check it, and restore it.

    \b
    Example:
      escrutinio-backup mirror --follow /backup/log
      escrutinio-backup check --against-log /backup/log
      escrutinio-backup restore /backup/log
    """


@main.command("mirror")
@_folder
@_options
@click.option("--follow", is_flag=True, help="Continue until SIGTERM or Ctrl-C, waiting for a broker that is away.")
@click.option("--every", "every_s", type=options.Seconds(0.05), default=1.0, help="Seconds between polls of the log.")
@click.option("--segment-events", type=options.Whole(1), default=10_000, help="Limit of records in a file.")
@options.http
def mirror_command(
    folder: Path, follow: bool, every_s: float, segment_events: int, as_json: bool, **flags: Any
) -> None:
    """Copy the log into FOLDER, or the records added since the last copy.

    \b
    Example:
      escrutinio-backup mirror --bootstrap-servers broker-1:9092 /backup/log
    """
    from backup import mirror
    from backup.metrics import Metrics
    from runtime.health import new_registry, serve_health
    from schemas.topics import KEPT

    settings, stop = _settings(flags), stopping()
    kafka, topics = settings.kafka, list(zip(_topics(settings), KEPT, strict=True))
    metrics = Metrics(registry := new_registry("backup"))
    with serve_health(settings.http, registry, metrics.liveness, metrics.not_ready, stop):
        manifests = mirror.run(
            kafka, folder, topics, stop, _log_line,
            follow=follow, listener=metrics, every_s=every_s, most_events=segment_events,
        )  # fmt: skip
    tell(as_json, {"topics": [_summary(m) for m in manifests]}, [_line(m) for m in manifests])


@main.command("check")
@_folder
@_options
@click.option("--against-log", is_flag=True, help="Compare with Kafka, record by record.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Check a copy of the archive too: every document that the log names is there, with the SHA-256 of its name.",
)
def check_command(folder: Path, against_log: bool, archive: Path | None, as_json: bool, **flags: Any) -> None:
    """Check that the mirror in FOLDER is whole. Exit code 1, and the first fault, when it is not.

    \b
    Example:
      escrutinio-backup check /backup/log --archive /backup/archive
    """
    from backup import check as checking
    from backup import documents
    from backup.folder import TopicFolder

    settings = _settings(flags)
    folders = [TopicFolder(folder / topic) for topic in _topics(settings)]
    kafka = settings.kafka if against_log else None
    reports = [
        checking.check(one, topic, kafka, Progress(topic, _log_line))
        for one, topic in zip(folders, _topics(settings), strict=True)
    ]
    found: dict[str, Any] = {"topics": [report.as_json() for report in reports]}
    lines = [report.line() for report in reports]
    whole = all(report.fault is None for report in reports)
    if archive is not None and whole:
        of_archive = documents.check(archive, folders, Progress("archive", _log_line))
        found["archive"] = of_archive.as_json()
        lines.extend(of_archive.lines())
        whole = of_archive.is_whole
    elif archive is not None:
        lines.append("archive: not checked, since the mirror is not whole")
    tell(as_json, {"whole": whole, **found}, lines)
    raise SystemExit(0 if whole else 1)


@main.command("restore")
@_folder
@_options
@click.option("--replication-factor", type=options.Whole(1), help="Copies of every record. Default: as mirrored.")
def restore_command(folder: Path, replication_factor: int | None, as_json: bool, **flags: Any) -> None:
    """Restore the mirror in FOLDER into an empty Kafka: same offsets, same times.

    After an interruption, run it again: it compares the records already there, and writes the rest. Start no other
    service before it has ended.

    \b
    Example:
      escrutinio-backup restore --bootstrap-servers new-broker:9092 /backup/log
    """
    from backup import restore
    from backup.folder import TopicFolder

    settings = _settings(flags)
    kafka, written = settings.kafka, {}
    for topic in _topics(settings):
        written[topic] = restore.restore(
            TopicFolder(folder / topic), topic, kafka, replication_factor, Progress(topic, _log_line), _log_line
        )
    lines = [f"{topic}: {count:,} records written" for topic, count in written.items()]
    tell(as_json, {"written": written}, lines)


def _log_line(line: str) -> None:
    logger.info("%s", line)


def _summary(manifest: Manifest) -> dict[str, Any]:
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
    from runtime import logs
    from runtime.settings import Settings

    settings = Settings.load(**flags)
    logs.configure(settings.log_format)
    return settings


def _topics(settings: Settings) -> list[str]:
    from schemas.topics import KEPT

    return [settings.topic_prefix + topic.name for topic in KEPT]
