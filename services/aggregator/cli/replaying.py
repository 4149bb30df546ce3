"""Commands that fold the log anew: for a past count, and to compare the tables with."""

import sys
from datetime import datetime
from pathlib import Path

import click

from aggregator import render
from aggregator import replay as replaying
from aggregator import verify as verifying
from aggregator.cli.options import (
    Command,
    at_instant,
    errors,
    json_option,
    of_moment,
    owner,
    progress_bar,
    projection,
    reader,
    schema_option,
    shown_on,
    tell,
    writer,
)
from aggregator.count import of_state
from aggregator.keep import replay_into
from aggregator.moment import Moment
from aggregator.projection import LIVE, Projection
from aggregator.settings import AggregatorSettings
from aggregator.views import Views
from runtime import logs, options


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@options.kafka
@click.option("--to-offset", type=click.IntRange(0), help="Up to this place on the log, inclusive.")
@click.option(
    "--to-time", callback=at_instant, metavar="TIME", help="Up to what was recorded by then (the broker's time)."
)
@click.option(
    "--to-reported", callback=at_instant, metavar="TIME", help="What the office had stated by then (its own time)."
)
@click.option(
    "--into", callback=projection, metavar="NAME", help="Keep the state in a projection of its own, for --schema NAME."
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
@owner
@writer
@options.log_format
@json_option
def replay(
    contest_id: str,
    area_id: str | None,
    bootstrap_servers: str | None,
    kafka_config: Path | None,
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
    log_format: str | None,
    as_json: bool,
) -> None:
    """The count of any past moment, folded anew from the log. Reads Kafka only; the live totals are not touched.

    \b
    Examples: escrutinio-aggregator replay pe-2021-president-runoff --to-reported 2021-06-08T00:23Z
              escrutinio-aggregator replay pe-2021-president-runoff --to-offset 43 --into first_night
              escrutinio-aggregator show pe-2021-president-runoff --schema first_night
    """
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers,
        kafka_config=kafka_config,
        topic_prefix=topic_prefix,
        owner_url=owner_url,
        writer_url=writer_url,
        log_format=log_format,
    )
    if check_checkpoint and checkpoints is None:
        raise click.UsageError("--check-checkpoint needs --checkpoints FOLDER")
    console = logs.configure(settings.log_format)
    log = settings.kafka, settings.names.events
    moment = Moment(to_offset, to_time, to_reported)
    with progress_bar(console) as bar:
        on_progress = shown_on(bar)
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
            databases = settings.need("owner_url"), settings.need("writer_url")
            state = replay_into(*databases, *log, contest_id, moment, into, on_progress)
            errors.print(f"kept: read it with --schema {into.name}", markup=False)
    answer = of_moment(of_state(state, area_id, state.root()), moment)
    tell(answer.model_dump(mode="json") if as_json else None, lambda: render.show(answer))


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@options.kafka
@reader
@click.option(
    "--to-offset", type=click.IntRange(0), help="Compare up to this place on the log; else all that is there."
)
@schema_option
@json_option
def verify(
    contest_id: str,
    bootstrap_servers: str | None,
    kafka_config: Path | None,
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
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers, kafka_config=kafka_config, reader_url=reader_url, topic_prefix=topic_prefix
    )
    with Views(settings.need("reader_url"), schema) as views, progress_bar() as bar:
        verdict = verifying.verify(
            views,
            settings.kafka,
            settings.names.events,
            contest_id,
            to_offset,
            shown_on(bar),
        )
    tell(verdict.as_json() if as_json else None, lambda: render.verdict(verdict))
    sys.exit(0 if verdict.equal else 1)
