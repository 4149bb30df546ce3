"""Serve the metrics of a running ingest (docs/metrics.md), whether it is live, and whether it has caught up.

Place in the flow: beside it; `pipeline` and `watch` report facts to it, and the endpoint's thread only reads. Counters
begin at 0 with each process; the times of the last update and heartbeat are read from the log with everything else.
"""

import time
from collections.abc import Collection, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.feeds.statement import Rejection
from ingest.listener import Latest, Listener
from runtime.health import Liveness
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.feed_status import FeedStatus
from schemas.rules import RULES, Finding
from schemas.types import UpdateKind


class Metrics(Listener):
    """Count a run's facts. Labels are bounded: `contest` by what is loaded, `kind` and `code` by the contract."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.liveness = Liveness()
        self._looked = self._lost = False
        self._pending_documents = 0
        self._latest: dict[tuple[Gauge, str], datetime] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"escrutinio_ingest_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"escrutinio_ingest_{name}", text, labels, registry=registry)

        self._published = counter("events_published_total", "Events put on the log.", "contest", "kind")
        self._findings = counter("findings_total", "Findings in published events.", "code")
        self._rejections = counter("rejected_total", "Rows and documents rejected.", "code")
        self._undelivered = counter(
            "undelivered_rejections_total", "Rejections that results.rejected does not take; they are in the log lines."
        )
        self._documents = counter("documents_total", "Documents fetched and kept.")
        self._looks = counter("looks_total", "Times the source was read, by result.", "result")
        self._source_up = gauge("source_up", "0 when the source could not be read at the last look, else 1.")
        self._fetch = gauge("last_successful_fetch_timestamp_seconds", "When the source was last read.")
        self._log_up = gauge("log_up", "1 while the log is read to its end and can be written, else 0.")
        self._reconnections = counter(
            "reconnections_total", "Times the connection to a part was lost and had to be made again.", "part"
        )
        self._waits = gauge(
            "counting_level_waits",
            "1 while every unit of the next counting level is stated and official statements contradict its sum.",
            "contest",
        )
        self._pending = gauge("pending_documents", "Documents in the source that are not loaded yet.")
        self._awaited = gauge("awaited_tables", "Tables that are still missing from the office's publications.")
        self._reported = gauge(
            "last_update_reported_timestamp_seconds", "The latest time that the office states in an update.", "contest"
        )
        self._observed = gauge("last_update_observed_timestamp_seconds", "When an update last came.", "contest")
        self._heartbeats = counter("heartbeats_total", "Times the office repeated itself.", "contest")
        self._heard = gauge("last_heartbeat_timestamp_seconds", "When the office last repeated itself.", "contest")
        for result in ("ok", "failed"):
            self._looks.labels(result)
        self._reconnections.labels("kafka")
        for code in RULES:  # from 0 on: the first of a series that begins with it is no increase
            if code[1] in "23":
                self._rejections.labels(code)
            elif code[1] == "1":
                self._findings.labels(code)
        self._source_up.set(1)  # nothing has failed before the first look

    def not_ready(self) -> str | None:
        """Say why not everything in the source is on the log; None when it is."""
        if not self._looked:
            return "the source was not read yet"
        if self._pending_documents:
            return f"{self._pending_documents:,} documents in the source are not loaded yet"
        return None

    def read_back(self, read: Latest | FeedStatus) -> None:
        """Note the times; the process that published it has counted it."""
        if isinstance(read, FeedStatus):
            self._later(self._heard, read.contest_id, read.observed_at)
            return
        self._later(self._observed, read.contest_id, read.observed_at)
        self._later(self._reported, read.contest_id, read.reported_at)

    def waiting(self, reason: str) -> None:
        """Record a problem; the first of several failures in a row counts as a lost connection."""
        self.liveness.record_problem(reason)
        self._log_up.set(0)
        if not self._lost:
            self._lost = True
            self._reconnections.labels("kafka").inc()

    def advanced(self) -> None:
        """Record progress."""
        self.liveness.record_progress()
        self._log_up.set(1)
        self._lost = False

    def looked(self, fault: str | None) -> None:
        """Count the look; record a problem when the source cannot be read."""
        self._looks.labels("ok" if fault is None else "failed").inc()
        self._source_up.set(fault is None)
        if fault is not None:
            self.liveness.record_problem(fault)
            return
        self._fetch.set(time.time())

    def pending(self, documents: int) -> None:
        """Set the number of documents that are not loaded; the look is finished."""
        self._looked, self._pending_documents = True, documents
        self._pending.set(documents)

    def awaited(self, tables: int) -> None:
        """Set the number of missing tables. That is no problem of ours: the office has not published them."""
        self._awaited.set(tables)

    def fetched(self) -> None:
        """Count a document."""
        self._documents.inc()
        self._fetch.set(time.time())

    def defined(self, definition: ContestDefined) -> None:
        """Count a definition, which is an event too."""
        self._published.labels(definition.contest_id, "DEFINED").inc()

    def enrolled(self, contest_id: str, parts: int) -> None:
        """Count the parts of a roll, which are events too."""
        self._published.labels(contest_id, "ENROLLED").inc(parts)

    def waits(self, contest_id: str, contradicted: bool) -> None:
        """Say whether the counting level waits for an operator."""
        self._waits.labels(contest_id).set(contradicted)

    def published(
        self,
        kinds: Mapping[UpdateKind, int],
        latest: Latest | None,
        findings: Collection[tuple[CountUpdate, Finding]],
        heartbeats: Collection[FeedStatus],
    ) -> None:
        """Count what is new on the log."""
        if latest is not None:
            self.read_back(latest)
            for kind, number in kinds.items():
                self._published.labels(latest.contest_id, kind.value).inc(number)
        for _, finding in findings:
            self._findings.labels(finding.code).inc()
        for heartbeat in heartbeats:
            self._heartbeats.labels(heartbeat.contest_id).inc()
            self.read_back(heartbeat)

    def rejected(self, rejections: Collection[Rejection]) -> None:
        """Count what is new in `results.rejected`."""
        for rejection in rejections:
            counted = self._rejections if rejection.finding.rejects else self._findings
            counted.labels(rejection.finding.code).inc(rejection.rows)

    def undelivered(self, rejections: int) -> None:
        """Count what is rejected, but is not in `results.rejected`."""
        self._undelivered.inc(rejections)

    def _later(self, gauge: Gauge, contest: str, at: datetime | None) -> None:
        known = self._latest.get((gauge, contest))
        if at is not None and (known is None or at > known):
            self._latest[gauge, contest] = at
            gauge.labels(contest).set(at.timestamp())
