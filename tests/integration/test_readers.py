"""What a reader can do to others, and what it is told when it is refused: it tries functions, commands and settings
over its own connection, on a server whose roles are those of compose's own script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL

from aggregator.live.run import run
from aggregator.projections import catalog
from aggregator.projections.catalog import Projections
from aggregator.tables import lock_wait
from aggregator.tables import migrate as migrations
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.lock_wait import LockedOut
from aggregator.tables.migrate import Migration, migrate
from aggregator.tables.writer import Writer
from deploy.local.postgres import ALONE_SQL, DATABASE_SQL, OWNER, READER, SUPERUSER, WRITER, installed
from results.projection import Projection, ProjectionError
from runtime.kafka.access import KafkaAccess
from runtime.postgres import DatabaseError, DatabaseUnreachable, connect, faults_named
from tests.support.fix_postgres import Database, database_of
from tests.support.servers import Broker, Postgres
from tests.support.waiting import WITHIN_S, eventually

ROLES = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sh"
DESK, OTHER = "reader-desk", "reader-other"
PASSWORDS = {DESK: "of-the_desk", OTHER: "of-the_other"}
Declare = Callable[..., None]
pytestmark = pytest.mark.usefixtures("readers")


@pytest.fixture(scope="module")
def declare(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Declare]:
    """Run compose's script with these readers and no others, and with the passwords that the server has."""
    secrets, readers = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("readers")
    for name, role in {"admin": SUPERUSER, "owner": OWNER, "writer": WRITER, "reader": READER}.items():
        (secrets / f"postgres_{name}_password").write_text(urlsplit(postgres_server.url(role)).password or "")
    server = urlsplit(postgres_server.reader_url)
    environment = {
        "PATH": f"{installed()}:{os.environ['PATH']}",
        "PGHOST": str(server.hostname),
        "PGPORT": str(server.port),
        "SECRETS": str(secrets),
        "READERS": str(readers),
    }

    def run(*names: str) -> None:
        for file in readers.iterdir():
            file.unlink()
        for name in names:
            (readers / f"{name}.url").write_text(f"postgresql://{name}:{PASSWORDS[name]}@elsewhere:1/escrutinio")
        done = subprocess.run([ROLES], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    yield run
    run()


@pytest.fixture(scope="module")
def readers(declare: Declare) -> None:
    """Two readers. A test that changes them declares them again."""
    declare(DESK, OTHER)


@pytest.fixture(scope="module")
def totals(migrated_template: str, postgres_server: Postgres) -> Iterator[Database]:
    """One database for all tests here, empty: what they try is about roles and the server."""
    postgres_server.create_database("reading", migrated_template)
    yield database_of(postgres_server, "reading")
    postgres_server.drop_database("reading")


@pytest.mark.parametrize("name", ["desk", "reader-Desk", "reader-a--b", f"reader-{57 * 'a'}"])
def test_a_name_that_is_no_readers_is_refused_before_anything_is_changed(tmp_path: Path, name: str) -> None:
    """A role's name has at most 63 bytes: PostgreSQL would cut this one off, and not find it at the next start."""
    (tmp_path / "postgres_admin_password").touch()
    (tmp_path / f"{name}.url").touch()
    environment = {"PATH": os.environ["PATH"], "PGHOST": "nowhere", "SECRETS": str(tmp_path), "READERS": str(tmp_path)}
    done = subprocess.run([ROLES], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{name} is not a reader's name" in done.stderr


def url_of(totals: Database, name: str, database: str | None = None, password: str | None = None) -> str:
    at = urlsplit(totals.reader_url)
    return f"postgresql://{name}:{password or PASSWORDS[name]}@{at.hostname}:{at.port}/{database or totals.name}"


def reads(totals: Database, name: str) -> bool:
    with psycopg.connect(url_of(totals, name)) as db:
        return db.execute("SELECT count(*) FROM checking.cursor").fetchone() == (0,)


REFUSED = {
    "create a large object": "SELECT lo_create(0)",
    "fill a large object": "SELECT lo_from_bytea(0, 'x')",
    "open a large object": "SELECT lo_open(1, 131072)",
    "write a large object": "SELECT lowrite(0, 'x')",
    "delete a large object": "SELECT lo_unlink(1)",
    "lock what migrate locks": "SELECT pg_advisory_lock(1702060914)",
    "lock it if it is free": "SELECT pg_try_advisory_xact_lock(1702060914)",
    "write to the log of the server": "SELECT pg_logical_emit_message(false, 'a', repeat('x', 1000))",
    "write bytes to the log of the server": "SELECT pg_logical_emit_message(true, 'a', 'x'::bytea)",
    "notify by a function": "SELECT pg_notify('a', 'b')",
    "use up transaction numbers": "SELECT pg_current_xact_id()",
    "use up transaction numbers by the old name": "SELECT txid_current()",
    "write a file for a snapshot": "SELECT pg_export_snapshot()",
    "run a program in the server": "DO $$BEGIN LOOP END LOOP; END$$",
    "make a temporary table": "CREATE TEMPORARY TABLE mine ()",
    "act as the group": "SET ROLE escrutinio_readers",
    "act as another reader": "SET SESSION AUTHORIZATION 'reader-other'",
    "change the group": "ALTER ROLE escrutinio_readers SET statement_timeout = 0",
    "let others in": "GRANT escrutinio_readers TO escrutinio_writer",
    "have more connections": "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "have more temporary files": "SET temp_file_limit = -1",
    "have more temporary files the next time": "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
    "have more temporary files here": "ALTER ROLE CURRENT_USER IN DATABASE reading SET temp_file_limit = -1",
    "fill the server's log": "SET log_min_messages = 'debug5'",
    "leave no trace": "SET log_statement = 'none'",
    "end the sessions of others": "SELECT access.end_old_sessions('0')",
    "end a session of the writer": "SELECT pg_terminate_backend({writer})",
    "cancel a statement of the owner": "SELECT pg_cancel_backend({owner})",
    "end a session of another reader": "SELECT pg_terminate_backend({other})",
    "hold a view for itself": "BEGIN; LOCK TABLE checking.cursor IN SHARE MODE",
    "hold a row": "SELECT FROM checking.cursor FOR UPDATE",
}


@pytest.mark.parametrize("name", [DESK, READER])
def test_nothing_that_reaches_others_is_allowed_to_a_reader(totals: Database, name: str) -> None:
    url = totals.reader_url if name == READER else url_of(totals, name)
    allowed = []
    with ExitStack() as stack:
        open_ = {"writer": totals.writer_url, "owner": totals.owner_url, "other": url_of(totals, OTHER)}
        sessions = {who: stack.enter_context(psycopg.connect(one)) for who, one in open_.items()}
        pids = {who: str(session.info.backend_pid) for who, session in sessions.items()}
        for deed, statement in REFUSED.items():
            with psycopg.connect(url, autocommit=True) as db:
                try:
                    db.execute(SQL(statement.format(**pids) if "{" in statement else statement))
                    allowed.append(deed)
                except psycopg.errors.InsufficientPrivilege:
                    pass
    assert allowed == []


def test_the_owner_migrates_with_what_readers_may_not(totals: Database) -> None:
    with psycopg.connect(totals.owner_url) as db:
        db.execute("SELECT pg_advisory_lock(1), pg_export_snapshot()")


@pytest.mark.parametrize("database", ["postgres", "template1"])
@pytest.mark.parametrize("role", [DESK, READER, WRITER])
def test_no_other_database_is_entered(totals: Database, postgres_server: Postgres, role: str, database: str) -> None:
    url = url_of(totals, role, database) if role == DESK else postgres_server.url(role, database)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url)


LIMITS = {
    "statement_timeout": "10min",
    "transaction_timeout": "30min",
    "idle_in_transaction_session_timeout": "1min",
    "lock_timeout": "10s",
    "temp_file_limit": "1GB",
    "log_min_messages": "fatal",
}


def test_one_reader_cannot_fill_the_table_of_locks_that_all_share(totals: Database) -> None:
    with psycopg.connect(url_of(totals, DESK)) as db:
        assert db.execute("SHOW max_locks_per_transaction").fetchone() == ("256",)
        for _ in range(300):  # each holds a lock until the transaction ends
            db.execute("SAVEPOINT one; ALTER ROLE CURRENT_USER SET search_path = nowhere")
        (row,) = totals.read("SELECT count(*) FROM pg_locks WHERE pid = %s", db.info.backend_pid)
        assert row[0] > 300
        reads(totals, OTHER)
        db.rollback()


def limits(url: str) -> dict[str, str]:
    with psycopg.connect(url) as db:
        return {name: db.execute(SQL(f"SHOW {name}")).fetchone()[0] for name in LIMITS}  # type: ignore[index]


def test_a_reader_has_limits_and_the_temporary_files_are_one_that_holds(totals: Database) -> None:
    assert limits(url_of(totals, DESK)) == LIMITS
    assert limits(totals.reader_url) == LIMITS | {"statement_timeout": "1h", "transaction_timeout": "1h"}
    large = (
        "SELECT FROM (SELECT repeat(md5(i::text), 10000), i FROM generate_series(1, 10000) i ORDER BY 1) x OFFSET 9999"
    )
    with psycopg.connect(url_of(totals, DESK)) as db, pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        db.execute(large)


def test_what_a_reader_sets_for_itself_harms_nobody_else_and_is_undone(totals: Database, declare: Declare) -> None:
    with psycopg.connect(url_of(totals, DESK), autocommit=True) as db:
        for mine in (
            "ALTER ROLE CURRENT_USER RESET ALL",
            "ALTER ROLE CURRENT_USER SET statement_timeout = 0",
            "ALTER ROLE CURRENT_USER IN DATABASE reading SET transaction_timeout = 0",
            "ALTER ROLE CURRENT_USER SET search_path = nowhere",
            "ALTER ROLE CURRENT_USER PASSWORD 'another'",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            "DROP OWNED BY escrutinio_readers CASCADE",
            "DROP OWNED BY CURRENT_USER CASCADE",
        ):
            db.execute(SQL(mine))
    assert reads(totals, OTHER)
    assert limits(url_of(totals, OTHER)) == LIMITS
    changed = limits(url_of(totals, DESK, password="another"))
    lifted = "statement_timeout", "transaction_timeout", "temp_file_limit"
    assert [changed[name] for name in lifted] == ["0", "0", "1GB"]
    declare(DESK, OTHER)
    assert limits(url_of(totals, DESK)) == LIMITS
    assert reads(totals, DESK)


@pytest.mark.parametrize(
    "writes",
    [
        "ALTER ROLE CURRENT_USER SET search_path = nowhere",
        "ALTER ROLE CURRENT_USER PASSWORD 'another'",
        "DROP OWNED BY escrutinio_readers CASCADE",
    ],
)
def test_roles_are_brought_though_a_reader_leaves_a_change_of_its_own_open(
    totals: Database, declare: Declare, postgres_server: Postgres, writes: LiteralString
) -> None:
    with psycopg.connect(url_of(totals, DESK)) as db, psycopg.connect(url_of(totals, OTHER)) as reading:
        reading.execute("SELECT FROM checking.cursor")
        db.execute("SET idle_in_transaction_session_timeout = 0; SET transaction_timeout = 0")
        db.execute(writes)
        declare(DESK, OTHER)
        with psycopg.connect(postgres_server.url(SUPERUSER, totals.name)) as admin:
            admin.execute(ALONE_SQL.read_bytes() + DATABASE_SQL.read_bytes())
        with pytest.raises(psycopg.errors.AdminShutdown):
            db.execute("SELECT 1")
        reading.execute("SELECT FROM checking.cursor")  # who only reads is not concerned
    assert limits(url_of(totals, DESK)) == LIMITS


def test_roles_are_brought_though_a_reader_changes_its_own_again_and_again(
    totals: Database, declare: Declare, postgres_server: Postgres
) -> None:
    with again_and_again(url_of(totals, DESK), "DROP OWNED BY escrutinio_readers CASCADE"):
        for _ in range(3):
            declare(DESK, OTHER)
            with psycopg.connect(postgres_server.url(SUPERUSER, totals.name)) as admin:
                admin.execute(ALONE_SQL.read_bytes() + DATABASE_SQL.read_bytes())


@contextmanager
def again_and_again(url: str, statement: LiteralString) -> Iterator[None]:
    """A reader that repeats a statement, and connects again when it is ended."""
    ended, begun = threading.Event(), threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as db:
                while not ended.is_set():
                    with suppress(psycopg.errors.InternalError_):
                        db.execute(statement)
                    begun.set()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(repeat)
        begun.wait(WITHIN_S)
        try:
            yield
        finally:
            ended.set()


def test_a_reader_has_five_connections_and_others_go_on(totals: Database) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(psycopg.connect(url_of(totals, DESK)))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(url_of(totals, DESK))
        assert reads(totals, OTHER)


def test_readers_together_leave_connections_to_the_owner_and_the_writer(
    totals: Database, declare: Declare, postgres_server: Postgres
) -> None:
    with psycopg.connect(postgres_server.url(SUPERUSER, "postgres"), autocommit=True) as admin:
        admin.execute(f'ALTER ROLE "{DESK}" CONNECTION LIMIT -1')  # in place of many readers
    with ExitStack() as stack:

        def connect_often() -> None:
            for _ in range(300):
                stack.enter_context(psycopg.connect(url_of(totals, DESK)))

        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            connect_often()
        for url in (totals.owner_url, totals.writer_url):
            psycopg.connect(url).close()
    declare(DESK, OTHER)


@pytest.mark.parametrize(
    "much",
    [
        "SELECT length(repeat('x', 1000000000))",
        "SET work_mem = '2GB'; SELECT FROM (SELECT repeat(md5(i::text), 30) FROM generate_series(1, 2000000) i"
        " ORDER BY 1) x OFFSET 1999999",
    ],
)
def test_a_statement_that_needs_too_much_memory_ends_alone(totals: Database, much: LiteralString) -> None:
    with psycopg.connect(totals.writer_url) as writer:
        with psycopg.connect(url_of(totals, DESK)) as db, pytest.raises(psycopg.errors.OutOfMemory):
            db.execute(much)
        writer.execute("SELECT 1")


def test_a_reader_that_is_no_longer_declared_is_out_at_once(totals: Database, declare: Declare) -> None:
    with psycopg.connect(url_of(totals, DESK)) as db:
        declare(OTHER)
        with pytest.raises(psycopg.errors.AdminShutdown):
            db.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="is not permitted to log in"):
        psycopg.connect(url_of(totals, DESK))
    assert reads(totals, OTHER)
    declare(DESK, OTHER)
    assert reads(totals, DESK)


