"""The tables say the same in whatever batches and lives of the aggregator they are written, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.live.partition import PartitionFold
from aggregator.tables.errors import TablesChanged
from aggregator.tables.writer import Writer
from results.rows import recorded_of
from schemas.identity import named
from schemas.log_record import RawRecord
from tests.support.fix_postgres import Database
from tests.support.fix_tables import CONTEST, TABLES, written
from tests.support.nights import Night, log, rough
from tests.support.strategies import (
    PRECINCT,
    a_contest,
    a_sheet,
    a_unit,
    after,
    an_update,
    nights,
    raw,
    recorded,
    set_back,
)  # fmt: skip

NUMBERED = {
    "count_update_history": """
        SELECT to_jsonb(h) - ARRAY['unit', 'area_path', 'publication']
               || jsonb_build_object('of', to_jsonb(p) - 'publication')
        FROM checking.update_row h JOIN aggregate.publication p USING (contest_id, publication)""",
    "unit_state": "SELECT to_jsonb(t) - 'unit' FROM aggregate.unit_state t",
    "area_path": "SELECT DISTINCT to_jsonb(t) - 'area_path' FROM aggregate.area_path t",
    "publication": "SELECT DISTINCT to_jsonb(t) - 'publication' FROM aggregate.publication t",
}
"""Tables with numbers of units, area paths and publications, which depend on batches: what the numbers stand for."""


def dump(
    tables: Database, records: Sequence[RawRecord], sizes: Sequence[int], *, one_life: bool
) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, but for what tells when it was written, and by whom."""
    with written(tables, records, sizes, one_life), psycopg.connect(tables.owner_url) as db:
        found: dict[str, list[dict[str, Any]]] = {}
        for table in TABLES.split(", "):
            query = NUMBERED.get(table, f"SELECT to_jsonb(t) - 'updated_at' - 'epoch' FROM aggregate.{table} t")  # noqa: S608
            found[table] = sorted((row for (row,) in db.execute(query)), key=repr)
        (histories,) = db.execute("SELECT count(*) FROM aggregate.count_update_history").fetchone() or (0,)
        assert len(found["count_update_history"]) == histories
        return found


def is_alike(tables: Database, records: Sequence[RawRecord], sizes: Sequence[int], *, one_life: bool) -> dict[str, Any]:
    at_once = dump(tables, records, [len(records)], one_life=True)
    found = dump(tables, records, sizes, one_life=one_life)
    for table, rows in at_once.items():
        assert found[table] == rows, table
    return at_once


@given(st.data())
@pytest.mark.usefixtures("small_blocks")
def test_any_night_is_written_alike(tables: Database, data: st.DataObject) -> None:
    night = data.draw(set_back(data.draw(nights())))
    sizes = data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=4))
    is_alike(tables, night, sizes, one_life=data.draw(st.booleans()))


@pytest.mark.parametrize(("sizes", "one_life"), [([1], True), ([700, 1, 50], True), ([333], False)])
def test_a_rough_night_of_two_contests_is_written_alike(tables: Database, sizes: list[int], one_life: bool) -> None:
    night = rough(Night(events=3_000 if sizes != [1] else 400, units=150 if sizes != [1] else 20, contests=2))
    records = [raw(r) for r in recorded(entry.event for entry in log(night))]
    at = len(records) * 4 // 5
    records.insert(at, RawRecord(0, records[at].offset - 1, records[at].timestamp_ms, records[0].key, b"poison", []))
    found = is_alike(tables, records, sizes, one_life=one_life)
    assert found["parked"]
    assert found["finding"]
    assert len(found["area_total_block"]) > len(records) // 10


def many_sheets(first: int, number: int) -> list[RawRecord]:
    """A definition and so many sheets, each of one statement."""
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06}")) for n in range(first, first + number)]
    return [raw(r) for r in recorded([a_contest(counting_level=(PRECINCT,)), *sheets])]


def test_a_contest_blocked_in_the_middle_of_a_batch_is_read_back(tables: Database) -> None:
    """What stood behind the unreadable message was numbered, and has no row."""
    night = many_sheets(1, 30)
    broken = night[11]
    night[11] = RawRecord(0, broken.offset, broken.timestamp_ms, broken.key, (broken.value or b"")[:-5], broken.headers)
    with written(tables, night, [len(night)]), Writer(tables.writer_url) as writer:
        states, blocked = writer.load(writer.claim("log", UUID(int=1), 0))
    assert list(blocked) == list(states) == [CONTEST]
    assert states[CONTEST].units.count() == 10
    with psycopg.connect(tables.owner_url) as db:
        db.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM aggregate.parked")
        for change in ("DELETE FROM aggregate.parked WHERE log_offset = 27", "DELETE FROM aggregate.parked"):
            db.execute(change)
            db.commit()
            with (
                Writer(tables.writer_url) as writer,
                pytest.raises(TablesChanged, match="is blocked at offset 27, its"),
            ):
                writer.load(writer.claim("log", UUID(int=1), 0))
        db.execute("INSERT INTO aggregate.parked SELECT * FROM kept")
    tables.change(
        "UPDATE aggregate.unit_state SET unit = 1000000 WHERE unit = (SELECT max(unit) FROM aggregate.unit_state)"
    )
    with Writer(tables.writer_url) as writer, pytest.raises(TablesChanged, match="unit 1000000 of"):
        writer.load(writer.claim("log", UUID(int=1), 0))


def test_refused_areas_cost_no_place() -> None:
    """The areas of a refused message are anything, and as many as a message can hold."""
    night = many_sheets(1, 2)
    stray = an_update(reporting_unit=a_unit("000009", area_path=("pe", *(f"x{n}" for n in range(15)))))
    night.append(raw(recorded([stray] * 4)[-1]))
    living = PartitionFold()
    batch = living.apply(night)
    assert [str(one.finding)[:4] for contest in batch.contests for one in contest.found] == ["F302"]
    assert living.states[CONTEST].all_totals.places == [
        ("precinct", area) for area in ("pe", "010000", "010100", "010101")
    ]


def test_a_predecessor_of_zeros_is_kept(tables: Database) -> None:
    first = a_sheet()
    odd = named(after(first).model_copy(update={"previous_event_id": UUID(int=0)}))
    night = [raw(r) for r in recorded([a_contest(counting_level=(PRECINCT,)), first, odd])]
    with written(tables, night, [3]) as views:
        rows = views.history(CONTEST, first.unit)
        assert [row["previous_event_id"] for row in rows] == [None, UUID(int=0)]
        assert [recorded_of(row).event for row in rows] == [first, odd]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE aggregate.count_update_history SET kind = 'x'", "null or of another length"),
        ("UPDATE aggregate.unit_state SET unit = 9 WHERE unit = 2", "unit 9 of .* has no row, or two"),
        ("UPDATE aggregate.area_path SET area_path = 1000000", "area path 1000000 of .* has no row, or two"),
        ("UPDATE aggregate.area_path SET areas = ARRAY[areas]", "is not the sum of its units"),
        ("UPDATE aggregate.area_total SET figures = array_append(figures, 1)", "the total of area .* none of its form"),
        ("UPDATE aggregate.area_total SET since = array_append(since, NULL)", "the total of area .* none of its form"),
    ],
)
def test_a_row_that_is_not_of_its_form_is_named_at_a_start(tables: Database, change: str, named: str) -> None:
    with written(tables, many_sheets(1, 3), [4]), psycopg.connect(tables.owner_url) as db:
        db.execute(change)
    with Writer(tables.writer_url) as writer, pytest.raises(TablesChanged, match=named):
        writer.load(writer.claim("log", UUID(int=1), 0))
