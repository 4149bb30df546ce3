"""Keep answers by their ETag, so that polling costs nothing while nothing changes.

Place in the flow: between the client and the routes of one contest. The ETag of an answer names the address, the offset
of the contest's last event, the digest of its state there (another log has another), the layout, and this release.
While the contest stands there, `If-None-Match` is answered from `Positions` alone, and an answer that was given once is
given again from memory, without the database. An answer of a past offset (`at_offset`) keeps its ETag while the count
goes on, and so knows no log from another. A crash loses what is remembered.
"""

import asyncio
import gzip
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import version
from urllib.parse import parse_qsl, unquote

import brotli
from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.positions import Position, Positions

REMEMBERED_BYTES = 64 * 1024 * 1024
"""Of answers, in every encoding that was asked for, with their addresses."""
_ENTRY_BYTES = 1024
"""What an answer takes beside its bytes."""
SMALLEST = 512
"""Bytes from which on an answer is compressed."""
LIVE = "public, max-age=1, s-maxage=1, stale-while-revalidate=5, stale-if-error=86400"
"""A cache between us and readers asks once a second, and gives what it has while we are away."""
PAST = "public, max-age=3600, s-maxage=3600, stale-if-error=86400"
_CONTEST = re.compile(r"/v1/contests/([^/]+)(?:/|$)")
_OF_A_MOMENT = re.compile(r"/v1/contests/[^/]+/(?:counts|levels/[^/]+|areas/[^/]+\.csv|chart\.json)")
"""Paths that can be asked about a past offset; at any other `at_offset` means nothing."""
_NOTICES = re.compile(r"/v1/contests/[^/]+/notices")
_KEY = re.compile(r"(?:^|(?<=&))key=[^&]*&?")
_RELEASE = version("escrutinio")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as bytes: made once, given to everyone who asks while its ETag holds."""

    tag: str
    content: bytes
    media_type: str
    cache_control: str
    about: Mapping[str, str]
    """Headers that say what it is."""
    encoded: dict[str, bytes] = field(default_factory=dict)
    encoding: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """What is being compressed, once for all who ask."""

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.content) + sum(map(len, self.encoded.values()))


def address_of(scope: Scope) -> str:
    """Return what is asked for, without the key of who asks."""
    query = _KEY.sub("", scope["query_string"].decode("latin-1")).rstrip("&")
    return f"{scope['raw_path'].decode('latin-1')}?{query}"


def tag_of(address: str, position: Position) -> str:
    """Return the ETag of an address while the contest stands at a position. Weak: of every encoding."""
    path, at = unquote(address.partition("?")[0]), _at_offset(address)
    offset = position.offset if at is None else min(at, position.offset)
    told = position.notices if _NOTICES.fullmatch(path) else ""  # they come also without an update
    state = position.digest if at is None else ""
    what = f"{address} {state} {position.layout} {position.blocked} {told} {_RELEASE}".encode("utf-8", "surrogatepass")
    return f'W/"{offset}-{blake2b(what, digest_size=8).hexdigest()}"'


def cache_control(address: str, position: Position) -> str:
    """Return for how long an answer may be used: one of a past offset stays as it is while the count goes on."""
    at = _at_offset(address)
    return PAST if at is not None and at <= position.offset else LIVE


def _at_offset(address: str) -> int | None:
    """Return the past offset that an address asks about: of several the last, as the routes read it."""
    path, _, query = address.partition("?")
    if "at_offset" not in query or not _OF_A_MOMENT.fullmatch(unquote(path)):
        return None
    asked = dict(parse_qsl(query, keep_blank_values=True)).get("at_offset", "")
    return int(asked) if re.fullmatch("[0-9]{1,15}", asked) else None


@dataclass(slots=True)
class _Making:
    """An answer that is being made, and how many wait for it."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class Memory:
    """The answers that were given last, by address; and those that are being made, once for all who ask."""

    def __init__(self) -> None:
        self._kept = OrderedDict[str, Answer]()
        self.bytes = 0
        """Of the answers that are kept, and their addresses."""
        self._made: dict[tuple[str, str], _Making] = {}

    def find(self, address: str, tag: str) -> Answer | None:
        """Return the answer of an address, if it has this ETag."""
        if (answer := self._kept.get(address)) is None or answer.tag != tag:
            return None
        self._kept.move_to_end(address)
        return answer

    async def make(
        self, address: str, tag: str, make: Callable[[], Awaitable[Answer]], left: Awaitable[None]
    ) -> Answer | None:
        """Make an answer, or wait for the one that is being made, and keep it.

        `left` ends when the client has left: then it returns None, and where nobody else waits, nothing is made.
        """
        if (making := self._made.get((address, tag))) is None:
            making = self._made[address, tag] = _Making(asyncio.ensure_future(self._make(address, make)))
        making.waiting += 1
        leaving = asyncio.ensure_future(left)
        try:
            await asyncio.wait((making.task, leaving), return_when=asyncio.FIRST_COMPLETED)
            return making.task.result() if making.task.done() else None
        finally:
            leaving.cancel()
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()
                del self._made[address, tag]

    async def _make(self, address: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await make()
        self.keep(address, answer)
        return answer

    def keep(self, address: str, answer: Answer) -> None:
        """Keep an answer, and forget those that were not asked for longest."""
        if (before := self._kept.pop(address, None)) is not None:
            self.bytes -= _bytes_of(address, before)
        self._kept[address] = answer
        self.bytes += _bytes_of(address, answer)
        while self.bytes > REMEMBERED_BYTES:
            self.bytes -= _bytes_of(*self._kept.popitem(last=False))

    async def encode(self, address: str, answer: Answer, accepted: str) -> tuple[str | None, bytes]:
        """Return the encoding that the client accepts, and the answer in it: compressed once."""
        encoding = None if len(answer.content) < SMALLEST else encoding_of(accepted)
        if encoding is None:
            return None, answer.content
        if encoding not in answer.encoded:
            if encoding not in answer.encoding:
                answer.encoding[encoding] = asyncio.create_task(self._compress(address, answer, encoding))
            await asyncio.shield(answer.encoding[encoding])
        return encoding, answer.encoded[encoding]

    async def _compress(self, address: str, answer: Answer, encoding: str) -> None:
        try:
            compressed = await asyncio.to_thread(_COMPRESS[encoding], answer.content)
            answer.encoded[encoding] = compressed
            if self._kept.get(address) is answer:
                self.bytes += len(compressed)
        finally:
            del answer.encoding[encoding]

    async def respond(
        self, address: str, answer: Answer, headers: Mapping[bytes, bytes], state: Mapping[str, str]
    ) -> Response:
        """Return the response: the answer, or that the client has it already."""
        about = {"ETag": answer.tag, "Cache-Control": answer.cache_control, "Vary": "Accept-Encoding"}
        about |= {**answer.about, **state}
        if answer.tag in headers.get(b"if-none-match", b"").decode("latin-1"):
            return Response(status_code=304, headers=about)
        encoding, content = await self.encode(address, answer, headers.get(b"accept-encoding", b"").decode("latin-1"))
        if encoding is not None:
            about["Content-Encoding"] = encoding
        return Response(content, headers=about, media_type=answer.media_type)


def _bytes_of(address: str, answer: Answer) -> int:
    return len(address) + answer.size + _ENTRY_BYTES


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda content: brotli.compress(content, quality=5),
    "gzip": lambda content: gzip.compress(content, 6, mtime=0),
}


