"""Totals and notices on their topics: what `show` answers, once and in order, whatever ends in between."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import psycopg
import pytest

from aggregator.publish.outbox import Outbox
from aggregator.publish.sender import Sender
from runtime.kafka.producer import partition_of
from schemas.area_count import AreaCount, CountState
from schemas.count_update import Correction
from schemas.identity import Event, named
from schemas.notice import NoticeKind
from schemas.topics import TopicNames
from schemas.types import CorrectionBasis, ReportingUnitType, UpdateKind
from tests.support import tomorrow
from tests.support.builders import AREA_PATH, CONTEST, bulletin, contest, revised, sheet
from tests.support.fix_aggregate import EventLog
from tests.support.fix_setup import Setup
from tests.support.published import at_work, begin, messages, notices, once, publish, shown, totals
from tests.support.servers import Broker
from tests.support.waiting import eventually

COUNTRY = (ReportingUnitType.COUNTRY,)


@pytest.fixture
def setup(new_setup: Callable[[Broker], Setup], kafka_server: Broker) -> Setup:
    return new_setup(kafka_server)


@pytest.fixture
def append(setup: Setup, kafka_producer: Any) -> Callable[..., int]:
    """Appends events to the log."""
    log = EventLog(setup.bootstrap_servers, setup.names.events, kafka_producer)
    return lambda *events: log.append(events)


def open_publications(setup: Setup) -> list[Any]:
    with psycopg.connect(setup.database.owner_url) as db:
        return db.execute("SELECT contest_id FROM publish.contest WHERE notices -> 'open' <> 'null'").fetchall()


def of(contest_id: str, found: Iterable[Any]) -> list[Any]:
    return [one for one in found if one.contest_id == contest_id]


def assert_chained(found: Sequence[AreaCount]) -> None:
    """Each count names the one before it, and says what is between them."""
    last: dict[str, AreaCount] = {}
    for count in once(found):
        before = last.get(count.area_id)
        assert count.previous_event_id == (before.event_id if before is not None else None)
        votes = {s.selection_id: s.votes or 0 for s in count.selections}
        had = {s.selection_id: s.votes or 0 for s in before.selections} if before is not None else {}
        if before is not None:
            assert before.as_of_offset < count.as_of_offset
            for selection in votes.keys() | had.keys():
                difference = votes.get(selection, 0) - had.get(selection, 0)
                assert count.change.get(f"votes.{selection}", 0) == difference
        last[count.area_id] = count


def test_after_each_commit_the_counts_that_it_changed_are_what_show_answers(
    setup: Setup, append: Callable[..., int]
) -> None:
    begin(setup, append, contest())
    first, corrected = sheet(1, {"a": 5, "b": 9}), sheet(2, {"a": 3, "b": 4})
    again = sheet(2, {"a": 2, "b": 4}, after=corrected, hours=13)
    for events in ([first], [corrected, sheet(3)], [again]):
        append(*events)
        publish(setup)
        found = of(CONTEST, totals(setup))
        assert [count.area_id for count in found[-4:]] == list(AREA_PATH)
        for count in found[-4:]:
            answer = setup.json("results", "show", CONTEST, count.area_id)
            assert shown(count) == {name: answer[name] for name in shown(count)}
            assert (count.as_of_offset, count.state) == (answer["as_of"]["offset"], CountState.COUNTED)
            assert [cause.event_id for cause in count.events] == [event.event_id for event in events]
            assert count.events_total == len(events)
    assert len(found) == 3 * 4
    assert found[-1].change == {"ballots_cast": -1, "valid_votes": -1, "votes.a": -1}
    assert_chained(found)
    keys = {message.key for message in messages(setup, setup.names.totals)}
    assert keys == {f"{CONTEST}/{area}".encode() for area in AREA_PATH}
    publish(setup)
    assert len(of(CONTEST, totals(setup))) == 12, "nothing came: nothing is told"


def test_a_retraction_is_a_row_and_no_tombstone(setup: Setup, append: Callable[..., int]) -> None:
    begin(setup, append, contest(level=COUNTRY))
    first = bulletin(10, 20, counted=5)
    append(first)
    publish(setup)
    basis = CorrectionBasis.OPERATOR
    retraction = Correction(reason="a mistake", basis=basis, authority="ONPE", replaces_event_id=first.event_id)
    changes = {"kind": UpdateKind.RETRACTED, "correction": retraction}
    taken_back = named(bulletin(10, 20, counted=5, after=first, hours=13).model_copy(update=changes))
    append(taken_back)
    publish(setup)
    *_, told, row = of(CONTEST, totals(setup))
    assert (row.state, row.basis, row.lead) == (CountState.NOT_COUNTED, None, None)
    assert row.reason == "ONPE retracted its statement about XX (xx)"
    assert (row.previous_event_id, row.change["votes.a"]) == (told.event_id, -10)
    assert (row.events[0].kind, row.events[0].reason) == (UpdateKind.RETRACTED, "a mistake")
    append(bulletin(11, 20, counted=6, after=taken_back, hours=14))
    publish(setup)
    assert totals(setup)[-1].change["votes.a"] == 11


def test_what_was_sent_and_not_noted_is_sent_again_the_same_bytes(
    setup: Setup, append: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(setup, append, contest())
    round_, kills = Sender._round, list[int]()

    def killed(self: Sender, db: Any, producer: Any) -> int:
        with psycopg.connect(setup.database.owner_url) as other:
            waiting = other.execute("SELECT count(*) FROM publish.outbox").fetchone()
        assert waiting is not None
        if not waiting[0] or kills:
            return round_(self, db, producer)
        kills.append(waiting[0])
        monkeypatch.setattr(db, "transaction", lambda: _broken(db))
        try:
            return round_(self, db, producer)
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(Sender, "_round", killed)

    monkeypatch.setattr(Sender, "_round", killed)
    append(sheet(1), sheet(2))
    publish(setup)
    eventually(lambda: len(of(CONTEST, totals(setup))) == 8)
    found = [message for message in messages(setup, setup.names.totals) if message.key.startswith(CONTEST.encode())]
    assert [(m.key, m.value, m.headers) for m in found[:4]] == [(m.key, m.value, m.headers) for m in found[4:]]


class _broken:
    """A transaction that ends by a fault after all was done in it, as that of a process that is killed."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        self._db.execute("ROLLBACK")


