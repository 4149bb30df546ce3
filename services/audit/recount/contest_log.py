"""Decide which statements of a contest are accepted, and which of them stand at a moment (pure).

Place in the flow: between the statements of a bundle, as columns, and the figures of an area (`figures`). Its words are
those of docs/contract.md, "Which events are accepted" and "As of a moment". All of it is a few sorts of columns: a
unit's statements beside each other, in the order of the log, with the highest number so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schemas.columns.layout import KINDS, Layout, Numbers
from schemas.columns.roll import Roll
from schemas.columns.statement_batch import StatementBatch
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.identity import text_of
from schemas.log_record import Recorded
from schemas.types import UpdateKind, to_milliseconds

Listed = Mapping[str, Mapping[str, tuple[int, int | None]]]
"""By type of unit and area: units on the roll, and their voters; None where some are not known."""
RETRACTED = KINDS.index(UpdateKind.RETRACTED)


class ContestLog:
    """The statements of one contest, and what of its log is accepted."""

    def __init__(self, definitions: Sequence[Recorded], rolls: Sequence[Recorded], batch: StatementBatch) -> None:
        """`definitions`, `rolls`: those accepted. `batch`: judged under the definition at each, as wide as the last."""
        self.batch, self.definitions = batch, definitions
        self._rolls: list[tuple[int, Listed | None]] = []
        """Where a revision begins to hold; None: it takes the roll back."""
        self.sound = self._on_roll(definitions, rolls)
        """Entries of statements that break no rule which refuses them."""
        self.accepted = self._accept(self.sound)
        """Entries of statements, in the order of the log."""

    def _on_roll(self, definitions: Sequence[Recorded], rolls: Sequence[Recorded]) -> Numbers:
        """Return the statements that break no rule, F307 neither: numbers of entries."""
        batch, roll, contest = self.batch, Roll(self.batch.index), None
        sound = batch.is_sound.copy()
        for recorded in sorted([*definitions, *rolls], key=lambda one: one.offset):
            event = recorded.event
            if isinstance(event, ContestDefined):
                contest = event
                continue
            fault = roll.accept(recorded.roll, text_of(event), contest)
            if contest is None or fault is not None or recorded.roll.part < recorded.roll.parts:
                continue
            self._rolls.append((recorded.offset, roll.by_type() if roll.holds else None))
            is_sheet = np.array([contest.is_sheet(kind) for kind, _ in batch.index.groups], bool)
            stranger = ~roll.is_listed(batch.unit) & is_sheet[batch.group] & (batch.kind != RETRACTED)
            behind = batch.offset > recorded.offset
            sound[behind] = batch.is_sound[behind] & ~(stranger[behind] & roll.holds)
        return np.flatnonzero(sound)

    def _accept(self, sound: Numbers) -> Numbers:
        """Return the statements whose sequence is above every one accepted of their unit before: in the log's order."""
        rows, place = self._by_unit(sound, self.batch.sequence)
        highest = np.maximum.accumulate(place)
        return np.sort(rows[np.append(True, place[1:] > highest[:-1])[: len(rows)]])

    def _by_unit(self, rows: Numbers, by: Numbers) -> tuple[Numbers, Numbers]:
        """Sort entries by unit, those of one in the order of the log. Also returns a number that ranks `by` in each.

        Numbers of a unit are above all of the units before it, so that a running maximum begins anew with each.
        """
        ordered = rows[np.argsort(self.batch.unit[rows], kind="stable")]
        _, rank = np.unique(by[ordered], return_inverse=True)
        return ordered, self.batch.unit[ordered] * len(ordered) + rank

    def at(self, offset: int, stated_by: int | None = None) -> "Moment | None":
        """Return the contest after the message at an offset; None before it is defined.

        `stated_by`: as of the office's own time, in milliseconds: only what was stated by then.
        """
        definitions = [one for one in self.definitions if one.offset <= offset]
        if not definitions:
            return None
        contest = definitions[-1].definition
        if stated_by is not None:
            then = [one for one in definitions[1:] if to_milliseconds(one.definition.effective_at) <= stated_by]
            level = [definitions[0], *then][-1].definition.counting_level
            contest = contest.model_copy(update={"counting_level": level})
        batch = self.batch
        rows = self.accepted[: np.searchsorted(batch.offset[self.accepted], offset, "right")]
        if stated_by is not None:
            rows = rows[batch.stated[rows] <= stated_by]
        rows, place = self._by_unit(rows, batch.stated)
        was_state = rows[place == np.maximum.accumulate(place)]
        is_last = np.append(np.diff(batch.unit[was_state]) != 0, True)[: len(was_state)]
        roll = next((listed for at, listed in reversed(self._rolls) if at <= offset), None)
        return Moment(contest, roll, batch, was_state, was_state[is_last])


@dataclass(frozen=True)
class Moment:
    """A contest at a moment: the definition and the roll in force, and the statements that stand."""

    contest: ContestDefined
    roll: Listed | None
    batch: StatementBatch
    was_state: Numbers
    """The statements that are, or were, the state of their unit: numbers of entries."""
    standing: Numbers
    """Those that are."""

    @cached_property
    def layout(self) -> Layout:
        """The slots of the sums."""
        return Layout.of(self.contest)

    @cached_property
    def sums(self) -> dict[tuple[str, str], Numbers]:
        """What standing statements add, by type of unit and area. Also of those where something once stood: zeros."""
        batch, size = self.batch, self.layout.size
        groups = batch.group[self.standing]
        order = np.argsort(groups, kind="stable")
        begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
        added = batch.contribution[self.standing[order], :size]
        sums = np.add.reduceat(added, begins) if len(begins) else added
        found: dict[tuple[str, str], Numbers] = {}
        for group in np.unique(batch.group[self.was_state]).tolist():
            kind, areas = batch.index.groups[group]
            for area in areas:
                found.setdefault((kind, area), np.zeros(size, np.int64))
        for group, of in zip(groups[order][begins].tolist(), sums, strict=True):
            kind, areas = batch.index.groups[group]
            for area in areas:
                found[kind, area] += of
        return found

    @cached_property
    def _state(self) -> dict[int, int]:
        return dict(zip(self.batch.unit[self.standing].tolist(), self.standing.tolist(), strict=True))

    def state_of(self, unit: UnitKey) -> int | None:
        """Return the entry of the statement that stands about a unit; None where none does."""
        number = self.batch.index.find(unit)
        return None if number is None else self._state.get(number)
