"""Servers for tests in containers: the images that docker-compose.yml names, on ports of 127.0.0.1.

Role: the servers of a session where a container engine answers, with the local stack's settings, so that a test finds
the same broker on either. Each server is one container with its data in the container's own volume: after a kill and a
start it has the same port and data. A session ended by SIGKILL leaves its containers running, with a label: `docker rm
-fv $(docker ps -aq --filter label=escrutinio.tests)` deletes them.
"""

from __future__ import annotations

import base64
import io
import secrets
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.types.containers import Ulimit
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from deploy.local import kafka, postgres
from deploy.local.errors import StartFailed
from deploy.local.postgres import DATABASE, OWNER, READER, SUPERUSER, WRITER
from deploy.local.server import HOST, free_port

KAFKA_IMAGE = "apache/kafka:4.4.0"
POSTGRES_IMAGE = "postgres:17"
LABEL = "escrutinio.tests"

_ROLES = (
    Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sh",
    *(postgres.ALONE_SQL, postgres.ROLES_SQL, postgres.DATABASE_SQL),
)
_KAFKA_DATA = "/var/lib/kafka/data"
_READY_WITHIN_S = 120.0
_STOP_WITHIN_S = 30
_POLL_S = 0.05
_LAUNCHES = 5

# Its helper container, which deletes what a dead session left, needs an image of its own and the engine's socket.
testcontainers_config.ryuk_disabled = True


class NoContainers(Exception):
    """Containers cannot be used here; `str()` says why."""


def engine(images: Collection[str]) -> str:
    """Return the engine, such as `Docker 26.1.5`; each image is present or in its registry. Raises NoContainers."""
    try:
        client = DockerClient.from_env(timeout=20)
    except DockerException as error:
        raise NoContainers(f"no Docker engine answers ({_short(error)})") from error
    try:
        if not client.api.base_url.startswith(("http+docker://", "npipe://")):
            raise NoContainers(f"the engine at {client.api.base_url} is another machine's")
        version = client.version()["Version"]
        for image in images:
            _find(client, image)
        return f"Docker {version}"
    except (DockerException, OSError) as error:
        raise NoContainers(f"no Docker engine answers ({_short(error)})") from error
    finally:
        client.close()


def _find(client: DockerClient, image: str) -> None:
    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.get_registry_data(image)
        except APIError as error:
            raise NoContainers(
                f"image {image} is neither on this machine nor in a registry ({_short(error)})"
            ) from error


def _short(error: Exception) -> str:
    said = error.explanation if isinstance(error, APIError) and error.explanation else str(error).partition("(")[0]
    return said.strip(" :")[:120]


