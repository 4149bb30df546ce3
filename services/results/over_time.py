"""A contest at more than one moment, read off the tables: what changed between two, and how the count went over time.

Reads only, through `past`; what is made of it is in `difference` and `timeline`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from results.as_of import Past
from results.count import Basis, Count, NothingCounted, count, find_area
from results.difference import Difference, Side, UpdateBehind, area_difference, changes_of
from results.moment import NOW, Moment
from results.reader import Reader
from results.rows import recorded_of
from results.timeline import Timeline, computed_points, end_of_interval, official_points, timeline
from results.vectors import Layout
from schemas.contest import Area

_BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)


def between(
    views: Reader, contest_id: str, first: Moment, second: Moment, area_id: str | None, limit: int
) -> Difference:
    """What changed in an area and in those directly within it, and the first `limit` events behind it.

    Raises NothingCounted where the contest was not there yet at either moment, or nothing of the area at both.
    """
    before, after = Past(views, contest_id, first), Past(views, contest_id, second)
    contest = max((before.contest, after.contest), key=lambda c: c.revision)
    area = find_area(contest, area_id)
    children = sorted(a.area_id for a in contest.areas if a.parent_id == area.area_id)
    was, now = (past.counts([area.area_id, *children]) for past in (before, after))
    if area.area_id not in was and area.area_id not in now:
        raise NothingCounted(f"nothing had been stated about {area.name} ({area.area_id}) at either moment")
    told = [area_difference(was.get(a), now.get(a)) for a in children if a in was or a in now]
    kinds = {_summed(past, area, counts.get(area.area_id)) for past, counts in ((before, was), (after, now))}
    updates, total = _updates_between(views, before, after, area, sorted(kinds), limit)
    return Difference(
        contest_id=contest_id,
        contest_name=contest.name,
        authority=contest.authority,
        time_zone=contest.time_zone,
        before=Side(moment=str(first), as_of=before.as_of, counting_level=before.level, blocked=before.blocked),
        after=Side(moment=str(second), as_of=after.as_of, counting_level=after.level, blocked=after.blocked),
        area=area_difference(was.get(area.area_id), now.get(area.area_id)),
        children=tuple(a for a in told if a.is_changed),
        updates_total=total,
        updates=updates,
    )


def _summed(past: Past, area: Area, counted: Count | None) -> str:
    """The type of the units whose updates made a count."""
    return area.type.value if counted is not None and counted.basis is Basis.OFFICIAL else past.level


def _updates_between(
    views: Reader, before: Past, after: Past, area: Area, unit_types: list[str], limit: int
) -> tuple[tuple[UpdateBehind, ...], int]:
    """The updates that belong to one moment only, as many as were asked for, and how many there are."""
    offsets, stated_at = (
        (before.to_offset, after.to_offset),
        (before.moment.stated_at, after.moment.stated_at),
    )
    rows = views.updates_between(before.contest.contest_id, unit_types, area.area_id, offsets, stated_at, limit)
    known = max(before, after, key=lambda past: past.to_offset)
    layout = Layout.of(max((before.contest, after.contest), key=lambda c: c.revision))
    changes: dict[int, dict[str, int]] = {}
    updates = [(row, recorded_of(row)) for row in rows]
    for statements in known.statements(list({r.update.unit: None for _, r in updates})).values():
        sides = ([r.offset for r in statements if past.holds(r)] for past in (before, after))
        changes |= changes_of(layout, area.area_id, statements, *sides)
    return tuple(
        UpdateBehind(
            offset=recorded.offset,
            event_id=update.event_id,
            unit=str(update.unit),
            kind=update.kind.value,
            count_status=update.count_status.value,
            stated_at=update.stated_at,
            reason=update.correction.reason if update.correction is not None else None,
            taken_back=row["taken_back"],
            change=changes[recorded.offset],
        )
        for row, recorded in updates
        for update in (recorded.update,)
    ), (rows[0]["updates_total"] if rows else 0)


def over_time(views: Reader, contest_id: str, area_id: str | None, every: timedelta | None, limit: int) -> Timeline:
    """The course of an area's count up to now; with `every`, one point for each such interval in which there is any.

    Raises NothingCounted where nothing was stated, TimelineTooLong for more than `limit` points.
    """
    past = Past(views, contest_id, NOW)
    area = find_area(past.contest, area_id)
    official = official_points(past.contest, area, past.official(area), past.as_of, every)
    computed = computed_points(_published(past, area, every)) if area.type is not past.contest.counting_level else []
    if not official and not computed:
        raise NothingCounted(f"nothing has been stated yet about {area.name} ({area.area_id})")
    return timeline(past.contest, area, official, computed, limit, past.blocked)


def _published(past: Past, area: Area, every: timedelta | None) -> Iterator[Count]:
    """Our sum of the area as it was published up to each official time: with nothing that was stated later, and nothing
    that came later. From one time to the next it takes one look at the kept totals, whatever lies between."""
    stated_at: datetime | None = _BEFORE_ALL
    while stated_at is not None:
        reached = past.reached(past.level, [area.area_id], stated_at)[area.area_id]
        if reached.total.last_offset >= 0:
            yield count(past.contest, area, reached.total, (), past.as_of, None)
        stated_at = None if reached.later is None else end_of_interval(reached.later, every)
