"""A rebuild while 2,000 updates a second arrive: no update is lost, and no reader sees anything but the count going
on."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg

from runtime.kafka import librdkafka
from schemas.codec import Message, encode
from schemas.count_update import CountUpdate
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_setup import Setup
from tests.support.servers import Broker
from tests.support.waiting import WITHIN_S, eventually

SHEETS = 500
FIRST = 6_000
PER_SECOND = 2_000
AHEAD = 40_000
"""Events made before the feed begins, for 20 s: some twice what a rebuild takes on two busy cores. While a longer one
goes on, the next ones are made as they are sent, for a part of a core."""

Totals = tuple[int, int, int]
"""Of the country: votes of either selection, and sheets counted."""


class Night:
    """An office that publishes its sheets again and again: every message, ready to be sent, and the totals after each.

    The totals are added up here, without the aggregator's rules: an event's place in the lists is its offset.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = [encode(contest())]
        self.totals: list[Totals | None] = [None]
        self._last: dict[int, CountUpdate] = {}
        self._votes = dict.fromkeys(range(1, SHEETS + 1), 0)
        self._total = 0

    def make(self, events: int) -> None:
        """Make those that are not there yet of so many events."""
        last, votes = self._last, self._votes
        for place in range(len(self.messages), events):
            number = place % SHEETS + 1
            update = sheet(number, {"a": place % 89, "b": 7}, after=last.get(number), hours=12 + place // SHEETS / 64)
            self._total += place % 89 - votes[number]
            last[number], votes[number] = update, place % 89
            self.messages.append(encode(update))
            self.totals.append((self._total, 7 * len(last), len(last)))


class Feed:
    """Sends a night's messages in order: some at once, the others at a steady rate until told to stop."""

    def __init__(self, setup: Setup, night: Night) -> None:
        self._night = night
        settings = {"bootstrap.servers": setup.bootstrap_servers, "enable.idempotence": True, "linger.ms": 5}
        self._producer: Any = librdkafka.client.Producer(settings, logger=librdkafka.LOGGER)
        self._topic = setup.names.events
        self.stop = threading.Event()
        self.sent = 0
        self.stored = 0
        """Events that the broker has acknowledged."""

    def send(self, count: int) -> None:
        """Hands over the next `count` messages."""
        self._night.make(self.sent + count)
        for message in self._night.messages[self.sent : self.sent + count]:
            self._producer.produce(
                self._topic, message.value, message.key, headers=message.headers, on_delivery=self._acknowledged
            )
            self.sent += 1

    def finish(self) -> None:
        """Waits until the broker has everything."""
        assert self._producer.flush(WITHIN_S) == 0

    def run(self) -> None:
        """Sends until stopped; what a busy machine was late with, it makes up for."""
        begun, before = time.monotonic(), self.sent
        while not self.stop.wait(0.005):
            due = int((time.monotonic() - begun) * PER_SECOND) - (self.sent - before)
            self.send(min(due, PER_SECOND))
            self._producer.poll(0)
        self.finish()

    def _acknowledged(self, error: Any, _message: Any) -> None:
        assert error is None, error
        self.stored += 1


class Reader:
    """A reader who asks again and again, and takes down when it was answered, the version and position it was shown,
    and the totals."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stop = threading.Event()
        self.seen: list[tuple[int, int, Totals]] = []
        self.at: list[float] = []
        self.fault: Exception | None = None

    def run(self) -> None:
        """Ask until stopped; the first fault ends it."""
        query = (
            "SELECT p.version, c.last_offset, (a.votes ->> 'a')::int, (a.votes ->> 'b')::int, a.counted "
            "FROM results.contest c, checking.projection p, results.area_count a "
            "WHERE a.contest_id = c.contest_id AND a.area_id = 'xx'"
        )
        try:
            with psycopg.connect(self._url, autocommit=True) as db:
                while not self.stop.is_set():
                    ((version, offset, *totals),) = db.execute(query).fetchall()
                    self.at.append(time.monotonic())
                    self.seen.append((version, offset, (totals[0], totals[1], totals[2])))
        except Exception as fault:
            self.fault = fault

    def gaps(self) -> tuple[float, float]:
        """Seconds between two answers: at the most, and between the last of one version and the first of the next."""
        gaps = [after - before for before, after in pairwise(self.at)]
        change = next(i for i, (before, after) in enumerate(pairwise(self.seen)) if before[0] != after[0])
        return max(gaps), gaps[change]


def test_a_rebuild_under_load_loses_nothing_and_readers_notice_nothing(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup]
) -> None:
    setup, night = new_setup(kafka_server), Night()
    night.make(FIRST + AHEAD)
    feed, reader = Feed(setup, night), Reader(setup.database.reader_url)
    feed.send(FIRST)
    feed.finish()
    setup.aggregate()
    live = setup.start("aggregator", "run")
    threads = [threading.Thread(target=feed.run), threading.Thread(target=reader.run)]
    for thread in threads:
        thread.start()
    try:
        begun, stored = time.monotonic(), feed.stored
        told = setup.alone("aggregator", "rebuild")
        rate, of_rebuild = (feed.stored - stored) / (time.monotonic() - begun), feed.stored
        eventually(lambda: feed.stored > of_rebuild)
        feed.stop.set()
        threads[0].join()

        def has_seen_all() -> bool:
            assert reader.fault is None
            assert live.poll() is None, "the running aggregator ended"
            return bool(reader.seen) and reader.seen[-1][1] >= feed.sent - 1

        eventually(has_seen_all)
    finally:
        feed.stop.set()
        reader.stop.set()
        for thread in threads:
            thread.join()
        live.terminate()
        live.wait(WITHIN_S)

    taken_at, held_s = taken_over(told)
    before, held, after = arrivals(setup, taken_at, held_s)
    # Another worker's tests share the cores: how fast and how long is tests/bench's to say, not this test's.
    assert rate > PER_SECOND / 2, "the load was not what this test is about"
    assert min(before - FIRST, after) > 0, "updates did not go on arriving at the take-over"

    assert reader.fault is None, "no view was ever missing"
    places = [(version, offset) for version, offset, _ in reader.seen]
    assert {version for version, _ in places} == {1, 2}
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(places)), (
        "nothing went back"
    )
    assert [seen for seen in reader.seen if night.totals[seen[1]] != seen[2]] == [], "no totals but those of the log"
    longest, change = reader.gaps()
    print(  # noqa: T201 - what was reached, with `-s`
        f"\n{rate:,.0f} updates/s arrived, {held} in the {held_s} s that the live writer was held; "
        f"{len(reader.seen)} reads, the longest gap {longest:.3f} s, that at the take-over {change:.3f} s"
    )
    verdict = setup.json("aggregator", "verify", CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, feed.sent)


def taken_over(told: str) -> tuple[datetime, float]:
    """When `rebuild` says that version 2 became the live one, and for how many seconds the live writer was held."""
    found = re.search(r"version 2 is live since (\S+);.* held for ([\d.]+) s", told)
    assert found is not None, told
    return datetime.fromisoformat(found[1]), float(found[2])


def arrivals(setup: Setup, taken_at: datetime, held_s: float) -> tuple[int, int, int]:
    """Updates that the broker took before a take-over, while it went on, and after it, by its own clock: that of this
    machine."""
    query = """
        SELECT count(*) FILTER (WHERE recorded_at < %(begin)s),
               count(*) FILTER (WHERE recorded_at BETWEEN %(begin)s AND %(end)s),
               count(*) FILTER (WHERE recorded_at > %(end)s)
        FROM results.update_history"""
    about = {"begin": taken_at, "end": taken_at + timedelta(seconds=held_s)}
    with psycopg.connect(setup.database.reader_url) as db:
        ((before, held, after),) = db.execute(query, about).fetchall()
    return before, held, after
