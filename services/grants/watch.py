"""Count the consumer groups of each principal, as metrics (docs/metrics.md), until stopped.

Place in the flow: beside it. Kafka does not limit how many groups a principal makes; somebody has to be told. A process
of its own, with a principal that sees names alone: however many groups there are, no service that carries events reads
them. A crash loses nothing: the next process counts again.
"""

import logging
import threading
import time
from collections.abc import Mapping, Set

from prometheus_client import CollectorRegistry, Gauge

from grants.cluster import Cluster
from runtime.health import Liveness
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway

logger = logging.getLogger(__name__)

OTHER = "other"
"""The label of groups that are no principal's."""


class Metrics:
    """The counts of the last time. The label is bounded: the principals that are granted groups."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.liveness = Liveness()
        self._known: Set[str] = frozenset()
        self._reason: str | None = "consumer groups were not counted yet"
        self._groups = Gauge(
            "escrutinio_monitor_consumer_groups", "Consumer groups of a principal.", ["principal"], registry=registry
        )
        self._counted = Gauge(
            "escrutinio_monitor_last_count_timestamp_seconds", "When groups were last counted.", registry=registry
        )

    def not_ready(self) -> str | None:
        """Return why the counts are not current; None when they are."""
        return self._reason

    def counted(self, groups: Mapping[str, int]) -> None:
        """Set the counts. A principal that is no longer granted groups has none any more."""
        for gone in self._known - groups.keys():
            self._groups.remove(gone or OTHER)
        for principal, number in groups.items():
            self._groups.labels(principal or OTHER).set(number)
        self._known = groups.keys()
        self._counted.set(time.time())
        self._reason = None
        self.liveness.record_progress()

    def failed(self, reason: str) -> None:
        """Note why groups cannot be counted now."""
        self._reason = reason
        self.liveness.record_problem(reason)


def watch(kafka: KafkaAccess, metrics: Metrics, stop: threading.Event, every_s: float) -> None:
    """Count until stopped, waiting for a broker that is away. Raises AccessRefused and GrantsError."""
    while True:
        try:
            with Cluster(kafka) as cluster:
                metrics.counted(cluster.groups())
        except BrokerAway as fault:
            logger.warning("%s; trying again", fault)
            metrics.failed(str(fault))
        if stop.wait(every_s):
            return
