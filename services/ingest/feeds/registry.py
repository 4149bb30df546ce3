"""Turn documents into statements: one parser for each form of a source. Pure (bytes in, values out).

`recognise` reads a document's rows and names its form, `plan` groups the documents of one publication and orders the
groups, `parse` makes statements of the rows. A fault of a document refuses all of it and the documents it is read with;
a fault of a row refuses that row.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest.feeds import bulletins, own_form, sheets
from ingest.feeds.statement import Kept, Rejection, Snapshot
from ingest.feeds.table import BadCell, Form, Refused, Table, form_of, instant, read, unpack
from schemas.contest import ContestDefined

FORMS: tuple[Form, ...] = (*bulletins.FORMS, *sheets.FORMS, *own_form.FORMS)
_PARSERS = {
    bulletins.NATIONAL: bulletins.parse,
    bulletins.DISTRICTS: bulletins.parse,
    sheets.FAMILY: sheets.parse,
    own_form.FAMILY: own_form.parse,
}
TOGETHER = (bulletins.NATIONAL, bulletins.DISTRICTS)
"""Families whose documents form one publication together."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A document whose form is known: its family, its table's name, and the times it states (possibly none).

    A time is an instant, however it is spelled. A text that is not a time stands for itself; its rows will be rejected.
    """

    document: Kept
    family: str
    table: str
    times: frozenset[datetime | str]
    size: int
    """Characters of the unpacked document."""
    content: Table | Rejection | None
    """The rows, or why the document is refused. None when dropped to save memory: `parse` reads them again."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents that are parsed together, and the time that orders them."""

    family: str
    parts: tuple[Recognised, ...]
    stated_from: datetime

    @property
    def names(self) -> str:
        """The documents, for people; long lists are shortened."""
        names = [part.document.uri for part in self.parts]
        return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def recognise(document: Kept) -> Recognised | Rejection:
    """Unpack and read a document once. Returns a rejection when it cannot be read or its header fits no known form."""
    try:
        text = unpack(document)
        form, header = form_of(document, text, FORMS)
    except Refused as refused:
        return refused.rejection
    column = form.time_column
    at = header.index(column) if column is not None and column in header else None
    content: Table | Rejection
    try:
        content = read(document, text, form, header)
        stated = {row[at] for row in content.rows} if at is not None else set()
    except Refused as refused:
        content = refused.rejection
        stated = _times(text, at) if at is not None else set()
    times = frozenset(_instant(time) for time in stated)
    return Recognised(document, form.family, form.name, times, len(text), content)


def plan(recognised: Sequence[Recognised]) -> tuple[Batch, ...]:
    """Group documents into batches, tables of one update together, ordered by the earliest time in their rows."""
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
    batches = [Batch(group[0].family, tuple(group), min(_earliest(one) for one in group)) for group in groups]
    return tuple(sorted(batches, key=lambda batch: batch.stated_from))


def parse(batch: Batch, contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a batch into snapshots, ordered by time; a refused batch into one that holds only the rejections."""
    tables, refused = [], []
    for part in batch.parts:
        content = _content(part)
        if isinstance(content, Table):
            tables.append(content)
        else:
            refused.append(content)
    if not refused:
        try:
            return _PARSERS[batch.family](tables, contest)
        except Refused as fault:
            refused.append(fault.rejection)
    return (Snapshot(f"{batch.family}/refused", contest.authority, (), tuple(refused)),)


def _content(part: Recognised) -> Table | Rejection:
    if part.content is not None:
        return part.content
    again = recognise(part.document)
    assert isinstance(again, Recognised), "the same bytes have the same form"
    assert again.content is not None
    return again.content


def _times(text: str, at: int) -> set[str]:
    """Collect the times of a refused document, as far as it can be read: they say which publication it belongs to."""
    times = set()
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        next(rows)
        for row in rows:
            if at < len(row):
                times.add(row[at])
    except csv.Error:
        pass  # the rejection says where
    return times


def _instant(text: str) -> datetime | str:
    try:
        return instant(text, "")
    except BadCell:
        return text


def _earliest(one: Recognised) -> datetime:
    return min((time for time in one.times if isinstance(time, datetime)), default=one.document.observed_at)
