"""`escrutinio`: answers about the count, read from the tables. A command's modules are imported when it runs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from results import options
from runtime.commands import Group, json_option
from runtime.commands import show as answer
from runtime.options import Whole
from runtime.options import reader_url as reader_option

if TYPE_CHECKING:
    from datetime import datetime

    from results.count import Count
    from results.moment import Moment
    from results.projection import Projection
    from results.reader import Reader
    from schemas.contest import Level


@click.group(cls=Group, name="escrutinio")
@click.version_option(package_name="escrutinio")
def main() -> None:
    """Ask what the count is, what it was, and why it changed.

    Operators use escrutinio-aggregator, escrutinio-ingest, escrutinio-backup, escrutinio-grants and escrutinio-api;
    auditors escrutinio-audit.

    \b
    Example: escrutinio show pe-2021-president-runoff
    """


def _reader(reader_url: str | None, projection: Projection) -> Reader:
    from results.reader import Reader
    from results.settings import ResultsSettings

    return Reader(ResultsSettings.load(reader_url=reader_url).need("reader_url"), projection)


@main.command()
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@options.at_moment
@click.option("--all-areas", is_flag=True, help="With --json: the counts of every area of which something is stated.")
@reader_option
@options.schema
@json_option
def show(
    contest_id: str,
    area_id: str | None,
    all_areas: bool,
    at_offset: int | None,
    at_time: datetime | None,
    at_reported: datetime | None,
    reader_url: str | None,
    projection: Projection,
    as_json: bool,
) -> None:
    """Show the count of a contest, or of one of its areas: now, or as of any moment.

    Both together: what was known at --at-time about the count of --at-reported. Rules that events of the contest break,
    and events that were not accepted, are told below it.

    \b
    Examples: escrutinio show pe-2021-president-runoff 010101
              escrutinio show pe-2021-president-runoff --at-reported 2021-06-08T00:23Z
    """
    from results import render
    from results.moment import Moment

    moment = Moment(at_offset, at_time, at_reported)
    if all_areas:
        if area_id is not None or not as_json:
            raise click.UsageError("--all-areas is for programs: with --json, and without an AREA")
        _show_all(contest_id, moment, reader_url, projection)
        return
    with _reader(reader_url, projection) as reader:
        count, _, to_offset = _count(reader, contest_id, area_id, moment)
        found, log = reader.found(contest_id, to_offset), reader.log_of(contest_id)
    shown = options.completed(count, moment, found, log)
    answer(as_json, lambda: shown.model_dump(mode="json"), lambda: render.show(shown))


def _show_all(contest_id: str, moment: Moment, reader_url: str | None, projection: Projection) -> None:
    from results.as_of import ContestAsOf
    from results.count import Count
    from results.moment import NOW
    from runtime.commands import answer as say_json

    with _reader(reader_url, projection) as reader:
        areas = [area.area_id for area in reader.contest(contest_id)[0].areas]
        if moment == NOW:
            found = {area: of for area, of in reader.counts(contest_id, areas).items() if isinstance(of, Count)}
        else:
            found = ContestAsOf(reader, contest_id, moment).counts(areas)
        asked = {"moment": None if moment == NOW else str(moment), "log": reader.log_of(contest_id)}
    say_json({"counts": [of.model_copy(update=asked).model_dump(mode="json") for of in found.values()]})


def _count(reader: Reader, contest_id: str, area_id: str | None, moment: Moment) -> tuple[Count, Level, int]:
    """Return the count of a moment, the counting level then, and the moment's last offset."""
    from results.moment import NOW

    if moment == NOW:
        count = reader.count(contest_id, area_id)
        return count, reader.contest(contest_id)[0].counting_level, count.as_of.offset
    from results.as_of import ContestAsOf

    as_of = ContestAsOf(reader, contest_id, moment)
    return as_of.count(area_id), as_of.level, as_of.to_offset


