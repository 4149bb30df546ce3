"""Check that this release can read and write the tables of a database.

Migrations make a projection's tables and views (`aggregator.tables.migrate`). `sql/migrations.sha256` lists those of
this release with their SHA-256, as `sha256sum` writes them: a reader needs no files. A released file is never edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg

from results.projection import LIVE, Projection, ProjectionError
from schemas.errors import EscrutinioError


class MigrationError(EscrutinioError):
    """This release cannot work with the database."""


@dataclass(frozen=True, slots=True)
class Released:
    """A migration of this release. `name` without `.sql`, as `0001_pre_history`."""

    version: int
    name: str
    sha256: str

    @property
    def is_post(self) -> bool:
        """Say whether it must wait until the old code no longer runs."""
        return is_post(self.name)


def is_post(name: str) -> bool:
    """Say whether the migration of that name must wait until the old code no longer runs."""
    return name[5:].startswith("post_")


def released() -> list[Released]:
    """List the migrations of this release, in order."""
    lines = resources.files(__package__).joinpath("sql", "migrations.sha256").read_text(encoding="utf-8").splitlines()
    found = (line.removesuffix(".sql").split("  ") for line in lines)
    return [Released(int(name[:4]), name, sha256) for sha256, name in found]


def point_at(db: psycopg.Connection[Any], *schemas: str) -> None:
    """Resolve names in this connection's SQL in `schemas`."""
    db.execute("SELECT set_config('search_path', %s, false)", (", ".join(schemas),))


def point_at_locally(db: psycopg.Connection[Any], *schemas: str) -> None:
    """Resolve names in this connection's SQL in `schemas`, until its transaction ends."""
    db.execute("SELECT set_config('search_path', %s, true)", (", ".join(schemas),))


def check(db: psycopg.Connection[dict[str, object]], projection: Projection, *schemas: str) -> None:
    """Check the migrations in `schemas` of a projection, and point the connection at them.

    Raises MigrationError unless this release can work with it, ProjectionError when the projection does not exist.
    """
    (exists,) = db.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = ANY (%(schemas)s)) AS schema,"
        " EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        "         WHERE nspname = ANY (%(schemas)s) AND relname = 'schema_migration') AS migrated",
        {"schemas": list(schemas)},
    ).fetchall()
    if projection != LIVE and not exists["schema"]:
        raise ProjectionError(f"there is no {projection} here; list them with `escrutinio-aggregator projections`")
    point_at(db, *schemas)
    applied = applied_migrations(db) if exists["migrated"] else {}
    latest = released()
    if missing := [m.name for m in latest if m.version not in applied and not m.is_post]:
        raise MigrationError(f"the database lacks migration {missing[0]}; run `escrutinio-aggregator migrate`")
    for migration in latest:
        if migration.version in applied:
            same_form(migration, applied)
    known = {m.version for m in latest}
    if newer := [name for version, (name, _) in sorted(applied.items()) if version not in known and is_post(name)]:
        raise MigrationError(
            f"the database has migration {newer[0]} of a newer release, which removed what this one needs; "
            "start the newer release"
        )


def applied_migrations(db: psycopg.Connection[Any]) -> dict[int, tuple[str, str]]:
    """Return name and SHA-256 of the applied migrations, by version."""
    with db.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        rows = cursor.execute("SELECT version, name, sha256 FROM schema_migration").fetchall()
    return {version: (name, sha256) for version, name, sha256 in rows}


def same_form(migration: Released, applied: Mapping[int, tuple[str, str]]) -> None:
    """Raise MigrationError when a migration was applied in another form."""
    if applied[migration.version][1] != migration.sha256:
        raise MigrationError(
            f"migration {migration.name} was applied in another form: these tables are of another release. "
            "Run `escrutinio-aggregator rebuild` to make this release's tables beside them."
        )
