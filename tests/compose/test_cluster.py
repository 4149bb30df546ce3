"""deploy/compose.cluster.yml: what only three brokers and a second database can show.

A broker killed in the middle of a load, and another one after it; the replica of the database. That a single broker is
killed and comes back is shown in test_compose. The sheets are made up: enough of them for a load to be going on when
the broker is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.compose.conftest import Project
from tests.support.fix_setup import CONTEST, EXAMPLE, Setup
from tests.support.ingest_samples import many_sheets
from tests.support.servers import Broker

BROKERS = {1: "kafka", 2: "kafka-2", 3: "kafka-3"}
SHEETS = 16_000


@pytest.fixture(scope="module")
def cluster(new_project: Callable[..., Project]) -> Project:
    """Three brokers and a replica, all of it healthy."""
    cluster = new_project("deploy/compose.cluster.yml")
    cluster.up()
    return cluster


def described(cluster: Project) -> str:
    """What Kafka's own tool prints of the log, called as in the runbook: a newsroom may not read a topic's settings."""
    tool = ["/opt/kafka/bin/kafka-topics.sh", "--command-config", "/mnt/shared/config/broker-client.properties"]
    which = ["--bootstrap-server", "kafka:9091", "--describe", "--topic", "results.events"]
    return cluster.compose("exec", "-T", "kafka", *tool, *which)


def is_healthy(cluster: Project, number: int, asked: str) -> bool:
    """Whether broker `asked` counts broker `number` among the live ones: the health check, with another's number."""
    (container,) = cluster.containers(asked)
    check = ["bash", "/mnt/shared/config/healthcheck"]
    code, output = container.exec_run(check, environment={"KAFKA_NODE_ID": str(number)})
    assert code == 0 or b"it is fenced or not registered" in output
    return bool(code == 0)


@contextmanager
def held(cluster: Project, service: str) -> Iterator[None]:
    """Stop the service's processes by signal and let them go on afterwards.

    All but the container's first process, which is the engine's own (`init: true`): the engine's `pause` fails now and
    then for a container that is short of processor time.
    """
    (container,) = cluster.containers(service)
    container.exec_run(["sh", "-c", "kill -STOP -1"])
    try:
        yield
    finally:
        container.exec_run(["sh", "-c", "kill -CONT -1"])


@pytest.mark.soak
def test_brokers_killed_in_the_middle_of_a_load_cost_no_event(
    cluster: Project, kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    bulletins, sheets = EXAMPLE / "updates.csv", many_sheets(tmp_path / "sheets.csv", SHEETS)
    late = many_sheets(tmp_path / "late.csv", 100, first=SHEETS + 1)
    stated, loaded, whole = new_setup(kafka_server).digests_after([bulletins, sheets, late])
    cluster.put(bulletins)
    cluster.until(partial(cluster.counted, stated), "the bulletins are in the count")
    already = cluster.end_of_log()
    settings = described(cluster)
    assert "ReplicationFactor: 3" in settings
    assert "min.insync.replicas=2" in settings
    cluster.until(lambda: cluster.log()[1] == set(BROKERS), "all three brokers are in sync")
    first, _ = cluster.log()

    cluster.put(sheets)
    cluster.until(lambda: cluster.end_of_log() > already, "a load is going on")
    with held(cluster, "ingest"):
        assert already < cluster.end_of_log() < already + SHEETS, "the load is still going on"
        cluster.docker("kill", cluster.inspect(BROKERS[first])["Id"])  # the engine does not restart it: a manual stop
    cluster.until(partial(cluster.counted, loaded), "two brokers take in and give out the whole load")
    assert cluster.end_of_log() == already + SHEETS, "each event is there once"
    second, in_sync = cluster.log()
    assert second in in_sync == set(BROKERS) - {first}
    assert is_healthy(cluster, second, BROKERS[second])
    assert not is_healthy(cluster, first, BROKERS[second])

    # Of three copies two are needed: with one broker nothing is acknowledged, and ingest waits.
    cluster.docker("kill", cluster.inspect(BROKERS[second])["Id"])
    killed_at = time.time()
    cluster.put(late)
    cluster.until(partial(cluster.said, "still trying", "ingest", killed_at), "ingest says that it waits")
    assert not cluster.counted(whole)
    cluster.compose("start", BROKERS[first], BROKERS[second])
    cluster.until(partial(cluster.counted, whole), "what came while two were away is in the count")
    cluster.until(lambda: cluster.log()[1] == set(BROKERS), "the two have what they missed")
    cluster.compose("exec", "-T", "aggregator", "escrutinio-aggregator", "verify", CONTEST)
    assert [cluster.inspect(name)["RestartCount"] for name in ("ingest", "aggregator")] == [0, 0]


def test_the_replica_of_the_database_answers_readers_and_refuses_writes(cluster: Project) -> None:
    def answer(url: str) -> object:
        command = ["escrutinio-aggregator", "status", "--reader-url", url]
        return cluster.answer("aggregator", *command)

    url = (cluster.checkout / "secrets" / "escrutinio_reader_url").read_text(encoding="ascii")
    replica = url.replace("@postgres/", "@postgres-replica/")
    assert replica != url
    cluster.until(lambda: answer(replica) == answer(url) is not None, "both answer the same")
    psql = ["exec", "-T", "postgres-replica", "psql", "-U", "postgres", "-d", "escrutinio", "-c"]
    cluster.compose(*psql, "SELECT count(*) FROM checking.cursor")
    cluster.compose(*psql, "CREATE TABLE written ()", expect=1)
