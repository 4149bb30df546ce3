"""What a service takes from its surroundings."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.cli import main as aggregator
from aggregator.cli.settings import AggregatorSettings
from api.limits import Rates
from api.settings import ApiSettings
from backup.cli import main as backup
from ingest.cli import main as ingest
from ingest.cli.work import IngestSettings
from results.cli import main as results
from runtime import settings
from runtime.kafka.errors import AccessError
from runtime.settings import NotGiven, SettingsError
from schemas.text import first_invisible


def test_a_variable_that_is_empty_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "escrutinio.toml").write_text('reader_url = "of the file"')
    for name in ("GROUP", "SESSION_TIMEOUT", "READER_URL"):
        monkeypatch.setenv(f"ESCRUTINIO_{name}", "")
    found = AggregatorSettings.load()
    assert (found.group, found.session_timeout, found.reader_url) == (None, 10.0, "of the file")
    monkeypatch.setenv("ESCRUTINIO_GROUP", "escrutinio-night")
    assert AggregatorSettings.load().group == "escrutinio-night"


def test_an_address_is_read_from_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ApiSettings.load().listen == ("127.0.0.1", 8081)
    (tmp_path / "escrutinio.toml").write_text('listen = "[::1]:1"')
    assert ApiSettings.load().listen == ("::1", 1)
    monkeypatch.setenv("ESCRUTINIO_LISTEN", "0.0.0.0:2")
    monkeypatch.setenv("ESCRUTINIO_HTTP", "0.0.0.0:3")
    assert (ApiSettings.load().listen, ApiSettings.load().http) == (("0.0.0.0", 2), ("0.0.0.0", 3))
    assert ApiSettings.load(listen="localhost:4").listen == ("localhost", 4)


def test_who_asks_from_this_machine_is_not_limited_unless_others_ask_through_a_proxy() -> None:
    here, proxied = ApiSettings.load(), ApiSettings.load(proxies="127.0.0.1")
    assert (here.rates, proxied.rates) == (None, Rates(600, 6000))
    assert ApiSettings.load(proxies="127.0.0.1", rate=0).rates is None
    assert ApiSettings.load(listen="0.0.0.0:2").rates == Rates(600, 6000)


def test_a_flag_that_is_empty_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="group"):
        AggregatorSettings.load(group="")


KINDS: tuple[type[settings.Settings], ...] = (AggregatorSettings, ApiSettings, IngestSettings)
FIELDS = sorted({name for kind in KINDS for name in kind.model_fields})
SECRET = "hunter2"
values = st.one_of(
    st.sampled_from(
        [
            "nan", "inf", "-1", "1e400", "9" * 5_000, "\uff11\uff12", "1_0", "[" * 5_000, "{}", f"x:{'9' * 5_000}",
            "a..b:9092", f"{'a' * 64}:1", ":1", "[::1]:1", "x:\u0663", "\udcff", "\u202e", "a\x1b", "/dev/zero", "\0",
        ]
    ),
    st.text(max_size=20),
    st.text(st.sampled_from("0123456789.:,[]@/-eE_ \uff11\u0663"), max_size=12),
)  # fmt: skip


def usable(kind: type[settings.Settings], **flags: object) -> None:
    """The settings, and the access that they give, are there, or told in one line without a value."""
    with suppress(SettingsError, AccessError):
        kind.load(**flags).kafka  # noqa: B018
        return
    with pytest.raises((SettingsError, AccessError)) as fault:
        kind.load(**flags).kafka  # noqa: B018
    line = str(fault.value)
    assert isinstance(fault.value, NotGiven | AccessError) or line.startswith("configuration: ")
    assert SECRET not in line
    assert len(line) < 700 or isinstance(fault.value, AccessError)  # which names a file


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
@example({"bootstrap_servers": f"escrutinio:{SECRET}@broker:9092"})
@example({"bootstrap_servers": f"broker:9092,{SECRET}"})
@example({"http": f"http://u:{SECRET}@h"})
@example({"topic_prefix": f"/{SECRET}"})
@example({"session_timeout": SECRET})
@example({"log_format": SECRET})
@example({"http": "[" * 5_000})
@example({"archive": "a\0b"})
def test_any_environment_is_settings_or_one_line_without_a_value(given: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in FIELDS:
            patch.delenv(f"ESCRUTINIO_{name.upper()}", raising=False)
        for kind in KINDS:
            usable(kind, **given)
        for name, value in given.items():
            with suppress(ValueError, UnicodeEncodeError):  # what no environment can hold
                patch.setenv(f"ESCRUTINIO_{name.upper()}", value)
        for kind in KINDS:
            usable(kind)


VALUES = ['""', '"\\u0000"', '"\\u202e"', "[]", "{}", "nan", "0x" + "F" * 5_000, "1e400", f'"/{SECRET}"', "[" * 5_000]


@given(
    st.binary(max_size=100)
    | st.tuples(st.sampled_from(FIELDS), st.sampled_from(VALUES)).map(lambda given: " = ".join(given).encode())
)
@example(b"x = " + b"9" * 5_000)
@example(f"bootstrap_servers = '{SECRET}'".encode("utf-16"))
def test_a_file_of_any_bytes_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "settings"
    folder.mkdir(exist_ok=True)
    (folder / "escrutinio.toml").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if b"kafka_config" not in content:  # a path, which is named
            for kind in KINDS:
                usable(kind)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"", b"a\0b", "\u202e".encode(), SECRET.encode() * 1000, "folder", "pipe", "loop"]
)
def test_a_secret_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "_SECRETS", tmp_path)
    secret = tmp_path / "escrutinio_bootstrap_servers"
    if isinstance(content, bytes):
        secret.write_bytes(content)
    elif content == "folder":
        secret.mkdir()
    elif content == "pipe":
        os.mkfifo(secret)
    else:
        secret.symlink_to(secret)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they name the file, and are lines of the log
        usable(AggregatorSettings)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (ingest, ("watch", ".", "--every", "nan")),
        (ingest, ("watch", ".", "--every", "inf")),
        (ingest, ("watch", ".", "--every", "1e9")),
        (ingest, ("topics", "--replication-factor", "\uff13")),
        (backup, ("mirror", ".", "--every", "nan")),
        (backup, ("mirror", ".", "--segment-events", "1_000")),
        (results, ("show", "c", "--at-offset", "\u0663")),
        (results, ("show", "c", "--at-offset", "9" * 5_000)),
        (results, ("timeline", "c", "--every", "1\u0663m")),
        (results, ("diff", "c", "\u0664\u0661", "now")),
        (results, ("diff", "c", "offset:\uff14", "now")),
        (results, ("show", "c", "--schema", "night\n")),
        (aggregator, ("run", "--session-timeout", "nan")),
        (aggregator, ("run", "--session-timeout", "inf")),
        (aggregator, ("run", "--reader-session", "1_000")),
        (aggregator, ("drop", "v1", "--lock-wait", "1e1")),
        (aggregator, ("run", "--group", "a\x1bb")),
        (aggregator, ("run", "--topic-prefix", "a/b")),
    ],
)
def test_a_flag_that_only_python_would_read_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: click.Command, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert "is not given" not in done.output  # it is this flag that is told
    assert first_invisible(done.output.replace("\n", "")) is None
