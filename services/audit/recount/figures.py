"""Make the figures of an area from what stands at a moment (pure).

By the words of docs/contract.md, "What is added up", "Progress" and "The answer": a second reading of it, with nothing
of the read side. A figure has the name that it has in the answer of `escrutinio show --json`, as `stated` reads it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from audit.recount.contest_log import RETRACTED, Moment
from schemas.columns.layout import BALLOTS, KINDS, NONE, NOT_ON_BALLOT, REASONS, SHEETS, STATUSES, VOTERS, Numbers
from schemas.contest import ENDED, Area, in_words
from schemas.count_update import UnitKey
from schemas.types import CountStatus, UpdateKind

Figures = dict[str, Any]
"""Numbers, percentages and names by name; None: not stated."""
_UNKNOWN_KIND, _UNKNOWN = KINDS.index(UpdateKind.UNKNOWN), STATUSES.index(CountStatus.UNKNOWN)
_ANNULLED = STATUSES.index(CountStatus.ANNULLED)
_NAMES = ("contest_name", "area_name", "area_type")
_OF_SHEETS = frozenset((*SHEETS, *VOTERS, *(f"under_review.{name}" for name in REASONS)))


def stated(answer: Mapping[str, Any]) -> Figures:
    """Return the figures of an answer of `escrutinio show --json`. Raises KeyError, TypeError for what is none."""
    found: Figures = {name: answer[name] for name in ("basis", "counting_level", *BALLOTS, "annulled_ballots")}
    found |= {name: answer[name] for name in ("share_base", "lead", "leader", "lead_is_withheld")}
    found |= {name: answer[name] for name in ("suppressed_units", "unknown_units", *_NAMES)}
    found["selections"] = sorted(one["selection_id"] for one in answer["selections"])  # each once
    for one in answer["selections"]:
        for name in ("candidate", "party", "votes", "share", "not_counted", "is_on_ballot"):
            found[f"{name}.{one['selection_id']}"] = one[name]
    found |= {f"sub_units.{name}": answer["sub_units"][name] for name in SHEETS}
    found |= {f"under_review.{name}": answer["under_review_by_reason"].get(name) or 0 for name in REASONS}
    found |= {f"progress.{name}": number for name, number in answer["progress"].items()}
    found |= {f"turnout.{name}": of for name, of in answer["turnout"].items() if name != "published"}
    for name in ("processed", "counted"):
        found[f"percent.{name}"] = answer[f"sub_units_{name}"]["percent"]
    found |= {f"stated_by.{name}": (by["units"], by["of"]) for name, by in answer["stated_by"].items()}
    return found


def of_area(moment: Moment, area_id: str) -> Figures | None:
    """Count an area; None where nothing is stated about it. Raises KeyError where the contest has no such area."""
    area, contest = moment.contest.areas_by_id[area_id], moment.contest
    level = contest.counting_level
    kinds = [kind for kind in level if (kind, area_id) in moment.sums]
    own = None if contest.is_part(area.type) else moment.state_of(UnitKey(area.type, area_id))
    official = None if own is None or moment.batch.kind[own] == RETRACTED else _Official(moment, area, own)
    if kinds and level != (area.type,):
        return _answer(moment, area, _Computed(moment, area, kinds, official))
    return None if official is None else _answer(moment, area, official)


def summed(moment: Moment, area: Area) -> dict[str, int]:
    """Return the sums of an area, of figures that every unit states and without the roll; empty: nothing is summed."""
    kinds = [kind for kind in moment.contest.counting_level if (kind, area.area_id) in moment.sums]
    if not kinds:
        return {}
    of = _Computed(moment, area, kinds, None)
    found = {name: number for name, (number, units, all_units) in of.found.items() if units == all_units}
    found |= {f"under_review.{name}": number for name, number in of.reasons.items()}
    return {name: number for name, number in found.items() if number is not None and name != "registered_voters"}


def behind(moment: Moment, area: Area) -> tuple[Numbers, dict[str, int | None]]:
    """Return the statements of which the count of an area is made, by entry, and its figures without those of the roll.

    No statements: nothing is stated about it.
    """
    level, own = moment.contest.counting_level, moment.state_of(UnitKey(area.type, area.area_id))
    kinds = [kind for kind in level if (kind, area.area_id) in moment.sums]
    if kinds and level != (area.type,):
        of = _Computed(moment, area, kinds, None)
        groups = moment.batch.index.groups
        within = np.array([kind in level and area.area_id in areas for kind, areas in groups], bool)
        rows = moment.standing[within[moment.batch.group[moment.standing]]]
        entries = np.sort(rows[moment.batch.kind[rows] != RETRACTED])
        reasons = {f"under_review.{name}": number for name, number in of.reasons.items()}
        return entries, {name: number for name, (number, _, _) in of.found.items()} | reasons
    if own is None or moment.contest.is_part(area.type) or moment.batch.kind[own] == RETRACTED:
        return np.zeros(0, np.int64), {}
    return np.array([own]), dict(bulletin(moment, area, own))


def bulletin(moment: Moment, area: Area, entry: int) -> dict[str, int]:
    """Return the figures that a statement about an area states and that count there."""
    of = _Official(moment, area, entry)
    found = {name: of.row[name] for name in of.row if name in SHEETS or name.startswith("under_review.")}
    if of.adds:
        found |= {name: of.row[name] for name in (*BALLOTS, "registered_voters_counted")}
        found |= {f"votes.{name}": of.row[f"votes.{name}"] for name in of.votes}
    return {name: number for name, number in found.items() if of.is_known and number >= 0}


def percent(part: int | None, whole: int | None) -> str | None:
    """Return 100 · part / whole with three places, rounded half up; None where one is not stated or whole is 0."""
    if part is None or not whole:
        return None
    thousandths = (200_000 * part + whole) // (2 * whole)
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


class _Official:
    """What the office itself states about an area."""

    basis, reported, not_stated, partially = "OFFICIAL", None, None, 0
    stated_by: Mapping[str, tuple[int, int]] = {}
    turnouts: Sequence[str] = VOTERS

    def __init__(self, moment: Moment, area: Area, entry: int) -> None:
        batch, contest = moment.batch, moment.contest
        layout = moment.layout
        self.is_known = batch.kind[entry] != _UNKNOWN_KIND and batch.status[entry] != _UNKNOWN
        self.row = dict(zip(layout.names, batch.figures[entry, : layout.size].tolist(), strict=True))
        status = STATUSES[int(batch.status[entry])]
        self.adds = adds = self.is_known and status in contest.adding(area.type)
        votes = {name: self.row[f"votes.{name}"] for name in contest.selection_ids}
        self.votes = {name: number if adds and number >= 0 else None for name, number in votes.items()}
        update = batch.updates[entry]  # what is about an area is read one by one
        names_some = adds and update.counts is not None and bool(update.counts.votes)
        self.on_ballot = {name for name, number in votes.items() if not names_some or number != NOT_ON_BALLOT}
        self.has_all_votes = any(n is not None for n in self.votes.values()) and NONE not in votes.values()
        waiting = self.is_known and not adds and status != CountStatus.ANNULLED
        self.not_counted = {name: n for name, n in votes.items() if n > 0} if waiting else {}
        self.ballots = {name: self._said(name) if adds else None for name in BALLOTS} | {"annulled_ballots": None}
        if self.ballots["valid_votes"] is None and self.has_all_votes and contest.one_vote:
            self.ballots["valid_votes"] = sum(number or 0 for number in self.votes.values())
        self.sheets = {name: self._said(name) if self.is_known else None for name in SHEETS}
        self.reasons = {name: (self._said(f"under_review.{name}") or 0) if self.is_known else 0 for name in REASONS}
        roll, self.counted_voters = (self._said(name) if adds else None for name in VOTERS)
        if roll is None and area.parent_id is None:
            roll = contest.registered_voters
        self.voters, self.outstanding_of = roll, self.counted_voters
        self.known = self.sheets["total"]
        self.suppressed = int(batch.contribution[entry, layout.slots["units_suppressed"]])
        self.unknown = int(not self.is_known)

    def _said(self, name: str) -> int | None:
        return None if self.row[name] < 0 else self.row[name]

    def expected(self, moment: Moment, area: Area) -> tuple[int | None, str | None]:
        """Return how many sheets the area expects, and who says so."""
        return (self.known, "OFFICE") if self.known is not None else _defined(moment, area) or (None, None)


class _Computed:
    """What the units of the counting level state, added up."""

    basis = "COMPUTED"

    def __init__(self, moment: Moment, area: Area, kinds: Sequence[str], official: _Official | None) -> None:
        contest, self._moment, self._area, self._official = moment.contest, moment, area, official
        sums = {kind: moment.sums[kind, area.area_id].tolist() for kind in kinds}
        self._of: dict[str, dict[str, int]] = {
            kind: dict(zip(moment.layout.names, of, strict=True)) for kind, of in sums.items()
        }
        self.has_sheets = any(map(contest.is_sheet, contest.counting_level))
        self._of_all = [(contest.is_sheet(kind), of) for kind, of in self._of.items()]
        self._of_sheets = [one for one in self._of_all if one[0] or not self.has_sheets]
        self.unknown = self._number("units_unknown")
        names = (*VOTERS, *BALLOTS, "annulled_ballots", *SHEETS, *(f"votes.{s}" for s in contest.selection_ids))
        self.found = found = {name: self._figure(name) for name in names}
        """Of each figure its sum, how many units state it, and how many should."""
        value = {name: figure[0] for name, figure in found.items()}
        by = {name: (units, of) for name, (_, units, of) in found.items() if units != of}
        self.has_all_votes = not any(f"votes.{name}" in by for name in contest.selection_ids)
        self.votes = {name: value[f"votes.{name}"] for name in contest.selection_ids}
        self.on_ballot = {s for s in self.votes if self.votes[s] is not None or found[f"votes.{s}"][2]}
        not_counted = {name: self._number(f"not_counted.votes.{name}") for name in contest.selection_ids}
        self.not_counted = {name: number for name, number in not_counted.items() if number}
        self.known, self.total_is_whole = value["total"], "total" not in by
        self.counted_voters = value["registered_voters_counted"]
        self.outstanding_of = None if "registered_voters_counted" in by else self.counted_voters or 0
        self.suppressed, self.partially = self._number("units_suppressed"), self._number("units_partial")
        self.reasons = {name: self._number(f"under_review.{name}") for name in REASONS}
        expected, _ = self.expected(moment, area)
        self.not_stated = None if expected is None or self.known is None else max(expected - self.known, 0)
        self.voters = self._voters(value["registered_voters"], by)
        if expected is not None:
            value["total"] = max(expected, self.known or 0)
            by.pop("total", None)
            for name in ("to_be_processed", "pending") if self.known is not None else ():
                if (waiting := value[name]) is not None:
                    value[name] = waiting + (self.not_stated or 0)
        elif self.has_sheets:
            value["total"] = None
        self.ballots = {name: value[name] for name in (*BALLOTS, "annulled_ballots")}
        self.sheets = {name: value[name] for name in SHEETS}
        self.stated_by = by
        self.turnouts = self._turnouts()

    def _parts(self, name: str) -> list[tuple[bool, dict[str, int]]]:
        """Return the sums that have a figure: beside sheets, other units only add votes and ballots."""
        return self._of_sheets if name in _OF_SHEETS else self._of_all

    def _number(self, name: str) -> int:
        return sum([of[name] for _, of in self._parts(name)])

    def _base(self, name: str, is_sheet: bool, of: Mapping[str, int]) -> int:
        """Return how many units should state a figure, without those that are UNKNOWN."""
        if name.startswith("votes."):
            return of[f"on_ballot.{name}"]
        if name in SHEETS or (name == "registered_voters" and is_sheet):
            return of["units"] - of["units_unknown"]
        if name in ("ballots_cast", "invalid_votes", "annulled_ballots"):
            return of["units_counted"] + of["units_annulled"]
        if name == "registered_voters_counted" and is_sheet:
            return of["counted"] + (of["in_process"] if self._moment.contest.partial_sheets_count else 0)
        return of["units_counted"]

    def _figure(self, name: str) -> tuple[int | None, int, int]:
        """Return a sum, how many units state it, and how many should. Stated by none it is None, which is not 0."""
        total = units = lacking = added = 0
        for is_sheet, of in self._parts(name):
            total += of[name]
            units += self._base(name, is_sheet, of)
            lacking += of.get(f"not_stated.{name}", 0)
            added += of["units_counted"]
        stood_nowhere = added and name.startswith("votes.")
        is_stated = not self.unknown and (lacking < units or (not units and not stood_nowhere))
        return total if is_stated else None, units - lacking, units + self.unknown

    def _voters(self, summed: int | None, by: dict[str, tuple[int, int]]) -> int | None:
        roll, contest = self._moment.roll, self._moment.contest
        if roll is not None:
            by.pop("registered_voters", None)
            return _on_roll(self._moment, self._area)[1]
        if self._area.parent_id is None and contest.registered_voters is not None:
            by.pop("registered_voters", None)
            return contest.registered_voters
        return None if self.has_sheets and self.not_stated != 0 else summed

    @cached_property
    def reported(self) -> tuple[int | None, int] | None:
        """How many areas are stated, and of how many, where areas are added up; the first None: some ended."""
        contest = self._moment.contest
        within = contest.areas_within[self._area.area_id]
        kinds = [k for k in contest.counting_level if not contest.is_sheet(k) and k in contest.area_types]
        if not kinds:
            return None
        number = sum(self._of[kind]["units"] for kind in kinds if kind in self._of)
        return None if within.get(ENDED) else number, sum(within.get(kind, 0) for kind in kinds)

    def expected(self, moment: Moment, area: Area) -> tuple[int | None, str | None]:
        """Return how many sheets the area expects, and who says so."""
        if (defined := _defined(moment, area)) is not None:
            return defined
        official = self._official
        if official is not None and official.known is not None and (self.known or 0) <= official.known:
            return official.known, "OFFICE"  # else it said so before these sheets were there
        if self.known is None:
            return None, None
        if self.has_sheets:
            whole, root = moment.contest.expected_units, moment.contest.root
            is_whole = whole is not None and whole == (self.known if area is root else _known_in_all(moment))
            return (self.known, "ALL_STATED") if is_whole else (None, None)
        is_whole = self.total_is_whole and self.reported is not None and self.reported[0] == self.reported[1]
        return (self.known, "OFFICE") if is_whole else (None, None)

    def _turnouts(self) -> Sequence[str]:
        """Name the rolls over which the ballots are a turnout: by post, voters of sheets vote that are not counted."""
        ballots = {kind: of["units_counted"] + of["units_annulled"] for kind, of in self._of.items()}
        if not any(ballots.values()):
            return ()
        beside = any(number for kind, number in ballots.items() if not self._moment.contest.is_sheet(kind))
        return VOTERS[:1] if self.has_sheets and beside else VOTERS


def _on_roll(moment: Moment, area: Area) -> tuple[int, int | None]:
    """Return the sheets of an area on the roll, and their voters."""
    assert moment.roll is not None
    number, voters = 0, list[int | None]()
    for kind in moment.contest.sheets_expected:
        of = moment.roll.get(kind, {}).get(area.area_id)
        if of is not None:
            number += of[0]
            voters.append(of[1])
    return number, None if None in voters else sum(one for one in voters if one is not None)


def _defined(moment: Moment, area: Area) -> tuple[int, str] | None:
    """Return how many sheets roll or definition expect."""
    if moment.roll is not None:
        return _on_roll(moment, area)[0], "ROLL"
    number = area.expected_units
    if number is None and area.parent_id is None:
        number = moment.contest.expected_units
    return None if number is None else (number, "DEFINITION")


def _known_in_all(moment: Moment) -> int | None:
    """Return how many sheets of the whole contest are known."""
    root = moment.contest.root
    kinds = [kind for kind in moment.contest.counting_level if (kind, root.area_id) in moment.sums]
    return _Computed(moment, root, kinds, None).known if kinds else None


def _answer(moment: Moment, area: Area, of: _Official | _Computed) -> Figures:
    contest, valid, cast = moment.contest, of.ballots["valid_votes"], of.ballots["ballots_cast"]
    expected, source = of.expected(moment, area)
    counted, defined = of.sheets["counted"], _defined(moment, area)
    ranked = sorted((number for number in of.votes.values() if number is not None), reverse=True)
    lead = ranked[0] - ranked[1] if of.has_all_votes and len(ranked) > 1 else None
    least = contest.leader_from_percent
    reaches = least is None or (counted is not None and bool(expected) and _reaches(counted, expected, least))
    base = None
    if of.has_all_votes:
        base = sum(ranked) if not contest.one_vote else valid if "valid_votes" not in of.stated_by else None
    found: Figures = {"basis": of.basis, "counting_level": in_words(contest.counting_level), **of.ballots}
    found |= {"share_base": base, "lead": lead if reaches else None, "lead_is_withheld": not reaches}
    found["leader"] = max(of.votes, key=lambda name: of.votes[name] or 0) if lead and reaches else None
    found |= {"suppressed_units": of.suppressed, "unknown_units": of.unknown}
    found |= {"contest_name": contest.name, "area_name": area.name, "area_type": area.type}
    found["selections"] = sorted(contest.selection_ids)
    for one in contest.selections:
        found |= {f"candidate.{one.selection_id}": one.candidate, f"party.{one.selection_id}": one.party}
    for name, votes in of.votes.items():
        found |= {f"votes.{name}": votes, f"share.{name}": percent(votes, base)}
        found |= {f"not_counted.{name}": of.not_counted.get(name), f"is_on_ballot.{name}": name in of.on_ballot}
    found |= {f"sub_units.{name}": number for name, number in of.sheets.items()}
    found |= {f"under_review.{name}": number for name, number in of.reasons.items()}
    reported = of.reported or (None, None)
    roll = None if moment.roll is None else _on_roll(moment, area)[1]
    voters = of.outstanding_of
    found |= {
        "progress.expected": expected,
        "progress.expected_from": source,
        **{f"progress.{n}": of.sheets[n] for n in ("counted", "processed", "under_review")},
        "progress.partially_reporting": of.partially,
        "progress.not_stated": of.not_stated,
        "progress.beyond_expected": 0 if defined is None else max((of.known or 0) - defined[0], 0),
        "progress.areas_reported": reported[0],
        "progress.areas_expected": reported[1],
        "progress.voters_outstanding": None if roll is None or voters is None else max(roll - voters, 0),
    }
    numbers = {"registered_voters_counted": of.counted_voters, "registered_voters": of.voters}
    for name, number in numbers.items():
        is_whole = name in of.turnouts and not {"ballots_cast", name} & of.stated_by.keys()
        found |= {f"turnout.{name}": number, f"turnout.of_{name}": percent(cast, number) if is_whole else None}
    for name in ("processed", "counted"):
        found[f"percent.{name}"] = None if name in of.stated_by else percent(of.sheets[name], expected)
    return found | {f"stated_by.{name}": by for name, by in of.stated_by.items()}


def _reaches(counted: int, expected: int | None, least: str) -> bool:
    return bool(expected) and Fraction(100 * counted, expected or 1) >= Fraction(least)
