"""Metrics (docs/metrics.md), liveness and readiness of a running mirror.

Place in the flow: beside it; `mirror` reports what it did, and the endpoint's thread only reads. Counters begin at 0
with each process; the offsets of the files are set once the log is known to be the one mirrored.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from backup.listener import Listener
from runtime.health import Liveness

PARTS = ("kafka", "folder")


class Metrics(Listener):
    """Labels are bounded: `topic` and `partition` by what the operator created."""

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
        self._records = counter("records_total", "Records written to disk.", *at)
        self._next = gauge("next_offset", "Next offset to be mirrored.", *at)
        self._end = gauge("log_end_offset", "Offset that the next record will get.", *at)
        self._lag = gauge("lag_events", "Records on the log that are not on disk.", *at)
        self._unreadable = gauge("partition_unreadable", "1 when the log cannot be read on, else 0.", *at)
        self._complete = gauge(
            "last_complete_timestamp_seconds", "Latest time up to which every record of the log is on disk."
        )
        self._up = gauge("part_up", "0 while a part does not answer, else 1.", "part")
        self._reconnections = counter(
            "reconnections_total", "Times a part stopped answering and was connected again.", "part"
        )
        for part in PARTS:
            self._up.labels(part).set(1)
            self._reconnections.labels(part)

    def not_ready(self) -> str | None:
        """Return why the mirror is not complete; None once it was complete in this process."""
        return None if self._is_whole else "the log has not been mirrored to its end yet"

    def begun(self, topic: str, next_offsets: Mapping[int, int]) -> None:
        """Start the counters at 0: Prometheus sees no increase in the first sample of a series."""
        for partition, offset in next_offsets.items():
            self._records.labels(topic, partition)
            self._unreadable.labels(topic, partition)
            self._next_offsets[topic, partition] = offset
            self._set(topic, partition)

    def ends(self, topic: str, ends: Mapping[int, int]) -> None:
        """Note the ends of the log."""
        for partition, end in ends.items():
            self._ends[topic, partition] = end
            self._set(topic, partition)

    def mirrored(self, topic: str, partition: int, next_offset: int, records: int) -> None:
        """Count records that were written."""
        self._records.labels(topic, partition).inc(records)
        self._unreadable.labels(topic, partition).set(0)
        self._next_offsets[topic, partition] = next_offset
        self._set(topic, partition)
        self._recovered()

    def unreadable(self, topic: str, partition: int) -> None:
        """Note a partition that cannot be read on. The mirror of all others goes on."""
        self._unreadable.labels(topic, partition).set(1)
        self._recovered()

    def whole(self, at_s: float) -> None:
        """Note that the mirror is complete."""
        self._is_whole = True
        self._complete.set(at_s)
        self._recovered()

    def lost(self, part: str, reason: str) -> None:
        """Note a part that does not answer; repeated failures count as one lost connection."""
        self.liveness.record_problem(reason)
        if part not in self._lost:
            self._lost.add(part)
            self._reconnections.labels(part).inc()
            self._up.labels(part).set(0)

    def _set(self, topic: str, partition: int) -> None:
        at = topic, partition
        self._next.labels(*at).set(self._next_offsets[at])
        if at in self._ends:
            self._end.labels(*at).set(self._ends[at])
            self._lag.labels(*at).set(max(self._ends[at] - self._next_offsets[at], 0))

    def _recovered(self) -> None:
        for part in self._lost:
            self._up.labels(part).set(1)
        self._lost.clear()
        self.liveness.record_progress()
