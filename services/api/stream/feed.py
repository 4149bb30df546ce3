"""Read what is new in the views once, for every client of the stream.

Place in the flow: between `positions`, which says that there is something, and `follower`, which goes through it for
one client. Updates and the counts after them are read in one snapshot, so a count is exactly that of the updates
before it. Memory has the last updates, and some pages of older ones; any other page is read again, and once for all who
wait for it. A crash leaves nothing.
"""

import asyncio
import logging
import time
from bisect import bisect_right
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from api.answers.counts import answers_of
from api.answers.models import NotCounted
from api.answers.state import status_of
from api.database import Database
from api.metrics import Metrics
from api.positions import Position, Positions
from api.problems import Problem
from api.stream.chunks import Chunk, Wanted, chunks_of, event, touched
from results.count import Count, NothingCounted, find_area
from results.reader import Reader
from results.updates import LoggedUpdate, updates_since
from runtime.postgres import DatabaseError
from schemas.errors import EscrutinioError

logger = logging.getLogger(__name__)

LENGTH = 64
"""Updates that are sent at once, at most: some 50 KB."""
PAGE = 1000
"""Offsets of a page of older updates; updates of a contest that are read at once."""
RECENT_BYTES = 64 * 1024 * 1024
"""Of the last updates."""
PAGES_BYTES = 64 * 1024 * 1024
"""Of older ones."""
STATUS_S = 10.0
"""Seconds between two signs of life to a client."""
SLOW_S = 20.0
"""A client that has not read what was sent for so long is dropped at its next sign; it resumes where it was."""
LEAVE_S = 2.0
"""Seconds in which clients that are sent away have to read that."""
WRITTEN = 32
"""Chunks of which the texts for clients are kept: of each area that is followed one."""
AGAIN_S = 1.0
"""Seconds after which a question that failed is asked again."""
_TURNS = 20
"""Clients get their signs of life in so many turns: not all in one moment."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The count of an area. `next_offset`: every update before it is in the count, and none after it."""

    next_offset: int
    event: bytes
    """Empty where the contest has no such area."""
    area_id: str | None = None


class Client(Protocol):
    """Who follows."""

    wanted: Wanted
    awake: asyncio.Event
    is_due: bool
    """Whether it is to get a sign of life."""
    sending_since: float | None
    """Since when it has not read what was sent."""

    def abandon(self) -> None:
        """Hang up on it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a contest changes its counts without an update."""

    layout: str
    blocked: str | None


@dataclass(slots=True)
class Line:
    """The last updates of a partition: from where `chunks` begin to before offset `end`."""

    end: int
    chunks: list[Chunk] = field(default_factory=list)


@dataclass(slots=True)
class News:
    """What was read in one snapshot."""

    ends: dict[int, int] = field(default_factory=dict)
    chunks: dict[int, list[Chunk]] = field(default_factory=dict)
    counts: dict[Wanted, Counted] = field(default_factory=dict)
    stale: set[Wanted] = field(default_factory=set)
    """Areas whose counts are to be read with the rest of their partition."""
    looked_at: set[Wanted] = field(default_factory=set)
    """Areas that somebody followed when it was asked: of any other nobody knows whether it has changed."""
    seen: dict[str, Seen] = field(default_factory=dict)


_PageKey = tuple[str, int, int]
"""Version of the projection, partition, and number of the page."""


