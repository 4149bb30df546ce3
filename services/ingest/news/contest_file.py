"""Read a contest's file (TOML) and its areas (CSV) into the contest's definition, or say all that is wrong. Pure.

Place in the flow: before everything; `cli` reads the files, `pipeline` publishes the definition if the log has none.
Its keys are in `contest_keys`, its areas in `contest_areas`; here is what they say together.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, NamedTuple, TypeGuard
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from ingest.news.contest_areas import Rows, nested, read_areas
from ingest.news.contest_fault import MOST_FAULTS, Fault, listed
from ingest.news.contest_keys import Choice, File, Lines, example_of, faults_of_values
from ingest.news.roll_file import RollFile, RollRow, expectation_of, read_roll
from schemas import toml
from schemas.contest import SHEETS, Area, ContestDefined, Selection
from schemas.errors import EscrutinioError
from schemas.faults import first_fault, shown
from schemas.identity import NIL, named
from schemas.text import normal_id
from schemas.types import is_type


class ContestFileError(EscrutinioError):
    """A contest's file or its table of areas cannot be used."""


@dataclass(frozen=True, slots=True)
class Contest:
    """What a contest's files say."""

    definition: ContestDefined
    roll: RollFile | None = None
    complete_publications: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What a contest's files say, and what is wrong with them. `contest`: None where a fault refuses it."""

    contest: Contest | None
    faults: tuple[Fault, ...]

    @property
    def definition(self) -> ContestDefined | None:
        """The definition, where nothing refuses it."""
        return None if self.contest is None else self.contest.definition


class Files(NamedTuple):
    """The names of a contest's files, as its faults show them."""

    contest: str = "the contest's file"
    areas: str = "the table of areas"
    roll: str = "the roll"


class Beside(NamedTuple):
    """The names of the files that lie beside the contest's file. `roll`: None without one."""

    areas: str
    roll: str | None


def beside(text: str) -> Beside:
    """Return the names of the tables that a contest's file names. Raises ContestFileError."""
    content = _parsed(text)
    areas, roll = content.get("areas", "areas.csv"), content.get("roll")
    return Beside(areas if _is_name(areas) else "areas.csv", roll if _is_name(roll) else None)


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and re.fullmatch(r"[^/\x00]{1,200}", name) is not None


def read(text: str, areas: str, files: Files | None = None, roll: bytes | None = None) -> Contest:
    """Read a contest's file and its tables, as revision 1 of the definition. Raises ContestFileError."""
    found = examine(text, areas, files or Files(), roll)
    if found.contest is not None:
        return found.contest
    first, *others = [fault for fault in found.faults if fault.refuses]
    more = f". And {len(others)} more: `escrutinio-ingest contest check` lists them" if others else ""
    raise ContestFileError(f"{first}{more}")


def examine(text: str, areas: str | None, files: Files, roll: bytes | None = None) -> Examined:
    """Find all that is missing or contradictory. Raises ContestFileError when the text is not TOML.

    `areas`, `roll`: the tables beside the file; None when there is none, or one that the caller reports as unreadable.
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
    if file is None or areas is None or any(fault.refuses for fault in faults):
        return Examined(None, tuple(faults))
    try:
        definition = _definition(file, rows)
    except ValidationError as error:
        said = "a contest that the contract allows (docs/contract.md)"
        return Examined(None, (*faults, Fault(files.contest, "", first_fault(error), said, "docs/contest.md")))
    of_roll: RollFile | None = None
    if roll is not None:
        of_roll = _roll(roll, definition, lines, files, faults)
    if any(fault.refuses for fault in faults):
        return Examined(None, tuple(faults))
    return Examined(Contest(definition, of_roll, file.complete_publications), tuple(faults))


def _roll(
    content: bytes, definition: ContestDefined, lines: Lines, files: Files, faults: list[Fault]
) -> RollFile | None:
    """Read the roll, and add what is wrong with it to `faults`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        said = "UTF-8: save it as CSV UTF-8, comma delimited"
        faults.append(Fault(files.roll, f"row {row}", "it is not UTF-8", said, "unit_id,area_id"))
        return None
    rows, found = read_roll(text, files.roll, expectation_of(definition))
    faults += found
    if not any(fault.refuses for fault in found):
        faults += _contradicted(definition, rows, lines, files)
    return RollFile(files.roll, rows, content)


