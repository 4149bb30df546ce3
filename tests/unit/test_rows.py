"""Rows as PostgreSQL receives them: each field in its binary form, and what it says read back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.messages import fold_messages
from aggregator.live.partition import PartitionFold
from aggregator.tables import binary
from aggregator.tables import rows as table_rows
from aggregator.tables.binary_rows import BinaryRows
from aggregator.tables.rows import parked_row
from results.rows import RowError, recorded_of
from schemas.codec import encode
from schemas.columns.decoder import Decoder
from schemas.columns.layout import NONE
from schemas.count_update import CountUpdate
from schemas.log_record import RawRecord, Recorded
from schemas.types import from_milliseconds
from tests.support.strategies import a_bulletin, a_contest, a_sheet, after, corrected, minute, nights, raw, recorded

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def fields(row: bytes) -> list[bytes | None]:
    """The fields of a row of the binary COPY format."""
    (count,) = struct.unpack_from(">h", row)
    found, at = list[bytes | None](), 2
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, at)
        found.append(None if length < 0 else row[at + 4 : at + 4 + length])
        at += 4 + max(length, 0)
    assert at == len(row)
    return found


def array(raw_array: bytes) -> list[Any]:
    dimensions, has_nulls, kind, count, lower = struct.unpack_from(">iiiii", raw_array)
    assert (dimensions, lower) == (1, 1)
    found, at = list[Any](), 20
    for _ in range(count):
        (length,) = struct.unpack_from(">i", raw_array, at)
        content = None if length < 0 else raw_array[at + 4 : at + 4 + length]
        found.append(content if content is None or kind == 25 else struct.unpack(">q", content)[0])
        at += 4 + max(length, 0)
    assert at == len(raw_array)
    assert bool(has_nulls) == (None in found)
    return found


READ: dict[str, Any] = {
    "int8": lambda value: struct.unpack(">q", value)[0],
    "int4": lambda value: struct.unpack(">i", value)[0],
    "timestamptz": lambda value: EPOCH + timedelta(microseconds=struct.unpack(">q", value)[0]),
    "uuid": lambda value: UUID(bytes=value),
    "bytea": bytes,
    "text": bytes.decode,
    "bool": lambda value: value != b"\0",
    "json": orjson.loads,
    "int8[]": array,
    "text[]": lambda value: [text.decode() for text in array(value)],
}


def read(columns: dict[str, str], row: bytes) -> dict[str, Any]:
    """A row by name, as the database would read it."""
    pairs = zip(columns.items(), fields(row), strict=True)
    return {name: None if value is None else READ[kind](value) for (name, kind), value in pairs}


def history(folded: Folded, contest_id: str) -> list[dict[str, Any]]:
    columns = table_rows.HISTORY | table_rows.RESOLVED
    rows = table_rows.Histories().rows(contest_id, folded, table_rows.resolved, len(columns))
    return [read(columns, row) for row in rows]


def steps(records: Sequence[RawRecord], size: int) -> list[Folded]:
    state, found = ContestState(), list[Folded | Defined]()
    made = Decoder((records[0].key or b"").decode(), state.index)
    for begin in range(0, len(records), size):
        assert fold_messages(state, made, records[begin : begin + size], found.append, in_blocks=True) is None
    return [step for step in found if isinstance(step, Folded)]


@given(nights(), st.integers(1, 30))
def test_a_row_says_what_the_update_states_and_what_it_did(log: list[Recorded], size: int) -> None:
    by_offset = {r.offset: r for r in log}
    for step in steps([raw(r) for r in log], size):
        index = step.batch.index
        for entry, row in enumerate(history(step, "pe-2021-president-runoff")):
            recorded = by_offset[row["log_offset"]]
            update = recorded.update
            unit, source = update.reporting_unit, update.source
            assert row["recorded_at"] == recorded.recorded_at
            assert (row["event_id"], row["previous_event_id"]) == (update.event_id, update.previous_event_id)
            assert (row["unit_type"], row["unit_id"], row["unit_name"]) == (unit.type, unit.id, unit.name)
            own = (unit.id,) if log[0].definition.is_area(unit) else ()
            assert row["areas"] == [*unit.area_path, *own] == list(index.groups[int(step.batch.group[entry])][1])
            for name in (
                "contest_id",
                "sequence",
                "reported_at",
                "observed_at",
                "stated_at",
                "source_status",
                "is_test",
            ):
                assert row[name] == getattr(update, name), name
            for name in ("kind", "count_status", "review_reason", "result_stage"):
                assert row[name] == getattr(update, name), name
            assert (row["name"], row["snapshot_id"], row["part"], row["parts"]) == (
                source.name, source.snapshot_id, source.part, source.parts,
            )  # fmt: skip
            assert row["documents"] == [{"name": d.name, "uri": d.uri, "sha256": d.sha256} for d in source.documents]
            assert row["places"] == [d.place for d in source.documents]
            figures = step.batch.figures[entry].tolist()
            assert row["figures"] == [None if figure == NONE else figure for figure in figures]
            change = step.change[entry].tolist()
            assert row["change"] == ([by or None for by in change] if any(change) else None)
            assert (row["accepted"], row["is_current"], row["is_moved"]) == (
                bool(step.accepted[entry]), bool(step.is_current[entry]), bool(step.is_moved[entry]),
            )  # fmt: skip
            details = row["details"] or {}
            assert details.get("office_note") == update.office_note
            correction = update.correction.model_dump(mode="json") if update.correction is not None else None
            assert details.get("correction") == correction


def row_of(*updates: CountUpdate) -> dict[str, Any]:
    """The row of the last of them."""
    found = steps([raw(r) for r in recorded([a_contest(), *updates])], 1)
    return history(found[-1], updates[-1].contest_id)[-1]


def test_a_row_has_what_people_ask_for() -> None:
    first = a_sheet()
    row = row_of(first, after(first, reported_at=minute(9), office_note="typed in anew", **corrected(first)))
    assert (row["log_offset"], row["unit_type"], row["unit_id"], row["unit_name"]) == (9, "precinct", "000001", None)
    assert row["areas"] == ["pe", "010000", "010100", "010101"]
    assert (row["sequence"], row["previous_event_id"], row["kind"]) == (2, first.event_id, "CORRECTED")
    assert row["details"]["correction"]["replaces_event_id"] == str(first.event_id)
    assert (row["reported_at"], row["stated_at"]) == (minute(9), minute(9))
    assert (row["count_status"], row["review_reason"], row["result_stage"]) == ("COUNTED", None, "PROVISIONAL")
    assert row["details"]["office_note"] == "typed in anew"
    assert row["figures"][53::4] == [100, 80]
    assert (
        set(row["figures"][29:53]) == set(row["figures"][54::4]) == set(row["figures"][56::4]) == {None}
    )  # a statement counts no units
    assert row["figures"][3] is None  # valid votes: not stated is not zero, in the table too
    assert (row["accepted"], row["change"]) == (True, None)


def test_a_statement_without_a_time_is_filed_under_the_time_it_was_fetched() -> None:
    row = row_of(a_sheet(reported_at=None, observed_at=minute(4)))
    assert (row["reported_at"], row["stated_at"]) == (None, minute(4))


@pytest.mark.parametrize(
    ("column", "content"), [("count_status", "GUESSED"), ("counts", {"votes": {}}), ("sequence", 0)]
)
def test_a_row_that_is_not_an_update_is_refused(column: str, content: object) -> None:
    update = a_bulletin()
    row = update.model_dump() | {"partition": 3, "log_offset": 4_711, "recorded_at": minute(1), "details": None}
    row |= {f"unit_{name}": getattr(update.reporting_unit, name) for name in ("id", "type", "name")}
    row["area_path"] = list(update.reporting_unit.area_path)
    assert recorded_of(row).event == update
    with pytest.raises(RowError, match="the history row of offset 4711 is not an update"):
        recorded_of(row | {column: content})


_numbers = st.integers(-(2**63), 2**63 - 1)


@given(
    st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(st.none() | _numbers, min_size=size, max_size=size), min_size=1)
    )
)
def test_arrays_are_read_back_as_they_were_written(lists: list[list[int | None]]) -> None:
    values = np.array([[value or 0 for value in row] for row in lists], np.int64)
    is_null = np.array([[value is None for value in row] for row in lists], bool)
    for empty_is_null in (False, True):
        encoded = binary.rows_of([binary.of_arrays(values, is_null, empty_is_null=empty_is_null)])
        rows = [binary.field_count(1) + row for row in encoded]
        found = [None if value is None else array(value) for row in rows for value in fields(row)]
        assert found == [None if empty_is_null and set(row) == {None} else row for row in lists]
        for nothing, beyond in ((NONE, 7), (-(2**63), -2)):
            kept = BinaryRows(rows).array(len(lists[0]) + 1, nothing, beyond).tolist()
            for row, read in zip(lists, kept, strict=True):
                is_null_array = empty_is_null and set(row) == {None}
                held = [beyond if is_null_array else nothing if value is None else value for value in row]
                assert read == [*held, beyond]


_lines = st.tuples(_numbers, st.none() | st.integers(0, 4_000_000_000_000), st.binary(min_size=16, max_size=16))


@given(st.lists(_lines, min_size=1))
def test_columns_are_read_back_as_they_were_written(lines: list[tuple[int, int | None, bytes]]) -> None:
    nothing = -1
    numbers = np.array([number for number, _, _ in lines], np.int64)
    times = np.array([nothing if at is None else at for _, at, _ in lines], np.int64)
    ids = np.frombuffer(b"".join(of for _, _, of in lines), np.uint8).reshape(-1, 16)
    parts = [
        binary.of_kind(numbers, ">i8"),
        binary.of_times(times, nothing),
        binary.of_bytes(ids),
        binary.of_kind(numbers & 0xFFFF, ">i4"),
    ]
    rows = [binary.field_count(4) + row for row in binary.rows_of(parts)]
    columns = {"number": "int8", "at": "timestamptz", "id": "uuid", "small": "int4"}
    assert [list(read(columns, row).values()) for row in rows] == [
        [number, None if at is None else from_milliseconds(at), UUID(bytes=of), number & 0xFFFF]
        for number, at, of in lines
    ]
    assert binary.numbers(numbers) == binary.few_numbers(numbers.tolist())[4:]


def test_a_message_with_null_headers_stops_its_contest_and_is_parked_whole() -> None:
    headers: list[tuple[str, bytes | None]] = [("schema_sha256", None), ("n\0ne", None), ("some", b"\0")]
    raw = RawRecord(0, 7, 1_623_000_000_000, b"k\0y", encode(a_sheet()).value, headers)
    fold = PartitionFold()
    (parked,) = fold.apply([raw]).parked
    assert "header names schema None" in parked.reason
    *_, contest_id, key, value, kept, _ = parked_row(parked)
    assert (contest_id, key, value) == ("\x1ak␀y", raw.key, raw.value)
    assert kept == [["schema_sha256", None], ["n␀ne", None], ["some", "00"]]
    assert list(fold.blocked) == ["\x1ak␀y"]
