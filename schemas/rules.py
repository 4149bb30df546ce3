"""Check a statement: each fault is a value, a `Finding` with a code, and each code has its rule in prose.

Four families. F1xx: the figures contradict each other, or what is evidence beside them is odd; the statement is
published, because the office stated it, and the finding is shown with it (F112 and F113 are of a document: found by
ingest, not by readers of the log). F2xx: not a statement, or one that an operator must decide; the row is rejected.
F3xx: it does not belong to the contest; rejected. F4xx: the chain of a unit's updates; found by readers of the log.

An observed sheet is under review *because* its figures contradict each other, and its votes do not count, so F1xx are
not checked on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from schemas.contest import ContestDefined
from schemas.count_update import FIGURES, Counts, CountUpdate, SubUnits
from schemas.types import CountStatus, UpdateKind, rfc3339

RULES = {
    "F101": "processed = counted + under review",
    "F102": "processed + to be processed = total",
    "F103": "counted = normal + annulled + not installed",
    "F104": "under review = the sum of its reasons",
    "F105": "ballots cast = valid + blank + invalid + challenged votes + undervotes + overvotes; "
    "where several votes are allowed, these are no more than the ballots allow",
    "F106": "valid votes = the sum of the selections' votes; where several are allowed, these are no more than allowed",
    "F107": "no figure of votes exceeds ballots cast, or the votes that are allowed on them",
    "F108": "ballots cast do not exceed the registered voters they were cast by",
    "F109": "a counted unit states its votes and its ballots cast",
    "F110": "an annulled unit has no votes for a selection, and as many invalid votes as ballots cast",
    "F111": "nothing is stated for a time that is ahead of our clock",
    "F112": "a percentage, a remark and a name are such as their column holds",
    "F113": "a document ends with the end of a line",
    "F114": "a sheet is signed, then registered by the office, then published",
    "F115": "what all vote types state adds up to the whole",
    "F116": "every symbol is one that this release knows",
    "F117": "a complete publication names every unit that an earlier one named",
    "F118": "a unit's type is one that is added up, or an area's",
    "F201": "a count is a non-negative whole number",
    "F202": "an identifier has the form its kind has",
    "F203": "a unit is stated once in a document",
    "F204": "a status is one of those the source is known to use",
    "F205": "an update is complete: every table of it is there",
    "F206": "a time is stated with its zone, in a known form",
    "F207": "a document has the columns, the encoding and the length of its kind",
    "F208": "figures that an operator took back come back only by an operator",
    "F209": "a row that is the sum of others is a total, and no unit",
    "F210": "two ids do not differ by leading zeros alone",
    "F211": "a document that states no time has one of its publication",
    "F301": "every selection is one of the contest's",
    "F302": "a unit's area path leads from the contest's outermost area through defined areas",
    "F303": "a unit that is an area is defined in the contest, with that type",
    "F304": "nothing is counted before the count begins, but in a test",
    "F305": "nothing is stated for a time of more than a day after it was observed",
    "F306": "an update says whether it is a test as its contest does",
    "F307": "with a roll, every tally sheet is on it",
    "F308": "nothing is stated in an area for a time after its end",
    "F309": "a unit that is counted with another states no votes or ballots of its own, and not itself",
    "F401": "a unit's first update has sequence 1, and each later one the next",
    "F402": "an update stands on the log once",
    "F403": "an update names the event it follows",
    "F404": "an event's id is the one its content gives",
    "F405": "an update's contest is defined before it",
    "F406": "an update arrives in the order in which the office states it",
    "F407": "every total of a contest stays below 2^62",
}
"""The rule behind each code. A finding says that it does not hold."""

CONTRADICTIONS = frozenset(code for code in RULES if "F101" <= code <= "F110") - {"F109"}
"""Rules that figures break which contradict each other."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far two clocks differ that are both right."""

