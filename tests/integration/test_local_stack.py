"""The local stack as a person meets it: through its command, with real servers, killed for real."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local import Broker, Postgres, Stack, State, java
from deploy.local.account import SYSTEM_DATA
from deploy.local.errors import StartFailed
from deploy.local.server import free_port
from runtime.kafka.errors import BrokerAway
from runtime.settings import Settings
from tests.support.fix_kafka import create_topic
from tests.support.waiting import WITHIN_S, eventually

CHECKOUT = Path(__file__).resolve().parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="is about what root has to do differently")


@pytest.fixture
def root(new_root: Callable[[], Path]) -> Iterator[Path]:
    root = new_root()
    yield root
    Stack(root).reset()


@pytest.fixture
def own_postgres_server(root: Path) -> Postgres:
    """The local stack's, whatever the session runs on: these tests look at its process and its files."""
    postgres = Postgres(root)
    postgres.start()
    return postgres


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "deploy.local", *(str(word) for word in words)]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=CHECKOUT, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.part: status.pid for status in stack.status()}


def processes_of(root: Path) -> list[str]:
    """Command lines of all processes that belong to the stack below `root`: by argument or working folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{root}/" in line + " " + os.readlink(process / "cwd") + "/":
                found.append(line)
        except OSError:
            continue
    return found


def send(broker: Broker, topic: str, value: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all")) as producer:
        producer.send(topic, value).get(timeout=30)


def read(broker: Broker, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, enable_auto_commit=False)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    values: list[bytes] = []
    deadline = time.monotonic() + WITHIN_S
    try:
        while len(values) < count and time.monotonic() < deadline:
            values += [record.value for record in consumer.poll(500).get(partition, [])]
    finally:
        consumer.close()
    return values


def keep(postgres: Postgres, text: str) -> None:
    with psycopg.connect(postgres.owner_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (line text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])


def kept(postgres: Postgres) -> list[str]:
    with psycopg.connect(postgres.owner_url) as connection:
        return [line for (line,) in connection.execute("SELECT line FROM kept")]


@linux_only
def test_a_deleted_database_is_made_anew(root: Path) -> None:
    postgres = Postgres(root)
    postgres.start()
    with psycopg.connect(postgres.owner_url) as connection:
        connection.execute("CREATE TABLE gone ()")
    postgres.stop()
    shutil.rmtree(root / "postgres")
    postgres.start()
    with psycopg.connect(postgres.owner_url) as connection:
        assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)


def test_a_stack_from_start_to_reset(root: Path) -> None:
    stack = Stack(root)

    started = run("start", "--root", root)
    assert started.returncode == 0, started.stderr
    running = pids(stack)

    settings_file = root / "escrutinio.toml"
    assert settings_file.stat().st_mode & 0o777 == 0o600
    settings = tomllib.loads(settings_file.read_text())
    assert settings.keys() == {"bootstrap_servers", "owner_url", "writer_url", "reader_url", "archive"}
    assert settings["archive"] == str(root / "archive")
    access = dict(line.split("=", 1) for line in (root / "newsroom-demo.properties").read_text().splitlines())
    assert access["bootstrap.servers"] == settings["bootstrap_servers"]
    for role in ("owner", "writer", "reader"):
        with psycopg.connect(settings[f"{role}_url"]) as connection:
            row = connection.execute("SELECT current_user, current_database(), version()").fetchone()
            assert row is not None
            assert row[:2] == (f"escrutinio_{role}", "escrutinio")

    again = run("start", "--root", root)
    assert again.returncode == 0
    assert "was already running" in again.stdout
    assert pids(stack) == running

    seen = run("status", "--root", root)
    assert seen.returncode == 0
    assert seen.stdout.count("running, on 127.0.0.1:") == 3

    create_topic(stack.broker, "results.events")
    send(stack.broker, "results.events", b"before")
    keep(stack.postgres, "before")

    assert run("stop", "--root", root).returncode == 0
    assert processes_of(root) == []
    seen = run("status", "--root", root)
    assert seen.returncode == 1
    assert seen.stdout.count("stopped") == 3

    assert run("start", "--root", root).returncode == 0
    assert tomllib.loads(settings_file.read_text()) == settings, "addresses and passwords stay the same"
    assert read(stack.broker, "results.events", 1) == [b"before"]
    assert kept(stack.postgres) == ["before"]

    gone = run("reset", "--root", root)
    assert gone.returncode == 0
    assert f"deleted {root / 'postgres'}" in gone.stdout
    assert f"deleted {root / 'kafka'}" in gone.stdout
    assert processes_of(root) == []
    assert not root.exists() or list(root.iterdir()) == []


def test_while_the_stack_does_not_run_the_commands_name_what_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ESCRUTINIO_")]:
        monkeypatch.delenv(name)
    kafka, database = f"127.0.0.1:{(free := free_port())}", f"127.0.0.1:{free_port([free])}"
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "escrutinio.toml").write_text(
        f'bootstrap_servers = "{kafka}"\nreader_url = "postgresql://escrutinio_reader@{database}/escrutinio"\n'
    )
    monkeypatch.chdir(tmp_path)

    def says(package: str, *arguments: str) -> bool:
        line = [sys.executable, "-m", package, *arguments]
        told = subprocess.run(line, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert told.returncode == 2
        return "; the local stack does not run: `make demo` starts it" in told.stderr

    mine = Settings.load().kafka
    with pytest.raises(BrokerAway, match="the local stack does not run: `make demo` starts it"):
        mine.reach()
    assert says("aggregator", "replay", "a-contest")
    assert says("results", "show", "a-contest")
    # Who was given another address does not mean the local stack.
    other = Settings.load(bootstrap_servers=f"localhost:{free}").kafka
    assert (other.hint, mine.hint != "") == ("", True)
    assert not says("results", "show", "a-contest", "--reader-url", f"postgresql://127.0.0.1:{free}/escrutinio")


def test_a_crash_of_either_is_seen_said_and_repaired(root: Path) -> None:
    stack = Stack(root)
    stack.start()
    create_topic(stack.broker, "results.events")
    for crashed, other in ((stack.broker, stack.postgres), (stack.postgres, stack.broker)):
        send(stack.broker, "results.events", crashed.name.encode())
        keep(stack.postgres, crashed.name)
        address, witness = crashed.status().address, other.status()

        crashed.kill()

        seen = run("status", "--root", root)
        assert seen.returncode == 1
        assert f"{crashed.title:<11}crashed" in seen.stdout
        assert f"{other.title:<11}running" in seen.stdout
        assert crashed.status().log_tail[-1] in seen.stdout
        assert "python -m deploy.local start" in seen.stdout

        assert stack.start()
        assert other.status() == witness, "the part that ran was left alone"
        assert crashed.status().address == address
    assert read(stack.broker, "results.events", 2) == [b"kafka", b"postgres"]
    assert kept(stack.postgres) == ["kafka", "postgres"]


def test_a_server_that_hangs_is_not_called_running(own_postgres_server: Postgres) -> None:
    pid = own_postgres_server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert own_postgres_server.status().state is State.SILENT
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_superuser_with_another_password_is_not_called_silent(own_postgres_server: Postgres) -> None:
    with psycopg.connect(own_postgres_server.admin_url, autocommit=True) as db:
        db.execute("ALTER ROLE CURRENT_USER PASSWORD 'another'")
    assert own_postgres_server.status().state is State.RUNNING
    own_postgres_server.stop()
    with pytest.raises(StartFailed, match=r"refuses the superuser's password in .*postgres\.json: somebody changed it"):
        own_postgres_server.start()


def test_a_reader_of_its_own_is_made_while_the_server_runs(own_postgres_server: Postgres, root: Path) -> None:
    made = run("reader", "reader-desk", "--root", root)
    with psycopg.connect(made.stdout.strip()) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("SELECT pg_notify('a', 'b')")
    assert run("reader", "reader-desk", "--root", root).stdout == made.stdout
    assert "is not a reader's name" in run("reader", "desk", "--root", root).stderr
    own_postgres_server.restart()
    psycopg.connect(made.stdout.strip()).close()
    own_postgres_server.stop()
    assert "PostgreSQL does not run; start it first" in run("reader", "reader-desk", "--root", root).stderr


def test_a_server_that_was_about_to_end_is_started_again(own_postgres_server: Postgres) -> None:
    ending = own_postgres_server.status().pid
    assert ending is not None
    os.kill(ending, signal.SIGSTOP)
    end = threading.Timer(1, own_postgres_server.kill)
    end.start()
    assert own_postgres_server.start()
    end.join()
    now = own_postgres_server.status()
    assert (now.state, now.pid != ending) == (State.RUNNING, True)


def test_a_port_taken_by_another_is_left_to_it(root: Path) -> None:
    broker, postgres = Broker(root), Postgres(root)
    for server in (broker, postgres):
        server.start()
    create_topic(broker, "results.events")
    send(broker, "results.events", b"before")
    keep(postgres, "before")
    for server in (broker, postgres):
        address = server.status().address
        assert address is not None
        server.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            other.listen()
            server.start()
            assert server.status().address != address
    assert read(broker, "results.events", 1) == [b"before"]
    assert kept(postgres) == ["before"]


@linux_only
def test_an_interrupted_start_leaves_no_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = root / "java"  # so that the start cannot end before it is interrupted
    late = "import os, sys, time; time.sleep(8); os.execv(sys.argv[1], sys.argv[1:])"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *kafka.Kafka*) exec {sys.executable} -c "{late}" {java.find()} "$@" ;; esac\n'
        f'exec {java.find()} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("ESCRUTINIO_JAVA", str(slow))
    starting = subprocess.Popen(
        command("start", "--root", root), cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    eventually(lambda: starting.poll() is not None or any("kafka.Kafka" in line for line in processes_of(root)))
    starting.send_signal(signal.SIGINT)
    output, _ = starting.communicate(timeout=WITHIN_S)
    assert starting.returncode == 1, output
    assert processes_of(root) == []
    monkeypatch.delenv("ESCRUTINIO_JAVA")
    assert {status.state for status in Stack(root).status()} == {State.STOPPED}


@linux_only
def test_a_stack_of_which_one_part_fails_cleans_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = root / "java"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo \'openjdk version "21"\' >&2; exit; }\necho no luck; exit 1\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("ESCRUTINIO_JAVA", str(broken))
    with pytest.raises(StartFailed, match="no luck"):
        Stack(root).start()
    assert processes_of(root) == []
    assert {status.state for status in Stack(root).status()} == {State.STOPPED}

    failed = run("start", "--root", root)
    assert failed.returncode == 1
    assert "no luck" in failed.stderr
    assert "Traceback" not in failed.stderr

    monkeypatch.delenv("ESCRUTINIO_JAVA")
    assert Stack(root).start()
    broken.unlink()


def test_half_made_data_is_made_anew(root: Path) -> None:
    for server in (Broker(root), Postgres(root)):
        half = root / server.name / "data.new"
        half.mkdir(parents=True)
        half.parent.chmod(0o711)
        (half / "meta.properties").write_text("half a li")
        server.start()
        assert not half.exists()
        assert server.status().state is State.RUNNING


def test_a_pid_given_to_another_process_is_never_killed(own_postgres_server: Postgres) -> None:
    postgres = own_postgres_server
    with subprocess.Popen(["sleep", "60"]) as stranger:
        ours = postgres.status().pid
        record = postgres.root / "run" / "postgres.json"
        text = record.read_text()
        record.write_text(text.replace(f'"pid": {ours}', f'"pid": {stranger.pid}'))
        try:
            assert postgres.status().state is State.CRASHED
            assert not postgres.stop()
            assert stranger.poll() is None
        finally:
            record.write_text(text)
            stranger.kill()
    assert postgres.stop(), "with its true pid it is known again"


def test_starts_at_the_same_time_wait_for_each_other(root: Path) -> None:
    both = [
        subprocess.Popen(command("start", "--root", root), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [starting.communicate(timeout=WITHIN_S)[0] for starting in both]
    assert [starting.returncode for starting in both] == [0, 0], outputs
    assert Stack(root).runs()


@root_only
def test_root_keeps_postgres_where_its_account_can_reach_it(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    postgres = Postgres(private / "stack")
    try:
        postgres.start()
        with psycopg.connect(postgres.admin_url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        home = Path(row[0]).parent
        assert home.parent == SYSTEM_DATA
        assert private.stat().st_mode & 0o777 == 0o700, "the permissions of others' folders stay as they are"
    finally:
        deleted = postgres.reset()
    assert home in deleted
    assert not home.exists()
