"""Define what the stages of ingest hand on: captures, statements, rejections. Values only; pure.

Place in the flow: `sources.folder` makes a `Capture`, `sources.archive` a `Kept`, a parser a `Snapshot` of
`Statement`s and `Rejection`s, `news.changes` events. Nothing here survives a crash, and nothing needs to.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from schemas.codec import Headers, Message
from schemas.count_update import Counts, Document, PublishedPercentages, ReportingUnit, SubUnits
from schemas.identity import canonical, name_text
from schemas.rules import RULES, Finding
from schemas.types import CountStatus, ResultStage, ReviewReason, rfc3339

LARGEST_REJECTED = 900_000
"""Bytes of a rejected original that are still sent in a message; a larger one is only named by its SHA-256."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A document as fetched: its place as the user names it, its bytes, and the time."""

    uri: str
    content: bytes
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A document in the archive. `observed_at`: when its bytes were first seen, the same in every later run."""

    uri: str
    content: bytes
    sha256: str
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """The content of a CountUpdate before it has a place in its unit's chain. `original`: the bytes of its rows."""

    unit: ReportingUnit
    reported_at: datetime | None
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

    @property
    def stated_at(self) -> datetime:
        """Return the time that orders a unit's statements: the office's own, or if it states none, when it was seen."""
        return self.reported_at or self.observed_at


@dataclass(frozen=True)
class Rejection:
    """Input that is not published. `place`: empty for the whole document; row 1 is the header."""

    finding: Finding
    uri: str
    sha256: str
    observed_at: datetime
    place: str
    expected: str
    original: bytes

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
        where = self.uri + (f", {self.place}" if self.place else "")
        return f"{where}: {self.finding}. Expected {self.expected}."

    def message(self, contest_id: str) -> Message:
        """Build the record for `results.rejected`: the original bytes as value, the reason in headers (UTF-8)."""
        small = len(self.original) < LARGEST_REJECTED
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
            ("document_uri", self.uri.encode()),
            ("document_sha256", self.sha256.encode()),
            ("place", self.place.encode()),
            ("original", b"value" if small else b"archive"),
        ]
        return Message(contest_id.encode(), self.original if small else b"", headers)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One publication of the office: everything that it stated at one time, or in one document."""

    snapshot_id: str
    source: str
    statements: tuple[Statement, ...]
    rejections: tuple[Rejection, ...]
    awaited: tuple[str, ...] = ()
    """Of an incomplete publication: what is missing. Its statements and rejections are of what is there."""
    incomplete: tuple[Rejection, ...] = ()
    """Rejections of the units that lack what is `awaited`."""