def _contradicted(definition: ContestDefined, rows: Sequence[RollRow], lines: Lines, files: Files) -> Iterator[Fault]:
    """Find what the definition says of sheets and voters otherwise than the roll, which is what is expected."""
    rows = [row for row in rows if row.type in definition.sheets_expected]
    said = "what the roll has, or nothing: the roll is what is expected"
    voters = [row.registered_voters for row in rows]
    summed = None if None in voters else sum(n or 0 for n in voters)
    for name, stated, on_roll, what in (
        ("expected_units", definition.expected_units, len(rows), "sheets"),
        ("registered_voters", definition.registered_voters, summed, "voters"),
    ):
        if None not in (stated, on_roll) and stated != on_roll:
            message = f"{name} is {stated:,}, but {files.roll} has {on_roll:,} {what}"
            yield Fault(files.contest, lines.place(name), message, said, f"{name} = {on_roll}", refuses=False)
    within = Counter(area for row in rows for area in definition.area_paths[row.area_id])
    for area in definition.areas:
        if area.expected_units not in (None, within[area.area_id]):
            message = (
                f"expected_units of {area.area_id} is {area.expected_units:,}, "
                f"but {files.roll} has {within[area.area_id]:,} sheets there"
            )
            yield Fault(files.areas, "", message, said, str(within[area.area_id]), refuses=False)


def _definition(content: File, rows: Rows) -> ContestDefined:
    day = date.fromisoformat(str(content.election_date))
    starts = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(content.time_zone)).astimezone(UTC)
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
            effective_at=content.effective_at or starts,
            count_starts_at=content.count_starts_at or starts,
            votes_allowed=content.votes_allowed,
            number_elected=content.number_elected,
            selections=tuple(Selection(**choice.model_dump()) for choice in content.selections),
            areas=tuple(area for _, area in rows),
            counting_level=content.levels[0],
            later_counting_levels=content.levels[1:],
            sheet_types=content.sheet_types,
            partial_sheets_count=content.partial_sheets_count,
            expected_units=content.expected_units,
            registered_voters=content.registered_voters,
            confirmed_units=content.confirmed_units,
            leader_from_percent=content.leader_from_percent,
            rules_version=content.rules_version,
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
    found |= {key: _normal_types(found[key]) for key in ("counting_levels", "sheet_types") if key in found}
    for choice in _choices(found):
        if isinstance(code := choice.get("external_id"), str):
            choice["external_id"] = normal_id(code)
    return found


def _normal_types(value: object) -> object:
    if isinstance(value, list):
        return [_normal_types(one) for one in value]
    return normal_id(value) if isinstance(value, str) else value


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
    yield from _of_expected(content, lines, file)
    if content.get("expected_units") == 0:
        message = "expected_units is 0: no answer can say how far the count is"
        said = str(File.model_fields["expected_units"].description)
        place, example = lines.place("expected_units"), example_of(File, "expected_units")
        yield Fault(file, place, message, said, example, refuses=False)
    elected, selections = content.get("number_elected"), content.get("selections")
    if isinstance(elected, int) and isinstance(selections, list) and elected > len(selections):
        message = f"number_elected is {elected:,}, and there are {len(selections):,} selections"
        said, example = str(File.model_fields["number_elected"].description), example_of(File, "number_elected")
        yield Fault(file, lines.place("number_elected"), message, said, example, refuses=False)
    for level in _levels(content):
        if len(level) > len({*level}):
            message, said = f"counting_levels names a type twice: {listed(level)[:200]}", "each type once"
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
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, one in enumerate(selections):
        of = one if isinstance(one, dict) else {}
        words = tuple(str(of.get(key, "")).casefold().strip() for key in ("candidate", "party"))
        alike.setdefault(words, []).append(number)
    for words, numbers in alike.items():
        if len(numbers) > 1 and all(words):
            names = listed([_named(selections[number], number, lines, "candidate") for number in numbers])
            message = f"{names} differ by case alone: votes for one candidate would stand apart"
            said, example = "each candidate once", example_of(Choice, "candidate")
            yield Fault(file, lines.place("candidate", numbers[1]), message, said, example, refuses=False)


