"""A roll of units: which parts are accepted, what is in force, and what it refuses."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from schemas.columns.decode_general import statement_batch
from schemas.columns.layout import Layout
from schemas.columns.roll import Roll
from schemas.columns.unit_index import UnitIndex
from schemas.contest import ContestDefined
from schemas.count_update import Correction
from schemas.identity import NIL, leaf, named, text_of
from schemas.log_record import Recorded
from schemas.rules import Finding
from schemas.types import CorrectionBasis, UpdateKind
from schemas.unit_roll import RollUnit, UnitRoll
from tests.support.builders import contest as a_contest
from tests.support.builders import sheet

CONTEST = a_contest()
INSIDE = sorted(CONTEST.area_paths, key=lambda area_id: (len(CONTEST.area_paths[area_id]), area_id))[-1]
"""The last of the innermost areas."""


def sheets(*ids: str, area_id: str = INSIDE, voters: int | None = 300) -> list[RollUnit]:
    return [RollUnit(type="precinct", id=unit_id, area_id=area_id, registered_voters=voters) for unit_id in ids]


def part(units: Sequence[RollUnit], after: UnitRoll | None = None, **changes: Any) -> UnitRoll:
    """The next part: of the same revision while that lacks some, else of the next one."""
    is_next = after is None or after.part == after.parts
    values: dict[str, Any] = {
        "event_id": NIL,
        "contest_id": CONTEST.contest_id,
        "revision": (0 if after is None else after.revision) + is_next,
        "part": 1 if after is None or is_next else after.part + 1,
        "parts": 1 if after is None or is_next else after.parts,
        "previous_event_id": None if after is None else after.event_id,
        "observed_at": CONTEST.effective_at,
        "document_sha256": "0" * 64,
        "units": tuple(units),
    }
    return named(UnitRoll(**values | changes))


def accept(roll: Roll, event: UnitRoll, contest: ContestDefined | None = CONTEST) -> Finding | None:
    return roll.accept(event, text_of(event), contest)


def test_a_roll_in_parts_holds_once_all_are_accepted() -> None:
    index = UnitIndex()
    roll = Roll(index)
    assert not roll.holds
    assert roll.leaf == bytes(32)
    assert roll.units_of(roll.by_type()) == {}
    first = part(sheets("1", "2"), parts=2)
    assert accept(roll, first) is None
    assert not roll.holds
    assert not roll.is_listed(np.arange(2)).any()
    second = part(sheets("3", voters=None), first)
    assert accept(roll, second) is None
    assert roll.holds
    assert roll.revision == 1
    assert roll.leaf == hashlib.sha256(leaf(text_of(first)) + leaf(text_of(second))).digest()
    assert {(key.id, area, voters) for key, area, voters in roll.listed()} == {
        ("1", INSIDE, 300),
        ("2", INSIDE, 300),
        ("3", INSIDE, None),
    }
    assert roll.units_of(roll.by_type()) == dict.fromkeys(CONTEST.area_paths[INSIDE], (3, None))
    assert roll.is_listed(np.array([0, 1, 2, 99])).tolist() == [True, True, True, False]


def test_a_later_revision_replaces_the_roll_and_one_without_units_takes_it_back() -> None:
    roll = Roll(UnitIndex())
    first = part(sheets("1", "2"))
    second = part(sheets("2", "3", voters=10), first)
    third = part([], second)
    assert [accept(roll, event) for event in (first, second)] == [None, None]
    assert [key.id for key, *_ in roll.listed()] == ["2", "3"]
    assert roll.units_of(roll.by_type())[CONTEST.root.area_id] == (2, 20)
    assert accept(roll, third) is None
    assert not roll.holds
    assert roll.revision == 3
    assert roll.leaf != bytes(32)


def test_a_revision_may_be_given_up_for_the_next_one() -> None:
    roll = Roll(UnitIndex())
    lost = part(sheets("1"), parts=2)
    whole = part(sheets("1", "2"), lost, revision=2, part=1, parts=1)
    assert [accept(roll, event) for event in (lost, whole)] == [None, None]
    assert roll.holds
    assert roll.revision == 2
    assert [key.id for key, *_ in roll.listed()] == ["1", "2"]


FIRST = part(sheets("1", "2"), parts=3)


@pytest.mark.parametrize(
    ("event", "code", "message"),
    [
        (part(sheets("3"), FIRST, part=3), "F401", "roll revision 1 part 3, expected revision 1 part 2"),
        (FIRST, "F401", "roll revision 1 part 1, expected revision 1 part 2"),
        (part(sheets("3"), FIRST, parts=2), "F403", "not "),
        (part(sheets("3"), FIRST, previous_event_id=NIL), "F403", f"part of a roll follows {NIL}"),
        (part(sheets("3", "3"), FIRST), "F402", "precinct/3 stands twice on the roll"),
        (part(sheets("3", "2"), FIRST), "F402", "precinct/2 stands twice on the roll"),
        (part(sheets("3", area_id="nowhere"), FIRST), "F302", "area nowhere of precinct/3 is unknown"),
        (part([RollUnit(type="county", id="3", area_id=INSIDE, registered_voters=1)], FIRST), "F303", "no tally sheet"),
        (part(sheets("3"), FIRST).model_copy(update={"event_id": NIL}), "F404", "is not the id of its content"),
    ],
)
def test_what_is_wrong_with_a_part_changes_nothing(event: UnitRoll, code: str, message: str) -> None:
    roll = Roll(UnitIndex())
    assert accept(roll, FIRST) is None
    found = accept(roll, event)
    assert found is not None
    assert found.code == code
    assert message in found.message
    last = part(sheets("4"), part(sheets("3"), FIRST))
    assert [accept(roll, one) for one in (part(sheets("3"), FIRST), last)] == [None, None]
    assert [key.id for key, *_ in roll.listed()] == ["1", "2", "3", "4"]


def test_a_roll_before_its_contest_is_not_accepted() -> None:
    found = accept(Roll(UnitIndex()), FIRST, None)
    assert found is not None
    assert found.code == "F405"


def test_a_sheet_that_is_not_on_the_roll_is_refused_and_can_still_be_retracted() -> None:
    index = UnitIndex()
    roll = Roll(index)
    assert accept(roll, part(sheets("000001"))) is None
    listed, other = sheet(1), sheet(2)
    gone = Correction(
        reason="not ours", basis=CorrectionBasis.OPERATOR, authority="ONPE", replaces_event_id=other.event_id
    )
    retracted = named(sheet(2, after=other).model_copy(update={"kind": UpdateKind.RETRACTED, "correction": gone}))
    recorded = [Recorded(0, n, one.observed_at, one) for n, one in enumerate((listed, other, retracted))]
    batch = statement_batch(recorded, CONTEST, Layout.of(CONTEST), index)
    assert batch.is_sound.tolist() == [True, True, True], batch.findings
    roll.judge(batch, CONTEST)
    assert batch.is_sound.tolist() == [True, False, True]
    assert [str(finding) for finding in batch.findings[1]][-1] == "F307 precinct/000002 is not on the roll"
