"""The compose tier: docker-compose.yml itself, driven as a person drives it, on a container engine of this machine.

Each project runs from a copy of the checkout's files, under a name, ports and secrets of its own, on images that are
built once a session, so that it meets neither a stack that runs from this checkout nor another session's. What can be
asked from outside (log, tables, engine) is asked from this process: a command in a container costs seconds of a
processor. Without an engine the tier is skipped, and the reason is shown.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from docker.client import DockerClient
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import KafkaError

from deploy.local.server import free_port
from results.cli import main as escrutinio
from runtime.kafka import access
from schemas.topics import EVENTS
from tests.support.containers import KAFKA_IMAGE, POSTGRES_IMAGE, NoContainers, engine
from tests.support.fix_setup import CHECKOUT, CONTEST
from tests.support.waiting import WITHIN_S

BASE_IMAGE = "python:3.13-slim"
REVISION = "of-a-test"
"""The revision the images are built with: the same in each session, so that each builds from the layers of the last
one."""
NEWSROOM = "newsroom-test"
"""Who reads each project's log from outside."""

_JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true"
"""A short life on one machine: brokers start fast rather than run fast."""
_OURS = "label=com.docker.compose.project="
# What a copy of the checkout leaves behind: what the tools, the local stack and a person's own compose made in it.
_NOT_COPIED = shutil.ignore_patterns(".*cache", ".git", ".venv", ".local", ".env", "secrets", "updates", "__pycache__")


