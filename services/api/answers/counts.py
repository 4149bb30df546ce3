"""Counts: of one area, or of all areas of a level; now, or as of any moment."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers.asked import AreaId, AreaType, Ask, ContestId, FormAsked, MomentAsked, documents
from api.answers.forms import Form
from api.answers.models import AreaAnswer, LevelAnswer, LevelSheet, NotCounted, Reconciled, Reconciliation
from results.as_of import ContestAsOf
from results.count import Count, NothingCounted, find_area
from results.moment import NOW, Moment
from results.reader import Reader, as_of_row, blocked_of
from schemas.area_count import Basis
from schemas.contest import ContestDefined

routes = APIRouter(tags=["Counts"])


@routes.get("/contests/{contest_id}/counts", **documents(AreaAnswer, "count"))
async def count(ask: Ask, contest_id: ContestId, moment: MomentAsked, area: AreaId = None) -> Response:
    """The count of an area: votes, shares, progress, turnout, and the event behind it."""
    return await ask.of(contest_id, lambda reader: count_of(reader, contest_id, area, moment))


@routes.get("/contests/{contest_id}/levels/{level}", **documents(LevelAnswer, "level", forms=True))
async def level(
    ask: Ask,
    contest_id: ContestId,
    level: AreaType,
    moment: MomentAsked,
    within: Annotated[AreaId, Query(description="Only areas within this one.")] = None,
    form: FormAsked = Form.JSON,
) -> Response:
    """The counts of all areas of a level, in one answer, from one snapshot."""
    asked = sheet_of if form is Form.CSV else level_of
    return await ask.of(contest_id, lambda reader: asked(reader, contest_id, level, within, moment), form)


@routes.get(
    "/contests/{contest_id}/levels/{level}/reconciliation", **documents(Reconciliation, "reconciliation", forms=True)
)
async def reconciliation(ask: Ask, contest_id: ContestId, level: AreaType, form: FormAsked = Form.JSON) -> Response:
    """Our sums of a level's areas beside the office's own statements nearest in time, with the differences."""
    return await ask.of(contest_id, lambda reader: reconciliation_of(reader, contest_id, level), form)


def count_of(reader: Reader, contest_id: str, area_id: str | None, moment: Moment) -> AreaAnswer:
    """Return the count of an area. Raises NothingCounted."""
    if moment == NOW:
        contest, found = reader.contest(contest_id)[0], reader.count(contest_id, area_id)
    else:
        as_of = ContestAsOf(reader, contest_id, moment)
        contest, found = as_of.contest, as_of.count(area_id).model_copy(update={"moment": str(moment)})
    return answers_of(reader, contest, [found])[0]


def level_of(reader: Reader, contest_id: str, area_type: str, within: str | None, moment: Moment) -> LevelAnswer:
    """Return the counts of all areas of a type. Raises NothingCounted where there is no such area."""
    if moment == NOW:
        contest, row = reader.contest(contest_id)
        areas = _areas(contest, area_type, within)
        all_found = reader.counts(contest_id, areas)
        found = {area: of for area, of in all_found.items() if isinstance(of, Count)}
        why = {area: str(of) for area, of in all_found.items() if isinstance(of, NothingCounted)}
        as_of, blocked = as_of_row(row), blocked_of(row)
    else:
        state = ContestAsOf(reader, contest_id, moment)
        contest, as_of, blocked = state.contest, state.as_of, state.blocked
        areas = _areas(contest, area_type, within)
        found = {area: of.model_copy(update={"moment": str(moment)}) for area, of in state.counts(areas).items()}
        why = dict.fromkeys(set(areas) - set(found), f"nothing had been stated ({moment})")
    return LevelAnswer(
        contest_id=contest_id,
        contest_name=contest.name,
        is_test=contest.is_test,
        level=area_type,
        within=within,
        as_of=as_of,
        log=reader.log_of(contest_id),
        blocked=blocked,
        counts=answers_of(reader, contest, [found[area] for area in areas if area in found]),
        not_counted=tuple(
            NotCounted(area_id=area, area_name=contest.areas_by_id[area].name, reason=why[area])
            for area in areas
            if area in why
        ),
    )


def sheet_of(reader: Reader, contest_id: str, area_type: str, within: str | None, moment: Moment) -> LevelSheet:
    """Return the counts of all areas of a type as a spreadsheet. Raises NothingCounted where there is no such area."""
    return LevelSheet(
        level=level_of(reader, contest_id, area_type, within, moment),
        selections=tuple(of.selection_id for of in reader.contest(contest_id)[0].selections),
    )


def reconciliation_of(reader: Reader, contest_id: str, area_type: str) -> Reconciliation:
    """Compare the computed counts of a level with the office's. Raises NothingCounted where there is no such area."""
    level = level_of(reader, contest_id, area_type, None, NOW)
    return Reconciliation(
        contest_id=contest_id,
        is_test=level.is_test,
        level=area_type,
        as_of=level.as_of,
        log=level.log,
        areas=tuple(
            Reconciled(
                area_id=of.area_id, area_name=of.area_name, stated_at=of.last_update.stated_at, official=of.official
            )
            for of in level.counts
            if of.basis is Basis.COMPUTED
        ),
    )


def _areas(contest: ContestDefined, area_type: str, within: str | None) -> list[str]:
    root = find_area(contest, within).area_id
    found = sorted(
        area.area_id for area in contest.areas
        if area.type == area_type and root in contest.area_paths[area.area_id]
    )  # fmt: skip
    if not found:
        known = ", ".join(sorted({area.type for area in contest.areas}))
        raise NothingCounted(f"contest {contest.contest_id} has no areas of type {area_type!r} there (types: {known})")
    return found


def answers_of(reader: Reader, contest: ContestDefined, counts: Sequence[Count]) -> tuple[AreaAnswer, ...]:
    """Say of counts whose word they are, whether they are a test, and on which log their events stand."""
    stages = reader.stages_at(contest.contest_id, [count.last_update.offset for count in counts])
    of_all = {"is_test": contest.is_test, "log": reader.log_of(contest.contest_id)}
    return tuple(AreaAnswer(**dict(count) | of_all, stage=stages.get(count.last_update.offset)) for count in counts)
