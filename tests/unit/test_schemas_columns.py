"""Statements decoded by columns are those decoded one by one with the models: of any bytes, in any batches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chain import definition_fault
from schemas.columns import decoder
from schemas.columns.canonical_texts import CanonicalTexts, event_ids, leaves
from schemas.columns.decode_general import RARE, statement_batch
from schemas.columns.decoder import Decoder
from schemas.columns.layout import REASONS, STATUSES, Layout, is_sound
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import is_update, string
from schemas.contest import ContestDefined, Selection
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.identity import canonical, leaf, named, statement, text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.rules import check
from schemas.types import COUNT_LIMIT, CountStatus, ReportingUnitType, ReviewReason, UpdateKind
from tests.support import naive, tomorrow
from tests.support.folded import folded_messages, whole
from tests.support.nights import Night, log, rough
from tests.support.strategies import (
    NIGHT,
    PRECINCT,
    a_contest,
    a_sheet,
    a_source,
    a_unit,
    after,
    corrected,
    counted,
    counts,
    nights,
    raw,
    recorded,
    set_back,
    updates,
)

DEFINED = a_contest(counting_level=(PRECINCT,))
LAYOUT = Layout.of(DEFINED)

Statement = dict[str, Any]
"""All that a batch says of one statement, with what its numbers stand for."""


@pytest.fixture(autouse=True)
def _by_columns_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few messages are decoded by columns too."""
    monkeypatch.setattr(decoder, "_FEW", 0)


def content(batch: StatementBatch) -> list[Statement]:
    """Every column, entry by entry."""
    arrays = {
        name: column for name in StatementBatch.__slots__ if isinstance(column := getattr(batch, name), np.ndarray)
    }
    return [
        {name: column[entry].tolist() for name, column in arrays.items() if name not in ("unit", "group")}
        | {
            "unit": batch.index.keys[int(batch.unit[entry])],
            "group": batch.index.groups[int(batch.group[entry])],
            "name": batch.names[entry],
            "words": batch.words[entry],
            "publication": batch.publications[entry],
            "places": batch.places[entry],
            "details": batch.details.get(entry),
            "findings": batch.findings.get(entry, ()),
        }
        for entry in range(len(batch))
    ]


Decoded = tuple[list[Statement], tuple[int, str] | None]


def one_by_one(records: Sequence[RawRecord], contest: ContestDefined | None) -> Decoded:
    """Statements by the models alone, up to the first that is unreadable, and that one with its reason."""
    layout, found, unreadable = Layout.of(contest) if contest is not None else Layout(()), list[Recorded](), None
    for row, record in enumerate(records):
        try:
            found.append(recorded_of_raw(record))
        except ContractError as error:
            unreadable = row, _without_address(str(error))
            break
    return content(statement_batch(found, contest, layout, UnitIndex())), unreadable