def test_sessions_that_are_too_old_are_ended_of_readers_alone(totals: Database) -> None:
    with ExitStack() as stack:
        urls = {DESK: url_of(totals, DESK), OWNER: totals.owner_url, WRITER: totals.writer_url}
        sessions = {role: stack.enter_context(psycopg.connect(url)) for role, url in urls.items()}
        with psycopg.connect(totals.writer_url) as writer:
            assert writer.execute("SELECT role FROM access.end_old_sessions('1 hour')").fetchall() == []
            ended = writer.execute("SELECT pid, role FROM access.end_old_sessions('0')").fetchall()
        assert (sessions[DESK].info.backend_pid, DESK) in ended
        assert {role for _, role in ended} <= {DESK, OTHER, READER}
        with pytest.raises(psycopg.errors.AdminShutdown):
            sessions[DESK].execute("SELECT 1")
        for role in (OWNER, WRITER):
            sessions[role].execute("SELECT 1")


def test_a_reader_that_writes_is_ended_after_a_sixtieth_of_the_time(totals: Database) -> None:
    with psycopg.connect(url_of(totals, DESK)) as writing, psycopg.connect(url_of(totals, OTHER)) as reading:
        writing.execute("ALTER ROLE CURRENT_USER SET search_path = nowhere")
        reading.execute("SELECT FROM checking.cursor")
        with psycopg.connect(totals.writer_url, autocommit=True) as writer:
            ended = list[tuple[int]]()

            def end() -> bool:
                ended.extend(writer.execute("SELECT pid FROM access.end_old_sessions('2 min')"))
                return bool(ended)

            assert not end()
            eventually(end, lambda: "it goes on")
        assert ended == [(writing.info.backend_pid,)]
        with pytest.raises(psycopg.errors.AdminShutdown):
            writing.execute("SELECT 1")


