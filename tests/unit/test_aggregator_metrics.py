"""The aggregator's metrics: lag by the broker's time, contests that were defined, our sums against the office's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from aggregator.live.metrics import Metrics
from aggregator.live.partition import PartitionFold
from aggregator.tables.batch import Batch, Cursor
from schemas.codec import encode
from schemas.identity import Event
from schemas.log_record import RawRecord
from schemas.types import ReportingUnitType
from tests.support.builders import CONTEST, STARTS, bulletin, contest, sheet

NOW_S = 1_800_000_000


def raw(offset: int, event: Event | bytes, *, age_s: float = 0, key: bytes = b"") -> RawRecord:
    """A message of the log, so many seconds old."""
    stamp = round((NOW_S - age_s) * 1000)
    if isinstance(event, bytes):
        return RawRecord(0, offset, stamp, key, event, [])
    message = encode(event)
    return RawRecord(0, offset, stamp, message.key, message.value, list(message.headers))


class Told:
    """Metrics of one partition, told as a run tells them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics, self.fold = Metrics(self.registry, lambda: NOW_S), PartitionFold()
        self.cursor = Cursor("log", 0, 0, 1)
        self.metrics.loaded(self.cursor, self.fold, {})

    def take(self, *records: RawRecord) -> Batch:
        """Reads and commits."""
        self.metrics.read(records)
        batch = self.fold.apply(list(records))
        self.cursor = Cursor("log", 0, batch.next_offset, 1)
        self.metrics.folded(0, batch)
        self.metrics.committed(self.cursor, batch, 0.01)
        return batch

    def value(self, name: str, **labels: str) -> float | None:
        """A sample."""
        return self.registry.get_sample_value(f"escrutinio_aggregator_{name}", labels)


def lag_s(told: Told) -> float:
    lag = told.value("lag_seconds", partition="0")
    assert lag is not None
    return lag


def test_lag_is_the_age_of_the_oldest_that_is_not_committed() -> None:
    told = Told()
    assert told.value("lag_events", partition="0") is None  # the end of the log is not known yet
    told.metrics.read([raw(0, contest(), age_s=500), raw(1, sheet(0), age_s=400)])
    assert told.value("lag_events", partition="0") == 2
    assert lag_s(told) == 500
    told.take(raw(0, contest(), age_s=500))
    assert told.value("lag_events", partition="0") == 1
    assert told.value("committed_offset", partition="0") == 1
    told.metrics.read([raw(1, sheet(0), age_s=400)])
    assert lag_s(told) == 400
    told.take(raw(1, sheet(0), age_s=400))
    assert (told.value("lag_events", partition="0"), lag_s(told)) == (0, 0)
    told.metrics.ends({0: 5})
    assert told.value("lag_events", partition="0") == 3


def test_what_came_after_everything_was_committed_is_not_older_than_that() -> None:
    told = Told()
    told.take(raw(0, contest(), age_s=5000))
    told.metrics.ends({0: 1})
    told.metrics.ends({0: 4})  # the database is away, and the log goes on
    assert told.value("lag_events", partition="0") == 3
    assert lag_s(told) == 0


def test_ready_is_a_lag_of_seconds_and_not_of_events() -> None:
    told = Told()
    assert told.metrics.not_ready() == "the log has not been read to its end yet"
    told.metrics.alive()
    told.metrics.ends({0: 0})
    assert told.metrics.not_ready() is None
    told.metrics.read([raw(0, contest(), age_s=10)])  # just come
    assert told.metrics.not_ready() is None
    told.metrics.read([raw(0, contest(), age_s=3600)])
    assert told.metrics.not_ready() == "partition 0 is 1 events and 3600 s behind the log"


def test_a_part_is_lost_once_however_often_it_does_not_answer() -> None:
    told = Told()
    for _ in range(3):
        told.metrics.lost("postgres", "PostgreSQL does not answer")
    assert (told.value("reconnections_total", part="postgres"), told.value("part_up", part="postgres")) == (1, 0)
    assert told.metrics.liveness.not_live() == "PostgreSQL does not answer"
    told.metrics.alive()
    assert (told.value("part_up", part="postgres"), told.metrics.liveness.not_live()) == (1, None)
    told.metrics.lost("postgres", "PostgreSQL does not answer")
    assert told.value("reconnections_total", part="postgres") == 2


def test_a_key_that_anybody_may_have_written_is_no_label() -> None:
    told = Told()
    told.take(
        raw(0, contest()),
        raw(1, b"?", key=b"made-up"),
        raw(2, b"?", key=b"made-up"),
        raw(3, sheet(0, contest_id="never-defined")),
        raw(4, b"?", key=CONTEST.encode()),
        raw(5, sheet(0)),
    )
    assert told.value("contest_blocked", contest=CONTEST) == 1
    assert told.value("parked_messages", contest=CONTEST) == 2
    assert told.value("unattributed_messages") == 2
    assert told.value("events_folded_total", contest="undefined", kind="REPORTED") == 1
    assert told.value("findings_total", code="F405") == 1
    text = str([(s.labels, s.value) for family in told.registry.collect() for s in family.samples])
    assert "made-up" not in text
    assert "never-defined" not in text


def test_what_was_parked_before_this_process_is_told_too() -> None:
    told = Told()
    told.take(raw(0, contest()))
    again = Metrics(registry := CollectorRegistry())
    again.loaded(told.cursor, PartitionFold(told.fold.states, {CONTEST: (9, "…")}), {CONTEST: 3, "made-up": 4})
    get = registry.get_sample_value
    assert get("escrutinio_aggregator_contest_blocked", {"contest": CONTEST}) == 1
    assert get("escrutinio_aggregator_parked_messages", {"contest": CONTEST}) == 3
    assert get("escrutinio_aggregator_unattributed_messages") == 4
    again.holds((0,))
    assert get("escrutinio_aggregator_contest_blocked", {"contest": CONTEST}) == 1
    again.holds(())
    assert get("escrutinio_aggregator_contest_blocked", {"contest": CONTEST}) is None


def test_our_sum_is_held_against_the_offices_without_its_sign() -> None:
    told = Told()
    told.take(raw(0, contest(level=(ReportingUnitType.PRECINCT,))), raw(1, sheet(0, {"a": 10, "b": 20})))
    assert told.value("reconciliation_apart_seconds", contest=CONTEST) is None
    told.take(raw(2, bulletin(17, 20, counted=1, hours=13)))
    assert told.value("reconciliation_difference", contest=CONTEST, figure="votes.a") == 7
    assert told.value("reconciliation_difference", contest=CONTEST, figure="votes.b") == 0
    assert told.value("reconciliation_apart_seconds", contest=CONTEST) == pytest.approx(3600)
    at = (STARTS + timedelta(hours=13)).timestamp()
    assert told.value("last_update_reported_timestamp_seconds", contest=CONTEST) == at


def test_what_follows_a_commit_is_not_older_than_the_last_that_it_took() -> None:
    told = Told()
    told.take(raw(0, contest(), age_s=500), raw(1, sheet(0), age_s=400))
    told.metrics.ends({0: 3})
    assert lag_s(told) == 400
