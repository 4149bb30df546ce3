"""docker-compose.yml: the 48 updates through the watched folder, every part killed meanwhile; and what it lets in.

The tests share one project, whatever their order: each leaves it healthy. That `down` leaves nothing is checked at its
end.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from schemas.codec import SCHEMAS
from tests.compose.conftest import REVISION, Project
from tests.compose.test_files import RELEASE
from tests.support.fix_setup import CHECKOUT, CONTEST, EXAMPLE, Setup
from tests.support.servers import Broker

NINETEEN_TWENTY_THREE = "2021-06-08T00:23:00Z"
KILLED = ("kafka", "postgres", "ingest", "aggregator")


def parts_of(table: Path, folder: Path) -> list[Path]:
    """The table in parts: first the rows up to 19:23, then the others in as many as there are services to kill."""
    header, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(number for number, row in enumerate(rows, 1) if NINETEEN_TWENTY_THREE in row)
    ends = [0] + [first + (len(rows) - first) * number // len(KILLED) for number in range(len(KILLED) + 1)]
    parts = [folder / f"to-row-{end}.csv" for end in ends[1:]]
    for part, (start, end) in zip(parts, pairwise(ends), strict=True):
        part.write_text("".join([header, *rows[start:end]]), encoding="utf-8")
    return parts


def test_the_night_goes_on_while_everything_is_killed_in_turn(
    project: Project, kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    parts = parts_of(EXAMPLE / "updates.csv", tmp_path)
    assert [part.name for part in parts] == [f"to-row-{row}.csv" for row in (27, 32, 37, 42, 48)]
    digests = new_setup(kafka_server).digests_after(parts)
    assert len(set(digests)) == len(parts)

    project.put(parts[0])
    project.until(partial(project.counted, digests[0]), "the updates up to 19:23 are in the count")
    for service, part, digest in zip(KILLED, parts[1:], digests[1:], strict=True):
        restarts = {other: project.inspect(other)["RestartCount"] for other in KILLED if other != service}
        before = project.crash(service)
        project.put(part)
        project.until(partial(project.recovered, service, before), f"{service} is healthy again by itself")
        project.until(partial(project.counted, digest), f"what came while {service} was killed is in the count")
        assert restarts == {other: project.inspect(other)["RestartCount"] for other in restarts}, "the others stayed up"

    show = ["escrutinio", "show", CONTEST, "--at-reported", NINETEEN_TWENTY_THREE]
    votes = {one["selection_id"]: one["votes"] for one in project.answer("aggregator", *show)["selections"]}
    assert votes == {"peru-libre": 8_548_929, "fuerza-popular": 8_457_547}
    project.compose("exec", "-T", "aggregator", "escrutinio-aggregator", "verify", CONTEST)


def test_asked_to_stop_the_services_end_in_good_order(project: Project) -> None:
    services = ("ingest", "aggregator", "api")
    project.compose("stop", *services)
    try:
        # After the grace period it would be 137.
        assert [project.inspect(service)["State"]["ExitCode"] for service in services] == [0, 0, 0]
    finally:
        project.up("--no-deps", *services)


def test_nothing_runs_as_root(project: Project) -> None:
    for service in project.running():
        (container,) = project.containers(service)
        processes = container.top(ps_args="-eo uid,pid,args")["Processes"]
        assert processes
        assert [process for process in processes if process[0] == "0"] == [], service


def test_an_image_is_not_written_to(project: Project) -> None:
    assert all(project.inspect(service)["HostConfig"]["ReadonlyRootfs"] for service in project.running())
    for service in ("ingest", "aggregator", "api"):
        project.compose("exec", "-T", service, "python3", "-c", "open('/tmp/written', 'w')")
        project.compose("exec", "-T", "--user", "0", service, "python3", "-c", "open('/written', 'w')", expect=1)


def test_an_image_tells_its_release_and_from_what_it_was_built(project: Project) -> None:
    for image in project.built:
        labels = json.loads(project.docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
        told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
        assert told["title"] in image
        assert (told["version"], told["revision"], told["licenses"]) == (RELEASE, REVISION, "Apache-2.0")
        assert "source" in told


def test_containers_made_anew_have_no_volume_without_a_name(project: Project) -> None:
    jobs = ["topics", "grants", "roles", "migrate"]
    project.compose("up", "-d", "--force-recreate", "--no-deps", *jobs)
    project.until(lambda: all(project.inspect(job)["State"]["Status"] == "exited" for job in jobs), "they have ended")
    assert {job: project.inspect(job)["State"]["ExitCode"] for job in jobs} == dict.fromkeys(jobs, 0)
    for service in [*project.running(), *jobs]:
        volumes = [mount["Name"] for mount in project.inspect(service)["Mounts"] if mount["Type"] == "volume"]
        assert [name for name in volumes if not name.startswith(project.name)] == [], service


def test_two_aggregators_share_the_log_where_a_group_is_named(project: Project) -> None:
    settings = project.checkout / ".env"
    settings.write_text("ESCRUTINIO_GROUP=escrutinio-test\n", encoding="ascii")
    try:
        project.up("--no-deps", "--scale", "aggregator=2", "aggregator")
        both = project.containers("aggregator")
        assert len(both) == 2
        project.until(
            lambda: (
                "partitions assigned to this member of group escrutinio-test: 0"
                in project.compose("logs", "aggregator")
            ),
            "one has the log",
        )
        found = json.loads(project.docker("inspect", *(container.id for container in both)))
        assert [(one["RestartCount"], one["State"]["Health"]["Status"]) for one in found] == [(0, "healthy")] * 2
    finally:
        settings.unlink()
        project.up("--no-deps", "aggregator")


def test_prometheus_sees_the_services_and_says_that_ingest_is_gone(project: Project) -> None:
    """Scraped and evaluated every second, so that a rule soon knows of a change."""
    project.stand_in("prometheus", Path(__file__).parent / "prometheus.Dockerfile")
    config = project.checkout / "deploy/observability/prometheus.yml"
    often, changed = re.subn(r"_(interval|timeout): \d+s", r"_\1: 1s", config.read_text(encoding="utf-8"))
    assert changed == 3
    config.write_text(often, encoding="utf-8")

    def told(what: str) -> Any:
        with urlopen(
            f"http://127.0.0.1:{project.ports['ESCRUTINIO_PROMETHEUS_PORT']}/api/v1/{what}", timeout=10
        ) as answer:
            return json.load(answer)["data"]

    def scraped() -> dict[str, str]:
        return {one["labels"]["job"]: one["health"] for one in told("targets")["activeTargets"]}

    def active() -> set[str]:
        return {one["labels"]["alertname"] for one in told("alerts")["alerts"]}  # pending, or firing after a minute

    try:
        project.up("--no-deps", "prometheus", "monitor")
        groups = yaml.safe_load((CHECKOUT / "deploy/observability/alerts.yml").read_text(encoding="utf-8"))["groups"]
        assert {group["name"] for group in told("rules")["groups"]} == {group["name"] for group in groups}
        jobs = ("ingest", "aggregator", "monitor", "api")
        project.until(lambda: scraped() == dict.fromkeys(jobs, "up"), "the services are scraped")
        gone = {"IngestDown", "SourceDead"}
        project.until(lambda: active().isdisjoint(gone), "nothing is said of ingest")
        project.compose("stop", "ingest")
        # Before the first scrape the rules say it of every service: it has to be said of ingest, and of the other no
        # longer.
        project.until(lambda: active() & {*gone, "AggregatorDown"} == gone, "two rules say that ingest alone is gone")
    finally:
        project.compose("--profile", "observability", "rm", "--stop", "--force", "prometheus", "monitor")
        project.up("--no-deps", "ingest")


def test_the_schemas_can_be_asked_for(project: Project) -> None:
    url = f"http://127.0.0.1:{project.ports['ESCRUTINIO_API_PORT']}/schemas/ids"
    for schema in SCHEMAS.values():
        with urlopen(f"{url}/{schema.id}/schema", timeout=10) as answer:
            assert hashlib.sha256(answer.read()).hexdigest() == schema.sha256


def test_only_what_the_docs_say_can_be_reached_and_from_this_machine_alone(project: Project) -> None:
    docs = (CHECKOUT / "docs" / "operate.md").read_text(encoding="utf-8")
    published = {
        (bound["HostIp"], int(bound["HostPort"]))
        for service in project.running()
        for bounds in project.inspect(service)["NetworkSettings"]["Ports"].values()
        for bound in bounds or ()
    }
    assert published == {("127.0.0.1", port) for name, port in project.ports.items() if f"`{name}`" in docs}
    outside = address_outside()
    for _, port in published:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        if outside is not None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((outside, port), timeout=5)


def address_outside() -> str | None:
    """This machine's address in a network, if it has one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address
