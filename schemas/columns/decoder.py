"""Decode the statements of one contest: ordinary ones as columns, all others one by one, into one batch (pure).

Place in the flow: the one way of reading statements off the log, for ingest's memory and for the fold. A field of all
messages is one column, read by a few numpy operations (`wire`); what that saves is the making of thirty objects for
every message. Ordinary are statements about one tally sheet, in the one spelling that this project's own encoder gives,
that no model would refuse and that break no rule. Everything else is read with fastavro, models and rules
(`decode_general`). An event's id is checked either way: its canonical text is written out from what was read, and
hashed. So a message can be read slower, never differently.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from schemas.columns.canonical_texts import REPORTED, UNKNOWN_STAGE, CanonicalTexts, event_ids, leaves
from schemas.columns.decode_general import publication_text, statement_batch
from schemas.columns.layout import NONE, Layout, Numbers, contributions, is_sound, sum_of_votes
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME, Wire, read, schema_of, string, strings
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.identity import canonical
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.rules import CLOCK_TOLERANCE
from schemas.text import first_invisible, normal_id
from schemas.types import COUNT_LIMIT, EARLIEST_MS, LATEST_MS, NUMBER_LIMIT, TEXT_LIMIT, to_milliseconds
from schemas.unassigned import first_unassigned

_REMEMBERED = 1 << 17
"""Strings whose check is remembered, of each kind: more are checked again, so that memory is bounded."""
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_FEW = 8
"""Messages up to which decoding them one by one is faster."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The first message that is no event: its place among those given, and why."""

    row: int
    error: ContractError


