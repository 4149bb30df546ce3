"""Decide which definition of a contest comes next: the file's, a revision of it, or a move of the counting level. Pure.

Place in the flow: `publish.definitions` publishes what is decided here. Every decision follows from the log and the
contest's file alone, so it is the same after a crash.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from ingest.errors import IngestError
from ingest.news.contest_memory import ContestMemory
from schemas.contest import ContestDefined
from schemas.faults import first_fault
from schemas.identity import named
from schemas.types import SHEET_TYPES, ReportingUnitType, rfc3339


def only_contest(contests: Mapping[str, ContestMemory]) -> ContestMemory:
    """Return the log's only contest. Raises IngestError when there is none, or several."""
    if len(contests) != 1:
        names = ", ".join(sorted(contests)) or "none"
        raise IngestError(f"the log has {len(contests)} contests ({names}); name one with --contest FILE")
    (contest,) = contests.values()
    return contest


def next_revision(
    definition: ContestDefined, memory: ContestMemory, effective_at: datetime | None, level: ReportingUnitType | None
) -> ContestDefined | None:
    """Make the file's definition the contest's next revision. Returns None when nothing would change.

    Args:
        effective_at: From which official time it holds. Default: as the known definition, or if the level moves, from
            when the last of its units was first stated.
        level: The counting level to move to, by an operator's decision. Default: the level stays.

    Raises:
        IngestError: The level is not one of the contest's, would move on at once, or the time is too early.
    """
    known = memory.definition
    levels = (definition.counting_level, *definition.later_counting_levels)
    level = level or known.counting_level
    moves = level is not known.counting_level
    if not moves and not differing(definition, known) and effective_at in (None, known.effective_at):
        return None
    if level not in levels:
        raise IngestError(f"{level} is none of the contest's counting_levels: {', '.join(levels)}")
    remaining = levels[levels.index(level) :]
    if beyond := complete(remaining[1:], definition, memory):
        raise IngestError(
            f"every expected {beyond[0]} is stated, so that the next run would move on from {level} again; "
            f"to stay there, let counting_levels of the contest's file end with {level}"
        )
    start = known.effective_at
    if moves and memory.count(level):
        start = max(start, memory.complete_since(level))
    effective_at = effective_at or start
    if effective_at < known.effective_at:
        raise IngestError(
            f"a revision must not hold from before the one it follows: {rfc3339(effective_at)} is earlier than "
            f"{rfc3339(known.effective_at)}"
        )
    return _revision(definition, known, remaining, effective_at)


def moved_level(memory: ContestMemory) -> ContestDefined | None:
    """Move the counting level to the last one of which every expected unit has been stated. None when it stays."""
    definition = memory.definition
    levels = complete(definition.later_counting_levels, definition, memory)
    if not levels:
        return None
    since = max(definition.effective_at, memory.complete_since(levels[0]))
    return _revision(definition, definition, levels, since)


def differing(wanted: ContestDefined, known: ContestDefined) -> list[str]:
    """List the fields in which two definitions differ, except their place in the chain and the level reached."""
    own = {"event_id", "revision", "previous_event_id", "counting_level", "later_counting_levels", "effective_at"}
    differ = [
        name
        for name in ContestDefined.model_fields
        if name not in own and getattr(wanted, name) != getattr(known, name)
    ]
    levels, level = (wanted.counting_level, *wanted.later_counting_levels), known.counting_level
    if level not in levels or levels[levels.index(level) + 1 :] != known.later_counting_levels:
        differ.append("counting_levels")
    return differ


def complete(
    levels: tuple[ReportingUnitType, ...], definition: ContestDefined, memory: ContestMemory
) -> tuple[ReportingUnitType, ...]:
    """Return the levels from the last one on of which every expected unit is stated; none if there is no such level."""
    for at in reversed(range(len(levels))):
        if 0 < expected(levels[at], definition) <= memory.count(levels[at]):
            return levels[at:]
    return ()


def expected(level: ReportingUnitType, definition: ContestDefined) -> int:
    """Count the expected units of a level: the defined areas, or as many sheets as the contest says."""
    if level in SHEET_TYPES:
        return definition.expected_units
    return sum(1 for area in definition.areas if area.type is level)


def _revision(
    content: ContestDefined, after: ContestDefined, levels: tuple[ReportingUnitType, ...], effective_at: datetime
) -> ContestDefined:
    values = {name: getattr(content, name) for name in ContestDefined.model_fields}
    values |= {
        "revision": after.revision + 1,
        "previous_event_id": after.event_id,
        "counting_level": levels[0],
        "later_counting_levels": levels[1:],
        "effective_at": effective_at.astimezone(UTC),
    }
    try:
        return named(ContestDefined(**values))
    except ValidationError as error:
        raise IngestError(f"{after.contest_id} cannot be revised: {first_fault(error)}") from error
