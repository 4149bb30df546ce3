"""Keep the state of every reporting unit, and apply one statement to each of many units (pure)."""

from dataclasses import dataclass

import numpy as np

from aggregator.fold.growing import Growing
from schemas.columns.layout import Bytes, Mask, Numbers
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.wire import NO_TIME

NO_GROUP = -1
"""Of a unit without an accepted statement."""


@dataclass(slots=True)
class Applied:
    """What statements did: entry i of each column is of statement i of the batch."""

    head_sequence: Numbers
    """The highest accepted of the unit before it, 0 for none; so are all of what follows."""
    head_event_id: Bytes
    follows: Mask
    """Whether it names that event, or is the unit's first."""
    repeats: Mask
    """Whether it is the last of the chain, or the state, once more."""
    state_stated: Numbers
    """The official time of the unit's state."""
    state_group: Numbers
    state: Numbers
    """What the unit added to the count. Shape (statements, layout.size)."""
    accepted: Mask
    is_current: Mask
    """Whether it became its unit's state."""

    @classmethod
    def to(cls, statements: int, size: int) -> "Applied":
        """Return room for a batch, of which nothing is applied yet."""
        return cls(
            np.zeros(statements, np.int64),
            np.zeros((statements, 16), np.uint8),
            np.ones(statements, bool),
            np.zeros(statements, bool),
            np.full(statements, NO_TIME),
            np.full(statements, NO_GROUP),
            np.zeros((statements, size), np.int64),
            np.zeros(statements, bool),
            np.zeros(statements, bool),
        )


class UnitTable(Growing):
    """Rows are numbers of a `UnitIndex`. `state_…`: the statement that is the unit's state; `head_…`: its last."""

    group: Numbers
    """Of the state: unit type and areas."""
    contribution: Numbers
    state_stated: Numbers
    state_offset: Numbers
    state_event_id: Bytes
    state_leaf: Bytes
    head_sequence: Numbers
    head_offset: Numbers
    head_event_id: Bytes
    head_leaf: Bytes

    def __init__(self, size: int) -> None:
        number, event_id, leaf = (np.int64, (), 0), (np.uint8, (16,), 0), (np.uint8, (32,), 0)
        super().__init__(
            group=(np.int64, (), NO_GROUP),
            contribution=(np.int64, (size,), 0),
            state_stated=(np.int64, (), NO_TIME),
            state_offset=(np.int64, (), -1),
            state_event_id=event_id,
            state_leaf=leaf,
            head_sequence=number,
            head_offset=(np.int64, (), -1),
            head_event_id=event_id,
            head_leaf=leaf,
        )

    def count(self) -> int:
        """Count the units with an accepted statement."""
        return int((self.head_sequence[: len(self)] > 0).sum())

    def apply(self, batch: StatementBatch, chosen: Numbers, to: Applied) -> None:
        """Apply statements, no two of one unit, and note what each did.

        A statement is accepted when it is sound and its sequence is above every one accepted before it. It becomes the
        unit's state when its official time is that of the state or later. So the state is the accepted statement with
        the latest official time, the highest sequence breaking ties: a bulletin that is found a day late is kept in its
        place in the chain, without turning the count back. A gap is a finding, but the statement counts: counts are
        absolute, so a lost event cannot shift a sum.
        """
        unit, sequence, event_id = batch.unit[chosen], batch.sequence[chosen], batch.event_id[chosen]
        stated = batch.stated[chosen]
        head, head_id, had = self.head_sequence[unit], self.head_event_id[unit], self.state_stated[unit]
        to.head_sequence[chosen], to.head_event_id[chosen], to.state_stated[chosen] = head, head_id, had
        to.state_group[chosen], to.state[chosen] = self.group[unit], self.contribution[unit]
        to.follows[chosen] = (head == 0) | (batch.previous[chosen] == head_id).all(axis=1)
        to.repeats[chosen] = (event_id == head_id).all(axis=1) | (event_id == self.state_event_id[unit]).all(axis=1)
        to.accepted[chosen] = accepted = batch.is_sound[chosen] & (sequence > head)
        to.is_current[chosen] = current = accepted & (stated >= had)
        leaf, offset = batch.leaf[chosen], batch.offset[chosen]
        changed = unit[accepted]
        self.head_sequence[changed], self.head_offset[changed] = sequence[accepted], offset[accepted]
        self.head_event_id[changed], self.head_leaf[changed] = event_id[accepted], leaf[accepted]
        changed, now = unit[current], chosen[current]
        self.group[changed], self.contribution[changed] = batch.group[now], batch.contribution[now]
        self.state_stated[changed], self.state_offset[changed] = stated[current], offset[current]
        self.state_event_id[changed] = event_id[current]
        self.state_leaf[changed] = leaf[current]
