"""Contests and their areas."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers.asked import Ask, ContestId, FormAsked, Name, documents
from api.answers.forms import Form, Listing
from api.positions import Position
from results.reader import Reader, blocked_of
from schemas.contest import Selection
from schemas.count_update import Code
from schemas.types import Frozen, Instant

routes = APIRouter(tags=["Contests"])


class ContestEntry(Frozen):
    """A contest that is counted here, and how far."""

    contest_id: str
    name: str
    election_name: str
    authority: str
    is_test: bool
    """Whether it is a rehearsal or made up: show nothing of it."""
    offset: int
    """Of its last event on the log."""
    recorded_at: Instant
    reported_at: Instant | None
    topic: str
    """The log on which it stands, with its partition."""
    partition: int


class Contests(Listing):
    """The contests that are counted here."""

    contests: tuple[ContestEntry, ...]

    def items(self) -> Sequence[ContestEntry]:
        """Return the contests."""
        return self.contests


class Level(Frozen):
    """A type of areas, and how many there are."""

    type: str
    areas: int


class Contest(Frozen):
    """What a contest is: its definition in force, without the areas."""

    contest_id: str
    name: str
    election_name: str
    election_date: str
    authority: str
    time_zone: str
    is_test: bool
    revision: int
    effective_at: Instant
    count_starts_at: Instant
    votes_allowed: int
    number_elected: int
    selections: tuple[Selection, ...]
    counting_level: tuple[str, ...]
    """The types of the units that are added up."""
    later_counting_levels: tuple[tuple[str, ...], ...]
    sheet_types: tuple[str, ...]
    expected_units: int | None
    registered_voters: int | None
    leader_from_percent: str | None
    root: str
    """The outermost area."""
    levels: tuple[Level, ...]
    offset: int
    blocked: str | None


class AreaEntry(Frozen):
    """An area."""

    area_id: str
    name: str
    type: str
    parent_id: str | None
    path: tuple[str, ...]
    """From the outermost area to this one."""
    expected_units: int | None
    codes: tuple[Code, ...]
    """Its ids in other registers, as of a map."""
    ends_at: Instant | None
    replaced_by: tuple[str, ...]


class Areas(Listing):
    """The areas of a contest."""

    contest_id: str
    is_test: bool
    areas: tuple[AreaEntry, ...]
    """By id."""

    def items(self) -> Sequence[AreaEntry]:
        """Return the areas."""
        return self.areas


@routes.get("/contests", **documents(Contests, "contests", forms=True))
async def contests(ask: Ask, form: FormAsked = Form.JSON) -> Response:
    """List the contests that are counted here."""
    return await ask.now(contests_of, form)


@routes.get("/contests/{contest_id}", **documents(Contest, "contest"))
async def contest(ask: Ask, contest_id: ContestId) -> Response:
    """Return what a contest is: its selections, what is added up, and its types of areas."""
    return await ask.of(contest_id, lambda reader: contest_of(reader, contest_id))


@routes.get("/contests/{contest_id}/areas", **documents(Areas, "areas", forms=True))
async def areas(
    ask: Ask,
    contest_id: ContestId,
    level: Annotated[Name | None, Query(description="Only areas of this type.")] = None,
    form: FormAsked = Form.JSON,
) -> Response:
    """List the areas of a contest."""
    return await ask.of(contest_id, lambda reader: areas_of(reader, contest_id, level), form)


def contests_of(reader: Reader, positions: Mapping[str, Position]) -> Contests:
    """Return all contests, by id."""
    found = []
    for contest_id, at in positions.items():
        contest, _ = reader.contest(contest_id)
        found.append(
            ContestEntry(
                contest_id=contest_id, name=contest.name, election_name=contest.election_name,
                authority=contest.authority, is_test=contest.is_test, offset=at.offset, recorded_at=at.recorded_at,
                reported_at=at.reported_at, topic=at.topic, partition=at.partition,
            )
        )  # fmt: skip
    return Contests(contests=tuple(found))


def contest_of(reader: Reader, contest_id: str) -> Contest:
    """Return a contest. Raises NothingCounted for an unknown one."""
    contest, row = reader.contest(contest_id)
    same = {name: getattr(contest, name) for name in Contest.model_fields if hasattr(contest, name)}
    types = Counter(area.type for area in contest.areas)
    return Contest(
        **same | {"root": contest.root.area_id},
        levels=tuple(Level(type=name, areas=number) for name, number in types.items()),
        offset=row["last_offset"],
        blocked=blocked_of(row),
    )


def areas_of(reader: Reader, contest_id: str, area_type: str | None) -> Areas:
    """Return the areas of a contest, of one type or of all. Raises NothingCounted for an unknown contest."""
    contest, _ = reader.contest(contest_id)
    found = [area for area in contest.areas if area_type in (None, area.type)]
    return Areas(
        contest_id=contest_id,
        is_test=contest.is_test,
        areas=tuple(
            AreaEntry(**dict(area), path=contest.area_paths[area.area_id])
            for area in sorted(found, key=lambda area: area.area_id)
        ),
    )
