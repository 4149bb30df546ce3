"""Before a level is added up its sum is compared with what the office has stated, and with what that leaves open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.definitions import moved_level
from ingest.news.roll_file import RollRow, next_parts
from ingest.news.take_over import contradictions, in_one_line
from schemas.contest import ContestDefined
from schemas.count_update import Correction, Counts, CountUpdate, ReportingUnit, SubUnits
from schemas.identity import named, text_of
from schemas.types import CorrectionBasis, CountStatus, UpdateKind
from tests.support.builders import sheet as any_sheet
from tests.support.small_contest import TOML, small

LEVELS = '["county", "precinct"]'
NIGHT = datetime(2020, 11, 4, 2, tzinfo=UTC)


def contest(**numbers: int) -> ContestDefined:
    toml = TOML.replace('["precinct"]', LEVELS)
    for name, number in numbers.items():
        toml = toml.replace("expected_units = 3\n", "" if name == "expected_units" else "expected_units = 3\n")
        toml = f"{name} = {number}\n" + toml
    return small(toml)


def statement(
    unit_type: str,
    unit_id: str,
    lee: int | None,
    roe: int | None,
    *,
    of: ContestDefined,
    minute: int = 30,
    status: CountStatus = CountStatus.COUNTED,
    sub_units: dict[str, int] | None = None,
    area: str = "kings",
    after: CountUpdate | None = None,
    **figures: int,
) -> CountUpdate:
    """A statement in which the ballots are the votes."""
    cast = None if lee is None or roe is None else lee + roe
    stated: dict[str, Any] = dict.fromkeys(Counts.model_fields)
    stated |= {"ballots_cast": cast, "votes": {"lee": lee, "roe": roe}, **figures}
    path = of.area_paths[unit_id][:-1] if unit_id in of.areas_by_id else of.area_paths[area]
    sub = None
    if sub_units is not None:
        none: dict[str, Any] = dict.fromkeys(SubUnits.model_fields)
        sub = SubUnits(**{**none, "under_review_by_reason": {}, **sub_units})
    changes = {
        "reporting_unit": ReportingUnit(id=unit_id, type=unit_type, name=None, area_path=path),
        "reported_at": NIGHT + timedelta(minutes=minute),
        "stated_at": NIGHT + timedelta(minutes=minute),
        "observed_at": NIGHT + timedelta(minutes=minute),
        "count_status": status,
        "counts": Counts(**stated),
        "sub_units": sub,
    }
    return named(any_sheet(1, contest_id=of.contest_id, after=after).model_copy(update=changes))


def memory_of(of: ContestDefined, *updates: CountUpdate) -> ContestMemory:
    memory = ContestMemory(of)
    for update in updates:
        assert remember(memory, update), update.unit
    return memory


def sheets(of: ContestDefined, third: int = 5, **changes: Any) -> list[CountUpdate]:
    """Three sheets: 10 : 20, 30 : 40, and one."""
    return [
        statement("precinct", "1", 10, 20, of=of, registered_voters=100),
        statement("precinct", "2", 30, 40, of=of, registered_voters=200),
        statement("precinct", "3", third, third, of=of, **{"registered_voters": 50, **changes}),
    ]


def found(memory: ContestMemory) -> dict[str, tuple[int | None, int | None, int]]:
    """By figure: the least, the most, and the sum."""
    assert memory.definition.counting_level == ("county",)
    against = contradictions(memory, ("precinct",))
    move = moved_level(memory)
    assert (move.definition is None) is bool(against)
    assert move.waiting == (("precinct",) if against else ())
    return {f"{one.unit.id} {one.figure}": (one.least, one.most, one.summed) for one in against}


def test_without_statements_of_the_office_a_level_moves() -> None:
    of = contest()
    assert found(memory_of(of, *sheets(of))) == {}


@pytest.mark.parametrize("unit", [("country", "us"), ("county", "kings")])
def test_a_statement_of_the_same_time_that_says_nothing_of_its_sheets_must_be_the_sum(unit: tuple[str, str]) -> None:
    of = contest()
    assert found(memory_of(of, *sheets(of), statement(*unit, 45, 65, of=of))) == {}
    name = unit[1]
    twice = found(memory_of(of, *sheets(of, third=45), statement(*unit, 45, 65, of=of)))
    assert twice == {
        f"{name} ballots_cast": (110, 110, 190),
        f"{name} valid_votes": (110, 110, 190),
        f"{name} votes.lee": (45, 45, 85),
        f"{name} votes.roe": (65, 65, 105),
    }


def test_an_earlier_statement_that_says_nothing_of_its_sheets_leaves_any_growth_open_and_no_fall() -> None:
    of = contest()
    assert found(memory_of(of, *sheets(of), statement("country", "us", 1, 1, of=of, minute=0))) == {}
    fallen = found(memory_of(of, *sheets(of), statement("country", "us", 46, 10, of=of, minute=0)))
    assert fallen == {"us votes.lee": (46, None, 45)}


def test_a_later_statement_is_not_compared() -> None:
    of = contest()
    assert found(memory_of(of, *sheets(of), statement("country", "us", 900, 900, of=of, minute=31))) == {}


def test_the_voters_of_open_sheets_bound_what_they_may_add() -> None:
    of = contest()
    one_open = {"total": 3, "counted": 2, "processed": 2}

    def after(lee: int, **changes: Any) -> dict[str, tuple[int | None, int | None, int]]:
        stated = statement("country", "us", lee, 60, of=of, minute=0, sub_units={**one_open, **changes})
        return found(memory_of(of, *sheets(of), stated))

    assert after(40) == {}
    largest_roll = 200
    assert after(40, counted=3, processed=3)["us votes.lee"] == (40, 40, 45), "no sheet was open"
    big = memory_of(of, *sheets(of, third=240, registered_voters=900), statement("country", "us", 1, 1, of=of, minute=0,
        sub_units={"total": 3, "counted": 3, "processed": 3}))  # fmt: skip
    assert found(big)["us ballots_cast"] == (2, 2, 580)
    less = memory_of(of, *sheets(of, third=150, registered_voters=150), statement("country", "us", 0, 0, of=of,
        minute=0, sub_units=one_open))  # fmt: skip
    assert found(less)["us ballots_cast"] == (0, largest_roll, 400)


def test_the_numbers_of_sheets_are_compared_too() -> None:
    of = contest()
    stated = statement("country", "us", 1, 1, of=of, minute=0, sub_units={"total": 2, "counted": 2, "processed": 2})
    assert found(memory_of(of, *sheets(of), stated))["us counted"] == (2, 2, 3)
    more = statement("country", "us", 1, 1, of=of, minute=0, sub_units={"total": 9, "counted": 4, "processed": 4})
    assert found(memory_of(of, *sheets(of), more)) == {
        "us counted": (4, 9, 3),
        "us processed": (4, 9, 3),
    }


def test_sheets_that_are_under_review_now_may_have_been_counted_before() -> None:
    of = contest()
    reviewed = sheets(of, status=CountStatus.UNDER_REVIEW)
    counted = {"total": 3, "counted": 3, "processed": 3}
    stated = statement("country", "us", 45, 65, of=of, minute=0, sub_units=counted)
    assert found(memory_of(of, *reviewed, stated)) == {}
    too_much = statement("country", "us", 91, 9, of=of, minute=0, sub_units=counted)
    assert found(memory_of(of, *reviewed, too_much))["us votes.lee"] == (41, 91, 40)


def test_annulled_and_retracted_sheets_may_have_been_counted_before() -> None:
    of = contest()
    counted = {"total": 3, "counted": 3, "processed": 3}
    stated = statement("country", "us", 45, 65, of=of, minute=0, sub_units=counted)
    annulled = [
        *sheets(of)[:2],
        statement("precinct", "3", 0, 0, of=of, status=CountStatus.ANNULLED, registered_voters=50),
    ]  # fmt: skip
    assert found(memory_of(of, *annulled, stated)) == {}
    third = sheets(of)[2]
    why = Correction(reason="x", basis=CorrectionBasis.OPERATOR, authority="x", replaces_event_id=third.event_id)
    gone = statement("precinct", "3", 5, 5, of=of, after=third, registered_voters=50)
    gone = named(gone.model_copy(update={"kind": UpdateKind.RETRACTED, "correction": why}))
    memory = memory_of(of, *sheets(of), gone, stated)
    assert contradictions(memory, ("precinct",)) == []
    assert moved_level(memory).definition is None, "a sheet that was retracted is not stated"


def test_a_figure_that_some_sheets_do_not_state_may_be_less_and_never_more() -> None:
    of = contest()
    silent = [*sheets(of)[:2], statement("precinct", "3", None, 5, of=of, registered_voters=50)]
    assert found(memory_of(of, *silent, statement("country", "us", 45, 65, of=of))) == {}
    assert found(memory_of(of, *silent, statement("country", "us", 39, 65, of=of))) == {
        "us votes.lee": (None, 39, 40),
    }


def test_each_county_is_compared_by_itself() -> None:
    of = contest()
    there = [
        *sheets(of)[:2],
        statement("precinct", "3", 5, 5, of=of, area="broome", registered_voters=50),
    ]
    right = [statement("county", "kings", 40, 60, of=of), statement("county", "broome", 5, 5, of=of)]
    assert found(memory_of(of, *there, *right)) == {}
    exchanged = [statement("county", "kings", 45, 65, of=of), statement("county", "broome", 0, 0, of=of)]
    against = found(memory_of(of, *there, *exchanged))
    assert against["kings votes.lee"] == (45, 45, 40)
    assert against["broome votes.lee"] == (0, 0, 5)


def test_voters_may_be_those_of_the_roll() -> None:
    of = contest(expected_units=3)
    memory = memory_of(of)
    rows = [RollRow("precinct", str(n), "kings", 70) for n in (1, 2, 3)]
    for part in next_parts(rows, of.contest_id, memory.roll, "0" * 64, NIGHT):
        assert memory.roll.accept(part, text_of(part), of) is None
    for unit_id, votes in (("1", 20), ("2", 30), ("3", 35)):
        assert remember(memory, statement("precinct", unit_id, votes, votes, of=of))
    none_counted = {"total": 3, "counted": 2, "processed": 2}
    assert remember(memory, statement("country", "us", 40, 40, of=of, minute=0, sub_units=none_counted))
    assert found(memory)["us ballots_cast"] == (80, 150, 170)


def test_where_voters_have_several_votes_these_are_more_than_the_voters() -> None:
    one_open = {"total": 3, "counted": 2, "processed": 2}
    for allowed, too_many in ((1, True), (3, False)):
        of = contest(votes_allowed=allowed)
        third = statement("precinct", "3", 90, 90, of=of, ballots_cast=100, registered_voters=100, valid_votes=280)
        office = statement("country", "us", 40, 60, of=of, minute=0, sub_units=one_open)
        against = found(memory_of(of, *sheets(of)[:2], third, office))
        assert ("us valid_votes" in against) is too_many


def test_what_the_office_has_taken_back_or_not_counted_is_not_compared() -> None:
    of = contest()
    office = statement("country", "us", 900, 900, of=of, status=CountStatus.PENDING)
    assert found(memory_of(of, *sheets(of), office)) == {}
    said = statement("country", "us", 900, 900, of=of)
    why = Correction(reason="x", basis=CorrectionBasis.OPERATOR, authority="x", replaces_event_id=said.event_id)
    gone = statement("country", "us", 900, 900, of=of, after=said)
    gone = named(gone.model_copy(update={"kind": UpdateKind.RETRACTED, "correction": why}))
    assert found(memory_of(of, *sheets(of), said, gone)) == {}


def test_what_is_said_names_the_figures_and_the_way_out() -> None:
    of = contest()
    memory = memory_of(of, *sheets(of, third=45), statement("country", "us", 45, 65, of=of))
    said = in_one_line(("precinct",), contradictions(memory, ("precinct",)))
    assert said.startswith(
        "every expected precinct is stated, but the counting level waits: their sum contradicts the office's own "
        "statements. ballots_cast of country/us: the sum is 190, but 110 at 2020-11-04T02:30:00.000Z leaves at most "
        "110; "
    )
    assert said.endswith(
        "votes.roe of country/us: the sum is 105, but 65 at 2020-11-04T02:30:00.000Z leaves at most 65. Look for what "
        'is counted twice or missing; `define --counting-level "precinct"` moves all the same'
    )
