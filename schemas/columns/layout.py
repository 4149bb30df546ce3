"""Lay a contest's figures out as columns: what a statement states, what it adds to the count, which rules it breaks.

The total of an area is the sum of the contributions of its units, so an area is the sum of its parts by construction, a
change of one unit is the difference of two contributions, and every figure of every answer is one slot of one vector.
A layout grows only at its end: a vector of an earlier revision of a contest is the beginning of a later one.

Not stated is not zero, in no sum: beside each figure that a statement may lack, a vector counts the units that are
added up and lack it. A statement's own vector has nothing in these slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.contest import SHEETS as SHEET_TYPES
from schemas.contest import ContestDefined
from schemas.count_update import Counts, CountUpdate, SubUnits
from schemas.types import CountStatus, ResultStage, ReviewReason, UpdateKind

Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

NONE = -1
"""A figure that is not stated, which is not zero."""
NOT_ON_BALLOT = -2
"""The votes of a selection that a statement does not name: it stood on none of these ballots, and lacks nothing."""

VOTERS = ("registered_voters", "registered_voters_counted")
BALLOTS = (
    "ballots_cast",
    "valid_votes",
    "blank_votes",
    "invalid_votes",
    "challenged_votes",
    "undervotes",
    "overvotes",
)
COUNTS = (*VOTERS, *BALLOTS)
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
FIGURES = (*COUNTS, "annulled_ballots", *SHEETS)
OF_SHEETS = tuple(name for name in SHEETS if name in SubUnits.model_fields)
"""The numbers of its sheets that an area may state."""
UNITS = ("units", "units_counted", "units_partial", "units_suppressed", "units_unknown", "units_annulled")
"""Units with a statement that stands, and those of them: whose votes and ballots are added up; that are in process and
state votes; that hold figures back; that state something which this release does not know; that are annulled. Of a unit
that is counted with another no votes and ballots are added up."""
NOT_COUNTED = "not_counted."
"""Begins the name of the slot with the votes that units state and that do not count (yet), as under review."""
NOT_STATED = "not_stated."
"""Begins the name of the slot that counts the units which lack a figure."""
ON_BALLOT = "on_ballot."
"""Begins the name of the slot that counts the units which are added up and on whose ballots a selection stood."""

KINDS, STATUSES, STAGES = tuple(UpdateKind), tuple(CountStatus), tuple(ResultStage)
"""Symbols in the order of the wire: a code in a column is a place in these, and in REASONS."""

_SLOT = {name: slot for slot, name in enumerate(FIGURES)}
_REASONS_FROM = len(FIGURES)
_UNITS_FROM = _REASONS_FROM + len(REASONS)
_LACKING_FROM = _UNITS_FROM + len(UNITS)
_LACKING = [_SLOT[name] for name in (*COUNTS, *OF_SHEETS)]
_VOTES_FROM = _LACKING_FROM + len(_LACKING)
_OF_A_SELECTION = ("", NOT_STATED, NOT_COUNTED, ON_BALLOT)
_VOTES, _LACKING_VOTES, _NOT_COUNTED_VOTES, _ON_BALLOT = (
    slice(_VOTES_FROM + n, None, len(_OF_A_SELECTION)) for n in range(len(_OF_A_SELECTION))
)
_OF_SUB_UNITS = [(name, _SLOT[name]) for name in OF_SHEETS]
_BALLOTS_OF_ANNULLED = [_SLOT[name] for name in ("ballots_cast", "invalid_votes", "annulled_ballots")]
_LACKING_OF_ANNULLED = [_LACKING_FROM + _SLOT[name] for name in ("ballots_cast", "invalid_votes")]
_CAST, _VALID = _SLOT["ballots_cast"], _SLOT["valid_votes"]

Vector = list[int]
"""FIGURES, a slot for each review reason, UNITS, the units that lack each of COUNTS and OF_SHEETS; then for each
selection, in ballot order, its votes, the units that lack them, the votes that do not count, and the units on whose
ballots it stood."""


@dataclass(frozen=True)
class Layout:
    """The layout of a contest's vectors: each selection's slot; and what the contest says of what a unit adds."""

    selections: tuple[str, ...]
    sheet_types: tuple[str, ...] = SHEET_TYPES
    partial_sheets_count: bool = False
    one_vote: bool = True

    @classmethod
    def of(cls, contest: ContestDefined) -> "Layout":
        """Return the layout of a contest."""
        return cls(contest.selection_ids, contest.sheet_types, contest.partial_sheets_count, contest.one_vote)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all slots: `votes.peru-libre`, `ballots_cast`, `under_review.ILLEGIBLE`, …"""
        lacking = (NOT_STATED + FIGURES[slot] for slot in _LACKING)
        votes = (f"{begin}votes.{s}" for s in self.selections for begin in _OF_A_SELECTION)
        return (*FIGURES, *(f"under_review.{r}" for r in REASONS), *UNITS, *lacking, *votes)

    @cached_property
    def slots(self) -> dict[str, int]:
        """All slots by name."""
        return {name: slot for slot, name in enumerate(self.names)}

    @cached_property
    def size(self) -> int:
        """The number of slots in a vector."""
        return _VOTES_FROM + len(_OF_A_SELECTION) * len(self.selections)

    def zero(self) -> Vector:
        """Return a vector with nothing counted."""
        return [0] * self.size

    def stated(self, update: CountUpdate) -> Vector:
        """Return the figures that an update states, NONE elsewhere. Unknown selections and reasons have no slot."""
        counts, sub = update.counts, update.sub_units
        vector = [NONE] * self.size
        if counts is not None:
            for slot, name in enumerate(COUNTS):
                vector[slot] = _or_none(getattr(counts, name))
            if counts.votes:  # one that names no selection says nothing of votes
                vector[_VOTES] = [
                    _or_none(counts.votes[s]) if s in counts.votes else NOT_ON_BALLOT for s in self.selections
                ]
        if sub is not None:
            for name, slot in _OF_SUB_UNITS:
                vector[slot] = _or_none(getattr(sub, name))
            for slot, reason in enumerate(REASONS, _REASONS_FROM):
                vector[slot] = _or_none(sub.under_review_by_reason.get(reason))
        return vector

    def says_all_of(self, counts: Counts | None) -> bool:
        """Say whether `stated` has all of `counts`: a vote for each selection and for no other, and some figure."""
        if counts is None:
            return True
        if counts.suppressed is not None or counts.by_vote_type is not None:
            return False
        figures = (*counts.votes.values(), *(getattr(counts, name) for name in COUNTS))
        return counts.votes.keys() == set(self.selections) and any(v is not None for v in figures)

    def votes_of(self, stated: Numbers) -> Numbers:
        """Return the votes of statements. `stated`: as of `contributions`. Shape (statements, selections)."""
        return stated[:, _VOTES]

    def contribution(self, update: CountUpdate) -> Vector:
        """Compute the contribution of an update: `contributions` of one."""
        codes, stated = np.array([self.codes(update)]), np.array([self.stated(update)], np.int64)
        made: Vector = self.contributions(codes, stated)[0].tolist()
        return made

    def codes(self, update: CountUpdate) -> tuple[int, ...]:
        """Return what decides, beside its figures, what a statement adds: the arguments of `contributions`."""
        reason, counts = update.review_reason, update.counts
        return (
            KINDS.index(update.kind),
            update.reporting_unit.type in self.sheet_types,
            STATUSES.index(update.count_status),
            NONE if reason is None else REASONS.index(reason.value),
            counts is not None and counts.suppressed is not None,
            update.reporting_unit.counted_with is not None,
        )

    def contributions(self, codes: Numbers, stated: Numbers) -> Numbers:
        """Compute what statements add to the count, as the function does. `codes`: of each."""
        kind, is_sheet, status, reason, suppresses, is_elsewhere = codes.reshape(-1, 6).T
        return contributions(
            kind,
            is_sheet.astype(bool),
            status,
            reason,
            stated,
            partial_sheets_count=self.partial_sheets_count,
            one_vote=self.one_vote,
            suppresses=suppresses.astype(bool),
            is_elsewhere=is_elsewhere.astype(bool),
        )

    def named(self, vector: Sequence[int]) -> dict[str, int]:
        """Return all figures of a vector by name."""
        return dict(zip(self.names, vector, strict=True))

    def changes(self, before: Sequence[int], after: Sequence[int]) -> dict[str, int]:
        """Return the differences of two vectors by name: after − before, without zeros."""
        return {n: b - a for n, a, b in zip(self.names, before, after, strict=True) if a != b}

    def nonzero(self, change: Sequence[int | None]) -> dict[str, int]:
        """Return the figures of a recorded change by name: None and 0 are unchanged."""
        return {name: value for name, value in zip(self.names, change, strict=False) if value}

    def add_change(self, vector: Vector, change: Sequence[int | None] | None) -> None:
        """Add a recorded change to a vector in place: None is unchanged, for one slot or for all."""
        for slot, value in enumerate(change or ()):
            vector[slot] += value or 0

    def widened(self, vector: Sequence[int]) -> Vector:
        """Convert a vector of an earlier layout of the contest, which may have fewer selections, to this one."""
        return [*vector, *[0] * (self.size - len(vector))]


