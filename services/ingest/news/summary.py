"""Say what a contest's definition holds, in some lines for people and as JSON. Values only; pure.

Place in the flow: `contest check` says it before a definition is published, `define` and `load` after it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.news.contest_fault import listed
from schemas.columns.roll import Roll
from schemas.contest import SHEETS, ContestDefined, Selection, in_words
from schemas.count_update import UnitKey
from schemas.types import DEPTH_LIMIT, SelectionKind, rfc3339

_MOST = 20
"""Selections that are listed."""


@dataclass(frozen=True, slots=True)
class Defined:
    """A definition on the log. `is_new`: this run published it."""

    definition: ContestDefined
    partition: int
    offset: int
    is_new: bool = True
    ended: Mapping[str, int] = field(default_factory=dict)
    """Units that are added up and whose statement stands in an area that ends, or is about it, by area."""

    def lines(self) -> Iterator[str]:
        """Yield what it says, line by line."""
        of = self.definition
        said = "published" if self.is_new else "nothing is changed; on the log is"
        yield f"{said}: {of.contest_id}, revision {of.revision}, offset {self.offset}, event {of.event_id}"
        yield from summary(of)
        for area_id, units in sorted(self.ended.items()):
            area = of.areas_by_id[area_id]
            assert area.ends_at is not None
            by = f", replaced by {listed(area.replaced_by)}," if area.replaced_by else ""
            are = "statement of 1 unit still adds" if units == 1 else f"statements of {units:,} units still add"
            yield (
                f"  {area.type} {area_id} ends at {rfc3339(area.ends_at)}{by} and the {are} there, beside its "
                "successors; `retract` takes one back"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the same for machines."""
        event = {"event_id": str(self.definition.event_id), "revision": self.definition.revision}
        return {"is_new": self.is_new, "partition": self.partition, "offset": self.offset, **event,
                "standing_in_ended": dict(self.ended), **summary_json(self.definition)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A roll on the log. `is_new`: this run published it."""

    contest_id: str
    revision: int
    sheets: int
    registered_voters: int | None
    is_new: bool
    beside: tuple[str, ...] = ()
    """Sheets that are stated and not on the roll, as type/id."""

    @classmethod
    def of(cls, roll: Roll, contest_id: str, *, is_new: bool, beside: Iterable[UnitKey]) -> "Enrolled":
        """Return what a roll in force holds."""
        whole = max(roll.units_of(roll.by_type()).values(), key=lambda held: held[0], default=(0, None))
        return cls(contest_id, roll.revision, *whole, is_new, tuple(map(str, beside)))

    def lines(self) -> Iterator[str]:
        """Yield what it says, line by line."""
        voters = "" if self.registered_voters is None else f", {self.registered_voters:,} registered voters"
        said = "published: the roll" if self.is_new else "nothing is changed; on the log is the roll"
        yield f"{said} of {self.contest_id}, revision {self.revision}: {self.sheets:,} sheets{voters}"
        if self.beside:
            names = listed(self.beside, _MOST)
            yield f"  not on it, but stated before and still counted: {names}; `retract` takes one back"

    def as_json(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {name: getattr(self, name) for name in self.__slots__}


def summary(definition: ContestDefined) -> Iterator[str]:
    """Yield what a definition holds: its words, selections, areas, and what is added up."""
    of = definition
    yield f"  {of.name}; {of.election_name}; {of.authority}" + ("; a test" if of.is_test else "")
    ballot = sorted(of.selections, key=lambda one: one.ballot_order)
    names = [f"{one.ballot_order} {one.candidate} ({one.party}{_of_selection(one)})" for one in ballot]
    yield f"  {len(names)} selections: {listed(names, _MOST)}"
    yield f"  {len(of.areas):,} areas: {listed([f'{n:,} {kind}' for kind, n in _areas(of).items()])}"
    later = "".join(f", then {in_words(level)} as soon as every one is stated" for level in of.later_counting_levels)
    voters = "" if of.registered_voters is None else f"; registered voters: {of.registered_voters:,}"
    sheets = "as the roll or the office says" if of.expected_units is None else f"{of.expected_units:,}"
    yield f"  added up: {in_words(of.counting_level)}{later}; expected sheets: {sheets}{voters}"
    if rules := list(_rules(of)):
        yield f"  {'; '.join(rules)}"
    yield f"  holds from {rfc3339(of.effective_at)}; election day {of.election_date} in {of.time_zone}"


def _of_selection(one: Selection) -> str:
    kind = "" if one.kind is SelectionKind.CANDIDATE else f", {one.kind}"
    below = "" if one.list_id is None else f", on the list {one.list_id}"
    return kind + below + ("" if one.withdrawn_at is None else f", withdrawn {rfc3339(one.withdrawn_at)}")


def _rules(of: ContestDefined) -> Iterator[str]:
    """Yield what differs from the ordinary contest."""
    if (of.votes_allowed, of.number_elected) != (1, 1):
        yield f"votes for each ballot: up to {of.votes_allowed}, elected: {of.number_elected}"
    if of.sheet_types != SHEETS:
        yield f"sheets are: {listed(of.sheet_types) if of.sheet_types else 'none'}"
    if of.partial_sheets_count:
        yield "sheets in process count"
    if of.leader_from_percent is not None:
        yield f"no leader is named below {of.leader_from_percent} % of the sheets"
    if of.confirmed_units:
        yield f"confirmed units: {listed(of.confirmed_units)}"
    if of.rules_version is not None:
        yield f"rules: {of.rules_version}"
    if of.count_starts_at != of.effective_at:
        yield f"the count begins at {rfc3339(of.count_starts_at)}"


def summary_json(definition: ContestDefined) -> dict[str, Any]:
    """Return the same for machines; areas by type."""
    content = definition.model_dump(mode="json", exclude={"event_id", "revision", "previous_event_id", "areas"})
    times = {name: rfc3339(getattr(definition, name)) for name in ("effective_at", "count_starts_at")}
    return {**content, **times, "areas": _areas(definition)}


def _areas(definition: ContestDefined) -> dict[str, int]:
    """Count the areas by type, outermost first."""
    number = Counter(area.type for area in definition.areas)
    depth: dict[str, int] = {}
    for area in definition.areas:
        depth[area.type] = min(depth.get(area.type, DEPTH_LIMIT), len(definition.area_paths[area.area_id]))
    return dict(sorted(number.items(), key=lambda item: depth[item[0]]))
