"""Answer with the stream: `/v1/stream`, and `/v1/contests/ID/stream`."""

import asyncio
import socket
import time
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from api.answers.asked import AreaId, ContestAsked, ContestId
from api.problems import INVALID, NOTHING_COUNTED, Problem, documented
from api.stream.chunks import Wanted
from api.stream.feed import Feed
from api.stream.follower import Follower
from results.count import NothingCounted

routes = APIRouter(tags=["Live"])

_ON_THE_WAY = 32 * 1024
"""Bytes that wait to be sent, in this process and in the kernel, before a client is waited for."""
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait for more
]
_SINCE = "Those after this id of an event. Default: from now on, beginning with the count."
_LAST = "The id of the last event that the client has, as browsers send it; before `since`."
_OFFSET = "(-1|[0-9]{1,15})"
_CURSOR: dict[str, Any] = {
    "max_length": 5000,
    "pattern": f"^({_OFFSET}|[0-9]{{1,9}}:{_OFFSET}(,[0-9]{{1,9}}:{_OFFSET})*)$",
}
Since = Annotated[str | None, Query(**_CURSOR, description=_SINCE)]
LastEventId = Annotated[str | None, Header(**_CURSOR, description=_LAST)]


class EventStream(Response):
    """The stream to one client."""

    media_type = "text/event-stream"

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client is gone. Raises NothingCounted, before anything is sent, for an unknown area."""
        follower = self._follower
        follower.transport = transport = scope.get("state", {}).get("transport")
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)
            transport.set_write_buffer_limits(high=_ON_THE_WAY)
        has_started, leaving = False, asyncio.create_task(_until_gone(receive, follower))
        try:
            async with aclosing(follower.messages()) as messages:
                async for content in messages:
                    follower.sending_since = time.monotonic()
                    if not has_started:
                        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                        has_started = True
                    await send({"type": "http.response.body", "body": content, "more_body": True})
                    follower.sending_since = None
        except NothingCounted:
            if not has_started:
                raise
            # It was told first that the database is away. It comes back, and is answered with the error then.
        finally:
            leaving.cancel()
        if has_started and not follower.is_gone:
            await send({"type": "http.response.body"})


async def _until_gone(receive: Receive, follower: Follower) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.leave()


async def feed_of(request: Request) -> Feed:
    """Return the feed."""
    return request.app.state.feed  # type: ignore[no-any-return]


Stream = Annotated[Feed, Depends(feed_of)]
_DOCUMENTED: dict[str, Any] = {
    "response_class": EventStream,
    "status_code": 200,  # or the document cannot be made
    "responses": {
        200: {
            "description": "Server-sent events: `change`, `count`, `not_counted`, `status`, `away`, `closing`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(NOTHING_COUNTED, INVALID),
    },
}


@routes.get("/contests/{contest_id}/stream", **_DOCUMENTED)
async def stream_of_contest(
    feed: Stream, contest_id: ContestId, area: AreaId = None, since: Since = None, last_event_id: LastEventId = None
) -> Response:
    """Follow a contest: every update in the order of the log, and the count of an area whenever it is another.

    An event's id is the offset of the log up to which the client has everything.
    """
    return _follow(feed, contest_id, area, last_event_id or since)


@routes.get("/stream", **_DOCUMENTED)
async def stream_of_all(
    feed: Stream,
    contest: ContestAsked = None,
    area: AreaId = None,
    since: Since = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Follow every contest as one is followed. An event's id has the offset in each partition, as `0:41,3:7`."""
    return _follow(feed, contest, area, last_event_id or since)


def _follow(feed: Feed, contest_id: str | None, area_id: str | None, given: str | None) -> EventStream:
    if contest_id is not None and feed.away is None and feed.position(contest_id) is None:
        raise NothingCounted(f"no contest {contest_id!r} has been counted here")
    if given is not None and (":" in given) is not (contest_id is None):
        form = "an offset for each partition, as 0:41,3:7" if contest_id is None else "an offset, as 41"
        raise Problem(INVALID, f"{given} is no id of this stream, which has {form}")
    cursor: int | dict[int, int] | None = None
    if given is not None:
        cursor = int(given) if contest_id is not None else dict(_offset(part) for part in given.split(","))
    return EventStream(Follower(feed, Wanted(contest_id, area_id), cursor))


def _offset(part: str) -> tuple[int, int]:
    partition, _, offset = part.partition(":")
    return int(partition), int(offset)
