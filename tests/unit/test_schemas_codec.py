"""Events to bytes and back: the identity on what the contract takes, a named fault for everything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import codec
from schemas.codec import SCHEMAS, decode, encode
from schemas.contest import Area, Selection
from schemas.count_update import Counts, CountUpdate, ReportingUnit, Source
from schemas.errors import ContractError
from schemas.identity import NIL, Event
from schemas.types import ReportingUnitType, from_milliseconds, rfc3339, to_milliseconds
from tests.support.strategies import (
    NIGHT,
    a_bulletin,
    a_contest,
    a_heartbeat,
    a_roll,
    a_sheet,
    a_unit,
    an_update,
    counts,
    events,
    fields_of,
    sub_units,
)

UPDATE = SCHEMAS[2]


def a_chain(length: int) -> tuple[Area, ...]:
    """Areas of which each contains the next."""
    kind = ReportingUnitType.COUNTRY
    return tuple(
        Area(area_id=f"a{n}", name="A", type=kind, parent_id=f"a{n - 1}" if n else None) for n in range(length)
    )


KNOWN = "1, 2, 3, 4, 5, 6, 7, 8, 9"
SHEET = a_sheet()
BULLETIN = a_bulletin()


def wire_of(value: bytes) -> Any:
    """What stands on the wire, before the models judge it."""
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), UPDATE.wire, None)


def value_of(wire: Any, schema: Any = UPDATE.wire) -> bytes:
    """A value with `wire` in it, whatever it says."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, wire)
    return b"\0\0\0\0\2" + body.getvalue()


def with_wire(path: str, content: Any, event: CountUpdate = BULLETIN) -> bytes:
    """The value of `event` with something else at `path`."""
    wire = wire_of(encode(event).value)
    *steps, last = path.split(".")
    place = wire
    for step in steps:
        place = place[step]
    assert last in place
    place[last] = content
    return value_of(wire)


# Round trip


@given(events())
def test_decoding_what_was_encoded_gives_the_same_event(event: Event) -> None:
    message = encode(event)
    again = decode(message.value, message.headers)
    assert again == event
    assert type(again) is type(event)
    assert encode(again) == message
    assert decode(message.value) == event, "without its headers too"


def test_a_decoded_time_is_in_utc() -> None:
    lima = timezone(timedelta(hours=-5))
    update = an_update(reported_at=datetime(2021, 6, 7, 19, 23, tzinfo=lima))
    again = decode(encode(update).value)
    assert isinstance(again, CountUpdate)
    assert again.reported_at == datetime(2021, 6, 8, 0, 23, tzinfo=UTC)
    assert again.reported_at is not None
    assert again.reported_at.tzinfo is UTC


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_and_instants_are_one_to_one(milliseconds: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds


# What goes to Kafka


def test_the_value_is_in_the_confluent_wire_format() -> None:
    for event, schema_id in ((a_contest(), 1), (SHEET, 2), (a_roll(), 3), (a_heartbeat(), 4)):
        assert encode(event).value[:5] == bytes([0, 0, 0, 0, schema_id])


def test_the_key_is_the_contest() -> None:
    for event in (a_contest(), SHEET, a_roll(), a_heartbeat()):
        assert encode(event).key == b"pe-2021-president-runoff"


@pytest.mark.parametrize(
    ("event", "ce_type", "subject", "time"),
    [
        (SHEET, b"escrutinio.CountUpdate", b"precinct/000001", b"2021-06-07T05:48:00.000Z"),
        (a_contest(), b"escrutinio.ContestDefined", b"contest/pe-2021-president-runoff", b"2021-06-06T05:00:00.000Z"),
        (a_roll(), b"escrutinio.UnitRoll", b"roll/1/1", b"2021-06-06T04:00:00.000Z"),
        (a_heartbeat(), b"escrutinio.FeedStatus", b"country/pe", b"2021-06-08T08:18:00.000Z"),
    ],
)
def test_the_headers_are_cloudevents_in_binary_mode(event: Event, ce_type: bytes, subject: bytes, time: bytes) -> None:
    message = encode(event)
    assert message.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_type", ce_type),
        ("content-type", b"application/avro"),
        ("schema_sha256", SCHEMAS[message.value[4]].sha256.encode()),
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", b"urn:escrutinio:contest:pe-2021-president-runoff"),
        ("ce_subject", subject),
        ("ce_time", time),
        *((("kind", b"REPORTED"), ("result_stage", b"PROVISIONAL"), ("is_test", b"false")) if event is SHEET else ()),
    ]


