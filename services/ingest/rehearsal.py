"""Rehearse a load: say what documents would become, and publish nothing. No broker is needed.

Place in the flow: the work of `contest check`, before everything. It reads and compares as `pipeline` does, with a
memory that begins with the contest's file alone and ends with the process. Documents are archived in a temporary folder
meanwhile; a crash leaves it behind.
"""

import hashlib
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ingest.feeds.records import Limits
from ingest.listener import Listener
from ingest.news.changes import Changes, adopt
from ingest.news.contest_fault import listed
from ingest.news.contest_file import Contest
from ingest.news.contest_memory import ContestMemory
from ingest.news.definitions import expected_sheets, moved_level
from ingest.news.roll_file import RollFile, next_parts
from ingest.news.take_over import in_one_line
from ingest.pipeline import Loader
from ingest.report import SHOWN
from ingest.sources.archive import Archive
from ingest.sources.documents import Documents
from schemas.contest import in_words
from schemas.identity import text_of
from schemas.rules import RULES

_REPORTED = (
    "documents",
    "statements",
    "news",
    "known",
    "rejected",
    "refused_documents",
    "findings",
    "unstated",
    "left_out",
    "rejections",
    "rows_passed_over",
    "other_rows",
)
"""What a check tells of the report of a load."""
_BECOMES = ("published", "passed over", "rejected")


