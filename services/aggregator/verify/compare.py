"""Verify: the tables beside the log, row by row, and every difference by name.

The log is folded from its start, and each step is compared with the row that was written of it, so that one altered,
added or deleted row is found whether or not it changed a sum. The digest of the state is computed twice: from the log by the
fold, and from the rows of the history without it. Where the contest is blocked, the log is read on to the cursor, and what waits is
compared too. Reads Kafka and the views; writes nothing, and live goes on meanwhile.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import zip_longest
from math import inf
from typing import Any

from psycopg.types.range import Range

from aggregator.fold.digest import StateDigest, partition_digest
from aggregator.fold.fold import ContestState, Step
from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import Folding
from aggregator.replay.replay import unknown
from aggregator.replay.workers import fold_here
from aggregator.tables.batch import Parked, follows
from aggregator.tables.rows import (
    BLOCK,
    DEFINITION,
    FINDING,
    LOG_TIME,
    PARKED,
    UPDATE,
    block_rows,
    definition_row,
    finding_rows,
    log_time_row,
    parked_row,
    printable,
    update_row,
)
from aggregator.verify.report import Mismatch, Report, mismatches
from results.count import NothingCounted
from results.moment import Moment
from results.projection import ProjectionError
from results.reader import Reader
from results.rows import RowError, definition_of, recorded_of, total_of
from results.vectors import AreaTotal, Layout
from runtime.kafka.access import KafkaAccess
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.errors import ContractError
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.types import rfc3339

_ALL = 2**63 - 1
"""Beyond every offset."""


def verify(
    views: Reader,
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    to_offset: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
) -> Report:
    """Compares up to `to_offset`, or with all that is aggregated. Raises NothingCounted for what the tables or the log do not
    have."""
    if (until := views.until_stated_at()) is not None:
        raise ProjectionError(
            f"these tables hold what was stated by {rfc3339(until)}, which is no state of the log to compare"
        )
    row = views.contest_row(contest_id)
    last = int(row["last_offset"])
    if to_offset is not None and to_offset > last:
        raise NothingCounted(f"the tables end at offset {last}; {to_offset} is not aggregated yet")
    with Log(kafka, topic, max_records=20_000) as log:
        cursors = views.cursors()
        is_copy = topic not in {row["topic"], *(cursor["topic"] for cursor in cursors)}
        report = Report(contest_id, last if to_offset is None else to_offset, is_copy)
        tables = Tables(views, contest_id, report, _ALL if to_offset is None else to_offset)
        # Of two positions the farther one: whichever was changed, the other still says how far to look.
        reach = to_offset if to_offset is not None else max([last, *_read_to(cursors, row)])
        folding = Folding(contest_id, Moment(offset=reach), tables.compare)
        partition, end = _fold(log, folding, on_progress)
        state = folding.state
        if report.offset >= end:
            what = f"the tables have read to offset {report.offset}, the log ends at {end - 1}"
            report.add(Mismatch("contest", what))
        report.log_digest = state.root()
        if to_offset is None:
            reach = _cursor(views, row, state, log, partition, report)
            tables.wait(_own(log, contest_id, partition, _after(state), min(reach, end)))
    tables.finish()
    report.table_digest = tables.digest()
    if report.log_digest != report.table_digest:
        what = f"its digest is {report.table_digest}, the log's is {report.log_digest}"
        report.add(Mismatch("update_history", what))
    if to_offset is None:
        _state(views, contest_id, row, state, (topic, partition), report)
    return report


def _fold(log: Log, folding: Folding, on_progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Folds the contest up to the moment, or to what cannot be read; its partition, and where that ends."""
    for partition in log.partitions():
        end = log.end_offset(partition)
        with suppress(ContractError):  # named where the rows of what waits are compared
            fold_here(log, partition, 0, end, folding, on_progress)
        if folding.found:
            return partition, end
    raise unknown(folding, log.topic)


def _read_to(cursors: Iterable[Mapping[str, Any]], contest: Mapping[str, Any]) -> Iterator[int]:
    """The last offset that the cursor of the contest's partition has passed."""
    for cursor in cursors:
        if cursor["topic"] == contest["topic"] and cursor["partition"] == contest["partition"]:
            yield int(cursor["next_offset"]) - 1


