"""Count a folded state, as the read side counts the tables (pure)."""

from aggregator.fold.evolve import ContestState
from results.count import Around, AsOf, Count, NothingCounted, OnRoll, count, find_area
from schemas.columns.wire import instant
from schemas.types import from_milliseconds


def of_state(state: ContestState, digest: str | None) -> Count:
    """Return the count of a folded state's area (`ContestState.area_id`). Raises NothingCounted."""
    if state.definition is None or state.last is None:
        raise NothingCounted("no contest is defined up to this point of the log")
    area = find_area(state.contest, state.area_id)
    as_of = AsOf(
        offset=state.last.offset,
        recorded_at=from_milliseconds(state.last.recorded),
        reported_at=instant(state.last_reported),
    )
    listed = state.roll.units_of(state.contest.sheets_expected)
    roll = OnRoll(*listed.get(area.area_id, (0, 0))) if state.roll.holds else None
    around = Around.of(roll, state.total(state.contest.root.area_id))
    return count(state.contest, area, state.total(area.area_id), state.official, as_of, digest, around)
