"""Open Kafka clients (addresses, SASL/SCRAM, TLS), and translate their faults.

An access is a file of `name=value` lines with librdkafka's names, so that a newsroom's file works for kcat, for any
client built on librdkafka, and for this one:

    bootstrap.servers=results.example:9092
    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.username=newsroom-demo
    sasl.password=…
    ssl.ca.location=ca.crt

Stores nothing, so a crash leaves nothing. kafka-python is imported where it is used: a command's help needs none.
"""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from runtime.files import read_text
from runtime.kafka.errors import AccessError, AccessRefused, BrokerAway, RequestRefused
from schemas.text import first_invisible

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
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_LABEL = "[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_CLIENT = logging.getLogger("kafka.net")
_REFUSALS = re.compile("SaslAuthenticationFailed|UnsupportedSaslMechanism|certificate", re.IGNORECASE)


_METADATA = {"allow_auto_create_topics": False, "retry_backoff_ms": 10}
"""Asking for a topic does not make it, and the first question about one does not wait for the backoff of 100 ms, which
is also the least time between two requests for metadata. kafka-python 3.0 gives what it is told of both to nothing."""
_REACH_S = 3.0
"""Time limit for a broker to accept a connection. Without it the client reports no broker only after half a minute."""


@dataclass(frozen=True, slots=True, repr=False)
class KafkaAccess:
    """The brokers and the credentials for them. Prints as the addresses only, since it holds a password."""

    bootstrap_servers: str
    """`host:port`, several separated by commas."""
    settings: tuple[tuple[str, str], ...] = ()
    """Names and values as in the file; empty for a broker without authentication."""
    hint: str = field(default="", compare=False)
    """Advice appended to the message that no broker answers, with its separator."""

    def __post_init__(self) -> None:
        """Check the addresses: a client would end with a traceback, or wait. Raises AccessError, without a value."""
        servers = self.bootstrap_servers.split(",")
        for number, server in enumerate(servers, 1):
            host, _, port = server.strip().rpartition(":")
            if not (is_port(port) and _is_host(host.removeprefix("[").removesuffix("]"))):
                where = "the brokers' address" if len(servers) == 1 else f"number {number} of the brokers' addresses"
                raise AccessError(
                    f"{where} is not HOST:PORT such as 127.0.0.1:9092; user and password are in the file that "
                    "--kafka-config names"
                )

    def __str__(self) -> str:
        return self.bootstrap_servers

    def __repr__(self) -> str:
        return f"KafkaAccess({self.bootstrap_servers!r})"

    @property
    def properties(self) -> dict[str, Any]:
        """Return the settings of a client built on librdkafka."""
        return {"bootstrap.servers": self.bootstrap_servers, **dict(self.settings)}

    def reach(self) -> None:
        """Return once a broker accepts a connection. Raises BrokerAway with each fault."""
        faults = []
        for server in self.bootstrap_servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
            except OSError as error:
                faults.append(f"{server}: {error}")
            else:
                return
        raise BrokerAway(f"no broker answers at {'; '.join(faults)}{self.hint}")

    def open(self, client: Callable[..., Any], **options: Any) -> Any:
        """Connect a client of kafka-python.

        Raises AccessRefused for rejected credentials or an untrusted certificate, BrokerAway when no broker answers.
        """
        from kafka.errors import KafkaError

        self.reach()
        own = {_OURS[name]: value for name, value in self.settings} | {"bootstrap_timeout_ms": 10_000} | options
        with _ConnectionLog() as log:
            try:
                made = client(bootstrap_servers=self.bootstrap_servers.split(","), **own)
            except (KafkaError, OSError) as error:
                for reason in filter(_REFUSALS.search, log.failures):
                    raise AccessRefused(self._not_accepted(reason)) from error
                reason = repr(error)
                if self._user is not None and any("disconnected" in reason for reason in log.failures):
                    # A broker may disconnect before its refusal is read; one that is stopping does the same.
                    reason = f"the broker closed the connection; check the password of {self._user}"
                raise BrokerAway(f"no broker answers at {self}: {reason}{self.hint}") from error
        metadata = made._metadata if hasattr(made, "_metadata") else made._manager.cluster
        metadata.config |= _METADATA
        return made

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """Connect kafka-python's admin client, and close it on exit. Raises as `open` does."""
        from kafka import KafkaAdminClient

        client = self.open(KafkaAdminClient)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def faults(self, what: str, *, final: bool = False) -> Iterator[None]:
        """Translate the faults of a client's request for `what`, such as `topic results.events`.

        Raises AccessRefused for a missing grant, else BrokerAway. `final`: RequestRefused where a retry would not help.
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
        """Return the fault of a missing grant for `what`, None when `error` is another fault."""
        if "AuthorizationFailed" not in repr(error):  # the client may wrap the broker's error in its own
            return None
        return AccessRefused(
            f"{self} refuses {self._user or 'us'} {what}: {error!r}. grants.toml lists the grants; "
            "`escrutinio-grants check` shows the differences, `escrutinio-grants apply` applies them"
        )

    def _not_accepted(self, reason: str) -> str:
        user = f"user '{self._user}'" if self._user else "a client without a user"
        if "certificate" in reason.lower():
            return f"The secure connection to broker {self} as {user} failed: {reason}"
        return f"Authentication failed: broker {self} rejected {user} ({reason})"

    @property
    def _user(self) -> str | None:
        return dict(self.settings).get("sasl.username")


_OPENING = threading.Lock()
"""Clients are opened one at a time: each changes the settings of the client's log meanwhile."""


