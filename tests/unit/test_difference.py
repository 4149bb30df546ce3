"""What changed between two counts, told as figures and as the events behind them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aggregator.replay.answer import of_state
from results.count import Count
from results.difference import area_difference, changes_of
from schemas.area_count import Basis
from schemas.count_update import CountUpdate
from schemas.log_record import Recorded
from schemas.types import UpdateKind
from tests.support.folded import fold
from tests.support.strategies import (
    Event,
    a_bulletin,
    a_contest,
    a_sheet,
    a_unit,
    after,
    corrected,
    counts,
    minute,
    recorded,
    sub_units,
)

CONTEST = a_contest()
FIRST = a_bulletin(reported_at=minute(0))


def counted(*events: Event) -> Count:
    return of_state(fold(*events)[0], None)


def test_every_selection_is_told_and_of_the_other_figures_those_that_differ() -> None:
    second = after(
        FIRST,
        reported_at=minute(30),
        counts=counts(
            {"peru-libre": 1_000, "fuerza-popular": 790},
            ballots_cast=1_850,
            valid_votes=1_790,
            blank_votes=20,
            invalid_votes=40,
            registered_voters_counted=3_000,
        ),
    )
    told = area_difference(counted(CONTEST, FIRST), counted(CONTEST, FIRST, second))
    assert [(s.selection_id, s.votes.before, s.votes.after, s.votes.change) for s in told.selections] == [
        ("peru-libre", 1_000, 1_000, 0),
        ("fuerza-popular", 800, 790, -10),
    ]
    assert (told.lead.before, told.lead.after, told.lead.change) == (200, 210, 10)
    assert {n: f.change for n, f in told.counts.items()} == {"ballots_cast": -10, "valid_votes": -10}
    assert (told.sub_units, told.under_review_by_reason) == ({}, {})
    assert told.is_comparable
    assert told.is_changed
    assert not area_difference(counted(CONTEST, FIRST), counted(CONTEST, FIRST)).is_changed


def test_not_stated_is_not_zero_and_has_no_change() -> None:
    sheets = sub_units(total=20, processed=13, counted=10, under_review_by_reason={"ILLEGIBLE": 1})
    second = after(FIRST, reported_at=minute(30), sub_units=sheets)
    told = area_difference(counted(CONTEST, FIRST), counted(CONTEST, FIRST, second))
    pending = told.sub_units["pending"]
    assert (pending.before, pending.after, pending.change) == (5, None, None)
    # but a breakdown by reason that is stated says 0 of those it leaves out
    assert told.under_review_by_reason["MATERIAL_ERROR"].change == -2
    assert "ILLEGIBLE" not in told.under_review_by_reason


def test_from_nothing_there_is_no_change_but_the_figures() -> None:
    told = area_difference(None, counted(CONTEST, FIRST))
    assert (told.basis_before, told.basis_after, told.is_comparable) == (None, Basis.OFFICIAL, False)
    assert (told.selections[0].votes.before, told.selections[0].votes.change) == (None, None)
    assert (told.leader_before, told.leader_after) == (None, "peru-libre")


def a_life(*updates: CountUpdate) -> list[Recorded]:
    return recorded([CONTEST, *updates])[1:]


def changes(statements: list[Recorded], before: set[int], later: set[int], area: str = "pe") -> dict[int, Any]:
    told = changes_of(CONTEST, area, statements, before, later)
    return {offset: (c.get("votes.peru-libre", 0), c.get("counted", 0)) for offset, c in told.items()}


def votes(at: datetime, first: int, update: CountUpdate | None = None, **fields: Any) -> CountUpdate:
    figures = counts({"peru-libre": first, "fuerza-popular": 0}, ballots_cast=first)
    return (
        a_sheet(reported_at=at, counts=figures, **fields)
        if update is None
        else after(update, reported_at=at, counts=figures, **fields)
    )


ONE = votes(minute(0), 10)
THREE = votes(minute(20), 30, ONE)
TWO = votes(minute(10), 20, THREE)
"""Came last, of a time between the others."""
LIFE = a_life(ONE, THREE, TWO)
A, C, B = (r.offset for r in LIFE)


def test_by_the_log_an_event_tells_what_it_changed_when_it_came() -> None:
    assert changes(LIFE, set(), {A, C, B}) == {A: (10, 1), C: (20, 0), B: (0, 0)}
    assert changes(LIFE, {A, C}, {A, C, B}) == {B: (0, 0)}


def test_by_the_offices_time_a_late_one_tells_what_it_changes_in_its_place() -> None:
    assert changes(LIFE, {A}, {A, B}) == {B: (10, 0)}
    assert changes(LIFE, {A, B}, {A, C, B}) == {C: (10, 0)}


def test_what_is_taken_back_tells_the_opposite_last_first() -> None:
    assert changes(LIFE, {A, C, B}, set()) == {A: (-10, -1), C: (-20, 0), B: (0, 0)}
    assert changes(LIFE, {A, C}, {A, B}) == {C: (-20, 0), B: (10, 0)}


def test_a_unit_counts_in_the_area_it_names() -> None:
    moved = votes(minute(30), 40, ONE, reporting_unit=a_unit(area_path=("pe", "010000", "010100", "010102")))
    life = a_life(ONE, moved)
    first, second = (r.offset for r in life)
    assert changes(life, {first}, {first, second}, "010101") == {second: (-10, -1)}
    assert changes(life, {first}, {first, second}, "010102") == {second: (40, 1)}
    assert changes(life, {first}, {first, second}) == {second: (30, 0)}


def test_a_retraction_takes_its_units_votes() -> None:
    gone = after(ONE, reported_at=minute(5), **(corrected(ONE) | {"kind": UpdateKind.RETRACTED}))
    life = a_life(ONE, gone)
    first, second = (r.offset for r in life)
    assert changes(life, {first}, {first, second}) == {second: (-10, -1)}
