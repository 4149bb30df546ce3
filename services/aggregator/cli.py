"""`escrutinio-aggregator`: one command per question. Alone reads configuration; exit codes are 0 done and true, 1 a
negative answer, 2 wrong use or something that cannot be read or reached.
"""

import gc
import json
import logging
import re
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aggregator import consume, render
from aggregator import rebuild as rebuilding
from aggregator import replay as replaying
from aggregator import verify as verifying
from aggregator.count import NothingCounted, find_area, of_state
from aggregator.course import between, over_time
from aggregator.explain import changes, snapshot_changes
from aggregator.keep import replay_into
from aggregator.log import Log, LogError, last_heartbeat
from aggregator.migrate import migrate as run_migrations
from aggregator.moment import NOW, Moment, MomentError, instant
from aggregator.past import Past
from aggregator.projection import LIVE, Projection, ProjectionError
from aggregator.projections import NotEqual, Projections, Standing
from aggregator.rebuild import Building, next_projection
from aggregator.rows import recorded_of
from aggregator.settings import Settings, load
from aggregator.views import Views, area_key
from schemas.codec import decode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.errors import ContractError, EscrutinioError
from schemas.feed_status import FeedStatus
from schemas.topics import TopicNames
from schemas.types import ReportingUnitType, rfc3339

F = TypeVar("F", bound=Callable[..., Any])
_errors = Console(stderr=True, highlight=False)


class _Command(click.Command):
    """Turns our errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NothingCounted as error:
            _errors.print(f"[red]no answer:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(1)
        except EscrutinioError as error:
            _errors.print(f"[red]{type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(2)


def _option(name: str, env: str, text: str) -> Callable[[F], F]:
    return click.option(name, default=None, help=f"{text} [env: ESCRUTINIO_{env}; file: {env.lower()}]")


_bootstrap = _option("--bootstrap-servers", "BOOTSTRAP_SERVERS", "Kafka, host:port.")
_reader = _option("--reader-url", "READER_URL", "PostgreSQL as a reader.")
_writer = _option("--writer-url", "WRITER_URL", "PostgreSQL as the writer.")
_owner = _option("--owner-url", "OWNER_URL", "PostgreSQL as the owner of the database.")
_prefix = _option("--topic-prefix", "TOPIC_PREFIX", "Put before the topics' names, in a rehearsal.")


def _projection(_context: click.Context, parameter: click.Parameter, name: str | None) -> Projection:
    try:
        return Projection(name)
    except ProjectionError as error:
        raise click.BadParameter(str(error), param=parameter) from error


_schema = click.option(
    "--schema",
    callback=_projection,
    metavar="NAME",
    help="Read this projection (see `projections`), not the live one.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, with the event's field names.")


def _need(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if value is None:
        flag = "--" + name.replace("_", "-")
        raise click.UsageError(
            f"{flag} is not known. Give it, set ESCRUTINIO_{name.upper()}, or start the local stack: make demo"
        )
    return str(value)


def _instant(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return instant(value)
    except MomentError as error:
        raise click.BadParameter(str(error), param=parameter) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Adds the official updates on the log up into running totals, and explains every one.

    \b
    Example: escrutinio-aggregator show pe-2021-president-runoff
    """
    # The state is a million small objects that live as long as the process: the default collector would walk
    # them again and again. Measured on the real night: a third of the time.
    gc.set_threshold(200_000, 20, 100)


@main.command(cls=_Command)
@_owner
def migrate(owner_url: str | None) -> None:
    """Bring the database to what this release needs. Safe to run again.

    \b
    Example: escrutinio-aggregator migrate
    """
    applied = run_migrations(_need(load(owner_url=owner_url), "owner_url"))
    for migration in applied:
        click.echo(f"applied {migration.name}")
    click.echo(f"{len(applied)} migrations applied; the database is up to date")


