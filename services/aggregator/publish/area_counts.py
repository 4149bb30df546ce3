"""Make the events of `results.totals`: an area's count, its change since the last one, the updates behind it (pure)."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain
from typing import Any
from uuid import UUID

from results.count import AsOf, Count, NothingCounted, percent
from schemas.area_count import AreaCount, Cause, CountState, Progress, Turnout
from schemas.columns.layout import BALLOTS, SHEETS
from schemas.contest import Area, ContestDefined
from schemas.identity import NIL, named

SHOWN = 10
"""Updates that are named of those behind a count."""
_NOT_CONTENT = {"event_id", "as_of_offset", "as_of_recorded_at", "as_of_reported_at", "previous_event_id", "change",
                "events", "events_total"}  # fmt: skip
"""What differs between two counts that say the same."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last count of an area that was published: its id, its figures by name, and the hash of what it says."""

    event_id: UUID
    figures: Mapping[str, int]
    content: bytes


@dataclass(frozen=True, slots=True)
class Causes:
    """The accepted updates since then, about the area or units in it: the offsets of those that are named, and all."""

    offsets: Sequence[int] = ()
    """In the order of the log."""
    total: int = 0

    @classmethod
    def of(cls, groups: Sequence[Mapping[str, Any]]) -> "Causes":
        """Choose among the updates of each group: corrections and retractions first, then the latest."""
        others = nlargest(SHOWN, chain.from_iterable(group["others"] for group in groups))
        ordinary = nlargest(SHOWN - len(others), chain.from_iterable(group["ordinary"] for group in groups))
        total = sum(len(group[kind]) for group in groups for kind in ("others", "ordinary"))
        return cls(sorted((*others, *ordinary)), total)


def figures(count: AreaCount) -> dict[str, int]:
    """Return the figures of a count that are stated, by name: `votes.X`, `ballots_cast`, `counted`, …"""
    named_figures: dict[str, int | None] = {f"votes.{s.selection_id}": s.votes for s in count.selections}
    named_figures |= {name: getattr(count, name) for name in BALLOTS}
    named_figures["annulled_ballots"] = count.annulled_ballots
    named_figures |= {name: count.sub_units.get(name) for name in SHEETS}
    named_figures |= {f"under_review.{reason}": n for reason, n in count.under_review_by_reason.items()}
    return {name: value for name, value in named_figures.items() if value is not None}


def changed(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return what each figure gained or lost, without zeros: one that is not stated is taken as 0."""
    difference = {name: now.get(name, 0) - before.get(name, 0) for name in before.keys() | now.keys()}
    return {name: value for name, value in sorted(difference.items()) if value}


def content_of(count: AreaCount) -> bytes:
    """Return the SHA-256 of what a count says, whenever it is said."""
    return hashlib.sha256(count.model_dump_json(exclude=_NOT_CONTENT).encode()).digest()


def area_count(
    contest: ContestDefined,
    area: Area,
    found: Count | NothingCounted,
    as_of: AsOf,
    blocked: str | None,
    before: Told | None,
    causes: Causes,
    known: Mapping[int, Cause],
) -> AreaCount:
    """Return the event that states an area's count.

    Args:
        found: The count, or why there is none.
        before: The last one that was published; None where this is the first.
        causes: The updates since then; none where nobody knows which were seen.
        known: The updates by their offsets.
    """
    about: dict[str, Any] = {
        "contest_id": contest.contest_id,
        "contest_name": contest.name,
        "authority": contest.authority,
        "time_zone": contest.time_zone,
        "area_id": area.area_id,
        "area_name": area.name,
        "area_type": area.type,
        "area_path": contest.area_paths[area.area_id],
        "is_test": contest.is_test,
        "as_of_offset": as_of.offset,
        "as_of_recorded_at": as_of.recorded_at,
        "as_of_reported_at": as_of.reported_at,
        "blocked": blocked,
    }
    stated = _stated(found) if isinstance(found, Count) else _nothing(found)
    counting_level = " + ".join(contest.counting_level)
    made = AreaCount.model_construct(  # it is validated when it is encoded
        **about, **stated, counting_level=counting_level, event_id=NIL, previous_event_id=None, change={}, events=(),
        events_total=0,
    )  # fmt: skip
    return named(
        made.model_copy(
            update={
                "previous_event_id": before.event_id if before is not None else None,
                "change": changed(before.figures, figures(made)) if before is not None else {},
                "events": tuple(known[offset] for offset in causes.offsets),
                "events_total": causes.total,
            }
        )
    )


def _stated(count: Count) -> dict[str, Any]:
    return {
        "state": CountState.COUNTED,
        "reason": None,
        "basis": count.basis,
        "stated_at": count.last_update.stated_at,
        "selections": count.selections,
        "share_base": count.share_base,
        "lead": count.lead,
        "leader": count.leader,
        "lead_is_withheld": count.lead_is_withheld,
        **{name: getattr(count, name) for name in (*BALLOTS, "annulled_ballots")},
        "sub_units": count.sub_units,
        "under_review_by_reason": count.under_review_by_reason,
        "progress": count.progress,
        "percent_counted": percent(count.progress.counted, count.progress.expected),
        "turnout": count.turnout,
        "stated_by": count.stated_by,
        "suppressed_units": count.suppressed_units,
        "unknown_units": count.unknown_units,
    }


def _nothing(why: NothingCounted) -> dict[str, Any]:
    return {
        "state": CountState.NOT_COUNTED,
        "reason": str(why),
        "selections": (),
        "lead_is_withheld": False,
        **dict.fromkeys(("basis", "stated_at", "share_base", "lead", "leader", "percent_counted")),
        **dict.fromkeys((*BALLOTS, "annulled_ballots")),
        "sub_units": {},
        "under_review_by_reason": {},
        "progress": _NO_PROGRESS,
        "turnout": _NO_TURNOUT,
        "stated_by": {},
        "suppressed_units": 0,
        "unknown_units": 0,
    }


_NO_PROGRESS = Progress.model_validate(
    dict.fromkeys(Progress.model_fields) | {"partially_reporting": 0, "beyond_expected": 0}
)
_NO_TURNOUT = Turnout.model_validate(dict.fromkeys(Turnout.model_fields))


def is_outer(contest: ContestDefined, area_id: str) -> bool:
    """Say whether an area is the whole contest, or directly in it."""
    return len(contest.area_paths[area_id]) <= 2


def causes_by_area(contest: ContestDefined, groups: Sequence[Mapping[str, Any]], outer_after: int) -> dict[str, Causes]:
    """Return the updates by the areas of the contest that they count in, or are about.

    `groups`: by such areas; `outer_after`: of outer areas, only later updates are meant.
    """
    found = defaultdict[str, list[Mapping[str, Any]]](list)
    for group in groups:
        later = {kind: [at for at in group[kind] if at > outer_after] for kind in ("ordinary", "others")}
        for area in group["areas"]:
            if area in contest.areas_by_id:
                found[area].append(later if is_outer(contest, area) else group)
    return {area: Causes.of(of) for area, of in found.items()}
