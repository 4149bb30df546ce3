"""Read the table of areas of a contest (CSV), and find every fault in it. Pure: text in, values out.

Place in the flow: part of `contest_file`. Rows are numbered as a spreadsheet does: row 1 is the header.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pydantic import ValidationError

from ingest.feeds.table import BadCell, instant
from ingest.news.contest_fault import MOST_FAULTS, TYPES, Fault, listed, meant
from schemas.contest import Area
from schemas.count_update import Code
from schemas.faults import first_fault
from schemas.text import normal_id
from schemas.types import COUNT_LIMIT, DEPTH_LIMIT, ReportingUnitType

AREA_COLUMNS = ("area_id", "name", "type", "parent_id")
MORE_COLUMNS = ("expected_units", "ends_at", "replaced_by")
"""Columns that a table may have, too."""
CODE = "code:"
"""Begins the name of a column with the ids of another register, before the register's name."""
LARGEST_AREAS = 16 << 20
"""Bytes of the table of areas, at most: that of Peru has 0.1 MB."""
_HEADER, _ROW, _ROOT = ",".join(AREA_COLUMNS), "broome,Broome,county,ny", "us,United States,country,"
_TITLES = 5
"""Rows in which a header is looked for when it is not the first."""

Rows = list[tuple[int, Area]]


def read_areas(text: str, file: str) -> tuple[Rows, list[Fault]]:
    """Read the areas, with their rows, and what is wrong with the table; at most MOST_FAULTS, then reading ends."""
    rows: Rows = []
    faults: list[Fault] = []
    for found in _read(text.removeprefix("\ufeff"), file):
        if isinstance(found, Fault):
            faults.append(found)
            if len(faults) >= MOST_FAULTS:
                return rows, faults
        else:
            rows.append(found)
    if not faults:
        faults.extend(islice(_tree(rows, file), MOST_FAULTS))
    return rows, faults


def _read(text: str, file: str) -> Iterator[tuple[int, Area] | Fault]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [_column(cell.strip()) for cell in next(reader, [])]
        while header and not header[-1]:  # of columns that a spreadsheet once had
            header.pop()
        if not set(header) >= set(AREA_COLUMNS) or not all(map(_is_column, header)) or len(set(header)) < len(header):
            yield bad_header(header, list(islice(reader, _TITLES)), file, AREA_COLUMNS, _is_column, _MORE)
            return
        for number, row in enumerate(reader, start=2):
            if row and any(map(str.strip, row)):
                yield _area(number, row, header, file)
    except csv.Error as error:
        place, said = f"line {reader.line_num}", "well-formed CSV, in which a quote that opens a cell also closes it"
        yield Fault(file, place, str(error), said, f'broome,"Broome, N.Y.",county,ny (instead of {_ROW})')


def _column(name: str) -> str:
    """Return the name of a column; that of a register without spaces around it."""
    return CODE + name.removeprefix(CODE).strip() if name.startswith(CODE) else name


def _is_column(name: str) -> bool:
    return name in (*AREA_COLUMNS, *MORE_COLUMNS) or (name.startswith(CODE) and len(name) > len(CODE))


_MORE = f"; besides, {', '.join(MORE_COLUMNS)} and {CODE} with a register's name"


def bad_header(
    header: Sequence[str],
    next_rows: Sequence[Sequence[str]],
    file: str,
    columns: Sequence[str],
    is_column: Callable[[str], bool],
    more: str,
) -> Fault:
    """Say what is wrong with the header of a table. `columns`: those that it must have; `more`: what else it may."""
    shown, example = ",".join(header)[:200], ",".join(columns)
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if sign in shown and {cell.strip() for cell in shown.split(sign)} & set(columns):
            message = f"the columns are separated by {name}, as spreadsheets of some countries do"
            return Fault(file, "row 1", message, "commas: save it as CSV UTF-8, comma delimited", example)
    for number, row in enumerate(next_rows, start=2):
        if set(columns) <= {cell.strip() for cell in row}:
            message = f"{shown!r} is no header; the header stands in row {number}"
            return Fault(file, "row 1", message, "the header first: delete the rows above it", example)
    missing = [name for name in columns if name not in header]
    spare = [name for name in dict.fromkeys(header) if not is_column(name)]
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if missing:
        message = f"the header is {shown!r}: column {missing[0]} is missing{meant(missing[0], spare)}"
    elif spare:
        message = f"column {spare[0][:60]!r} is unknown"
    else:
        message = f"column {twice[0]} stands twice"
    return Fault(
        file, "row 1", message, f"the columns {example}, spelled so, in any order{more}, and no others", example
    )


