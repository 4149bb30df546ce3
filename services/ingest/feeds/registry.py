"""Turn documents into statements: one parser for each form of a source. Pure (bytes in, values out).

`recognise` reads a document's rows and names its form, `plan` groups the documents of one publication and orders the
groups, `parse` makes statements of the rows. A fault of a document refuses all of it and the documents it is read with;
a fault of a row refuses that row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ingest.feeds import bulletins, own_form, sheets
from ingest.feeds.records import Limits, Records, Refused
from ingest.feeds.statement import Kept, Rejection, Snapshot
from ingest.feeds.table import BadCell, Form, Table, instant, read
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
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Recognised:
    """A document whose form is known: its family, its table's name, and the times it states (possibly none).

    A time is an instant, however it is spelled. A text that is not a time is none; its rows will be rejected.
    """

    document: Kept
    family: str
    table: str
    times: frozenset[datetime]
    size: int
    """Bytes of the unpacked document, or where it has many short cells, a fifth of the memory that it takes."""
    content: Table | Rejection | None
    """The rows, or why the document is refused. None while dropped to save memory, as the document's bytes are then."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents that are parsed together, and the time that orders them."""

    family: str
    parts: tuple[Recognised, ...]
    stated_from: datetime

    @property
    def names(self) -> str:
        """The documents, for people; long lists are shortened."""
        names = [part.document.name for part in self.parts]
        return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def recognise(document: Kept, limits: Limits = DEFAULT_LIMITS) -> Recognised | Rejection:
    """Unpack and read a document once. Returns a rejection when it cannot be read or its header fits no known form."""
    try:
        records = Records(document, limits)
        form, content, stated = read(records, FORMS)
    except Refused as refused:
        return refused.rejection
    times = frozenset(filter(None, map(_instant, stated)))
    size = len(records.content)
    if isinstance(content, Table):
        size = max(size, content.memory // 5)
    return Recognised(document, form.family, form.name, times, size, content)


def plan(recognised: Sequence[Recognised], limits: Limits = DEFAULT_LIMITS) -> tuple[Batch, ...]:
    """Group documents into batches, tables of one update together, ordered by the earliest time in their rows.

    The tables of a batch are in memory together. Where they hold more than twice what one document may, the largest are
    refused, each by itself.
    """
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
    groups = [part for group in groups for part in _bounded(group, limits)]
    batches = [Batch(group[0].family, tuple(group), min(_earliest(one) for one in group)) for group in groups]
    return tuple(sorted(batches, key=lambda batch: batch.stated_from))


def _bounded(group: list[Recognised], limits: Limits) -> Iterator[list[Recognised]]:
    most, size, kept = 2 * limits.unpacked_mib, 0, set[int]()
    for one in sorted(group, key=lambda one: one.size):
        size += one.size
        if size <= most << 20:
            kept.add(id(one))
            continue
        message = f"with the other tables of its publication it is larger than {most} MiB, or takes five times that"
        expected = "the tables of a publication once, or a higher --largest-unpacked"
        yield [replace(one, content=Refused(one.document, "F207", message, expected).rejection)]
    yield [one for one in group if id(one) in kept]


def parse(batch: Batch, contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a batch into snapshots, ordered by time; a refused batch into one that holds only the rejections."""
    tables, refused = [], []
    for part in batch.parts:
        assert part.content is not None, "a document that was dropped is read again before it is parsed"
        if isinstance(part.content, Table):
            tables.append(part.content)
        else:
            refused.append(part.content)
    if not refused:
        try:
            return _told(_PARSERS[batch.family](tables, contest), tables)
        except Refused as fault:
            refused.append(fault.rejection)
    return (refused_batch(batch, contest, refused),)


def refused_batch(batch: Batch, contest: ContestDefined, rejections: Iterable[Rejection]) -> Snapshot:
    """Return the snapshot of a batch that is refused: it states nothing."""
    return Snapshot(f"{batch.family}/refused", contest.authority, (), tuple(rejections))


def _told(snapshots: tuple[Snapshot, ...], tables: Sequence[Table]) -> tuple[Snapshot, ...]:
    """Add what was found while the tables were read."""
    passed_over = tuple(rows for table in tables for rows in table.passed_over)
    if not (snapshots and passed_over):
        return snapshots
    *others, last = snapshots
    return (*others, replace(last, passed_over=(*passed_over, *last.passed_over)))


def _instant(text: str) -> datetime | None:
    try:
        return instant(text, "")
    except BadCell:
        return None


def _earliest(one: Recognised) -> datetime:
    return min(one.times, default=one.document.stated_at or one.document.observed_at)
