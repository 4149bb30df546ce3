"""What `make secrets` makes, keeps and makes anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from deploy import secrets
from deploy.local.postgres import MEMORY_BYTES, SETTINGS
from deploy.secrets import main


def make(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--folder", str(folder), *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> set[str]:
    """What the brokers' certificate is for."""
    certificate = x509.load_pem_x509_certificate((folder / "kafka_broker.pem").read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_only_the_owner_gets_in_and_what_is_there_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)  # as an engine makes it that was started too early
    assert make(folder, "newsroom-demo").exit_code == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    before = contents(folder)
    assert make(folder).output == f"every secret exists already in {folder}\n"
    assert contents(folder) == before


def test_where_newsrooms_come_in_is_remembered_when_a_secret_is_rotated(tmp_path: Path) -> None:
    make(tmp_path, "newsroom-demo")
    make(tmp_path, "--external", "results.example:9092", "newsroom-late")
    assert "results.example" in names(tmp_path)
    assert "bootstrap.servers=results.example:9092\n" in (tmp_path / "kafka/newsroom-late.properties").read_text()
    (tmp_path / "kafka_broker.pem").unlink()
    (tmp_path / "kafka/newsroom-late.properties").unlink()
    assert make(tmp_path, "newsroom-late").exit_code == 0
    assert "results.example" in names(tmp_path)
    assert "bootstrap.servers=results.example:9092\n" in (tmp_path / "kafka/newsroom-late.properties").read_text()


def test_of_several_brokers_the_certificate_names_each_and_newsrooms_are_told_all(tmp_path: Path) -> None:
    make(tmp_path, "--external", "one.example:29092,two.example:29093,192.0.2.3:29094", "newsroom-demo")
    assert {"one.example", "two.example", "192.0.2.3"} <= names(tmp_path)
    told = (tmp_path / "kafka/newsroom-demo.properties").read_text()
    assert "bootstrap.servers=one.example:29092,two.example:29093,192.0.2.3:29094\n" in told


def test_a_roles_address_follows_its_password(tmp_path: Path) -> None:
    make(tmp_path)
    before = (tmp_path / "escrutinio_writer_url").read_text()
    (tmp_path / "postgres_writer_password").unlink()
    make(tmp_path)
    assert (
        (tmp_path / "postgres_writer_password").read_text()
        in (tmp_path / "escrutinio_writer_url").read_text()
        != before
    )


def test_without_the_authoritys_key_nothing_is_issued_and_it_is_said(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("ca.key", "kafka_broker.pem"):
        (tmp_path / name).unlink()
    told = make(tmp_path)
    assert told.exit_code == 1
    assert "ca.key is missing: put it back" in told.output


def test_a_newsroom_has_a_name_that_fits_everywhere(tmp_path: Path) -> None:
    told = make(tmp_path, "newsroom-Demo")
    assert told.exit_code == 2
    assert "newsroom-Demo is not the name of a newsroom or a reader: use newsroom- or reader- and" in told.output


@pytest.mark.parametrize(("lasting", "says"), [(-0.02, True), (29, True), (31, False)])
def test_a_certificate_that_is_soon_no_longer_good_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: float, says: bool
) -> None:
    make(tmp_path)
    (tmp_path / "kafka_broker.pem").unlink()
    monkeypatch.setattr(secrets, "_DAYS", lasting)
    told = make(tmp_path)
    ends = x509.load_pem_x509_certificate((tmp_path / "kafka_broker.pem").read_bytes()).not_valid_after_utc
    line = f"{tmp_path / 'kafka_broker.pem'} expires at {ends:%Y-%m-%d %H:%M} UTC: make a new one"
    assert (told.exit_code, line in told.stderr) == (0, says)
    assert ("expires at" in make(tmp_path).stderr) == says, "each time, also when nothing is made"


def test_a_reader_gets_an_address_with_a_password_of_its_own(tmp_path: Path) -> None:
    assert make(tmp_path, "reader-desk", "reader-other", "newsroom-demo").exit_code == 0
    urls = {path.name: path.read_text() for path in (tmp_path / "readers").iterdir()}
    assert urls.keys() == {"reader-desk.url", "reader-other.url"}
    assert re.fullmatch(r"postgresql://reader-desk:[\w-]{32}@127\.0\.0\.1:25432/escrutinio", urls["reader-desk.url"])
    assert make(tmp_path, "reader-desk").output == f"every secret exists already in {tmp_path}\n"


def test_postgresql_has_the_same_bounds_wherever_it_is_started() -> None:
    bounds = SETTINGS.keys() - {"shared_buffers", "max_wal_size", "timezone", "log_timezone"}
    for file in ("docker-compose.yml", "deploy/compose.cluster.yml", "deploy/postgres/replica.sh"):
        text = (secrets.CHECKOUT / file).read_text()
        assert [name for name in sorted(bounds) if f"-c {name}={SETTINGS[name]}" not in text.replace("-c,", "-c")] == []
    assert f"ulimits: {{data: {MEMORY_BYTES}}}\n" in (secrets.CHECKOUT / "docker-compose.yml").read_text()
