"""A crowd of clients in one process: some follow the stream, some poll one address; and what each of them saw.

`python -m tests.bench.crowd --port N …` prints one JSON object. It ends once every follower has the last update.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

_COUNT = b"\nevent: count\ndata: "
_CHANGE, _ID, _WHEN = b"\nevent: change\n", b"\nid: ", b'"recorded_at":"'
_PATIENCE_S = 600.0


class Follower(asyncio.Protocol):
    """Follows the stream of an address. It comes back with its last id, as a browser does."""

    def __init__(self, crowd: Crowd, number: int, path: str) -> None:
        self.crowd, self.path, self.is_timed = crowd, path, number % crowd.timed == 0
        self.changes = self.doubled = self.bytes = 0
        self.offset = -1
        self.last = b""
        self.kept = b""
        self.count = b""
        """The last one."""
        self.first_at: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.kept = b""
        last = b"" if not self.last else b"Last-Event-ID: %b\r\n" % self.last
        transport.write(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (self.path.encode(), last))

    def data_received(self, data: bytes) -> None:
        """Count what came, up to the last whole event."""
        now = time.time()
        self.bytes += len(data)
        whole, end, self.kept = (self.kept + data).rpartition(b"\n\n")
        whole += end
        if self.first_at is None and b"event: " in whole:
            self.first_at = now
            self.crowd.begun.release()
        whole = b"\n" + whole
        self.changes += whole.count(_CHANGE)
        if (at := whole.rfind(_ID)) >= 0:
            self.last = whole[at + len(_ID) : whole.index(b"\n", at + 1)]
        if (at := whole.rfind(_COUNT)) >= 0:
            self.count = whole[at + len(_COUNT) : whole.index(b"\n", at + len(_COUNT))]
        if self.is_timed:
            for offset, when in _updates(whole):
                self.doubled += offset <= self.offset
                self.offset = offset
                self.crowd.delays.append(now - when)

    def connection_lost(self, _: Exception | None) -> None:
        """Come back."""
        self.crowd.lost += 1
        if not self.crowd.is_over:
            self.crowd.connect(self)


def _updates(whole: bytes) -> Iterator[tuple[int, float]]:
    """Yield offset and log time of each update."""
    for event in whole.split(b"\n\n"):
        event = b"\n" + event.lstrip(b"\n")
        if _CHANGE in event:
            at, when = event.index(_ID) + len(_ID), event.index(_WHEN) + len(_WHEN)
            text = event[when : event.index(b'"', when)].decode()
            yield int(event[at : event.index(b"\n", at)]), datetime.fromisoformat(text).timestamp()


class Crowd:
    """All clients."""

    def __init__(self, port: int, timed: int) -> None:
        """`timed`: of every so many followers one reads when each update was on the log, which is work of the cores."""
        self.port, self.timed, self.is_over, self.lost = port, timed, False, 0
        self.begun = asyncio.Semaphore(0)
        self.delays: list[float] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    def connect(self, follower: Follower) -> None:
        """Connect a follower, trying until it is answered."""

        async def connect() -> None:
            while True:
                try:
                    await asyncio.get_running_loop().create_connection(lambda: follower, "127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(1)
                else:
                    return

        task = asyncio.ensure_future(connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def poll(port: int, path: str, every_s: float, until: float) -> list[float]:
    """Ask for an address, with the ETag that it had, and again; the seconds of each answer."""
    took: list[float] = []
    tag = b""
    while time.time() < until:
        with suppress(OSError, EOFError):
            tag = await _poll_on(port, path, every_s, until, tag, took)
        await asyncio.sleep(0.1)
    return took


async def _poll_on(port: int, path: str, every_s: float, until: float, tag: bytes, took: list[float]) -> bytes:
    """Ask over one connection. Returns the last ETag."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (begun := time.time()) < until:
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path.encode(), tag))
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await reader.readexactly(int(fields.get(b"content-length", b"0")) if b" 304 " not in head[:20] else 0)
        assert head[9:12] in (b"200", b"304", b"503"), head
        if b"etag" in fields:
            tag = b"If-None-Match: %b\r\n" % fields[b"etag"].replace(b'w/"', b'W/"')
        took.append(time.time() - begun)
        if every_s:
            await asyncio.sleep(max(0.0, begun + every_s - time.time()))
    writer.close()
    return tag


async def main(asked: argparse.Namespace) -> dict[str, Any]:
    """Let them all in, wait for what they are to see, and say what they saw."""
    crowd, begun = Crowd(asked.port, asked.timed), time.time()
    followers = [Follower(crowd, n, asked.follow) for n in range(asked.followers)]
    for follower in followers:
        crowd.connect(follower)
        await asyncio.sleep(0.001)
    for _ in followers:
        await crowd.begun.acquire()
    let_in_s = time.time() - begun
    print("begun", flush=True)
    until = time.time() + asked.seconds
    polls = [asyncio.create_task(poll(asked.port, asked.poll, asked.every, until)) for _ in range(asked.pollers)]
    polled = sorted(second for of in await asyncio.gather(*polls) for second in of)
    deadline = time.time() + _PATIENCE_S
    while any(f.changes < asked.changes for f in followers) and time.time() < deadline:
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)
    crowd.is_over = True
    delays = sorted(crowd.delays)
    return {
        "followers": len(followers), "let_in_s": let_in_s, "came_back": crowd.lost,
        "missed_or_doubled": sum(f.changes != asked.changes or f.doubled > 0 for f in followers),
        "counts": [json.loads(count) for count in {f.count for f in followers}],
        "changes": sum(f.changes for f in followers), "bytes": sum(f.bytes for f in followers),
        "p50_ms": share(delays, 50), "p99_ms": share(delays, 99), "max_ms": share(delays, 100),
        "polls": len(polled), "polls_a_second": len(polled) / asked.seconds,
        "poll_p50_ms": share(polled, 50), "poll_p99_ms": share(polled, 99),
        "cpu_s": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
    }  # fmt: skip


def share(ordered: list[float], percent: int) -> float | None:
    """Return the milliseconds that so many percent of some seconds do not exceed."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000 if ordered else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--follow", default="/v1/contests/pe-2021-night-1/stream")
    parser.add_argument("--changes", type=int, default=0, help="how many each follower is to see")
    parser.add_argument("--timed", type=int, default=20, help="of so many followers one looks at every offset and time")
    parser.add_argument("--pollers", type=int, default=0)
    parser.add_argument("--poll", default="/v1/contests/pe-2021-night-1/counts")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two polls of a client; 0: none")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which they poll")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print(json.dumps(asyncio.run(main(parser.parse_args()))))
