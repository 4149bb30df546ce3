"""Decide which events of the log are accepted: one rule for every reader, so that ingest and the fold agree.

An update is accepted when its id matches its content, it breaks no rule that rejects, and its sequence is higher than
that of every update of its unit accepted before. A definition is accepted when it is the contest's next revision and
removes nothing that updates depend on.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import name_text
from schemas.rules import Finding, check
from schemas.source_status import SourceStatus
from schemas.unit_roll import UnitRoll


def broken_rules(update: CountUpdate, text: bytes, contest: ContestDefined | None) -> list[Finding]:
    """List every rule that an update breaks by itself. One that refuses it (`Finding.refuses`) keeps it from counting.

    `text`: its canonical text (`identity.statement`). With F404 or F405 nothing more is asked of it.
    """
    if (misnamed := _misnamed(update.event_id, text)) is not None:
        return [misnamed]
    if contest is None:
        return [Finding("F405", f"{update.unit} stated before contest {update.contest_id} is defined")]
    return list(check(update, contest))


def definition_fault(event: ContestDefined, text: bytes, current: ContestDefined | None) -> Finding | None:
    """Say why a definition is not accepted after `current` (None: it is the first); None when it is accepted."""
    if (misnamed := _misnamed(event.event_id, text)) is not None:
        return misnamed
    expected = 1 if current is None else current.revision + 1
    if event.revision != expected:
        return Finding("F401", f"definition revision {event.revision}, expected {expected}")
    if current is None:
        return None
    if event.previous_event_id != current.event_id:
        return Finding("F403", f"definition follows {event.previous_event_id}, not {current.event_id}")
    if current.selection_ids != event.selection_ids[: len(current.selection_ids)]:
        return Finding("F301", "a revision must keep the contest's selections, in their order")
    for area_id, path in current.area_paths.items():
        area = event.areas_by_id.get(area_id)
        if area is None or event.area_paths[area_id] != path or area.type != current.areas_by_id[area_id].type:
            return Finding("F302", f"a revision must keep the contest's areas, where they are; {area_id} is not")
    for name in ("sheet_types", "partial_sheets_count", "votes_allowed"):
        if getattr(event, name) != getattr(current, name):
            return Finding("F302", f"a revision must keep {name}: what was counted was counted by it")
    return None


def roll_fault(
    event: UnitRoll,
    text: bytes,
    contest: ContestDefined | None,
    last: UnitRoll | None,
    is_listed: Callable[[UnitKey], bool],
) -> Finding | None:
    """Say why a part of a roll is not accepted; None when it is accepted.

    Args:
        text: Its canonical text.
        last: The part accepted before.
        is_listed: Whether a unit stands in a part of the same revision that was accepted before.

    After each part the next one of its revision is accepted, or the first of the next revision: what is written does
    not wait for parts that never come.
    """
    if (misnamed := _misnamed(event.event_id, text)) is not None:
        return misnamed
    if contest is None:
        return Finding("F405", f"a roll stated before contest {event.contest_id} is defined")
    place, next_revision = (event.revision, event.part), (1 if last is None else last.revision + 1, 1)
    next_part = None if last is None or last.part == last.parts else (last.revision, last.part + 1)
    if place not in (next_part, next_revision):
        expected = next_part or next_revision
        return Finding("F401", "roll revision {} part {}, expected revision {} part {}".format(*place, *expected))
    if last is not None and (
        event.previous_event_id != last.event_id or (event.part > 1 and event.parts != last.parts)
    ):
        return Finding("F403", f"part of a roll follows {event.previous_event_id}, not {last.event_id}")
    for unit in event.units:
        if unit.area_id not in contest.areas_by_id:
            return Finding("F302", f"area {unit.area_id} of {unit.key} is unknown to the contest")
        if not contest.is_sheet(unit.type):
            sheets = ", ".join(contest.sheet_types)
            return Finding("F303", f"{unit.key} is no tally sheet of the contest: those are {sheets}")
    keys = Counter(unit.key for unit in event.units)
    if twice := [str(key) for key, times in keys.items() if times > 1 or (event.part > 1 and is_listed(key))]:
        return Finding("F402", f"{', '.join(twice[:5])} stands twice on the roll")
    return None


def source_fault(event: SourceStatus, text: bytes, contest: ContestDefined | None) -> Finding | None:
    """Say why a change of the source's state is not accepted; None when it is accepted. `text`: its canonical text."""
    if (misnamed := _misnamed(event.event_id, text)) is not None:
        return misnamed
    if contest is None:
        return Finding("F405", f"the state of a source before contest {event.contest_id} is defined")
    return None


def _misnamed(event_id: UUID, text: bytes) -> Finding | None:
    if event_id == name_text(text):
        return None
    return Finding("F404", f"{event_id} is not the id of its content")


class Stated(Protocol):
    """A statement with an official time."""

    @property
    def stated_at(self) -> datetime: ...


S = TypeVar("S", bound=Stated)


def states_of(statements: Iterable[S], state: S | None = None) -> Iterator[tuple[S, S]]:
    """Yield each statement with the unit's state after it: the latest official time; the later one breaks ties."""
    for statement in statements:
        if state is None or statement.stated_at >= state.stated_at:
            state = statement
        yield statement, state
