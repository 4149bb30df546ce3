"""Verify the tables against the log, row by row, and report every mismatch.

The log is folded from its start, and each step is compared with the rows written for it (`history`), so that one
altered, added or deleted row is found whether or not it changed a sum. The digest of the state is computed twice: from
the log by the fold, and from the rows of the history without it. Where the contest is blocked, the log is read on to
the cursor, and the parked messages are compared as well. Only reads; the aggregator may run meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import numpy as np

from aggregator.fold.digest import partition_digest
from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.replay import fold_here, home, unknown
from aggregator.verify.history import HistoryTables
from aggregator.verify.report import Mismatch, Report, mismatches
from results.count import NothingCounted
from results.moment import Moment
from results.named_sql import named_sql
from results.projection import ProjectionError
from results.reader import Reader
from results.rows import total_of
from results.vectors import AreaTotal
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import Unreadable
from schemas.columns.layout import Layout
from schemas.columns.wire import instant
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.log_record import RawRecord
from schemas.types import from_milliseconds, rfc3339

_SQL = named_sql(__package__, "verify")
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
    with Log(kafka, topic, max_records=10_000) as log:
        cursors = reader.cursors()
        is_copy = topic not in {row["topic"], *(cursor["topic"] for cursor in cursors)}
        report = Report(contest_id, last if to_offset is None else to_offset, is_copy)
        if to_offset is None:
            _log_id(cursors, topic, log, report)
        tables = HistoryTables(reader, contest_id, report, _ALL if to_offset is None else to_offset)
        # The farther of two positions: if one was altered, the other still tells how far to compare.
        reach = to_offset if to_offset is not None else max([last, *_read_to(cursors, row)])
        fold = ContestFold(contest_id, Moment(offset=reach))

        def compare(step: Folded | Defined) -> None:
            assert fold.moment_state.last is not None
            report.partition = fold.moment_state.last.partition
            tables.compare(step, fold.moment_state)

        fold.on_step = compare
        partition, end = _fold(log, fold, on_progress)
        report.stop = fold.stopped
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
    partition = home(log, fold)
    end = log.end_offset(partition)
    assert fold.moment.offset is not None
    with suppress(ContractError):  # reported when the parked messages are compared
        fold_here(log, partition, 0, min(end, fold.moment.offset + 1), fold, on_progress)
    if not fold.found:
        raise unknown(log, fold)
    return partition, end


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


def _log_id(cursors: list[dict[str, Any]], topic: str, log: Log, report: Report) -> None:
    """Compare the topic's id, before all rows: where it is another log, each of them differs for that reason."""
    found = log.topic_id()
    for cursor in cursors:
        if cursor["topic"] == topic and cursor["topic_id"] != found:
            what = f"topic_id is {cursor['topic_id']}, by the log {found}: it was deleted and made again"
            report.add(Mismatch("cursor", f"{topic}/{cursor['partition']}: {what}"))


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
    next_offset, end = int(cursor["next_offset"]), log.end_offset(partition)
    faults = []
    if not report.is_copy and next_offset > end:
        faults.append(f"next_offset is {next_offset}, the log ends at offset {end - 1}")
    if next_offset < _after(state):
        faults.append(f"next_offset is {next_offset}, the contest's last event is at offset {_after(state) - 1}")
    expected = partition_digest(reader.digests(topic, partition) | {report.contest_id: report.log_digest})
    if cursor["digest"] != expected:
        faults.append(f"digest is {cursor['digest']}, by those of its contests {expected}")
    if cursor["unreadable"] and not report.is_copy and _is_readable(log, partition, next_offset):
        faults.append(f"unreadable is {cursor['unreadable']!r}, the log can be read on")
    for what in faults:
        report.add(Mismatch("cursor", f"{topic}/{partition}: {what}"))
    return next_offset