# What decode refuses


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(ContractError, match="2 bytes left over after a CountUpdate"):
        decode(encode(SHEET).value + b"\0\0")


@pytest.mark.parametrize("event", [BULLETIN, a_contest(), a_roll(), a_heartbeat()], ids=lambda e: type(e).__name__)
def test_every_truncation_is_refused(event: Event) -> None:
    value = encode(event).value
    for length in range(len(value)):
        fault = f"a value of {length} bytes is too short" if length < 5 else f"not a {type(event).__name__}: "
        with pytest.raises(ContractError, match=fault):
            decode(value[:length])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "a value of 0 bytes is too short to name a schema"),
        (b"", "a value of 0 bytes is too short to name a schema"),
        (b"\1" + encode(SHEET).value[1:], "first byte is 1, not 0: not the Confluent wire format"),
        (b'{"contest_id": 1}', "first byte is 123, not 0"),
        (b"\0\0\0\0\0" + encode(SHEET).value[5:], rf"schema id 0 is not in the manifest \(known: {KNOWN}\)"),
        (b"\0\0\0\0\x63" + encode(SHEET).value[5:], rf"schema id 99 is not in the manifest \(known: {KNOWN}\)"),
        (with_wire("counts.ballots_cast", -1), r"counts.ballots_cast: .*greater than or equal to 0 \(got '-1'\)"),
        (with_wire("counts.votes", {"peru-libre": -5}), r"counts.votes.peru-libre: .* \(got '-5'\)"),
        (with_wire("sub_units.under_review_by_reason", {"OTHER": -1}), "sub_units.under_review_by_reason.OTHER: "),
        (with_wire("sequence", 0), "sequence: "),
        (with_wire("sequence", 2), "previous_event_id is given from sequence 2 on, and only then"),
        (with_wire("kind", 1), "correction is given for CORRECTED and RETRACTED, and only then"),
        (with_wire("observed_at", 2**63 - 1), "observed_at.*out of range"),
        (with_wire("reported_at", -(2**63)), "out of range"),
        (with_wire("reported_at", 253_402_300_800_000), "out of range"),
        (with_wire("event_id", "not-a-uuid"), "event_id: .*UUID"),
        (with_wire("count_status", 8, SHEET), "not a CountUpdate: .*count_status"),
        (with_wire("reporting_unit.type", "galaxy"), r"reporting_unit.type: .* \(got 'galaxy'\)"),
        (with_wire("reporting_unit.counted_with", "a\u0378"), "an id must not have U\\+0378, which is no character"),
        (with_wire("reporting_unit.type", "other:\ufdd0"), "an id must not have U\\+FDD0, which is no character"),
        (with_wire("reporting_unit.type", "other:a  b"), "reporting_unit.type: the normal form of id "),
        (with_wire("reporting_unit.type", "other:a + b"), r"reporting_unit.type: .* nor other: and a name"),
        (with_wire("reporting_unit.type", "other:"), r"reporting_unit.type: .* nor other: and a name"),
        (with_wire("reporting_unit.id", ""), "reporting_unit.id: "),
        (with_wire("reporting_unit.id", " pe"), "reporting_unit.id: the normal form of id ' pe' is 'pe'"),
        (with_wire("reporting_unit.area_path", ["a\xa0b"]), "area_path.0: the normal form of id 'a.*b' is 'a b'"),
        (with_wire("reporting_unit.counted_with", "e\u0301"), "counted_with: the normal form of id "),
        (with_wire("counts.suppressed", ["ballots_cast"]), "ballots_cast is suppressed, and must be a"),
        (with_wire("counts.suppressed", ["votes.nobody"]), "votes.nobody is suppressed, and must be"),
        (with_wire("counts.suppressed", ["turnout"]), "turnout is suppressed, and must be"),
        (with_wire("replaced_by", ["000002"], SHEET), "replaced_by is given for RETRACTED only"),
        (with_wire("recount", 0, SHEET), "recount: "),
        (with_wire("contest_id", ""), "contest_id: "),
        (with_wire("published_percentages.turnout", "75,9"), "published_percentages.turnout: "),
    ],
)  # fmt: skip
def test_a_value_that_breaks_the_contract_is_refused_by_name(value: bytes | None, fault: str) -> None:
    with pytest.raises(ContractError, match=fault):
        decode(value)


