"""Go through the feed for one client: what it wants, from where it is, at the speed at which it reads.

Its cursor is the last offset that it has of each partition. It holds nothing of its own but that: a client that reads
slowly is behind in what all share, and further behind in pages of the tables.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence

from api.stream.chunks import Ids, Wanted, event
from api.stream.feed import Counted, Feed
from results.count import NothingCounted

CLIENTS = 5_000
"""Clients at once; who comes then is sent away for a while."""
LARGEST = 64 * 1024
"""Bytes of updates from which on what a client gets next is sent."""
RETRY_MS = 2_000
"""When a client comes back whose connection broke."""
CLOSING_MS = 5_000
"""When it comes back after it was sent away."""
_UNTOLD = object()


class Follower:
    """A client, and how far it is."""

    def __init__(self, feed: Feed, wanted: Wanted, cursor: int | dict[int, int] | None) -> None:
        """`cursor`: the last offset that it has, of one contest, or by partition; None: it begins with the count."""
        self.wanted = wanted
        self.awake = asyncio.Event()
        self.is_due = False
        self.is_gone = False
        self.sending_since: float | None = None
        self.transport: asyncio.Transport | None = None
        self._area_id: str | None = None
        self._feed, self._given = feed, cursor
        self._cursor: dict[int, int] = {}
        self._has_begun = False
        self._told: object = _UNTOLD
        self._sent: dict[Wanted, Counted] = {}

    def abandon(self) -> None:
        """Hang up on a client that does not read what it is sent."""
        if self.transport is not None:
            self.transport.abort()

    def leave(self) -> None:
        """End: the client is gone."""
        self.is_gone = True
        self.awake.set()

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield what to send, until the client is gone or sent away. Raises NothingCounted for an unknown area."""
        retry = b"retry: %d\n\n" % RETRY_MS
        async with self._feed.following(self):
            while not self.is_gone and not self._feed.is_closing and self._feed.clients <= CLIENTS:
                self.awake.clear()
                if (found := await self._next()) is None:
                    await self.awake.wait()
                else:
                    yield retry + found
                    retry = b""
        if not self.is_gone:
            yield b"retry: %d\n" % CLOSING_MS + event("closing", b'{"retry_ms":%d}' % CLOSING_MS)

    async def _next(self) -> bytes | None:
        """Return what comes next, some of it or all that there is; None: nothing yet."""
        parts: list[bytes] = []
        if (away := self._feed.away) != self._told:
            if away is not None:
                parts.append(event("away", json.dumps({"reason": away}, ensure_ascii=False).encode()))
            self.is_due |= away is None and self._told is not _UNTOLD
            self._told = away
        areas = self._feed.areas_of(self.wanted)
        if self._begin(areas):
            await self._add_changes(areas, parts)
            self._add_counts(areas, parts)
        if self.is_due and (self._has_begun or away is not None):
            self.is_due = False
            parts.append(self._id() + self._feed.status(self.wanted.contest_id))
        return b"".join(parts) if parts else None

    def _begin(self, areas: Sequence[tuple[int, Wanted]]) -> bool:
        """Begin once every area that the client wants was looked for; without a cursor, at its count.

        Raises NothingCounted where no contest has such an area.
        """
        if self._has_begun:
            return True
        if not areas or any(area not in self._feed.counts for _, area in areas):
            return False
        has_area = any(self._feed.counts[area].event for _, area in areas)
        if any(area in self._feed.stale for _, area in areas) and (self._given is None or not has_area):
            return False
        if not has_area:
            who = "no contest has an" if self.wanted.contest_id is None else f"contest {self.wanted.contest_id} has no"
            raise NothingCounted(f"{who} area {self.wanted.area_id!r}")
        if isinstance(self._given, int):
            self._cursor = {areas[0][0]: self._given}
        elif self._given is not None:
            self._cursor = self._given
        else:
            self._cursor = {partition: self._feed.lines[partition].end - 1 for partition, _ in areas}
        known = (self._feed.counts[area].area_id for _, area in areas)
        self._area_id = None if self.wanted.area_id is None else next(filter(None, known), None)
        self._has_begun = True
        return True

    async def _add_changes(self, areas: Sequence[tuple[int, Wanted]], parts: list[bytes]) -> None:
        wanted, size = Wanted(self.wanted.contest_id, self._area_id), 0
        for partition in dict(areas):
            while (after := self._cursor.setdefault(partition, -1)) + 1 < self._feed.lines[partition].end:
                if size > LARGEST or (chunk := await self._feed.chunk(partition, after + 1)) is None:
                    return
                found = chunk.written(wanted, after, self._ids(partition))
                self._cursor[partition] = chunk.end - 1
                if found:
                    parts.append(found)
                    size += len(found)
                else:
                    await asyncio.sleep(0)

    def _add_counts(self, areas: Sequence[tuple[int, Wanted]], parts: list[bytes]) -> None:
        """Add the counts that are others than the client has, where it has every update before them."""
        for partition, area in areas:
            counted = self._feed.counts.get(area)
            if counted is None or counted is self._sent.get(area) or area in self._feed.stale:
                continue
            if counted.next_offset <= self._cursor.get(partition, -1) + 1:
                self._sent[area] = counted
                if counted.event:
                    parts.append(self._id() + counted.event)

    def _ids(self, partition: int) -> Ids:
        if self.wanted.contest_id is not None:
            return Ids()
        before = "".join(f"{p}:{self._cursor[p]}," for p in sorted(self._cursor) if p < partition)
        after = "".join(f",{p}:{self._cursor[p]}" for p in sorted(self._cursor) if p > partition)
        return Ids(f"{before}{partition}:".encode(), after.encode())

    def _id(self) -> bytes:
        """Return the id of an event that is no update: the cursor."""
        if not self._cursor:
            return b""
        partition, offset = next(iter(self._cursor.items()))
        before, after = self._ids(partition)
        return b"id: %b%d%b\n" % (before, offset, after)
