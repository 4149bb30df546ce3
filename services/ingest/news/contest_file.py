"""Read a contest's file (TOML) and its areas (CSV) into the contest's definition, or say all that is wrong. Pure.

Place in the flow: before everything; `cli` reads the files, `pipeline` publishes the definition if the log has none.
Its keys are in `contest_keys`, its areas in `contest_areas`; here is what they say together.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from ingest.news.contest_areas import Rows, nested_alike, read_areas
from ingest.news.contest_fault import MOST_FAULTS, Fault, listed
from ingest.news.contest_keys import Choice, File, Lines, example_of, faults_of_values
from schemas import toml
from schemas.contest import ContestDefined, Selection
from schemas.errors import EscrutinioError
from schemas.faults import first_fault, shown
from schemas.identity import NIL, named
from schemas.text import normal_id
from schemas.types import SHEET_TYPES, ReportingUnitType


class ContestFileError(EscrutinioError):
    """A contest's file or its table of areas cannot be used."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a contest's files say. `definition`: None where a fault refuses it."""

    definition: ContestDefined | None
    faults: tuple[Fault, ...]


class Files(NamedTuple):
    """The names of a contest's files, as its faults show them."""

    contest: str = "the contest's file"
    areas: str = "the table of areas"


def areas_name(text: str) -> str:
    """Return the file name of the table of areas, which lies beside the contest's file. Raises ContestFileError."""
    name = _parsed(text).get("areas", "areas.csv")
    return name if isinstance(name, str) and re.fullmatch(r"[^/\x00]{1,200}", name) else "areas.csv"


def read(text: str, areas: str, files: Files | None = None) -> ContestDefined:
    """Build revision 1 of the definition from the contest's file and table of areas. Raises ContestFileError."""
    found = examine(text, areas, files or Files())
    if found.definition is not None:
        return found.definition
    first, *others = [fault for fault in found.faults if fault.refuses]
    more = f". And {len(others)} more: `escrutinio-ingest contest check` lists them" if others else ""
    raise ContestFileError(f"{first}{more}")


def examine(text: str, areas: str | None, files: Files) -> Examined:
    """Find all that is missing or contradictory. Raises ContestFileError when the text is not TOML.

    `areas`: the table of areas; None when it cannot be read, which the caller reports.
    """
    content, lines = _normal(_parsed(text)), Lines(text)
    faults: list[Fault] = []
    file: File | None = None
    try:
        file = File.model_validate(content)
    except ValidationError as error:
        faults += faults_of_values(error, lines, files.contest)
    faults += _of_meaning(content, lines, files.contest)
    rows: Rows = []
    if areas is not None:
        rows, of_areas = read_areas(areas, files.areas)
        if not any(fault.refuses for fault in of_areas):
            faults += _of_levels(content, rows, lines, files)
        faults += of_areas
    refused = file is None or areas is None or any(fault.refuses for fault in faults)
    if file is None or refused:
        return Examined(None, tuple(faults))
    try:
        return Examined(_definition(file, rows), tuple(faults))
    except ValidationError as error:
        said = "a contest that the contract allows (docs/contract.md)"
        return Examined(None, (*faults, Fault(files.contest, "", first_fault(error), said, "docs/contest.md")))


