"""`python -m tests.bench.stream`: the live stream under a crowd, everything on this machine.

A broker, PostgreSQL, the aggregator, the API and its clients share the cores. The night's events come at a steady rate
while the crowd follows; then the same clients poll as fast as they are answered, in turns with a plain FastAPI hello.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaProducer

from deploy.local.server import free_port
from runtime.healthcheck import ask
from runtime.kafka.access import KafkaAccess
from schemas.codec import Message, encode
from schemas.topics import TopicNames
from tests.bench.processes import cpu_seconds
from tests.bench.site import HERE, Place, Site
from tests.support.nights import Night, log
from tests.support.waiting import eventually

CONTEST = "pe-2021-night-1"
_HELLO = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/hello")
async def hello():
    return {"hello": "world"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def main() -> None:
    """Measure and print."""
    asked = _parser().parse_args()
    events = [event for _, event in islice(log(Night(events=asked.before + asked.changes)), None)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as opened:
        site = opened.enter_context(Site(HERE))
        place = Place("crowd.")
        site.run(place, "ingest", "topics")
        place = site.new_database(place.prefix)
        producer: Any = KafkaAccess(site.bootstrap_servers).open(KafkaProducer, acks="all", linger_ms=0)
        topic = TopicNames(place.prefix).events

        def send(message: Message) -> None:
            producer.send(topic, key=message.key, value=message.value, headers=message.headers)

        port, http, hello = free_port(), free_port(), free_port()
        listen = ["--listen", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"]
        opened.enter_context(_process(site, place, [site.python, "-m", "aggregator", "run"]))
        api = opened.enter_context(_process(site, place, [site.python, "-m", "api", "serve", *listen]))
        opened.enter_context(_process(site, place, [site.python, "-c", _HELLO, str(hello)]))
        for event in events[: asked.before]:
            send(encode(event))
        producer.flush()
        where = site.urls(place)["reader_url"]
        with psycopg.connect(where, autocommit=True) as db:
            query = "SELECT 1 FROM checking.cursor WHERE next_offset >= %s"
            eventually(lambda: db.execute(query, (asked.before,)).fetchone())
        eventually(lambda: ask(f"http://127.0.0.1:{http}/ready") is None)
        seconds = asked.changes / asked.rate
        crowd = _crowd(port, followers=asked.clients, changes=asked.changes, pollers=200, seconds=seconds)
        with crowd as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            before = cpu_seconds(api.pid)
            for number, event in enumerate(events[asked.before :]):
                send(encode(event))
                if number % asked.burst == asked.burst - 1:
                    producer.flush()
                    time.sleep(asked.burst / asked.rate)
            producer.flush()
            seen = json.loads(process.stdout.read())
            seen["counts"] = len(seen["counts"])  # 1: all have the same at the end
            print(json.dumps({"stream": seen, "api": _cost(api.pid, before)}, indent=1))
        for turn in range(asked.turns):
            for name, at, path in (("hello", hello, "/hello"), ("etag", port, f"/v1/contests/{CONTEST}/counts")):
                with _crowd(at, pollers=200, poll=path, every=0, seconds=10) as process:
                    assert process.stdout is not None
                    said = process.stdout.read().partition("\n")[2]
                    print(json.dumps({"turn": turn, name: json.loads(said)["polls_a_second"]}), flush=True)


def _cost(pid: int, before: float) -> dict[str, float]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {"cpu_s": cpu_seconds(pid) - before, "peak_mib": int(peak.split()[1]) / 1024}


@contextmanager
def _process(site: Site, place: Place, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=HERE, env=site.environment(place))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _crowd(port: int, **settings: object) -> Iterator[subprocess.Popen[str]]:
    given = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "tests.bench.crowd", f"--port={port}", *given]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stream", description=__doc__)
    parser.add_argument("--clients", type=int, default=2_000, help="that follow")
    parser.add_argument("--before", type=int, default=20_000, help="events that are counted before they come")
    parser.add_argument("--changes", type=int, default=600, help="events that come while they follow")
    parser.add_argument("--rate", type=float, default=10.0, help="events a second")
    parser.add_argument("--burst", type=int, default=5, help="events at once")
    parser.add_argument("--turns", type=int, default=3, help="of polling as fast as answers come")
    return parser


if __name__ == "__main__":
    main()