class Decoder:
    """Decodes one contest, batch by batch, under the definition in force. Remembers which strings it has checked."""

    def __init__(self, contest_id: str, index: UnitIndex) -> None:
        self.index = index
        self._key = contest_id.encode()
        self._contest: ContestDefined | None = None
        self._layout = Layout(())
        self._sheet_types: Collection[str] = ()
        self._areas: Collection[str] = ()
        self._canonical_texts: CanonicalTexts
        self._known: dict[Callable[[Any], Any], dict[Any, Any]] = {}

    def decode(
        self, records: Sequence[RawRecord], contest: ContestDefined | None
    ) -> tuple[StatementBatch, Unreadable | None]:
        """Decode messages of the contest's key that are no definitions, up to the first that is unreadable.

        `contest`: the definition in force, None before the first. Returns the batch, and that message if there is one.
        """
        if contest is not self._contest and contest is not None:
            self._contest, self._layout, self._canonical_texts = contest, Layout.of(contest), CanonicalTexts(contest)
            self._sheet_types, self._areas = contest.sheet_types, contest.areas_by_id
            self._known.pop(self._path, None)
            self._known.pop(self._unit, None)
        parts, ordinary = [], np.zeros(len(records), bool)
        if contest is not None and len(records) > _FEW:
            for part, rows in self._by_columns(records, contest):
                ordinary[rows] = True
                parts.append(part)
        general: list[Recorded] = []
        unreadable = None
        for row in np.flatnonzero(~ordinary).tolist():
            try:
                general.append(recorded_of_raw(records[row]))
            except ContractError as error:
                unreadable = Unreadable(row, error)
                break
        if general or not parts:
            parts.append(statement_batch(general, contest, self._layout, self.index))
        batch = StatementBatch.join(parts)
        if unreadable is not None:
            batch = batch[: int(np.searchsorted(batch.offset, records[unreadable.row].offset))]
        return batch, unreadable

    def _by_columns(
        self, records: Sequence[RawRecord], contest: ContestDefined
    ) -> list[tuple[StatementBatch, Numbers]]:
        """Decode the ordinary ones, schema by schema. Returns each batch with the places of its messages."""
        schemas = [schema_of(raw) for raw in records]
        found = []
        for schema in {s.id: s for s in schemas if s is not None}.values():
            chosen = np.flatnonzero([s is schema for s in schemas])
            of_schema = records if len(chosen) == len(records) else [records[row] for row in chosen.tolist()]
            wire = read(of_schema, schema, self._key, contest.selection_ids)
            batch, rows = self._batch(of_schema, wire, contest)
            if len(rows):
                found.append((batch, chosen[rows]))
        return found

    def _batch(
        self, records: Sequence[RawRecord], wire: Wire, contest: ContestDefined
    ) -> tuple[StatementBatch, Numbers]:
        """Check what was read, and make the batch of the ordinary. Also returns their places."""
        at, ok = wire.columns, wire.ok
        reported, stated, observed = at["reported_at"], at["stated_at"], at["observed_at"]
        sequence = at["sequence"]
        if contest.ended_areas:  # whether a statement comes too late for its area is asked one by one
            ok[:] = False
        ok &= (reported == NO_TIME) | (reported == stated)
        ok &= (at["kind"] == REPORTED) & ((sequence == 1) == ~at["has previous_event_id"])
        for ordinal in (sequence, at["source.part"], at["source.parts"]):
            ok &= (ordinal >= 1) & (ordinal < NUMBER_LIMIT)
        recorded = np.fromiter((raw.timestamp_ms for raw in records), np.int64, len(records))
        for time in (observed, stated, recorded):
            ok &= (time >= EARLIEST_MS) & (time <= LATEST_MS)
        ok &= stated >= to_milliseconds(contest.count_starts_at)
        ok &= stated - observed <= CLOCK_TOLERANCE.total_seconds() * 1000
        ok &= (at["is_test"] == contest.is_test) & (at["result_stage"] != UNKNOWN_STAGE)
        figures = self._figures(wire)
        ok &= sum_of_votes(figures) < COUNT_LIMIT
        ok &= ~at["has counts"] | (figures != NONE).any(axis=1)  # else the figures do not say that there are counts
        ok &= is_sound(at["count_status"], at["has counts"], figures, contest.votes_allowed)
        rows = np.flatnonzero(ok)
        texts = self._texts_of(wire, rows)
        kept = np.array([None not in row for row in zip(*texts, strict=True)], bool)
        rows, texts = rows[kept], [list(compress(column, kept)) for column in texts]
        canonical_texts = self._canonical(wire, rows, texts, stated, figures)
        ids = event_ids(canonical_texts)
        right = (ids == at["event_id"][rows]).all(axis=1)
        rows, texts = rows[right], [list(compress(column, right)) for column in texts]
        units, paths, words, names, publications, places = texts
        chosen, n = [records[row] for row in rows.tolist()], len(rows)
        kind, figures = np.full(n, REPORTED, np.int64), figures[rows]
        status, reason = at["count_status"][rows], at["review_reason"][rows]
        batch = StatementBatch(
            index=self.index,
            offset=np.fromiter((raw.offset for raw in chosen), np.int64, n),
            recorded=recorded[rows],
            event_id=ids[right],
            previous=at["previous_event_id"][rows],
            leaf=leaves(list(compress(canonical_texts, right))),
            unit=np.array([number for number, _ in units], np.int64),
            group=np.array([group for _, group in paths], np.int64),
            sequence=sequence[rows],
            kind=kind,
            reported=reported[rows],
            observed=observed[rows],
            stated=stated[rows],
            status=status,
            reason=reason,
            stage=at["result_stage"][rows],
            is_test=at["is_test"][rows],
            figures=figures,
            contribution=contributions(
                kind,
                np.ones(n, bool),
                status,
                reason,
                figures,
                partial_sheets_count=contest.partial_sheets_count,
                one_vote=self._layout.one_vote,
            ),
            is_judged=np.ones(n, bool),
            is_sound=np.ones(n, bool),
            names=[text for text, _ in names],
            words=[text for text, _ in words],
            publications=publications,
            part=at["source.part"][rows],
            places=places,
            details={},
            findings={},
            updates={},
        )
        return batch, rows

    def _canonical(
        self, wire: Wire, rows: Numbers, texts: Sequence[list[Any]], stated: Numbers, figures: Numbers
    ) -> list[bytes]:
        units, paths, words, *_ = texts
        at, characters = wire.columns, wire.characters
        begins = np.where(at["has previous_event_id"], at["previous_event_id text"], -1)[rows].tolist()
        return self._canonical_texts.texts(
            [path for path, _ in paths],
            [self.index.texts[number] for number, _ in units],
            [word for _, word in words],
            ["null" if begin < 0 else f'"{characters[begin : begin + 36]}"' for begin in begins],
            status=at["count_status"][rows],
            reason=at["review_reason"][rows],
            stage=at["result_stage"][rows],
            sequence=at["sequence"][rows],
            reported=at["reported_at"][rows],
            stated=stated[rows],
            has_counts=at["has counts"][rows],
            figures=figures[rows],
        )

    def _figures(self, wire: Wire) -> Numbers:
        slots = self._layout.slots
        figures = np.full((len(wire.at), self._layout.size), NONE, np.int64)
        for path, column in wire.columns.items():
            if path.startswith("counts.") and path != "counts.votes":
                figures[:, slots[path.removeprefix("counts.")]] = column
        for selection, column in zip(self._layout.selections, wire.votes, strict=True):
            figures[:, slots[f"votes.{selection}"]] = column
        return figures

    def _texts_of(self, wire: Wire, rows: Numbers) -> list[list[Any]]:
        """Return everything that is text, checked; None in each row that is not ordinary.

        Units (number, type), paths (JSON, group), words and names (UTF-8, JSON), publications and places.
        """
        at, slices = wire.columns, wire.slices
        units = self._look_up(self._unit, slices((at["reporting_unit.id"][0], at["reporting_unit.type"][1]), rows))
        types = [unit and unit[1] for unit in units]
        paths = self._look_up(self._path, list(zip(types, slices(at["reporting_unit.area_path"], rows), strict=True)))
        words = self._look_up(_text, slices(at["source_status"], rows))
        names = self._look_up(_text, slices(at["reporting_unit.name"], rows))
        shared = [
            slices((at["source.name"][0], at["source.snapshot_id"][1]), rows),
            at["source.parts"][rows].tolist(),
            at["source.is_complete"][rows].tolist(),
            *(slices(address, rows) for address, _ in wire.documents),
        ]
        publications = self._look_up(_publication, list(zip(*shared, strict=True)))
        places = list(map(_places, zip(*(slices(place, rows) for _, place in wire.documents), strict=True)))
        return [units, paths, words, names, publications, places or [None] * len(rows)]

    def _look_up(self, make: Callable[[Any], Any], keys: list[Any]) -> list[Any]:
        """Return what `make` gives for each key; what was made is remembered."""
        known = self._known.setdefault(make, {})
        if len(known) >= _REMEMBERED:
            known.clear()
        for key in set(keys).difference(known):
            known[key] = make(key)
        return [known[key] for key in keys]

    def _unit(self, wire: bytes) -> tuple[int, str] | None:
        length = wire[0]
        try:
            if length < 128:  # nearly every id: its length is one byte, and so is that of the type
                unit_id, unit_type = wire[1 : 1 + (length >> 1)].decode(), wire[2 + (length >> 1) :].decode()
            else:
                unit_id, unit_type = (text.decode() for text in strings(wire, 2))
        except UnicodeDecodeError:
            return None
        if unit_type not in self._sheet_types or unit_id in self._areas or not 0 < len(unit_id) <= 200:
            return None
        if not (unit_id.isascii() and unit_id.isalnum()) and (
            first_invisible(unit_id) or first_unassigned(unit_id) or normal_id(unit_id) != unit_id
        ):
            return None
        return self.index.number(UnitKey(unit_type, unit_id)), unit_type

    def _path(self, of: tuple[str | None, bytes]) -> tuple[str, int] | None:
        unit_type, wire = of
        if unit_type is None or not wire or wire[0] > 127:
            return None
        assert self._contest is not None
        try:
            areas = tuple(area.decode() for area in strings(wire[1:], wire[0] >> 1))
        except UnicodeDecodeError:
            return None
        if not areas or self._contest.area_paths.get(areas[-1]) != areas:
            return None
        return canonical(areas).decode(), self.index.group(unit_type, areas)


