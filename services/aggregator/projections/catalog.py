"""Create, list, drop and switch the projections of a database, as its owner.

A take-over is one transaction: a crash before its commit leaves the old projection live, after it the new one. The live
writer finds its epoch replaced, has written nothing since, and continues in the new projection where the old one ended.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from aggregator.tables.lock_wait import IN_THE_WAY, LOCK_WAIT_S, LockWait
from aggregator.tables.migrate import migrate
from aggregator.tables.writer import analyse
from results.named_sql import named_sql
from results.projection import LIVE, Projection, ProjectionError
from results.version import point_at
from runtime.postgres import connect, faults_named

_SQL = named_sql(__package__, "catalog")
_HELD_S = 30
"""Longest time that a take-over may hold the live writer, in seconds."""

_CURSORS_S = 10
"""Longest wait for the live writer's commit. It needs a few seconds at most, unless it is suspended."""

_WAITS_MS = tuple(wait for longest in (10, 20, 40, 80, 160, 320) for wait in (*20 * (2,), longest))
"""Lock timeouts of successive attempts: other readers wait this long behind one that holds a view. Long ones outwait
a slow reader. Where many quick readers each hold a view that another waits for, only a moment between their statements
helps: the short ones look for it. Six that never pause leave none for a minute: LockedOut then names them."""
_PAUSE_S = 0.01
"""Longest pause after an attempt: those who waited behind it go on, and are not all met again."""


