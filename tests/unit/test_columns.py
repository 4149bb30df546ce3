"""The columns give the state of the reference implementation, sooner: at any moment, with the same refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.columns import columns
from aggregator.columns.columns import Reader
from aggregator.columns.roll import Roll
from aggregator.columns.sheets import Sheets, unpack
from aggregator.fold.fold import ContestState
from aggregator.live.partition import PartitionFold
from aggregator.replay import fold_to_moment as folding
from aggregator.replay.fold_to_moment import ContestFold
from results.moment import NOW, Moment
from results.vectors import Layout
from schemas.chain import judge
from schemas.contest import ContestDefined, Selection
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.identity import leaf, named, text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.types import CountStatus, ReportingUnitType
from tests.support.nights import Night, log, rough
from tests.support.strategies import (
    NIGHT,
    PRECINCT,
    Event,
    a_bulletin,
    a_contest,
    a_sheet,
    a_source,
    a_unit,
    after,
    corrected,
    counts,
    minute,
    moments,
    nights,
    raw,
    recorded,
    set_back,
    updates,
)
from tests.unit.test_join_parts import CONTEST, folded_in_parts, split_nights, whole

DEFINED = a_contest(counting_level=PRECINCT)


@contextmanager
def runs_from(number: int) -> Iterator[None]:
    """Folds runs of so many updates as columns, shorter ones plainly."""
    before, folding.RUN = folding.RUN, number
    try:
        yield
    finally:
        folding.RUN = before


def folded(records: Sequence[RawRecord], moment: Moment = NOW, batch: int = 10_000, run: int = 1) -> ContestFold:
    made = ContestFold(records[0].key.decode() if records[0].key else "", moment)
    with runs_from(run):
        for begin in range(0, len(records), batch):
            if not made.apply(records[begin : begin + batch]):
                break
    return made


def plainly(records: Sequence[RawRecord], moment: Moment = NOW) -> ContestFold:
    return folded(records, moment, run=10**9)


@given(st.data())
def test_the_state_at_any_moment_is_the_plain_one(data: st.DataObject) -> None:
    night: list[Recorded] = data.draw(nights())
    records = data.draw(set_back(night))
    moment = data.draw(moments(night))
    quick = folded(records, moment, data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3)))
    plain = plainly(records, moment)
    assert quick.ended == plain.ended
    assert quick.state.root() == plain.state.root()
    assert whole(quick.state) == whole(plain.state)


@given(split_nights(), st.data())
def test_so_it_is_in_parts(split: tuple[list[Recorded], list[RawRecord], list[int]], data: st.DataObject) -> None:
    night, records, cuts = split
    moment = data.draw(moments(night))
    with runs_from(1):
        quick, _ = folded_in_parts(records, cuts, moment)
    plain = plainly(records, moment)
    if quick.definition is not None:
        assert whole(quick.state) == whole(plain.state)


@pytest.mark.parametrize("events", [2_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_a_long_rough_night(events: int) -> None:
    entries = log(rough(Night(events=events, units=300, contests=1)))
    records = [raw(r) for r in recorded(entry.event for entry in entries)]
    half = recorded_of_raw(records[len(records) // 2]).update.stated_at
    for moment in (NOW, Moment(stated_at=half), Moment(offset=records[events * 3 // 4].offset, stated_at=half)):
        plain = whole(plainly(records, moment).state)
        for batch in (7, 250, 10_000):
            assert whole(folded(records, moment, batch).state) == plain


def test_an_ordinary_night_is_read_as_columns() -> None:
    records = [raw(r) for r in recorded(entry.event for entry in log(Night(events=4_000, units=1_000)))]
    definition = recorded_of_raw(records[0]).definition
    read = Reader(Roll()).read(records, definition)
    assert len(read) > 0.95 * len(records)
    state = folded(records).state
    assert isinstance(state.sheets, Sheets)
    assert len(state.sheets) > 0.95 * state.unit_count


def agree(records: Sequence[RawRecord], contest: ContestDefined = DEFINED) -> list[int]:
    """Reads them as columns, and holds each that was taken against its plain reading. Returns which were taken."""
    read = Reader(Roll()).read(records, contest)
    layout = Layout.of(contest)
    rows: list[int] = read.rows.tolist()
    vectors = read.contributions(layout, np.arange(len(rows)))
    leaves = read.leaves(np.arange(len(rows)))
    for entry, row in enumerate(rows):
        update = recorded_of_raw(records[row]).update
        assert read.texts[entry] == text_of(update)
        assert judge(update, text_of(update), contest, 0)[0]
        assert read.key(entry) == update.unit
        assert read.roll.groups[int(read.groups[entry])] == (update.unit.type, update.counting_areas)
        assert int(read.sequence[entry]) == update.sequence
        assert UUID(bytes=read.event_id[entry].tobytes()) == update.event_id
        assert leaves[entry].tobytes() == leaf(text_of(update))
        assert vectors[entry].tolist() == layout.contribution(update)
    return rows


def spoilt(record: RawRecord, at: int, by: bytes, length: int) -> RawRecord:
    value = record.value or b""
    at %= len(value) + 1
    return replace_value(record, value[:at] + by + value[at + length :])


def replace_value(record: RawRecord, value: bytes) -> RawRecord:
    return RawRecord(record.partition, record.offset, record.timestamp_ms, record.key, value, record.headers)


ORDINARY = [
    a_sheet(),
    after(a_sheet(), count_status=CountStatus.UNDER_REVIEW),
    a_sheet(reporting_unit=a_unit("000777", name="I.E. N° 7 Ñuñoa")),
    a_sheet(reporting_unit=a_unit("9", ReportingUnitType.POLLING_PLACE), reported_at=None),
    named(a_sheet().model_copy(update={"counts": None, "count_status": CountStatus.PENDING})),
]


def test_what_is_ordinary_is_taken() -> None:
    assert agree([raw(r) for r in recorded(ORDINARY)]) == list(range(len(ORDINARY)))


@given(
    st.sampled_from(ORDINARY),
    st.integers(0, 500),
    st.binary(max_size=12),
    st.integers(0, 12),
    st.sampled_from(ORDINARY),
)
def test_damaged_bytes_are_never_taken_for_anything_else(
    event: CountUpdate, at: int, by: bytes, length: int, neighbour: CountUpdate
) -> None:
    one, other = (raw(r) for r in recorded([event, neighbour]))
    damaged = spoilt(one, at, by, length)
    assert 1 in agree([damaged, other])  # and the next message is read as ever
    try:
        recorded_of_raw(damaged)
    except ContractError:
        assert 0 not in agree([damaged, other])


@given(st.lists(updates(), min_size=1, max_size=4))
def test_whatever_the_contract_allows_is_read_as_it_is_or_left(events: list[CountUpdate]) -> None:
    ours = [named(e.model_copy(update={"contest_id": CONTEST})) for e in events]
    agree([raw(r) for r in recorded(ours)])


NOTED = named(a_sheet().model_copy(update={"office_note": "a remark"}))
STRANGE = [
    NOTED,
    after(a_sheet(), **corrected(a_sheet())),
    a_sheet(reporting_unit=a_unit('00"1')),
    a_sheet(reporting_unit=a_unit(area_path=("pe",), id="000002")),
    a_sheet(reporting_unit=a_unit(area_path=("pe", "010000", "010101"))),
    a_sheet(is_test=True),
    a_sheet(counts=counts({"somebody": 1}, ballots_cast=1)),
    a_sheet(source=a_source(documents=())),
    a_sheet(reported_at=NIGHT - timedelta(days=2)),  # before election day
    a_sheet(observed_at=NIGHT - timedelta(minutes=6)),  # before it was stated
    a_sheet().model_copy(update={"event_id": UUID(int=7)}),
]


@pytest.mark.parametrize("event", STRANGE)
def test_what_is_not_ordinary_is_left(event: CountUpdate) -> None:
    (taken,) = ([raw(r) for r in recorded([event])],)
    allowed = [0] if event.reporting_unit.area_path == ("pe",) else []
    assert agree(taken) == allowed


def test_bytes_left_over_are_left() -> None:
    one, other = (raw(r) for r in recorded(ORDINARY[:2]))
    assert one.value is not None
    assert agree([replace_value(one, one.value + b"\0"), other]) == [1]
    assert agree([replace_value(one, one.value + (other.value or b"")), other]) == [1]


def test_a_message_whose_header_names_another_schema_is_left() -> None:
    (record,) = (raw(r) for r in recorded([a_sheet()]))
    for headers in ([*record.headers, ("schema_sha256", b"0")], [], [("schema_sha256", b"0"), *record.headers]):
        other = RawRecord(record.partition, record.offset, record.timestamp_ms, record.key, record.value, list(headers))
        assert agree([other]) == []


def test_a_unit_is_in_one_form_at_a_time() -> None:
    sheet = a_sheet()
    events: list[Event] = [DEFINED, sheet, a_sheet(reporting_unit=a_unit("000002")), after(sheet, **corrected(sheet))]
    state = folded([raw(r) for r in recorded(events)], batch=3).state
    assert isinstance(state.sheets, Sheets)
    assert (len(state.sheets), len(state.units), state.unit_count) == (1, 1, 2)
    before = state.root()
    assert state.unit(sheet.unit) is state.units[sheet.unit]
    assert unpacked(state) == 2
    assert state.root() == before


def unpacked(state: ContestState) -> int:
    return len(unpack(state).units)


def alike(events: Sequence[Event] | None = None, *, records: Sequence[RawRecord] | None = None) -> ContestState:
    """Fold a log as columns and with the reference implementation, in memory and as the live run does: both agree."""
    log = list(records) if records is not None else [raw(r) for r in recorded(events or ())]
    plain = plainly(log).state
    assert whole(folded(log).state) == whole(plain)
    live = PartitionFold(run=1)
    assert live.apply(log).digests.get(DEFINED.contest_id, plain.root()) == plain.root()
    for state in live.states.values():
        assert whole(state) == whole(plain)
    return plain


@pytest.mark.parametrize("name", [b"\x0c000001", b"\x10precinct"])
def test_a_unit_in_a_longer_spelling_is_the_same_unit(name: bytes) -> None:
    one, again = (raw(r) for r in recorded([DEFINED, a_sheet(), a_sheet()])[1:])
    assert again.value is not None
    longer = again.value.replace(name, bytes([name[0] | 0x80, 0]) + name[1:], 1)
    assert recorded_of_raw(replace_value(again, longer)) == recorded_of_raw(again)
    alike(records=[raw(recorded([DEFINED])[0]), one, replace_value(again, longer)])


def test_what_is_remembered_may_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_REMEMBERED", 2)
    sheets = [a_sheet(reporting_unit=a_unit(f"{n:06d}", name=f"n {n}" if n < 6 else None)) for n in range(12)]
    log = [raw(r) for r in recorded([DEFINED, *sheets])]
    assert whole(folded(log, batch=3).state) == whole(plainly(log).state)


@pytest.mark.parametrize("contest_id", ["€" * 90, "😀" * 200])
def test_an_id_may_be_long(contest_id: str) -> None:
    events: list[Event] = [a_contest(counting_level=PRECINCT, contest_id=contest_id), a_sheet(contest_id=contest_id)]
    log = [raw(r) for r in recorded(events)]
    assert whole(folded(log).state) == whole(plainly(log).state)


def test_totals_have_no_end() -> None:
    most = 2**53 - 1
    votes: dict[str, int | None] = {"peru-libre": most, "fuerza-popular": 0}
    sheets = [
        a_sheet(
            reporting_unit=a_unit(f"{n:06d}"), counts=counts(votes, ballots_cast=most, blank_votes=0, invalid_votes=0)
        )
        for n in range(1_030)
    ]
    assert alike([DEFINED, *sheets]).totals["pe"].vector[-2] == 1_030 * most > 2**63


def test_the_key_is_the_contests() -> None:
    contest = a_contest(counting_level=PRECINCT, contest_id="pe\ufffd")
    events: list[Event] = [
        contest,
        *(a_sheet(contest_id=contest.contest_id, reporting_unit=a_unit(f"{n:06d}")) for n in range(2)),
    ]
    log = [raw(r) for r in recorded(events)]
    log[1] = RawRecord(0, log[1].offset, log[1].timestamp_ms, b"pe\xff", log[1].value, log[1].headers)
    live = PartitionFold(run=1)
    assert len(live.apply(log).parked) == 2


def test_the_order_of_many_selections_is_that_of_the_messages() -> None:
    chosen = tuple(
        Selection(selection_id=f"s{n}", candidate="C", party="P", ballot_order=n + 1, external_id=None)
        for n in range(70)
    )
    votes: dict[str, int | None] = {s.selection_id: 1 for s in reversed(chosen)}
    sheet = a_sheet(counts=counts(votes, ballots_cast=70, blank_votes=0, invalid_votes=0))
    assert agree([raw(recorded([sheet])[0])], a_contest(counting_level=PRECINCT, selections=chosen)) == [0]


def test_a_late_bulletin_of_a_part_leaves_its_sheets_in_the_totals() -> None:
    bulletin = a_bulletin(reported_at=minute(10))
    late = after(bulletin, reported_at=minute(5))
    events: list[Event] = [DEFINED, bulletin, a_sheet(), late, a_sheet(reporting_unit=a_unit("000002"))]
    log = [raw(r) for r in recorded(events)]
    with runs_from(1):
        quick, joined = folded_in_parts(log, [3], NOW)
    assert joined == [True]
    assert whole(quick.state) == whole(plainly(log).state)
