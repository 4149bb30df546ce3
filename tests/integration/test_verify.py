"""Verify against a real log and real tables: equal when they are, and every tampered row named when they are not."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from click.testing import CliRunner

from aggregator import fold
from aggregator.cli import main
from aggregator.count import NothingCounted
from aggregator.log import Log
from aggregator.replay import ReplayError
from aggregator.verify import SHOWN, Verdict, verify
from aggregator.views import Views
from schemas.codec import decode
from schemas.count_update import CountUpdate
from schemas.types import CountStatus, ReportingUnitType
from tests.builders import CONTEST, bulletin, contest, revised, sheet
from tests.fix_aggregate import EventLog, aggregate
from tests.fix_postgres import Database

ALL = ReportingUnitType.PRECINCT


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "BLOCK", 2)


def a_night(log: EventLog) -> None:
    """A moved level, a correction, a late statement, a fork and a duplicate: offsets 0 to 9."""
    definition = contest(level=ReportingUnitType.COUNTRY)
    first, second = sheet(1, hours=12), sheet(2, hours=12)
    late = sheet(2, {"a": 7, "b": 7}, after=second, hours=11)
    log.append([definition, bulletin(50, 40, counted=2), first, second])
    log.append([sheet(1, after=first, status=CountStatus.UNDER_REVIEW, hours=13), late])
    log.append(
        [revised(definition, ALL, hours=14), sheet(3), first, sheet(2, {"a": 9, "b": 9}, after=second, hours=15)]
    )


def verdict(log: EventLog, totals: Database, to_offset: int | None = None) -> Verdict:
    with Views(totals.reader_url) as views:
        return verify(views, log.kafka, log.topic, CONTEST, to_offset)


@pytest.mark.parametrize("to_offset", [None, 0, 3, 5, 8])
def test_what_the_aggregator_wrote_is_what_the_log_says(
    event_log: EventLog, totals: Database, to_offset: int | None
) -> None:
    a_night(event_log)
    aggregate(event_log, totals, batch_size=3)
    event_log.append([sheet(4)])  # not aggregated yet
    found = verdict(event_log, totals, to_offset)
    assert (found.equal, found.differences) == (True, [])
    assert found.events == found.offset + 1 == (10 if to_offset is None else to_offset + 1)
    assert found.table_digest == found.log_digest


TAMPERED = {
    "a figure of a row that is no state any more": (
        "UPDATE aggregate.count_update_history SET counts = jsonb_set(counts, '{votes,a}', '11') WHERE log_offset = 2",
        ["update_history offset 2, precinct/000001: counts.votes.a is 11, by the log 10"],
    ),
    "the provenance of a row, which no sum shows": (
        "UPDATE aggregate.count_update_history SET source = jsonb_set(source, '{name}', '1') WHERE log_offset = 9",
        ["update_history offset 9, precinct/000002: source.name is 1, by the log 'ONPE'"],
    ),
    "a row that is gone": (
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 8",
        ["update_history offset 8, precinct/000001: the event is on the log and has no row"],
    ),
    "the last row that is gone": (
        "DELETE FROM aggregate.count_update_history WHERE log_offset = 7",
        ["update_history offset 7, precinct/000003: the event is on the log and has no row", "update_history: its digest is", "unit_count offset 7, precinct/000003: state and end of chain stand at no offset, by the log at 7 and 7"],
    ),
    "a row of no event": (
        "INSERT INTO aggregate.count_update_history SELECT partition, 6, recorded_at, event_id, contest_id, unit_type, unit_id, unit_name,"
        " area_path, sequence, previous_event_id, kind, correction, reported_at, observed_at, stated_at, count_status, source_status,"
        " review_reason, result_stage, office_note, counts, sub_units, published_percentages, source, is_test, false, is_current, change, null, false, null"
        " FROM aggregate.count_update_history WHERE log_offset = 5",
        ["update_history offset 6, precinct/000002: a row of no event of the log"],
    ),
    "a definition": (
        "UPDATE aggregate.contest_history SET accepted = false WHERE log_offset = 6",
        ["definition_history offset 6: accepted is False, by the log True", "update_history: its digest is"],
    ),
    "a finding": ("DELETE FROM aggregate.finding WHERE log_offset = 8", ["finding offset 8, precinct/000001: the event is on the log and has no row"]),
    "a total": (
        "UPDATE aggregate.area_total SET votes = jsonb_set(votes, '{a}', '0') WHERE area_id = '010100'",
        ["area_total offset 7: 010100 (of each precinct): votes.a differs by -"],
    ),
    "who last touched a total": (
        "UPDATE aggregate.area_total SET last_offset = 0 WHERE area_id = '010100'",
        ["area_total offset 7: 010100 (of each precinct): another update is named as the last"],
    ),
    "a total that is gone": ("DELETE FROM aggregate.area_total WHERE area_id = 'xx' AND unit_type = 'precinct'", ["area_total offset 7: xx (of each precinct): has no row"]),
    "which statement is the state": (
        "UPDATE aggregate.unit_state SET current_offset = 2 WHERE unit_id = '000001'",
        ["unit_count offset 4, precinct/000001: state and end of chain stand at 2 and 4, by the log at 4 and 4"],
    ),
    "whose votes they are": (
        "UPDATE aggregate.selection SET party = 'Party B' WHERE selection_id = 'a'",
        ["selection: a: party is 'Party B', by the log 'Party A'"],
    ),
    "what an area is called": (
        "UPDATE aggregate.area SET name = 'YY' WHERE area_id = 'xx'", ["area: xx: name is 'YY', by the log 'XX'"]
    ),
    "the contest's roll": (
        "UPDATE aggregate.contest SET definition = jsonb_set(definition, '{registered_voters}', '1')",
        [f"contest: {CONTEST}: definition.registered_voters is 1, by the log 30000"],
    ),
    "the last official time": (
        "UPDATE aggregate.contest SET last_reported_at = now()", [f"contest: {CONTEST}: last_reported_at is "]
    ),
    "when an event was recorded": (
        "DELETE FROM aggregate.log_time WHERE log_offset = 0", ["log_time offset 0: the event is on the log and has no row"]
    ),
    "a past total": (
        "UPDATE aggregate.area_total_block SET figures[1] = 7 WHERE area_id = 'xx' AND span = '[0,4)'",
        ["area_total_block offset 3, precinct/000002: figures is [7, "],
    ),
    "a past total that is gone": (
        "DELETE FROM aggregate.area_total_block WHERE area_id = 'xx' AND span = '[0,4)'",
        ["area_total_block offset 3, precinct/000002: the event is on the log and has no row (xx, of each precinct)"],
    ),
    "the digest": ("UPDATE aggregate.contest SET digest = ''", ["contest: digest is "]),
}  # fmt: skip


@pytest.mark.parametrize(("tampering", "told"), TAMPERED.values(), ids=TAMPERED.keys())
def test_one_changed_row_is_named(event_log: EventLog, totals: Database, tampering: str, told: list[str]) -> None:
    a_night(event_log)
    aggregate(event_log, totals)
    with psycopg.connect(totals.owner_url) as db:
        assert db.execute(tampering).rowcount == 1
    found = verdict(event_log, totals)
    assert len(found.differences) == len(told) == found.count
    for difference, beginning in zip(found.differences, told, strict=True):
        assert str(difference).startswith(beginning)


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
        with pytest.raises(ReplayError, match="the log ends at offset 8; 9 is not on it yet"):
            verdict(copy, totals)
        return
    found = verdict(copy, totals, 8)
    assert (found.equal, found.is_copy) == (False, True)
    assert verdict(copy, totals, dropped - 1).equal
    told = f"update_history offset {dropped}, "
    first = next(d for d in found.differences if d.table == "update_history")
    assert str(first).startswith(told)
    assert f"the row is of event {lost.event_id}, {lost.unit}, which the log does not have here" in str(first)


def test_many_differences_are_counted_and_the_first_named(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), *(sheet(n) for n in range(1, 2 * SHOWN))])
    aggregate(event_log, totals)
    with psycopg.connect(totals.owner_url) as db:
        db.execute("UPDATE aggregate.count_update_history SET unit_name = 'x'")
    found = verdict(event_log, totals)
    assert (found.count, len(found.differences)) == (2 * SHOWN - 1, SHOWN)


def test_what_is_not_aggregated_yet_is_not_verified(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    event_log.append([sheet(2)])
    with pytest.raises(NothingCounted, match="the tables end at offset 1; 2 is not aggregated yet"):
        verdict(event_log, totals, 2)


def test_the_command_says_so_and_exits_with_1(event_log: EventLog, totals: Database) -> None:
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    prefix = event_log.topic.removesuffix("results.events")
    command = [
        "verify", CONTEST, "--bootstrap-servers", event_log.bootstrap_servers, "--reader-url", totals.reader_url,
        "--topic-prefix", prefix,
    ]  # fmt: skip
    equal = CliRunner().invoke(main, command)
    assert (equal.exit_code, "equal; digest " in equal.stdout) == (0, True)
    with psycopg.connect(totals.owner_url) as db:
        db.execute("UPDATE aggregate.count_update_history SET unit_name = 'x'")
    other = CliRunner().invoke(main, command)
    assert (other.exit_code, "update_history offset 1, precinct/000001: unit_name is 'x'" in other.stdout) == (1, True)