def _after(state: ContestState) -> int:
    return state.last.offset + 1 if state.last is not None else 0


def _own(log: Log, contest_id: str, partition: int, begin: int, end: int) -> Iterator[RawRecord]:
    """The contest's messages of a stretch of the log."""
    key = contest_id.encode()
    for records in log.read_to_end(partition, begin, end):
        yield from (raw for raw in records if raw.key == key)


def _cursor(
    views: Reader, contest: Mapping[str, Any], state: ContestState, log: Log, partition: int, report: Report
) -> int:
    """Compares the cursor of the contest's partition; how far it says that was read, or where it is gone what is parked."""
    topic = contest["topic"] if report.is_copy else log.topic
    cursors = [c for c in views.cursors() if (c["topic"], c["partition"]) == (topic, partition)]
    if not cursors:
        report.add(Mismatch("cursor", f"{topic}/{partition} has no row"))
        return views.last_parked(report.contest_id) + 1
    (cursor,) = cursors
    next_offset, end, topic_id = int(cursor["next_offset"]), log.end_offset(partition), log.topic_id()
    told = []
    if not report.is_copy and cursor["topic_id"] != topic_id:
        told.append(f"topic_id is {cursor['topic_id']}, the log's is {topic_id}")
    if not report.is_copy and next_offset > end:
        told.append(f"next_offset is {next_offset}, the log ends at offset {end - 1}")
    if next_offset < _after(state):
        told.append(f"next_offset is {next_offset}, the contest's last event is at {_after(state) - 1}")
    true = partition_digest(views.digests(topic, partition) | {report.contest_id: report.log_digest})
    if cursor["digest"] != true:
        told.append(f"digest is {cursor['digest']}, those of its contests give {true}")
    for what in told:
        report.add(Mismatch("cursor", f"{topic}/{partition}: {what}"))
    return next_offset