def test_a_running_aggregator_ends_a_session_that_lifted_its_timeouts(
    totals: Database, kafka_server: Broker, new_topic: Callable[..., str], topic_prefix: str
) -> None:
    new_topic("results.events", max_message_bytes="8388608")
    environment = {
        "ESCRUTINIO_BOOTSTRAP_SERVERS": kafka_server.bootstrap_servers,
        "ESCRUTINIO_TOPIC_PREFIX": topic_prefix,
        "ESCRUTINIO_WRITER_URL": totals.writer_url,
        "ESCRUTINIO_READER_SESSION": "0.001",
    }
    with psycopg.connect(url_of(totals, DESK)) as db:
        db.execute("SET statement_timeout = 0; SET transaction_timeout = 0")
        db.execute("SET idle_in_transaction_session_timeout = 0")
        process = subprocess.Popen(
            [sys.executable, "-m", "aggregator", "run"], env=environment, stderr=subprocess.PIPE, text=True
        )
        too_late = threading.Timer(WITHIN_S, process.kill)
        too_late.start()
        try:
            assert process.stderr is not None
            said = next((line for line in process.stderr if str(db.info.backend_pid) in line), "nothing")
        finally:
            too_late.cancel()
            process.terminate()
            process.communicate(timeout=WITHIN_S)
        assert f"ended session {db.info.backend_pid} of reader {DESK}: open since 20" in said
        with pytest.raises(psycopg.errors.AdminShutdown):
            db.execute("SELECT 1")
    totals.change("DELETE FROM aggregate.cursor")


