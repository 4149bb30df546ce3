"""Read the records of a CSV document: one strict reader for its header and its rows, in one pass. Pure.

A line ends with a line feed, with or without a carriage return before it, and with nothing else: every other character
is a part of its cell. The last line may lack its end, which is told. Blank lines behind the last row are no records,
nor is a row of commas. A record of several lines is refused when a line behind its first could be a row: a stray quote
would otherwise hide it.

The text is UTF-8. UTF-16 is recognised and refused, not read: rows are kept and named by their own bytes, as the office
wrote them, and a table in two encodings would have two of each.

A document holds what `Limits` allow. It is unpacked up to the limit, and decoded line by line.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.feeds.statement import Kept, Rejection
from schemas.rules import Finding

_GZIP = b"\x1f\x8b"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_RECORD = 1 << 20
_LONGEST_LINE = 1 << 16
"""Bytes."""
_CELLS_OF_A_ROW = 48
"""In a table of as many rows as the limit: a wider one has fewer rows. The office's widest has 32 columns, our own form
40 and those of the votes."""
_SAYS_SOMETHING = re.compile(rb"[^ \t\r\n]")

csv.field_size_limit(_LONGEST_RECORD)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may hold. One that holds more is refused whole, and its rejection names the limit."""

    document_mib: int = 32
    """As it is on the disk."""
    unpacked_mib: int = 64
    rows: int = 100_000

    @property
    def cells(self) -> int:
        """Return the most cells of a table: each different one needs some 150 bytes of memory, however short it is."""
        return self.rows * _CELLS_OF_A_ROW

    @property
    def document_bytes(self) -> int:
        """Return the largest size of a file."""
        return self.document_mib << 20

    @property
    def unpacked_bytes(self) -> int:
        """Return the largest size of a table."""
        return self.unpacked_mib << 20


class Refused(Exception):
    """The current document is refused. Never leaves the parsers: they return its rejection."""

    def __init__(self, document: Kept, code: str, message: str, expected: str) -> None:
        self.rejection = Rejection(
            Finding(code, message), document.name, document.sha256, document.observed_at, "", expected, document.content
        )
        super().__init__(str(self.rejection))


