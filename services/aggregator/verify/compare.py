"""Verify the tables against the log, row by row, and report every mismatch.

The log is folded from its start, and each step is compared with the rows written for it (`history`), so that one
altered, added or deleted row is found whether or not it changed a sum. The digest of the state is computed twice: from
the log by the fold, and from the rows of the history without it. Where the contest is blocked, the log is read on to
the cursor, and the parked messages are compared as well. Only reads; the aggregator may run meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aggregator.fold.digest import partition_digest
from aggregator.fold.fold import ContestState
from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.replay import unknown
from aggregator.replay.workers import fold_here
from aggregator.verify.history import HistoryTables
from aggregator.verify.report import Mismatch, Report, mismatches
from results.count import NothingCounted
from results.moment import Moment
from results.projection import ProjectionError
from results.reader import Reader
from results.rows import total_of
from results.vectors import AreaTotal, Layout
from runtime.kafka.access import KafkaAccess
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.log_record import RawRecord
from schemas.types import rfc3339

_ALL = 2**63 - 1
"""Above every offset."""


def verify(
    reader: Reader,
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    to_offset: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
) -> Report:
    """Compare a contest's tables with the log up to `to_offset`, or with all that is aggregated.

    Raises NothingCounted for a contest or offset that is not there, ProjectionError for a replay by official time.
    """
    if (until := reader.until_stated_at()) is not None:
        raise ProjectionError(
            f"these tables hold what was stated by {rfc3339(until)}, which is no state of the log to compare"
        )
    row = reader.contest_row(contest_id)
    last = int(row["last_offset"])
    if to_offset is not None and to_offset > last:
        raise NothingCounted(f"the tables end at offset {last}; {to_offset} is not aggregated yet")
    with Log(kafka, topic, max_records=20_000) as log:
        cursors = reader.cursors()
        is_copy = topic not in {row["topic"], *(cursor["topic"] for cursor in cursors)}
        report = Report(contest_id, last if to_offset is None else to_offset, is_copy)
        tables = HistoryTables(reader, contest_id, report, _ALL if to_offset is None else to_offset)
        # The farther of two positions: if one was altered, the other still tells how far to compare.
        reach = to_offset if to_offset is not None else max([last, *_read_to(cursors, row)])
        fold = ContestFold(contest_id, Moment(offset=reach), tables.compare)
        partition, end = _fold(log, fold, on_progress)
        state = fold.state
        if report.offset >= end:
            what = f"the tables end at offset {report.offset}, the log ends at {end - 1}"
            report.add(Mismatch("contest", what))
        report.log_digest = state.root()
        if to_offset is None:
            reach = _cursor(reader, row, state, log, partition, report)
            tables.compare_parked(_own(log, contest_id, partition, _after(state), min(reach, end)))
    tables.finish()
    report.table_digest = tables.digest()
    if report.log_digest != report.table_digest:
        what = f"digest is {report.table_digest}, by the log {report.log_digest}"
        report.add(Mismatch("update_history", what))
    if to_offset is None:
        _state(reader, row, state, (topic, partition), report)
    return report


def _fold(log: Log, fold: ContestFold, on_progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Fold the contest up to the moment, or to an unreadable message. Returns its partition, and the end of that."""
    for partition in log.partitions():
        end = log.end_offset(partition)
        with suppress(ContractError):  # reported when the parked messages are compared
            fold_here(log, partition, 0, end, fold, on_progress)
        if fold.found:
            return partition, end
    raise unknown(fold, log.topic)


def _read_to(cursors: Iterable[Mapping[str, Any]], contest: Mapping[str, Any]) -> Iterator[int]:
    """Yield the last offset read by the cursor of the contest's partition."""
    for cursor in cursors:
        if cursor["topic"] == contest["topic"] and cursor["partition"] == contest["partition"]:
            yield int(cursor["next_offset"]) - 1


def _after(state: ContestState) -> int:
    return state.last.offset + 1 if state.last is not None else 0


def _own(log: Log, contest_id: str, partition: int, begin: int, end: int) -> Iterator[RawRecord]:
    key = contest_id.encode()
    for records in log.read_to_end(partition, begin, end):
        yield from (raw for raw in records if raw.key == key)


def _cursor(
    reader: Reader, contest: Mapping[str, Any], state: ContestState, log: Log, partition: int, report: Report
) -> int:
    """Compare the cursor of the partition. Returns its next offset, or that after the last parked message."""
    topic = contest["topic"] if report.is_copy else log.topic
    cursors = [c for c in reader.cursors() if (c["topic"], c["partition"]) == (topic, partition)]
    if not cursors:
        report.add(Mismatch("cursor", f"{topic}/{partition} has no row"))
        return reader.last_parked(report.contest_id) + 1
    (cursor,) = cursors
    next_offset, end, topic_id = int(cursor["next_offset"]), log.end_offset(partition), log.topic_id()
    faults = []
    if not report.is_copy and cursor["topic_id"] != topic_id:
        faults.append(f"topic_id is {cursor['topic_id']}, by the log {topic_id}")
    if not report.is_copy and next_offset > end:
        faults.append(f"next_offset is {next_offset}, the log ends at offset {end - 1}")
    if next_offset < _after(state):
        faults.append(f"next_offset is {next_offset}, the contest's last event is at offset {_after(state) - 1}")
    expected = partition_digest(reader.digests(topic, partition) | {report.contest_id: report.log_digest})
    if cursor["digest"] != expected:
        faults.append(f"digest is {cursor['digest']}, by those of its contests {expected}")
    for what in faults:
        report.add(Mismatch("cursor", f"{topic}/{partition}: {what}"))
    return next_offset


