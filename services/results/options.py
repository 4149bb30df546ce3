"""Flags of the commands that read a projection's tables, for `escrutinio` and `escrutinio-aggregator`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runtime.options import F, Whole

if TYPE_CHECKING:
    from datetime import datetime

    from results.count import Count, OnLog
    from results.findings import Found
    from results.moment import Moment
    from results.projection import Projection


def at_instant(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse a time with its zone."""
    from results.moment import MomentError, instant

    if value is None:
        return None
    try:
        return instant(value)
    except MomentError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def moment(_context: click.Context, parameter: click.Parameter, value: str) -> Moment:
    """Parse a moment."""
    from results.moment import Moment, MomentError

    try:
        return Moment.parse(value)
    except MomentError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def projection(_context: click.Context, parameter: click.Parameter, name: str | None) -> Projection:
    """Parse the name of a projection; the live one when none is given."""
    from results.projection import Projection, ProjectionError

    try:
        return Projection(name)
    except ProjectionError as error:
        raise click.BadParameter(str(error), param=parameter) from error


schema = click.option(
    "--schema",
    "projection",
    callback=projection,
    metavar="NAME",
    help="Read this projection (see `escrutinio-aggregator projections`). Default: the live one.",
)


def at_moment(command: F) -> F:
    """Add the flags of a past moment."""
    for option in (
        click.option(
            "--at-reported", callback=at_instant, metavar="TIME", help="As of this official time (the office's own)."
        ),
        click.option(
            "--at-time", callback=at_instant, metavar="TIME", help="As of this time of the log (the broker's time)."
        ),
        click.option("--at-offset", type=Whole(0), help="As of this offset of the log, inclusive."),
    ):
        command = option(command)
    return command


def completed(answer: Count, asked: Moment, found: Found, log: OnLog) -> Count:
    """Add the requested moment to an answer, unless it was now, what was found on the log, and which log it is."""
    from results.moment import NOW

    moment = None if asked == NOW else str(asked)
    of_log = {"findings": found.findings, "not_accepted": found.not_accepted}
    return answer.model_copy(update={"moment": moment, "log": log} | of_log)
