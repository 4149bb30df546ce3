"""The course of a count: which statements are points, intervals, and where the lead changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.count import AsOf, OnLog
from results.timeline import Point, TimelineTooLong, end_of_interval, official_points, timeline, with_lead_changes
from schemas.count_update import CountUpdate
from schemas.types import UpdateKind, from_milliseconds
from tests.support.strategies import a_bulletin, a_contest, after, corrected, counts, minute, recorded

CONTEST = a_contest()
LOG = OnLog(topic="results.events", partition=0)
AS_OF = AsOf(offset=9, recorded_at=minute(99), reported_at=None)


def stated(at: int, first: int, second: int, before: CountUpdate | None = None, **fields: object) -> CountUpdate:
    figures = counts({"peru-libre": first, "fuerza-popular": second}, ballots_cast=first + second)
    if before is None:
        return a_bulletin(reported_at=minute(at), counts=figures)
    return after(before, reported_at=minute(at), counts=figures, **fields)


def points(*updates: CountUpdate, every: timedelta | None = None) -> list[Point]:
    return official_points(CONTEST, CONTEST.root, recorded([CONTEST, *updates])[1:], AS_OF, every)


def leads(series: tuple[Point, ...]) -> list[tuple[str | None, bool]]:
    return [(p.leader, p.lead_change) for p in series]


ONE = stated(0, 10, 20)
TWO = stated(10, 30, 29, ONE)
THREE = stated(20, 40, 50, TWO)


def test_a_point_is_the_count_of_its_time() -> None:
    (point,) = points(ONE)
    assert point.stated_at == minute(0)
    assert [(s.selection_id, s.votes, s.share) for s in point.selections] == [
        ("peru-libre", 10, "33.333"),
        ("fuerza-popular", 20, "66.667"),
    ]
    assert (point.lead, point.leader, point.ballots_cast) == (10, "fuerza-popular", 30)
    assert point.sub_units == {"total": 20, "processed": 13, "counted": 10}
    assert (point.sub_units_processed, point.sub_units_counted) == ("65.000", "50.000")
    assert (point.offset, point.event_id, point.retracted) == (7, ONE.event_id, False)


def test_the_lead_changes_where_another_leads_than_before() -> None:
    assert leads(with_lead_changes(points(ONE, TWO, THREE))) == [
        ("fuerza-popular", False),
        ("peru-libre", True),
        ("fuerza-popular", True),
    ]


def test_a_tie_is_no_change_of_the_lead_and_does_not_hide_one() -> None:
    tie = stated(10, 30, 30, ONE)
    assert leads(with_lead_changes(points(ONE, tie, stated(20, 31, 40, tie)))) == [
        ("fuerza-popular", False),
        (None, False),
        ("fuerza-popular", False),
    ]
    assert leads(with_lead_changes(points(ONE, tie, stated(20, 41, 40, tie))))[2] == ("peru-libre", True)


def test_of_one_official_time_the_last_statement_stands() -> None:
    again = stated(0, 11, 20, ONE)
    assert [p.event_id for p in points(ONE, again)] == [again.event_id]


def test_one_that_came_late_stands_in_its_place() -> None:
    late = stated(5, 15, 20, TWO)
    assert [p.stated_at for p in points(ONE, TWO, late)] == [minute(0), minute(5), minute(10)]


@pytest.mark.parametrize("at", [10, 30])
def test_what_the_office_took_back_is_marked_and_changes_no_lead(at: int) -> None:
    gone = stated(at, 0, 0, TWO, **(corrected(TWO) | {"kind": UpdateKind.RETRACTED}))
    then = stated(40, 40, 50, gone, kind=UpdateKind.REPORTED, correction=None)
    told = with_lead_changes(points(ONE, TWO, gone, then))
    assert [(p.stated_at, p.retracted) for p in told] == [(minute(0), False), (minute(10), True), (minute(40), False)]
    assert [p.selections[0].votes for p in told] == [10, 30, 40]
    assert [p.lead_change for p in told] == [False, False, False]


def test_of_an_interval_the_last_official_time_is_kept() -> None:
    # minute(0) is 05:48
    assert [p.stated_at for p in points(ONE, TWO, THREE, every=timedelta(hours=1))] == [minute(10), minute(20)]
    assert [p.stated_at for p in points(ONE, TWO, THREE, every=timedelta(days=1))] == [minute(20)]


@given(
    st.integers(0, 4_000_000_000_000).map(from_milliseconds),
    st.integers(1, 100_000),
)
def test_the_end_of_an_interval_is_in_it_and_the_next_millisecond_is_not(at: datetime, seconds: int) -> None:
    every = timedelta(seconds=seconds)
    end = end_of_interval(at, every)
    assert at <= end < at + every
    assert end_of_interval(end, every) == end
    assert end_of_interval(end + timedelta(milliseconds=1), every) == end + every
    assert end_of_interval(at, None) == at


def test_of_an_interval_one_that_stands_is_kept_before_one_that_was_taken_back() -> None:
    gone = stated(30, 0, 0, TWO, **(corrected(TWO) | {"kind": UpdateKind.RETRACTED}))
    assert [p.event_id for p in points(ONE, TWO, gone, every=timedelta(days=1))] == [ONE.event_id]


def test_too_many_points_are_refused_with_their_number() -> None:
    series = points(ONE, TWO, THREE)
    assert len(timeline(CONTEST, CONTEST.root, LOG, series, series, 6).computed) == 3
    with pytest.raises(TimelineTooLong, match=r"6 points.*--every 10m"):
        timeline(CONTEST, CONTEST.root, LOG, series, series, 5)
