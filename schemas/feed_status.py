"""`FeedStatus`: a heartbeat, which distinguishes "alive, nothing new" from "dead" and from "we are behind"."""

from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints

from schemas.types import Event, Id, Instant


class FeedStatus(Event):
    """The office repeated a unit's figures, under a new time or in a new document."""

    event_id: UUID
    contest_id: Id
    unit_type: Id
    unit_id: Id
    reported_at: Instant | None
    stated_at: Instant
    observed_at: Instant
    last_event_id: UUID
    document_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