def _without_address(reason: str) -> str:
    """A reason of fastavro's may name an object in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", reason)


def decoded(made: Decoder, records: Sequence[RawRecord], contest: ContestDefined | None) -> Decoded:
    batch, unreadable = made.decode(records, contest)
    return content(batch), None if unreadable is None else (unreadable.row, _without_address(str(unreadable.error)))


def agree(records: Sequence[RawRecord], contest: ContestDefined = DEFINED) -> list[int]:
    """Decode messages both ways and compare. Returns which were read by columns."""
    batch, unreadable = Decoder(contest.contest_id, UnitIndex()).decode(records, contest)
    expected, stop = one_by_one(records, contest)
    assert content(batch) == expected
    assert (unreadable and (unreadable.row, _without_address(str(unreadable.error)))) == stop
    return [entry for entry in range(len(batch)) if entry not in batch.updates]


def with_value(record: RawRecord, value: bytes) -> RawRecord:
    return record._replace(value=value)


def value_of(event: CountUpdate) -> bytes:
    value = raw(recorded([event])[0]).value
    assert value is not None
    return value


ORDINARY = [
    a_sheet(),
    a_sheet(counts=counts({"peru-libre": COUNT_LIMIT - 1, "fuerza-popular": 0}, ballots_cast=COUNT_LIMIT - 1)),
    after(a_sheet(), count_status=CountStatus.UNDER_REVIEW, review_reason=ReviewReason.ILLEGIBLE),
    a_sheet(reporting_unit=a_unit("000777", name="I.E. N° 7 Ñuñoa")),
    a_sheet(reporting_unit=a_unit("9", ReportingUnitType.POLLING_PLACE), reported_at=None),
    named(a_sheet().model_copy(update={"counts": None, "count_status": CountStatus.PENDING})),
]
NEIGHBOUR = raw(recorded([a_sheet(), a_sheet(reporting_unit=a_unit("000555"))])[1])
"""Behind the first message of a log."""


# Nights


def in_batches(records: Sequence[RawRecord], sizes: Sequence[int]) -> Iterator[list[RawRecord]]:
    begin = number = 0
    while begin < len(records):
        yield list(records[begin : begin + sizes[number % len(sizes)]])
        begin, number = begin + sizes[number % len(sizes)], number + 1


@given(st.data())
def test_any_night_in_any_batches(data: st.DataObject) -> None:
    night: list[Recorded] = data.draw(nights())
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    made, contest = Decoder(DEFINED.contest_id, UnitIndex()), None
    runs: list[list[RawRecord]] = [[]]
    for record in data.draw(set_back(night)):
        if is_update(record):
            runs[-1].append(record)
            continue
        for run in in_batches(runs[-1], sizes):
            assert decoded(made, run, contest) == one_by_one(run, contest)
        event = recorded_of_raw(record).event
        if isinstance(event, ContestDefined) and definition_fault(event, text_of(event), contest) is None:
            contest = event
        runs.append([])
    for run in in_batches(runs[-1], sizes):
        assert decoded(made, run, contest) == one_by_one(run, contest)


@pytest.mark.parametrize("events", [2_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_a_long_rough_night(events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = log(rough(Night(events=events, units=300, contests=1)))
    records = [raw(r) for r in recorded(entry.event for entry in entries)]
    with monkeypatch.context() as patched:
        patched.setattr(decoder, "_FEW", 10**9)
        expected = whole(folded_messages(records, 1)[0])
    for batch in (7, 250, 10_000):
        assert whole(folded_messages(records, batch)[0]) == expected


def test_an_ordinary_night_is_read_by_columns() -> None:
    records = [raw(r) for r in recorded(entry.event for entry in log(Night(events=4_000, units=1_000)))]
    definition, sheets = recorded_of_raw(records[0]).definition, [r for r in records if is_update(r)]
    assert len(agree(sheets, definition)) > 0.95 * len(records)


# What is ordinary


def test_what_is_ordinary_is_read_by_columns() -> None:
    assert agree([raw(r) for r in recorded(ORDINARY)]) == list(range(len(ORDINARY)))


NOTED = named(a_sheet().model_copy(update={"office_note": "a remark"}))
NO_FIGURES = counts({"peru-libre": None, "fuerza-popular": None})
OTHER = [
    NOTED,
    after(a_sheet(), **corrected(a_sheet())),
    a_sheet(reporting_unit=a_unit('00"1', area_path=("pe", "010000", "010101"))),
    a_sheet(reporting_unit=a_unit(area_path=("pe", "010000", "010101"))),
    a_sheet(is_test=True),
    a_sheet(counts=counts({"somebody": 1}, ballots_cast=1)),
    a_sheet(counts=counts({}, ballots_cast=1), count_status=CountStatus.PENDING),
    a_sheet(counts=NO_FIGURES, count_status=CountStatus.PENDING),
    a_sheet(source=a_source(documents=())),
    a_sheet(reported_at=NIGHT - timedelta(days=2)),  # before election day
    a_sheet(observed_at=NIGHT - timedelta(minutes=6)),  # before it was stated
    a_sheet(counts=counts({"peru-libre": 9, "fuerza-popular": 1}, ballots_cast=11, blank_votes=0, invalid_votes=0)),
    a_sheet().model_copy(update={"event_id": UUID(int=7)}),
]


@pytest.mark.parametrize("event", OTHER)
def test_what_is_not_ordinary_is_decoded_one_by_one(event: CountUpdate) -> None:
    assert agree([raw(r) for r in recorded([event, a_sheet()])]) == [1]


def test_before_the_definition_all_are_decoded_one_by_one() -> None:
    records = [raw(r) for r in recorded(ORDINARY)]
    made = Decoder(DEFINED.contest_id, UnitIndex())
    assert decoded(made, records, None) == one_by_one(records, None)
    assert decoded(made, records, DEFINED) == one_by_one(records, DEFINED)


@given(st.lists(updates(), min_size=1, max_size=4))
def test_whatever_the_contract_allows(events: list[CountUpdate]) -> None:
    ours = [named(e.model_copy(update={"contest_id": DEFINED.contest_id})) for e in events]
    agree([raw(r) for r in recorded(ours)])


# Damaged and hostile messages


@given(
    st.sampled_from(ORDINARY),
    st.integers(0, 500),
    st.binary(max_size=12),
    st.integers(0, 12),
    st.sampled_from(ORDINARY),
)
def test_damaged_bytes_are_never_mistaken(
    event: CountUpdate, at: int, by: bytes, length: int, neighbour: CountUpdate
) -> None:
    one, other = (raw(r) for r in recorded([event, neighbour]))
    value = one.value or b""
    at %= len(value) + 1
    damaged = with_value(one, value[:at] + by + value[at + length :])
    agree([damaged, other])
    agree([other._replace(offset=1), damaged])
    agree([damaged])


@pytest.mark.parametrize(("event", "flipped"), [(ORDINARY[1], 0x01), (ORDINARY[2], 0xFF), (ORDINARY[3], 0x80)])
def test_every_byte_flipped(event: CountUpdate, flipped: int) -> None:
    one, value = raw(recorded([event])[0]), value_of(event)
    for at in range(len(value)):
        damaged = value[:at] + bytes([value[at] ^ flipped]) + value[at + 1 :]
        agree([with_value(one, damaged), NEIGHBOUR])


def test_every_truncation_and_what_is_left_over() -> None:
    one, value = raw(recorded([a_sheet()])[0]), value_of(a_sheet())
    for end in range(len(value)):
        assert agree([with_value(one, value[:end]), NEIGHBOUR]) == []
    for more in (b"\0", value, b"\x80"):
        assert agree([with_value(one, value + more), NEIGHBOUR]) == []
    for nothing in (None, b"", b"\0\0\0\0\3"):
        assert agree([one._replace(value=nothing), NEIGHBOUR]) == []


UNIT, EVENT_ID = string(b"000001"), string(str(a_sheet().event_id).encode())
PATH = b"".join(string(area.encode()) for area in ("pe", "010000", "010100", "010101"))
OTHERWISE: dict[str, tuple[bytes, bytes]] = {
    "a longer length": (UNIT, bytes([UNIT[0] | 0x80, 0]) + UNIT[1:]),
    "a much longer length": (UNIT, bytes([UNIT[0] | 0x80, *[0x80] * 8, 0]) + UNIT[1:]),
    "a length without end": (UNIT, bytes([UNIT[0] | 0x80, *[0x80] * 12, 0]) + UNIT[1:]),
    "a negative length": (UNIT, b"\x0b" + UNIT[1:]),
    "a type in a longer spelling": (string(b"precinct"), b"\x90\0precinct"),
    "areas in a block that names its size": (b"\x08" + PATH + b"\0", b"\x07" + b"\x3a" + PATH + b"\0"),
    "areas in two blocks": (b"\x08" + PATH + b"\0", b"\x04" + PATH[:10] + b"\x04" + PATH[10:] + b"\0"),
    "areas in another order": (PATH, PATH[3:10] + PATH[:3] + PATH[10:]),
    "more areas than there are": (b"\x08" + PATH, b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\1" + PATH),
    "votes in another order": (
        string(b"peru-libre") + b"\2\xc8\1" + string(b"fuerza-popular") + b"\2\xa0\1",
        string(b"fuerza-popular") + b"\2\xa0\1" + string(b"peru-libre") + b"\2\xc8\1",
    ),
    "a selection twice": (string(b"fuerza-popular") + b"\2\xa0\1", string(b"peru-libre") + b"\2\xa0\1"),
    "a vote in a longer spelling": (b"\2\xc8\1", b"\2\xc8\x81\0"),
    "a vote of more than 64 bits": (b"\2\xc8\1", b"\2" + b"\xff" * 9 + b"\x7f"),
    "a vote of far more than 64 bits": (b"\2\xc8\1", b"\2" + b"\xff" * 30 + b"\x7f"),
    "a negative vote": (b"\2\xc8\1", b"\2\xc7\1"),
    "half of a surrogate": (string(b"ONPE"), string(b"O\xed\xa0\x80")),
    "no UTF-8": (string(b"ONPE"), string(b"ON\xc3P")),
    "a NUL in a text": (string(b"ONPE"), string(b"O\0PE")),
    "a NUL in an id": (UNIT, string(b"00\x00001")),
    "a control character in an id": (UNIT, string(b"00\x07001")),
    "half of a surrogate in an id": (UNIT, string(b"000\xed\xbf\xbf")),
    "half of a surrogate in a place": (string(b"row 2"), string(b"ro\xed\xa0\x80")),
    "a hash in capital letters": (string(b"ab" * 32), string(b"AB" * 32)),
    "a hash with a line feed": (string(b"ab" * 32), string(b"ab" * 32 + b"\n")),
    "an id in capital letters": (EVENT_ID, string(str(a_sheet().event_id).upper().encode())),
    "an id without hyphens": (EVENT_ID, string(a_sheet().event_id.hex.encode())),
    "an id in braces": (EVENT_ID, string(f"{{{a_sheet().event_id}}}".encode())),
    "another contest": (string(DEFINED.contest_id.encode()), string(b"another")),
    "another type": (string(b"precinct"), string(b"prefinct")),
    "the type of an area": (string(b"precinct"), string(b"county")),
}  # fmt: skip
"""By what is otherwise: bytes of an ordinary sheet, and what stands in their place."""


@pytest.mark.parametrize(("usual", "other"), OTHERWISE.values(), ids=OTHERWISE.keys())
def test_the_same_written_otherwise(usual: bytes, other: bytes) -> None:
    one, value = raw(recorded([a_sheet()])[0]), value_of(a_sheet())
    assert usual in value
    changed = with_value(one, value.replace(usual, other))
    agree([changed, NEIGHBOUR])
    agree([one._replace(offset=1), changed, NEIGHBOUR])


@pytest.mark.parametrize("hidden", ["\x00", "\n", "\x1b", "\x7f", "\x9b", "\u202e", "\ufeff", "\u3164", "\U000e0041",
    "\u0378", "\ufdd0", "\U000e01f0"])  # fmt: skip
def test_an_id_with_an_invisible_character_is_refused_though_its_hash_is_right(
    hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = a_unit().model_copy(update={"id": f"00{hidden}01"})
    with monkeypatch.context() as unchecked:  # another's encoder
        unchecked.setattr("schemas.codec._check", lambda _: None)
        record = raw(recorded([named(a_sheet().model_copy(update={"reporting_unit": unit}))])[0])
    with pytest.raises(ContractError, match=f"an id must not have (the invisible character )?U.{ord(hidden):04X}"):
        recorded_of_raw(record)
    assert agree([record, NEIGHBOUR]) == []


@pytest.mark.parametrize("name", [UNIT, string(b"precinct")])
def test_a_unit_in_a_longer_spelling_is_the_same_unit(name: bytes) -> None:
    definition, one, again = (raw(r) for r in recorded([DEFINED, a_sheet(), after(a_sheet(), reported_at=None)]))
    longer = (again.value or b"").replace(name, bytes([name[0] | 0x80, 0]) + name[1:], 1)
    assert recorded_of_raw(with_value(again, longer)) == recorded_of_raw(again)
    state, _ = folded_messages([definition, one, with_value(again, longer)], 3)
    assert whole(state) == whole(folded_messages([definition, one, again], 3)[0])
    assert state.units.count() == 1


def test_headers_that_are_not_ours() -> None:
    (record,) = (raw(r) for r in recorded([a_sheet()]))
    sha = next(i for i, (name, _) in enumerate(record.headers) if name == "schema_sha256")
    wrong: list[list[tuple[str, bytes | None]]] = [
        [*record.headers, ("schema_sha256", b"0")],
        [*record.headers, ("unknown", b"0")],
        [*record.headers, ("", None)],
        [],
        [("schema_sha256", b"0"), *record.headers],
        list(reversed(record.headers)),
        record.headers[:sha] + record.headers[sha + 1 :],
        [*record.headers[:sha], ("schema_sha256", None), *record.headers[sha + 1 :]],
        [*record.headers[:sha], ("schema_sha256", b"0" * 64), *record.headers[sha + 1 :]],
        [*record.headers[:1], ("unknown", b"0"), *record.headers[2:]],
    ]
    for headers in wrong:
        assert 0 not in agree([record._replace(headers=headers), NEIGHBOUR])


@pytest.mark.parametrize("key", [None, b"", b"pe\xff", b"another", DEFINED.contest_id.encode() + b"\0"])
def test_the_key_is_the_contests(key: bytes | None) -> None:
    (record,) = (raw(r) for r in recorded([a_sheet()]))
    assert agree([record._replace(key=key), NEIGHBOUR]) == []


def test_a_key_that_is_no_utf8_is_not_the_contest_that_it_looks_like() -> None:
    contest = a_contest(counting_level=(PRECINCT,), contest_id="pe\ufffd")
    records = [
        raw(r)
        for r in recorded(a_sheet(contest_id=contest.contest_id, reporting_unit=a_unit(f"{n:06d}")) for n in range(2))
    ]
    assert agree(records, contest) == [0, 1]
    assert agree([records[0]._replace(key=b"pe\xff"), records[1]], contest) == []


@given(st.lists(st.tuples(st.sampled_from(ORDINARY + OTHER), st.booleans()), min_size=1, max_size=12))
def test_versions_of_the_schema_in_one_batch(events: list[tuple[CountUpdate, bool]]) -> None:
    records = []
    for (event, is_later), record in zip(events, (raw(r) for r in recorded(e for e, _ in events)), strict=True):
        if is_later:
            later = tomorrow.written(event)
            record = record._replace(value=later.value, headers=list(later.headers))
        records.append(record)
    with tomorrow.learnt():
        ordinary = [row for row, (event, is_later) in enumerate(events) if event in ORDINARY and not is_later]
        assert agree(records) == ordinary


def test_an_unreadable_message_among_ordinary_ones_ends_the_batch() -> None:
    records = [raw(r) for r in recorded(a_sheet(reporting_unit=a_unit(f"{n:06d}")) for n in range(20))]
    records[12] = with_value(records[12], b"\7")
    records[17] = with_value(records[17], b"\7")
    assert agree(records) == list(range(12))
    found, stop = one_by_one(records, DEFINED)
    assert (len(found), stop and stop[0]) == (12, 12)


# Bounds


def test_what_is_remembered_may_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_REMEMBERED", 2)
    monkeypatch.setattr("schemas.columns.canonical_texts._REMEMBERED", 2)
    sheets = [
        a_sheet(reporting_unit=a_unit(f"{n:06d}", name=f"n {n}" if n < 6 else None), reported_at=NIGHT + timedelta(n))
        for n in range(12)
    ]
    records, made = [raw(r) for r in recorded(sheets)], Decoder(DEFINED.contest_id, UnitIndex())
    for run in in_batches(records, [3]):
        assert decoded(made, run, DEFINED) == one_by_one(run, DEFINED)


@pytest.mark.parametrize("contest_id", ["€" * 90, "😀" * 200])
def test_an_id_may_be_long(contest_id: str) -> None:
    contest = a_contest(counting_level=(PRECINCT,), contest_id=contest_id)
    sheets = [a_sheet(contest_id=contest_id), a_sheet(contest_id=contest_id, reporting_unit=a_unit("x" * 200))]
    assert agree([raw(r) for r in recorded(sheets)], contest) == [0, 1]


def test_the_order_of_many_selections_is_that_of_the_messages() -> None:
    chosen = tuple(
        Selection(selection_id=f"s{n}", candidate="C", party="P", ballot_order=n + 1, external_id=None)
        for n in range(70)
    )
    votes: dict[str, int | None] = {s.selection_id: 1 for s in reversed(chosen)}
    sheet = a_sheet(counts=counts(votes, ballots_cast=70, blank_votes=0, invalid_votes=0))
    contest = a_contest(counting_level=(PRECINCT,), selections=chosen)
    assert agree([raw(recorded([sheet])[0])], contest) == [0]


def test_a_revision_with_more_selections_and_areas_is_followed() -> None:
    third = Selection(selection_id="third", candidate="C", party="C", ballot_order=3, external_id=None)
    wider = a_contest(counting_level=(PRECINCT,), selections=(*DEFINED.selections, third))
    votes: dict[str, int | None] = {"peru-libre": 1, "fuerza-popular": 2, "third": 3}
    sheet = a_sheet(counts=counts(votes, ballots_cast=6, blank_votes=0, invalid_votes=0))
    records = [raw(r) for r in recorded([sheet, a_sheet()])]
    made = Decoder(DEFINED.contest_id, UnitIndex())
    for contest in (DEFINED, wider, DEFINED):
        assert decoded(made, records, contest) == one_by_one(records, contest)


# The batch


@given(st.data())
def test_a_batch_cut_and_joined_is_the_same(data: st.DataObject) -> None:
    events = data.draw(st.lists(st.sampled_from(ORDINARY + OTHER), min_size=1, max_size=8))
    made = Decoder(DEFINED.contest_id, UnitIndex())
    batch, _ = made.decode([raw(r) for r in recorded(events)], DEFINED)
    cut = data.draw(st.integers(0, len(batch)))
    assert content(batch[:cut]) == content(batch)[:cut]
    assert content(batch[cut:]) == content(batch)[cut:]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), bool)
    assert content(batch[mask]) == [one for one, chosen in zip(content(batch), mask, strict=True) if chosen]
    assert content(StatementBatch.join([batch[mask], batch[~mask]])) == content(batch)


# Figures and rules

_figure = st.none() | st.integers(0, 6) | st.sampled_from([2**32, COUNT_LIMIT // 2 - 1])


@st.composite
def of_the_contest(draw: st.DrawFn, types: st.SearchStrategy[str] | None = None) -> CountUpdate:
    """Any update, about the selections of the contest, and reasons that have a place among the figures."""
    update = draw(updates())
    if types is not None:
        unit = update.reporting_unit.model_copy(update={"type": draw(types)})
        update = update.model_copy(update={"reporting_unit": unit})
    votes = st.fixed_dictionaries(dict.fromkeys(DEFINED.selection_ids, _figure))
    changes: dict[str, Any] = {"contest_id": DEFINED.contest_id, "is_test": False}
    changes["counts"] = draw(st.none() | counted(votes, _figure))
    if update.sub_units is not None:
        reasons = draw(st.dictionaries(st.sampled_from(REASONS), st.integers(0, 9)))
        changes["sub_units"] = update.sub_units.model_copy(update={"under_review_by_reason": reasons})
    return named(update.model_copy(update=changes))


@given(of_the_contest())
def test_a_contribution_is_what_a_naive_count_adds(update: CountUpdate) -> None:
    expected = naive.contribution(update, DEFINED)
    found = LAYOUT.named(LAYOUT.contribution(update))
    assert expected.keys() <= found.keys()
    assert found == dict.fromkeys(found, 0) | expected
    batch = statement_batch([Recorded(0, 1, NIGHT, update)], DEFINED, LAYOUT, UnitIndex())
    assert batch.contribution[0].tolist() == LAYOUT.contribution(update)


@given(of_the_contest(st.sampled_from([PRECINCT, ReportingUnitType.POLLING_PLACE])))
def test_a_sheet_is_sound_where_no_rule_of_its_figures_is_broken(update: CountUpdate) -> None:
    unit = update.reporting_unit.model_copy(update={"counted_with": None})
    counts = update.counts and update.counts.model_copy(update={"suppressed": None, "by_vote_type": None})
    update = update.model_copy(update={"sub_units": None, "reporting_unit": unit, "counts": counts})
    found = is_sound(
        np.array([STATUSES.index(update.count_status)]),
        np.array([update.counts is not None]),
        np.array([LAYOUT.stated(update)], np.int64),
        DEFINED.votes_allowed,
    )
    of_figures = {"F105", "F106", "F107", "F108", "F109", "F110"}
    broken = [finding.code for finding in check(update, DEFINED) if finding.code in of_figures]
    assert bool(found[0]) == (not broken), broken


_sheets = of_the_contest().map(
    lambda u: named(
        u.model_copy(
            update={
                "kind": UpdateKind.REPORTED,
                "correction": None,
                "sub_units": None,
                "published_percentages": None,
                "reporting_unit": u.reporting_unit.model_copy(update={"counted_with": None}),
                "counts": u.counts and u.counts.model_copy(update={"suppressed": None, "by_vote_type": None}),
                **dict.fromkeys(RARE),
            }
        )
    )
)


@given(st.lists(_sheets, min_size=1, max_size=3))
def test_canonical_texts_are_those_of_the_models(sheets: list[CountUpdate]) -> None:
    log = [Recorded(0, offset, NIGHT, update) for offset, update in enumerate(sheets)]
    batch = statement_batch(log, DEFINED, LAYOUT, UnitIndex())
    texts = CanonicalTexts(DEFINED).texts(
        [canonical(update.reporting_unit.area_path).decode() for update in sheets],
        [batch.index.texts[number] for number in batch.unit.tolist()],
        [canonical(update.source_status).decode() for update in sheets],
        [canonical(str(u.previous_event_id) if u.previous_event_id else None).decode() for u in sheets],
        status=batch.status,
        reason=batch.reason,
        stage=batch.stage,
        sequence=batch.sequence,
        reported=batch.reported,
        stated=batch.stated,
        has_counts=np.array([update.counts is not None for update in sheets]),
        figures=batch.figures,
    )
    assert texts == [statement(update) for update in sheets]
    assert [row.tobytes() for row in event_ids(texts)] == [update.event_id.bytes for update in sheets]
    assert [row.tobytes() for row in leaves(texts)] == [leaf(statement(update)) for update in sheets]
