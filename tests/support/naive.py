"""A contest's totals worked out anew from its whole log, in the plainest way: what the fold is compared with.

Written from docs/contract.md ("State") and sharing no code with the services, so that a mistake of theirs is not
repeated here. Slow on purpose: it keeps every update and adds everything up once, at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import is_named_right
from schemas.rules import check
from schemas.source_status import SourceStatus
from schemas.types import CountStatus, ReviewReason, UpdateKind
from schemas.unit_roll import UnitRoll

FIGURES = (
    "registered_voters", "registered_voters_counted", "ballots_cast", "valid_votes", "blank_votes", "invalid_votes",
    "challenged_votes", "undervotes", "overvotes", "annulled_ballots", "total", "processed", "counted",
    "counted_normal", "annulled", "not_installed", "under_review", "to_be_processed", "pending", "in_process",
)  # fmt: skip

Totals = dict[str, dict[str, int]]
"""By area id and name of a figure; `under_review.X` for a reason, `votes.X` for a selection; `not_stated.X` counts the
units that do not state it, `not_counted.votes.X` the votes that do not count, `on_ballot.votes.X` the units that add
figures and on whose ballots it stood; `units…` count units."""

_COUNTS = FIGURES[:9]
_NUMBERS_OF_SHEETS = FIGURES[10:19]
_UNITS = ("units", "units_counted", "units_partial", "units_suppressed", "units_unknown", "units_annulled")


class Place(NamedTuple):
    """An event and where it stands on the log."""

    offset: int
    recorded_at: datetime
    event: CountUpdate | ContestDefined | SourceStatus | UnitRoll


def totals(log: Iterable[Place], offset: int | None = None, stated_at: datetime | None = None) -> Totals:
    """Every figure of every area of the one contest on `log`, zeros included.

    `offset`: as of that place on the log, inclusive. `stated_at`: of what the office had stated by then; what counts is
    still judged over the whole log up to `offset`. Without a definition there are no areas.
    """
    definitions, updates, under = _accepted([place.event for place in log if offset is None or place.offset <= offset])
    if not definitions:
        return {}
    areas, selections = definitions[-1].areas, [s.selection_id for s in definitions[-1].selections]
    votes = [f"votes.{s}" for s in selections]
    lacking = (f"not_stated.{name}" for name in (*_COUNTS, *_NUMBERS_OF_SHEETS, *votes))
    reasons = (f"under_review.{reason}" for reason in ReviewReason)
    others = (f"{begin}.{name}" for name in votes for begin in ("not_counted", "on_ballot"))
    names = (*FIGURES, *reasons, *_UNITS, *lacking, *votes, *others)
    result = {area.area_id: dict.fromkeys(names, 0) for area in areas}
    level = _in_force(definitions, stated_at).counting_level
    for update in _states(updates, stated_at):
        if update.reporting_unit.type in level:
            for area in _areas(update, definitions[-1]):
                for name, number in contribution(update, under[update.event_id]).items():
                    result[area][name] += number
    return result


def behind(log: Iterable[Place], area_id: str, offset: int, stated_at: datetime | None) -> set[UUID]:
    """The ids of the statements that are added up in an area; `offset`, `stated_at` as of `totals`."""
    definitions, updates, _ = _accepted([place.event for place in log if place.offset <= offset])
    level = _in_force(definitions, stated_at).counting_level
    states = [update for update in _states(updates, stated_at) if update.reporting_unit.type in level]
    states = [update for update in states if update.kind is not UpdateKind.RETRACTED]
    return {update.event_id for update in states if area_id in _areas(update, definitions[-1])}


def _accepted(
    events: Sequence[CountUpdate | ContestDefined | SourceStatus | UnitRoll],
) -> tuple[list[ContestDefined], list[CountUpdate], dict[UUID, ContestDefined]]:
    """What counts of a log, in its order, and the definition that each update came under."""
    definitions: list[ContestDefined] = []
    updates: list[CountUpdate] = []
    chains: dict[UnitKey, int] = defaultdict(int)
    under: dict[UUID, ContestDefined] = {}
    rolls: list[UnitRoll] = []
    listed: set[UnitKey] = set()
    for event in events:
        if not is_named_right(event) or isinstance(event, SourceStatus):  # which changes no figure
            continue
        if isinstance(event, ContestDefined):
            if _follows(event, definitions):
                definitions.append(event)
            continue
        if isinstance(event, UnitRoll):
            if definitions and (not rolls or rolls[-1].event_id == event.previous_event_id):
                rolls.append(event)
                whole = [part for part in rolls if part.revision == event.revision]
                if len(whole) == event.parts:
                    listed = {unit.key for part in whole for unit in part.units}
            continue
        is_sheet = bool(definitions) and event.reporting_unit.type in definitions[-1].sheet_types
        if listed and is_sheet and event.kind is not UpdateKind.RETRACTED and event.unit not in listed:
            continue
        if not definitions or any(finding.refuses for finding in check(event, definitions[-1])):
            continue
        if event.sequence > chains[event.unit]:
            chains[event.unit] = event.sequence
            updates.append(event)
            under[event.event_id] = definitions[-1]
    return definitions, updates, under


def _follows(event: ContestDefined, definitions: list[ContestDefined]) -> bool:
    """Whether a definition is the first, or the next: named so, with every selection and area of the one before it."""
    if not definitions:
        return event.revision == 1
    last = definitions[-1]
    if event.revision != last.revision + 1 or event.previous_event_id != last.event_id:
        return False
    if event.selection_ids[: len(last.selection_ids)] != last.selection_ids:
        return False
    kept = {(area.area_id, area.type, area.parent_id) for area in event.areas}
    return all((area.area_id, area.type, area.parent_id) in kept for area in last.areas)


def _in_force(definitions: list[ContestDefined], stated_at: datetime | None) -> ContestDefined:
    """The last definition; for a time of the office's the last that had effect by then, or else the first."""
    if stated_at is None:
        return definitions[-1]
    return [definitions[0], *(d for d in definitions[1:] if d.effective_at <= stated_at)][-1]


