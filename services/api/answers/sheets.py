"""Fixed addresses for spreadsheets and charts: small CSV files by level and area, and what stands beside a chart."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from api.answers.asked import AreaPath, AreaType, Ask, ContestId, MomentAsked, documents
from api.answers.counts import count_of, sheet_of
from api.answers.forms import Form, Listing
from api.answers.models import AreaAnswer, row_of
from results.count import percent
from results.moment import Moment
from results.reader import Reader
from schemas.types import Frozen, rfc3339

routes = APIRouter(tags=["Spreadsheets and charts"])


class OneRow(Listing):
    """The count of an area as a row."""

    count: AreaAnswer

    def items(self) -> tuple[AreaAnswer]:
        """Return the count."""
        return (self.count,)

    def rows(self) -> tuple[dict[str, Any]]:
        """Return it as a row of a spreadsheet."""
        return (row_of(self.count),)


class Describe(Frozen):
    """What stands above and below a chart."""

    intro: str
    byline: str


class Annotate(Frozen):
    """What stands beneath a chart."""

    notes: str


class ChartMetadata(Frozen):
    """Metadata that Datawrapper reads beside the data: only the keys that change."""

    describe: Describe
    annotate: Annotate


def _csv(example: str) -> dict[str, Any]:
    said = documents(AreaAnswer, example)
    ((_, examples),) = said["responses"][200]["content"].items()
    said["responses"][200]["content"] = {"text/csv": {"schema": {"type": "string"}, **examples}}
    return said | {"response_model": None, "response_class": PlainTextResponse}


@routes.get("/contests/{contest_id}/levels/{level}.csv", **_csv("level_csv"))
async def level_csv(ask: Ask, contest_id: ContestId, level: AreaType, moment: MomentAsked) -> Response:
    """The counts of all areas of a level, as a spreadsheet reads them (IMPORTDATA): one row an area."""
    return await ask.of(contest_id, lambda reader: sheet_of(reader, contest_id, level, None, moment), Form.CSV)


@routes.get("/contests/{contest_id}/areas/{area}.csv", **_csv("area_csv"))
async def area_csv(ask: Ask, contest_id: ContestId, area: AreaPath, moment: MomentAsked) -> Response:
    """The count of an area, as a spreadsheet reads it: one row."""
    return await ask.of(
        contest_id, lambda reader: OneRow(count=count_of(reader, contest_id, area, moment)), Form.CSV
    )  # fmt: skip


@routes.get("/contests/{contest_id}/chart.json", **documents(ChartMetadata, "chart"))
async def chart(ask: Ask, contest_id: ContestId, moment: MomentAsked) -> Response:
    """What stands beside a chart, for Datawrapper's live metadata: as of when, and how far the count is."""
    return await ask.of(contest_id, lambda reader: chart_of(reader, contest_id, moment))


def chart_of(reader: Reader, contest_id: str, moment: Moment) -> ChartMetadata:
    """Return a chart's metadata. Raises NothingCounted."""
    count = count_of(reader, contest_id, None, moment)
    at, by = count.as_of.reported_at or count.as_of.recorded_at, count.progress
    test, how_far = "TEST, not a result." if count.is_test else "", ""
    if (share := percent(by.counted, by.expected)) is not None:
        how_far = f"{by.counted:,} of {by.expected:,} tally sheets counted ({share} %)."
    return ChartMetadata(
        describe=Describe(intro=" ".join(filter(None, (test, how_far))), byline=count.authority),
        annotate=Annotate(
            notes=f"{count.stage or 'Stage not stated'}; {count.basis.value.lower()}; as of {rfc3339(at)}."
        ),
    )