class _Container(ABC):
    """One container, created by the first `start`."""

    image: str
    options: ClassVar[Mapping[str, Any]] = {}
    """What the engine is given beside the image's own settings."""

    def __init__(self) -> None:
        self._port = 0
        self._container: DockerContainer | None = None

    @abstractmethod
    def _configured(self) -> DockerContainer:
        """Return the container to be created, for `self._port`."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it serves a client now."""

    @abstractmethod
    def _once_created(self) -> None:
        """Finish the setup, after the first start."""

    def start(self) -> None:
        """Start it and wait until it answers. Raises StartFailed."""
        new = self._container is None
        for launch in range(1, _LAUNCHES + 1):
            try:
                if self._container is None:
                    self._create()
                else:
                    self._docker.start()
            except APIError as error:
                # The port of a killed container is free only once the engine has noticed; a free one may just have
                # gone.
                if "address already in use" not in str(error) and "port is already allocated" not in str(error):
                    raise
                if launch == _LAUNCHES:
                    raise
                time.sleep(launch * 0.5)
            else:
                break
        self._wait_until_ready()
        if new:
            self._once_created()

    def stop(self) -> None:
        """Stop it in good order."""
        self._docker.stop(timeout=_STOP_WITHIN_S)

    def kill(self) -> None:
        """Kill it with SIGKILL. The engine counts this as a manual stop, and does not restart it."""
        self._docker.kill("SIGKILL")
        self._docker.wait()

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def reset(self) -> None:
        """Delete the container and its volumes."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def _create(self) -> None:
        self._port = free_port()
        container = self._configured().with_kwargs(labels={LABEL: ""}, **self.options)
        try:
            container.start()
        except APIError:
            container.stop()
            raise
        self._container = container

    @property
    def _docker(self) -> Any:
        assert self._container is not None, "the server was never started"
        return self._container.get_wrapped_container()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._answers():
            self._docker.reload()
            if self._docker.status != "running" or time.monotonic() > deadline:
                raise StartFailed(
                    f"the container of {self.image} on port {self._port} is {self._docker.status} and does not answer:",
                    self._docker.logs(tail=15).decode(errors="replace").splitlines(),
                )
            time.sleep(_POLL_S)


def _bound(container: DockerContainer, inner: int, outer: int) -> DockerContainer:
    # In the form of the engine's client: `with_bind_ports` has no address, and would bind every address of the machine.
    container.ports[f"{inner}/tcp"] = (HOST, outer)  # type: ignore[assignment]
    return container


def _segment(topic: str, partition: int) -> str:
    return f"{_KAFKA_DATA}/{topic}-{partition}/{0:020}.log"


class ContainerBroker(_Container):
    """A Kafka broker, as the local stack sets one up."""

    image = KAFKA_IMAGE

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self._port}"

    def _configured(self) -> DockerContainer:
        # The same port number inside and outside: the broker reaches itself at the address it advertises to its
        # clients.
        settings = kafka.SETTINGS | {
            "listeners": f"PLAINTEXT://:{self._port},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "controller.quorum.voters": "1@localhost:9093",
            "log.dirs": _KAFKA_DATA,
        }
        container = DockerContainer(self.image).with_envs(
            **{"KAFKA_" + name.replace(".", "_").upper(): value for name, value in settings.items()},
            KAFKA_HEAP_OPTS="-Xms128m -Xmx512m",
            KAFKA_JVM_PERFORMANCE_OPTS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true",
        )
        return _bound(container, self._port, self._port)

    def segment(self, topic: str, partition: int) -> bytes:
        """Return a partition's first log segment as the broker keeps it."""
        # Not by a command within: on a busy machine the engine may lose what a command prints.
        archive, _ = self._docker.get_archive(_segment(topic, partition))
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as files:
            [member] = files.getmembers()
            segment = files.extractfile(member)
            assert segment is not None, member
            return segment.read()

    def overwrite(self, topic: str, partition: int, at: int, written: bytes) -> None:
        """Write over bytes of that segment, in place."""
        script = 'printf %s "$1" | base64 -d | dd of="$2" bs=1 seek="$3" conv=notrunc'
        words = ["sh", "-c", script, "sh", base64.b64encode(written).decode(), _segment(topic, partition), str(at)]
        code, said = self._docker.exec_run(words)
        assert code == 0, said

    def _answers(self) -> bool:
        return kafka.answers(self._port)

    def _once_created(self) -> None:
        """Do nothing: topics are created by the services that own them."""


class ContainerPostgres(_Container):
    """A PostgreSQL with the compose file's roles, created by the compose file's own script."""

    image = POSTGRES_IMAGE
    options: ClassVar = {
        "shm_size": "256m",
        "ulimits": [Ulimit(name="data", soft=postgres.MEMORY_BYTES, hard=postgres.MEMORY_BYTES)],
    }

    def __init__(self) -> None:
        super().__init__()
        self._passwords = {role: secrets.token_urlsafe(18) for role in (SUPERUSER, OWNER, WRITER, READER)}

    def url(self, role: str, database: str = DATABASE) -> str:
        """A `postgresql://` address with its password."""
        return f"postgresql://{role}:{self._passwords[role]}@{HOST}:{self._port}/{database}"

    @property
    def owner_url(self) -> str:
        """The owner's address of the database `escrutinio`."""
        return self.url(OWNER)

    @property
    def writer_url(self) -> str:
        """The writer's."""
        return self.url(WRITER)

    @property
    def reader_url(self) -> str:
        """The reader's."""
        return self.url(READER)

    def create_database(self, name: str, template: str = "template1") -> None:
        """A new database of the owner's, a copy of `template`, to which nobody may be connected."""
        postgres.create_database(self.url(SUPERUSER, "postgres"), name, template)

    def drop_database(self, name: str) -> None:
        """Delete a database, ending whatever is connected to it."""
        postgres.drop_database(self.url(SUPERUSER, "postgres"), name)

    def _configured(self) -> DockerContainer:
        settings = [word for key, value in postgres.SETTINGS.items() for word in ("-c", f"{key}={value}")]
        container = (
            DockerContainer(self.image)
            .with_env("POSTGRES_PASSWORD", self._passwords[SUPERUSER])
            .with_command(["postgres", *settings])
        )
        for file in _ROLES:
            container.with_copy_into_container(file, f"/roles/{file.name}", 0o755)
        for name, role in {"admin": SUPERUSER, "owner": OWNER, "writer": WRITER, "reader": READER}.items():
            secret = self._passwords[role].encode()
            container.with_copy_into_container(secret, f"/run/secrets/postgres_{name}_password", 0o444)
        return _bound(container, 5432, self._port)

    def _once_created(self) -> None:
        code, said = self._docker.exec_run(["/roles/roles.sh"], environment={"PGHOST": "127.0.0.1"})
        assert code == 0, said.decode(errors="replace")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=3):
                return True
        except psycopg.OperationalError:
            return False
