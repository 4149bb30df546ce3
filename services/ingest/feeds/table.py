"""Make a table of a document's records, and check its shape before any figure of it is read. Pure.

Every fault of a document as a whole is found here or in `records`, and refuses all of it: a document that is damaged in
one place is not trusted in any other. `Form` describes the columns of one kind of table. A table keeps each different
text of a column once, and a number for each row: what is said of a text is found once.
"""

import difflib
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ingest.feeds.records import Records, Refused
from ingest.feeds.statement import Kept, PassedOver, Rejection, Statement, in_words
from schemas.count_update import Document
from schemas.faults import first_fault
from schemas.rules import Finding
from schemas.types import COUNT_LIMIT, TEXT_LIMIT

_THOUSANDTH = Decimal("0.001")
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,30})?([eE]-[0-9]{1,2})?")
"""As files hold it, 8e-05 among them. Python would read digits of any script, and 5_0."""
WHOLE = "a whole number, zero or more, in digits, below 2^40"
FITTING = "an id of at most 200 visible characters, words of at most 10,000, votes below 2^40 in all"

_BLOCK = 4096
"""Rows that are held as lists of texts at a time, of a table of ordinary width."""
_CELLS = _BLOCK * 64
_LONGEST_HEADER = 1 << 16
"""Bytes."""


def _never(column: str) -> bool:
    return not column


@dataclass(frozen=True, slots=True)
class Form:
    """The columns of one kind of table. `needed` columns are read, `known` ones may be present."""

    family: str
    name: str
    needed: tuple[str, ...]
    known: tuple[str, ...] = ()
    time_columns: tuple[str, ...] = ()
    """Columns of the time of a row."""
    accepts: Callable[[str], bool] = _never
    """Says whether a further column belongs to the form."""

    @property
    def columns(self) -> frozenset[str]:
        """Return every column that is named in the form."""
        return frozenset(self.needed) | frozenset(self.known)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of a table: its different texts, and which of them each row has."""

    texts: list[str]
    codes: NDArray[np.int32]

    def text(self, index: int) -> str:
        """Return the text of a row."""
        return self.texts[int(self.codes[index])]


@dataclass(frozen=True, slots=True, eq=False)
class Rows(Sequence[list[str]]):
    """The rows of a table, made of its columns."""

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].codes)

    def __getitem__(self, index: Any) -> Any:
        return [column.text(index) for column in self.columns]

    def __iter__(self) -> Iterator[list[str]]:
        for begin in range(0, len(self), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            yield from map(
                list, zip(*([c.texts[code] for code in c.codes[part].tolist()] for c in self.columns), strict=True)
            )


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of a readable document. Row 1 is the header."""

    document: Kept
    form: Form
    header: tuple[str, ...]
    rows: Rows
    content: bytes
    """The unpacked document."""
    spans: NDArray[np.int64]
    """Of each row its number, and where it begins and ends in `content`. Shape (rows, 3)."""
    is_open_ended: bool = False
    """Whether the last row lacks its line end, so that nothing shows whether its last cell is whole."""
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def memory(self) -> int:
        """Return the bytes of memory that it takes, nearly: however short a text is, it takes 72 beside its own."""
        return 2 * len(self.content) + sum(72 * len(c.texts) + c.codes.nbytes for c in self.rows.columns)

    def column(self, name: str) -> int:
        """Return the position of a column in a row."""
        return self.header.index(name)

    def original(self, index: int) -> bytes:
        """Return the bytes of a row, exactly as in the unpacked document."""
        _, begin, end = self.spans[index].tolist()
        return self.content[begin:end]

    def number(self, index: int) -> int:
        """Return the number of a row in the document."""
        return int(self.spans[index, 0])

    def numbers(self, indexes: Iterable[int]) -> tuple[int, ...]:
        """Return the numbers of rows."""
        return tuple(self.spans[list(indexes), 0].tolist())

    def get(self, name: str) -> Column:
        """Return a column."""
        return self.rows.columns[self.column(name)]

    def place(self, index: int, column: str | None = None) -> str:
        """Describe a place in the table: `row 17, column votos_nulos`."""
        return f"row {self.number(index)}" + (f", column {column}" if column else "")

    def at(self, index: int) -> Document:
        """Return the row as the source of a statement."""
        return self.named(f"row {self.number(index)}")

    def named(self, place: str) -> Document:
        """Return a place in the document, for the source of a statement."""
        of = self.document
        return Document(name=of.name, uri=of.uri, sha256=of.sha256, place=place)

    def reject(self, index: int, column: str | None, code: str, message: str, expected: str) -> Rejection:
        """Reject one row."""
        document = self.document
        return Rejection(
            Finding(code, message), document.name, document.sha256, document.observed_at,
            self.place(index, column), expected, self.original(index),
        )  # fmt: skip

    def leave_out(self, index: int, cells: Sequence["BadCell"]) -> tuple[Rejection, ...]:
        """Make the report of evidence that is left out of the statement of a row: one, however many cells it is.

        One more is made of the last row where nothing shows whether it is whole.
        """
        found = []
        if cells:
            first, *others = cells
            said = [f"{bad.message} in {bad.column}" for bad in others[:_NAMED]]
            more = f"{len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
            message = "; ".join(filter(None, (first.message, *said, more)))
            found.append(self.reject(index, first.column, "F112", f"{message}: left out", first.expected))
        if self.is_open_ended and index == len(self.rows) - 1:
            message = "the file does not end with a line end, so its last cell may be cut off"
            found.append(self.reject(index, None, "F113", message, "a line end; if the cell is cut off, a whole file"))
        return tuple(found)

    def pass_over(self, what: str, numbers: Sequence[int]) -> PassedOver:
        """Make the report of rows that state nothing about the contest."""
        return PassedOver(self.document.name, self.document.sha256, what, tuple(numbers))

    def others(self, places: Sequence[int], place: int) -> str:
        """Name the other rows of a unit that stands in several."""
        some = [other for other in places[: _NAMED + 1] if other != place][:_NAMED]
        more = len(places) - 1 - len(some)
        return in_words(self.numbers(some)) + (f" and {more:,} more" if more else "")


