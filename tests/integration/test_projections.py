"""Projections beside the live one: rebuilt and taken over, rolled back, kept replays; readers notice nothing."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner
from psycopg.sql import SQL, Identifier

from aggregator.cli import main
from aggregator.live import run as consume
from aggregator.projections.catalog import NotEqual, Projections, TakeOver
from aggregator.projections.keep_replay import replay_into
from aggregator.projections.rebuild import Building, next_projection, take_over
from aggregator.tables.lock_wait import LockedOut
from aggregator.verify.compare import verify
from results.as_of import ContestAsOf
from results.cli import main as show
from results.count import NothingCounted
from results.moment import NOW, Moment
from results.projection import LIVE, Projection, ProjectionError
from results.reader import Reader
from schemas.area_count import Basis
from schemas.chain import broken_rules
from schemas.columns import decode_general, layout
from schemas.columns.layout import STATUSES, Numbers, contributions
from schemas.count_update import CountUpdate
from schemas.rules import Finding
from schemas.types import CountStatus, ReportingUnitType
from tests.support.builders import CONTEST, STARTS, bulletin, contest, revised, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of, verified
from tests.support.fix_postgres import Database
from tests.support.fix_setup import Setup
from tests.support.fix_tables import or_none
from tests.support.waiting import WITHIN_S, eventually

V1, V2, V3 = Projection("v1"), Projection("v2"), Projection("v3")


@contextmanager
def building(log: EventLog, totals: Database, projection: Projection) -> Iterator[Building]:
    with Building(totals.writer_url, log.kafka, log.topic, projection, batch_size=2) as found:
        yield found


def rebuild(
    log: EventLog, totals: Database, projection: Projection | None = None, reason: str | None = None
) -> TakeOver:
    with Projections(totals.owner_url) as projections:
        target = projection or next_projection(projections)
        with building(log, totals, target) as found:
            return take_over(projections, found, target, reason)


def versions(totals: Database) -> dict[str | None, int]:
    with Projections(totals.owner_url) as projections:
        return {s.projection.name: s.version for s in projections.statuses()}


def test_a_rebuild_takes_over_and_the_former_one_can_come_back(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(1, 8))])
    aggregate(event_log, totals)
    before = count_of(totals, CONTEST)
    taken = rebuild(event_log, totals)
    assert (taken.from_version, taken.to_version, taken.former) == (1, 2, V1)
    assert versions(totals) == {None: 2, "v1": 1}
    assert count_of(totals, CONTEST) == before

    event_log.append([sheet(8)])
    aggregate(event_log, totals)
    after = count_of(totals, CONTEST)
    assert after.as_of.offset == before.as_of.offset + 1
    with Reader(totals.reader_url, V1) as views:
        assert views.count(CONTEST, None) == before  # a former one stands still
    back = rebuild(event_log, totals, V1)
    assert (back.from_version, back.to_version, back.former) == (2, 1, V2)
    assert count_of(totals, CONTEST) == after
    query = "SELECT from_version, to_version, reason FROM checking.take_over ORDER BY taken_at"
    assert totals.read(query) == [(1, 2, None), (2, 1, None)]
    with Projections(totals.owner_url) as projections:
        assert next_projection(projections) == V3  # what was live once is not an interrupted rebuild


def test_what_differs_does_not_take_over_unless_somebody_says_why(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    totals.change("UPDATE aggregate.contest SET digest = 'changed by hand'")
    with pytest.raises(NotEqual, match=f"{CONTEST} has digest changed by hand in the live projection, "):
        rebuild(event_log, totals)
    assert versions(totals) == {None: 1, "v2": 2}
    assert rebuild(event_log, totals, V2, "a row was changed by hand").to_version == 2
    rows = totals.read("SELECT reason, operator, from_digests ->> %s FROM checking.take_over", CONTEST)
    assert rows == [("a row was changed by hand", "escrutinio_owner", "changed by hand")]


def test_what_has_not_caught_up_does_not_take_over(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    aggregate(event_log, totals)
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        with pytest.raises(NotEqual, match="the next offset of the live projection is 3, of the other 0"):
            projections.take_over(target, lambda _targets: None)
        with building(event_log, totals, target) as found:
            found.advance_to({0: 2})
            with pytest.raises(NotEqual, match="the next offset of the live projection is 3, of the other 2"):
                projections.take_over(target, lambda _targets: None)
            assert versions(totals) == {None: 1, "v2": 2}
            assert take_over(projections, found, target).to_version == 2


def votes(totals: Database) -> list[int | None]:
    return [selection.votes for selection in count_of(totals, CONTEST).selections]


def test_another_rule_of_what_is_accepted_takes_over_with_a_reason_only(
    event_log: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_log.append([contest(), sheet(1), sheet(2, {"a": 250, "b": 0})])
    aggregate(event_log, totals)
    assert votes(totals) == [260, 20]

    def stricter(update: CountUpdate, *about: Any) -> list[Finding]:
        assert update.counts is not None
        too_many = [Finding("F204", "too many")] if (update.counts.ballots_cast or 0) >= 200 else []
        return [*broken_rules(update, *about), *too_many]

    with monkeypatch.context() as patched:
        patched.setattr(decode_general, "broken_rules", stricter)
        with pytest.raises(NotEqual, match=f"{CONTEST} has digest "):
            rebuild(event_log, totals)
        assert (versions(totals), votes(totals)) == ({None: 1, "v2": 2}, [260, 20])
        rebuild(event_log, totals, V2, "a sheet has fewer than 200 ballots")
        assert votes(totals) == [10, 20]
        event_log.append([sheet(3)])
        aggregate(event_log, totals)
        assert votes(totals) == [20, 40]
    with pytest.raises(NotEqual):
        rebuild(event_log, totals, V1)
    back = rebuild(event_log, totals, V1, "it has more after all")
    assert (back.from_version, back.to_version, votes(totals)) == (2, 1, [270, 40])
    aggregate(event_log, totals)
    assert verified(event_log, totals).equal


def test_another_rule_of_what_is_added_takes_over_unasked_and_rolls_back(
    event_log: EventLog, totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest says which statements stand, not what they add: the totals of a release with another tally are other
    ones."""
    event_log.append([contest(), sheet(1), sheet(2, status=CountStatus.ANNULLED)])
    aggregate(event_log, totals)
    before = count_of(totals, CONTEST)
    assert votes(totals) == [10, 20]

    def with_annulled(kind: Numbers, is_sheet: Any, status: Numbers, *stated: Numbers, **more: Any) -> Numbers:
        counted, annulled = (STATUSES.index(of) for of in (CountStatus.COUNTED, CountStatus.ANNULLED))
        return contributions(kind, is_sheet, np.where(status == annulled, counted, status), *stated, **more)

    with monkeypatch.context() as patched:
        patched.setattr(layout, "contributions", with_annulled)
        assert rebuild(event_log, totals).to_version == 2
    assert (votes(totals), count_of(totals, CONTEST).digest) == ([20, 40], before.digest)
    assert rebuild(event_log, totals, V1).to_version == 1
    assert count_of(totals, CONTEST) == before