def test_a_full_queue_of_notifications_stops_no_commit_of_the_writer(totals: Database) -> None:
    with psycopg.connect(url_of(totals, DESK)) as listener, psycopg.connect(url_of(totals, OTHER)) as db:
        listener.execute("LISTEN news")
        listener.commit()
        listener.execute("SELECT 1")  # in a transaction: what comes now is kept for it

        def notify_often() -> None:
            for number in range(1_000):  # some seventy fill it: the bound on the disk holds
                db.execute(SQL(f"NOTIFY news, '{number:07000d}'"))
                db.commit()

        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="NOTIFY queue"):
            notify_often()
        with Writer(totals.writer_url) as writer:
            cursor = writer.claim("a log", UUID(int=1), 0)
            writer.commit(cursor, Batch(next_offset=1, digest=""))
        assert totals.read("SELECT next_offset FROM checking.cursor") == [(1,)]
    totals.change("DELETE FROM aggregate.cursor")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"password": "wrong"},
            r"\(28P01\): password authentication failed for user .*; the address has another password",
        ),
        ({"role": "reader-unknown"}, r"\(28P01\)"),
        ({"role": "escrutinio_readers"}, r"\(28P01\)"),
        ({"database": "elsewhere"}, r"\(3D000\): database \"elsewhere\" does not exist; the address names another"),
        ({"database": "postgres"}, r"\(42501\): permission denied for database"),
        (
            {"host": "localhost", "password": "wrong"},
            r"\(28P01\)",
        ),  # which has two addresses: one refuses, one is silent
    ],
)
def test_a_refused_connection_is_told_as_what_it_is_and_not_waited_for(
    totals: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    at = urlsplit(totals.reader_url)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "escrutinio.toml").write_text(f'reader_url = "postgresql://x@127.0.0.1:{at.port}/x"')
    monkeypatch.chdir(tmp_path)  # as if it were the local stack's
    of = {"role": DESK, "password": PASSWORDS[DESK], "host": at.hostname, "database": totals.name} | given
    with pytest.raises(DatabaseError, match=f"^PostgreSQL refused the connection {said}") as raised:
        connect(f"postgresql://{of['role']}:{of['password']}@{of['host']}:{at.port}/{of['database']}")
    assert not isinstance(raised.value, DatabaseUnreachable)
    assert "local stack" not in str(raised.value)


