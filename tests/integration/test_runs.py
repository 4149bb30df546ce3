"""What is written of updates that were folded as columns is what the plain fold writes, row by row and value by
value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.columns.runs import _closing
from aggregator.live.partition import PartitionFold
from schemas.log_record import RawRecord
from schemas.types import ReportingUnitType
from tests.support.fix_postgres import Database
from tests.support.fix_tables import TABLES, written
from tests.support.nights import Night, log, rough
from tests.support.strategies import nights, raw, recorded, set_back

NEVER = 10**9


def dump(
    tables: Database, records: Sequence[RawRecord], sizes: Sequence[int], run: int, *, one_life: bool
) -> dict[str, Any]:
    """Every row of every table, but for what tells when it was written, and by whom."""
    with written(tables, records, sizes, run, one_life), psycopg.connect(tables.owner_url) as db:
        found: dict[str, Any] = {}
        for table in TABLES.split(", "):
            rows = db.execute(f"SELECT to_jsonb(t) - 'updated_at' - 'epoch' FROM aggregate.{table} t").fetchall()  # noqa: S608
            found[table] = sorted((row for (row,) in rows), key=repr)
        return found


def is_alike(tables: Database, records: Sequence[RawRecord], sizes: Sequence[int], *, one_life: bool) -> dict[str, Any]:
    plain = dump(tables, records, [len(records)], NEVER, one_life=True)
    quick = dump(tables, records, sizes, 1, one_life=one_life)
    for table, rows in plain.items():
        assert quick[table] == rows, table
    return plain


@given(st.data())
@pytest.mark.usefixtures("small_blocks")
def test_any_night_is_written_alike(tables: Database, data: st.DataObject) -> None:
    night = data.draw(set_back(data.draw(nights())))
    sizes = data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=4))
    is_alike(tables, night, sizes, one_life=data.draw(st.booleans()))


@pytest.mark.parametrize(("sizes", "one_life"), [([3_000], True), ([700, 1, 50], True), ([333], False)])
def test_a_rough_night_of_two_contests_is_written_alike(tables: Database, sizes: list[int], one_life: bool) -> None:
    night = rough(Night(events=3_000, units=150, contests=2))
    records = [raw(r) for r in recorded(entry.event for entry in log(night))]
    records.insert(
        2_400, RawRecord(0, records[2_400].offset - 1, records[2_400].timestamp_ms, records[0].key, b"poison", [])
    )
    plain = is_alike(tables, records, sizes, one_life=one_life)
    assert plain["parked"]
    assert plain["finding"]
    assert len(plain["area_total_block"]) > 300


def test_an_ordinary_night_is_written_from_columns() -> None:
    night = Night(events=3_000, units=500, levels=(ReportingUnitType.PRECINCT,))
    records = [raw(r) for r in recorded(entry.event for entry in log(night))]
    batch = PartitionFold().apply(records)
    assert sum(len(run) for run in batch.runs) > 0.9 * len(records)


@given(st.integers(0, 15), st.lists(st.booleans(), max_size=80))
def test_a_block_ends_after_so_many_touches_or_where_it_is_closed(already: int, closes: list[bool]) -> None:
    expected, count = [], already
    for i, close in enumerate(closes):
        count += 1
        if close or count >= 16:
            expected.append(i)
            count = 0
    assert list(_closing(already, np.array(closes, bool))) == expected
