"""Any past state: the tables and the fold of the log must agree, on every axis, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator import fold
from aggregator.consume import PartitionFold
from aggregator.count import NothingCounted, of_state
from aggregator.moment import NOW, Moment
from aggregator.past import Past
from aggregator.records import RawRecord, Recorded
from aggregator.replay import Folding
from aggregator.store import Store
from aggregator.tally import Layout
from aggregator.verify import Tables, Verdict
from aggregator.views import Views
from schemas.codec import encode
from schemas.types import to_milliseconds
from tests.bench import naive
from tests.fix_postgres import Database
from tests.strategies import NIGHT, nights

CONTEST = "pe-2021-president-runoff"
TABLES = (
    "cursor, contest_history, count_update_history, unit_state, contest, selection, area, area_total, area_total_block,"
    " log_time, finding, parked"
)


@pytest.fixture(scope="module")
def tables(migrated_template: str, postgres_server: object) -> Iterator[Database]:
    """One database for all examples; each empties it."""
    from deploy.local import Postgres
    from tests.fix_postgres import database_of

    assert isinstance(postgres_server, Postgres)
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


def from_the_log(records: Sequence[RawRecord], moment: Moment, area: str) -> object:
    folding = Folding(CONTEST, moment)
    folding.take(records)
    try:
        return of_state(folding.state, area, None)
    except NothingCounted:
        return None


def from_the_tables(views: Views, moment: Moment, area: str) -> object:
    try:
        return Past(views, CONTEST, moment).count(area)
    except NothingCounted:
        return None


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


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_tables_as_of_any_moment_are_the_replay_to_it(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    records = data.draw(set_back(night))
    batch_sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    areas = ["pe", *(a.area_id for a in night[0].event.areas[1:])]  # type: ignore[union-attr]
    with written(tables, records, batch_sizes) as views:
        for moment in [NOW, *data.draw(st.lists(moments(night), min_size=1, max_size=8))]:
            for area in areas:
                expected = from_the_log(records, moment, area)
                assert from_the_tables(views, moment, area) == expected, (moment, area)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_sums_are_those_of_a_naive_count_and_the_digests_are_equal(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    records = [raw(r) for r in night]
    places = [naive.Place(r.offset, r.recorded_at, r.event) for r in night]
    with written(tables, records, data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))) as views:
        for moment in [NOW, *data.draw(st.lists(moments(night), min_size=1, max_size=4))]:
            try:
                past = Past(views, CONTEST, moment)
            except NothingCounted:
                continue
            told = past.totals([area.area_id for area in past.contest.areas])
            layout = Layout.of(past.contest)
            nothing = layout.named(layout.zero())
            for area, figures in naive.totals(places, past.to_offset, moment.stated_at).items():
                total = told.get(area)
                assert (layout.named(total.vector) if total is not None else nothing) == figures, (moment, area)
        offset = data.draw(st.sampled_from(night)).offset
        kept = Tables(views, CONTEST, Verdict(CONTEST, offset))
        folding = Folding(CONTEST, Moment(offset=offset), kept.compare)
        folding.take(records)
        assert kept.digest() == folding.state.digest.root()
