"""Compare the figures of two statements, and say what a unit adds to the count. Pure."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from ingest.feeds.statement import Statement
from schemas.count_update import CountUpdate, ReportingUnit, SubUnits, VoteTypeCounts
from schemas.types import CountStatus, ReviewReason

_SUB_UNITS = tuple(SubUnits.model_fields)


class Figures(NamedTuple):
    """Everything in which two statements can differ. `valid`: as stated, else the sum of all votes if stated.

    A retraction has no figures, so `replaced_by` is none of them.
    """

    area_path: tuple[str, ...]
    count_status: CountStatus
    source_status: str | None
    review_reason: ReviewReason | None
    votes: tuple[tuple[str, int | None], ...]
    ballots_cast: int | None
    valid: int | None
    blank_votes: int | None
    invalid_votes: int | None
    challenged_votes: int | None
    registered_voters: int | None
    registered_voters_counted: int | None
    sub_units: tuple[object, ...] | None
    office_note: str | None
    undervotes: int | None = None
    overvotes: int | None = None
    suppressed: tuple[str, ...] | None = None
    counted_with: str | None = None
    by_vote_type: tuple[VoteTypeCounts, ...] | None = None
    signed_at: datetime | None = None
    registered_at: datetime | None = None
    recount: int | None = None
    rules_version: str | None = None


_RESOLVED = "resolved under review: "

_BESIDE = ("office_note", "by_vote_type", "signed_at", "registered_at", "recount", "rules_version")
"""What stands beside the figures. Most forms have no place for it, so where it is missing it is not withdrawn."""


def figures(unit: ReportingUnit, statement: Statement | CountUpdate, *, one_vote: bool) -> Figures:
    """Return the figures of a statement or an event about `unit`. `one_vote`: as of its contest."""
    path, status, source_status = unit.area_path, statement.count_status, statement.source_status
    reason, note, sub = statement.review_reason, statement.office_note, _flat(statement.sub_units)
    beside = statement.signed_at, statement.registered_at, statement.recount, statement.rules_version
    counts, elsewhere = statement.counts, unit.counted_with
    if counts is None:
        return Figures(
            path, status, source_status, reason, (), None, None, None, None, None, None, None, sub, note,
            None, None, None, elsewhere, None, *beside,
        )  # fmt: skip
    votes, held = counts.votes, tuple(sorted(counts.suppressed)) if counts.suppressed else None
    valid = counts.valid_votes
    if valid is None and votes and one_vote:
        valid = 0
        for n in votes.values():
            if n is None:
                valid = None
                break
            valid += n
    return Figures(
        path, status, source_status, reason, tuple(sorted(votes.items())), counts.ballots_cast, valid,
        counts.blank_votes, counts.invalid_votes, counts.challenged_votes, counts.registered_voters,
        counts.registered_voters_counted, sub, note, counts.undervotes, counts.overvotes,
        held, elsewhere, counts.by_vote_type, *beside,
    )  # fmt: skip


def _flat(sub: SubUnits | None) -> tuple[object, ...] | None:
    if sub is None:
        return None
    return tuple(tuple(sorted(value.items())) if isinstance(value, dict) else value for value in sub.__dict__.values())


def repeats(earlier: Figures | None, now: Figures) -> bool:
    """Say whether `now` states nothing new. What stands beside the figures is not withdrawn where it is missing."""
    if earlier is not None and earlier != now:
        missing = [name for name in _BESIDE if getattr(now, name) is None and getattr(earlier, name) is not None]
        if missing:
            nothing: dict[str, Any] = dict.fromkeys(missing)
            earlier = earlier._replace(**nothing)
    return earlier == now


def adds(f: Figures, states: Collection[CountStatus]) -> dict[str, int | None]:
    """Return what a unit adds to the count, by name; None where it is not stated. `states`: those that are counted."""
    if f.count_status is CountStatus.ANNULLED:  # its ballots are null votes
        return {"ballots_cast": f.ballots_cast, "invalid_votes": f.ballots_cast}
    if f.count_status not in states:
        return {}
    adds = dict(f.votes)
    adds |= {
        "ballots_cast": f.ballots_cast,
        "valid_votes": f.valid,
        "blank_votes": f.blank_votes,
        "invalid_votes": f.invalid_votes,
        "undervotes": f.undervotes,
        "overvotes": f.overvotes,
        "registered_voters_counted": f.registered_voters_counted,
    }
    if f.sub_units is not None:
        stated = dict(zip(_SUB_UNITS, f.sub_units, strict=True))
        adds |= {name: n for name in ("processed", "counted") if isinstance(n := stated[name], int)}
    return adds


def decrease(earlier: Figures, now: Figures, ballot: tuple[str, ...], states: Collection[CountStatus]) -> str:
    """List the figures by which the unit adds less to the count than before, as `peru-libre −90, counted −1`.

    A sheet under review adds nothing. When it comes back counted, its votes are compared with those it stated then.
    """
    before, after = adds(earlier, states), adds(now, states)
    lost = None if now.count_status in states else 0  # not stated is not zero; not counted is
    resolved = earlier.count_status is CountStatus.UNDER_REVIEW and now.count_status is CountStatus.COUNTED
    if resolved:
        before = dict(earlier.votes)
    decreases = []
    for name in (*(s for s in ballot if s in before), *(n for n in before if n not in ballot)):
        had, has = before[name], after.get(name, lost)
        if had is not None and has is not None and has < had:
            decreases.append(f"{name} −{had - has}")
    return (_RESOLVED if resolved and decreases else "") + ", ".join(decreases)
