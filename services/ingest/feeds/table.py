"""Read a CSV document: unpack it, decode it, and check its shape before any figure of it is read. Pure.

Every fault of a document as a whole is found here and refuses all of it: a document that is damaged in one place is not
trusted in any other. `Form` describes the columns of one kind of table.
"""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from pydantic import ValidationError

from ingest.feeds.statement import Kept, Rejection, Statement
from schemas.count_update import Document
from schemas.faults import first_fault
from schemas.rules import CLOCK_TOLERANCE, Finding
from schemas.types import rfc3339

_GZIP = b"\x1f\x8b"
_THOUSANDTH = Decimal("0.001")
LARGEST_DOCUMENT = 1 << 30
"""Bytes of an unpacked document: more than any count needs, and a limit for one that unpacks without end."""
FITTING = "an id of at most 200 characters without control characters, words of at most 10,000"

csv.field_size_limit(1 << 20)


def _never(column: str) -> bool:
    return not column


@dataclass(frozen=True, slots=True)
class Form:
    """The columns of one kind of table. `needed` columns are read, `known` ones may be present."""

    family: str
    name: str
    needed: tuple[str, ...]
    known: tuple[str, ...] = ()
    time_column: str | None = None
    accepts: Callable[[str], bool] = _never
    """Says whether a further column belongs to the form."""

    @property
    def columns(self) -> frozenset[str]:
        """Return every column that is named in the form."""
        return frozenset(self.needed) | frozenset(self.known)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a readable document. Row i of `rows` is numbered i + 2: row 1 is the header."""

    document: Kept
    form: Form
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[str]
    ends: list[int]

    def column(self, name: str) -> int:
        """Return the position of a column in a row."""
        return self.header.index(name)

    def original(self, index: int) -> bytes:
        """Return the bytes of a row, exactly as in the unpacked document."""
        return "".join(self.lines[self.ends[index - 1] if index else self.header_end : self.ends[index]]).encode()

    @property
    def header_end(self) -> int:
        """Count the lines of the header: one, since no known form quotes a line break in a column's name."""
        return 1

    def place(self, index: int, column: str | None = None) -> str:
        """Describe a place in the table: `row 17, column votos_nulos`."""
        return f"row {index + 2}" + (f", column {column}" if column else "")

    def at(self, index: int) -> Document:
        """Return the row as the source of a statement."""
        return Document(uri=self.document.uri, sha256=self.document.sha256, place=f"row {index + 2}")

    def reject(self, index: int, column: str | None, code: str, message: str, expected: str) -> Rejection:
        """Reject one row."""
        document = self.document
        return Rejection(
            Finding(code, message), document.uri, document.sha256, document.observed_at,
            self.place(index, column), expected, self.original(index),
        )  # fmt: skip


class Refused(Exception):
    """The current document is refused. Never leaves the parsers: they return its rejection."""

    def __init__(self, document: Kept, code: str, message: str, expected: str) -> None:
        self.rejection = Rejection(
            Finding(code, message), document.uri, document.sha256, document.observed_at, "", expected, document.content
        )
        super().__init__(str(self.rejection))


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
    if text.isascii() and text.isdigit() and len(text) < 19 and (value := int(text)) < 2**53:
        return value
    raise BadCell(column, "F201", f"{text[:40]!r} is not a count", "a whole number, zero or more, in digits")


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


def seen(text: str, column: str, document: Kept) -> datetime:
    """Read when the source fetched a row. A time later than the document's own would outlive later statements."""
    time = instant(text, column)
    if time - document.observed_at > CLOCK_TOLERANCE:
        message = f"seen at {rfc3339(time)}, but the document was fetched at {rfc3339(document.observed_at)}"
        raise BadCell(column, "F305", message, "a time before that; --observed-at says when a document was fetched")
    return time


def percent(text: str, column: str) -> str:
    """Read a percentage, rounded to the office's three decimals: files hold 50.269000000000005 for 50.269."""
    try:
        value = Decimal(text).quantize(_THOUSANDTH)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value.is_signed() or value >= 1000:
        raise BadCell(column, "F201", f"{text[:40]!r} is not a percentage", "a number in percent, as 50.269")
    return f"{value:f}"