class BadCell(Exception):
    """A cell's value is not valid in its column. Never leaves the parsers: it becomes the rejection of its row."""

    def __init__(self, column: str, code: str, message: str, expected: str) -> None:
        super().__init__(message)
        self.column, self.code, self.message, self.expected = column, code, message, expected


def fitting(read: Callable[[int, list[str]], Statement], index: int, row: list[str]) -> Statement:
    """Read a row with `read`. Raises BadCell when a text in it is too long or has control characters."""
    try:
        return read(index, row)
    except ValidationError as error:
        raise BadCell("", "F202", first_fault(error), FITTING) from error


def whole(text: str, column: str) -> int:
    """Read a count: digits and nothing else."""
    if text.isascii() and text.isdigit() and len(text) < 19 and (value := int(text)) < COUNT_LIMIT:
        return value
    raise BadCell(column, "F201", f"{text[:40]!r} is not a count", WHOLE)


def instant(text: str, column: str) -> datetime:
    """Read a time with its zone, in whole milliseconds."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.tzinfo is None or time.microsecond % 1000 or not 1 < time.year < 9999:
        raise BadCell(
            column, "F206", f"{text[:40]!r} is not a time with its zone", "ISO 8601 with zone, as 2021-06-08T00:23:00Z"
        )
    return time


PUBLICATION = (
    "--stated-at with the time of publication, or stated_at in a note beside the document: NAME.about.toml with the "
    "line stated_at = 2021-07-01T00:00:00Z"
)
"""How a document that states no time is given one."""


def published_at(document: Kept) -> datetime:
    """Return when a document was published that states no time. Raises Refused where nobody says so."""
    if document.stated_at is None:
        raise Refused(document, "F211", "it states no time, and nobody says when it was published", PUBLICATION)
    return document.stated_at


def percent(text: str, column: str) -> str:
    """Read a percentage, rounded to the office's three decimals: files hold 50.269000000000005 for 50.269."""
    if _PERCENT.fullmatch(text) is None or (value := Decimal(text).quantize(_THOUSANDTH)) >= 1000:
        raise BadCell(column, "F201", f"{text[:40]!r} is not a percentage", "a number in percent, as 50.269")
    return f"{value:f}"


def evidence(text: str | None, column: str, leave_out: Callable[[BadCell], None]) -> str | None:
    """Read a remark, a name or the source's own word. One that an event cannot hold is left out."""
    if text is None or (len(text) <= TEXT_LIMIT and "\0" not in text):
        return text
    message = f"{text[:40]!r} … has {len(text):,} characters"
    leave_out(BadCell(column, "F112", message, f"at most {TEXT_LIMIT:,} characters"))
    return None


def share(text: str | None, column: str, leave_out: Callable[[BadCell], None]) -> str | None:
    """Read a percentage of the office. One that cannot be read is left out."""
    try:
        return None if text is None else percent(text, column)
    except BadCell as bad:
        leave_out(bad)
        return None


