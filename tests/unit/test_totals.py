"""Totals and their blocks are those of a simple loop over what changes them, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fold.totals import BLOCK, Totals, Touches
from schemas.columns.decode_general import statement_batch
from schemas.columns.layout import Layout
from schemas.columns.unit_index import UnitIndex
from schemas.log_record import Recorded
from tests.support.strategies import NIGHT, a_contest, a_sheet, minute

CONTEST = a_contest()
LAYOUT = Layout.of(CONTEST)


class Touch(NamedTuple):
    """A change of one total by one statement."""

    place: int
    statement: int
    change: int
    closes: bool


class Simple:
    """Totals of one figure, in the plainest way."""

    def __init__(self) -> None:
        self.now: dict[int, dict[str, Any]] = {}
        self.blocks: list[tuple[int, int, int, list[int], int, Any, bytes]] = []

    def add(self, touch: Touch, update: Recorded) -> None:
        """Apply a change, and end the block where that is due."""
        total = self.now.setdefault(touch.place, {"figure": 0, "stated": None, "since": [], "kept_at": -1})
        total["figure"] += touch.change
        total["stated"] = max(filter(None, (total["stated"], update.stated_at)))
        total["last"] = update.offset, update.update.event_id.bytes
        total["since"].append(update.offset)
        if touch.closes or len(total["since"]) == BLOCK:
            begin, end = total["kept_at"] + 1, update.offset
            block = (touch.place, begin, end, total["since"], total["figure"], total["stated"], total["last"][1])
            self.blocks.append(block)
            total["since"], total["kept_at"] = [], end


@st.composite
def touches(draw: st.DrawFn, statements: int) -> list[Touch]:
    """Statements may change several totals, each once, and close their blocks."""
    return [
        Touch(place, statement, draw(st.integers(-50, 50)), draw(st.integers(0, 9)) == 0)
        for statement in range(statements)
        for place in sorted(draw(st.sets(st.integers(0, 2), max_size=3)))
    ]


def added(totals: Totals, batch: Sequence[Recorded], own: list[Touch], first: int) -> Any:
    """Add the changes by some statements."""
    changes = np.zeros((len(own), LAYOUT.size), np.int64)
    changes[:, 5] = [touch.change for touch in own]
    statements = statement_batch(batch, CONTEST, LAYOUT, UnitIndex())
    columns = [np.array([touch[i] for touch in own]) for i in range(4)]
    return totals.add(
        Touches(columns[0], columns[1] - first, np.arange(len(own)), columns[3].astype(bool), changes),
        statements,
        in_blocks=True,
    )


@given(st.data())
def test_totals_and_blocks_are_those_of_a_loop(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    times = data.draw(st.lists(st.integers(0, 90), min_size=count, max_size=count))
    log = [Recorded(0, 3 + 2 * n, NIGHT, a_sheet(reported_at=minute(at))) for n, at in enumerate(times)]
    drawn = data.draw(touches(count))
    size = data.draw(st.integers(1, count))
    totals, simple, blocks = Totals(LAYOUT.size), Simple(), []
    for place in range(3):
        totals.number(("precinct", str(place)))
    for touch in drawn:
        simple.add(touch, log[touch.statement])
    for first in range(0, count, size):
        own = [touch for touch in drawn if first <= touch.statement < first + size]
        if own:
            made = added(totals, log[first : first + size], own, first)
            vectors, ids = made.vector[:, 5].tolist(), [event_id.tobytes() for event_id in made.event_id]
            stated = [NIGHT.fromtimestamp(ms / 1000, NIGHT.tzinfo) for ms in made.stated.tolist()]
            columns = (made.place.tolist(), made.begin.tolist(), made.end.tolist(), made.offsets, vectors, stated, ids)
            blocks += list(zip(*columns, strict=True))
    assert sorted(blocks, key=lambda block: (block[2], block[0])) == sorted(
        simple.blocks, key=lambda block: (block[2], block[0])
    )
    for place in range(3):
        total, expected = totals.total(("precinct", str(place))), simple.now.get(place)
        assert (total is None) == (expected is None)
        if total is not None and expected is not None:
            assert (total.vector[5], total.stated_at, total.since, total.kept_at) == (
                expected["figure"], expected["stated"], expected["since"], expected["kept_at"],
            )  # fmt: skip
            assert total.last_event_id is not None
            assert (total.last_offset, total.last_event_id.bytes) == expected["last"]
