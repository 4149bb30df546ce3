"""Hold the content of one commit, and the position of a partition (pure)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import numpy as np

from aggregator.fold.evolve import ContestState, Defined, Folded, Position
from aggregator.fold.totals import Place
from aggregator.tables.rows import (
    FEW,
    Copy,
    Encoder,
    Parked,
    Row,
    definition_rows,
    finding_rows,
    log_time_rows,
    roll_area_rows,
)
from schemas.columns.layout import KINDS, Mask, Numbers
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME
from schemas.contest import ContestDefined
from schemas.log_record import Recorded
from schemas.rules import Finding
from schemas.source_status import SourceStatus
from schemas.unit_roll import UnitRoll


def follows(offset: int) -> str:
    """Return the reason for a message behind the unreadable one."""
    return f"follows the unreadable message at offset {offset}"


_NO_STATEMENTS = {ContestDefined: "DEFINED", UnitRoll: "ROLL", SourceStatus: "SOURCE"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next offset of a partition, and the epoch of the writer that holds it."""

    topic: str
    partition: int
    next_offset: int
    epoch: int


@dataclass(frozen=True, slots=True)
class UnitRows:
    """Units that were stated: the offsets of their state and of the last of their chain, -1 while none is accepted."""

    number: Numbers
    is_new: Mask
    current: Numbers
    head: Numbers


@dataclass(frozen=True, slots=True)
class TotalRows:
    """Totals that changed."""

    places: list[Place]
    vector: Numbers
    stated: Numbers
    last_offset: Numbers
    event_id: list[bytes]
    since: list[list[int]]
    kept_at: Numbers


class Found(NamedTuple):
    """A finding, and the event that it is about."""

    offset: int
    event_id: UUID
    finding: Finding


@dataclass(frozen=True, slots=True)
class ContestRows:
    """What a commit writes of one contest. Nothing in it changes when the fold goes on."""

    contest_id: str
    definition: Recorded | None
    contest: ContestDefined | None
    index: UnitIndex
    last: Position
    last_reported: int
    digest: str
    first_offset: int
    """Of the first event in it."""
    kinds: Counter[str]
    """How many events of each kind; DEFINED is that of a definition, ROLL of a part of a roll, SOURCE of its state."""
    found: list[Found]
    copies: list[Copy]
    """Rows of the large tables."""
    few: dict[str, list[Row]]
    """Rows of the small ones, in the order of `rows.FEW`."""
    is_defined: bool
    """Whether a definition was accepted."""
    groups: list[int]
    """New groups of units."""
    units: UnitRows | None
    totals: TotalRows | None


@dataclass(slots=True)
class Batch:
    """The content of one commit."""

    next_offset: int
    digest: str
    events: int = 0
    """Messages in it."""
    recorded: int = NO_TIME
    """The broker's time of the last."""
    contests: list[ContestRows] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    blocked: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    states: Mapping[str, ContestState] = field(default_factory=dict)
    """Of the partition's contests: as the batch made them, until the next is folded."""