class NotEqual(ProjectionError):
    """The projection that is to take over differs from the live one."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a projection in one partition."""

    topic: str
    topic_id: UUID
    partition: int
    next_offset: int
    epoch: int
    digest: str


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """A projection and its position. `until_stated_at`: the moment of a replay by the office's own time."""

    projection: Projection
    kind: str
    """`live`, `former`, `unfinished rebuild` or `kept replay`."""
    version: int
    made_at: datetime
    until_stated_at: datetime | None
    places: tuple[Place, ...]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON."""
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
    """A completed take-over. `former`: the projection that was live before, under its new name."""

    former: Projection
    from_version: int
    to_version: int
    taken_at: datetime
    held_s: float
    """How long the live writer was held, in seconds."""


class Projections:
    """The owner's connection. Use as a context manager."""

    def __init__(self, owner_url: str, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self._url = owner_url
        self._db = connect(owner_url)
        self.locks = LockWait(owner_url, self._db, lock_wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if isinstance(error, psycopg.Error):
            with faults_named():
                raise error

    def statuses(self) -> list[ProjectionStatus]:
        """List all projections, the live one first."""
        found, former_versions = [], self._former_versions()
        for row in self._db.execute(_SQL["projections"]).fetchall():
            projection = Projection(row["name"] or None)
            point_at(self._db, projection.tables)
            made = self._db.execute(_SQL["made"]).fetchone()
            if made is not None:  # else its creation was interrupted
                kind = _kind(projection, made["version"], former_versions)
                found.append(
                    ProjectionStatus(projection, kind, **made, places=self._places("cursors"), bytes=int(row["bytes"]))
                )
        return found

    def of(self, projection: Projection) -> ProjectionStatus:
        """Return the status of one projection. Raises ProjectionError when it does not exist."""
        found = self.statuses()
        for status in found:
            if status.projection == projection:
                return status
        known = ", ".join(s.projection.name for s in found if s.projection.name) or "none but the live one"
        raise ProjectionError(f"there is no {projection} here (there are: {known})")

    def create(self, projection: Projection, until_stated_at: datetime | None = None) -> None:
        """Create an empty projection. Raises ProjectionError when the name is in use."""
        if any(s.projection == projection for s in self.statuses()):
            raise ProjectionError(
                f"there is a {projection} already; `escrutinio-aggregator drop {projection.name}` deletes it"
            )
        migrate(self._url, projection, self.next_version(), lock_wait_s=self.locks.limit_s)
        if until_stated_at is not None:
            point_at(self._db, projection.tables)
            self._db.execute(_SQL["limit_to"], {"stated_at": until_stated_at})

    def defer_indexes(self, projection: Projection) -> None:
        """Drop the indexes that only readers need from an empty projection, and note them in a table of it.

        A history is written in half the time without them. `create_indexes` creates them; a crash leaves the note.
        """
        point_at(self._db, projection.tables)

        def defer() -> None:
            self._db.execute(_SQL["make_note_of_indexes"])
            for row in self._db.execute(_SQL["note_indexes"], {"schema": projection.tables}).fetchall():
                self._db.execute(SQL("DROP INDEX {}").format(Identifier(row["name"])))

        self.locks.run(f"the new {projection}", defer)

    def create_indexes(self, projection: Projection) -> bool:
        """Create the deferred indexes one by one. Returns False where there are none."""
        point_at(self._db, projection.tables)
        if self._db.execute(_SQL["has_note_of_indexes"]).fetchone() is None:
            return False

        def create(row: Mapping[str, Any]) -> None:
            self._db.execute("SET LOCAL maintenance_work_mem = '256MB'")
            self._db.execute(row["definition"])
            self._db.execute(_SQL["forget_index"], row)

        for row in self._db.execute(_SQL["noted_indexes"]).fetchall():
            self.locks.run(f"index {row['name']}", partial(create, row))
        analyse(self._db)
        self._db.execute(_SQL["drop_note_of_indexes"])
        return True

    def _former_versions(self) -> set[int]:
        point_at(self._db, LIVE.tables)
        return {row["from_version"] for row in self._db.execute(_SQL["former_versions"])}

    def next_version(self) -> int:
        """Return the number of the next projection."""
        point_at(self._db, LIVE.tables)
        (row,) = self._db.execute(_SQL["latest_version"]).fetchall()
        return max(int(row["version"]), *(s.version for s in self.statuses())) + 1

    def drop(self, projection: Projection) -> None:
        """Delete a projection. Raises ProjectionError for the live one."""
        if projection == LIVE:
            raise ProjectionError("the live projection cannot be dropped; let another one take over first")
        self.of(projection)
        self._refuse_third_party_views(projection)

        def drop() -> None:
            for schema in (*projection.readable, projection.tables):
                self._db.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))

        self.locks.run(f"dropping {projection}", drop)

    def take_over(
        self, projection: Projection, advance_to: Callable[[Mapping[int, int]], None], reason: str | None = None
    ) -> TakeOver:
        """Make `projection` the live one; the former one is kept under its version number.

        The live writer is held at its last commit while `advance_to` is called with its next offset by partition, to
        bring the other projection there. Nothing is changed when this raises.

        Raises NotEqual unless both have then read the same log equally far with equal digests; with a `reason`, which
        is recorded, they may differ. Raises LockedOut when the live writer held its cursor or readers the views too
        long, ProjectionError when a third party's view depends on the live projection.
        """
        live, other = self.of(LIVE), self.of(projection)
        former = Projection(f"v{live.version}")
        with self.locks.named("the take-over"), self._db.transaction():
            # Suspended in this transaction, this process would hold the live writer and every reader for ever.
            self._db.execute(f"SET LOCAL transaction_timeout = '{_HELD_S}s'")
            self._refuse_third_party_views(LIVE)
            point_at(self._db, LIVE.tables)
            self._db.execute(f"SET LOCAL lock_timeout = '{_CURSORS_S}s'")
            old = self._places("hold_cursors")
            held = time.monotonic()
            advance_to({p.partition: p.next_offset for p in old})
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

    def _refuse_third_party_views(self, projection: Projection) -> None:
        """Refuse a third party's view: it would silently stay with the former projection, and be dropped with it."""
        schemas = [projection.tables, *projection.readable]
        if found := [row["name"] for row in self._db.execute(_SQL["third_party_views"], {"schemas": schemas})]:
            raise ProjectionError(
                f"{', '.join(found)} is built on {projection}: drop it, and create it again afterwards. "
                "Nothing was changed."
            )

    def _places(self, query: str) -> tuple[Place, ...]:
        return tuple(Place(**row) for row in self._db.execute(_SQL[query]).fetchall())

    def _contest_digests(self) -> dict[str, str]:
        return {row["contest_id"]: row["digest"] for row in self._db.execute(_SQL["contest_digests"])}

    def _record(
        self,
        live: ProjectionStatus,
        other: ProjectionStatus,
        old: tuple[Place, ...],
        old_digests: Mapping[str, str],
        new_digests: Mapping[str, str],
        reason: str | None,
    ) -> datetime:
        """Record the take-over in the new live projection, with a copy of the earlier records."""
        self._db.execute(
            SQL(
                "INSERT INTO take_over SELECT * FROM {}.take_over f"
                " WHERE NOT EXISTS (SELECT FROM take_over t WHERE t = f)"
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
        """Raise the epochs of both projections, so that no earlier writer can commit."""
        for schema in (LIVE.tables, projection.tables):
            point_at(self._db, schema)
            self._db.execute(_SQL["fence"], {"epoch": epoch})

    def _change_names(self, projection: Projection, former: Projection) -> None:
        """Rename the schemas and move the views, with the privileges that were granted on them."""
        for live, beside, before in zip(LIVE.readable, projection.readable, former.readable, strict=True):
            new = self._views(beside)
            for row in self._db.execute(_SQL["grants"], {"schema": live}).fetchall():
                if row["name"] in new:
                    grantee = SQL("PUBLIC") if row["grantee"] == "public" else Identifier(row["grantee"])
                    view = Identifier(beside, row["name"])
                    self._db.execute(SQL("GRANT SELECT ON {} TO {}").format(view, grantee))
            self._db.execute(SQL("CREATE SCHEMA {}").format(Identifier(before)))
            for role in ("escrutinio_readers", "escrutinio_writer"):
                self._db.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(before), Identifier(role)))
        self._move_views(former, projection)
        for beside in projection.readable:
            self._db.execute(SQL("DROP SCHEMA {}").format(Identifier(beside)))
        rename = SQL("ALTER SCHEMA {} RENAME TO {}")
        self._db.execute(rename.format(Identifier(LIVE.tables), Identifier(former.tables)))
        self._db.execute(rename.format(Identifier(projection.tables), Identifier(LIVE.tables)))

    def _move_views(self, former: Projection, projection: Projection) -> None:
        """Move the views after their readers have finished: no reader sees old and new ones mixed.

        A reader of several views may hold one that this waits for while it waits for one that this has locked: a
        deadlock. So each attempt is short and releases every lock, and the next one locks the views in another order:
        in the reader's own order it waits at its first view, where it holds none. All are locked before the first is
        moved, which takes ten times as long: the shorter this is, the fewer readers come in between.
        """
        move, lock = SQL("ALTER VIEW {} SET SCHEMA {}"), SQL("ALTER VIEW {} OWNER TO CURRENT_ROLE")
        locks, away, here = [], [], []
        for live, beside, before in zip(LIVE.readable, projection.readable, former.readable, strict=True):
            old, new = self._views(live), self._views(beside)
            locks += [lock.format(Identifier(live, name)) for name in old]  # LOCK TABLE would lock their tables too
            away += [move.format(Identifier(live, name), Identifier(before)) for name in old]
            here += [move.format(Identifier(beside, name), Identifier(live)) for name in new]
        in_the_way: Exception
        for wait_ms in _WAITS_MS:
            random.shuffle(locks)
            try:
                with self._db.transaction():
                    self._db.execute(SQL("SET LOCAL lock_timeout = {}").format(wait_ms))
                    # In one message: new readers arrive all the time
                    self._db.execute(SQL("; ").join((*locks, *away, *here)))
                return
            except IN_THE_WAY as error:
                in_the_way = error
            time.sleep(random.uniform(0, _PAUSE_S))
        raise in_the_way

    def _views(self, schema: str) -> list[str]:
        return [row["name"] for row in self._db.execute(_SQL["views"], {"schema": schema})]


def _kind(projection: Projection, version: int, former_versions: set[int]) -> str:
    if projection == LIVE:
        return "live"
    if not projection.is_rebuilt:
        return "kept replay"
    return "former" if version in former_versions else "unfinished rebuild"


def _equal(
    old: tuple[Place, ...], new: tuple[Place, ...], old_digests: Mapping[str, str], new_digests: Mapping[str, str]
) -> None:
    other = {p.partition: p for p in new}
    for place in old:
        beside = other.get(place.partition)
        if beside is None or beside.next_offset != place.next_offset:
            reached = beside.next_offset if beside is not None else 0
            raise NotEqual(
                f"{place.topic}/{place.partition}: the next offset of the live projection is {place.next_offset}, "
                f"of the other {reached}"
            )
        if beside.topic_id != place.topic_id:
            raise NotEqual(f"{place.topic} is {beside.topic_id}, the live projection was built from {place.topic_id}")
    for contest_id in sorted(old_digests.keys() | new_digests.keys()):
        digests = old_digests.get(contest_id, "none"), new_digests.get(contest_id, "none")
        if digests[0] != digests[1]:
            raise NotEqual(f"{contest_id} has digest {digests[0]} in the live projection, {digests[1]} in the other")
