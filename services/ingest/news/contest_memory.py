"""Remember what the log says of a contest: its definition, the chain of each unit, the heartbeats. Pure.

Place in the flow: filled from the log by `publish.memory`, compared with by `changes`. It is rebuilt from the log at
each start, so a crash loses nothing of it. It accepts exactly those events that the aggregator accepts (those of
`schemas.columns` that are sound, in the order of their sequences), so that the next event continues the chain that
readers see, also after a gap, a fork or a forgery.

The statements are rows of one array (`statements`), by unit chained backwards; a row with anything that has no column
there keeps its `Said` beside it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ingest.news.figures import Figures, figures
from ingest.news.silence import Heard
from schemas.columns.decode_general import RARE, statement_batch
from schemas.columns.growing import grown
from schemas.columns.layout import (
    COUNTS,
    NONE,
    NOT_ON_BALLOT,
    REASONS,
    STATUSES,
    Bytes,
    Layout,
    Numbers,
    has_all_votes,
    sum_of_votes,
)
from schemas.columns.roll import Roll
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined, Level
from schemas.count_update import CountUpdate, UnitKey
from schemas.feed_status import FeedStatus
from schemas.log_record import Recorded
from schemas.types import CorrectionBasis, ReviewReason, UpdateKind, from_milliseconds, to_milliseconds

WORDS = 4
"""Numbers of a statement's content before its figures: areas, status, review reason, the source's word."""


class Said(NamedTuple):
    """A published statement of a unit. A retraction has no figures.

    `taken_back`: of an operator's statement, the figures that it replaced and those that its predecessors had replaced.
    """

    stated_at: datetime
    sequence: int
    event_id: UUID
    figures: Figures | None
    taken_back: tuple[Figures, ...] = ()


class UnitMemory(NamedTuple):
    """The chain of a unit: its last event, and its statements ordered by (stated_at, sequence)."""

    sequence: int
    event_id: UUID
    said: tuple[Said, ...]


class Units(Mapping[UnitKey, UnitMemory]):
    """The units of a contest that were stated, each made of its rows when it is asked for."""

    def __init__(self, memory: "ContestMemory") -> None:
        self._memory = memory

    def __getitem__(self, key: UnitKey) -> UnitMemory:
        number = self._memory.index.find(key)
        if number is None or (head := self._memory.chain("head", number)) < 0:
            raise KeyError(key)
        rows = self._memory.statements
        chain = [head]
        while (before := int(rows["before"][chain[-1]])) >= 0:
            chain.append(before)
        said = sorted(map(self._memory.said, reversed(chain)), key=lambda said: said.stated_at)
        return UnitMemory(int(rows["sequence"][head]), UUID(bytes=rows["event_id"][head].tobytes()), tuple(said))

    def __iter__(self) -> Iterator[UnitKey]:
        return (key for number, key in enumerate(self._memory.index.keys) if self._memory.chain("head", number) >= 0)

    def __len__(self) -> int:
        return self._memory.stated.total()


class ContestMemory:
    """A contest on the log: its latest definition, its units, its heartbeats (unit, time, repeated event)."""

    def __init__(self, definition: ContestDefined, index: UnitIndex | None = None) -> None:
        """`index`: of the decoder whose batches are remembered."""
        self.index = index or UnitIndex()
        self.roll = Roll(self.index)
        self.units = Units(self)
        self.source = Heard()
        self.heartbeats: set[tuple[UnitKey, datetime, UUID]] = set()
        self.stated: Counter[str] = Counter()
        """Numbers of the units that have been stated, by type."""
        self.unchained = 0
        """Events on the log that readers do not accept, but report: forged, broken, repeated or forked."""
        self._words: dict[bytes | None, int] = {}
        self._texts: list[bytes | None] = []
        self._odd: dict[int, Said] = {}
        self._used = 0
        self._chains = np.zeros(0, _CHAIN)
        self._define(definition)
        self._rows = np.zeros(0, _row_of(self.layout))

    @property
    def definition(self) -> ContestDefined:
        """The latest definition."""
        return self._definition

    @definition.setter
    def definition(self, definition: ContestDefined) -> None:
        selections = len(self.layout.selections)
        self._define(definition)
        if selections != len(self.layout.selections):
            rows = np.zeros(len(self._rows), _row_of(self.layout))
            for name in ("unit", "before", "stated", "sequence", "event_id", "is_odd"):
                rows[name] = self._rows[name]
            rows["content"] = NOT_ON_BALLOT
            rows["content"][:, : self._rows["content"].shape[1]] = self._rows["content"]
            self._rows = rows

    def _define(self, definition: ContestDefined) -> None:
        self._definition, self.layout = definition, Layout.of(definition)

    # --- reading

    @property
    def statements(self) -> Any:
        """The rows of accepted statements, in the order in which they were remembered."""
        return self._rows[: self._used]

    def chain(self, name: str, number: int) -> int:
        """Return of a unit its `head` or `state` (rows), or `heard`; below 0 where it has none."""
        return int(self._chains[name][number]) if number < len(self._chains) else -1

    def states(self, units: Numbers) -> Numbers:
        """Return the row of each unit's state: of the latest time, then the highest sequence; -1 where it has none."""
        self._know(units)
        return self._chains["state"][units].astype(np.int64)

    def content(self, groups: Numbers, status: Numbers, reason: Numbers, words: Numbers, stated: Numbers) -> Numbers:
        """Return as numbers everything in which two ordinary statements of a sheet can differ: `Figures` as columns.

        `words`: numbers of `word`. `stated`: as `Layout.stated`.
        """
        votes = self.layout.votes_of(stated)
        counts = stated[:, : len(COUNTS)].copy()
        valid = counts[:, COUNTS.index("valid_votes")]
        summed = (valid == NONE) & has_all_votes(stated) & self.layout.one_vote
        valid[summed] = sum_of_votes(stated[summed])
        return np.column_stack((groups, status, reason, words, counts, votes))

    def word(self, text: bytes | None) -> int:
        """Return the number of a source's word."""
        number = self._words.setdefault(text, len(self._words))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def said(self, row: int) -> Said:
        """Return the statement of a row."""
        if (odd := self._odd.get(row)) is not None:
            return odd
        of = self._rows[row]
        group, status, reason, word, *stated = of["content"].tolist()
        votes = zip(self.layout.selections, stated[len(COUNTS) :], strict=True)
        text = self._texts[word]
        figure: dict[str, Any] = dict.fromkeys(Figures._fields)
        for name, n in zip(COUNTS, stated, strict=False):
            if (field := "valid" if name == "valid_votes" else name) in figure:
                figure[field] = None if n == NONE else n
        figure |= {
            "area_path": self.index.groups[group][1],
            "count_status": STATUSES[status],
            "source_status": None if text is None else text.decode(),
            "review_reason": None if reason == NONE else ReviewReason(REASONS[reason]),
            "votes": tuple(sorted((name, None if n == NONE else n) for name, n in votes if n != NOT_ON_BALLOT)),
        }
        now = Figures(**figure)
        event_id = UUID(bytes=of["event_id"].tobytes())
        return Said(from_milliseconds(int(of["stated"])), int(of["sequence"]), event_id, now)

    def count(self, types: Level) -> int:
        """Count the units of some types that have been stated."""
        return sum(self.stated[unit_type] for unit_type in types)

    def complete_since(self, types: Collection[str]) -> datetime:
        """Return when the last of the units of some types was first stated. The contest must have such a unit."""
        chosen = [n for n, key in enumerate(self.index.keys) if key.type in types and self.chain("head", n) >= 0]
        return from_milliseconds(int(self._chains["since"][chosen].max()))

    def sheets_within(self) -> Counter[str]:
        """Count the sheets that are stated in each area."""
        heads = self._chains["head"]
        content = self._rows["content"][self._chains["state"][heads >= 0]]
        found: Counter[str] = Counter()
        for code, number in zip(*np.unique(content[:, 0], return_counts=True), strict=True):
            unit_type, areas = self.index.groups[int(code)]
            if self.definition.is_sheet(unit_type):
                found.update(dict.fromkeys(areas, int(number)))
        return found

    def standing_in_ended(self) -> dict[str, int]:
        """Count the units of the counting level whose statement stands in each area that ends, or is about it."""
        ended, level = self.definition.ended_areas, self.definition.counting_level
        found: Counter[str] = Counter()
        if not ended or not self._used:
            return found
        states = self._chains["state"][self._chains["head"] >= 0]
        groups = self._rows["content"][states, 0]
        for code in np.unique(groups).tolist():
            unit_type, areas = self.index.groups[code]
            if unit_type in level and (there := [area for area in areas if area in ended]):
                rows = states[groups == code]
                odd = [row for row in rows[self._rows["is_odd"][rows]].tolist() if self.said(row).figures is None]
                if len(rows) > len(odd):
                    found.update(dict.fromkeys(there, len(rows) - len(odd)))
        return found

    def standing(self, at: int) -> Iterator[UnitKey]:
        """Yield the units that were stated for a time up to `at` (milliseconds) and are not retracted now."""
        chains = self._chains
        for number in np.flatnonzero((chains["head"] >= 0) & (chains["since"] <= at)).tolist():
            state = int(chains["state"][number])
            if not self._rows["is_odd"][state] or self.said(state).figures is not None:
                yield self.index.keys[number]

    def heard(self, key: UnitKey) -> int:
        """Return the latest time for which a unit only repeated itself, as known from this run or its heartbeats."""
        number = self.index.find(key)
        return NO_TIME if number is None or number >= len(self._chains) else int(self._chains["heard"][number])

    # --- writing

    def hear(self, heartbeat: FeedStatus) -> None:
        """Remember a heartbeat."""
        key = heartbeat_key(heartbeat)
        self.heartbeats.add(key)
        self.hear_units(np.array([self.index.number(key[0])]), np.array([to_milliseconds(key[1])]))

    def hear_units(self, units: Numbers, times: Numbers) -> None:
        """Remember that units only repeated themselves. `times`: milliseconds."""
        self._know(units)
        np.maximum.at(self._chains["heard"], units, times)

    def append(
        self,
        units: Numbers,
        sequence: Numbers,
        stated: Numbers,
        event_id: Bytes,
        content: Numbers,
        odd: Mapping[int, Said],
    ) -> None:
        """Remember accepted statements, each of another unit. `odd`: by entry, those that `content` does not say."""
        self._know(units)
        begin, end = self._used, self._used + len(units)
        self._rows = grown(self._rows, end)
        chains, rows = self._chains, self._rows[begin:end]
        new = chains["head"][units] < 0
        self.stated.update(self.index.keys[unit].type for unit in units[new].tolist())
        rows["unit"], rows["before"], rows["sequence"] = units, chains["head"][units], sequence
        rows["stated"], rows["event_id"], rows["content"], rows["is_odd"] = stated, event_id, content, False
        rows["is_odd"][list(odd)] = True
        self._odd.update((begin + entry, said) for entry, said in odd.items())
        self._used = end
        number = np.arange(begin, end)
        chains["since"][units] = np.where(new, stated, np.minimum(chains["since"][units], stated))
        moved = new | (stated >= self._rows["stated"][chains["state"][units]])
        chains["state"][units[moved]] = number[moved]
        chains["head"][units] = number

    def last_sequences(self, units: Numbers) -> Numbers:
        """Return the sequence of the last statement of each unit, 0 for one without."""
        self._know(units)
        heads = self._chains["head"][units]
        return np.where(heads < 0, 0, self._rows["sequence"][heads] if self._used else 0)

    def _know(self, units: Numbers) -> None:
        self._chains = grown(self._chains, int(units.max(initial=-1)) + 1, _NO_CHAIN)