def _or_none(value: int | None) -> int:
    return NONE if value is None else value


def says_all_of_sub_units(sub: SubUnits | None) -> bool:
    """Say whether `Layout.stated` has all of `sub`: every reason, which has a figure, and no other."""
    if sub is None:
        return True
    return sub.under_review_by_reason.keys() == set(REASONS)


_SHEET_SLOTS = {
    CountStatus.COUNTED: ("processed", "counted", "counted_normal"),
    CountStatus.ANNULLED: ("processed", "counted", "annulled"),
    CountStatus.NOT_INSTALLED: ("processed", "counted", "not_installed"),
    CountStatus.UNDER_REVIEW: ("processed", "under_review"),
    CountStatus.LOST: ("processed", "under_review"),
    CountStatus.PENDING: ("to_be_processed", "pending"),
    CountStatus.IN_PROCESS: ("to_be_processed", "in_process"),
}
_ONE_SHEET = np.zeros((len(STATUSES), len(FIGURES)), np.int64)
for _status, _names in _SHEET_SLOTS.items():
    _ONE_SHEET[STATUSES.index(_status), [_SLOT[name] for name in ("total", *_names)]] = 1
_COUNTED, _IN_PROCESS, _ANNULLED, _UNDER_REVIEW, _LOST = (
    STATUSES.index(s)
    for s in (
        CountStatus.COUNTED,
        CountStatus.IN_PROCESS,
        CountStatus.ANNULLED,
        CountStatus.UNDER_REVIEW,
        CountStatus.LOST,
    )
)
# As in ONPE's bulletins: electores hábiles is the roll of the contabilizadas, with the annulled sheets.
_ON_COUNTED_ROLL = np.isin(np.arange(len(STATUSES)), [_COUNTED, _ANNULLED, STATUSES.index(CountStatus.NOT_INSTALLED)])
_RETRACTED, _UNKNOWN_KIND = KINDS.index(UpdateKind.RETRACTED), KINDS.index(UpdateKind.UNKNOWN)
_UNKNOWN = STATUSES.index(CountStatus.UNKNOWN)


