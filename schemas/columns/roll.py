"""Keep a contest's roll of units as columns: which tally sheets exist, where, with how many voters (pure).

Place in the flow: `fold` and ingest's memory give it the parts in the order of the log. `chain.roll_fault` alone says
which of them are accepted, and `Roll.judge` what the roll refuses, so that both hold the same.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from uuid import UUID

import numpy as np

from schemas.chain import roll_fault
from schemas.columns.growing import grown
from schemas.columns.layout import KINDS, NONE, Mask, Numbers
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.contest import ContestDefined
from schemas.count_update import UnitKey
from schemas.identity import leaf
from schemas.rules import Finding
from schemas.types import TOTAL_LIMIT, UpdateKind
from schemas.unit_roll import UnitRoll

_RETRACTED = KINDS.index(UpdateKind.RETRACTED)


class Roll:
    """The roll of a contest: the revision in force, and the parts of the next one that are there so far.

    A revision without units takes the roll back: none is in force then.
    """

    def __init__(self, index: UnitIndex) -> None:
        """`index`: what the numbers of units stand for."""
        self.revision = 0
        """Of the roll in force; 0 before any."""
        self.leaf = bytes(32)
        """SHA-256 over the leaves of the parts in force, in their order; zeros before any."""
        self.last: UnitRoll | None = None
        """The last part that was accepted, without its units."""
        self.follows: UUID | None = None
        """The event before the first part of that part's revision."""
        self.units = self.area = self.voters = np.zeros(0, np.int64)
        """Of the roll in force, by entry: the number of the unit, the place of its area in `areas`, the voters or
        NONE."""
        self.number: Counter[str] = Counter()
        """Of the units on the roll in force, by type."""
        self.areas: list[tuple[str, ...]] = []
        """Areas of units, each with those that contain it, outermost first."""
        self._index = index
        self._codes: dict[str, int] = {}
        self._listed = np.zeros(0, bool)
        self._coming: list[tuple[Numbers, Numbers, Numbers]] = []
        self._coming_listed = np.zeros(0, bool)
        self._leaves: list[bytes] = []
        self._coming_voters = 0
        self._by_type: dict[str, dict[str, tuple[int, int | None]]] | None = None

    @property
    def holds(self) -> bool:
        """Whether a roll is in force."""
        return len(self.units) > 0

    def is_listed(self, units: Numbers) -> Mask:
        """Say which units, by number, are on the roll in force."""
        found = np.zeros(len(units), bool)
        known = units < len(self._listed)
        found[known] = self._listed[units[known]]
        return found

    def judge(self, batch: StatementBatch, contest: ContestDefined) -> None:
        """Refuse, in a batch that stands behind the roll, statements about sheets that are not on it (F307).

        A retraction is never refused: what was stated before the roll can be taken back.
        """
        if not self.holds:
            return
        groups = np.unique(batch.group)
        of_sheets = groups[[contest.is_sheet(batch.index.groups[group][0]) for group in groups.tolist()]]
        refused = batch.is_judged & (batch.kind != _RETRACTED) & np.isin(batch.group, of_sheets)
        refused &= ~self.is_listed(batch.unit)
        for entry in np.flatnonzero(refused).tolist():
            finding = Finding("F307", f"{batch.index.keys[int(batch.unit[entry])]} is not on the roll")
            batch.findings[entry] = (*batch.findings.get(entry, ()), finding)
        batch.is_sound &= ~refused

    def by_type(self) -> dict[str, dict[str, tuple[int, int | None]]]:
        """Count the units on the roll in force, and their voters, by type and by each area that has some.

        Voters are None where any unit of the area does not state them.
        """
        if self._by_type is None:  # asked for at every commit, and the same until the next revision holds
            kinds = np.array([self._index.keys[unit].type for unit in self.units.tolist()])
            self._by_type = {str(kind): self._units_of(kinds == kind) for kind in np.unique(kinds).tolist()}
        return self._by_type

    def units_of(self, types: Collection[str]) -> dict[str, tuple[int, int | None]]:
        """Count the units of some types, and their voters, of each area that has some."""
        found: dict[str, tuple[int, int | None]] = {}
        for kind, areas in self.by_type().items():
            for area_id, (number, voters) in areas.items() if kind in types else ():
                _add(found, area_id, number, voters)
        return found

    def _units_of(self, chosen: Mask) -> dict[str, tuple[int, int | None]]:
        size, area, stated = len(self.areas), self.area[chosen], self.voters[chosen]
        units = np.bincount(area, minlength=size).tolist()
        silent = np.bincount(area[stated == NONE], minlength=size).tolist()
        voters = np.zeros(size, np.int64)
        np.add.at(voters, area, np.maximum(stated, 0))
        found: dict[str, tuple[int, int | None]] = {}
        for path, number, known, unstated in zip(self.areas, units, voters.tolist(), silent, strict=True):
            for area_id in path if number else ():
                _add(found, area_id, number, None if unstated else known)
        return found

    def listed(self) -> Iterator[tuple[UnitKey, str, int | None]]:
        """Yield each unit on the roll in force, its nearest area, and its voters."""
        for unit, area, voters in zip(self.units.tolist(), self.area.tolist(), self.voters.tolist(), strict=True):
            yield self._index.keys[unit], self.areas[area][-1], None if voters == NONE else voters

    def fault(self, event: UnitRoll, text: bytes, contest: ContestDefined | None) -> Finding | None:
        """Say why a part of a roll would not be accepted; None when it would be."""
        return roll_fault(event, text, contest, self.last, self._is_coming)

    def accept(self, event: UnitRoll, text: bytes, contest: ContestDefined | None) -> Finding | None:
        """Apply a part of a roll, or say why it is not accepted. `text`: its canonical text."""
        if (fault := self.fault(event, text, contest)) is not None:
            return fault
        assert contest is not None
        voters = self._coming_voters if event.part > 1 else 0
        voters += sum(unit.registered_voters or 0 for unit in event.units)
        if voters >= TOTAL_LIMIT:
            return Finding("F407", "the voters on the roll would reach 2^62: no election has as many")
        self._coming_voters = voters
        if event.part == 1:
            self._coming, self._leaves, self.follows = [], [], event.previous_event_id
            self._coming_listed[:] = False
        self.last = event.model_copy(update={"units": ()})
        self._coming.append(self._columns(event, contest))
        self._leaves.append(leaf(text))
        if event.part == event.parts:
            self._put_in_force(event.revision)
        return None

    def _is_coming(self, key: UnitKey) -> bool:
        number = self._index.find(key)
        return number is not None and number < len(self._coming_listed) and bool(self._coming_listed[number])

    def _columns(self, event: UnitRoll, contest: ContestDefined) -> tuple[Numbers, Numbers, Numbers]:
        units = np.array([self._index.number(unit.key) for unit in event.units], np.int64)
        area = np.array([self._area(unit.area_id, contest) for unit in event.units], np.int64)
        voters = np.array(
            [NONE if unit.registered_voters is None else unit.registered_voters for unit in event.units], np.int64
        )
        self._coming_listed = grown(self._coming_listed, len(self._index.keys), False)
        self._coming_listed[units] = True
        return units, area, voters

    def _area(self, area_id: str, contest: ContestDefined) -> int:
        code = self._codes.setdefault(area_id, len(self.areas))
        if code == len(self.areas):
            self.areas.append(contest.area_paths[area_id])
        return code

    def _put_in_force(self, revision: int) -> None:
        self.units, self.area, self.voters = (np.concatenate(column) for column in zip(*self._coming, strict=True))
        self._listed = np.zeros(len(self._index.keys), bool)
        self._listed[self.units] = True
        self.number = Counter(self._index.keys[unit].type for unit in self.units.tolist())
        self._by_type = None
        self.revision, self.leaf = revision, hashlib.sha256(b"".join(self._leaves)).digest()
        self._coming, self._leaves = [], []
        self._coming_listed[:] = False


def _add(found: dict[str, tuple[int, int | None]], area_id: str, number: int, voters: int | None) -> None:
    before, of_before = found.get(area_id, (0, 0))
    found[area_id] = before + number, None if of_before is None or voters is None else of_before + voters
