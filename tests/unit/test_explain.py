"""What changed, in words: the falls of the real night, the life of a sheet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from rich.console import Console

from results import render
from results.changes import Change, UnitMoved, changes, sentences_of, signed, snapshot_changes
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.log_record import Recorded
from schemas.types import CountStatus, ResultStage, ReviewReason
from tests.support.folded import fold, folded
from tests.support.strategies import (
    NIGHT,
    PRECINCT,
    a_bulletin,
    a_contest,
    a_sheet,
    after,
    an_update,
    corrected,
    counts,
    minute,
    nights,
    sub_units,
)

CONTEST = a_contest()


def national(hour: int, minutes: int, votes: tuple[int, int], ballots: tuple[int, int, int, int], electors: int,
             sheets: tuple[int, ...], reasons: dict[str, int]) -> dict[str, Any]:  # fmt: skip
    """The fields of an official bulletin of 8 June 2021 (UTC), as ONPE published it."""
    processed, counted, normal, annulled, not_installed, review, waiting, pending = sheets
    return {
        "reported_at": datetime(2021, 6, 8, hour, minutes, tzinfo=UTC),
        "counts": counts(
            {"peru-libre": votes[0], "fuerza-popular": votes[1]},
            valid_votes=ballots[0],
            blank_votes=ballots[1],
            invalid_votes=ballots[2],
            ballots_cast=ballots[3],
            registered_voters_counted=electors,
        ),
        "sub_units": sub_units(
            total=86_488,
            processed=processed,
            counted=counted,
            counted_normal=normal,
            annulled=annulled,
            not_installed=not_installed,
            under_review=review,
            under_review_by_reason=reasons,
            to_be_processed=waiting,
            pending=pending,
        ),
        "published_percentages": None,
    }


REASONS = {
    "CHALLENGED_VOTES": 461,
    "MATERIAL_ERROR": 384,
    "NULLITY_REQUEST": 1,
    "ILLEGIBLE": 54,
    "INCOMPLETE": 90,
    "MISSING_SIGNATURES": 121,
    "OTHER": 193,
}
AT_04_18 = a_bulletin(
    **national(
        4, 18, (8_575_756, 8_477_744), (17_053_500, 117_745, 1_029_295, 18_200_540), 24_002_416,
        (83_395, 82_091, 82_084, 4, 3, 1_304, 3_093, 3_091), REASONS,
    )
)  # fmt: skip
AT_05_19 = after(
    AT_04_18,
    **corrected(AT_04_18, "peru-libre fell by 90"),
    **national(
        5, 19, (8_575_666, 8_477_654), (17_053_320, 117_743, 1_029_280, 18_200_343), 24_002_116,
        (83_395, 82_090, 82_083, 4, 3, 1_305, 3_093, 3_091), REASONS | {"MISSING_SIGNATURES": 122},
    ),
)  # fmt: skip


def explained(contest: ContestDefined, *updates: CountUpdate) -> list[Change]:
    """The story of a unit, from the effects that the fold records."""
    _, (_, *steps) = fold(contest, *updates)
    rows = [(s.recorded.offset, u, s.change) for s, u in zip(steps, updates, strict=True)]
    return changes(contest, rows, {s.recorded.offset: [str(f) for f in s.findings] for s in steps})


def test_the_fall_of_05_19_is_told_as_a_counted_sheet_that_became_observed() -> None:
    _, fall = explained(CONTEST, AT_04_18, AT_05_19)
    assert fall.sentences == (
        "votes: Perú Libre −90, Fuerza Popular −90",
        "ballots: ballots cast −197, valid −180, blank −2, null −15, registered voters of counted sheets −300",
        "sheets: counted −1, under review +1",
        "under review, by reason: missing signatures +1",
        "inferred: 1 counted sheet went back under review for missing signatures",
    )
    assert fall.change == {
        "votes.peru-libre": -90,
        "votes.fuerza-popular": -90,
        "ballots_cast": -197,
        "valid_votes": -180,
        "blank_votes": -2,
        "invalid_votes": -15,
        "registered_voters_counted": -300,
        "counted": -1,
        "counted_normal": -1,
        "under_review": 1,
        "under_review.MISSING_SIGNATURES": 1,
    }
    assert (fall.kind, fall.reason, fall.findings) == ("CORRECTED", "peru-libre fell by 90", ())
    assert fall.stated_at == datetime(2021, 6, 8, 5, 19, tzinfo=UTC)
    assert fall.event_id == AT_05_19.event_id


def test_a_rise_of_one_candidate_may_be_the_fall_of_the_other() -> None:
    # 22:48Z to 23:18Z on 7 June: Fuerza Popular falls by 276 while valid votes rise by 240.
    sentences = sentences_of(CONTEST, {"votes.peru-libre": 516, "votes.fuerza-popular": -276, "valid_votes": 240})
    assert sentences == ["votes: Perú Libre +516, Fuerza Popular −276", "ballots: valid +240"]


def test_nothing_is_inferred_when_other_sheets_moved_as_well() -> None:
    fall = {"counted": -1, "under_review": 1}
    assert any("inferred" in s for s in sentences_of(CONTEST, fall))
    for other in ({"processed": 1}, {"under_review": 2}, {"counted": 1}, {"counted": -2}):
        assert not any("inferred" in s for s in sentences_of(CONTEST, fall | other))


def test_several_sheets_and_several_reasons_are_told_in_the_plural() -> None:
    change = {"counted": -3, "under_review": 3, "under_review.ILLEGIBLE": 1, "under_review.MATERIAL_ERROR": 2}
    assert sentences_of(CONTEST, change)[-1] == (
        "inferred: 3 counted sheets went back under review for material error, illegible"
    )
    assert sentences_of(CONTEST, {"counted": -1, "under_review": 1})[-1].endswith("for no stated reason")


def test_no_change_has_no_words() -> None:
    assert sentences_of(CONTEST, {}) == []


def test_the_life_of_a_sheet_is_told() -> None:
    pending = an_update()
    counted = after(pending, reported_at=minute(1), count_status=CountStatus.COUNTED, counts=a_sheet().counts)
    observed = after(
        counted,
        reported_at=minute(2),
        count_status=CountStatus.UNDER_REVIEW,
        review_reason=ReviewReason.ILLEGIBLE,
        **corrected(counted),
    )
    reworded = after(
        observed, reported_at=minute(3), source_status="ACTA OBSERVADA", kind=pending.kind, correction=None
    )
    resolved = after(
        reworded,
        reported_at=minute(4),
        count_status=CountStatus.COUNTED,
        review_reason=None,
        result_stage=ResultStage.ADJUDICATED,
        counts=a_sheet(first=0, second=0).counts,
    )
    told = explained(a_contest(counting_level=(PRECINCT,)), pending, counted, observed, reworded, resolved)
    assert told[0].sentences == ("first stated: PENDING", "sheets: to be processed +1")
    assert told[1].sentences[0] == "PENDING → COUNTED"
    assert "votes: Perú Libre +100, Fuerza Popular +80" in told[1].sentences
    assert told[2].sentences[0] == "COUNTED → UNDER_REVIEW (illegible)"
    assert "sheets: counted −1, under review +1" in told[2].sentences
    assert told[3].sentences == ("nothing that counts changed",)
    assert told[4].sentences[:2] == ("UNDER_REVIEW (illegible) → COUNTED", "result stage PROVISIONAL → ADJUDICATED")
    assert [c.sequence for c in told] == [1, 2, 3, 4, 5]


def test_a_late_statement_is_not_told_as_a_move() -> None:
    counted = a_sheet(reported_at=minute(10))
    late = after(counted, reported_at=minute(5), count_status=CountStatus.PENDING, counts=None)
    _, change = explained(a_contest(counting_level=(PRECINCT,)), counted, late)
    assert "COUNTED → PENDING" not in change.sentences


def test_an_update_is_told_with_its_source_and_its_findings() -> None:
    broken = a_sheet(
        counts=counts({"peru-libre": 1, "fuerza-popular": 1}, ballots_cast=9, blank_votes=0, invalid_votes=0)
    )
    (change,) = explained(a_contest(counting_level=(PRECINCT,)), broken)
    assert change.source == "https://example.org/actas.csv row 2 (sha256 abababababab…)"
    assert change.findings == ("F105 ballots cast 9 ≠ valid, blank, invalid and all other votes 2",)
    assert change.source_status == "CONTABILIZADAS NORMALES"


def test_the_offices_note_is_told_in_one_line_beside_its_update() -> None:
    noted = a_sheet(office_note="typed in\nanew \x1b[31m(mesa 1)")
    plain = after(noted, reported_at=minute(1), office_note=None)
    told = explained(a_contest(counting_level=(PRECINCT,)), noted, plain)
    assert [c.office_note for c in told] == [noted.office_note, None]
    console = Console(width=160)
    with console.capture() as shown:
        console.print(*render.statements(told, "America/Lima"), sep="\n")
    notes = [line for line in shown.get().splitlines() if "the office notes" in line]
    assert notes == ["    the office notes: typed in\\nanew \\x1b[31m(mesa 1)"]


def test_a_publication_is_told_with_the_moves_of_its_sheets() -> None:
    row = {
        "snapshot_id": "onpe-sheets/2021-06-09T0112",
        "document": "actas.csv",
        "stated_at": NIGHT,
        "first_offset": 5,
        "last_offset": 816,
        "updates": 812,
        "corrected": 3,
        "moves": [{"before": "PENDING", "after": "COUNTED", "units": 670}],
        "change": {"votes.peru-libre": 51_765},
        "moved": None,
    }
    (told,) = snapshot_changes(CONTEST, [row], {})
    assert [(m.before, m.after, m.units) for m in told.moves] == [("PENDING", "COUNTED", 670)]
    assert told.sentences == ("votes: Perú Libre +51,765",)
    (empty,) = snapshot_changes(CONTEST, [row | {"moves": None, "change": None}], {})
    assert (empty.moves, empty.sentences, empty.change) == ((), (), {})


def test_units_that_leave_and_enter_are_added_to_a_publication_and_named() -> None:
    away = [UnitMoved(f"precinct/{n}", True, "Kings (kings)", {"votes.peru-libre": -1}) for n in range(7)]
    here = UnitMoved("precinct/9", False, "Queens (queens)", {"votes.peru-libre": 5})
    row = {
        **dict.fromkeys(("snapshot_id", "document"), "x"),
        "stated_at": NIGHT,
        "first_offset": 1,
        "last_offset": 9,
        "updates": 9,
        "corrected": 0,
        "moves": None,
        "change": {"votes.peru-libre": 3},
        "moved": list(range(8)),
    }
    (told,) = snapshot_changes(CONTEST, [row], dict(enumerate((*away, here))))
    assert told.sentences == (
        "moved to Kings (kings): precinct/0, precinct/1, precinct/2, precinct/3, precinct/4 and 2 more",
        "moved here from Queens (queens): precinct/9",
        "votes: Perú Libre +1",
    )
    assert told.change == {"votes.peru-libre": 1}


@pytest.mark.parametrize(("number", "words"), [(0, "+0"), (90, "+90"), (-1_234, "−1,234"), (1_000_000, "+1,000,000")])
def test_numbers_are_told_with_a_true_sign(number: int, words: str) -> None:
    assert signed(number) == words


@given(nights())
def test_every_night_can_be_told(log: list[Recorded]) -> None:
    state, steps = folded(log)
    rows: dict[object, list[tuple[int, CountUpdate, dict[str, int]]]] = {}
    for step in steps:
        event = step.recorded.event
        if isinstance(event, CountUpdate) and step.accepted:
            rows.setdefault(event.unit, []).append((step.recorded.offset, event, step.change))
    for of_unit in rows.values():
        told = changes(state.contest, of_unit, {})
        assert [(c.offset, c.event_id) for c in told] == [(offset, update.event_id) for offset, update, _ in of_unit]
        assert all(
            c.sentences
            for c in told
            if c.change.keys()
            - {"total", "pending", "registered_voters", "annulled_ballots", "counted_normal", "in_process"}
        )
        assert all(isinstance(c.event_id, UUID) for c in told)
