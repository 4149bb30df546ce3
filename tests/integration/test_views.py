"""The count's arithmetic stands twice, in `results.count` and in the SQL of the views: both say the same of any
night, now and at every official time."""

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
from results.count import Around, Count, count
from results.moment import NOW
from results.over_time import published
from results.reader import Reader
from schemas.columns.layout import Layout
from tests.support.fix_postgres import Database
from tests.support.fix_tables import CONTEST, or_none, written
from tests.support.strategies import a_bulletin, a_contest, counts, nights, raw, recorded, set_back

SHEETS = ("total", "processed", "counted", "under_review", "to_be_processed", "annulled", "not_installed", "pending")
BALLOTS = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "challenged_votes")


def read(tables: Database, view: LiteralString, schema: str = "results") -> dict[str, list[Mapping[str, Any]]]:
    """The rows of a view by area."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    with psycopg.connect(tables.reader_url, row_factory=dict_row) as db:
        query = SQL("SELECT * FROM {} WHERE contest_id = %s").format(Identifier(schema, view))
        for row in db.execute(query, [CONTEST]):
            found.setdefault(row["area_id"], []).append(row)
    return found


def same(percent: str | None, shown: Decimal | None) -> bool:
    return (None if percent is None else Decimal(percent)) == shown


def assert_equal(count: Count, row: Mapping[str, Any]) -> None:
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
    assert row["votes"] == {s.selection_id: s.votes for s in count.selections if s.is_on_ballot}
    shares = {selection: Decimal(str(share)) for selection, share in (row["shares"] or {}).items() if share is not None}
    assert shares == {s.selection_id: Decimal(s.share) for s in count.selections if s.share is not None}


def assert_selections_equal(count: Count, selections: list[Mapping[str, Any]]) -> None:
    """The same of each selection."""
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


def flat(change: Mapping[str, Any]) -> dict[str, int]:
    """A change by the names of the layout's slots."""
    found = {}
    for name, value in change.items():
        for inner, number in value.items() if isinstance(value, dict) else [("", value)]:
            prefix = {"votes": "votes.", "under_review_by_reason": "under_review.", "not_stated": "not_stated."}
            found[prefix.get(name, f"{name}.votes.") + inner if inner else name] = number
    return found


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_views_count_as_the_library_does(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    areas = ["pe", *(a.area_id for a in night[0].event.areas[1:])]  # type: ignore[union-attr]
    with written(tables, data.draw(set_back(night)), [7]) as reader:
        counts = read(tables, "area_count")
        selections = read(tables, "selection_count")
        beside: Mapping[str, Sequence[Mapping[str, Any] | None]] = read(tables, "reconciliation", "checking")
        for area in areas:
            count = or_none(reader.count, CONTEST, area)
            assert (count is not None) == (area in counts), area
            if count is not None:
                as_of = ContestAsOf(reader, CONTEST, NOW).count(area)
                assert as_of == count.model_copy(update={"digest": None})
                (row,) = counts[area]
                assert_equal(count, row)
                assert_selections_equal(count, selections[area])
                assert_reconciled(count, beside.get(area, [None])[0])
        layout = Layout.of(reader.contest(CONTEST)[0])
        changes = "SELECT h.change, r.change AS figures FROM update_history h JOIN update_row r USING (log_offset)"
        for row in reader.run(changes):
            assert flat(row["change"]) == layout.nonzero(row["figures"] or ())


def test_a_statement_whose_votes_name_no_selection_says_nothing_of_votes(tables: Database) -> None:
    night = recorded([a_contest(), a_bulletin(counts=counts({}, ballots_cast=70))])
    with written(tables, [raw(one) for one in night], [7]) as reader:
        count = reader.count(CONTEST, "pe")
        assert_equal(count, read(tables, "area_count")["pe"][0])
        assert_selections_equal(count, read(tables, "selection_count")["pe"])
    assert [(s.votes, s.is_on_ballot) for s in count.selections] == [(None, True), (None, True)]


def course(reader: Reader, area_id: str) -> list[Count]:
    """The counts of an area over time, by the library: our sums since there are any, before them the office's own."""
    state = ContestAsOf(reader, CONTEST, NOW)
    area = state.contest.areas_by_id[area_id]
    computed = list(published(state, area, None)) if state.level != (area.type,) else []
    since = computed[0].last_update.stated_at if computed else None
    own = state.official(area)
    at = sorted({r.stated_at for r in own if since is None or r.stated_at < since})
    around = Around(state.roll(area))
    found = (
        or_none(count, state.contest, area, None, [r for r in own if r.stated_at <= t], state.as_of, None, around)
        for t in at
    )
    return [*(c for c in found if c is not None), *computed]


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_view_has_the_course_of_every_area_as_the_library_does(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    areas = ["pe", *(a.area_id for a in night[0].event.areas[1:])]  # type: ignore[union-attr]
    with written(tables, data.draw(set_back(night)), [7]) as reader:
        histories = read(tables, "area_history")
        for area in areas:
            expected = course(reader, area)
            shown = sorted(histories.get(area, []), key=lambda row: row["stated_at"])
            assert [row["stated_at"] for row in shown] == [c.last_update.stated_at for c in expected], area
            for one, row in zip(expected, shown, strict=True):
                assert_equal(one, row)