def _named(selection: Mapping[str, Any], number: int, lines: Lines, key: str) -> str:
    name = selection.get("candidate") or selection.get("selection_id") or ""
    place = lines.place(key, number)
    return f"{name[:60]} ({place})" if isinstance(name, str) and name else place


def _free(key: str, used: Iterable[object]) -> str:
    if key != "ballot_order":
        return example_of(Choice, key)
    return f"ballot_order = {max((n for n in used if isinstance(n, int) and 0 < n < 2**31 - 1), default=0) + 1}"


def _levels(content: Mapping[str, Any]) -> list[list[str]]:
    """Return the counting levels, as far as they are some; all that stand by themselves are one list for this."""
    levels = content.get("counting_levels")
    found = [level if isinstance(level, list) else [level] for level in levels] if isinstance(levels, list) else []
    single = [level[0] for level in found if len(level) == 1]
    several = [level for level in found if len(level) != 1]
    return [[name for name in level if isinstance(name, str)] for level in (single, *several)]


def _of_expected(content: Mapping[str, Any], lines: Lines, file: str) -> Iterator[Fault]:
    """Find a level that would never be reached, since it is not known how many sheets there will be."""
    levels = content.get("counting_levels")
    sheets = content.get("sheet_types", SHEETS)
    if content.get("expected_units") is not None or "roll" in content or not isinstance(levels, list):
        return
    for level in levels[1:]:
        names = [name for name in (level if isinstance(level, list) else [level]) if isinstance(name, str)]
        if isinstance(sheets, list | tuple) and any(name in sheets for name in names):
            message = f"counting_levels moves on to {' + '.join(names)[:200]}, but not by itself: it is not known when"
            message += " every sheet is stated"
            said = "expected_units or a roll, for a level that is reached by itself"
            yield Fault(file, lines.place("counting_levels"), message, said, "expected_units = 3", refuses=False)


def _of_levels(content: Mapping[str, Any], rows: Rows, lines: Lines, files: Files) -> Iterator[Fault]:
    """Compare what is counted with the areas that there are. The rows are one tree."""
    stated = content.get("sheet_types", SHEETS)
    sheets = [name for name in stated if isinstance(name, str)] if isinstance(stated, list | tuple) else []
    if not sheets or not all(map(is_type, sheets)):
        sheets = list(SHEETS)
    place, there = lines.place("counting_levels"), dict.fromkeys(area.type for _, area in rows)
    types = list(dict.fromkeys((*there, *sheets)))
    said = f"types that {files.areas} has, and sheets: {', '.join(types)}"
    example = f'counting_levels = ["{sheets[-1] if sheets else types[-1]}"]'
    single, *several = _levels(content) or [[]]
    for name in dict.fromkeys(single):
        if name not in types and is_type(name):
            message = f"counting_levels has {name}, but no area is of type {name}: nothing would ever be added up"
            yield Fault(files.contest, place, message, said, example)
    for level in several:
        if level and not any(name in types for name in level) and all(map(is_type, level)):
            message = f"counting_levels has {listed(level)}, but no area is one of them: nothing would ever be added up"
            yield Fault(files.contest, place, message, said, example)
    for name in dict.fromkeys(name for level in (single, *several) for name in level):
        if name in sheets and name in there:
            number, area = next((number, area) for number, area in rows if area.type == name)
            message = f"{area.area_id[:60]} is a {name}, which is counted as a sheet: sheets come with the documents"
            said_of_areas = f"areas that contain sheets, or another counting_levels than {name}"
            row, column = "broome,Broome,county,ny", f"row {number}, column type"
            yield Fault(files.areas, column, message, said_of_areas, row, refuses=False)
        elif (pair := nested(rows, name)) is not None:
            yield Fault(files.contest, place, _twice(name, pair), "types of which no area contains another", example)
    for level in several:
        kinds = [name for name in level if name in there and name not in sheets]
        if (pair := nested(rows, *kinds)) is not None and pair[0].type != pair[1].type:
            message = _twice(f"{listed(kinds)} added up together", pair)
            yield Fault(files.contest, place, message, "types of which no area contains another", example)


def _twice(what: str, pair: tuple[Area, Area]) -> str:
    outer, inner = (f"{area.type} {area.area_id[:60]}" for area in pair)
    return f"counting_levels has {what}, but {outer} contains {inner}: counted twice"