def _text(wire: bytes) -> tuple[bytes | None, str] | None:
    """Return an optional text, and it as JSON; None for what `schemas.types.Text` refuses."""
    if not wire:
        return None, "null"
    (text,) = strings(wire, 1)
    return (text, canonical(text.decode()).decode()) if _is_text(text) else None


def _is_text(text: bytes) -> bool:
    try:
        return b"\0" not in text and len(text.decode()) <= TEXT_LIMIT
    except UnicodeDecodeError:
        return False


def _publication(of: tuple[bytes, int, bool, *tuple[bytes, ...]]) -> bytes | None:
    shared, parts, is_complete, *addresses = of
    name, snapshot_id = strings(shared, 2)
    documents = [_address(address) for address in addresses if address]
    texts = [name, snapshot_id, *(text for called, uri, _ in documents for text in (called, uri) if text is not None)]
    if not all(map(_is_text, texts)):
        return None
    if not all(_SHA256.fullmatch(sha256) for _, _, sha256 in documents):
        return None
    return publication_text(
        name.decode(),
        snapshot_id.decode(),
        parts,
        is_complete,
        [(called.decode(), None if uri is None else uri.decode(), sha.decode()) for called, uri, sha in documents],
    )


def _address(wire: bytes) -> tuple[bytes, bytes | None, bytes]:
    """Return a document's name, URI and hash."""
    (name,) = strings(wire, 1)
    rest = wire[len(string(name)) :]
    if rest[0] == 0:
        return name, None, strings(rest[1:], 1)[0]
    uri, sha256 = strings(rest[1:], 2)
    return name, uri, sha256


def _places(wires: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    if len(wires) == 1 and (wire := wires[0]).isascii() and b"\0" not in wire:  # under 64 characters: nearly always
        return (wire[1:],)
    places = tuple(strings(wire, 1)[0] for wire in wires if wire)
    return places if all(map(_is_text, places)) else None
