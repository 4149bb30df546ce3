"""What is behind a count: the updates in the order of the log, the units of an area, and what was found on the log."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.answers.asked import AreaId, Ask, ContestId, FormAsked, Name, Offset, UnitId, UnitName, UnitType, documents
from api.answers.forms import Form, Listing, flat
from api.positions import Position
from results.count import AsOf, NothingCounted, OnLog, find_area
from results.findings import Found
from results.notices import PublishedNotice, notices_since
from results.reader import Reader, as_of_row
from results.rows import recorded_of
from results.updates import LoggedUpdate, updates_since
from schemas.count_update import CountUpdate, UnitKey
from schemas.log_record import Recorded
from schemas.types import NUMBER_LIMIT, Frozen, Instant

routes = APIRouter(tags=["The log behind it"])


class Changes(Listing):
    """Accepted updates after an offset, in the order of the log."""

    contest_id: str
    is_test: bool
    as_of: AsOf
    """How far the contest is counted."""
    log: OnLog
    since: int | None
    next: int
    """Ask `since` this for what comes after. It never expires."""
    more: bool
    """Whether there is more already."""
    changes: tuple[LoggedUpdate, ...]

    def items(self) -> Sequence[LoggedUpdate]:
        """Return the updates."""
        return self.changes


class AllChanges(Listing):
    """Accepted updates of all contests after an offset in each partition: in each, in the order of the log."""

    since: str | None
    next: str
    """Ask `since` this for what comes after: an offset for each partition. It never expires."""
    more: bool
    changes: tuple[LoggedUpdate, ...]

    def items(self) -> Sequence[LoggedUpdate]:
        """Return the updates."""
        return self.changes


class Statement(Frozen):
    """A statement as it lies on the log."""

    offset: int
    partition: int
    recorded_at: Instant
    event: CountUpdate
    topic: str

    @classmethod
    def of(cls, recorded: Recorded, topic: str) -> "Statement":
        """Return it of a row."""
        return cls(
            offset=recorded.offset, partition=recorded.partition, recorded_at=recorded.recorded_at,
            event=recorded.update, topic=topic,
        )  # fmt: skip


class Statements(Listing):
    """Statements of the office, as they were published."""

    contest_id: str
    is_test: bool
    as_of: AsOf
    log: OnLog
    next: str | None = None
    """Ask `after` this for the units that follow; null: there are no more."""
    statements: tuple[Statement, ...]

    def items(self) -> Sequence[Statement]:
        """Return the statements."""
        return self.statements


class Notices(Listing):
    """Notices after a number, in the order in which they were published."""

    contest_id: str
    is_test: bool
    as_of: AsOf
    """How far the contest is counted."""
    log: OnLog
    since: int
    next: int
    """Ask `since` this for what comes after. It never expires."""
    more: bool
    """Whether there is more already."""
    notices: tuple[PublishedNotice, ...]

    def items(self) -> Sequence[PublishedNotice]:
        """Return the notices."""
        return self.notices

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """Return the notices as cells: of the events behind them the offsets."""
        for of in self.notices:
            yield {"number": of.number} | flat(
                of.notice.model_dump(mode="json") | {"events": [event.offset for event in of.notice.events]}
            )


class Findings(Found):
    """The rules that events of a contest break, and the events that were not accepted."""

    contest_id: str
    is_test: bool
    as_of: AsOf
    log: OnLog


SINCE = "Those after this offset: `next` of the page before. Default, and -1: from the beginning."
Limit = Annotated[int, Query(ge=1, le=1000, description="On a page, at most.")]


@routes.get("/contests/{contest_id}/changes", **documents(Changes, "changes", forms=True))
async def changes(
    ask: Ask,
    contest_id: ContestId,
    since: Annotated[int | None, Query(ge=-1, lt=NUMBER_LIMIT, description=SINCE)] = None,
    area: AreaId = None,
    limit: Limit = 100,
    form: FormAsked = Form.JSON,
) -> Response:
    """List what changed after an offset: every accepted update, with what the count gained or lost by it."""
    return await ask.of(contest_id, lambda reader: changes_of(reader, contest_id, since, area, limit), form)


@routes.get("/changes", **documents(AllChanges, "all_changes", forms=True))
async def all_changes(
    ask: Ask,
    since: Annotated[
        str | None,
        Query(
            max_length=5000,
            pattern="^[0-9]{1,9}:(-1|[0-9]{1,15})(,[0-9]{1,9}:(-1|[0-9]{1,15}))*$",
            description="Those after these offsets, by partition, as `0:41,3:7`. Default: all.",
        ),
    ] = None,
    limit: Limit = 100,
    form: FormAsked = Form.JSON,
) -> Response:
    """List what changed in any contest, after an offset in each partition."""
    return await ask.now(lambda reader, positions: all_changes_of(reader, positions, since, limit), form)


@routes.get("/contests/{contest_id}/notices", **documents(Notices, "notices", forms=True))
async def notices(
    ask: Ask,
    contest_id: ContestId,
    since: Annotated[Offset, Query(description="Those after this number: `next` of the page before.")] = 0,
    limit: Limit = 100,
    form: FormAsked = Form.JSON,
) -> Response:
    """List what a newsroom would report: first results, a new leader, a fall and why, a correction, all counted."""
    return await ask.of(contest_id, lambda reader: notices_of(reader, contest_id, since, limit), form)


@routes.get("/contests/{contest_id}/units", **documents(Statements, "units", forms=True))
async def units(
    ask: Ask,
    contest_id: ContestId,
    area: AreaId = None,
    unit_type: Annotated[Name | None, Query(alias="type", description="Only units of this type.")] = None,
    after: Annotated[UnitName | None, Query(description="The units after this one: `next` of the page before.")] = None,
    limit: Limit = 100,
    form: FormAsked = Form.JSON,
) -> Response:
    """List the last statement of each unit in an area. A unit of which nothing was stated has none."""
    key = None if after is None else UnitKey(*after.split("/", 1))
    return await ask.of(contest_id, lambda reader: units_of(reader, contest_id, area, unit_type, key, limit), form)


@routes.get(
    "/contests/{contest_id}/units/{unit_type}/{unit_id}/history", **documents(Statements, "history", forms=True)
)
async def history(
    ask: Ask, contest_id: ContestId, unit_type: UnitType, unit_id: UnitId, form: FormAsked = Form.JSON
) -> Response:
    """List every accepted statement of a unit, as it was published, in the order of its chain."""
    return await ask.of(contest_id, lambda reader: history_of(reader, contest_id, UnitKey(unit_type, unit_id)), form)


@routes.get("/contests/{contest_id}/findings", **documents(Findings, "findings"))
async def findings(ask: Ask, contest_id: ContestId) -> Response:
    """Return the rules that events of the contest break, and the events that were not accepted, the first of each."""
    return await ask.of(contest_id, lambda reader: findings_of(reader, contest_id))


def changes_of(reader: Reader, contest_id: str, since: int | None, area_id: str | None, limit: int) -> Changes:
    """Return a page of updates. Raises NothingCounted."""
    contest, row = reader.contest(contest_id)
    area = None if area_id is None else find_area(contest, area_id).area_id
    found = updates_since(reader, contest_id, -1 if since is None else since, limit + 1, area)
    page, more = found[:limit], len(found) > limit
    return Changes(
        contest_id=contest_id,
        is_test=contest.is_test,
        as_of=as_of_row(row),
        log=reader.log_of(contest_id),
        since=since,
        next=page[-1].offset if more else max(row["last_offset"], -1 if since is None else since),
        more=more,
        changes=tuple(page),
    )


def notices_of(reader: Reader, contest_id: str, since: int, limit: int) -> Notices:
    """Return a page of notices. Raises NothingCounted for an unknown contest."""
    contest, row = reader.contest(contest_id)
    found = notices_since(reader, contest_id, since, limit + 1)
    page = found[:limit]
    return Notices(
        contest_id=contest_id,
        is_test=contest.is_test,
        as_of=as_of_row(row),
        log=reader.log_of(contest_id),
        since=since,
        next=page[-1].number if page else since,
        more=len(found) > limit,
        notices=tuple(page),
    )


def all_changes_of(reader: Reader, positions: Mapping[str, Position], since: str | None, limit: int) -> AllChanges:
    """Return a page of updates of all contests, partition by partition."""
    cursors: dict[int, int] = {}
    for part, offset in (of.split(":") for of in since.split(",")) if since is not None else ():
        cursors[int(part)] = min(int(offset), cursors.get(int(part), NUMBER_LIMIT))
    page: list[LoggedUpdate] = []
    more = False
    for partition in sorted({at.partition for at in positions.values()}):
        contests = [at for at in positions.values() if at.partition == partition]
        after, room = cursors.get(partition, -1), limit - len(page)
        found = [update for at in contests for update in updates_since(reader, at.contest_id, after, room + 1)]
        chosen = sorted(found, key=lambda update: update.offset)[:room]
        page += chosen
        more |= (has_more := len(found) > len(chosen))
        end = max(at.next_offset for at in contests) - 1
        cursors[partition] = (chosen[-1].offset if chosen else after) if has_more else max(end, after)
    following = ",".join(f"{partition}:{offset}" for partition, offset in sorted(cursors.items()))
    return AllChanges(since=since, next=following, more=more, changes=tuple(page))


def units_of(
    reader: Reader, contest_id: str, area_id: str | None, unit_type: str | None, after: UnitKey | None, limit: int
) -> Statements:
    """Return a page of the units of an area. Raises NothingCounted for an unknown one."""
    contest, _ = reader.contest(contest_id)
    area = find_area(contest, area_id).area_id
    found = reader.units_of_area(contest_id, area, after, unit_type, limit + 1)
    last = found[limit - 1].update.unit if len(found) > limit else None
    return _statements(reader, contest_id, found[:limit], None if last is None else str(last))


def history_of(reader: Reader, contest_id: str, unit: UnitKey) -> Statements:
    """Return the statements of a unit. Raises NothingCounted when there are none."""
    reader.contest(contest_id)
    rows = reader.history(contest_id, unit)
    if not rows:
        raise NothingCounted(f"nothing has been stated about {unit}")
    return _statements(reader, contest_id, list(map(recorded_of, rows)), None)


def findings_of(reader: Reader, contest_id: str) -> Findings:
    """Return what was found on the log of a contest. Raises NothingCounted for an unknown one."""
    contest, row = reader.contest(contest_id)
    found = reader.found(contest_id, row["last_offset"])
    return Findings(
        **dict(found),
        contest_id=contest_id,
        is_test=contest.is_test,
        as_of=as_of_row(row),
        log=reader.log_of(contest_id),
    )


def _statements(reader: Reader, contest_id: str, found: Sequence[Recorded], following: str | None) -> Statements:
    contest, row = reader.contest(contest_id)
    return Statements(
        contest_id=contest_id,
        is_test=contest.is_test,
        as_of=as_of_row(row),
        log=(log := reader.log_of(contest_id)),
        next=following,
        statements=tuple(Statement.of(recorded, log.topic) for recorded in found),
    )
