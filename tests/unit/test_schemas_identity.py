"""Names of events: the same statement has the same id, another statement another."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.codec import SCHEMAS, encode
from schemas.contest import Area, ContestDefined, Selection
from schemas.count_update import FIGURES, Code, Counts, CountUpdate, PublishedPercentages, VoteTypeCounts
from schemas.feed_status import FeedStatus
from schemas.identity import (
    NAMESPACE,
    Event,
    canonical,
    is_named_right,
    leaf,
    name_text,
    named,
    statement,
    text_of,
)
from schemas.types import CountStatus, ResultStage, ReviewReason, UpdateKind, VoteType
from schemas.unit_roll import RollUnit, UnitRoll
from tests.support import as_documented
from tests.support.as_documented import rfc8785
from tests.support.strategies import (
    COUNTRY,
    NIGHT,
    PRECINCT,
    a_bulletin,
    a_contest,
    a_roll,
    a_sheet,
    a_source,
    a_unit,
    after,
    an_update,
    corrected,
    counts,
    events,
    fields_of,
    forged,
    sub_units,
    updates,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "identity.json").read_text())
MODELS: dict[str, type[Event]] = {m.__name__: m for m in (CountUpdate, ContestDefined, FeedStatus, UnitRoll)}


# The vectors


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["what"])
def test_the_published_vectors_hold(vector: dict[str, Any]) -> None:
    event = MODELS[vector["record"]].model_validate(vector["event"], strict=False)
    text = text_of(event)
    assert text.decode() == vector["text"]
    assert str(name_text(text)) == vector["event_id"] == str(event.event_id)
    assert leaf(text).hex() == vector["leaf"]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["what"])
def test_the_vectors_need_nothing_of_ours(vector: dict[str, Any]) -> None:
    assert str(uuid5(UUID(VECTORS["namespace"]), vector["text"])) == vector["event_id"]
    assert hashlib.sha256(vector["text"].encode()).hexdigest() == vector["leaf"]
    assert rfc8785(json.loads(vector["text"])) == vector["text"]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["what"])
def test_the_vectors_are_as_documented(vector: dict[str, Any]) -> None:
    message = encode(MODELS[vector["record"]].model_validate(vector["event"], strict=False))
    schema = SCHEMAS[message.value[4]].avro
    assert as_documented.text_of(as_documented.read(message.value, schema), schema) == vector["text"]


@given(events())
def test_any_text_is_as_documented(event: Event) -> None:
    message = encode(event)
    schema = SCHEMAS[message.value[4]].avro
    assert as_documented.text_of(as_documented.read(message.value, schema), schema) == text_of(event).decode()


def test_the_namespace_never_changes() -> None:
    assert str(NAMESPACE) == VECTORS["namespace"] == "6f1c43a2-97d0-5e0b-8c1e-2b6f0c9d3a51"


# The text

_ascii = st.text(st.characters(codec="ascii"), max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ascii, inner, max_size=3),
    max_leaves=12,
)


@given(_json)
def test_canonical_text_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical(value).decode() == rfc8785(value)


@given(events())
def test_an_id_is_the_uuid_of_the_canonical_text(event: Event) -> None:
    text = text_of(event)
    assert event.event_id == uuid5(NAMESPACE, text.decode())
    assert is_named_right(event)
    assert leaf(text) == hashlib.sha256(text).digest()


@pytest.mark.parametrize("key", ["\ufb01", "peru libre", "", "\x7f"])
def test_a_key_outside_printable_ascii_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=r"pattern"):
        counts({key: 1})


# The same statement


@pytest.mark.parametrize(
    "provenance",
    [
        {"observed_at": NIGHT + timedelta(days=9)},
        {"source": a_source(name="a mirror", snapshot_id="x", part=3, parts=4, documents=())},
        {"published_percentages": PublishedPercentages(valid_votes_share={}, sub_units_processed=None,
            sub_units_counted=None, turnout="1")},
        {"source": a_source(authority="JEE", channel="courier", is_complete=True)},
        {"reporting_unit": a_unit(name="as another file writes it")},
        {"reporting_unit": a_unit().model_copy(update={"office_id": " 000001", "codes": (Code(registry="INEI",
            value="1"),)})},
        {"event_id": UUID(int=1)},
    ],
    ids=lambda p: next(iter(p)),
)  # fmt: skip
def test_a_statement_read_elsewhere_has_the_same_id(provenance: dict[str, Any]) -> None:
    update = a_sheet()
    assert named(update.model_copy(update=provenance)).event_id == update.event_id


@given(updates(), st.integers(0, 10_000))
def test_any_statement_read_elsewhere_has_the_same_id(update: CountUpdate, minutes: int) -> None:
    elsewhere = {"observed_at": NIGHT + timedelta(minutes=minutes), "source": a_source(), "published_percentages": None}
    assert named(CountUpdate(**(fields_of(update) | elsewhere))).event_id == update.event_id


def test_the_order_in_which_selections_are_given_does_not_matter() -> None:
    votes = {"a": 1, "b": 2}
    assert an_update(counts=counts({**votes})) != an_update(counts=counts({"a": 2, "b": 1}))
    again = an_update(counts=counts(dict(reversed(votes.items()))))
    assert an_update(counts=counts({**votes})).event_id == again.event_id


# Another statement

FULL = a_bulletin(reported_at=NIGHT)
assert FULL.counts is not None
assert FULL.sub_units is not None
PART = VoteTypeCounts(vote_type=VoteType.EARLY, name="early", votes={"peru-libre": 1})


def with_part(**changes: Any) -> Counts:
    """The bulletin's figures, with a part by vote type."""
    assert FULL.counts is not None
    return FULL.counts.model_copy(update={"by_vote_type": (PART.model_copy(update=changes),)})


