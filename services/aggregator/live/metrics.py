"""What the aggregator can be asked while it runs: its metrics (docs/metrics.md), whether it gets on, whether it has caught up.

Place in the flow: beside it. `consume` tells it what was read and committed, it takes that down in numbers, and the
endpoint's thread only reads those: a scrape asks neither Kafka nor PostgreSQL. Counters begin at 0 with each process; what
stands in the tables (blocked contests, parked messages, the official time) is told when a partition is loaded.

**Lag in seconds** is the age of the oldest event that is not committed. Of a message in hand it is exact, by the broker's
time. Of one that is only known to be there it is counted from the last moment at which everything was committed, or from the
time of the last event that is: never too small, and too large by the time between two looks at the log's end at most, except
at the start after a pause.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.fold.fold import ContestState
from aggregator.live.listener import Listener
from aggregator.live.partition import PartitionFold
from aggregator.replay.answer import of_state
from aggregator.tables.batch import Batch, Cursor
from results.count import NothingCounted
from runtime.health import Liveness
from schemas.count_update import CountUpdate
from schemas.log_record import RawRecord
from schemas.rules import RULES

READY_LAG_S = 10.0
"""Caught up is: nothing older than this is uncommitted. Not "nothing": on the night there is always an event on its way."""

UNDEFINED = "undefined"
"""The contest of events whose contest was never defined: their ids are anybody's, and not to become labels."""

PARTS = ("kafka", "postgres")


@dataclass(frozen=True, slots=True)
class _Contest:
    """What is told of a contest's state."""

    last_reported_s: float | None
    apart_s: float | None
    differences: Mapping[str, int]
    """Between our sum of the contest and the office's statement nearest in time, computed − official, by figure."""

    @classmethod
    def of(cls, state: ContestState) -> "_Contest":
        at = state.last_reported_at
        try:
            official = of_state(state, None, None).official
        except NothingCounted:
            official = None
        return cls(
            at.timestamp() if at is not None else None,
            official.seconds_apart if official is not None else None,
            official.differences if official is not None else {},
        )


@dataclass(slots=True)
class _Place:
    """A partition in hand."""

    committed: int
    since_s: float
    """No uncommitted event is older than this; in seconds since 1970, as the broker's times."""
    end: int | None = None
    contests: dict[str, _Contest] = field(default_factory=dict)
    blocked: frozenset[str] = frozenset()
    parked: Tally[str] = field(default_factory=Tally)

    @property
    def lag_events(self) -> int | None:
        return None if self.end is None else max(self.end - self.committed, 0)

    def lag_s(self, now_s: float) -> float | None:
        lag = self.lag_events
        return None if lag is None else max(now_s - self.since_s, 0.0) if lag else 0.0


