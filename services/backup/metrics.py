"""What a mirror can be asked while it runs: its metrics (docs/metrics.md), whether it gets on, whether it is whole.

Place in the flow: beside it; `mirror` tells it what it did, and the endpoint's thread only reads. Counters begin at 0 with each
process; what is in the files is told when the log was found to be the one they are of.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from backup.listener import Listener
from runtime.health import Liveness

PARTS = ("kafka", "folder")


class Metrics(Listener):
    """Labels are bounded: `topic` and `partition` by what the operator made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.liveness = Liveness()
        self._is_whole = False
        self._lost: set[str] = set()
        self._next_offsets: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"escrutinio_mirror_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"escrutinio_mirror_{name}", text, labels, registry=registry)

        at = ("topic", "partition")
        self._records = counter("records_total", "Records brought to the disk.", *at)
        self._next = gauge("next_offset", "The next offset to be mirrored.", *at)
        self._end = gauge("log_end_offset", "The offset that the next record will get.", *at)
        self._lag = gauge("lag_events", "Records on the log that are not on the disk.", *at)
        self._complete = gauge(
            "last_complete_timestamp_seconds", "The latest time of which all that was on the log is on the disk."
        )
        self._up = gauge("part_up", "0 from when a part does not answer until it does, else 1.", "part")
        self._reconnections = counter("reconnections_total", "Times a part was lost, and reached anew.", "part")
        for part in PARTS:
            self._up.labels(part).set(1)
            self._reconnections.labels(part)

    def not_ready(self) -> str | None:
        """Why the mirror was never whole since this process began; None once it was."""
        return None if self._is_whole else "the log is not mirrored to its end yet"

    def begun(self, topic: str, next_offsets: Mapping[int, int]) -> None:
        """Its counters begin at 0: the first of a series that begins with it is no increase."""
        for partition, offset in next_offsets.items():
            self._records.labels(topic, partition)
            self._next_offsets[topic, partition] = offset
            self._tell(topic, partition)

    def ends(self, topic: str, ends: Mapping[int, int]) -> None:
        """How far the log goes, asked a moment ago."""
        for partition, end in ends.items():
            self._ends[topic, partition] = end
            self._tell(topic, partition)

    def mirrored(self, topic: str, partition: int, next_offset: int, records: int) -> None:
        """Log and folder have both done their part."""
        self._records.labels(topic, partition).inc(records)
        self._next_offsets[topic, partition] = next_offset
        self._tell(topic, partition)
        self._goes_on()

    def whole(self, at_s: float) -> None:
        """The only moment at which it is known."""
        self._is_whole = True
        self._complete.set(at_s)
        self._goes_on()

    def lost(self, part: str, reason: str) -> None:
        """Hinders the work; the first of a row of failures is a connection lost."""
        self.liveness.record_problem(reason)
        if part not in self._lost:
            self._lost.add(part)
            self._reconnections.labels(part).inc()
            self._up.labels(part).set(0)

    def _tell(self, topic: str, partition: int) -> None:
        at = topic, partition
        self._next.labels(*at).set(self._next_offsets[at])
        if at in self._ends:
            self._end.labels(*at).set(self._ends[at])
            self._lag.labels(*at).set(max(self._ends[at] - self._next_offsets[at], 0))

    def _goes_on(self) -> None:
        for part in self._lost:
            self._up.labels(part).set(1)
        self._lost.clear()
        self.liveness.record_progress()
