"""Build an operator's correction: its event, what it changes, and the document that two people sign by name. Pure.

Place in the flow: beside the feeds. What the office states becomes news in `changes`; what an operator decides becomes
exactly one event here, CORRECTED or RETRACTED with basis OPERATOR, if the log still is what the operator saw.

A `Proposal` is a document in the archive: the event in full, the names, and the figures before and after. The code that
confirms it is the beginning of its SHA-256, so nothing in it can change between the two steps. The event's `source`
names that document, the confirmation, and the table of figures if one was given.

The event is stated for the time of the one it replaces, and stands in its place for questions about that time; without
an official time it is valid from when it was proposed. A retraction repeats the figures it retracts and adds nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field, ValidationError

from ingest.errors import IngestError, Overtaken
from ingest.feeds.statement import Kept, Statement
from ingest.news.changes import Changes
from ingest.news.contest_memory import ContestMemory, extended
from ingest.news.figures import adds, figures
from ingest.news.new_events import NewEvents
from ingest.news.roll_file import off_roll
from schemas.contest import ContestDefined
from schemas.count_update import Correction, CountUpdate, Document, Source, UnitKey, VoteTypeCounts
from schemas.faults import first_fault
from schemas.identity import NIL, is_named_right, named
from schemas.rules import Finding, check
from schemas.types import CorrectionBasis, Frozen, Id, Instant, Label, Text, UpdateKind, rfc3339

CODE_LENGTH = 16
"""Hexadecimal digits of a confirmation code: the beginning of the proposal's SHA-256."""
_STATED = (
    "count_status", "source_status", "review_reason", "result_stage", "office_note", "signed_at", "registered_at",
    "recount", "rules_version",
)  # fmt: skip
_GROUPS = {"counts": "", "sub_units": "sub_units.", "published_percentages": "published."}
"""Groups of figures in an event, and the beginning of their names in a proposal."""


class Wish(Frozen):
    """What the operator asks for, without the figures."""

    unit: UnitKey
    kind: UpdateKind
    reason: Text = Field(min_length=1)
    authority: Label
    operator: Label
    replaces: UUID | None = None
    replaced_by: tuple[Id, ...] | None = None
    """Of a retraction: the units that take the place of this one."""
    at: Instant


class Difference(Frozen):
    """A figure, as text; None where it is not stated."""

    name: Text
    before: Text | None
    after: Text | None


