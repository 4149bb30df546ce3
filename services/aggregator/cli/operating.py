"""Commands that make, fill and change over the tables."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from aggregator import consume, render
from aggregator import rebuild as rebuilding
from aggregator.cli.options import (
    Command,
    errors,
    json_option,
    owner,
    progress_bar,
    shown_on,
    tell,
    writer,
)
from aggregator.metrics import Metrics
from aggregator.migrate import migrate as run_migrations
from aggregator.projection import LIVE, Projection
from aggregator.projections import NotEqual, Projections, Standing
from aggregator.rebuild import Building, next_projection
from aggregator.settings import AggregatorSettings
from runtime import logs, options
from runtime.health import new_registry, serving
from schemas.types import rfc3339


@click.command(cls=Command)
@owner
@click.option(
    "--old-is-gone", is_flag=True, help="No process of an earlier release runs: take away what only they needed."
)
def migrate(owner_url: str | None, old_is_gone: bool) -> None:
    """Bring the database to what this release needs. Safe to run again, and while the release before is at work.

    An upgrade is: migrate, restart every service with the new release, migrate --old-is-gone.

    \b
    Example: escrutinio-aggregator migrate
    """
    url = AggregatorSettings.load(owner_url=owner_url).need("owner_url")
    applied, waiting = run_migrations(url, old_is_gone=old_is_gone)
    for migration in applied:
        click.echo(f"applied {migration.name}")
    click.echo(f"{len(applied)} migrations applied; the database is up to date")
    if waiting:
        names = ", ".join(migration.name for migration in waiting)
        click.echo(f"waiting until no process of an earlier release runs (migrate --old-is-gone): {names}")


@click.command(cls=Command)
@options.kafka
@writer
@click.option(
    "--batch-size",
    type=click.IntRange(1, 100_000),
    default=20_000,
    show_default=True,
    help="Events per transaction, at most.",
)
@click.option("--until-caught-up", is_flag=True, help="Stop when the end of the log is reached. Not with --group.")
@options.setting("--group", "Share the partitions with all runs that name the same group.")
@options.setting("--session-timeout", "Seconds after which a silent member loses its partitions; else 10.")
@options.http
@options.log_format
def run(
    bootstrap_servers: str | None,
    kafka_config: Path | None,
    writer_url: str | None,
    topic_prefix: str | None,
    batch_size: int,
    until_caught_up: bool,
    group: str | None,
    session_timeout: str | None,
    http: str | None,
    log_format: str | None,
) -> None:
    """Aggregate for ever. SIGTERM or Ctrl-C stops after the batch in hand.

    One run reads every partition. To spread contests over several processes or machines, start each with the same --group.

    \b
    Examples: escrutinio-aggregator run --until-caught-up
              escrutinio-aggregator run --group escrutinio-night
    """
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers,
        kafka_config=kafka_config,
        writer_url=writer_url,
        topic_prefix=topic_prefix,
        group=group,
        session_timeout=session_timeout,
        http=http,
        log_format=log_format,
    )
    console = logs.configure(settings.log_format)
    topic = settings.names.events
    if until_caught_up and settings.group is not None:
        raise click.UsageError(
            f"--until-caught-up takes every partition, also those that members of group {settings.group} hold; stop them "
            "and leave the group out"
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics = Metrics(registry := new_registry("aggregator"))
    with serving(settings.http, registry, metrics.pulse, metrics.not_ready, stop), progress_bar(console) as bar:
        tasks: dict[int, Any] = {}

        def on_progress(p: consume.Progress) -> None:
            if bar.disable:
                logging.getLogger("aggregator").info(
                    "%s/%d: offset %d of %d, %.0f events/s",
                    topic,
                    p.partition,
                    p.offset,
                    p.end,
                    p.rate,
                    extra={"partition": p.partition, "offset": p.offset, "log_end_offset": p.end},
                )
            else:
                if p.partition not in tasks:
                    tasks[p.partition] = bar.add_task("events", rate="")
                bar.update(tasks[p.partition], completed=p.offset, total=p.end, rate=f"{p.rate:,.0f}/s")

        consume.run(
            settings.need("writer_url"),
            settings.kafka,
            topic,
            stop,
            batch_size=batch_size,
            until_caught_up=until_caught_up,
            group=settings.group,
            session_timeout_s=settings.session_timeout,
            on_progress=on_progress,
            listener=metrics,
        )


@click.command(cls=Command)
@options.kafka
@owner
@writer
@click.option("--only-build", is_flag=True, help="Build and bring up to the live one, and leave it at that.")
def rebuild(
    bootstrap_servers: str | None,
    kafka_config: Path | None,
    owner_url: str | None,
    writer_url: str | None,
    topic_prefix: str | None,
    only_build: bool,
) -> None:
    """Build all tables anew from the log beside the live ones, and take over.

    Only when both are equal, at the same offset. The live totals serve and go on meanwhile. Interrupted, it goes on where it stopped when it is called again. The former
    totals are kept: `take-over` brings them back, `drop` deletes them. Exit 1 when the digests differ: nothing is changed then.

    \b
    Example: escrutinio-aggregator rebuild
    """
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers,
        kafka_config=kafka_config,
        owner_url=owner_url,
        writer_url=writer_url,
        topic_prefix=topic_prefix,
    )
    with Projections(settings.need("owner_url")) as projections:
        projection = next_projection(projections)
        click.echo(f"building {projection}", err=True)
        _take_over(settings, projections, projection, None, only_build=only_build)


@click.command(cls=Command, name="take-over")
@click.argument("name")
@options.kafka
@owner
@writer
@click.option("--reason", help="Take over though the digests differ. It is recorded.")
def take_over(
    name: str,
    bootstrap_servers: str | None,
    kafka_config: Path | None,
    owner_url: str | None,
    writer_url: str | None,
    topic_prefix: str | None,
    reason: str | None,
) -> None:
    """Make projection NAME the live one. Rolling back is the same, with the former one's name.

    It is brought up to the live one first. Position and digests are compared; `verify --schema NAME` compares every row. Exit
    1 when it does not say what the live one says at the same offset: nothing is changed then.

    \b
    Example: escrutinio-aggregator take-over v1
    """
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers,
        kafka_config=kafka_config,
        owner_url=owner_url,
        writer_url=writer_url,
        topic_prefix=topic_prefix,
    )
    with Projections(settings.need("owner_url")) as projections:
        _take_over(settings, projections, Projection(name), reason, only_build=False)


def _take_over(
    settings: AggregatorSettings,
    projections: Projections,
    projection: Projection,
    reason: str | None,
    *,
    only_build: bool,
) -> None:
    projections.of(projection)  # named first: an unknown one is not looked for on the log
    servers, topic = settings.kafka, settings.names.events
    with Building(settings.need("writer_url"), servers, topic, projection) as building, progress_bar() as bar:
        if only_build:
            rebuilding.bring_up(projections, building, shown_on(bar))
            click.echo(f"{projection} is up to the live one; `take-over {projection.name}` makes it the live one")
            return
        try:
            taken = rebuilding.take_over(projections, building, projection, reason, shown_on(bar))
        except NotEqual as error:
            bar.stop()
            errors.print(f"[red]not taken over:[/] {escape(str(error))}", soft_wrap=True)
            errors.print(
                f"Nothing was changed. Compare: show CONTEST --schema {projection.name}. Where the difference is meant: "
                f"take-over {projection.name} --reason '…'",
                soft_wrap=True,
                markup=False,
            )
            sys.exit(1)
    click.echo(
        f"version {taken.to_version} is live since {rfc3339(taken.taken_at)}; version {taken.from_version} is kept as "
        f"{taken.former.name}: `take-over {taken.former.name}` brings it back. The live writer was held for {taken.held_s:.2f} s."
    )


@click.command(cls=Command)
@owner
@json_option
def projections(owner_url: str | None, as_json: bool) -> None:
    """What stands in the database: the live projection, former ones, kept replays.

    \b
    Example: escrutinio-aggregator projections
    """
    with Projections(AggregatorSettings.load(owner_url=owner_url).need("owner_url")) as door:
        found, were_live = door.standing(), door.were_live()
    kinds = [_kind(s, were_live) for s in found]
    told = [_standing(s) | {"kind": kind} for s, kind in zip(found, kinds, strict=True)]
    tell(told if as_json else None, lambda: render.projections(found, kinds))


@click.command(cls=Command)
@click.argument("name")
@owner
def drop(name: str, owner_url: str | None) -> None:
    """Delete projection NAME, never the live one.

    A kept replay, a former one, or what an interrupted rebuild left.

    \b
    Example: escrutinio-aggregator drop first_night
    """
    with Projections(AggregatorSettings.load(owner_url=owner_url).need("owner_url")) as door:
        door.drop(Projection(name))
    click.echo(f"projection {name} is deleted")


def _kind(standing: Standing, were_live: set[int]) -> str:
    if standing.projection == LIVE:
        return "live"
    if not standing.projection.is_rebuilt:
        return "kept replay"
    return "former" if standing.version in were_live else "unfinished rebuild"


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "name": standing.projection.name,
        "live": standing.projection == LIVE,
        "version": standing.version,
        "made_at": rfc3339(standing.made_at),
        "until_stated_at": None if standing.until_stated_at is None else rfc3339(standing.until_stated_at),
        "next_offsets": {str(p.partition): p.next_offset for p in standing.places},
        "bytes": standing.bytes,
    }
