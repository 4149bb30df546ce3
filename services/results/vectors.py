"""Compute the contribution of a statement to the count, as a vector of whole numbers (pure).

The total of an area is the sum of the vectors of its units, so an area is the sum of its parts by construction, a
change of one unit is the difference of two vectors, and every figure of every answer is one slot of one vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import add, sub
from typing import Any
from uuid import UUID

from schemas.contest import ContestDefined
from schemas.count_update import Counts, CountUpdate, SubUnits
from schemas.types import SHEET_TYPES, CountStatus, ReviewReason, UpdateKind, adding

VOTERS = ("registered_voters", "registered_voters_counted")
BALLOTS = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "challenged_votes")
SHEETS = (
    "total",
    "processed",
    "counted",
    "counted_normal",
    "annulled",
    "not_installed",
    "under_review",
    "to_be_processed",
    "pending",
    "in_process",
)
REASONS = tuple(reason.value for reason in ReviewReason)

FIGURES = (*VOTERS, *BALLOTS, "annulled_ballots", *SHEETS)
_SLOT = {name: slot for slot, name in enumerate(FIGURES)}
_REASON = {reason: len(FIGURES) + i for i, reason in enumerate(REASONS)}
_VOTES_FROM = len(FIGURES) + len(REASONS)

Vector = list[int]
"""FIGURES, then one slot per review reason, then one per selection in ballot order."""


@dataclass(slots=True)
class AreaTotal:
    """The sum over an area's units of one type, and the last update that changed it."""

    vector: Vector
    stated_at: datetime | None = None
    """The latest official time of an update that changed it."""
    last_offset: int = -1
    last_event_id: UUID | None = None
    since: list[int] = field(default_factory=list)
    """Offsets of the updates since its last block."""
    kept_at: int = -1
    """Where its last block ends."""

    def put(self, change: Vector, stated_at: datetime, offset: int, event_id: UUID | None) -> None:
        """Add the change of an update."""
        self.vector = list(map(add, self.vector, change))
        if self.stated_at is None or stated_at > self.stated_at:
            self.stated_at = stated_at
        if offset > self.last_offset:
            self.last_offset, self.last_event_id = offset, event_id


