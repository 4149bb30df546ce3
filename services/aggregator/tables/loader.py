"""Read the states of contests back from the tables, and prove that they are what was committed.

Place in the flow: at every start and whenever a partition is assigned, before the first batch is folded. Totals are not
read but summed again from the units and compared with the table; the digest is compared with the one committed. So the
aggregator never builds on a row that was changed by hand. Writes nothing.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import DictRow

from aggregator.fold.fold import ContestState, Unit, sum_up
from aggregator.tables.batch import Cursor
from aggregator.tables.errors import TablesChanged
from results.named_sql import named_sql
from results.rows import CHANGED_OUTSIDE, definition_of, recorded_of, total_of
from results.vectors import AreaTotal, Layout
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.types import AREA_TYPES

_SQL = named_sql(__package__, "loader")
_Database = psycopg.Connection[DictRow]


def epoch_of(db: _Database, cursor: Cursor) -> int | None:
    """Return the epoch of a partition's cursor now, None when it has no row."""
    held = db.execute(_SQL["cursor_of_partition"], {"topic": cursor.topic, "partition": cursor.partition}).fetchone()
    return int(held["epoch"]) if held is not None else None


def load_states(db: _Database, cursor: Cursor) -> dict[str, ContestState]:
    """Read the states of a partition's contests. Raises TablesChanged."""
    where = {"topic": cursor.topic, "partition": cursor.partition}
    rows = db.execute(_SQL["contests_of_partition"], where).fetchall()
    return {row["contest_id"]: _state(db, cursor.partition, row) for row in rows}


def load_blocked(db: _Database, cursor: Cursor) -> dict[str, tuple[int, str]]:
    """Read which contests of a partition are blocked: offset of the unreadable message, and reason."""
    rows = db.execute(_SQL["blocked_of_partition"], {"partition": cursor.partition})
    return {row["contest_id"]: (row["log_offset"], "blocked by an earlier message") for row in rows}


def _state(db: _Database, partition: int, row: Mapping[str, Any]) -> ContestState:
    contest_id = row["contest_id"]
    state = ContestState()
    state.last, state.last_recorded_at = _last(db, partition, row), row["latest_recorded_at"]
    if row["definition"] is None:
        return state
    contest = definition_of(row["definition"])
    state.definition = Recorded(partition, row["definition_offset"], row["definition_recorded_at"], contest)
    state.layout = Layout.of(contest)
    state.digest.definition = leaf(text_of(contest))
    heads = {
        (h := recorded_of(r)).offset: h for r in db.execute(_SQL["late_heads_of_contest"], {"contest_id": contest_id})
    }
    with db.cursor(name="units") as units:
        units.itersize = 5000
        for unit_row in units.execute(_SQL["units_of_contest"], {"contest_id": contest_id}):
            current = recorded_of(unit_row)
            _put_unit(state, current, heads.get(unit_row["head_offset"], current))
    for official in db.execute(_SQL["official_of_contest"], {"contest_id": contest_id, "types": sorted(AREA_TYPES)}):
        statement = recorded_of(official)
        state.official.setdefault(official["unit_id"], []).append(statement)
    state.sums = sum_up(state)
    _compare(db, contest_id, state, row["digest"])
    state.last_reported_at = row["last_reported_at"]
    return state


def _last(db: _Database, partition: int, row: Mapping[str, Any]) -> Recorded:
    where = {"contest_id": row["contest_id"], "log_offset": row["last_offset"]}
    if (update := db.execute(_SQL["update_at"], where).fetchone()) is not None:
        return recorded_of(update)
    if (definition := db.execute(_SQL["definition_at"], where).fetchone()) is not None:
        event = definition_of(definition["definition"])
        return Recorded(partition, row["last_offset"], definition["recorded_at"], event)
    raise TablesChanged(
        f"{row['contest_id']} has no event at offset {row['last_offset']}, its last event: {CHANGED_OUTSIDE}"
    )


def _compare(db: _Database, contest_id: str, state: ContestState, digest: str) -> None:
    """Compare totals and digest with those committed. Raises TablesChanged."""
    found = db.execute(_SQL["totals_of_contest"], {"contest_id": contest_id}).fetchall()
    kept = {(r["unit_type"], r["area_id"]): r for r in found}
    for kind, area in sorted(kept.keys() | {(kind, area) for kind, totals in state.sums.items() for area in totals}):
        row, totals = kept.get((kind, area)), state.sums.setdefault(kind, {})
        total = totals.get(area) or AreaTotal(state.layout.zero())  # all its units may have moved away
        if row is None or total.vector != state.layout.vector_of(row):
            raise TablesChanged(
                f"the total of area {area} of {contest_id} is not the sum of its units: {CHANGED_OUTSIDE}"
            )
        # The last update of an area may be of a unit that has moved away since: only the row has it.
        totals[area] = total_of(row, total.vector)
    if (root := state.root()) != digest:
        raise TablesChanged(
            f"the state of {contest_id} has digest {root[:16]}…, the last commit wrote {digest[:16]}…: "
            f"{CHANGED_OUTSIDE}"
        )


def _put_unit(state: ContestState, current: Recorded, head: Recorded) -> None:
    update, last = current.update, head.update
    current_leaf = leaf(text_of(update))
    unit = state.units[update.unit] = Unit(
        areas=update.counting_areas,
        contribution=state.layout.contribution(update),
        stated_at=update.stated_at,
        sequence=update.sequence,
        event_id=update.event_id,
        offset=current.offset,
        leaf=current_leaf,
        head_sequence=last.sequence,
        head_event_id=last.event_id,
        head_offset=head.offset,
        head_leaf=current_leaf if head is current else leaf(text_of(last)),
    )
    state.digest.put(str(update.unit).encode(), unit.leaf + unit.head_leaf)
