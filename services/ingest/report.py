"""What a run did, in numbers and in words. Values only; pure.

Place in the flow: filled by `pipeline`, shown by `cli`. A crash loses the report, never what it reports.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.feeds.statement import Rejection
from ingest.news.changes import Changes

SHOWN = 20
"""Rejections told one by one; the rest are counted, and all are in results.rejected."""


@dataclass(slots=True)
class Report:
    """Sums over the documents of a run. `seconds` are wall time of reading, comparing and sending them."""

    documents: int = 0
    statements: int = 0
    news: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    known: int = 0
    late: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refused_documents: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    definitions: int = 0
    seconds: float = 0.0
    rejections: list[Rejection] = field(default_factory=list)
    awaited: tuple[str, ...] = ()
    stopped: bool = False
    """Whether the run was stopped before it had taken every document."""

    def add(self, changes: Changes, *, again: bool = False) -> None:
        """Counts what a batch brought. `again`: it was read before in this run, and only what is new counts."""
        if again:
            changes = replace(changes, statements=0, known=0, rejections=[])
        self.statements += changes.statements
        self.news.update(event.kind.value for event in changes.events)
        self.findings.update(finding.code for _, finding in changes.findings)
        self.heartbeats += len(changes.heartbeats)
        self.known += changes.known
        self.late += len(changes.late)
        for rejection in changes.rejections:
            self.rejected[rejection.finding.code] += 1
            self.refused_documents += rejection.whole_document
            if len(self.rejections) < SHOWN:
                self.rejections.append(rejection)

    @property
    def rows_rejected(self) -> int:
        """Rejections of rows: those of whole documents are counted beside."""
        return self.rejected.total() - self.refused_documents

    @property
    def exit_code(self) -> int:
        """0: everything was taken; 1: some rows were rejected; 2: a document could not be read, or the run was stopped."""
        if self.refused_documents or self.stopped:
            return 2
        return 1 if self.rejected else 0

    @property
    def rate(self) -> int:
        """Statements a second, over everything a run does but the reading of the log."""
        return round(self.statements / self.seconds) if self.seconds else 0

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "documents": self.documents,
            "statements": self.statements,
            "news": dict(sorted(self.news.items())),
            "known": self.known,
            "late": self.late,
            "heartbeats": self.heartbeats,
            "definitions": self.definitions,
            "refused_documents": self.refused_documents,
            "rejected": dict(sorted(self.rejected.items())),
            "findings": dict(sorted(self.findings.items())),
            "rejections": [
                {
                    "code": r.finding.code,
                    "message": r.finding.message,
                    "document": r.uri,
                    "sha256": r.sha256,
                    "place": r.place or None,
                    "expected": r.expected,
                    "id": str(r.id),
                }
                for r in self.rejections
            ],
            "awaited": list(self.awaited),
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "statements_per_second": self.rate,
        }

    def lines(self) -> Iterator[str]:
        """The report for people, a line at a time."""
        news = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.news.items())) or "none"
        documents = "1 document" if self.documents == 1 else f"{self.documents:,} documents"
        yield f"{documents}, {self.statements:,} statements in {self.seconds:.1f} s ({self.rate:,}/s)"
        yield f"news: {news}; nothing new: {self.known:,}; heartbeats: {self.heartbeats:,}"
        if self.late:
            yield (
                f"{self.late:,} of the news arrived late and took their place in history; documents of a later time from "
                "earlier runs are to be loaded once more, in case they only repeated what stood until then"
            )
        if self.findings:
            yield "published with findings: " + ", ".join(
                f"{n:,} × {code}" for code, n in sorted(self.findings.items())
            )
        if self.rejected:
            codes = ", ".join(f"{n:,} × {code}" for code, n in sorted(self.rejected.items()))
            yield f"rejected: {self.rows_rejected:,} rows and {self.refused_documents:,} whole documents ({codes})"
            for rejection in self.rejections:
                yield f"  {rejection}"
            if self.rejected.total() > len(self.rejections):
                yield f"  … and {self.rejected.total() - len(self.rejections):,} more, all in results.rejected"
        if self.stopped:
            yield "stopped before every document was taken; running the same again does the rest"
        for what in self.awaited:
            yield f"waiting for {what}"
