"""Tally sheets of many messages at once, field by field (pure): the fast way of reading a log.

Place in the flow: beside `records.recorded_of_raw`, which is the plain way and the reference. A field of all messages
is one column, read by a few numpy operations; what that saves is the making of thirty objects for every message. Only
the ordinary is read so: statements of the released schemas about one tally sheet, in the one spelling that this
project's own encoder gives, that accept nothing which the models would refuse. Whatever is otherwise in any way, an
unreadable message too, is simply not in the columns, and has to be read plainly by whoever asked. So this can be slower
than the plain way, never different.

An event's id is checked here as it is there: its canonical text is written out anew from what was read, and hashed.

Over 400 lines until the one fold replaces it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from aggregator.columns.figures import REASONS, STAGES, STATED, STATUSES, contributions, is_sound
from aggregator.columns.roll import TYPES, Roll
from aggregator.columns.wire import NONE, Bytes, Mask, Numbers, Span, Wire, string, strings
from results.vectors import Layout
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.identity import NAMESPACE, canonical
from schemas.log_record import RawRecord
from schemas.rules import CLOCK_TOLERANCE
from schemas.types import (
    from_milliseconds,
    rfc3339,
    to_milliseconds,
)

NO_TIME = -(2**63)
"""A time that is not stated."""


_REMEMBERED = 1 << 17
"""Strings whose check is remembered, of each kind: more are checked anew, so that memory is bounded."""
_EARLIEST, _LATEST = -62_072_524_800_000, 253_339_228_800_000
"""The years 3 to 9997, in milliseconds: no model refuses a time of them."""


@dataclass(slots=True)
class Columns:
    """What ordinary messages say: entry i of each is of message `rows[i]` of those that were given. All of them have
    the id of their content, break no rule that rejects, and stand in the chain as first or as the update after
    another."""

    rows: Numbers
    units: Numbers
    """Numbers of the roll."""
    groups: Numbers
    """Numbers of the roll: unit type and areas."""
    sequence: Numbers
    reported: Numbers
    """Milliseconds; only where `is_reported`."""
    is_reported: Mask
    stated: Numbers
    status: Numbers
    reason: Numbers
    figures: Numbers
    """Shape (entries, len(STATED) + selections)."""
    has_counts: Mask
    event_id: Bytes
    """Shape (entries, 16)."""
    previous: Bytes
    """Ids of the events before; zeros of a first."""
    observed: Numbers
    stage: Numbers
    is_sound: Mask
    """Which break no rule (F1xx) by themselves."""
    texts: list[bytes]
    """Canonical texts."""
    count_texts: list[str]
    """Of `counts` alone."""
    words: list[str]
    """The source's words for the status, as JSON."""
    roll: Roll
    wire: Wire
    spans: "Fields"
    """Everything that was read, by row; of words where they stand in `wire`."""

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, entry: int) -> UnitKey:
        """The sheet that an entry is about."""
        return self.roll.keys[int(self.units[entry])]

    def contributions(self, layout: Layout, entries: Numbers) -> Numbers:
        """What entries add to the count. Shape (entries, layout.size)."""
        return contributions(layout, self.status[entries], self.reason[entries], self.figures[entries])

    def leaves(self, entries: Numbers) -> Bytes:
        """SHA-256 of the canonical texts of some entries. Shape (entries, 32)."""
        texts, sha256 = self.texts, hashlib.sha256
        joined = b"".join([sha256(texts[i]).digest() for i in entries.tolist()])
        return np.frombuffer(joined, np.uint8).reshape(len(entries), 32)


