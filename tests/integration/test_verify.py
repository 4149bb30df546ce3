"""Verify against a real log and real tables: equal when they are, and every tampered row named when they are not."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import psycopg
import pytest
from click.testing import CliRunner

from aggregator.cli import main
from aggregator.fold import totals as folding
from aggregator.log.reader import Log
from aggregator.verify.report import SHOWN
from results.count import NothingCounted
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.identity import Event, named
from schemas.types import CountStatus, ReportingUnitType
from tests.support.builders import CONTEST, bulletin, contest, revised, roll, sheet, source
from tests.support.fix_aggregate import EventLog, aggregate, verified
from tests.support.fix_postgres import Database
from tests.support.strategies import a_source_status

ALL = ReportingUnitType.PRECINCT


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "BLOCK", 2)


def a_night(log: EventLog) -> None:
    """A moved level, a correction, a late statement, a fork and a duplicate: offsets 0 to 9."""
    definition = contest(level=(ReportingUnitType.COUNTRY,))
    first, second = sheet(1, hours=12), sheet(2, hours=12)
    late = sheet(2, {"a": 7, "b": 7}, after=second, hours=11)
    log.append([definition, bulletin(50, 40, counted=2), first, second])
    log.append([sheet(1, after=first, status=CountStatus.UNDER_REVIEW, hours=13), late])
    log.append(
        [revised(definition, ALL, hours=14), sheet(3), first, sheet(2, {"a": 9, "b": 9}, after=second, hours=15)]
    )


@pytest.mark.parametrize("to_offset", [None, 0, 3, 5, 8])
def test_what_the_aggregator_wrote_is_what_the_log_says(
    event_log: EventLog, totals: Database, to_offset: int | None
) -> None:
    a_night(event_log)
    aggregate(event_log, totals, batch_size=3)
    event_log.append([sheet(4)])  # not aggregated yet
    found = verified(event_log, totals, to_offset)
    assert (found.equal, found.differences) == (True, [])
    assert found.events == found.offset + 1 == (10 if to_offset is None else to_offset + 1)
    assert found.table_digest == found.log_digest


TAMPERED = {
    "a figure of a row that is no state any more": (
        "UPDATE aggregate.count_update_history SET figures[54] = 11 WHERE log_offset = 2",
        ["update_history offset 2, precinct/000001: figures.votes.a is 11, by the log 10"],
    ),
    "the provenance of a row, which no sum shows": (
        "UPDATE aggregate.count_update_history SET places = '{row 1}' WHERE log_offset = 9",
        ["update_history offset 9, precinct/000002: places is ['row 1'], by the log ['row 3']"],
    ),
    "a row that is gone": (
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 8",
        ["update_history offset 8, precinct/000001: the event is on the log, but has no row"],
    ),
    "the last row that is gone": (
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 7",
        ["update_history offset 7, precinct/000003: the event is on the log, but has no row", "update_history: digest is"],  # noqa: E501
    ),
    "a row of no event": (
        "INSERT INTO aggregate.count_update_history"
        " SELECT (jsonb_populate_record(h, '{\"log_offset\": 6, \"accepted\": false}')).*"
        " FROM aggregate.count_update_history h WHERE log_offset = 5",
        ["update_history offset 6, precinct/000002: the row is of no event on the log"],
    ),
    "a definition": (
        "UPDATE aggregate.contest_history SET accepted = false WHERE log_offset = 6",
        ["definition_history offset 6: accepted is False, by the log True", "update_history: digest is"],
    ),
    "a total": (
        "UPDATE aggregate.area_total SET figures[54] = 0 WHERE area_id = '010100'",
        ["area_total offset 7: 010100 (of each precinct): votes.a differs by -"],
    ),
    "who last touched a total": (
        "UPDATE aggregate.area_total SET last_offset = 0 WHERE area_id = '010100'",
        ["area_total offset 7: 010100 (of each precinct): its last update, or the list of updates since its last block, differs"],  # noqa: E501
    ),
    "a total that is gone": ("DELETE FROM aggregate.area_total WHERE area_id = 'xx' AND unit_type = 'precinct'", ["area_total offset 7: xx (of each precinct): has no row"]),  # noqa: E501
    "which statement is the state": (
        "UPDATE aggregate.unit_state SET current_offset = 2 WHERE unit_id = '000001'",
        ["unit_state offset 4, precinct/000001: current_offset, head_offset are (2, 4), by the log (4, 4)"],
    ),
    "whose votes they are": (
        "UPDATE aggregate.selection SET party = 'Party B' WHERE selection_id = 'a'",
        ["selection: a: party is 'Party B', by the log 'Party A'"],
    ),
    "the contest's roll": (
        "UPDATE aggregate.contest SET definition = jsonb_set(definition, '{registered_voters}', '1')",
        [f"contest: {CONTEST}: definition.registered_voters is 1, by the log 30000"],
    ),
    "what the contest never said, though it is null": (
        "UPDATE aggregate.contest SET definition = definition || '{\"x\": null}'",
        [f"contest: {CONTEST}: definition.x is None, by the log not there"],
    ),
    "a time that no clock shows": (
        "UPDATE aggregate.count_update_history SET reported_at = 'infinity' WHERE log_offset = 9",
        ["update_history offset 9, precinct/000002: reported_at is 'unreadable: timestamp too large (after year 10K)', by the log None"],  # noqa: E501
    ),
    "the same list, counted from another number": (
        "UPDATE aggregate.count_update_history SET places = '[0:0]={row 3}' WHERE log_offset = 9",
        ["update_history offset 9, precinct/000002: the row has the same values in another form"],
    ),
    "a past total": (
        "UPDATE aggregate.area_total_block SET figures[1] = 7 WHERE area_id = 'xx' AND span = '[0,4)'",
        ["area_total_block offset 3, precinct/000002: figures is [7, "],
    ),
    "a unit that no update names": (
        "INSERT INTO aggregate.unit_state SELECT contest_id, 99, unit_type, '000009', NULL, NULL FROM aggregate.unit_state LIMIT 1",  # noqa: E501
        ["unit_state: no update names row 99"],
    ),
    "a past total that is gone": (
        "DELETE FROM aggregate.area_total_block WHERE area_id = 'xx' AND span = '[0,4)'",
        ["area_total_block offset 3, precinct/000002: the event is on the log, but has no row (xx, of each precinct)"],
    ),
    "the digest": ("UPDATE aggregate.contest SET digest = ''", ["contest: digest is "]),
    "a row behind the end of the log": (
        "INSERT INTO aggregate.log_time SELECT contest_id, recorded_at + interval '1 day', 70 FROM aggregate.log_time LIMIT 1",  # noqa: E501
        ["log_time offset 70: the row is of no event on the log"],
    ),
    "a state of no unit": (
        "INSERT INTO aggregate.unit_state SELECT contest_id, 99, unit_type, '000009', 7, 7 FROM aggregate.unit_state LIMIT 1",  # noqa: E501
        ["unit_state, "],
    ),
    "how far the log was read, too far": (
        "UPDATE aggregate.cursor SET next_offset = 11", ["cursor: {topic}/0: next_offset is 11, the log ends at offset 9"]  # noqa: E501
    ),
    "a partition that cannot be read on": (
        "UPDATE aggregate.cursor SET unreadable = 'x'", ["cursor: {topic}/0: unreadable is 'x', the log can be read on"]
    ),
    "how far the log was read, not far enough": (
        "UPDATE aggregate.cursor SET next_offset = 9", ["cursor: {topic}/0: next_offset is 9, the contest's last event is at offset 9"]  # noqa: E501
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tampering", "told"), TAMPERED.values(), ids=TAMPERED.keys())
def test_one_changed_row_is_named(event_log: EventLog, totals: Database, tampering: str, told: list[str]) -> None:
    a_night(event_log)
    aggregate(event_log, totals)
    assert totals.change(tampering) == 1
    found = verified(event_log, totals)
    assert len(found.differences) == len(told) == found.count
    for difference, beginning in zip(found.differences, told, strict=True):
        assert str(difference).startswith(beginning.format(topic=event_log.topic))


@pytest.mark.parametrize("dropped", [1, 4, 9])
def test_an_event_dropped_from_a_copied_log_is_named(
    event_log: EventLog, totals: Database, new_topic: Callable[..., str], dropped: int
) -> None:
    a_night(event_log)
    aggregate(event_log, totals)
    copy = EventLog(event_log.bootstrap_servers, new_topic("copied"), event_log.producer)
    lost = None
    with Log(event_log.kafka, event_log.topic) as log:
        for record in (r for batch in log.read_to_end(0) for r in batch):
            if record.offset == dropped:
                lost = decode(record.value, record.headers)
            else:
                copy.append_raw(record.key, record.value, [(k, v or b"") for k, v in record.headers])
    assert isinstance(lost, CountUpdate)
    if dropped == 9:  # the last one: the copy ends too early
        assert "contest: the tables end at offset 9, the log ends at 8" in map(str, verified(copy, totals).differences)
    found = verified(copy, totals, 9 if dropped == 9 else 8)
    assert (found.equal, found.is_copy) == (False, True)
    assert verified(copy, totals, dropped - 1).equal
    told = f"update_history offset {dropped}, "
    first = next(d for d in found.differences if d.table == "update_history")
    assert str(first).startswith(told)
    if dropped == 9:
        assert str(first) == f"{told}{lost.unit}: the row is of no event on the log (event {lost.event_id})"
    else:
        assert f"the row is of event {lost.event_id}, {lost.unit}, which is not at this offset of the log" in str(first)


def copied(log: EventLog, topic: str, change: Callable[[list[Event]], object]) -> EventLog:
    """The log's events on another topic, with a change made to them."""
    with Log(log.kafka, log.topic) as source:
        events = [decode(r.value, r.headers) for batch in source.read_to_end(0) for r in batch]
    change(events)
    copy = EventLog(log.bootstrap_servers, topic, log.producer)
    copy.append(events)
    return copy