def test_a_rebuild_and_a_take_over_are_no_news(setup: Setup, append: Callable[..., int]) -> None:
    begin(setup, append, contest())
    append(sheet(1), sheet(2, {"a": 1, "b": 2}))
    publish(setup)
    before = len(messages(setup, setup.names.totals)), len(messages(setup, setup.names.notices))
    setup.run("aggregator", "rebuild")
    setup.json("aggregator", "replay", CONTEST)
    setup.run("aggregator", "replay", CONTEST, "--to-offset", "2", "--into", "past")
    publish(setup)
    assert before == (len(messages(setup, setup.names.totals)), len(messages(setup, setup.names.notices)))
    append(sheet(1, {"a": 11, "b": 20}, after=sheet(1), hours=13))
    publish(setup)
    found = of(CONTEST, totals(setup))
    assert (len(found), found[-1].change["votes.a"]) == (8, 1)
    assert_chained(found)


def test_what_a_take_over_changed_is_told_and_no_more(setup: Setup, append: Callable[..., int]) -> None:
    """As if the projection before had counted one area otherwise."""
    begin(setup, append, contest())
    append(sheet(1), sheet(2))
    publish(setup)
    with psycopg.connect(setup.database.owner_url) as db:
        db.execute("UPDATE publish.contest SET version = 0")
        db.execute(
            "UPDATE publish.area SET content = 'x', figures = figures || '{\"votes.a\": 19}' WHERE area_id = '010000'"
        )
    append(named(revised(contest(), "precinct").model_copy(update={"name": "Test contest"})))
    publish(setup)
    (count,) = of(CONTEST, totals(setup))[4:]
    assert (count.area_id, count.change) == ("010000", {"votes.a": 1})


