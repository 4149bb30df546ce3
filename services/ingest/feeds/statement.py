"""Define what the stages of ingest hand on: captures, statements, rejections. Values only; pure.

Place in the flow: `sources.folder` makes a `Capture`, `sources.archive` a `Kept`, a parser a `Snapshot` of
`Statement`s and `Rejection`s, `news.changes` events. Nothing here survives a crash, and nothing needs to.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import compress
from typing import Any
from uuid import UUID

import numpy as np

from schemas.codec import Headers, Message
from schemas.columns.layout import Mask, Numbers
from schemas.count_update import Counts, Document, PublishedPercentages, ReportingUnit, SubUnits
from schemas.identity import canonical, name_text
from schemas.rules import RULES, Finding
from schemas.types import CountStatus, ResultStage, ReviewReason, rfc3339

LARGEST_REJECTED = 900_000
"""Bytes of a rejected original that are still sent in a message; a larger one is only named by its SHA-256."""
MOST_ALIKE = 100
"""Rejections of one document, code and column that stand by themselves; one more stands for all others."""
_LONGEST_TEXT = 1000
"""Characters of a text of a rejection: message, expected, place, name of the document."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A document as fetched: its name, its bytes, and the time.

    `uri`, `stated_at`: where and when it was published, where somebody says so beside it.
    """

    name: str
    content: bytes
    observed_at: datetime
    uri: str | None = None
    stated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A document in the archive; all else as of `Capture`."""

    name: str
    content: bytes
    sha256: str
    observed_at: datetime
    uri: str | None = None
    stated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """The content of a CountUpdate before it has a place in its unit's chain. `original`: the bytes of its rows."""

    unit: ReportingUnit
    reported_at: datetime | None
    stated_at: datetime
    """The time that orders a unit's statements: `reported_at`, else that of publication."""
    observed_at: datetime
    count_status: CountStatus
    source_status: str | None
    review_reason: ReviewReason | None
    result_stage: ResultStage
    office_note: str | None
    counts: Counts | None
    sub_units: SubUnits | None
    published_percentages: PublishedPercentages | None
    documents: tuple[Document, ...]
    original: bytes
    left_out: tuple["Rejection", ...] = ()
    """Evidence beside the figures that cannot be read: it is not in the statement, and costs it nothing (F112).

    F113 is among it where the row may be cut off.
    """
    signed_at: datetime | None = None
    registered_at: datetime | None = None
    recount: int | None = None
    rules_version: str | None = None
    authority: str | None = None
    """Whose word it is, where that is not the contest's authority."""
    channel: str | None = None
    """The way the sheet came by."""


@dataclass(frozen=True)
class Rejection:
    """Input that is not published. Long texts are cut in the middle.

    With a code F1xx it costs no statement: it is evidence that was left out of one, or what is odd about a document.
    """

    finding: Finding
    document: str
    """Its name."""
    sha256: str
    """Empty for a document that was not read."""
    observed_at: datetime
    place: str
    """Empty for the whole document; row 1 is the header."""
    expected: str
    original: bytes
    """Its bytes; empty when there are LARGEST_REJECTED or more, or of several rows."""
    rows: int = 1
    """How many places of the document it stands for: see `Rejections`."""

    def __post_init__(self) -> None:
        code, message = self.finding.code, self.finding.message
        texts = {"document": self.document, "place": self.place, "expected": self.expected}
        for name, value in (*texts.items(), ("finding", message)):
            if len(value) > _LONGEST_TEXT:
                short = f"{value[: _LONGEST_TEXT - 300]} … {value[-290:]}"
                object.__setattr__(self, name, Finding(code, short) if name == "finding" else short)
        if len(self.original) >= LARGEST_REJECTED:
            object.__setattr__(self, "original", b"")

    @property
    def whole_document(self) -> bool:
        """Say whether the whole document was refused."""
        return not self.place

    @cached_property
    def id(self) -> UUID:
        """Return the id: the same for the same rejection in a later run."""
        code, message = self.finding.code, self.finding.message
        return name_text(canonical({"code": code, "document": self.sha256, "message": message, "place": self.place}))

    def __str__(self) -> str:
        where = self.document + (f", {self.place}" if self.place else "")
        stop = "" if self.finding.message.endswith("?") else "."
        return f"{where}: {self.finding}{stop} Expected {self.expected}."

    def message(self, contest_id: str) -> Message:
        """Build the record for `results.rejected`: the original bytes as value, the reason in headers (UTF-8)."""
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"escrutinio.Rejected"),
            ("content-type", b"application/octet-stream"),
            ("ce_id", str(self.id).encode()),
            ("ce_source", f"urn:escrutinio:contest:{contest_id}".encode()),
            ("ce_time", rfc3339(self.observed_at).encode()),
            ("code", self.finding.code.encode()),
            ("rule", RULES[self.finding.code].encode()),
            ("message", self.finding.message.encode()),
            ("expected", self.expected.encode()),
            ("document", self.document.encode()),
            ("document_sha256", self.sha256.encode()),
            ("place", self.place.encode()),
            ("rows", str(self.rows).encode()),
            ("original", b"value" if self.original else b"archive" if self.sha256 else b"source"),
        ]
        return Message(contest_id.encode(), self.original, headers)


