"""The fold, by its properties: what a log adds up to, and what cannot change it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aggregator.fold import evolve
from aggregator.fold.evolve import TOO_LARGE, ContestState
from aggregator.live.partition import PartitionFold
from aggregator.replay.fold_to_moment import ContestFold
from results.moment import Moment
from results.vectors import AreaTotal, Figure, LevelTotal
from schemas.columns.layout import Layout
from schemas.columns.wire import NO_TIME
from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.types import COUNT_LIMIT, TOTAL_LIMIT, CountStatus, ReviewReason
from tests.support import naive
from tests.support.folded import Step, area_totals, batches, fold, folded, totals, units, whole
from tests.support.strategies import (
    MUNICIPALITY,
    PRECINCT,
    Event,
    a_bulletin,
    a_contest,
    a_revision,
    a_sheet,
    a_unit,
    after,
    contests,
    counts,
    forged,
    minute,
    nights,
    raw,
    recorded,
    set_back,
    sub_units,
)

SHEETS_COUNT = a_contest(counting_level=(PRECINCT,))
PATH = ("pe", "010000", "010100", "010101")
ELSEWHERE = ("pe", "010000", "010100", "010102")


def events_of(log: list[Recorded]) -> list[Event]:
    return [r.event for r in log]


def told(state: ContestState) -> Any:
    """Everything a reader could be told, but for where it stands on the log."""
    official = [r.event.event_id for r in state.official]
    return state.root(), totals(state), units(state), official, state.last_reported


def findings(step: Step) -> list[str]:
    return [f.code for f in step.findings]


# A count by hand


def naively(log: Iterable[Recorded]) -> dict[str, dict[str, int]]:
    """The totals of a log, all counted again at its end by code that shares nothing with the fold."""
    sums = naive.totals(naive.Place(r.offset, r.recorded_at, r.event) for r in log)
    return {area: {n: v for n, v in of.items() if v} for area, of in sums.items() if any(of.values())}


_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=4)
"""Of batches, in turn. What is ordinary among more than eight messages is decoded by columns."""


def any_area(log: list[Recorded]) -> st.SearchStrategy[str]:
    """An area of a night, the outermost among them."""
    return st.sampled_from([area.area_id for area in log[0].definition.areas])


@given(nights())
def test_totals_equal_a_naive_count_at_every_offset(log: list[Recorded]) -> None:
    for end, (state, _) in enumerate(batches([raw(r) for r in log], [1]), 1):
        assert totals(state) == naively(log[:end])


@given(nights(), _sizes)
def test_they_do_after_batches_of_any_size(log: list[Recorded], sizes: list[int]) -> None:
    done = 0
    for state, steps in batches([raw(r) for r in log], sizes):
        done += len(steps)
        assert totals(state) == naively(log[:done])
    assert done == len(log)


@given(nights(), _sizes, st.data())
def test_the_size_of_a_batch_changes_nothing(log: list[Recorded], sizes: list[int], data: st.DataObject) -> None:
    records, area = data.draw(set_back(log)), data.draw(any_area(log))
    one_by_one, together = ([step for _, done in batches(records, of) for step in done] for of in ([1], sizes))
    assert [replace(step, areas=()) for step in together] == [replace(step, areas=()) for step in one_by_one]
    *_, (one, _) = batches(records, [1], area_id=area)
    *_, (other, _) = batches(records, sizes, area_id=area)
    assert whole(other) == whole(one)


# What changes nothing


@given(nights(), st.data())
def test_a_redelivered_event_changes_nothing(log: list[Recorded], data: st.DataObject) -> None:
    events = events_of(log)
    again = data.draw(st.integers(0, len(events) - 1))
    at = data.draw(st.integers(again + 1, len(events)))
    area = data.draw(any_area(log))
    state, steps = fold(*events[:at], events[again], *events[at:], area_id=area)
    assert told(state) == told(folded(log, area_id=area)[0])
    assert not steps[at].accepted
    assert not steps[at].is_current
    assert steps[at].change == {}
    assert steps[at].findings


@given(nights(refuses=False), st.randoms(use_true_random=False), st.data())
def test_order_across_units_is_irrelevant(log: list[Recorded], random: Any, data: st.DataObject) -> None:
    """Between two definitions of the contest: a statement is read with the one that holds when it arrives."""
    shuffled: list[Event] = []
    for defined, stretch in itertools.groupby(events_of(log), lambda event: not isinstance(event, CountUpdate)):
        if defined:
            shuffled += stretch
            continue
        chains: dict[Any, list[Event]] = {}
        for event in stretch:
            chains.setdefault(event.unit, []).append(event)  # type: ignore[union-attr]
        turns = [key for key, chain in chains.items() for _ in chain]
        random.shuffle(turns)
        shuffled += (chains[key].pop(0) for key in turns)
    area = data.draw(any_area(log))
    state, _ = fold(*shuffled, area_id=area)
    assert told(state) == told(folded(log, area_id=area)[0])


@given(nights(), st.data())
def test_an_event_under_a_forged_id_changes_nothing(log: list[Recorded], data: st.DataObject) -> None:
    events = events_of(log)
    victim = data.draw(st.sampled_from(events))
    at = data.draw(st.integers(1, len(events)))
    false = victim.model_copy(update={"event_id": UUID(int=99)})
    area = data.draw(any_area(log))
    state, steps = fold(*events[:at], false, *events[at:], area_id=area)
    assert told(state) == told(folded(log, area_id=area)[0])
    assert findings(steps[at]) == ["F404"]


# Sums


@given(nights(counting_level=(PRECINCT,)))
def test_an_area_is_the_sum_of_its_parts(log: list[Recorded]) -> None:
    state, _ = folded(log)
    sums = totals(state)
    for area in state.contest.areas:
        parts = [a.area_id for a in state.contest.areas if a.parent_id == area.area_id]
        if parts:
            summed: Counter[str] = Counter()
            for part in parts:
                summed.update(sums.get(part, {}))
            assert dict(summed) == sums.get(area.area_id, {})


@given(nights())
def test_changes_sum_up_to_the_totals(log: list[Recorded]) -> None:
    state, steps = folded(log)
    summed: Counter[str] = Counter()
    for step in steps:
        event = step.recorded.event
        if isinstance(event, CountUpdate) and event.reporting_unit.type in state.contest.counting_level:
            summed.update(step.change)
    assert {n: v for n, v in summed.items() if v} == totals(state).get("pe", {})


@given(nights())
def test_a_step_names_every_area_whose_total_it_changed(log: list[Recorded]) -> None:
    before = dict[str, dict[str, int]]()
    for state, (step,) in batches([raw(r) for r in log], [1]):
        now = totals(state)
        changed = {area for area in before | now if before.get(area) != now.get(area)}
        if isinstance(step.recorded.event, CountUpdate):
            assert changed <= set(step.areas)
        before = now


@given(nights())
def test_an_update_that_is_not_current_changes_no_count(log: list[Recorded]) -> None:
    for step in folded(log)[1]:
        if not step.is_current:
            assert (step.change, step.areas) == ({}, ())
        assert step.accepted or not step.is_current
        if isinstance(step.recorded.event, CountUpdate):
            assert step.leaf == leaf(text_of(step.recorded.event))


# Time


@given(nights(faults=False), st.data())
def test_a_late_statement_never_turns_the_count_back(log: list[Recorded], data: st.DataObject) -> None:
    events = events_of(log)
    last = {e.unit: e for e in events if isinstance(e, CountUpdate)}
    latest = {
        e.unit: e.stated_at
        for e in sorted((e for e in events if isinstance(e, CountUpdate)), key=lambda e: e.stated_at)
    }
    assume(last)
    unit = data.draw(st.sampled_from(sorted(last)))
    behind = data.draw(st.integers(1, 60))
    time = latest[unit] - (minute(behind) - minute(0))
    late = after(last[unit], reported_at=time, observed_at=minute(10_000), source_status="found later")
    before, _ = folded(log)
    state, steps = fold(*events, late)
    assert steps[-1].accepted
    assert not steps[-1].is_current
    assert "F406" in findings(steps[-1])
    assert totals(state) == totals(before)
    assert units(state)[unit].event_id == units(before)[unit].event_id
    assert units(state)[unit].head_event_id == late.event_id
    assert state.root() != before.root()  # but it is kept: the digest tells


def test_without_a_stated_time_statements_stand_in_the_order_in_which_they_were_fetched() -> None:
    first = a_sheet(reported_at=None, observed_at=minute(3))
    other = after(first, observed_at=minute(2), counts=a_sheet(first=1).counts)
    state, steps = fold(SHEETS_COUNT, first, other)
    assert findings(steps[2]) == ["F406"]
    assert totals(state)["pe"]["votes.peru-libre"] == 100
    assert state.last_reported == NO_TIME


# The counting level


@given(nights())
def test_moving_the_counting_level_adds_up_anew(log: list[Recorded]) -> None:
    state, _ = folded(log)
    events = events_of(log)
    for level in ((MUNICIPALITY,), (PRECINCT, MUNICIPALITY), a_contest().counting_level):
        events.append(a_revision(state.contest, counting_level=level))
        state, steps = fold(*events)
        assert steps[-1].accepted
        assert totals(state) == naively(recorded(events))


@given(nights())
def test_moving_the_counting_level_there_and_back_restores_every_total(log: list[Recorded]) -> None:
    before, _ = folded(log)
    here = before.contest.counting_level
    there = (PRECINCT,) if here != (PRECINCT,) else (MUNICIPALITY,)
    away = a_revision(before.contest, counting_level=there)
    state, _ = fold(*events_of(log), away, a_revision(away, counting_level=here))
    assert totals(state) == totals(before)


# The chain

FIRST = a_sheet(first=100)
SECOND = after(FIRST, reported_at=minute(1), counts=a_sheet(first=70).counts)
THIRD = after(SECOND, counts=a_sheet(first=60).counts)
FORK = after(FIRST, reported_at=minute(2), counts=a_sheet(first=1).counts)
LATE = after(FIRST, reported_at=minute(-5), counts=None, count_status=CountStatus.PENDING)
FIXED = after(LATE, reported_at=minute(0), counts=a_sheet(first=90).counts, count_status=CountStatus.COUNTED)
OTHER = after(a_sheet(first=7), counts=a_sheet(first=8).counts)
BROKEN = a_sheet(counts=counts({"peru-libre": 9, "fuerza-popular": 1}, ballots_cast=11, blank_votes=0, invalid_votes=0))

CHAINS: dict[str, tuple[list[CountUpdate], bool, list[str], int]] = {
    "in order": ([FIRST, SECOND], True, [], 70),
    "late": ([FIRST, LATE], True, ["F406"], 100),
    "of the same time, the higher sequence": ([FIRST, LATE, FIXED], True, [], 90),
    "twice": ([FIRST, FIRST], False, ["F402"], 100),
    "the one in force again, after a late one": ([FIRST, LATE, FIRST], False, ["F402"], 100),
    "an older one again, which is not remembered": ([FIRST, SECOND, FIRST], False, ["F401"], 70),
    "a fork": ([FIRST, SECOND, FORK], False, ["F401"], 70),
    "after a gap, absolute figures": ([FIRST, THIRD], True, ["F401"], 60),
    "after a gap at the beginning": ([SECOND], True, ["F401"], 70),
    "a lost one behind its successor": ([FIRST, THIRD, SECOND], False, ["F401"], 60),
    "after another event": ([FIRST, OTHER], True, ["F403"], 8),
    "of another contest": ([FIRST, a_sheet(reporting_unit=a_unit("000002"), is_test=True)], False, ["F306"], 100),
    "contradicts itself": ([BROKEN], True, ["F105"], 9),
    "forged": ([FIRST, forged(SECOND)], False, ["F404"], 100),
    "true, after a forged one": ([FIRST, forged(SECOND), SECOND], True, [], 70),
}
"""By what the last of some updates is: whether it is accepted, with which findings, and the votes after it."""


@pytest.mark.parametrize(("updates", "accepted", "codes", "votes"), CHAINS.values(), ids=CHAINS.keys())
def test_the_last_of_a_chain(updates: list[CountUpdate], accepted: bool, codes: list[str], votes: int) -> None:
    before, _ = fold(SHEETS_COUNT, *updates[:-1])
    state, steps = fold(SHEETS_COUNT, *updates)
    assert (steps[-1].accepted, findings(steps[-1])) == (accepted, codes)
    assert totals(state)["pe"]["votes.peru-libre"] == votes
    assert accepted or told(state) == told(before)


def test_a_gap_says_how_many_are_missing() -> None:
    _, steps = fold(SHEETS_COUNT, FIRST, THIRD)
    assert "sequence 3 after 1: 1 missing" in steps[2].findings[0].message


def test_an_update_before_its_contest_is_refused() -> None:
    state, steps = fold(a_sheet(), SHEETS_COUNT)
    assert (steps[0].accepted, findings(steps[0])) == (False, ["F405"])
    assert steps[1].accepted
    assert units(state) == {}


def test_the_log_is_read_in_order() -> None:
    state, _ = fold(SHEETS_COUNT)
    with pytest.raises(AssertionError, match="in order"):
        evolve.define(state, recorded([SHEETS_COUNT])[0])


# Definitions


def third(contest: ContestDefined) -> tuple[Selection, ...]:
    more = Selection(selection_id="third", candidate="C", party="C", ballot_order=3, external_id=None)
    return (*contest.selections, more)


def test_a_definition_is_chained_like_an_update() -> None:
    first = a_contest()
    second = a_revision(first, name="renamed")
    stranger = a_revision(a_contest(name="other"), name="stranger")
    for event, code in ((first, "F401"), (a_revision(second), "F401"), (stranger, "F403")):
        state, steps = fold(first, event)
        assert (steps[1].accepted, findings(steps[1])) == (False, [code])
        assert told(state) == told(fold(first)[0])
    assert fold(first, second)[0].contest.name == "renamed"


def test_the_first_definition_is_the_first_revision() -> None:
    state, steps = fold(a_revision(a_contest()))
    assert (steps[0].accepted, findings(steps[0])) == (False, ["F401"])
    assert state.definition is None


def test_a_revision_must_not_take_away_an_area_or_take_away_or_reorder_selections() -> None:
    first = a_contest()
    one, two = first.selections
    swapped = (one.model_copy(update={"ballot_order": 2}), two.model_copy(update={"ballot_order": 1}))
    for selections in ((one,), swapped):
        _, steps = fold(first, a_revision(first, selections=selections))
        assert (steps[1].accepted, findings(steps[1])) == (False, ["F301"])
    _, steps = fold(first, a_revision(first, areas=first.areas[:-1]))
    assert not steps[1].accepted


def test_a_selection_added_later_is_counted_from_then_on() -> None:
    sheet = a_sheet(first=10, second=20)
    early = a_sheet(reporting_unit=a_unit("000002"), counts=counts({"third": 5}, ballots_cast=5))
    second = a_revision(SHEETS_COUNT, selections=third(SHEETS_COUNT))
    restated = after(sheet, counts=counts({"peru-libre": 10, "fuerza-popular": 20, "third": 5}, ballots_cast=35))
    state, steps = fold(SHEETS_COUNT, sheet, early, second, restated, early)
    assert [s.accepted for s in steps] == [True, True, False, True, True, True]
    assert findings(steps[2]) == ["F301"]
    total = state.total("pe")
    assert total is not None
    assert total.votes() == {"peru-libre": 10, "fuerza-popular": 20, "third": 10}


def test_an_area_added_later_can_be_counted_in() -> None:
    new = Area(area_id="010103", name="NEW", type=MUNICIPALITY, parent_id="010100")
    sheet = a_sheet(reporting_unit=a_unit(area_path=("pe", "010000", "010100", "010103")))
    second = a_revision(SHEETS_COUNT, areas=(*SHEETS_COUNT.areas, new))
    _, steps = fold(SHEETS_COUNT, sheet, second, sheet)
    assert [findings(s) for s in steps] == [[], ["F302"], [], []]


# What a status adds


def test_a_sheet_is_one_sheet_also_when_it_speaks_of_sub_units() -> None:
    state, _ = fold(SHEETS_COUNT, a_sheet(count_status=CountStatus.UNDER_REVIEW, sub_units=sub_units()))
    assert totals(state)["pe"] == {
        "registered_voters": 300, "total": 1, "processed": 1, "under_review": 1, "under_review.OTHER": 1, "units": 1,
        "not_counted.votes.peru-libre": 100, "not_counted.votes.fuerza-popular": 80,
    }  # fmt: skip


@pytest.mark.parametrize("status", [status for status in CountStatus if status != "UNKNOWN"])
def test_an_area_states_its_sheets_whatever_its_status_and_votes_only_of_counted_ones(status: CountStatus) -> None:
    state, _ = fold(a_contest(), a_bulletin(count_status=status))
    pe = Counter(totals(state)["pe"])
    assert pe["counted"] == a_bulletin().sub_units.counted  # type: ignore[union-attr]
    votes, null_votes = {
        CountStatus.COUNTED: (1_000, a_bulletin().counts.invalid_votes),  # type: ignore[union-attr]
        CountStatus.IN_PROCESS: (1_000, a_bulletin().counts.invalid_votes),  # type: ignore[union-attr]
        CountStatus.ANNULLED: (0, a_bulletin().counts.ballots_cast),  # type: ignore[union-attr]
    }.get(status, (0, 0))
    assert (pe["votes.peru-libre"], pe["invalid_votes"]) == (votes, null_votes)


def figures(state: ContestState) -> dict[str, Figure]:
    total = state.total("pe")
    assert total is not None
    return total.figures()


def test_a_figure_that_is_not_stated_adds_nothing_and_the_total_knows_by_whom() -> None:
    update = a_sheet(counts=counts({"peru-libre": None, "fuerza-popular": 3}, ballots_cast=10))
    state, _ = fold(SHEETS_COUNT, update, a_sheet(reporting_unit=a_unit("000002"), first=7, second=2))
    found = figures(state)
    assert found["votes.peru-libre"] == (7, 1, 2)
    assert found["votes.fuerza-popular"] == (5, 2, 2)
    assert found["valid_votes"] == (9, 1, 2), "of the first they cannot be known"
    state, _ = fold(SHEETS_COUNT, update)
    found = figures(state)
    assert found["votes.peru-libre"] == found["valid_votes"] == (None, 0, 1), "stated by none is not zero"


def test_a_selection_that_is_not_named_was_not_on_that_ballot_and_lacks_nothing() -> None:
    second = a_revision(SHEETS_COUNT, selections=third(SHEETS_COUNT))
    without = a_sheet(counts=counts({"peru-libre": 10, "fuerza-popular": 20}, ballots_cast=30))
    state, _ = fold(SHEETS_COUNT, second, without)
    found = figures(state)
    assert (found["votes.third"], found["votes.third"].is_on_ballot) == ((None, 0, 0), False)
    other = counts({"peru-libre": 1, "fuerza-popular": 2, "third": 5}, ballots_cast=8)
    state, _ = fold(SHEETS_COUNT, second, without, a_sheet(reporting_unit=a_unit("000002"), counts=other))
    assert figures(state)["votes.third"] == (5, 1, 1), "of those on whose ballots it stood"
    assert found["valid_votes"] == (30, 1, 1)


def test_votes_that_name_no_selection_say_nothing_of_votes() -> None:
    silent = a_sheet(counts=counts({}, ballots_cast=500, valid_votes=500))
    state, _ = fold(SHEETS_COUNT, silent, a_sheet(reporting_unit=a_unit("000002"), first=7, second=2))
    assert figures(state)["votes.peru-libre"] == (7, 1, 2)


def test_where_one_type_of_units_is_unknown_the_whole_total_is() -> None:
    both = a_contest(counting_level=(PRECINCT, MUNICIPALITY))
    postal = a_sheet(
        reporting_unit=a_unit("010101", type=MUNICIPALITY, area_path=("pe", "010000", "010100")),
        count_status=CountStatus.UNKNOWN,
    )
    layout = Layout.of(both)
    parts = {of.reporting_unit.type: AreaTotal(layout.contribution(of)) for of in (a_sheet(), postal)}
    total = LevelTotal(layout, both.counting_level, parts)
    assert {figure.value for figure in total.figures().values()} == {None}


def test_a_unit_that_is_not_counted_yet_lacks_nothing() -> None:
    pending = a_sheet(count_status=CountStatus.PENDING, counts=None)
    state, _ = fold(SHEETS_COUNT, pending)
    found = figures(state)
    assert found["votes.peru-libre"] == found["ballots_cast"] == (0, 0, 0)
    assert found["registered_voters"] == (None, 0, 1), "but nobody stated its roll"


# Places


def test_a_sheet_that_moves_takes_its_figures_along() -> None:
    sheet = a_sheet(first=10)
    state, steps = fold(SHEETS_COUNT, sheet, after(sheet, reporting_unit=a_unit(area_path=ELSEWHERE)))
    assert "010101" not in totals(state)
    assert totals(state)["010102"]["votes.peru-libre"] == totals(state)["pe"]["votes.peru-libre"] == 10
    assert set(steps[2].areas) == {*PATH, *ELSEWHERE}
    assert steps[2].change == {}


def test_an_area_names_the_update_by_which_a_sheet_left_it() -> None:
    sheet = a_sheet()
    moved = after(sheet, reporting_unit=a_unit(area_path=ELSEWHERE), reported_at=minute(5))
    state, _ = fold(SHEETS_COUNT, sheet, moved)
    assert area_totals(state)["010101"].last_event_id == moved.event_id


def test_a_total_names_the_last_update_that_changed_it() -> None:
    one, other = a_sheet(), a_sheet(reporting_unit=a_unit("000002", area_path=ELSEWHERE), reported_at=minute(3))
    state, steps = fold(SHEETS_COUNT, one, other)
    found = area_totals(state)
    assert found["010101"].last_event_id == one.event_id
    assert found["pe"].last_event_id == other.event_id
    assert found["pe"].last_offset == steps[2].recorded.offset
    assert found["pe"].stated_at == minute(3)


def test_official_statements_are_kept_of_the_area_that_is_asked_about_in_the_order_of_the_log() -> None:
    bulletin = a_bulletin()
    later = after(bulletin, reported_at=minute(9))
    of_municipality = a_bulletin(reporting_unit=a_unit("010101", MUNICIPALITY, PATH[:3]))
    sheet_of_its_id = a_sheet(reporting_unit=a_unit("010101", PRECINCT, PATH))
    log = (SHEETS_COUNT, a_sheet(), bulletin, later, bulletin, of_municipality, sheet_of_its_id)
    for area, expected in (
        (None, [bulletin, later]),
        ("pe", [bulletin, later]),
        ("010101", [of_municipality]),
        ("010102", []),
    ):
        state, _ = fold(*log, area_id=area)
        assert [r.event.event_id for r in state.official] == [update.event_id for update in expected]


def test_a_sheet_and_a_municipality_of_one_id_are_two_units() -> None:
    sheet = a_sheet(reporting_unit=a_unit("010101", PRECINCT, PATH))
    bulletin = a_bulletin(reporting_unit=a_unit("010101", MUNICIPALITY, PATH[:3]))
    state, steps = fold(SHEETS_COUNT, sheet, bulletin)
    assert [s.accepted for s in steps] == [True, True, True]
    assert len(units(state)) == 2


# Vectors


@given(contests(), st.data())
def test_a_vector_and_its_named_parts_are_one_to_one(contest: ContestDefined, data: st.DataObject) -> None:
    layout = Layout.of(contest)
    vector = data.draw(st.lists(st.integers(0, 9), min_size=layout.size, max_size=layout.size))
    assert len(layout.names) == len(set(layout.names)) == layout.size
    named = layout.named(vector)
    assert [named[name] for name in layout.names] == [vector[slot] for slot in layout.slots.values()] == vector
    total = LevelTotal(layout, ("precinct",), {"precinct": AreaTotal(vector)})
    assert total.votes() == {s: named[f"votes.{s}"] for s in contest.selection_ids}
    assert total.reasons == {reason: named[f"under_review.{reason}"] for reason in ReviewReason}
    assert layout.changes(layout.zero(), vector) == {n: v for n, v in layout.named(vector).items() if v}


@pytest.mark.parametrize(("contest_id", "key"), [("pe\ufffd", b"pe\xff"), ("pe\u2400", b"pe\0")])
def test_a_key_that_only_looks_like_a_contests_does_not_block_it(contest_id: str, key: bytes) -> None:
    contest = a_contest(contest_id=contest_id, counting_level=(PRECINCT,))
    stray, sheet = (a_sheet(contest_id=contest_id, reporting_unit=a_unit(unit)) for unit in ("000001", "000002"))
    records = [raw(r) for r in recorded([contest, stray, sheet])]
    records[1] = records[1]._replace(key=key)
    live = PartitionFold()
    (parked,) = live.apply(records).parked
    assert parked.raw == records[1]
    assert list(live.states) == [contest_id]
    assert not live.blocked.keys() & live.states.keys()
    assert live.states[contest_id].units.count() == 1


# Figures that no election has

MOST = COUNT_LIMIT - 1


def large(number: int, votes: int, **changes: Any) -> CountUpdate:
    figures = counts({"peru-libre": votes, "fuerza-popular": 0}, ballots_cast=votes, blank_votes=0, invalid_votes=0)
    return a_sheet(reporting_unit=a_unit(f"{number:06d}"), counts=figures, **changes)


def blocked_at(log: list[Recorded], size: int) -> tuple[int, str]:
    """Where a contest is blocked, and why. Another contest on the same log goes on."""
    other = recorded([a_contest(contest_id="other", counting_level=(PRECINCT,)), a_sheet(contest_id="other")])
    behind = [raw(r)._replace(offset=log[-1].offset + n) for n, r in enumerate(other, 1)]
    records = [*(raw(r) for r in log), *behind]
    live, parked = PartitionFold(), []
    for begin in range(0, len(records), size):
        parked += live.apply(records[begin : begin + size]).parked
    contest_id = SHEETS_COUNT.contest_id
    assert live.blocked.keys() == {contest_id}
    offset, reason = live.blocked[contest_id]
    assert [p.raw.offset for p in parked] == [r.offset for r in log if r.offset >= offset]
    last = live.states[contest_id].last
    assert last is not None
    assert last.offset == max(r.offset for r in log if r.offset < offset)
    assert totals(live.states[contest_id]) == naively(r for r in log if r.offset < offset)
    assert totals(live.states["other"])["pe"]["votes.peru-libre"] == 100
    return offset, reason


ALMOST = [large(n, MOST // 2 + 1) for n in range(14)]
LARGE: dict[str, list[Event]] = {
    "of one size": [SHEETS_COUNT, *(large(n, MOST) for n in range(10))],
    "a larger one behind a small one": [SHEETS_COUNT, *ALMOST, large(5_000, 1), large(5_001, MOST), large(5_002, 1)],
    "after one that was taken back": [
        SHEETS_COUNT,
        first := large(5_000, MOST),
        after(first, counts=large(5_000, 1).counts, reported_at=minute(1)),
        *ALMOST,
        *(large(n, MOST // 2 + 1) for n in range(6_000, 6_010)),
    ],
    "with larger ones that are refused": [
        SHEETS_COUNT,
        *(large(n, MOST) for n in range(5)),
        *(large(n, MOST, is_test=True) for n in range(7_000, 7_010)),
        *(large(n, MOST) for n in range(5, 10)),
    ],
}


def blocked_alike(log: list[Recorded], sizes: Iterable[int], room: int) -> None:
    """A contest is blocked at the event with which a total would reach `room`, whatever the size of a batch."""
    ((offset, reason),) = {blocked_at(log, size) for size in sizes}
    assert reason == TOO_LARGE
    assert reason.startswith("F407 ")
    before, after_it = (naively(r for r in log if r.offset < end)["pe"] for end in (offset, offset + 1))
    assert max(before.values()) < room <= max(after_it.values())


def test_totals_of_four_million_units_stay_below_the_limit_and_their_differences_fit_64_bits() -> None:
    assert (COUNT_LIMIT - 1) * 4_000_000 < TOTAL_LIMIT
    assert 2 * TOTAL_LIMIT <= 2**63


def test_a_total_at_the_limit_blocks_its_contest_at_that_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "TOTAL_LIMIT", 512 * MOST)
    log = recorded([SHEETS_COUNT, *(large(n, MOST) for n in range(600))])
    blocked_alike(log, [25, 10_000], 512 * MOST)


@pytest.mark.parametrize("events", LARGE.values(), ids=LARGE.keys())
def test_so_it_is_whatever_the_size_of_a_batch(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "TOTAL_LIMIT", 2**43)
    blocked_alike(recorded(events), [1, 2, 7, 10_000], 2**43)


def test_a_total_too_large_at_a_time_of_the_office_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "TOTAL_LIMIT", 2**43)
    events: list[Event] = [SHEETS_COUNT]
    for n in range(10):  # by the log one at a time, by the office's time all at once
        first = large(n, MOST, reported_at=minute(0))
        events += [first, after(first, counts=large(n, 0).counts, reported_at=minute(1))]
    records = [raw(r) for r in recorded(events)]
    assert ContestFold(SHEETS_COUNT.contest_id, Moment()).apply(records)
    with pytest.raises(ContractError, match=re.escape(f"offset 39: {TOO_LARGE}")):
        ContestFold(SHEETS_COUNT.contest_id, Moment(stated_at=minute(0))).apply(records)
