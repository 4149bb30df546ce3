"""A rebuild while 2,000 updates a second arrive: no update is lost, and no reader sees anything but the count going on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
from kafka import KafkaProducer

from schemas.codec import encode
from schemas.count_update import CountUpdate
from tests.builders import CONTEST, contest, sheet
from tests.fix_setup import Setup
from tests.servers import Broker
from tests.waiting import WITHIN_S, eventually

SHEETS = 500
FIRST = 6_000
PER_SECOND = 2_000
MOST = 24_000


class Feed:
    """An office that publishes its sheets again and again, at a steady rate, until told to stop."""

    def __init__(self, setup: Setup) -> None:
        self._producer = KafkaProducer(bootstrap_servers=setup.bootstrap_servers, acks="all", linger_ms=5)
        self._topic = setup.names.events
        self._last: dict[int, CountUpdate] = {}
        self.stop = threading.Event()
        self.sent = 0

    def send(self, count: int) -> None:
        """The next `count` events; the definition is the first of all."""
        for _ in range(count):
            number = self.sent % SHEETS + 1
            if self.sent == 0:
                message = encode(contest())
            else:
                votes, hours = {"a": self.sent % 90, "b": 7}, 12 + self.sent // SHEETS / 64
                self._last[number] = sheet(number, votes, after=self._last.get(number), hours=hours)
                message = encode(self._last[number])
            self._producer.send(self._topic, key=message.key, value=message.value, headers=message.headers)
            self.sent += 1
        self._producer.flush()

    def run(self, per_second: int = PER_SECOND) -> None:
        """Publish until stopped, or until so many are sent that a slow machine would never catch up."""
        begun, before = time.monotonic(), self.sent
        while not self.stop.is_set() and self.sent < FIRST + MOST:
            self.send(per_second // 20)
            self.stop.wait(max(0.0, begun + (self.sent - before) / per_second - time.monotonic()))
        self._producer.close()


class Reader:
    """A reader who asks again and again, and takes down what it sees: position, and the sum of what it was shown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stop = threading.Event()
        self.seen: list[tuple[int, int]] = []
        self.fault: Exception | None = None

    def run(self) -> None:
        """Ask until stopped; the first fault ends it."""
        query = (
            "SELECT c.last_offset, p.version FROM results.contest c, results.projection p, results.area_count a "
            "WHERE a.contest_id = c.contest_id AND a.area_id = 'xx' AND a.is_count"
        )
        try:
            with psycopg.connect(self._url, autocommit=True) as db:
                while not self.stop.is_set():
                    (row,) = db.execute(query).fetchall()
                    self.seen.append(row)
        except Exception as fault:
            self.fault = fault


def test_a_rebuild_under_load_loses_nothing_and_readers_notice_nothing(
    kafka_server: Broker, new_setup: Callable[[Broker], Setup]
) -> None:
    setup = new_setup(kafka_server)
    feed, reader = Feed(setup), Reader(setup.database.reader_url)
    feed.send(FIRST)
    setup.aggregate()
    live = setup.start("aggregator", "run")
    threads = [threading.Thread(target=feed.run), threading.Thread(target=reader.run)]
    for thread in threads:
        thread.start()
    try:
        told = setup.run("aggregator", "rebuild")
        feed.stop.set()
        threads[0].join()

        def has_seen_all() -> bool:
            assert reader.fault is None
            assert live.poll() is None, "the running aggregator ended"
            return bool(reader.seen) and reader.seen[-1][0] >= feed.sent - 1

        eventually(has_seen_all)
    finally:
        feed.stop.set()
        reader.stop.set()
        for thread in threads:
            thread.join()
        live.terminate()
        live.wait(WITHIN_S)

    assert "version 2 is live" in told
    assert feed.sent > FIRST
    assert reader.fault is None
    assert reader.seen == sorted(reader.seen), "neither the position nor the version ever went back"
    assert {version for _, version in reader.seen} == {1, 2}
    verdict = setup.json("aggregator", "verify", CONTEST)
    assert (verdict["equal"], verdict["events"]) == (True, feed.sent)
