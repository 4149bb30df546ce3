"""Compare the log with the documents behind it, which are parsed again: what each states, and what became of each row.

Place in the flow: behind `checking`, which has read the messages. Every statement that names documents is found again
in them, with its figures, status, times, unit and place; what operators decided has no document of the office. The
other way round, every row of a document is on the log, or there is a reason why not.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from audit.bundle.evidence import Evidence, OfContest
from audit.bundle.history import AGAIN, NEWS, OLDER, REPEATED, History, in_layout
from audit.bundle.layout import DOCUMENTS
from audit.bundle.outcome import Check, list_of, of_places
from audit.bundle.parsing import COLUMNS, Named, Publication, Rows, numbers_of, parse
from audit.bundle.rejected import Rejected
from audit.bundle.words import Said
from audit.errors import FilesDamaged
from audit.workers import Workers
from runtime.files import read_regular
from schemas.columns.layout import NONE, REASONS, STAGES, STATUSES, Layout, Numbers
from schemas.columns.wire import NO_TIME
from schemas.count_update import CountUpdate
from schemas.identity import is_named_right
from schemas.rules import CLOCK_LIMIT
from schemas.types import CorrectionBasis, from_milliseconds, rfc3339

_CLOCK_LIMIT_MS = CLOCK_LIMIT // timedelta(milliseconds=1)
Key = tuple[tuple[str, ...], tuple[bytes, ...]]
"""Where a statement stands: its documents, and its place in each."""
_OF_OPERATOR = ("correction", "replaced_by", "beyond")
"""Details of an event that its document does not state."""


@dataclass(slots=True)
class _Found:
    """What is found of all contests."""

    faults: list[Said] = field(default_factory=list)
    left_out: list[Said] = field(default_factory=list)
    operators: list[Said] = field(default_factory=list)
    clocks: list[Said] = field(default_factory=list)
    rows: defaultdict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """Numbers of rows that are not on the log, by document, reason and what is said of it."""
    compared: int = 0
    skipped: int = 0
    """Statements whose documents are not here."""
    claimed: int = 0
    """Statements of documents that state no time: whoever loaded them said when they were published."""


class _Work(NamedTuple):
    """A publication to be parsed, and the statements that name it."""

    publication: Publication
    entries: Numbers


def checks_of(
    folder: Path,
    found: Sequence[Evidence],
    rejected: Rejected,
    workers: Workers,
    progress: Callable[[str, int, int], None],
    names: set[str],
) -> Iterator[Check]:
    """Check the documents of a bundle against its log. Adds to `names` those that it explains."""
    contests = [(one.place, of) for one in found for of in one.contests.values()]
    logs = [_Log(place, of, folder) for place, of in contests]
    named: dict[str, str] = {}
    for log in logs:
        for sha256, offset in log.named().items():
            named.setdefault(sha256, f"{log.place} offset {offset:,}")
    names.update(named)
    of_rejected = {one.sha256 for _, of in contests for one in rejected.documents(of.contest.contest_id)}
    names.update(of_rejected)
    if not folder.is_dir():
        yield Check(DOCUMENTS, "", None, Said("documents.unchecked", {"count": len(named)}))
        yield from (Check(code, "", None, Said("no_documents")) for code in ("statements", "rows", "not_summed"))
        return
    there = {sha256: "a rejection" for sha256 in sorted(of_rejected) if (folder / sha256).exists()}
    faults = dict(_faults(folder, there | named))
    yield of_places(DOCUMENTS, "", list(faults.values()), count=len(named))
    made, done = _Found(), 0
    for log in logs:
        work = list(log.work(faults, made, rejected))
        publications = [one.publication for one in work]
        size = sum((folder / document.sha256).stat().st_size for one in publications for document in one.documents)
        for one, rows in zip(work, workers.map(parse, publications, size), strict=True):
            log.compare(one, rows, made, rejected)
            done += 1
            progress(DOCUMENTS, done, len(work))
    about = {"count": made.compared, "claimed": made.claimed, "skipped": made.skipped}
    yield of_places("statements", "", made.faults, **about)
    yield of_places("rows", "", made.left_out)
    listed = [_listed(*of, numbers) for of, numbers in sorted(made.rows.items())]
    yield list_of("not_summed", "", listed, rows=sum(map(len, made.rows.values())))
    yield list_of("operators", "", made.operators)
    if made.clocks:
        yield list_of("clocks", "", made.clocks)
    yield from rejected.checks()


def _faults(folder: Path, named: Mapping[str, str]) -> Iterator[tuple[str, Said]]:
    for sha256, place in named.items():
        about = {"sha256": sha256, "place": place}
        try:
            is_it = hashlib.sha256(read_regular(folder / sha256)).hexdigest() == sha256
        except FileNotFoundError:
            yield sha256, Said("documents.missing", about)
        except OSError as error:
            raise FilesDamaged.unread(folder / sha256, error) from error
        else:
            if not is_it:
                yield sha256, Said("documents.swapped", about)


class _Log:
    """The statements of a contest, by the documents that they name."""

    def __init__(self, place: str, of: OfContest, folder: Path) -> None:
        self.place, self._of, self._batch, self._folder = place, of, of.statements, folder
        numbers: dict[bytes, int] = {}
        texts = self._batch.publications
        self._publication = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
        self._documents = [
            tuple(Named(d["sha256"], d["name"], d["uri"]) for d in orjson.loads(text)["documents"]) for text in numbers
        ]
        self._shas = [tuple(one.sha256 for one in documents) for documents in self._documents]
        self._operators = [
            entry
            for entry, update in self._batch.updates.items()
            if update.correction is not None and update.correction.basis is CorrectionBasis.OPERATOR
        ]
        places = zip(self._publication.tolist(), self._batch.places, strict=True)
        self._keys: list[Key] = [(self._shas[number], place) for number, place in places]
        self._used = set(self._keys)
        self._history: History | None = None
        is_office = np.ones(len(self._batch), bool)
        is_office[self._operators] = False
        self._office = np.flatnonzero(is_office)
        self._last = int(self._office[-1]) if len(self._office) else -1

    def named(self) -> dict[str, int]:
        """Return the documents that are named, with the first offset at which each is."""
        first: dict[str, int] = {}
        numbers, entries = np.unique(self._publication, return_index=True)
        for number, entry in sorted(zip(numbers.tolist(), entries.tolist(), strict=True), key=lambda pair: pair[1]):
            for sha256 in self._shas[number]:
                first.setdefault(sha256, int(self._batch.offset[entry]))
        for roll in self._of.rolls:
            first.setdefault(roll.roll.document_sha256, roll.offset)
        return first

    def work(self, faults: Mapping[str, Said], found: _Found, rejected: Rejected) -> Iterator[_Work]:
        """Yield the publications to be parsed, and note the statements of operators and of no document."""
        for one in self._of.definitions:
            about = {"contest": self._of.contest.contest_id, "revision": one.definition.revision}
            found.operators.append(Said("operators.definition", {"log": self.place, "offset": one.offset} | about))
        for entry in self._operators:
            decided = self._decided(entry)
            found.operators.append(decided)
            if not decided.of["signed"] and not faults.keys() & set(self._keys[entry][0]):
                found.faults.append(self._said("statements.undecided", entry))
        groups: dict[frozenset[str], list[int]] = {}
        for number, shas in enumerate(self._shas):
            groups.setdefault(frozenset(shas), []).append(number)
        for group, numbers in groups.items():
            entries = self._office[np.isin(self._publication[self._office], numbers)]
            if not group:
                found.faults += (self._said("statements.no_document", entry) for entry in entries.tolist())
            elif group & faults.keys():
                found.skipped += len(entries)
            elif len(entries):
                yield from self._by_definition(self._documents[numbers[0]], entries)
        for document in rejected.documents(self._of.contest.contest_id):
            is_read = any(document.sha256 in shas for shas in self._shas) or document.sha256 in faults
            if not is_read and (self._folder / document.sha256).is_file():
                observed = self._of.contest.effective_at
                publication = Publication(self._folder, (document,), self._of.contest, observed, None)
                yield _Work(publication, np.zeros(0, np.int64))

    def _by_definition(self, documents: tuple[Named, ...], entries: Numbers) -> Iterator[_Work]:
        """Yield the publication once for each definition that was in force when something of it came."""
        offsets = self._batch.offset[entries]
        ends = np.searchsorted(offsets, [one.offset for one in self._of.definitions]).tolist()
        for definition, (begin, end) in zip(self._of.definitions, pairwise((*ends, len(entries))), strict=True):
            if begin == end:
                continue
            some = entries[begin:end]
            times, counts = np.unique(
                self._batch.stated[some[self._batch.reported[some] == NO_TIME]], return_counts=True
            )
            stated_at = from_milliseconds(int(times[counts.argmax()])) if len(times) else None
            observed_at = from_milliseconds(int(self._batch.observed[some[0]]))
            yield _Work(Publication(self._folder, documents, definition.definition, observed_at, stated_at), some)

    # --- from the log to the documents

    def compare(self, work: _Work, rows: Rows, found: _Found, rejected: Rejected) -> None:
        """Compare statements with the rows of their documents, and say what became of the other rows."""
        batch, contest = self._batch, work.publication.contest
        index = batch.index
        units = np.fromiter(map(index.number, rows.keys), np.int64, len(rows.keys))
        groups = np.array([index.group(*of) for of in rows.groups], np.int64)
        columns = rows.columns | {
            "unit": units[rows.columns["unit"]],
            "group": groups[rows.columns["group"]],
        }
        size, of = batch.figures.shape[1], Layout.of(contest).size
        figures = in_layout(rows.figures, rows.slots, size, of)
        keys: list[Key] = list(zip(rows.documents, rows.places, strict=True))
        row_of = {key: row for row, key in enumerate(keys)}
        matched, places = list[int](), list[int]()
        for entry in work.entries.tolist():
            if (row := row_of.get(self._keys[entry])) is None:
                found.faults.append(self._unfounded(entry, rows))
            else:
                matched.append(entry)
                places.append(row)
        found.faults += (self._said("statements.again", matched[i]) for i in _later_again(places))
        entries, at = np.array(matched, np.int64), np.array(places, np.int64)
        found.compared += len(entries)
        found.claimed += 0 if rows.times else len(entries)
        self._differ(entries, at, rows, columns, figures, found)
        rejected.compare(rows, is_alone=len(work.publication.documents) == 1)
        for rejection in rows.rejections if len(work.publication.documents) == 1 else ():
            if rejection.finding.rejects:
                why = "refused" if rejection.whole_document else "rejected"
                found.rows[rejection.sha256, why, rejection.finding.code] += numbers_of(rejection.place)
        ends_at = None
        if self._last >= 0 and (last := row_of.get(self._keys[self._last])) is not None:
            ends_at = int(columns["order"][last])
        others = np.array([row for row, key in enumerate(keys) if key not in self._used], np.int64)
        self._used.update(keys)  # another parsing of the document tells of none twice
        if len(work.entries) or rows.times:
            is_alone = len(work.publication.documents) == 1
            self._explain(others, rows, columns, figures, ends_at, found, rejected, is_alone=is_alone)
        for passed in rows.passed_over:
            found.rows[passed.sha256, "passed_over", passed.what] += passed.rows

    def _differ(
        self, entries: Numbers, at: Numbers, rows: Rows, columns: Mapping[str, Numbers], figures: Numbers, found: _Found
    ) -> None:
        batch = self._batch
        ahead = self._ahead(entries, at, columns, found)
        unlike = {name: getattr(batch, name)[entries] != columns[name][at] for name in COLUMNS}
        if ahead:
            for name in ("reported", "stated"):
                unlike[name] = getattr(batch, name)[entries] != columns[name][at] - ahead
        unlike["figures"] = (batch.figures[entries] != figures[at]).any(axis=1)
        for name, here, there in (("names", batch.names, rows.names), ("words", batch.words, rows.words)):
            pairs = zip(entries.tolist(), at.tolist(), strict=True)
            unlike[name] = np.array([here[entry] != there[row] for entry, row in pairs], bool)
        differing = np.logical_or.reduce(list(unlike.values())) if len(entries) else np.zeros(0, bool)
        for i in np.flatnonzero(differing).tolist():
            entry, row = int(entries[i]), int(at[i])
            for name, mask in unlike.items():
                if mask[i]:
                    for what, log, document in self._sides(name, entry, row, rows, columns, figures):
                        self._say_difference(entry, what, log, document, found)
        for i, (entry, row) in enumerate(zip(entries.tolist(), at.tolist(), strict=True)):
            if (entry in batch.details or row in rows.details) and not differing[i]:
                log_has, document_has = _stated(batch.details.get(entry)), _stated(rows.details.get(row))
                if ahead:
                    log_has.pop("registered_at", None)
                    document_has.pop("registered_at", None)
                for name in sorted(log_has.keys() | document_has.keys()):
                    if log_has.get(name) != document_has.get(name):
                        sides = _short(log_has.get(name)), _short(document_has.get(name))
                        self._say_difference(entry, name, *sides, found)

    def _ahead(self, entries: Numbers, at: Numbers, columns: Mapping[str, Numbers], found: _Found) -> int:
        """Return by what all official times of a publication are before those of its documents: a clock that is known
        to be ahead, as it was declared to ingest. 0 where they differ otherwise."""
        log, documents = self._batch.reported[entries], columns["reported"][at]
        timed = (log != NO_TIME) & (documents != NO_TIME)
        ahead = np.unique(documents[timed] - log[timed])
        if len(ahead) != 1 or not ahead[0] or ahead[0] % 1000 or abs(ahead[0]) > _CLOCK_LIMIT_MS:
            return 0  # ingest is told whole seconds, and no more than this
        about = {
            "count": int(timed.sum()),
            "seconds": int(ahead[0]) // 1000,
            "offset": int(self._batch.offset[entries[0]]),
        }
        found.clocks.append(Said("clocks.place", about))
        return int(ahead[0])

    def _sides(
        self, name: str, entry: int, row: int, rows: Rows, columns: Mapping[str, Numbers], figures: Numbers
    ) -> Iterator[tuple[str, str, str]]:
        """Yield what differs, as the log and as the document has it."""
        batch, index = self._batch, self._batch.index
        if name == "figures":
            for slot in np.flatnonzero(batch.figures[entry] != figures[row]).tolist():
                yield self._of.layout.names[slot], _figure(batch.figures[entry][slot]), _figure(figures[row][slot])
            return
        if name in ("names", "words"):
            here, there = getattr(batch, name)[entry], getattr(rows, name)[row]
            yield {"names": "name", "words": "source_status"}[name], _text(here), _text(there)
            return
        read: Mapping[str, Callable[[int], str]] = {
            "unit": lambda number: str(index.keys[number]),
            "group": lambda number: "/".join(index.groups[number][1]),
            "reported": _time,
            "stated": _time,
            "status": lambda code: STATUSES[code].value,
            "reason": lambda code: "-" if code == NONE else REASONS[code],
            "stage": lambda code: STAGES[code].value,
        }
        yield _FIELDS[name], read[name](int(getattr(batch, name)[entry])), read[name](int(columns[name][row]))

    def _say_difference(self, entry: int, what: str, log: str, document: str, found: _Found) -> None:
        found.faults.append(self._said("statements.differs", entry, what=what, log_has=log, document_has=document))

    def _unfounded(self, entry: int, rows: Rows) -> Said:
        """Say why the documents of a statement do not have it."""
        shas, places = self._keys[entry]
        at = {(sha256, place.decode()) for sha256, place in zip(shas, places, strict=False)}
        for rejection in rows.rejections:
            row = rejection.place.partition(", column ")[0]
            if rejection.finding.rejects and rejection.sha256 in shas and (not row or (rejection.sha256, row) in at):
                code = "statements.refused" if row else "statements.unreadable"
                return self._said(code, entry, fault=str(rejection.finding))
        return self._said("statements.invented", entry)

    def _said(self, code: str, entry: int, **about: Any) -> Said:
        (shas, places), offset = self._keys[entry], int(self._batch.offset[entry])
        unit = str(self._batch.index.keys[int(self._batch.unit[entry])])
        row = ", ".join(place.decode() for place in places[:1])
        return Said(
            code,
            {"log": self.place, "offset": offset, "unit": unit, "sha256": shas[0] if shas else "", "row": row} | about,
        )

    def _decided(self, entry: int) -> Said:
        """Say who decided what no document of the office states: from the documents that two people signed by name."""
        update, proposal, decision = self._batch.updates[entry], None, dict[str, Any]()
        for sha256 in self._shas[int(self._publication[entry])]:
            try:
                content = orjson.loads(read_regular(self._folder / sha256, 1 << 24))
                if "proposed_by" in content:
                    event = CountUpdate.model_validate_json(orjson.dumps(content["event"]))
                    is_it = event.event_id == update.event_id and is_named_right(event)
                    proposal = sha256 if is_it else None
                decision |= dict(content)
            except (OSError, ValueError, TypeError, KeyError):
                continue  # the table of figures, or what is no decision
        names = {name: str(decision.get(name, "?")) for name in ("proposed_by", "confirmed_by")}
        confirmed = decision.get("proposal_sha256"), decision.get("event_id")
        is_signed = (
            proposal is not None
            and confirmed == (proposal, str(update.event_id))
            and "?" not in names.values()
            and names["proposed_by"].split() != names["confirmed_by"].split()
        )
        return self._said("operators.place", entry, kind=update.kind.value, signed=is_signed, **names)

    # --- from the documents to the log

    def _explain(
        self,
        others: Numbers,
        rows: Rows,
        columns: Mapping[str, Numbers],
        figures: Numbers,
        ends_at: int | None,
        found: _Found,
        rejected: Rejected,
        *,
        is_alone: bool,
    ) -> None:
        if not len(others):
            return
        self._history = self._history or History(self._batch, self._of.layout)
        known = self._history.find(
            columns["unit"][others],
            columns["stated"][others],
            columns["group"][others],
            columns["status"][others],
            columns["reason"][others],
            [rows.words[row] for row in others.tolist()],
            figures[others],
            {i: rows.details[row] for i, row in enumerate(others.tolist()) if row in rows.details},
        )
        for why, name in _WHY.items():
            for row in others[known == why].tolist():
                found.rows[rows.documents[row][0], name, ""] += rows.numbers[row]
        for row in others[known == NEWS].tolist():
            sha256, place = rows.documents[row][0], rows.places[row][0].decode()
            code = rejected.code_of(sha256, place)
            if code is not None and not (is_alone and code in _OF_ITSELF):
                found.rows[sha256, "excused", code] += rows.numbers[row]
            elif (finding := rows.refused.get(row)) is not None:
                found.rows[sha256, "rejected", finding.code] += rows.numbers[row]
            elif ends_at is not None and columns["order"][row] > ends_at:
                found.rows[sha256, "log_ends", ""] += rows.numbers[row]
            else:
                unit = str(self._batch.index.keys[int(columns["unit"][row])])
                about = {"sha256": sha256, "row": place, "unit": unit, "stated": _time(int(columns["stated"][row]))}
                found.left_out.append(Said("rows.place", about))


_OF_ITSELF = ("F201", "F203", "F206")
"""Rules that a row breaks whatever the log has: parsing finds them too, or a record of them is invented."""
_WHY = {AGAIN: "again", REPEATED: "repeated", OLDER: "older"}
_FIELDS = {
    "unit": "unit", "group": "area_path", "reported": "reported_at", "stated": "stated_at", "status": "count_status",
    "reason": "review_reason", "stage": "result_stage",
}  # fmt: skip


def _later_again(places: Sequence[int]) -> Iterator[int]:
    """Yield the places in a list of what stands in it before."""
    seen = set[int]()
    for i, place in enumerate(places):
        if place in seen:
            yield i
        seen.add(place)


def _stated(details: bytes | None) -> dict[str, Any]:
    content: dict[str, Any] = {} if details is None else orjson.loads(details)
    return {name: value for name, value in content.items() if name not in _OF_OPERATOR}


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 200 else f"{text[:199]}…"


def _figure(value: Any) -> str:
    return "-" if value < 0 else f"{int(value):,}"


def _text(value: bytes | None) -> str:
    return "-" if value is None else value.decode()[:200]


def _time(milliseconds: int) -> str:
    return "-" if milliseconds == NO_TIME else rfc3339(from_milliseconds(milliseconds))


def _listed(sha256: str, why: str, of: str, numbers: Sequence[int]) -> Said:
    rows = runs(numbers)
    return Said(f"not_summed.{why}", {"sha256": sha256, "of": of, "count": len(numbers), "rows": rows})


def runs(numbers: Iterable[int]) -> str:
    """Write numbers as `3, 5-9`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)