def unpack(document: Kept) -> str:
    """Unpack and decode a document. Raises Refused when it is damaged, empty, or not UTF-8."""
    content = document.content
    if content.startswith(_GZIP):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(LARGEST_DOCUMENT + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Refused(
                document, "F207", f"the gzip file is damaged or cut off ({error})", "a whole gzip file; fetch it again"
            ) from error
        if len(content) > LARGEST_DOCUMENT:
            raise Refused(document, "F207", "unpacks to more than 1 GiB", "a table of a count")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object.count(b"\n", 0, error.start) + 1
        message = f"line {row} is not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})"
        expected = "UTF-8 text; if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
        raise Refused(document, "F207", message, expected) from error
    if (at := text.find("\0")) >= 0:
        row = text.count("\n", 0, at) + 1
        raise Refused(document, "F207", f"line {row} holds a NUL character", "text; fetch the file again")
    start = text[:2000].lstrip()
    if not start:
        raise Refused(document, "F207", "the file is empty", "a table with a header and rows")
    if start[0] == "<":
        expected = "CSV; the site may have answered with an error page: fetch it again"
        raise Refused(document, "F207", f"HTML or XML, not CSV: begins {start[:40]!r}", expected)
    if start[0] in "{[":
        raise Refused(document, "F207", f"JSON, not CSV: begins {start[:40]!r}", "CSV")
    return text


def form_of(document: Kept, text: str, forms: Sequence[Form]) -> tuple[Form, tuple[str, ...]]:
    """Find the form whose columns fit best, and the header. Raises Refused when none fits or a column is missing."""
    try:
        header = tuple(next(csv.reader([text.split("\n", 1)[0].rstrip("\r")]), []))
    except csv.Error as error:
        raise Refused(document, "F207", f"row 1: {error}", "well-formed CSV") from error
    names = set(header)

    def likeness(form: Form) -> float:
        own = {name for name in names if form.accepts(name)}
        return len(names & form.columns | own) / len(names | frozenset(form.needed))

    form = max(forms, key=likeness)
    if likeness(form) < 0.5:
        known = "; ".join(sorted({f"{f.family} {f.name}" for f in forms}))
        raise Refused(
            document, "F207", f"row 1: no known table has the columns {', '.join(header)[:200]}", f"one of: {known}"
        )
    if len(names) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise Refused(document, "F207", f"row 1: column {', '.join(twice)} stands twice", "every column once")
    spare = sorted(name for name in names - form.columns if not form.accepts(name))
    for column in form.needed:
        if column not in names:
            near = difflib.get_close_matches(column, spare, n=1, cutoff=0.5)
            renamed = f"; is {near[0]!r} its new name?" if near else ""
            message = f"row 1: column {column} of {form.family} {form.name} is missing{renamed}"
            raise Refused(document, "F207", message, f"the columns {', '.join(form.needed)}")
    return form, header


def read(document: Kept, text: str, form: Form, header: tuple[str, ...]) -> Table:
    """Read the rows of an unpacked document and check its whole shape. Raises Refused."""
    if not text.endswith("\n"):
        last = text.count("\n") + 1
        message = f"row {last}: the file does not end with a line end, so its last row may be cut off"
        raise Refused(document, "F207", message, "a whole file; fetch it again, or if it is whole, add a line end")
    lines = text.split("\n")
    lines = [f"{line}\n" for line in lines[:-1]]
    reader = csv.reader(lines, strict=True)
    rows: list[list[str]] = []
    ends: list[int] = []
    try:
        next(reader)
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error as error:
        raise Refused(document, "F207", f"row {len(rows) + 2}: {error}", "well-formed CSV") from error
    while rows and not rows[-1]:  # blank lines at the end say nothing
        rows.pop()
        ends.pop()
    if not rows:
        raise Refused(document, "F207", "the table has a header and no rows", "at least one row")
    width = len(header)
    for index, row in enumerate(rows):
        if len(row) != width:
            cut = "; it is the last: the file is cut off" if index == len(rows) - 1 else ""
            message = f"row {index + 2} has {len(row)} fields, the header {width}{cut}"
            raise Refused(document, "F207", message, f"{width} fields in every row")
    return Table(document, form, header, rows, lines, ends)