def form_of(records: Records, header: Sequence[str], rows: Iterator[list[str]], forms: Sequence[Form]) -> Form:
    """Find the form whose columns fit best. Raises Refused when none fits, or a column is missing or there twice.

    `rows`: those behind the header; some are read when it is no header, to find one.
    """
    if records.end > _LONGEST_HEADER:
        raise records.refused(f"row 1 is longer than {_LONGEST_HEADER:,} bytes", "a header with the columns' names")
    names = set(header)

    def likeness(form: Form) -> float:
        own = {name for name in names if form.accepts(name)}
        return len(names & form.columns | own) / len(names | frozenset(form.needed))

    form = max(forms, key=likeness)
    if likeness(form) < 0.5:
        form, alike = _nearest(header, forms)
        if alike < 0.5:
            _refuse_title(records, header, rows, forms)
            lacking = [column for column in form.needed if column not in names]
            like = (
                f"; the nearest is {form.family} {form.name}, of which it lacks {', '.join(lacking)}" if alike else ""
            )
            known = "; ".join(sorted({f"{f.family} {f.name}" for f in forms}))
            message = f"row 1: no known table has the columns {', '.join(header)[:200]}{like}"
            raise records.refused(message, f"one of: {known}; any contest can be written as {_ANY}")
    if misspelt := [(name, right) for name in header if (right := _spelt(name, form)) not in (None, name)]:
        said = ", ".join(f"{name!r} is {right}" for name, right in misspelt[:_NAMED])
        message = f"row 1: columns of {form.family} {form.name} in other letters or with spaces: {said}"
        raise records.refused(message, "the names of the columns exactly; correct the header")
    if len(names) != len(header):
        twice = sorted(name for name, times in Counter(header).items() if times > 1)
        if "" in twice:
            raise records.refused("row 1: a column without a name stands before others", "a name for every column")
        raise records.refused(f"row 1: column {', '.join(twice)} stands twice", "every column once")
    spare = sorted(name for name in names - form.columns if not form.accepts(name))
    for column in form.needed:
        if column not in names:
            near = difflib.get_close_matches(column, spare, n=1, cutoff=0.5)
            renamed = f"; is {near[0]!r} its new name?" if near else ""
            message = f"row 1: column {column} of {form.family} {form.name} is missing{renamed}"
            raise records.refused(message, f"the columns {', '.join(form.needed)}")
    return form


_NAMED = 20
"""Columns, or rows of one unit, that a message names."""
_ANY = "own-form updates: contest_id,unit_type,unit_id,votes.SELECTION,…"
_TITLE_LINES = 20
"""Rows among which a header is looked for."""
_MOST_NAMES = 1000
"""Names that are compared with each form."""


def folded(name: str) -> str:
    """Return a column's name without case, outer spaces, and what stands between its words."""
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFKC", name).strip().casefold())


def _spelt(name: str, form: Form) -> str | None:
    """Return the name of the form's column that this is but for case and spaces; None if it is none of them."""
    exact, by_folded = _names_of(form)
    if name in exact:
        return name
    bare = name.strip()
    lower = bare.casefold()
    if form.accepts(lower):
        length = next(n for n in range(len(lower) + 1) if form.accepts(lower[:n]))
        return lower[:length] + bare[length:]
    return by_folded.get(folded(name))


@cache
def _names_of(form: Form) -> tuple[frozenset[str], dict[str, str]]:
    return form.columns, {folded(column): column for column in form.columns}


def _nearest(names: Iterable[str], forms: Sequence[Form]) -> tuple[Form, float]:
    """Find the form that is most like a row of names, however they are spelled, and how much it is, from 0 to 1."""
    given = set(filter(None, islice(names, _MOST_NAMES)))

    def likeness(form: Form) -> float:
        known = [column for name in given if (column := _spelt(name, form)) is not None]
        lacking = len(set(form.needed) - set(known))
        return len(known) / (len(given) + lacking) if given else 0.0

    found = [(likeness(form), form) for form in forms]
    alike, form = max(found, key=itemgetter(0))
    return form, alike


def _refuse_title(records: Records, header: Sequence[str], rows: Iterator[list[str]], forms: Sequence[Form]) -> None:
    """Refuse a table with lines above its header, if there is one below."""
    for row in islice(rows, _TITLE_LINES):
        form, alike = _nearest(row, forms)
        if alike >= 0.5:
            lines = "the line" if records.number == 2 else f"the {records.number - 1} lines"
            title, number = ", ".join(filter(None, header))[:100], records.number
            message = f"row 1 is no header but {title!r}; row {number} has the columns of {form.family} {form.name}"
            raise records.refused(message, f"the header in row 1: remove {lines} above it")


def _refuse_separator(records: Records, forms: Sequence[Form]) -> None:
    """Refuse a table whose fields are separated by something else than commas, and name the form that it is like."""
    if (found := records.separator()) is None:
        return
    mark, name = found
    lines = [line.split(mark) for line in records.first_lines(_TITLE_LINES)]
    form, alike = max((_nearest([cell.strip('\r"') for cell in line], forms) for line in lines), key=itemgetter(1))
    if alike < 0.5 and any("," in cell for line in lines for cell in line):
        return  # a mark in a title
    like = f"; its columns are those of {form.family} {form.name}" if alike >= 0.5 else ""
    expected = "commas between the fields, and quotes around a field that has one: save it as CSV with commas"
    if not like:
        expected += f"; any contest can be written as {_ANY}"
    raise records.refused(f"row 1: the fields are separated by {name}{like}", expected)