class _PassedOver:
    """Progress that keeps the warnings: of what is not read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str, **about: object) -> None: ...

    def warn(self, line: str, **about: object) -> None:  # noqa: ARG002
        self.lines.append(line)

    def start(self, what: str, rows: int) -> None: ...

    def advance(self, rows: int, news: int, rejected: int) -> None: ...

    def done(self) -> None: ...


def rehearse(contest: Contest, paths: Sequence[Path], stated_at: datetime | None, limits: Limits) -> "Rehearsal":
    """Load documents for a contest that nobody has stated yet, and publish nothing. Raises SourceError."""
    with tempfile.TemporaryDirectory(prefix="escrutinio-check-") as folder, Archive(Path(folder)) as archive:
        rehearsal = Rehearsal(contest, Documents(archive, limits))
        rehearsal.load(paths, stated_at)
    return rehearsal


class Rehearsal(Loader):
    """What documents would become."""

    def __init__(self, contest: Contest, documents: Documents) -> None:
        definition = contest.definition
        self._passed_over = _PassedOver()
        super().__init__(documents, self._passed_over, threading.Event(), Listener())
        self.contest = ContestMemory(definition)
        self._defined = definition
        self._is_complete = contest.complete_publications
        if contest.roll is not None:
            self._enrol(contest.roll)
        self._waits: str | None = None
        self._became: dict[str, Counter[str]] = {}
        """By document, or the tables of one publication."""

    def _enrol(self, roll: RollFile) -> None:
        memory = self.contest
        sha256 = hashlib.sha256(roll.content).hexdigest()
        for part in next_parts(roll.rows, self._defined.contest_id, memory.roll, sha256, self._defined.effective_at):
            refused = memory.roll.accept(part, text_of(part), memory.definition)
            assert refused is None, refused

    def publish(self, compare: Callable[[], Changes], name: str, *, again: bool = False) -> None:
        """Remember what would be published, and count it."""
        changes = compare()
        adopt(self.contest, changes)
        self.report.add(changes, again=again)
        became = self._became.setdefault(name, Counter())
        became["published"] += len(changes.events)
        if not again:
            became["passed over"] += changes.known
            became["rejected"] += changes.rejections.rows

    def _move_level(self) -> None:
        move = moved_level(self.contest)
        self._waits = in_one_line(move.waiting, move.contradictions) if move.waiting else None
        if move.definition is not None:
            self.contest.definition = move.definition

    @property
    def units(self) -> Counter[str]:
        """Count the units that would be stated, by type."""
        return +self.contest.stated

    @property
    def doubts(self) -> list[str]:
        """List where the documents do not fit what the contest's file says of the count."""
        levels = (self._defined.counting_level, *self._defined.later_counting_levels)
        found = []
        if self.units and not any(map(self.contest.count, levels)):
            names = dict.fromkeys(unit_type for level in levels for unit_type in level)
            found.append(
                f"no statement is about a {' or a '.join(names)}, which is what is added up: nothing would "
                f"be counted; the documents state {self._stated()}; see counting_levels"
            )
        for level in levels:
            types = tuple(filter(self._defined.is_sheet, level))
            most, stated = expected_sheets(level, self._defined, self.contest), self.contest.count(types)
            if most is not None and stated > most:
                found.append(
                    f"{stated:,} units of type {in_words(types)} are stated, but {most:,} are expected; "
                    "see expected_units, and whether one unit stands under two ids"
                )
        within = self.contest.sheets_within()
        found += [
            f"{within[area.area_id]:,} sheets are stated in {area.area_id}, but {area.expected_units:,} are expected; "
            "see expected_units in the table of areas, and whether one unit stands under two ids"
            for area in self._defined.areas
            if area.expected_units is not None and within[area.area_id] > area.expected_units
        ]
        if self._waits is not None:
            found.append(self._waits)
        return found

    @property
    def exit_code(self) -> int:
        """Return 0 when all would be loaded, 1 when something is rejected or in doubt, 2 when it cannot be read."""
        return self.report.exit_code or int(bool(self.doubts))

    def as_json(self) -> dict[str, Any]:
        """Return what documents would become, for machines: the report of `load`, of what it would have done."""
        report = self.report.as_json()
        return {
            **{name: report[name] for name in _REPORTED},
            "first_of_findings": dict(sorted(self.report.first.items())),
            "passed_over": self._passed_over.lines,
            "by_document": {name: {what: became[what] for what in _BECOMES} for name, became in self._became.items()},
            "units": dict(sorted(self.units.items())),
            "doubts": self.doubts,
            "counting_level": in_words(self.contest.definition.counting_level),
        }

    def lines(self) -> Iterator[str]:
        """Yield what documents would become, line by line."""
        report = self.report
        news = "".join(f", {n:,} {kind}" for kind, n in sorted(report.news.items()))
        level = self.contest.definition.counting_level
        yield f"{_number(report.documents, 'document')}, {_number(report.statements, 'statement')}"
        yield f"would be published: {_number(report.news.total(), 'statement')}{news}; about {self._stated()}"
        yield f"would be added up: {self.contest.count(level):,} {in_words(level)}"
        yield f"would be passed over, because they repeat others: {report.known:,}"
        if len(self._became) > 1:
            for name, became in list(self._became.items())[:SHOWN]:
                yield f"  {name}: {', '.join(f'{became[what]:,} {what}' for what in _BECOMES)}"
            if len(self._became) > SHOWN:
                yield f"  … and {len(self._became) - SHOWN:,} more"
        for code, number in sorted(report.findings.items()):
            yield f"would be published with a finding: {number:,} × {code} ({RULES[code]})"
        yield from report.lines_of_findings("")
        yield from report.lines_of_other_rows()
        for code, number in sorted(report.rejected.items()):
            yield f"would be rejected: {number:,} × {code} ({RULES[code]})"
        yield from (f"  {rejection}" for rejection in report.rejections)
        if report.rejected.total() > (shown := sum(rejection.rows for rejection in report.rejections)):
            yield f"  … and {report.rejected.total() - shown:,} more; the first {SHOWN} are shown"
        yield from self._passed_over.lines
        yield from (f"in doubt: {doubt}" for doubt in self.doubts)
        if level != self._defined.counting_level:
            yield f"the counting level would move on to {in_words(level)}: every one that is expected is stated"

    def _stated(self) -> str:
        return listed([f"{n:,} {kind}" for kind, n in self.units.items()]) if self.units else "no unit"


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