@main.command()
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@options.at_moment
@click.option("--limit", type=Whole(1), default=20, help="Statements to show, at most. With --json there are all.")
@reader_option
@options.schema
@json_option
def statements(
    contest_id: str,
    area_id: str | None,
    at_offset: int | None,
    at_time: datetime | None,
    at_reported: datetime | None,
    limit: int,
    reader_url: str | None,
    projection: Projection,
    as_json: bool,
) -> None:
    """List the statements that a count is made of, each with its place on the log and its documents.

    Of a sum, those of every sheet in it, now or at any moment of `show`; else the office's own about the area. Of each:
    the event's id and offset, and name, place and SHA-256 of the documents.

    \b
    Example: escrutinio statements pe-2021-president-runoff 010101
    """
    from results import render
    from results.moment import Moment
    from results.statements import statements_of

    moment = Moment(at_offset, at_time, at_reported)
    with _reader(reader_url, projection) as reader:
        count, level, to_offset = _count(reader, contest_id, area_id, moment)
        found = statements_of(reader, count, moment, level, to_offset)
    answer(as_json, lambda: found.model_dump(mode="json"), lambda: render.statements_behind(found, limit))


@main.command()
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA | UNIT]", required=False)
@reader_option
@options.schema
@json_option
def explain(
    contest_id: str, area_id: str | None, reader_url: str | None, projection: Projection, as_json: bool
) -> None:
    """Explain what changed, update by update.

    For an area: each of the office's statements about it, and the changes of each publication among its tally sheets.
    For a sheet: its whole history.

    \b
    Examples: escrutinio explain pe-2021-president-runoff
              escrutinio explain pe-2021-president-runoff precinct/001972
    """
    from results import render
    from results.explain import explain as explained

    with _reader(reader_url, projection) as reader:
        found = explained(reader, contest_id, area_id)
    answer(as_json, lambda: found.model_dump(mode="json", exclude={"time_zone"}), lambda: render.explanation(found))


@main.command()
@click.argument("contest_id", metavar="CONTEST")
@click.argument("first", metavar="A", callback=options.moment)
@click.argument("second", metavar="B", callback=options.moment)
@click.option("--area", "area_id", metavar="AREA", help="This area and those directly in it. Default: the outermost.")
@click.option("--limit", type=Whole(1), default=20, help="Events to show, at most.")
@reader_option
@options.schema
@json_option
def diff(
    contest_id: str,
    first: Moment,
    second: Moment,
    area_id: str | None,
    limit: int,
    reader_url: str | None,
    projection: Projection,
    as_json: bool,
) -> None:
    """Compare two moments: changes by area and selection, and the events behind them.

    \b
    A moment is
      now                             everything known
      41, offset:41                   up to this offset of the log
      2021-06-08T00:23Z, reported:…   up to this official time (the office's own)
      recorded:2021-06-08T02:40Z      up to this time of the log (the broker's)
    or several joined by commas: what was known at one about the count of the other.

    \b
    Examples: escrutinio diff pe-2021-president-runoff 2021-06-08T04:18Z 2021-06-08T05:19Z
              escrutinio diff pe-2021-president-runoff 31 now --area 010000 --limit 5
    """
    from results import render
    from results.over_time import between

    with _reader(reader_url, projection) as reader:
        found = between(reader, contest_id, first, second, area_id, limit)
    answer(as_json, lambda: found.model_dump(mode="json"), lambda: render.difference(found))


def _interval(_context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not an interval such as 90s, 10m, 1h or 1d", param=parameter)
    return int(found[1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}.get(
        found[2], timedelta(days=1)
    )


@main.command()
@click.argument("contest_id", metavar="CONTEST")
@click.argument("area_id", metavar="[AREA]", required=False)
@click.option(
    "--every",
    callback=_interval,
    metavar="INTERVAL",
    help="Show only the last point of each interval: 90s, 10m, 1h. Default: every official time.",
)
@click.option("--limit", type=Whole(1), default=500, help="Exit 2 when there are more points.")
@reader_option
@options.schema
@json_option
def timeline(
    contest_id: str,
    area_id: str | None,
    every: timedelta | None,
    limit: int,
    reader_url: str | None,
    projection: Projection,
    as_json: bool,
) -> None:
    """List share, lead and sheets counted over the office's time, and mark where the lead changes.

    Two series. OFFICIAL: the office's statements about the area; for each official time the last one. COMPUTED: our
    sums over the present counting level, as published up to each official time. Later corrections are not in a point:
    `show --at-reported` has them. With --every a change of the lead is marked at the end of its interval.

    \b
    Example: escrutinio timeline pe-2021-president-runoff --every 1h
    """
    from results import render
    from results.over_time import over_time

    with _reader(reader_url, projection) as reader:
        found = over_time(reader, contest_id, area_id, every, limit)
    answer(as_json, lambda: found.model_dump(mode="json"), lambda: render.timeline(found))