class _ConnectionLog(logging.Handler):
    """Collect the client's log while it connects: its exception does not say why no broker was reached."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        _OPENING.acquire()
        self._before = _CLIENT.level, _CLIENT.propagate
        _CLIENT.setLevel(logging.WARNING)
        _CLIENT.propagate = False
        _CLIENT.addHandler(self)
        return self

    def __exit__(self, *fault: object) -> None:
        _CLIENT.removeHandler(self)
        level, _CLIENT.propagate = self._before
        _CLIENT.setLevel(level)
        _OPENING.release()

    def emit(self, record: logging.LogRecord) -> None:
        before, failed, reason = record.getMessage().partition(" failed: ")
        if failed and before.startswith("Bootstrap"):
            self.failures.append(reason)


def is_port(text: str) -> bool:
    """Say whether a text is the number of a port."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return True
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


def read(file: Path, bootstrap_servers: str | None = None) -> KafkaAccess:
    """Read an access file; its paths are relative to it. `bootstrap_servers`: where it has none. Raises AccessError."""
    try:
        lines = read_text(file).split("\n")
    except (OSError, ValueError) as error:
        raise AccessError(f"{file} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or (name not in _OURS and name != "bootstrap.servers"):
            known = ", ".join(sorted({"bootstrap.servers", *_OURS}))
            raise AccessError(f"{file}, line {number}: not NAME=VALUE, NAME being one of {known}")
        if (hidden := first_invisible(value)) is not None:
            raise AccessError(f"{file}, line {number}: {name} has the invisible character {hidden}; remove it")
        found[name] = str(file.parent / value) if name in _PATHS else value
    _check(file, found)
    servers = found.pop("bootstrap.servers", bootstrap_servers)
    if not servers:
        raise AccessError(f"{file} names no bootstrap.servers, and no --bootstrap-servers are given")
    return KafkaAccess(servers, tuple(found.items()))


def _check(file: Path, found: Mapping[str, str]) -> None:
    """Refuse settings that the client would ignore, or report in a traceback only. Raises AccessError.

    Its message quotes no value but that of a path: a password may stand in the wrong line.
    """
    for name in sorted(_PATHS & found.keys()):
        if not Path(found[name]).is_file():
            raise AccessError(f"{file}: {name}: file {found[name]} does not exist")
    protocol = found.get("security.protocol", "PLAINTEXT")
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise AccessError(f"{file}: security.protocol is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")
    mechanism = found.get("sasl.mechanism")
    if mechanism is not None and mechanism not in _MECHANISMS:
        raise AccessError(f"{file}: sasl.mechanism is not one of {', '.join(_MECHANISMS)}")
    wanted = {"sasl.mechanism", "sasl.username", "sasl.password"} if protocol.startswith("SASL") else set()
    if missing := sorted(wanted - found.keys()):
        raise AccessError(f"{file}: {', '.join(missing)} missing, which {protocol} needs")
    if unused := sorted(name for name in found if name.startswith(("sasl.", "ssl.")) and not _used(name, protocol)):
        raise AccessError(
            f"{file}: {', '.join(unused)} would not be used with security.protocol={protocol}; did you mean SASL_SSL?"
        )


def _used(name: str, protocol: str) -> bool:
    return protocol.startswith("SASL") if name.startswith("sasl.") else protocol.endswith("SSL")
