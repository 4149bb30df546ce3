"""Decode statements one by one, with the models: every statement that is not ordinary (pure)."""

from collections.abc import Sequence

import numpy as np

from schemas.chain import broken_rules
from schemas.columns.layout import (
    KINDS,
    NONE,
    REASONS,
    STAGES,
    STATUSES,
    Bytes,
    Layout,
    says_all_of_sub_units,
)
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, Source
from schemas.identity import canonical, leaf, statement
from schemas.log_record import Recorded
from schemas.types import to_milliseconds

_NO_ID = bytes(16)


def statement_batch(
    recorded: Sequence[Recorded], contest: ContestDefined | None, layout: Layout, index: UnitIndex
) -> StatementBatch:
    """Make a batch of updates that were decoded one by one, judged under a definition (None: not defined yet)."""
    updates = [r.update for r in recorded]
    texts = [statement(update) for update in updates]
    found = [tuple(broken_rules(update, text, contest)) for update, text in zip(updates, texts, strict=True)]
    codes = np.array([_codes(update, index, contest) for update in updates], np.int64).reshape(-1, 11)
    unit, group, sequence, kind, reported, observed, stated, status, reason, stage, part = codes.T
    figures = np.array([layout.stated(update) for update in updates], np.int64).reshape(-1, layout.size)
    deciding = np.array([layout.codes(update) for update in updates], np.int64)
    details = [_details(update, layout) for update in updates]
    return StatementBatch(
        index=index,
        offset=np.array([r.offset for r in recorded], np.int64),
        recorded=np.array([to_milliseconds(r.recorded_at) for r in recorded], np.int64),
        event_id=_bytes([update.event_id.bytes for update in updates], 16),
        previous=_bytes([u.previous_event_id.bytes if u.previous_event_id else _NO_ID for u in updates], 16),
        leaf=_bytes([leaf(text) for text in texts], 32),
        unit=unit,
        group=group,
        sequence=sequence,
        kind=kind,
        reported=reported,
        observed=observed,
        stated=stated,
        status=status,
        reason=reason,
        stage=stage,
        is_test=np.array([update.is_test for update in updates], bool),
        figures=figures,
        contribution=layout.contributions(deciding, figures),
        is_judged=np.array([not any(f.code in ("F404", "F405") for f in findings) for findings in found], bool),
        is_sound=np.array([not any(f.refuses for f in findings) for findings in found], bool),
        names=[None if (name := u.reporting_unit.name) is None else name.encode() for u in updates],
        words=[None if u.source_status is None else u.source_status.encode() for u in updates],
        publications=[_publication(u.source) for u in updates],
        part=part,
        places=[tuple(document.place.encode() for document in u.source.documents) for u in updates],
        details={i: canonical(had) for i, had in enumerate(details) if had},
        findings={i: findings for i, findings in enumerate(found) if findings},
        updates=dict(enumerate(updates)),
    )


def _codes(update: CountUpdate, index: UnitIndex, contest: ContestDefined | None) -> tuple[int, ...]:
    reason, path = update.review_reason, update.reporting_unit.area_path
    areas = path if contest is None else contest.areas_of(update.reporting_unit)
    return (
        index.number(update.unit),
        index.group(update.unit.type, areas),
        update.sequence,
        KINDS.index(update.kind),
        NO_TIME if update.reported_at is None else to_milliseconds(update.reported_at),
        to_milliseconds(update.observed_at),
        to_milliseconds(update.stated_at),
        STATUSES.index(update.count_status),
        NONE if reason is None else REASONS.index(reason.value),
        STAGES.index(update.result_stage),
        update.source.part,
    )


def _bytes(ids: Sequence[bytes], length: int) -> Bytes:
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, length)


def publication_text(
    name: str, snapshot_id: str, parts: int, is_complete: bool, documents: Sequence[tuple[str, str | None, str]]
) -> bytes:
    """Return what a statement shares with all others of its publication, as JSON. `documents`: name, URI, SHA-256."""
    found = [{"name": called, "sha256": sha256, "uri": uri} for called, uri, sha256 in documents]
    said = {"documents": found, "name": name, "parts": parts, "snapshot_id": snapshot_id}
    return canonical(said | ({"is_complete": True} if is_complete else {}))


def _publication(source: Source) -> bytes:
    documents = [(document.name, document.uri, document.sha256) for document in source.documents]
    return publication_text(source.name, source.snapshot_id, source.parts, source.is_complete, documents)


def _details(update: CountUpdate, layout: Layout) -> dict[str, object]:
    """Return what has no column of its own, and groups of figures that `Layout.stated` cannot say exactly."""
    counts, sub = update.counts, update.sub_units
    groups = {
        "correction": update.correction,
        "counts": None if layout.says_all_of(counts) else counts,
        "published_percentages": update.published_percentages,
        "sub_units": None if says_all_of_sub_units(sub) else sub,
    }
    details: dict[str, object] = {n: group.model_dump(mode="json") for n, group in groups.items() if group is not None}
    for of, names in ((update, RARE), (update.reporting_unit, RARE_OF_UNIT), (update.source, RARE_OF_SOURCE)):
        details |= {name: value for name, value in of.model_dump(include=set(names)).items() if value is not None}
    if update.beyond:
        details["beyond"] = update.beyond
    return details


RARE = ("office_note", "recount", "registered_at", "replaced_by", "rules_version", "signed_at")
RARE_OF_UNIT = ("codes", "counted_with", "office_id")
RARE_OF_SOURCE = ("authority", "channel")
"""Fields that few statements state, of the statement itself, its unit and its source."""
