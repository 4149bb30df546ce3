"""Compute an event's id and the hash of its content.

`statement(update)` is the canonical text of a statement: JSON in the form of RFC 8785 (keys sorted, no spaces, integers
only), UTF-8. It contains everything that can change a count or its order, and the id of the event before it, so an
event's id commits to the unit's whole history. It omits provenance (`observed_at` where the office states a time,
`source`, `published_percentages`, the unit's display name): a second copy of the document gives the same id.

A field added after version 1 (`office_note`) is in the text only where it is stated, so older ids do not change.

`event_id` is the UUIDv5 of that text, `leaf` its SHA-256. A contest's state digest is built from leaves
(docs/contract.md).
"""

import hashlib
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.feed_status import FeedStatus
from schemas.types import rfc3339

E = TypeVar("E", CountUpdate, ContestDefined, FeedStatus)

NAMESPACE = UUID("6f1c43a2-97d0-5e0b-8c1e-2b6f0c9d3a51")
"""UUIDv5 namespace of this project's events. Never changes."""

NIL = UUID(int=0)
"""The id of an event while its own is being computed."""


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{value!r} has no canonical form")


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def canonical(value: Any) -> bytes:
    """Encode a value as RFC 8785 JSON.

    Accepts strings, times, UUIDs, integers below 2^53, booleans, nulls, lists and maps with ASCII keys.
    """
    return orjson.dumps(value, _word, _CANONICAL)


def statement(update: CountUpdate) -> bytes:
    """Return the canonical text of an update; see the module's docstring."""
    unit, counts, sub, correction = (
        update.reporting_unit,
        update.counts,
        update.sub_units,
        update.correction,
    )
    later = {} if update.office_note is None else {"office_note": update.office_note}
    return canonical(
        {
            "area_path": unit.area_path,
            "contest_id": update.contest_id,
            "correction": None
            if correction is None
            else {
                "authority": correction.authority,
                "basis": correction.basis,
                "reason": correction.reason,
                "replaces_event_id": str(correction.replaces_event_id),
            },
            "count_status": update.count_status,
            "counts": None if counts is None else counts.__dict__,
            "is_test": update.is_test,
            "kind": update.kind,
            "previous_event_id": None if update.previous_event_id is None else str(update.previous_event_id),
            "reported_at": None if update.reported_at is None else rfc3339(update.reported_at),
            "result_stage": update.result_stage,
            "review_reason": update.review_reason,
            "sequence": update.sequence,
            "source_status": update.source_status,
            "stated_at": rfc3339(update.stated_at),
            "sub_units": None if sub is None else sub.__dict__,
            "unit_id": unit.id,
            "unit_type": unit.type,
            **later,
        }
    )


def definition_text(definition: ContestDefined) -> bytes:
    """Return the canonical text of a definition: every field but its own id."""
    return canonical(definition.model_dump(exclude={"event_id"}))


def text_of(event: CountUpdate | ContestDefined | FeedStatus) -> bytes:
    """Return the canonical text that gives an event its id."""
    if isinstance(event, CountUpdate):
        return statement(event)
    if isinstance(event, ContestDefined):
        return definition_text(event)
    return canonical(event.model_dump(exclude={"event_id"}))


def name_text(text: bytes) -> UUID:
    """Return the id of the event whose canonical text is `text`."""
    return UUID(bytes=hashlib.sha1(NAMESPACE.bytes + text, usedforsecurity=False).digest()[:16], version=5)


def leaf(text: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of a canonical text."""
    return hashlib.sha256(text).digest()


def named(event: E) -> E:
    """Return an event with its `event_id` computed: the last step of making one."""
    return event.model_copy(update={"event_id": name_text(text_of(event))})


def is_named_right(event: CountUpdate | ContestDefined | FeedStatus) -> bool:
    """Say whether an event's id matches its content: false for a forged or altered event."""
    return event.event_id == name_text(text_of(event))