class Records:
    """The records of a document, first its header. Iterate once: each is a list of cells, of a blank line empty.

    Raises Refused for whatever makes the document no table of text: damage, another encoding, a quote that is not
    closed, more than the limits.
    """

    def __init__(self, document: Kept, limits: Limits) -> None:
        self.document = document
        self.content = _unpacked(document, limits)
        self.number = 0
        """Of the record that was read last: 1 is the header."""
        self.end = len(_BYTE_ORDER_MARK) if self.content.startswith(_BYTE_ORDER_MARK) else 0
        """Where that record ends in `content`."""
        self.begin = self.end
        """Where it begins."""
        self.width = 0
        """Of the header, without what is empty at its end. A row has as many fields; more of them are empty."""
        self._lines_read, self._limits = 0, limits
        self._refuse_what_is_no_csv()

    def __iter__(self) -> Iterator[list[str]]:
        reader, lines_before = csv.reader(self._lines(), strict=True), 0
        try:
            for row in reader:
                self.number += 1
                if self._lines_read - lines_before > 1:
                    self._refuse_joined(self.width)
                if self.number - 1 > (most := self._limits.rows):
                    expected = f"at most {most:,} rows, or a higher --most-rows"
                    raise self.refused(f"the table has more than {most:,} rows", expected)
                self.width = self.width or _width(row)
                if (self.number - 1) * self.width > (most := self._limits.cells):
                    expected = f"at most {most:,} cells, or a higher --most-rows ({_CELLS_OF_A_ROW} cells each)"
                    raise self.refused(f"the table has more than {most:,} cells, {self.width:,} in a row", expected)
                yield row
                self.begin, lines_before = self.end, self._lines_read
        except csv.Error as error:
            number = self.number + 1
            if "new-line" in str(error):
                expected = "lines that end with a line feed"
                raise self.refused(f"row {number}: a carriage return stands inside a line", expected) from error
            if self.end == len(self.content) and self.is_open_ended:
                message = f"row {number}: {error}, and the file does not end with a line end: it may be cut off"
                raise self.refused(message, "a whole file; fetch it again") from error
            raise self.refused(f"row {number}: {error}", "well-formed CSV") from error

    @property
    def is_open_ended(self) -> bool:
        """Say whether the last line lacks its end, so that nothing shows whether its last cell is whole."""
        return not self.content.endswith(b"\n")

    def first_lines(self, lines: int) -> list[str]:
        """Return the first lines, however they are separated. Each is cut at a length that no header has."""
        begin = len(_BYTE_ORDER_MARK) if self.content.startswith(_BYTE_ORDER_MARK) else 0
        part = self.content[begin : begin + _LONGEST_RECORD]
        return [line[:_LONGEST_LINE].decode(errors="replace") for line in part.split(b"\n", lines)[:lines]]

    def separator(self) -> tuple[str, str] | None:
        """Return what separates the fields if it is no comma, and its name."""
        begin = self.content[:_LONGEST_RECORD].removeprefix(_BYTE_ORDER_MARK).partition(b"\n")[0]
        found = {mark: begin.count(mark) for mark in _SEPARATORS}
        mark = max(found, key=found.__getitem__)
        return (mark.decode(), _SEPARATORS[mark]) if found[mark] and b"," not in begin else None

    def refused(self, message: str, expected: str) -> Refused:
        """Make the refusal of the document's form (F207)."""
        return Refused(self.document, "F207", message, expected)

    def _lines(self) -> Iterator[str]:
        file = io.BytesIO(self.content)
        file.seek(self.end)
        for line in file:
            self._lines_read += 1
            self.end += len(line)
            if self.end - self.begin > _LONGEST_RECORD:
                message = f"row {self.number + 1} is longer than {_LONGEST_RECORD:,} bytes"
                raise self.refused(message, "shorter rows; perhaps a quote is not closed")
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                at = self.end - len(line) + error.start
                message = f"line {self._lines_read} is not UTF-8 (byte 0x{line[error.start]:02x} at {at})"
                raise self.refused(
                    message, "UTF-8 text; if the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
                ) from error
            yield text

    def _refuse_what_is_no_csv(self) -> None:
        content = self.content
        if content.startswith(_WORKBOOKS):
            raise self.refused("a workbook or another packed file, not CSV", "CSV: save the sheet as CSV UTF-8")
        if content.startswith(_UTF_16) or _is_utf_16(content):
            expected = "UTF-8: save it as CSV UTF-8, or convert it: iconv -f UTF-16 -t UTF-8"
            raise self.refused("the file is UTF-16, as spreadsheet programs save Unicode text", expected)
        if (at := content.find(b"\0")) >= 0:
            line = content.count(b"\n", 0, at) + 1
            raise self.refused(f"line {line} holds a NUL character", "text; fetch the file again")
        start = _SAYS_SOMETHING.search(content, self.end)
        if start is None:
            raise self.refused("the file is empty", "a table with a header and rows")
        begins = content[start.start() : start.start() + 40].decode(errors="replace")
        if begins[0] == "<":
            expected = "CSV; the site may have answered with an error page: fetch it again"
            raise self.refused(f"HTML or XML, not CSV: begins {begins!r}", expected)
        if begins[0] in "{[":
            raise self.refused(f"JSON, not CSV: begins {begins!r}", "CSV")

    def _refuse_joined(self, width: int) -> None:
        """Refuse a record of several lines of which one behind the first has as many separators as a row."""
        if self.number == 1:
            message = f"row 1: a quote in the header is closed only in line {self._lines_read}"
            raise self.refused(message, "a header in one line")
        lines = self.content[self.begin : self.end].removesuffix(b"\n").split(b"\n")
        for place, line in enumerate(lines[1:], 2):
            if line.count(b",") >= width - 1:
                message = f"row {self.number}: a quote joins its {len(lines)} lines, but line {place} looks like a row"
                raise self.refused(message, "well-formed CSV; fetch the file again")


def _width(header: list[str]) -> int:
    width = len(header)
    while width and not header[width - 1]:
        width -= 1
    return width or len(header)


def _is_utf_16(content: bytes) -> bool:
    """Say whether every other byte at the beginning is NUL, as in UTF-16 without its mark."""
    begin = content[:64]
    return len(begin) > 3 and any(not any(begin[n::2]) and all(begin[1 - n :: 2]) for n in (0, 1))


def _unpacked(document: Kept, limits: Limits) -> bytes:
    content, most = document.content, limits.unpacked_bytes
    if content.startswith(_GZIP):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(most + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"the gzip file is damaged or cut off ({error})"
            raise Refused(document, "F207", message, "a whole gzip file; fetch it again") from error
    if len(content) > most:
        message = f"the table is larger than {limits.unpacked_mib} MiB when unpacked"
        raise Refused(document, "F207", message, f"at most {limits.unpacked_mib} MiB, or a higher --largest-unpacked")
    return content
