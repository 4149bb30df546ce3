"""`make bench`: what this machine does with the real night, each figure beside a limit measured in the same run.

Needs the office's files for the sheets (see examples/peru-2021-runoff/README.md): `make bench ACTAS=folder`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaProducer

from aggregator.columns.columns import Reader
from aggregator.columns.roll import Roll
from aggregator.columns.wire import is_update
from aggregator.fold.fold import ContestState, evolve
from aggregator.live import run as consume
from aggregator.log.reader import Log
from aggregator.replay import replay as replaying
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.workers import cores
from aggregator.tables.migrate import migrate
from aggregator.tables.rows import UPDATE, update_row
from deploy.local import Stack
from results.moment import Moment
from runtime.kafka import librdkafka
from runtime.kafka.access import KafkaAccess
from schemas.codec import decode, encode
from schemas.count_update import CountUpdate
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.topics import TopicNames
from schemas.types import ReportingUnitType
from tests.bench.past import moments
from tests.bench.timing import line, rate, timed
from tests.support.builders import bulletin, contest

CHECKOUT = Path(__file__).parents[2]
CONTEST = "pe-2021-president-runoff"
EVENTS = TopicNames().events
BATCH = 20_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = CHECKOUT.parent / "shared" / "data" / "peru-2021-runoff" / "actas"
    parser.add_argument(
        "--actas", type=Path, default=Path(os.environ.get("ACTAS") or beside), help="folder of the sheets' files"
    )
    files = sorted(parser.parse_args().actas.glob("*.csv*"))
    if not files:
        sys.exit(
            "no tally sheets: make bench ACTAS=folder (examples/peru-2021-runoff/README.md says where to get them)"
        )
    print(
        f"{os.cpu_count()} cores ({platform.processor() or platform.machine()}), Python {platform.python_version()}\n"
    )
    root = Path(tempfile.mkdtemp(prefix="escrutinio-bench-"))
    root.chmod(0o711)
    stack = Stack(root)
    try:
        line("local stack, cold (downloads done)", timed(stack.start), "s")
        stack.stop()
        line("local stack, warm", timed(stack.start), "s")
        _measure(Bench(root), files)
    finally:
        stack.reset()
        shutil.rmtree(root, ignore_errors=True)


class Bench:
    """A running stack and the commands pointed at it."""

    def __init__(self, root: Path) -> None:
        self.settings = tomllib.loads((root / "escrutinio.toml").read_text(encoding="utf-8"))
        self.kafka = KafkaAccess(self.settings["bootstrap_servers"])
        self.environment = os.environ | {f"ESCRUTINIO_{k.upper()}": v for k, v in self.settings.items()}
        self.run("ingest", "topics")
        migrate(self.settings["owner_url"])

    def run(self, *command: str) -> str:
        """A command as a person runs it: its whole process, start included."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=CHECKOUT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def _measure(bench: Bench, files: list[Path]) -> None:
    example = CHECKOUT / "examples" / "peru-2021-runoff"
    bench.run("ingest", "load", "--contest", str(example / "contest.toml"), str(example / "updates.csv"))
    for number, file in enumerate(files):
        seconds = timed(lambda file=file: bench.run("ingest", "load", str(file)))  # type: ignore[misc]
        line(f"ingest load {file.name}, whole command", seconds, "s")
        if number == 0:
            seconds = timed(lambda: bench.run("aggregator", "run", "--until-caught-up"))
            line("aggregator run to the end of it, whole command", seconds, "s")
    line(
        "aggregator run for the rest, whole command",
        timed(lambda: bench.run("aggregator", "run", "--until-caught-up")),
        "s",
    )
    show = json.loads(bench.run("results", "show", CONTEST, "--json"))
    print(f"{'(the count is right: ' + str(show['lead'] == 43_957) + ')':<58}\n")

    gc.set_threshold(200_000, 20, 100)  # as the services do
    records = _raw(bench)
    raw = rate(len(records), lambda: _raw(bench))
    line(f"limit: {'librdkafka' if librdkafka.client else 'kafka-python'} polls alone", raw, "events/s")
    events = [recorded_of_raw(r) for r in records]
    line(
        "decode alone (fastavro, models)",
        rate(len(records), lambda: [decode(r.value, r.headers) for r in records]),
        "events/s",
        raw,
    )
    line("encode alone", rate(len(events), lambda: [encode(r.event) for r in events]), "events/s")
    line("fold alone", rate(len(events), lambda: _fold(events)), "events/s", raw)
    line("read as columns, ids checked", rate(len(records), lambda: _columns(records)), "events/s", raw)
    line("read and folded as columns", rate(len(records), lambda: _folded(records)), "events/s", raw)
    for processes in dict.fromkeys((1, cores())):
        what = f"replay: log to state in memory, {processes} process{'es' * (processes > 1)}"
        line(what, rate(len(records), partial(_replay, bench, processes)), "events/s", raw)

    copy = _copy_limit(bench, events)
    line("limit: COPY of the same history rows, with its indexes", copy, "rows/s")
    for size in (20_000, 5_000):
        seconds = _aggregate_anew(bench, size)
        line(f"live: log to committed, {size:,} a batch, one process", len(records) / seconds, "events/s", copy)
    moments(bench.settings["reader_url"], CONTEST)
    before = json.loads(bench.run("results", "show", CONTEST, "--json"))["digest"]
    told: list[str] = []
    line(
        "rebuild beside and take over, whole command",
        timed(lambda: told.append(bench.run("aggregator", "rebuild"))),
        "s",
    )
    print(f"    {told[0].split('. ')[-1].strip()}")
    assert json.loads(bench.run("results", "show", CONTEST, "--json"))["digest"] == before
    latencies = _latencies(bench)
    line("one update, publish to the view: p50", statistics.median(latencies) * 1000, "ms")
    line("one update, publish to the view: p99", statistics.quantiles(latencies, n=100)[98] * 1000, "ms")


