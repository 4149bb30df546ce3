"""Metrics (docs/metrics.md), liveness and readiness of a running aggregator.

Place in the flow: beside it. `run` reports what was read and committed, this counts it, and the endpoint's thread only
reads the counts: a scrape queries neither Kafka nor PostgreSQL. Counters begin at 0 with each process; values of the
tables (blocked contests, parked messages, the official time) are read when a partition is loaded.

**Lag in seconds** is the age of the oldest event that is not committed. For a message already read it is exact, by the
broker's time. For one not read yet it is counted from the last moment at which everything was committed, or from the
time of the last committed event: never too small, and too large by at most the interval between two queries of the
log's end, except at the start after a pause.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.fold.evolve import ContestState
from aggregator.live.listener import Listener
from aggregator.live.partition import PartitionFold
from aggregator.replay.answer import of_state
from aggregator.tables.batch import Batch, Cursor
from results.count import NothingCounted
from runtime.health import Liveness
from schemas.columns.wire import instant
from schemas.log_record import RawRecord
from schemas.rules import RULES

READY_LAG_S = 10.0
"""Ready: no uncommitted event is older than this. Not zero: on the night an event is always on its way."""

UNDEFINED = "undefined"
"""Label of events whose contest was never defined: their ids are unchecked and must not become labels."""

PARTS = ("kafka", "postgres")


@dataclass(frozen=True, slots=True)
class _Contest:
    last_reported_s: float | None
    distance_s: float | None
    differences: Mapping[str, int]
    """Our sum of the contest minus the office's statement nearest in time, by figure."""
    beyond_expected: int
    """The most of any area."""

    @classmethod
    def of(cls, state: ContestState) -> "_Contest":
        at = instant(state.last_reported)
        try:
            count = of_state(state, None)
        except NothingCounted:
            count = None
        official = count.official if count is not None else None
        return cls(
            at.timestamp() if at is not None else None,
            official.seconds_apart if official is not None else None,
            official.differences if official is not None else {},
            max(state.beyond_expected().values(), default=0),
        )


@dataclass(slots=True)
class _Place:
    committed: int
    since_s: float
    """No uncommitted event is older than this; seconds since 1970, by the broker's clock."""
    end: int | None = None
    contests: dict[str, _Contest] = field(default_factory=dict)
    folded: dict[str, _Contest] = field(default_factory=dict)
    """Those of the batch that is being committed."""
    blocked: frozenset[str] = frozenset()
    is_unreadable: bool = False
    parked: Tally[str] = field(default_factory=Tally)

    @property
    def lag_events(self) -> int | None:
        return None if self.end is None else max(self.end - self.committed, 0)

    def lag_s(self, now_s: float) -> float | None:
        lag = self.lag_events
        return None if lag is None else max(now_s - self.since_s, 0.0) if lag else 0.0


