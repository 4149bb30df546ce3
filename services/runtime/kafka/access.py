"""How Kafka is reached, and as whom: brokers, SASL/SCRAM, TLS.

An access is kept in a file of `name=value` lines with librdkafka's names, so that the file a newsroom is given works for kcat, for
any client built on librdkafka, and for ours:

    bootstrap.servers=results.example:9092
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.username=newsroom-demo
    sasl.password=…
    ssl.ca.location=ca.crt

Reads only, and keeps nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from schemas.errors import EscrutinioError

_PATHS = {"ssl.ca.location", "ssl.certificate.location", "ssl.key.location"}
_OURS = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
}
"""kafka-python's name for each."""
_CLIENT = logging.getLogger("kafka.net")
_REFUSALS = re.compile("SaslAuthenticationFailed|UnsupportedSaslMechanism|certificate", re.IGNORECASE)


class AccessError(EscrutinioError):
    """The file that says how Kafka is reached cannot be used."""


class AccessRefused(AccessError):
    """Waiting does not mend it: the password or a certificate is wrong, or no longer good, or something is not granted."""


@dataclass(frozen=True, slots=True, repr=False)
class KafkaAccess:
    """Brokers, and what they are told of who asks. Printed, it is the brokers' addresses: it holds a password."""

    bootstrap_servers: str
    """`host:port`, several separated by commas."""
    settings: tuple[tuple[str, str], ...] = ()
    """Name and value, as in the file; empty for a broker that asks nobody who he is."""
    hint: str = field(default="", compare=False)
    """What to do when nobody answers there, where that is known: the end of a message, with what parts it from the rest."""

    def __str__(self) -> str:
        return self.bootstrap_servers

    def __repr__(self) -> str:
        return f"KafkaAccess({self.bootstrap_servers!r})"

    @property
    def properties(self) -> dict[str, Any]:
        """As a client built on librdkafka takes it."""
        return {"bootstrap.servers": self.bootstrap_servers, **dict(self.settings)}

    def open(self, client: Callable[..., Any], **options: Any) -> Any:
        """A client of kafka-python, connected. Raises AccessRefused when the brokers do not take us, or we do not trust them;
        KafkaError or OSError when nobody answers."""
        from kafka.errors import KafkaConnectionError, KafkaError  # here: a help text needs no client

        who = self._who
        own = {_OURS[name]: value for name, value in self.settings}
        with _Reasons() as said:
            try:
                return client(bootstrap_servers=self.bootstrap_servers.split(","), **own, **options)
            except KafkaError as error:
                for reason in filter(_REFUSALS.search, said.failures):
                    raise AccessRefused(f"{self} and {who or 'we'} do not come together: {reason}") from error
                if who is not None and any("disconnected" in reason for reason in said.failures):
                    # A broker sometimes hangs up before its refusal was read; one that is stopping does the same.
                    raise KafkaConnectionError(f"it hung up; is the password of {who} the right one?") from error
                raise

    def refusal(self, error: Exception, what: str) -> AccessRefused | None:
        """The fault, where `error` is the brokers' answer that something is not granted to us; None where it is another.
        `what` was asked for, such as `topic results.events`."""
        if "AuthorizationFailed" not in repr(error):  # the client wraps it in others
            return None
        return AccessRefused(
            f"{self} refuses {self._who or 'us'} {what}: {error!r}. What is granted stands in grants.toml; "
            "`escrutinio-grants check` tells what differs, `escrutinio-grants apply` makes it so"
        )

    @property
    def _who(self) -> str | None:
        return dict(self.settings).get("sasl.username")


class _Reasons(logging.Handler):
    """Listens to the client while it connects: its exception only says that nobody was reached in time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._before = _CLIENT.level, _CLIENT.propagate
        _CLIENT.setLevel(logging.WARNING)
        _CLIENT.propagate = False
        _CLIENT.addHandler(self)
        return self

    def __exit__(self, *fault: object) -> None:
        _CLIENT.removeHandler(self)
        level, _CLIENT.propagate = self._before
        _CLIENT.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        before, failed, why = record.getMessage().partition(" failed: ")
        if failed and before.startswith("Bootstrap"):
            self.failures.append(why)


def read(file: Path, bootstrap_servers: str | None = None) -> KafkaAccess:
    """The access that a file describes; files it names are looked for beside it. `bootstrap_servers`: where it names none.

    Raises AccessError, naming the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"{file} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or (name not in _OURS and name != "bootstrap.servers"):
            known = ", ".join(sorted({"bootstrap.servers", *_OURS}))
            raise AccessError(f"{file}, line {number}: {name!r} is not one of {known}")
        found[name] = str(file.parent / value) if name in _PATHS else value
    _check(file, found)
    servers = found.pop("bootstrap.servers", bootstrap_servers)
    if not servers:
        raise AccessError(f"{file} names no bootstrap.servers, and none are given")
    return KafkaAccess(servers, tuple(found.items()))


def _check(file: Path, found: Mapping[str, str]) -> None:
    """What the client would only say in a traceback, or in silence not do."""
    for name in sorted(_PATHS & found.keys()):
        if not Path(found[name]).is_file():
            raise AccessError(f"{file}: {name}: there is no file {found[name]}")
    protocol = found.get("security.protocol", "PLAINTEXT")
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise AccessError(
            f"{file}: security.protocol: {protocol} is none; it is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        )
    wanted = {"sasl.mechanism", "sasl.username", "sasl.password"} if protocol.startswith("SASL") else set()
    if missing := sorted(wanted - found.keys()):
        raise AccessError(f"{file}: {', '.join(missing)} missing, which {protocol} needs")
    if unused := sorted(name for name in found if name.startswith(("sasl.", "ssl.")) and not _used(name, protocol)):
        raise AccessError(
            f"{file}: {', '.join(unused)} would not be used with security.protocol={protocol}; did you mean SASL_SSL?"
        )


def _used(name: str, protocol: str) -> bool:
    return protocol.startswith("SASL") if name.startswith("sasl.") else protocol.endswith("SSL")