CHANGES: dict[str, Any] = {
    "contest": {"contest_id": "another"},
    "unit's id": {"reporting_unit": a_unit("pf", FULL.reporting_unit.type, ())},
    "unit's type": {"reporting_unit": a_unit("pe", PRECINCT, ())},
    "unit's path": {"reporting_unit": a_unit("pe", FULL.reporting_unit.type, ("x",))},
    "sequence and previous": {"sequence": 2, "previous_event_id": UUID(int=5)},
    "kind": corrected(FULL),
    "reported_at": dict.fromkeys(("reported_at", "stated_at"), NIGHT + timedelta(milliseconds=1)),
    "reported_at not stated": {"reported_at": None},
    "published at another time": {"reported_at": None, "stated_at": NIGHT + timedelta(milliseconds=2)},
    "status": {"count_status": CountStatus.PENDING},
    "source's status": {"source_status": "x"},
    "a note": {"office_note": "x"},
    "an empty note": {"office_note": ""},
    "signed_at": {"signed_at": NIGHT},
    "registered_at": {"registered_at": NIGHT},
    "a recount": {"recount": 1},
    "the office's rules": {"rules_version": "2"},
    "replaced by": corrected(FULL) | {"kind": UpdateKind.RETRACTED, "replaced_by": ("x",)},
    "replaced by nobody": corrected(FULL) | {"kind": UpdateKind.RETRACTED, "replaced_by": ()},
    "retracted": corrected(FULL) | {"kind": UpdateKind.RETRACTED},
    "counted with another": {"reporting_unit": FULL.reporting_unit.model_copy(update={"counted_with": "x"})},
    "held back": {"counts": FULL.counts.model_copy(update={"suppressed": ("undervotes",)})},
    "nothing held back": {"counts": FULL.counts.model_copy(update={"suppressed": ()})},
    "a vote type": {"counts": with_part()},
    "a part's name": {"counts": with_part(name="x")},
    "another vote type": {"counts": with_part(vote_type=VoteType.OTHER)},
    "a part's figure": {"counts": with_part(overvotes=0)},
    "no vote type": {"counts": FULL.counts.model_copy(update={"by_vote_type": ()})},
    "review reason": {"review_reason": ReviewReason.OTHER},
    "stage": {"result_stage": ResultStage.PROCLAIMED},
    "no counts": {"counts": None},
    "no sub-units": {"sub_units": None},
    "test": {"is_test": True},
    "votes": {"counts": FULL.counts.model_copy(update={"votes": {"peru-libre": 1_000, "fuerza-popular": 801}})},
    "votes not stated": {
        "counts": FULL.counts.model_copy(update={"votes": {"peru-libre": 1_000, "fuerza-popular": None}})},
    "a selection fewer": {"counts": FULL.counts.model_copy(update={"votes": {"peru-libre": 1_000}})},
    "reasons": {"sub_units": FULL.sub_units.model_copy(update={"under_review_by_reason": {"OTHER": 3}})},
} | {
    f"{part}.{name}": {part: getattr(FULL, part).model_copy(update={name: 7_654})}
    for part in ("counts", "sub_units")
    for name in type(getattr(FULL, part)).model_fields
    if name not in ("votes", "suppressed", "by_vote_type", "under_review_by_reason")
}  # fmt: skip