class Project:
    """One compose project, in a copy of the checkout below `root`."""

    def __init__(self, root: Path, files: Sequence[str] = (), images: str | None = None) -> None:
        """`files`: overlays, as paths in the checkout. `images`: what the names of our images begin with; else the
        project's name."""
        self.name = f"escrutinio-test-{uuid.uuid4().hex[:8]}"
        self.checkout = root / "checkout"
        self.updates = self.checkout / "updates"
        shutil.copytree(CHECKOUT, self.checkout, ignore=_NOT_COPIED)
        self.files = ["docker-compose.yml", *files]
        text = "".join((self.checkout / file).read_text(encoding="utf-8") for file in self.files)
        self.ports: dict[str, int] = {}
        for name in sorted(set(re.findall(r"ESCRUTINIO_\w*PORT\b", text))):
            self.ports[name] = free_port(self.ports.values())
        addresses = {name.replace("_PORT", "_ADDRESS"): f"127.0.0.1:{port}" for name, port in self.ports.items()}
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("ESCRUTINIO_", "COMPOSE_"))}
        self._environment = mine | addresses | {name: str(port) for name, port in self.ports.items()}
        self._environment["ESCRUTINIO_REVISION"] = REVISION
        self._environment["ESCRUTINIO_POSTGRES_USER"] = _postgres_user()
        self._environment["ESCRUTINIO_CLUSTER_NET"] = f"10.{random.randint(64, 127)}.{random.randint(0, 255)}"
        self._brokers = ",".join(address for name, address in addresses.items() if "_KAFKA" in name)
        self._prefix = images or self.name
        self._engine = DockerClient.from_env()
        self._stand_ins: list[str] = []

    def set_up(self) -> None:
        """Do what the docs say to do once, before the first `up`; and give our images the session's own names."""
        self._nameless = self._nameless_volumes()
        self.updates.mkdir()
        secrets = [sys.executable, "-m", "deploy.secrets", "--external", self._brokers, NEWSROOM]
        subprocess.run(secrets, cwd=self.checkout, env=self._environment, check=True)
        services = json.loads(self.compose("--profile", "*", "config", "--format", "json"))["services"]
        built = {service["image"] for service in services.values() if "build" in service}
        named = {name: f"{self._prefix}-{one['image']}" for name, one in services.items() if one["image"] in built}
        brokers = [name for name, one in services.items() if one["image"] == KAFKA_IMAGE]
        overlay = {name: {"image": image} for name, image in named.items()} | {
            name: {"environment": {"KAFKA_JVM_PERFORMANCE_OPTS": _JVM}} for name in brokers
        }
        (self.checkout / "tests.json").write_text(json.dumps({"services": overlay}), encoding="utf-8")
        self.files.append("tests.json")
        self.built = sorted(set(named.values()))

    def stand_in(self, service: str, dockerfile: Path) -> None:
        """Give the service an image made from this file, where its own is not here and no registry gives it. Skips the
        test where that cannot be made either.
        """
        own = json.loads(self.compose("--profile", "*", "config", "--format", "json"))["services"][service]["image"]
        try:
            engine([own])
        except NoContainers as missing:
            image = f"{self.name}-{service}"
            done = self._run("build", "--quiet", "--tag", image, "--file", str(dockerfile), str(dockerfile.parent))
            if done.returncode != 0:
                pytest.skip(f"{missing}, and a stand-in cannot be built: {done.stderr.strip()[-200:]}")
            (self.checkout / f"{service}.json").write_text(json.dumps({"services": {service: {"image": image}}}))
            self.files.append(f"{service}.json")
            self._stand_ins.append(image)

    def compose(self, *words: str, expect: int = 0) -> str:
        """Run `docker compose …` to its end; its standard output. Fails the test on another exit code."""
        done = self._compose(*words)
        assert done.returncode == expect, f"{done.args}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def docker(self, *words: str) -> str:
        """Run `docker …`; its standard output."""
        done = self._run(*words)
        assert done.returncode == 0, f"{done.args}: exit code {done.returncode}\n{done.stderr}"
        return done.stdout

    def up(self, *services: str) -> None:
        """`up -d --wait`. Fails the test, with the services' last lines and what their health checks said, where one is
        not healthy."""
        done = self._compose("up", "-d", "--wait", "--wait-timeout", str(int(WITHIN_S)), *services)
        if done.returncode != 0:
            states = [container.attrs["State"] for container in self.containers(*services)]
            said = [check["Output"] for state in states for check in state.get("Health", {"Log": []})["Log"][-1:]]
            pytest.fail("\n".join([done.stderr[-1000:], *said, self.compose("logs", "--tail", "15")]))

    def down(self) -> None:
        """Stop everything and delete it, and its own stand-ins."""
        self.compose("--profile", "*", "down", "-v", "--remove-orphans", "--timeout", "1")
        for image in self._stand_ins:
            self._engine.images.remove(image, force=True)
        if "admin" in self.__dict__:
            self.admin.close()
        self._engine.close()

    def left(self) -> list[str]:
        """Return the project's containers, volumes and networks, and the anonymous volumes, which have no project:
        those that no container uses and that did not exist before.
        """
        which = ["--filter", _OURS + self.name, "-q"]
        found = [
            self.docker("ps", "-a", *which),
            self.docker("volume", "ls", *which),
            self.docker("network", "ls", *which),
        ]
        return [*" ".join(found).split(), *sorted(self._nameless_volumes() - self._nameless)]

    def _nameless_volumes(self) -> set[str]:
        which = ["--filter", "dangling=true", "--filter", "label=com.docker.volume.anonymous", "-q"]
        return set(self.docker("volume", "ls", *which).split())

    def containers(self, *services: str) -> list[Any]:
        """The containers there are of these services, or of all, running or not, as the engine's client hands them
        out."""
        found = self._engine.containers.list(all=True, filters={"label": f"com.docker.compose.project={self.name}"})
        label = "com.docker.compose.service"
        return [one for one in found if not services or one.labels[label] in services]

    def running(self) -> list[str]:
        """The services that run now."""
        found = {one.labels["com.docker.compose.service"] for one in self.containers() if one.status == "running"}
        return sorted(found)

    def inspect(self, service: str) -> Any:
        """What the engine knows of the service's one container, running or not."""
        (container,) = self.containers(service)
        return container.attrs

    def said(self, text: str, service: str, since: float) -> bool:
        """Whether a container of the service has printed this text since a moment (Unix time)."""
        return any(text.encode() in container.logs(since=since) for container in self.containers(service))

    def answer(self, service: str, *command: str) -> Any:
        """The JSON that a command in the service's container prints; None when it fails."""
        done = self._compose("exec", "-T", service, *command, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def counted(self, digest: str) -> bool:
        """Whether the contest's digest, as `escrutinio show` prints it on this machine, is this one."""
        url = (self.checkout / "secrets" / "escrutinio_reader_url").read_text(encoding="ascii")
        outside = url.replace("@postgres/", f"@127.0.0.1:{self.ports['ESCRUTINIO_POSTGRES_PORT']}/")
        shown = CliRunner().invoke(escrutinio, ["show", CONTEST, "--reader-url", outside, "--json"])
        return shown.exit_code == 0 and json.loads(shown.stdout)["digest"] == digest

    @cached_property
    def admin(self) -> Any:
        """An admin client on the brokers' listener for others, as a newsroom. It is closed with the project."""
        return access.read(self.checkout / "secrets" / "kafka" / f"{NEWSROOM}.properties").open(KafkaAdminClient)

    def log(self) -> tuple[int, set[int]]:
        """Who leads the partition of the log, by number, and who is in sync; -1 and nobody while no broker knows."""
        try:
            (topic,) = self.admin.describe_topics([EVENTS.name])
        except KafkaError:
            return -1, set()
        (partition,) = topic["partitions"]
        return partition["leader_id"], set(partition["isr_nodes"])

    def end_of_log(self) -> int:
        """The offset after the last event of the log."""
        partition = TopicPartition(EVENTS.name, 0)
        return int(self.admin.list_partition_offsets({partition: OffsetSpec.LATEST})[partition].offset)

    def put(self, document: Path) -> None:
        """Put a copy of the document into the watched folder, by renaming it."""
        name = f"{len(list(self.updates.iterdir())):02}{document.suffix}"
        shutil.copy(document, self.checkout / name)
        (self.checkout / name).rename(self.updates / name)

    def crash(self, service: str) -> int:
        """Kill the container's main process with SIGKILL. Returns how often the engine had restarted it before.

        From outside, like an accident: after `docker kill` the engine restarts nothing. Another container kills, since
        the process may run in a virtual machine of the engine's.
        """
        found = self.inspect(service)
        kill = ["run", "--rm", "--pid=host", "--user=0", "--network=none", "--entrypoint=kill", POSTGRES_IMAGE]
        self.docker(*kill, "-9", str(found["State"]["Pid"]))
        return int(found["RestartCount"])

    def recovered(self, service: str, restarts: int) -> bool:
        """Return whether the engine has restarted it since, and it is healthy."""
        found = self.inspect(service)
        return (found["RestartCount"] > restarts, found["State"]["Health"]["Status"]) == (True, "healthy")

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until `true()`. Fails the test with the services' last lines when it does not become so."""
        deadline = time.monotonic() + WITHIN_S
        while not true():
            if time.monotonic() > deadline:
                pytest.fail(
                    f"after {WITHIN_S:.0f} s it still does not hold that {what}\n{self.compose('logs', '--tail', '15')}"
                )
            time.sleep(0.1)

    def _compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        files = [word for file in self.files for word in ("-f", file)]
        return self._run("compose", "--progress", "plain", "-p", self.name, *files, *words)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words], cwd=self.checkout, env=self._environment, capture_output=True, text=True, check=False
        )


