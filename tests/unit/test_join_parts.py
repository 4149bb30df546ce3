"""Any split of a log gives the state of one fold: part by part joined, or folded plainly where that would not be so."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aggregator.columns.sheets import unpack
from aggregator.fold.fold import ContestState, Unit
from aggregator.replay.fold_to_moment import ContestFold
from results.moment import NOW, Moment
from results.vectors import AreaTotal
from schemas.contest import Selection
from schemas.log_record import RawRecord, Recorded
from tests.support.strategies import (
    COUNTRY,
    PRECINCT,
    Event,
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

CONTEST = "pe-2021-president-runoff"
SHEETS_COUNT = a_contest(counting_level=PRECINCT)
ELSEWHERE = ("pe", "010000", "010100", "010102")


def whole(state: ContestState) -> Any:
    """All that a state holds, but for where its totals' blocks begin, which only the table writer needs."""
    unpack(state)
    unit_fields = [f.name for f in fields(Unit)]
    total_fields = [f.name for f in fields(AreaTotal) if f.name not in ("since", "kept_at")]
    other = [
        f.name
        for f in fields(ContestState)
        if f.name not in ("units", "sheets", "sums", "digest", "moves", "reported_by", "recorded_by")
    ]
    return (
        {name: getattr(state, name) for name in other},
        {key: {n: getattr(u, n) for n in unit_fields} for key, u in state.units.items()},
        {
            (kind, area): {n: getattr(t, n) for n in total_fields}
            for kind, sums in state.sums.items()
            for area, t in sums.items()
        },
        state.root(),
        sorted(state.moves),
    )


def folded_whole(records: Sequence[RawRecord], moment: Moment = NOW, contest_id: str = CONTEST) -> ContestFold:
    folding = ContestFold(contest_id, moment)
    folding.apply(records)
    return folding


def folded_in_parts(
    records: Sequence[RawRecord], cuts: Sequence[int], moment: Moment = NOW
) -> tuple[ContestFold, list[bool]]:
    """As `parallel` does it, without processes; and which parts joined. `cuts`: where parts begin, in order, from 1
    on."""
    first, *rest = [*cuts, len(records)]
    folding = folded_whole(records[:first], moment)
    assumed, joined = folding.definition, []
    for begin, end in zip([first, *rest], rest, strict=False):
        if folding.ended or folding.definition is None:
            break
        apart = ContestFold(CONTEST, moment, assumed=assumed)
        apart.apply(records[begin:end])
        joined.append(folding.join(pickle.loads(pickle.dumps(apart.part(), protocol=5))))
        if not joined[-1]:
            folding.apply(records[begin:end])
    return folding, joined


def messages(*events: Event) -> list[RawRecord]:
    return [raw(r) for r in recorded(events)]


@st.composite
def split_nights(draw: st.DrawFn) -> tuple[list[Recorded], list[RawRecord], list[int]]:
    night = draw(nights())
    cuts = draw(st.lists(st.integers(1, len(night)), min_size=1, max_size=4).map(sorted))
    return night, draw(set_back(night)), cuts


@given(split_nights(), st.data())
def test_any_split_gives_the_state_at_any_moment(
    split: tuple[list[Recorded], list[RawRecord], list[int]], data: st.DataObject
) -> None:
    night, records, cuts = split
    moment = data.draw(moments(night))
    plain = folded_whole(records, moment)
    folding, _ = folded_in_parts(records, cuts, moment)
    assert folding.ended == plain.ended
    if folding.definition is not None:
        assert whole(folding.state) == whole(plain.state)


@given(split_nights())
def test_what_comes_after_a_merge_is_folded_as_ever(split: tuple[list[Recorded], list[RawRecord], list[int]]) -> None:
    _, records, cuts = split
    middle = max(1, len(records) // 2)
    folding, _ = folded_in_parts(records[:middle], [min(c, middle) for c in cuts])
    folding.apply(records[middle:])
    assert whole(folding.state) == whole(folded_whole(records).state)


def test_parts_of_an_ordinary_night_join() -> None:
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06d}")) for n in range(6)]
    again = [after(s, reported_at=minute(5), counts=a_sheet(first=7).counts) for s in sheets]
    tie = after(again[2], counts=a_sheet(first=9).counts)  # of the same time: the higher sequence holds
    late = [after(again[0], reported_at=minute(1)), after(again[1], reported_at=minute(9)), tie]
    bulletins = [first := a_bulletin(), after(first, reported_at=minute(30))]
    records = messages(SHEETS_COUNT, *sheets, bulletins[0], *again, bulletins[1], *late)
    for cuts in ([1], [4, 9], [7, 7, 14, 16], list(range(1, len(records)))):
        folding, joined = folded_in_parts(records, cuts)
        assert all(joined)
        assert whole(folding.state) == whole(folded_whole(records).state)


def test_a_moved_counting_level_in_an_earlier_part_does_not_matter_a_new_selection_does() -> None:
    level = a_contest(counting_level=COUNTRY)
    more = Selection(selection_id="third", candidate="C", party="C", ballot_order=3, external_id=None)
    moved = a_revision(level, counting_level=PRECINCT)
    wider = a_revision(moved, selections=(*level.selections, more))
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06d}")) for n in range(3)]
    for revisions, expected in (([moved], [True, True]), ([moved, wider], [True, False])):
        records = messages(level, sheets[0], *revisions, sheets[1], sheets[2])
        folding, joined = folded_in_parts(records, [2, len(records) - 1])
        assert joined == expected
        assert whole(folding.state) == whole(folded_whole(records).state)


def test_a_new_selection_within_a_part_that_began_under_the_right_definition_joins() -> None:
    more = Selection(selection_id="third", candidate="C", party="C", ballot_order=3, external_id=None)
    wider = a_revision(SHEETS_COUNT, selections=(*SHEETS_COUNT.selections, more))
    records = messages(SHEETS_COUNT, a_sheet(), wider, a_sheet(reporting_unit=a_unit("000002")))
    folding, joined = folded_in_parts(records, [2])
    assert joined == [True]
    assert whole(folding.state) == whole(folded_whole(records).state)


def test_what_one_fold_would_refuse_or_move_is_folded_plainly() -> None:
    sheet = a_sheet()
    second = after(sheet, reported_at=minute(1))
    moved = after(sheet, reported_at=minute(1), reporting_unit=a_unit(area_path=ELSEWHERE))
    other = a_sheet(reporting_unit=a_unit("000002"))
    gone = after(other, reported_at=minute(1), reporting_unit=a_unit("000002", area_path=ELSEWHERE))
    for events in ([sheet, sheet], [second, sheet], [sheet, moved], [sheet, other, gone]):
        records = messages(SHEETS_COUNT, *events)
        folding, joined = folded_in_parts(records, [2])
        assert joined == [False]
        assert whole(folding.state) == whole(folded_whole(records).state)
