"""How this API and the tables are: what changes without the count, and so stands in no answer with an ETag."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from api.answers.asked import Ask, documents
from api.answers.forms import Form, written
from api.positions import Positions
from schemas.types import Frozen, Instant

routes = APIRouter(tags=["State"])


class ContestState(Frozen):
    """How far a contest is counted."""

    contest_id: str
    is_test: bool
    topic: str
    partition: int
    offset: int
    """Of its last event."""
    next_offset: int
    """Of the partition: everything before it is counted."""
    recorded_at: Instant
    reported_at: Instant | None
    notices: int
    """How many were published: `next` of who has read all."""
    blocked: str | None
    """Why the contest stands still; null: it does not."""
    count_state: str | None
    """CURRENT, BEHIND the log, BLOCKED, or DEAD: the aggregator gives no sign of life. Null: it never gave one."""
    source_state: str | None
    """SPEAKING, SILENT, CLOSED, UNREADABLE, or DEAD: ingest gives no sign of life. Null: nobody watches the source."""
    digest: str


class Status(Frozen):
    """How this API and the tables are."""

    at: Instant
    database: str | None
    """That the database does not answer; null: it does. The positions are those of before then."""
    contests: tuple[ContestState, ...]


@routes.get("/status", **documents(Status, "status"))
async def status(ask: Ask) -> Response:
    """Say whether the database answers, and how far each contest is counted. It answers while the database is away."""
    found = status_of(ask.service.positions)
    return Response(written(found, Form.JSON), headers={"Cache-Control": "no-store"}, media_type="application/json")


def status_of(positions: Positions, contest_id: str | None = None) -> Status:
    """Return the status of a contest, or of all."""
    return Status(
        at=(now := datetime.now(UTC)).replace(microsecond=now.microsecond // 1000 * 1000),
        database=positions.told_away,
        contests=tuple(
            ContestState(**{name: getattr(at, name) for name in ContestState.model_fields})
            for at in positions.all()
            if contest_id in (None, at.contest_id)
        ),
    )
