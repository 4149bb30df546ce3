"""Read a contest's file (TOML) and its areas (CSV) into the contest's definition. Pure: text in, values out.

Place in the flow: before everything; `cli` reads the files, `pipeline` publishes the definition if the log has none.
"""

import csv
import io
import tomllib
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from schemas.contest import Area, ContestDefined, Selection
from schemas.errors import EscrutinioError
from schemas.faults import first_fault
from schemas.identity import NIL, named
from schemas.types import ReportingUnitType

AREA_COLUMNS = ["area_id", "name", "type", "parent_id"]
_KEYS = {
    "contest_id", "name", "election_name", "election_date", "authority", "time_zone", "expected_units",
    "registered_voters", "is_test", "counting_levels", "areas", "selections", "effective_at",
}  # fmt: skip


class ContestFileError(EscrutinioError):
    """A contest's file or its table of areas cannot be used."""


def areas_name(toml: str) -> str:
    """Return the file name of the table of areas, which lies beside the contest's file."""
    return str(_load(toml).get("areas", "areas.csv"))


def read(toml: str, areas: str) -> ContestDefined:
    """Build revision 1 of the definition from the contest's file and table of areas. Raises ContestFileError."""
    content = _load(toml)
    if unknown := sorted(set(content) - _KEYS):
        raise ContestFileError(f"unknown key {', '.join(unknown)}; known keys are {', '.join(sorted(_KEYS))}")
    try:
        midnight = _midnight(content)
        levels = tuple(ReportingUnitType(level) for level in content["counting_levels"])
        definition = ContestDefined(
            event_id=NIL,
            contest_id=content["contest_id"],
            revision=1,
            previous_event_id=None,
            name=content["name"],
            election_name=content["election_name"],
            election_date=str(content["election_date"]),
            authority=content["authority"],
            time_zone=content["time_zone"],
            effective_at=content.get("effective_at") or midnight,
            selections=tuple(Selection(**{"external_id": None, **selection}) for selection in content["selections"]),
            areas=_areas(areas),
            counting_level=levels[0],
            later_counting_levels=levels[1:],
            expected_units=content["expected_units"],
            registered_voters=content.get("registered_voters"),
            is_test=content.get("is_test", False),
        )
    except KeyError as error:
        raise ContestFileError(f"key {error} is missing") from error
    except ValidationError as error:
        raise ContestFileError(first_fault(error)) from error
    except (ValueError, TypeError, IndexError) as error:
        raise ContestFileError(str(error)) from error
    return named(definition)


def _load(toml: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise ContestFileError(f"not TOML: {error}") from error


def _midnight(content: dict[str, Any]) -> datetime:
    """Return the start of election day, from which the definition is valid unless the file says otherwise."""
    day, name = date.fromisoformat(str(content["election_date"])), content["time_zone"]
    if not 1 < day.year < 9999:
        raise ContestFileError(
            f"election_date {day} is at the edge of the calendar; give the election's, as 2021-06-06"
        )
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:  # OSError: "America" is a folder of zones
        raise ContestFileError(f"no time zone named {name}; use an IANA name as America/Lima") from error
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _areas(text: str) -> tuple[Area, ...]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header, *rows = [*reader] or [[]]
    except csv.Error as error:
        raise ContestFileError(
            f"the table of areas, line {reader.line_num}: {error}; it must be well-formed CSV"
        ) from error
    if header != AREA_COLUMNS:
        raise ContestFileError(
            f"the table of areas begins with {','.join(header)!r}, expected {','.join(AREA_COLUMNS)!r}"
        )
    areas = []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(AREA_COLUMNS):
            raise ContestFileError(f"row {number} of the areas has {len(row)} fields, expected {len(AREA_COLUMNS)}")
        areas.append(Area(area_id=row[0], name=row[1], type=ReportingUnitType(row[2]), parent_id=row[3] or None))
    return tuple(areas)