def _states(updates: list[CountUpdate], stated_at: datetime | None) -> list[CountUpdate]:
    """Each unit's state: its update with the latest official time, the highest sequence breaking ties."""
    said: dict[UnitKey, list[CountUpdate]] = defaultdict(list)
    for update in updates:
        if stated_at is None or update.stated_at <= stated_at:
            said[update.unit].append(update)
    return [max(chain, key=lambda update: (update.stated_at, update.sequence)) for chain in said.values()]


def _areas(update: CountUpdate, contest: ContestDefined) -> tuple[str, ...]:
    """The areas a unit belongs to: those of its path, and itself where it is one of the contest's."""
    unit = update.reporting_unit
    is_area = any((area.area_id, area.type) == (unit.id, unit.type) for area in contest.areas)
    return (*unit.area_path, unit.id) if is_area else unit.area_path


def contribution(update: CountUpdate, contest: ContestDefined) -> dict[str, int]:
    """What a unit whose state is `update` adds to each of its areas, by the name of the figure."""
    if update.kind is UpdateKind.RETRACTED:
        return {}
    if "UNKNOWN" in (update.kind, update.count_status):
        return {"units": 1, "units_unknown": 1}
    selections, counts = [s.selection_id for s in contest.selections], update.counts
    is_sheet = update.reporting_unit.type in contest.sheet_types
    adds = _sheet(update, selections, contest) if is_sheet else _area(update, selections, contest)
    adds["units_suppressed"] = int(counts is not None and counts.suppressed is not None)
    partial = is_sheet and update.count_status is CountStatus.IN_PROCESS
    votes = {} if counts is None else {s: n for s, n in counts.votes.items() if n is not None}
    adds["units_partial"] = int(partial and bool(votes))
    if update.count_status is not CountStatus.ANNULLED and not _adds(update, contest):
        adds |= {f"not_counted.votes.{selection}": number for selection, number in votes.items()}
    if _adds(update, contest):
        named = counts.votes if counts is not None and counts.votes else selections
        adds |= {f"on_ballot.votes.{selection}": 1 for selection in selections if selection in named}
    if update.reporting_unit.counted_with is not None:
        _states_elsewhere(adds, is_sheet=is_sheet)
    return adds


def _states_elsewhere(adds: dict[str, int], *, is_sheet: bool) -> None:
    """Nothing of it is added up, and it lacks nothing. Whether its voters' ballots are counted nobody says."""
    own = ("units", "units_partial", "units_suppressed")
    others = ("not_stated.", "on_ballot.", "not_counted.", "units_counted", "units_annulled", "votes.")
    for name in list(adds):
        dropped = name.startswith(others) and "registered_voters" not in name if is_sheet else name not in own
        if dropped:
            del adds[name]
    if is_sheet and "registered_voters_counted" in adds:
        adds |= {"registered_voters_counted": 0, "not_stated.registered_voters_counted": 1}


