"""Commands that fill the tables, monitor them, and switch between projections."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import click

from aggregator.cli.options import lock_wait, progress_bar, settings, shown_on
from runtime import options
from runtime.commands import Command, json_option, say, show, stopping

if TYPE_CHECKING:
    from aggregator.cli.settings import AggregatorSettings
    from aggregator.live.run import Progress
    from aggregator.projections.catalog import Projections
    from results.projection import Projection


@click.command(cls=Command)
@options.owner_url
@lock_wait
@click.option(
    "--old-is-gone", is_flag=True, help="No process of an earlier release runs: remove what only they needed."
)
def migrate(old_is_gone: bool, **flags: Any) -> None:
    """Bring the database to what this release needs. Safe to run again, and while the release before is running.

    An upgrade is: migrate, restart every service with the new release, migrate --old-is-gone.

    \b
    Example: escrutinio-aggregator migrate
    """
    from aggregator.tables.migrate import migrate

    given = settings(flags)
    applied, waiting = migrate(given.need("owner_url"), old_is_gone=old_is_gone, lock_wait_s=given.lock_wait)
    for migration in applied:
        say(f"applied {migration.name}")
    say(f"{len(applied)} migrations applied; the database is up to date")
    if waiting:
        names = ", ".join(migration.name for migration in waiting)
        say(f"waiting until no process of an earlier release runs (migrate --old-is-gone): {names}")


@click.command(cls=Command)
@options.kafka
@options.writer_url
@click.option("--batch-size", type=options.Whole(1, 100_000), default=10_000, help="Events per transaction, at most.")
@click.option("--until-caught-up", is_flag=True, help="Stop when the end of the log is reached. Not with --group.")
@options.setting("--group", "Share the partitions with all runs that name the same group.")
@options.setting("--session-timeout", "Seconds after which a silent member loses its partitions. Default: 10.")
@options.setting("--reader-session", "Seconds after which a reader's session is ended. Default: 3600.")
@click.option(
    "--publish/--no-publish",
    default=None,
    help="Send the totals of every area, notices, and signs of life to results.totals, results.notices and"
    " results.count-status. Default: do not."
    " [env: ESCRUTINIO_PUBLISH; file: publish]",
)
@options.http
@options.log_format
def run(batch_size: int, until_caught_up: bool, **flags: Any) -> None:
    """Aggregate for ever. SIGTERM or Ctrl-C stops after the batch in hand.

    One run reads every partition. To spread contests over several processes or machines, give each the same --group.

    \b
    Examples: escrutinio-aggregator run --until-caught-up
              escrutinio-aggregator run --group escrutinio-night
    """
    from aggregator.live import run as live
    from aggregator.live.metrics import Metrics
    from aggregator.live.old_sessions import old_sessions_ended
    from runtime import logs
    from runtime.health import new_registry, serve_health

    given = settings(flags)
    console = logs.configure(given.log_format)
    topic = given.names.events
    if until_caught_up and given.group is not None:
        raise click.UsageError(
            f"--until-caught-up reads every partition, also those that members of group {given.group} hold; stop them "
            "and leave the group out"
        )
    stop = stopping()
    metrics = Metrics(registry := new_registry("aggregator"))
    with (
        serve_health(given.http, registry, metrics.liveness, metrics.not_ready, stop),
        old_sessions_ended(given.need("writer_url"), given.reader_session),
        progress_bar(console) as bar,
    ):
        tasks: dict[int, Any] = {}

        def on_progress(p: Progress) -> None:
            if bar.disable:
                line = f"{topic}/{p.partition}: offset {p.offset} of {p.end}, {p.rate:.0f} events/s"
                about = {"partition": p.partition, "offset": p.offset, "log_end_offset": p.end}
                logging.getLogger("aggregator").info("%s", line, extra=about)
            else:
                if p.partition not in tasks:
                    tasks[p.partition] = bar.add_task("events", rate="")
                bar.update(tasks[p.partition], completed=p.offset, total=p.end, rate=f"{p.rate:,.0f}/s")

        live.run(
            given.need("writer_url"),
            given.kafka,
            topic,
            stop,
            batch_size=batch_size,
            until_caught_up=until_caught_up,
            group=given.group,
            session_timeout_s=given.session_timeout,
            on_progress=on_progress,
            listener=metrics,
            publish=given.names if given.publish else None,
        )


@click.command(cls=Command)
@options.kafka
@options.reader_url
@click.option(
    "--max-lag", type=options.Whole(0), help="Exit 1 when more events than this are not aggregated yet. Default: any."
)
@json_option
def status(max_lag: int | None, as_json: bool, **flags: Any) -> None:
    """Show position, lag, last official time and findings.

    Exit 1 when the log cannot be read or is not the one the totals were built from, when a contest is blocked, or when
    the lag is above --max-lag.

    \b
    Example: escrutinio-aggregator status --max-lag 1000
    """
    from datetime import UTC, datetime

    from aggregator.cli import render
    from aggregator.cli.status import is_healthy, status

    given = settings(flags)
    answer = status(given.need("reader_url"), given.kafka, given.names)
    show(as_json, lambda: answer, lambda: render.status(answer, datetime.now(UTC)))
    raise SystemExit(0 if is_healthy(answer, max_lag) else 1)


@click.command(cls=Command)
@options.kafka
@options.owner_url
@lock_wait
@options.writer_url
@options.http
@click.option("--only-build", is_flag=True, help="Build up to the live projection, but do not take over.")
def rebuild(only_build: bool, **flags: Any) -> None:
    """Build all tables again from the log beside the live ones, and take over.

    The take-over needs equal digests at the same offset. The live tables are read and written meanwhile. Run it again
    after an interruption: it continues where it stopped. The former tables are kept: `take-over` brings them back,
    `drop` deletes them. Exit 1 when the digests differ; nothing is changed then.

    \b
    Example: escrutinio-aggregator rebuild
    """
    from aggregator.projections.catalog import Projections
    from aggregator.projections.rebuild import next_projection

    given = settings(flags)
    with Projections(given.need("owner_url"), given.lock_wait) as projections:
        projection = next_projection(projections)
        say(f"building {projection}", err=True)
        _take_over(given, projections, projection, None, only_build=only_build)


@click.command(cls=Command, name="take-over")
@click.argument("name")
@options.kafka
@options.owner_url
@lock_wait
@options.writer_url
@options.http
@click.option("--reason", help="Take over though the digests differ. It is recorded.")
def take_over(name: str, reason: str | None, **flags: Any) -> None:
    """Make projection NAME the live one. Rolling back is the same, with the former one's name.

    It is brought up to the live one first, then position and digests are compared; `verify --schema NAME` compares
    every row. Exit 1 when both differ at the same offset; nothing is changed then.

    \b
    Example: escrutinio-aggregator take-over v1
    """
    from aggregator.projections.catalog import Projections
    from results.projection import Projection

    given = settings(flags)
    with Projections(given.need("owner_url"), given.lock_wait) as projections:
        _take_over(given, projections, Projection(name), reason, only_build=False)


def _take_over(
    given: AggregatorSettings, projections: Projections, projection: Projection, reason: str | None, *, only_build: bool
) -> None:
    from aggregator.projections import rebuild
    from aggregator.projections.progress import BuildProgress
    from runtime.health import new_registry, serve_health
    from schemas.types import rfc3339

    projections.of(projection)  # fail early for an unknown name, before the log is opened
    building = rebuild.Building(
        given.need("writer_url"), given.kafka, given.names.events, projection, lock_wait_s=given.lock_wait
    )
    registry, bar = new_registry("aggregator"), progress_bar()
    progress = BuildProgress(registry, lambda line: say(line, err=True) if bar.disable else None)
    show_on_bar = shown_on(bar)

    def on_progress(next_offset: int, end: int) -> None:
        progress(next_offset, end)
        show_on_bar(next_offset, end)

    with building, serve_health(given.http, registry, progress.liveness, progress.not_ready, threading.Event()), bar:
        if only_build:
            rebuild.catch_up(projections, building, on_progress)
            progress.done()
            say(f"{projection} is up to date; `take-over {projection.name}` makes it the live one")
            return
        taken = rebuild.take_over(projections, building, projection, reason, on_progress)
        progress.done()
    say(
        f"version {taken.to_version} is live since {rfc3339(taken.taken_at)}; version {taken.from_version} is kept as "
        f"{taken.former.name}: `take-over {taken.former.name}` brings it back. "
        f"The live writer was held for {taken.held_s:.2f} s."
    )


@click.command(cls=Command)
@options.owner_url
@json_option
def projections(as_json: bool, **flags: Any) -> None:
    """List what is in the database: the live projection, former ones, kept replays.

    \b
    Example: escrutinio-aggregator projections
    """
    from aggregator.cli import render
    from aggregator.projections.catalog import Projections

    with Projections(settings(flags).need("owner_url")) as catalog:
        found = catalog.statuses()
    show(as_json, lambda: [one.as_json() for one in found], lambda: render.projections(found))


@click.command(cls=Command)
@click.argument("name")
@options.owner_url
@lock_wait
def drop(name: str, **flags: Any) -> None:
    """Delete projection NAME; the live one is refused.

    For kept replays, former projections and interrupted rebuilds.

    \b
    Example: escrutinio-aggregator drop first_night
    """
    from aggregator.projections.catalog import Projections
    from results.projection import Projection

    given = settings(flags)
    with Projections(given.need("owner_url"), given.lock_wait) as catalog:
        catalog.drop(Projection(name))
    say(f"projection {name} is deleted")