def altered(event: Event, **changed: object) -> CountUpdate:
    """An update that says something else under the same id."""
    assert isinstance(event, CountUpdate)
    return event.model_copy(update=changed)


def more_votes(event: Event) -> CountUpdate:
    """The same id, other figures."""
    assert isinstance(event, CountUpdate)
    assert event.counts is not None
    return altered(event, counts=event.counts.model_copy(update={"blank_votes": 5}))


def set_at(place: int, make: Callable[[Event], Event]) -> Callable[[list[Event]], object]:
    return lambda events: events.__setitem__(place, make(events[place]))


def swap(events: list[Event]) -> None:
    events[2], events[3] = events[3], events[2]


ALTERED: dict[str, tuple[Callable[[list[Event]], object], list[tuple[int, str, str]]]] = {
    "other figures under the same id": (
        set_at(2, more_votes), [(2, "precinct/000001", "figures.blank_votes is 1, by the log 5")],
    ),
    "other figures, and the id that they give": (
        set_at(2, lambda event: named(more_votes(event))), [(2, "precinct/000001", "the row is of event {kept}, precinct/000001, ")],  # noqa: E501
    ),
    "another document": (
        set_at(2, lambda event: altered(event, source=source(77))), [(2, "precinct/000001", "places is ")],
    ),
    "two in the other order": (
        swap,
        [
            (2, "precinct/000002", "the row is of event {kept}, precinct/000001, which is not at this offset of the log"),  # noqa: E501
            (3, "precinct/000001", "the row is of event {kept}, precinct/000002, which is not at this offset of the log"),  # noqa: E501
        ],
    ),
}  # fmt: skip
"""What is done to the night's events, and what is said of it: offset, unit, words."""