def _raw(bench: Bench) -> list[RawRecord]:
    with Log(bench.kafka, EVENTS, max_records=20_000) as log:
        return [r for batch in log.read_to_end(0) for r in batch]


def _fold(events: list[Any]) -> ContestState:
    state = ContestState()
    for recorded in events:
        evolve(state, recorded)
    state.root()
    return state


def _columns(records: list[RawRecord]) -> None:
    definition = recorded_of_raw(records[0]).definition
    reader = Reader(Roll())
    for begin in range(0, len(records), BATCH):
        reader.read([r for r in records[begin : begin + BATCH] if is_update(r)], definition)


def _folded(records: list[RawRecord]) -> None:
    folding = ContestFold(CONTEST, Moment())
    for begin in range(0, len(records), BATCH):
        folding.apply(records[begin : begin + BATCH])
    folding.state.root()


def _replay(bench: Bench, processes: int) -> None:
    replaying.replay(bench.kafka, EVENTS, CONTEST, Moment(), processes=processes)


def _copy_limit(bench: Bench, events: list[Any]) -> float:
    """Rows of the history table per second, made before the clock starts and copied as bytes: no Python in between."""
    state = ContestState()
    rows = [update_row(s) for r in events if isinstance((s := evolve(state, r)).recorded.event, CountUpdate)]
    columns = ", ".join(UPDATE)
    with psycopg.connect(bench.settings["owner_url"]) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE copied (LIKE aggregate.count_update_history INCLUDING ALL)")
        with cursor.copy(f"COPY copied ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(list(UPDATE.values()))
            for row in rows:
                copy.write_row(row)
        with cursor.copy("COPY copied TO STDOUT (FORMAT BINARY)") as copy:
            data = b"".join(copy)
        cursor.execute("TRUNCATE copied")
        db.commit()
        begun = time.perf_counter()
        with cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(data)
        db.commit()
        seconds = time.perf_counter() - begun
        cursor.execute("DROP TABLE copied")
    return len(rows) / seconds


def _aggregate_anew(bench: Bench, batch_size: int) -> float:
    with psycopg.connect(bench.settings["owner_url"]) as db:
        tables = db.execute(
            "SELECT string_agg('aggregate.' || tablename, ', ') FROM pg_tables WHERE schemaname = 'aggregate'"
            " AND tablename NOT IN ('schema_migration', 'projection')"
        ).fetchone()
        assert tables is not None
        db.execute("TRUNCATE " + tables[0])
    return timed(
        lambda: consume.run(
            bench.settings["writer_url"],
            bench.kafka,
            EVENTS,
            threading.Event(),
            batch_size=batch_size,
            until_caught_up=True,
        )
    )


def _latencies(bench: Bench, samples: int = 300) -> list[float]:
    """Seconds from `send` to the moment a reader's plain query sees the update, one at a time."""
    stop = threading.Event()
    runner = threading.Thread(
        target=consume.run, args=(bench.settings["writer_url"], bench.kafka, EVENTS, stop), daemon=True
    )
    runner.start()
    producer = bench.kafka.open(KafkaProducer, acks="all", linger_ms=0)
    seen = []
    try:
        definition = contest(level=ReportingUnitType.COUNTRY)
        update: CountUpdate | None = None
        _send(producer, definition)
        with psycopg.connect(bench.settings["reader_url"], autocommit=True) as db:
            for sample in range(samples + 20):
                update = bulletin(100 + sample, 50, counted=90, after=update, hours=12 + sample / 100)
                begun = time.perf_counter()
                _send(producer, update)
                query = (
                    "SELECT 1 FROM results.unit_count WHERE contest_id = %s AND unit_type = 'country' AND event_id = %s"
                )
                while db.execute(query, (definition.contest_id, update.event_id)).fetchone() is None:
                    pass
                seen.append(time.perf_counter() - begun)
    finally:
        stop.set()
        runner.join()
        producer.close()
    return seen[20:]


def _send(producer: Any, event: Any) -> None:
    message = encode(event)
    producer.send(EVENTS, key=message.key, value=message.value, headers=message.headers)


if __name__ == "__main__":
    main()
