"""The aggregator against a real broker and a real PostgreSQL: what is committed, when, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from kafka.admin import KafkaAdminClient
from kafka.admin._partitions import NewPartitions

from aggregator.cli import main
from aggregator.live import run as consume
from aggregator.live.partition import PartitionFold
from aggregator.log.reader import Log
from aggregator.replay import replay
from aggregator.replay.answer import of_state
from aggregator.tables.batch import Batch
from aggregator.tables.errors import Fenced, TablesError
from aggregator.tables.migrate import migrate, released
from aggregator.tables.writer import Writer
from results.count import NothingCounted
from results.moment import Moment
from results.reader import Reader
from results.version import MigrationError
from runtime.kafka.errors import LogDamaged, TopicUnfit
from runtime.postgres import DatabaseError
from schemas.count_update import Code
from schemas.errors import EscrutinioError
from schemas.identity import NIL, named
from schemas.log_record import recorded_of_raw
from schemas.types import CountStatus, ReportingUnitType
from schemas.unit_roll import UnitRoll
from tests.support.builders import CONTEST, STARTS, bulletin, contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of
from tests.support.fix_kafka import delete_records, transact
from tests.support.fix_postgres import Database
from tests.support.waiting import eventually


def test_replay_gives_what_the_tables_hold_and_any_earlier_state(event_log: EventLog, totals: Database) -> None:
    first = bulletin(100, 50, counted=10)
    second = bulletin(200, 150, counted=20, after=first, hours=13)
    event_log.append([contest(level=(ReportingUnitType.COUNTRY,)), first, second])
    aggregate(event_log, totals)

    def at(until: Moment) -> object:
        state = replay.replay(event_log.kafka, event_log.topic, CONTEST, until)
        return of_state(state, state.root())

    assert at(Moment()) == count_of(totals, CONTEST)
    assert at(Moment(offset=2)) == count_of(totals, CONTEST)
    earlier = at(Moment(offset=1))
    assert earlier == at(Moment(stated_at=first.stated_at)) != count_of(totals, CONTEST)
    with pytest.raises(replay.NotOnTheLog, match="ends at offset 2"):
        at(Moment(offset=3))
    with pytest.raises(NothingCounted):
        at(Moment(stated_at=STARTS))


def test_replay_to_a_recorded_time_takes_what_the_broker_had_then(event_log: EventLog) -> None:
    event_log.append([contest(level=(ReportingUnitType.COUNTRY,)), first := bulletin(1, 2, counted=1)])
    time.sleep(0.05)
    event_log.append([bulletin(3, 4, counted=2, after=first, hours=13)])
    with Log(event_log.kafka, event_log.topic) as log:
        records = [r for batch in log.read_to_end(0) for r in batch]
    between = recorded_of_raw(records[1]).recorded_at
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment(recorded_at=between))
    assert state.last is not None
    assert state.last.offset == 1


def test_a_second_run_goes_on_where_the_first_ended(event_log: EventLog, totals: Database) -> None:
    first = sheet(1)
    event_log.append([contest(), first])
    aggregate(event_log, totals)
    event_log.append([sheet(1, {"a": 11, "b": 20}, after=first, hours=13), sheet(2)])
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [21, 40]
    assert totals.read("SELECT count(*) FROM results.update_history") == [(3,)]


def test_a_roll_without_units_is_kept_and_changes_no_unit(event_log: EventLog, totals: Database) -> None:
    roll = UnitRoll(
        event_id=NIL, contest_id=CONTEST, revision=1, part=1, parts=1, previous_event_id=None, observed_at=STARTS,
        document_sha256="ab" * 32, units=(),
    )  # fmt: skip
    event_log.append([contest(), named(roll)])
    aggregate(event_log, totals)
    event_log.append([sheet(1)])
    aggregate(event_log, totals)
    assert count_of(totals, CONTEST).digest == replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment()).root()


def test_a_finding_is_kept_beside_the_update_it_is_about(event_log: EventLog, totals: Database) -> None:
    wrong = sheet(1)
    assert wrong.counts is not None
    counts = wrong.counts.model_copy(update={"ballots_cast": 999})
    event_log.append([contest(), named(wrong.model_copy(update={"event_id": NIL, "counts": counts}))])
    aggregate(event_log, totals)
    assert totals.read("SELECT code FROM checking.finding ORDER BY code") == [("F105",), ("F108",)]


def test_a_writer_that_was_replaced_writes_nothing(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    with Log(event_log.kafka, event_log.topic) as log, Writer(totals.writer_url) as zombie:
        old = zombie.claim(event_log.topic, log.topic_id(), 0)
        aggregate(event_log, totals)
        before = count_of(totals, CONTEST)
        (read,) = next(iter(log.read({0: 0})))
        batch = PartitionFold().apply(read.records)
        with pytest.raises(Fenced, match="nothing was written"):
            zombie.commit(old, batch)
    assert count_of(totals, CONTEST) == before


def test_a_commit_that_does_not_start_at_the_cursor_is_refused(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    with Log(event_log.kafka, event_log.topic) as log, Writer(totals.writer_url) as writer:
        cursor = writer.claim(event_log.topic, log.topic_id(), 0)
        moved = writer.commit(cursor, Batch(next_offset=5, digest="x"))
        with pytest.raises(Fenced):
            writer.commit(cursor, Batch(next_offset=9, digest="x"))
        assert writer.commit(moved, Batch(next_offset=9, digest="x")).next_offset == 9


def test_a_restart_is_no_commit(event_log: EventLog, totals: Database) -> None:
    def last_commit() -> object:
        with Reader(totals.reader_url) as views:
            (cursor,) = views.cursors()
        return cursor["updated_at"], cursor["next_offset"]

    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    before = last_commit()
    aggregate(event_log, totals)
    assert last_commit() == before
    event_log.append([sheet(2)])
    aggregate(event_log, totals)
    assert last_commit() != before


def test_a_topic_made_again_under_the_same_name_is_refused(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    with Writer(totals.writer_url) as writer, pytest.raises(TablesError, match="deleted and made again"):
        writer.claim(event_log.topic, UUID(int=1), 0)
    with Writer(totals.writer_url) as writer:  # the refusal moved no epoch: the true writer goes on
        assert writer.claim(event_log.topic, _topic_id(event_log), 0).next_offset == 2


def _topic_id(event_log: EventLog) -> UUID:
    with Log(event_log.kafka, event_log.topic) as log:
        return log.topic_id()


def test_a_topic_that_could_lose_events_is_refused(new_topic: Callable[..., str], event_log: EventLog) -> None:
    topic = new_topic("lossy", retention_ms="3600000")
    with Log(event_log.kafka, topic) as log, pytest.raises(TopicUnfit, match=r"retention\.ms"):
        log.topic_id()


def test_a_log_whose_beginning_is_gone_is_refused(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    delete_records(event_log.bootstrap_servers, event_log.topic, 2)
    with pytest.raises(LogDamaged, match="begins at offset 2"):
        aggregate(event_log, totals)


def test_a_transaction_on_the_log_is_a_hole_and_is_refused(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    transact(event_log.bootstrap_servers, event_log.topic)
    event_log.append([sheet(1)])
    with pytest.raises(LogDamaged, match="hole"):
        aggregate(event_log, totals)


def test_an_unreadable_message_stops_its_own_contest_only(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), contest("other"), sheet(1), sheet(1, contest_id="other")])
    poison = event_log.append_raw(CONTEST.encode(), b"\x00\x00\x00\x00\x63not an event")
    event_log.append([sheet(2), sheet(2, contest_id="other")])
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [10, 20]
    assert [s.votes for s in count_of(totals, "other").selections] == [20, 40]
    with Reader(totals.reader_url) as views:
        by_id = {row["contest_id"]: row for row in views.status()}
    assert by_id[CONTEST]["blocked"]
    assert by_id[CONTEST]["blocked_offset"] == poison
    assert "schema id 99" in by_id[CONTEST]["blocked_reason"]
    assert by_id[CONTEST]["parked"] == 2
    assert not by_id["other"]["blocked"]
    event_log.append([sheet(3), sheet(3, contest_id="other")])  # and it stays so after a restart
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, "other").selections] == [30, 60]
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [10, 20]


def test_a_message_of_no_contest_is_parked_and_shown(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    event_log.append_raw(None, b"?")
    event_log.append([sheet(1)])
    aggregate(event_log, totals)
    with Reader(totals.reader_url) as views:
        assert [row["messages"] for row in views.unattributed()] == [1]
    assert count_of(totals, CONTEST).sub_units["counted"] == 1


def test_what_no_database_can_hold_stops_its_own_contest_only(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    event_log.append_raw(b"\0", b"?", [("a\0b", b"\0")])
    event_log.append([sheet(1)])
    aggregate(event_log, totals)
    with Reader(totals.reader_url) as views:
        assert {row["contest_id"]: row["messages"] for row in views.unattributed()} == {"\x1a␀": 1}
    assert count_of(totals, CONTEST).sub_units["counted"] == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE aggregate.area_total SET figures[54] = 11 WHERE area_id = '010100'",
        "UPDATE aggregate.count_update_history SET figures[54] = 11 WHERE log_offset = 1",
        "UPDATE aggregate.count_update_history SET count_status = 'ANNULLED' WHERE log_offset = 1",
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 1",
        "DELETE FROM aggregate.unit_state WHERE unit_id = '000001'",
        "DELETE FROM aggregate.unit_state WHERE unit_id = '000002'",
        "UPDATE aggregate.unit_state SET unit_id = '000009' WHERE unit_id = '000001'",
        "UPDATE aggregate.area_path SET areas = areas[:1]",
        "DELETE FROM aggregate.area_path",
        "UPDATE aggregate.count_update_history SET leaf = sha256('x') WHERE log_offset = 1",
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 2",
        "UPDATE aggregate.cursor SET next_offset = 1",
    ],
)
def test_a_row_changed_by_hand_is_not_built_upon(event_log: EventLog, totals: Database, tampering: str) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    aggregate(event_log, totals)
    totals.change(tampering)
    with pytest.raises(EscrutinioError, match="outside the aggregator"):
        aggregate(event_log, totals)


def test_several_partitions_are_aggregated_each_by_its_own_cursor(
    event_log: EventLog, kafka_admin: KafkaAdminClient, totals: Database
) -> None:
    kafka_admin.create_partitions({event_log.topic: NewPartitions(3)})
    ids = [f"contest-{i}" for i in range(6)]
    event_log.append([contest(i) for i in ids])
    event_log.append([sheet(n, contest_id=i) for n in range(3) for i in ids])
    aggregate(event_log, totals)
    assert {i: count_of(totals, i).sub_units["counted"] for i in ids} == dict.fromkeys(ids, 3)
    with Reader(totals.reader_url) as views:
        assert sorted(c["partition"] for c in views.cursors()) == [0, 1, 2]


def test_a_partition_that_is_added_while_it_runs_is_read(
    event_log: EventLog, kafka_admin: KafkaAdminClient, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consume, "_CHECK_S", 0.1)
    monkeypatch.setattr(consume, "_QUERY_S", 0.1)
    stop = threading.Event()
    where = totals.writer_url, event_log.kafka, event_log.topic, stop
    (thread := threading.Thread(target=consume.run, args=where)).start()
    try:
        eventually(lambda: totals.read("SELECT partition FROM checking.cursor") == [(0,)])
        kafka_admin.create_partitions({event_log.topic: NewPartitions(2)})
        eventually(lambda: totals.read("SELECT partition FROM checking.cursor ORDER BY 1") == [(0,), (1,)])
    finally:
        stop.set()
        thread.join()


def test_an_older_database_is_refused_with_what_to_do(database: Database) -> None:
    with pytest.raises(MigrationError, match="run `escrutinio-aggregator migrate`"):
        Reader(database.reader_url)
    applied, waiting = migrate(database.owner_url)
    assert (applied, waiting) == (released(), [])
    assert migrate(database.owner_url) == ([], [])
    database.change("UPDATE aggregate.schema_migration SET sha256 = 'x' WHERE version = 2")
    with pytest.raises(MigrationError, match="another form"):
        migrate(database.owner_url)


def test_a_blocked_contest_says_so_where_its_count_is_read(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    event_log.append_raw(CONTEST.encode(), b"poison")
    aggregate(event_log, totals)
    assert "offset 2" in (count_of(totals, CONTEST).blocked or "")
    assert totals.read("SELECT DISTINCT blocked FROM results.selection_count") == [(True,)]


def test_a_database_holds_one_topic(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    aggregate(event_log, totals)
    with Writer(totals.writer_url) as writer, pytest.raises(TablesError, match="a database of its own"):
        writer.claim("rehearsal.results.events", UUID(int=7), 0)


def test_what_the_database_refuses_is_a_fault_and_not_waited_for(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    with pytest.raises(DatabaseError, match="refused"):
        consume.run(totals.reader_url, event_log.kafka, event_log.topic, threading.Event(), until_caught_up=True)


def test_a_run_on_a_database_without_its_tables_says_what_to_do(event_log: EventLog, database: Database) -> None:
    event_log.append([contest()])
    with pytest.raises(MigrationError, match="escrutinio-aggregator migrate"):
        aggregate(event_log, database)
    with pytest.raises(MigrationError, match="refused"):
        migrate(database.reader_url)


def test_an_unknown_contest_is_no_answer_and_the_known_are_named(event_log: EventLog) -> None:
    event_log.append([contest()])
    with pytest.raises(NothingCounted, match=rf"nowhere is not on .*\(known: {CONTEST}\)"):
        replay.replay(event_log.kafka, event_log.topic, "nowhere", Moment())


def test_status_vouches_for_no_log_but_the_one_that_was_aggregated(
    event_log: EventLog, totals: Database, new_topic: Callable[..., str]
) -> None:
    prefix = event_log.topic.removesuffix("results.events")
    new_topic("results.feed-status")
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)

    def status(servers: str = event_log.bootstrap_servers) -> Result:
        options = ["--bootstrap-servers", servers, "--reader-url", totals.reader_url, "--topic-prefix", prefix]
        return CliRunner().invoke(main, ["status", *options])

    assert (status().exit_code, "caught up" in status().stdout) == (0, True)
    away = status("127.0.0.1:1")
    assert (away.exit_code, "lag unknown" in away.stdout) == (1, True)
    totals.change("UPDATE aggregate.cursor SET topic_id = gen_random_uuid()")
    other = status()
    assert (other.exit_code, "is not the log the totals were built from" in other.stdout) == (1, True)


def test_status_names_a_message_that_is_no_heartbeat(
    event_log: EventLog, totals: Database, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("results.feed-status")
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    EventLog(event_log.bootstrap_servers, topic, event_log.producer).append_raw(CONTEST.encode(), b"?")
    options = ["--bootstrap-servers", event_log.bootstrap_servers, "--reader-url", totals.reader_url]
    prefix = event_log.topic.removesuffix("results.events")
    told = CliRunner().invoke(main, ["status", *options, "--topic-prefix", prefix], env={"COLUMNS": "300"})
    assert (told.exit_code, f"{topic}[0]@0 is not a heartbeat" in told.stdout) == (1, True)
    assert "caught up" in told.stdout


def test_explain_counts_moves_by_the_offices_own_order(event_log: EventLog, totals: Database) -> None:
    first = sheet(1, hours=15)
    late = sheet(1, {"a": 0, "b": 0}, after=first, hours=13, status=CountStatus.PENDING)
    event_log.append([contest(), first, late, sheet(1, {"a": 11, "b": 20}, after=late, hours=16)])
    aggregate(event_log, totals)
    with Reader(totals.reader_url) as views:
        (snapshot,) = views.snapshots(CONTEST, "xx", ("precinct",))
    assert [(m["before"], m["after"], m["units"]) for m in snapshot["moves"]] == [
        ("COUNTED", "COUNTED", 1),
        ("not stated", "COUNTED", 1),
    ]


def test_the_codes_of_another_register_stand_beside_an_area(event_log: EventLog, totals: Database) -> None:
    definition = contest()
    coded = [a.model_copy(update={"codes": (Code(registry="INEI", value=f"9{a.area_id}"),)}) for a in definition.areas]
    event_log.append([named(definition.model_copy(update={"areas": tuple(coded)})), sheet(1)])
    aggregate(event_log, totals)
    for view in ("area_count", "area_history", "selection_count"):
        rows = totals.read(f"SELECT DISTINCT area_id, codes ->> 'INEI' FROM results.{view} ORDER BY 1")  # noqa: S608
        assert rows == sorted((a.area_id, f"9{a.area_id}") for a in definition.areas)