def _area(number: int, row: Sequence[str], header: Sequence[str], file: str) -> tuple[int, Area] | Fault:
    width = len(header)
    if len(row) < width or any(cell.strip() for cell in row[width:]):
        message = f"it has {len(row)} fields, the header {width}"
        said = f"{width} fields in every row; a name with a comma stands in quotes"
        return Fault(file, f"row {number}", message, said, _ROW)
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
    if not cells["name"]:
        said = "the name that readers will see"
        return Fault(file, f"row {number}, column name", "it is empty", said, _ROW)
    units, end = cells.get("expected_units", ""), cells.get("ends_at", "")
    if units and not (units.isascii() and units.isdecimal() and len(units) <= 12):
        message, said = f"{units[:40]!r} is no number of sheets", "digits without signs or spaces; nothing if not known"
        return Fault(file, f"row {number}, column expected_units", message, said, "84")
    try:
        ends_at = instant(end, "ends_at") if end else None
    except BadCell:
        message, said = f"{end[:40]!r} is not a time with its zone", "a time with its zone; nothing if it does not end"
        return Fault(file, f"row {number}, column ends_at", message, said, "2021-06-07T00:00:00-05:00")
    replaced_by = tuple(filter(None, map(normal_id, cells.get("replaced_by", "").split(";"))))
    if replaced_by and ends_at is None:
        message = f"{cells['area_id'][:60]} is replaced, but does not end: ends_at is empty"
        said, column = "the time of the change in the column ends_at", f"row {number}, column replaced_by"
        return Fault(file, column, message, said, "2021-06-07T00:00:00-05:00")
    try:
        area = Area(
            area_id=normal_id(cells["area_id"]),
            name=cells["name"],
            type=normal_id(cells["type"]),
            parent_id=normal_id(cells["parent_id"]) or None,
            expected_units=int(units) if units else None,
            codes=tuple(
                Code(registry=name.removeprefix(CODE), value=cell)
                for name, cell in cells.items()
                if name.startswith(CODE) and cell
            ),
            ends_at=ends_at,
            replaced_by=replaced_by,
        )
    except ValidationError as error:
        return _not_allowed(error, number, cells["type"], file)
    return number, area


def _not_allowed(error: ValidationError, number: int, unit_type: str, file: str) -> Fault:
    fault = error.errors()[0]
    column = str(fault["loc"][0]) if fault["loc"] else "area_id"
    message, said = first_fault(error), "an id of 1 to 200 visible characters"
    if column == "type":
        message = f"{unit_type[:40]!r} is no type of area{meant(unit_type, ReportingUnitType)}"
        said = f"one of {TYPES}"
    elif column == "name":
        said = "at most 10,000 characters"
    elif column == "expected_units":
        said = f"less than {COUNT_LIMIT}"
    elif column in ("registry", "value"):
        column, said = f"{CODE}…", "1 to 200 visible characters"
    return Fault(file, f"row {number}, column {column}", message, said, _ROW)


