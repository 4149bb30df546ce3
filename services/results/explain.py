"""Explain an area or a unit: read the statements about it and the change of each."""

from collections import defaultdict

from results.changes import Change, SnapshotChange, changes, snapshot_changes
from results.count import NothingCounted, find_area
from results.reader import Reader, area_key
from results.rows import recorded_of
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import EscrutinioError
from schemas.types import Frozen, ReportingUnitType


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
    statements: tuple[Change, ...]
    publications: tuple[SnapshotChange, ...]
    """The changes of each publication among an area's tally sheets; none for a single unit."""
    not_accepted: tuple[NotAccepted, ...]


def explain(reader: Reader, contest_id: str, name: str | None) -> Explanation:
    """Explain the area or unit of that name, by default the outermost area. Raises NothingCounted, NoSuchUnit."""
    contest, _ = reader.contest(contest_id)
    unit, is_area = _unit(contest, name)
    rows = [(row["log_offset"], recorded_of(row).update, row["change"]) for row in reader.history(contest_id, unit)]
    found: dict[int, list[str]] = defaultdict(list)
    for finding in reader.findings(contest_id, unit):
        found[finding["log_offset"]].append(f"{finding['code']} {finding['message']}")
    statements = changes(contest, rows, found)
    publications = (
        snapshot_changes(contest, reader.snapshots(contest_id, unit.id, ReportingUnitType.PRECINCT.value))
        if is_area
        else []
    )
    refused = sorted(found.keys() - {s.offset for s in statements})
    if not statements and not publications and not refused:
        raise NothingCounted(f"nothing has been stated about {unit}")
    return Explanation(
        contest_id=contest_id,
        time_zone=contest.time_zone,
        unit=str(unit),
        statements=tuple(statements),
        publications=tuple(publications),
        not_accepted=tuple(NotAccepted(offset=offset, findings=tuple(found[offset])) for offset in refused),
    )


def _unit(contest: ContestDefined, name: str | None) -> tuple[UnitKey, bool]:
    """Find an area by its id, or a unit by `type/id`; any other id is a tally sheet's. Also return if it is an area."""
    if name is None or name in contest.areas_by_id:
        return area_key(find_area(contest, name)), True
    kind, slash, unit_id = name.partition("/")
    if not slash:
        return UnitKey(ReportingUnitType.PRECINCT.value, name), False
    if kind not in set(ReportingUnitType):
        raise NoSuchUnit(f"{kind!r} is not a reporting unit type; use one of {', '.join(ReportingUnitType)}")
    return UnitKey(kind, unit_id), unit_id in contest.areas_by_id and contest.areas_by_id[unit_id].type == kind