def _is_readable(log: Log, partition: int, offset: int) -> bool:
    try:
        next(log.read_to_end(partition, offset, min(offset + 1, log.end_offset(partition))), None)
    except Unreadable:
        return False
    return True


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
    sql, where = _SQL, {"contest_id": report.contest_id}
    rows = {
        UnitKey(row["unit_type"], row["unit_id"]): (row["current_offset"], row["head_offset"])
        for row in reader.run(sql["units"], **where)
    }
    kept = {key: offsets for key, offsets in rows.items() if offsets != (None, None)}
    units, keys = state.units, state.index.keys
    expected = {
        keys[number]: (int(units.state_offset[number]), int(units.head_offset[number]))
        for number in np.flatnonzero(units.head_sequence[: len(units)]).tolist()
    }
    for key in sorted(key for key, _, _ in state.roll.listed() if key not in rows):
        report.add(Mismatch("unit_state", "it is on the roll, and has no row", unit=str(key)))
    for key in sorted(key for key in kept.keys() | expected.keys() if kept.get(key) != expected.get(key)):
        number = state.index.find(key)
        offset, _ = expected.get(key, (None, None))
        event_id = UUID(bytes=units.state_event_id[number].tobytes()) if offset is not None else None
        what = f"current_offset, head_offset are {kept.get(key)}, by the log {expected.get(key)}"
        report.add(Mismatch("unit_state", what, offset, event_id, str(key)))
    totals = {(row["unit_type"], row["area_id"]): row for row in reader.run(sql["totals"], **where)}
    for place in sorted(totals.keys() | set(state.all_totals.places)):
        row, total = totals.get(place), state.all_totals.total(place)
        if (row or total) and (what := _total_differs(row, total, state.layout)):
            about = f"{place[1]} (of each {place[0]})"
            last = (total.last_offset, total.last_event_id) if total is not None else (None, None)
            report.add(Mismatch("area_total", f"{about}: {what}", *last))


def _definition(
    reader: Reader, contest: Mapping[str, Any], state: ContestState, at: tuple[str, int], report: Report
) -> None:
    """Compare the tables that hold the contest itself, its selections and its areas."""
    last, definition, contest_id = state.last, state.definition, report.contest_id
    blocked_offset, blocked_reason = report.blocked_offset, report.blocked_reason
    for cursor in reader.cursors():  # with its whole partition, where that cannot be read on
        is_its = (cursor["topic"], cursor["partition"]) == (contest["topic"], at[1])
        if is_its and cursor["unreadable"] and blocked_offset is None:
            blocked_offset, blocked_reason = cursor["next_offset"], cursor["unreadable"]
    assert last is not None
    assert definition is not None
    selections = {
        s.selection_id: s.model_dump(include={"candidate", "party", "ballot_order", "list_id", "withdrawn_at"})
        | {"kind": s.kind.value}
        for s in state.contest.selections
    }
    areas = {
        a.area_id: a.model_dump(include={"name", "type", "parent_id", "expected_units", "ends_at"})
        | {
            "replaced_by": list(a.replaced_by),
            "codes": {code.registry: code.value for code in a.codes},
            "within": state.contest.areas_within[a.area_id],
        }
        for a in state.contest.areas
    }
    by_table: dict[str, dict[str, dict[str, Any]]] = {
        "contest": {
            contest_id: {
                "definition": state.contest.model_dump(mode="json", exclude={"areas"}),
                "partition": at[1],
                "definition_offset": definition.offset,
                "last_offset": last.offset,
                "last_reported_at": instant(state.last_reported),
                "blocked_offset": blocked_offset,
                "blocked_reason": blocked_reason,
                **({} if report.is_copy else {"topic": at[0], "last_recorded_at": from_milliseconds(last.recorded)}),
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


def _total_differs(row: Mapping[str, Any] | None, total: AreaTotal | None, layout: Layout) -> str:
    if row is None:
        return "has no row"
    if total is None:
        return "nothing on the log was added up in it"
    faults = [f"{name} differs by {change:+,}" for name, change in _figures(row, total, layout).items()]
    if total_of(row, total.vector) != total:
        faults.append("its last update, or the list of updates since its last block, differs")
    return ", ".join(faults)


def _figures(row: Mapping[str, Any], total: AreaTotal, layout: Layout) -> dict[str, int]:
    kept = [value or 0 for value in row["figures"]]
    if len(kept) != layout.size or None in row["figures"]:
        return {"figures": len(kept) - layout.size}
    return layout.changes(total.vector, kept)
