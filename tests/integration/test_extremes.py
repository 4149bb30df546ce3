"""Whatever the contract allows is written to PostgreSQL, read back at a restart, and shown by every view."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from aggregator.live.metrics import Metrics
from aggregator.live.partition import PartitionFold
from aggregator.tables.writer import Writer
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import named
from schemas.types import COUNT_LIMIT, EARLIEST_MS, LATEST_MS, NUMBER_LIMIT, from_milliseconds
from tests.support.fix_postgres import Database
from tests.support.strategies import NIGHT, PRECINCT, a_contest, counted, raw, recorded, updates

DEFINED = a_contest(counting_level=(PRECINCT,))
PATHS = list(DEFINED.area_paths.values())
_LARGE = COUNT_LIMIT // 2 - 1


@st.composite
def extremes(draw: st.DrawFn) -> CountUpdate:
    """An update about the contest, with the largest and the smallest of everything."""
    update = draw(updates())
    unit, areas = update.reporting_unit, DEFINED.areas
    if unit.type in DEFINED.area_types:
        area = draw(st.sampled_from(areas))
        place: dict[str, Any] = {
            "id": area.area_id, "type": area.type, "area_path": DEFINED.area_paths[area.area_id][:-1]
        }  # fmt: skip
    else:
        place = {"id": draw(st.sampled_from(["1", "2", "\U0001f5f3" * 200])), "area_path": draw(st.sampled_from(PATHS))}
    sequence = draw(st.sampled_from([1, 2, NUMBER_LIMIT - 1]))
    at = draw(st.sampled_from([NIGHT, from_milliseconds(EARLIEST_MS), from_milliseconds(LATEST_MS)]))
    figure = st.sampled_from([None, 0, 1, _LARGE])
    votes = st.fixed_dictionaries(dict.fromkeys(DEFINED.selection_ids, figure))
    changes = {
        "contest_id": DEFINED.contest_id,
        "reporting_unit": unit.model_copy(update=place),
        "sequence": sequence,
        "previous_event_id": None if sequence == 1 else UUID(int=1),
        "reported_at": draw(st.sampled_from([None, at])),
        "stated_at": at,
        "observed_at": at,
        "is_test": False,
        "counts": draw(counted(votes, figure)),
    }
    return named(update.model_copy(update=changes))


def test_what_the_contract_allows_is_written_and_every_view_shows_it(totals: Database) -> None:
    partitions = count()

    @given(st.lists(extremes(), max_size=8), st.integers(1, 9))
    def is_written(found: list[CountUpdate], size: int) -> None:
        partition = next(partitions)
        own = {"contest_id": f"c{partition}"}
        first = named(DEFINED.model_copy(update=own))
        events: list[CountUpdate | ContestDefined] = [
            first,
            *(named(update.model_copy(update=own)) for update in found),
        ]
        records = [raw(one)._replace(partition=partition, offset=n) for n, one in enumerate(recorded(events))]
        cursor, metrics, fold = writer.claim("t", UUID(int=1), partition), Metrics(CollectorRegistry()), PartitionFold()
        metrics.loaded(cursor, fold, {})
        for begin in range(0, len(records), size):
            batch = fold.apply(records[begin : begin + size])
            metrics.folded(partition, batch)
            cursor = writer.commit(cursor, batch)
            metrics.committed(cursor, batch, 0.1)
        assert not fold.blocked
        assert list(metrics.collect())
        states, blocked = writer.load(cursor)
        assert not blocked
        assert [state.root() for state in states.values()] == [state.root() for state in fold.states.values()]

    with Writer(totals.writer_url) as writer:
        is_written()
    views = totals.read(
        "SELECT table_schema || '.' || table_name FROM information_schema.views"
        " WHERE table_schema IN ('results', 'checking')"
    )
    assert len(views) > 20
    for (view,) in views:
        totals.read(f"SELECT * FROM {view}")  # noqa: S608
