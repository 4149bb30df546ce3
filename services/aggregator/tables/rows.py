"""Encode the rows of the tables from what was folded (pure). A row's fields are in the order of its columns.

`verify` encodes the same rows, with what the numbers of units, areas and publications stand for, and compares bytes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import orjson

from aggregator.fold.evolve import Defined, Folded
from aggregator.fold.totals import Place
from aggregator.tables import binary
from results.rows import content_of
from schemas.columns.layout import KINDS, NONE, REASONS, STAGES, STATUSES
from schemas.columns.roll import Roll
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.log_record import RawRecord
from schemas.source_status import SourceStatus
from schemas.types import from_milliseconds
from schemas.unit_roll import UnitRoll

HISTORY = {
    "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "leaf": "bytea", "sequence": "int8",
    "observed_at": "timestamptz", "stated_at": "timestamptz", "part": "int8", "previous_event_id": "uuid",
    "reported_at": "timestamptz", "last_reported_at": "timestamptz", "superseded_at": "timestamptz",
    "figures": "int8[]", "change": "int8[]", "kind": "text", "count_status": "text", "source_status": "text",
    "review_reason": "text", "result_stage": "text", "is_test": "bool", "accepted": "bool", "is_current": "bool",
    "is_moved": "bool", "contest_id": "text", "unit_name": "text", "details": "json", "places": "text[]",
}  # fmt: skip
"""`count_update_history`, without REFERENCES."""
REFERENCES = ("unit", "area_path", "publication")
RESOLVED = {
    "unit_type": "text", "unit_id": "text", "areas": "text[]", "name": "text", "snapshot_id": "text", "parts": "int8",
    "is_complete": "bool", "documents": "json",
}  # fmt: skip
"""What REFERENCES stand for: of unit_state, area_path and publication."""

BLOCK = {
    "contest_id": "text", "unit_type": "text", "area_id": "text", "span": "int8range", "offsets": "int8[]",
    "figures": "int8[]", "stated_at": "timestamptz", "last_offset": "int8", "last_event_id": "uuid",
}  # fmt: skip
"""`area_total_block`."""

DEFINITION = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "contest_id": "text",
    "accepted": "bool", "definition": "jsonb",
}  # fmt: skip
"""`contest_history`."""

FINDING = {
    "partition": "int4", "log_offset": "int8", "ordinal": "int4", "contest_id": "text", "unit_type": "text",
    "unit_id": "text", "code": "text", "rule": "text", "message": "text",
}  # fmt: skip
"""`finding`."""

LOG_TIME = {"contest_id": "text", "recorded_at": "timestamptz", "log_offset": "int8"}
"""`log_time`."""

ROLL = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "contest_id": "text",
    "accepted": "bool", "roll": "jsonb",
}  # fmt: skip
"""`roll_history`."""

SOURCE = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "event_id": "uuid", "contest_id": "text",
    "accepted": "bool", "source": "jsonb",
}  # fmt: skip
"""`source_history`."""

ROLL_AREA = {
    "contest_id": "text", "log_offset": "int8", "revision": "int8", "unit_type": "text", "area_id": "text",
    "units": "int8", "registered_voters": "int8",
}  # fmt: skip
"""`roll_area`."""

FEW = {
    "contest_history": DEFINITION, "roll_history": ROLL, "source_history": SOURCE, "roll_area": ROLL_AREA,
    "finding": FINDING, "log_time": LOG_TIME,
}  # fmt: skip
"""Tables with few rows in a commit."""

PARKED = {
    "partition": "int4", "log_offset": "int8", "recorded_at": "timestamptz", "contest_id": "text", "key": "bytea",
    "value": "bytea", "headers": "jsonb", "reason": "text",
}  # fmt: skip
"""`parked`."""

UNIT = {
    "contest_id": "text", "unit": "int4", "unit_type": "text", "unit_id": "text", "current_offset": "int8",
    "head_offset": "int8",
}  # fmt: skip
"""`unit_state`."""

AREA_PATH = {"contest_id": "text", "area_path": "int4", "unit_type": "text", "areas": "text[]"}
"""`area_path`."""

PUBLICATION = ("contest_id", "publication", "name", "snapshot_id", "parts", "is_complete", "documents")
"""`publication`."""

_REMEMBERED = 1 << 17
"""Publications of a contest whose number is remembered; one that is not gets a new row."""

Row = tuple[Any, ...]
References = Callable[[Folded], list[bytes]]
"""Encodes REFERENCES, or RESOLVED, of every statement."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A message of a blocked contest, and why it is not counted."""

    raw: RawRecord
    contest_id: str
    reason: str


class Copy(NamedTuple):
    """Rows of one table in the binary format, without header and trailer."""

    table: str
    columns: Sequence[str]
    encoded: bytes


