"""Any past state: the tables and the fold of the log must agree, on every axis, whatever happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.replay.answer import of_state
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.verify.history import HistoryTables
from aggregator.verify.report import Report
from results.as_of import ContestAsOf
from results.explain import explain
from results.moment import NOW, Moment
from results.named_sql import named_sql
from results.reader import Reader
from results.statements import statements_of
from results.vectors import LevelTotal
from schemas.area_count import Basis
from schemas.columns.layout import Layout
from schemas.contest import ContestDefined
from schemas.count_update import Correction
from schemas.log_record import RawRecord, Recorded
from schemas.types import CorrectionBasis, UpdateKind
from tests.support import naive
from tests.support.fix_postgres import Database
from tests.support.fix_tables import CONTEST, or_none, written
from tests.support.nights import Night
from tests.support.nights import log as made_up
from tests.support.strategies import (
    NIGHT,
    PRECINCT,
    a_contest,
    a_sheet,
    a_unit,
    after,
    moments,
    nights,
    raw,
    recorded,
    set_back,
)
from tests.support.waiting import eventually


def from_the_log(records: Sequence[RawRecord], moment: Moment, area: str) -> object:
    folding = ContestFold(CONTEST, moment, area_id=area)
    folding.apply(records)
    return or_none(of_state, folding.state, None)


def totals(views: Reader, moment: Moment, areas: Sequence[str]) -> dict[str, LevelTotal]:
    return or_none(lambda: ContestAsOf(views, CONTEST, moment).level_totals(areas)) or {}


def from_the_tables(views: Reader, moment: Moment, area: str) -> object:
    return or_none(lambda: ContestAsOf(views, CONTEST, moment).count(area))


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_tables_as_of_any_moment_are_the_replay_to_it(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    records = data.draw(set_back(night))
    batch_sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    areas = ["pe", *(a.area_id for a in night[0].event.areas[1:])]  # type: ignore[union-attr]
    with written(tables, records, batch_sizes) as views:
        for moment in [NOW, *data.draw(st.lists(moments(night), min_size=1, max_size=8))]:
            for area in areas:
                expected = from_the_log(records, moment, area)
                assert from_the_tables(views, moment, area) == expected, (moment, area)
            one_by_one = [totals(views, moment, [area]) for area in areas]
            assert totals(views, moment, areas) == {area: total for one in one_by_one for area, total in one.items()}


def test_a_contest_that_stands_still_says_so_at_every_moment_after(tables: Database) -> None:
    definition, one, two = a_contest(counting_level=(PRECINCT,)), a_sheet(), a_sheet(reporting_unit=a_unit("000009"))
    records = [raw(r) for r in recorded([definition, one, two])]
    unreadable = records[1]._replace(offset=20, value=b"\x07")
    with written(tables, [*records, unreadable, records[2]._replace(offset=21)], [9]) as views:
        assert ContestAsOf(views, CONTEST, Moment(offset=19)).count(None).blocked is None
        for moment in (Moment(offset=20), Moment(offset=21), NOW):
            blocked = ContestAsOf(views, CONTEST, moment).count(None).blocked
            assert blocked is not None
            assert blocked.startswith("offset 20: ")


def test_a_statement_that_came_late_counts_in_its_own_area_as_that_one_was_read(tables: Database) -> None:
    """The first municipality was read up to before its first statement of a later time, the second, which has none, to
    the end."""
    one, other = a_sheet(), a_sheet(reporting_unit=a_unit("000002"), reported_at=NIGHT + timedelta(hours=2))
    later = after(one, counts=a_sheet(120, 60).counts, reported_at=NIGHT + timedelta(hours=2))
    late = after(later, counts=a_sheet(110, 70).counts, reported_at=NIGHT + timedelta(hours=1))
    second = ("pe", "010000", "010100", "010102")
    elsewhere = a_sheet(7, 6, reporting_unit=a_unit("000003", area_path=second))
    log = recorded([a_contest(counting_level=(PRECINCT,)), one, other, later, late, elsewhere])
    with written(tables, [raw(r) for r in log], [9]) as views:
        found = totals(views, Moment(stated_at=NIGHT + timedelta(hours=1)), ["pe", "010101", "010102"])
    votes = {area: total.votes() for area, total in found.items()}
    assert votes["010101"] == {"peru-libre": 110, "fuerza-popular": 70}
    assert votes["010102"] == {"peru-libre": 7, "fuerza-popular": 6}
    assert votes["pe"] == {"peru-libre": 117, "fuerza-popular": 76}


def test_a_statement_that_was_taken_back_is_none_of_those_behind_a_count(tables: Database) -> None:
    one, other = a_sheet(), a_sheet(reporting_unit=a_unit("000002"))
    correction = Correction(
        reason="twice", basis=CorrectionBasis.OPERATOR, authority="desk", replaces_event_id=other.event_id
    )
    gone = after(other, kind=UpdateKind.RETRACTED, correction=correction)
    log = recorded([a_contest(counting_level=(PRECINCT,)), one, other, gone])
    with written(tables, [raw(r) for r in log], [9]) as views:
        past = ContestAsOf(views, CONTEST, NOW)
        listed = statements_of(views, past.count("pe"), NOW, past.level, past.to_offset).statements
    assert [of.event_id for of in listed] == [log[1].event.event_id]


@pytest.mark.parametrize("analysed", [False, True])
def test_what_came_late_is_found_by_its_own_index_and_not_by_reading_the_history(
    tables: Database, analysed: bool
) -> None:
    """Also before the tables are analysed: then a plan that reads it once for each path of areas looks as cheap."""
    log = [
        Recorded(0, offset, NIGHT, event) for offset, (_, event) in enumerate(made_up(Night(events=6_000, units=400)))
    ]
    scans = """SELECT (SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelid = 'aggregate.count_update_history_late'::regclass),
                      (SELECT seq_scan FROM pg_stat_all_tables WHERE relid = 'aggregate.count_update_history'::regclass)"""  # noqa: E501
    tables.change("ALTER TABLE aggregate.count_update_history SET (autovacuum_enabled = off)")
    with written(tables, [raw(r) for r in log], [len(log)]):
        pass
    if analysed:  # as autovacuum does in time; in a session of its own: each range of the BRIN index counts as a scan
        with psycopg.connect(tables.owner_url, autocommit=True) as db:
            db.execute("VACUUM ANALYZE aggregate.count_update_history")
    with psycopg.connect(tables.owner_url, autocommit=True) as db:
        # The statistics of a session are there when it has ended.
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        eventually(lambda: db.execute(others + " AND backend_type = 'client backend'").fetchone() == (0,))
        before = db.execute(scans).fetchone()
        assert before is not None
        with Reader(tables.reader_url) as views:
            ContestAsOf(views, "pe-2021-night-1", Moment(stated_at=log[3_000].update.stated_at)).level_totals(["pe"])
        # For the totals, and for the last update among them. PostgreSQL counts when the reader's session has ended.
        eventually(lambda: (db.execute(scans).fetchone() or before)[0] >= before[0] + 2)
        after = db.execute(scans).fetchone()
    assert after is not None
    assert after[0] <= before[0] + 4
    assert after[1] == before[1]


def test_that_index_is_for_offsets_of_what_came_late_and_for_no_list_of_offsets(tables: Database) -> None:
    """Of a list it would be read whole for each: seconds, on a long history."""
    where = {"contest_id": "pe-2021-night-1", "unit_type": "precinct", "stated_at": NIGHT, "to_offset": 9}
    late = {"root": "pe", "areas": ["pe"], "after": [1], "first": 1, "irregular": [1]}
    with psycopg.connect(tables.owner_url) as db:
        db.execute("SET LOCAL search_path = results, checking, aggregate")
        db.execute("SET LOCAL enable_seqscan = off")
        db.execute("ALTER TABLE count_update_history DROP CONSTRAINT count_update_history_pkey")
        for better in ("unit", "reported", "superseded", "moved"):
            db.execute(f"DROP INDEX count_update_history_{better}")

        def plan(query: str, **asked: object) -> str:
            text = named_sql("results", "reader")[query].replace("{sums}", "ARRAY[sum(change[1])]")
            return str(db.execute("EXPLAIN " + text, where | asked).fetchall())

        assert "count_update_history_late" not in plan("updates_at", offsets=[1, 2, 3])
        assert "(log_offset + 0) >" in plan("late_changes", **late).partition("Index Cond: ")[2]
        db.rollback()


def test_what_came_before_the_definition_is_remembered_over_a_restart(tables: Database) -> None:
    log = [replace(r, recorded_at=NIGHT) for r in recorded([a_sheet(), a_contest(), a_sheet()])]
    with written(tables, [raw(r) for r in log], [1]) as views:
        assert views.offset_of(CONTEST, Moment(recorded_at=NIGHT)) == log[-1].offset
        assert views.offset_of(CONTEST, Moment(recorded_at=NIGHT - timedelta(seconds=1))) == log[0].offset - 1


def named(contest: ContestDefined, total: LevelTotal | None) -> dict[str, int]:
    """Every slot of a total over all types of the counting level, by name."""
    layout = Layout.of(contest)
    vectors = [part.vector for part in total.parts.values()] if total is not None else [layout.zero()]
    return layout.named([sum(slot) for slot in zip(*vectors, strict=True)])


@pytest.mark.usefixtures("small_blocks")
@given(st.data())
def test_the_sums_are_those_of_a_naive_count_and_the_digests_are_equal(tables: Database, data: st.DataObject) -> None:
    night = data.draw(nights())
    records = [raw(r) for r in night]
    places = [naive.Place(r.offset, r.recorded_at, r.event) for r in night]
    with written(tables, records, data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))) as views:
        for moment in [NOW, *data.draw(st.lists(moments(night), min_size=1, max_size=4))]:
            if (past := or_none(ContestAsOf, views, CONTEST, moment)) is None:
                continue
            told = past.level_totals([area.area_id for area in past.contest.areas])
            for area, figures in naive.totals(places, past.to_offset, moment.stated_at).items():
                assert named(past.contest, told.get(area)) == figures, (moment, area)
            of_area = data.draw(st.sampled_from(past.contest.areas)).area_id
            if (count := or_none(past.count, of_area)) is not None:
                listed = statements_of(views, count, moment, past.level, past.to_offset).statements
                last, sound = (
                    count.last_update.event_id,
                    naive.behind(places, of_area, past.to_offset, moment.stated_at),
                )
                assert [of.offset for of in listed] == sorted({of.offset for of in listed})
                assert {of.event_id for of in listed} == (sound if count.basis is Basis.COMPUTED else {last}), moment
        contest, _ = views.contest(CONTEST)
        for of in data.draw(st.lists(st.sampled_from(contest.areas), max_size=2)):  # what is explained adds up to it
            if contest.counting_level != (of.type,):
                total = totals(views, NOW, [of.area_id]).get(of.area_id)
                explained = or_none(explain, views, CONTEST, of.area_id)
                summed = Counter[str]()
                for publication in explained.publications if explained is not None else ():
                    summed.update(publication.change)
                expected = {name: figure for name, figure in named(contest, total).items() if figure}
                assert {name: figure for name, figure in summed.items() if figure} == expected
        offset = data.draw(st.sampled_from(night)).offset
        kept = HistoryTables(views, CONTEST, Report(CONTEST, offset), offset)
        folding = ContestFold(
            CONTEST,
            Moment(offset=offset),
            lambda step: kept.compare(step, folding.moment_state),
        )
        folding.apply(records)
        assert kept.digest() == folding.state.root()
