"""The views opened to others, by the steps of docs/operate.md: a desk reads them over TLS, and nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from aggregator.tables.migrate import migrate
from deploy.local.postgres import DATABASE, OWNER, READER, ROLES_SQL, SUPERUSER
from tests.support.servers import Postgres
from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]
HBA = CHECKOUT / "deploy" / "postgres" / "pg_hba_open.conf"
DESK, PASSWORD = "reader-desk", "a-password-of-this-test"


@dataclass(frozen=True)
class Opened:
    """A PostgreSQL that is open to a desk."""

    url: str
    owner_url: str
    certificate: Path

    def connect(self, **options: str) -> psycopg.Connection:
        """Connect as the desk does, unless told otherwise."""
        tls = {"sslmode": "verify-full", "sslrootcert": str(self.certificate)} | options
        return psycopg.connect(make_conninfo(self.url, **tls))


def certificate(folder: Path) -> Path:
    """A key and a certificate, by the command of the docs."""
    (command,) = re.findall(r"^    (openssl .+)$", (CHECKOUT / "docs" / "operate.md").read_text("utf-8"), re.MULTILINE)
    folder.mkdir()
    line = shlex.split(command.replace("results.example", "localhost"))
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    return folder / "server.crt"


def write(db: psycopg.Connection, name: str, text: str) -> None:
    """Write a file of the server's data folder, for its own account alone."""
    lines = psycopg.sql.Literal(text.splitlines())
    program = psycopg.sql.Literal(f"umask 077; cat > {name}")
    db.execute(psycopg.sql.SQL("COPY (SELECT unnest({}::text[])) TO PROGRAM {}").format(lines, program))


@pytest.fixture
def opened(own_postgres_server: Postgres, tmp_path: Path) -> Iterator[Opened]:
    """By the steps of the docs; closed again afterwards."""
    postgres = own_postgres_server
    migrate(postgres.owner_url)
    found = certificate(tmp_path / "server")
    with psycopg.connect(postgres.url(SUPERUSER, "postgres"), autocommit=True) as db:
        db.execute("SELECT set_config('escrutinio.readers', %s, false)", [f"{READER},{DESK}"])
        db.execute(ROLES_SQL.read_text(encoding="utf-8").encode())
        db.execute(f"ALTER ROLE \"{DESK}\" PASSWORD '{PASSWORD}'")
        ((before,),) = db.execute("SELECT pg_read_file('pg_hba.conf')").fetchall()
        for name, file in (("server.key", found.with_suffix(".key")), ("server.crt", found), ("pg_hba.conf", HBA)):
            write(db, name, file.read_text(encoding="utf-8"))
        db.execute("ALTER SYSTEM SET ssl = on")
        db.execute("SELECT pg_reload_conf()")
        try:
            eventually(lambda: db.execute("SHOW ssl").fetchone() == ("on",))
            url = postgres.url(READER, DATABASE)
            place = re.sub("//.*@[^:/]+", f"//{DESK}:{PASSWORD}@localhost", url)
            yield Opened(place, postgres.url(OWNER), found)
        finally:
            write(db, "pg_hba.conf", before)
            db.execute("ALTER SYSTEM RESET ssl")
            db.execute("SELECT pg_reload_conf()")


def test_a_desk_reads_the_views_over_tls_and_nothing_else(opened: Opened, tmp_path: Path) -> None:
    with opened.connect() as db:
        assert db.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
        assert db.execute("SHOW statement_timeout").fetchone() == ("10min",)
        assert db.execute("SELECT count(*) FROM results.area_count").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT FROM aggregate.area_total")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry for host .* no encryption"):
        opened.connect(sslmode="disable", sslrootcert="")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        opened.connect(sslrootcert=str(certificate(tmp_path / "another")))
    with ExitStack() as desks:
        for _ in range(5):
            desks.enter_context(opened.connect())
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            opened.connect()
    with psycopg.connect(opened.owner_url) as db:  # our own services go on as before
        db.execute("SELECT FROM aggregate.area_total")
