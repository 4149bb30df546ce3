"""The live stream: every accepted update once and in order, and the count after it, whatever ends in between."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from aggregator.tables.migrate import migrate
from api.stream import feed as feeding
from schemas.codec import encode
from schemas.topics import TopicNames
from tests.integration.test_projections import rebuild
from tests.support.fix_aggregate import EventLog, aggregate, count_of
from tests.support.fix_api import Api, serving
from tests.support.fix_postgres import Database, database_of
from tests.support.nights import Night, log, rough
from tests.support.servers import Broker, Postgres
from tests.support.sse import Event, following
from tests.support.waiting import WITHIN_S, eventually

PRECINCT = "precinct"
NIGHT = rough(
    Night(events=900, contests=3, units=60, states=2, counties=4, municipalities=8, levels=((PRECINCT,),), documents=40)
)
EVENTS = [event for _, event in log(NIGHT)]
BEGUN = 90
"""Events that are counted before anyone follows: every contest is defined by then."""
FIRST = "pe-2021-night-1"


@pytest.fixture
def night(kafka_server: Broker, kafka_producer: Any, topic_prefix: str, new_topic: Callable[..., str]) -> EventLog:
    """A log of two partitions, empty."""
    new_topic("results.events", partitions=2)
    return EventLog(kafka_server.bootstrap_servers, TopicNames(topic_prefix).events, kafka_producer)


@pytest.fixture
def begun(night: EventLog, totals: Database) -> EventLog:
    """The night's first events are counted."""
    count(night, totals, 0, BEGUN)
    assert len(totals.read("SELECT FROM results.contest WHERE definition IS NOT NULL")) == NIGHT.contests
    assert len(totals.read("SELECT DISTINCT partition FROM results.contest")) == 2
    return night


def count(night: EventLog, totals: Database, first: int, last: int, batch_size: int = 20_000) -> None:
    """Append some of the night's events to the log, and count them."""
    night.append_messages(map(encode, EVENTS[first:last]))
    aggregate(night, totals, batch_size=batch_size)


def accepted(totals: Database) -> list[dict[str, Any]]:
    """The accepted updates, by partition and offset, each with the areas whose count it may change."""
    with psycopg.connect(totals.reader_url, row_factory=dict_row) as db:
        rows = db.execute(
            "SELECT h.partition, h.log_offset AS at, h.contest_id, h.event_id::text, h.unit_id, h.is_current, r.areas,"
            " h.change -> 'votes' AS votes"
            " FROM results.update_history h JOIN checking.update_row r USING (contest_id, log_offset)"
            " WHERE h.accepted ORDER BY 1, 2"
        ).fetchall()
    before: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        unit = row["contest_id"], row["unit_id"]
        row["touched"] = {*row["areas"], *before.get(unit, ())}
        if row["is_current"]:
            before[unit] = row["areas"]
    return rows


def wanted(totals: Database, contest_id: str | None, area: str | None) -> dict[int, list[str]]:
    """The ids of the events that a client is to get, by partition."""
    found = defaultdict[int, list[str]](list)
    for row in accepted(totals):
        if contest_id in (None, row["contest_id"]) and (area is None or area in row["touched"]):
            found[row["partition"]].append(row["event_id"])
    return found


def ends(totals: Database) -> dict[int, int]:
    """The last offset that is counted, by partition."""
    return {p: next_offset - 1 for p, next_offset in totals.read("SELECT partition, next_offset FROM checking.cursor")}


def until(events: Iterator[Event], is_end: Callable[[Event], bool]) -> list[Event]:
    """Read up to an event, inclusive."""
    found = []
    for event in events:
        found.append(event)
        if is_end(event):
            return found
    raise AssertionError(f"the stream ended after {found[-1:]}")


def reached(totals: Database, contest_id: str | None) -> Callable[[Event], bool]:
    """Say whether a client has everything: its id is at the end, and what comes is no update any more."""
    there = ends(totals)
    if contest_id is None:
        end = ",".join(f"{p}:{offset}" for p, offset in sorted(there.items()))
    else:
        ((partition,),) = totals.read("SELECT partition FROM results.contest WHERE contest_id = %s", contest_id)
        end = str(there[partition])
    return lambda event: event.name == "status" and event.id == end


def changes(events: Sequence[Event], totals: Database) -> dict[int, list[str]]:
    """The ids of the updates that came, by partition."""
    partition_of = {row["event_id"]: row["partition"] for row in accepted(totals)}
    found = defaultdict[int, list[str]](list)
    for event in events:
        if event.name == "change":
            found[partition_of[event.data["event_id"]]].append(event.data["event_id"])
    return found