class Feed:
    """The stream, as every client gets it."""

    def __init__(self, positions: Positions, database: Database, metrics: Metrics) -> None:
        self._positions, self._database = positions, database
        self._gauge, self._dropped = metrics.stream_clients, metrics.stream_dropped
        self.lines: dict[int, Line] = {}
        """By partition."""
        self.counts: dict[Wanted, Counted] = {}
        self.is_closing = False
        self._clients: list[set[Client]] = [set() for _ in range(_TURNS)]
        self._wanted = Counter[Wanted]()
        self.stale: set[Wanted] = set()
        """Areas whose counts lack updates that clients get already."""
        self._seen: dict[str, Seen] = {}
        self._pages = OrderedDict[_PageKey, Line]()
        self._reading: dict[_PageKey, asyncio.Task[Line]] = {}
        self._version = ""
        self._bytes = {"recent": 0, "pages": 0}
        self._written = OrderedDict[int, Chunk]()
        self._one_page = asyncio.Lock()
        self._statuses: dict[tuple[str | None, int], bytes] = {}
        self._work = asyncio.Event()

    @property
    def away(self) -> str | None:
        """Why the database does not answer; None when it does."""
        return self._positions.told_away

    def position(self, contest_id: str) -> Position | None:
        """Return the position of a contest; None for an unknown one."""
        return self._positions.of(contest_id)

    def areas_of(self, wanted: Wanted) -> list[tuple[int, Wanted]]:
        """List the areas that a client follows, each with its partition: one of each contest."""
        if wanted.contest_id is not None:
            at = self._positions.of(wanted.contest_id)
            return [] if at is None or at.partition not in self.lines else [(at.partition, wanted)]
        found = (at for at in self._positions.all() if at.partition in self.lines)
        return [(at.partition, Wanted(at.contest_id, wanted.area_id)) for at in found]

    @property
    def clients(self) -> int:
        """The number of clients."""
        return self._wanted.total()

    @asynccontextmanager
    async def following(self, client: Client) -> AsyncIterator[None]:
        """Wake a client whenever there may be something for it."""
        turn = min(self._clients, key=len)
        turn.add(client)
        self._wanted[client.wanted] += 1
        self._gauge.set(self.clients)
        if any(area not in self.counts for _, area in self.areas_of(client.wanted)):
            self._work.set()
        try:
            yield
        finally:
            turn.discard(client)
            self._wanted[client.wanted] -= 1
            if not self._wanted[client.wanted]:
                del self._wanted[client.wanted]
            self._gauge.set(self.clients)

    def open(self) -> None:
        """Begin to connect."""
        self._database.open()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def send_away(self) -> None:
        """Send every client away, now and from now on: the process ends."""
        self.is_closing = True
        self._wake()
        asyncio.get_running_loop().call_later(LEAVE_S, self._abandon)

    def _abandon(self) -> None:
        for turn in self._clients:
            for client in list(turn):
                client.abandon()

    async def follow(self) -> None:
        """Read what is new until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._give_signs())
            while True:
                await self._work.wait()
                self._work.clear()
                if self.away is not None:
                    continue
                try:
                    news = await self._database.ask(self._question())
                except Exception as error:
                    is_ours = not isinstance(error, EscrutinioError)
                    logger.warning("the stream waits: %s", error, exc_info=error if is_ours else None)
                    await asyncio.sleep(AGAIN_S)
                    self._work.set()
                else:
                    self._apply(news)

    async def _watch(self) -> None:
        seen = -1
        while True:
            away = self.away
            seen = await self._positions.changed(seen)
            self._work.set()
            if self.away != away:
                self._wake()

    async def _give_signs(self) -> None:
        while True:
            for turn in self._clients:
                self._statuses.clear()
                slow = time.monotonic() - SLOW_S
                for client in turn:
                    client.is_due = True
                    client.awake.set()
                    if client.sending_since is not None and client.sending_since < slow:
                        self._dropped.inc()
                        client.abandon()
                await asyncio.sleep(STATUS_S / _TURNS)

    def status(self, contest_id: str | None) -> bytes:
        """Return the sign of life for clients of a contest, or of all."""
        if (key := (contest_id, self._positions.number)) not in self._statuses:
            found = status_of(self._positions, contest_id)
            self._statuses[key] = event("status", found.model_dump_json().encode())
        return self._statuses[key]

    async def chunk(self, partition: int, offset: int) -> Chunk | None:
        """Return the updates from about an offset on, which is before the end; None while they cannot be read."""
        line = self.lines[partition]
        if not line.chunks or offset < line.chunks[0].begin:
            try:
                line = await self._page(partition, offset)
            except (Problem, DatabaseError) as error:
                logger.warning("a client that resumes at %d/%d waits: %s", partition, offset, error)
                return None
        found = line.chunks[bisect_right(line.chunks, offset, key=lambda chunk: chunk.begin) - 1]
        self._written[id(found)] = found
        self._written.move_to_end(id(found))
        if len(self._written) > WRITTEN:
            self._written.popitem(last=False)[1].forget()
        return found

    async def _page(self, partition: int, offset: int) -> Line:
        key = self._version, partition, offset // PAGE
        while (page := self._pages.get(key)) is None or offset >= page.end:
            if (reading := self._reading.get(key)) is None:
                reading = self._reading[key] = asyncio.create_task(self._read_page(key))
                reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # told to those who wait
            page = await asyncio.shield(reading)
            if offset < page.end:
                return page
        self._pages.move_to_end(key)
        return page

    async def _read_page(self, key: _PageKey) -> Line:
        try:
            _, partition, number = key
            begin = number * PAGE
            end = min(begin + PAGE, self.lines[partition].end)

            def read(reader: Reader, at: Mapping[str, Position]) -> list[Chunk]:
                found, _ = updates_of(reader, _by_partition(at)[partition], begin, end, PAGE)
                return chunks_of(found, begin, end, LENGTH)

            async with self._one_page:  # the other connection is for what is new
                page = Line(end, await self._database.ask(read))
            self._forget_page(key)
            self._pages[key] = page
            self._bytes["pages"] += sum(chunk.size for chunk in page.chunks)
            while self._bytes["pages"] > PAGES_BYTES and len(self._pages) > 1:
                self._forget_page(next(iter(self._pages)))
            return page
        finally:
            del self._reading[key]

    def _forget_page(self, key: _PageKey) -> None:
        if (page := self._pages.pop(key, None)) is not None:
            self._bytes["pages"] -= sum(chunk.size for chunk in page.chunks)

    def _question(self) -> "partial[News]":
        ends = {partition: line.end for partition, line in self.lines.items()}
        return partial(read_news, ends, list(self._wanted), self.counts.keys() - self.stale, dict(self._seen))

    def _apply(self, news: News) -> None:
        version = min((seen.layout.partition(".")[0] for seen in news.seen.values()), default=self._version)
        if version != self._version:  # a take-over: all that is read from now on is of another projection
            self._version, self._bytes["recent"] = version, 0
            for line in self.lines.values():
                line.chunks.clear()
        for partition, end in news.ends.items():
            line = self.lines.setdefault(partition, Line(end))
            line.chunks += news.chunks.get(partition, ())
            line.end = end
        self._bytes["recent"] += sum(chunk.size for of in news.chunks.values() for chunk in of)
        while self._bytes["recent"] > RECENT_BYTES:
            longest = max(self.lines.values(), key=lambda line: len(line.chunks))
            self._bytes["recent"] -= longest.chunks.pop(0).size
        self.stale, self._seen = news.stale, news.seen
        followed = {area for wanted in self._wanted for _, area in self.areas_of(wanted)}
        known = {area: of for area, of in self.counts.items() if area in news.looked_at}
        self.counts = {area: of for area, of in (known | news.counts).items() if area in followed}
        if self.stale or not followed <= self.counts.keys():
            self._work.set()
        self._wake()

    def _wake(self) -> None:
        for turn in self._clients:
            for client in turn:
                client.awake.set()


def read_news(
    ends: Mapping[int, int], wanted: Collection[Wanted], counted: Collection[Wanted], seen: Mapping[str, Seen],
    reader: Reader, at: Mapping[str, Position],
) -> News:  # fmt: skip
    """Read the updates after `ends`, and the counts that they changed, of the areas that are wanted.

    Args:
        ends: By partition; a partition that is new begins with what comes from now on.
        wanted: What clients follow.
        counted: The areas whose counts are known, and changed by nothing before `ends`.
        seen: What was known of the contests.
        reader: Of one snapshot.
        at: The positions in it.
    """
    news, changed = News(seen={name: Seen(of.layout, of.blocked) for name, of in at.items()}), set[Wanted]()
    for partition, contests in _by_partition(at).items():
        end = contests[0].next_offset
        begin = ends.get(partition, end)
        updates, news.ends[partition] = updates_of(reader, contests, begin, max(begin, end), PAGE)
        if begin < news.ends[partition]:
            news.chunks[partition] = chunks_of(updates, begin, news.ends[partition], LENGTH)
        changed |= {Wanted(u.contest_id, area) for u in updates for area in (None, *touched(u))}
        for contest in contests:
            name = contest.contest_id
            followed = {Wanted(name, w.area_id) for w in wanted if w.contest_id in (None, name)}
            news.looked_at |= followed
            is_other = news.seen[name] != seen.get(name)
            due = {area for area in followed if is_other or area in changed or area not in counted}
            if news.ends[partition] < end:
                news.stale |= due
            elif due:
                news.counts |= counts_of(reader, contest, [area.area_id for area in due])
    return news


def updates_of(
    reader: Reader, contests: Iterable[Position], begin: int, end: int, limit: int
) -> tuple[list[LoggedUpdate], int]:
    """Return the updates of a partition's contests between two offsets, in order, and up to where they are all."""
    found: list[LoggedUpdate] = []
    for contest in contests:
        if begin < end and contest.offset >= begin:
            of = updates_since(reader, contest.contest_id, begin - 1, limit)
            if len(of) == limit:
                end = min(end, of[-1].offset + 1)
            found += of
    return sorted((one for one in found if one.offset < end), key=lambda one: one.offset), end


