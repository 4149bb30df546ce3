"""The projections that stand in a database: a door for their owner, who makes, drops and changes them over.

Taking over is one transaction: a crash before its commit leaves the old one live, after it the new one. The writer that was
live finds that its epoch is gone, has written nothing since, and goes on with the new projection where the old one ended.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from aggregator.tables.migrate import migrate
from results.named_sql import named_sql
from results.projection import LIVE, Projection, ProjectionError
from results.version import point_at
from runtime.postgres import connect, faults_named

_SQL = named_sql(__package__, "catalog")
_HELD_S = 30
"""How long a take-over may hold the live writer, at the very most."""

_WAITS_MS = (10, 20, 40, 80, 160, 320)
"""How long readers are kept waiting for one that holds a view, before all of them are let go on first: one try after another,
short ones first."""


class NotEqual(ProjectionError):
    """The projection that is to take over does not say what the live one says."""

    exit_code = 1


class ReadersBusy(ProjectionError):
    """A reader has held a view for long; nothing was changed. Trying again is all there is to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a projection has read one partition."""

    topic: str
    topic_id: UUID
    partition: int
    next_offset: int
    epoch: int
    digest: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A projection and how far it is. `until_stated_at`: of a replay by the office's own time."""

    projection: Projection
    kind: str
    """`live`, `former`, `unfinished rebuild` or `kept replay`."""
    version: int
    made_at: datetime
    until_stated_at: datetime | None
    places: tuple[Place, ...]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "name": self.projection.name,
            "live": self.projection == LIVE,
            "version": self.version,
            "made_at": self.made_at,
            "until_stated_at": self.until_stated_at,
            "next_offsets": {str(p.partition): p.next_offset for p in self.places},
            "bytes": self.bytes,
            "kind": self.kind,
        }


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A change of the live projection that was made. `former`: the name of the one that was live."""

    former: Projection
    from_version: int
    to_version: int
    taken_at: datetime
    held_s: float
    """How long the live writer was held."""


class Projections:
    """The owner's connection. Use as a context manager."""

    def __init__(self, owner_url: str) -> None:
        self._url = owner_url
        self._db = connect(owner_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if isinstance(error, psycopg.Error):
            with faults_named():
                raise error

    def standing(self) -> list[Standing]:
        """List all there are, the live one first."""
        found, were_live = [], self._were_live()
        for row in self._db.execute(_SQL["standing"]).fetchall():
            projection = Projection(row["name"] or None)
            point_at(self._db, projection.tables)
            made = self._db.execute(_SQL["made"]).fetchone()
            if made is not None:  # else its making was interrupted
                kind = _kind(projection, made["version"], were_live)
                found.append(
                    Standing(projection, kind, **made, places=self._places("cursors"), bytes=int(row["bytes"]))
                )
        return found

    def of(self, projection: Projection) -> Standing:
        """One of them. Raises ProjectionError when there is none of that name."""
        found = self.standing()
        for standing in found:
            if standing.projection == projection:
                return standing
        known = ", ".join(s.projection.name for s in found if s.projection.name) or "none beside the live one"
        raise ProjectionError(f"there is no {projection} here (there are: {known})")

    def create(self, projection: Projection, until_stated_at: datetime | None = None) -> None:
        """Make an empty one. Raises ProjectionError when there is one of that name."""
        if any(s.projection == projection for s in self.standing()):
            raise ProjectionError(
                f"there is a {projection} already; `escrutinio-aggregator drop {projection.name}` deletes it"
            )
        migrate(self._url, projection, self.next_version())
        if until_stated_at is not None:
            point_at(self._db, projection.tables)
            self._db.execute(_SQL["limit_to"], {"stated_at": until_stated_at})

    def put_indexes_off(self, projection: Projection) -> None:
        """Take the indexes that only readers need from an empty projection, and note them there: a history is written in half
        the time without. `make_indexes` makes them; a crash in between leaves the note."""
        point_at(self._db, projection.tables)
        with self._db.transaction():
            self._db.execute(_SQL["make_note_of_indexes"])
            for row in self._db.execute(_SQL["note_indexes"], {"schema": projection.tables}).fetchall():
                self._db.execute(SQL("DROP INDEX {}").format(Identifier(row["name"])))

    def make_indexes(self, projection: Projection) -> bool:
        """Make the indexes that were put off, one by one. False where there are none."""
        point_at(self._db, projection.tables)
        if self._db.execute(_SQL["has_note_of_indexes"]).fetchone() is None:
            return False
        for row in self._db.execute(_SQL["noted_indexes"]).fetchall():
            with self._db.transaction():
                self._db.execute("SET LOCAL maintenance_work_mem = '256MB'")
                self._db.execute(row["definition"])
                self._db.execute(_SQL["forget_index"], row)
        self._db.execute("ANALYZE count_update_history, area_total_block")
        self._db.execute(_SQL["drop_note_of_indexes"])
        return True

    def _were_live(self) -> set[int]:
        """The versions that another took over from."""
        point_at(self._db, LIVE.tables)
        return {row["from_version"] for row in self._db.execute(_SQL["were_live"])}

    def next_version(self) -> int:
        """The number of the next projection."""
        point_at(self._db, LIVE.tables)
        (row,) = self._db.execute(_SQL["latest_version"]).fetchall()
        return max(int(row["version"]), *(s.version for s in self.standing())) + 1

    def drop(self, projection: Projection) -> None:
        """Delete one. Raises ProjectionError for the live one."""
        if projection == LIVE:
            raise ProjectionError("the live projection is not dropped; another has to take over first")
        self.of(projection)
        self._refuse_strangers(projection)
        with self._db.transaction():
            for schema in (projection.views, projection.tables):
                self._db.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))

    def take_over(
        self, projection: Projection, bring_to: Callable[[Mapping[int, int]], None], reason: str | None = None
    ) -> TakeOver:
        """Make `projection` the live one; the one that was is kept under its number.

        The live writer is held at its last commit while `bring_to` is called with the offsets it has reached (next offset by
        partition) to bring the other one there. Raises NotEqual, having changed nothing, unless both have then read the
        same log equally far with equal digests; with a `reason`, which is recorded, they may differ. Raises ReadersBusy
        when a reader kept a view longer than others should wait, ProjectionError when somebody's view is built on the live
        one's.
        """
        live, other = self.of(LIVE), self.of(projection)
        former = Projection(f"v{live.version}")
        with self._db.transaction():
            # Frozen in here, it would hold the live writer, and every reader, for ever.
            self._db.execute(f"SET LOCAL transaction_timeout = '{_HELD_S}s'")
            self._refuse_strangers(LIVE)
            point_at(self._db, LIVE.tables)
            old = self._places("hold_cursors")
            held = time.monotonic()
            bring_to({p.partition: p.next_offset for p in old})
            old_digests = self._contest_digests()
            point_at(self._db, projection.tables)
            new = self._places("hold_cursors")
            new_digests = self._contest_digests()
            if reason is None:
                _equal(old, new, old_digests, new_digests)
            taken_at = self._record(live, other, old, old_digests, new_digests, reason)
            self._fence(projection, max((p.epoch for p in (*old, *new)), default=0))
            self._change_names(projection, former)
        return TakeOver(former, live.version, other.version, taken_at, time.monotonic() - held)

    def _refuse_strangers(self, projection: Projection) -> None:
        """A view that somebody built on these would stay with the former projection, and be dropped with it, in silence."""
        schemas = {"tables": projection.tables, "views": projection.views}
        if found := [row["name"] for row in self._db.execute(_SQL["strangers"], schemas)]:
            raise ProjectionError(
                f"{', '.join(found)} is built on {projection}: drop it, and make it again afterwards. Nothing was changed."
            )

    def _places(self, query: str) -> tuple[Place, ...]:
        return tuple(Place(**row) for row in self._db.execute(_SQL[query]).fetchall())

    def _contest_digests(self) -> dict[str, str]:
        return {row["contest_id"]: row["digest"] for row in self._db.execute(_SQL["contest_digests"])}

    def _record(
        self,
        live: Standing,
        other: Standing,
        old: tuple[Place, ...],
        old_digests: Mapping[str, str],
        new_digests: Mapping[str, str],
        reason: str | None,
    ) -> datetime:
        """The record goes with the live projection, so the earlier entries are taken along."""
        self._db.execute(
            SQL(
                "INSERT INTO take_over SELECT * FROM {}.take_over f WHERE NOT EXISTS (SELECT FROM take_over t WHERE t = f)"
            ).format(Identifier(LIVE.tables))
        )
        row = self._db.execute(
            _SQL["record"],
            {
                "from_version": live.version,
                "to_version": other.version,
                "next_offsets": Jsonb({str(p.partition): p.next_offset for p in old}),
                "from_digests": Jsonb(old_digests),
                "to_digests": Jsonb(new_digests),
                "reason": reason,
            },
        ).fetchone()
        assert row is not None
        return row["taken_at"]  # type: ignore[no-any-return]

    def _fence(self, projection: Projection, epoch: int) -> None:
        """No writer of before, of either, may commit any more."""
        for schema in (LIVE.tables, projection.tables):
            point_at(self._db, schema)
            self._db.execute(_SQL["fence"], {"epoch": epoch})

    def _change_names(self, projection: Projection, former: Projection) -> None:
        """A right that somebody was given on a view of readers is given on the one that takes its place."""
        old, new = self._views(LIVE.views), self._views(projection.views)
        for row in self._db.execute(_SQL["grants"], {"schema": LIVE.views}).fetchall():
            if row["name"] in new:
                grantee = SQL("PUBLIC") if row["grantee"] == "public" else Identifier(row["grantee"])
                view = Identifier(projection.views, row["name"])
                self._db.execute(SQL("GRANT SELECT ON {} TO {}").format(view, grantee))
        self._db.execute(SQL("CREATE SCHEMA {}").format(Identifier(former.views)))
        self._move_views(former, projection, old, new)
        self._db.execute(SQL("DROP SCHEMA {}").format(Identifier(projection.views)))
        for role in ("escrutinio_reader", "escrutinio_writer"):
            self._db.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(former.views), Identifier(role)))
        rename = SQL("ALTER SCHEMA {} RENAME TO {}")
        self._db.execute(rename.format(Identifier(LIVE.tables), Identifier(former.tables)))
        self._db.execute(rename.format(Identifier(projection.tables), Identifier(LIVE.tables)))

    def _move_views(self, former: Projection, projection: Projection, old: list[str], new: list[str]) -> None:
        """The views change places one by one, so that each waits for who reads it: no reader sees some old and some new ones.

        A reader of several may hold one that we want while waiting for one that we have moved; neither would ever go on. So
        no try waits long, each lets go of everything, and the next takes the views in another order: some order is that
        reader's own, and then it waits for its first view holding none.
        """
        move = SQL("ALTER VIEW {} SET SCHEMA {}")
        away = [move.format(Identifier(LIVE.views, name), Identifier(former.views)) for name in old]
        here = [move.format(Identifier(projection.views, name), Identifier(LIVE.views)) for name in new]
        for wait_ms in _WAITS_MS:
            random.shuffle(away)
            try:
                with self._db.transaction():
                    self._db.execute(SQL("SET LOCAL lock_timeout = {}").format(wait_ms))
                    self._db.execute(SQL("; ").join((*away, *here)))  # in one message: readers arrive all the time
                return
            except psycopg.errors.LockNotAvailable:
                continue
        raise ReadersBusy(f"readers held views for {sum(_WAITS_MS) / 1000} s; nothing was changed")

    def _views(self, schema: str) -> list[str]:
        return [row["name"] for row in self._db.execute(_SQL["views"], {"schema": schema})]


def _kind(projection: Projection, version: int, were_live: set[int]) -> str:
    if projection == LIVE:
        return "live"
    if not projection.is_rebuilt:
        return "kept replay"
    return "former" if version in were_live else "unfinished rebuild"


def _equal(
    old: tuple[Place, ...], new: tuple[Place, ...], old_digests: Mapping[str, str], new_digests: Mapping[str, str]
) -> None:
    other = {p.partition: p for p in new}
    for place in old:
        beside = other.get(place.partition)
        if beside is None or beside.next_offset != place.next_offset:
            where = "nothing" if beside is None else f"offset {beside.next_offset}"
            raise NotEqual(
                f"{place.topic}/{place.partition}: the live projection has read to offset {place.next_offset}, the other {where}"
            )
        if beside.topic_id != place.topic_id:
            raise NotEqual(f"{place.topic} is {beside.topic_id}, the live projection was built from {place.topic_id}")
    for contest_id in sorted(old_digests.keys() | new_digests.keys()):
        digests = old_digests.get(contest_id, "none"), new_digests.get(contest_id, "none")
        if digests[0] != digests[1]:
            raise NotEqual(f"{contest_id} has digest {digests[0]} in the live projection, {digests[1]} in the other")
