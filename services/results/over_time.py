"""Read a contest at several moments through `as_of`: the difference of two, and the count over time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from results.as_of import ContestAsOf
from results.count import Around, Count, NothingCounted, count, find_area
from results.difference import Difference, Side, UpdateBehind, area_difference, changes_of
from results.moment import NOW, Moment
from results.reader import Reader
from results.rows import recorded_of
from results.timeline import Timeline, computed_points, end_of_interval, official_points, timeline
from results.vectors import LevelTotal
from schemas.area_count import Basis
from schemas.columns.layout import Layout
from schemas.contest import Area, Level, in_words

_BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)


def between(
    reader: Reader, contest_id: str, first: Moment, second: Moment, area_id: str | None, limit: int
) -> Difference:
    """Compare two moments of an area and the areas directly within it, with the first `limit` events behind the change.

    Raises NothingCounted when the contest was not defined at one of them, or nothing was stated about the area at both.
    """
    before, after = ContestAsOf(reader, contest_id, first), ContestAsOf(reader, contest_id, second)
    contest = max((before.contest, after.contest), key=lambda c: c.revision)
    area = find_area(contest, area_id)
    children = sorted(a.area_id for a in contest.areas if a.parent_id == area.area_id)
    was, now = (state.counts([area.area_id, *children]) for state in (before, after))
    if area.area_id not in was and area.area_id not in now:
        raise NothingCounted(f"nothing had been stated about {area.name} ({area.area_id}) at either moment")
    differences = [area_difference(was.get(a), now.get(a)) for a in children if a in was or a in now]
    sides = (before, was), (after, now)
    unit_types = {name for state, counts in sides for name in _summed(state, area, counts.get(area.area_id))}
    updates, total = _updates_between(reader, before, after, area, sorted(unit_types), limit)
    return Difference(
        contest_id=contest_id,
        contest_name=contest.name,
        authority=contest.authority,
        time_zone=contest.time_zone,
        log=reader.log_of(contest_id),
        before=_side(first, before),
        after=_side(second, after),
        area=area_difference(was.get(area.area_id), now.get(area.area_id)),
        children=tuple(a for a in differences if a.is_changed),
        updates_total=total,
        updates=updates,
    )


def _side(moment: Moment, state: ContestAsOf) -> Side:
    level = in_words(state.level)
    return Side(moment=str(moment), as_of=state.as_of, counting_level=level, blocked=state.blocked)


def _summed(state: ContestAsOf, area: Area, counted: Count | None) -> Level:
    return (area.type,) if counted is not None and counted.basis is Basis.OFFICIAL else state.level


def _updates_between(
    reader: Reader, before: ContestAsOf, after: ContestAsOf, area: Area, unit_types: list[str], limit: int
) -> tuple[tuple[UpdateBehind, ...], int]:
    """Read the first `limit` updates that belong to one moment only. Also returns their total number."""
    offsets = (before.to_offset, after.to_offset)
    stated_at = (before.moment.stated_at, after.moment.stated_at)
    rows = reader.updates_between(before.contest.contest_id, unit_types, area.area_id, offsets, stated_at, limit)
    known = max(before, after, key=lambda state: state.to_offset)
    contest = max((before.contest, after.contest), key=lambda c: c.revision)
    changes: dict[int, dict[str, int]] = {}
    updates = [(row, recorded_of(row)) for row in rows]
    for statements in known.statements(list({r.update.unit: None for _, r in updates})).values():
        sides = ([r.offset for r in statements if state.includes(r)] for state in (before, after))
        changes |= changes_of(contest, area.area_id, statements, *sides)
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


def over_time(reader: Reader, contest_id: str, area_id: str | None, every: timedelta | None, limit: int) -> Timeline:
    """Return an area's count over time, the last point of each `every`. Raises NothingCounted, TimelineTooLong."""
    state = ContestAsOf(reader, contest_id, NOW)
    area = find_area(state.contest, area_id)
    own = [] if state.contest.is_part(area.type) else state.official(area)
    official = official_points(state.contest, area, own, state.as_of, every)
    computed = computed_points(published(state, area, every)) if (area.type,) != state.level else []
    if not official and not computed:
        raise NothingCounted(f"nothing has been stated yet about {area.name} ({area.area_id})")
    return timeline(state.contest, area, reader.log_of(contest_id), official, computed, limit, state.blocked)


def published(state: ContestAsOf, area: Area, every: timedelta | None) -> Iterator[Count]:
    """Yield our sum as published up to each official time, without late statements: one lookup for each."""
    stated_at: datetime | None = _BEFORE_ALL
    layout, root = Layout.of(state.contest), state.contest.root.area_id
    roll, official = state.roll(area), state.official(area)
    areas = list(dict.fromkeys((area.area_id, root)))
    while stated_at is not None:
        up_to = {name: state.totals_up_to(name, areas, stated_at) for name in state.level}
        own, whole = (
            LevelTotal.of(layout, state.level, {name: found[of].total for name, found in up_to.items()})
            for of in (area.area_id, root)
        )
        if own is not None:
            stated = [r for r in official if r.stated_at <= own.stated_at]
            yield count(state.contest, area, own, stated, state.as_of, None, Around.of(roll, whole))
        later = [at for found in up_to.values() if (at := found[area.area_id].next_stated_at) is not None]
        stated_at = end_of_interval(min(later), every) if later else None
