"""A broker as docker compose runs it: the same settings, with passwords, certificates and grants."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result
from kafka.admin import KafkaAdminClient

from deploy.local import Broker
from deploy.local.kafka import SETTINGS, compose_settings
from deploy.local.server import HOST, Record
from deploy.secrets import CHECKOUT, Addresses, Secrets
from grants.cli import main as grants
from ingest.cli import main as ingest
from runtime.kafka import access
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import AccessError
from tests.support.fix_kafka import delete_topics

GRANTS = CHECKOUT / "deploy" / "kafka" / "grants.toml"
LISTENERS = {"INTERNAL": "broker", "EXTERNAL": "external", "BROKER": "admin", "CONTROLLER": "controller"}


class SecuredBroker(Broker):
    """The broker of docker-compose.yml, on this machine: what differs is where things are, and that it starts fast."""

    port_names: ClassVar[tuple[str, ...]] = tuple(LISTENERS.values())

    @property
    def secrets(self) -> Path:
        """The folder of secrets."""
        return self.root / "secrets"

    def _settings(self, record: Record) -> dict[str, str]:
        fast = {key: value for key, value in SETTINGS.items() if "listener" not in key}
        listeners = ",".join(f"{name}://{HOST}:{record.ports[port]}" for name, port in LISTENERS.items())
        written = compose_settings()
        del written["controller.quorum.voters"]  # the local stack's data folder knows its only voter
        return fast | written | {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": f"{HOST}:{record.ports['controller']}",
            "ssl.keystore.location": str(self.secrets / "kafka_broker.pem"),
            "ssl.truststore.location": str(self.secrets / "ca.crt"),
        }  # fmt: skip

    def _write_properties(self, record: Record, name: str, data: str) -> str:
        at = self.addresses(record)
        if not self._is_told(at):
            shutil.rmtree(self.secrets / "kafka", ignore_errors=True)  # of an earlier try, with other ports
            shutil.rmtree(self.secrets / "admin", ignore_errors=True)
        Secrets(self.secrets, at).make(["newsroom-demo", "newsroom-other"])
        return super()._write_properties(record, name, data)

    def addresses(self, record: Record | None = None) -> Addresses:
        """Where it is found, as the secrets tell."""
        ports = (record or self._load()).ports
        return Addresses(*(f"{HOST}:{ports[port]}" for port in ("broker", "admin", "external")))

    def _is_told(self, at: Addresses) -> bool:
        """Whether the access files are there and say so: then they are kept, and the passwords in them."""
        told = {"ingest": at.internal, "admin": at.broker, "newsroom-demo": at.external}
        try:
            return all(self.access(who).bootstrap_servers == where for who, where in told.items())
        except AccessError:
            return False

    def access(self, principal: str) -> KafkaAccess:
        """How a principal reaches it."""
        folder = "admin/kafka" if principal == "admin" else f"kafka/{principal}"
        return access.read(self.secrets / f"{folder}.properties")

    def grant(self, command: str = "apply", file: Path = GRANTS) -> Result:
        """`escrutinio-grants`, as the administrator."""
        options = ["--kafka-config", self.secrets / "admin/kafka.properties", "--principals", self.secrets / "kafka"]
        return CliRunner().invoke(grants, [command, *map(str, options), str(file)])


@pytest.fixture(scope="session")
def secured_server(new_root: Callable[[], Path]) -> Iterator[SecuredBroker]:
    """The session's secured broker, set up as compose sets it up: topics, principals, grants."""
    broker = SecuredBroker(new_root())
    try:
        _set_up(broker)
        yield broker
    finally:
        broker.reset()


@pytest.fixture
def own_secured_server(secured_server: SecuredBroker) -> Iterator[SecuredBroker]:
    """The same with its topics empty. A test may take grants away and stop it: afterwards all is as it was."""
    empty(secured_server)
    yield secured_server
    _set_up(secured_server)


def empty(broker: SecuredBroker) -> None:
    """Make the topics again, without a message; the broker may have been ended."""
    broker.start()
    with closing(broker.access("admin").open(KafkaAdminClient)) as admin:
        delete_topics(admin)
    _set_up(broker)


def _set_up(broker: SecuredBroker) -> None:
    broker.start()
    made = CliRunner().invoke(ingest, ["topics", "--kafka-config", str(broker.secrets / "admin/kafka.properties")])
    assert made.exit_code == 0, made.output
    granted = broker.grant()
    assert granted.exit_code == 0, granted.output
