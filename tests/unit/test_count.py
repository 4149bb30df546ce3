"""A count as it is told: percentages, basis, lead, and what stands beside it."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.replay.answer import of_state
from results.count import Count, NothingCounted, percent
from results.moment import Moment, MomentError
from schemas.area_count import Basis
from schemas.columns.layout import BALLOTS, SHEETS
from schemas.count_update import CountUpdate
from schemas.log_record import Recorded
from schemas.types import CountStatus, UpdateKind
from schemas.unit_roll import RollUnit
from tests.support.folded import area_totals, fold, folded
from tests.support.strategies import (
    MUNICIPALITY,
    NIGHT,
    PRECINCT,
    Event,
    a_bulletin,
    a_contest,
    a_revision,
    a_roll,
    a_sheet,
    a_unit,
    after,
    corrected,
    counts,
    minute,
    nights,
    recorded,
    sub_units,
)

SHEETS_COUNT = a_contest(counting_level=(PRECINCT,))


def told(*events: Event, area: str | None = None) -> Count:
    state, _ = fold(*events, area_id=area)
    return of_state(state, state.root())


def only(update: CountUpdate, **changes: Any) -> Count:
    """The count of a contest whose country states this alone."""
    return told(a_contest(**changes), update)


# Percentages


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_a_percentage_is_rounded_half_up_once(part: int, whole: int) -> None:
    thousandths = floor(Fraction(100_000 * part, whole) + Fraction(1, 2))
    assert percent(part, whole) == f"{thousandths // 1000}.{thousandths % 1000:03d}"


@pytest.mark.parametrize(
    ("part", "whole", "percentage"),
    [
        (0, 7, "0.000"),
        (7, 7, "100.000"),
        (1, 3, "33.333"),
        (2, 3, "66.667"),
        (1, 200_000, "0.001"),  # 0.0005: a half goes up, also from an even digit
        (3, 200_000, "0.002"),
        (499_999, 100_000_000_000, "0.000"),  # 0.000499999: rounding by steps would go up
        (8_548_929, 17_006_476, "50.269"),
        (8_457_547, 17_006_476, "49.731"),
        (82_996, 86_488, "95.962"),
        (81_712, 86_488, "94.478"),
        (18_150_627, 23_894_437, "75.962"),
        (None, 7, None),
        (7, None, None),
        (0, 0, None),
    ],
)
def test_percentages_by_example(part: int | None, whole: int | None, percentage: str | None) -> None:
    assert percent(part, whole) == percentage


def test_a_percentage_of_nothing_is_not_known() -> None:
    assert percent(0, 0) is None
    assert percent(5, 8, places=1) == "62.5"


# The office's own word


def test_voters_outstanding_are_those_of_the_roll_whom_the_office_has_not_counted() -> None:
    units = tuple(RollUnit(type=PRECINCT, id=f"{n:06d}", area_id="010101", registered_voters=200) for n in range(19))
    count = told(a_contest(), a_roll(units=units), a_bulletin())
    assert (count.basis, count.progress.voters_outstanding) == (Basis.OFFICIAL, 3_800 - 3_000)
    assert (count.progress.expected, count.progress.beyond_expected) == (20, 1), "the office states one more sheet"
    assert only(a_bulletin()).progress.voters_outstanding is None


def test_an_official_update_is_told_as_it_was_stated() -> None:
    bulletin = a_bulletin()
    count = only(bulletin, expected_units=20, registered_voters=4_000)
    assert count.basis is Basis.OFFICIAL
    assert [(s.selection_id, s.party, s.votes, s.share, s.published_share) for s in count.selections] == [
        ("peru-libre", "Perú Libre", 1_000, "55.556", "55.556"),
        ("fuerza-popular", "Fuerza Popular", 800, "44.444", "44.444"),
    ]
    assert (count.lead, count.leader) == (200, "peru-libre")
    assert [getattr(count, name) for name in BALLOTS] == [1_860, 1_800, 20, 40, None, None, None]
    assert (count.sub_units_processed.percent, count.sub_units_processed.published) == ("65.000", "65.000")
    assert (count.sub_units_counted.percent, count.sub_units_counted.published) == ("50.000", "50.000")
    assert [count.sub_units[name] for name in ("counted", "under_review", "in_process")] == [10, 3, None]
    assert count.under_review_by_reason == {"MATERIAL_ERROR": 2, "ILLEGIBLE": 1}
    assert (count.turnout.registered_voters_counted, count.turnout.of_registered_voters_counted) == (3_000, "62.000")
    assert (count.turnout.registered_voters, count.turnout.of_registered_voters) == (4_000, "46.500")
    assert count.turnout.published == "62.000"
    assert count.official is None
    assert count.last_update.event_id == bulletin.event_id


def test_a_figure_that_is_not_stated_stays_null() -> None:
    count = only(a_bulletin(counts=None, sub_units=sub_units(), published_percentages=None))
    assert [getattr(count, name) for name in BALLOTS] == [None] * 7
    assert [(s.votes, s.share, s.published_share) for s in count.selections] == [(None, None, None)] * 2
    assert (count.lead, count.leader, count.annulled_ballots) == (None, None, None)
    assert count.sub_units == dict.fromkeys(SHEETS)
    assert (count.sub_units_counted.percent, count.turnout.of_registered_voters, count.turnout.published) == (None,) * 3


def test_a_zero_that_is_stated_stays_zero() -> None:
    count = only(a_bulletin(counts=counts({"peru-libre": 0, "fuerza-popular": 0}, ballots_cast=0, valid_votes=0)))
    assert [(s.votes, s.share) for s in count.selections] == [(0, None)] * 2
    assert (count.lead, count.ballots_cast, count.blank_votes) == (0, 0, None)


def test_valid_votes_that_are_not_stated_are_the_sum_of_votes_that_all_are() -> None:
    assert only(a_bulletin(counts=counts({"peru-libre": 3, "fuerza-popular": 1}))).valid_votes == 4
    count = only(a_bulletin(counts=counts({"peru-libre": 3, "fuerza-popular": None})))
    assert (count.valid_votes, count.selections[0].share) == (None, None)


def test_the_latest_statement_of_an_area_is_told_though_a_late_one_followed() -> None:
    first = a_bulletin(first=5, reported_at=minute(10))
    late = after(first, reported_at=minute(5), counts=a_bulletin(first=3).counts)
    again = after(late, reported_at=minute(10), counts=a_bulletin(first=6).counts)
    assert told(a_contest(), first, late).selections[0].votes == 5
    assert told(a_contest(), first, late, again).selections[0].votes == 6


def test_a_retracted_bulletin_tells_no_figures() -> None:
    first = a_bulletin()
    with pytest.raises(NothingCounted, match="retracted its statement"):
        told(a_contest(), first, after(first, **(corrected(first) | {"kind": UpdateKind.RETRACTED})))


# Basis


def test_the_counting_level_itself_is_told_by_the_office_and_what_contains_it_is_computed() -> None:
    contest = a_contest(counting_level=(MUNICIPALITY,))
    bulletin = a_bulletin(reporting_unit=a_unit("010101", MUNICIPALITY, ("pe", "010000", "010100")))
    assert told(contest, bulletin, area="010101").basis is Basis.OFFICIAL
    for area in ("010100", "010000", "pe", None):
        count = told(contest, bulletin, area=area)
        assert (count.basis, count.selections[0].votes) == (Basis.COMPUTED, 1_000)


def test_from_the_revision_on_the_count_is_computed_from_the_sheets() -> None:
    contest, bulletin, sheet = a_contest(), a_bulletin(first=1_000), a_sheet(first=100)
    assert told(contest, bulletin, sheet).basis is Basis.OFFICIAL
    count = told(contest, bulletin, sheet, a_revision(contest, counting_level=(PRECINCT,)))
    assert (count.basis, count.counting_level, count.selections[0].votes) == (Basis.COMPUTED, "precinct", 100)
    assert count.official is not None
    assert count.official.event_id == bulletin.event_id


def test_an_area_without_a_sum_is_told_by_its_own_bulletin() -> None:
    contest = a_contest()
    bulletin = a_bulletin(first=9, reporting_unit=a_unit("010101", MUNICIPALITY, ("pe", "010000", "010100")))
    count = told(contest, a_bulletin(), bulletin, area="010101")
    assert (count.basis, count.area_name, count.selections[0].votes) == (Basis.OFFICIAL, "CHACHAPOYAS", 9)


def test_a_computed_count_is_told_with_its_sheets() -> None:
    other = a_sheet(
        reporting_unit=a_unit("000002"),
        count_status=CountStatus.ANNULLED,
        counts=counts({}, ballots_cast=50, invalid_votes=50, registered_voters=60),
    )
    third = a_sheet(reporting_unit=a_unit("000003"), count_status=CountStatus.UNDER_REVIEW)
    count = told(SHEETS_COUNT, a_sheet(), other, third)
    assert [(s.votes, s.share) for s in count.selections] == [(100, "55.556"), (80, "44.444")]
    assert (count.ballots_cast, count.valid_votes, count.invalid_votes, count.annulled_ballots) == (250, 180, 65, 50)
    assert {n: v for n, v in count.sub_units.items() if v} == {
        "total": 4,  # of the whole contest: one that nobody has stated yet
        "processed": 3,
        "counted": 2,
        "counted_normal": 1,
        "annulled": 1,
        "under_review": 1,
        "to_be_processed": 1,
        "pending": 1,
    }
    assert count.under_review_by_reason == {"OTHER": 1}
    assert (count.turnout.registered_voters_counted, count.turnout.registered_voters) == (360, 1_000)
    assert (count.sub_units_counted.percent, count.sub_units_processed.percent) == ("50.000", "75.000")
    assert count.last_update.event_id == third.event_id


# Lead


def test_a_tie_has_a_lead_of_zero_and_no_leader() -> None:
    count = only(a_bulletin(first=7, second=7))
    assert (count.lead, count.leader) == (0, None)


def test_the_lead_is_that_over_the_second_whoever_leads() -> None:
    count = only(a_bulletin(first=7, second=10))
    assert (count.lead, count.leader) == (3, "fuerza-popular")


def test_nobody_leads_while_a_candidates_votes_are_not_stated() -> None:
    count = only(a_bulletin(counts=counts({"peru-libre": 7, "fuerza-popular": None})))
    assert (count.lead, count.leader) == (None, None)


# Beside


def test_the_nearest_official_statement_stands_beside_with_signed_differences() -> None:
    early = a_bulletin(first=90, second=85, reported_at=minute(0))
    near = after(
        early, reported_at=minute(20), counts=counts({"peru-libre": 110, "fuerza-popular": 79}, ballots_cast=200)
    )
    far = after(near, reported_at=minute(60), counts=a_bulletin().counts)
    count = told(SHEETS_COUNT, early, near, far, a_sheet(first=100, second=80, reported_at=minute(25)))
    assert count.official is not None
    assert (count.official.event_id, count.official.seconds_apart) == (near.event_id, 300)
    assert (count.official.stated_at, count.official.reported_at) == (minute(20), minute(20))
    differences = count.official.differences
    assert (differences["votes.peru-libre"], differences["votes.fuerza-popular"], differences["ballots_cast"]) == (
        -10,
        1,
        0,
    )
    assert (differences["counted"], differences["under_review.MATERIAL_ERROR"]) == (-9, -2)
    assert "blank_votes" not in differences  # the office did not state it: nothing to compare with
    assert "in_process" not in differences


def test_of_two_official_statements_of_one_time_the_later_stands_beside() -> None:
    first = a_bulletin(first=90)
    fixed = after(first, counts=a_bulletin(first=100).counts, **corrected(first))
    count = told(SHEETS_COUNT, first, fixed, a_sheet())
    assert count.official is not None
    assert count.official.event_id == fixed.event_id


def test_where_the_office_states_nothing_nothing_stands_beside() -> None:
    assert told(SHEETS_COUNT, a_sheet(), a_bulletin(), area="010101").official is None


@given(nights(counting_level=(PRECINCT,)))
def test_a_difference_is_computed_minus_official(log: list[Recorded]) -> None:
    state, _ = folded(log)
    if "pe" not in area_totals(state):
        return
    count = of_state(state, "")
    assert count.basis is Basis.COMPUTED
    said = [r.update for r in state.official]
    taken_back = {u.correction.replaces_event_id for u in said if u.kind is UpdateKind.RETRACTED and u.correction}
    standing = [u for u in said if u.kind is not UpdateKind.RETRACTED and u.event_id not in taken_back]
    assert bool(count.official) == bool(standing)
    if count.official is None:
        return
    (beside,) = (r.event for r in state.official if r.event.event_id == count.official.event_id)
    assert isinstance(beside, CountUpdate)
    computed = state.layout.named(area_totals(state)["pe"].vector)
    stated = beside.counts.model_dump() if beside.counts is not None else {}

    def whole(name: str, figure: int | None) -> int | None:
        """The difference, where both sides state the figure as a whole."""
        return None if figure is None or name in count.stated_by else computed[name] - figure

    for selection, votes in (stated.get("votes") or {}).items():
        name = f"votes.{selection}"
        assert count.official.differences.get(name) == whole(name, votes)
    for name in BALLOTS:
        figure = stated.get(name)
        assert count.official.differences.get(name) == whole(name, figure)


# The moment, and what is not known


def test_an_answer_names_the_moment_it_is_about() -> None:
    log = recorded([a_contest(), a_bulletin(reported_at=minute(7)), a_sheet(reported_at=minute(3))])
    count = told(*(r.event for r in log))
    assert (count.as_of.offset, count.as_of.recorded_at) == (log[-1].offset, NIGHT + timedelta(seconds=2))
    assert count.as_of.reported_at == minute(7)
    assert count.last_update.offset == log[1].offset


def test_nothing_is_told_of_what_is_not_known() -> None:
    with pytest.raises(NothingCounted, match="no contest is defined up to this point"):
        told()
    with pytest.raises(
        NothingCounted,
        match=r"stated yet about Perú \(pe\), of 4 tally sheets that are expected there; the counting level is country",
    ):
        told(a_contest())
    with pytest.raises(NothingCounted, match="has no area '999999'; its outermost is 'pe'"):
        told(a_contest(), a_bulletin(), area="999999")


@given(nights())
def test_every_area_of_a_night_is_told_or_nothing_is_known_of_it(log: list[Recorded]) -> None:
    for area in log[0].definition.areas:
        state, _ = folded(log, len(log), area_id=area.area_id)
        try:
            count = of_state(state, "")
        except NothingCounted:
            said = [r.update for r in state.official]
            last = max(said, key=lambda u: (u.stated_at, u.sequence), default=None)
            assert last is None or last.kind is UpdateKind.RETRACTED
        else:
            assert [s.selection_id for s in count.selections] == list(state.contest.selection_ids)
            assert count.model_validate_json(count.model_dump_json(), strict=False) == count


@pytest.mark.parametrize("text", ["9999-12-31T23:59-10:00", "0001-01-01T00:00+10:00", "5" * 5000])
def test_a_moment_beyond_all_times_and_offsets_is_refused_and_does_not_overflow(text: str) -> None:
    with pytest.raises(MomentError, match=r"outside the years|is not an offset"):
        Moment.parse(text)


def test_votes_that_name_no_selection_do_not_say_that_none_stood_on_the_ballots() -> None:
    count = only(a_bulletin(counts=counts({}, ballots_cast=70)))
    assert [(s.votes, s.is_on_ballot) for s in count.selections] == [(None, True), (None, True)]