def waits_for_a_lock(totals: Database, schema: str) -> bool:
    """Whether somebody waits for a table or view of a schema."""
    with psycopg.connect(totals.owner_url) as db:
        query = """
            SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE NOT l.granted AND n.nspname = %s AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""  # noqa: E501
        return db.execute(query, (schema,)).fetchone() is not None


def test_a_rebuild_that_ended_before_its_first_migration_is_no_projection_and_goes_on(
    event_log: EventLog, totals: Database
) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    with psycopg.connect(totals.owner_url) as db:
        db.execute("CREATE SCHEMA results_v2; CREATE SCHEMA checking_v2; CREATE SCHEMA aggregate_v2")
        db.execute("CREATE TABLE aggregate_v2.schema_migration (LIKE aggregate.schema_migration INCLUDING ALL)")
    with Projections(totals.owner_url) as projections:
        assert [status.projection.name for status in projections.statuses()] == [None]
        target = next_projection(projections)
        with Building(totals.writer_url, event_log.kafka, event_log.topic, target) as building:
            assert take_over(projections, building, target).to_version == 2


@pytest.mark.parametrize(
    ("schema", "hold", "committed"),
    [
        ("aggregate_v2", "LOCK TABLE aggregate_v2.count_update_history IN SHARE MODE", 5),
        ("results", "SELECT FROM results.contest", 10),
    ],
    ids=["while it writes", "while it takes over"],
)
def test_a_rebuild_that_is_killed_goes_on_and_ends_equal(
    event_log: EventLog, totals: Database, tmp_path: Path, schema: str, hold: str, committed: int
) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(1, 10))])
    aggregate(event_log, totals)
    before = count_of(totals, CONTEST)
    setup = Setup(event_log.bootstrap_servers, event_log.topic.removesuffix("results.events"), totals, tmp_path)
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        with building(event_log, totals, target) as found:
            found.advance_to({0: 5})
        with psycopg.connect(totals.owner_url) as holder:
            holder.execute(hold)
            process = setup.start("aggregator", "rebuild")
            try:
                eventually(lambda: waits_for_a_lock(totals, schema))
                assert process.poll() is None
            finally:
                process.kill()
                process.wait()
        assert versions(totals) == {None: 1, "v2": 2}
        assert next_projection(projections) == target
        assert projections.of(target).places[0].next_offset == committed
    assert "version 2 is live" in setup.run("aggregator", "rebuild")
    assert versions(totals) == {None: 2, "v1": 1}
    assert count_of(totals, CONTEST) == before
    assert verified(event_log, totals).equal


def test_a_log_made_again_under_the_same_name_is_not_taken_for_the_same(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1), sheet(2)])
    aggregate(event_log, totals)
    totals.change("UPDATE aggregate.cursor SET topic_id = gen_random_uuid()")  # as if it had been built from another
    with pytest.raises(NotEqual, match="the live projection was built from"):
        rebuild(event_log, totals)
    rebuild(event_log, totals, V2, "the log was restored from a copy")
    aggregate(event_log, totals)
    assert count_of(totals, CONTEST).sub_units["counted"] == 2


def indexes(totals: Database, schema: str) -> dict[str, str]:
    with psycopg.connect(totals.owner_url) as db:
        rows = db.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s", (schema,)).fetchall()
    return {name: str(definition).replace(f" {schema}.", " ") for name, definition in rows}


def test_indexes_are_made_when_the_bulk_is_there_and_none_is_forgotten(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(1, 8))])
    aggregate(event_log, totals)
    as_migrated = indexes(totals, "aggregate")
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        left_out = as_migrated.keys() - indexes(totals, "aggregate_v2").keys()
        assert {"count_update_history_unit", "count_update_history_late", "area_total_block_stated"} <= left_out
        with building(event_log, totals, target) as found:
            found.advance_to({0: 5})
        assert next_projection(projections) == target  # interrupted, and taken up again
        with building(event_log, totals, target) as found:
            taken = take_over(projections, found, target)
    assert taken.to_version == 2
    assert indexes(totals, "aggregate") == indexes(totals, "aggregate_v1") == as_migrated


def test_it_never_passes_the_live_one(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    event_log.append([sheet(2)])
    rebuild(event_log, totals)
    assert count_of(totals, CONTEST).as_of.offset == 1
    aggregate(event_log, totals)
    assert count_of(totals, CONTEST).as_of.offset == 2


def test_a_running_aggregator_goes_on_with_the_new_one(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    stop = threading.Event()
    runner = threading.Thread(
        target=consume.run, args=(totals.writer_url, event_log.kafka, event_log.topic, stop), daemon=True
    )
    runner.start()
    try:
        reached(totals, 1)
        rebuild(event_log, totals)
        event_log.append([sheet(2)])
        reached(totals, 2)
        assert verified(event_log, totals).equal
    finally:
        stop.set()
        runner.join(WITHIN_S)
    assert not runner.is_alive()


def reached(totals: Database, offset: int) -> None:
    def is_there() -> bool:
        count = or_none(count_of, totals, CONTEST)
        return count is not None and count.as_of.offset >= offset

    eventually(is_there, lambda: f"offset {offset} was not aggregated")


def test_a_writer_of_before_writes_nothing(event_log: EventLog, totals: Database) -> None:
    from aggregator.tables.batch import Batch
    from aggregator.tables.errors import Fenced
    from aggregator.tables.writer import Writer

    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    with Writer(totals.writer_url) as writer:
        with Projections(totals.owner_url) as projections:
            topic_id = projections.of(LIVE).places[0].topic_id
        cursor = writer.claim(event_log.topic, topic_id, 0)
        rebuild(event_log, totals)
        with pytest.raises(Fenced):
            writer.commit(cursor, Batch(next_offset=3, digest=""))


def test_a_reader_sees_one_projection_only_and_is_waited_for(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        with building(event_log, totals, target) as found, psycopg.connect(totals.reader_url) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            assert reader.execute("SELECT version FROM checking.projection").fetchall() == [(1,)]
            pid = reader.info.backend_pid
            with pytest.raises(LockedOut, match=f"^the take-over waits for session {pid} of role escrutinio_reader"):
                projections.take_over(target, found.advance_to)
            assert reader.execute("SELECT count(*) FROM results.contest").fetchall() == [(1,)]
            assert reader.execute("SELECT version FROM checking.projection").fetchall() == [(1,)]
            reader.commit()
            take_over(projections, found, target)
            assert reader.execute("SELECT version FROM checking.projection").fetchall() == [(2,)]


def test_readers_of_several_views_in_every_order_do_not_keep_a_projection_from_taking_over(
    event_log: EventLog, totals: Database
) -> None:
    """Each holds the view it named first while it waits for the others: as we do, and in another order than ours."""
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    with Projections(totals.owner_url) as projections:
        target = next_projection(projections)
        seen: list[set[tuple[int, int]]] = []
        stop, faults = threading.Event(), []

        def read(views: tuple[str, ...]) -> None:
            named = SQL(", ").join(Identifier(*view.split(".")) for view in views)
            query = SQL("SELECT projection.version, contest.last_offset FROM {}").format(named)
            own: set[tuple[int, int]] = set()
            seen.append(own)
            try:
                with psycopg.connect(totals.reader_url, autocommit=True) as db:
                    while not stop.wait(0.01):  # six without any pause leave no moment between their statements
                        own.update(db.execute(query).fetchall())
            except Exception as fault:
                faults.append(fault)

        orders = itertools.permutations(("results.contest", "checking.projection", "results.area_count"))
        readers = [threading.Thread(target=read, args=(order,)) for order in orders]
        for thread in readers:
            thread.start()
        try:
            with building(event_log, totals, target) as found:
                take_over(projections, found, target)
        finally:
            time.sleep(0.2)
            stop.set()
            for thread in readers:
                thread.join()
    assert faults == []
    assert all(own == {(1, 1), (2, 1)} for own in seen)


def test_a_right_on_a_view_goes_over_to_the_new_one(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    views = "results.contest", "checking.finding"
    totals.change(f"GRANT SELECT ON {', '.join(views)} TO PUBLIC")
    rebuild(event_log, totals)
    for view in views:
        assert totals.read("SELECT has_table_privilege('public', %s, 'SELECT')", view) == [(True,)]


@pytest.mark.parametrize(
    ("moment", "counted"),
    [(NOW, 3), (Moment(offset=2), 2), (Moment(stated_at=STARTS + timedelta(hours=12, minutes=30)), 2)],
)
def test_a_kept_replay_is_read_like_the_live_one(
    event_log: EventLog, totals: Database, moment: Moment, counted: int
) -> None:
    event_log.append([contest(), sheet(1, hours=12), sheet(2, hours=12), sheet(3, hours=13)])
    kept = Projection("kept")
    servers = event_log.kafka, event_log.topic
    state = replay_into(totals.owner_url, totals.writer_url, *servers, CONTEST, moment, kept)
    with Reader(totals.reader_url, kept) as views:
        answer = views.count(CONTEST, None)
        assert (answer.sub_units["counted"], answer.digest) == (counted, state.root())
        assert ContestAsOf(views, CONTEST, Moment(offset=1)).count(None).sub_units["counted"] == 1
        if moment.stated_at is None:
            assert verify(views, *servers, CONTEST).equal
        else:
            with pytest.raises(ProjectionError, match="which is no state of the log"):
                verify(views, *servers, CONTEST)
    with pytest.raises(ProjectionError, match="there is a projection kept already"):
        replay_into(totals.owner_url, totals.writer_url, *servers, CONTEST, moment, kept)
    with Reader(totals.reader_url) as views, pytest.raises(NothingCounted):
        views.count(CONTEST, None)  # live was not touched


def test_a_replay_that_fails_leaves_no_projection(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest()])
    servers = event_log.kafka, event_log.topic
    with pytest.raises(NothingCounted):
        replay_into(totals.owner_url, totals.writer_url, *servers, "no-such", NOW, Projection("kept"))
    assert versions(totals) == {None: 1}


def test_a_kept_replay_is_counted_on_the_level_that_held_then(event_log: EventLog, totals: Database) -> None:
    definition = contest(level=(ReportingUnitType.COUNTRY,))
    event_log.append([definition, bulletin(50, 40, counted=2, hours=12), sheet(1, hours=12)])
    event_log.append([revised(definition, ReportingUnitType.PRECINCT, hours=13), sheet(2, hours=12.25)])
    kept, moment = Projection("kept"), Moment(stated_at=STARTS + timedelta(hours=12, minutes=30))
    servers = event_log.kafka, event_log.topic
    replay_into(totals.owner_url, totals.writer_url, *servers, CONTEST, moment, kept)
    with Reader(totals.reader_url, kept) as views:
        told = views.count(CONTEST, None)
        assert (told.basis, told.selections[0].votes) == (Basis.OFFICIAL, 50)
        again = ContestAsOf(views, CONTEST, NOW).count(None)
    assert again == told.model_copy(update={"digest": None})


def test_a_view_that_somebody_built_is_not_left_behind(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    totals.change("CREATE SCHEMA news; CREATE VIEW news.c AS SELECT votes FROM results.area_count")
    with pytest.raises(ProjectionError, match=r"news\.c is built on the live projection: drop it, and create it again"):
        rebuild(event_log, totals)
    totals.change("DROP VIEW news.c")
    rebuild(event_log, totals)
    totals.change("CREATE VIEW news.c AS SELECT code FROM checking_v1.finding")
    with Projections(totals.owner_url) as projections, pytest.raises(ProjectionError, match=r"news\.c is built on"):
        projections.drop(V1)


def test_a_number_is_never_given_twice(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    rebuild(event_log, totals)
    rebuild(event_log, totals, V1)
    with Projections(totals.owner_url) as projections:
        projections.drop(V2)
        assert next_projection(projections) == V3
        assert next_projection(projections) == V3  # begun, and taken up again


def test_the_names_of_rebuilds_are_not_for_replays(event_log: EventLog, totals: Database) -> None:
    with pytest.raises(ProjectionError, match="v2 is a name that `rebuild` gives"):
        replay_into(totals.owner_url, totals.writer_url, event_log.kafka, event_log.topic, CONTEST, NOW, V2)


def test_the_commands(event_log: EventLog, totals: Database) -> None:
    update: CountUpdate = bulletin(10, 5, counted=1)
    event_log.append([contest(level=(ReportingUnitType.COUNTRY,)), update])
    aggregate(event_log, totals)
    settings = {
        "ESCRUTINIO_BOOTSTRAP_SERVERS": event_log.bootstrap_servers,
        "ESCRUTINIO_OWNER_URL": totals.owner_url,
        "ESCRUTINIO_WRITER_URL": totals.writer_url,
        "ESCRUTINIO_READER_URL": totals.reader_url,
        "ESCRUTINIO_TOPIC_PREFIX": event_log.topic.removesuffix("results.events"),
    }

    def run(*command: str) -> tuple[int, str]:
        result = CliRunner().invoke(show if command[0] == "show" else main, command, env=settings)
        return result.exit_code, result.stdout + result.stderr

    assert run("rebuild", "--only-build")[0] == 0
    code, told = run("rebuild")
    assert (code, "version 2 is live" in told, "kept as v1" in told) == (0, True, True)
    assert "building projection v2" in told  # the one that was built before
    assert run("replay", CONTEST, "--into", "kept", "--json")[0] == 0
    code, told = run("show", CONTEST, "--schema", "kept", "--json")
    assert (code, json.loads(told)["lead"]) == (0, 5)
    code, told = run("projections", "--json")
    assert [(p["name"], p["live"]) for p in json.loads(told)] == [(None, True), ("kept", False), ("v1", False)]
    assert run("drop", "v1")[0] == 0
    assert run("drop", "v1") == (2, "escrutinio-aggregator: there is no projection v1 here (there are: kept)\n")
    assert run("show", CONTEST, "--schema", "v1")[0] == 2
    assert run("show", CONTEST, "--schema", "V 1")[0] == 2
