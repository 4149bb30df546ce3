"""What `docker compose config` makes of the compose files: what is published to whom, which images, what is passed on.

Nothing is started; it needs `docker compose` and no engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest

from tests.support.fix_setup import CHECKOUT

ALONE = ("docker-compose.yml",)
CLUSTER = (*ALONE, "deploy/compose.cluster.yml")
TEXT = "".join((CHECKOUT / file).read_text(encoding="utf-8") for file in CLUSTER)
RELEASE = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

Ports = dict[str, tuple[str, int]]


def services(files: tuple[str, ...], **variables: str) -> dict[str, Any]:
    """The services of all profiles, as compose reads the files with these variables and no others of ours."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("ESCRUTINIO_", "COMPOSE_"))}
    words = [word for file in files for word in ("-f", file)]
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("it needs `docker compose`")
    command = ["docker", "compose", "--env-file", os.devnull, *words, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=CHECKOUT, env=given | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["services"])


def published(files: tuple[str, ...], **variables: str) -> Ports:
    """Where each service that publishes a port can be reached from outside the compose network. Each publishes one at
    most."""
    found: Ports = {}
    for name, service in services(files, **variables).items():
        for port in service.get("ports", []):
            assert name not in found
            found[name] = (port.get("host_ip", ""), int(port["published"]))
    return found


def documented() -> dict[str, tuple[int, str, str]]:
    """Port, where it is and what opens it, of each service in the table of docs/security.md."""
    docs = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)`[^|]*\| (\d+) \| ([^|]+) \| ([^|]+) \|$", docs, re.MULTILINE)
    return {service: (int(port), where, opened.strip("`")) for service, port, where, opened in rows}


@pytest.mark.parametrize("files", [ALONE, CLUSTER], ids=["alone", "cluster"])
def test_only_the_documented_ports_are_published_and_on_this_machine_alone(files: tuple[str, ...]) -> None:
    there = {name: row for name, row in documented().items() if files == CLUSTER or row[1] != "cluster"}
    assert published(files) == {name: ("127.0.0.1", port) for name, (port, _, _) in there.items()}


@pytest.mark.parametrize("files", [ALONE, CLUSTER], ids=["alone", "cluster"])
def test_a_variable_opens_what_the_docs_say_it_opens_and_nothing_else(files: tuple[str, ...]) -> None:
    variables = set(re.findall(r"ESCRUTINIO_\w*BIND\b", TEXT)) | {"ESCRUTINIO_BIND"}
    assert "ESCRUTINIO_KAFKA_BIND" in variables
    for variable in sorted(variables):
        opened = {
            name for name, (address, _) in published(files, **{variable: "0.0.0.0"}).items() if address != "127.0.0.1"
        }
        assert opened == {name for name in published(files) if documented()[name][2] == variable}, variable


def test_every_variable_of_the_files_stands_in_the_docs() -> None:
    docs = "".join(
        path.read_text(encoding="utf-8") for path in [*(CHECKOUT / "docs").glob("*.md"), CHECKOUT / "deploy/runbook.md"]
    )
    variables = set(re.findall(r"\$\{(ESCRUTINIO_\w+)", TEXT)) | set(
        re.findall(r"^ +(ESCRUTINIO_\w+): *(?:#.*)?$", TEXT, re.MULTILINE)
    )
    assert {"ESCRUTINIO_KAFKA_2_ADDRESS", "ESCRUTINIO_GROUP"} <= variables
    assert [name for name in sorted(variables) if not re.search(rf"\b{name}\b", docs)] == []


def test_each_broker_tells_its_clients_the_address_that_it_was_given() -> None:
    given = {
        "ESCRUTINIO_KAFKA_ADDRESS": "one:1",
        "ESCRUTINIO_KAFKA_2_ADDRESS": "two:2",
        "ESCRUTINIO_KAFKA_3_ADDRESS": "three:3",
    }
    found = services(CLUSTER, **given)
    told = [found[name]["environment"]["KAFKA_ADVERTISED_LISTENERS"] for name in ("kafka", "kafka-2", "kafka-3")]
    assert [re.findall(r"EXTERNAL://([^,]+)", one) for one in told] == [["one:1"], ["two:2"], ["three:3"]]


