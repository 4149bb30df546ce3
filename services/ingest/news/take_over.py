"""Compare the sum of a level with the official statements about the same places, before the level is added up. Pure.

Place in the flow: `definitions` asks before it moves the counting level, as from bulletins to sheets. The statements
are those about the outermost area and about the units that are added up now: of each the latest that is not later than
the last statement of the new level.

The sum may differ by what a statement leaves open. It may be more by the votes of the sheets that were not counted yet:
as many as there are voters on their rolls, as far as that is known. It may be less by the votes of sheets that are
under review or annulled now. A statement that says nothing of its sheets leaves everything open for what is stated
later, and nothing for what is stated for the same time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ingest.news.contest_memory import WORDS, ContestMemory, Said
from schemas.columns.layout import COUNTS, NONE, STATUSES, Mask, Numbers
from schemas.contest import Level, in_words
from schemas.count_update import SubUnits, UnitKey
from schemas.types import CountStatus, from_milliseconds, rfc3339

SHOWN = 5
"""Contradictions that are named."""
_BALLOTS = ("ballots_cast", "valid_votes", "blank_votes", "invalid_votes")
_SHEETS = ("counted", "processed")
_COUNTED = (CountStatus.COUNTED, CountStatus.ANNULLED, CountStatus.NOT_INSTALLED)
_PROCESSED = (*_COUNTED, CountStatus.UNDER_REVIEW, CountStatus.LOST)
_TAKEN_OUT = (CountStatus.UNDER_REVIEW, CountStatus.LOST, CountStatus.ANNULLED)
"""Of sheets that may have been counted before, and whose votes do not count now."""


class Contradiction(NamedTuple):
    """A figure of a statement that the sum of the new level contradicts."""

    unit: UnitKey
    stated_at: datetime
    event_id: UUID
    figure: str
    stated: int
    least: int | None
    """What the sum must be at least; None where the sum lacks some units."""
    most: int | None
    summed: int

    @property
    def size(self) -> int:
        """How far the sum is beyond what the statement leaves open."""
        below = 0 if self.least is None else self.least - self.summed
        return max(below, 0 if self.most is None else self.summed - self.most)

    def __str__(self) -> str:
        at, named = rfc3339(self.stated_at), f"{self.figure} of {self.unit}"
        if self.most is not None and self.summed > self.most:
            return f"{named}: the sum is {self.summed:,}, but {self.stated:,} at {at} leaves at most {self.most:,}"
        return f"{named}: the sum is {self.summed:,}, but {self.stated:,} at {at} leaves at least {self.least or 0:,}"


def in_one_line(level: Level, found: Sequence[Contradiction]) -> str:
    """Say in one line why a level is not added up, and what to do."""
    shown = "; ".join(map(str, found[:SHOWN])) + (f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else "")
    name = in_words(level)
    return (
        f"every expected {name} is stated, but the counting level waits: their sum contradicts the office's own "
        f'statements. {shown}. Look for what is counted twice or missing; `define --counting-level "{name}"` moves all '
        "the same"
    )


def contradictions(memory: ContestMemory, level: Level) -> list[Contradiction]:
    """Find official figures that the sum of a level contradicts; those of the outermost area first, then the largest.

    The level must have a unit that is stated.
    """
    contest = memory.definition
    chosen = np.array([n for n, key in enumerate(memory.index.keys) if key.type in level], np.int64)
    states = memory.states(chosen)
    states = states[states >= 0]
    last = int(memory.statements["stated"][states].max())
    sums = Sums(memory, states)
    root = UnitKey(contest.root.type, contest.root.area_id)
    earlier = [type_ for type_ in contest.counting_level if type_ not in level]
    units = {root: None} | {key: None for key in memory.index.keys if key.type in earlier}
    found: list[Contradiction] = []
    for unit in units:
        if unit.id in contest.areas_by_id and unit.type not in level and (of := memory.units.get(unit)) is not None:
            said = [s for s in of.said if s.stated_at <= from_milliseconds(last)]
            figures = said[-1].figures if said else None
            if figures is not None and figures.count_status in contest.adding(unit.type):
                found.extend(_compared(memory, sums.of(unit.id), unit, said[-1], last))
    return sorted(found, key=lambda one: (one.unit != root, -one.size))


@dataclass(slots=True)
class Sum:
    """What the units of a level add up to in an area."""

    units: int
    """Those that count."""
    figures: dict[str, int]
    lacking: dict[str, int]
    """Units that count and do not state the figure."""
    taken_out: int | None
    """Voters of sheets that may have been counted before and do not count now; None where that is not known."""
    reviewed: int
    """Sheets that were processed and are not counted."""
    typed: int
    """Sheets that are being typed in, or whose statement was retracted."""
    voters: Numbers
    """Of each sheet, as far as it is known; NONE elsewhere."""


class Sums:
    """The sums of the units of a level, by area."""

    def __init__(self, memory: ContestMemory, states: Numbers) -> None:
        contest, rows = memory.definition, memory.statements[states]
        codes, self._group = np.unique(rows["content"][:, 0], return_inverse=True)
        groups = [memory.index.groups[code] for code in codes.tolist()]
        self._groups_of: dict[str, list[int]] = {}
        for place, (_, areas) in enumerate(groups):
            for area_id in areas:
                self._groups_of.setdefault(area_id, []).append(place)
        status = rows["content"][:, 1]
        sheets = np.array([contest.is_sheet(unit_type) for unit_type, _ in groups], bool)[self._group]
        retracted, sub_units = _odd(memory, states, rows["is_odd"])
        adding = np.array([[s in contest.adding(unit_type) for s in STATUSES] for unit_type, _ in groups], bool)
        counts = adding[self._group, status] & ~retracted
        figures, lacking = _figures(memory, rows, counts, sheets & _is(status, CountStatus.ANNULLED) & ~retracted)
        for name, of in zip(_SHEETS, (_COUNTED, _PROCESSED), strict=True):
            figures[name], lacking[name] = _numbers(sheets & ~retracted & _is(status, *of), sub_units, name)
        self._names = tuple(figures)
        self._added, self._lacking = self._grouped(*figures.values()), self._grouped(*lacking.values())
        self._voters = np.where(sheets, _voters(memory, rows), NONE)
        out = retracted | _is(status, *_TAKEN_OUT)
        bound = np.where(sheets & (self._voters == NONE), self._voters.max(initial=NONE), self._voters)
        self._counted, self._taken_out, self._unbounded, self._reviewed, self._typed = self._grouped(
            counts,
            np.where(out, np.maximum(bound, 0), 0),
            out & (bound == NONE),
            sheets & (retracted | _is(status, CountStatus.UNDER_REVIEW, CountStatus.LOST)),
            sheets & (retracted | _is(status, CountStatus.IN_PROCESS)),
        )

    def of(self, area_id: str) -> Sum:
        """Return the sum of an area."""
        places = self._groups_of.get(area_id, [])
        figures, lacking = self._added[:, places].sum(axis=1), self._lacking[:, places].sum(axis=1)
        return Sum(
            int(self._counted[places].sum()),
            dict(zip(self._names, figures.tolist(), strict=True)),
            dict(zip(self._names, lacking.tolist(), strict=True)),
            None if self._unbounded[places].any() else int(self._taken_out[places].sum()),
            int(self._reviewed[places].sum()),
            int(self._typed[places].sum()),
            self._voters[np.isin(self._group, places)],
        )

    def _grouped(self, *columns: Any) -> Numbers:
        """Add up columns by group. Shape (columns, groups)."""
        size = int(self._group.max(initial=-1)) + 1
        found = np.zeros((len(columns), size), np.int64)
        for column, sums in zip(columns, found, strict=True):
            np.add.at(sums, self._group, column)
        return found


def _is(status: Numbers, *statuses: CountStatus) -> Mask:
    return np.isin(status, [STATUSES.index(one) for one in statuses])


def _figures(
    memory: ContestMemory, rows: Any, counts: Mask, annulled: Mask
) -> tuple[dict[str, Numbers], dict[str, Mask]]:
    """Return by name what each unit adds to a figure, and whether it counts and does not state it.

    `counts`: units whose votes are added up. The ballots of `annulled` ones are null votes.
    """
    content = rows["content"]
    stated = dict(zip(COUNTS, content[:, WORDS : WORDS + len(COUNTS)].T, strict=True))
    votes = zip(memory.layout.selections, content[:, WORDS + len(COUNTS) :].T, strict=True)
    columns = {f"votes.{name}": column for name, column in votes} | {name: stated[name] for name in _BALLOTS}
    added = {name: np.where(counts, np.maximum(column, 0), 0) for name, column in columns.items()}
    for name in ("ballots_cast", "invalid_votes"):
        added[name][annulled] = np.maximum(stated["ballots_cast"][annulled], 0)
    return added, {name: counts & (column == NONE) for name, column in columns.items()}


def _numbers(sheets: Mask, sub_units: Mapping[int, Mapping[str, int] | None], name: str) -> tuple[Numbers, Mask]:
    """Return how many sheets each unit adds to a number of them, and which areas do not state it."""
    added, lacking = sheets.astype(np.int64), np.zeros(len(sheets), bool)
    for entry, sub in sub_units.items():
        value = None if sub is None else sub.get(name)
        added[entry], lacking[entry] = value or 0, value is None
    return added, lacking


def _odd(memory: ContestMemory, states: Numbers, is_odd: Mask) -> tuple[Mask, Mapping[int, Mapping[str, int] | None]]:
    """Find which statements are retractions, and what areas state of their sheets, by entry."""
    retracted = np.zeros(len(states), bool)
    sub_units: dict[int, Mapping[str, int] | None] = {}
    for entry in np.flatnonzero(is_odd).tolist():
        figures = memory.said(int(states[entry])).figures
        key = memory.index.keys[int(memory.statements["unit"][states[entry]])]
        if figures is None:
            retracted[entry] = True
        elif not memory.definition.is_sheet(key.type) and key.id in memory.definition.areas_by_id:
            sub_units[entry] = None if figures.sub_units is None else _sheets_of(figures.sub_units)
    return retracted, sub_units


def _sheets_of(stated: Sequence[object]) -> dict[str, int]:
    names = zip(SubUnits.model_fields, stated, strict=True)
    return {name: value for name, value in names if isinstance(value, int)}


def _voters(memory: ContestMemory, rows: Any) -> Numbers:
    """Return the voters of units: as they state them, else as the roll does, else at least who has voted."""
    column = {name: rows["content"][:, WORDS + place] for place, name in enumerate(COUNTS)}
    voters: Numbers = column["registered_voters"].copy()
    units, roll = rows["unit"], memory.roll
    on_roll = np.full(int(max(units.max(initial=0), roll.units.max(initial=0))) + 1, NONE, np.int64)
    on_roll[roll.units] = roll.voters
    for other in (on_roll[units], column["ballots_cast"]):
        voters[voters == NONE] = other[voters == NONE]
    return voters


def _compared(memory: ContestMemory, of: Sum, unit: UnitKey, said: Said, last: int) -> Iterator[Contradiction]:
    """Compare a statement with the sum of its area."""
    figures = said.figures
    assert figures is not None
    sub = {} if figures.sub_units is None else _sheets_of(figures.sub_units)
    same_time = said.stated_at == from_milliseconds(last)
    uncounted = _difference(sub.get("total"), sub.get("counted"))
    if uncounted is None:
        uncounted = _sum(sub.get("to_be_processed"), sub.get("under_review"))
    unprocessed = sub.get("to_be_processed", _difference(sub.get("total"), sub.get("processed")))
    nothing = 0 if same_time else None
    growth = _open_voters(memory, of, unit, figures, uncounted)
    if growth is None and uncounted is None:
        growth = nothing
    stated: dict[str, int | None] = {f"votes.{name}": n for name, n in figures.votes}
    stated |= {name: getattr(figures, "valid" if name == "valid_votes" else name) for name in _BALLOTS}
    falls: dict[str, int | None] = dict.fromkeys(stated, of.taken_out)
    grows: dict[str, int | None] = dict.fromkeys(stated, growth)
    for bounds in (falls, grows):  # where a voter has several votes, these may be the valid ones
        bounds["valid_votes"] = _times(bounds["valid_votes"], memory.definition.votes_allowed)
    stated |= {name: sub.get(name) for name in _SHEETS}
    falls |= {"counted": of.reviewed, "processed": of.typed}
    grows |= {
        "counted": nothing if uncounted is None else uncounted,
        "processed": nothing if unprocessed is None else unprocessed,
    }
    for name, value in stated.items():
        if value is None or name not in of.figures:
            continue
        fall, grow, summed = falls[name], grows[name], of.figures[name]
        least = None if fall is None or of.lacking[name] else max(value - fall, 0)
        most = None if grow is None else value + grow
        if (least is not None and summed < least) or (most is not None and summed > most):
            yield Contradiction(unit, said.stated_at, said.event_id, name, value, least, most, summed)


def _open_voters(memory: ContestMemory, of: Sum, unit: UnitKey, figures: Any, uncounted: int | None) -> int | None:
    """Return how many voters the sheets have that a statement leaves open; None where that is not known."""
    bounds = []
    if uncounted is not None:
        sheets = np.where(of.voters == NONE, of.voters.max(initial=NONE), of.voters)
        if uncounted == 0 or (len(sheets) and sheets.max() != NONE):
            largest = np.sort(sheets)[::-1][: max(uncounted, 0)]
            bounds.append(int(largest.sum()))
    voters = figures.registered_voters
    if voters is None and unit.id == memory.definition.root.area_id:
        voters = memory.definition.registered_voters
    open_voters = _difference(voters, figures.registered_voters_counted)
    if open_voters is not None:
        bounds.append(open_voters)
    return min(bounds) if bounds else None


def _difference(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(whole - part, 0)


def _times(number: int | None, times: int) -> int | None:
    return None if number is None else number * times


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