_CHAIN = np.dtype([("head", np.int64), ("state", np.int64), ("since", np.int64), ("heard", np.int64)])
"""Of a unit: the rows of its last statement and of its state, its earliest time, the latest when it was repeated."""
_NO_CHAIN = np.array((-1, -1, 0, NO_TIME), _CHAIN)


def _row_of(layout: Layout) -> np.dtype[Any]:
    figures = WORDS + len(COUNTS) + len(layout.selections)
    return np.dtype(
        [
            ("unit", np.int32), ("before", np.int32), ("stated", np.int64), ("sequence", np.int64),
            ("event_id", np.uint8, 16), ("content", np.int64, figures), ("is_odd", np.bool_),
        ]
    )  # fmt: skip


def remember_batch(memory: ContestMemory, batch: StatementBatch) -> Numbers:
    """Add statements of the log to the memory. Returns the entries that readers accept; the others are only counted."""
    memory.roll.judge(batch, memory.definition)
    rounds = [np.zeros(0, np.int64)]
    for entries in batch.rounds(np.flatnonzero(batch.is_judged & batch.is_sound)):
        accepted = entries[batch.sequence[entries] > memory.last_sequences(batch.unit[entries])]
        _append_batch(memory, batch, accepted)
        rounds.append(accepted)
    found = np.sort(np.concatenate(rounds))
    memory.unchained += len(batch) - len(found)
    return found