CLOCK_LIMIT = timedelta(hours=24)
"""How far the office's clock may be ahead of ours. A wrong zone is less; beyond it, the time is another one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a statement breaks, and where."""

    code: str
    message: str

    @property
    def rule(self) -> str:
        """The rule in prose."""
        return RULES[self.code]

    @property
    def rejects(self) -> bool:
        """Whether a statement with this finding is not published."""
        return self.code[1] in "23"

    @property
    def refuses(self) -> bool:
        """Whether an update with this finding, found of it alone, does not count.

        F305 does not: it is about when ingest saw the document, which is in no id, and what counts follows from ids.
        """
        return (self.rejects and self.code != "F305") or self.code in ("F404", "F405")

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


def check(update: CountUpdate, contest: ContestDefined) -> tuple[Finding, ...]:
    """List every rule that a single update breaks, in the order of their codes. The fold checks the chain (F4xx)."""
    findings: list[Finding] = []
    if update.sub_units is not None:
        findings.extend(_sub_units(update.sub_units))
    if update.count_status is not CountStatus.UNDER_REVIEW:
        if update.counts is not None:
            findings.extend(_counts(update.counts, contest.votes_allowed))
        findings.extend(_settled(update))
    if CLOCK_TOLERANCE < _ahead(update) <= CLOCK_LIMIT:
        findings.append(Finding("F111", _of_two_clocks(update)))
    if update.signed_at is not None or update.registered_at is not None:
        findings.extend(_times(update))
    if update.counts is not None and update.counts.by_vote_type:
        findings.extend(_vote_types(update.counts))
    if _UNKNOWN in (update.kind, update.count_status, update.result_stage):
        unknown = ", ".join(name for name in _DECIDING if getattr(update, name) == _UNKNOWN)
        findings.append(Finding("F116", f"{unknown} of {update.unit} has a symbol of a later release"))
    if (unit_type := update.reporting_unit.type) not in contest.known_types:
        findings.append(Finding("F118", f"{update.unit} is added up nowhere: {unit_type} is in no counting level"))
    findings.extend(_belongs(update, contest))
    return tuple(findings)


def unstated(update: CountUpdate) -> tuple[str, ...]:
    """List the figures that a counted unit states and this update does not (F109). What is held back is stated."""
    counts = update.counts
    if update.reporting_unit.counted_with is not None:  # another unit states them
        return ()
    if counts is None:
        return "votes", "ballots_cast"
    lacking = [f"votes.{name}" for name, n in counts.votes.items() if n is None] if counts.votes else ["votes"]
    if counts.ballots_cast is None:
        lacking.append("ballots_cast")
    held_back = counts.suppressed or ()
    return tuple(name for name in lacking if name not in held_back) if held_back else tuple(lacking)


_DECIDING = ("kind", "count_status", "result_stage")
"""Fields whose symbol decides whether, and as whose word, a statement counts."""
_UNKNOWN = CountStatus.UNKNOWN.value
"""In every enumeration: a symbol of a later release."""


def _times(update: CountUpdate) -> Iterator[Finding]:
    stated = [("signed", update.signed_at), ("registered", update.registered_at), ("published", update.stated_at)]
    known = [(name, at) for name, at in stated if at is not None]
    for (name, at), (later, then) in pairwise(known):
        if at > then + CLOCK_TOLERANCE:
            message = f"{update.unit} was {name} at {rfc3339(at)}, and {later} before, at {rfc3339(then)}"
            yield Finding("F114", message)


def _vote_types(counts: Counts) -> Iterator[Finding]:
    parts = counts.by_vote_type or ()
    for name in ("ballots_cast", "blank_votes", "invalid_votes", "undervotes", "overvotes"):
        yield from _whole(name, getattr(counts, name), [getattr(part, name) for part in parts])
    for selection, whole in counts.votes.items():
        yield from _whole(f"votes.{selection}", whole, [part.votes.get(selection) for part in parts])