class Metrics(Listener, Collector):
    """Labels are bounded: `partition` and `contest` by what the operator made, `kind`, `code` and `figure` by the contract."""

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
        self._mismatches = counter(
            "digest_mismatches_total", "Times the tables were found not to be what was committed."
        )
        self._reconnections = counter("reconnections_total", "Times a part was lost, and reached anew.", "part")
        self._up = Gauge(
            "escrutinio_aggregator_part_up",
            "0 from when a part does not answer until it does, else 1.",
            ["part"],
            registry=registry,
        )
        self._progress = Gauge(
            "escrutinio_aggregator_last_progress_timestamp_seconds",
            "When the log was last read and all that came was committed.",
            registry=registry,
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
        for code in RULES:  # from 0 on: the first of a series that begins with it is no increase
            self._findings.labels(code)
        for part in PARTS:
            self._reconnections.labels(part)
            self._up.labels(part).set(1)
        registry.register(self)

    # --- told by the run

    def loaded(self, cursor: Cursor, fold: PartitionFold, parked: Mapping[str, int]) -> None:
        """A partition is ours: what its tables say."""
        last = [state.last_recorded_at.timestamp() for state in fold.states.values() if state.last_recorded_at]
        place = _Place(cursor.next_offset, max(last, default=self._now_s()), parked=Tally(parked))
        self._take(place, fold.states, fold.blocked)
        self._places[cursor.partition] = place
        self.liveness.record_progress()

    def holds(self, partitions: Collection[int]) -> None:
        """Other members of the group tell of the others from now on; also of those that were lost with a connection."""
        for partition in self._places.keys() - set(partitions):
            del self._places[partition]

    def read(self, records: Sequence[RawRecord]) -> None:
        """In hand, and not committed."""
        for record in reversed(records):  # so that the first of each partition is the last to be said
            place = self._places[record.partition]
            place.since_s = record.timestamp_ms / 1000
            place.end = max(place.end or 0, record.offset + 1)
        self.liveness.record_progress()

    def committed(self, cursor: Cursor, records: Sequence[RawRecord], batch: Batch, seconds: float) -> None:
        """Counts what the batch brought."""
        self._commit.observe(seconds)
        self._batch.observe(len(records))
        kinds: Tally[tuple[str, str]] = Tally()
        for step in batch.steps:
            event = step.recorded.event
            is_defined = batch.states[event.contest_id].definition is not None
            kind = event.kind.value if isinstance(event, CountUpdate) else "DEFINED"
            kinds[event.contest_id if is_defined else UNDEFINED, kind] += 1
            for finding in step.findings:
                self._findings.labels(finding.code).inc()
        for run in filter(len, batch.runs):  # all of a contest that is defined, and nothing else is in columns
            kinds[run.contest_id, "REPORTED"] += len(run)
        for labels, number in kinds.items():
            self._folded.labels(*labels).inc(number)
        place = self._places[cursor.partition]
        place.parked += Tally(parked.contest_id for parked in batch.parked)
        self._take(place, batch.states, batch.blocked)
        place.since_s = records[-1].timestamp_ms / 1000
        place.committed = cursor.next_offset
        self.liveness.record_progress()

    def ends(self, ends: Mapping[int, int]) -> None:
        """How far the log goes, asked a moment ago."""
        for partition, place in self._places.items():
            if partition in ends:
                place.end = ends[partition]
                if place.committed >= place.end:
                    place.since_s = self._now_s()

    def alive(self) -> None:
        """Both parts have answered, and what came is committed."""
        self._is_alive = True
        for part in self._lost:
            self._up.labels(part).set(1)
        self._lost.clear()
        self._progress.set(self._now_s())
        self.liveness.record_progress()

    def lost(self, part: str, reason: str) -> None:
        """Hinders the work; the first of a row of failures is a connection lost."""
        if part not in self._lost:
            self._lost.add(part)
            self._reconnections.labels(part).inc()
            self._up.labels(part).set(0)
        self._is_alive = False
        self.liveness.record_problem(reason)

    def changed_outside(self) -> None:
        """The tables are not what was committed. The run ends."""
        self._mismatches.inc()

    # --- asked by the endpoint

    def not_ready(self) -> str | None:
        """Why not everything on the log is committed; None when it is, but for what came in the last seconds."""
        if not self._is_alive:
            return "the log was not read to its end yet"
        now_s = self._now_s()
        for partition, place in sorted(self._places.items()):
            if (lag_s := place.lag_s(now_s)) is not None and lag_s > READY_LAG_S:
                return f"partition {partition} is {place.lag_events:,} events and {lag_s:.0f} s behind the log"
        return None

    def collect(self) -> Iterator[Metric]:
        """The families that come and go with partitions and contests."""
        now_s, places = self._now_s(), sorted(self._places.items())
        contests = [(c, place, told) for _, place in places for c, told in sorted(place.contests.items())]
        yield _family(
            "committed_offset",
            "The next offset to be aggregated.",
            "partition",
            ((str(p), place.committed) for p, place in places),
        )
        yield _family(
            "log_end_offset",
            "The offset that the next event will get.",
            "partition",
            ((str(p), place.end) for p, place in places),
        )
        yield _family(
            "lag_events",
            "Events on the log that are not committed.",
            "partition",
            ((str(p), place.lag_events) for p, place in places),
        )
        yield _family(
            "lag_seconds",
            "Age of the oldest event that is not committed; 0 when all are.",
            "partition",
            ((str(p), place.lag_s(now_s)) for p, place in places),
        )
        yield _family(
            "last_update_reported_timestamp_seconds",
            "The latest time that the office states in a committed update.",
            "contest",
            ((c, told.last_reported_s) for c, _, told in contests),
        )
        yield _family(
            "contest_blocked",
            "1 when a message of the contest cannot be read and it stands still, else 0.",
            "contest",
            ((c, c in place.blocked) for c, place, _ in contests),
        )
        yield _family(
            "parked_messages",
            "Messages that wait with the one that blocked their contest.",
            "contest",
            ((c, place.parked[c]) for c, place, _ in contests),
        )
        unattributed = GaugeMetricFamily(
            "escrutinio_aggregator_unattributed_messages", "Parked messages that belong to no contest there is."
        )
        unattributed.add_metric(
            [], sum(n for _, place in places for c, n in list(place.parked.items()) if c not in place.contests)
        )
        yield unattributed
        yield _family(
            "reconciliation_apart_seconds",
            "Between our sum of a contest and the office's statement that it is compared with.",
            "contest",
            ((c, told.apart_s) for c, _, told in contests),
        )
        differences = GaugeMetricFamily(
            "escrutinio_aggregator_reconciliation_difference",
            "Between our sum of a contest and the office's statement nearest in time, without its sign.",
            labels=["contest", "figure"],
        )
        for contest_id, _, told in contests:
            for figure, difference in told.differences.items():
                differences.add_metric([contest_id, figure], abs(difference))
        yield differences

    def _take(self, place: _Place, states: Mapping[str, ContestState], blocked: Mapping[str, tuple[int, str]]) -> None:
        place.blocked = frozenset(blocked)
        place.contests |= {c: _Contest.of(state) for c, state in states.items() if state.definition is not None}


def _family(name: str, text: str, label: str, values: Iterable[tuple[str, float | None]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"escrutinio_aggregator_{name}", text, labels=[label])
    for of, value in values:
        if value is not None:
            family.add_metric([of], value)
    return family