def _append_batch(memory: ContestMemory, batch: StatementBatch, entries: Numbers) -> None:
    odd = {}
    for i, entry in enumerate(entries.tolist()):
        if (update := batch.updates.get(entry)) is not None and (said := _odd(memory, update)) is not None:
            odd[i] = said
    words = np.array([memory.word(batch.words[entry]) for entry in entries.tolist()], np.int64)
    content = memory.content(
        batch.group[entries], batch.status[entries], batch.reason[entries], words, batch.figures[entries]
    )
    memory.append(
        batch.unit[entries], batch.sequence[entries], batch.stated[entries], batch.event_id[entries], content, odd
    )


def _odd(memory: ContestMemory, update: CountUpdate) -> Said | None:
    """Return what an update says if the columns cannot say it."""
    if (
        memory.definition.is_sheet(update.reporting_unit.type)
        and not memory.definition.is_area(update.reporting_unit)
        and update.kind is not UpdateKind.RETRACTED
        and not is_of_operator(update)
        and update.counts is not None
        and memory.layout.says_all_of(update.counts)
        and update.sub_units is None
        and update.reporting_unit.counted_with is None
        and all(getattr(update, name) is None for name in RARE)
    ):
        return None
    after = extended(memory.units.get(update.unit), update, one_vote=memory.layout.one_vote)
    return next(said for said in after.said if said.event_id == update.event_id)