def _whole(name: str, whole: int | None, parts: Sequence[int | None]) -> Iterator[Finding]:
    stated = [part for part in parts if part is not None]
    if whole is not None and len(stated) == len(parts) and sum(stated) != whole:
        total = f"{' + '.join(map(str, stated))} = {sum(stated)}"
        yield Finding("F115", f"{name} is {whole}, and by vote types {total}")


def _ahead(update: CountUpdate) -> timedelta:
    return update.stated_at - update.observed_at


def _of_two_clocks(update: CountUpdate) -> str:
    stated, seen = update.stated_at, update.observed_at
    minutes = _ahead(update) // timedelta(minutes=1)
    ahead = f"{minutes // 60} h {minutes % 60} min"
    clock = "the time of its publication" if update.reported_at is None else "the office's clock"
    return f"stated for {rfc3339(stated)}, but observed at {rfc3339(seen)}: {clock} is {ahead} ahead of ours"


def _sub_units(s: SubUnits) -> Iterator[Finding]:
    def equation(code: str, left: int | None, *right: int | None) -> Iterator[Finding]:
        if left is None or None in right:
            return
        total = sum(r for r in right if r is not None)
        if left != total:
            yield Finding(code, f"{RULES[code]}: {left} ≠ {' + '.join(str(r) for r in right)} = {total}")

    yield from equation("F101", s.processed, s.counted, s.under_review)
    if s.total is not None and s.processed is not None and s.to_be_processed is not None:
        yield from equation("F102", s.total, s.processed, s.to_be_processed)
    yield from equation("F103", s.counted, s.counted_normal, s.annulled, s.not_installed)
    if s.under_review_by_reason:
        yield from equation("F104", s.under_review, *s.under_review_by_reason.values())


def _counts(c: Counts, allowed: int) -> Iterator[Finding]:
    cast, stated = c.ballots_cast, [v for v in c.votes.values() if v is not None]
    whole = len(stated) == len(c.votes) and bool(stated)
    summed = sum(stated)
    if c.valid_votes is not None and whole:
        if allowed == 1 and c.valid_votes != summed:
            yield Finding("F106", f"valid votes {c.valid_votes} ≠ the sum of the selections' votes {summed}")
        elif summed > c.valid_votes * allowed:  # they may be ballots, or votes
            yield Finding("F106", f"the selections' votes {summed} exceed {allowed} for each of {c.valid_votes} valid")
    if cast is None:
        return
    valid = summed if whole and (allowed > 1 or c.valid_votes is None) else c.valid_votes
    others = (c.blank_votes, c.invalid_votes, c.challenged_votes, c.undervotes, c.overvotes)
    marks = (c.undervotes, c.overvotes)
    if valid is not None and (None not in (c.blank_votes, c.invalid_votes) or None not in marks):
        if allowed == 1:
            total = valid + sum(n or 0 for n in others)
            if cast != total:
                yield Finding("F105", f"ballots cast {cast} ≠ valid, blank, invalid and all other votes {total}")
        elif (total := valid + sum(n or 0 for n in marks)) > cast * allowed:
            yield Finding(
                "F105", f"votes, undervotes and overvotes {total} exceed {allowed} for each of {cast} ballots"
            )
    for name, value in (
        *c.votes.items(),
        ("blank votes", c.blank_votes),
        ("invalid votes", c.invalid_votes),
        ("challenged votes", c.challenged_votes),
    ):
        if value is not None and value > cast:
            yield Finding("F107", f"{name} {value} exceed ballots cast {cast}")
    for name, value in (("valid votes", c.valid_votes), ("undervotes", c.undervotes), ("overvotes", c.overvotes)):
        if value is not None and value > cast * allowed:
            of = "ballots cast" if allowed == 1 else f"the {allowed} votes allowed on each of {cast} ballots:"
            yield Finding("F107", f"{name} {value} exceed {of} {cast * allowed}")
    voters = c.registered_voters_counted if c.registered_voters_counted is not None else c.registered_voters
    if voters is not None and cast > voters:
        yield Finding("F108", f"ballots cast {cast} exceed registered voters {voters}")


