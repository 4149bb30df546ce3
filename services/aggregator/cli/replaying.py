"""Commands that fold the log again: for a past count, and to verify the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aggregator.cli.options import progress_bar, settings, shown_on
from results.options import at_instant, completed, schema
from results.options import projection as projection_named
from runtime import options
from runtime.commands import Command, json_option, say, show

if TYPE_CHECKING:
    from datetime import datetime

    from results.projection import Projection


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@options.kafka
@click.option("--to-offset", type=options.Whole(0), help="Up to this offset of the log, inclusive.")
@click.option(
    "--to-time", callback=at_instant, metavar="TIME", help="Up to what was recorded by then (the broker's time)."
)
@click.option(
    "--to-reported", callback=at_instant, metavar="TIME", help="What the office had stated by then (its own time)."
)
@click.option(
    "--into",
    callback=projection_named,
    metavar="NAME",
    help="Keep the state in a projection of its own, for --schema NAME.",
)
@options.owner_url
@options.writer_url
@options.log_format
@json_option
def replay(
    contest_id: str,
    area_id: str | None,
    to_offset: int | None,
    to_time: datetime | None,
    to_reported: datetime | None,
    into: Projection,
    as_json: bool,
    **flags: Any,
) -> None:
    """Fold the log again up to any past moment, and show the count. Reads Kafka only; the live totals are not touched.

    Exit 1 where the log does not agree with itself: an event was not accepted, or one is missing in a unit's chain
    (F401, F403). What the office published that does not add up (F1xx) or came late (F406) is told, with exit 0.

    \b
    Examples: escrutinio-aggregator replay pe-2021-president-runoff --to-reported 2021-06-08T00:23Z
              escrutinio-aggregator replay pe-2021-president-runoff --to-offset 43 --into first_night
              escrutinio show pe-2021-president-runoff --schema first_night
    """
    from aggregator.projections.keep_replay import replay_into
    from aggregator.replay.answer import of_state
    from aggregator.replay.replay import replay
    from results import render
    from results.count import OnLog
    from results.findings import Collector
    from results.moment import Moment
    from results.projection import LIVE
    from runtime import logs

    given = settings(flags)
    console = logs.configure(given.log_format)
    source = given.kafka, given.names.events
    moment, collector = Moment(to_offset, to_time, to_reported), Collector()
    with progress_bar(console) as bar:
        on_progress = shown_on(bar)
        if into == LIVE:
            state = replay(*source, contest_id, moment, on_progress, area_id=area_id, collector=collector)
        else:
            databases = given.need("owner_url"), given.need("writer_url")
            state = replay_into(
                *databases, *source, contest_id, moment, into, on_progress, area_id=area_id, collector=collector
            )
            say(f"kept: query it with --schema {into.name}", err=True)
    answer = of_state(state, state.root())
    assert state.last is not None
    log = OnLog(topic=given.names.events, partition=state.last.partition)
    answer = completed(answer, moment, collector.found, log)
    show(as_json, lambda: answer.model_dump(mode="json"), lambda: render.show(answer))
    raise SystemExit(0 if collector.found.is_sound else 1)


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@options.kafka
@options.reader_url
@click.option(
    "--to-offset", type=options.Whole(0), help="Compare up to this offset of the log. Default: all that is aggregated."
)
@schema
@json_option
def verify(contest_id: str, to_offset: int | None, projection: Projection, as_json: bool, **flags: Any) -> None:
    """Compare the tables with the log, row by row, and report every mismatch with its event and unit. Exit 1 at any.

    Events that were not accepted, and rules that are broken, are told, and are no mismatch: tables and log have both.

    \b
    Example: escrutinio-aggregator verify pe-2021-president-runoff
    """
    from aggregator.cli import render
    from aggregator.verify.compare import verify
    from results.reader import Reader

    given = settings(flags)
    with Reader(given.need("reader_url"), projection) as reader, progress_bar() as bar:
        report = verify(reader, given.kafka, given.names.events, contest_id, to_offset, shown_on(bar))
        found = reader.found(contest_id, report.offset)
    show(as_json, lambda: report.as_json() | found.model_dump(mode="json"), lambda: render.report(report, found))
    raise SystemExit(0 if report.equal else 1)


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@options.kafka
@json_option
def notices(contest_id: str, as_json: bool, **flags: Any) -> None:
    """Make the notices of a contest again, from the log alone: those on results.notices have the same ids.

    Operational ones are about us, not about the count, and are none of these.

    \b
    Example: escrutinio-aggregator notices pe-2021-president-runoff
    """
    from aggregator.cli import render
    from aggregator.log.reader import Log
    from aggregator.publish.replayed import notices

    given = settings(flags)
    with Log(given.kafka, given.names.events, max_records=10_000) as log, progress_bar() as bar:
        found = list(notices(log, contest_id, shown_on(bar)))
    show(as_json, lambda: [notice.model_dump(mode="json") for notice in found], lambda: render.notices(found))
