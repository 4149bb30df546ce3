"""Parse documents of a bundle again, as columns that can be compared with statements of the log.

Place in the flow: below `documents`, in `workers`. The parsers are those of ingest, and pure: the same bytes and the
same definition give the same statements.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from ingest.feeds import registry
from ingest.feeds.records import Limits, Refused
from ingest.feeds.statement import Kept, PassedOver, Rejection, Rejections, Sheets, Snapshot, Statement
from runtime.files import read_regular
from schemas.columns.decode_general import statement_batch
from schemas.columns.layout import NONE, Layout, Numbers
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, Source, UnitKey
from schemas.faults import first_fault
from schemas.identity import NIL
from schemas.log_record import Recorded
from schemas.rules import RULES, Finding
from schemas.types import ReportingUnitType, UpdateKind

_LIMITS = Limits(document_mib=256, unpacked_mib=512, rows=2_000_000)
"""Above those of ingest, which whoever loaded the documents may have raised."""


class Named(NamedTuple):
    """A document as events name it."""

    sha256: str
    name: str
    uri: str | None


class Publication(NamedTuple):
    """Documents that are parsed together, under a definition. `stated_at`: what events say that no document does."""

    folder: Path
    documents: tuple[Named, ...]
    contest: ContestDefined
    observed_at: datetime
    stated_at: datetime | None


@dataclass(slots=True)
class Rows:
    """The statements of a publication, by row of the columns, in the order of its snapshots.

    Codes, times and figures are those of `StatementBatch`; units and groups are places in `keys` and `groups`.
    """

    keys: list[UnitKey] = field(default_factory=list)
    groups: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    documents: list[tuple[str, ...]] = field(default_factory=list)
    """SHA-256 of the documents of each statement."""
    places: list[tuple[bytes, ...]] = field(default_factory=list)
    """Where in each of them it stands."""
    numbers: list[Sequence[int]] = field(default_factory=list)
    """Rows in the first of them."""
    columns: dict[str, Numbers] = field(default_factory=dict)
    """COLUMNS, and `order`, in which ingest sends them."""
    figures: Numbers = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    slots: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    """Which slots of the layout `figures` has; in the others nothing is stated."""
    names: list[bytes | None] = field(default_factory=list)
    words: list[bytes | None] = field(default_factory=list)
    details: dict[int, bytes] = field(default_factory=dict)
    refused: dict[int, Finding] = field(default_factory=dict)
    """Statements that break a rule by themselves, and are not published."""
    rejections: list[Rejection] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    times: bool = True
    """Whether the documents state a time themselves."""

    def __len__(self) -> int:
        return len(self.places)


def numbers_of(place: str) -> Sequence[int]:
    """Return the rows that a place in a document names: `row 7`, `rows 3, 4`, `row 3 to row 9, column votes.a`."""
    rows = place.partition(", column ")[0]
    if (ends := _RANGE.fullmatch(rows)) is not None:
        return range(int(ends[1]), int(ends[2]) + 1)  # who wrote a rejection may have made it as long as they like
    return tuple(map(int, _NUMBER.findall(rows)))


_RANGE, _NUMBER = re.compile("row ([0-9]{1,18}) to row ([0-9]{1,18})"), re.compile("[0-9]{1,18}")
COLUMNS = ("unit", "group", "reported", "stated", "status", "reason", "stage")


def parse(publication: Publication) -> Rows:
    """Parse the documents of a publication. What cannot be parsed is in `rejections`. Raises OSError."""
    found, recognised, rejections = Rows(), list[registry.Recognised](), list[Rejection]()
    for named in publication.documents:
        content = read_regular(publication.folder / named.sha256)
        kept = Kept(named.name, content, named.sha256, publication.observed_at, named.uri, publication.stated_at)
        try:
            one = registry.recognise(kept, _LIMITS)
        except Exception as error:  # a mistake of ours in one document must not stop the others
            one = _unforeseen(kept, error)
        if isinstance(one, Rejection):
            rejections.append(one)
        else:
            recognised.append(one)
    found.times = any(one.times for one in recognised)
    snapshots: list[Snapshot] = []
    for batch in registry.plan(recognised, _LIMITS):
        try:
            snapshots += registry.parse(batch, publication.contest)
        except Exception as error:
            rejections += (_unforeseen(part.document, error) for part in batch.parts)
    others = Rejections(rejections)
    for snapshot in snapshots:
        others.extend((*snapshot.rejections, *snapshot.incomplete, *snapshot.left_out))
        found.passed_over += snapshot.passed_over
    _add(found, snapshots, publication, others)
    found.rejections = list(others)
    return found


def _unforeseen(document: Kept, error: Exception) -> Rejection:
    message = f"this release cannot read it: {type(error).__name__}: {error}"
    return Refused(document, "F207", message, "another release").rejection


def _add(found: Rows, snapshots: list[Snapshot], publication: Publication, others: Rejections) -> None:
    """Add the statements of snapshots: sheets as they are, others as `statement_batch` reads events."""
    contest, index, sheets = publication.contest, UnitIndex(), list[UnitKey]()
    layout, parts = Layout.of(contest), list[dict[str, Any]]()
    for number, snapshot in enumerate(snapshots):
        statements, first = snapshot.statements, number << 32
        if isinstance(statements, Sheets):
            parts.append(_of_sheets(found, statements, sheets, index) | {"order": first + statements.columns.places})
            general = dict(sorted(statements.others.items()))
        else:
            general = dict(enumerate(statements))
        recorded, order = list[Recorded](), list[int]()
        for place, statement in general.items():
            others.extend(statement.left_out)
            try:
                recorded.append(Recorded(0, 0, statement.observed_at, _event(statement, snapshot, contest)))
                order.append(first + place)
            except ValidationError as error:
                others.append(_misfit(statement, Finding("F202", first_fault(error))))
        if not recorded:
            continue
        batch, begin = statement_batch(recorded, contest, layout, index), len(found)
        found.documents += (tuple(d.sha256 for d in one.update.source.documents) for one in recorded)
        found.places += batch.places
        found.numbers += (numbers_of(places[0].decode()) for places in batch.places)
        found.names += batch.names
        found.words += batch.words
        found.details |= {begin + i: details for i, details in batch.details.items()}
        for i, findings in batch.findings.items():
            if (fatal := next((f for f in findings if f.rejects), None)) is not None:
                found.refused[begin + i] = fatal
        columns = {name: getattr(batch, name) for name in COLUMNS} | {"unit": -1 - batch.unit}
        parts.append(columns | {"figures": batch.figures, "order": np.array(order, np.int64)})
    found.keys, found.groups = [*sheets, *reversed(index.keys)], index.groups  # a number below 0 counts from the end
    for name in (*COLUMNS, "order"):
        found.columns[name] = np.concatenate([np.zeros(0, np.int64), *(part[name] for part in parts)])
    figures = np.concatenate([np.zeros((0, layout.size), np.int64), *(part["figures"] for part in parts)])
    found.slots = np.flatnonzero((figures != NONE).any(axis=0))
    small = np.int32 if figures.max(initial=0) < 2**31 else np.int64
    found.figures = figures[:, found.slots].astype(small)


def _misfit(statement: Statement, finding: Finding) -> Rejection:
    first = statement.documents[0]
    about = first.name, first.sha256, statement.observed_at, first.place, RULES[finding.code]
    return Rejection(finding, *about, statement.original)


def _event(statement: Statement, snapshot: Snapshot, contest: ContestDefined) -> CountUpdate:
    """Return a statement as its unit's first event."""
    source = Source(
        name=snapshot.source, snapshot_id=snapshot.snapshot_id, part=1, parts=1, documents=statement.documents,
        authority=statement.authority, channel=statement.channel,
    )  # fmt: skip
    stated = {name: getattr(statement, name) for name in CountUpdate.model_fields if hasattr(statement, name)}
    return CountUpdate(
        event_id=NIL,
        contest_id=contest.contest_id,
        reporting_unit=statement.unit,
        sequence=1,
        previous_event_id=None,
        kind=UpdateKind.REPORTED,
        correction=None,
        source=source,
        is_test=contest.is_test,
        **stated,
    )


def _of_sheets(found: Rows, statements: Sheets, keys: list[UnitKey], index: UnitIndex) -> dict[str, Any]:
    sheets, kind, begin = statements.columns, ReportingUnitType.PRECINCT.value, len(keys)
    keys += [UnitKey(kind, unit_id) for unit_id in sheets.ids]  # none of them stands there twice
    names = [None if name is None else name.encode() for name in sheets.names]
    words = [word.encode() for word in sheets.words]
    found.documents += [(sheets.document.sha256,)] * len(sheets.ids)
    found.places += [(b"row %d" % number,) for number in sheets.numbers.tolist()]
    found.numbers += [(number,) for number in sheets.numbers.tolist()]
    found.names += [names[code] for code in sheets.name.tolist()]
    found.words += [words[code] for code in sheets.word.tolist()]
    groups = np.array([index.group(kind, path) if path else NONE for path in sheets.areas], np.int64)
    return {
        "unit": np.arange(begin, len(keys)),
        "group": groups[sheets.area],
        "reported": np.full(len(sheets.ids), NO_TIME),
        "stated": sheets.stated,
        "status": sheets.status,
        "reason": sheets.reason,
        "stage": sheets.stage,
        "figures": sheets.figures,
    }
