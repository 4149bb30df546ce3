"""Decide which definition of a contest comes next: the file's, a revision of it, or a move of the counting level. Pure.

Place in the flow: `publish.definitions` publishes what is decided here. Every decision follows from the log and the
contest's file alone, so it is the same after a crash.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from ingest.errors import IngestError
from ingest.news.contest_memory import ContestMemory
from ingest.news.take_over import Contradiction, contradictions
from schemas.contest import Area, ContestDefined, Level, in_words
from schemas.count_update import UnitKey
from schemas.faults import first_fault
from schemas.identity import named
from schemas.types import LATEST_MS, rfc3339


class Move(NamedTuple):
    """A move of the counting level: the next definition; None where the level stays."""

    definition: ContestDefined | None
    waiting: Level = ()
    """The level that is stated completely, and waits because official statements contradict its sum."""
    contradictions: Sequence[Contradiction] = ()


def only_contest(contests: Mapping[str, ContestMemory]) -> ContestMemory:
    """Return the log's only contest. Raises IngestError when there is none, or several."""
    if len(contests) != 1:
        names = ", ".join(sorted(contests)) or "none"
        raise IngestError(f"the log has {len(contests)} contests ({names}); name one with --contest FILE")
    (contest,) = contests.values()
    return contest


def next_revision(
    definition: ContestDefined, memory: ContestMemory, effective_at: datetime | None, level: Level | None
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
    wanted = level or known.counting_level
    moves = not _alike(wanted, known.counting_level)
    if not moves and not differing(definition, known) and effective_at in (None, known.effective_at):
        return None
    at = _place(wanted, levels)
    if at is None:
        names = ", ".join(map(in_words, levels))
        raise IngestError(f"{in_words(wanted)} is none of the contest's counting_levels: {names}")
    remaining = levels[at:]
    if (beyond := _reached(remaining[1:], definition, memory)[0]) is not None:
        raise IngestError(
            f"every expected {in_words(beyond[0])} is stated, so that the next run would move on from "
            f"{in_words(wanted)} again; to stay there, let counting_levels of the contest's file end with "
            f"{in_words(wanted)}"
        )
    start = known.effective_at
    if moves and memory.count(wanted):
        start = max(start, memory.complete_since(wanted))
    effective_at = effective_at or start
    if effective_at < known.effective_at:
        raise IngestError(
            f"a revision must not hold from before the one it follows: {rfc3339(effective_at)} is earlier than "
            f"{rfc3339(known.effective_at)}"
        )
    return _revision(definition, known, remaining, effective_at)


def moved_level(memory: ContestMemory) -> Move:
    """Move the counting level to the last one of which every expected unit is stated and that nothing contradicts."""
    definition = memory.definition
    levels, waiting, found = _reached(definition.later_counting_levels, definition, memory)
    if levels is None:
        return Move(None, waiting, found)
    since = max(definition.effective_at, memory.complete_since(levels[0]))
    return Move(_revision(definition, definition, levels, since), waiting, found)


def differing(wanted: ContestDefined, known: ContestDefined) -> list[str]:
    """List the fields in which two definitions differ, except their place in the chain and the level reached."""
    own = {"event_id", "revision", "previous_event_id", "counting_level", "later_counting_levels", "effective_at"}
    differ = [
        name
        for name in ContestDefined.model_fields
        if name not in own and getattr(wanted, name) != getattr(known, name)
    ]
    levels = (wanted.counting_level, *wanted.later_counting_levels)
    at, later = _place(known.counting_level, levels), known.later_counting_levels
    if at is None or list(map(set, levels[at + 1 :])) != list(map(set, later)):
        differ.append("counting_levels")
    return differ


def is_complete(level: Level, definition: ContestDefined, memory: ContestMemory) -> bool:
    """Say whether every expected unit of a level is stated: every sheet, and every area of its other types.

    Never where it is not known how many sheets there will be. Units that are neither are not expected.
    """
    sheets, areas = expected_sheets(level, definition, memory), _areas(level, definition)
    if sheets is None or not sheets + len(areas):
        return False
    types = tuple(filter(definition.is_sheet, level))
    if memory.count(types) < sheets:
        return False
    standing = set(memory.standing(LATEST_MS))  # without those that were retracted
    if not all(UnitKey(area.type, area.area_id) in standing for area in areas):
        return False
    if not memory.roll.holds or not sheets:
        return sum(key.type in types for key in standing) >= sheets
    return all(key in standing for key, _, _ in memory.roll.listed() if key.type in types)


def expected(level: Level, definition: ContestDefined, memory: ContestMemory) -> int | None:
    """Count the expected units of a level: sheets, and areas of its other types; None where it is not known."""
    sheets = expected_sheets(level, definition, memory)
    return None if sheets is None else sheets + len(_areas(level, definition))


def expected_sheets(level: Level, definition: ContestDefined, memory: ContestMemory) -> int | None:
    """Count the expected sheets of a level: as the roll or else the contest says; None where it is not known."""
    if not any(map(definition.is_sheet, level)):
        return 0
    if memory.roll.holds:
        return sum(memory.roll.number[unit_type] for unit_type in level)
    return definition.expected_units


def _areas(level: Level, definition: ContestDefined) -> list[Area]:
    types = [unit_type for unit_type in level if not definition.is_sheet(unit_type)]
    return [area for area in definition.areas if area.type in types and area.ends_at is None]


def _reached(
    levels: tuple[Level, ...], definition: ContestDefined, memory: ContestMemory
) -> tuple[tuple[Level, ...] | None, Level, Sequence[Contradiction]]:
    """Return the levels from the last one on that is complete and not contradicted; None if there is no such level.

    Also returns the last level that is complete and contradicted, and by what.
    """
    waiting: Level = ()
    found: Sequence[Contradiction] = ()
    for at in reversed(range(len(levels))):
        if is_complete(levels[at], definition, memory):
            if not (against := contradictions(memory, levels[at])):
                return levels[at:], waiting, found
            if not waiting:
                waiting, found = levels[at], against
    return None, waiting, found


def _alike(one: Level, other: Level) -> bool:
    return set(one) == set(other)


def _place(level: Level, levels: Sequence[Level]) -> int | None:
    """Return where a level stands among others, whatever the order of its types."""
    return next((at for at, other in enumerate(levels) if _alike(level, other)), None)


def _revision(
    content: ContestDefined, after: ContestDefined, levels: tuple[Level, ...], effective_at: datetime
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