class Reader:
    """Reads one contest, batch by batch, under the definition in force; remembers what it has checked."""

    def __init__(self, roll: Roll) -> None:
        self.roll = roll
        self._contest: ContestDefined | None = None
        self._paths: dict[bytes, int] = {}
        self._instants = {NO_TIME: "null"}
        self._words: dict[bytes, str | None] = {}
        self._sound: dict[Callable[[bytes], bool], set[bytes]] = {}

    def read(self, records: Sequence[RawRecord], contest: ContestDefined) -> Columns:
        """The ordinary ones of messages that have the contest's key."""
        if contest is not self._contest:
            self._contest = contest
            self._paths.clear()
        wire, stated = Wire(records), Fields()
        key = contest.contest_id.encode()
        wire.only(np.array([raw.key == key for raw in records], bool))
        self._read(wire, stated)
        return self._checked(wire, stated)

    def _read(self, wire: Wire, at: "Fields") -> None:
        """Every field in its order on the wire (`count_update.v2.avsc`), of all messages; `wire.ok` keeps which are
        ordinary."""
        contest = self._contest
        assert contest is not None
        at.event_id = wire.uuid()
        wire.constant(contest.contest_id.encode())
        begin = wire.at.copy()
        wire.string()
        wire.string()
        at.unit = begin, wire.at.copy()
        at.name = wire.optional_string()
        begin = wire.at.copy()
        wire.strings(most=8)
        at.path = begin, wire.at.copy()
        at.sequence = wire.long()
        at.has_previous = wire.branch()
        at.previous_begin = wire.at + 1
        at.previous = wire.uuid(at.has_previous)
        wire.only(wire.long() == 0)  # REPORTED
        wire.only(~wire.branch())  # no correction
        at.is_reported = wire.branch()
        at.reported = wire.long(at.is_reported)
        at.observed = wire.long()
        at.status = wire.enum(len(STATUSES))
        at.word = wire.optional_string()
        has_reason = wire.branch()
        at.reason = np.where(has_reason, wire.enum(len(REASONS), has_reason), NONE)
        at.stage = wire.enum(len(STAGES))
        at.has_counts = wire.branch()
        at.figures = self._figures(wire, at.has_counts, contest.selection_ids)
        wire.only(~wire.branch())  # no sub_units: a sheet
        wire.only(~wire.branch())  # no published_percentages
        begin = wire.at.copy()
        wire.string()
        wire.string()
        at.publication = begin, wire.at.copy()
        at.part, at.parts = wire.long(), wire.long()
        wire.only((at.part >= 1) & (at.parts >= 1))
        at.documents = wire.documents()
        at.is_test = wire.flag()
        wire.only(~wire.branch(wire.has_note))
        wire.only(wire.at == wire.end)

    def _figures(self, wire: Wire, present: Mask, selections: Sequence[str]) -> Numbers:
        figures = np.full((len(present), len(STATED) + len(selections)), NONE, np.int64)
        if not selections:  # an empty map is spelled otherwise
            wire.only(~present)
        order = wire.map_keys(present, selections)
        wire.only(~present | (wire.long(present) == len(selections)))
        for selection in order:
            wire.constant(selection.encode(), present)
            figures[:, len(STATED) + selections.index(selection)] = wire.optional_count(present)
        wire.only(~present | (wire.long(present) == 0))
        for column in range(len(STATED)):
            figures[:, column] = wire.optional_count(present)
        return figures

    def _checked(self, wire: Wire, at: "Fields") -> Columns:
        contest = self._contest
        assert contest is not None
        stated = np.where(at.is_reported, at.reported, at.observed)
        ok = wire.ok
        ok &= (at.sequence >= 1) & ((at.sequence == 1) == ~at.has_previous)
        ok &= (at.observed > _EARLIEST) & (at.observed < _LATEST) & (stated > _EARLIEST) & (stated < _LATEST)
        ok &= stated >= to_milliseconds(contest.starts_at)
        ok &= ~at.is_reported | (at.reported - at.observed <= CLOCK_TOLERANCE.total_seconds() * 1000)
        ok &= at.is_test == contest.is_test
        rows = np.flatnonzero(ok)
        words = [self._word(word) for word in wire.slices(at.word, rows)]
        known, enter = self.roll.numbers, self.roll.number
        units = [known[unit] if unit in known else enter(unit) for unit in wire.slices(at.unit, rows)]
        ways, way = self._paths, self._path
        paths = [ways[path] if path in ways else way(path) for path in wire.slices(at.path, rows)]
        sound = [
            word is not None and unit >= 0 and path >= 0 for word, unit, path in zip(words, units, paths, strict=True)
        ]
        for check, place in (
            (_is_text, at.name), (_are_texts, at.publication),
            *((_is_address, address) for address, _ in at.documents), *((_is_text, place) for _, place in at.documents),
        ):  # fmt: skip
            self._check(sound, check, wire.slices(place, rows))
        kept = np.array(sound, bool)
        rows = rows[kept]
        return self._named(
            wire,
            at,
            rows,
            stated[rows],
            list(compress(units, kept)),
            list(compress(paths, kept)),
            [word for word in compress(words, kept) if word is not None],
        )

    def _named(
        self,
        wire: Wire,
        at: "Fields",
        rows: Numbers,
        stated: Numbers,
        units: list[int],
        paths: list[int],
        words: list[str],
    ) -> Columns:
        """The columns of what has the id of its content."""
        assert self._contest is not None
        counts = self._count_texts(at, rows, self._contest.selection_ids)
        texts = self._texts(wire, at, rows, stated, units, paths, words, counts)
        sha1, space = hashlib.sha1, NAMESPACE.bytes
        joined = b"".join([sha1(space + text, usedforsecurity=False).digest() for text in texts])
        names = np.frombuffer(joined, np.uint8).reshape(len(rows), 20)[:, :16].copy()
        names[:, 6] = names[:, 6] & 0x0F | 0x50  # UUID version 5
        names[:, 8] = names[:, 8] & 0x3F | 0x80
        right = (names == at.event_id[rows]).all(axis=1)
        rows = rows[right]
        groups = [path * 2 + (self.roll.keys[unit].type == TYPES[1]) for path, unit in zip(paths, units, strict=True)]
        return Columns(
            rows=rows,
            units=np.array(units, np.int64)[right],
            groups=np.array(groups, np.int64)[right],
            sequence=at.sequence[rows],
            reported=at.reported[rows],
            is_reported=at.is_reported[rows],
            stated=stated[right],
            status=at.status[rows],
            reason=at.reason[rows],
            figures=at.figures[rows],
            has_counts=at.has_counts[rows],
            event_id=names[right],
            previous=at.previous[rows],
            observed=at.observed[rows],
            stage=at.stage[rows],
            is_sound=is_sound(at.status[rows], at.has_counts[rows], at.figures[rows]),
            texts=list(compress(texts, right)),
            count_texts=list(compress(counts, right)),
            words=list(compress(words, right)),
            wire=wire,
            spans=at,
            roll=self.roll,
        )

    def _texts(
        self,
        wire: Wire,
        at: "Fields",
        rows: Numbers,
        stated: Numbers,
        units: list[int],
        paths: list[int],
        words: list[str],
        counts: list[str],
    ) -> list[bytes]:
        """The canonical texts of `identity.statement`."""
        contest = self._contest
        assert contest is not None
        begins = np.where(at.has_previous, at.previous_begin, NONE)[rows].tolist()
        characters = wire.characters
        template = (
            '{"area_path":%s,"contest_id":'
            + canonical(contest.contest_id).decode().replace("%", "%%")
            + ',"correction":null,"count_status":"%s","counts":%s,"is_test":'
            + canonical(contest.is_test).decode()
            + ',"kind":"REPORTED","previous_event_id":%s,"reported_at":%s,"result_stage":"%s","review_reason":%s,'
            '"sequence":%d,"source_status":%s,"stated_at":%s,"sub_units":null,%s'
        )
        columns = (
            [self.roll.path_texts[path] for path in paths],
            [_STATUS_TEXTS[status] for status in at.status[rows].tolist()],
            counts,
            ["null" if begin < 0 else f'"{characters[begin : begin + 36]}"' for begin in begins],
            self._instant_texts(np.where(at.is_reported, at.reported, NO_TIME)[rows]),
            [_STAGE_TEXTS[stage] for stage in at.stage[rows].tolist()],
            [_REASON_TEXTS[reason] for reason in at.reason[rows].tolist()],
            at.sequence[rows].tolist(),
            words,
            self._instant_texts(stated),
            [self.roll.texts[unit] for unit in units],
        )
        return [(template % row).encode() for row in zip(*columns, strict=True)]

    def _count_texts(self, at: "Fields", rows: Numbers, selections: Sequence[str]) -> list[str]:
        names = (*STATED, *selections)
        figures = at.figures[rows]
        plain = sorted((name, column) for column, name in enumerate(STATED))
        votes = sorted((name, column) for column, name in enumerate(names) if column >= len(STATED))
        template = "{" + "".join(f'"{name}":%s,' for name, _ in plain) + '"votes":{'
        template += ",".join(canonical(name).decode().replace("%", "%%") + ":%s" for name, _ in votes) + "}}"
        columns = [_numbers(figures[:, column]) for _, column in (*plain, *votes)]
        counts = [template % row for row in zip(*columns, strict=True)]
        for i in np.flatnonzero(~at.has_counts[rows]).tolist():
            counts[i] = "null"
        return counts

    def _path(self, wire: bytes) -> int:
        path = self._paths.get(wire)
        if path is not None:
            return path
        assert self._contest is not None
        areas = (
            tuple(area.decode(errors="surrogateescape") for area in strings(wire[1:], wire[0] >> 1))
            if wire[0] < 128
            else ()
        )
        path = -1
        if areas and self._contest.area_paths.get(areas[-1]) == areas:
            path = self.roll.path(areas)
        if len(self._paths) >= _REMEMBERED:
            self._paths.clear()
        self._paths[wire] = path
        return path

    def _instant_texts(self, column: Numbers) -> list[str]:
        """Times as the canonical text has them; null for NO_TIME."""
        times: list[int] = column.tolist()
        if len(self._instants) >= _REMEMBERED:
            self._instants = {NO_TIME: "null"}
        texts = self._instants
        for ms in set(times).difference(texts):
            texts[ms] = f'"{rfc3339(from_milliseconds(ms))}"'
        return [texts[ms] for ms in times]

    def _word(self, wire: bytes) -> str | None:
        """A status's text; None for one that is no text."""
        if not wire:
            return "null"
        if wire not in self._words:
            if len(self._words) >= _REMEMBERED:
                self._words.clear()
            self._words[wire] = canonical(strings(wire, 1)[0].decode()).decode() if _is_text(wire) else None
        return self._words[wire]

    def _check(self, sound: list[bool], check: Callable[[bytes], bool], spans: list[bytes]) -> None:
        known = self._sound.setdefault(check, set())
        if len(known) >= _REMEMBERED:
            known.clear()
        for i, span in enumerate(spans):
            if span and span not in known:  # empty where nothing is stated
                if check(span):
                    known.add(span)
                else:
                    sound[i] = False


