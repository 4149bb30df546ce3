"""Make an area's count over time, in two series never mixed: the office's statements and our sums (pure)."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from results.count import Around, AsOf, Count, OnLog, count
from results.names import short_names
from schemas.area_count import StatedBy
from schemas.contest import Area, ContestDefined, in_words
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import Frozen, Instant, UpdateKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimelineTooLong(EscrutinioError):
    """There are more points than the limit."""


class SelectionShare(Frozen):
    """Votes of one selection, and their share of the valid ones in percent."""

    selection_id: str
    votes: int | None
    share: str | None


class Point(Frozen):
    """The count of an area at one official time."""

    stated_at: Instant
    selections: tuple[SelectionShare, ...]
    lead: int | None
    leader: str | None
    lead_change: bool
    """True when another selection leads than at the series' last point with a leader."""
    ballots_cast: int | None
    sub_units: dict[str, int | None]
    sub_units_processed: str | None
    """Percent of the total; so is `sub_units_counted`."""
    sub_units_counted: str | None
    stated_by: dict[str, StatedBy]
    """As `Count.stated_by`."""
    offset: int
    event_id: UUID
    retracted: bool
    """True when the office retracted this statement; then it does not count for changes of the lead."""


class Timeline(Frozen):
    """An area's two series, each in the order of official time."""

    contest_id: str
    contest_name: str
    authority: str
    time_zone: str
    area_id: str
    area_name: str
    counting_level: str
    log: OnLog
    names: dict[str, str]
    """Short names of the selections, by id."""
    official: tuple[Point, ...]
    """The office's own statements about the area: for each official time the last one."""
    computed: tuple[Point, ...]
    """Our sums over the counting level, as published up to each official time."""
    blocked: str | None
    """The reason why the contest is blocked, if it is: nothing after that is counted."""


def end_of_interval(at: datetime, every: timedelta | None) -> datetime:
    """Return the last millisecond of the interval of `at`, counted from midnight UTC; `at` itself without `every`."""
    if every is None:
        return at
    return at + every - (at - _EPOCH) % every - timedelta(milliseconds=1)


def official_points(
    contest: ContestDefined, area: Area, statements: Iterable[Recorded], as_of: AsOf, every: timedelta | None
) -> list[Point]:
    """Make the office's series: the last statement of each official time; of an interval, the last not retracted.

    `statements`: the accepted ones about the area. A retraction is not a point; it marks the one that it retracts.
    """
    in_order = sorted(statements, key=lambda r: (r.update.stated_at, r.update.sequence))
    retractions = [u.correction for r in in_order if (u := r.update).kind is UpdateKind.RETRACTED]
    retracted = {c.replaces_event_id for c in retractions if c is not None}
    last = {r.update.stated_at: r for r in in_order if r.update.kind is not UpdateKind.RETRACTED}
    kept: dict[datetime, Point] = {}
    for r in last.values():
        point = _point(count(contest, area, None, [r], as_of, None, Around()), retracted=r.update.event_id in retracted)
        interval = end_of_interval(point.stated_at, every)
        if not point.retracted or kept.get(interval, point).retracted:
            kept[interval] = point
    return list(kept.values())


def computed_points(counts: Iterable[Count]) -> list[Point]:
    """Make the series of our sums."""
    return [_point(c, retracted=False) for c in counts]


def with_lead_changes(points: Sequence[Point]) -> tuple[Point, ...]:
    """Mark the points of a series at which the lead changed to another selection."""
    marked = []
    leader = None
    for point in points:
        changes = not point.retracted and None not in (leader, point.leader) and point.leader != leader
        marked.append(point.model_copy(update={"lead_change": changes}))
        if not point.retracted and point.leader is not None:
            leader = point.leader
    return tuple(marked)


def timeline(
    contest: ContestDefined,
    area: Area,
    log: OnLog,
    official: Sequence[Point],
    computed: Sequence[Point],
    limit: int,
    blocked: str | None = None,
) -> Timeline:
    """Make the timeline of an area. Raises TimelineTooLong for more than `limit` points."""
    if (points := len(official) + len(computed)) > limit:
        raise TimelineTooLong(
            f"{area.name} has {points:,} points, more than --limit {limit}; give --every 10m or --every 1h for fewer, "
            "or raise --limit"
        )
    return Timeline(
        contest_id=contest.contest_id,
        contest_name=contest.name,
        authority=contest.authority,
        time_zone=contest.time_zone,
        area_id=area.area_id,
        area_name=area.name,
        counting_level=in_words(contest.counting_level),
        log=log,
        names=short_names(contest.selections),
        official=with_lead_changes(official),
        computed=with_lead_changes(computed),
        blocked=blocked,
    )


def _point(answer: Count, *, retracted: bool) -> Point:
    return Point(
        stated_at=answer.last_update.stated_at,
        selections=tuple(
            SelectionShare(selection_id=s.selection_id, votes=s.votes, share=s.share) for s in answer.selections
        ),
        lead=answer.lead,
        leader=answer.leader,
        lead_change=False,
        ballots_cast=answer.ballots_cast,
        sub_units={name: answer.sub_units[name] for name in ("total", "processed", "counted")},
        sub_units_processed=answer.sub_units_processed.percent,
        sub_units_counted=answer.sub_units_counted.percent,
        stated_by=answer.stated_by,
        offset=answer.last_update.offset,
        event_id=answer.last_update.event_id,
        retracted=retracted,
    )