class _Rows:
    """The rows of one table in the order of the log, taken offset by offset."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def before(self, offset: float) -> Iterator[Mapping[str, Any]]:
        """The rows up to, not including, an offset."""
        while (row := self._next) is not None and row["log_offset"] < offset:
            self._next = next(self._rows, None)
            yield row


class Tables:
    """The rows of a contest's history, walked beside the log."""

    def __init__(self, views: Reader, contest_id: str, report: Report, to_offset: int) -> None:
        self._verdict = report
        self._states: dict[str, tuple[tuple[datetime, int], bytes]] = {}
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._definition: tuple[int, bytes] = (0, b"\0" * 32)
        where = (contest_id, to_offset)
        self._rows = {
            "definition_history": _Rows(views.all_definitions(*where)),
            "update_history": _Rows(views.all_updates(*where)),
            "finding": _Rows(views.all_findings(*where)),
            "log_time": _Rows(() if report.is_copy else views.all_log_times(*where)),
            "area_total_block": _Rows(views.all_blocks(*where)),
            # of a blocked contest; it has none up to an offset that the tables have counted
            "parked": _Rows(views.all_parked(*where)),
        }

    def compare(self, step: Step) -> None:
        """One step of the fold with the rows that were written of it."""
        offset = step.recorded.offset
        self._verdict.events += 1
        expected: dict[str, tuple[Mapping[str, str], list[tuple[Any, ...]]]] = {
            "finding": (FINDING, list(finding_rows(step))),
            "log_time": (LOG_TIME, [log_time_row(step)] if step.is_later and not self._verdict.is_copy else []),
            "area_total_block": (
                BLOCK,
                sorted(block_rows(step.recorded.event.contest_id, step.blocks), key=lambda row: row[1:3]),
            ),
            "definition_history": (DEFINITION, []),
            "update_history": (UPDATE, []),
        }
        if isinstance(step.recorded.event, ContestDefined):
            expected["definition_history"][1].append(definition_row(step))
        else:
            expected["update_history"][1].append(update_row(step))
        for table, (columns, true) in expected.items():
            for row in self._rows[table].before(offset):
                self._stranger(table, row)
            own = list(self._rows[table].before(offset + 1))
            for kept, values in zip_longest(own, true):
                if values is None:
                    self._stranger(table, kept)
                else:
                    self._row(table, step, kept, dict(zip(columns, values, strict=True)))

    def _row(self, table: str, step: Step, kept: Mapping[str, Any] | None, true: Mapping[str, Any]) -> None:
        event = step.recorded.event
        unit = str(event.unit) if isinstance(event, CountUpdate) else None

        def differs(what: str) -> None:
            what += _of_area(true)
            self._verdict.add(Mismatch(table, what, step.recorded.offset, event.event_id, unit))

        if kept is None:
            differs("the event is on the log and has no row")
            return
        self._take(table, kept)
        if "event_id" in true and kept["event_id"] != event.event_id:
            of = f", {kept['unit_type']}/{kept['unit_id']}" if "unit_id" in kept else ""
            differs(f"the row is of event {kept['event_id']}{of}, which the log does not have here")
            return
        for column, value in true.items():
            if column == "recorded_at" and self._verdict.is_copy:
                continue
            for what in mismatches(column, _plain(kept[column]), value):
                differs(what)

    def wait(self, messages: Iterable[RawRecord]) -> None:
        """The messages of the contest behind its last event, with the rows of what is parked."""
        report = self._verdict
        for raw in messages:
            if report.blocked_offset is not None:
                reason = follows(report.blocked_offset)
            else:
                try:
                    recorded_of_raw(raw)
                except ContractError as error:
                    report.blocked_offset, report.blocked_reason = raw.offset, printable(str(error))
                    reason = report.blocked_reason
                else:  # the fold ended before it: by the contest's row it was not read yet
                    continue
            report.parked_count += 1
            self._waits(raw, reason)

    def _waits(self, raw: RawRecord, reason: str) -> None:
        for row in self._rows["parked"].before(raw.offset):
            self._stranger("parked", row)
        true = dict(zip(PARKED, parked_row(Parked(raw, self._verdict.contest_id, reason)), strict=True))
        true["value_sha256"] = None if raw.value is None else hashlib.sha256(raw.value).hexdigest()
        del true["value"]
        if self._verdict.is_copy:
            del true["recorded_at"]
        own = list(self._rows["parked"].before(raw.offset + 1))
        if not own:
            self._verdict.add(Mismatch("parked", "the message is on the log and has no row", raw.offset))
        for kept in own:
            for column, value in true.items():
                for what in mismatches(column, kept[column], value):
                    self._verdict.add(Mismatch("parked", what, raw.offset))

    def finish(self) -> None:
        """What is left of the tables when the log has come to its end stands in them alone."""
        for table, rows in self._rows.items():
            for row in rows.before(inf):
                self._stranger(table, row)

    def digest(self) -> str:
        """The state's digest, from the rows alone."""
        digest = StateDigest()
        digest.definition = self._definition[1]
        for unit, (_, of_state) in self._states.items():
            digest.put(unit.encode(), of_state + self._heads[unit][1])
        return digest.root()

    def _stranger(self, table: str, row: Mapping[str, Any]) -> None:
        self._take(table, row)
        unit = f"{row['unit_type']}/{row['unit_id']}" if row.get("unit_id") is not None else None
        what = f"a row of no event of the log{_of_area(row)}"
        self._verdict.add(Mismatch(table, what, row["log_offset"], row.get("event_id"), unit))

    def _take(self, table: str, row: Mapping[str, Any]) -> None:
        """Adds a row to the state that the tables give."""
        if not row.get("accepted"):
            return
        try:
            if table == "definition_history":
                definition = definition_of(row["definition"])
                self._definition = max(self._definition, (definition.revision, leaf(text_of(definition))))
                return
            event = recorded_of(row).update
        except RowError as error:
            self._verdict.add(Mismatch(table, str(error), row["log_offset"], row["event_id"]))
            return
        unit, its_leaf = str(event.unit), leaf(text_of(event))
        order = (event.stated_at, event.sequence)
        if unit not in self._states or order > self._states[unit][0]:
            self._states[unit] = (order, its_leaf)
        if unit not in self._heads or event.sequence > self._heads[unit][0]:
            self._heads[unit] = (event.sequence, its_leaf)


