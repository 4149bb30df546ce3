"""The count's arithmetic stands twice, in `results.count` and in the SQL of the views: both say the same of any
night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from results.as_of import ContestAsOf
from results.count import Count
from results.moment import NOW
from tests.support.fix_postgres import Database
from tests.support.fix_tables import CONTEST, or_none, written
from tests.support.strategies import nights, set_back

SHEETS = ("total", "processed", "counted", "under_review", "to_be_processed", "annulled", "not_installed", "pending")
BALLOTS = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "challenged_votes")


def read(tables: Database, view: LiteralString) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of a view by area; of the count, the basis that is it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    with psycopg.connect(tables.reader_url, row_factory=dict_row) as db:
        query = SQL("SELECT * FROM {} WHERE contest_id = %s").format(Identifier("results", view))
        for row in db.execute(query, [CONTEST]):
            if row.get("is_count", True):
                found.setdefault(row["area_id"], []).append(row)
    return found


def same(percent: str | None, shown: Decimal | None) -> bool:
    return (None if percent is None else Decimal(percent)) == shown


def assert_equal(count: Count, row: Mapping[str, Any], selections: list[Mapping[str, Any]]) -> None:
    """One area's count, as the library and as the views have it."""
    assert row["basis"] == count.basis
    assert {name: row[name] for name in BALLOTS} == {name: getattr(count, name) for name in BALLOTS}
    assert {name: row[name] for name in SHEETS} == {name: count.sub_units[name] for name in SHEETS}
    assert {k: n for k, n in (row["under_review_by_reason"] or {}).items() if n} == {
        k: n for k, n in count.under_review_by_reason.items() if n
    }
    assert row["registered_voters"] == count.turnout.registered_voters
    assert row["registered_voters_counted"] == count.turnout.registered_voters_counted
    assert same(count.turnout.of_registered_voters, row["turnout_of_roll_percent"])
    assert same(count.turnout.of_registered_voters_counted, row["turnout_of_counted_percent"])
    assert same(count.sub_units_processed.percent, row["processed_percent"])
    assert same(count.sub_units_counted.percent, row["counted_percent"])
    assert (row["stated_at"], row["last_offset"], row["last_event_id"]) == (
        count.last_update.stated_at,
        count.last_update.offset,
        count.last_update.event_id,
    )
    progress = "expected", "beyond_expected", "areas_reported", "areas_expected", "voters_outstanding"
    assert {name: row[name] for name in progress} == {name: getattr(count.progress, name) for name in progress}
    units = "suppressed_units", "unknown_units"
    assert {name: row[name] for name in units} == {name: getattr(count, name) for name in units}
    assert row["not_counted"] == {s.selection_id: s.not_counted for s in count.selections if s.not_counted}
    by_id = {s["selection_id"]: s for s in selections}
    for selection in count.selections:
        shown = by_id[selection.selection_id]
        assert (shown["votes"], shown["is_on_ballot"]) == (selection.votes, selection.is_on_ballot)
        assert same(selection.share, shown["share"]), selection
    assert len(by_id) == len(count.selections)


def assert_reconciled(count: Count, beside: Mapping[str, Any] | None) -> None:
    """A computed count beside the office's: the same statement, the same differences."""
    if count.official is None:
        assert beside is None
        return
    assert beside is not None
    assert beside["official_event_id"] == count.official.event_id
    shown = {
        name.removesuffix("_difference"): value
        for name, value in beside.items()
        if name.endswith("_difference") and name != "votes_difference" and value is not None
    }
    shown |= {f"votes.{s}": n for s, n in (beside["votes_difference"] or {}).items() if n is not None}
    assert shown == {name: count.official.differences[name] for name in shown}
    assert shown.keys() >= {name for name in count.official.differences if name in ("counted", "ballots_cast")}


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_views_count_as_the_library_does(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    areas = ["pe", *(a.area_id for a in night[0].event.areas[1:])]  # type: ignore[union-attr]
    with written(tables, data.draw(set_back(night)), [7]) as reader:
        counts = read(tables, "area_count")
        selections = read(tables, "selection_count")
        beside: Mapping[str, Sequence[Mapping[str, Any] | None]] = read(tables, "reconciliation")
        for area in areas:
            count = or_none(reader.count, CONTEST, area)
            assert (count is not None) == (area in counts), area
            if count is not None:
                as_of = ContestAsOf(reader, CONTEST, NOW).count(area)
                assert as_of == count.model_copy(update={"digest": None})
                (row,) = counts[area]
                assert_equal(count, row, selections[area])
                assert_reconciled(count, beside.get(area, [None])[0])