def test_a_contest_that_has_a_past_begins_with_its_counts_and_one_notice(
    setup: Setup, append: Callable[..., int]
) -> None:
    append(contest(), sheet(1), sheet(2, {"a": 30, "b": 3}), sheet(1, after=sheet(1), hours=13))
    setup.aggregate()
    assert messages(setup, setup.names.totals) == []
    publish(setup)
    found = totals(setup)
    assert [count.area_id for count in found] == list(AREA_PATH)
    assert {(c.previous_event_id, c.events, c.events_total, c.as_of_offset) for c in found} == {(None, (), 0, 3)}
    (notice,) = notices(setup)
    assert (notice.kind, notice.is_operational) == (NoticeKind.BEGINS_HERE, True)
    publish(setup)
    assert (len(totals(setup)), len(notices(setup))) == (4, 1)


def test_the_notices_are_those_of_a_replay(setup: Setup, append: Callable[..., int]) -> None:
    begin(setup, append, contest())
    made: list[Event] = [sheet(n, {"a": n % 7, "b": n % 5}) for n in range(1, 12)]
    for event in made:
        append(event)
        if event in made[::3]:
            publish(setup)
    publish(setup)
    with at_work(setup):
        replayed = setup.json("aggregator", "notices", CONTEST)
        eventually(lambda: len(of(CONTEST, notices(setup))) >= len(replayed))
    found = of(CONTEST, notices(setup))
    assert [str(notice.event_id) for notice in found] == [notice["event_id"] for notice in replayed]
    assert len(replayed) >= 2
    assert "FIRST_RESULTS" in setup.run("aggregator", "notices", CONTEST)
    partition = partition_of(CONTEST.encode(), 1)
    assert {m.partition for m in messages(setup, setup.names.notices)} == {partition}