def _tree(rows: Rows, file: str) -> Iterator[Fault]:
    """Find what keeps the areas from being one tree."""
    if not rows:
        yield Fault(file, "", "it has a header and no areas", "at least the outermost area, without parent_id", _ROOT)
        return
    row_of: dict[str, int] = {}
    for number, area in rows:
        if (first := row_of.setdefault(area.area_id, number)) != number:
            message = f"area_id {area.area_id[:60]!r} also stands in row {first}"
            yield Fault(file, f"row {number}, column area_id", message, "each area once, with an id of its own", _ROW)
    roots = [(number, area) for number, area in rows if area.parent_id is None]
    if len(roots) != 1:
        names = listed([f"{area.area_id[:60]} (row {number})" for number, area in roots]) if roots else "none"
        message = f"exactly one area has no parent_id, the outermost; found {len(roots)}: {names}"
        said = "the parent_id of every other area: the area_id of the one that contains it"
        yield Fault(file, f"row {roots[1][0]}, column parent_id" if roots else "", message, said, _ROOT)
    for number, area in rows:
        if area.parent_id is not None and area.parent_id not in row_of:
            message = f"parent_id {area.parent_id[:60]!r} is no area_id of the table{meant(area.parent_id, row_of)}"
            said = "the area_id of another row, or nothing for the outermost area"
            yield Fault(file, f"row {number}, column parent_id", message, said, _ROW)
        yield from _successors(number, area, row_of, file)
    yield from _circles_and_depth(rows, row_of, file)
    yield from _alike(rows, file)


def _successors(number: int, area: Area, row_of: dict[str, int], file: str) -> Iterator[Fault]:
    """Find what is wrong with the areas that take the place of another one."""
    place, example = f"row {number}, column replaced_by", "kings;queens"
    for area_id in area.replaced_by:
        if area_id not in row_of or area_id == area.area_id:
            message = f"{area_id[:60]!r} is no other area_id of the table{meant(area_id, row_of)}"
            yield Fault(file, place, message, "the area_id of other rows, with ; between them", example)


def _circles_and_depth(rows: Rows, row_of: dict[str, int], file: str) -> Iterator[Fault]:
    parents = {area.area_id: area.parent_id for _, area in rows}
    depths: dict[str, int] = {}
    deep = False
    for number, area in rows:
        way: dict[str, None] = {}
        at: str | None = area.area_id
        while at is not None and at in parents and at not in depths and at not in way:
            way[at] = None
            at = parents[at]
        if at in way:
            names = list(way)
            circle = [f"{name[:60]} (row {row_of[name]})" for name in names[names.index(at) :]]
            said = "a parent_id that leads to the outermost area"
            message = f"these areas contain each other: {listed(circle)}"
            yield Fault(file, f"row {row_of[at]}, column parent_id", message, said, _ROW)
        height = depths.get(at or "", 0) if at not in way else 0
        for name in reversed(way):
            height += 1
            depths[name] = height
        if depths[area.area_id] > DEPTH_LIMIT and not deep:
            deep = True
            message = f"area {area.area_id[:60]} is within more than {DEPTH_LIMIT - 1} others"
            yield Fault(file, f"row {number}", message, f"{DEPTH_LIMIT} areas within each other", _ROW)


def _alike(rows: Rows, file: str) -> Iterator[Fault]:
    """Find ids that differ by leading zeros alone: a spreadsheet has taken them away from some."""
    first: dict[str, tuple[int, str]] = {}
    for number, area in rows:
        bare = area.area_id.lstrip("0")
        other, other_id = first.setdefault(bare, (number, area.area_id))
        if other_id != area.area_id:
            message = f"area_id {area.area_id!r} differs from {other_id!r} of row {other} by leading zeros alone"
            said = "ids as the office writes them; a spreadsheet keeps zeros in columns of text"
            yield Fault(file, f"row {number}, column area_id", message, said, "010101,…", refuses=False)


def nested(rows: Iterable[tuple[int, Area]], *kinds: str) -> tuple[Area, Area] | None:
    """Return two areas of some types of which one contains the other, None without such. The rows are one tree."""
    areas = {area.area_id: area for _, area in rows}
    inside: dict[str, str | None] = {}
    for area_id in areas:
        way: list[str] = []
        at: str | None = area_id
        while at is not None and at not in inside:
            way.append(at)
            at = areas[at].parent_id
        above = None if at is None else at if areas[at].type in kinds else inside[at]
        for name in reversed(way):
            inside[name] = above
            if areas[name].type in kinds:
                if above is not None:
                    return areas[above], areas[name]
                above = name
    return None