class Encoder:
    """Encodes what a fold did to one contest for the large tables. Texts that recur are encoded once."""

    def __init__(self, contest_id: str) -> None:
        self._contest_id, self._histories = contest_id, Histories()
        self._publications: dict[bytes, int] = {}
        """The number of each publication that has a row."""

    def copies(self, folded: Folded, places: Sequence[Place]) -> Iterator[Copy]:
        """Yield the rows of a batch. `places`: what the numbers of totals stand for."""
        columns = (*HISTORY, *REFERENCES)
        if new := self._new_publications(folded):
            yield Copy("publication", PUBLICATION, b"".join(new))
        history = self._histories.rows(self._contest_id, folded, self._references, len(columns))
        yield Copy("count_update_history", columns, b"".join(history))
        if blocks := block_rows(self._contest_id, folded, places):
            yield Copy("area_total_block", tuple(BLOCK), b"".join(blocks))

    def _new_publications(self, folded: Folded) -> list[bytes]:
        known, publications, new = self._publications, folded.batch.publications, list[bytes]()
        if len(known) > _REMEMBERED:
            known.clear()
        for entry, publication in enumerate(publications):
            if publication not in known:
                known[publication] = offset = int(folded.batch.offset[entry])
                new.append(publication_row(self._contest_id, offset, publication))
        return new

    def _references(self, folded: Folded) -> list[bytes]:
        batch, known = folded.batch, self._publications
        publications = np.array([known[publication] for publication in batch.publications], np.int64)
        return binary.rows_of(
            [
                binary.of_kind(batch.unit, ">i4"),
                binary.of_kind(batch.group, ">i4"),
                binary.of_kind(publications, ">i8"),
            ]
        )


class Histories:
    """Encodes rows of `count_update_history`."""

    def __init__(self) -> None:
        self._states: dict[tuple[Any, ...], bytes] = {}

    def rows(self, contest_id: str, folded: Folded, references: References, fields: int) -> list[bytes]:
        """Return the rows of a batch: HISTORY, then what `references` gives. `fields`: how many in all."""
        batch, count, contest = folded.batch, binary.field_count(fields), binary.text(contest_id)
        states = zip(
            batch.kind.tolist(), batch.status.tolist(), batch.words, batch.reason.tolist(), batch.stage.tolist(),
            batch.is_test.tolist(), folded.accepted.tolist(), folded.is_current.tolist(), folded.is_moved.tolist(),
            strict=True,
        )  # fmt: skip
        details = batch.details
        columns = (
            repeat(count),
            binary.rows_of(_numbers(folded)),
            [self._states.get(state) or self._state(state) for state in states],
            repeat(contest),
            map(binary.sized_or_null, batch.names),
            [binary.sized_or_null(details.get(entry)) for entry in range(len(batch))]
            if details
            else repeat(binary.NULL),
            map(binary.texts, batch.places),
            references(folded),
        )
        return list(map(b"".join, zip(*columns)))  # noqa: B905 - some are without end

    def _state(self, state: tuple[Any, ...]) -> bytes:
        if len(self._states) > 1 << 16:
            self._states.clear()
        kind, status, word, reason, stage, *flags = state
        made = self._states[state] = b"".join(
            (
                binary.text(KINDS[kind].value),
                binary.text(STATUSES[status].value),
                binary.sized_or_null(word),
                binary.NULL if reason == NONE else binary.text(REASONS[reason]),
                binary.text(STAGES[stage].value),
                *(binary.sized(bytes([flag])) for flag in flags),
            )
        )
        return made


def _numbers(folded: Folded) -> Iterator[binary.Part]:
    batch = folded.batch
    yield binary.of_kind(batch.offset, ">i8")
    yield binary.of_times(batch.recorded)
    yield binary.of_bytes(batch.event_id)
    yield binary.of_bytes(batch.leaf)
    yield binary.of_kind(batch.sequence, ">i8")
    yield binary.of_times(batch.observed)
    yield binary.of_times(batch.stated)
    yield binary.of_kind(batch.part, ">i8")
    yield binary.of_bytes(batch.previous, batch.sequence == 1)
    yield binary.of_times(batch.reported, NO_TIME)
    yield binary.of_times(folded.last_reported, NO_TIME)
    yield binary.of_times(folded.superseded, NO_TIME)
    yield binary.of_arrays(batch.figures, batch.figures == NONE, empty_is_null=False)
    yield binary.of_arrays(folded.change, folded.change == 0, empty_is_null=True)


def resolved(folded: Folded) -> list[bytes]:
    """Return RESOLVED of every statement."""
    batch, index = folded.batch, folded.batch.index
    units = [b"".join(map(binary.text, index.keys[number])) for number in batch.unit.tolist()]
    paths = {g: binary.texts([area.encode() for area in index.groups[g][1]]) for g in set(batch.group.tolist())}
    publications = {publication: _publication(publication) for publication in set(batch.publications)}
    columns = (units, batch.group.tolist(), batch.publications)
    return [unit + paths[group] + publications[of] for unit, group, of in zip(*columns, strict=True)]


def publication_row(contest_id: str, number: int, content: bytes) -> bytes:
    """Return the row of a publication, in the order of PUBLICATION."""
    head = binary.field_count(len(PUBLICATION)) + binary.text(contest_id) + binary.number(number)
    return head + _publication(content)