def test_a_header_that_names_another_schema_is_refused() -> None:
    message = encode(SHEET)
    with pytest.raises(ContractError, match=rf"header names schema .*, id 2 is {UPDATE.sha256[:16]}"):
        decode(message.value, [("schema_sha256", SCHEMAS[1].sha256.encode())])


@given(st.binary(max_size=40))
def test_noise_is_refused_as_a_fault_of_the_contract(noise: bytes) -> None:
    for value in (noise, *(bytes([0, 0, 0, 0, i]) + noise for i in SCHEMAS)):
        with pytest.raises(ContractError):
            decode(value)


# What the models and encode refuse


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: an_update(observed_at=NIGHT.replace(tzinfo=None)), "observed_at\n.*timezone"),
        (lambda: an_update(reported_at=NIGHT.replace(microsecond=1)), "reported_at\n.*finer than a millisecond"),
        (lambda: an_update(observed_at=NIGHT.replace(year=9999)), "observed_at\n.*outside the years 2 to 9998"),
        (lambda: an_update(reported_at="2021-06-07T05:48:00Z"), "reported_at\n"),
        (lambda: an_update(observed_at=1_623_044_880), "observed_at\n"),
        (lambda: a_contest(effective_at=NIGHT.replace(tzinfo=None)), "effective_at\n.*timezone"),
        (lambda: a_heartbeat(observed_at=NIGHT.replace(microsecond=999)), "observed_at\n.*finer than a millisecond"),
        (lambda: an_update(sequence=1.0), "sequence\n"),
        (lambda: an_update(sequence=True), "sequence\n"),
        (lambda: an_update(sequence="1"), "sequence\n"),
        (lambda: an_update(sequence=0), "sequence\n"),
        (lambda: an_update(event_id="6f1c43a2-97d0-5e0b-8c1e-2b6f0c9d3a51"), "event_id\n"),
        (lambda: an_update(kind="REPORTED"), "kind\n"),
        (lambda: an_update(is_test=0), "is_test\n"),
        (lambda: an_update(contest_id=2021), "contest_id\n"),
        (lambda: an_update(guess=1), "guess\n.*not permitted"),
        (lambda: a_unit(type="galaxy"), "type\n.*'galaxy' is none of ballot-batch, .*, nor other: and a name"),
        (lambda: a_unit(type="other:a/b"), "type\n"),
        (lambda: a_unit(" 1"), "id\n.*the normal form of id ' 1' is '1'"),
        (lambda: a_unit("A  1"), "the normal form of id 'A  1' is 'A 1'"),
        (lambda: a_roll(part=2), "part 2 of 1"),
        (lambda: a_roll(revision=2), "previous_event_id is given from the second part on"),
        (lambda: a_roll(units=a_roll().units * 10_001), "at most 20000 items"),
        (lambda: a_contest(counting_level=()), "a counting level names at least one type, and each once"),
        (lambda: a_contest(later_counting_levels=(("precinct", "precinct"),)), "and each once"),
        (lambda: a_contest(votes_allowed=0), "votes_allowed\n"),
        (lambda: Selection.model_validate(fields_of(a_contest().selections[0]) | {"list_id": "a b"}), "list_id\n"),
        (
            lambda: a_contest(
                selections=tuple(s.model_copy(update={"list_id": "nobody"}) for s in a_contest().selections)
            ),
            "selections below a list that is no selection: peru-libre, fuerza-popular",
        ),
        (lambda: ReportingUnit.model_validate(fields_of(SHEET.reporting_unit) | {"area_path": []}), "area_path\n"),
        (lambda: Counts.model_validate({"votes": {}}), "ballots_cast\n.*required"),
        (lambda: sub_units(total=2**40), "total\n.*less than 1099511627776"),
        (lambda: counts({"a": 2**39, "b": 2**39}, ballots_cast=1), "sum of the votes is not below 1099511627776"),
        (lambda: an_update(sequence=2**53, previous_event_id=NIL), "sequence\n.*less than 9007199254740992"),
        (lambda: an_update(observed_at=datetime(9998, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5)))), "years 2"),
        (lambda: a_unit(area_path=tuple("abcdefghijklmnopq")), "at most 16 items"),
        (lambda: Source.model_validate(fields_of(SHEET.source) | {"parts": 2**53}), "parts\n"),
        (lambda: a_contest(revision=2**53, previous_event_id=NIL), "revision\n"),
        (lambda: a_contest(areas=a_chain(17)), "area a16 is within more than 15 others"),
        (lambda: a_contest(areas=a_chain(17)[::-1]), "area a16 is within more than 15 others"),
        (lambda: a_contest(areas=a_chain(20_000)), "is within more than 15 others"),
        (lambda: a_contest(areas=a_chain(16) * 2_000), "area_id given twice: a0, a1, a10, a11, a12"),
        (lambda: a_contest(election_date="7 June"), "isoformat"),
        (lambda: a_contest(time_zone="Lima"), "'Lima' is not an IANA time zone"),
        (
            lambda: Selection.model_validate(fields_of(a_contest().selections[0]) | {"ballot_order": 2**31}),
            "ballot_order\n.*less than 2147483648",
        ),
        (lambda: a_contest(areas=a_contest().areas[1:]), "exactly one area has no parent"),
        (lambda: a_contest(areas=(*a_contest().areas, a_contest().areas[4])), "area_id given twice: 010102"),
        (lambda: a_contest(selections=a_contest().selections * 2),
            "selection_id given twice: fuerza-popular, peru-libre"),
        (lambda: a_contest(revision=2), "previous_event_id is given from revision 2 on"),
    ],
)  # fmt: skip
def test_a_model_refuses_what_is_not_of_its_type(make: Callable[[], object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        make()


def test_a_model_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SHEET.sequence = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("sequence", None),
        ("sequence", "1"),
        ("sequence", 2**63),
        ("contest_id", None),
        ("count_status", "GUESSED"),
        ("source", None),
        ("counts", SHEET.counts.model_copy(update={"ballots_cast": "200"}) if SHEET.counts else None),
        ("counts", SHEET.counts.model_copy(update={"votes": {"peru-libre": 0.5}}) if SHEET.counts else None),
        ("observed_at", "2021-06-07"),
        ("reporting_unit", a_contest()),
        ("sequence", 2**63 - 1),
        ("sequence", 0),
        ("observed_at", datetime(9999, 1, 1, tzinfo=UTC)),
        ("counts", SHEET.counts.model_copy(update={"ballots_cast": 2**40}) if SHEET.counts else None),
        ("source_status", "a\0b"),
    ],
)
def test_an_event_that_does_not_fit_the_schema_is_not_written(field: str, content: object) -> None:
    event = SHEET.model_copy(update={field: content})
    with pytest.raises(ContractError, match=rf"CountUpdate {SHEET.event_id} does not fit count_update.v1.avsc: "):
        encode(event)


