"""Schema migrations: a door that brings an empty or older database to what this release needs.

Files are `NNNN_pre_NAME.sql` (run before the new code) or `NNNN_post_NAME.sql` (after the old code is gone), applied in
order, each in its own transaction together with its line in `schema_migration`; a crash leaves whole migrations only.
A released file is never edited: its SHA-256 is kept and compared.

Why not a migration library: the projection will be built several times side by side, each in a schema of its own, and
the ones there are (alembic, yoyo) keep one state per database.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any, LiteralString

import psycopg

from schemas.errors import EscrutinioError

_LOCK = 0x65736372  # one migrator at a time
_ROLES = ("escrutinio_writer", "escrutinio_reader")


class MigrationError(EscrutinioError):
    """The database is not one this release can work with."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: LiteralString
    sha256: str


def released() -> list[Migration]:
    """All migrations of this release, in order."""
    found = []
    for file in sorted(resources.files(__package__).joinpath("migrations").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            text = file.read_text(encoding="utf-8")
            found.append(
                Migration(
                    int(file.name[:4]),
                    file.name.removesuffix(".sql"),
                    text,
                    hashlib.sha256(text.encode()).hexdigest(),
                )
            )
    return found


def migrate(owner_url: str) -> list[Migration]:
    """Apply what is missing; returns it. Raises MigrationError for a database this release does not fit."""
    try:
        db = psycopg.connect(owner_url, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL does not answer: {error}") from error
    try:
        with db:
            return _apply(db)
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL refused: {error}. Migrations are for the owner of the database.") from error


def _apply(db: psycopg.Connection[tuple[Any, ...]]) -> list[Migration]:
    db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    roles = {name for (name,) in db.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(_ROLES),))}
    if missing := sorted(set(_ROLES) - roles):
        raise MigrationError(
            f"role {', '.join(missing)} does not exist; an administrator creates it: CREATE ROLE {missing[0]} LOGIN"
        )
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (version int PRIMARY KEY, name text NOT NULL,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    db.execute("GRANT SELECT ON schema_migration TO escrutinio_writer, escrutinio_reader")
    applied = _applied(db)
    new = []
    for migration in released():
        if migration.version in applied:
            _same(migration, applied)
            continue
        with db.transaction():
            db.execute(migration.sql)
            db.execute(
                "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
        new.append(migration)
    return new


def check(db: psycopg.Connection[dict[str, object]]) -> None:
    """Raise MigrationError unless the database is exactly at this release."""
    (exists,) = db.execute("SELECT to_regclass('schema_migration') IS NOT NULL AS there").fetchall()
    applied = _applied(db) if exists["there"] else {}
    latest = released()
    if missing := [m.name for m in latest if m.version not in applied]:
        raise MigrationError(f"the database lacks migration {missing[0]}; run `escrutinio-aggregator migrate`")
    for migration in latest:
        _same(migration, applied)
    if newer := sorted(set(applied) - {m.version for m in latest}):
        raise MigrationError(f"the database has migration {newer[0]} of a newer release; upgrade this one")


def _applied(db: psycopg.Connection[object]) -> dict[int, str]:
    with db.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return dict(cursor.execute("SELECT version, sha256 FROM schema_migration").fetchall())


def _same(migration: Migration, applied: dict[int, str]) -> None:
    if applied[migration.version] != migration.sha256:
        raise MigrationError(f"migration {migration.name} was applied in another form; this is not the same release")