def remember(memory: ContestMemory, *events: CountUpdate) -> bool:
    """Add events of the log to the memory. Returns whether readers accept all; the others are only counted."""
    recorded = [Recorded(0, offset, event.observed_at, event) for offset, event in enumerate(events)]
    batch = statement_batch(recorded, memory.definition, memory.layout, memory.index)
    return len(remember_batch(memory, batch)) == len(events)


def extended(unit: UnitMemory | None, event: CountUpdate, *, one_vote: bool) -> UnitMemory:
    """Return the unit's memory with one more event. `one_vote`: as of its contest."""
    is_retracted = event.kind is UpdateKind.RETRACTED
    now = None if is_retracted else figures(event.reporting_unit, event, one_vote=one_vote)
    return extended_by(unit, event, now)


def extended_by(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> UnitMemory:
    """Return the unit's memory with one more event, whose figures are known."""
    new = Said(event.stated_at, event.sequence, event.event_id, now, _taken_back(unit, event, now))
    if unit is None:
        return UnitMemory(event.sequence, event.event_id, (new,))
    at = len(unit.said)
    while at and unit.said[at - 1].stated_at > new.stated_at:
        at -= 1
    return UnitMemory(event.sequence, event.event_id, (*unit.said[:at], new, *unit.said[at:]))


def _taken_back(unit: UnitMemory | None, event: CountUpdate, now: Figures | None) -> tuple[Figures, ...]:
    """Return the figures that an operator's event and the event that it replaces have replaced; never its own."""
    correction = event.correction
    if unit is None or correction is None or not is_of_operator(event):
        return ()
    replaced = next((said for said in unit.said if said.event_id == correction.replaces_event_id), None)
    if replaced is None:
        return ()
    return tuple(f for f in (replaced.figures, *replaced.taken_back) if f is not None and f != now)


def is_of_operator(event: object) -> bool:
    """Say whether an event is a decision of people here, and not the office's word."""
    correction = getattr(event, "correction", None)
    return correction is not None and correction.basis is CorrectionBasis.OPERATOR


def heartbeat_key(heartbeat: FeedStatus) -> tuple[UnitKey, datetime, UUID]:
    """Return what identifies a heartbeat: which unit repeated which event under which time."""
    return (
        UnitKey(heartbeat.unit_type, heartbeat.unit_id),
        heartbeat.stated_at,
        heartbeat.last_event_id,
    )
