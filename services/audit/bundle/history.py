"""Find the statement of the log that a row of a document only repeats, as ingest decides it (pure).

A row is no news where its figures are published for its time, or were in force then. `docs/documents.md`, "How a row
becomes an event", is the rule.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from schemas.columns.layout import (
    COUNTS,
    KINDS,
    NONE,
    NOT_ON_BALLOT,
    Layout,
    Mask,
    Numbers,
    has_all_votes,
    sum_of_votes,
)
from schemas.columns.statement_batch import StatementBatch
from schemas.types import UpdateKind

NEWS, AGAIN, REPEATED, OLDER = range(4)
"""What a row is: it would be news; published for its time already; the latest figures, for a later time; figures that
were in force for its time once, with others since."""
_RETRACTED = KINDS.index(UpdateKind.RETRACTED)
_VALID = COUNTS.index("valid_votes")
_BESIDE = ("office_note", "signed_at", "registered_at", "recount", "rules_version", "by_vote_type")
"""What stands beside the figures: where a row lacks it, it is not withdrawn."""


class History:
    """The statements of a contest that count, by unit and official time."""

    def __init__(self, batch: StatementBatch, layout: Layout) -> None:
        self._batch, self._layout = batch, layout
        self._words: dict[bytes | None, int] = {}
        entries = np.flatnonzero(batch.is_judged & batch.is_sound)
        self._order = entries[np.lexsort((batch.offset[entries], batch.stated[entries], batch.unit[entries]))]
        self._content = self._of(batch.group, batch.status, batch.reason, batch.words, batch.figures)
        self._content[batch.kind == _RETRACTED] = -9  # it has no figures to repeat

    def _of(
        self, group: Numbers, status: Numbers, reason: Numbers, words: list[bytes | None], figures: Numbers
    ) -> Numbers:
        """Return as numbers everything in which two statements of a unit can differ, but their details."""
        stated = figures.copy()
        valid = stated[:, _VALID]
        summed = (valid == NONE) & has_all_votes(figures) & self._layout.one_vote
        valid[summed] = sum_of_votes(figures[summed])
        word = np.array([self._words.setdefault(text, len(self._words)) for text in words], np.int64)
        return np.column_stack((group, status, reason, word, stated))

    def find(
        self,
        unit: Numbers,
        stated: Numbers,
        group: Numbers,
        status: Numbers,
        reason: Numbers,
        words: list[bytes | None],
        figures: Numbers,
        details: Mapping[int, bytes],
    ) -> Numbers:
        """Return what each row is."""
        content, batch, order = self._of(group, status, reason, words, figures), self._batch, self._order
        times, ranks = np.unique(np.concatenate((batch.stated[order], stated)), return_inverse=True)
        of_log = batch.unit[order] * len(times) + ranks[: len(order)]
        of_rows = unit * len(times) + ranks[len(order) :]
        begin, end = np.searchsorted(of_log, of_rows), np.searchsorted(of_log, of_rows, "right")
        follows = np.searchsorted(batch.unit[order], unit, "right")
        found = np.full(len(unit), NEWS)

        def equal(at: Numbers, rows: Numbers) -> Mask:
            """Say which rows repeat the statements at places of the order."""
            there = at >= 0
            entries = order[np.where(there, at, 0)] if len(order) else np.zeros(len(at), np.int64)
            there[there] &= batch.unit[entries[there]] == unit[rows[there]]
            there[there] &= (self._content[entries[there]] == content[rows[there]]).all(axis=1)
            of_both = zip(np.flatnonzero(there).tolist(), rows[there].tolist(), entries[there].tolist(), strict=True)
            for i, row, entry in of_both if details or batch.details else ():
                if row in details or entry in batch.details:
                    there[i] = _repeats(batch.details.get(entry), details.get(row))
            return there

        rows = np.arange(len(unit))
        same = rows[equal(end - 1, rows)]  # what is in force for that time now
        later = np.where(end[same] == follows[same], REPEATED, OLDER)
        found[same] = np.where(end[same] > begin[same], AGAIN, later)
        first = np.searchsorted(batch.unit[order], unit)
        for row in rows[(found == NEWS) & (end > first)].tolist():
            places = np.arange(first[row], end[row])
            for place in places[equal(places, np.full(len(places), row))].tolist():
                if place >= begin[row]:
                    found[row] = AGAIN
                    break
                after = order[place + 1 : end[row]]  # were in force for that time instead, from when they came
                after = after[batch.stated[after] > batch.stated[order[place]]]
                if (batch.offset[after] > batch.offset[order[place]]).all():
                    found[row] = OLDER
        return found


def _repeats(earlier: bytes | None, now: bytes | None) -> bool:
    before, after = _details(earlier), _details(now)
    beside = {name: after.pop(name) for name in _BESIDE if name in after}
    had = {name: before.pop(name) for name in _BESIDE if name in before}
    return before == after and all(had.get(name) == value for name, value in beside.items())


def _details(content: bytes | None) -> dict[str, Any]:
    """Return of the details of a statement those that are figures, or stand beside them."""
    details: dict[str, Any] = {} if content is None else orjson.loads(content)
    counts = details.get("counts") or {}
    kept = {name: details.get(name) for name in (*_BESIDE[:-1], "sub_units", "counted_with")}
    kept |= {"suppressed": sorted(counts.get("suppressed") or ()), "by_vote_type": counts.get("by_vote_type")}
    return {name: value for name, value in kept.items() if value}


def in_layout(figures: Numbers, slots: Numbers, size: int, of: int) -> Numbers:
    """Return figures, of some slots of a layout of `of` slots, in a later one of `size`, which has more selections."""
    whole = np.full((len(figures), size), NONE, np.int64)
    whole[:, slots] = figures
    whole[:, of :: Layout(("a",)).size - Layout(()).size] = NOT_ON_BALLOT
    return whole