def _adds(update: CountUpdate, contest: ContestDefined) -> bool:
    """Whether its votes count."""
    partly = contest.partial_sheets_count or update.reporting_unit.type not in contest.sheet_types
    return update.count_status is CountStatus.COUNTED or (partly and update.count_status is CountStatus.IN_PROCESS)


def _sheet(update: CountUpdate, selections: Sequence[str], contest: ContestDefined) -> dict[str, int]:
    """Its figures, its roll, and itself as one sheet."""
    status, counts = update.count_status, update.counts
    stated = counts.registered_voters if counts is not None else None
    roll = stated or 0
    one = {"units": 1, "total": 1, "registered_voters": roll, "not_stated.registered_voters": int(stated is None)}
    if status is CountStatus.PENDING:
        return one | {"to_be_processed": 1, "pending": 1}
    if status is CountStatus.IN_PROCESS:
        partly = _figures(update, selections, contest=contest) if contest.partial_sheets_count else {}
        of_counted = {"registered_voters_counted": roll, "not_stated.registered_voters_counted": int(stated is None)}
        voters = of_counted if contest.partial_sheets_count else {}
        return partly | one | voters | {"to_be_processed": 1, "in_process": 1}
    one["processed"] = 1
    if status is CountStatus.UNDER_REVIEW:
        return one | {"under_review": 1, f"under_review.{update.review_reason or ReviewReason.OTHER}": 1}
    if status is CountStatus.LOST:
        return one | {"under_review": 1, f"under_review.{update.review_reason or ReviewReason.LOST}": 1}
    one |= {
        "counted": 1,
        "registered_voters_counted": roll,
        "not_stated.registered_voters_counted": int(stated is None),
    }
    if status is CountStatus.COUNTED:
        return _figures(update, selections, contest=contest) | one | {"counted_normal": 1}
    if status is CountStatus.ANNULLED:
        return _ballots(update) | one | {"annulled": 1}
    assert status is CountStatus.NOT_INSTALLED
    return one | {"not_installed": 1}


def _area(update: CountUpdate, selections: Sequence[str], contest: ContestDefined) -> dict[str, int]:
    """Its figures as it states them, and the numbers of its sheets whatever its status."""
    figures: dict[str, int] = {}
    if update.count_status in (CountStatus.COUNTED, CountStatus.IN_PROCESS):
        figures = _figures(update, selections, contest=contest)
    elif update.count_status is CountStatus.ANNULLED:
        figures = _ballots(update)
    figures["units"] = 1
    sheets = update.sub_units
    for name in _NUMBERS_OF_SHEETS:
        figures[f"not_stated.{name}"] = int(sheets is None or getattr(sheets, name) is None)
    if sheets is not None:
        for name, number in sheets.model_dump(exclude={"under_review_by_reason"}).items():
            figures[name] = number or 0
        for reason, number in sheets.under_review_by_reason.items():
            if reason in list(ReviewReason):
                figures[f"under_review.{reason}"] = number
    return figures


def _figures(update: CountUpdate, selections: Sequence[str], *, contest: ContestDefined) -> dict[str, int]:
    """Votes, ballots and voters; valid votes that are not stated are the sum of the votes, where all of them are.

    Not where a ballot has several votes.

    A selection that is not named was not on that ballot. Where none is named it lacks the votes of every selection.
    """
    counts = update.counts
    if counts is None:
        names = (*_COUNTS, *(f"votes.{selection}" for selection in selections))
        return {"units_counted": 1, **{f"not_stated.{name}": 1 for name in names}}
    votes = counts.votes or dict.fromkeys(selections)
    stated = {**counts.model_dump(include=set(_COUNTS)), **{f"votes.{s}": number for s, number in votes.items()}}
    is_whole = bool(counts.votes) and None not in counts.votes.values()
    if counts.valid_votes is None and is_whole and contest.votes_allowed == 1:
        stated["valid_votes"] = sum(number or 0 for number in counts.votes.values())
    lacking = {f"not_stated.{name}": int(number is None) for name, number in stated.items()}
    return {name: number or 0 for name, number in stated.items()} | lacking | {"units_counted": 1}


def _ballots(update: CountUpdate) -> dict[str, int]:
    """Of an annulled unit its ballots, as null votes."""
    stated = update.counts.ballots_cast if update.counts is not None else None
    lacking = dict.fromkeys(("not_stated.ballots_cast", "not_stated.invalid_votes"), int(stated is None))
    return (
        dict.fromkeys(("ballots_cast", "invalid_votes", "annulled_ballots"), stated or 0)
        | lacking
        | {"units_annulled": 1}
    )
