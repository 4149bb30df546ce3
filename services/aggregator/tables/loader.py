"""Read the states of contests back from the tables, and prove that they are what was committed.

Place in the flow: at every start and whenever a partition is assigned, before the first batch is folded. The units are
read as columns. What each adds to the count is computed again from the figures that it states, added up, and compared
with the totals; the digest is computed from the leaves of the statements and compared with the one committed. So the
aggregator never builds on a total or a state that was changed by hand. What such a change leaves that this cannot see,
a row of the history whose leaf and figures are as they were, `verify` finds. Writes nothing.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from aggregator.fold.evolve import ContestState, Position
from aggregator.fold.messages import AT_ONCE
from aggregator.fold.unit_table import NO_GROUP, UnitTable
from aggregator.tables.batch import Cursor
from aggregator.tables.binary_rows import BinaryRows, UnexpectedField
from aggregator.tables.errors import TablesChanged
from results.named_sql import named_sql
from results.projection import Projection
from results.rows import CHANGED_OUTSIDE, definition_of, recorded_of, roll_of
from runtime.kafka.producer import elsewhere
from runtime.postgres import copied_rows
from schemas.columns.layout import (
    KINDS,
    NONE,
    NOT_ON_BALLOT,
    REASONS,
    STATUSES,
    Layout,
    Mask,
)
from schemas.columns.wire import NO_TIME
from schemas.count_update import UnitKey
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.types import to_milliseconds

_SQL = named_sql(__package__, "loader")
_Database = psycopg.Connection[DictRow]
_AT_ONCE = 10_000
"""Units made into columns at a time: more of them take more memory, and no less time."""


def epoch_of(db: _Database, cursor: Cursor) -> int | None:
    """Return the epoch of a partition's cursor now, None when it has no row."""
    held = db.execute(_SQL["cursor_of_partition"], {"topic": cursor.topic, "partition": cursor.partition}).fetchone()
    return int(held["epoch"]) if held is not None else None


def load_states(db: _Database, cursor: Cursor, projection: Projection) -> dict[str, ContestState]:
    """Read the states of a partition's contests. Raises TablesChanged."""
    where = {"topic": cursor.topic, "partition": cursor.partition}
    rows = db.execute(_SQL["contests_of_partition"], where).fetchall()
    return {row["contest_id"]: _state(db, cursor.partition, row, projection) for row in rows}


def load_blocked(db: _Database, cursor: Cursor, partitions: int | None) -> dict[str, tuple[int, str]]:
    """Read which contests of a partition are blocked: offset of the unreadable message, and reason.

    Those parked because they stand in another partition than their key's block nothing. `partitions`: of the log.

    Raises TablesChanged where that is not the first parked message: a contest must not go on behind it.
    """
    blocked: dict[str, tuple[int, str]] = {}
    for row in db.execute(_SQL["blocked_of_partition"], {"partition": cursor.partition}):
        contest_id, offset = row["contest_id"], row["log_offset"]
        if contest_id in blocked or elsewhere(row["key"], cursor.partition, partitions) is not None:
            continue
        if row["is_contest"] and row["blocked_offset"] != offset:
            raise TablesChanged(
                f"{contest_id} is blocked at offset {row['blocked_offset']}, its first parked message is at {offset}: "
                f"{CHANGED_OUTSIDE}"
            )
        blocked[contest_id] = offset, "blocked by an earlier message"
    return blocked


def _state(db: _Database, partition: int, row: Mapping[str, Any], projection: Projection) -> ContestState:
    contest_id = row["contest_id"]
    if not row["has_last"]:
        raise TablesChanged(f"{contest_id} has no event at offset {row['last_offset']}, its last: {CHANGED_OUTSIDE}")
    state = ContestState()
    state.last = Position(partition, row["last_offset"], to_milliseconds(row["last_recorded_at"]))
    state.last_recorded = _ms(row["latest_recorded_at"])
    state.last_reported = _ms(row["last_reported_at"])
    if row["definition"] is not None:
        contest = definition_of(row["definition"])
        at = row["definition_recorded_at"]
        state.definition = Recorded(partition, row["definition_offset"], at, contest)
        state.layout, state.area_id = Layout.of(contest), contest.root.area_id
        state.digest.definition = leaf(text_of(contest))
    state.units = UnitTable(state.layout.size)
    state.all_totals.widen("vector", state.layout.size - state.all_totals.vector.shape[1])
    _number(db, contest_id, state, AT_ONCE if row["is_blocked"] else 0)
    _read_roll(db, contest_id, state)
    _read_units(db, contest_id, state)
    _compare_totals(db, contest_id, state)
    if (root := state.root()) != row["digest"]:
        raise TablesChanged(
            f"the state of {contest_id} has digest {root[:16]}…, the last commit wrote {row['digest'][:16]}…: "
            f"{CHANGED_OUTSIDE}"
        )
    if state.area_id is not None:
        view = SQL(_SQL["official_of_area"]).format(Identifier(projection.views))
        where = {"contest_id": contest_id, "area_id": state.area_id, "type": state.contest.root.type}
        state.official = [recorded_of(r) for r in db.execute(view, where)]
    return state