class Rejections:
    """Collect rejections. Of many alike (one document, code and column) one stands for those beyond MOST_ALIKE."""

    def __init__(self, rejections: Iterable[Rejection] = ()) -> None:
        self._single: list[Rejection] = []
        self._count: Counter[tuple[str, str, str]] = Counter()
        self._others: dict[tuple[str, str, str], tuple[Rejection, Rejection, int]] = {}
        """By what they have in common: the first and the last of the others, and how many there are."""
        self.extend(rejections)

    def append(self, rejection: Rejection) -> None:
        """Add a rejection."""
        if rejection.rows > 1 or rejection.whole_document:
            self._single.append(rejection)
            return
        column = rejection.place.partition(", column ")[2]
        alike = rejection.sha256, rejection.finding.code, column
        self._count[alike] += 1
        if self._count[alike] <= MOST_ALIKE:
            self._single.append(rejection)
            return
        first, _, rows = self._others.get(alike, (rejection, rejection, 0))
        self._others[alike] = first, replace(rejection, original=b""), rows + 1

    def extend(self, rejections: Iterable[Rejection]) -> None:
        """Add rejections."""
        for rejection in rejections:
            self.append(rejection)

    def __iter__(self) -> Iterator[Rejection]:
        yield from self._single
        for (_, code, column), (first, last, rows) in self._others.items():
            if rows == 1:
                yield first
                continue
            message = f"{rows:,} rows more; the first of them: {first.finding.message}"
            begin, end = (one.place.partition(", column ")[0] for one in (first, last))
            place = f"{begin} to {end}" + (f", column {column}" if column else "")
            yield replace(first, finding=Finding(code, message), place=place, original=b"", rows=rows)

    def __len__(self) -> int:
        return len(self._single) + len(self._others)

    @property
    def rows(self) -> int:
        """Return how many rows and documents are rejected."""
        return sum(rejection.rows for rejection in self)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Rows of a document that state nothing about the contest: those of another one, or its header again."""

    document: str
    sha256: str
    what: str
    """As in `of another contest, f-other`."""
    rows: tuple[int, ...]
    """Their numbers, ascending; row 1 is the header."""

    def __str__(self) -> str:
        return f"{self.document}, {in_words(self.rows)}: {self.what}; passed over"

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "document": self.document,
            "sha256": self.sha256,
            "what": self.what,
            "rows": len(self.rows),
            "place": in_words(self.rows),
        }


_NAMED = 20
"""Rows, or runs of rows, that a message names."""


def in_words(rows: Sequence[int]) -> str:
    """Write the numbers of rows: `row 7`, `rows 3, 5 to 9`; long lists are shortened."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    words = [str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a} to {b}" for a, b in runs[:_NAMED]]
    more = sum(b - a + 1 for a, b in runs[_NAMED:])
    return f"row{'s' * (len(rows) > 1)} {', '.join(words)}" + (f" and {more:,} more" if more else "")


