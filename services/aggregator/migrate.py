"""Schema migrations: a door that brings an empty or older database to what this release needs.

Files are `NNNN_pre_NAME.sql` (run before the new code) or `NNNN_post_NAME.sql` (after the old code is gone), applied in
order, each in its own transaction together with its line in `schema_migration`; a crash leaves whole migrations only.
A released file is never edited: its SHA-256 is kept and compared.

Why not a migration library: the projection is built several times side by side, each in schemas of its own and at a state
of its own, and the ones there are (alembic, yoyo) keep one state per database.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, LiteralString

import psycopg

from aggregator.projection import LIVE, Projection, ProjectionError
from schemas.errors import EscrutinioError

_LOCK = 0x65736372  # one migrator at a time
_ROLES = ("escrutinio_writer", "escrutinio_reader")
_VARIABLE = re.compile(r":(aggregate|results)\b")


class MigrationError(EscrutinioError):
    """The database is not one this release can work with."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. The schemas in it are psql's variables :aggregate and :results."""

    version: int
    name: str
    sql: LiteralString
    sha256: str

    def of(self, projection: Projection) -> LiteralString:
        """The file for one projection's schemas."""
        schemas = {"aggregate": projection.tables, "results": projection.views}
        return _VARIABLE.sub(lambda found: schemas[found[1]], self.sql)


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


def migrate(owner_url: str, projection: Projection = LIVE, version: int = 1) -> list[Migration]:
    """Apply what is missing; returns it. Raises MigrationError for a database this release does not fit.

    `version`: the projection's number, when it is made by this.
    """
    try:
        db = psycopg.connect(owner_url, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL does not answer: {error}") from error
    try:
        with db:
            return _apply(db, projection, version)
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL refused: {error}. Migrations are for the owner of the database.") from error


def _apply(db: psycopg.Connection[tuple[Any, ...]], projection: Projection, version: int) -> list[Migration]:
    db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    roles = {name for (name,) in db.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(_ROLES),))}
    if missing := sorted(set(_ROLES) - roles):
        raise MigrationError(
            f"role {', '.join(missing)} does not exist; an administrator creates it: CREATE ROLE {missing[0]} LOGIN"
        )
    with db.transaction():
        _start(db, projection)
    applied = _applied(db)
    new = []
    for migration in released():
        if migration.version in applied:
            _same(migration, applied)
            continue
        with db.transaction():
            db.execute(migration.of(projection))
            db.execute(
                "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
        new.append(migration)
    db.execute("INSERT INTO projection (version) VALUES (%s) ON CONFLICT DO NOTHING", (version,))
    return new


def _start(db: psycopg.Connection[tuple[Any, ...]], projection: Projection) -> None:
    for schema in (projection.views, projection.tables):
        db.execute(psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(schema)))
    point_at(db, projection.tables)
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (version int PRIMARY KEY, name text NOT NULL,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )


def point_at(db: psycopg.Connection[Any], schema: str) -> None:
    """Names in this connection's SQL mean those of `schema`."""
    db.execute("SELECT set_config('search_path', %s, false)", (schema,))


def check(db: psycopg.Connection[dict[str, object]], projection: Projection, schema: str) -> None:
    """Point the connection at `schema` of a projection. Raise MigrationError unless it is exactly at this release,
    ProjectionError when there is none of that name."""
    (there,) = db.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s) AS schema,"
        " EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        "         WHERE nspname = %(schema)s AND relname = 'schema_migration') AS migrated",
        {"schema": schema},
    ).fetchall()
    if projection != LIVE and not there["schema"]:
        raise ProjectionError(
            f"there is no {projection} here; `escrutinio-aggregator projections` lists those there are"
        )
    point_at(db, schema)
    applied = _applied(db) if there["migrated"] else {}
    latest = released()
    if missing := [m.name for m in latest if m.version not in applied]:
        raise MigrationError(f"the database lacks migration {missing[0]}; run `escrutinio-aggregator migrate`")
    for migration in latest:
        _same(migration, applied)
    if newer := sorted(set(applied) - {m.version for m in latest}):
        raise MigrationError(f"the database has migration {newer[0]} of a newer release; upgrade this one")


def _applied(db: psycopg.Connection[Any]) -> dict[int, str]:
    with db.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return dict(cursor.execute("SELECT version, sha256 FROM schema_migration").fetchall())


def _same(migration: Migration, applied: dict[int, str]) -> None:
    if applied[migration.version] != migration.sha256:
        raise MigrationError(
            f"migration {migration.name} was applied in another form: these tables are of another release. "
            "`escrutinio-aggregator rebuild` makes this one's beside them."
        )
