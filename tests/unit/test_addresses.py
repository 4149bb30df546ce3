"""An address that cannot be used is named without the password in it, and not waited for."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


@given(st.text(st.sampled_from("hunter2@:/?#[]%' \"&="), min_size=1, max_size=12))
@example("pa/hunter2")
@example("5432?sslmode=hunter2")
@example("%e2")
@example("p@h?port=hunter2")
@example('@:"')
@example("p@127.0.0.1:hunter2/")
def test_whatever_a_password_holds_no_message_repeats_it(password: str) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(postgres.DatabaseError) as fault:
            postgres.connect(f"postgresql://u:{password}hunter2@127.0.0.1:1/db")
    assert "hunter" not in str(fault.value)


@pytest.mark.parametrize(
    "servers",
    ["nohostport", ":9092", "127.0.0.1:99999", "127.0.0.1:x", "h:\u0663", "h:" + "9" * 5_000, "a..b:1", "u:hunter2@h:1",
     "h:1,hunter2", "hunter2", f"{'a' * 64}:1", "h\0:1", "h :1", ""],
)  # fmt: skip
def test_what_is_no_address_of_a_broker_is_not_waited_for(servers: str) -> None:
    with pytest.raises(AccessError, match="is not HOST:PORT") as fault:
        KafkaAccess(servers)
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize("servers", ["h:1", "127.0.0.1:65535", "[::1]:9092", "::1:9092", "a.b-c.example.:1, d_e:2"])
def test_what_is_an_address_of_a_broker_is_taken(servers: str) -> None:
    assert str(KafkaAccess(servers)) == servers


@pytest.mark.parametrize("url", ['"postgresql://u:s3cret@h:nope/db"', "5", '"postgresql://u:s3[t@h:1/db"'])
def test_a_bad_address_of_the_local_stack_is_no_fault_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "escrutinio.toml").write_text(f"reader_url = {url}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert postgres._hint(psycopg.OperationalError("port 1 failed: Connection refused")) == ""