@pytest.mark.parametrize(("change", "told"), ALTERED.values(), ids=ALTERED.keys())
def test_an_event_altered_on_a_copied_log_is_named_by_event_and_unit(
    event_log: EventLog,
    totals: Database,
    new_topic: Callable[..., str],
    change: Callable[[list[Event]], object],
    told: list[tuple[int, str, str]],
) -> None:
    a_night(event_log)
    aggregate(event_log, totals)
    was: list[Event] = []
    assert verified(copied(event_log, new_topic("copied"), was.extend), totals).equal
    now: list[Event] = []

    def changed(events: list[Event]) -> None:
        change(events)
        now.extend(events)

    found = verified(copied(event_log, new_topic("altered"), changed), totals)
    assert (found.equal, found.is_copy) == (False, True)
    for offset, unit, words in told:
        said = [d for d in found.differences if d.table == "update_history" and d.offset == offset]
        assert {(d.event_id, d.unit) for d in said} == {(now[offset].event_id, unit)}
        assert any(d.what.startswith(words.format(kept=was[offset].event_id)) for d in said)


NOT_OF_THE_LOG = {
    "projection": "what the tables are called, and since when",
    "take_over": "who made which tables the live ones",
    "schema_migration": "what made the tables",
    "cursor.epoch": "who writes",
    "cursor.updated_at": "when they last did",
}
"""What a table or column holds that no log says."""