def test_any_change_of_what_is_stated_gives_another_id() -> None:
    ids = {what: named(CountUpdate(**(fields_of(FULL) | change))).event_id for what, change in CHANGES.items()}
    assert FULL.event_id not in ids.values()
    assert len(set(ids.values())) == len(ids)


def test_not_stated_is_not_zero_in_a_name() -> None:
    for name in FIGURES:
        zero, unstated = (an_update(counts=counts({}, **{name: n})) for n in (0, None))
        assert zero.event_id != unstated.event_id
    assert an_update(sub_units=sub_units(total=0)).event_id != an_update(sub_units=sub_units()).event_id


def test_an_id_commits_to_the_units_whole_history() -> None:
    one, other = a_sheet(first=1), a_sheet(first=2)
    assert after(one, counts=None).event_id != after(other, counts=None).event_id


def test_where_no_time_is_stated_that_of_publication_is_part_of_the_name() -> None:
    one, other = (an_update(reported_at=None, stated_at=NIGHT + timedelta(minutes=m)) for m in (0, 1))
    assert one.event_id != other.event_id


def test_a_copy_with_another_time_has_the_text_of_a_new_statement() -> None:
    update = a_sheet()
    time = dict.fromkeys(("reported_at", "stated_at"), NIGHT + timedelta(hours=1))
    assert statement(update.model_copy(update=time)) == statement(CountUpdate(**(fields_of(update) | time)))


def test_a_forged_id_is_seen() -> None:
    assert is_named_right(a_sheet())
    assert not is_named_right(forged(a_sheet()))
    assert not is_named_right(a_sheet().model_copy(update={"sequence": 2}))


@pytest.mark.parametrize(
    "change",
    [
        {"effective_at": datetime(2021, 6, 7, tzinfo=UTC)},
        {"counting_level": (PRECINCT,)},
        {"counting_level": (COUNTRY, PRECINCT)},
        {"later_counting_levels": ()},
        {"sheet_types": (PRECINCT,)},
        {"partial_sheets_count": True},
        {"votes_allowed": 2},
        {"number_elected": 2},
        {"count_starts_at": datetime(2021, 6, 7, tzinfo=UTC)},
        {"confirmed_units": ("precinct/1",)},
        {"leader_from_percent": "1"},
        {"rules_version": "1"},
        {"areas": (*a_contest().areas[:-1], Area(**(fields_of(a_contest().areas[-1]) | {"ends_at": NIGHT})))},
        {"areas": (*a_contest().areas[:-1], Area(**(fields_of(a_contest().areas[-1]) | {"expected_units": 0})))},
        {"areas": a_contest().areas[:-1]},
        {"selections": (*a_contest().selections,
            Selection(selection_id="c", candidate="", party="", ballot_order=3, external_id=None))},
        {"expected_units": 5},
        {"registered_voters": None},
        {"name": "other"},
        {"time_zone": "UTC"},
        {"is_test": True},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_any_change_of_a_definition_gives_another_id(change: dict[str, Any]) -> None:
    assert a_contest(**change).event_id != a_contest().event_id


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 2, "previous_event_id": UUID(int=5)},
        {"parts": 2},
        {"document_sha256": "00" * 32},
        {"units": a_roll().units[::-1]},
        {"units": a_roll().units[:1]},
        {"units": (RollUnit(**(fields_of(a_roll().units[0]) | {"registered_voters": None})), a_roll().units[1])},
        {"units": (RollUnit(**(fields_of(a_roll().units[0]) | {"area_id": "010102"})), a_roll().units[1])},
    ],
)
def test_any_change_of_a_roll_gives_another_id(change: dict[str, Any]) -> None:
    assert a_roll(**change).event_id != a_roll().event_id
