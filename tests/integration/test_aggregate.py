"""The aggregator against a real broker and a real PostgreSQL: what is committed, when, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer, TopicPartition
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
from aggregator.tables.migrate import migrate
from aggregator.tables.writer import Writer
from results.count import Basis, NothingCounted
from results.moment import Moment
from results.reader import Reader
from results.version import MigrationError
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import LogDamaged, TopicUnfit
from runtime.postgres import DatabaseError
from schemas.contest import Area, ContestDefined
from schemas.count_update import Correction, CountUpdate
from schemas.errors import EscrutinioError
from schemas.identity import NIL, named
from schemas.log_record import recorded_of_raw
from schemas.types import CorrectionBasis, CountStatus, ReportingUnitType, ReviewReason, UpdateKind
from tests.support.builders import AREA_PATH, CONTEST, STARTS, bulletin, contest, revised, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of
from tests.support.fix_kafka import create_topic
from tests.support.fix_postgres import Database
from tests.support.servers import Broker, Postgres
from tests.support.waiting import WITHIN_S, eventually


def test_totals_of_every_level_are_the_sum_of_the_sheets(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(i, {"a": i, "b": 2 * i}) for i in range(1, 51))])
    aggregate(event_log, totals)
    for area in ("xx", "010000", "010100", "010101"):
        count = count_of(totals, CONTEST, area)
        assert count.basis is Basis.COMPUTED
        assert [s.votes for s in count.selections] == [sum(range(1, 51)), 2 * sum(range(1, 51))]
        assert count.sub_units["counted"] == 50
        assert count.as_of.offset == 50


def test_plain_sql_on_the_view_gives_the_same_as_show(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(level=ReportingUnitType.COUNTRY), bulletin(502, 498, counted=90, under_review=3)])
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    with psycopg.connect(totals.reader_url) as db:
        rows = db.execute(
            "SELECT selection_id, votes, share::text FROM results.selection_count"
            " WHERE contest_id = %s AND area_id = 'xx' AND is_count ORDER BY ballot_order",
            (CONTEST,),
        ).fetchall()
        area = db.execute(
            "SELECT processed_percent::text, counted_percent::text, turnout_of_counted_percent::text, turnout_of_roll_percent::text"  # noqa: E501
            " FROM results.area_count WHERE contest_id = %s AND area_id = 'xx' AND is_count",
            (CONTEST,),
        ).fetchone()
    assert rows == [(s.selection_id, s.votes, s.share) for s in count.selections]
    assert area == (
        count.sub_units_processed.percent,
        count.sub_units_counted.percent,
        count.turnout.of_registered_voters_counted,
        count.turnout.of_registered_voters,
    )


def test_replay_gives_what_the_tables_hold_and_any_earlier_state(event_log: EventLog, totals: Database) -> None:
    first = bulletin(100, 50, counted=10)
    second = bulletin(200, 150, counted=20, after=first, hours=13)
    event_log.append([contest(level=ReportingUnitType.COUNTRY), first, second])
    aggregate(event_log, totals)

    def at(until: Moment) -> object:
        state = replay.replay(event_log.kafka, event_log.topic, CONTEST, until)
        return of_state(state, None, state.root())

    assert at(Moment()) == count_of(totals, CONTEST)
    assert at(Moment(offset=2)) == count_of(totals, CONTEST)
    earlier = at(Moment(offset=1))
    assert earlier == at(Moment(stated_at=first.stated_at)) != count_of(totals, CONTEST)
    with pytest.raises(replay.NotOnTheLog, match="ends at offset 2"):
        at(Moment(offset=3))
    with pytest.raises(NothingCounted):
        at(Moment(stated_at=STARTS))


def test_replay_to_a_recorded_time_takes_what_the_broker_had_then(event_log: EventLog) -> None:
    event_log.append([contest(level=ReportingUnitType.COUNTRY), first := bulletin(1, 2, counted=1)])
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
    with psycopg.connect(totals.reader_url) as db:
        (rows,) = db.execute("SELECT count(*) FROM results.update_history").fetchone() or (None,)
    assert rows == 3


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_the_digest_does_not_depend_on_the_size_of_batches(
    event_log: EventLog, totals: Database, batch_size: int
) -> None:
    event_log.append([contest(), *(sheet(i) for i in range(10))])
    aggregate(event_log, totals, batch_size=batch_size)
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment())
    assert count_of(totals, CONTEST).digest == state.root()


def test_a_moved_counting_level_shows_computed_beside_official(event_log: EventLog, totals: Database) -> None:
    definition = contest(level=ReportingUnitType.COUNTRY)
    event_log.append([definition, bulletin(100, 200, counted=9, hours=12), *(sheet(i, hours=12.5) for i in range(10))])
    aggregate(event_log, totals)
    assert count_of(totals, CONTEST).basis is Basis.OFFICIAL
    with pytest.raises(NothingCounted, match="counting level is country"):
        count_of(totals, CONTEST, "010101")
    event_log.append([revised(definition, ReportingUnitType.PRECINCT)])
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert count.basis is Basis.COMPUTED
    assert [s.votes for s in count.selections] == [100, 200]
    assert count.official is not None
    assert count.official.seconds_apart == 30 * 60
    assert count.official.differences["counted"] == 1
    assert count.official.differences["votes.a"] == 0
    with psycopg.connect(totals.reader_url) as db:
        rows = db.execute("SELECT area_id, counted_difference, votes_difference FROM results.reconciliation").fetchall()
    assert rows == [("xx", 1, {"a": 0, "b": 0})]


def test_a_finding_is_kept_beside_the_update_it_is_about(event_log: EventLog, totals: Database) -> None:
    wrong = sheet(1)
    assert wrong.counts is not None
    counts = wrong.counts.model_copy(update={"ballots_cast": 999})
    event_log.append([contest(), named(wrong.model_copy(update={"event_id": NIL, "counts": counts}))])
    aggregate(event_log, totals)
    with psycopg.connect(totals.reader_url) as db:
        codes = [code for (code,) in db.execute("SELECT code FROM results.finding ORDER BY code")]
    assert codes == ["F105", "F108"]


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


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cleanup_policy", "compact"), ("retention_ms", "3600000"), ("message_timestamp_type", "CreateTime")],
)
def test_a_topic_that_could_lose_events_is_refused(
    new_topic: Callable[..., str], event_log: EventLog, setting: str, value: str
) -> None:
    topic = new_topic("lossy", **{setting: value})
    with Log(event_log.kafka, topic) as log, pytest.raises(TopicUnfit, match=setting.replace("_", r"\.")):
        log.topic_id()


def test_a_log_whose_beginning_is_gone_is_refused(
    event_log: EventLog, kafka_admin: KafkaAdminClient, totals: Database
) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    kafka_admin.delete_records({TopicPartition(event_log.topic, 0): 2})
    with pytest.raises(LogDamaged, match="begins at offset 2"):
        aggregate(event_log, totals)


def test_a_transaction_on_the_log_is_a_hole_and_is_refused(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    producer = KafkaProducer(bootstrap_servers=event_log.bootstrap_servers, transactional_id="intruder")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(event_log.topic, b"x", key=b"y")
    producer.commit_transaction()
    producer.close()
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
        assert {row["contest_id"]: row["messages"] for row in views.unattributed()} == {"␀": 1}
    assert count_of(totals, CONTEST).sub_units["counted"] == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE aggregate.area_total SET votes = jsonb_set(votes, '{a}', '11') WHERE area_id = '010100'",
        "UPDATE aggregate.count_update_history SET counts = jsonb_set(counts, '{votes,a}', '11') WHERE unit_id = '000001'",  # noqa: E501
        "DELETE FROM aggregate.unit_state WHERE unit_id = '000001'",
        "UPDATE aggregate.count_update_history SET previous_event_id = event_id WHERE unit_id = '000001'",
        "UPDATE aggregate.cursor SET next_offset = 1",
    ],
)
def test_a_row_changed_by_hand_is_not_built_upon(event_log: EventLog, totals: Database, tampering: str) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    aggregate(event_log, totals)
    with psycopg.connect(totals.owner_url) as db:
        db.execute(tampering)
    with pytest.raises(EscrutinioError, match="outside the aggregator"):
        aggregate(event_log, totals)


def test_a_late_statement_survives_a_restart_without_turning_the_count_back(
    event_log: EventLog, totals: Database
) -> None:
    first = sheet(1, {"a": 30, "b": 30}, hours=15)
    late = sheet(1, {"a": 1, "b": 1}, after=first, hours=13)
    event_log.append([contest(), first, late])
    aggregate(event_log, totals)
    event_log.append([sheet(1, {"a": 31, "b": 30}, after=late, hours=16), sheet(2)])
    aggregate(event_log, totals)
    assert [s.votes for s in count_of(totals, CONTEST).selections] == [41, 50]
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment())
    assert count_of(totals, CONTEST).digest == state.root()


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


def test_explain_tells_a_sheet_that_went_back_to_the_jury(event_log: EventLog, totals: Database) -> None:
    from results.changes import changes
    from results.rows import recorded_of
    from schemas.count_update import UnitKey

    counted = sheet(1, {"a": 90, "b": 90})
    observed = sheet(
        1,
        {"a": 90, "b": 90},
        after=counted,
        hours=13,
        status=CountStatus.UNDER_REVIEW,
        review_reason=ReviewReason.MISSING_SIGNATURES,
    )
    event_log.append([contest(), counted, observed])
    aggregate(event_log, totals)
    with Reader(totals.reader_url) as views:
        rows = []
        for row in views.history(CONTEST, UnitKey("precinct", "000001")):
            event = recorded_of(row).event
            assert isinstance(event, CountUpdate)
            rows.append((row["log_offset"], event, row["change"]))
        told = changes(views.contest(CONTEST)[0], rows, {})
    assert told[1].change["votes.a"] == -90
    assert "COUNTED → UNDER_REVIEW (missing signatures)" in told[1].sentences


def test_an_older_database_is_refused_with_what_to_do(database: Database) -> None:
    with pytest.raises(MigrationError, match="run `escrutinio-aggregator migrate`"):
        Reader(database.reader_url)
    applied, waiting = migrate(database.owner_url)
    assert ([m.version for m in applied], waiting) == ([1, 2], [])
    assert migrate(database.owner_url) == ([], [])
    with psycopg.connect(database.owner_url) as db:
        db.execute("UPDATE aggregate.schema_migration SET sha256 = 'x' WHERE version = 2")
    with pytest.raises(MigrationError, match="another form"):
        migrate(database.owner_url)


def test_it_waits_for_a_broker_and_a_database_that_go_away(
    own_kafka_server: Broker, own_postgres_server: Postgres, topic_prefix: str
) -> None:
    broker, postgres = own_kafka_server, own_postgres_server
    topic = topic_prefix + "results.events"
    create_topic(broker, topic)
    migrate(postgres.owner_url)
    stop = threading.Event()
    seen: list[consume.Progress] = []
    runner = threading.Thread(
        target=consume.run,
        args=(postgres.writer_url, KafkaAccess(broker.bootstrap_servers), topic, stop),
        kwargs={"on_progress": seen.append},
        daemon=True,
    )
    runner.start()
    log = EventLog(broker.bootstrap_servers, topic, KafkaProducer(bootstrap_servers=broker.bootstrap_servers))
    try:
        log.append([contest(), sheet(1)])
        eventually(lambda: bool(seen) and seen[-1].offset == 2)
        postgres.kill()
        log.append([sheet(2)])
        postgres.start()
        eventually(lambda: seen[-1].offset == 3)
        broker.kill()
        broker.start()
        log.append([sheet(3)])
        eventually(lambda: seen[-1].offset == 4)
    finally:
        stop.set()
        runner.join(WITHIN_S)
        log.producer.close()
    assert not runner.is_alive()
    with Reader(postgres.reader_url) as views:
        assert views.count(CONTEST, None).sub_units["counted"] == 3


def test_an_area_that_loses_its_only_sheet_does_not_stop_the_next_start(event_log: EventLog, totals: Database) -> None:
    elsewhere = Area(area_id="010102", name="B", type=ReportingUnitType.MUNICIPALITY, parent_id="010100")
    definition = contest()
    fields = {name: getattr(definition, name) for name in ContestDefined.model_fields}
    definition = named(ContestDefined(**fields | {"event_id": NIL, "areas": (*definition.areas, elsewhere)}))
    first = sheet(1)
    path = (*AREA_PATH[:3], "010102")
    unit = first.reporting_unit.model_copy(update={"area_path": path})
    moved = sheet(1, after=first, hours=13)
    moved = named(moved.model_copy(update={"event_id": NIL, "reporting_unit": unit}))
    event_log.append([definition, first, moved])
    aggregate(event_log, totals)
    event_log.append([sheet(2, hours=14)])
    aggregate(event_log, totals)
    assert count_of(totals, CONTEST, "010102").sub_units["counted"] == 1
    assert count_of(totals, CONTEST, "010101").sub_units["counted"] == 1
    assert count_of(totals, CONTEST).sub_units["counted"] == 2


def test_sheets_that_nobody_has_stated_are_to_be_processed_in_the_view_as_in_show(
    event_log: EventLog, totals: Database
) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert (count.sub_units["total"], count.sub_units["counted"], count.sub_units["pending"]) == (100, 1, 99)
    assert count.sub_units_counted.percent == "1.000"
    assert count.turnout.registered_voters == 30_000
    with psycopg.connect(totals.reader_url) as db:
        row = db.execute(
            "SELECT total, counted, pending, counted_percent::text, registered_voters FROM results.area_count"
            " WHERE area_id = 'xx' AND is_count"
        ).fetchone()
    assert row == (100, 1, 99, "1.000", 30_000)


def test_a_retracted_bulletin_is_no_count_in_the_view_either(event_log: EventLog, totals: Database) -> None:
    said = bulletin(5, 3, counted=1)
    taken_back = named(
        CountUpdate(
            **{
                **bulletin(5, 3, counted=1, after=said, hours=13).__dict__,
                "event_id": NIL,
                "kind": UpdateKind.RETRACTED,
                "correction": Correction(
                    reason="withdrawn",
                    basis=CorrectionBasis.SOURCE_DECLARED,
                    authority="ONPE",
                    replaces_event_id=said.event_id,
                ),
            }
        )
    )
    event_log.append([contest(level=ReportingUnitType.COUNTRY), said, taken_back])
    aggregate(event_log, totals)
    with pytest.raises(NothingCounted, match="retracted"):
        count_of(totals, CONTEST)
    with psycopg.connect(totals.reader_url) as db:
        assert db.execute("SELECT * FROM results.area_count").fetchall() == []


def test_a_blocked_contest_says_so_where_its_count_is_read(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    event_log.append_raw(CONTEST.encode(), b"poison")
    aggregate(event_log, totals)
    assert "offset 2" in (count_of(totals, CONTEST).blocked or "")
    with psycopg.connect(totals.reader_url) as db:
        assert db.execute("SELECT DISTINCT blocked FROM results.selection_count").fetchall() == [(True,)]


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


def test_replay_to_an_official_time_takes_areas_defined_later_and_the_level_of_then(event_log: EventLog) -> None:
    definition = contest(level=ReportingUnitType.COUNTRY)
    said = bulletin(5, 3, counted=1, hours=12)
    moved = revised(definition, ReportingUnitType.PRECINCT, hours=14)
    event_log.append([definition, said, sheet(1, hours=13), moved, sheet(2, hours=15)])

    def at(hours: float) -> tuple[Basis, int | None]:
        until = Moment(stated_at=STARTS + timedelta(hours=hours))
        state = replay.replay(event_log.kafka, event_log.topic, CONTEST, until)
        count = of_state(state, None, state.root())
        return count.basis, count.selections[0].votes

    assert at(12) == (Basis.OFFICIAL, 5)
    assert at(13.5) == (Basis.OFFICIAL, 5)
    assert at(14) == (Basis.COMPUTED, 10)
    assert at(15) == (Basis.COMPUTED, 20)


def test_replay_to_an_official_time_takes_no_update_that_the_log_refuses(event_log: EventLog) -> None:
    first = sheet(1, hours=12)
    fork = sheet(1, {"a": 99, "b": 20}, after=first, hours=15)
    event_log.append([contest(), first, sheet(1, {"a": 11, "b": 20}, after=first, hours=20), fork])
    until = Moment(stated_at=STARTS + timedelta(hours=16))
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, until)
    count = of_state(state, None, state.root())
    assert count.selections[0].votes == 10
    assert count.as_of.offset == 1
    to_offset = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment(offset=1))
    assert count.digest == to_offset.root()


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
        command = [
            "status",
            "--bootstrap-servers",
            servers,
            "--reader-url",
            totals.reader_url,
            "--topic-prefix",
            prefix,
        ]
        return CliRunner().invoke(main, command)

    assert (status().exit_code, "caught up" in status().stdout) == (0, True)
    away = status("127.0.0.1:1")
    assert (away.exit_code, "lag unknown" in away.stdout) == (1, True)
    with psycopg.connect(totals.owner_url) as db:
        db.execute("UPDATE aggregate.cursor SET topic_id = gen_random_uuid()")
    other = status()
    assert (other.exit_code, "is not the log the totals were built from" in other.stdout) == (1, True)


def test_explain_counts_moves_by_the_offices_own_order(event_log: EventLog, totals: Database) -> None:
    first = sheet(1, hours=15)
    late = sheet(1, {"a": 0, "b": 0}, after=first, hours=13, status=CountStatus.PENDING)
    event_log.append([contest(), first, late, sheet(1, {"a": 11, "b": 20}, after=late, hours=16)])
    aggregate(event_log, totals)
    with Reader(totals.reader_url) as views:
        (snapshot,) = views.snapshots(CONTEST, "xx", "precinct")
    assert [(m["before"], m["after"], m["units"]) for m in snapshot["moves"]] == [
        ("COUNTED", "COUNTED", 1),
        ("not stated", "COUNTED", 1),
    ]
