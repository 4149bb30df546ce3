"""Rules and tally of many sheets at once (pure): `rules.check` and `Layout.contribution` as operations on columns."""

import numpy as np

from aggregator.columns.wire import NONE, Mask, Numbers
from results.vectors import BALLOTS, COUNTED_SHEETS, SHEET_SLOTS, VOTERS, Layout
from schemas.types import CountStatus, ResultStage, ReviewReason

STATED = (
    "ballots_cast", "valid_votes", "blank_votes", "invalid_votes", "challenged_votes", "registered_voters",
    "registered_voters_counted",
)  # fmt: skip
"""Columns of a matrix of figures, before one for each selection in ballot order: as they follow each other on the
wire."""
STATUSES, REASONS, STAGES = tuple(CountStatus), tuple(ReviewReason), tuple(ResultStage)
"""As on the wire: a number is a place in these."""

_FIGURE_SLOTS = [(*VOTERS, *BALLOTS).index(name) for name in STATED]
_COUNTED = [STATUSES.index(status) for status in COUNTED_SHEETS]


def is_sound(status: Numbers, has_counts: Mask, figures: Numbers) -> Mask:
    """`rules.check` of a sheet's figures finds nothing; of one that is under review it asks nothing."""
    cast, valid, blank, invalid, challenged, voters, voters_counted = (figures[:, i] for i in range(len(STATED)))
    votes = figures[:, len(STATED) :]
    whole = (votes != NONE).all(axis=1) & (votes.shape[1] > 0)
    summed = np.maximum(votes, 0).sum(axis=1)
    known = np.where(valid != NONE, valid, np.where(whole, summed, NONE))
    roll = np.where(voters_counted != NONE, voters_counted, voters)
    balanced = cast == known + blank + invalid + np.maximum(challenged, 0)
    fits = (
        ((known == NONE) | (blank == NONE) | (invalid == NONE) | balanced)  # F105
        & (figures[:, [*range(1, 5), *range(len(STATED), figures.shape[1])]] <= cast[:, None]).all(axis=1)  # F107
        & ((roll == NONE) | (cast <= roll))  # F108
    )
    sound = ((valid == NONE) | ~whole | (valid == summed)) & ((cast == NONE) | fits)  # F106
    counted, annulled = (status == STATUSES.index(s) for s in (CountStatus.COUNTED, CountStatus.ANNULLED))
    sound &= ~counted | (has_counts & (cast != NONE) & whole)  # F109
    empty = (votes <= 0).all(axis=1) & ((invalid == NONE) | (cast == NONE) | (invalid == cast))
    sound &= ~annulled | ~has_counts | empty  # F110
    return np.asarray(sound | (status == STATUSES.index(CountStatus.UNDER_REVIEW)))


def contributions(layout: Layout, status: Numbers, reason: Numbers, stated: Numbers) -> Numbers:
    """What statements add to the count, as `Layout.contribution` has it. `stated`: shape (statements, STATED and
    selections); the result's is (statements, layout.size)."""
    figures = np.maximum(stated, 0)  # what is not stated adds nothing
    vectors: Numbers = _sheet_slots(layout.size)[status]
    votes = len(STATED)
    adds = (status == STATUSES.index(CountStatus.COUNTED))[:, None]
    vectors[:, _FIGURE_SLOTS] = np.where(adds, figures[:, :votes], 0)
    vectors[:, layout.votes_from :] = np.where(adds, figures[:, votes:], 0)
    valid = _FIGURE_SLOTS[STATED.index("valid_votes")]
    summed = adds[:, 0] & (stated[:, STATED.index("valid_votes")] == NONE)
    vectors[summed, valid] = figures[summed, votes:].sum(axis=1)
    annulled = status == STATUSES.index(CountStatus.ANNULLED)
    cast, roll = figures[:, STATED.index("ballots_cast")], figures[:, STATED.index("registered_voters")]
    for name in ("ballots_cast", "invalid_votes", "annulled_ballots"):
        vectors[annulled, layout.slots[name]] = cast[annulled]
    lost = status == STATUSES.index(CountStatus.LOST)
    under_review = lost | (status == STATUSES.index(CountStatus.UNDER_REVIEW))
    default = np.where(lost, REASONS.index(ReviewReason.LOST), REASONS.index(ReviewReason.OTHER))
    reason = np.where(reason == NONE, default, reason)
    vectors[under_review, layout.slots[f"under_review.{REASONS[0].value}"] + reason[under_review]] = 1
    vectors[:, layout.slots["registered_voters"]] = roll
    vectors[:, layout.slots["registered_voters_counted"]] = np.where(np.isin(status, _COUNTED), roll, 0)
    return vectors


def _sheet_slots(size: int) -> Numbers:
    """Shape (statuses, size): 1 where a sheet of that status counts as a sheet."""
    table = np.zeros((len(STATUSES), size), np.int64)
    for status, slots in SHEET_SLOTS.items():
        table[STATUSES.index(status), list(slots)] = 1
    return table
