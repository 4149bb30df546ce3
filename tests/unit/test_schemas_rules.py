"""The rules: each breach gives its own code and no other, and what is not stated breaks nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, VoteTypeCounts
from schemas.identity import named
from schemas.rules import CLOCK_LIMIT, CLOCK_TOLERANCE, RULES, Finding, check, unstated
from schemas.types import CountStatus, ReportingUnitType, ResultStage, UpdateKind, VoteType
from tests.support.strategies import (
    COUNTRY,
    MUNICIPALITY,
    NIGHT,
    PRECINCT,
    a_bulletin,
    a_contest,
    a_sheet,
    a_unit,
    an_update,
    counts,
    sub_units,
    updates,
)

CONTEST = a_contest()
TWO: dict[str, int | None] = {"peru-libre": 100, "fuerza-popular": 80}
COUNTED = CountStatus.COUNTED
PATH = ("pe", "010000", "010100", "010101")


THREE = a_contest(votes_allowed=3, number_elected=3)
"""A contest in which each voter may mark three selections."""


def codes(update: CountUpdate, contest: ContestDefined = CONTEST) -> list[str]:
    return [finding.code for finding in check(update, contest)]


def by_vote_type(*parts: VoteTypeCounts, **figures: Any) -> CountUpdate:
    """A counted sheet of 200 ballots whose figures agree, with parts by vote type."""
    whole = counts(TWO, ballots_cast=200, blank_votes=5, invalid_votes=15)
    return an_update(count_status=COUNTED, counts=whole.model_copy(update={"by_vote_type": parts} | figures))


def cast(vote_type: VoteType, first: int | None, second: int | None, **figures: int | None) -> VoteTypeCounts:
    votes = {"peru-libre": first, "fuerza-popular": second}
    return VoteTypeCounts(vote_type=vote_type, name=vote_type.value.lower(), votes=votes, **figures)


def bulletin(part: str, **figures: Any) -> CountUpdate:
    """The bulletin whose figures agree, but for these."""
    whole = a_bulletin()
    return a_bulletin(**{part: getattr(whole, part).model_copy(update=figures)})


def sheet(status: CountStatus = COUNTED, votes: dict[str, int | None] = TWO, /, **figures: int | None) -> CountUpdate:
    return an_update(count_status=status, counts=counts(votes, **figures))


def test_what_is_in_order_gives_no_finding() -> None:
    assert codes(a_bulletin()) == codes(a_sheet()) == codes(an_update()) == []


BREACHES: list[tuple[str, str, CountUpdate]] = [
    ("F101", "a processed sheet too many", bulletin("sub_units", processed=14, to_be_processed=6)),
    ("F102", "a sheet of the total missing", bulletin("sub_units", total=21)),
    ("F103", "a normal sheet too few", bulletin("sub_units", counted_normal=7)),
    ("F104", "a reason without a sheet", bulletin("sub_units", under_review_by_reason={"OTHER": 4})),
    ("F105", "a bulletin's ballot too many", bulletin("counts", ballots_cast=1_861)),
    ("F105", "a sheet's ballot too few", sheet(ballots_cast=199, blank_votes=5, invalid_votes=15)),
    ("F105", "challenged votes forgotten",
        sheet(ballots_cast=200, blank_votes=5, invalid_votes=15, challenged_votes=1)),
    ("F106", "a valid vote for nobody", bulletin("counts", valid_votes=1_801, ballots_cast=1_861)),
    ("F107", "more votes than ballots", sheet(ballots_cast=90)),
    ("F107", "more blank votes than ballots", sheet(ballots_cast=200, blank_votes=201)),
    ("F107", "more null votes than ballots", sheet(ballots_cast=200, invalid_votes=201)),
    ("F108", "more ballots than the sheet's roll", sheet(ballots_cast=200, registered_voters=199)),
    ("F108", "more ballots than the roll of counted sheets", bulletin("counts", registered_voters_counted=1_859)),
    ("F109", "counted, but no figures", an_update(count_status=CountStatus.COUNTED)),
    ("F109", "counted, but no ballots cast", sheet()),
    ("F109", "counted, but a candidate's votes not stated",
        sheet(COUNTED, TWO | {"peru-libre": None}, ballots_cast=200)),
    ("F109", "counted, but no selection", sheet(COUNTED, {}, ballots_cast=200)),
    ("F110", "annulled, with votes", sheet(CountStatus.ANNULLED, ballots_cast=200, invalid_votes=200)),
    ("F110", "annulled, with a ballot that is not null",
        sheet(CountStatus.ANNULLED, dict.fromkeys(TWO, 0), ballots_cast=200, invalid_votes=199)),
    ("F114", "registered before it was signed",
        a_sheet(signed_at=NIGHT - timedelta(hours=1), registered_at=NIGHT - timedelta(hours=2))),
    ("F114", "published before it was signed", a_sheet(signed_at=NIGHT + timedelta(minutes=5, milliseconds=1))),
    ("F114", "published before it was registered", a_sheet(registered_at=NIGHT + timedelta(hours=1))),
    ("F115", "votes by mail that the whole does not have",
        by_vote_type(cast(VoteType.ELECTION_DAY, 60, 50), cast(VoteType.ABSENTEE_MAIL, 41, 30))),
    ("F115", "ballots that no vote type has",
        by_vote_type(cast(VoteType.ELECTION_DAY, 60, 50, ballots_cast=120),
            cast(VoteType.EARLY, 40, 30, ballots_cast=79))),
    ("F116", "a kind of a later release", an_update(kind=UpdateKind.UNKNOWN)),
    ("F116", "a status of a later release", an_update(count_status=CountStatus.UNKNOWN)),
    ("F116", "a stage of a later release", an_update(result_stage=ResultStage.UNKNOWN)),
    ("F118", "of a type that nobody adds up", a_sheet(reporting_unit=a_unit("1", "other:postal"))),
    ("F301", "an unknown selection", sheet(COUNTED, TWO | {"write-in": 1}, ballots_cast=200)),
    ("F302", "a path that skips an area", a_sheet(reporting_unit=a_unit(area_path=("pe", "010101")))),
    ("F302", "a path through an unknown area", a_sheet(reporting_unit=a_unit(area_path=(*PATH[:3], "019999")))),
    ("F302", "a sheet nowhere", a_sheet(reporting_unit=a_unit(area_path=()))),
    ("F302", "a municipality elsewhere", a_bulletin(reporting_unit=a_unit("010101", MUNICIPALITY, ("pe",)))),
    ("F303", "an area that is not defined", a_bulletin(reporting_unit=a_unit("019999", MUNICIPALITY, PATH[:3]))),
    ("F303", "an area of another type", a_bulletin(reporting_unit=a_unit("010101", COUNTRY, PATH[:3]))),
    ("F309", "counted with another, and ballots of its own",
        an_update(reporting_unit=a_unit().model_copy(update={"counted_with": "000002"}),
            counts=counts(dict.fromkeys(TWO), ballots_cast=0))),
    ("F304", "a count before election day", a_sheet(reported_at=datetime(2021, 6, 6, 4, 59, 59, tzinfo=UTC))),
    ("F304", "fetched before election day", a_sheet(reported_at=None, observed_at=datetime(2021, 6, 6, 4, tzinfo=UTC))),
    ("F111", "stated after it was seen",
        a_sheet(reported_at=NIGHT, observed_at=NIGHT - timedelta(minutes=5, milliseconds=1))),
    ("F111", "stated a day after it was seen", a_sheet(reported_at=NIGHT, observed_at=NIGHT - CLOCK_LIMIT)),
    ("F111", "a sheet under review, stated after it was seen",
        a_sheet(count_status=CountStatus.UNDER_REVIEW, reported_at=NIGHT, observed_at=NIGHT - timedelta(hours=1))),
    ("F305", "stated more than a day after it was seen",
        a_sheet(reported_at=NIGHT, observed_at=NIGHT - CLOCK_LIMIT - timedelta(milliseconds=1))),
    ("F306", "a test's update in a real contest", a_sheet(is_test=True)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "what", "update"), BREACHES, ids=[f"{c} {w}" for c, w, _ in BREACHES])
def test_a_breach_gives_its_own_code_and_no_other(code: str, what: str, update: CountUpdate) -> None:
    assert codes(update) == [code], what


OF_MORE_THAN_IT = {"F112", "F113", "F117", "F307", "F308"}
"""Rules of a document, of two publications, of a roll, and of areas that end."""


def test_every_rule_that_a_single_update_can_break_is_in_the_table() -> None:
    single = {code for code in RULES if code.startswith(("F1", "F3"))} - OF_MORE_THAN_IT
    assert {code for code, _, _ in BREACHES} == single


def test_several_breaches_are_told_in_the_order_of_their_codes() -> None:
    broken = bulletin("sub_units", total=99, counted_normal=0)
    update = broken.model_copy(update={"is_test": True, "counts": counts(TWO, ballots_cast=1, valid_votes=3)})
    assert codes(update) == ["F102", "F103", "F106", "F107", "F107", "F107", "F306"]


# Not stated is not zero


@pytest.mark.parametrize("name", [n for n in sub_units().__dict__ if n != "under_review_by_reason"])
def test_a_number_of_sheets_that_is_not_stated_breaks_no_equation(name: str) -> None:
    assert codes(bulletin("sub_units", **{name: None})) == []


@pytest.mark.parametrize("name", [n for n in counts({}).__dict__ if n != "votes"])
def test_a_figure_that_is_not_stated_breaks_no_equation(name: str) -> None:
    assert codes(bulletin("counts", **{name: None})) == []


def test_reasons_that_are_not_stated_break_no_equation() -> None:
    assert codes(bulletin("sub_units", under_review_by_reason={})) == []


def test_votes_that_are_not_stated_are_no_part_of_the_valid_votes() -> None:
    assert codes(bulletin("counts", votes={"peru-libre": 1_000, "fuerza-popular": None})) == []
    assert codes(bulletin("counts", votes={"peru-libre": 1_000, "fuerza-popular": 0})) == ["F106"]


def test_a_zero_that_is_stated_does_break_an_equation() -> None:
    assert codes(bulletin("sub_units", processed=0)) == ["F101", "F102"]
    assert codes(bulletin("counts", blank_votes=0)) == ["F105"]


def test_challenged_votes_that_are_not_stated_are_none() -> None:
    assert codes(sheet(ballots_cast=201, blank_votes=5, invalid_votes=15, challenged_votes=1)) == []
    assert codes(sheet(ballots_cast=200, blank_votes=5, invalid_votes=15)) == []


def test_an_empty_sheet_may_be_counted() -> None:
    zero = dict.fromkeys(("ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "registered_voters"), 0)
    assert codes(sheet(COUNTED, dict.fromkeys(TWO, 0), **zero)) == []


@pytest.mark.parametrize("status", [s for s in CountStatus if s not in (CountStatus.COUNTED, CountStatus.UNKNOWN)])
def test_only_a_counted_unit_has_to_state_its_figures(status: CountStatus) -> None:
    assert codes(an_update(count_status=status)) == []


# Several votes allowed


def test_three_votes_on_a_ballot_are_more_votes_than_ballots() -> None:
    marked = sheet(COUNTED, {"peru-libre": 201, "fuerza-popular": 200}, ballots_cast=200)
    assert codes(marked, THREE) == ["F107"], "nobody gets more than one vote of a ballot"
    assert codes(sheet(COUNTED, {"peru-libre": 200, "fuerza-popular": 200}, ballots_cast=200), THREE) == []
    assert codes(sheet(COUNTED, {"peru-libre": 200, "fuerza-popular": 200}, ballots_cast=200)) == []


@pytest.mark.parametrize(("figures", "expected"), [
    ({"undervotes": 200, "overvotes": 0}, []),
    ({"undervotes": 201, "overvotes": 0}, ["F105"]),
    ({"undervotes": 0, "overvotes": 201}, ["F105"]),
    ({"undervotes": 601}, ["F107"]),
    ({"overvotes": 601, "undervotes": None}, ["F107"]),
    ({"valid_votes": 400}, []),
    ({"valid_votes": 134}, []),
    ({"valid_votes": 133}, ["F106"]),
    ({"valid_votes": 601}, ["F107"]),
    ({"blank_votes": 201}, ["F107"]),
])  # fmt: skip
def test_votes_undervotes_and_overvotes_fit_on_the_ballots(figures: dict[str, int | None], expected: list[str]) -> None:
    both = {"peru-libre": 200, "fuerza-popular": 200}
    assert codes(sheet(COUNTED, dict[str, int | None](both), **({"ballots_cast": 200} | figures)), THREE) == expected


def test_where_one_vote_is_allowed_undervotes_and_overvotes_are_ballots() -> None:
    assert codes(sheet(ballots_cast=200, undervotes=15, overvotes=5)) == []
    assert codes(sheet(ballots_cast=200, undervotes=15, overvotes=6)) == ["F105"]
    assert codes(sheet(ballots_cast=200, undervotes=201)) == ["F107"]


# Vote types, times, and what is held back


def test_parts_by_vote_type_that_add_up_break_nothing() -> None:
    polls, mail = cast(VoteType.ELECTION_DAY, 60, 50), cast(VoteType.ABSENTEE_MAIL, 40, 30)
    assert codes(by_vote_type(polls, mail)) == []
    assert codes(by_vote_type()) == []


def test_a_part_that_does_not_state_a_figure_leaves_its_sum_open() -> None:
    polls, mail = cast(VoteType.ELECTION_DAY, 60, None, ballots_cast=120), cast(VoteType.ABSENTEE_MAIL, 40, 99)
    assert codes(by_vote_type(polls, mail)) == []
    (finding,) = check(by_vote_type(polls, mail.model_copy(update={"votes": {"peru-libre": 41}})), CONTEST)
    assert finding.message == "votes.peru-libre is 100, and by vote types 60 + 41 = 101"


def test_parts_are_compared_under_review_too() -> None:
    parts = by_vote_type(cast(VoteType.EARLY, 1, 1)).model_copy(update={"count_status": CountStatus.UNDER_REVIEW})
    assert codes(parts) == ["F115", "F115"]


def test_a_figure_that_is_held_back_is_not_one_that_lacks() -> None:
    null: dict[str, int | None] = dict.fromkeys(TWO)
    held = counts(null).model_copy(update={"suppressed": ("votes.peru-libre", "votes.fuerza-popular", "ballots_cast")})
    assert codes(an_update(count_status=COUNTED, counts=held)) == []
    some = held.model_copy(update={"suppressed": ("votes.peru-libre",)})
    (finding,) = check(an_update(count_status=COUNTED, counts=some), CONTEST)
    assert finding.message.endswith("does not state votes.fuerza-popular, ballots_cast")


def test_a_unit_that_is_counted_with_another_states_no_figures() -> None:
    unit = a_unit().model_copy(update={"counted_with": "000002"})
    assert codes(an_update(count_status=COUNTED, reporting_unit=unit)) == []


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"ballots_cast": 0}, "but states ballots_cast of its own"),
        ({"undervotes": 3, "blank_votes": 1}, "but states blank_votes, undervotes of its own"),
        ({"votes": {"peru-libre": 1}}, "but states votes.peru-libre of its own"),
        ({"by_vote_type": (cast(VoteType.EARLY, None, 4),)}, "but states early of its own"),
        ({"by_vote_type": (cast(VoteType.EARLY, None, None, overvotes=4),)}, "but states early of its own"),
    ],
)
def test_a_unit_that_is_counted_with_another_is_refused_with_figures_of_its_own(own: dict[str, Any], says: str) -> None:
    unit = a_unit().model_copy(update={"counted_with": "000002"})
    null = counts(dict.fromkeys(TWO), registered_voters=12)
    assert codes(an_update(count_status=COUNTED, reporting_unit=unit, counts=null)) == []
    update = an_update(count_status=COUNTED, reporting_unit=unit, counts=null.model_copy(update=own))
    (refused,) = [finding for finding in check(update, CONTEST) if finding.code == "F309"]
    assert refused.message.endswith(says)
    assert refused.rejects


def test_no_unit_is_counted_with_itself() -> None:
    itself = a_unit().model_copy(update={"counted_with": a_unit().id})
    assert codes(an_update(count_status=COUNTED, reporting_unit=itself)) == ["F309"]


def test_a_sheet_is_signed_registered_and_published_in_that_order() -> None:
    tolerated = a_sheet(signed_at=NIGHT + CLOCK_TOLERANCE, registered_at=NIGHT)
    assert codes(tolerated) == []
    assert codes(a_sheet(signed_at=NIGHT - timedelta(hours=3), registered_at=NIGHT - timedelta(hours=2))) == []
    (finding,) = check(a_sheet(signed_at=NIGHT + timedelta(hours=1)), CONTEST)
    assert finding.message == (
        "precinct/000001 was signed at 2021-06-07T06:48:00.000Z, and published before, at 2021-06-07T05:48:00.000Z"
    )


def test_what_a_later_release_says_is_named_by_field() -> None:
    (finding,) = check(an_update(kind=UpdateKind.UNKNOWN, count_status=CountStatus.UNKNOWN), CONTEST)
    assert finding.message == "kind, count_status of precinct/000001 has a symbol of a later release"
    assert not finding.refuses


# Areas that end


def test_nothing_is_stated_in_an_area_for_a_time_after_its_end() -> None:
    areas = tuple(
        area.model_copy(update={"ends_at": NIGHT, "replaced_by": ("010102",)}) if area.area_id == "010101" else area
        for area in CONTEST.areas
    )
    ended = a_contest(areas=areas)
    before = NIGHT - timedelta(milliseconds=1)
    assert codes(a_sheet(reported_at=before), ended) == []
    (finding,) = check(a_sheet(reported_at=NIGHT), ended)
    assert finding.message == "area 010101 of precinct/000001 ended at 2021-06-07T05:48:00.000Z"
    assert finding.rejects
    within = a_bulletin(reporting_unit=a_unit("010101", MUNICIPALITY, PATH[:3]))
    assert codes(within, ended) == ["F308"], "the area itself states nothing more"
    assert codes(a_sheet(reporting_unit=a_unit(area_path=(*PATH[:3], "010102"))), ended) == []
    taken_back = a_sheet(reported_at=NIGHT).model_copy(update={"kind": UpdateKind.RETRACTED})
    assert codes(taken_back, ended) == [], "what the area stated before can be taken back"


def test_a_statement_in_two_areas_that_ended_is_refused_for_each() -> None:
    areas = tuple(area.model_copy(update={"ends_at": NIGHT}) if area.parent_id else area for area in CONTEST.areas)
    assert codes(a_sheet(), a_contest(areas=areas)) == ["F308"] * 3


# Under review


@pytest.mark.parametrize(
    "figures",
    [
        {"ballots_cast": 1},
        {"ballots_cast": 500, "blank_votes": 0, "invalid_votes": 0},
        {"valid_votes": 7},
        {"ballots_cast": 400, "registered_voters": 300},
        {},
    ],
)
def test_an_observed_sheet_may_contradict_itself(figures: dict[str, int | None]) -> None:
    assert codes(sheet(CountStatus.UNDER_REVIEW, **figures)) == []
    assert codes(sheet(CountStatus.COUNTED, **figures)) != []


@given(updates())
def test_an_observed_sheet_gives_no_finding_about_its_figures(update: CountUpdate) -> None:
    observed = update.model_copy(update={"count_status": CountStatus.UNDER_REVIEW, "sub_units": None})
    assert set(codes(observed)) <= {"F111", "F114", "F115", "F118", *(code for code in RULES if code.startswith("F3"))}


def test_an_observed_sheet_still_has_to_belong_to_the_contest() -> None:
    observed = a_sheet(count_status=CountStatus.UNDER_REVIEW, is_test=True)
    assert codes(observed) == ["F306"]


def test_challenged_votes_do_not_exceed_ballots_cast() -> None:
    assert codes(sheet(ballots_cast=200, challenged_votes=201)) == ["F107"]


def test_an_annulled_sheet_need_not_state_its_null_votes() -> None:
    assert codes(sheet(CountStatus.ANNULLED, dict.fromkeys(TWO, 0), ballots_cast=200)) == []


# At the edges


def test_the_count_may_begin_before_election_day() -> None:
    early = datetime(2021, 6, 1, tzinfo=UTC)
    assert codes(a_sheet(reported_at=early), a_contest(count_starts_at=early)) == []
    assert codes(a_sheet(reported_at=early - timedelta(milliseconds=1)), a_contest(count_starts_at=early)) == ["F304"]


def test_a_unit_of_a_type_that_is_a_sheet_here_needs_no_definition() -> None:
    contest = a_contest(sheet_types=(PRECINCT, MUNICIPALITY))
    place = a_unit("postal", MUNICIPALITY, PATH[:2])
    assert codes(a_sheet(reporting_unit=place), contest) == []
    assert codes(a_sheet(reporting_unit=place)) == ["F303"]
    mail = a_unit("mail", "other:Briefwahlbezirk", PATH[:2])
    assert codes(a_sheet(reporting_unit=mail)) == ["F118"], "a type of no area is one of the office's own units"
    assert codes(a_sheet(reporting_unit=mail), a_contest(counting_level=(PRECINCT, mail.type))) == []
    assert codes(a_sheet(reporting_unit=mail), a_contest(later_counting_levels=((PRECINCT, mail.type),))) == []


def test_the_moment_election_day_begins_is_part_of_it() -> None:
    assert codes(a_sheet(reported_at=datetime(2021, 6, 6, 5, tzinfo=UTC))) == []


def test_the_offices_clock_may_run_ahead_a_little() -> None:
    assert codes(a_sheet(observed_at=NIGHT - CLOCK_TOLERANCE)) == []


def test_a_polling_place_needs_no_definition_but_a_path() -> None:
    place = a_unit("4711", ReportingUnitType.POLLING_PLACE, PATH)
    assert codes(a_sheet(reporting_unit=place)) == []


def test_a_sheet_and_a_municipality_may_share_an_id() -> None:
    assert codes(a_sheet(reporting_unit=a_unit("010101", PRECINCT, PATH))) == []


def test_a_test_is_not_bound_to_election_day() -> None:
    before = datetime(2021, 5, 20, 12, tzinfo=UTC)
    trial = named(CONTEST.model_copy(update={"is_test": True}))
    assert check(a_sheet(is_test=True, reported_at=before, observed_at=before), trial) == ()
    assert codes(a_sheet(reported_at=before, observed_at=before)) == ["F304"]


# Findings


def test_a_statement_that_contradicts_itself_is_published_and_one_of_another_contest_is_not() -> None:
    assert {code: Finding(code, "").rejects for code in RULES} == {code: code[1] in "23" for code in RULES}


def test_what_a_counted_unit_does_not_state_is_named() -> None:
    lacking = sheet(COUNTED, TWO | {"peru-libre": None})
    assert unstated(lacking) == ("votes.peru-libre", "ballots_cast")
    assert unstated(an_update(count_status=COUNTED)) == ("votes", "ballots_cast")
    assert unstated(a_sheet()) == ()
    (finding,) = check(lacking, CONTEST)
    assert finding.message.endswith("is counted, but does not state votes.peru-libre, ballots_cast")


def test_how_far_the_offices_clock_is_ahead_is_said() -> None:
    (finding,) = check(a_sheet(reported_at=NIGHT, observed_at=NIGHT - timedelta(minutes=61, seconds=1)), CONTEST)
    assert finding.message.endswith("the office's clock is 1 h 1 min ahead of ours")


def test_a_finding_says_its_code_its_rule_and_its_numbers() -> None:
    (finding,) = check(bulletin("counts", ballots_cast=1_861), CONTEST)
    assert str(finding) == "F105 ballots cast 1861 ≠ valid, blank, invalid and all other votes 1860"
    assert finding.rule == RULES["F105"]


@given(updates())
def test_no_update_is_too_strange_to_be_judged(update: CountUpdate) -> None:
    assert {finding.code for finding in check(update, CONTEST)} <= RULES.keys()
