"""The audit's own recount: the same figures as replay's, of which it shares nothing behind the decoding."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aggregator.replay.answer import of_state
from aggregator.replay.fold_to_moment import ContestFold
from audit.bundle.lines import line_of
from audit.recount.compare import Difference, differences, moment_of, reconcile
from audit.recount.contest_log import ContestLog
from audit.recount.figures import behind, of_area, stated
from audit.recount.reading import Reading
from results.count import NothingCounted
from results.moment import NOW, Moment
from schemas.contest import in_words
from schemas.log_record import RawRecord
from schemas.types import from_milliseconds
from tests.support import builders, hostile_log, wild_logs
from tests.support.duck import in_duckdb
from tests.support.hostile_log import HOSTILE, message_of
from tests.support.wild_logs import WILD


def log_of(records: Sequence[RawRecord], contest_id: str) -> tuple[Reading, ContestLog]:
    reading = Reading(contest_id)
    for begin in range(0, len(records), 50):
        reading.add(records[begin : begin + 50])
    log = reading.log()
    assert log is not None
    return reading, log


def replayed(records: Sequence[RawRecord], contest_id: str, area_id: str, moment: Moment = NOW) -> Any:
    """The answer of `replay --json`; None where nothing is counted."""
    fold = ContestFold(contest_id, moment, area_id=area_id)
    fold.apply(records)
    try:
        return of_state(fold.state, None).model_copy(update={"moment": str(moment)}).model_dump(mode="json")
    except NothingCounted:
        return None


@pytest.mark.parametrize("some", [0, *(pytest.param(some, marks=pytest.mark.soak) for some in range(1, 40))])
def test_any_log_is_counted_as_replay_counts_it(some: int) -> None:
    for seed in (some, random.randrange(10**9)):  # by the seed of the report's header
        records = wild_logs.wild_log(seed)
        _, log = log_of(records, WILD)
        for offset in {random.randrange(len(records)), len(records) - 1}:
            if (moment := log.at(offset)) is None:
                continue
            for area_id in moment.contest.areas_by_id:
                answer = replayed(records[: offset + 1], WILD, area_id)
                recounted = of_area(moment, area_id)
                assert recounted == (None if answer is None else stated(answer)), (seed, offset, area_id)
        at = random.choice(log.batch.stated.tolist())
        moment = log.at(len(records) - 1, at)
        assert moment is not None
        for area_id in moment.contest.areas_by_id:
            answer = replayed(records, WILD, area_id, Moment(stated_at=from_milliseconds(at)))
            assert of_area(moment, area_id) == (None if answer is None else stated(answer)), (seed, at, area_id)
            if answer is not None:
                assert moment_of(answer, log, len(records) - 1) == (len(records) - 1, at)


RECORDS = [line.raw for line in hostile_log.log()]


def test_behind_a_message_that_is_no_event_nothing_is_counted() -> None:
    reading, log = log_of(RECORDS, HOSTILE)
    (blocking,) = [line.raw.offset for line in hostile_log.log() if line.blocks and line.raw.key == HOSTILE.encode()]
    assert reading.blocked is not None
    assert reading.blocked.startswith(f"offset {blocking}: ")
    assert log.batch.offset.max() < blocking


def test_a_second_history_of_a_unit_does_not_count() -> None:
    first = builders.sheet(1)
    events: list[Any] = [
        builders.contest(),
        first,
        builders.sheet(1, {"a": 999, "b": 0}, hours=14),  # with the same sequence
        builders.sheet(1, {"a": 7, "b": 8}, after=first, hours=11),  # the next, of an earlier time
    ]
    _, log = log_of([message_of(event)._replace(offset=at) for at, event in enumerate(events)], builders.CONTEST)
    moment = log.at(3)
    assert moment is not None
    entries, figures = behind(moment, moment.contest.root)
    assert (log.batch.offset[entries].tolist(), figures["votes.a"]) == ([1], 10)
    assert log.batch.offset[log.accepted].tolist() == [1, 3]


VECTORS = json.loads(hostile_log.FILE.read_text(encoding="utf-8"))


def test_forks_rolls_and_late_statements_of_the_hostile_log_count_as_its_file_says() -> None:
    _, log = log_of(RECORDS, HOSTILE)
    for offset, areas in VECTORS["counts"].items():
        moment = log.at(int(offset))
        assert moment is not None
        for area_id, answer in areas.items():
            assert of_area(moment, area_id) == (None if answer is None else stated(answer)), (offset, area_id)


def test_a_figure_that_was_edited_is_named() -> None:
    records = wild_logs.wild_log(100)
    _, log = log_of(records, WILD)
    moment = log.at(len(records) - 1)
    assert moment is not None
    answer = replayed(records, WILD, moment.contest.root.area_id)
    assert list(differences(answer, moment)) == []
    edited = answer | {"sub_units": answer["sub_units"] | {"counted": 99}}
    was = answer["sub_units"]["counted"]
    assert list(differences(edited, moment)) == [Difference(answer["area_id"], "sub_units.counted", 99, was)]
    first, *others = answer["selections"]
    renamed = answer | {"selections": [first | {"candidate": "Nobody"}, *others]}
    assert [one.figure for one in differences(renamed, moment)] == [f"candidate.{first['selection_id']}"]
    twice = answer | {"selections": [first | {"votes": 10**9}, first, *others]}
    assert [one.figure for one in differences(twice, moment)] == ["selections"]
    last = answer | {"last_update": answer["last_update"] | {"offset": answer["last_update"]["offset"] - 1}}
    assert [one.figure for one in differences(last, moment)] == ["last_update"]
    (other,) = differences(answer | {"area_id": "nowhere"}, moment)
    assert (other.figure, other.recounted) == ("", None)


def test_bulletins_are_compared_with_the_sheets_stated_by_then() -> None:
    compared = 0
    for seed in range(12):
        records = wild_logs.wild_log(seed)
        _, log = log_of(records, WILD)
        level = in_words(log.definitions[-1].definition.counting_level)
        for one in reconcile(log):
            at = from_milliseconds(int(log.batch.stated[log.batch.offset == one.offset][0]))
            answer = replayed(records, WILD, one.area, Moment(stated_at=at))
            official = answer["official"]
            if official is None or official["offset"] != one.offset or answer["counting_level"] != level:
                continue  # it is about another statement, or another sum
            compared += 1
            found = {name: summed - said for name, (said, summed) in one.differences.items()}
            assert found == {name: number for name, number in official["differences"].items() if number}, seed
    assert compared > 5


def test_in_sql_any_log_has_the_same_sums(tmp_path: Path) -> None:
    compared = 0
    for seed in (
        *range(4),
        6,
        31,
        random.randrange(10**9),
        random.randrange(10**9),
    ):  # by the seed of the report's header
        records = wild_logs.wild_log(seed)
        _, log = log_of(records, WILD)
        moment = log.at(len(records) - 1)
        assert moment is not None
        judged = {one.offset for one in log.definitions} | set(log.batch.offset[log.sound].tolist())
        events = tmp_path / f"{seed}.jsonl"
        events.write_bytes(b"".join(line_of(record) for record in records if record.offset in judged))
        found = in_duckdb(events, contest_id=WILD)
        for area in moment.contest.areas:
            entries, figures = behind(moment, area)
            if not len(entries) or moment.contest.counting_level == (area.type,) or area.area_id not in found:
                continue  # the office's own statement, which is no sum
            summed = found[area.area_id]
            if not summed["unknown_units"]:
                compared += 1
                names = {f"votes.{name}": name for name in moment.contest.selection_ids} | {"total": "sheets"}
                names |= {name: name for name in summed if name in figures}
                assert {of: summed[name] for of, name in names.items()} == {of: figures[of] for of in names}, seed
    assert compared > 5
