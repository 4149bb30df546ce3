"""Read a contest's roll of units (CSV), and make it the parts that go on the log. Pure: text in, values out.

Place in the flow: part of `contest_file`; `publish.definitions` publishes the parts behind the definition. Rows are
numbered as a spreadsheet does: row 1 is the header. The parts follow from the file and the log alone, so after a crash
between two of them the same run sends the rest.
"""

import csv
import difflib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import numpy as np

from ingest.news.contest_areas import bad_header
from ingest.news.contest_fault import MOST_FAULTS, Fault, listed, meant
from ingest.news.contest_memory import ContestMemory
from schemas.columns.roll import Roll
from schemas.contest import ContestDefined
from schemas.count_update import ReportingUnit, UnitKey
from schemas.identity import NIL, named
from schemas.rules import Finding
from schemas.text import first_invisible, normal_id
from schemas.types import COUNT_LIMIT, LATEST_MS
from schemas.unassigned import first_unassigned
from schemas.unit_roll import MOST_UNITS, RollUnit, UnitRoll

ROLL_COLUMNS = ("unit_id", "area_id")
MORE_ROLL_COLUMNS = ("unit_type", "registered_voters")
"""Columns that a roll may have, too."""
LARGEST_ROLL = 256 << 20
"""Bytes of a roll, at most: that of Peru's 86,488 sheets has 2 MB."""
_LARGEST_PART = 4 << 20
"""Bytes of the texts of a part: half of what a broker takes."""
_ROW = "0001,broome,precinct,812"
_TITLES = 5


class RollRow(NamedTuple):
    """A row of a roll."""

    type: str
    id: str
    area_id: str
    registered_voters: int | None

    @property
    def key(self) -> UnitKey:
        """The unit's key within its contest."""
        return UnitKey(self.type, self.id)