def at(contest_id: str | None, area: str | None = None) -> str:
    """The address of a stream."""
    path = "/v1/stream" if contest_id is None else f"/v1/contests/{contest_id}/stream"
    return path if area is None else f"{path}?area={area}"


@pytest.fixture
def quiet(begun: EventLog, totals: Database) -> Iterator[Api]:
    """An API over a count that nobody continues."""
    assert begun.topic
    with serving(totals.reader_url) as api:
        api.follow(totals.reader_url)
        yield api


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come often."""
    monkeypatch.setattr(feeding, "STATUS_S", 0.4)


@pytest.mark.usefixtures("signs")
def test_every_change_comes_once_and_in_order_and_the_count_after_it_is_that_of_the_tables(
    begun: EventLog, totals: Database
) -> None:
    area = EVENTS[0].areas[-1].area_id  # type: ignore[union-attr]
    asked = [(None, None), (FIRST, None), (FIRST, area), (None, area)]
    before = [wanted(totals, *of) for of in asked]
    with serving(totals.reader_url) as api, ExitStack() as stack, ThreadPoolExecutor() as threads:
        api.follow(totals.reader_url)
        streams = [stack.enter_context(following(api.port, at(*of))) for of in asked]
        firsts = [next(stream) for stream in streams]
        over = threading.Event()

        def read_all(stream: Iterator[Event], contest_id: str | None) -> list[Event]:
            return until(stream, lambda event: over.is_set() and reached(totals, contest_id)(event))

        read = [threads.submit(read_all, s, of[0]) for s, of in zip(streams, asked, strict=True)]
        steps = [*range(BEGUN, len(EVENTS), 45), len(EVENTS)]
        for first, last in itertools.pairwise(steps):
            count(begun, totals, first, last, batch_size=20)
        over.set()
        for of, first, was, future in zip(asked, firsts, before, read, strict=True):
            events = future.result()
            assert first.name == "count"
            there = wanted(totals, *of)
            assert changes(events, totals) == {p: ids[len(was[p]) :] for p, ids in there.items() if ids[len(was[p]) :]}
            counts = {e.data["contest_id"]: e.data for e in events if e.name == "count"}
            for contest_id, last_count in counts.items():
                shown = count_of(totals, contest_id, of[1]).model_dump(mode="json")
                changing = {"as_of", "digest", "log"}  # of the contest: an area's count is sent when it is another
                assert {k: last_count[k] for k in shown.keys() - changing} == {
                    k: shown[k] for k in shown.keys() - changing
                }
            if of == (FIRST, None):
                adds_up([first, *events])


def adds_up(events: Sequence[Event]) -> None:
    """Each count is the one before, and the changes in between."""
    votes: dict[str, int] = {}
    for event in events:
        if event.name == "change" and event.data["unit"].startswith("precinct/"):  # of the counting level
            for name, value in event.data["change"].items():
                if name.startswith("votes."):
                    votes[name[6:]] += value
        elif event.name == "count":
            now = {s["selection_id"]: s["votes"] or 0 for s in event.data["selections"]}
            assert not votes or now == votes
            votes = now


@pytest.mark.usefixtures("signs")
def test_a_client_resumes_at_every_id_that_it_had(
    begun: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PAGE", 50)
    monkeypatch.setattr(feeding, "LENGTH", 7)
    monkeypatch.setattr(feeding, "RECENT_BYTES", 30_000)  # so that most of it is read from the tables
    count(begun, totals, BEGUN, 600)
    with serving(totals.reader_url) as api, ThreadPoolExecutor(4) as threads:
        api.follow(totals.reader_url)
        count(begun, totals, 600, len(EVENTS))
        for contest_id, begin in ((FIRST, "-1"), (None, "0:-1,1:-1")):
            with following(api.port, at(contest_id), begin) as stream:
                whole = until(stream, reached(totals, contest_id))
            all_ids = [e.data["event_id"] for e in whole if e.name == "change"]
            assert changes(whole, totals) == wanted(totals, contest_id, None)

            def rest(last: str, contest_id: str | None = contest_id) -> list[str]:
                with following(api.port, at(contest_id), last) as stream:
                    return [
                        e.data["event_id"] for e in until(stream, reached(totals, contest_id)) if e.name == "change"
                    ]

            had = [(e.id or "", n) for n, e in enumerate((e for e in whole if e.name == "change"), 1)][::23]
            for (_, n), found in zip(had, threads.map(rest, [last for last, _ in had]), strict=True):
                assert found == all_ids[n:]


@pytest.mark.usefixtures("signs")
def test_a_take_over_repeats_and_loses_nothing(begun: EventLog, totals: Database) -> None:
    was = wanted(totals, FIRST, None)
    with serving(totals.reader_url) as api, following(api.port, at(FIRST), "0") as stream:
        api.follow(totals.reader_url)
        count(begun, totals, BEGUN, 300)
        rebuild(begun, totals)
        count(begun, totals, 300, 600)
        events = until(stream, reached(totals, FIRST))
        assert was
        assert changes(events, totals) == wanted(totals, FIRST, None)
        with following(api.port, at(FIRST), "0") as again:
            assert changes(until(again, reached(totals, FIRST)), totals) == wanted(totals, FIRST, None)


@pytest.mark.usefixtures("signs")
def test_while_the_database_is_away_clients_are_told_and_go_on_by_themselves(
    night: EventLog, own_postgres_server: Postgres
) -> None:
    database = database_of(own_postgres_server, "escrutinio")
    migrate(database.owner_url)
    count(night, database, 0, BEGUN)
    with serving(database.reader_url) as api, following(api.port, at(FIRST)) as stream:
        assert next(stream).name == "count"
        was = wanted(database, FIRST, None)
        own_postgres_server.kill()
        assert "PostgreSQL" in until(stream, lambda e: e.name == "away")[-1].data["reason"]
        with following(api.port, at(FIRST)) as late:
            assert next(late).name == "away"
            own_postgres_server.start()
            count(night, database, BEGUN, 300)
            assert until(late, lambda e: e.name == "count")
        assert changes(until(stream, reached(database, FIRST)), database) == {
            p: ids[len(was[p]) :] for p, ids in wanted(database, FIRST, None).items()
        }


@contextmanager
def unread(api: Api, path: str) -> Iterator[socket.socket]:
    """A client that asks for a stream and reads nothing."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=WITHIN_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield client