def _publication(content: bytes) -> bytes:
    about = orjson.loads(content)
    names, documents = (about["name"], about["snapshot_id"]), orjson.dumps(about["documents"])
    is_complete = binary.sized(bytes([about.get("is_complete", False)]))
    return b"".join((*map(binary.text, names), binary.number(about["parts"]), is_complete, binary.sized(documents)))


def block_rows(contest_id: str, folded: Folded, places: Sequence[Place]) -> list[bytes]:
    """Return the rows of the kept totals, in the order of BLOCK."""
    blocks = folded.blocks
    if blocks is None or not len(blocks.place):
        return []
    figures = binary.rows_of(
        [
            binary.of_arrays(blocks.vector, np.zeros(blocks.vector.shape, bool), empty_is_null=False),
            binary.of_times(blocks.stated),
            binary.of_kind(blocks.end, ">i8"),
            binary.of_bytes(blocks.event_id),
        ]
    )
    head, contest = binary.field_count(len(BLOCK)), binary.text(contest_id)
    named = {number: b"".join(map(binary.text, places[number])) for number in set(blocks.place.tolist())}
    columns = (blocks.place.tolist(), blocks.begin.tolist(), blocks.end.tolist(), blocks.offsets, figures)
    return [
        b"".join((head, contest, named[place], binary.span(begin, end + 1), binary.few_numbers(offsets), rest))
        for place, begin, end, offsets, rest in zip(*columns, strict=True)
    ]


def definition_rows(step: Folded | Defined) -> dict[str, list[Row]]:
    """Return the history row of what is no statement, in the order of DEFINITION, ROLL and SOURCE, by table."""
    found: dict[str, list[Row]] = {table: [] for table in _HISTORIES.values()}
    if isinstance(step, Defined):
        recorded, event = step.recorded, step.recorded.event
        row = (
            recorded.partition, recorded.offset, recorded.recorded_at, event.event_id, event.contest_id,
            step.accepted, content_of(event),
        )  # fmt: skip
        found[_HISTORIES[type(event)]].append(row)
    return found


_HISTORIES: Mapping[type, str] = {
    ContestDefined: "contest_history",
    UnitRoll: "roll_history",
    SourceStatus: "source_history",
}


def roll_area_rows(contest_id: str, step: Folded | Defined, roll: Roll) -> Iterator[Row]:
    """Return a row for each type and area of a roll that holds from this step on, in the order of ROLL_AREA.

    One that takes the roll back has a row of no area. `roll`: of the contest, after the step.
    """
    if not isinstance(step, Defined) or not step.accepted or not isinstance(part := step.recorded.event, UnitRoll):
        return
    if part.part == part.parts:
        head = contest_id, step.recorded.offset, part.revision
        for kind, areas in sorted(roll.by_type().items()):
            for area, (units, voters) in sorted(areas.items()):
                yield *head, kind, area, units, voters
        if not roll.holds:
            yield *head, "", "", 0, None


def log_time_rows(contest_id: str, step: Folded | Defined) -> Iterator[Row]:
    """Return a row for each event recorded later than all before it, in the order of LOG_TIME."""
    if isinstance(step, Defined):
        if step.is_later:
            yield contest_id, step.recorded.recorded_at, step.recorded.offset
        return
    for i in np.flatnonzero(step.is_later).tolist():
        yield contest_id, from_milliseconds(int(step.batch.recorded[i])), int(step.batch.offset[i])


def finding_rows(contest_id: str, partition: int, step: Folded | Defined) -> Iterator[Row]:
    """Return a row for each finding, in the order of FINDING."""
    if isinstance(step, Defined):
        found: Mapping[int, Sequence[Any]] = {0: step.findings}
    else:
        found = step.findings
    for entry in sorted(found):
        offset = step.recorded.offset if isinstance(step, Defined) else int(step.batch.offset[entry])
        unit = (None, None) if isinstance(step, Defined) else step.batch.index.keys[int(step.batch.unit[entry])]
        for ordinal, finding in enumerate(found[entry]):
            yield partition, offset, ordinal, contest_id, *unit, finding.code, finding.rule, finding.message


def parked_row(parked: Parked) -> Row:
    """Return the row of a parked message, in the order of PARKED."""
    raw: RawRecord = parked.raw
    headers = [[printable(name), None if value is None else value.hex()] for name, value in raw.headers]
    return raw.partition, raw.offset, raw.recorded_at, parked.contest_id, raw.key, raw.value, headers, parked.reason


_MOST = 1000
"""Characters of a reason that are kept: of a message of megabytes it may repeat all."""


def reason_of(fault: str) -> str:
    """Return why a message or a partition cannot be read, as it is kept in the tables."""
    return printable(fault if len(fault) <= _MOST else f"{fault[:_MOST]}… ({len(fault):,} characters)")


def printable(text: str) -> str:
    """Replace the NUL character, which PostgreSQL's text cannot hold, in the text of an unverified message."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