@dataclass(frozen=True)
class Layout:
    """The layout of a contest's vectors: each selection's slot."""

    selections: tuple[str, ...]

    @classmethod
    def of(cls, contest: ContestDefined) -> "Layout":
        """Return the layout of a contest."""
        return cls(contest.selection_ids)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all slots: `votes.peru-libre`, `ballots_cast`, `under_review.ILLEGIBLE`, …"""
        return (*FIGURES, *(f"under_review.{r}" for r in REASONS), *(f"votes.{s}" for s in self.selections))

    @cached_property
    def slots(self) -> dict[str, int]:
        """All slots by name."""
        return {name: slot for slot, name in enumerate(self.names)}

    @property
    def votes_from(self) -> int:
        """The slot of the first selection; the others follow."""
        return _VOTES_FROM

    @cached_property
    def size(self) -> int:
        """The number of slots in a vector."""
        return _VOTES_FROM + len(self.selections)

    def zero(self) -> Vector:
        """Return a vector with nothing counted."""
        return [0] * self.size

    def contribution(self, update: CountUpdate) -> Vector:
        """Compute the contribution of an update. A figure that is not stated adds nothing."""
        vector = self.zero()
        if update.kind is UpdateKind.RETRACTED:
            return vector
        if update.reporting_unit.type in SHEET_TYPES:
            self._sheet(vector, update)
            return vector
        if update.sub_units is not None:
            _bulletin(vector, update.sub_units)
        self._settled(vector, update)
        return vector

    def _settled(self, vector: Vector, update: CountUpdate) -> None:
        """Add the figures of a unit whose votes count, or the ballots of an annulled one, as null votes."""
        counts = update.counts
        if update.count_status in adding(update.reporting_unit.type):
            self._add_counts(vector, counts)
        elif update.count_status is CountStatus.ANNULLED and counts is not None:
            for name in ("ballots_cast", "invalid_votes", "annulled_ballots"):
                vector[_SLOT[name]] = counts.ballots_cast or 0

    def _add_counts(self, vector: Vector, counts: Counts | None) -> None:
        if counts is None:
            return
        for slot, name in enumerate((*VOTERS, *BALLOTS)):
            vector[slot] = getattr(counts, name) or 0
        for slot, selection in enumerate(self.selections, _VOTES_FROM):
            vector[slot] = counts.votes.get(selection) or 0
        if counts.valid_votes is None:
            vector[_SLOT["valid_votes"]] = sum(vector[_VOTES_FROM:])

    def _sheet(self, vector: Vector, update: CountUpdate) -> None:
        counts, status = update.counts, update.count_status
        roll = (counts.registered_voters or 0) if counts is not None else 0
        self._settled(vector, update)
        if status in (CountStatus.UNDER_REVIEW, CountStatus.LOST):
            reason = update.review_reason or (ReviewReason.LOST if status is CountStatus.LOST else ReviewReason.OTHER)
            vector[_REASON[reason.value]] = 1
        vector[0] = roll
        # As in ONPE's bulletins: electores hábiles is the roll of the contabilizadas, with the annulled sheets.
        vector[1] = roll if status in COUNTED_SHEETS else 0
        for slot in SHEET_SLOTS[status]:
            vector[slot] = 1

    def named(self, vector: Vector) -> dict[str, int]:
        """Return all figures of a vector by name."""
        return dict(zip(self.names, vector, strict=True))

    def changes(self, before: Vector, after: Vector) -> dict[str, int]:
        """Return the differences of two vectors by name: after − before, without zeros."""
        return self.nonzero(list(map(sub, after, before)))

    def nonzero(self, vector: Vector) -> dict[str, int]:
        """Return the figures of a vector that are not 0, by name."""
        return {self.names[slot]: value for slot, value in enumerate(vector) if value}

    def votes(self, vector: Vector) -> dict[str, int]:
        """Return the votes by selection, in ballot order."""
        return dict(zip(self.selections, vector[_VOTES_FROM:], strict=True))

    def reasons(self, vector: Vector) -> dict[str, int]:
        """Return the sheets under review by reason."""
        return dict(zip(REASONS, vector[len(FIGURES) : _VOTES_FROM], strict=True))

    def add_changes(self, vector: Vector, changes: Mapping[str, int]) -> None:
        """Add changes, as `changes` returns them, to a vector in place."""
        for name, change in changes.items():
            vector[self.slots[name]] += change

    def widened(self, vector: Sequence[int]) -> Vector:
        """Convert a vector of an earlier layout of the contest, which may have fewer selections, to this one."""
        return [*vector, *[0] * (self.size - len(vector))]

    def vector_of(self, row: Mapping[str, Any]) -> Vector:
        """Make a vector from a row of `area_total`; a missing figure is 0."""
        reasons, votes = row["under_review_by_reason"], row["votes"]
        return [
            *(row.get(n) or 0 for n in FIGURES),
            *(reasons.get(r, 0) for r in REASONS),
            *(votes.get(s, 0) for s in self.selections),
        ]


def _bulletin(vector: Vector, s: SubUnits) -> None:
    for name in SHEETS:
        vector[_SLOT[name]] = getattr(s, name, None) or 0
    for reason, slot in _REASON.items():
        vector[slot] = s.under_review_by_reason.get(reason, 0)


COUNTED_SHEETS = (CountStatus.COUNTED, CountStatus.ANNULLED, CountStatus.NOT_INSTALLED)
SHEET_SLOTS = {
    status: tuple(_SLOT[name] for name in ("total", *names))
    for status, names in {
        CountStatus.COUNTED: ("processed", "counted", "counted_normal"),
        CountStatus.ANNULLED: ("processed", "counted", "annulled"),
        CountStatus.NOT_INSTALLED: ("processed", "counted", "not_installed"),
        CountStatus.UNDER_REVIEW: ("processed", "under_review"),
        CountStatus.LOST: ("processed", "under_review"),
        CountStatus.PENDING: ("to_be_processed", "pending"),
        CountStatus.IN_PROCESS: ("to_be_processed", "in_process"),
    }.items()
}
