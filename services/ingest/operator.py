"""Correct or retract a bulletin as an operator, in two steps: `propose`, then `confirm`. Runs `pipeline` for one event.

Place in the flow: beside `watch`, also while it runs, with the same archive. Proposing reads the log and archives the
proposal; confirming archives the confirmation and publishes the one event. A crash before the publication leaves
documents that no event names; confirming again publishes the event. After it, confirming again finds the event.

Kafka has no "append if the log still ends here". The log is read to its end immediately before the event is sent. An
event of the unit that still comes between has the same sequence as ours and comes first: readers then accept that one
and report ours (F401). `Overtaken` is raised, and nothing of ours counts.
"""

from datetime import datetime
from pathlib import Path
from uuid import UUID

from ingest.errors import IngestError
from ingest.feeds import registry
from ingest.feeds.statement import Capture, Kept, Rejection, Statement
from ingest.news import proposal as proposals
from ingest.news.changes import Changes
from ingest.news.proposal import CODE_LENGTH, Confirmation, Proposal, Wish
from ingest.news.roll_file import off_roll
from ingest.pipeline import Pipeline
from ingest.sources import documents
from ingest.sources import folder as source
from ingest.sources.archive import Archive
from schemas.types import UpdateKind


def propose(pipeline: Pipeline, archive: Archive, wish: Wish, figures: Path | UUID | None) -> tuple[Proposal, str]:
    """Archive a proposal of what will be published. Returns it and the code that confirms it.

    `figures`: a table in our own form, or an event of the unit whose figures are valid again; None for a retraction.
    """
    contest = pipeline.contest.definition
    history = pipeline.memory.followed.get(contest.contest_id, [])
    content: Statement | None = None
    if isinstance(figures, Path):
        capture = source.fetch(figures, wish.at, largest=pipeline.documents.limits.document_bytes)
        if isinstance(capture, Rejection):
            raise IngestError(f"the figures cannot be read: {capture}")
        content = _row(archive.keep(capture), pipeline, wish)
    earlier = next((event for event in history if event.event_id == figures), None)
    if isinstance(figures, UUID) and earlier is None:
        raise IngestError(f"event {figures} is none of {wish.unit} on the log")
    proposal = proposals.propose(wish, history, contest, content or earlier)
    off = off_roll(pipeline.contest, proposal.event.reporting_unit)
    if off is not None and wish.kind is not UpdateKind.RETRACTED:
        raise IngestError(f"{wish.unit} cannot be published: {off}; a retraction can")
    kept = archive.keep(Capture("operator/proposal.json", proposal.content(), wish.at))
    return proposal, kept.sha256[:CODE_LENGTH]


def _row(document: Kept, pipeline: Pipeline, wish: Wish) -> Statement:
    """Return the one row of the operator's table. Raises IngestError."""
    recognised = documents.recognise(document, pipeline.documents.limits)
    if isinstance(recognised, Rejection):
        raise IngestError(f"the figures cannot be read: {recognised}")
    (batch,) = registry.plan([recognised], pipeline.documents.limits)
    snapshots = documents.parse(batch, pipeline.contest.definition)
    for rejection in (r for snapshot in snapshots for r in snapshot.rejections):
        raise IngestError(f"the figures cannot be read: {rejection}")
    for others in (rows for snapshot in snapshots for rows in snapshot.passed_over):
        raise IngestError(f"a correction has one row, of {wish.unit}; {others}")
    rows = [statement for snapshot in snapshots for statement in snapshot.statements]
    if [(row.unit.type, row.unit.id) for row in rows] != [tuple(wish.unit)]:
        raise IngestError(f"{document.name} has {len(rows)} rows; a correction has one, of {wish.unit}")
    for odd in (*rows[0].left_out, *(odd for snapshot in snapshots for odd in snapshot.left_out)):
        raise IngestError(f"the figures cannot be read: {odd}")
    return rows[0]


def proposed(archive: Archive, code: str) -> tuple[Proposal, Kept]:
    """Find the proposal of a code, and its document. Raises IngestError."""
    if len(code) < CODE_LENGTH or not set(code) <= set("0123456789abcdef"):
        raise IngestError(
            f"{code!r} is no confirmation code: {CODE_LENGTH} digits, 0 to 9 and a to f, as `correct` prints them"
        )
    content, sha256 = archive.find(code)
    proposal = proposals.read(content, code)
    return proposal, Kept("operator/proposal.json", content, sha256, proposal.proposed_at)


def confirm(
    pipeline: Pipeline, archive: Archive, proposal: Proposal, document: Kept, operator: str, at: datetime
) -> None:
    """Publish exactly what was proposed, once. Raises Overtaken when the log has changed: the proposal is then void."""
    if operator.split() == proposal.proposed_by.split():
        raise IngestError(
            f"{operator} proposed it, and cannot confirm it too: a second person must check it and confirm"
        )
    event, memory = proposal.event, pipeline.contest
    if event.contest_id != memory.definition.contest_id:
        raise IngestError(f"the proposal is of contest {event.contest_id}, not of {memory.definition.contest_id}")
    found = proposals.decided(event, proposal.definition_event_id, memory)
    if not found.events:  # confirmed before
        return pipeline.publish(lambda: found, f"{event.kind} {event.unit}")
    confirmation = Confirmation(
        proposal_sha256=document.sha256, event_id=event.event_id, confirmed_by=operator, confirmed_at=at
    )
    # A crash here leaves a confirmation without an event: confirming again writes another, and publishes.
    kept = archive.keep(Capture("operator/confirmation.json", confirmation.content(), at))
    final = proposals.confirmed(proposal, document, kept)

    def compare() -> Changes:
        pipeline.memory.read_on()
        return proposals.decided(final, proposal.definition_event_id, pipeline.contest)

    return pipeline.publish(compare, f"{event.kind} {event.unit}")