def contributions(
    kind: Numbers,
    is_sheet: Mask,
    status: Numbers,
    reason: Numbers,
    stated: Numbers,
    *,
    partial_sheets_count: bool,
    one_vote: bool,
    suppresses: Mask | None = None,
    is_elsewhere: Mask | None = None,
) -> Numbers:
    """Compute what statements add to the count; a figure that is not stated adds nothing.

    Args:
        kind, status, reason: Codes of KINDS, STATUSES and REASONS (NONE where no reason is given).
        is_sheet: Whether the unit has one tally sheet; else it is an area that states the numbers of its sheets.
        stated: As `Layout.stated`. Shape (statements, layout.size).
        partial_sheets_count: Whether the votes of a sheet in process are added up.
        one_vote: Whether valid votes that are not stated are the sum of the votes.
        suppresses: Whether figures are held back. Default: by none.
        is_elsewhere: Whether the votes stand in another unit's statement. Default: of none.

    Returns:
        Shape (statements, layout.size).
    """
    figures = np.maximum(stated, 0)
    made = figures.copy()
    made[:, len(COUNTS)] = 0  # annulled ballots: nobody states them
    made[:, _LACKING_FROM:_VOTES_FROM] = stated[:, _LACKING] == NONE
    made[:, _LACKING_VOTES] = stated[:, _VOTES] == NONE
    made[:, _NOT_COUNTED_VOTES] = 0
    made[:, _ON_BALLOT] = stated[:, _VOTES] != NOT_ON_BALLOT
    in_process = status == _IN_PROCESS
    adds = (status == _COUNTED) | (in_process if partial_sheets_count else in_process & ~is_sheet)
    summed = np.flatnonzero(adds & one_vote & (stated[:, _VALID] == NONE) & has_all_votes(stated))
    made[summed, _VALID], made[summed, _LACKING_FROM + _VALID] = sum_of_votes(stated[summed]), 0
    silent = np.flatnonzero(~adds)
    made[silent, : len(COUNTS)] = made[silent, _LACKING_FROM : _LACKING_FROM + len(COUNTS)] = 0
    made[silent, _VOTES_FROM:] = 0
    waiting = np.flatnonzero(~adds & (status != _ANNULLED))
    made[waiting, _NOT_COUNTED_VOTES] = figures[waiting, _VOTES]
    annulled = np.flatnonzero(status == _ANNULLED)
    made[annulled[:, None], _BALLOTS_OF_ANNULLED] = figures[annulled, _CAST, None]
    made[annulled[:, None], _LACKING_OF_ANNULLED] = stated[annulled, _CAST, None] == NONE
    made[:, _UNITS_FROM:_LACKING_FROM] = 0
    made[:, _UNITS_FROM], made[:, _UNITS_FROM + 1], made[annulled, _UNITS_FROM + 5] = 1, adds, 1
    made[:, _UNITS_FROM + 2] = in_process & is_sheet & (stated[:, _VOTES] >= 0).any(axis=1)
    sheets = np.flatnonzero(is_sheet)
    state = status[sheets]
    on_roll = _ON_COUNTED_ROLL[state] | (partial_sheets_count & (state == _IN_PROCESS))
    made[sheets, len(COUNTS) + 1 : len(FIGURES)] = _ONE_SHEET[state, len(COUNTS) + 1 :]
    made[sheets, 0] = figures[sheets, 0]
    made[sheets, _LACKING_FROM] = lacks_roll = stated[sheets, 0] == NONE
    if is_elsewhere is not None:  # nobody says whether the ballots of its voters are counted
        lacks_roll = lacks_roll | is_elsewhere[sheets]
    made[sheets, 1] = np.where(on_roll & ~lacks_roll, figures[sheets, 0], 0)
    made[sheets, _LACKING_FROM + 1] = lacks_roll & on_roll
    made[sheets, _LACKING_FROM + len(COUNTS) : _VOTES_FROM] = 0
    made[sheets, _REASONS_FROM:_UNITS_FROM] = 0
    lost = state == _LOST
    review = lost | (state == _UNDER_REVIEW)
    default = np.where(lost, REASONS.index(ReviewReason.LOST), REASONS.index(ReviewReason.OTHER))
    why = np.where(reason[sheets] == NONE, default, reason[sheets])
    made[sheets[review], _REASONS_FROM + why[review]] = 1
    if suppresses is not None:
        made[:, _UNITS_FROM + 3] = suppresses
    if is_elsewhere is not None:
        made[is_elsewhere, _UNITS_FROM + 1] = made[is_elsewhere, _UNITS_FROM + 5] = 0
        made[is_elsewhere, _LACKING_FROM + len(VOTERS) : _VOTES_FROM] = 0
        made[is_elsewhere, _VOTES_FROM:] = 0
        made[is_elsewhere & ~is_sheet, :_UNITS_FROM] = made[is_elsewhere & ~is_sheet, _LACKING_FROM:_VOTES_FROM] = 0
    unknown = np.flatnonzero((status == _UNKNOWN) | (kind == _UNKNOWN_KIND))
    made[unknown] = 0
    made[unknown, _UNITS_FROM] = made[unknown, _UNITS_FROM + 4] = 1
    made[kind == _RETRACTED] = 0
    return made