@pytest.mark.parametrize("change", [{"guess": 1}, {"counts": ...}], ids=["a field too many", "a field too few"])
def test_fields_are_written_strictly(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # Not stated has to be said: a field left out must not become null by itself.
    wire = {k: v for k, v in (UPDATE.to_wire(SHEET) | change).items() if v is not ...}
    monkeypatch.setitem(codec.WRITTEN, "CountUpdate", replace(UPDATE, to_wire=lambda _: wire))
    with pytest.raises(ContractError, match=r"does not fit count_update\.v1\.avsc: .*(guess|counts)"):
        encode(SHEET)


@pytest.mark.parametrize(("field", "content"), [("is_test", None), ("is_test", "no"), ("sequence", 1.5)])
def test_an_event_is_not_written_as_something_else(field: str, content: object) -> None:
    with pytest.raises(ContractError, match=field):
        encode(SHEET.model_copy(update={field: content}))


@pytest.mark.parametrize("field", ["kind", "count_status", "result_stage"])
def test_a_symbol_that_stands_for_those_of_later_versions_is_never_written(field: str) -> None:
    with pytest.raises(ContractError, match=rf"{field}: 'UNKNOWN' is none of "):
        encode(SHEET.model_copy(update={field: getattr(SHEET, field).__class__("UNKNOWN")}))


def test_an_event_that_lost_a_field_is_not_written() -> None:
    lacking = CountUpdate.model_construct(**{k: v for k, v in SHEET.__dict__.items() if k != "is_test"})
    with pytest.raises(ContractError, match="is_test"):
        encode(lacking)


# Instants in words


def test_an_instant_is_written_in_one_way() -> None:
    assert rfc3339(datetime(2021, 6, 7, 19, 23, tzinfo=timezone(timedelta(hours=-5)))) == "2021-06-08T00:23:00.000Z"
    assert rfc3339(datetime(2021, 6, 8, 0, 23, 0, 7_000, tzinfo=UTC)) == "2021-06-08T00:23:00.007Z"
