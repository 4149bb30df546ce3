"""What an operator's correction says, and when it is still what the operator saw."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from ingest.errors import IngestError, Overtaken
from ingest.feeds.statement import Kept
from ingest.news.contest_memory import ContestMemory, remember
from ingest.news.proposal import Wish, confirmed, decided, propose, read
from schemas.count_update import CountUpdate, UnitKey, VoteTypeCounts
from schemas.identity import is_named_right, named
from schemas.types import CorrectionBasis, UpdateKind, VoteType
from tests.support.builders import STARTS, contest, revised, sheet
from tests.support.builders import bulletin as of_country

AT = STARTS + timedelta(days=1)
CONTEST = contest()
FIRST = sheet(1)
SECOND = sheet(1, {"a": 12, "b": 20}, after=FIRST, hours=14)


def wish(kind: UpdateKind = UpdateKind.RETRACTED, replaces: UUID | None = None) -> Wish:
    return Wish(
        unit=UnitKey("precinct", "000001"), kind=kind, reason="why", authority="ONPE", operator="Ana",
            replaces=replaces, at=AT
    )  # fmt: skip


def remembered(*events: CountUpdate) -> ContestMemory:
    memory = ContestMemory(CONTEST)
    assert all(remember(memory, event) for event in events)
    return memory


def test_an_undated_statement_is_replaced_for_its_own_time_too() -> None:
    event = propose(wish(), (FIRST, SECOND), CONTEST, None).event
    assert (event.reported_at, event.stated_at, event.correction and event.correction.basis) == (
        None,
        SECOND.stated_at,
        CorrectionBasis.OPERATOR,
    )
    assert is_named_right(event)


def test_a_dated_statement_is_replaced_for_its_own_time() -> None:
    said = of_country(5, 3, counted=1)
    wanted = wish().model_copy(update={"unit": said.unit})
    proposal = propose(wanted, (said,), CONTEST, None)
    assert (proposal.event.reported_at, proposal.event.stated_at) == (said.reported_at, said.stated_at)
    assert not proposal.is_counted
    assert "units of this type are not added up" in "\n".join(proposal.lines())


def test_what_is_not_the_state_is_replaced_without_changing_the_count() -> None:
    early, late = of_country(5, 3, counted=1, hours=13), of_country(4, 3, counted=1, hours=12)
    late = named(late.model_copy(update={"sequence": 2, "previous_event_id": early.event_id}))
    wanted = wish(replaces=late.event_id).model_copy(update={"unit": early.unit})
    proposal = propose(wanted, (early, late), CONTEST, None)
    assert (proposal.count, proposal.event.stated_at) == ((), late.stated_at)
    assert "the current count does not change" in "\n".join(proposal.lines())
    by_default = propose(wish().model_copy(update={"unit": early.unit}), (early, late), CONTEST, None).event
    assert by_default.correction
    assert (by_default.correction.replaces_event_id, by_default.previous_event_id) == (early.event_id, late.event_id)


def test_every_figure_is_shown_before_and_after() -> None:
    proposal = propose(wish(UpdateKind.CORRECTED), (FIRST, SECOND), CONTEST, FIRST)
    assert [(d.name, d.before, d.after) for d in proposal.stated] == [
        ("votes.a", "12", "10"),
        ("ballots_cast", "35", "33"),
    ]
    assert [(d.name, d.before, d.after) for d in proposal.count] == [
        ("a", "12", "10"),
        ("ballots_cast", "35", "33"),
        ("valid_votes", "32", "30"),
    ]
    lines = "\n".join(proposal.lines())
    assert "−2" in lines
    assert "the totals of these areas change: xx, 010000, 010100, 010101" in lines


def test_a_figure_left_out_is_shown_as_not_stated() -> None:
    assert FIRST.counts
    less = FIRST.model_copy(update={"counts": FIRST.counts.model_copy(update={"blank_votes": None})})
    proposal = propose(wish(UpdateKind.CORRECTED), (FIRST,), CONTEST, less)
    assert [(d.name, d.before, d.after) for d in proposal.stated] == [("blank_votes", "1", None)]
    assert "not stated" in "\n".join(proposal.lines())


def test_figures_that_contradict_each_other_are_said_before_they_are_published() -> None:
    assert FIRST.counts
    odd = FIRST.model_copy(update={"counts": FIRST.counts.model_copy(update={"ballots_cast": 34})})
    assert [f[:4] for f in propose(wish(UpdateKind.CORRECTED), (FIRST,), CONTEST, odd).findings] == ["F105"]
    unknown = FIRST.model_copy(update={"counts": FIRST.counts.model_copy(update={"votes": {"x": 1}})})
    with pytest.raises(IngestError, match="F301"):
        propose(wish(UpdateKind.CORRECTED), (FIRST,), CONTEST, unknown)


def test_what_is_retracted_is_not_retracted_again_but_can_be_stated_again() -> None:
    gone = propose(wish(), (FIRST,), CONTEST, None).event
    with pytest.raises(IngestError, match="already retracted"):
        propose(wish(), (FIRST, gone), CONTEST, None)
    again = propose(wish(UpdateKind.CORRECTED), (FIRST, gone), CONTEST, FIRST).event
    assert again.correction
    assert again.correction.replaces_event_id == gone.event_id
    assert remembered(FIRST, gone, again).units[FIRST.unit].said[-1].taken_back == ()


@pytest.mark.parametrize("field", ["reason", "authority", "operator"])
def test_nobody_corrects_without_a_reason_an_authority_and_a_name(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Wish.model_validate({**wish().__dict__, field: ""})


def test_the_document_gives_back_what_was_proposed() -> None:
    proposal = propose(wish(UpdateKind.CORRECTED), (FIRST, SECOND), CONTEST, FIRST)
    assert read(proposal.content(), "code") == proposal


def test_differences_are_a_table_the_largest_first_behind_those_that_are_no_numbers() -> None:
    assert FIRST.counts is not None
    counts = FIRST.counts.model_copy(update={"votes": {"a": 9, "b": 2000}, "blank_votes": None, "invalid_votes": 70})
    changed = FIRST.model_copy(update={"counts": counts, "source_status": "again"})
    stated = {f"votes.{name}": str(n) for name, n in FIRST.counts.votes.items()}
    assert stated == {"votes.a": "10", "votes.b": "20"}
    lines = list(propose(wish(UpdateKind.CORRECTED), (FIRST,), CONTEST, changed).lines())
    begin = lines.index("stated figures:") + 1
    names = [line.split()[0] for line in lines[begin : lines.index("contribution to the count:")]]
    assert names.index("votes.b") < names.index("votes.a")
    assert set(names[: names.index("votes.b")]) == {"source_status", "blank_votes"}
    added = [line.split()[0] for line in lines[lines.index("contribution to the count:") + 1 :]]
    assert added.index("b") < added.index("a")


def test_an_altered_document_is_refused() -> None:
    told = json.loads(propose(wish(UpdateKind.CORRECTED), (FIRST, SECOND), CONTEST, FIRST).content())
    told["event"]["counts"]["votes"]["a"] = 11
    with pytest.raises(IngestError, match="was altered"):
        read(json.dumps(told).encode(), "code")
    with pytest.raises(IngestError, match="not an operator's proposal"):
        read(b"contest_id,unit_type\n", "code")


def test_the_published_event_is_the_proposed_one_and_names_its_documents() -> None:
    proposal = propose(wish(), (FIRST,), CONTEST, None)
    documents = [Kept(f"operator/{n}.json", b"", str(n) * 64, AT) for n in range(2)]
    event = confirmed(proposal, *documents)
    assert event.event_id == proposal.event.event_id
    assert is_named_right(event)
    assert [d.sha256 for d in event.source.documents] == [d.sha256 for d in documents]


def test_what_was_seen_must_still_be_there() -> None:
    event = propose(wish(), (FIRST, SECOND), CONTEST, None).event
    memory = remembered(FIRST, SECOND)
    found = decided(event, CONTEST.event_id, memory)
    assert [e.event_id for e in found.events] == [event.event_id]
    assert found.units == remembered(FIRST, SECOND, event).units
    third = sheet(1, {"a": 13, "b": 20}, after=SECOND, hours=15)
    for other in (remembered(FIRST), remembered(FIRST, SECOND, third), remembered()):
        with pytest.raises(Overtaken, match="has changed since"):
            decided(event, CONTEST.event_id, other)
    memory.definition = revised(CONTEST, CONTEST.counting_level[0])
    with pytest.raises(Overtaken, match="has a new definition"):
        decided(event, CONTEST.event_id, memory)
    known = decided(event, CONTEST.event_id, remembered(FIRST, SECOND, event))
    assert (list(known.events), known.known) == ([], 1)


def test_figures_by_type_of_vote_and_what_stands_beside_them_are_shown_too() -> None:
    early = VoteTypeCounts(vote_type=VoteType.EARLY, name="early", votes={"a": 3, "b": None}, ballots_cast=4)
    assert SECOND.counts is not None
    counts = SECOND.counts.model_copy(update={"by_vote_type": (early,), "suppressed": ("undervotes",)})
    content = SECOND.model_copy(update={"counts": counts, "recount": 2, "signed_at": AT})
    proposal = propose(wish(UpdateKind.CORRECTED), (FIRST, SECOND), CONTEST, content)
    assert (proposal.event.recount, proposal.event.signed_at) == (2, AT)
    assert {d.name: d.after for d in proposal.stated} == {
        "signed_at": "2021-06-07T05:00:00.000Z",
        "recount": "2",
        "suppressed": "undervotes",
        "early.votes.a": "3",
        "early.ballots_cast": "4",
    }
    assert read(proposal.content(), "0" * 16) == proposal