@main.command(cls=_Command)
@_bootstrap
@_writer
@_prefix
@click.option(
    "--batch-size",
    type=click.IntRange(1, 100_000),
    default=20_000,
    show_default=True,
    help="Events per transaction, at most.",
)
@click.option("--until-caught-up", is_flag=True, help="Stop when the end of the log is reached. Not with --group.")
@_option("--group", "GROUP", "Share the partitions with all runs that name the same group.")
@_option("--session-timeout", "SESSION_TIMEOUT", "Seconds after which a silent member loses its partitions; else 10.")
@click.option("--health-file", type=click.Path(path_type=Path), help="Touched whenever the log was read and committed.")
def run(
    bootstrap_servers: str | None,
    writer_url: str | None,
    topic_prefix: str | None,
    batch_size: int,
    until_caught_up: bool,
    group: str | None,
    session_timeout: str | None,
    health_file: Path | None,
) -> None:
    """Aggregate for ever. SIGTERM or Ctrl-C stops after the batch in hand.

    One run reads every partition. To spread contests over several processes or machines, start each with the same --group.

    \b
    Examples: escrutinio-aggregator run --until-caught-up
              escrutinio-aggregator run --group night
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what matters of it reaches us as an exception
    settings = load(
        bootstrap_servers=bootstrap_servers,
        writer_url=writer_url,
        topic_prefix=topic_prefix,
        group=group,
        session_timeout=session_timeout,
    )
    topic = TopicNames(settings.topic_prefix).events
    if until_caught_up and settings.group is not None:
        raise click.UsageError(
            f"--until-caught-up takes every partition, also those that members of group {settings.group} hold; stop them "
            "and leave the group out"
        )
    if health_file is not None and not health_file.parent.is_dir():
        raise click.UsageError(f"--health-file: there is no folder {health_file.parent}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _progress() as bar:
        tasks: dict[int, Any] = {}

        def on_progress(p: consume.Progress) -> None:
            if bar.disable:
                logging.getLogger("aggregator").info(
                    "%s/%d: offset %d of %d, %.0f events/s", topic, p.partition, p.offset, p.end, p.rate
                )
            else:
                if p.partition not in tasks:
                    tasks[p.partition] = bar.add_task("events", rate="")
                bar.update(tasks[p.partition], completed=p.offset, total=p.end, rate=f"{p.rate:,.0f}/s")

        consume.run(
            _need(settings, "writer_url"),
            _need(settings, "bootstrap_servers"),
            topic,
            stop,
            batch_size=batch_size,
            until_caught_up=until_caught_up,
            group=settings.group,
            session_timeout_s=settings.session_timeout,
            on_progress=on_progress,
            on_alive=health_file.touch if health_file is not None else lambda: None,
        )


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


@main.command(cls=_Command)
@_bootstrap
@_reader
@_prefix
@click.option(
    "--max-lag", type=click.IntRange(0), default=None, help="Exit 1 when more events than this are not aggregated yet."
)
@_json
def status(
    bootstrap_servers: str | None, reader_url: str | None, topic_prefix: str | None, max_lag: int | None, as_json: bool
) -> None:
    """Position, lag, last official time, findings.

    Exit 1 when the log cannot be read or is not the one the totals were built from, when a contest is blocked, or when
    the lag is above --max-lag.

    \b
    Example: escrutinio-aggregator status --max-lag 1000
    """
    settings = load(bootstrap_servers=bootstrap_servers, reader_url=reader_url, topic_prefix=topic_prefix)
    names = TopicNames(settings.topic_prefix)
    with Views(_need(settings, "reader_url")) as views:
        answer: dict[str, Any] = {
            "partitions": [c for c in views.cursors() if c["topic"] == names.events],
            "contests": views.status(),
            "unattributed": views.unattributed(),
        }
    ends: dict[int, int] = {}
    heartbeat = fault = None
    try:
        servers = _need(settings, "bootstrap_servers")
        with Log(servers, names.events) as log:
            topic_id = log.topic_id()
            if any(p["topic_id"] != topic_id for p in answer["partitions"]):
                fault = f"{names.events} is not the log the totals were built from: it was deleted and made again"
            else:
                ends = {p: log.end_offset(p) for p in log.partitions()}
        if (raw := last_heartbeat(servers, names.feed_status)) is not None:
            heartbeat = decode(raw.value, raw.headers)
    except (LogError, ContractError) as error:
        fault = str(error)
    answer["log_fault"] = fault
    for p in answer["partitions"]:
        p["end_offset"] = ends.get(p["partition"])
        p["lag"] = None if p["end_offset"] is None else p["end_offset"] - p["next_offset"]
    answer["heartbeat"] = (
        {
            "contest_id": heartbeat.contest_id,
            "unit": f"{heartbeat.unit_type}/{heartbeat.unit_id}",
            "reported_at": heartbeat.reported_at,
            "observed_at": heartbeat.observed_at,
        }
        if isinstance(heartbeat, FeedStatus)
        else None
    )
    if as_json:
        click.echo(json.dumps(answer, indent=2, default=_json_value))
    else:
        render.out().print(render.status(answer, datetime.now(UTC)))
    behind = max_lag is not None and (
        not answer["partitions"] or any(p["lag"] is None or p["lag"] > max_lag for p in answer["partitions"])
    )
    if fault or behind or answer["unattributed"] or any(c["blocked"] for c in answer["contests"]):
        sys.exit(1)


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@click.option("--at-offset", type=click.IntRange(0), help="As of this place on the log, inclusive.")
@click.option(
    "--at-time", callback=_instant, metavar="TIME", help="As of what was recorded by then (the broker's time)."
)
@click.option(
    "--at-reported", callback=_instant, metavar="TIME", help="As of what the office had stated by then (its own time)."
)
@_reader
@_schema
@_json
def show(
    contest_id: str,
    area_id: str | None,
    at_offset: int | None,
    at_time: datetime | None,
    at_reported: datetime | None,
    reader_url: str | None,
    schema: Projection,
    as_json: bool,
) -> None:
    """The count of a contest, or of one of its areas: now, or as of any moment, read off the tables.

    Two axes together: what was known at --at-time about the count of --at-reported.

    \b
    Examples: escrutinio-aggregator show pe-2021-president-runoff 010101
              escrutinio-aggregator show pe-2021-president-runoff --at-reported 2021-06-08T00:23Z
    """
    moment = Moment(at_offset, at_time, at_reported)
    with Views(_need(load(reader_url=reader_url), "reader_url"), schema) as views:
        answer = views.count(contest_id, area_id) if moment == NOW else Past(views, contest_id, moment).count(area_id)
    _tell(answer.model_dump(mode="json") if as_json else None, lambda: render.show(answer))


def _moment(_context: click.Context, parameter: click.Parameter, value: str) -> Moment:
    try:
        return Moment.parse(value)
    except MomentError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def _interval(_context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a length of time such as 90s, 10m, 1h or 1d", param=parameter)
    return int(found[1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}.get(
        found[2], timedelta(days=1)
    )


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("first", metavar="A", callback=_moment)
@click.argument("second", metavar="B", callback=_moment)
@click.option("--area", "area_id", metavar="AREA", help="This area and those directly in it; else the outermost.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Events to show, at most.")
@_reader
@_schema
@_json
def diff(
    contest_id: str,
    first: Moment,
    second: Moment,
    area_id: str | None,
    limit: int,
    reader_url: str | None,
    schema: Projection,
    as_json: bool,
) -> None:
    """What changed from moment A to moment B, by area and selection, and the events behind it.

    \b
    A moment is
      now                             all that is known
      41, offset:41                   up to this place on the log
      2021-06-08T00:23Z, reported:…   what the office had stated by then (its own time)
      recorded:2021-06-08T02:40Z      what was on the log by then (the broker's time)
    and several joined by commas: what was known at the one about the other.

    \b
    Examples: escrutinio-aggregator diff pe-2021-president-runoff 2021-06-08T04:18Z 2021-06-08T05:19Z
              escrutinio-aggregator diff pe-2021-president-runoff 31 now --area 010000 --limit 5
    """
    with Views(_need(load(reader_url=reader_url), "reader_url"), schema) as views:
        answer = between(views, contest_id, first, second, area_id, limit)
    _tell(answer.model_dump(mode="json") if as_json else None, lambda: render.difference(answer))


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@click.option(
    "--every", callback=_interval, metavar="TIME", help="One point for each such interval, its last: 90s, 10m, 1h."
)
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="Exit 2 beyond so many points.")
@_reader
@_schema
@_json
def timeline(
    contest_id: str,
    area_id: str | None,
    every: timedelta | None,
    limit: int,
    reader_url: str | None,
    schema: Projection,
    as_json: bool,
) -> None:
    """Share, lead and sheets counted over the office's time; where the lead changes is marked.

    Two series. OFFICIAL: the office's statements about the area; of each official time the one that stands. COMPUTED: our
    sums over what is added up now, as they were published up to each official time. Corrections that came later are
    not in a point: `show --at-reported` has them.

    \b
    Example: escrutinio-aggregator timeline pe-2021-president-runoff --every 1h
    """
    with Views(_need(load(reader_url=reader_url), "reader_url"), schema) as views:
        answer = over_time(views, contest_id, area_id, every, limit)
    _tell(answer.model_dump(mode="json") if as_json else None, lambda: render.timeline(answer))


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@_bootstrap
@_prefix
@click.option("--to-offset", type=click.IntRange(0), help="Up to this place on the log, inclusive.")
@click.option(
    "--to-time", callback=_instant, metavar="TIME", help="Up to what was recorded by then (the broker's time)."
)
@click.option(
    "--to-reported", callback=_instant, metavar="TIME", help="What the office had stated by then (its own time)."
)
@click.option(
    "--into", callback=_projection, metavar="NAME", help="Keep the state in a projection of its own, for --schema NAME."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="How many fold parts of the log at the same time; the answer is the same. Default: one per core, one for a short log.",
)
@click.option(
    "--checkpoints",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Begin with the latest checkpoint kept there, once it is verified against the log, and keep a new one there.",
)
@click.option(
    "--check-checkpoint", is_flag=True, help="Fold the log up to that checkpoint from zero as well, and compare."
)
@_owner
@_writer
@_json
def replay(
    contest_id: str,
    area_id: str | None,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    to_offset: int | None,
    to_time: datetime | None,
    to_reported: datetime | None,
    into: Projection,
    owner_url: str | None,
    writer_url: str | None,
    processes: int | None,
    checkpoints: Path | None,
    check_checkpoint: bool,
    as_json: bool,
) -> None:
    """The count of any past moment, folded anew from the log. Reads Kafka only; the live totals are not touched.

    \b
    Examples: escrutinio-aggregator replay pe-2021-president-runoff --to-reported 2021-06-08T00:23Z
              escrutinio-aggregator replay pe-2021-president-runoff --to-offset 43 --into first_night
              escrutinio-aggregator show pe-2021-president-runoff --schema first_night
    """
    settings = load(
        bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, owner_url=owner_url, writer_url=writer_url
    )
    log = _need(settings, "bootstrap_servers"), TopicNames(settings.topic_prefix).events
    moment = Moment(to_offset, to_time, to_reported)
    with _progress() as bar:
        on_progress = _bar(bar)
        if into == LIVE:
            state = replaying.replay(
                *log,
                contest_id,
                moment,
                on_progress,
                processes=processes,
                checkpoints=checkpoints,
                check_checkpoint=check_checkpoint,
            )
        else:
            databases = _need(settings, "owner_url"), _need(settings, "writer_url")
            state = replay_into(*databases, *log, contest_id, moment, into, on_progress)
    answer = of_state(state, area_id, state.digest.root())
    _tell(answer.model_dump(mode="json") if as_json else None, lambda: render.show(answer))


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@_bootstrap
@_reader
@_prefix
@click.option(
    "--to-offset", type=click.IntRange(0), help="Compare up to this place on the log; else all that is there."
)
@_schema
@_json
def verify(
    contest_id: str,
    bootstrap_servers: str | None,
    reader_url: str | None,
    topic_prefix: str | None,
    to_offset: int | None,
    schema: Projection,
    as_json: bool,
) -> None:
    """Compare the tables with the log, row by row, and name what differs. Exit 1 when anything does.

    \b
    Example: escrutinio-aggregator verify pe-2021-president-runoff
    """
    settings = load(bootstrap_servers=bootstrap_servers, reader_url=reader_url, topic_prefix=topic_prefix)
    with Views(_need(settings, "reader_url"), schema) as views, _progress() as bar:
        verdict = verifying.verify(
            views,
            _need(settings, "bootstrap_servers"),
            TopicNames(settings.topic_prefix).events,
            contest_id,
            to_offset,
            _bar(bar),
        )
    _tell(verdict.as_json() if as_json else None, lambda: render.verdict(verdict))
    sys.exit(0 if verdict.equal else 1)


@main.command(cls=_Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA | UNIT]", required=False)
@_reader
@_schema
@_json
def explain(contest_id: str, area_id: str | None, reader_url: str | None, schema: Projection, as_json: bool) -> None:
    """What changed, update by update, and why.

    For an area: each of the office's statements about it, and what each publication changed among its tally sheets.
    For one sheet: its whole history.

    \b
    Examples: escrutinio-aggregator explain pe-2021-president-runoff
              escrutinio-aggregator explain pe-2021-president-runoff precinct/001972
    """
    with Views(_need(load(reader_url=reader_url), "reader_url"), schema) as views:
        contest, _ = views.contest(contest_id)
        unit, is_area = _unit(contest, area_id)
        rows = []
        for row in views.history(contest_id, unit):
            event = recorded_of(row).event
            assert isinstance(event, CountUpdate)
            rows.append((row["log_offset"], event, row["change"]))
        found: dict[int, list[str]] = defaultdict(list)
        for finding in views.findings(contest_id, unit):
            found[finding["log_offset"]].append(f"{finding['code']} {finding['message']}")
        statements = changes(contest, rows, found)
        publications = (
            snapshot_changes(contest, views.snapshots(contest_id, unit.id, ReportingUnitType.PRECINCT.value))
            if is_area
            else []
        )
    refused = sorted(found.keys() - {s.offset for s in statements})
    if not statements and not publications and not refused:
        raise NothingCounted(f"nothing has been stated about {unit}")
    if as_json:
        click.echo(
            json.dumps(
                {
                    "contest_id": contest_id,
                    "unit": str(unit),
                    "statements": [s.model_dump(mode="json") for s in statements],
                    "publications": [s.model_dump(mode="json") for s in publications],
                    "not_accepted": [{"offset": offset, "findings": found[offset]} for offset in refused],
                },
                indent=2,
            )
        )
        return
    console = render.out()
    if statements:
        console.print(render.explain(statements, contest.time_zone))
    for offset in refused:
        console.print(f"offset {offset} was not accepted: {'; '.join(found[offset])}", style="red", markup=False)
    if publications:
        console.print("\nAmong its tally sheets, publication by publication:", style="bold")
        console.print(render.snapshots(publications, contest.time_zone))


@main.command(cls=_Command)
@_bootstrap
@_owner
@_writer
@_prefix
@click.option("--only-build", is_flag=True, help="Build and bring up to the live one, and leave it at that.")
def rebuild(
    bootstrap_servers: str | None,
    owner_url: str | None,
    writer_url: str | None,
    topic_prefix: str | None,
    only_build: bool,
) -> None:
    """Build the totals anew from the log beside the live ones, and take over when they are equal.

    The live totals serve and go on meanwhile. Interrupted, it goes on where it stopped when it is called again. The former
    totals are kept: `take-over` brings them back, `drop` deletes them. Exit 1 when the digests differ: nothing is changed then.

    \b
    Example: escrutinio-aggregator rebuild
    """
    settings = load(
        bootstrap_servers=bootstrap_servers, owner_url=owner_url, writer_url=writer_url, topic_prefix=topic_prefix
    )
    with Projections(_need(settings, "owner_url")) as projections:
        projection = next_projection(projections)
        click.echo(f"building {projection}", err=True)
        _take_over(settings, projections, projection, None, only_build=only_build)


@main.command(cls=_Command, name="take-over")
@click.argument("name")
@_bootstrap
@_owner
@_writer
@_prefix
@click.option("--reason", help="Take over though the digests differ. It is recorded.")
def take_over(
    name: str,
    bootstrap_servers: str | None,
    owner_url: str | None,
    writer_url: str | None,
    topic_prefix: str | None,
    reason: str | None,
) -> None:
    """Bring projection NAME up to the live one and make it the live one. Rolling back is the same, with the former one's name.

    Exit 1 when it does not say what the live one says at the same offset: nothing is changed then.

    \b
    Example: escrutinio-aggregator take-over v1
    """
    settings = load(
        bootstrap_servers=bootstrap_servers, owner_url=owner_url, writer_url=writer_url, topic_prefix=topic_prefix
    )
    with Projections(_need(settings, "owner_url")) as projections:
        _take_over(settings, projections, Projection(name), reason, only_build=False)


def _take_over(
    settings: Settings, projections: Projections, projection: Projection, reason: str | None, *, only_build: bool
) -> None:
    projections.of(projection)  # named first: an unknown one is not looked for on the log
    servers, topic = _need(settings, "bootstrap_servers"), TopicNames(settings.topic_prefix).events
    with Building(_need(settings, "writer_url"), servers, topic, projection) as building, _progress() as bar:
        if only_build:
            rebuilding.bring_up(projections, building, _bar(bar))
            click.echo(f"{projection} is up to the live one; `take-over {projection.name}` makes it the live one")
            return
        try:
            taken = rebuilding.take_over(projections, building, projection, reason, _bar(bar))
        except NotEqual as error:
            bar.stop()
            _errors.print(f"[red]not taken over:[/] {escape(str(error))}", soft_wrap=True)
            _errors.print(
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


@main.command(cls=_Command)
@_owner
@_json
def projections(owner_url: str | None, as_json: bool) -> None:
    """The projections that stand in the database: the live one, former ones, kept replays.

    \b
    Example: escrutinio-aggregator projections
    """
    with Projections(_need(load(owner_url=owner_url), "owner_url")) as door:
        found = door.standing()
    _tell([_standing(s) for s in found] if as_json else None, lambda: render.projections(found))


@main.command(cls=_Command)
@click.argument("name")
@_owner
def drop(name: str, owner_url: str | None) -> None:
    """Delete projection NAME: a kept replay, a former one, or what an interrupted rebuild left. Never the live one.

    \b
    Example: escrutinio-aggregator drop first_night
    """
    with Projections(_need(load(owner_url=owner_url), "owner_url")) as door:
        door.drop(Projection(name))
    click.echo(f"projection {name} is deleted")


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


def _bar(bar: Progress) -> Callable[[int, int], None]:
    """Shows how far a reading of the log is."""
    task = bar.add_task("events", total=None, rate="")
    return lambda done, end: bar.update(task, completed=done, total=end)


def _unit(contest: ContestDefined, name: str | None) -> tuple[UnitKey, bool]:
    """An area by its id, or a unit as `type/id`; six digits that are no area are a tally sheet."""
    if name is None or name in contest.areas_by_id:
        return area_key(find_area(contest, name)), True
    kind, slash, unit_id = name.partition("/")
    if not slash:
        return UnitKey(ReportingUnitType.PRECINCT.value, name), False
    if kind not in set(ReportingUnitType):
        raise click.BadParameter(f"{kind!r} is no reporting unit type; one of {', '.join(ReportingUnitType)}")
    return UnitKey(kind, unit_id), unit_id in contest.areas_by_id and contest.areas_by_id[unit_id].type == kind


def _json_value(value: object) -> str:
    """Times in the contract's form; ids as they print."""
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _tell(answer: Any, drawn: Callable[[], Any]) -> None:
    if answer is not None:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        render.out().print(drawn())
