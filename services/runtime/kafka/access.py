"""Open clients of Kafka: where the brokers are, who we are (SASL/SCRAM, TLS), and what their faults mean.

An access is kept in a file of `name=value` lines with librdkafka's names, so that the file a newsroom is given works for kcat, for
any client built on librdkafka, and for ours:

    bootstrap.servers=results.example:9092
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.username=newsroom-demo
    sasl.password=…
    ssl.ca.location=ca.crt

Keeps nothing, so a crash leaves nothing. The client is imported where it is opened, since a command's help needs none.
"""

import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from runtime.kafka.errors import AccessError, AccessRefused, BrokerAway, RequestRefused

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


_REACH_S = 3.0
"""How long a broker may take to accept a connection: a client that finds nobody takes half a minute to say so."""


@dataclass(frozen=True, slots=True, repr=False)
class KafkaAccess:
    """The brokers, and as whom they are asked. Printed, it is the brokers' addresses: it holds a password."""

    bootstrap_servers: str
    """`host:port`, several separated by commas."""
    settings: tuple[tuple[str, str], ...] = ()
    """Name and value, as in the file; empty for a broker that asks nobody who he is."""
    hint: str = field(default="", compare=False)
    """What to do when no broker answers there, where that is known: the end of a message, with its separator."""

    def __str__(self) -> str:
        return self.bootstrap_servers

    def __repr__(self) -> str:
        return f"KafkaAccess({self.bootstrap_servers!r})"

    @property
    def properties(self) -> dict[str, Any]:
        """Return the settings of a client built on librdkafka."""
        return {"bootstrap.servers": self.bootstrap_servers, **dict(self.settings)}

    def reach(self) -> None:
        """Return when any of the brokers accepts a connection. Raises BrokerAway, with what each of them did instead."""
        faults = []
        for server in self.bootstrap_servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
            except (OSError, ValueError) as error:
                faults.append(f"{server}: {error}")
            else:
                return
        raise BrokerAway(f"no broker answers at {'; '.join(faults)}{self.hint}")

    def open(self, client: Callable[..., Any], **options: Any) -> Any:
        """Connect a client of kafka-python. Raises AccessRefused when the brokers do not accept us, or we do not trust them;
        BrokerAway when none answers."""
        from kafka.errors import KafkaError

        self.reach()
        own = {_OURS[name]: value for name, value in self.settings} | {"bootstrap_timeout_ms": 10_000} | options
        with _Reasons() as said:
            try:
                return client(bootstrap_servers=self.bootstrap_servers.split(","), **own)
            except (KafkaError, OSError) as error:
                for reason in filter(_REFUSALS.search, said.failures):
                    raise AccessRefused(self._not_accepted(reason)) from error
                what = repr(error)
                if self._user is not None and any("disconnected" in reason for reason in said.failures):
                    # A broker sometimes hangs up before its refusal was read; one that is stopping does the same.
                    what = f"it hung up; is the password of {self._user} the right one?"
                raise BrokerAway(f"no broker answers at {self}: {what}{self.hint}") from error

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """Connect kafka-python's administration client, and close it in the end. Raises as `open` does."""
        from kafka import KafkaAdminClient

        client = self.open(KafkaAdminClient)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def faults(self, what: str, *, final: bool = False) -> Iterator[None]:
        """Name the faults of a client that was asked for `what`, such as `topic results.events`.

        Raises AccessRefused for want of a grant, and else BrokerAway. `final`: RequestRefused for an answer that will be
        the same when it is asked again.
        """
        from kafka.errors import BrokerResponseError, KafkaError

        try:
            yield
        except (KafkaError, OSError) as error:
            if refusal := self.refusal(error, what):
                raise refusal from error
            if final and isinstance(error, BrokerResponseError) and not error.retriable:
                raise RequestRefused(f"{self} refuses {what}: {error!r}") from error
            raise BrokerAway(f"{self} does not answer: {error!r}, when asked for {what}{self.hint}") from error

    def refusal(self, error: Exception, what: str) -> AccessRefused | None:
        """Return the fault, where `error` is the brokers' answer that `what` is not granted to us; None where it is another."""
        if "AuthorizationFailed" not in repr(error):  # the client wraps it in others
            return None
        return AccessRefused(
            f"{self} refuses {self._user or 'us'} {what}: {error!r}. What is granted stands in grants.toml; "
            "`escrutinio-grants check` tells what differs, `escrutinio-grants apply` makes it so"
        )

    def _not_accepted(self, reason: str) -> str:
        user = f"user '{self._user}'" if self._user else "a client without a user"
        if "certificate" in reason.lower():
            return f"The secure connection to broker {self} as {user} failed: {reason}"
        return f"Authentication failed: broker {self} rejected {user} ({reason})"

    @property
    def _user(self) -> str | None:
        return dict(self.settings).get("sasl.username")


class _Reasons(logging.Handler):
    """Hears the client's log while it connects: its exception only says that no broker was reached in time."""

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
    """Read the access that a file describes; files it names are looked for beside it. `bootstrap_servers`: where it names none.

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
    """Refuse what the client would only say in a traceback, or silently ignore. Raises AccessError."""
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
