"""Every role of the database tries everything on everything that is there: what is granted works, all else is
refused."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from aggregator.projections.catalog import Projections
from aggregator.projections.rebuild import next_projection
from aggregator.tables.migrate import migrate
from results.projection import LIVE, Projection
from tests.support.builders import contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate
from tests.support.fix_postgres import Database

DEEDS = {
    "SELECT": SQL("SELECT FROM {table}"),
    "INSERT": SQL("INSERT INTO {table} ({column}) SELECT {column} FROM {table} WHERE false"),
    "UPDATE": SQL("UPDATE {table} SET {column} = {column} WHERE false"),
    "DELETE": SQL("DELETE FROM {table} WHERE false"),
    "TRUNCATE": SQL("TRUNCATE {table}"),
    "ALTER": SQL("ALTER TABLE {table} ADD COLUMN mine int"),
    "DROP": SQL("DROP TABLE {table} CASCADE"),
    "LOCK": SQL("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
}
NOT_OF_VIEWS = (
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.WrongObjectType,
)
"""What is said of a view that nobody can write, before anybody's rights are looked at."""

APPENDED = {
    "count_update_history", "contest_history", "finding", "parked", "log_time", "area_total_block", "area_path",
    "publication", "roll_history", "source_history", "roll_area",
}  # fmt: skip
KEPT = {"cursor", "unit_state", "contest", "selection", "area", "area_total"}
"""What `0001_pre_history_and_totals.sql` grants the writer to add to, and to change as well."""
ANALYSED = {"count_update_history", "area_path", "publication", "area_total_block"}
"""What else the writer may analyse, and so lock."""
OWN = {"projection", "take_over", "schema_migration"}
"""Tables that only the owner writes."""


def there(totals: Database, schema: str) -> dict[str, str]:
    """Every table and view of a schema, with its first column."""
    with psycopg.connect(totals.owner_url) as db:
        rows = db.execute(
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 "
            "WHERE c.relnamespace = %s::regnamespace AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c')",
            (schema,),
        ).fetchall()
    return dict(rows)


def done(url: str, schema: str, relations: dict[str, str]) -> set[tuple[str, str]]:
    """Which deeds a role could do to which of the relations; nothing of it stays done."""
    found = set()
    with psycopg.connect(url) as db:
        for name, column in relations.items():
            for deed, template in DEEDS.items():
                statement = template.format(table=Identifier(schema, name), column=Identifier(column))
                if not refused(db, statement, is_view=not schema.startswith("aggregate")):
                    found.add((deed, name))
    return found


def assert_views_are_read(totals: Database, url: str, projection: Projection) -> None:
    """A role reads every view of a projection, and does nothing else to it."""
    for schema in projection.readable:
        views = there(totals, schema)
        assert done(url, schema, views) == {("SELECT", name) for name in views}


def refused(db: psycopg.Connection, statement: Composed, *, is_view: bool) -> bool:
    try:
        with db.transaction(force_rollback=True):
            db.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    except NOT_OF_VIEWS:
        if not is_view:
            raise
        return True
    return False


@pytest.fixture
def aggregated(event_log: EventLog, totals: Database) -> Database:
    """With something to spoil."""
    event_log.append([contest(), sheet(1)])
    aggregate(event_log, totals)
    return totals


def test_the_writer_adds_to_the_history_and_changes_the_totals_and_no_more(aggregated: Database) -> None:
    tables = there(aggregated, "aggregate")
    assert tables.keys() == APPENDED | KEPT | OWN, "who may write a new table is to be said above"
    allowed = {("SELECT", name) for name in tables} | {("INSERT", name) for name in APPENDED | KEPT}
    allowed |= {(deed, name) for name in KEPT for deed in ("UPDATE", "LOCK")}  # who may change a table may lock it
    allowed |= {("LOCK", name) for name in ANALYSED}
    assert done(aggregated.writer_url, "aggregate", tables) == allowed
    assert_views_are_read(aggregated, aggregated.writer_url, LIVE)


def test_the_reader_reads_the_views_and_no_more(aggregated: Database) -> None:
    assert {"area_count", "update_history"} <= there(aggregated, "results").keys()
    assert {"area_count_by_basis", "take_over"} <= there(aggregated, "checking").keys()
    assert done(aggregated.reader_url, "aggregate", there(aggregated, "aggregate")) == set()
    assert_views_are_read(aggregated, aggregated.reader_url, LIVE)


def test_on_a_projection_beside_the_live_one_the_same_is_granted(aggregated: Database) -> None:
    with Projections(aggregated.owner_url) as projections:
        beside = next_projection(projections)
    tables = there(aggregated, "aggregate_v2")
    assert tables.keys() == APPENDED | KEPT | OWN | {"index_put_off"}
    on_live = done(aggregated.writer_url, "aggregate", there(aggregated, "aggregate"))
    assert done(aggregated.writer_url, "aggregate_v2", tables) == on_live
    assert done(aggregated.reader_url, "aggregate_v2", tables) == set()
    assert_views_are_read(aggregated, aggregated.reader_url, beside)


SUPERUSERS = {
    "make a role": "CREATE ROLE mallory",
    "become a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "take another role's password": "ALTER ROLE postgres PASSWORD 'stolen'",
    "read the passwords": "SELECT rolpassword FROM pg_authid",
    "act as the superuser": "SET ROLE postgres",
    "change the server": "ALTER SYSTEM SET log_statement = 'none'",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "write a file of the server": "COPY (SELECT 1) TO '/tmp/escrutinio-mallory'",
    "read a file of the server": "COPY pg_temp.mine FROM '/etc/passwd'",
    "read another database's files": "SELECT pg_read_binary_file('base/1/PG_VERSION')",
    "see what files there are": "SELECT pg_ls_dir('base')",
    "make a large object of a file": "SELECT lo_import('/etc/passwd')",
    "load a library": "CREATE FUNCTION public.system(cstring) RETURNS int AS 'libc.so.6', 'system' LANGUAGE C",
    "make a database": "CREATE DATABASE mallory",
}


@pytest.mark.parametrize("deed", SUPERUSERS)
@pytest.mark.parametrize("role", ["owner", "writer", "reader"])
def test_nobody_is_a_superuser(totals: Database, role: str, deed: str) -> None:
    url = {"owner": totals.owner_url, "writer": totals.writer_url, "reader": totals.reader_url}[role]
    with psycopg.connect(url, autocommit=True) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(SQL(SUPERUSERS[deed]))


@pytest.mark.parametrize("schema", ["aggregate", "results", "checking", "public"])
@pytest.mark.parametrize("role", ["writer", "reader"])
def test_only_the_owner_makes_tables(totals: Database, role: str, schema: str) -> None:
    url = {"writer": totals.writer_url, "reader": totals.reader_url}[role]
    with psycopg.connect(url) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(SQL("CREATE TABLE {} ()").format(Identifier(schema, "mine")))


@pytest.mark.parametrize("statement", ["CREATE SCHEMA mine", "CREATE TEMPORARY TABLE mine ()"])
@pytest.mark.parametrize("role", ["writer", "reader"])
def test_only_the_owner_makes_schemas_and_passing_tables(database: Database, role: str, statement: str) -> None:
    migrate(database.owner_url)  # here: what is granted on a database as such does not go over to its copies
    url = {"writer": database.writer_url, "reader": database.reader_url}[role]
    with psycopg.connect(url) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(SQL(statement))
