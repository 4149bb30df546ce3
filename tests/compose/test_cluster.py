"""deploy/compose.cluster.yml: brokers killed and restarted in the middle of a load, and the copy of the database.

What is loaded is made up: sheets of the example's contest, enough of them for a load to be still going on when it is disturbed.
"""

from __future__ import annotations

import re
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
"""In each of six documents."""


@pytest.fixture(scope="module")
def cluster(new_project: Callable[..., Project]) -> Project:
    """Three brokers and a replica, all of it healthy."""
    cluster = new_project("deploy/compose.cluster.yml")
    cluster.up()
    return cluster


def described(cluster: Project, broker: str, *which: str) -> str:
    """What a broker says of topics, asked by its own name with Kafka's own tool, as in the runbook: `kafka` may be any of them."""
    tool = ["/opt/kafka/bin/kafka-topics.sh", "--command-config", "/mnt/shared/config/broker-client.properties"]
    name = "kafka-1" if broker == "kafka" else broker
    return cluster.compose("exec", "-T", broker, *tool, "--bootstrap-server", f"{name}:9091", "--describe", *which)


def leader(cluster: Project) -> int:
    """The number of the broker that leads the log's partition, as all of them say."""
    found = set()
    for broker in BROKERS.values():
        told = described(cluster, broker, "--topic", "results.events")
        assert "ReplicationFactor: 3" in told
        assert "min.insync.replicas=2" in told
        found |= set(re.findall(r"Leader: (\d)", told))
    (number,) = found
    return int(number)


def end_of_log(cluster: Project) -> int:
    """How many events are on the log; waits for a broker that knows."""
    known: list[int] = []

    def told() -> bool:
        status = cluster.answer("aggregator", "escrutinio-aggregator", "status")
        known.extend(one["end_offset"] for one in (status or {"partitions": []})["partitions"] if one["end_offset"])
        return bool(known)

    cluster.until(told, "a broker says how long the log is")
    return known[-1]


def cursor(cluster: Project) -> int:
    """How many events are in the count, from the database: quicker told than the end of the log."""
    ask = ["psql", "-h", "/var/run/postgresql", "-U", "postgres", "-d", "escrutinio", "-tAc"]
    return int(cluster.compose("exec", "-T", "postgres", *ask, "SELECT next_offset FROM results.cursor"))


@contextmanager
def held(cluster: Project, service: str) -> Iterator[None]:
    """The service stands still, so that where it was can be looked at.

    By signal, to all but the container's first process, which is the engine's own (`init: true`): its `pause` fails now and then
    for a container that is short of processor time.
    """
    cluster.compose("exec", "-T", service, "sh", "-c", "kill -STOP -1")
    try:
        yield
    finally:
        cluster.compose("exec", "-T", service, "sh", "-c", "kill -CONT -1")


@contextmanager
def slow(cluster: Project, service: str) -> Iterator[None]:
    """The service gets a small part of a processor: what it does goes on for longer than it takes to look and to kill, on any machine."""
    container = cluster.inspect(service)["Id"]
    cluster.docker("update", "--cpus", "0.1", container)
    yield
    cluster.docker("update", "--cpus", "1", container)


def is_whole(cluster: Project, broker: str) -> bool:
    """Whether the broker is healthy and, as far as it knows, every record is on all three."""
    healthy = cluster.inspect(broker)["State"]["Health"]["Status"] == "healthy"
    return healthy and described(cluster, broker, "--under-replicated-partitions").strip() == ""


def test_brokers_killed_and_restarted_in_the_middle_of_a_load_cost_no_event(
    cluster: Project, kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    documents = [many_sheets(tmp_path / f"{n}.csv", SHEETS, first=n * SHEETS + 1) for n in range(6)]
    bulletins = EXAMPLE / "updates.csv"
    stated, *digests = new_setup(kafka_server).digests_after([bulletins, *documents])
    cluster.put(bulletins)
    cluster.until(partial(cluster.counted, stated), "the bulletins are in the count")
    already = end_of_log(cluster)

    def begun(number: int) -> bool:
        """Whether some of this document is in the count."""
        return cursor(cluster) > already + number * SHEETS

    first = leader(cluster)
    for number, struck in enumerate((first % 3 + 1, first)):
        assert leader(cluster) == first
        with slow(cluster, "ingest"):
            cluster.put(documents[number])
            cluster.until(partial(begun, number), "a load is going on")
            before = cluster.crash(BROKERS[struck])
            with held(cluster, "ingest"):
                assert end_of_log(cluster) < already + (number + 1) * SHEETS, "it is still going on"
        cluster.until(
            partial(cluster.recovered, BROKERS[struck], before), f"broker {struck} is healthy again by itself"
        )
        cluster.until(partial(cluster.counted, digests[number]), "what came meanwhile is in the count")

    # On purpose, or the engine would start them again before ingest had to wait for long.
    away = [BROKERS[first], BROKERS[first % 3 + 1]]
    with slow(cluster, "ingest"):
        cluster.put(documents[2])
        cluster.until(partial(begun, 2), "a load is going on")
        cluster.compose("kill", *away)
    cluster.until(
        lambda: "still trying" in cluster.compose("logs", "ingest", "--tail", "3"), "ingest says that it waits"
    )
    assert not cluster.counted(digests[2])
    cluster.compose("start", *away)
    cluster.until(partial(cluster.counted, digests[2]), "what came while two were away is in the count")

    # As the runbook upgrades brokers: one after the other, who leads the log last, each whole before the next.
    for broker in BROKERS.values():
        cluster.until(partial(is_whole, cluster, broker), f"{broker} knows of no record that another misses")
    first = leader(cluster)
    order = [*(number for number in BROKERS if number != first), first]
    for number, restarted in enumerate(order, 3):
        with slow(cluster, "ingest"):
            cluster.put(documents[number])
            cluster.until(partial(begun, number), "a load is going on")
            with held(cluster, "ingest"):
                assert end_of_log(cluster) < already + (number + 1) * SHEETS, "it is still going on"
            cluster.compose("restart", BROKERS[restarted])
        cluster.until(partial(is_whole, cluster, BROKERS[restarted]), f"broker {restarted} has what it missed")
    cluster.until(partial(cluster.counted, digests[-1]), "what came meanwhile is in the count")
    cluster.compose("exec", "-T", "aggregator", "escrutinio-aggregator", "verify", CONTEST)
    assert [cluster.inspect(name)["RestartCount"] for name in ("ingest", "aggregator")] == [0, 0]


def test_the_copy_of_the_database_answers_readers_and_takes_no_writes(cluster: Project) -> None:
    def answer(url: str) -> object:
        command = ["escrutinio-aggregator", "status", "--reader-url", url]
        return cluster.answer("aggregator", *command)

    url = (cluster.checkout / "secrets" / "escrutinio_reader_url").read_text(encoding="ascii")
    copy = url.replace("@postgres/", "@postgres-replica/")
    assert copy != url
    cluster.until(lambda: answer(copy) == answer(url) is not None, "both answer the same")
    psql = ["exec", "-T", "postgres-replica", "psql", "-U", "postgres", "-d", "escrutinio", "-c"]
    cluster.compose(*psql, "SELECT count(*) FROM results.cursor")
    cluster.compose(*psql, "CREATE TABLE written ()", expect=1)
