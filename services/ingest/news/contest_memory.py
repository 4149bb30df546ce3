"""Remember what the log says of a contest: its definition, the chain of each unit, the heartbeats. Pure.

Place in the flow: filled from the log by `publish.memory`, compared with by `changes`. It is rebuilt from the log at
each start, so a crash loses nothing of it. It accepts exactly those events that the aggregator accepts
(`schemas.chain`), so that the next event continues the chain that readers see, also after a gap, a fork or a forgery.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ingest.news.figures import Figures, figures
from schemas.chain import judge
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.feed_status import FeedStatus
from schemas.identity import statement as statement_text
from schemas.types import CorrectionBasis, UpdateKind


class Said(NamedTuple):
    """A published statement of a unit. A retraction has no figures.

    `taken_back`: of an operator's statement, the figures that it replaced and those that its predecessors had replaced.
    """

    stated_at: datetime
    sequence: int
    event_id: UUID
    figures: Figures | None
    taken_back: tuple[Figures, ...] = ()


class UnitMemory(NamedTuple):
    """The chain of a unit: its last event, and its statements ordered by (stated_at, sequence)."""

    sequence: int
    event_id: UUID
    said: tuple[Said, ...]


@dataclass(slots=True)
class ContestMemory:
    """A contest on the log: its latest definition, its units, its heartbeats (unit, time, repeated event)."""

    definition: ContestDefined
    units: dict[UnitKey, UnitMemory] = field(default_factory=dict)
    heartbeats: set[tuple[UnitKey, datetime, UUID]] = field(default_factory=set)
    heard: dict[UnitKey, datetime] = field(default_factory=dict)
    """The latest time for which a unit only repeated itself, as known from this run or its own heartbeats."""
    unchained: int = 0
    """Events on the log that readers do not accept, but report: forged, broken, repeated or forked. Ignored here."""

    def hear(self, heartbeat: FeedStatus) -> None:
        """Remember a heartbeat."""
        key = heartbeat_key(heartbeat)
        self.heartbeats.add(key)
        keep_latest(self.heard, key[0], key[1])

    def count(self, unit_type: str) -> int:
        """Count the units of a type that have been stated."""
        return sum(1 for key in self.units if key.type == unit_type)

    def complete_since(self, unit_type: str) -> datetime:
        """Return when the last of the units of a type was first stated. The contest must have such a unit."""
        return max(unit.said[0].stated_at for key, unit in self.units.items() if key.type == unit_type)


def remember(memory: ContestMemory, event: CountUpdate) -> bool:
    """Add an event of the log to the memory. Returns False, and only counts it, when readers do not accept it."""
    key = event.unit
    unit = memory.units.get(key)
    accepted, _ = judge(event, statement_text(event), memory.definition, unit.sequence if unit else 0)
    if not accepted:
        memory.unchained += 1
        return False
    memory.units[key] = extended(unit, event)
    return True


def extended(unit: UnitMemory | None, event: CountUpdate) -> UnitMemory:
    """Return the unit's memory with one more event."""
    return extended_by(
        unit, event, None if event.kind is UpdateKind.RETRACTED else figures(event.reporting_unit, event)
    )


def extended_by(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> UnitMemory:
    """Return the unit's memory with one more event, whose figures are known."""
    new = Said(event.stated_at, event.sequence, event.event_id, now, _taken_back(unit, event, now))
    if unit is None:
        return UnitMemory(event.sequence, event.event_id, (new,))
    at = len(unit.said)
    while at and unit.said[at - 1].stated_at > new.stated_at:
        at -= 1
    return UnitMemory(event.sequence, event.event_id, (*unit.said[:at], new, *unit.said[at:]))


def _taken_back(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> tuple[Figures, ...]:
    """Return the figures that an operator's event and the event that it replaces have replaced; never its own."""
    correction = event.correction
    if unit is None or correction is None or correction.basis is not CorrectionBasis.OPERATOR:
        return ()
    replaced = next((said for said in unit.said if said.event_id == correction.replaces_event_id), None)
    if replaced is None:
        return ()
    return tuple(f for f in (replaced.figures, *replaced.taken_back) if f is not None and f != now)


def heartbeat_key(heartbeat: FeedStatus) -> tuple[UnitKey, datetime, UUID]:
    """Return what identifies a heartbeat: which unit repeated which event under which time."""
    return (
        UnitKey(heartbeat.unit_type, heartbeat.unit_id),
        heartbeat.reported_at or heartbeat.observed_at,
        heartbeat.last_event_id,
    )


def keep_latest(times: dict[UnitKey, datetime], key: UnitKey, time: datetime) -> None:
    """Set the unit's time unless a later one is known."""
    if key not in times or times[key] < time:
        times[key] = time