class Proposal(Frozen):
    """The proposal as a document. Its `event` does not name the proposal and the confirmation yet: see `confirmed`."""

    format: Text = "escrutinio.operator-proposal.1"
    proposed_by: Label
    proposed_at: Instant
    definition_event_id: UUID
    stated: tuple[Difference, ...]
    """Every figure in which the event differs from the one that it replaces."""
    count: tuple[Difference, ...]
    """Every figure in which the unit's contribution to the count changes; empty when its state stays another one."""
    areas: tuple[Id, ...]
    """The areas to which the unit contributes, outermost first."""
    is_counted: bool
    """Whether units of its type are added up; if not, only the statement beside the totals of its areas changes."""
    findings: tuple[Text, ...]
    event: CountUpdate

    def content(self) -> bytes:
        """Return the bytes of the document."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1, default=str)
        return text.encode() + b"\n"

    def lines(self) -> Iterator[str]:
        """Yield the proposal for people, line by line."""
        event, correction = self.event, self.event.correction
        assert correction is not None
        yield f"{event.kind} of {event.unit}, stated for {rfc3339(event.stated_at)}, basis OPERATOR"
        yield f"  replaces event {correction.replaces_event_id}"
        yield f"  follows  event {event.previous_event_id} (sequence {event.sequence - 1})"
        yield f"  reason: {correction.reason}"
        if event.replaced_by is not None:
            yield f"  replaced by {', '.join(event.replaced_by)}"
        yield f"  on the word of {correction.authority}; proposed by {self.proposed_by} at {rfc3339(self.proposed_at)}"
        yield from _table("stated figures", self.stated)
        if not self.count:
            yield "the current count does not change"
        else:
            yield from _table("contribution to the count", self.count)
            where = ", ".join(self.areas)
            if self.is_counted:
                yield f"the totals of these areas change: {where}"
            else:
                yield f"units of this type are not added up; the statement beside these totals changes: {where}"
        for finding in self.findings:
            yield f"published with a finding: {finding}"


class Confirmation(Frozen):
    """The confirmation of a proposal, as a document. The event's source names both documents."""

    format: Text = "escrutinio.operator-confirmation.1"
    proposal_sha256: Text
    event_id: UUID
    confirmed_by: Label
    confirmed_at: Instant

    def content(self) -> bytes:
        """Return the bytes of the document."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1).encode() + b"\n"


def read(content: bytes, code: str) -> Proposal:
    """Read a proposal from its document. Raises IngestError when it is not one, or its event was altered."""
    try:
        proposal = Proposal.model_validate_json(content)
    except ValidationError as error:
        raise IngestError(f"the document {code}… is not an operator's proposal: {first_fault(error)}") from error
    if not is_named_right(proposal.event):
        raise IngestError(f"the proposal {code}… was altered: its event's id does not match its content")
    return proposal


def propose(
    wish: Wish, history: Sequence[CountUpdate], contest: ContestDefined, content: Statement | CountUpdate | None
) -> Proposal:
    """Build the proposal for a wish.

    Args:
        history: The unit's accepted events, in the order of the log.
        content: The figures of a correction; None for a retraction.

    Raises:
        IngestError: There is nothing to correct, nothing would change, or the event would break a rule.
    """
    unit = wish.unit
    if not history:
        raise IngestError(f"the log has no statement of {unit} in {contest.contest_id}: there is nothing to correct")
    head, state = history[-1], state_of(history)
    replaced = state if wish.replaces is None else next((e for e in history if e.event_id == wish.replaces), None)
    if replaced is None:
        raise IngestError(f"event {wish.replaces} is none of the {len(history)} of {unit} on the log")
    if wish.kind is UpdateKind.RETRACTED and replaced.kind is UpdateKind.RETRACTED:
        raise IngestError(f"{unit} is already retracted, by event {replaced.event_id}; `correct` states figures again")
    event = _event(wish, replaced, head, contest, replaced if content is None else content)
    found = check(event, contest)
    if fatal := next((finding for finding in found if finding.rejects), None):
        raise IngestError(f"{unit} cannot be published with these figures: {fatal}")
    stated = _differences(_figures(replaced), _figures(event))
    if not stated:
        raise IngestError(
            f"these are the figures that event {replaced.event_id} of {unit} states: nothing would change"
        )
    return Proposal(
        proposed_by=wish.operator,
        proposed_at=wish.at,
        definition_event_id=contest.event_id,
        stated=stated,
        count=_differences(_adding(state, contest), _adding(state_of((*history, event)), contest)),
        areas=contest.areas_of(event.reporting_unit),
        is_counted=event.reporting_unit.type in contest.counting_level,
        findings=tuple(map(str, found)),
        event=event,
    )


def state_of(history: Sequence[CountUpdate]) -> CountUpdate:
    """Return the unit's state: the event of the latest official time, of those the one with the highest sequence."""
    return max(history, key=lambda event: (event.stated_at, event.sequence))


def _event(
    wish: Wish, replaced: CountUpdate, head: CountUpdate, contest: ContestDefined, content: Statement | CountUpdate
) -> CountUpdate:
    documents: tuple[Document, ...] = ()
    if isinstance(content, Statement):
        documents, path = content.documents, content.unit.area_path
        if content.reported_at not in (None, replaced.reported_at):
            raise IngestError(
                f"the table states figures for {rfc3339(content.reported_at)}, but what they replace was stated for "
                f"{rfc3339(replaced.stated_at)}; leave reported_at out, or name the event with --replaces"
            )
        if path not in ((), replaced.reporting_unit.area_path):
            raise IngestError(f"the table puts {wish.unit} into {'/'.join(path)}: a correction does not move a unit")
    try:
        event = CountUpdate(
            event_id=NIL,
            contest_id=contest.contest_id,
            reporting_unit=replaced.reporting_unit,
            sequence=head.sequence + 1,
            previous_event_id=head.event_id,
            kind=wish.kind,
            correction=Correction(
                reason=wish.reason,
                basis=CorrectionBasis.OPERATOR,
                authority=wish.authority,
                replaces_event_id=replaced.event_id,
            ),
            reported_at=replaced.reported_at,
            stated_at=replaced.stated_at,
            observed_at=wish.at,
            **{name: getattr(content, name) for name in (*_STATED, *_GROUPS)},
            source=Source(name="operator", snapshot_id="proposal", part=1, parts=1, documents=documents),
            is_test=contest.is_test,
            replaced_by=wish.replaced_by,
        )
    except ValidationError as error:
        raise IngestError(f"{wish.unit} cannot be published with these figures: {first_fault(error)}") from error
    return named(event)


