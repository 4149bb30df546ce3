"""Limit how often one asks, and how many streams one follows: by address, or by the key that the operator gave out.

Place in the flow: before everything under `/v1`. Each address has a bucket that refills evenly; whoever empties it is
told when to ask again. A library would do the counting; what is ours is that memory stays bounded whatever addresses
come (GCRA: one number an address, the oldest forgotten), and that of IPv6 a network counts as one. A crash forgets the
counting. Keys are optional: they only raise the limit.
"""

import hashlib
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import RETRY_S, TOO_LONG, TOO_OFTEN, UNKNOWN_KEY, Problem, respond
from runtime.files import read_text
from schemas import toml
from schemas.errors import EscrutinioError

ADDRESSES = 100_000
"""Of which the counting is remembered, at most."""
STREAMS = 6
"""One may follow a stream at once for so many of the requests that one may send in a minute."""
WHO = "escrutinio.who"
"""Where a request's scope says whom it counts for."""
LONGEST_ADDRESS = 8_000
"""Bytes of path and query, at most."""


class KeysError(EscrutinioError):
    """The file of keys cannot be used."""


@dataclass(frozen=True)
class Rates:
    """Requests a minute, evenly; a fifth of them may come at once."""

    by_address: int = 600
    by_key: int = 6000
    keys: Mapping[str, str] = field(default_factory=dict)
    """Names by the SHA-256 of the key."""


def read_keys(file: Path) -> dict[str, str]:
    """Read `NAME = "sha256 of the key, in hex"`, a line for each newsroom. Raises KeysError."""
    try:
        found = toml.parse(read_text(file))
    except (OSError, ValueError) as error:
        raise KeysError(f"the file of keys {file} cannot be used: {error}") from error
    for name, digest in found.items():
        if not (isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise KeysError(f"{file}: {name} is not the SHA-256 of a key, 64 digits 0-9 a-f: printf KEY | sha256sum")
    return {digest: name for name, digest in found.items()}


class Buckets:
    """When each of many may ask again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at = OrderedDict[str, float]()

    def wait_s(self, who: str, a_minute: int) -> float:
        """Count a request. Returns 0 when it may be answered, else the seconds to wait."""
        now, each_s = self._clock(), 60 / a_minute
        full_at = max(self._full_at.get(who, now), now) + each_s
        if (wait_s := full_at - now - max(a_minute / 5, 1) * each_s) > 1e-9:
            return wait_s
        self._full_at[who] = full_at
        self._full_at.move_to_end(who)
        while len(self._full_at) > ADDRESSES:
            self._full_at.popitem(last=False)
        return 0


class Limits:
    """Refuse who asks too often, with a key that nobody gave out, or with an address of any length."""

    def __init__(self, app: ASGIApp, rates: Rates | None, buckets: Buckets | None = None) -> None:
        """`rates`: None on loopback, where nobody is limited."""
        self._app, self._rates, self._buckets = app, rates, buckets or Buckets()
        self._streams = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            who = scope[WHO] = self._check(scope)
        except Problem as problem:
            await respond(problem)(scope, receive, send)
            return
        if who is None or not scope["path"].endswith("/stream"):
            await self._app(scope, receive, send)
            return
        self._streams[who] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._streams[who] -= 1
            if not self._streams[who]:
                del self._streams[who]

    def _check(self, scope: Scope) -> str | None:
        """Return whom a request counts for; None: for nobody. Raises Problem."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
            raise Problem(TOO_LONG, f"path and query are longer than {LONGEST_ADDRESS} bytes")
        if self._rates is None:
            return None
        key = _key_of(scope)
        if key is None:
            who, a_minute = network_of(scope["client"]), self._rates.by_address
        elif (name := self._rates.keys.get(hashlib.sha256(key).hexdigest())) is not None:
            who, a_minute = f"key {name}", self._rates.by_key
        else:
            self._count(network_of(scope["client"]), self._rates.by_address)
            raise Problem(UNKNOWN_KEY)
        self._count(who, a_minute)
        most = max(a_minute // STREAMS, 1)
        if scope["path"].endswith("/stream") and self._streams[who] >= most:
            raise Problem(TOO_OFTEN, f"more than {most} streams at once", RETRY_S)
        return who

    def _count(self, who: str, a_minute: int) -> None:
        if (wait_s := self._buckets.wait_s(who, a_minute)) > 0:
            raise Problem(TOO_OFTEN, f"more than {a_minute} requests a minute", ceil(wait_s))


def _key_of(scope: Scope) -> bytes | None:
    """Return the key of a request: a spreadsheet and an EventSource can send no header."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return bytes(value)
    for part in scope["query_string"].split(b"&"):  # as bytes: `parse_qs` reads only ASCII of them
        name, _, value = part.partition(b"=")
        if name == b"key" and value:
            return unquote_to_bytes(value.replace(b"+", b" "))
    return None


def network_of(client: tuple[str, int] | None) -> str:
    """Return whom an address counts for: one household has a whole network of IPv6."""
    host = "" if client is None else client[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host
