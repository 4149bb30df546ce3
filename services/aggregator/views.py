"""PostgreSQL, as a reader sees it: a door to the views of schema `results`. Writes nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from aggregator.count import AsOf, Count, NothingCounted, count, find_area
from aggregator.fold import AREA_TYPES, AreaTotal
from aggregator.migrate import check
from aggregator.queries import queries
from aggregator.rows import definition_of, recorded_of
from aggregator.tally import Layout
from schemas.contest import Area, ContestDefined
from schemas.count_update import UnitKey
from schemas.errors import EscrutinioError

_SQL = queries("views")


class ViewsUnreachable(EscrutinioError):
    """PostgreSQL does not answer."""


class Views:
    """A reader's connection: every answer is taken from one snapshot of the database."""

    def __init__(self, url: str) -> None:
        try:
            self._db = psycopg.connect(url, row_factory=dict_row, connect_timeout=10)
        except psycopg.Error as error:
            raise ViewsUnreachable(f"PostgreSQL does not answer: {error}") from error
        self._db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._db.read_only = True
        try:
            with _answering():
                check(self._db)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def contests(self) -> list[str]:
        """Ids of the contests there are."""
        return [row["contest_id"] for row in self._rows("contests")]

    def contest(self, contest_id: str) -> tuple[ContestDefined, Mapping[str, Any]]:
        """A contest's definition in force and its row. Raises NothingCounted for an unknown one."""
        rows = self._rows("contest", contest_id=contest_id)
        if not rows or rows[0]["definition"] is None:
            known = ", ".join(self.contests()) or "none yet"
            raise NothingCounted(f"no contest {contest_id!r} has been counted here (known: {known})")
        areas = [dict(row) for row in self._rows("areas", contest_id=contest_id)]
        return definition_of(rows[0]["definition"] | {"areas": areas}), rows[0]

    def count(self, contest_id: str, area_id: str | None) -> Count:
        """The count of an area now. Raises NothingCounted."""
        contest, row = self.contest(contest_id)
        area = find_area(contest, area_id)
        totals = self._rows("area_total", contest_id=contest_id, area_id=area.area_id)
        official = [recorded_of(r) for r in self.history(contest_id, area_key(area))] if area.type in AREA_TYPES else []
        answer = count(
            contest,
            area,
            _total(Layout.of(contest), totals[0]) if totals else None,
            official,
            AsOf(offset=row["last_offset"], recorded_at=row["last_recorded_at"], reported_at=row["last_reported_at"]),
            row["digest"],
        )
        blocked = f"offset {row['blocked_offset']}: {row['blocked_reason']}" if row["blocked"] else None
        return answer.model_copy(update={"blocked": blocked})

    def history(self, contest_id: str, unit: UnitKey) -> list[dict[str, Any]]:
        """Rows of a unit's accepted updates, by sequence."""
        return self._rows("unit_history", contest_id=contest_id, unit_type=unit.type, unit_id=unit.id)

    def findings(self, contest_id: str, unit: UnitKey) -> list[dict[str, Any]]:
        """Findings about a unit's updates, in the order of the log."""
        return self._rows("findings_of_unit", contest_id=contest_id, unit_type=unit.type, unit_id=unit.id)

    def snapshots(self, contest_id: str, area_id: str, level: str) -> list[dict[str, Any]]:
        """What each publication changed among the units of `level` within an area, in the order of the log."""
        return self._rows("snapshots_of_area", contest_id=contest_id, area_id=area_id, level=level)

    def cursors(self) -> list[dict[str, Any]]:
        """How far each partition has been read."""
        return self._rows("cursors")

    def status(self) -> list[dict[str, Any]]:
        """A row per contest: position, digest, findings by code, whether it is blocked."""
        return self._rows("contest_status")

    def unattributed(self) -> list[dict[str, Any]]:
        """Parked messages of no defined contest."""
        return self._rows("unattributed")

    def all_updates(self, contest_id: str, to_offset: int) -> Iterator[dict[str, Any]]:
        """Every row of the history up to an offset, in the order of the log; also those that were not accepted."""
        with _answering(), self._db.cursor(name="updates") as db:
            db.itersize = 5000
            yield from db.execute(_SQL["all_updates"], {"contest_id": contest_id, "to_offset": to_offset})

    def all_definitions(self, contest_id: str, to_offset: int) -> list[dict[str, Any]]:
        """Every definition up to an offset, in the order of the log; also those that were not accepted."""
        return self._rows("all_definitions", contest_id=contest_id, to_offset=to_offset)

    def all_findings(self, contest_id: str, to_offset: int) -> list[dict[str, Any]]:
        """Every finding up to an offset, in the order of the log."""
        return self._rows("all_findings", contest_id=contest_id, to_offset=to_offset)

    def all_units(self, contest_id: str) -> list[dict[str, Any]]:
        """Where each unit's state and the end of its chain stand on the log."""
        return self._rows("all_units", contest_id=contest_id)

    def all_totals(self, contest_id: str) -> list[dict[str, Any]]:
        """The total of every area."""
        return self._rows("all_totals", contest_id=contest_id)

    def _rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        with _answering():
            return self._db.execute(_SQL[name], parameters).fetchall()


@contextmanager
def _answering() -> Iterator[None]:
    """What PostgreSQL refuses, or its going away, as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise ViewsUnreachable(f"PostgreSQL refused or went away: {error}") from error


def area_key(area: Area) -> UnitKey:
    """The unit under which the office makes statements about an area."""
    return UnitKey(area.type.value, area.area_id)


def _total(layout: Layout, row: Mapping[str, Any]) -> AreaTotal:
    return AreaTotal(
        layout.vector(row, row["under_review_by_reason"], row["votes"]),
        row["stated_at"],
        row["last_offset"],
        row["last_event_id"],
    )
