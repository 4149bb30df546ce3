"""Commands that read the tables: the count now and at any moment, what changed, and why."""

import json
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from aggregator import render
from aggregator.cli.options import (
    Command,
    at_instant,
    json_option,
    json_value,
    of_moment,
    reader,
    schema_option,
    tell,
)
from aggregator.count import NothingCounted, find_area
from aggregator.course import between, over_time
from aggregator.explain import changes, snapshot_changes
from aggregator.log import Log, LogError, last_heartbeat
from aggregator.moment import NOW, Moment, MomentError
from aggregator.past import Past
from aggregator.projection import Projection
from aggregator.rows import recorded_of
from aggregator.settings import AggregatorSettings
from aggregator.views import Views, area_key
from runtime import options
from runtime.access import AccessRefused
from schemas.codec import decode
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus
from schemas.types import ReportingUnitType


@click.command(cls=Command)
@options.kafka
@reader
@click.option(
    "--max-lag", type=click.IntRange(0), default=None, help="Exit 1 when more events than this are not aggregated yet."
)
@json_option
def status(
    bootstrap_servers: str | None,
    kafka_config: Path | None,
    reader_url: str | None,
    topic_prefix: str | None,
    max_lag: int | None,
    as_json: bool,
) -> None:
    """Position, lag, last official time, findings.

    Exit 1 when the log cannot be read or is not the one the totals were built from, when a contest is blocked, or when
    the lag is above --max-lag.

    \b
    Example: escrutinio-aggregator status --max-lag 1000
    """
    settings = AggregatorSettings.load(
        bootstrap_servers=bootstrap_servers, kafka_config=kafka_config, reader_url=reader_url, topic_prefix=topic_prefix
    )
    names = settings.names
    with Views(settings.need("reader_url")) as views:
        answer: dict[str, Any] = {
            "partitions": [c for c in views.cursors() if c["topic"] == names.events],
            "contests": views.status(),
            "unattributed": views.unattributed(),
        }
    ends: dict[int, int] = {}
    heartbeat = fault = None
    try:
        servers = settings.kafka
        with Log(servers, names.events) as log:
            topic_id = log.topic_id()
            if any(p["topic_id"] != topic_id for p in answer["partitions"]):
                fault = f"{names.events} is not the log the totals were built from: it was deleted and made again"
            else:
                ends = {p: log.end_offset(p) for p in log.partitions()}
        if (raw := last_heartbeat(servers, names.feed_status)) is not None:
            heartbeat = decode(raw.value, raw.headers)
    except (AccessRefused, LogError, ContractError) as error:
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
        click.echo(json.dumps(answer, indent=2, default=json_value))
    else:
        render.out().print(render.status(answer, datetime.now(UTC)))
    behind = max_lag is not None and (
        not answer["partitions"] or any(p["lag"] is None or p["lag"] > max_lag for p in answer["partitions"])
    )
    if fault or behind or answer["unattributed"] or any(c["blocked"] for c in answer["contests"]):
        sys.exit(1)


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@click.option("--at-offset", type=click.IntRange(0), help="As of this place on the log, inclusive.")
@click.option(
    "--at-time", callback=at_instant, metavar="TIME", help="As of what was recorded by then (the broker's time)."
)
@click.option(
    "--at-reported",
    callback=at_instant,
    metavar="TIME",
    help="As of what the office had stated by then (its own time).",
)
@reader
@schema_option
@json_option
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
    with Views(AggregatorSettings.load(reader_url=reader_url).need("reader_url"), schema) as views:
        answer = views.count(contest_id, area_id) if moment == NOW else Past(views, contest_id, moment).count(area_id)
    answer = of_moment(answer, moment)
    tell(answer.model_dump(mode="json") if as_json else None, lambda: render.show(answer))


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


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("first", metavar="A", callback=_moment)
@click.argument("second", metavar="B", callback=_moment)
@click.option("--area", "area_id", metavar="AREA", help="This area and those directly in it; else the outermost.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Events to show, at most.")
@reader
@schema_option
@json_option
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
    with Views(AggregatorSettings.load(reader_url=reader_url).need("reader_url"), schema) as views:
        answer = between(views, contest_id, first, second, area_id, limit)
    tell(answer.model_dump(mode="json") if as_json else None, lambda: render.difference(answer))


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@click.option(
    "--every", callback=_interval, metavar="LENGTH", help="One point for each such interval, its last: 90s, 10m, 1h."
)
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="Exit 2 beyond so many points.")
@reader
@schema_option
@json_option
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
    not in a point: `show --at-reported` has them. With --every a change of the lead is marked at the end of its interval.

    \b
    Example: escrutinio-aggregator timeline pe-2021-president-runoff --every 1h
    """
    with Views(AggregatorSettings.load(reader_url=reader_url).need("reader_url"), schema) as views:
        answer = over_time(views, contest_id, area_id, every, limit)
    tell(answer.model_dump(mode="json") if as_json else None, lambda: render.timeline(answer))


@click.command(cls=Command)
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA | UNIT]", required=False)
@reader
@schema_option
@json_option
def explain(contest_id: str, area_id: str | None, reader_url: str | None, schema: Projection, as_json: bool) -> None:
    """What changed, update by update, and why.

    For an area: each of the office's statements about it, and what each publication changed among its tally sheets.
    For one sheet: its whole history.

    \b
    Examples: escrutinio-aggregator explain pe-2021-president-runoff
              escrutinio-aggregator explain pe-2021-president-runoff precinct/001972
    """
    with Views(AggregatorSettings.load(reader_url=reader_url).need("reader_url"), schema) as views:
        contest, _ = views.contest(contest_id)
        unit, is_area = _unit(contest, area_id)
        rows = [(row["log_offset"], recorded_of(row).update, row["change"]) for row in views.history(contest_id, unit)]
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