ANOTHER = {
    "integer": "coalesce({c}, 0) + 1000",
    "bigint": "coalesce({c}, 0) + 1000",
    "boolean": "NOT {c}",
    "text": "coalesce({c}, '') || 'x'",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "coalesce({c}, now()) + interval '1 hour'",
    "jsonb": "CASE jsonb_typeof({c}) WHEN 'array' THEN {c} || '[1]' ELSE coalesce({c}, '{{}}') || '{{\"x\": 1}}' END",
    "ARRAY": "array_append({c}, NULL)",
    "int8range": "int8range(lower({c}), upper({c}) + 1000)",
    "bytea": "{c} || '\\x00'",
    "json": "'[{{\"x\": 1}}]'",
}
"""Another value of a type."""


def a_blocked_night(log: EventLog, *more: Event) -> None:
    """A night that ends with a message nobody can read, one that waits behind it, and another contest's."""
    a_night(log)
    log.append(more)
    log.append_raw(CONTEST.encode(), b"no event", [("h", b"1")])
    log.append([sheet(4)])
    log.append([contest("another")])


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_every_column_and_every_row_is_compared(event_log: EventLog, totals: Database, share: int) -> None:
    """A row of every table; in a run a part of the columns, by the seed of the report's header."""
    a_blocked_night(event_log, roll(1, 2, 3, 4, 5), a_source_status(contest_id=CONTEST, authority="the office"))
    aggregate(event_log, totals)
    unnamed = []
    with psycopg.connect(totals.owner_url, autocommit=True) as db:
        every = db.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'aggregate' AND is_generated = 'NEVER' ORDER BY table_name, ordinal_position"
        ).fetchall()
        assert {*NOT_OF_THE_LOG} <= {name for table, column, _ in every for name in (table, f"{table}.{column}")}
        tables = sorted({table for table, _, _ in every} - NOT_OF_THE_LOG.keys())
        said = [
            (table, column, kind)
            for table, column, kind in every
            if table in tables and f"{table}.{column}" not in NOT_OF_THE_LOG
        ]
        assert len(said) > 100
        chosen = random.sample(said, len(said) // share)
        for table, column, kind in [*((table, "*", "") for table in tables), *chosen]:
            where = f"WHERE contest_id = '{CONTEST}'" if (table, "contest_id") in {c[:2] for c in every} else ""
            known = f"ORDER BY {column} IS NULL, ctid" if kind else ""
            row = f"ctid = (SELECT ctid FROM aggregate.{table} {where} {known} LIMIT 1)"  # noqa: S608
            change = f"DELETE FROM aggregate.{table} WHERE {row}"  # noqa: S608
            if kind:
                change = f"UPDATE aggregate.{table} SET {column} = {ANOTHER[kind].format(c=column)} WHERE {row}"  # noqa: S608
            columns = ", ".join(c for t, c, _ in every if t == table)
            db.execute(f"CREATE TABLE public.kept AS SELECT {columns} FROM aggregate.{table}")  # noqa: S608
            assert db.execute(change).rowcount == 1, change
            if not is_named(event_log, totals, f"{table}.{column}"):
                unnamed.append(f"{table}.{column}")
            db.execute(f"TRUNCATE aggregate.{table}")
            db.execute(f"INSERT INTO aggregate.{table} ({columns}) SELECT {columns} FROM public.kept")  # noqa: S608
            db.execute("DROP TABLE public.kept")
    assert unnamed == []
    assert verified(event_log, totals).equal


VIEW_OF = {
    "count_update_history": "update_history",
    "area_path": "update_history",
    "publication": "update_history",
    "contest_history": "definition_history",
    "unit_state.unit": "update_history",
}
"""Where a change of a table is named: a number of an area path or a publication is what its update says."""


def is_named(log: EventLog, totals: Database, column: str) -> bool:
    """Whether the table of a changed column is named."""
    table = VIEW_OF.get(column, column.partition(".")[0])
    try:
        return VIEW_OF.get(table, table) in {d.table for d in verified(log, totals).differences}
    except NothingCounted as error:
        return table == "contest" and f"no contest '{CONTEST}' has been counted here" in str(error)


def test_a_blocked_contest_is_equal_and_said_to_be_blocked(event_log: EventLog, totals: Database) -> None:
    a_blocked_night(event_log)
    aggregate(event_log, totals, batch_size=11)
    event_log.append([sheet(5)])  # not read yet, so not parked
    found = verified(event_log, totals)
    assert (found.equal, found.blocked_offset, found.parked_count) == (True, 10, 2)
    assert (found.as_json()["blocked_offset"], found.as_json()["parked_count"]) == (10, 2)
    aggregate(event_log, totals)
    assert (verified(event_log, totals).equal, verified(event_log, totals).parked_count) == (True, 3)
    assert verified(event_log, totals, 9).blocked_offset is None
    told = CliRunner().invoke(main, command(event_log, totals))
    assert (told.exit_code, "equal; digest " in told.stdout) == (0, True)
    assert "BLOCKED at offset 10, 3 messages parked" in told.stdout


def test_many_differences_are_counted_and_the_first_named(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(1, 2 * SHOWN))])
    aggregate(event_log, totals)
    totals.change("UPDATE aggregate.count_update_history SET unit_name = 'x'")
    found = verified(event_log, totals)
    assert (found.count, len(found.differences)) == (2 * SHOWN - 1, SHOWN)