def test_too_many_connections_are_told_and_waited_for(totals: Database) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(psycopg.connect(url_of(totals, DESK)))
        with pytest.raises(
            DatabaseUnreachable, match=r"\(53300\): too many connections for role .*; close one, or wait"
        ):
            connect(url_of(totals, DESK))


def test_a_run_with_a_wrong_password_ends(
    totals: Database, kafka_server: Broker, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("results.events", max_message_bytes="8388608")
    stop = threading.Event()
    timer = threading.Timer(WITHIN_S, stop.set)
    timer.daemon = True
    timer.start()
    with pytest.raises(DatabaseError, match="28P01"):
        run(url_of(totals, WRITER, password="wrong"), KafkaAccess(kafka_server.bootstrap_servers), topic, stop)


def test_a_limit_that_ends_a_statement_is_no_lost_connection(totals: Database) -> None:
    with connect(url_of(totals, DESK)) as db:
        db.execute("SET statement_timeout = 50")
        with (
            pytest.raises(DatabaseUnreachable, match=r"ended a statement \(57014\): .* due to statement timeout"),
            faults_named(),
        ):
            db.execute("SELECT pg_sleep(60)")
        db.execute("SELECT 1")


WAIT_S = 2.0
NOTE: LiteralString = "ALTER TABLE :aggregate.cursor ADD COLUMN note text"


@pytest.fixture
def own(new_database: Callable[..., Database], migrated_template: str) -> Database:
    return new_database(migrated_template)


@pytest.fixture
def _with_a_new_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    known = migrations.released()
    new = Migration(known[-1].version + 1, "0099_pre_note", "", NOTE)
    monkeypatch.setattr(migrations, "released", lambda: [*known, new])


def waits_for(session: psycopg.Connection[Any], role: str, statement: str) -> str:
    """What is said of a session, for `match`."""
    pid, since = session.info.backend_pid, r"20\S+Z"
    return (
        rf" waits for session {pid} of role {role} \(.+\), in a transaction since {since}, last statement at {since}: "
        rf"{re.escape(statement)}\. It did not end in 2 s .* nothing of this was changed\. .*_backend\({pid}\)"
    )


@contextmanager
def writing_again_and_again(own: Database) -> Iterator[list[Cursor]]:
    """The live writer at work. Yields what it has committed."""
    ended, claims = threading.Event(), list[Cursor]()

    def write() -> None:
        with Writer(own.writer_url) as writer:
            while not ended.wait(0.01):
                claims.append(writer.claim("a log", UUID(int=1), 0))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield claims
        finally:
            ended.set()
        writing.result()


@pytest.mark.usefixtures("_with_a_new_migration")
def test_a_migration_names_the_reader_that_it_waits_for_and_lets_the_writer_work(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses between its attempts last until the writer has committed, by a clock of their own."""
    now = 0.0
    with psycopg.connect(url_of(own, DESK)) as reader, writing_again_and_again(own) as claims:

        def pause(seconds: float) -> None:
            nonlocal now
            before = len(claims)
            eventually(lambda: len(claims) > before)
            now += seconds

        monkeypatch.setattr(lock_wait, "time", SimpleNamespace(monotonic=lambda: now, sleep=pause))
        statement: LiteralString = "TABLE checking.cursor"
        reader.execute(statement.replace(" ", "\n  "))
        with pytest.raises(LockedOut, match="^migration 0099_pre_note" + waits_for(reader, DESK, statement)):
            migrate(own.owner_url, lock_wait_s=WAIT_S)
    assert now == WAIT_S
    assert [migration.name for migration in migrate(own.owner_url)[0]] == ["0099_pre_note"]


def test_a_take_over_names_the_reader_that_writes_the_same_rights_again_and_again(own: Database) -> None:
    with Projections(own.owner_url, WAIT_S) as projections:
        projections.create(Projection("v2"))
        with psycopg.connect(url_of(own, DESK)) as db, psycopg.connect(url_of(own, DESK)) as late:
            statement: LiteralString = "DROP OWNED BY escrutinio_readers CASCADE"
            db.execute(statement)
            timer = threading.Timer(0.3, db.commit)  # the owner waits for it, and then finds other rights
            timer.start()
            said = f"met a change of the same rights by session {db.info.backend_pid} of role {DESK}"
            with pytest.raises(LockedOut, match=said), projections.locks.named("the take-over"):
                projections._db.execute("REVOKE SELECT ON checking.cursor FROM escrutinio_readers")
            timer.join()
            late.execute("SELECT 1")


def test_a_migration_names_the_other_one_that_it_waits_for(own: Database) -> None:
    with psycopg.connect(own.owner_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrations._LOCK,))
        with pytest.raises(LockedOut, match="^this migration" + waits_for(other, OWNER, "SELECT pg_advisory_lock($1)")):
            migrate(own.owner_url, lock_wait_s=WAIT_S)


def test_to_drop_names_the_reader_that_it_waits_for(own: Database) -> None:
    kept = Projection("kept")
    with Projections(own.owner_url, WAIT_S) as projections:
        projections.create(kept)
        with psycopg.connect(url_of(own, DESK)) as reader:
            reader.execute("SELECT FROM results_kept.area_count")
            said = "^dropping projection kept" + waits_for(reader, DESK, "SELECT FROM results_kept.area_count")
            with pytest.raises(LockedOut, match=said):
                projections.drop(kept)
            projections.of(kept)
        projections.drop(kept)
        with pytest.raises(ProjectionError):
            projections.of(kept)


def test_a_take_over_names_the_writer_that_holds_its_cursor(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_CURSORS_S", 1)
    with Writer(own.writer_url) as writer:
        writer.claim("a log", UUID(int=1), 0)
    with Projections(own.owner_url) as projections, psycopg.connect(own.writer_url) as suspended:
        projections.create(Projection("v2"))
        suspended.execute("UPDATE aggregate.cursor SET digest = ''")
        pid = suspended.info.backend_pid
        with pytest.raises(LockedOut, match=f"^the take-over waits for session {pid} of role {WRITER}"):
            projections.take_over(Projection("v2"), lambda _targets: None)


def test_a_rebuild_names_the_other_one_that_it_waits_for(own: Database) -> None:
    kept = Projection("v2")
    with Projections(own.owner_url) as projections:
        projections.create(kept)
    with Writer(own.writer_url, kept, WAIT_S) as writer, psycopg.connect(own.writer_url) as suspended:
        writer.claim("a log", UUID(int=1), 0)
        statement: LiteralString = "UPDATE aggregate_v2.cursor SET epoch = 9"
        suspended.execute(statement)
        said = "^claiming a log/0 in projection v2" + waits_for(suspended, WRITER, statement)
        with pytest.raises(LockedOut, match=said):
            writer.claim("a log", UUID(int=1), 0)
        suspended.rollback()
        assert writer.claim("a log", UUID(int=1), 0).epoch == 2