@dataclass(slots=True, eq=False)
class SheetColumns:
    """Ordinary statements of a snapshot: each is of one tally sheet, states some figure, and no official time.

    Entry i of each column is of one statement. Areas, names and words are those of the lists, by code.
    """

    document: Kept
    places: Numbers
    """Which statements of the snapshot these are, ascending."""
    rows: Numbers
    """Their rows, from 0."""
    numbers: Numbers
    """Of their rows in the document."""
    ids: list[str]
    area: Numbers
    areas: list[tuple[str, ...]]
    name: Numbers
    names: list[str | None]
    word: Numbers
    words: list[str]
    status: Numbers
    """Codes of `schemas.columns.layout`, as those of `reason` and `stage`."""
    reason: Numbers
    stage: Numbers
    stated: Numbers
    """Milliseconds."""
    figures: Numbers
    """As `Layout.stated`. Shape (statements, layout.size)."""

    def of(self, chosen: Mask) -> "SheetColumns":
        """Return some of the statements."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        some = {name: column[chosen] for name, column in columns.items() if isinstance(column, np.ndarray)}
        return SheetColumns(**{**columns, **some, "ids": list(compress(self.ids, chosen.tolist()))})


@dataclass(frozen=True, slots=True, eq=False)
class Sheets(Sequence[Statement]):
    """The statements of a document of sheets: ordinary ones are made of their rows only when they are asked for."""

    columns: SheetColumns
    others: Mapping[int, Statement]
    """By place."""
    make: Callable[[int], Statement]
    """Makes the statement of a row."""

    def __len__(self) -> int:
        return len(self.columns.places) + len(self.others)

    def __getitem__(self, place: Any) -> Any:
        if (other := self.others.get(place)) is not None:
            return other
        at = int(self.columns.places.searchsorted(place)) if 0 <= place < len(self) else len(self.columns.places)
        if at == len(self.columns.places):
            raise IndexError(place)
        return self.make(int(self.columns.rows[at]))

    def __iter__(self) -> Iterator[Statement]:
        return map(self.__getitem__, range(len(self)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One publication of the office: everything that it stated at one time, or in one document."""

    snapshot_id: str
    source: str
    statements: Sequence[Statement]
    """Those of a document of sheets may be `Sheets`."""
    rejections: tuple[Rejection, ...]
    awaited: tuple[str, ...] = ()
    """Of an incomplete publication: what is missing. Its statements and rejections are of what is there."""
    incomplete: tuple[Rejection, ...] = ()
    """Rejections of the units that lack what is `awaited`."""
    left_out: tuple[Rejection, ...] = ()
    """Evidence that is left out of every statement; that of a row is its statement's."""
    passed_over: tuple[PassedOver, ...] = ()
    is_complete: bool = False
    """Whether it is said to name every unit that is known so far."""
    of_complete: bool = False
    """Whether this is said of its document, which may state several times. Then it is not said of each of them."""


def by_our_clock(snapshot: Snapshot, ahead: timedelta) -> Snapshot:
    """Return a snapshot with the office's times by our clock. `ahead`: what the office's clock is ahead of it."""
    if not ahead or isinstance(snapshot.statements, Sheets):  # sheets state no time of the office
        return snapshot
    return replace(snapshot, statements=tuple(_by_our_clock(statement, ahead) for statement in snapshot.statements))


def _by_our_clock(statement: Statement, ahead: timedelta) -> Statement:
    reported, registered = statement.reported_at, statement.registered_at  # a sheet is signed by another clock
    return replace(
        statement,
        reported_at=None if reported is None else reported - ahead,
        stated_at=statement.stated_at if reported is None else reported - ahead,
        registered_at=None if registered is None else registered - ahead,
    )
