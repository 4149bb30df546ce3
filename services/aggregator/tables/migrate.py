"""Migrate an empty or older database to the schema of this release.

A breaking change is a pair of files: `NNNN_pre_NAME.sql` is applied before the new code starts and keeps the old code
working; `NNNN_post_NAME.sql` is applied when no old code runs, and removes what only that needed. So a release works
before and after its own `post` files, and with the next one's `pre` files; it refuses the next one's `post` files.

Files are applied in order, each in its own transaction together with its row of `schema_migration`; a crash leaves
whole migrations only. A released file is never edited: its SHA-256 is stored and compared. Where readers hold what a
migration changes, it waits as `lock_wait` does.

Why not a migration library: projections are built side by side, each in its own schemas and with its own version, and
alembic and yoyo keep one version per database.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import LiteralString

import psycopg
from psycopg.rows import DictRow

from aggregator.tables.lock_wait import LOCK_WAIT_S, LockWait
from results.projection import LIVE, Projection
from results.version import MigrationError, Released, applied_migrations, point_at, same_form
from runtime.postgres import DatabaseError, DatabaseUnreachable, connect, faults_named

_LOCK = 0x65736372  # one migrator at a time
_ROLES = ("escrutinio_writer", "escrutinio_readers")
_VARIABLE = re.compile(r":(aggregate|results|checking)\b")


@dataclass(frozen=True, slots=True)
class Migration(Released):
    """A migration file. Its schemas are the psql variables :aggregate, :results and :checking."""

    sql: LiteralString

    def of(self, projection: Projection) -> LiteralString:
        """Return the SQL for the schemas of one projection."""
        schemas = {"aggregate": projection.tables, "results": projection.views, "checking": projection.checking}
        return _VARIABLE.sub(lambda found: schemas[found[1]], self.sql)


def released() -> list[Migration]:
    """Return all migrations of this release, in order."""
    found = []
    for file in sorted(resources.files(__package__).joinpath("migrations").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            text = file.read_text(encoding="utf-8")
            name = file.name.removesuffix(".sql")
            found.append(Migration(int(name[:4]), name, hashlib.sha256(text.encode()).hexdigest(), text))
    return found


def migrate(
    owner_url: str,
    projection: Projection = LIVE,
    version: int = 1,
    *,
    old_is_gone: bool = False,
    lock_wait_s: float = LOCK_WAIT_S,
) -> tuple[list[Migration], list[Migration]]:
    """Apply the missing migrations. Returns those applied, and those that wait until no old code runs.

    Args:
        version: number of the projection, where this creates it.
        old_is_gone: no process of an earlier release runs any more.
        lock_wait_s: how long each migration waits for sessions in its way, in seconds.

    Raises MigrationError for a database that does not fit this release, LockedOut when somebody is in the way.
    """
    db = connect(owner_url)
    try:
        with faults_named(), db:
            return _apply(db, LockWait(owner_url, db, lock_wait_s), projection, version, old_is_gone)
    except DatabaseUnreachable:
        raise
    except DatabaseError as error:
        raise MigrationError(f"{error}. Migrations are for the owner of the database.") from error


def _apply(
    db: psycopg.Connection[DictRow], locks: LockWait, projection: Projection, version: int, old_is_gone: bool
) -> tuple[list[Migration], list[Migration]]:
    locks.run("this migration", lambda: db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,)))
    roles = {
        row["rolname"] for row in db.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(_ROLES),))
    }
    if missing := sorted(set(_ROLES) - roles):
        raise MigrationError(
            f"role {', '.join(missing)} does not exist; an administrator creates it with deploy/postgres/roles.sql, as "
            "the job `roles` of docker-compose.yml does"
        )
    locks.run("this migration", lambda: _start(db, projection))
    applied = applied_migrations(db)
    new: list[Migration] = []
    waiting: list[Migration] = []
    for migration in released():
        if migration.version in applied:
            same_form(migration, applied)
            continue
        if waiting or (migration.is_post and applied and not old_is_gone):
            waiting.append(migration)
            continue
        locks.run(f"migration {migration.name}", partial(_apply_one, db, projection, migration))
        new.append(migration)
    db.execute("INSERT INTO projection (version) VALUES (%s) ON CONFLICT DO NOTHING", (version,))
    return new, waiting


def _apply_one(db: psycopg.Connection[DictRow], projection: Projection, migration: Migration) -> None:
    db.execute(migration.of(projection))
    db.execute(
        "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
        (migration.version, migration.name, migration.sha256),
    )


def _start(db: psycopg.Connection[DictRow], projection: Projection) -> None:
    for schema in (*projection.readable, projection.tables):
        db.execute(psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(schema)))
    point_at(db, projection.tables)
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (version int PRIMARY KEY, name text NOT NULL,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
