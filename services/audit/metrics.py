"""Metrics (docs/metrics.md), liveness and readiness of a running notary.

Place in the flow: beside it; `notary` reports what it did, and the endpoint's thread only reads.
"""

from prometheus_client import CollectorRegistry, Gauge

from runtime.health import Liveness


class Metrics:
    """Labels are bounded: `topic` and `partition` by what the operator created."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.liveness = Liveness()
        self._is_whole = False
        at = ("topic", "partition")
        self._size = Gauge("escrutinio_audit_signed_size", "Messages in the last checkpoint.", at, registry=registry)
        self._whole = Gauge(
            "escrutinio_audit_last_complete_timestamp_seconds", "Latest time up to which the whole log is signed.",
            registry=registry,
        )  # fmt: skip

    def not_ready(self) -> str | None:
        """Return why the log is not signed; None once it was in this process."""
        return None if self._is_whole else "the log has not been signed to its end yet"

    def compared(self) -> None:
        """Note that the notary is at work: reading a long log again takes a while."""
        self.liveness.record_progress()

    def signed(self, topic: str, partition: int, size: int) -> None:
        """Note how much of a partition is signed."""
        self._size.labels(topic, partition).set(size)

    def whole(self, at_s: float) -> None:
        """Note that all that the log had at a time (seconds since 1970) is signed."""
        self._is_whole = True
        self._whole.set(at_s)
        self.liveness.record_progress()

    def lost(self, reason: str) -> None:
        """Note that Kafka does not answer."""
        self.liveness.record_problem(reason)