def read(records: Records, forms: Sequence[Form]) -> tuple[Form, Table | Rejection, set[str]]:
    """Read a document: its header, by which its form is found, and behind it the rows.

    Returns the form, the table or why it is refused, and the texts in its columns of time, of a refused one as far as
    it can be read: they say which publication it belongs to. Raises Refused when no form fits the header.
    """
    _refuse_separator(records, forms)
    rows = iter(records)
    header = tuple(next(rows)[: records.width])
    form = form_of(records, header, rows, forms)
    at = [header.index(column) for column in form.time_columns if column in header]
    reader = _Rows(records, header, at, frozenset().union(*(f.columns for f in forms)))
    try:
        reader.read(rows)
    except Refused as refused:
        return form, refused.rejection, reader.times.union(*(reader.coders[column].codes for column in at))
    columns = tuple(coder.column() for coder in reader.coders)
    spans = np.frombuffer(reader.spans, np.int64).reshape(-1, 3)
    table = Table(records.document, form, header, Rows(columns), records.content, spans)
    if reader.headers:
        again = "the header again; were two files put together?"
        table = replace(table, passed_over=(table.pass_over(again, reader.headers),))
    if records.is_open_ended and table.number(-1) == records.number:
        table = replace(table, is_open_ended=True)
    return form, table, set().union(*(columns[column].texts for column in at))


class _Rows:
    """Read the rows behind a header into columns."""

    def __init__(self, records: Records, header: tuple[str, ...], at: Sequence[int], known: frozenset[str]) -> None:
        """`at`: the places of the columns of time. `known`: names of columns of any form."""
        self.coders = [_Coder() for _ in header]
        self.spans = array("q")
        """As `Table.spans`, flat."""
        self.times: set[str] = set()
        """Texts in the columns of time of rows that are in no column."""
        self.headers: list[int] = []
        """Numbers of rows that repeat the header."""
        self._records, self._header, self._at, self._known = records, list(header), at, known

    def read(self, rows: Iterator[list[str]]) -> None:
        """Read all rows. Raises Refused."""
        records, width, block = self._records, len(self._header), list[list[str]]()
        blank = misfit = fields = last = 0
        most = max(1, min(_BLOCK, _CELLS // width))
        try:
            for row in rows:
                if not row:  # blank lines at the end say nothing
                    blank = blank or records.number
                    continue
                if not any(row):
                    continue
                last = records.number
                if len(row) > width and not any(row[width:]):
                    del row[width:]
                if row[0] in self._known and self._is_header(row):
                    self.headers.append(records.number)
                    continue
                if misfit or blank or len(row) != width:
                    if not misfit:
                        misfit, fields = (blank, 0) if blank else (last, len(row))
                    self.times.update(row[at] for at in self._at if at < len(row))
                    continue
                self.spans.extend((records.number, records.begin, records.end))
                block.append(row)
                if len(block) == most:
                    _code(self.coders, block)
        finally:
            _code(self.coders, block)
        if misfit:
            cut = "; it is the last: the file is cut off" if misfit == last else ""
            raise records.refused(
                f"row {misfit} has {fields} fields, the header {width}{cut}", f"{width} fields in every row"
            )
        if not self.spans:
            raise records.refused("the table has a header and no rows", "at least one row")

    def _is_header(self, row: list[str]) -> bool:
        """Say whether a row is the header again. Raises Refused for another one: what follows has other columns."""
        if row == self._header:
            return True
        if sum(cell in self._known for cell in row) * 2 <= len(row):
            return False
        message = f"row {self._records.number} is another header: the file has two tables"
        raise self._records.refused(message, "one table in a file; load each by itself")


class _Coder:
    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self._parts: list[NDArray[np.int32]] = []

    def add(self, cells: Sequence[str]) -> None:
        """Add the cells of further rows."""
        codes = self.codes
        self._parts.append(
            np.array([codes[c] if c in codes else codes.setdefault(c, len(codes)) for c in cells], np.int32)
        )

    def column(self) -> Column:
        """Return the whole column."""
        return Column(list(self.codes), np.concatenate(self._parts or [np.zeros(0, np.int32)]))


def _code(coders: Sequence[_Coder], block: list[list[str]]) -> None:
    """Move a block of rows into the columns."""
    for coder, cells in zip(coders, zip(*block, strict=True) if block else (), strict=False):
        coder.add(cells)
    block.clear()
