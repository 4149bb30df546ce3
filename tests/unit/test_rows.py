"""A history row holds the whole update: what is written to the table is read back as the same event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from aggregator.fold.fold import ContestState, Step, evolve
from aggregator.live.partition import PartitionFold
from aggregator.tables.rows import UPDATE, parked_row, update_row
from results.rows import RowError, recorded_of
from schemas.codec import encode
from schemas.count_update import CountUpdate
from schemas.identity import is_named_right
from schemas.log_record import RawRecord, Recorded
from tests.support.strategies import a_bulletin, a_contest, a_sheet, after, corrected, minute, nights, recorded, updates


def through_the_table(step: Step) -> dict[str, Any]:
    """The row as the database gives it back: what is jsonb has been JSON."""
    row = dict(zip(UPDATE, update_row(step), strict=True))
    return {n: json.loads(json.dumps(v)) if UPDATE[n] == "jsonb" else v for n, v in row.items()}


def step_of(update: CountUpdate) -> Step:
    return Step(Recorded(partition=3, offset=4_711, recorded_at=minute(1), event=update), accepted=True)


@given(updates())
def test_an_update_is_read_back_as_it_was_written(update: CountUpdate) -> None:
    step = step_of(update)
    again = recorded_of(through_the_table(step))
    assert again == step.recorded
    assert is_named_right(again.event)


@given(nights())
def test_a_night_folded_from_its_rows_is_the_night(log: list[Recorded]) -> None:
    live, again = ContestState(), ContestState()
    for r in log:
        step = evolve(live, r)
        if isinstance(r.event, CountUpdate):
            row = through_the_table(step)
            assert (row["accepted"], row["change"]) == (step.accepted, step.change)
            r = recorded_of(row)
        evolve(again, r)
    assert again.root() == live.root()
    assert again.totals == live.totals


def test_a_row_has_what_people_ask_for() -> None:
    first = a_sheet()
    state = ContestState()
    log = recorded(
        [a_contest(), first, after(first, reported_at=minute(9), office_note="typed in anew", **corrected(first))]
    )
    row = [through_the_table(step) for step in [evolve(state, r) for r in log][1:]][-1]
    assert (row["partition"], row["log_offset"], row["recorded_at"]) == (0, log[2].offset, log[2].recorded_at)
    assert (row["unit_type"], row["unit_id"], row["unit_name"]) == ("precinct", "000001", None)
    assert row["area_path"] == ["pe", "010000", "010100", "010101"]
    assert (row["sequence"], row["previous_event_id"], row["kind"]) == (2, first.event_id, "CORRECTED")
    assert row["correction"]["replaces_event_id"] == str(first.event_id)
    assert (row["reported_at"], row["stated_at"]) == (minute(9), minute(9))
    assert (row["count_status"], row["review_reason"], row["result_stage"]) == ("COUNTED", None, "PROVISIONAL")
    assert row["office_note"] == "typed in anew"
    assert row["counts"]["votes"] == {"peru-libre": 100, "fuerza-popular": 80}
    assert row["counts"]["valid_votes"] is None  # not stated is not zero, in the table too
    assert (row["accepted"], row["change"]) == (True, {})


def test_a_statement_without_a_time_is_filed_under_the_time_it_was_fetched() -> None:
    row = through_the_table(step_of(a_sheet(reported_at=None, observed_at=minute(4))))
    assert (row["reported_at"], row["stated_at"]) == (None, minute(4))


@pytest.mark.parametrize(
    ("column", "content"), [("count_status", "GUESSED"), ("counts", {"votes": {}}), ("sequence", 0)]
)
def test_a_row_that_is_not_an_update_is_refused(column: str, content: object) -> None:
    row = through_the_table(step_of(a_bulletin()))
    with pytest.raises(RowError, match="the history row of offset 4711 is not an update"):
        recorded_of(row | {column: content})


def test_a_message_with_null_headers_stops_its_contest_and_is_parked_whole() -> None:
    headers: list[tuple[str, bytes | None]] = [("schema_sha256", None), ("n\0ne", None), ("some", b"\0")]
    raw = RawRecord(0, 7, 1_623_000_000_000, b"k\0y", encode(a_sheet()).value, headers)
    fold = PartitionFold()
    (parked,) = fold.apply([raw]).parked
    assert "header names schema None" in parked.reason
    *_, contest_id, key, value, kept, _ = parked_row(parked)
    assert (contest_id, key, value) == ("k␀y", raw.key, raw.value)
    assert kept == [["schema_sha256", None], ["n␀ne", None], ["some", "00"]]
    assert list(fold.blocked) == ["k␀y"]