def _state(
    reader: Reader, contest: Mapping[str, Any], state: ContestState, at: tuple[str, int], report: Report
) -> None:
    """Compare the tables that hold the current state."""
    if state.definition is None:
        report.add(Mismatch("contest", "the contest is defined, but the log has no readable definition of it"))
        return
    if contest["digest"] != report.log_digest:
        report.add(Mismatch("contest", f"digest is {contest['digest']}, by the log {report.log_digest}"))
    _definition(reader, contest, state, at, report)
    rows = {UnitKey(row["unit_type"], row["unit_id"]): row for row in reader.rows_of("all_units", report.contest_id)}
    for key in sorted(rows.keys() | state.units.keys()):
        row, unit = rows.get(key), state.units.get(key)
        kept = (row["log_offset"], row["head_offset"]) if row is not None else None
        expected = (unit.offset, unit.head_offset) if unit is not None else None
        if kept != expected:
            offset, event_id = (unit.offset, unit.event_id) if unit is not None else (None, None)
            what = f"current_offset, head_offset are {kept}, by the log {expected}"
            report.add(Mismatch("unit_state", what, offset, event_id, str(key)))
    totals = {(row["unit_type"], row["area_id"]): row for row in reader.rows_of("all_totals", report.contest_id)}
    for place in sorted(totals.keys() | {(kind, area) for kind, sums in state.sums.items() for area in sums}):
        row, total = totals.get(place), state.sums.get(place[0], {}).get(place[1]) or AreaTotal(state.layout.zero())
        if what := _total_differs(row, total, state.layout):
            where = f"{place[1]} (of each {place[0]})"
            report.add(Mismatch("area_total", f"{where}: {what}", total.last_offset, total.last_event_id))


def _definition(
    reader: Reader, contest: Mapping[str, Any], state: ContestState, at: tuple[str, int], report: Report
) -> None:
    """Compare the tables that hold the contest itself, its selections and its areas."""
    last, definition, contest_id = state.last, state.definition, report.contest_id
    assert last is not None
    assert definition is not None
    selections = {
        s.selection_id: {"candidate": s.candidate, "party": s.party, "ballot_order": s.ballot_order}
        for s in state.contest.selections
    }
    areas = {a.area_id: {"name": a.name, "type": a.type.value, "parent_id": a.parent_id} for a in state.contest.areas}
    by_table: dict[str, dict[str, dict[str, Any]]] = {
        "contest": {
            contest_id: {
                "definition": state.contest.model_dump(mode="json", exclude={"areas"}),
                "partition": at[1],
                "definition_offset": definition.offset,
                "last_offset": last.offset,
                "last_reported_at": state.last_reported_at,
                "blocked_offset": report.blocked_offset,
                "blocked_reason": report.blocked_reason,
                **({} if report.is_copy else {"topic": at[0], "last_recorded_at": last.recorded_at}),
            }
        },
        "selection": selections,
        "area": areas,
    }
    kept: dict[str, dict[str, Mapping[str, Any]]] = {
        "contest": {contest_id: contest},
        "selection": {row["selection_id"]: row for row in reader.rows_of("all_selections", contest_id)},
        "area": {row["area_id"]: row for row in reader.rows_of("all_areas", contest_id)},
    }
    for table, expected in by_table.items():
        found = kept[table]
        for name in sorted(expected.keys() | found.keys()):
            if name not in found or name not in expected:
                report.add(
                    Mismatch(table, f"{name} has no row" if name in expected else f"{name} is not of the contest")
                )
                continue
            for column, value in expected[name].items():
                for what in mismatches(column, found[name][column], value):
                    report.add(Mismatch(table, f"{name}: {what}"))


def _total_differs(row: Mapping[str, Any] | None, total: AreaTotal, layout: Layout) -> str:
    if row is None:
        return "has no row"
    vector = layout.vector_of(row)
    faults = [f"{name} differs by {change:+,}" for name, change in layout.changes(total.vector, vector).items()]
    if not faults:  # an unknown name in a map is no figure
        reasons = {reason: n for reason, n in layout.reasons(total.vector).items() if n}
        faults += mismatches("votes", row["votes"], layout.votes(total.vector))
        faults += mismatches("under_review_by_reason", row["under_review_by_reason"], reasons)
    if total_of(row, total.vector) != total:
        faults.append("its last update, or the list of updates since its last block, differs")
    return ", ".join(faults)
