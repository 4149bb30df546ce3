"""An operator's correction, and somebody else who writes at the worst moment. Real broker, real tables."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest import operator
from ingest.errors import Overtaken
from ingest.news.proposal import Wish
from ingest.pipeline import Pipeline
from ingest.publish.connection import Connection
from ingest.publish.log_reader import TopicReader
from ingest.publish.publisher import create
from ingest.sources.archive import Archive
from schemas.codec import decode
from schemas.count_update import CountUpdate, UnitKey
from schemas.topics import TopicNames
from schemas.types import UpdateKind
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of
from tests.support.fix_ingest import Between, Quiet
from tests.support.fix_postgres import Database

NOW = datetime(2021, 6, 8, tzinfo=UTC)
WISH = Wish(
    unit=UnitKey("precinct", "000001"), kind=UpdateKind.RETRACTED, reason="of another district", authority="ONPE",
    operator="Ana", at=NOW,
)  # fmt: skip


@pytest.fixture
def connection(event_log: EventLog, topic_prefix: str) -> Connection:
    """To the test's log, on which two sheets are stated."""
    connection = Connection(event_log.kafka, TopicNames(topic_prefix))
    create(event_log.kafka, connection.all_topics(), replication_factor=1)
    event_log.append([contest(), sheet(1), sheet(2)])
    return connection


def decide(connection: Connection, folder: Path, meanwhile: Callable[[], Any]) -> None:
    """Propose, and confirm while another program writes. An ingest holds the archive, as on the night."""
    stop = threading.Event()
    with Archive(folder), Archive(folder, beside=True) as archive:
        with Pipeline(connection, archive, None, Quiet(), stop, following=WISH.unit) as pipeline:
            proposal, code = operator.propose(pipeline, archive, WISH, None)
        found, document = operator.proposed(archive, code)
        assert found == proposal
        with Pipeline(connection, archive, None, Between(meanwhile), stop, following=WISH.unit) as pipeline:
            operator.confirm(pipeline, archive, found, document, "Luis", NOW)


def log(connection: Connection) -> list[CountUpdate]:
    """The updates on it."""
    reader = TopicReader(connection.kafka, connection.names.events, True, notice=lambda _: None)
    return [event for r in reader.to_end() if isinstance(event := decode(r.value, r.headers), CountUpdate)]


def test_another_statement_of_the_unit_that_comes_first_wins(
    connection: Connection, event_log: EventLog, totals: Database, tmp_path: Path
) -> None:
    first = log(connection)[0]
    rival = sheet(1, {"a": 11, "b": 20}, after=first, hours=13)
    with pytest.raises(Overtaken, match="has changed since this was proposed"):
        decide(connection, tmp_path, lambda: event_log.append([rival]))
    ours = log(connection)[-1]
    assert (ours.kind, ours.sequence) == (UpdateKind.RETRACTED, rival.sequence), "sent in vain, and once"
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [21, 40]
    assert totals.read("SELECT code, log_offset FROM checking.finding") == [("F401", 4)]


def test_another_statement_of_another_unit_does_no_harm(
    connection: Connection, event_log: EventLog, totals: Database, tmp_path: Path
) -> None:
    decide(connection, tmp_path, lambda: event_log.append([sheet(3)]))
    assert [event.kind for event in log(connection)].count(UpdateKind.RETRACTED) == 1
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert [s.votes for s in count.selections] == [20, 40]
    assert count.sub_units["counted"] == 2
