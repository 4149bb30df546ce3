"""The tables as the aggregator writes them of a made-up night, without a broker; and moments of that night."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from aggregator.fold import totals as folding
from aggregator.live.partition import PartitionFold
from aggregator.tables.writer import Writer
from results.count import NothingCounted
from results.reader import Reader
from schemas.log_record import RawRecord
from tests.support.fix_postgres import Database, database_of
from tests.support.servers import Postgres

CONTEST = "pe-2021-president-runoff"
Answer = TypeVar("Answer")
TABLES = (
    "cursor, contest_history, roll_history, roll_area, count_update_history, unit_state, area_path, publication,"
    " contest, selection, area, area_total, area_total_block, log_time, finding, parked, source_history"
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
    monkeypatch.setattr(folding, "BLOCK", 3)


def or_none(ask: Callable[..., Answer], *arguments: Any) -> Answer | None:
    """The answer, or None where nothing is counted."""
    try:
        return ask(*arguments)
    except NothingCounted:
        return None


@contextmanager
def written(
    tables: Database, records: Sequence[RawRecord], batch_sizes: Sequence[int], one_life: bool = False
) -> Iterator[Reader]:
    """The tables as the aggregator writes them of these messages, batch by batch; each batch in a life of its own,
    unless all are in one."""
    with psycopg.connect(tables.owner_url) as db:
        db.execute("TRUNCATE " + ", ".join(f"aggregate.{table}" for table in TABLES.split(", ")))
    begin, number, living = 0, 0, None
    with Writer(tables.writer_url) as writer:
        while begin < len(records):
            end = begin + batch_sizes[number % len(batch_sizes)]
            if living is None or not one_life:
                cursor = writer.claim("log", UUID(int=1), 0)
                living = PartitionFold(*writer.load(cursor))
            cursor = writer.commit(cursor, living.apply(list(records[begin:end])))
            begin, number = end, number + 1
    with Reader(tables.reader_url) as views:
        yield views
