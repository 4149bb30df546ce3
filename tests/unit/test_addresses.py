"""An address that cannot be used is named without the password in it, and not waited for."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from runtime import postgres
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessError


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr%ZZet@127.0.0.1/db",
        "postgresq://u:s3cret@127.0.0.1:1/db",
        "s3cret",
        "postgresql://u:s3 t@h/d",
    ],
)
def test_what_is_no_address_of_postgresql_is_not_repeated(url: str) -> None:
    with pytest.raises(postgres.DatabaseError, match="not an address of PostgreSQL; write postgresql://ROLE") as raised:
        postgres.connect(url)
    assert "s3" not in str(raised.value)
    assert raised.value.__suppress_context__, "nor shown in a traceback"


@pytest.mark.parametrize("servers", ["nohostport", ":9092", "127.0.0.1:99999", "127.0.0.1:x"])
def test_what_is_no_address_of_a_broker_is_not_waited_for(servers: str) -> None:
    with pytest.raises(AccessError, match="is not HOST:PORT"):
        KafkaAccess(servers).reach()


@pytest.mark.parametrize("url", ['"postgresql://u:s3cret@h:nope/db"', "5", '"postgresql://u:s3[t@h:1/db"'])
def test_a_bad_address_of_the_local_stack_is_no_fault_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "escrutinio.toml").write_text(f"reader_url = {url}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert postgres._hint(psycopg.OperationalError("port 1 failed: Connection refused")) == ""