def _definition(content: File, rows: Rows) -> ContestDefined:
    day = date.fromisoformat(str(content.election_date))
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(content.time_zone)).astimezone(UTC)
    return named(
        ContestDefined(
            event_id=NIL,
            contest_id=content.contest_id,
            revision=1,
            previous_event_id=None,
            name=content.name,
            election_name=content.election_name,
            election_date=str(content.election_date),
            authority=content.authority,
            time_zone=content.time_zone,
            effective_at=content.effective_at or midnight,
            selections=tuple(Selection(**choice.model_dump()) for choice in content.selections),
            areas=tuple(area for _, area in rows),
            counting_level=content.counting_levels[0],
            later_counting_levels=tuple(content.counting_levels[1:]),
            expected_units=content.expected_units,
            registered_voters=content.registered_voters,
            is_test=content.is_test,
        )
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        return toml.parse(text.removeprefix("\ufeff"))
    except toml.TomlError as error:
        raise ContestFileError(str(error)) from error


def _normal(content: dict[str, Any]) -> dict[str, Any]:
    """Bring the ids of a file into their normal form."""
    found = dict(content)
    if isinstance(contest_id := found.get("contest_id"), str):
        found["contest_id"] = normal_id(contest_id)
    for choice in _choices(found):
        if isinstance(code := choice.get("external_id"), str):
            choice["external_id"] = normal_id(code)
    return found


def _choices(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    selections = content.get("selections")
    return [one for one in selections if isinstance(one, dict)] if isinstance(selections, list) else []


# --- what the values say together

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DAY_OF_A_FORM = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", re.ASCII)
_CITY = {
    "America/New_York": ("EST", "EDT", "ET", "EST5EDT"),
    "America/Chicago": ("CST", "CDT", "CT", "CST6CDT"),
    "America/Denver": ("MST", "MDT", "MT", "MST7MDT"),
    "America/Los_Angeles": ("PST", "PDT", "PT", "PST8PDT"),
    "Pacific/Honolulu": ("HST",),
    "Europe/London": ("GMT", "BST"),
    "Europe/Paris": ("CET", "CEST", "MET"),
    "Europe/Athens": ("EET", "EEST"),
    "America/Lima": ("PET",),
    "America/Sao_Paulo": ("BRT",),
}
"""A city of each abbreviation that people write; the abbreviation of a part of the year is wrong in the other part."""


def _of_meaning(content: Mapping[str, Any], lines: Lines, file: str) -> Iterator[Fault]:
    """Find days and zones that are none, and what contradicts itself."""
    if isinstance(day := content.get("election_date"), str | date) and not isinstance(day, datetime) and day:
        yield from _of_day(str(day), lines.place("election_date"), file)
    if isinstance(zone := content.get("time_zone"), str) and zone:
        yield from _of_zone(zone, lines.place("time_zone"), file)
    if content.get("expected_units") == 0:
        message = "expected_units is 0: no answer can say how far the count is"
        said = str(File.model_fields["expected_units"].description)
        place, example = lines.place("expected_units"), example_of(File, "expected_units")
        yield Fault(file, place, message, said, example, refuses=False)
    levels = content.get("counting_levels")
    if isinstance(levels, list) and len(names := [level for level in levels if isinstance(level, str)]) > len({*names}):
        message, said = f"counting_levels names a type twice: {listed(names)[:200]}", "each type once"
        yield Fault(file, lines.place("counting_levels"), message, said, example_of(File, "counting_levels"))
    yield from islice(_of_selections(content.get("selections"), lines, file), MOST_FAULTS)


def _of_day(text: str, place: str, file: str) -> Iterator[Fault]:
    said, example = str(File.model_fields["election_date"].description), example_of(File, "election_date")
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        message = f"election_date {text[:40]!r} is not a day in this form{_days_meant(text)}"
        yield Fault(file, place, message, said, example)
    elif not 1 < day.year < 9999:
        yield Fault(file, place, f"election_date {day} is at the edge of the calendar", said, example)


def _days_meant(text: str) -> str:
    if (parts := _DAY_OF_A_FORM.fullmatch(text.strip())) is None:
        return ""
    first, second, year = map(int, parts.groups())
    days = []
    for month, day in dict.fromkeys(((first, second), (second, first))):
        try:
            days.append(date(year, month, day).isoformat())
        except ValueError:
            continue
    return f"; is {' or '.join(days)} meant?" if days else ""


def _of_zone(name: str, place: str, file: str) -> Iterator[Fault]:
    said, example = str(File.model_fields["time_zone"].description), example_of(File, "time_zone")
    city = next((city for city, words in _CITY.items() if name.strip().upper() in words), None)
    if city is not None:
        message = f"time_zone {name!r} is an abbreviation: it does not say when clocks change; is {city!r} meant?"
        yield Fault(file, place, message, said, f'time_zone = "{city}"')
        return
    try:
        is_zone = "/" in name or name == "UTC"
        ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError):  # OSError: "America" is a folder of zones
        is_zone = False
    if not is_zone:
        yield Fault(file, place, f"there is no time zone named {name[:60]!r}", said, example)


def _of_selections(selections: object, lines: Lines, file: str) -> Iterator[Fault]:
    """Find selections that are one by their id, code or place on the ballot."""
    if not isinstance(selections, list):
        return
    for key in ("selection_id", "external_id", "ballot_order"):
        sharing: dict[object, list[int]] = {}
        for number, one in enumerate(selections):
            value = one.get(key) if isinstance(one, dict) else None
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                sharing.setdefault(value, []).append(number)
        for value, numbers in sharing.items():
            if len(numbers) > 1:
                names = listed([_named(selections[number], number, lines, key) for number in numbers])
                message = f"{names} have the same {key} {shown(value)}"
                place, said = lines.place(key, numbers[1]), f"each {key} once"
                yield Fault(file, place, message, said, _free(key, sharing))


def _named(selection: Mapping[str, Any], number: int, lines: Lines, key: str) -> str:
    name = selection.get("candidate") or selection.get("selection_id") or ""
    place = lines.place(key, number)
    return f"{name[:60]} ({place})" if isinstance(name, str) and name else place


def _free(key: str, used: Iterable[object]) -> str:
    if key != "ballot_order":
        return example_of(Choice, key)
    return f"ballot_order = {max((n for n in used if isinstance(n, int) and 0 < n < 2**31 - 1), default=0) + 1}"


def _of_levels(content: Mapping[str, Any], rows: Rows, lines: Lines, files: Files) -> Iterator[Fault]:
    """Compare what is counted with the areas that there are. The rows are one tree."""
    levels = content.get("counting_levels")
    names = [level for level in levels if isinstance(level, str)] if isinstance(levels, list) else []
    place, there = lines.place("counting_levels"), {area.type for _, area in rows}
    types = [kind for kind in ReportingUnitType if kind in there or kind in SHEET_TYPES]
    said = f"types that {files.areas} has, and sheets: {', '.join(types)}"
    for name in dict.fromkeys(names):
        if name not in list(ReportingUnitType):
            continue
        level = ReportingUnitType(name)
        example = f'counting_levels = ["{types[-1]}"]'
        if level not in SHEET_TYPES and level not in there:
            message = f"counting_levels has {level}, but no area is a {level}: nothing would ever be added up"
            yield Fault(files.contest, place, message, said, example)
        elif level in SHEET_TYPES and level in there:
            number, area = next((number, area) for number, area in rows if area.type is level)
            message = f"{area.area_id[:60]} is a {level}, which is counted as a sheet: sheets come with the documents"
            said_of_areas = f"areas that contain sheets, or another counting_levels than {level}"
            row, column = "broome,Broome,county,ny", f"row {number}, column type"
            yield Fault(files.areas, column, message, said_of_areas, row, refuses=False)
        elif (pair := nested_alike(rows, level)) is not None:
            message = f"counting_levels has {level}, but {level} {pair[0]} contains {level} {pair[1]}: counted twice"
            yield Fault(files.contest, place, message, "types of which no area contains another", example)
