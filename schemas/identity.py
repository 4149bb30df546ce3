"""Compute an event's id and the hash of its content.

`statement(update)` is the canonical text of a statement: JSON in the form of RFC 8785 (keys sorted, no spaces, integers
only), UTF-8. It contains everything that can change a count or its order, and the id of the event before it, so an
event's id commits to the unit's whole history. It omits provenance (`observed_at`, `source`,
`published_percentages`, the unit's display name): a second copy of the document, loaded by others, gives the same id.

A field of `_IF_STATED`, and every field that a later version adds, is in the text only where it is stated. So an id
does not change with the version, and a reader of this one computes the ids of later ones, too (`codec.learn`).

`event_id` is the UUIDv5 of that text, `leaf` its SHA-256. A contest's state digest is built from leaves
(docs/contract.md).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson

from schemas.aggregator_status import AggregatorStatus
from schemas.area_count import AreaCount
from schemas.contest import ContestDefined
from schemas.count_update import Counts, CountUpdate
from schemas.feed_status import FeedStatus
from schemas.ingest_status import IngestStatus
from schemas.notice import Notice
from schemas.source_status import SourceStatus
from schemas.types import rfc3339
from schemas.unit_roll import UnitRoll

Event = (
    AggregatorStatus
    | AreaCount
    | CountUpdate
    | ContestDefined
    | FeedStatus
    | IngestStatus
    | Notice
    | SourceStatus
    | UnitRoll
)
E = TypeVar(
    "E",
    AggregatorStatus,
    AreaCount,
    CountUpdate,
    ContestDefined,
    FeedStatus,
    IngestStatus,
    Notice,
    SourceStatus,
    UnitRoll,
)

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
    unit, sub, correction, fields = update.reporting_unit, update.sub_units, update.correction, update.__dict__
    text: dict[str, Any] = {
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
        "counts": _counts(update.counts),
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
    }
    for name in _IF_STATED:
        if (value := fields[name]) is not None:
            text[name] = value
    if unit.counted_with is not None:
        text["counted_with"] = unit.counted_with
    return canonical(_with(text, beyond) if (beyond := fields.get("beyond")) else text)


_IF_STATED = ("office_note", "recount", "registered_at", "replaced_by", "rules_version", "signed_at")


def _counts(counts: Counts | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    text = counts.__dict__.copy()
    if text["suppressed"] is None:
        del text["suppressed"]
    if (parts := text.pop("by_vote_type")) is not None:
        text["by_vote_type"] = [part.__dict__ for part in parts]
    return text


def _with(text: Any, beyond: Mapping[str, Any]) -> Any:
    """Add what a later version says, where it stands."""
    if not beyond:
        return text
    merged = dict(text) if isinstance(text, dict) else {str(place): one for place, one in enumerate(text)}
    for name, value in beyond.items():
        had = merged.get(name)
        merged[name] = _with(had, value) if isinstance(value, Mapping) and had is not None else value
    return merged if isinstance(text, dict) else list(merged.values())


def text_of(event: Event) -> bytes:
    """Return the canonical text of an event. Of all but statements: every field but the id and `observed_at`."""
    if isinstance(event, CountUpdate):
        return statement(event)
    return canonical(_with(event.model_dump(exclude={"event_id", "observed_at"}), event.beyond))


def name_text(text: bytes) -> UUID:
    """Return the id of the event whose canonical text is `text`."""
    return UUID(bytes=hashlib.sha1(NAMESPACE.bytes + text, usedforsecurity=False).digest()[:16], version=5)


def leaf(text: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of a canonical text."""
    return hashlib.sha256(text).digest()


def named(event: E) -> E:
    """Return an event with its `event_id` computed: the last step of making one."""
    return event.model_copy(update={"event_id": name_text(text_of(event))})


def is_named_right(event: Event) -> bool:
    """Say whether an event's id matches its content: false for a forged or altered event."""
    return event.event_id == name_text(text_of(event))