class Unwritten:
    """What the tables lack of a contest, between two commits."""

    def __init__(self, contest_id: str, state: ContestState) -> None:
        """`state`: as the tables have it."""
        self._contest_id, self._encoder = contest_id, Encoder(contest_id)
        self._is_stored: Mask = np.ones(len(state.index.keys), bool)
        self._stored_groups = set(range(len(state.index.groups)))
        self._begin()
        self._units: list[Numbers] = []
        self._places: list[Numbers] = []
        self._is_redefined = False

    def _begin(self) -> None:
        """Begin another commit."""
        self._first_offset = -1
        self._kinds: Counter[str] = Counter()
        self._found: list[Found] = []
        self._copies: list[Copy] = []
        self._few: dict[str, list[Row]] = {table: [] for table in FEW}
        self._groups: set[int] = set()
        self._is_defined = False

    def __bool__(self) -> bool:
        """Say whether the tables lack anything."""
        return self._first_offset >= 0 or bool(self._units or self._places or self._is_redefined)

    def add(self, step: Folded | Defined, state: ContestState) -> None:
        """Encode what a step of the fold did. `state`: that it made. Keeps nothing of the step."""
        assert state.last is not None
        self._few["finding"] += finding_rows(self._contest_id, state.last.partition, step)
        self._few["log_time"] += log_time_rows(self._contest_id, step)
        for table, rows in definition_rows(step).items():
            self._few[table] += rows
        self._few["roll_area"] += roll_area_rows(self._contest_id, step, state.roll)
        if isinstance(step, Defined):
            offset, event_id = step.recorded.offset, step.recorded.event.event_id
            is_definition = isinstance(step.recorded.event, ContestDefined)
            self._kinds[_NO_STATEMENTS[type(step.recorded.event)]] += 1
            self._found += (Found(offset, event_id, finding) for finding in step.findings)
            if step.accepted and isinstance(part := step.recorded.event, UnitRoll):
                self._units.append(np.unique([state.index.number(unit.key) for unit in part.units]).astype(np.int64))
            self._is_defined |= step.accepted and is_definition
            self._is_redefined |= step.accepted and is_definition
        else:
            batch, offset = step.batch, int(step.batch.offset[0])
            for kind, number in zip(KINDS, np.bincount(batch.kind).tolist(), strict=False):
                self._kinds[kind.value] += number
            for entry in sorted(step.findings):
                event_id = UUID(bytes=batch.event_id[entry].tobytes())
                self._found += (Found(int(batch.offset[entry]), event_id, one) for one in step.findings[entry])
            self._copies += self._encoder.copies(step, state.all_totals.places)
            self._units.append(np.unique(batch.unit))
            self._places.append(step.places)
            self._groups.update(np.unique(batch.group).tolist())
        if self._first_offset < 0:
            self._first_offset = offset

    def rows(self, state: ContestState, digest: str, *, whole: bool = True) -> ContestRows:
        """Return all rows that are lacking. `whole` False: without units and totals, which a later commit has."""
        assert state.last is not None
        new_groups = sorted(self._groups - self._stored_groups)
        self._stored_groups.update(new_groups)
        made = ContestRows(
            contest_id=self._contest_id,
            definition=state.definition,
            contest=state.contest if state.definition is not None else None,
            index=state.index,
            last=state.last,
            last_reported=state.last_reported,
            digest=digest,
            first_offset=self._first_offset,
            kinds=self._kinds,
            found=self._found,
            copies=self._copies,
            few=self._few,
            is_defined=self._is_defined,
            groups=new_groups,
            units=self._unit_rows(state) if whole else None,
            totals=self._total_rows(state) if whole else None,
        )
        self._begin()
        return made

    def _unit_rows(self, state: ContestState) -> UnitRows | None:
        if not self._units:
            return None
        number = np.unique(np.concatenate(self._units))
        self._units.clear()
        if not len(number):  # of a roll without units
            return None
        if (room := 2 * int(number[-1]) + 2 - len(self._is_stored)) > 0:
            self._is_stored = np.pad(self._is_stored, (0, room))
        is_new = ~self._is_stored[number]
        self._is_stored[number] = True
        return UnitRows(number, is_new, state.units.state_offset[number], state.units.head_offset[number])

    def _total_rows(self, state: ContestState) -> TotalRows | None:
        totals = state.all_totals
        touched = np.unique(np.concatenate(self._places)) if self._places else np.zeros(0, np.int64)
        self._places.clear()
        if self._is_redefined:  # every total may have a new selection
            touched, self._is_redefined = np.flatnonzero(totals.last_offset[: len(totals)] >= 0), False
        if not len(touched):
            return None
        return TotalRows(
            places=[totals.places[number] for number in touched.tolist()],
            vector=totals.vector[touched],
            stated=totals.stated[touched],
            last_offset=totals.last_offset[touched],
            event_id=[event_id.tobytes() for event_id in totals.event_id[touched]],
            since=[list(totals.since[number]) for number in touched.tolist()],
            kept_at=totals.kept_at[touched],
        )
