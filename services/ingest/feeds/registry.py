"""Documents to statements: one module per source's form, all pure (bytes in, values out).

`recognise` tells what a document is, `plan` which documents make a publication together and in which order, `parse`
reads them. A fault of a document refuses all of it, and all that was to be read with it; a fault of a row only the row.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest.feeds import bulletins, own_form, sheets
from ingest.feeds.statement import Kept, Rejection, Snapshot
from ingest.feeds.table import BadCell, Form, Refused, instant, read, unpack
from ingest.feeds.table import recognise as _recognise
from schemas.contest import ContestDefined

FORMS: tuple[Form, ...] = (*bulletins.FORMS, *sheets.FORMS, *own_form.FORMS)
_PARSERS = {
    bulletins.NATIONAL: bulletins.parse,
    bulletins.DISTRICTS: bulletins.parse,
    sheets.FAMILY: sheets.parse,
    own_form.FAMILY: own_form.parse,
}
TOGETHER = (bulletins.NATIONAL, bulletins.DISTRICTS)
"""Families whose documents make a publication together."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a document is: its family, its table, and the times it states (empty where it states none).

    A time is an instant, however it is spelt; a text that is none stands for itself, and its rows will be rejected.
    """

    document: Kept
    family: str
    table: str
    times: frozenset[datetime | str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents that are read together, and the time they are ordered by."""

    family: str
    documents: tuple[Kept, ...]
    stated_from: datetime


def recognise(document: Kept) -> Recognised | Rejection:
    """What the document is, by its header; a rejection when it cannot be read or nothing known has that header."""
    try:
        text = unpack(document)
        form, header = _recognise(document, text, FORMS)
    except Refused as refused:
        return refused.rejection
    times: set[str] = set()
    if form.time_column is not None and form.time_column in header:
        at = header.index(form.time_column)
        rows = csv.reader(io.StringIO(text, newline=""))
        try:
            next(rows)
            for row in rows:
                if at < len(row):
                    times.add(row[at])
        except csv.Error:
            pass  # `parse` refuses the document, and says where
    return Recognised(document, form.family, form.name, frozenset(_instant(text, form.time_column) for text in times))


def plan(recognised: Sequence[Recognised]) -> tuple[Batch, ...]:
    """Batches in the order of the earliest time that any of their rows states. Tables that share an update are one batch;
    other documents one each."""
    groups: list[list[Recognised]] = []
    for one in recognised:
        if one.family in TOGETHER:
            touching = [g for g in groups if g[0].family == one.family and any(m.times & one.times for m in g)]
            merged = [one]
            for group in touching:
                groups.remove(group)
                merged = [*group, *merged]
            groups.append(merged)
        else:
            groups.append([one])
    batches = [
        Batch(group[0].family, tuple(one.document for one in group), min(_earliest(one) for one in group))
        for group in groups
    ]
    return tuple(sorted(batches, key=lambda batch: batch.stated_from))


def _instant(text: str, column: str | None) -> datetime | str:
    try:
        return instant(text, column or "")
    except BadCell:
        return text


def _earliest(one: Recognised) -> datetime:
    return min((time for time in one.times if isinstance(time, datetime)), default=one.document.observed_at)


def parse(batch: Batch, contest: ContestDefined) -> tuple[Snapshot, ...]:
    """The batch's snapshots in the order of time. A refused document leaves one snapshot holding only its rejection."""
    tables, refused = [], []
    for document in batch.documents:
        try:
            tables.append(read(document, FORMS))
        except Refused as fault:
            refused.append(fault.rejection)
    if not refused:
        try:
            return _PARSERS[batch.family](tables, contest)
        except Refused as fault:
            refused.append(fault.rejection)
    return (Snapshot(f"{batch.family}/refused", contest.authority, (), tuple(refused)),)
