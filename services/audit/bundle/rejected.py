"""Compare what was rejected, as `results.rejected` has it, with the documents. Nothing of it is signed.

Place in the flow: below `documents`. A record has the bytes of a row and, in its headers, the reason; its id follows
from code, document, place and message. Parsing gives the same records, but for those that ingest makes of what it knows
from the log: held rows, a roll, an operator's decision.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from audit.bundle.layout import RECORD, REJECTED, UNPACKED
from audit.bundle.outcome import Check, list_of, of_places
from audit.bundle.parsing import Named, Rows, numbers_of
from audit.bundle.words import Said
from audit.errors import FilesDamaged
from runtime.files import read_regular
from schemas.identity import canonical, name_text
from schemas.log_record import RawRecord
from schemas.record_file import inflated, unpack
from schemas.rules import RULES, Finding
from schemas.types import rfc3339

_TEXTS = ("ce_id", "code", "message", "expected", "document", "document_sha256", "place", "rows")


class _Record(NamedTuple):
    """A record, and whether its id follows from what it says."""

    offset: int
    contest_id: str
    finding: Finding
    document: Named
    place: str
    rows: int
    original: bytes
    is_named_right: bool


def line_of(message: RawRecord) -> bytes:
    """Return the line of a record in rejected.jsonl. Bytes that are no text are in base 64."""
    about: dict[str, object] = {"offset": message.offset, "recorded_at": rfc3339(message.recorded_at)}
    about |= {name: (value or b"").decode(errors="replace") for name, value in message.headers if name in _TEXTS}
    content = message.value or b""
    try:
        about["original"] = content.decode()
    except UnicodeDecodeError:
        about["original_base64"] = b64encode(content).decode()
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


class Rejected:
    """What a bundle has of `results.rejected`."""

    def __init__(self, folder: Path) -> None:
        """Read what is there, `folder/PARTITION/…`. Raises FilesDamaged."""
        self._is_here = folder.is_dir()
        self._faults: list[Said] = []
        self._records: list[_Record] = []
        self._compared: set[tuple[str, str, str]] = set()
        for partition in sorted(folder.glob("[!.]*")):
            self._read(partition)
        self._by_place = {(of.finding.code, of.document.sha256, of.place): of for of in self._records}
        self._codes: dict[tuple[str, str], str] = {}
        self._ranges: dict[str, list[tuple[int, int, str]]] = {}
        for of in self._records:
            if not of.finding.rejects:
                continue
            if of.rows > 1 and (numbers := numbers_of(of.place)):
                self._ranges.setdefault(of.document.sha256, []).append((numbers[0], numbers[-1], of.finding.code))
            else:
                self._codes.setdefault((of.document.sha256, of.place.partition(", column ")[0]), of.finding.code)

    def _read(self, folder: Path) -> None:
        messages, lines = list[RawRecord](), b""
        try:
            for file in sorted(folder.glob("messages/[!.]*.avro")):
                messages += unpack(RECORD, inflated(RECORD, read_regular(file), UNPACKED))[1]
            lines = read_regular(folder / REJECTED)
        except Exception as error:  # damaged bytes can make the Avro reader raise anything
            raise FilesDamaged(f"{folder} cannot be read: {type(error).__name__}: {error}") from error
        if lines != b"".join(map(line_of, messages)):
            self._faults.append(Said("rejected.lines", {"file": f"{folder.parent.name}/{folder.name}/{REJECTED}"}))
        for message in messages:
            try:
                self._records.append(record := _record_of(message))
            except (KeyError, ValueError):
                self._faults.append(Said("rejected.unreadable", {"offset": message.offset}))
                continue
            if not record.is_named_right:
                self._faults.append(_said("rejected.misnamed", record))

    def documents(self, contest_id: str) -> list[Named]:
        """Return the documents of a contest that records name."""
        found = {of.document.sha256: of.document for of in self._records if of.contest_id == contest_id}
        return [document for sha256, document in found.items() if sha256]

    def code_of(self, sha256: str, place: str) -> str | None:
        """Return the rule by which a row was rejected; None: it was not."""
        if (code := self._codes.get((sha256, place))) is not None:
            return code
        among, rows = self._ranges.get(sha256, ()), numbers_of(place)
        return next((code for first, last, code in among if rows and first <= rows[0] <= last), None)

    def compare(self, rows: Rows, *, is_alone: bool) -> None:
        """Compare the records with what parsing rejects. Documents of one publication are judged by each other: with
        which of them ingest read each, is not known."""
        for rejection in rows.rejections if self._is_here and is_alone else ():
            key = rejection.finding.code, rejection.sha256, rejection.place
            if key in self._compared:
                continue
            self._compared.add(key)
            about = {"code": key[0], "sha256": key[1], "row": key[2]}
            if (of := self._by_place.get(key)) is not None:
                if of.finding != rejection.finding or of.original != rejection.original:
                    self._faults.append(Said("rejected.differs", {"offset": of.offset} | about))
            elif rejection.finding.rejects and rejection.rows == 1:
                self._faults.append(Said("rejected.missing", about))

    def checks(self) -> Iterator[Check]:
        """Yield the check of the records, and their list."""
        if not self._is_here:
            yield Check("rejected", "", None, Said("rejected.unchecked"))
            return
        yield of_places("rejected", "", self._faults, count=len(self._records))
        yield list_of("rejections", "", [_said("rejections.place", of) for of in self._records])


def _record_of(message: RawRecord) -> _Record:
    """Read a record. Raises KeyError, ValueError."""
    of = {name: (value or b"").decode() for name, value in message.headers}
    code, said = of["code"], of["message"]
    if code not in RULES:
        raise ValueError(code)
    if of["document_sha256"] and not re.fullmatch("[0-9a-f]{64}", of["document_sha256"]):
        raise ValueError("it names no document")
    named = name_text(
        canonical({"code": code, "document": of["document_sha256"], "message": said, "place": of["place"]})
    )
    return _Record(
        message.offset,
        (message.key or b"").decode(),
        Finding(code, said),
        Named(of["document_sha256"], of["document"], None),
        of["place"],
        int(of["rows"]),
        message.value or b"",
        str(named) == of["ce_id"],
    )


def _said(code: str, of: _Record) -> Said:
    about = {"offset": of.offset, "sha256": of.document.sha256, "document": of.document.name, "row": of.place}
    return Said(code, about | {"code": of.finding.code, "message": of.finding.message, "count": of.rows})