def _settled(update: CountUpdate) -> Iterator[Finding]:
    counts = update.counts
    if update.count_status is CountStatus.COUNTED and (lacking := unstated(update)):
        yield Finding("F109", f"{update.unit} is counted, but does not state {', '.join(lacking)}")
    if (
        update.count_status is CountStatus.ANNULLED
        and counts is not None
        and (
            any(counts.votes.values())
            or (None not in (counts.invalid_votes, counts.ballots_cast) and counts.invalid_votes != counts.ballots_cast)
        )
    ):
        yield Finding(
            "F110",
            f"{update.unit} is annulled, but states {counts.votes} and {counts.invalid_votes} invalid "
            f"of {counts.ballots_cast} cast",
        )


def _belongs(update: CountUpdate, contest: ContestDefined) -> Iterator[Finding]:
    if update.counts is not None and not set(contest.selection_ids).issuperset(update.counts.votes):
        unknown = sorted(set(update.counts.votes) - set(contest.selection_ids))
        yield Finding(
            "F301",
            f"unknown selection {', '.join(unknown)}; the contest has {', '.join(contest.selection_ids)}",
        )
    unit = update.reporting_unit
    if contest.is_area(unit):
        if contest.area_paths[unit.id][:-1] != unit.area_path:
            expected = "/".join(contest.area_paths[unit.id][:-1])
            yield Finding(
                "F302", f"area path {'/'.join(unit.area_path)} of {update.unit} is not the contest's {expected}"
            )
    elif unit.type in contest.area_types and not contest.is_sheet(unit.type):
        yield Finding("F303", f"the contest defines no {unit.type} {unit.id}")
    elif not unit.area_path or contest.area_paths.get(unit.area_path[-1]) != unit.area_path:
        yield Finding("F302", f"area path {'/'.join(unit.area_path)} of {update.unit} is unknown to the contest")
    if update.stated_at < contest.count_starts_at and not contest.is_test:
        starts = rfc3339(contest.count_starts_at)
        yield Finding("F304", f"stated at {rfc3339(update.stated_at)}, before the count begins at {starts}")
    if _ahead(update) > CLOCK_LIMIT:
        yield Finding("F305", _of_two_clocks(update))
    if update.is_test != contest.is_test:
        yield Finding("F306", f"is_test is {update.is_test}, the contest's is {contest.is_test}")
    if contest.ended_areas and update.kind is not UpdateKind.RETRACTED:  # what an ended area states may be taken back
        for area in contest.areas_of(unit):
            if (end := contest.ended_areas.get(area)) is not None and update.stated_at >= end:
                yield Finding("F308", f"area {area} of {update.unit} ended at {rfc3339(end)}")
    if unit.counted_with is not None:
        yield from _counted_with(update, unit.counted_with)


def _counted_with(update: CountUpdate, other: str) -> Iterator[Finding]:
    if other == update.reporting_unit.id:
        yield Finding("F309", f"{update.unit} is counted with itself")
    if update.counts is not None and (own := list(_of_ballots(update.counts))):
        yield Finding("F309", f"{update.unit} is counted with {other}, but states {', '.join(own)} of its own")


def _of_ballots(counts: Counts) -> Iterator[str]:
    """Yield the figures of votes and ballots that are stated, whatever they are."""
    yield from (f"votes.{name}" for name, n in counts.votes.items() if n is not None)
    yield from (name for name in FIGURES if name not in _OF_VOTERS and getattr(counts, name) is not None)
    for part in counts.by_vote_type or ():
        stated = part.model_dump(exclude={"vote_type", "name", "votes"}).values()
        if any(n is not None for n in (*part.votes.values(), *stated)):
            yield part.name


_OF_VOTERS = ("registered_voters", "registered_voters_counted")
