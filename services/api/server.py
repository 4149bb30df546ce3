"""Listen for the API's requests until stopped.

Place in the flow: between the network and `app`. SIGTERM ends it once the requests at hand are answered.

Nobody takes a connection for good: who does not send a whole request in time is hung up on, and who does not read what
was sent is given up by the kernel.
"""

import asyncio
import logging
import resource
import socket
import threading
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.settings import Address
from schemas.errors import EscrutinioError

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

GRACE_S = 10
"""Seconds for the requests at hand, once it is to stop."""

REQUEST_S = 15
"""Seconds in which a request has to come, from its first byte or the connection on."""
UNREAD_S = 30
"""Seconds for which a client may read nothing of what it is sent."""


class ServerError(EscrutinioError):
    """The API cannot listen at its address, or listens no longer."""


def serve(app: "FastAPI", address: Address, stop: threading.Event, proxies: str | None = None) -> None:
    """Answer requests at `address` until `stop`, with `proxies` believed. Raises ServerError.

    Whoever follows the stream is sent away first: the server waits for its connections.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:  # the latter for a host that can be no name
        reason = str(getattr(error, "strerror", None) or error).partition(" (while attempting")[0]
        raise ServerError(
            f"cannot listen at {address.host}:{address.port}: {reason}; give another address with --listen"
        ) from error
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each client of the stream is an open file
    with listening:
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_S * 1000)
        # The log is configured already; a client's broken request is no line of it.
        config = uvicorn.Config(
            app, log_config=None, log_level="error", access_log=False, server_header=False, http=InTime, ws="none",
            proxy_headers=proxies is not None, forwarded_allow_ips=proxies, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        server = _Server(config)
        # In a thread of its own, so that signals stay with `stopping`.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="api", daemon=True)
        thread.start()
        logger.info("the API answers at http://%s:%d", *listening.getsockname()[:2])
        while thread.is_alive() and not stop.wait(0.2):
            pass
        server.should_exit = True
        thread.join()
        if not stop.is_set():
            raise ServerError("the API has ended by itself; the lines of its log before this one say why")


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if (feed := getattr(self.config.app.state, "feed", None)) is not None:  # type: ignore[union-attr]
            feed.send_away()
        await super().shutdown(sockets)


class InTime(H11Protocol):
    """HTTP/1.1 with a client that has to send its request in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}  # for who has to give up a client
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, from the first byte on, until the request is there."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._in_time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; hang up where an answer is on its way: a second one cannot be sent, nor the rest."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._in_time()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
