"""Make the application: the answers of `/v1`, and the schema registry at all other addresses.

Place in the flow: between `server` and the routes. A crash loses the requests that are being answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import pages, problems
from api.answers import contests, counts, log, past, sheets, state
from api.answers.asked import Service, known_parameters
from api.caching import Memory, Unchanged, path_of
from api.database import Database
from api.limits import Limits, Rates
from api.metrics import Metrics
from api.positions import Positions
from api.registry.routes import failed as registry_failed
from api.registry.routes import registry_routes
from api.registry.schemas import Registry
from api.stream import routes as stream
from api.stream.feed import Feed
from schemas.errors import EscrutinioError

logger = logging.getLogger(__name__)

BEAT_S = 1.0
"""Seconds between two signs of life of the loop."""
ANSWERS = (contests.routes, sheets.routes, counts.routes, past.routes, log.routes, state.routes, stream.routes)


def make_app(
    registry: Registry, metrics: Metrics, reader_url: str | None = None, rates: Rates | None = None
) -> FastAPI:
    """Make the application.

    Args:
        reader_url: Of the views; without it, it is the schema registry alone.
        rates: How often one may ask under `/v1`; None: as often as they like.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work = [asyncio.create_task(_beat(metrics, service))]
        if service is not None:
            service.database.open()
            feed.open()
            work += [asyncio.create_task(of.follow()) for of in (service.positions, feed)]
        yield
        for task in work:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if service is not None:
            await asyncio.to_thread(service.database.close)
            await asyncio.to_thread(feed.close)

    service = None
    if reader_url is not None:
        service = Service(Positions(reader_url), Memory(), Database(reader_url, metrics.questions))
        of_stream = Database(reader_url, metrics.questions, connections=2)  # its own: no answer is waited for
        feed = Feed(service.positions, of_stream, metrics)
    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None if service is None else "/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send to whatever host the client named
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers=dict.fromkeys((EscrutinioError, HTTPException, RequestValidationError, Exception), _failed),
    )
    app.include_router(registry_routes(registry))
    if service is not None:
        app.state.service, app.state.feed = service, feed
        for routes in ANSWERS:
            app.include_router(routes, prefix="/v1", dependencies=[Depends(known_parameters)])
        app.include_router(pages.routes)
        app.openapi = partial(pages.document, app)  # type: ignore[method-assign]
        app.add_middleware(Unchanged, positions=service.positions, memory=service.memory)
        app.add_middleware(Limits, rates=rates)
    app.add_middleware(Edge, metrics=metrics)
    return app


async def _failed(request: Request, error: Exception) -> Response:
    """Answer a request that failed, in the form of what was asked."""
    return problems.respond(error) if request.url.path.startswith("/v1/") else registry_failed(error)


class Edge:
    """What holds for every request: it is counted; HEAD is GET without a body; `/v1` may be read from any origin."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head, is_v1 = scope["method"] == "HEAD", scope["path"].startswith("/v1/")
        has_begun, has_ended, status = False, False, 500

        async def answer(message: Message) -> None:
            nonlocal status, has_begun, has_ended
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                if is_v1:
                    MutableHeaders(scope=message).update(_ANY_ORIGIN)
            elif is_head:
                if has_ended:
                    return
                message, has_ended = {**message, "body": b"", "more_body": False}, True
            await send(message)

        inner = {**scope, "method": "GET"} if is_head else dict(scope)
        if is_v1:
            inner["path"] = path_of(scope["raw_path"].decode("latin-1"))
        try:
            if is_v1 and scope["method"] == "OPTIONS":
                await Response(status_code=204, headers=_PREFLIGHT)(inner, receive, answer)
            else:
                await self._app(inner, receive, answer)
        except Exception as error:  # a fault of ours, which is an answer as any other
            if has_begun or not is_v1:
                raise
            await problems.respond(error)(inner, receive, answer)
        finally:
            self._metrics.answered(_declared(inner, is_v1=is_v1), status)


def _declared(scope: Scope, *, is_v1: bool) -> str:
    """Return the path of a request as it is declared; routes that are included under a prefix know only their own."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "other"
    return f"/v1{path}" if is_v1 and not path.startswith("/v1/") else path


_ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After, Escrutinio-Offset, Escrutinio-Recorded-At, Escrutinio-Count,"
    " Escrutinio-Source",
    "X-Content-Type-Options": "nosniff",
}
_PREFLIGHT = {
    "Allow": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "If-None-Match, Last-Event-ID, X-Api-Key",
    "Access-Control-Max-Age": "86400",
}


async def _beat(metrics: Metrics, service: Service | None) -> None:
    while True:
        if service is None:
            metrics.alive()
        else:
            metrics.alive(service.positions.away, has_read=bool(service.positions.all()))
            metrics.waiting.set(service.database.waiting)
            metrics.remembered.set(service.memory.bytes)
        await asyncio.sleep(BEAT_S)
