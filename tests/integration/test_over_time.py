"""What changed between two moments, and the course of a count: read off the tables, against the fold of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fold.evolve import ContestState
from results.as_of import ContestAsOf
from results.count import Around, AsOf, Count, OnRoll, count
from results.difference import AreaDifference, Difference
from results.moment import NOW, Moment
from results.over_time import between, over_time
from results.reader import Reader
from results.timeline import end_of_interval
from results.vectors import AreaTotal, LevelTotal
from schemas.area_count import Basis
from schemas.columns.layout import BALLOTS, Layout
from schemas.contest import ContestDefined, Level
from schemas.count_update import CountUpdate
from schemas.log_record import RawRecord, Recorded
from tests.support.fix_postgres import Database
from tests.support.fix_tables import CONTEST, or_none, written
from tests.support.folded import batches, folded_messages
from tests.support.strategies import (
    COUNTRY,
    PRECINCT,
    a_bulletin,
    a_contest,
    a_revision,
    a_sheet,
    a_unit,
    after,
    minute,
    moments,
    nights,
    raw,
    recorded,
    set_back,
)


def counted(views: Reader, moment: Moment, area: str) -> Count | None:
    return or_none(lambda: ContestAsOf(views, CONTEST, moment).count(area))


def difference(views: Reader, first: Moment, second: Moment, area: str, limit: int = 1000) -> Difference | None:
    return or_none(between, views, CONTEST, first, second, area, limit)


def figures(answer: Count | None) -> dict[str, int | None]:
    """Everything a count says in whole numbers. A reason that a breakdown leaves out is 0."""
    if answer is None:
        return {}
    names = ("lead", *BALLOTS, "annulled_ballots")
    reasons = answer.under_review_by_reason
    return {
        **{f"votes.{s.selection_id}": s.votes for s in answer.selections},
        **{name: getattr(answer, name) for name in names},
        "registered_voters": answer.turnout.registered_voters,
        "registered_voters_counted": answer.turnout.registered_voters_counted,
        **answer.sub_units,
        **{f"under_review.{r}": n for r, n in reasons.items() if n},
    }


def told(area: AreaDifference, side: str) -> dict[str, int | None]:
    """The figures of one side that differ, from a difference."""
    every = {
        **{f"votes.{s.selection_id}": s.votes for s in area.selections},
        "lead": area.lead,
        **area.counts,
        **area.sub_units,
        **{f"under_review.{r}": f for r, f in area.under_review_by_reason.items()},
    }
    for f in every.values():
        assert f.change == (None if f.before is None or f.after is None else f.after - f.before)
    return {name: getattr(f, side) for name, f in every.items() if f.is_changed}


def differing(one: dict[str, int | None], other: dict[str, int | None]) -> dict[str, int | None]:
    """The figures of one that the other says otherwise. Not stated and a reason's 0 are told by the other side."""
    return {name: one.get(name) for name in {**one, **other} if one.get(name) != other.get(name)}


