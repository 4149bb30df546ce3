"""What ids and chains reveal of an altered log, and what not: the table "What a chain proves" of docs/contract.md."""

from __future__ import annotations

from schemas.count_update import CountUpdate
from tests.support.folded import fold
from tests.support.strategies import PRECINCT, Event, a_contest, a_sheet, a_unit, after, fields_of, minute

CONTEST = a_contest(counting_level=(PRECINCT,))
FIRST = a_sheet(100, 80)
SECOND = after(FIRST, reported_at=minute(9), counts=a_sheet(101, 80).counts)
THIRD = after(SECOND, reported_at=minute(12), counts=a_sheet(102, 80).counts)
ALONE = a_sheet(90, 120, reporting_unit=a_unit("000002"))
ALTERED = a_sheet(0, 180).counts


def folded(*events: Event) -> tuple[list[str], dict[str, int]]:
    """The codes of all findings, and the country's votes."""
    state, steps = fold(CONTEST, *events)
    codes = [finding.code for step in steps for finding in step.findings]
    total = state.total("pe")
    return codes, {} if total is None else total.votes()


def chained(first: CountUpdate, second: CountUpdate) -> CountUpdate:
    """`second` again, as the next of `first`, with its id computed again."""
    kept = {name: value for name, value in fields_of(second).items() if name in ("reported_at", "counts")}
    return after(first, **kept)


def test_a_log_as_published_has_no_findings() -> None:
    assert folded(FIRST, SECOND, THIRD, ALONE) == ([], {"peru-libre": 192, "fuerza-popular": 200})


def test_altered_content_under_its_old_id_is_revealed() -> None:
    codes, _ = folded(FIRST, SECOND.model_copy(update={"counts": ALTERED}), THIRD, ALONE)
    assert codes[0] == "F404"


def test_a_lost_a_repeated_and_a_competing_update_are_revealed() -> None:
    assert folded(FIRST, THIRD, ALONE)[0] == ["F401"]
    assert folded(FIRST, FIRST, SECOND, ALONE)[0] == ["F402"]
    assert folded(FIRST, SECOND, after(FIRST, counts=ALTERED), ALONE)[0] == ["F401"]


def test_an_altered_event_is_revealed_by_the_next_one_of_its_unit_alone() -> None:
    altered = after(FIRST, reported_at=minute(9), counts=ALTERED)
    assert folded(FIRST, altered, THIRD, ALONE)[0] == ["F403"]
    assert folded(FIRST, altered, chained(altered, THIRD), ALONE)[0] == []


def test_a_sheet_that_was_stated_once_is_altered_without_a_finding_and_the_winner_changes() -> None:
    altered = a_sheet(210, 0, reporting_unit=a_unit("000002"))
    assert folded(FIRST, SECOND, THIRD, altered) == ([], {"peru-libre": 312, "fuerza-popular": 80})


def test_a_log_without_its_end_has_no_findings() -> None:
    assert folded(FIRST, SECOND) == ([], {"peru-libre": 101, "fuerza-popular": 80})