def test_our_images_have_the_releases_number_or_the_one_that_is_asked_for() -> None:
    for variables, number in (({}, RELEASE), ({"ESCRUTINIO_VERSION": "0.0.9"}, "0.0.9")):
        found = services(CLUSTER, **variables)
        ours = {name: service for name, service in found.items() if service["image"].startswith("escrutinio-")}
        assert {"topics", "grants", "migrate", "ingest", "aggregator", "api", "mirror", "audit", "monitor"} == set(ours)
        assert {service["image"].rpartition(":")[2] for service in ours.values()} == {number}
        assert {s["build"]["args"]["VERSION"] for s in ours.values() if "build" in s} == {number}


def test_a_group_reaches_the_aggregator_where_one_is_named_and_only_there() -> None:
    names = ("ESCRUTINIO_GROUP", "ESCRUTINIO_SESSION_TIMEOUT")
    for given in ({}, {"ESCRUTINIO_GROUP": "escrutinio-night", "ESCRUTINIO_SESSION_TIMEOUT": "20"}):
        passed = services(ALONE, **given)["aggregator"]["environment"]
        assert [passed[name] for name in names] == [given.get(name) for name in names]


def test_the_log_of_every_service_has_a_bound() -> None:
    bounds = {name: service.get("logging") for name, service in services(CLUSTER).items()}
    assert set(bounds) >= {"kafka-3", "postgres-replica", "replication", "grafana"}
    wanted = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert [name for name, bound in bounds.items() if bound != wanted] == []


UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def test_every_service_has_limits_of_memory_processors_processes_and_of_what_it_keeps_in_memory() -> None:
    for name, service in services(CLUSTER).items():
        memory = int(service["mem_limit"])
        assert 64 * UNITS["m"] <= memory <= 2 * UNITS["g"], name
        assert 0 < float(service["cpus"]) <= 2, name
        assert 0 < int(service["pids_limit"]) <= 500, name
        sizes = re.findall(r"\bsize=(\d+)([bkmg])", " ".join(service["tmpfs"]))
        assert len(sizes) == len(service["tmpfs"]) > 0, f"{name}: a tmpfs of no size takes half the machine"
        assert sum(int(size) * UNITS[unit] for size, unit in sizes) <= memory / 2, name


def test_every_service_runs_as_a_user_that_is_a_number_and_not_root() -> None:
    users = {name: service["user"] for name, service in services(CLUSTER).items()}
    assert {name: user for name, user in users.items() if not re.fullmatch(r"[1-9]\d*:\d+", user)} == {}
    dockerfile = (CHECKOUT / "deploy/images/Dockerfile").read_text(encoding="utf-8")
    assert {users["ingest"]} == set(re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE))


def test_every_image_is_named_by_version_and_by_digest_where_one_is_given() -> None:
    assert all(re.search(r":v?\d[\w.]*$", s["image"]) for s in services(CLUSTER).values())
    digests = {name: f"@sha256:{number:064}" for number, name in enumerate(DIGESTS)}
    found = services(CLUSTER, **digests)
    unpinned = {s["image"] for s in found.values() if "@sha256:" not in s["image"]}
    assert {image.partition("-")[0] for image in unpinned} == {"escrutinio"}, "all but our own, which are built here"
    builds = [service["build"]["args"] for service in found.values() if "build" in service]
    assert {args["BASE_DIGEST"] for args in builds} == {digests["ESCRUTINIO_PYTHON_DIGEST"]}
    dockerfile = (CHECKOUT / "deploy/images/Dockerfile").read_text(encoding="utf-8")
    bases = {line for line in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) if ":" in line}
    assert bases == {"python:3.13-slim${BASE_DIGEST}"}


DIGESTS = sorted(set(re.findall(r"ESCRUTINIO_\w+_DIGEST", TEXT)))


def test_grafana_reaches_prometheus_and_no_data() -> None:
    networks = {name: set(service["networks"]) for name, service in services(CLUSTER).items()}
    others = {name for name, its in networks.items() if its & networks["grafana"] and name != "grafana"}
    assert others == {"prometheus"}
