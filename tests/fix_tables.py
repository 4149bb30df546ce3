"""The tables as the aggregator writes them of a made-up night, without a broker; and moments of that night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st

from aggregator import fold
from aggregator.consume import PartitionFold
from aggregator.moment import Moment
from aggregator.records import RawRecord, Recorded
from aggregator.store import Store
from aggregator.views import Views
from deploy.local import Postgres
from schemas.codec import encode
from schemas.types import to_milliseconds
from tests.fix_postgres import Database, database_of
from tests.strategies import NIGHT

CONTEST = "pe-2021-president-runoff"
TABLES = (
    "cursor, contest_history, count_update_history, unit_state, contest, selection, area, area_total, area_total_block,"
    " log_time, finding, parked"
)


@pytest.fixture(scope="module")
def tables(migrated_template: str, postgres_server: Postgres) -> Iterator[Database]:
    """One database for all examples; each empties it."""
    postgres_server.create_database("past", migrated_template)
    yield database_of(postgres_server, "past")
    postgres_server.drop_database("past")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short night has many."""
    monkeypatch.setattr(fold, "BLOCK", 3)


def raw(recorded: Recorded) -> RawRecord:
    message = encode(recorded.event)
    at = to_milliseconds(recorded.recorded_at)
    return RawRecord(0, recorded.offset, at, message.key, message.value, list(message.headers))


@contextmanager
def written(tables: Database, records: Sequence[RawRecord], batch_sizes: Sequence[int]) -> Iterator[Views]:
    """The tables as the aggregator writes them of these messages, batch by batch; each batch in a life of its own."""
    with psycopg.connect(tables.owner_url) as db:
        db.execute("TRUNCATE " + ", ".join(f"aggregate.{table}" for table in TABLES.split(", ")))
    begin, number = 0, 0
    while begin < len(records):
        end = begin + batch_sizes[number % len(batch_sizes)]
        with Store(tables.writer_url) as store:
            cursor = store.claim("log", UUID(int=1), 0)
            states, blocked = store.load("log", 0)
            store.commit(cursor, PartitionFold(states, blocked).take(list(records[begin:end])))
        begin, number = end, number + 1
    with Views(tables.reader_url) as views:
        yield views


@st.composite
def set_back(draw: st.DrawFn, night: list[Recorded]) -> list[RawRecord]:
    """A night's messages, on a broker whose clock is set back now and then."""
    shifts = draw(st.lists(st.sampled_from([0, 0, 0, -3, -7, 4]), min_size=len(night), max_size=len(night)))
    return [
        raw(Recorded(r.partition, r.offset, r.recorded_at + timedelta(seconds=s), r.event))
        for r, s in zip(night, shifts, strict=True)
    ]


def moments(night: Sequence[Recorded]) -> st.SearchStrategy[Moment]:
    last = night[-1].offset
    stated = sorted({r.event.stated_at for r in night if hasattr(r.event, "stated_at")} | {NIGHT})
    around = st.builds(lambda at, ms: at + timedelta(milliseconds=ms), st.sampled_from(stated), st.integers(-1, 1))
    logged = st.builds(lambda at, s: at.recorded_at + timedelta(seconds=s), st.sampled_from(night), st.integers(-4, 4))
    return st.builds(Moment, st.none() | st.integers(0, last), st.none() | logged, st.none() | around)
