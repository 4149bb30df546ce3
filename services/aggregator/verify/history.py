"""Compare the rows of a contest's history with the steps of the fold, in the order of the log.

Place in the flow: `compare.verify` calls it for each step, for the messages behind the last event, and at the end.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from math import inf
from typing import Any

from psycopg.types.range import Range

from aggregator.fold.digest import StateDigest
from aggregator.fold.fold import Step
from aggregator.tables import rows as table_rows
from aggregator.tables.batch import Parked, follows
from aggregator.verify.report import Mismatch, Report, mismatches
from results.reader import Reader
from results.rows import RowError, definition_of, recorded_of
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, recorded_of_raw


class _Rows:
    """The rows of one table in the order of the log, consumed offset by offset."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def before(self, offset: float) -> Iterator[Mapping[str, Any]]:
        while (row := self._next) is not None and row["log_offset"] < offset:
            self._next = next(self._rows, None)
            yield row


class HistoryTables:
    """The rows of a contest's history up to an offset. Mismatches are added to the report."""

    def __init__(self, reader: Reader, contest_id: str, report: Report, to_offset: int) -> None:
        self._report = report
        self._states: dict[str, tuple[tuple[datetime, int], bytes]] = {}
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._definition: tuple[int, bytes] = (0, b"\0" * 32)
        where = (contest_id, to_offset)
        self._rows = {
            "definition_history": _Rows(reader.stream("all_definitions", *where)),
            "update_history": _Rows(reader.stream("all_updates", *where)),
            "finding": _Rows(reader.stream("all_findings", *where)),
            "log_time": _Rows(() if report.is_copy else reader.stream("all_log_times", *where)),
            "area_total_block": _Rows(reader.stream("all_blocks", *where)),
            # of a blocked contest; none up to an offset that the tables have counted
            "parked": _Rows(reader.stream("all_parked", *where)),
        }

    def compare(self, step: Step) -> None:
        """Compare one step of the fold with the rows written for it."""
        offset = step.recorded.offset
        self._report.events += 1
        by_table: dict[str, tuple[Mapping[str, str], list[tuple[Any, ...]]]] = {
            "finding": (table_rows.FINDING, list(table_rows.finding_rows(step))),
            "log_time": (
                table_rows.LOG_TIME,
                [table_rows.log_time_row(step)] if step.is_later and not self._report.is_copy else [],
            ),
            "area_total_block": (
                table_rows.BLOCK,
                sorted(table_rows.block_rows(step.recorded.event.contest_id, step.blocks), key=lambda row: row[1:3]),
            ),
            "definition_history": (table_rows.DEFINITION, []),
            "update_history": (table_rows.UPDATE, []),
        }
        if isinstance(step.recorded.event, ContestDefined):
            by_table["definition_history"][1].append(table_rows.definition_row(step))
        else:
            by_table["update_history"][1].append(table_rows.update_row(step))
        for table, (columns, expected) in by_table.items():
            for row in self._rows[table].before(offset):
                self._extra_row(table, row)
            own = list(self._rows[table].before(offset + 1))
            for kept, values in zip_longest(own, expected):
                if values is None:
                    self._extra_row(table, kept)
                else:
                    self._row(table, step, kept, dict(zip(columns, values, strict=True)))

    def _row(self, table: str, step: Step, kept: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> None:
        event = step.recorded.event
        unit = str(event.unit) if isinstance(event, CountUpdate) else None

        def differs(what: str) -> None:
            what += _of_area(expected)
            self._report.add(Mismatch(table, what, step.recorded.offset, event.event_id, unit))

        if kept is None:
            differs("the event is on the log, but has no row")
            return
        self._apply(table, kept)
        if "event_id" in expected and kept["event_id"] != event.event_id:
            of = f", {kept['unit_type']}/{kept['unit_id']}" if "unit_id" in kept else ""
            differs(f"the row is of event {kept['event_id']}{of}, which is not at this offset of the log")
            return
        for column, value in expected.items():
            if column == "recorded_at" and self._report.is_copy:
                continue
            for what in mismatches(column, _plain(kept[column]), value):
                differs(what)

    def compare_parked(self, messages: Iterable[RawRecord]) -> None:
        """Compare the messages behind the contest's last event with the rows of parked messages."""
        report = self._report
        for raw in messages:
            if report.blocked_offset is not None:
                reason = follows(report.blocked_offset)
            else:
                try:
                    recorded_of_raw(raw)
                except ContractError as error:
                    report.blocked_offset, report.blocked_reason = raw.offset, table_rows.printable(str(error))
                    reason = report.blocked_reason
                else:  # behind the last event that the contest's row names: not aggregated yet
                    continue
            report.parked_count += 1
            self._compare_message(raw, reason)

    def _compare_message(self, raw: RawRecord, reason: str) -> None:
        for row in self._rows["parked"].before(raw.offset):
            self._extra_row("parked", row)
        expected = dict(
            zip(table_rows.PARKED, table_rows.parked_row(Parked(raw, self._report.contest_id, reason)), strict=True)
        )
        expected["value_sha256"] = None if raw.value is None else hashlib.sha256(raw.value).hexdigest()
        del expected["value"]
        if self._report.is_copy:
            del expected["recorded_at"]
        own = list(self._rows["parked"].before(raw.offset + 1))
        if not own:
            self._report.add(Mismatch("parked", "the message is on the log, but has no row", raw.offset))
        for kept in own:
            for column, value in expected.items():
                for what in mismatches(column, kept[column], value):
                    self._report.add(Mismatch("parked", what, raw.offset))

    def finish(self) -> None:
        """Report the rows left when the log has ended."""
        for table, rows in self._rows.items():
            for row in rows.before(inf):
                self._extra_row(table, row)

    def digest(self) -> str:
        """Compute the state's digest from the rows alone."""
        digest = StateDigest()
        digest.definition = self._definition[1]
        for unit, (_, of_state) in self._states.items():
            digest.put(unit.encode(), of_state + self._heads[unit][1])
        return digest.root()

    def _extra_row(self, table: str, row: Mapping[str, Any]) -> None:
        self._apply(table, row)
        unit = f"{row['unit_type']}/{row['unit_id']}" if row.get("unit_id") is not None else None
        what = f"the row is of no event on the log{_of_area(row)}"
        self._report.add(Mismatch(table, what, row["log_offset"], row.get("event_id"), unit))

    def _apply(self, table: str, row: Mapping[str, Any]) -> None:
        """Apply a row to the state of which `digest` is computed."""
        if not row.get("accepted"):
            return
        try:
            if table == "definition_history":
                definition = definition_of(row["definition"])
                self._definition = max(self._definition, (definition.revision, leaf(text_of(definition))))
                return
            event = recorded_of(row).update
        except RowError as error:
            self._report.add(Mismatch(table, str(error), row["log_offset"], row["event_id"]))
            return
        unit, its_leaf = str(event.unit), leaf(text_of(event))
        order = (event.stated_at, event.sequence)
        if unit not in self._states or order > self._states[unit][0]:
            self._states[unit] = (order, its_leaf)
        if unit not in self._heads or event.sequence > self._heads[unit][0]:
            self._heads[unit] = (event.sequence, its_leaf)


def _of_area(row: Mapping[str, Any]) -> str:
    return f" ({row['area_id']}, of each {row['unit_type']})" if "area_id" in row else ""


def _plain(value: object) -> object:
    return (value.lower, value.upper) if isinstance(value, Range) else value
