"""How a process is, for whoever asks over HTTP: `/metrics` (Prometheus), `/live`, `/ready`.

Place in the flow: beside it, on a thread of its own that only reads what the work has written down; a scrape asks neither
Kafka nor PostgreSQL. Nothing of it survives a crash: the next process counts from 0, and says so by its start time.

- `/live`: 200 while the work makes progress; 503 and the reason while something hinders it, or when nothing was heard of it
  for too long.
- `/ready`: 200 once it has caught up; 503 and the reason before.
"""

import json
import logging
import platform
import socket
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

logger = logging.getLogger(__name__)

SILENCE_S = 120.0
"""How long nothing may be heard of the work before it is taken to hang: a large document, or the state of a large contest,
takes tens of seconds."""

LINGER_S = 30.0
"""How long a process that must end goes on telling why: longer than two looks of Prometheus, every 10 s."""


class HealthError(EscrutinioError):
    """The endpoint cannot be opened where it was asked for."""


class Pulse:
    """What the work writes down of itself: that it goes on, or what hinders it. Times are this machine's monotonic clock."""

    def __init__(self) -> None:
        self._heard_s = time.monotonic()
        self._hindrance: str | None = None

    def beat(self) -> None:
        """The work got on: whatever hindered it is over."""
        self._heard_s, self._hindrance = time.monotonic(), None

    def hinder(self, reason: str) -> None:
        """The work waits for this."""
        self._heard_s, self._hindrance = time.monotonic(), reason

    def not_live(self) -> str | None:
        """Why the work does not get on; None while it does."""
        silent_s = time.monotonic() - self._heard_s
        if self._hindrance is None and silent_s > SILENCE_S:
            return f"nothing was heard of the work for {silent_s:.0f} s"
        return self._hindrance


Reason = Callable[[], str | None]
"""Asks whether something is not so: why, or None."""


def new_registry(service: str) -> CollectorRegistry:
    """A registry with what every process tells: its own resources and start, and which build it is."""
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
def serving(
    address: Address | None, registry: CollectorRegistry, pulse: Pulse, not_ready: Reason, stop: threading.Event
) -> Iterator[None]:
    """Answers at `address` while the work goes on; with None, not at all. Raises HealthError when it cannot listen there.

    A fault that ends the work is told as the reason for not being live, and by its name in a metric, for `LINGER_S`, or until
    `stop`, before it is raised on: so that who looks now and then sees why, and a process that is always started again does not do so at once.
    """
    if address is None:
        yield
        return
    try:
        server = _Server(address, registry, pulse.not_live, not_ready)
    except OSError as error:
        raise HealthError(
            f"cannot listen at {address.host}:{address.port}: {error.strerror or error}; name another with --http"
        ) from error
    ending = Gauge("escrutinio_fault", "1 while a process that must end tells why.", ["fault"], registry=registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True)
    thread.start()
    logger.info("metrics and health at http://%s:%d", *server.server_address[:2])
    try:
        yield
    except EscrutinioError as fault:
        pulse.hinder(str(fault))
        ending.labels(type(fault).__name__).set(1)
        if not stop.is_set():
            logger.critical("%s; ending in %.0f s", fault, LINGER_S)
            stop.wait(LINGER_S)
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
        self.asked: dict[str, Reason] = {"/live": not_live, "/ready": lambda: not_live() or not_ready()}
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # of a client that says nothing

    def do_GET(self) -> None:
        """The three things that can be asked."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.registry))
        elif (ask := self.server.asked.get(path)) is not None:
            reason = ask()
            told = {"ok": True} if reason is None else {"ok": False, "reason": reason}
            content = json.dumps(told, ensure_ascii=False).encode() + b"\n"
            self._answer(200 if reason is None else 503, "application/json", content)
        else:
            self._answer(404, "text/plain; charset=utf-8", b"ask for /metrics, /live or /ready\n")

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who is asked every few seconds would fill the log with it."""
