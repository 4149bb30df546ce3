"""What is counted of the API's requests (docs/metrics.md), and whether it is alive."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from runtime.health import Liveness


class Metrics:
    """Requests by route and status. Both labels are bounded: the paths as they are declared, and HTTP's numbers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.liveness = Liveness()
        self._reason: str | None = "the API does not listen yet"
        self._requests = Counter(
            "escrutinio_api_requests", "Requests that were answered.", ["route", "status"], registry=registry
        )
        self.questions = Counter(
            "escrutinio_api_questions", "Questions that were asked of the database, for answers.", registry=registry
        )
        self.waiting = Gauge(
            "escrutinio_api_waiting", "Questions that wait for a connection to the database.", registry=registry
        )
        self.remembered = Gauge(
            "escrutinio_api_remembered_bytes", "Bytes of the answers that are kept in memory.", registry=registry
        )
        self._away = Gauge(
            "escrutinio_api_database_away", "1 while the database does not answer, else 0.", registry=registry
        )
        self.stream_clients = Gauge(
            "escrutinio_api_stream_clients", "Clients that follow the stream.", registry=registry
        )
        self.stream_dropped = Counter(
            "escrutinio_api_stream_dropped", "Clients of the stream that read too slowly.", registry=registry
        )

    def not_ready(self) -> str | None:
        """Return why the API does not answer yet; None when it does."""
        return self._reason

    def alive(self, away: str | None = None, *, has_read: bool = True) -> None:
        """Record that the loop which answers requests goes round.

        `away`: why the database does not answer; `has_read`: whether it ever did.
        """
        self._reason = None if has_read or away is None else away
        self._away.set(away is not None)
        self.liveness.record_progress()

    def answered(self, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
