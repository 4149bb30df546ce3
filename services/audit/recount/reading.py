"""Read the messages of one contest, in the order of the log, into what a recount takes (pure)."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from audit.recount.contest_log import ContestLog
from schemas.chain import definition_fault
from schemas.columns.decoder import Decoder
from schemas.columns.layout import NOT_ON_BALLOT, Layout
from schemas.columns.roll import Roll
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import is_update
from schemas.contest import ContestDefined
from schemas.errors import ContractError
from schemas.identity import text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.unit_roll import UnitRoll

_AT_ONCE = 5_000
"""Statements that are decoded together: fewer take longer each."""


class Reading:
    """The messages of one contest that were read so far."""

    def __init__(self, contest_id: str) -> None:
        self.contest_id = contest_id
        self.blocked: str | None = None
        """Why nothing is counted any more: a message is no event. Whole once `log` was called."""
        self._waiting: list[RawRecord] = []
        self._definitions: list[Recorded] = []
        self._rolls: list[Recorded] = []
        self._parts: list[StatementBatch] = []
        self._index = UnitIndex()
        self._roll, self._decoder = Roll(self._index), Decoder(contest_id, self._index)

    def add(self, records: Iterable[RawRecord]) -> None:
        """Read messages of a partition; those of other contests are passed over."""
        key = self.contest_id.encode()
        for raw in records:
            if raw.key != key or self.blocked is not None:
                continue
            if is_update(raw):
                self._waiting.append(raw)
                if len(self._waiting) == _AT_ONCE:
                    self._decode()
                continue
            self._decode()
            try:
                self._define(recorded_of_raw(raw))
            except ContractError as error:
                self._block(raw, error)

    def _block(self, raw: RawRecord, error: ContractError) -> None:
        self.blocked = self.blocked or f"offset {raw.offset:,}: {error}"

    def _contest(self) -> ContestDefined | None:
        return self._definitions[-1].definition if self._definitions else None

    def _decode(self) -> None:
        records, self._waiting = self._waiting, []
        if records and self.blocked is None:
            batch, unreadable = self._decoder.decode(records, self._contest())
            self._parts.append(batch)
            if unreadable is not None:
                self._block(records[unreadable.row], unreadable.error)

    def _define(self, recorded: Recorded) -> None:
        event, text, contest = recorded.event, text_of(recorded.event), self._contest()
        if isinstance(event, ContestDefined) and definition_fault(event, text, contest) is None:
            self._definitions.append(recorded)
        if isinstance(event, UnitRoll) and self._roll.accept(event, text, contest) is None:
            self._rolls.append(recorded)

    def log(self) -> ContestLog | None:
        """Return what was read; None where the contest is not defined."""
        self._decode()
        if (contest := self._contest()) is None:
            return None
        parts, size = self._parts or [self._decoder.decode([], contest)[0]], Layout.of(contest).size
        return ContestLog(self._definitions, self._rolls, StatementBatch.join([_widened(one, size) for one in parts]))


def _widened(part: StatementBatch, size: int) -> StatementBatch:
    """Return statements in a later layout: a selection that was added later stood on none of their ballots."""
    added = ((0, 0), (0, size - part.figures.shape[1]))
    figures = np.pad(part.figures, added, constant_values=NOT_ON_BALLOT)
    return replace(part, figures=figures, contribution=np.pad(part.contribution, added))