def encoding_of(accepted: str) -> str | None:
    """Return the best encoding that `Accept-Encoding` allows, of those that we have."""
    named = dict[str, bool]()
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        named[name.strip()] = not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return next((name for name in _COMPRESS if named.get(name, named.get("*", False))), None)


class Unchanged:
    """Answer from memory what was asked before, and with 304 who has it: before routing, and without the database."""

    def __init__(self, app: ASGIApp, positions: Positions, memory: Memory) -> None:
        self._app, self._positions, self._memory = app, positions, memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        response = await self._known(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        await (self._app if response is None else response)(scope, receive, send)

    async def _known(self, scope: Scope) -> Response | None:
        found = _CONTEST.match(scope["raw_path"].decode("latin-1"))
        if found is None or (position := self._positions.of(unquote(found[1]))) is None:
            return None
        address, headers = address_of(scope), dict(scope["headers"])
        tag = tag_of(address, position)
        if tag in headers.get(b"if-none-match", b"").decode("latin-1"):
            about = {"ETag": tag, "Cache-Control": cache_control(address, position), "Vary": "Accept-Encoding"}
            return Response(status_code=304, headers=about | state_of(self._positions, position))
        answer = self._memory.find(address, tag)
        if answer is None:
            return None
        return await self._memory.respond(address, answer, headers, state_of(self._positions, position))


def state_of(positions: Positions, position: Position | None) -> dict[str, str]:
    """Return the headers that say how fresh an answer can be: they change without the count."""
    if positions.away is not None:
        return {"Escrutinio-Count": "DATABASE-AWAY"}
    found = {
        "Escrutinio-Count": position and (position.count_state or ("BLOCKED" if position.blocked else None)),
        "Escrutinio-Source": position and position.source_state,
    }
    return {name: state for name, state in found.items() if state}