class Metrics(Listener, Collector):
    """The metrics. Labels are bounded: `partition` and `contest` by the operator, all others by the contract."""

    def __init__(self, registry: CollectorRegistry, now_s: Callable[[], float] = time.time) -> None:
        self.liveness = Liveness()
        self._now_s = now_s
        self._places: dict[int, _Place] = {}
        self._is_alive = False
        self._lost: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"escrutinio_aggregator_{name}", text, labels, registry=registry)

        self._folded = counter("events_folded_total", "Events folded and committed.", "contest", "kind")
        self._findings = counter("findings_total", "Findings in committed events.", "code")
        self._mismatches = counter("digest_mismatches_total", "Times the tables were not what was committed.")
        self._reconnections = counter(
            "reconnections_total", "Times a part stopped answering and was connected again.", "part"
        )
        self._up = Gauge(
            "escrutinio_aggregator_part_up", "0 while a part does not answer, else 1.", ["part"], registry=registry
        )
        self._progress = Gauge(
            "escrutinio_aggregator_last_progress_timestamp_seconds",
            "Time at which the log was last read and everything read was committed.",
            registry=registry,
        )
        self._unsent = Gauge(
            "escrutinio_aggregator_unsent_messages", "Totals and notices that wait to be sent.", registry=registry
        )
        self._commit = Histogram(
            "escrutinio_aggregator_commit_duration_seconds",
            "Duration of one transaction.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
            registry=registry,
        )
        self._batch = Histogram(
            "escrutinio_aggregator_batch_events",
            "Events in one transaction.",
            buckets=(1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 20_000, 100_000),
            registry=registry,
        )
        for code in RULES:  # start each series at 0: Prometheus sees no increase in the first sample of a series
            self._findings.labels(code)
        for part in PARTS:
            self._reconnections.labels(part)
            self._up.labels(part).set(1)
        registry.register(self)

    # --- called by the run

    def loaded(self, cursor: Cursor, fold: PartitionFold, parked: Mapping[str, int]) -> None:
        """Start counting a partition from the values of its tables."""
        last = [at.timestamp() for state in fold.states.values() if (at := instant(state.last_recorded))]
        place = _Place(cursor.next_offset, max(last, default=self._now_s()), parked=Tally(parked))
        place.blocked, place.contests = frozenset(fold.blocked), _contests(fold.states)
        self._places[cursor.partition] = place
        self.liveness.record_progress()

    def holds(self, partitions: Collection[int]) -> None:
        """Forget all other partitions: the members that hold them export their metrics."""
        for partition in self._places.keys() - set(partitions):
            del self._places[partition]

    def read(self, records: Sequence[RawRecord]) -> None:
        """Note the oldest uncommitted record of each partition."""
        for record in reversed(records):  # the first record of each partition is set last
            place = self._places[record.partition]
            place.since_s = record.timestamp_ms / 1000
            place.end = max(place.end or 0, record.offset + 1)
        self.liveness.record_progress()

    def folded(self, partition: int, batch: Batch) -> None:
        """Note what the batch makes of its contests."""
        touched = {contest.contest_id: batch.states[contest.contest_id] for contest in batch.contests}
        self._places[partition].folded = _contests(touched)

    def committed(self, cursor: Cursor, batch: Batch, seconds: float) -> None:
        """Count a committed batch."""
        self._commit.observe(seconds)
        self._batch.observe(batch.events)
        for contest in batch.contests:
            label = contest.contest_id if contest.definition is not None else UNDEFINED
            for kind, number in contest.kinds.items():
                self._folded.labels(label, kind).inc(number)
            for found in contest.found:
                self._findings.labels(found.finding.code).inc()
        place = self._places[cursor.partition]
        place.parked += Tally(parked.contest_id for parked in batch.parked)
        place.blocked = frozenset(batch.blocked)
        place.contests |= place.folded
        place.since_s = batch.recorded / 1000
        place.committed = cursor.next_offset
        if place.end is not None:
            place.end = max(place.end, place.committed)
        place.is_unreadable = False
        self.liveness.record_progress()

    def unreadable(self, partition: int) -> None:
        """Note a partition that cannot be read beyond its cursor."""
        self._places[partition].is_unreadable = True

    def ends(self, ends: Mapping[int, int]) -> None:
        """Note the ends of the log."""
        for partition, place in self._places.items():
            if partition in ends:
                place.end = ends[partition]
                if place.committed >= place.end:
                    place.since_s = self._now_s()

    def unsent(self, messages: int) -> None:
        """Note how many totals and notices wait to be sent."""
        self._unsent.set(messages)

    def alive(self) -> None:
        """Note progress: both parts answer, and everything read is committed."""
        self._is_alive = True
        for part in self._lost:
            self._up.labels(part).set(1)
        self._lost.clear()
        self._progress.set(self._now_s())
        self.liveness.record_progress()

    def lost(self, part: str, reason: str) -> None:
        """Note a part that does not answer; repeated failures count as one lost connection."""
        if part not in self._lost:
            self._lost.add(part)
            self._reconnections.labels(part).inc()
            self._up.labels(part).set(0)
        self._is_alive = False
        self.liveness.record_problem(reason)

    def changed_outside(self) -> None:
        """Count tables that are not what was committed."""
        self._mismatches.inc()

    # --- called by the endpoint

    def not_ready(self) -> str | None:
        """Return why the aggregator has not caught up; None when only events of the last seconds are uncommitted."""
        if not self._is_alive:
            return "the log has not been read to its end yet"
        now_s = self._now_s()
        for partition, place in sorted(self._places.items()):
            if (lag_s := place.lag_s(now_s)) is not None and lag_s > READY_LAG_S:
                return f"partition {partition} is {place.lag_events:,} events and {lag_s:.0f} s behind the log"
        return None

    def collect(self) -> Iterator[Metric]:
        """Collect the metrics of partitions and contests."""
        now_s, places = self._now_s(), sorted(self._places.items())
        contests = [(c, place, contest) for _, place in places for c, contest in sorted(place.contests.items())]
        for name, text, values in (
            ("committed_offset", "Next offset to be aggregated.", [place.committed for _, place in places]),
            ("log_end_offset", "Offset that the next event will get.", [place.end for _, place in places]),
            ("lag_events", "Events on the log that are not committed.", [place.lag_events for _, place in places]),
            (
                "lag_seconds",
                "Age of the oldest event that is not committed; 0 when all are.",
                [place.lag_s(now_s) for _, place in places],
            ),
            (
                "partition_unreadable",
                "1 when the log cannot be read from the committed offset on, which blocks every contest of it, else 0.",
                [place.is_unreadable for _, place in places],
            ),
        ):
            yield _family(name, text, "partition", [str(p) for p, _ in places], values)
        for name, text, of_contests in (
            (
                "last_update_reported_timestamp_seconds",
                "Latest time that the office states in a committed update.",
                [contest.last_reported_s for _, _, contest in contests],
            ),
            (
                "contest_blocked",
                "1 when the contest is blocked by an unreadable message, else 0.",
                [c in place.blocked or place.is_unreadable for c, place, _ in contests],
            ),
            (
                "parked_messages",
                "Messages of a blocked contest that are parked.",
                [place.parked[c] for c, place, _ in contests],
            ),
            (
                "sheets_beyond_expected",
                "Tally sheets above the number that the contest's roll or definition expects: the most of any area.",
                [contest.beyond_expected for _, _, contest in contests],
            ),
            (
                "reconciliation_apart_seconds",
                "Seconds between our sum of a contest and the office's statement that it is compared with.",
                [contest.distance_s for _, _, contest in contests],
            ),
        ):
            yield _family(name, text, "contest", [c for c, _, _ in contests], of_contests)
        unattributed = GaugeMetricFamily(
            "escrutinio_aggregator_unattributed_messages", "Parked messages of no known contest."
        )
        unattributed.add_metric(
            [], sum(n for _, place in places for c, n in list(place.parked.items()) if c not in place.contests)
        )
        yield unattributed
        differences = GaugeMetricFamily(
            "escrutinio_aggregator_reconciliation_difference",
            "Absolute difference between our sum of a contest and the office's statement nearest in time.",
            labels=["contest", "figure"],
        )
        for contest_id, _, contest in contests:
            for figure, difference in contest.differences.items():
                differences.add_metric([contest_id, figure], abs(difference))
        yield differences


def _contests(states: Mapping[str, ContestState]) -> dict[str, _Contest]:
    return {c: _Contest.of(state) for c, state in states.items() if state.definition is not None}


def _family(
    name: str, text: str, label: str, labels: Sequence[str], values: Sequence[float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"escrutinio_aggregator_{name}", text, labels=[label])
    for of, value in zip(labels, values, strict=True):
        if value is not None:
            family.add_metric([of], value)
    return family
