"""How a count became what it is: the difference of two moments, the course over time, and the updates behind it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, WithJsonSchema

from api.answers.asked import AreaId, Ask, ContestId, UnitId, UnitType, documents
from api.problems import TOO_MANY
from results.count import AsOf
from results.difference import Difference
from results.explain import Explanation, explain
from results.moment import Moment, MomentError
from results.over_time import between, over_time
from results.reader import Reader, as_of_row
from results.timeline import Timeline

routes = APIRouter(tags=["How it came"])


def _moment(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return str(Moment.parse(text := text.replace(" ", "+"))) and text
    except MomentError as error:
        raise ValueError(str(error)) from error


MomentText = Annotated[
    str,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "now"},
                {"type": "string", "pattern": "^[0-9]{1,15}$"},
                {"type": "string", "format": "date-time", "pattern": "^[12][0-9]{3}-"},
            ]
        }
    ),
    Query(
        max_length=200,
        description="`now`; an offset, as `41`; an official time, as `2021-06-08T00:23Z`; `recorded:TIME`, the log's;"
        " or several joined by commas.",
    ),
]


class DifferenceAnswer(Difference):
    """The changes between two moments, as `escrutinio diff --json` has them."""

    is_test: bool
    as_of: AsOf
    """How far the contest is counted; `before` and `after` have the moments."""


class TimelineAnswer(Timeline):
    """The count of an area over time, as `escrutinio timeline --json` has it."""

    is_test: bool
    as_of: AsOf


class ExplanationAnswer(Explanation):
    """All statements about an area or a unit, as `escrutinio explain --json` has them."""

    is_test: bool
    as_of: AsOf


@routes.get("/contests/{contest_id}/diff", **documents(DifferenceAnswer, "diff"))
async def diff(
    ask: Ask,
    contest_id: ContestId,
    first: Annotated[MomentText, Query(alias="from")],
    second: Annotated[MomentText, Query(alias="to")] = "now",
    area: AreaId = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events, at most.")] = 20,
) -> Response:
    """Compare two moments of an area and of those directly in it, with the events behind the change."""
    moments = Moment.parse(first), Moment.parse(second)
    return await ask.of(
        contest_id,
        lambda reader: DifferenceAnswer(
            **dict(between(reader, contest_id, *moments, area, limit)), **_now(reader, contest_id)
        ),
    )


@routes.get("/contests/{contest_id}/timeline", **documents(TimelineAnswer, "timeline", TOO_MANY))
async def timeline(
    ask: Ask,
    contest_id: ContestId,
    area: AreaId = None,
    every: Annotated[
        str | None,
        Query(pattern="^[1-9][0-9]{0,5}[smhd]$", description="Only the last point of each interval, as `10m`."),
    ] = None,
    limit: Annotated[int, Query(ge=100, le=5000, description="Points, at most.")] = 500,
) -> Response:
    """The count of an area over the office's time: its own statements, and our sums as they were published."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    interval = None if every is None else timedelta(**{units[every[-1]]: int(every[:-1])})
    return await ask.of(
        contest_id,
        lambda reader: TimelineAnswer(
            **dict(over_time(reader, contest_id, area, interval, limit)), **_now(reader, contest_id)
        ),
    )


@routes.get("/contests/{contest_id}/explain", **documents(ExplanationAnswer, "explain"))
async def explain_area(ask: Ask, contest_id: ContestId, area: AreaId = None) -> Response:
    """Explain an area: each of the office's statements about it, and each publication's changes among its sheets."""
    return await ask.of(contest_id, lambda reader: _explained(reader, contest_id, area))


@routes.get("/contests/{contest_id}/units/{unit_type}/{unit_id}", **documents(ExplanationAnswer, "unit"))
async def explain_unit(ask: Ask, contest_id: ContestId, unit_type: UnitType, unit_id: UnitId) -> Response:
    """Explain a unit: its whole history, statement by statement, in words and in numbers."""
    return await ask.of(contest_id, lambda reader: _explained(reader, contest_id, f"{unit_type}/{unit_id}"))


def _explained(reader: Reader, contest_id: str, name: str | None) -> ExplanationAnswer:
    return ExplanationAnswer(**dict(explain(reader, contest_id, name)), **_now(reader, contest_id))


def _now(reader: Reader, contest_id: str) -> Mapping[str, Any]:
    """Return what an answer says of itself: how far the contest is counted, and whether it is a test."""
    contest, row = reader.contest(contest_id)
    return {"is_test": contest.is_test, "as_of": as_of_row(row)}