def sum_of_votes(stated: Numbers) -> Numbers:
    """Sum the votes of each statement; one that is not stated adds nothing. `stated`: as of `contributions`."""
    return np.asarray(np.maximum(stated[:, _VOTES], 0).sum(axis=1))


def has_all_votes(stated: Numbers) -> Mask:
    """Say which statements state the votes of every selection on their ballots, and of one at least."""
    votes = stated[:, _VOTES]
    return np.asarray((votes != NONE).all(axis=1) & (votes >= 0).any(axis=1))


def is_sound(status: Numbers, has_counts: Mask, stated: Numbers, votes_allowed: int) -> Mask:
    """Say which statements about sheets break no rule of their figures (F105 to F110 of `schemas.rules`)."""
    cast, valid, blank, invalid, challenged, under, over = (stated[:, _SLOT[name]] for name in BALLOTS)
    voters, voters_counted = (stated[:, _SLOT[name]] for name in VOTERS)
    votes, whole = stated[:, _VOTES], has_all_votes(stated)
    summed = sum_of_votes(stated)
    known = np.where(whole & ((valid == NONE) | (votes_allowed > 1)), summed, valid)
    roll = np.where(voters_counted != NONE, voters_counted, voters)
    marks = np.maximum(under, 0) + np.maximum(over, 0)
    if votes_allowed == 1:
        others = np.maximum(blank, 0) + np.maximum(invalid, 0) + np.maximum(challenged, 0)
        balanced, agrees = cast == known + others + marks, valid == summed
    else:
        balanced, agrees = known + marks <= cast * votes_allowed, summed <= valid * votes_allowed
    can_balance = (known != NONE) & (((blank != NONE) & (invalid != NONE)) | ((under != NONE) & (over != NONE)))
    fits = (
        (~can_balance | balanced)  # F105
        & (np.maximum(np.maximum(blank, invalid), challenged) <= cast)  # F107
        & (np.maximum(np.maximum(valid, under), over) <= cast * votes_allowed)
        & (votes <= cast[:, None]).all(axis=1)
        & ((roll == NONE) | (cast <= roll))  # F108
    )
    sound = ((valid == NONE) | ~whole | agrees) & ((cast == NONE) | fits)  # F106
    sound &= (status != _COUNTED) | (has_counts & (cast != NONE) & whole)  # F109
    empty = (votes <= 0).all(axis=1) & ((invalid == NONE) | (cast == NONE) | (invalid == cast))
    sound &= (status != _ANNULLED) | ~has_counts | empty  # F110
    return np.asarray((sound | (status == _UNDER_REVIEW)) & (status != _UNKNOWN))
