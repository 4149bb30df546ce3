"""Count what a run did, and report it to people and machines. Values only; pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.feeds.statement import PassedOver, Rejection, Rejections
from ingest.news.changes import Changes
from ingest.news.summary import Defined, Enrolled
from schemas.count_update import CountUpdate
from schemas.rules import Finding, unstated

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
    """By code: F109 once for a source and a figure, F118 once for a type, the others once for an update or a place."""
    first: dict[str, str] = field(default_factory=dict)
    """The first finding of an update of each code but F109 and F118, with its unit."""
    unstated: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Counted units that do not state a figure (F109), by source and figure."""
    added_nowhere: Counter[str] = field(default_factory=Counter)
    """Units of no type that is added up, or an area's (F118), by type."""
    left_out: list[Rejection] = field(default_factory=list)
    """Evidence that is left out of statements, and what is odd about documents."""
    other_rows: list[PassedOver] = field(default_factory=list)
    """Rows that state nothing about the contest, the first of them."""
    rows_passed_over: int = 0
    defined: list[Defined] = field(default_factory=list)
    """Definitions that were published, and the one that a `define` has found unchanged."""
    rolls: list[Enrolled] = field(default_factory=list)
    """Rolls that were published, or found unchanged by a `define`."""
    waiting: str | None = None
    """Why the counting level does not move on, although every unit of the next one is stated."""
    seconds: float = 0.0
    rejections: list[Rejection] = field(default_factory=list)
    awaited: tuple[str, ...] = ()
    passed_over: list[str] = field(default_factory=list)
    """Why documents were not read."""
    undelivered: int = 0
    """Rejections that results.rejected does not take; they are in the log lines."""
    stopped: bool = False
    """Whether the run was stopped before it had loaded every document."""

    def add(self, changes: Changes, *, again: bool = False) -> list[tuple[CountUpdate, Finding]]:
        """Add the changes of a batch. `again`: it was run before in this run, so only what is new counts.

        Returns the findings of updates that are new: that a source does not state a figure is one.
        """
        if again:
            changes = replace(
                changes, statements=0, known=0, rejections=Rejections(), left_out=Rejections(), passed_over=[]
            )
        findings = list(self._new(changes.findings))
        self.statements += changes.statements
        self.news.update({kind.value: number for kind, number in changes.events.kinds().items()})
        self.findings.update(finding.code for _, finding in findings)
        for update, finding in findings:
            if finding.code not in ("F109", "F118"):
                self.first.setdefault(finding.code, f"{update.unit} {finding.message}")
        for odd in changes.left_out:
            self.findings[odd.finding.code] += odd.rows
            if len(self.left_out) < SHOWN:
                self.left_out.append(odd)
        self.other_rows.extend(changes.passed_over[: SHOWN - len(self.other_rows)])
        self.rows_passed_over += sum(len(rows.rows) for rows in changes.passed_over)
        self.heartbeats += len(changes.heartbeats)
        self.known += changes.known
        self.late += len(changes.late)
        for rejection in changes.rejections:
            self.rejected[rejection.finding.code] += rejection.rows
            self.refused_documents += rejection.whole_document
            if len(self.rejections) < SHOWN:
                self.rejections.append(rejection)
        return findings

    def _new(self, findings: Iterable[tuple[CountUpdate, Finding]]) -> Iterator[tuple[CountUpdate, Finding]]:
        for update, finding in findings:
            if finding.code == "F118":
                self.added_nowhere[update.unit.type] += 1
                if self.added_nowhere[update.unit.type] > 1:
                    continue
            if finding.code != "F109":
                yield update, finding
                continue
            for figure in unstated(update):
                self.unstated[update.source.name, figure] += 1
                if self.unstated[update.source.name, figure] == 1:
                    yield update, Finding("F109", f"{update.source.name} does not state {figure} of {update.unit}")

    @property
    def rows_rejected(self) -> int:
        """Count the rejected rows, without the whole documents."""
        return self.rejected.total() - self.refused_documents

    @property
    def _unstated(self) -> list[tuple[tuple[str, str], int]]:
        """Return what sources do not state, the most units first."""
        return sorted(self.unstated.items(), key=lambda item: (-item[1], item[0]))

    @property
    def exit_code(self) -> int:
        """Return 0 when all was loaded, 1 when rows were rejected, 2 when something was not loaded at all."""
        if self.refused_documents or self.passed_over or self.undelivered or self.stopped:
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
            "definitions": [defined.as_json() for defined in self.defined],
            "rolls": [enrolled.as_json() for enrolled in self.rolls],
            "waiting": self.waiting,
            "refused_documents": self.refused_documents,
            "rejected": dict(sorted(self.rejected.items())),
            "findings": dict(sorted(self.findings.items())),
            "unstated": [
                {"source": source, "figure": figure, "units": units} for (source, figure), units in self._unstated
            ],
            "added_nowhere": dict(sorted(self.added_nowhere.items())),
            "rejections": [_as_json(rejection) for rejection in self.rejections],
            "left_out": [_as_json(odd) for odd in self.left_out],
            "rows_passed_over": self.rows_passed_over,
            "other_rows": [rows.as_json() for rows in self.other_rows],
            "awaited": list(self.awaited),
            "passed_over": self.passed_over,
            "undelivered": self.undelivered,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "statements_per_second": self.rate,
        }

    def lines_of_definitions(self) -> Iterator[str]:
        """Yield what was defined: the whole report of `define`."""
        for defined in self.defined:
            yield from defined.lines()
        for enrolled in self.rolls:
            yield from enrolled.lines()
        if self.waiting:
            yield self.waiting

    def lines_of_findings(self, where: str = ", all in results.rejected") -> Iterator[str]:
        """Yield of each finding the first, of each figure that is not stated by how many, and what was left out.

        `where`: what of it is not shown can be found.
        """
        for code, first in sorted(self.first.items()):
            yield f"  {code}, the first: {first}"
        for (source, figure), units in self._unstated[:SHOWN]:
            yield f"  F109 {source} does not state {figure} of {units:,} counted unit{'s' * (units > 1)}"
        if len(self._unstated) > SHOWN:
            yield f"  … and {len(self._unstated) - SHOWN:,} more figures that are not stated"
        yield from self._lines_of_types()
        for odd in self.left_out:
            yield f"  {odd}"
        beside = sum(self.findings[code] for code in ("F112", "F113", "F117"))
        if more := beside - sum(odd.rows for odd in self.left_out):
            yield f"  … and {more:,} more left out{where}"

    def lines_of_other_rows(self) -> Iterator[str]:
        """Yield the rows that are not the contest's."""
        yield from map(str, self.other_rows)
        if more := self.rows_passed_over - sum(len(rows.rows) for rows in self.other_rows):
            yield f"… and {more:,} more rows passed over"

    def _lines_of_types(self) -> Iterator[str]:
        """Yield what is silently left out of the count, unless somebody asks: units of a type that is in no level."""
        for unit_type, number in sorted(self.added_nowhere.items()):
            statements = "1 statement is" if number == 1 else f"{number:,} statements are"
            yield (
                f"  F118 {statements} about a unit of type {unit_type}, which is no area's and is added up nowhere; "
                "see counting_levels of the contest's file"
            )

    def lines(self) -> Iterator[str]:
        """Yield the report for people, line by line."""
        yield from self.lines_of_definitions()
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
            yield from self.lines_of_findings()
        yield from self.lines_of_other_rows()
        if self.rejected:
            codes = ", ".join(f"{n:,} × {code}" for code, n in sorted(self.rejected.items()))
            yield f"rejected: {self.rows_rejected:,} rows and {self.refused_documents:,} whole documents ({codes})"
            for rejection in self.rejections:
                yield f"  {rejection}"
            shown = sum(rejection.rows for rejection in self.rejections)
            if self.rejected.total() > shown:
                yield f"  … and {self.rejected.total() - shown:,} more, all in results.rejected"
        if self.stopped:
            yield "stopped before every document was loaded; running the same again does the rest"
        if self.undelivered:
            yield f"{self.undelivered:,} rejections could not be put on results.rejected; running it again sends them"
        yield from self.passed_over
        for what in self.awaited[:SHOWN]:
            yield f"waiting for {what}"
        if len(self.awaited) > SHOWN:
            yield f"waiting for {len(self.awaited) - SHOWN:,} more"


def _as_json(rejection: Rejection) -> dict[str, Any]:
    return {
        "code": rejection.finding.code,
        "message": rejection.finding.message,
        "document": rejection.document,
        "sha256": rejection.sha256,
        "place": rejection.place or None,
        "rows": rejection.rows,
        "expected": rejection.expected,
        "id": str(rejection.id),
    }
