"""Count what a run did, and report it to people and machines. Values only; pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.feeds.statement import Rejection
from ingest.news.changes import Changes

SHOWN = 20
"""Rejections shown one by one; the others are counted, and all are in results.rejected."""


@dataclass(slots=True)
class Report:
    """Sums over the documents of a run. `seconds`: wall time of parsing, comparing and sending them."""

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
    """Whether the run was stopped before it had loaded every document."""

    def add(self, changes: Changes, *, again: bool = False) -> None:
        """Add the changes of a batch. `again`: it was run before in this run, so only what is new counts."""
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
        """Count the rejected rows, without the whole documents."""
        return self.rejected.total() - self.refused_documents

    @property
    def exit_code(self) -> int:
        """Return 0 when all was loaded, 1 when rows were rejected, 2 when a document was refused or the run stopped."""
        if self.refused_documents or self.stopped:
            return 2
        return 1 if self.rejected else 0

    @property
    def rate(self) -> int:
        """Statements a second, over everything in a run except reading the log."""
        return round(self.statements / self.seconds) if self.seconds else 0

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
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
        """Yield the report for people, line by line."""
        news = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.news.items())) or "none"
        documents = "1 document" if self.documents == 1 else f"{self.documents:,} documents"
        yield f"{documents}, {self.statements:,} statements in {self.seconds:.1f} s ({self.rate:,}/s)"
        yield f"news: {news}; nothing new: {self.known:,}; heartbeats: {self.heartbeats:,}"
        if self.late:
            yield (
                f"{self.late:,} of the news arrived late and were added to the history; documents of a later time from "
                "earlier runs are to be loaded once more, in case they only repeated the figures before"
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
            yield "stopped before every document was loaded; running the same again does the rest"
        for what in self.awaited:
            yield f"waiting for {what}"
