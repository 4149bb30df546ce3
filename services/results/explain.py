"""Explain an area or a unit: read the statements about it and the change of each."""

from collections import defaultdict
from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from results.changes import Change, SnapshotChange, UnitMoved, changes, place, snapshot_changes
from results.count import NothingCounted, OnLog, find_area
from results.difference import changes_of
from results.reader import Reader, area_key
from results.rows import recorded_of
from schemas.chain import states_of
from schemas.columns.layout import Layout
from schemas.contest import ContestDefined, Level
from schemas.count_update import UnitKey
from schemas.errors import EscrutinioError
from schemas.log_record import Recorded
from schemas.types import OTHER_TYPE, Frozen, ReportingUnitType, UnitType


class NoSuchUnit(EscrutinioError):
    """The name is not that of a reporting unit."""


class NotAccepted(Frozen):
    """An event that changed nothing, and the findings with the reason."""

    offset: int
    findings: tuple[str, ...]


class Explanation(Frozen):
    """All statements about an area or a unit, in the order of the log."""

    contest_id: str
    time_zone: str
    unit: str
    log: OnLog
    statements: tuple[Change, ...]
    publications: tuple[SnapshotChange, ...]
    """The changes of each publication among an area's tally sheets; none for a single unit."""
    not_accepted: tuple[NotAccepted, ...]


def explain(reader: Reader, contest_id: str, name: str | None) -> Explanation:
    """Explain the area or unit of that name, by default the outermost area. Raises NothingCounted, NoSuchUnit."""
    contest, row = reader.contest(contest_id)
    unit, is_area = _unit(contest, name)
    history = {row["log_offset"]: recorded_of(row).update for row in reader.history(contest_id, unit)}
    recorded, layout = reader.changes_at(contest_id, list(history)), Layout.of(contest)
    rows = [(n, update, layout.nonzero(recorded[n]["change"] or ())) for n, update in history.items()]
    found: dict[int, list[str]] = defaultdict(list)
    for finding in reader.findings(contest_id, unit):
        found[finding["log_offset"]].append(f"{finding['code']} {finding['message']}")
    statements = [] if is_area and contest.is_part(unit.type) else changes(contest, rows, found)
    publications = _publications(reader, contest, unit, row["last_offset"]) if is_area else []
    refused = sorted(found.keys() - {offset for offset, _, _ in rows})
    if not statements and not publications and not refused:
        raise NothingCounted(f"nothing has been stated about {unit}")
    return Explanation(
        contest_id=contest_id,
        time_zone=contest.time_zone,
        unit=str(unit),
        log=reader.log_of(contest_id),
        statements=tuple(statements),
        publications=tuple(publications),
        not_accepted=tuple(NotAccepted(offset=offset, findings=tuple(found[offset])) for offset in refused),
    )


def _publications(reader: Reader, contest: ContestDefined, area: UnitKey, end: int) -> list[SnapshotChange]:
    """Describe the changes among the units that are added up in an area; of one that states itself, its sheets."""
    level = contest.counting_level if contest.counting_level != (area.type,) else contest.sheet_types
    moved = dict(_moved(reader, contest, area.id, level, end))
    left, entered = ([n for n, one in moved.items() if one.has_left is side] for side in (True, False))
    return snapshot_changes(contest, reader.snapshots(contest.contest_id, area.id, level, left, entered), moved)


def _moved(
    reader: Reader, contest: ContestDefined, area_id: str, level: Level, end: int
) -> Iterator[tuple[int, UnitMoved]]:
    """Find the updates by which a unit left or entered an area, by offset."""
    by_unit = defaultdict[UnitKey, list[Recorded]](list)
    units = reader.moved_units(contest.contest_id, level)
    for row in reader.unit_history_to(contest.contest_id, units, end) if units else ():
        by_unit[UnitKey(row["unit_type"], row["unit_id"])].append(recorded_of(row))
    for statements in by_unit.values():
        changed = changes_of(contest, area_id, statements, (), [r.offset for r in statements])
        before: Recorded | None = None
        for recorded, state in states_of(statements):
            if before is not None:
                was, now = (contest.areas_of(of.update.reporting_unit) for of in (before, state))
                if (has_left := area_id in was) != (area_id in now):
                    other = place(contest, now, was) if has_left else place(contest, was, now)
                    unit = str(recorded.update.unit)
                    yield recorded.offset, UnitMoved(unit, has_left, other, changed[recorded.offset])
            before = state


def _unit(contest: ContestDefined, name: str | None) -> tuple[UnitKey, bool]:
    """Find an area by its id, or a unit by `type/id`; any other id is a tally sheet's. Also return if it is an area.

    Where an area's own statements are parts of its sum, `type/id` is the unit that states them.
    """
    if name is None or name in contest.areas_by_id:
        return area_key(find_area(contest, name)), True
    kind, slash, unit_id = name.partition("/")
    if not slash:
        return UnitKey(next(iter(contest.sheets_counted), ReportingUnitType.PRECINCT.value), name), False
    try:
        TypeAdapter(UnitType).validate_python(kind)
    except ValidationError:
        raise NoSuchUnit(
            f"{kind!r} is not a reporting unit type; use one of {', '.join(ReportingUnitType)}, or {OTHER_TYPE}NAME"
        ) from None
    area = contest.areas_by_id.get(unit_id)
    return UnitKey(kind, unit_id), area is not None and area.type == kind and not contest.is_part(kind)