_STATUS_TEXTS = [status.value for status in STATUSES]
_STAGE_TEXTS = [stage.value for stage in STAGES]
_REASON_TEXTS = {NONE: "null", **{n: f'"{reason.value}"' for n, reason in enumerate(REASONS)}}


def _numbers(column: Numbers) -> list[Any]:
    numbers: list[Any] = column.tolist()
    for i in np.flatnonzero(column == NONE).tolist():
        numbers[i] = "null"
    return numbers


def _is_text(wire: bytes) -> bool:
    return _are(wire, 1)


def _are_texts(wire: bytes) -> bool:
    return _are(wire, 2)


def _are(wire: bytes, count: int) -> bool:
    """Whether strings on the wire are what `schemas.types.Text` takes."""
    try:
        return all(
            len(text) <= 10_000 and b"\0" not in text and text.decode() is not None for text in strings(wire, count)
        )
    except UnicodeDecodeError:
        return False


_SHA256 = re.compile(rb"[0-9a-f]{64}")


def _is_address(wire: bytes) -> bool:
    """Whether these are a document's address and hash."""
    address, sha256 = strings(wire, 2)
    return _SHA256.fullmatch(sha256) is not None and _is_text(string(address))


class Fields:
    """What was read, of every message, ordinary or not."""

    event_id: Bytes
    unit: Span
    name: Span
    path: Span
    sequence: Numbers
    has_previous: Mask
    previous_begin: Numbers
    previous: Bytes
    is_reported: Mask
    reported: Numbers
    observed: Numbers
    status: Numbers
    word: Span
    reason: Numbers
    stage: Numbers
    has_counts: Mask
    figures: Numbers
    publication: Span
    part: Numbers
    parts: Numbers
    documents: list[tuple[Span, Span]]
    is_test: Mask