def _read_roll(db: _Database, contest_id: str, state: ContestState) -> None:
    """Read the parts of the rolls, and apply them again: those of the last revision hold. Raises TablesChanged."""
    for row in db.execute(_SQL["rolls_of_contest"], {"contest_id": contest_id}):
        event = roll_of(row["roll"])
        if fault := state.roll.accept(event, text_of(event), state.contest):
            raise TablesChanged(f"the roll of {contest_id} at offset {row['log_offset']}: {fault}: {CHANGED_OUTSIDE}")
    state.digest.roll = state.roll.leaf


def _ms(at: Any) -> int:
    return NO_TIME if at is None else to_milliseconds(at)


def _number(db: _Database, contest_id: str, state: ContestState, most: int) -> None:
    """Number units and groups as the tables do. Raises TablesChanged where more than `most` numbers have no row.

    Those are of units that only messages behind an unreadable one name: they were numbered, and are parked.
    """
    index, where = state.index, {"contest_id": contest_id}
    with db.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        for row, (unit, *key) in enumerate(cursor.execute(_SQL["units_of_contest"], where)):
            while len(index.keys) < min(unit, row + most):
                index.number(UnitKey("", str(len(index.keys))))
            if index.number(UnitKey(*key)) != unit:
                raise TablesChanged(f"unit {unit} of {contest_id} has no row, or two: {CHANGED_OUTSIDE}")
        for row, (path, unit_type, areas) in enumerate(cursor.execute(_SQL["area_paths_of_contest"], where)):
            while len(index.groups) < min(path, row + most):
                index.group("", (str(len(index.groups)),))
            if index.group(unit_type, tuple(map(str, areas))) != path:
                raise TablesChanged(f"area path {path} of {contest_id} has no row, or two: {CHANGED_OUTSIDE}")


def _read_units(db: _Database, contest_id: str, state: ContestState) -> None:
    symbols = {"kinds": KINDS, "statuses": STATUSES, "reasons": REASONS}
    named = {name: [str(symbol) for symbol in of] for name, of in symbols.items()}
    rows = copied_rows(db, _SQL["states_of_contest"], {"contest_id": contest_id, **named})
    state.units.grow_to(len(state.index.keys))
    of_sheets = np.array([unit_type in state.layout.sheet_types for unit_type, _ in state.index.groups], bool)
    try:
        while some := list(islice(rows, _AT_ONCE)):
            _put_units(BinaryRows(some), contest_id, state, of_sheets)
    except UnexpectedField as error:
        raise TablesChanged(f"a row of a unit's state in {contest_id} has {error}: {CHANGED_OUTSIDE}") from error


def _put_units(read: BinaryRows, contest_id: str, state: ContestState, of_sheets: Mask) -> None:
    units, table = read.field(">i4").astype(np.int64), state.units
    table.group[units] = groups = read.field(">i4")
    if (last := int(groups.max())) >= len(state.index.groups):
        raise TablesChanged(f"area path {last} of {contest_id} has no row: {CHANGED_OUTSIDE}")
    table.state_offset[units] = read.field(">i8")
    table.state_stated[units] = read.times()
    table.state_event_id[units], table.state_leaf[units] = read.field("V16"), read.field("V32")
    table.head_sequence[units], table.head_offset[units] = read.field(">i8"), read.field(">i8")
    table.head_event_id[units], table.head_leaf[units] = read.field("V16"), read.field("V32")
    kind, status, reason, suppresses, is_elsewhere = (read.field(">i4").astype(np.int64) for _ in range(5))
    figures = read.array(state.layout.size, NONE, NOT_ON_BALLOT)
    codes = np.column_stack((kind, of_sheets[groups], status, reason, suppresses, is_elsewhere))
    table.contribution[units] = state.layout.contributions(codes, figures)
    for number in units.tolist():
        state.digest.add(number, str(state.index.keys[number]))


def _compare_totals(db: _Database, contest_id: str, state: ContestState) -> None:
    """Compare the totals with the sums of the units, and keep what only their rows have. Raises TablesChanged."""
    totals, units = state.all_totals, state.units
    stated = np.flatnonzero(units.group[: len(units)] != NO_GROUP)
    places = totals.of_groups(state.index, units.group[stated])
    for row in db.execute(_SQL["totals_of_contest"], {"contest_id": contest_id}):
        number = totals.number((row["unit_type"], row["area_id"]))
        try:
            figures, since = (list(map(int, row[name])) for name in ("figures", "since"))
            totals.vector[number] = state.layout.widened(figures)
        except (TypeError, ValueError) as error:
            raise TablesChanged(
                f"the total of area {row['area_id']} of {contest_id} has a list that is none of its form ({error}): "
                f"{CHANGED_OUTSIDE}"
            ) from error
        totals.stated[number], totals.last_offset[number] = to_milliseconds(row["stated_at"]), row["last_offset"]
        totals.event_id[number] = np.frombuffer(row["last_event_id"].bytes, np.uint8)
        totals.since[number], totals.count[number] = since, len(since)
        totals.kept_at[number] = row["kept_at"]
    sums = np.zeros((len(totals) + 1, state.layout.size), np.int64)  # the last: of no place
    for depth in range(places.shape[1]):
        np.add.at(sums, places[units.group[stated], depth], units.contribution[stated])
    wrong = (sums[:-1] != totals.vector[: len(totals)]).any(axis=1)
    if wrong.any():
        _, area = totals.places[int(np.flatnonzero(wrong)[0])]
        raise TablesChanged(f"the total of area {area} of {contest_id} is not the sum of its units: {CHANGED_OUTSIDE}")