def cleared(told: dict[str, int | None]) -> dict[str, int | None]:
    return {n: v or None if n.startswith("under_review.") else v for n, v in told.items()}


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_a_difference_is_the_one_count_less_the_other_in_the_area_and_those_in_it(
    tables: Database, data: st.DataObject
) -> None:
    night = data.draw(nights())
    contest = night[0].definition
    area = data.draw(st.sampled_from([a.area_id for a in contest.areas]))
    with written(tables, data.draw(set_back(night)), [7]) as views:
        for first, second in data.draw(st.lists(st.tuples(moments(night), moments(night)), min_size=1, max_size=4)):
            answer = difference(views, first, second, area)
            if answer is None:  # before the contest, or nothing of the area
                assert None in (counted(views, first, area), counted(views, second, area))
                continue
            children = {a.area_id: a for a in answer.children}
            assert answer.area.area_id == area
            for inside in (area, *(a.area_id for a in contest.areas if a.parent_id == area)):
                was, now = counted(views, first, inside), counted(views, second, inside)
                found = answer.area if inside == area else children.pop(inside, None)
                if found is None:
                    assert figures(was) == figures(now)
                    assert (was and was.basis) == (now and now.basis)
                    continue
                assert found.is_changed or inside == area
                assert (found.basis_before, found.basis_after) == (was and was.basis, now and now.basis)
                assert (found.leader_before, found.leader_after) == (was and was.leader, now and now.leader)
                expected = differing(figures(was), figures(now)), differing(figures(now), figures(was))
                before, later = cleared(told(found, "before")), cleared(told(found, "after"))
                zeros = {n for n in before if n.startswith("under_review.") and before[n] == later[n]}
                assert {n: v for n, v in before.items() if n not in zeros} == expected[0], inside
                assert {n: v for n, v in later.items() if n not in zeros} == expected[1], inside
            assert not children


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_changes_of_the_events_behind_a_difference_add_up_to_it(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    contest = night[0].definition
    area = data.draw(st.sampled_from([a.area_id for a in contest.areas]))
    records = data.draw(set_back(night))
    accepted = accepted_updates(records)
    with written(tables, records, [7]) as views:
        for first, second in data.draw(st.lists(st.tuples(moments(night), moments(night)), min_size=1, max_size=6)):
            answer = difference(views, first, second, area)
            if answer is None:
                continue
            before, later = ContestAsOf(views, CONTEST, first), ContestAsOf(views, CONTEST, second)
            sides = ((answer.area.basis_before, before), (answer.area.basis_after, later))
            levels = {(answer.area.area_type,) if basis is Basis.OFFICIAL else past.level for basis, past in sides}
            kinds = {kind for level in levels for kind in level}
            expected = {r.offset for r in accepted if before.includes(r) != later.includes(r) and unit_type(r) in kinds}
            offsets = [u.offset for u in answer.updates]
            assert answer.updates_total == len(offsets)
            assert offsets == sorted(offsets)
            assert set(offsets) <= expected
            if area == "pe":
                assert set(offsets) == expected
            by_offset = {r.offset: r for r in accepted}
            assert all(u.taken_back == before.includes(by_offset[u.offset]) for u in answer.updates)
            if len(levels) > 1:
                continue
            (level,) = levels
            gained: dict[str, int] = {}
            for update in answer.updates:
                for name, change in update.change.items():
                    gained[name] = gained.get(name, 0) + change
            was, now = total(before, area, level), total(later, area, level)
            assert {n: c for n, c in gained.items() if c} == {
                n: now.get(n, 0) - was.get(n, 0) for n in {**was, **now} if now.get(n, 0) != was.get(n, 0)
            }, (first, second, area)


def accepted_updates(records: Sequence[RawRecord]) -> list[Recorded]:
    _, steps = folded_messages(records)
    return [s.recorded for s in steps if s.accepted and isinstance(s.recorded.event, CountUpdate)]


def unit_type(r: Recorded) -> str:
    return r.update.unit.type


def total(past: ContestAsOf, area: str, level: Level) -> dict[str, int]:
    found: Counter[str] = Counter()
    for kind in level:
        if (of_kind := past.totals([area], kind).get(area)) is not None:
            found.update(Layout.of(past.contest).named(of_kind.vector))
    return dict(found)


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_computed_course_is_what_was_published_up_to_each_official_time(
    tables: Database, data: st.DataObject
) -> None:
    night = data.draw(nights())
    contest = night[0].definition
    area = data.draw(st.sampled_from([a.area_id for a in contest.areas]))
    every = data.draw(st.none() | st.sampled_from([timedelta(minutes=m) for m in (1, 10, 45)]))
    records = [raw(r) for r in night]
    expected = published(records, area)
    last = {end_of_interval(c.last_update.stated_at, every): c for c in expected}
    with written(tables, records, [5]) as views:
        answer = or_none(over_time, views, CONTEST, area, every, 1000)
    if answer is None:
        assert not expected
        return
    assert [
        (p.stated_at, p.offset, p.event_id, p.lead, p.leader, p.ballots_cast, p.sub_units["counted"])
        for p in answer.computed
    ] == [
        (c.last_update.stated_at, c.last_update.offset, c.last_update.event_id, c.lead, c.leader, c.ballots_cast,
         c.sub_units["counted"])
        for c in last.values()
    ]  # fmt: skip
    assert [[(s.selection_id, s.votes, s.share) for s in p.selections] for p in answer.computed] == [
        [(s.selection_id, s.votes, s.share) for s in c.selections] for c in last.values()
    ]


def wide(state: ContestState, contest: ContestDefined, area: str) -> LevelTotal | None:
    """An area's count so far, under a later definition."""
    layout, parts = Layout.of(contest), dict[str, AreaTotal | None]()
    for kind in contest.counting_level:
        if (found := state.all_totals.total((kind, area))) is not None:
            parts[kind] = replace(found, vector=layout.widened(found.vector))
    return LevelTotal.of(layout, contest.counting_level, parts)


def published(records: Sequence[RawRecord], area_id: str) -> list[Count]:
    """The same, event by event, from the fold of the log: the total before each first update of a later time."""
    state, _ = folded_messages(records)
    contest, level = state.contest, state.contest.counting_level
    area = contest.areas_by_id[area_id]
    if (area.type,) == level:
        return []
    counts = list[Count]()
    rolled = OnRoll(*state.roll.units_of(contest.sheets_expected).get(area_id, (0, 0))) if state.roll.holds else None
    kept: Count | None = None
    as_of = AsOf(offset=0, recorded_at=minute(0), reported_at=None)
    latest: datetime | None = None
    for state, (step,) in batches(records, [1]):
        event = step.recorded.event
        if not isinstance(event, CountUpdate) or event.unit.type not in level or area_id not in step.areas:
            continue
        if kept is not None and latest is not None and event.stated_at > latest:
            counts.append(kept)
        latest = event.stated_at if latest is None else max(latest, event.stated_at)
        own, whole = (wide(state, contest, of) for of in (area_id, contest.root.area_id))
        assert own is not None
        kept = count(contest, area, own, (), as_of, None, Around.of(rolled, whole))
    return [*counts, *([kept] if kept is not None else [])]


CONTEST_OF_SHEETS = a_contest(counting_level=(PRECINCT,))
FIRST = a_sheet(100, 80, reported_at=minute(0))
SECOND = a_sheet(50, 90, reporting_unit=a_unit("000002"), reported_at=minute(10))


def test_a_correction_that_came_late_is_behind_a_difference_of_official_times(tables: Database) -> None:
    # of 00:05, but on the log after 00:10: only by the office's time is it between 00:00 and 00:05
    third = after(FIRST, reported_at=minute(20))
    late = a_sheet(7, 3, reporting_unit=a_unit("000003"), reported_at=minute(5))
    with written(tables, [raw(r) for r in recorded([CONTEST_OF_SHEETS, FIRST, SECOND, third, late])], [9]) as views:
        answer = between(views, CONTEST, Moment(stated_at=minute(0)), Moment(stated_at=minute(5)), None, 20)
        known = between(views, CONTEST, Moment(offset=11, stated_at=minute(5)), Moment(stated_at=minute(5)), None, 20)
        course = over_time(views, CONTEST, None, None, 20)
    assert [(u.offset, u.unit, u.change["votes.peru-libre"]) for u in answer.updates] == [(13, "precinct/000003", 7)]
    assert [u.offset for u in known.updates] == [13]
    assert [[s.votes for s in p.selections] for p in course.computed] == [[100, 80], [150, 170], [157, 173]]
    assert [p.leader for p in course.computed] == ["peru-libre", "fuerza-popular", "fuerza-popular"]
    assert [p.lead_change for p in course.computed] == [False, True, False]


def test_the_figures_are_said_to_be_of_two_kinds_when_the_level_moves(tables: Database) -> None:
    contest = a_contest(counting_level=(COUNTRY,))
    bulletin = a_bulletin(reported_at=minute(1))
    revision = a_revision(contest, counting_level=(PRECINCT,))
    with written(tables, [raw(r) for r in recorded([contest, bulletin, FIRST, revision, SECOND])], [9]) as views:
        answer = between(views, CONTEST, Moment(7), NOW, None, 1)
        course = over_time(views, CONTEST, None, None, 20)
    assert (answer.area.basis_before, answer.area.basis_after) == (Basis.OFFICIAL, Basis.COMPUTED)
    assert not answer.area.is_comparable
    assert (answer.before.counting_level, answer.after.counting_level) == ("country", "precinct")
    assert answer.updates_total == 2
    assert [u.offset for u in answer.updates] == [9]
    assert (len(course.official), len(course.computed)) == (1, 2)


def test_a_sheet_that_was_elsewhere_before_its_first_statement_is_behind_the_loss_of_that_district(
    tables: Database,
) -> None:
    # its first statement is of the second district; one of an earlier time, which came late, is of the first
    here = a_sheet(
        100, 80, reporting_unit=a_unit(area_path=("pe", "010000", "010100", "010102")), reported_at=minute(9)
    )
    late = after(here, reporting_unit=a_unit(), reported_at=minute(3))
    with written(tables, [raw(r) for r in recorded([CONTEST_OF_SHEETS, here, late])], [9]) as views:
        first, second = Moment(stated_at=minute(3)), Moment(stated_at=minute(9))
        left = between(views, CONTEST, first, second, "010101", 20)
    assert [(u.offset, u.change["votes.peru-libre"]) for u in left.updates] == [(7, -100)]