@dataclass(frozen=True, slots=True)
class RollFile:
    """A roll that has no fault. `content`: the bytes of its file, as they are archived."""

    name: str
    rows: Sequence[RollRow]
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a contest says of the units that may stand on its roll."""

    areas: Collection[str]
    types: Sequence[str]
    """The types of sheets."""
    default: str | None
    """The type of a row that states none: the only type of sheets that is counted; None where there are several."""


def expectation_of(definition: ContestDefined) -> Expectation:
    """Return what a definition says of the units of its roll."""
    levels = (definition.counting_level, *definition.later_counting_levels)
    counted = {unit_type for level in levels for unit_type in level if definition.is_sheet(unit_type)}
    only = counted or set(definition.sheet_types)
    return Expectation(definition.areas_by_id, definition.sheet_types, only.pop() if len(only) == 1 else None)


def read_roll(text: str, file: str, of: Expectation) -> tuple[list[RollRow], list[Fault]]:
    """Read a roll, and what is wrong with it; at most MOST_FAULTS, then reading ends."""
    rows: list[RollRow] = []
    faults: list[Fault] = []
    first: dict[UnitKey, int] = {}
    for found in _read(text.removeprefix("\ufeff"), file, of):
        if isinstance(found, Fault):
            faults.append(found)
        else:
            number, row = found
            if (before := first.setdefault(row.key, number)) != number:
                faults.append(_twice(number, row, before, next(r for r in rows if r.key == row.key), file))
            else:
                rows.append(row)
        if len(faults) >= MOST_FAULTS:
            return rows, faults
    if not rows and not faults:
        said = "at least one sheet; without a roll, no key roll in the contest's file"
        faults.append(Fault(file, "", "it has a header and no sheets", said, _ROW))
    faults += islice(_alike(first, file), MOST_FAULTS)
    return rows, faults


def _read(text: str, file: str, of: Expectation) -> Iterator[tuple[int, RollRow] | Fault]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    known = (*ROLL_COLUMNS, *MORE_ROLL_COLUMNS)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        while header and not header[-1]:
            header.pop()
        if not set(ROLL_COLUMNS) <= set(header) <= set(known) or len(set(header)) < len(header):
            more = f"; besides, {' and '.join(MORE_ROLL_COLUMNS)}"
            titles = list(islice(reader, _TITLES))
            yield bad_header(header, titles, file, ROLL_COLUMNS, known.__contains__, more)
            return
        row_of = _reader(header, file, of)
        for number, row in enumerate(reader, start=2):
            if row and any(map(str.strip, row)):
                found = row_of(number, row)
                yield found if isinstance(found, Fault) else (number, found)
    except csv.Error as error:
        place, said = f"line {reader.line_num}", "well-formed CSV, in which a quote that opens a cell also closes it"
        yield Fault(file, place, str(error), said, f'"1, north",broome,precinct,812 (instead of {_ROW})')


def _reader(header: Sequence[str], file: str, of: Expectation) -> Callable[[int, Sequence[str]], RollRow | Fault]:
    """Return what reads one row under a header."""
    width = len(header)
    at = {name: header.index(name) if name in header else -1 for name in (*ROLL_COLUMNS, *MORE_ROLL_COLUMNS)}
    types = ", ".join(of.types)
    ids: dict[str, str | None] = {}

    def area_of(text: str) -> str | None:
        if text not in ids:
            ids[text] = area_id if (area_id := normal_id(text)) in of.areas else None
        return ids[text]

    def read(number: int, row: Sequence[str]) -> RollRow | Fault:
        if len(row) < width or any(map(str.strip, row[width:])):
            message, said = f"it has {len(row)} fields, the header {width}", f"{width} fields in every row"
            return Fault(file, f"row {number}", message, said, _ROW)
        cells = {name: row[place].strip() if place >= 0 else "" for name, place in at.items()}
        unit_id, unit_type = normal_id(cells["unit_id"]), normal_id(cells["unit_type"]) or of.default
        if not 1 <= len(unit_id) <= 200 or (hidden := first_invisible(unit_id) or first_unassigned(unit_id)):
            message = f"{unit_id[:40]!r} is no id" if not 1 <= len(unit_id) <= 200 else f"the id has {hidden} in it"
            return Fault(file, f"row {number}, column unit_id", message, "1 to 200 visible characters", _ROW)
        if unit_type is None or unit_type not in of.types:
            message = f"{unit_type[:40]!r} is no type of sheets{meant(unit_type, of.types)}" if unit_type else "no type"
            return Fault(file, f"row {number}, column unit_type", message, f"one of {types} (sheet_types)", _ROW)
        if (area_id := area_of(cells["area_id"])) is None:
            message = f"{cells['area_id'][:60]!r} is no area of the contest{meant(cells['area_id'], of.areas)}"
            said = "the area_id of the nearest area that contains the sheet, as the table of areas has it"
            return Fault(file, f"row {number}, column area_id", message, said, _ROW)
        text = cells["registered_voters"]
        voters = int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None
        if (text and voters is None) or (voters or 0) >= COUNT_LIMIT:
            message, said = f"{text[:40]!r} is no number of voters", "digits without signs or spaces, or nothing"
            return Fault(file, f"row {number}, column registered_voters", message, said, _ROW)
        return RollRow(unit_type, unit_id, area_id, voters)

    return read


def _twice(number: int, row: RollRow, before: int, other: RollRow, file: str) -> Fault:
    where = "" if other.area_id == row.area_id else f", in area {other.area_id}, and here in {row.area_id}"
    message = f"{row.type} {row.id[:60]!r} also stands in row {before}{where}"
    return Fault(file, f"row {number}, column unit_id", message, "each sheet once, in one area", _ROW)


def _alike(first: dict[UnitKey, int], file: str) -> Iterator[Fault]:
    """Find ids that differ by leading zeros alone."""
    bare: dict[UnitKey, UnitKey] = {}
    for key, number in first.items():
        other = bare.setdefault(UnitKey(key.type, key.id.lstrip("0")), key)
        if other != key:
            message = f"{key.id!r} differs from {other.id!r} of row {first[other]} by leading zeros alone"
            said = "ids as the office writes them; a spreadsheet keeps zeros in columns of text"
            yield Fault(file, f"row {number}, column unit_id", message, said, _ROW, refuses=False)


def is_same(rows: Sequence[RollRow], roll: Roll) -> bool:
    """Say whether the roll in force has exactly these rows."""
    if len(rows) != len(roll.units):
        return False
    return {(row.key, row.area_id, row.registered_voters) for row in rows} == set(roll.listed())


def next_parts(
    rows: Sequence[RollRow], contest_id: str, roll: Roll, sha256: str, observed_at: datetime
) -> Sequence[UnitRoll]:
    """Make a roll the parts that the log lacks: those of the next revision, or the rest of the last one.

    None of them, an empty sequence, when the roll in force has exactly these rows.

    Args:
        roll: As the log has it.
        sha256, observed_at: Of the archived file.
    """
    if is_same(rows, roll):
        return ()
    chunks = list(_chunks(rows))
    revision, last = 1, roll.last
    if last is not None:
        revision = last.revision + 1
        if last.part < last.parts == len(chunks):
            again = _parts(chunks, contest_id, last.revision, roll.follows, sha256, observed_at)
            if again[last.part - 1].event_id == last.event_id:
                return again[last.part :]
    after = None if last is None else last.event_id
    return _parts(chunks, contest_id, revision, after, sha256, observed_at)


def _chunks(rows: Sequence[RollRow]) -> Iterator[list[RollRow]]:
    chunk: list[RollRow] = []
    size = 0
    for row in rows:
        of_row = len(row.type) + 4 * (len(row.id) + len(row.area_id)) + 10
        if chunk and (len(chunk) == MOST_UNITS or size + of_row > _LARGEST_PART):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += of_row
    yield chunk


def _parts(
    chunks: Sequence[Sequence[RollRow]],
    contest_id: str,
    revision: int,
    after: UUID | None,
    sha256: str,
    observed_at: datetime,
) -> list[UnitRoll]:
    found: list[UnitRoll] = []
    for number, chunk in enumerate(chunks, start=1):
        part = UnitRoll(
            event_id=NIL,
            contest_id=contest_id,
            revision=revision,
            part=number,
            parts=len(chunks),
            previous_event_id=found[-1].event_id if found else after,
            observed_at=observed_at,
            document_sha256=sha256,
            units=tuple(
                RollUnit(type=row.type, id=row.id, area_id=row.area_id, registered_voters=row.registered_voters)
                for row in chunk
            ),
        )
        found.append(named(part))
    return found


def stated_beside(memory: ContestMemory) -> list[UnitKey]:
    """List the sheets that are stated, and not on the roll in force: they were stated before it."""
    if not memory.roll.holds:
        return []
    listed_units = memory.roll.is_listed(np.arange(len(memory.index.keys)))
    sheets = [key for key in memory.standing(LATEST_MS) if memory.definition.is_sheet(key.type)]
    return [key for key in sheets if not listed_units[memory.index.number(key)]]


class Nearest:
    """Find which unit on a roll one that is not on it was most likely meant to be."""

    def __init__(self, roll: Roll, keys: Sequence[UnitKey]) -> None:
        """`keys`: of the units, by number."""
        self._roll, self._keys = roll, keys
        self._ids: dict[tuple[str, str], list[str]] = {}
        self._within: dict[str, list[str]] = {}
        self._searches = _MOST_SEARCHES

    def finding(self, unit: ReportingUnit, memory: ContestMemory) -> Finding | None:
        """Return the rule that a sheet breaks which is not on the roll (F307), with the nearest ids."""
        number = memory.index.find(key := UnitKey(unit.type, unit.id))
        is_listed = number is not None and bool(self._roll.is_listed(np.array([number]))[0])
        if is_listed or not memory.definition.is_sheet(unit.type):
            return None
        near = listed([repr(one) for one in self._near(unit)[:_NAMED]])
        return Finding("F307", f"{key} is not on the roll{f'; is {near} meant?' if near else ''}")

    def _near(self, unit: ReportingUnit) -> list[str]:
        if not self._ids:
            for key, area_id, _ in self._roll.listed():
                self._ids.setdefault((key.type, _bare(key.id)), []).append(key.id)
                self._within.setdefault(area_id, []).append(key.id)
        if (same := self._ids.get((unit.type, _bare(unit.id)))) is not None:
            return same
        within = self._within.get(unit.area_path[-1], []) if unit.area_path else []
        if not self._searches or len(within) > _MOST_COMPARED:
            return []
        self._searches -= 1
        return difflib.get_close_matches(unit.id, within, n=_NAMED, cutoff=0.75)


def off_roll(memory: ContestMemory, unit: ReportingUnit) -> Finding | None:
    """Return the rule that one sheet breaks which is not on the roll in force."""
    return Nearest(memory.roll, memory.index.keys).finding(unit, memory) if memory.roll.holds else None


def _bare(unit_id: str) -> str:
    """Return an id as people compare it: without case, spaces, signs between its parts, and leading zeros."""
    return unit_id.casefold().replace(" ", "").replace("-", "").replace("_", "").lstrip("0")


_NAMED = 3
_MOST_SEARCHES = 100
"""Of ids that are similar to another one: further ones are not looked for."""
_MOST_COMPARED = 1_000
"""Ids of an area among which similar ones are looked for."""
