"""Read the views of one projection in PostgreSQL. Writes nothing."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composed

from results.count import Around, AsOf, Count, NothingCounted, OnLog, OnRoll, count, find_area
from results.findings import LIMIT, Found, FoundAt, RefusedEvent, broken_rule, not_accepted
from results.moment import Moment
from results.named_sql import named_sql
from results.projection import LIVE, Projection
from results.rows import CHANGED_OUTSIDE, RowError, definition_of, recorded_of, total_of
from results.vectors import AreaTotal, LevelTotal
from results.version import check
from runtime.postgres import connect, copied_rows, faults_named
from schemas.columns.layout import Layout
from schemas.contest import Area, ContestDefined, Level
from schemas.count_update import UnitKey
from schemas.log_record import Recorded

_SQL = named_sql(__package__, "reader")


class Reader:
    """A reader's connection: all its answers are from one snapshot of the database."""

    def __init__(self, url: str, projection: Projection = LIVE) -> None:
        self._definitions: dict[tuple[str, int], Recorded] = {}
        # never prepared: the best plan depends on the moment
        self._db = connect(url, prepare_threshold=None)
        try:
            with faults_named():
                check(self._db, projection, *projection.readable)
                self._db.set_autocommit(False)
                self._db.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                self._db.set_read_only(True)
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def within(
        cls, db: psycopg.Connection[dict[str, Any]], definitions: dict[tuple[str, int], Recorded] | None = None
    ) -> Self:
        """Return a reader on a connection of the caller's: on a writer's, it reads what that has written so far.

        Its transaction must resolve names in the projection's views (`version.point_at_locally`). `definitions`: those
        that were read already, by contest and offset; it is filled.
        """
        reader = cls.__new__(cls)
        reader._definitions, reader._db = {} if definitions is None else definitions, db
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def contests(self) -> list[str]:
        """List the ids of all contests."""
        return [row["contest_id"] for row in self._rows("contests")]

    def contest(self, contest_id: str) -> tuple[ContestDefined, Mapping[str, Any]]:
        """Return a contest's definition in force and its row. Raises NothingCounted for an unknown one."""
        row = self.contest_row(contest_id)
        contest = self._definition(contest_id, row["definition_offset"]).definition
        # A replay by official time may have another counting level than the latest definition.
        return contest.model_copy(update={"counting_level": tuple(row["counting_types"])}), row

    def contest_row(self, contest_id: str) -> Mapping[str, Any]:
        """Return a contest's row. Raises NothingCounted for an unknown one."""
        rows = self._rows("contest", contest_id=contest_id)
        if not rows or rows[0]["definition_offset"] is None:
            raise self._unknown(contest_id)
        return rows[0]

    def log_of(self, contest_id: str) -> OnLog:
        """Return where the events of a contest stand. Raises NothingCounted for an unknown one."""
        rows = self._rows("log_of_contest", contest_id=contest_id)
        if not rows:
            raise self._unknown(contest_id)
        return OnLog(**rows[0])

    def _unknown(self, contest_id: str) -> NothingCounted:
        known = ", ".join(self.contests()) or "none yet"
        return NothingCounted(f"no contest {contest_id!r} has been counted here (known: {known})")

    def count(self, contest_id: str, area_id: str | None) -> Count:
        """Return an area's count now, with its digest, from the totals as they are. Raises NothingCounted."""
        contest, _ = self.contest(contest_id)
        area = find_area(contest, area_id).area_id
        found = self.counts(contest_id, [area])[area]
        if isinstance(found, NothingCounted):
            raise found
        return found

    def counts(self, contest_id: str, areas: Collection[str]) -> dict[str, Count | NothingCounted]:
        """Return the counts of areas now, as `count` does, by their ids: NothingCounted of one about which it raises.

        Raises NothingCounted for an unknown contest.
        """
        contest, row = self.contest(contest_id)
        layout, root = Layout.of(contest), contest.root.area_id
        parts: dict[str, dict[str, AreaTotal | None]] = {area: {} for area in (*areas, root)}
        for of in self._rows("area_totals", contest_id=contest_id, areas=list(parts)):
            parts[of["area_id"]][of["unit_type"]] = total_of(of, layout.widened(of["figures"]))
        totals = {area: LevelTotal.of(layout, contest.counting_level, of) for area, of in parts.items()}
        units = [area_key(contest.areas_by_id[area]) for area in areas]
        official = defaultdict[UnitKey, list[Recorded]](list)
        for own in self.unit_history_to(contest_id, units, row["last_offset"]):
            official[UnitKey(own["unit_type"], own["unit_id"])].append(recorded_of(own))
        rolls = self.rolls(contest, list(areas), row["last_offset"])
        known = Around.of(None, totals[root]).known_in_all
        as_of, found = as_of_row(row), dict[str, Count | NothingCounted]()
        for area_id in areas:
            area, around = contest.areas_by_id[area_id], Around(rolls.get(area_id), known)
            stated = official[area_key(area)]
            try:
                answer = count(contest, area, totals[area_id], stated, as_of, row["digest"], around)
                found[area_id] = answer.model_copy(update={"blocked": blocked_of(row)})
            except NothingCounted as nothing:
                found[area_id] = nothing
        return found

    def last_roll(self, contest_id: str, to_offset: int) -> int | None:
        """Return the offset of the last accepted part of a roll up to an offset."""
        (row,) = self._rows("last_roll", contest_id=contest_id, to_offset=to_offset)
        return None if row["log_offset"] is None else int(row["log_offset"])

    def rolls(self, contest: ContestDefined, areas: Sequence[str], to_offset: int) -> dict[str, OnRoll]:
        """Return what the contest's roll has of areas as of an offset; empty without a roll."""
        types = list(contest.sheets_expected)
        where = {"contest_id": contest.contest_id, "types": types, "areas": list(areas), "to_offset": to_offset}
        rows = self._rows("roll_of_areas", **where)
        return {row["area_id"]: OnRoll(row["units"], row["registered_voters"]) for row in rows}

    def blocked(self, contest_id: str, to_offset: int) -> str | None:
        """Return the reason why the contest is blocked at an offset up to `to_offset`, if it is."""
        (row,) = self._rows("contest", contest_id=contest_id)
        return blocked_of(row) if row["blocked"] and row["blocked_offset"] <= to_offset else None

    def history(self, contest_id: str, unit: UnitKey) -> list[dict[str, Any]]:
        """Return the rows of a unit's accepted updates, by sequence."""
        return self._rows("unit_history", contest_id=contest_id, unit_type=unit.type, unit_id=unit.id)

    def findings(self, contest_id: str, unit: UnitKey) -> list[dict[str, Any]]:
        """Return the findings about a unit's updates, in the order of the log."""
        return self._rows("findings_of_unit", contest_id=contest_id, unit_type=unit.type, unit_id=unit.id)

    def found(self, contest_id: str, to_offset: int) -> Found:
        """Return the rules that a contest's events up to an offset break, and the events that were not accepted."""
        where = {"contest_id": contest_id, "to_offset": to_offset, "limit": LIMIT}
        events = defaultdict[tuple[str, int], list[FoundAt]](list)
        for row in self._rows("findings_by_code", **where):
            at = FoundAt(offset=row["log_offset"], unit=_unit_of(row), message=row["message"])
            events[row["code"], row["number"]].append(at)
        rows = self._rows("not_accepted", **where)
        refused = [RefusedEvent(offset=r["log_offset"], unit=_unit_of(r), findings=tuple(r["findings"])) for r in rows]
        return Found(
            findings=tuple(broken_rule(code, number, of) for (code, number), of in events.items()),
            not_accepted=not_accepted(rows[0]["number"] if rows else 0, refused),
        )

    def moved_units(self, contest_id: str, unit_types: Level) -> list[UnitKey]:
        """Return the units of these types that were moved to other areas."""
        rows = self._rows("moved_units", contest_id=contest_id, unit_types=list(unit_types))
        return [UnitKey(row["unit_type"], row["unit_id"]) for row in rows]

    def snapshots(
        self, contest_id: str, area_id: str, level: Level, left: Collection[int] = (), entered: Collection[int] = ()
    ) -> list[dict[str, Any]]:
        """Return each publication's changes among the units of `level` in an area, in the order of the log.

        `left`, `entered`: offsets of updates by which a unit left or entered the area. Their changes are not in the
        sums; `moved` has those of the publication.
        """
        where = {"contest_id": contest_id, "area_id": area_id, "level": list(level)}
        rows = self._rows("snapshots_of_area", **where, left=list(left), entered=list(entered))
        layout = Layout.of(self.contest(contest_id)[0])
        return [row | {"change": layout.nonzero(row["change"] or ())} for row in rows]

    def offset_of(self, contest_id: str, moment: Moment) -> int:
        """Return the last offset that belongs to a moment. Raises NothingCounted if unknown, or not aggregated yet."""
        rows = self._rows("next_offset", contest_id=contest_id)
        if not rows:
            raise self._unknown(contest_id)
        offset = int(rows[0]["next_offset"]) - 1
        if moment.offset is not None:
            if moment.offset > offset:
                raise NothingCounted(f"the tables end at offset {offset}; {moment.offset} is not aggregated yet")
            offset = moment.offset
        if moment.recorded_at is not None:
            later = self._rows("first_recorded_after", contest_id=contest_id, recorded_at=moment.recorded_at)
            offset = min([offset, *(row["log_offset"] - 1 for row in later)])
        return offset

    def definitions(self, contest_id: str, to_offset: int) -> list[Recorded]:
        """Return the accepted definitions of a contest up to an offset, in the order of the log."""
        rows = self._rows("accepted_definitions", contest_id=contest_id, to_offset=to_offset)
        return [self._definition(contest_id, row["log_offset"]) for row in rows]

    def _definition(self, contest_id: str, offset: int) -> Recorded:
        """Read a definition, once for each connection: it has every area, and an event never changes."""
        if (contest_id, offset) not in self._definitions:
            rows = self._rows("definition_at", contest_id=contest_id, log_offset=offset)
            if not rows:
                raise RowError(f"the definition of {contest_id} at offset {offset} is missing: {CHANGED_OUTSIDE}")
            event = definition_of(rows[0]["definition"])
            self._definitions[contest_id, offset] = Recorded(
                rows[0]["partition"], offset, rows[0]["recorded_at"], event
            )
        return self._definitions[contest_id, offset]

    def first_event(self, contest_id: str) -> Mapping[str, Any]:
        """Return offset and log time of a contest's first event."""
        (row,) = self._rows("first_event", contest_id=contest_id)
        return row

    def last_event(self, contest_id: str, to_offset: int) -> Mapping[str, Any]:
        """Return offset and log time of a contest's last event up to an offset, and the latest time stated by then."""
        (row,) = self._rows("last_event", contest_id=contest_id, to_offset=to_offset)
        return row

    def last_reported(self, contest_id: str, stated_at: datetime, to_offset: int) -> datetime | None:
        """Return the office's latest time up to `stated_at`, of the statements up to an offset."""
        rows = self._rows("last_reported", contest_id=contest_id, stated_at=stated_at, to_offset=to_offset)
        return rows[0]["reported_at"] if rows else None

    def unit_types(self, contest_id: str) -> list[str]:
        """List the types of the units with a statement."""
        return [row["unit_type"] for row in self._rows("unit_types", contest_id=contest_id)]

    def unit_history_to(self, contest_id: str, units: Sequence[UnitKey], to_offset: int) -> list[dict[str, Any]]:
        """Return the rows of the accepted updates of units up to an offset, by unit and sequence."""
        types, ids = [unit.type for unit in units], [unit.id for unit in units]
        return self._rows("unit_history_to", contest_id=contest_id, types=types, ids=ids, to_offset=to_offset)

    def statements_of_units(
        self, contest_id: str, unit_type: str, unit_ids: Sequence[str], to_offset: int
    ) -> list[dict[str, Any]]:
        """Return the accepted updates of units up to an offset, by unit and sequence: id, time and `areas` only."""
        if not unit_ids:
            return []
        where = {"contest_id": contest_id, "unit_type": unit_type, "ids": list(unit_ids), "to_offset": to_offset}
        return self._rows("statements_of_units", **where)

    def updates_at(self, contest_id: str, offsets: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of the updates at these offsets."""
        return self._rows("updates_at", contest_id=contest_id, offsets=list(offsets)) if offsets else []

    def changes_at(self, contest_id: str, offsets: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return id, official time and recorded change of the updates at these offsets, by offset."""
        if not offsets:
            return {}
        rows = self._rows("changes_at", contest_id=contest_id, offsets=list(offsets))
        return {row["log_offset"]: row for row in rows}

    def notices_since(self, contest_id: str, since: int, limit: int) -> list[dict[str, Any]]:
        """Return the first `limit` notices of a contest after the number `since`."""
        return self._rows("notices_since", contest_id=contest_id, since=since, limit=limit)

    def updates_since(
        self, contest_id: str, since: int, limit: int, area_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the first accepted updates after an offset, in the order of the log, of an area or of all.

        Each row is that of a `LoggedUpdate`, with its recorded change as it is kept.
        """
        where = {"contest_id": contest_id, "since": since, "area": area_id, "limit": limit}
        return self._rows("updates_since", **where)

    def units_of_area(
        self, contest_id: str, area_id: str, after: UnitKey | None, unit_type: str | None, limit: int
    ) -> list[Recorded]:
        """Return the last statements of an area's units, by the id of the unit, after one, of a type or of all."""
        after_type, after_id = after or ("", "")
        where = {"contest_id": contest_id, "area": area_id, "type": unit_type, "limit": limit}
        rows = self._rows("units_of_area", **where, after_id=after_id, after_type=after_type)
        offsets = [row["log_offset"] for row in rows]
        by_offset = {row["log_offset"]: row for row in self.updates_at(contest_id, offsets)}
        return [recorded_of(by_offset[offset]) for offset in offsets]

    def states_at(
        self, contest_id: str, level: Level, area_id: str, to_offset: int, stated_at: datetime | None
    ) -> list[dict[str, Any]]:
        """Return the statements that are the states of the units of `level` in an area, up to an offset and a time."""
        where = {"contest_id": contest_id, "level": list(level), "area_id": area_id}
        return self._rows("states_at", **where, to_offset=to_offset, stated_at=stated_at)

    def statement_at(self, contest_id: str, offset: int) -> list[dict[str, Any]]:
        """Return the statement at an offset, as `states_at` has it."""
        return self._rows("statement_at", contest_id=contest_id, log_offset=offset)

    def documents_of(self, contest_id: str, publications: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Return the documents of publications, by their numbers: name, uri and sha256 of each."""
        rows = self._rows("documents_of", contest_id=contest_id, publications=list(publications))
        return {row["publication"]: row["documents"] for row in rows}

    def stages_at(self, contest_id: str, offsets: Collection[int]) -> dict[int, str]:
        """Return whose word the updates at these offsets are, by offset."""
        rows = self._rows("stages_at", contest_id=contest_id, offsets=list(offsets)) if offsets else []
        return {row["log_offset"]: row["result_stage"] for row in rows}

    def totals_since(self, contest_id: str, unit_type: str, areas: Sequence[str]) -> dict[str, list[int]]:
        """Return the offsets of the updates since each area's last kept total, by area."""
        rows = self._rows("totals_since", contest_id=contest_id, unit_type=unit_type, areas=list(areas))
        return {row["area_id"]: row["since"] for row in rows}

    def blocks_to(self, contest_id: str, unit_type: str, areas: Sequence[str], to_offset: int) -> list[dict[str, Any]]:
        """Return each area's last block that begins up to an offset, followed by the block before it."""
        where = {"contest_id": contest_id, "unit_type": unit_type, "areas": list(areas)}
        return self._rows("blocks_to", **where, to_offset=to_offset)

    def blocks_stated_by(
        self, contest_id: str, unit_type: str, areas: Sequence[str], stated_at: datetime
    ) -> list[dict[str, Any]]:
        """Return each area's first block whose total includes a later official time, then the block before it."""
        where = {"contest_id": contest_id, "unit_type": unit_type, "areas": list(areas)}
        return self._rows("blocks_stated_by", **where, stated_at=stated_at)

    def irregular_units(self, contest_id: str, unit_type: str, stated_at: datetime, to_offset: int) -> dict[int, str]:
        """Return the units whose state at an official time is a late statement, or that moved: ids by number."""
        where = {"contest_id": contest_id, "unit_type": unit_type, "stated_at": stated_at, "to_offset": to_offset}
        return {row["unit"]: row["unit_id"] for row in self._rows("irregular_units", **where)}

    def late_changes(
        self,
        contest_id: str,
        unit_type: str,
        root: str,
        stated_at: datetime,
        to_offset: int,
        after: Mapping[str, int],
        first: int,
        irregular: Collection[int],
        size: int,
    ) -> tuple[list[dict[str, Any]], int]:
        """Sum the changes of late updates by area: stated up to a time, with an offset beyond the area's in `after`.

        Each row has the sum of `size` slots, and offset, id and official time of the last of them. Units with a number
        in `irregular` are left out; `root` is the outermost area. Also returns the last offset of one that was accepted
        and is beyond `first`, -1 for none.
        """
        slots = SQL(", ").join(SQL("sum(change[{}])::bigint").format(slot) for slot in range(1, size + 1))
        rows = self._late_rows(
            SQL(_SQL["late_changes"]).format(sums=SQL("ARRAY[{}]").format(slots)),
            contest_id=contest_id,
            unit_type=unit_type,
            root=root,
            stated_at=stated_at,
            to_offset=to_offset,
            areas=list(after),
            after=list(after.values()),
            first=first,
            irregular=list(irregular),
        )
        return [row for row in rows if row["area_id"] is not None], int(rows[0]["last_accepted"])

    def until_stated_at(self) -> datetime | None:
        """Return the official time up to which these tables were made; None for tables of a prefix of the log."""
        until: datetime | None = self._rows("made_until")[0]["until_stated_at"]
        return until

    def updates_between(
        self,
        contest_id: str,
        unit_types: Sequence[str],
        area_id: str,
        offsets: tuple[int, int],
        stated_at: tuple[datetime | None, datetime | None],
        limit: int,
    ) -> list[dict[str, Any]]:
        """Return the first accepted updates about an area and its units that belong to only one of two moments.

        In the order of the log; each row has `taken_back` (it belongs to the first) and `updates_total`, their number.
        `offsets`, `stated_at`: of the first and the second moment; None: any time.
        """
        low, high = (0, 1) if offsets[0] <= offsets[1] else (1, 0)
        # without a limit: a time later than all others, in PostgreSQL's form
        stated = [at.isoformat() if at is not None else "infinity" for at in stated_at]
        early, late = (1, 0) if _after(stated_at[0], stated_at[1]) else (0, 1)
        return self._rows(
            "updates_between",
            contest_id=contest_id,
            unit_types=list(unit_types),
            area_id=area_id,
            offset_low=offsets[low],
            offset_high=offsets[high],
            offset_back=low == 1,
            stated_by=stated[high],
            stated_low=stated[early],
            stated_high=stated[late],
            stated_back=early == 1,
            limit=limit,
        )

    def cursors(self) -> list[dict[str, Any]]:
        """Return the position in each partition."""
        return self._rows("cursors")

    def status(self) -> list[dict[str, Any]]:
        """Return a row for each contest: position, digest, findings by code, and whether it is blocked."""
        return self._rows("contest_status")

    def unattributed(self) -> list[dict[str, Any]]:
        """Return the parked messages without a defined contest, by key; `keys`: of how many keys there are any."""
        return self._rows("unattributed")

    def run(self, query: LiteralString | Composed, **parameters: object) -> list[dict[str, Any]]:
        """Return the rows of a query of the views."""
        with faults_named():
            return self._db.execute(query, parameters).fetchall()

    def copied(self, query: LiteralString, **parameters: object) -> list[bytes]:
        """Return the rows of a query of the views in PostgreSQL's binary format: `runtime.postgres.copied_rows`."""
        with faults_named():
            return list(copied_rows(self._db, query, parameters))

    def stream(self, query: LiteralString, **parameters: object) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query of the views, as many as there may be."""
        with faults_named(), self._db.cursor(name="stream") as db:
            db.itersize = 5000
            yield from db.execute(query, parameters, binary=True)

    def last_parked(self, contest_id: str) -> int:
        """Return the offset of a contest's last parked message; -1 for none."""
        return int(self._rows("last_parked", contest_id=contest_id)[0]["log_offset"])

    def digests(self, topic: str, partition: int) -> dict[str, str]:
        """Return the digest of each contest in a partition."""
        return {r["contest_id"]: r["digest"] for r in self._rows("digests", topic=topic, partition=partition)}

    def rows_of(self, query: str, contest_id: str) -> list[dict[str, Any]]:
        """Return a contest's `all_selections` or `all_areas`."""
        return self._rows(query, contest_id=contest_id)

    def _rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        return self.run(_SQL[name], **parameters)

    def _late_rows(self, query: LiteralString | Composed, **parameters: object) -> list[dict[str, Any]]:
        """Run a query for updates stated up to a time and beyond an offset.

        Few updates satisfy both, and they are close together. But the planner assumes that the two are independent and
        would scan the whole history; and while nobody has analysed a table that was just filled, it takes some thousand
        paths for one, and would read these updates once for each. So sequential scans and nested loops are off, and
        `|| ''` hides the contest from the indexes that begin with it. That leaves the BRIN index, which is on
        `log_offset + 0`: no other query uses it.
        """
        with faults_named():
            self._db.execute(_SQL["plan_late_changes"])
            try:
                return self.run(query, **parameters)
            finally:
                if self._db.info.transaction_status is TransactionStatus.INTRANS:  # else it is rolled back
                    self._db.execute(_SQL["plan_as_usual"])


def _after(first: datetime | None, second: datetime | None) -> bool:
    """Say whether one limit on the official time is later than another; None is the latest."""
    return second is not None and (first is None or first > second)


def as_of_row(row: Mapping[str, Any]) -> AsOf:
    """Return the moment of a contest's row: now."""
    return AsOf(offset=row["last_offset"], recorded_at=row["last_recorded_at"], reported_at=row["last_reported_at"])


def blocked_of(row: Mapping[str, Any]) -> str | None:
    """Return why the contest of a row stands still, if it does."""
    return f"offset {row['blocked_offset']}: {row['blocked_reason']}" if row["blocked"] else None


def _unit_of(row: Mapping[str, Any]) -> str | None:
    return None if row["unit_type"] is None else f"{row['unit_type']}/{row['unit_id']}"


def area_key(area: Area) -> UnitKey:
    """Return the unit of the office's statements about an area."""
    return UnitKey(area.type, area.area_id)