def _state(
    views: Reader,
    contest_id: str,
    contest: Mapping[str, Any],
    state: ContestState,
    at: tuple[str, int],
    report: Report,
) -> None:
    """The tables that hold the state of now."""
    if state.definition is None:
        report.add(Mismatch("contest", "it is defined, and the log has no definition of it that can be read"))
        return
    if contest["digest"] != report.log_digest:
        report.add(Mismatch("contest", f"digest is {contest['digest']}, by the log {report.log_digest}"))
    _definition(views, contest_id, contest, state, at, report)
    rows = {UnitKey(row["unit_type"], row["unit_id"]): row for row in views.all_units(contest_id)}
    for key in sorted(rows.keys() | state.units.keys()):
        row, unit = rows.get(key), state.units.get(key)
        kept = (row["log_offset"], row["head_offset"]) if row is not None else None
        true = (unit.offset, unit.head_offset) if unit is not None else None
        if kept != true:
            offset, event_id = (unit.offset, unit.event_id) if unit is not None else (None, None)
            what = f"state and end of chain stand at {_offsets(kept)}, by the log at {_offsets(true)}"
            report.add(Mismatch("unit_state", what, offset, event_id, str(key)))
    totals = {(row["unit_type"], row["area_id"]): row for row in views.all_totals(contest_id)}
    for place in sorted(totals.keys() | {(kind, area) for kind, sums in state.sums.items() for area in sums}):
        row, total = totals.get(place), state.sums.get(place[0], {}).get(place[1]) or AreaTotal(state.layout.zero())
        if what := _total_differs(row, total, state.layout):
            where = f"{place[1]} (of each {place[0]})"
            report.add(Mismatch("area_total", f"{where}: {what}", total.last_offset, total.last_event_id))


def _definition(
    views: Reader,
    contest_id: str,
    contest: Mapping[str, Any],
    state: ContestState,
    at: tuple[str, int],
    report: Report,
) -> None:
    """What the tables say of the contest itself: whose votes they are, and where."""
    last, definition = state.last, state.definition
    assert last is not None
    assert definition is not None
    selections = {
        s.selection_id: {"candidate": s.candidate, "party": s.party, "ballot_order": s.ballot_order}
        for s in state.contest.selections
    }
    areas = {a.area_id: {"name": a.name, "type": a.type.value, "parent_id": a.parent_id} for a in state.contest.areas}
    true: dict[str, dict[str, dict[str, Any]]] = {
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
        "selection": {row["selection_id"]: row for row in views.all_selections(contest_id)},
        "area": {row["area_id"]: row for row in views.all_areas(contest_id)},
    }
    for table, expected in true.items():
        found = kept[table]
        for name in sorted(expected.keys() | found.keys()):
            if name not in found or name not in expected:
                report.add(Mismatch(table, f"{name} {'is not there' if name in expected else 'is not of the contest'}"))
                continue
            for column, value in expected[name].items():
                for what in mismatches(column, found[name][column], value):
                    report.add(Mismatch(table, f"{name}: {what}"))


def _total_differs(row: Mapping[str, Any] | None, total: AreaTotal, layout: Layout) -> str:
    if row is None:
        return "has no row"
    vector = layout.vector_of(row)
    told = [f"{name} differs by {change:+,}" for name, change in layout.changes(total.vector, vector).items()]
    if not told:  # a name that no figure has
        reasons = {reason: n for reason, n in layout.reasons(total.vector).items() if n}
        told += mismatches("votes", row["votes"], layout.votes(total.vector))
        told += mismatches("under_review_by_reason", row["under_review_by_reason"], reasons)
    if total_of(row, total.vector) != total:
        told.append("another update is named as the last, or as one of those since its last block")
    return ", ".join(told)


def _of_area(row: Mapping[str, Any]) -> str:
    return f" ({row['area_id']}, of each {row['unit_type']})" if "area_id" in row else ""


def _plain(value: object) -> object:
    return (value.lower, value.upper) if isinstance(value, Range) else value


def _offsets(place: tuple[int, int] | None) -> str:
    return "no offset" if place is None else " and ".join(map(str, place))