def counts_of(reader: Reader, at: Position, areas: Sequence[str | None]) -> dict[Wanted, Counted]:
    """Return the counts of a contest's areas, as `/v1/contests/ID/counts` has them, or why there are none."""
    contest, _ = reader.contest(at.contest_id)
    made, ids = dict[Wanted, Counted](), dict[str | None, str]()
    for name in areas:
        try:
            ids[name] = find_area(contest, name).area_id
        except NothingCounted:
            made[Wanted(at.contest_id, name)] = Counted(at.next_offset, b"")
    found = reader.counts(at.contest_id, set(ids.values()))
    counts = [of for of in found.values() if isinstance(of, Count)]
    answers = {answer.area_id: answer for answer in answers_of(reader, contest, counts)}
    for name, area_id in ids.items():
        if (answer := answers.get(area_id)) is not None:
            said = event("count", answer.model_dump_json().encode())
        else:
            area = contest.areas_by_id[area_id]
            nothing = NotCounted(area_id=area_id, area_name=area.name, reason=str(found[area_id]))
            said = event("not_counted", nothing.model_dump_json().encode())
        made[Wanted(at.contest_id, name)] = Counted(at.next_offset, said, area_id)
    return made


def _by_partition(at: Mapping[str, Position]) -> dict[int, list[Position]]:
    found = defaultdict[int, list[Position]](list)
    for position in at.values():
        found[position.partition].append(position)
    return found