@pytest.mark.usefixtures("signs")
def test_a_client_that_reads_nothing_is_dropped_and_others_go_on(
    begun: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "SLOW_S", 0.5)
    count(begun, totals, BEGUN, len(EVENTS))
    with serving(totals.reader_url) as api:
        api.follow(totals.reader_url)
        with unread(api, f"{at(FIRST)}?since=-1") as deaf:
            eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_dropped_total") == 1)
            eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 0)
            with following(api.port, at(FIRST), "-1") as stream:
                assert changes(until(stream, reached(totals, FIRST)), totals) == wanted(totals, FIRST, None)
            while deaf.recv(4096):  # it has an end
                pass


@pytest.mark.usefixtures("begun")
def test_a_client_that_leaves_is_no_client_any_more(totals: Database) -> None:
    with serving(totals.reader_url) as api:
        api.follow(totals.reader_url)
        for _ in range(3):
            with following(api.port, at(FIRST)) as stream:
                assert next(stream).name == "count"
            eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 0)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/v1/contests/nobody/stream", 404, "nothing-counted"),
        (f"/v1/contests/{FIRST}/stream?area=nobody", 404, "nothing-counted"),
        (f"/v1/contests/{FIRST}/stream?since=x", 422, "invalid-request"),
        (f"/v1/contests/{FIRST}/stream?since=0:4", 422, "invalid-request"),
        ("/v1/stream?since=4", 422, "invalid-request"),
        ("/v1/stream?since=0:4,1", 422, "invalid-request"),
        ("/v1/stream?contest=nobody", 404, "nothing-counted"),
        ("/v1/stream?area=nobody", 404, "nothing-counted"),
        ("/v1/stream?area=nobody&since=0:-1,1:-1", 404, "nothing-counted"),
    ],
)
def test_what_cannot_be_followed_is_refused(quiet: Api, path: str, status: int, kind: str) -> None:
    got = quiet.get(path)
    assert (got.status, json.loads(got.content)["type"]) == (status, f"/v1/problems/{kind}")


def test_head_of_a_stream_ends(quiet: Api) -> None:
    got = quiet.request("HEAD", at(FIRST))
    assert (got.status, got.content) == (200, b"")


@pytest.mark.usefixtures("begun")
def test_a_stopping_api_sends_everyone_away(totals: Database) -> None:
    with ExitStack() as stack:
        with serving(totals.reader_url) as api:
            api.follow(totals.reader_url)
            streams = [stack.enter_context(following(api.port, at(FIRST))) for _ in range(50)]
            for stream in streams:
                assert next(stream).name == "count"
            deaf = stack.enter_context(unread(api, at(FIRST)))
            eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 51)
        for stream in streams:
            assert [event.name for event in stream][-1] == "closing"
        assert deaf.recv(1 << 20)