def confirmed(proposal: Proposal, document: Kept, confirmation: Kept) -> CountUpdate:
    """Return the event with the documents behind it, as it is published. Its id stays: it does not cover the source."""
    event = proposal.event
    behind = (
        Document(name=document.name, sha256=document.sha256, place="event"),
        Document(name=confirmation.name, sha256=confirmation.sha256, place="confirmed_by"),
    )
    source = Source(
        name="operator",
        snapshot_id=f"operator/{document.sha256[:CODE_LENGTH]}",
        part=1,
        parts=1,
        documents=(*behind, *event.source.documents),
    )
    return event.model_copy(update={"source": source})


def decided(event: CountUpdate, definition: UUID, memory: ContestMemory) -> Changes:
    """Return the event as a change, or no change when the log has it. Raises Overtaken when the log has changed."""
    unit, contest = memory.units.get(event.unit), memory.definition
    if unit is not None and any(said.event_id == event.event_id for said in unit.said):
        return Changes(statements=1, known=1)
    at = (unit.sequence, unit.event_id) if unit is not None else (0, None)
    if at != (event.sequence - 1, event.previous_event_id):
        raise Overtaken(
            f"{event.unit} has changed since this was proposed: its last event is {at[1]} (sequence {at[0]}), the "
            f"operator saw {event.previous_event_id} (sequence {event.sequence - 1}). The proposal does not count and "
            "will not be sent again; check the office's latest statement, and propose again"
        )
    if event.kind is not UpdateKind.RETRACTED and (off := off_roll(memory, event.reporting_unit)) is not None:
        raise IngestError(f"{event.unit} cannot be published: {off}; a retraction can")
    if contest.event_id != definition:
        raise Overtaken(
            f"{contest.contest_id} has a new definition since this was proposed; check it, and propose again"
        )
    found: list[tuple[CountUpdate, Finding]] = [(event, finding) for finding in check(event, contest)]
    return Changes(
        events=NewEvents([event]),
        findings=found,
        units={event.unit: extended(unit, event, one_vote=contest.one_vote)},
        statements=1,
    )


def _figures(event: CountUpdate) -> dict[str, str | None]:
    if event.kind is UpdateKind.RETRACTED:
        return {}
    stated: dict[str, Any] = {name: getattr(event, name) for name in _STATED}
    for group, prefix in _GROUPS.items():
        for name, value in getattr(event, group) or ():
            if isinstance(value, Mapping):
                stated |= {f"{prefix}{name}.{key}": one for key, one in value.items()}
            elif name == "by_vote_type":
                stated |= _by_vote_type(value or ())
            else:
                stated[prefix + name] = value
    return {name: _text(value) for name, value in stated.items()}


def _by_vote_type(parts: Sequence[VoteTypeCounts]) -> Iterator[tuple[str, int | None]]:
    """Yield the figures of each type of votes, by a name as `early.votes.lee`."""
    for part in parts:
        for name, value in part:
            if isinstance(value, Mapping):
                yield from ((f"{part.name}.{name}.{key}", one) for key, one in value.items())
            elif name not in ("vote_type", "name"):
                yield f"{part.name}.{name}", value


def _text(value: object) -> str | None:
    if value is None or isinstance(value, datetime):
        return None if value is None else rfc3339(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _adding(event: CountUpdate, contest: ContestDefined) -> dict[str, str | None]:
    if event.kind is UpdateKind.RETRACTED:
        return {}
    added = adds(
        figures(event.reporting_unit, event, one_vote=contest.one_vote),
        contest.adding(event.reporting_unit.type),
    )
    return {name: None if value is None else str(value) for name, value in added.items()}


def _differences(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> tuple[Difference, ...]:
    return tuple(
        Difference(name=name, before=before.get(name), after=after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def _table(title: str, rows: Sequence[Difference]) -> Iterator[str]:
    """Yield differences as a table, the largest first; those that are no numbers stand before them."""
    yield f"{title}:"
    rows = sorted(rows, key=_size, reverse=True)
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        change = ""
        if row.before and row.after and row.before.isdecimal() and row.after.isdecimal():
            change = f"  {int(row.after) - int(row.before):+,}".replace("-", "−")
        yield f"  {row.name:{width}}  {_shown(row.before):>14} → {_shown(row.after):>14}{change}"


def _size(row: Difference) -> float:
    """Return how large a difference is. What is not a number of both is as large as can be: it must be seen."""
    both = [value for value in (row.before, row.after) if value is not None and value.isdecimal()]
    return abs(int(both[1]) - int(both[0])) if len(both) == 2 else math.inf


def _shown(value: str | None) -> str:
    if value is None:
        return "not stated"
    return f"{int(value):,}" if value.isdecimal() else value
