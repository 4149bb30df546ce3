"""Made-up nights: the same everywhere, valid but for the trouble asked for, and in the shape of the real one."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import types
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.fold.evolve import ContestState
from schemas.chain import broken_rules
from schemas.codec import Message, decode, encode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import text_of
from schemas.log_record import Recorded
from schemas.types import CountStatus, ReportingUnitType, UpdateKind
from tests.support import naive
from tests.support.folded import area_totals, batches
from tests.support.nights import BEGIN, Deed, Entry, Night, log, messages, rough, validated
from tests.support.strategies import raw

SMALL = Night(events=2_000, units=120, states=3, counties=5, municipalities=12)
ROUGH = rough(Night(events=1_000, units=30, states=3, counties=5, municipalities=12))
TROUBLE = {Deed.DUPLICATED, Deed.GAP, Deed.FORKED, Deed.FORGED, Deed.STRAY}

PINNED = "b290ad96ca7c5dd460fbbb15e87e6408295cff007e08ac28c4bc20ef1aa6e8e6"
"""Of `ROUGH`. A new version of the schema changes it; nothing else may."""


def digest(these: Iterable[Message]) -> str:
    """SHA-256 of messages, key, value and headers."""
    sha256 = hashlib.sha256()
    for message in these:
        sha256.update(repr((message.key, message.value, message.headers)).encode())
    return sha256.hexdigest()


def played(night: Night) -> list[Entry]:
    return list(log(night))


def recorded(entries: Iterable[Entry]) -> list[Recorded]:
    """The entries on a log, one a second."""
    return [Recorded(0, i, BEGIN + timedelta(seconds=i), event) for i, (_, event) in enumerate(entries)]


# Determinism


def test_the_same_parameters_give_the_same_bytes() -> None:
    # Pinned: a night that is measured today is the one that will be measured in a year, and elsewhere.
    assert digest(messages(ROUGH)) == digest(messages(ROUGH)) == PINNED
    assert digest(messages(replace(ROUGH, seed=1))) != PINNED


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_same_bytes_in_another_process(hash_seed: str) -> None:
    code = "from tests.unit.test_nights import *; print(digest(messages(ROUGH)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == PINNED


@pytest.mark.parametrize("night", [SMALL, ROUGH], ids=["small", "rough"])
def test_unchecked_models_are_the_checked_ones(night: Night) -> None:
    for fast, slow in zip(log(night), log(night, validated), strict=True):
        assert fast == slow
        assert encode(fast.event) == encode(slow.event)


# Validity


@pytest.mark.parametrize("night", [SMALL, ROUGH], ids=["small", "rough"])
def test_every_event_goes_to_bytes_and_back(night: Night) -> None:
    for _, event in log(night):
        message = encode(event)
        assert decode(message.value, message.headers) == event


@pytest.mark.parametrize("night", [SMALL, ROUGH], ids=["small", "rough"])
def test_what_is_no_trouble_is_accepted_without_a_finding(night: Night) -> None:
    contest: ContestDefined | None = None
    heads: dict[UnitKey, int] = defaultdict(int)
    for deed, event in log(night):
        if isinstance(event, ContestDefined):
            contest = event
        elif deed not in TROUBLE or deed is Deed.GAP:
            assert broken_rules(event, text_of(event), contest) == []
            assert event.sequence > heads[event.unit]
            heads[event.unit] = event.sequence


EXPECTED: dict[Deed, list[set[str]]] = {
    Deed.DEFINED: [set()],
    Deed.BULLETIN: [set()],
    Deed.STATED: [set()],
    Deed.RETRACTED: [set()],
    Deed.LATE: [{"F406"}],
    Deed.DUPLICATED: [{"F402"}, {"F401"}],  # the fold knows only the last of a chain and the unit's state by name
    Deed.GAP: [{"F401"}, {"F401", "F406"}],
    Deed.FORKED: [{"F401"}],
    Deed.FORGED: [{"F404"}],
    Deed.STRAY: [{"F306"}, {"F306", "F406"}],
}


def test_trouble_is_found_and_nothing_else() -> None:
    seen: Counter[Deed] = Counter()
    records = [raw(r) for r in recorded(log(ROUGH))]
    for entry, (_, (step,)) in zip(log(ROUGH), batches(records, [1]), strict=True):
        assert {finding.code for finding in step.findings} in EXPECTED[entry.deed], entry
        assert step.accepted == (entry.deed not in TROUBLE or entry.deed is Deed.GAP)
        seen[entry.deed] += 1
    assert set(seen) == set(Deed)
    assert all(0.5 < seen[deed] / (0.02 * ROUGH.events) < 2 for deed in TROUBLE)


# Shape


def test_a_night_has_as_many_events_as_asked() -> None:
    for events, contests in ((3, 3), (100, 1), (1_001, 4)):
        night = Night(events=events, contests=contests, units=20, states=1, counties=2, municipalities=3)
        of = Counter(event.contest_id for _, event in log(night))
        assert of.total() == events
        assert len(of) == contests
        assert max(of.values()) - min(of.values()) <= 1


def test_contests_take_turns_and_each_is_defined_first() -> None:
    night = Night(events=600, contests=3, units=50, states=1, counties=2, municipalities=3)
    order = [event.contest_id for _, event in log(night)]
    assert sum(a != b for a, b in itertools.pairwise(order)) > 300
    firsts = {event.contest_id: event for _, event in reversed(played(night))}
    assert all(isinstance(event, ContestDefined) for event in firsts.values())


def test_the_chains_are_whole() -> None:
    heads: dict[UnitKey, CountUpdate] = {}
    for deed, event in log(SMALL):
        assert deed not in TROUBLE
        if isinstance(event, CountUpdate):
            head = heads.get(event.unit)
            assert event.sequence == (head.sequence + 1 if head else 1)
            assert event.previous_event_id == (head.event_id if head else None)
            if event.correction is not None:
                assert head is not None
                assert event.correction.replaces_event_id == head.event_id
            heads[event.unit] = event
    revisions = [head.sequence for key, head in heads.items() if key.type == "precinct"]
    assert len(revisions) == SMALL.units
    assert max(revisions) - min(revisions) <= 1
    assert heads[UnitKey("country", "pe")].sequence in range(SMALL.bulletins, SMALL.bulletins + 3)


def test_the_bulletins_count_until_every_sheet_is_stated() -> None:
    entries = played(SMALL)
    first, second = (i for i, (deed, _) in enumerate(entries) if deed is Deed.DEFINED)
    assert first == 0
    assert entries[1].deed is Deed.BULLETIN
    levels = [entries[i].event.counting_level for i in (first, second)]  # type: ignore[union-attr]
    assert levels == [(ReportingUnitType.COUNTRY,), (ReportingUnitType.PRECINCT,)]
    stated = {event.unit for _, event in entries[:second] if isinstance(event, CountUpdate)}
    assert len(stated) == SMALL.units + 1


def test_a_sheet_lives_as_sheets_do() -> None:
    """Every state, and every way from one to another that the office has, in about the shares asked for."""
    night = Night(
        events=12_000,
        units=1_200,
        states=3,
        counties=5,
        municipalities=12,
        lost=0.01,
        not_installed=0.01,
        annulled=0.01,
    )
    was: dict[UnitKey, CountStatus] = {}
    ways: Counter[tuple[CountStatus | None, CountStatus]] = Counter()
    of: Counter[Deed] = Counter()
    for deed, event in log(night):
        of[deed] += 1
        if deed is Deed.STATED and isinstance(event, CountUpdate):
            ways[was.get(event.unit), event.count_status] += 1
            was[event.unit] = event.count_status
    assert {status for _, status in ways} == set(CountStatus) - {CountStatus.UNKNOWN}
    new = {status: n for (before, status), n in ways.items() if before is None}
    assert new[CountStatus.PENDING] / night.units == pytest.approx(night.pending, rel=0.1)
    for status, share in (
        (CountStatus.LOST, night.lost),
        (CountStatus.NOT_INSTALLED, night.not_installed),
        (CountStatus.ANNULLED, night.annulled),
    ):
        assert new[status] / night.units == pytest.approx(share, rel=0.5)
    typed = ways[CountStatus.PENDING, CountStatus.IN_PROCESS]
    assert typed / new[CountStatus.PENDING] == pytest.approx(night.typed, rel=0.1)
    before = (None, CountStatus.PENDING, CountStatus.IN_PROCESS)
    counted, observed = (sum(ways[b, s] for b in before) for s in (CountStatus.COUNTED, CountStatus.UNDER_REVIEW))
    assert observed / (counted + observed) == pytest.approx(night.observed, rel=0.5)
    assert (
        ways[CountStatus.UNDER_REVIEW, CountStatus.COUNTED] > ways[CountStatus.UNDER_REVIEW, CountStatus.ANNULLED] > 0
    )
    assert ways[CountStatus.COUNTED, CountStatus.UNDER_REVIEW] > 0
    assert of[Deed.LATE] / night.events == pytest.approx(night.late, rel=0.5)
    assert of[Deed.RETRACTED] / night.events == pytest.approx(night.retracted, rel=0.9)


def test_what_falls_is_a_correction_that_says_so() -> None:
    """A statement is a correction exactly where, in its order, it removes figures from the count."""
    watched = ("votes.", "ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "processed", "counted")
    falls = 0
    records = [raw(r) for r in recorded(log(SMALL))]
    for (deed, event), (_, (step,)) in zip(log(SMALL), batches(records, [1]), strict=True):
        change = step.change
        if deed in (Deed.STATED, Deed.BULLETIN) and isinstance(event, CountUpdate):
            fell = {n for n, by in change.items() if by < 0 and n.startswith(watched) and n != "counted_normal"}
            if event.reporting_unit.type == ReportingUnitType.PRECINCT:
                fell -= {"processed", "counted"}
            assert (event.kind is UpdateKind.CORRECTED) == bool(fell), change
            falls += bool(fell)
    assert falls > 10


def test_sheets_overtake_each_other_in_the_offices_time() -> None:
    times = [event.stated_at for _, event in log(SMALL) if isinstance(event, CountUpdate)]
    earlier = sum(b < a for a, b in itertools.pairwise(times))
    assert earlier > len(times) // 10


def test_an_annulled_sheet_keeps_its_ballots_as_null_votes() -> None:
    annulled = [e for _, e in log(ROUGH) if isinstance(e, CountUpdate) and e.count_status is CountStatus.ANNULLED]
    assert annulled
    for event in annulled:
        assert event.counts is not None
        assert event.counts.ballots_cast == event.counts.invalid_votes
        assert not any(event.counts.votes.values())


def test_the_areas_are_those_of_peru() -> None:
    (contest,) = (event for _, event in itertools.islice(log(Night()), 1))
    assert isinstance(contest, ContestDefined)
    assert Counter(area.type for area in contest.areas) == {
        "country": 1, "state": 26, "county": 196, "municipality": 1_874,
    }  # fmt: skip
    assert contest.area_paths["010101"] == ("pe", "010000", "010100", "010101")


def test_a_night_is_a_stream() -> None:
    """Ten thousand million events begin at once: nothing is made before it is asked for."""
    entries = log(Night(events=10_000_000_000, units=500))
    assert isinstance(entries, types.GeneratorType)
    assert len(list(itertools.islice(entries, 2_000))) == 2_000


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"events": 1, "contests": 2}, "definition"),
        ({"units": 0}, "at least one"),
        ({"units": 1_000_000}, "six digits"),
        ({"states": 0}, "states"),
        ({"counties": 25}, "counties"),
        ({"late": 1.1}, "share"),
        ({"municipalities": 99 * 196 + 1}, "municipalities"),
    ],
)
def test_what_is_no_night_is_refused(wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Night(**wrong)


# The naive count


def totals_of(state: ContestState, areas: Iterable[str]) -> naive.Totals:
    """The fold's totals of all areas; of those that nothing touched yet zeros."""
    zero, found = state.layout.zero(), area_totals(state)
    return {area: state.layout.named(found[area].vector if area in found else zero) for area in areas}


def naively(places: Iterable[Recorded], offset: int) -> naive.Totals:
    return naive.totals((naive.Place(p.offset, p.recorded_at, p.event) for p in places), offset)


@pytest.mark.parametrize("sizes", [[1], [39, 2, 1], [250]], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_the_naive_count_is_the_folds(seed: int, sizes: list[int]) -> None:
    night = rough(Night(seed=seed, events=700, units=40, states=2, counties=3, municipalities=6, selections=3))
    places = recorded(log(night))
    done = 0
    for state, steps in batches([raw(place) for place in places], sizes):
        done += len(steps)
        if len(steps) > 1 or done - 1 in (0, 1, 40, 90, 250, 400, 699):
            expected = naively(places, done - 1)
            assert totals_of(state, expected) == expected
            assert set(area_totals(state)) <= set(expected)
    assert done == night.events
    pe = area_totals(state)["pe"].vector
    assert all(pe[state.layout.slots[name]] for name in ("annulled", "not_installed"))