class Held:
    """Readings of the feed that wait until they are let go, from the `first` on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int = 1) -> None:
        self.waits, self.goes_on, self.number = threading.Event(), threading.Event(), 0
        read = feeding.read_news

        def held(*given: Any) -> Any:
            self.number += 1
            if self.number >= first:
                self.waits.set()
                assert self.goes_on.wait(WITHIN_S)
            return read(*given)

        monkeypatch.setattr(feeding, "read_news", held)


def whole(api: Api, last: str | None, totals: Database) -> list[Event]:
    """Follow a contest to its end: every update, and the count after them, which a sign of life may come before."""
    with following(api.port, at(FIRST), last) as stream:
        events = until(stream, reached(totals, FIRST))
        while [event.name for event in events if event.name in {"change", "count"}][-1] != "count":
            events += until(stream, reached(totals, FIRST))
        return events


def first_change(api: Api, last: str) -> list[Event]:
    """Resume a contest, up to the first update."""
    with following(api.port, at(FIRST), last) as stream:
        return until(stream, lambda event: event.name == "change")


def same_votes(count: Any, totals: Database) -> bool:
    """Say whether a count has the votes of the tables as they are."""
    shown = count_of(totals, FIRST, None).model_dump(mode="json")
    return bool(count["selections"] == shown["selections"])


@pytest.mark.usefixtures("signs")
def test_an_area_whose_only_client_comes_back_while_news_are_read_has_its_new_count(
    begun: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(totals.reader_url) as api, ThreadPoolExecutor() as threads:
        api.follow(totals.reader_url)
        with following(api.port, at(FIRST)) as stream:
            assert next(stream).name == "count"
        eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 0)
        held = Held(monkeypatch)
        count(begun, totals, BEGUN, 300)
        assert held.waits.wait(WITHIN_S)
        read = threads.submit(whole, api, None, totals)
        eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 1)
        held.goes_on.set()
        assert same_votes([event.data for event in read.result() if event.name == "count"][-1], totals)


@pytest.mark.usefixtures("signs")
def test_a_count_has_every_update_before_it_also_while_many_are_read(
    begun: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(totals.reader_url) as api, ThreadPoolExecutor() as threads, ExitStack() as stack:
        api.follow(totals.reader_url)
        there = stack.enter_context(following(api.port, at(FIRST)))
        assert next(there).name == "count"
        monkeypatch.setattr(feeding, "PAGE", 50)
        held = Held(monkeypatch, first=2)
        count(begun, totals, BEGUN, len(EVENTS))
        assert held.waits.wait(WITHIN_S)
        read = [threads.submit(whole, api, last, totals) for last in (None, "-1")]
        eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 3)
        held.goes_on.set()
        for future in read:
            events, had = future.result(), -1
            adds_up(events[[event.name for event in events].index("count") :])
            for event in events:
                if event.name == "change":
                    had = event.data["offset"]
                elif event.name == "count":
                    assert event.data["as_of"]["offset"] >= had
            assert same_votes([event.data for event in events if event.name == "count"][-1], totals)


@pytest.mark.usefixtures("signs")
def test_clients_that_resume_far_back_keep_nothing_new_from_others(
    begun: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(begun, totals, BEGUN, 300)
    monkeypatch.setattr(feeding, "PAGE", 20)
    old, read, waiting, goes_on = max(ends(totals).values()), feeding.updates_of, list[int](), threading.Event()

    def held(reader: Any, contests: Any, begin: int, end: int, limit: int) -> Any:
        if end - begin == limit and end <= old:  # a page of before
            waiting.append(begin)
            assert goes_on.wait(WITHIN_S)
        return read(reader, contests, begin, end, limit)

    monkeypatch.setattr(feeding, "updates_of", held)
    with serving(totals.reader_url) as api, ThreadPoolExecutor() as threads:
        api.follow(totals.reader_url)
        with following(api.port, at(FIRST)) as stream:
            assert next(stream).name == "count"
            behind = [threads.submit(first_change, api, last) for last in ("-1", "40", "70")]
            try:
                eventually(lambda: waiting)
                eventually(lambda: api.counted.get_sample_value("escrutinio_api_stream_clients") == 4)
                count(begun, totals, 300, 600)
                assert until(stream, lambda event: event.name == "change")
            finally:
                goes_on.set()
            assert all(future.result() for future in behind)
