"""Say what a contest's definition holds, in some lines for people and as JSON. Values only; pure.

Place in the flow: `contest check` says it before a definition is published, `define` and `load` after it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ingest.news.contest_fault import listed
from schemas.contest import ContestDefined
from schemas.types import ReportingUnitType, rfc3339

_MOST = 20
"""Selections that are listed."""


@dataclass(frozen=True, slots=True)
class Defined:
    """A definition on the log. `is_new`: this run published it."""

    definition: ContestDefined
    partition: int
    offset: int
    is_new: bool = True

    def lines(self) -> Iterator[str]:
        """Yield what it says, line by line."""
        of = self.definition
        said = "published" if self.is_new else "nothing is changed; on the log is"
        yield f"{said}: {of.contest_id}, revision {of.revision}, offset {self.offset}, event {of.event_id}"
        yield from summary(of)

    def as_json(self) -> dict[str, Any]:
        """Return the same for machines."""
        event = {"event_id": str(self.definition.event_id), "revision": self.definition.revision}
        return {"is_new": self.is_new, "partition": self.partition, "offset": self.offset, **event,
                **summary_json(self.definition)}  # fmt: skip


def summary(definition: ContestDefined) -> Iterator[str]:
    """Yield what a definition holds: its words, selections, areas, and what is added up."""
    of = definition
    yield f"  {of.name}; {of.election_name}; {of.authority}" + ("; a test" if of.is_test else "")
    ballot = sorted(of.selections, key=lambda one: one.ballot_order)
    names = [f"{one.ballot_order} {one.candidate} ({one.party})" for one in ballot]
    yield f"  {len(names)} selections: {listed(names, _MOST)}"
    yield f"  {len(of.areas):,} areas: {listed([f'{n:,} {kind}' for kind, n in _areas(of).items()])}"
    later = "".join(f", then {level} as soon as every one is stated" for level in of.later_counting_levels)
    voters = "" if of.registered_voters is None else f"; registered voters: {of.registered_voters:,}"
    yield f"  added up: {of.counting_level}{later}; expected sheets: {of.expected_units:,}{voters}"
    yield f"  holds from {rfc3339(of.effective_at)}; election day {of.election_date} in {of.time_zone}"


def summary_json(definition: ContestDefined) -> dict[str, Any]:
    """Return the same for machines; areas by type."""
    content = definition.model_dump(mode="json", exclude={"event_id", "revision", "previous_event_id", "areas"})
    return {**content, "effective_at": rfc3339(definition.effective_at), "areas": _areas(definition)}


def _areas(definition: ContestDefined) -> dict[str, int]:
    """Count the areas by type, outermost first."""
    number = Counter(area.type for area in definition.areas)
    return {kind.value: number[kind] for kind in ReportingUnitType if number[kind]}
