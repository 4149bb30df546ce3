"""An operator's correction, and somebody else who writes at the worst moment. Real broker, real tables."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ingest.news.corrections import Wish

from ingest import operator as correct
from ingest.errors import Overtaken
from ingest.pipeline import Connection, Pipeline
from ingest.publish import publisher as publish
from ingest.publish.log_reader import TopicReader
from ingest.sources.archive import Archive
from schemas.codec import decode
from schemas.count_update import CountUpdate, UnitKey
from schemas.topics import TopicNames
from schemas.types import UpdateKind
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of
from tests.support.fix_postgres import Database

NOW = datetime(2021, 6, 8, tzinfo=UTC)
WISH = Wish(
    unit=UnitKey("precinct", "000001"), kind=UpdateKind.RETRACTED, reason="of another district", authority="ONPE",
    operator="Ana", at=NOW,
)  # fmt: skip


class Quiet:
    """A screen that nobody looks at."""

    def say(self, line: str, **about: object) -> None: ...

    def warn(self, line: str, **about: object) -> None: ...

    def start(self, what: str, rows: int) -> None: ...

    def advance(self, rows: int, news: int, rejected: int) -> None: ...

    def done(self) -> None: ...


class Overheard(Pipeline):
    """Lets somebody else write once, after the log was read to its end and before our event is sent."""

    meanwhile: Callable[[], Any] | None = None

    def read_on(self) -> bool:
        grown = super().read_on()
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return grown


@pytest.fixture
def connection(event_log: EventLog, topic_prefix: str) -> Connection:
    """To the test's log, on which two sheets are stated."""
    connection = Connection(event_log.kafka, TopicNames(topic_prefix))
    publish.create(event_log.kafka, connection.topics(), replication_factor=1)
    event_log.append([contest(), sheet(1), sheet(2)])
    return connection


def decide(connection: Connection, folder: Path, meanwhile: Callable[[], Any]) -> None:
    """Proposes, and confirms while somebody else writes. An ingest holds the archive, as on the night."""
    stop = threading.Event()
    with Archive(folder), Archive(folder, beside=True) as archive:
        with Pipeline(connection, archive, None, Quiet(), stop, following=WISH.unit) as pipeline:
            proposal, code = correct.propose(pipeline, archive, WISH, None)
        found, document = correct.proposed(archive, code)
        assert found == proposal
        with Overheard(connection, archive, None, Quiet(), stop, following=WISH.unit) as overheard:
            overheard.meanwhile = meanwhile
            correct.confirm(overheard, archive, found, document, "Luis", NOW)


def log(connection: Connection) -> list[CountUpdate]:
    """The updates on it."""
    reader = TopicReader(connection.kafka, connection.names.events, True, notice=lambda _: None)
    return [event for r in reader.to_end() if isinstance(event := decode(r.value, r.headers), CountUpdate)]


def test_another_statement_of_the_unit_that_comes_first_wins(
    connection: Connection, event_log: EventLog, totals: Database, tmp_path: Path
) -> None:
    first = log(connection)[0]
    rival = sheet(1, {"a": 11, "b": 20}, after=first, hours=13)
    with pytest.raises(Overtaken, match="has gone on since this was proposed"):
        decide(connection, tmp_path, lambda: event_log.append([rival]))
    ours = log(connection)[-1]
    assert (ours.kind, ours.sequence) == (UpdateKind.RETRACTED, rival.sequence), "sent in vain, and once"
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [21, 40]
    with psycopg.connect(totals.reader_url) as db:
        found = db.execute("SELECT code, log_offset FROM results.finding").fetchall()
    assert found == [("F401", 4)]


def test_another_statement_of_another_unit_does_no_harm(
    connection: Connection, event_log: EventLog, totals: Database, tmp_path: Path
) -> None:
    decide(connection, tmp_path, lambda: event_log.append([sheet(3)]))
    assert [event.kind for event in log(connection)].count(UpdateKind.RETRACTED) == 1
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert [s.votes for s in count.selections] == [20, 40]
    assert count.sub_units["counted"] == 2
