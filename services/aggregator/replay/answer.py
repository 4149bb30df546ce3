"""Count a folded state, as the read side counts the tables (pure)."""

from aggregator.fold.fold import ContestState
from results.count import AsOf, Count, NothingCounted, count, find_area


def of_state(state: ContestState, area_id: str | None, digest: str | None) -> Count:
    """Return the count of one area of a folded state. Raises NothingCounted."""
    if state.definition is None or state.last is None:
        raise NothingCounted("no contest is defined up to this point of the log")
    area = find_area(state.contest, area_id)
    as_of = AsOf(offset=state.last.offset, recorded_at=state.last.recorded_at, reported_at=state.last_reported_at)
    return count(
        state.contest, area, state.totals.get(area.area_id), state.official.get(area.area_id, ()), as_of, digest
    )