def test_another_log_is_named_before_the_rows_that_differ_for_it(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(30))])
    aggregate(event_log, totals)
    totals.change("UPDATE aggregate.cursor SET topic_id = gen_random_uuid()")
    totals.change("UPDATE aggregate.count_update_history SET recorded_at = recorded_at + interval '1 day'")
    first, second, *_ = map(str, verified(event_log, totals).differences)
    assert first.endswith("it was deleted and made again")
    assert re.search(r"recorded_at is \d{4}-\d\d-\d\dT[\d:.]+\+00:00, by the log \d{4}-", second)


def test_what_is_not_aggregated_yet_is_not_verified(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    event_log.append([sheet(2)])
    with pytest.raises(NothingCounted, match="the tables end at offset 1; 2 is not aggregated yet"):
        verified(event_log, totals, 2)


def command(log: EventLog, totals: Database) -> list[str]:
    """What a person types."""
    prefix = log.topic.removesuffix("results.events")
    return [
        "verify", CONTEST, "--bootstrap-servers", log.bootstrap_servers, "--reader-url", totals.reader_url,
        "--topic-prefix", prefix,
    ]  # fmt: skip


def test_the_command_says_so_and_exits_with_1(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    equal = CliRunner().invoke(main, command(event_log, totals))
    assert (equal.exit_code, "equal; digest " in equal.stdout) == (0, True)
    totals.change("UPDATE aggregate.count_update_history SET unit_name = 'x'")
    other = CliRunner().invoke(main, command(event_log, totals))
    assert (other.exit_code, "update_history offset 1, precinct/000001: unit_name is 'x'" in other.stdout) == (1, True)
