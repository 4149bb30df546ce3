"""Build the rows of the append-only tables from steps of the fold (pure). Columns are in the order of COPY."""

from collections.abc import Iterable, Iterator
from typing import Any

from aggregator.columns.runs import Run
from aggregator.fold.fold import Block, Step
from aggregator.tables.batch import Parked
from schemas.count_update import CountUpdate
from schemas.types import from_milliseconds

UPDATE: dict[str, str] = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "contest_id": "text",
    "unit_type": "text", "unit_id": "text", "unit_name": "text", "area_path": "text[]", "sequence": "int8",
    "previous_event_id": "uuid", "kind": "text", "correction": "jsonb", "reported_at": "timestamptz",
    "observed_at": "timestamptz", "stated_at": "timestamptz", "count_status": "text", "source_status": "text",
    "review_reason": "text", "result_stage": "text", "office_note": "text", "counts": "jsonb", "sub_units": "jsonb",
    "published_percentages": "jsonb", "source": "jsonb", "is_test": "bool", "accepted": "bool", "is_current": "bool",
    "change": "jsonb", "superseded_at": "timestamptz", "is_moved": "bool", "last_reported_at": "timestamptz",
}  # fmt: skip
"""`count_update_history`."""

DEFINITION: dict[str, str] = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "contest_id": "text",
    "accepted": "bool", "definition": "jsonb",
}  # fmt: skip
"""`contest_history`."""

FINDING: dict[str, str] = {
    "partition": "int4", "log_offset": "int8", "ordinal": "int4", "contest_id": "text", "unit_type": "text",
    "unit_id": "text", "code": "text", "rule": "text", "message": "text",
}  # fmt: skip
"""`finding`."""

LOG_TIME: dict[str, str] = {"contest_id": "text", "recorded_at": "timestamptz", "log_offset": "int8"}
"""`log_time`."""

BLOCK: dict[str, str] = {
    "contest_id": "text", "unit_type": "text", "area_id": "text", "span": "int8range", "offsets": "int8[]",
    "figures": "int8[]", "stated_at": "timestamptz", "last_offset": "int8", "last_event_id": "uuid",
}  # fmt: skip
"""`area_total_block`."""

PARKED: dict[str, str] = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "contest_id": "text", "key": "bytea",
    "value": "bytea", "headers": "jsonb", "reason": "text",
}  # fmt: skip
"""`parked`."""


def update_row(step: Step) -> tuple[Any, ...]:
    """Return the history row of an update and of its effect, in the order of UPDATE."""
    recorded, update = step.recorded, step.recorded.update
    unit = update.reporting_unit
    return (
        recorded.partition, recorded.offset, recorded.recorded_at, update.event_id, update.contest_id,
        unit.type.value, unit.id, unit.name, list(unit.area_path), update.sequence, update.previous_event_id,
        update.kind.value, update.correction.model_dump(mode="json") if update.correction is not None else None,
        update.reported_at, update.observed_at, update.stated_at, update.count_status.value,
        update.source_status, update.review_reason.value if update.review_reason is not None else None,
        update.result_stage.value, update.office_note,
        update.counts.__dict__ if update.counts is not None else None,
        update.sub_units.__dict__ if update.sub_units is not None else None,
        update.published_percentages.__dict__ if update.published_percentages is not None else None,
        update.source.model_dump(mode="json"), update.is_test, step.accepted, step.is_current, step.change,
        step.superseded_at, step.is_moved, step.last_reported_at,
    )  # fmt: skip


def definition_row(step: Step) -> tuple[Any, ...]:
    """Return the history row of a definition, in the order of DEFINITION."""
    recorded, event = step.recorded, step.recorded.event
    return (
        recorded.partition, recorded.offset, recorded.recorded_at, event.event_id, event.contest_id,
        step.accepted, event.model_dump(mode="json"),
    )  # fmt: skip


def block_rows(contest_id: str, blocks: Iterable[Block]) -> Iterator[tuple[Any, ...]]:
    """Return a row for each kept total, in the order of BLOCK; `span` as (first offset, last + 1)."""
    for block in blocks:
        total = block.total
        yield (
            contest_id, block.unit_type, block.area_id, (block.begin, block.end + 1), list(block.offsets),
            total.vector, total.stated_at, total.last_offset, total.last_event_id,
        )  # fmt: skip


def log_time_row(step: Step) -> tuple[Any, ...]:
    """Return the row of an event recorded later than all before it, in the order of LOG_TIME."""
    return (step.recorded.event.contest_id, step.recorded.recorded_at, step.recorded.offset)


def log_time_rows(run: Run) -> Iterator[tuple[Any, ...]]:
    """Return the rows of the events of a run recorded later than all before them."""
    for i in run.is_later.nonzero()[0].tolist():
        yield (run.contest_id, from_milliseconds(int(run.recorded[i])), int(run.offsets[i]))


def finding_rows(step: Step) -> Iterator[tuple[Any, ...]]:
    """Return a row for each finding of a step, in the order of FINDING."""
    recorded, event = step.recorded, step.recorded.event
    unit = event.unit if isinstance(event, CountUpdate) else (None, None)
    for ordinal, finding in enumerate(step.findings):
        place = (recorded.partition, recorded.offset, ordinal, event.contest_id, *unit)
        yield (*place, finding.code, finding.rule, finding.message)


def parked_row(parked: Parked) -> tuple[Any, ...]:
    """Return the row of a parked message, in the order of PARKED."""
    raw = parked.raw
    headers = [[printable(name), None if value is None else value.hex()] for name, value in raw.headers]
    recorded_at = from_milliseconds(raw.timestamp_ms)
    return (raw.partition, raw.offset, recorded_at, parked.contest_id, raw.key, raw.value, headers, parked.reason)


def printable(text: str) -> str:
    """Replace the NUL character, which PostgreSQL's text cannot hold, in the text of an unverified message."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
