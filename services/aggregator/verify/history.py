"""Compare the rows of a contest's history with what the fold makes of the log, in the order of the log.

Place in the flow: `compare.verify` calls it for each step, for the messages behind the last event, and at the end. The
rows of the two large tables are encoded as the writer does, and compared as bytes; only those that differ are decoded.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from math import inf
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.pq import Format

from aggregator.fold.digest import StateDigest
from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.totals import Totals
from aggregator.fold.unit_table import UnitTable
from aggregator.tables import rows as table_rows
from aggregator.tables.batch import follows
from aggregator.verify.report import Mismatch, Report, mismatches
from results.named_sql import named_sql
from results.reader import Reader
from results.rows import RowError, definition_of, roll_of
from schemas.columns.layout import Layout
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import instant
from schemas.count_update import UnitKey
from schemas.errors import ContractError
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.unit_roll import UnitRoll

_SQL = named_sql(__package__, "verify")
_RECORDED_AT = slice(14, 26)
"""Where the broker's time stands in a row of the history."""

Row = Mapping[str, Any]


class HistoryTables:
    """The rows of a contest's history up to an offset. Mismatches are added to the report."""

    def __init__(self, reader: Reader, contest_id: str, report: Report, to_offset: int) -> None:
        self._reader, self._contest_id, self._report, self._to_offset = reader, contest_id, report, to_offset
        self._histories = table_rows.Histories()
        self._next_offset = 0
        self._blocks = reader.stream(_SQL["area_total_block"], contest_id=contest_id, to_offset=to_offset)
        self._next_block = next(self._blocks, None)
        self._parked: dict[int, list[Row]] = defaultdict(list)
        # of a blocked contest; none up to an offset that the tables have counted
        for row in reader.run(_SQL["parked"], contest_id=contest_id, to_offset=to_offset):
            self._parked[row["log_offset"]].append(row)

    def compare(self, step: Folded | Defined, state: ContestState) -> None:
        """Compare one step of the fold with the rows written for it. `state`: that it made."""
        last = step.recorded.offset if isinstance(step, Defined) else int(step.batch.offset[-1])
        where = {"contest_id": self._contest_id, "first": self._next_offset, "last": last}
        self._next_offset = last + 1
        self._report.events += 1 if isinstance(step, Defined) else len(step.batch)
        about = _about(step)
        contest_id, partition = self._contest_id, self._report.partition
        found = table_rows.finding_rows(contest_id, partition, step)
        self._compare_few("finding", table_rows.FINDING, where, found, about)
        if not self._report.is_copy:
            times = table_rows.log_time_rows(contest_id, step)
            self._compare_few("log_time", table_rows.LOG_TIME, where, times, about)
        defined = table_rows.definition_rows(step)
        self._compare_few("definition_history", table_rows.DEFINITION, where, defined["contest_history"], about)
        self._compare_few("roll_history", table_rows.ROLL, where, defined["roll_history"], about)
        self._compare_few("source_history", table_rows.SOURCE, where, defined["source_history"], about)
        areas = table_rows.roll_area_rows(contest_id, step, state.roll)
        self._compare_few("roll_area", table_rows.ROLL_AREA, where, areas, about)
        columns = table_rows.HISTORY | table_rows.RESOLVED
        updates, blocks = list[bytes](), list[Row]()
        if isinstance(step, Folded):
            updates = self._histories.rows(contest_id, step, table_rows.resolved, len(columns))
            blocks = _blocks(contest_id, step, state.all_totals)
        self._compare_updates(columns, where, updates, about, state.layout)
        kept = list(self._blocks_to(last))
        if kept != blocks:
            self._compare_rows("area_total_block", kept, blocks, about)

    def _blocks_to(self, offset: float) -> Iterator[Row]:
        while (row := self._next_block) is not None and row["log_offset"] <= offset:
            self._next_block = next(self._blocks, None)
            yield row | {"span": (row["span"].lower, row["span"].upper)}

    def _compare_few(
        self, table: str, columns: Mapping[str, str], where: Row, expected: Iterable[Sequence[Any]], about: "_About"
    ) -> None:
        kept = self._reader.run(_SQL[table], **where)
        made = [dict(zip(columns, row, strict=True)) for row in expected]
        if [{name: row[name] for name in columns} for row in kept] != made:
            self._compare_rows(table, kept, made, about)

    def _compare_updates(
        self, columns: Mapping[str, str], where: Row, expected: list[bytes], about: "_About", layout: Layout
    ) -> None:
        kept = self._reader.copied(_SQL["update_history"], **where)
        if self._report.is_copy:
            before, after = _RECORDED_AT.start, _RECORDED_AT.stop
            kept, expected = ([row[:before] + row[after:] for row in rows] for rows in (kept, expected))
            columns = {name: kind for name, kind in columns.items() if name != "recorded_at"}
        if kept == expected:
            return
        same, decode = set(kept) & set(expected), _decoder(columns, layout)
        differing = ([decode(row) for row in rows if row not in same] for rows in (kept, expected))
        self._compare_rows("update_history", next(differing), next(differing), about)

    def _compare_rows(self, table: str, kept: Sequence[Row], expected: Sequence[Row], about: "_About") -> None:
        by_offset: dict[int, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
        for side, rows in enumerate((kept, expected)):
            for row in rows:
                by_offset[row["log_offset"]][side].append(row)
        for offset, sides in sorted(by_offset.items()):
            for row, made in zip_longest(*sides):
                if made is None:
                    self._extra_row(table, row)
                else:
                    self._compare_row(table, offset, row, made, about)

    def _compare_row(self, table: str, offset: int, row: Row | None, made: Row, about: "_About") -> None:
        event_id, unit = about(offset)

        def differs(what: str) -> None:
            self._report.add(Mismatch(table, what + _of_area(made), offset, event_id, unit))

        if row is None:
            differs("the event is on the log, but has no row")
        elif "event_id" in made and row["event_id"] != event_id:
            of = f", {row['unit_type']}/{row['unit_id']}" if "unit_id" in row else ""
            differs(f"the row is of event {row['event_id']}{of}, which is not at this offset of the log")
        else:
            compared = [column for column in made if not (column == "recorded_at" and self._report.is_copy)]
            found = [what for column in compared for what in mismatches(column, row[column], made[column])]
            if not found and table == "update_history":  # of the others, rows that are equal come here too
                found = ["the row has the same values in another form"]
            for what in found:
                differs(what)

    def compare_parked(self, messages: Iterable[RawRecord]) -> None:
        """Compare the messages behind the contest's last event with the rows of parked messages."""
        report = self._report
        for raw in messages:
            reason: str | None
            if report.blocked_offset is not None:
                reason = follows(report.blocked_offset)
            elif (reason := self._unreadable(raw)) is not None:
                report.blocked_offset, report.blocked_reason = raw.offset, reason
            else:  # behind the last event that the contest's row names: not aggregated yet
                continue
            report.parked_count += 1
            self._compare_message(raw, reason)

    def _unreadable(self, raw: RawRecord) -> str | None:
        if self._report.stop is not None and self._report.stop[0] == raw.offset:
            return table_rows.reason_of(self._report.stop[1])
        try:
            recorded_of_raw(raw)
        except ContractError as error:
            return table_rows.reason_of(str(error))
        return None

    def _compare_message(self, raw: RawRecord, reason: str) -> None:
        parked = table_rows.Parked(raw, self._contest_id, reason)
        expected = dict(zip(table_rows.PARKED, table_rows.parked_row(parked), strict=True))
        expected["value_sha256"] = None if raw.value is None else hashlib.sha256(raw.value).hexdigest()
        del expected["value"]
        if self._report.is_copy:
            del expected["recorded_at"]
        own = self._parked.pop(raw.offset, [])
        if not own:
            self._report.add(Mismatch("parked", "the message is on the log, but has no row", raw.offset))
        for kept in own:
            for column, value in expected.items():
                for what in mismatches(column, kept[column], value):
                    self._report.add(Mismatch("parked", what, raw.offset))

    def finish(self) -> None:
        """Report the rows left when the log has ended, and those that no update names."""
        where = {"contest_id": self._contest_id, "first": self._next_offset, "last": self._to_offset}
        times = () if self._report.is_copy else ("log_time",)
        for table in ("definition_history", "roll_history", "source_history", "roll_area", "finding", *times):
            for row in self._reader.run(_SQL[table], **where):
                self._extra_row(table, row)
        decode = _decoder(table_rows.HISTORY | table_rows.RESOLVED, Layout(()))
        for encoded in self._reader.copied(_SQL["update_history"], **where):
            self._extra_row("update_history", decode(encoded))
        for block in self._blocks_to(inf):
            self._extra_row("area_total_block", block)
        for _, rows in sorted(self._parked.items()):
            for parked in rows:
                self._extra_row("parked", parked)
        for name, table in (("area_path", "area_path"), ("publication", "publication"), ("unit", "unit_state")):
            for row in self._reader.run(_SQL[f"unnamed_{name}"], contest_id=self._contest_id):
                self._report.add(Mismatch(table, f"no update names row {row['number']}"))

    def digest(self) -> str:
        """Compute the state's digest from the leaves of the rows alone."""
        index, units, digest = UnitIndex(), UnitTable(0), StateDigest()
        where = {"contest_id": self._contest_id, "last": self._to_offset}
        for row in self._reader.run(_SQL["leaves"], **where):
            key = UnitKey(row["unit_type"], row["unit_id"])
            number = index.number(key)
            units.grow_to(number + 1)
            digest.add(number, str(key))
            for column, name in ((units.state_leaf, "leaf"), (units.head_leaf, "head_leaf")):
                column[number] = np.frombuffer(row[name][:32].ljust(32, b"\0"), np.uint8)
        for row in self._reader.run(_SQL["definition_history"], first=0, **where):
            try:
                if row["accepted"]:
                    digest.definition = leaf(text_of(definition_of(row["definition"])))
            except RowError as error:
                self._report.add(Mismatch("definition_history", str(error), row["log_offset"], row["event_id"]))
        digest.roll = self._roll_leaf(where)
        return digest.root(units.state_leaf, units.head_leaf)

    def _roll_leaf(self, where: Mapping[str, Any]) -> bytes:
        """Return the hash of the roll in force, from the accepted rows alone: of the last revision that is whole."""
        parts: list[tuple[UnitRoll, bytes]] = []
        found = bytes(32)
        for row in self._reader.run(_SQL["roll_history"], first=0, **where):
            try:
                event = roll_of(row["roll"]) if row["accepted"] else None
            except RowError as error:
                self._report.add(Mismatch("roll_history", str(error), row["log_offset"], row["event_id"]))
                continue
            if event is not None:
                parts = [of for of in parts if of[0].revision == event.revision] + [(event, leaf(text_of(event)))]
                if event.part == event.parts:
                    found = hashlib.sha256(b"".join(leaf_of for _, leaf_of in parts)).digest()
        return found

    def _extra_row(self, table: str, row: Row) -> None:
        unit = f"{row['unit_type']}/{row['unit_id']}" if row.get("unit_id") is not None else None
        what = f"the row is of no event on the log{_of_area(row)}"
        self._report.add(Mismatch(table, what, row["log_offset"], row.get("event_id"), unit))


_About = Callable[[int], tuple[UUID | None, str | None]]
"""Id and unit of the event at an offset."""


def _about(step: Folded | Defined) -> _About:
    if isinstance(step, Defined):
        return lambda _offset: (step.recorded.event.event_id, None)
    batch = step.batch

    def of(offset: int) -> tuple[UUID | None, str | None]:
        entry = int(batch.offset.searchsorted(offset))
        if entry == len(batch) or batch.offset[entry] != offset:
            return None, None
        return UUID(bytes=batch.event_id[entry].tobytes()), str(batch.index.keys[int(batch.unit[entry])])

    return of


def _blocks(contest_id: str, folded: Folded, totals: Totals) -> list[Row]:
    """Return the rows of kept totals, in the order in which they end."""
    blocks = folded.blocks
    if blocks is None:
        return []
    columns = (blocks.place, blocks.begin, blocks.end, blocks.vector, blocks.stated)
    rows: list[Row] = [
        {
            "contest_id": contest_id,
            "unit_type": totals.places[place][0],
            "area_id": totals.places[place][1],
            "span": (begin, end + 1),
            "offsets": offsets,
            "figures": vector,
            "stated_at": instant(stated),
            "last_offset": end,
            "last_event_id": UUID(bytes=event_id.tobytes()),
            "log_offset": end,
        }
        for (place, begin, end, vector, stated), offsets, event_id in zip(
            zip(*(column.tolist() for column in columns), strict=True), blocks.offsets, blocks.event_id, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (row["log_offset"], row["unit_type"], row["area_id"]))


def _decoder(columns: Mapping[str, str], layout: Layout) -> Callable[[bytes], dict[str, Any]]:
    """Return what decodes a row in the binary format; figures by the names of their slots."""
    transformer = psycopg.adapt.Transformer()
    loaders = {}
    for name, kind in columns.items():
        found = psycopg.postgres.types[kind.removesuffix("[]")]
        oid = found.array_oid if kind.endswith("[]") else found.oid
        loaders[name] = transformer.get_loader(oid, Format.BINARY)

    def decode(row: bytes) -> dict[str, Any]:
        made: dict[str, Any] = {}
        at = 2
        for name, loader in loaders.items():
            length = int.from_bytes(row[at : at + 4], "big", signed=True)
            at += 4
            value = None if length < 0 else _loaded(loader, row[at : at + length])
            at += max(length, 0)
            if isinstance(value, list) and name in ("figures", "change"):
                value = dict(zip([*layout.names, *map(str, range(layout.size, len(value)))], value, strict=False))
            made[name] = value
        return made

    return decode


def _loaded(loader: psycopg.abc.Loader, raw: bytes) -> Any:
    try:
        return loader.load(raw)
    except psycopg.DataError as error:  # a time that PostgreSQL has and Python has not
        return f"unreadable: {error}"


def _of_area(row: Row) -> str:
    return f" ({row['area_id']}, of each {row['unit_type']})" if "area_id" in row else ""