@cache
def _postgres_user() -> str:
    """Return user and group of the image's postgres: a stand-in's numbers are others than the official image's."""
    ids = ["run", "--rm", "--network=none", "--entrypoint=sh", POSTGRES_IMAGE, "-c"]
    command = ["docker", *ids, 'echo "$(id -u postgres):$(id -g postgres)"']
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """Return the engine's name. Skips the test where there is none."""
    try:
        answers = engine([BASE_IMAGE, KAFKA_IMAGE, POSTGRES_IMAGE])
    except NoContainers as missing:
        pytest.skip(f"the compose tier needs a container engine: {missing}")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the compose tier needs `docker compose`")
    return answers


@pytest.fixture(scope="session")
def images(docker_engine: str, new_root: Callable[[], Path]) -> Iterator[str]:  # noqa: ARG001
    """What the names of the session's images begin with: built once, from the checkout as it is, and deleted at the
    end."""
    builder = Project(new_root())
    builder.set_up()
    builder.compose("--profile", "*", "build", "--quiet")
    yield builder.name
    builder.docker("rmi", "-f", *builder.built)


@pytest.fixture(scope="module")
def new_project(images: str, new_root: Callable[[], Path]) -> Iterator[Callable[..., Project]]:
    """Makes projects, set up; `down` at the end, which may leave nothing."""
    made: list[Project] = []

    def make(*files: str) -> Project:
        project = Project(new_root(), files, images)
        project.set_up()
        made.append(project)
        return project

    yield make
    for project in made:
        project.down()
    assert [project.left() for project in made] == [[] for _ in made]


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    """The compose file as it is, all of it healthy."""
    project = new_project()
    project.up()
    return project
