"""Make the secrets of a deployment: passwords, certificates and the access file of each principal. `make secrets`.

Everything goes below one folder, `secrets/`, which only its owner can enter. The files in it can be read by any
user, since the containers they are mounted into run as other users. Existing files are kept: run it again after adding
a newsroom or a reader. To rotate a secret, delete its file and run it again.

    secrets/ca.key ca.crt                the certificate authority of this deployment. ca.key is used here only.
    secrets/kafka_broker.pem             the brokers' key and certificate
    secrets/admin/kafka.properties       how the administrator reaches Kafka, by certificate
    secrets/kafka/NAME.properties        how principal NAME reaches Kafka, with its password
    secrets/postgres_ROLE_password       and escrutinio_ROLE_url, as the services read them
    secrets/readers/NAME.url             how reader NAME reaches PostgreSQL, with its password
    secrets/audit/log.key log.key.pub    the key that signs the log, and the public one, which is for everyone
    secrets/grafana_admin_password
    secrets/external                     the address at which newsrooms reach Kafka

A crash leaves no half-written file: each is written under another name and renamed.
"""

import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.tree.note import Signer
from runtime.files import write_whole

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "secrets"

SERVICES = ("ingest", "aggregator", "backup", "audit", "monitor")
"""Our own principals."""
ROLES = ("owner", "writer", "reader")
BROKERS = ("kafka", "kafka-1", "kafka-2", "kafka-3", "localhost")
"""The names of the brokers inside the compose network."""
_CA_DAYS, _DAYS = 3650, 398
_WARN_DAYS = 30
_LOG = "escrutinio"
_NAME = re.compile(r"(newsroom|reader)-[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST = 63  # of a role of PostgreSQL, in bytes


@dataclass(frozen=True)
class Addresses:
    """The addresses of Kafka's listeners and of PostgreSQL."""

    internal: str = "kafka:19092"
    broker: str = "kafka:9091"
    external: str = "127.0.0.1:29092"
    """Of several brokers: the address of each, separated by commas."""
    postgres: str = "postgres"
    readers: str = f"127.0.0.1:{os.environ.get('ESCRUTINIO_POSTGRES_PORT') or 25432}"


class Secrets:
    """A folder of secrets. `made` lists the files that were written."""

    def __init__(self, folder: Path = FOLDER, addresses: Addresses | None = None) -> None:
        """`addresses`: by default docker-compose.yml's, and for newsrooms the external address of the last run."""
        self.folder = folder
        self.made: list[Path] = []
        self._at = addresses or Addresses(external=self._remembered() or Addresses.external)

    def ending(self) -> list[tuple[Path, datetime]]:
        """Return the certificates that expire within 30 days or have expired, and when."""
        found = []
        for name in ("ca.crt", "kafka_broker.pem", "admin/kafka.crt"):
            path = self.folder / name
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
            if ends < datetime.now(UTC) + timedelta(days=_WARN_DAYS):
                found.append((path, ends))
        return found

    def _remembered(self) -> str | None:
        file = self.folder / "external"
        return file.read_text().strip() if file.exists() else None

    def make(self, newsrooms: Iterable[str] = (), readers: Iterable[str] = (), log_name: str = _LOG) -> None:
        """Write every secret that is missing. `log_name`: of the key that signs the log."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # started before this, the container engine makes folders that everybody may enter
        for name in ("kafka", "admin", "readers", "audit"):
            (self.folder / name).mkdir(exist_ok=True)
        if self._remembered() != self._at.external:
            self._write("external", self._at.external)
            (self.folder / "kafka_broker.pem").unlink(missing_ok=True)  # the certificate has to name the new address
        self._certificates()
        for name in SERVICES:
            self._principal(name, self._at.internal, tls=False)
        for name in newsrooms:
            self._principal(name, self._at.external, tls=True)
        for role in ("admin", "replication", *ROLES):
            self._keep(f"postgres_{role}_password", _password)
        for role in ROLES:
            password, file = (self.folder / f"postgres_{role}_password").read_text(), f"escrutinio_{role}_url"
            url = f"postgresql://escrutinio_{role}:{password}@{self._at.postgres}/escrutinio"
            if not (self.folder / file).exists() or (self.folder / file).read_text() != url:
                self._write(file, url)
        for name in readers:
            self._keep(f"readers/{name}.url", self._reader_url(name))
        self._keep("grafana_admin_password", _password)
        self._keep("audit/log.key", lambda: f"{Signer(log_name, Ed25519PrivateKey.generate())}\n")
        signer = Signer.parse((self.folder / "audit/log.key").read_text())
        self._keep("audit/log.key.pub", lambda: f"{signer.verifier}\n")

    def _principal(self, name: str, server: str, *, tls: bool) -> None:
        def access() -> str:
            lines = {
                "bootstrap.servers": server,
                "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": name,
                "sasl.password": _password(),
            } | ({"ssl.ca.location": "ca.crt"} if tls else {})
            return "".join(f"{key}={value}\n" for key, value in lines.items())

        self._keep(f"kafka/{name}.properties", access)

    def _reader_url(self, name: str) -> Callable[[], str]:
        return lambda: f"postgresql://{name}:{_password()}@{self._at.readers}/escrutinio"

    def _certificates(self) -> None:
        if not (self.folder / "ca.crt").exists():
            key, name = ec.generate_private_key(ec.SECP256R1()), _name("escrutinio")
            certificate = _builder(name, name, key.public_key(), _CA_DAYS).add_extension(
                x509.BasicConstraints(ca=True, path_length=0), critical=True
            )
            self._write("ca.key", _pem_of(key), mode=0o600)
            self._write("ca.crt", certificate.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode())
        authority = (self.folder / "ca.crt").read_text()
        for copy in ("kafka/ca.crt", "admin/ca.crt"):
            self._keep(copy, lambda: authority)
        outside = {address.strip().rpartition(":")[0] for address in self._at.external.split(",")}
        addresses = [_general_name(name) for name in {*BROKERS, "127.0.0.1", *outside}]
        self._keep("kafka_broker.pem", lambda: "".join(self._issue("broker", addresses)))
        if not (self.folder / "admin/kafka.crt").exists():
            key_pem, certificate_pem = self._issue("admin", [])
            self._write("admin/kafka.key", key_pem)
            self._write("admin/kafka.crt", certificate_pem)
        self._keep(
            "admin/kafka.properties",
            lambda: (
                f"bootstrap.servers={self._at.broker}\nsecurity.protocol=SSL\nssl.ca.location=ca.crt\n"
                "ssl.certificate.location=kafka.crt\nssl.key.location=kafka.key\n"
            ),
        )

    def _issue(self, name: str, addresses: list[x509.GeneralName]) -> tuple[str, str]:
        """Return a key and its certificate, each as PEM."""
        authority = x509.load_pem_x509_certificate((self.folder / "ca.crt").read_bytes())
        if not (self.folder / "ca.key").exists():
            raise click.ClickException(
                f"{self.folder / 'ca.key'} is missing: put it back to issue a certificate for {name}"
            )
        signing = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), authority.subject, key.public_key(), _DAYS)
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if addresses:
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return _pem_of(key), builder.sign(signing, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _keep(self, name: str, content: Callable[[], str]) -> None:
        if not (self.folder / name).exists():
            self._write(name, content())

    def _write(self, name: str, content: str, mode: int = 0o444) -> None:
        write_whole(self.folder / name, content.encode("ascii"), mode=mode)
        self.made.append(self.folder / name)


def _password() -> str:
    return secrets.token_urlsafe(24)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def is_name(name: str) -> bool:
    """Return whether a newsroom or a reader may have the name. It has no dot: grants.toml ends groups' names at one."""
    return _NAME.fullmatch(name) is not None and len(name) <= _LONGEST


def _names(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_name(name):
            raise click.BadParameter(
                f"{name} is not the name of a newsroom or a reader: use newsroom- or reader- and then small letters, "
                f"digits and single dashes, {_LONGEST} in all"
            )
    return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[newsroom-NAME | reader-NAME]...", callback=_names)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    help="Folder of the secrets.  [default: secrets in the checkout]",
)
@click.option(
    "--external", metavar="HOST:PORT[,HOST:PORT…]", envvar="ESCRUTINIO_KAFKA_ADDRESS",
    help="Address at which newsrooms reach Kafka, in a cluster one for each broker. Written into access files and the "
    "brokers' certificate, and kept for later runs.  [env: ESCRUTINIO_KAFKA_ADDRESS]  [default: 127.0.0.1:29092]",
)  # fmt: skip
@click.option(
    "--log-name", envvar="ESCRUTINIO_LOG_NAME", default=_LOG, show_default=True,
    help="Whose log it is, in the name of the key that signs it.  [env: ESCRUTINIO_LOG_NAME]",
)  # fmt: skip
def main(names: tuple[str, ...], folder: Path, external: str | None, log_name: str) -> None:
    """Make every missing secret, and an access file for each name: a newsroom reads Kafka, a reader PostgreSQL.

    Existing files are kept.

    \b
    Example:
      python -m deploy.secrets newsroom-demo reader-demo
    """
    made = Secrets(folder, Addresses(external=external) if external else None)
    readers = [name for name in names if name.startswith("reader-")]
    made.make([name for name in names if name not in readers], readers, log_name)
    for path in made.made:
        click.echo(f"made {path}")
    if not made.made:
        click.echo(f"every secret exists already in {folder}")
    for path, ends in made.ending():
        click.echo(
            f"{path} expires at {ends:%Y-%m-%d %H:%M} UTC: make a new one (deploy/runbook.md, Rotating a secret)",
            err=True,
        )


if __name__ == "__main__":
    main()
