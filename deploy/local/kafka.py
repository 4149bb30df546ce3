"""The broker of the local stack: one Kafka node that is broker and controller, without replicas.

Role: keeps the log of the local stack below `<root>/kafka/data`. Place: between ingest and aggregator.
A crash while the data folder is formatted leaves `data.new`, which the next start deletes. A killed broker
recovers its log when it starts again.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploy.local import jars, java
from deploy.local.errors import StartFailed
from deploy.local.server import HOST, Record, Server

# A short life on one machine: start fast rather than run fast.
_JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_LOGGING = Path(__file__).with_name("log4j2.xml")

_COMPOSE = Path(__file__).parents[1] / "kafka" / "server.properties"


def compose_settings() -> dict[str, str]:
    """Return the settings of docker compose's brokers, by name."""
    lines = _COMPOSE.read_text(encoding="ascii").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# What bounds a group or a request there does so here too. Connections have no bound here: all come from one address.
_BOUNDS = (
    "group.max.size",
    "group.consumer.max.size",
    "group.coordinator.rebalance.protocols",
    "offset.metadata.max.bytes",
    "socket.request.max.bytes",
)

# Settings that the log needs of every broker, and those of one small node on one machine.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A killed broker can register again only when its old session has ended: by default after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "2",
} | {name: compose_settings()[name] for name in _BOUNDS}


class Broker(Server):
    """A Kafka broker below `root`."""

    name = "kafka"
    title = "Kafka"
    port_names: ClassVar[tuple[str, ...]] = ("broker", "controller")

    @property
    def bootstrap_servers(self) -> str:
        """Return `host:port`, as Kafka clients expect it. The broker must have been started once."""
        return self._address(self._load())

    @property
    def _home(self) -> Path:
        return self.root / "kafka"

    def _prepare(self, record: Record) -> None:
        self._class_path = jars.class_path(self.steps)
        self._java = java.find()
        self._home.mkdir(exist_ok=True)
        if not (self._home / "data").is_dir():
            self._format(record)

    def _format(self, record: Record) -> None:
        with self.steps.step(self.title, "new data folder"):
            self._choose_ports(record)
            shutil.rmtree(self._home / "data.new", ignore_errors=True)
            properties = self._write_properties(record, "format.properties", data="data.new")
            command = self._kafka(
                "kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", properties
            )
            done = subprocess.run(
                command,
                cwd=self._home,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise StartFailed("Kafka's data folder could not be made:", done.stdout.splitlines()[-15:])
            (self._home / properties).unlink()
            (self._home / "data.new").rename(self._home / "data")

    def _write_properties(self, record: Record, name: str, data: str) -> str:
        # Relative to the working folder, so that no path needs quoting.
        settings = self._settings(record) | {"log.dirs": data}
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._home / name).write_text(text, encoding="ascii")
        return name

    def _settings(self, record: Record) -> dict[str, str]:
        broker, controller = (f"{HOST}:{record.ports[port]}" for port in self.port_names)
        listeners = f"PLAINTEXT://{broker},CONTROLLER://{controller}"
        return SETTINGS | {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": controller,
        }

    def _kafka(self, main: str, *arguments: str) -> list[str | Path]:
        return [
            self._java,
            *_JVM,
            f"-Dlog4j2.configurationFile={_LOGGING}",
            "-cp",
            self._class_path,
            main,
            *arguments,
        ]

    def _command(self, record: Record) -> tuple[list[str | Path], Path, Mapping[str, str]]:
        properties = self._write_properties(record, "server.properties", data="data")
        return self._kafka("kafka.Kafka", properties), self._home, _environment()

    def _answers(self, record: Record) -> bool:
        return answers(record.ports["broker"])

    def _once_ready(self, record: Record) -> None:
        """Do nothing: topics are made by the services that own them."""

    def _folders(self, record: Record) -> list[Path]:  # noqa: ARG002
        return [self._home]


def answers(port: int) -> bool:
    """Ask a broker on 127.0.0.1 for its API versions, as every client first does. Returns whether it answers.

    The broker opens its port before it is ready, and answers only once it is.
    """
    client = b"escrutinio"
    request = struct.pack(f">hhih{len(client)}s", 18, 0, 1, len(client), client)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10)
    except OSError:
        return False
    # Length, the correlation id sent, error code 0.
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)


def _environment() -> dict[str, str]:
    # Java reads file names in the encoding of the locale; the plain C locale knows only ASCII.
    return os.environ | {"LC_ALL": "C.UTF-8"}


def _cluster_id() -> str:
    """Return a random UUID as Kafka writes it: base64, and without a leading dash, which would be read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()).startswith("-"):
        pass
    return text