def test_topics_that_cannot_be_written_keep_no_count_back(
    setup: Setup, append: Callable[..., int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aggregator.publish.sender._BROKER_S", 0.5)
    begin(setup, append, contest())
    append(sheet(1))
    with at_work(setup, TopicNames(f"nowhere-{os.getpid()}.")):
        eventually(lambda: setup.database.read("SELECT FROM results.area_count WHERE counted = 1"))
        eventually(lambda: "totals and notices wait to be sent" in caplog.text)
        append(sheet(2))
        eventually(lambda: setup.database.read("SELECT FROM results.area_count WHERE counted = 2"))
    publish(setup)
    assert [(c.area_id, c.progress.counted) for c in of(CONTEST, totals(setup))[-1:]] == [("010101", 2)]
    assert_chained(of(CONTEST, totals(setup)))


def _are_told(setup: Setup, number: int) -> bool:
    return len(of(CONTEST, totals(setup))) == number


def test_outer_areas_are_told_with_each_batch_and_the_others_when_there_is_time(
    setup: Setup, append: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(setup, append, contest())
    publish(setup)
    hurried = threading.Event()
    hurried.set()

    def is_due(self: Outbox, partition: int, **_: bool) -> bool:
        return not hurried.is_set() and bool(self._pending[partition])

    def whole_at(_: Outbox) -> float:
        return math.inf if hurried.is_set() else 0.0

    monkeypatch.setattr(Outbox, "_whole_at", property(whole_at, lambda *_: None), raising=False)
    monkeypatch.setattr(Outbox, "_outer_at", property(lambda _: 0.0, lambda *_: None), raising=False)
    monkeypatch.setattr(Outbox, "is_due", is_due)
    monkeypatch.setattr("aggregator.publish.outbox._FEW", -1)
    country, state, *inner = AREA_PATH
    first, second = sheet(1), sheet(2, {"a": 3, "b": 4})
    with at_work(setup):
        for number, event in enumerate((first, second), 1):
            append(event)
            eventually(partial(_are_told, setup, 2 * number))
        assert [count.area_id for count in of(CONTEST, totals(setup))] == [country, state] * 2
        hurried.clear()
        eventually(partial(_are_told, setup, 4 + len(inner)))
    found = of(CONTEST, totals(setup))
    assert [[cause.event_id for cause in count.events] for count in found] == [
        *[[event.event_id] for event in (first, first, second, second)],
        *[[first.event_id, second.event_id]] * len(inner),
    ]
    assert_chained(found)
    publish(setup)
    assert len(of(CONTEST, totals(setup))) == len(found)


def test_a_publication_ends_while_another_partition_is_busy(
    setup: Setup, append: Callable[..., int], kafka_admin: Any
) -> None:
    """Also after a restart, by which each partition begins with what is kept of all."""
    other = "xx-2021-other"
    apart = next(n for n in range(2, 99) if partition_of(CONTEST.encode(), n) != partition_of(other.encode(), n))
    kafka_admin.create_partitions({setup.names.events: apart})
    begin(setup, append, contest())
    with at_work(setup):
        append(sheet(1), sheet(1, contest_id=other))
        eventually(lambda: len(open_publications(setup)) == 2)
    mesas = itertools.count(2)
    with at_work(setup):
        eventually(lambda: append(sheet(next(mesas), contest_id=other)) and of(CONTEST, notices(setup)))
    assert [notice.kind for notice in of(CONTEST, notices(setup))] == 2 * [NoticeKind.FIRST_RESULTS]


def test_a_kind_of_a_later_release_keeps_no_count_back(
    setup: Setup, append: Callable[..., int], kafka_producer: Any
) -> None:
    begin(setup, append, contest(level=COUNTRY))
    first = bulletin(10, 20, counted=5)
    append(first)
    later = tomorrow.written(bulletin(11, 22, counted=6, after=first, hours=13), {"kind": "REOPENED"})
    EventLog(setup.bootstrap_servers, setup.names.events, kafka_producer).append_messages([later])
    with tomorrow.learnt():
        publish(setup)
    count = totals(setup)[-1]
    assert (count.unknown_units, [cause.kind for cause in count.events]) == (1, [UpdateKind.REPORTED, None])


def test_a_contest_that_stands_still_is_told_once(
    setup: Setup, append: Callable[..., int], kafka_producer: Any
) -> None:
    begin(setup, append, contest())
    log = EventLog(setup.bootstrap_servers, setup.names.events, kafka_producer)
    with at_work(setup):
        append(sheet(1))
        eventually(lambda: len(totals(setup)) == 4)
        log.append_raw(CONTEST.encode(), b"nothing")
        eventually(lambda: len(totals(setup)) == 8)
        assert all(count.blocked is not None for count in totals(setup)[4:])
        with psycopg.connect(setup.database.owner_url) as db:  # were it counted again, it would be told
            db.execute("UPDATE publish.area SET content = 'x'")
        append(sheet(1, contest_id="xx-2021-other"))
        eventually(lambda: of("xx-2021-other", totals(setup)))
    assert len(of(CONTEST, totals(setup))) == 8


def test_an_area_that_a_unit_left_says_by_which_update_it_fell(setup: Setup, append: Callable[..., int]) -> None:
    defined = contest()
    country, state, *inner = AREA_PATH
    other = defined.areas[0].model_copy(
        update={"area_id": "020000", "name": "Other", "type": "state", "parent_id": country}
    )
    begin(setup, append, named(defined.model_copy(update={"areas": (*defined.areas, other)})))
    first = sheet(1)
    append(first, sheet(2))
    publish(setup)
    moved = sheet(1, after=first, hours=13)
    there = moved.reporting_unit.model_copy(update={"area_path": (country, "020000")})
    moved = named(moved.model_copy(update={"reporting_unit": there}))
    append(moved)
    publish(setup)
    told = {count.area_id: count for count in of(CONTEST, totals(setup))[len(AREA_PATH) :]}
    gained = {area: count.change.get("votes.a", 0) for area, count in told.items()}
    assert gained == {country: 0, **dict.fromkeys((state, *inner), -10), "020000": 0}, (
        "the last one has its first count"
    )
    assert {cause.event_id for count in told.values() for cause in count.events} == {moved.event_id}
    assert {count.events_total for count in told.values()} == {1}
