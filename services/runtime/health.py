"""Serve a process's health over HTTP: `/metrics` (Prometheus), `/live`, `/ready`.

Place in the flow: beside it, on its own thread, which only reads what the work has recorded; a scrape queries neither
Kafka nor PostgreSQL. Nothing survives a crash: the next process counts from 0, as its start time shows.

- `/live`: 200 while the work makes progress; 503 and the reason while a problem stops it, or after too long without
  progress.
- `/ready`: 200 once it has caught up; 503 and the reason before.
"""

import json
import logging
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from runtime.settings import Address
from schemas.errors import EscrutinioError
from schemas.text import visible_json

logger = logging.getLogger(__name__)

STALL_S = 120.0
"""Seconds without progress after which a process is not live. A large document or contest needs tens of seconds."""

EXIT_DELAY_S = 30.0
"""Seconds for which a process that must end still serves the reason: longer than two scrapes, every 10 s."""


class HealthError(EscrutinioError):
    """The endpoint cannot listen at its address."""


class Liveness:
    """The work's record of its progress, or of the problem that stops it. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._recorded_s = time.monotonic()
        self._problem: str | None = None

    def record_progress(self) -> None:
        """Record that the work made progress: any problem is over."""
        self._recorded_s, self._problem = time.monotonic(), None

    def record_problem(self, reason: str) -> None:
        """Record the problem that stops the work."""
        self._recorded_s, self._problem = time.monotonic(), reason

    def not_live(self) -> str | None:
        """Return the reason why the work makes no progress; None while it does."""
        stalled_s = time.monotonic() - self._recorded_s
        if self._problem is None and stalled_s > STALL_S:
            return f"no progress for {stalled_s:.0f} s"
        return self._problem


Reason = Callable[[], str | None]
"""A check. Returns the reason why it fails, or None."""


def new_registry(service: str) -> CollectorRegistry:
    """Make a registry with the metrics of every process: its resources, start time and build."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("escrutinio_build", "Which release of which service this is; always 1.", registry=registry)
    build.info({"service": service, "version": _release(), "python": platform.python_version()})
    return registry


def _release() -> str:
    try:
        return version("escrutinio")
    except PackageNotFoundError:
        return "unknown"  # run from a checkout that was not installed


@contextmanager
def serve_health(
    address: Address | None, registry: CollectorRegistry, liveness: Liveness, not_ready: Reason, stop: threading.Event
) -> Iterator[None]:
    """Serve health at `address` while the work runs; with None, do nothing. Raises HealthError when it cannot listen.

    A fault that ends the work is served as the reason in `/live`, and by its class in a metric, for `EXIT_DELAY_S` or
    until `stop`, and then raised again: so a scrape sees the reason, and a supervisor does not restart in a tight loop.
    """
    if address is None:
        yield
        return
    try:
        server = _Server(address, registry, liveness.not_live, not_ready)
    except OSError as error:
        raise HealthError(
            f"cannot listen at {address.host}:{address.port}: {error.strerror or error}; "
            "give another address with --http"
        ) from error
    faults = Gauge("escrutinio_fault", "1 for the fault that ends this process.", ["fault"], registry=registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True)
    thread.start()
    logger.info("metrics and health at http://%s:%d", *server.server_address[:2])
    try:
        yield
    except EscrutinioError as fault:
        liveness.record_problem(str(fault))
        faults.labels(type(fault).__name__).set(1)
        if not stop.is_set():
            logger.critical("%s; ending in %.0f s", fault, EXIT_DELAY_S)
            stop.wait(EXIT_DELAY_S)
        raise
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, registry: CollectorRegistry, not_live: Reason, not_ready: Reason) -> None:
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        self.registry = registry
        self.checks: dict[str, Reason] = {"/live": not_live, "/ready": lambda: not_live() or not_ready()}
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log a request that failed, where the library prints it; one whose client went away is none."""
        if not isinstance(error := sys.exc_info()[1], OSError):
            logger.warning("a request for metrics or health failed: %r", error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # seconds, for a client that sends nothing

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.registry))
        elif (check := self.server.checks.get(path)) is not None:
            reason = check()
            answer = {"ok": True} if reason is None else {"ok": False, "reason": reason}
            content = visible_json(json.dumps(answer, ensure_ascii=False)).encode() + b"\n"
            self._answer(200 if reason is None else 503, "application/json", content)
        else:
            self._answer(404, "text/plain; charset=utf-8", b"the paths are /metrics, /live and /ready\n")

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a line for every probe would fill the log."""
