"""Old and new events on one log, by a real broker and a real PostgreSQL: added up, replayed, verified, explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from aggregator.replay import replay
from results.cli import main
from results.moment import Moment
from schemas.codec import encode
from schemas.count_update import CountUpdate
from schemas.identity import named
from schemas.types import CountStatus
from tests.support.builders import CONTEST, contest, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of, verified
from tests.support.fix_postgres import Database
from tests.support.fix_secured import SecuredBroker

ROOT = Path(__file__).parents[2]
NOTE = "mesa 1: corrección de digitación"


def noted(update: CountUpdate, note: str) -> CountUpdate:
    return named(update.model_copy(update={"office_note": note}))


FIRST, SECOND, THIRD = (sheet(n) for n in (1, 2, 3))
FIXED = noted(sheet(1, {"a": 9, "b": 21}, after=FIRST, hours=13), NOTE)
STILL = sheet(1, {"a": 9, "b": 22}, after=FIXED, hours=14)
FOURTH = noted(
    sheet(4, status=CountStatus.ANNULLED, votes={"a": 0, "b": 0}, invalid=20, blank=0), "annulled by the jury"
)


def write_both(log: EventLog, totals: Database | None = None) -> None:
    """Before the upgrade version 1; after it version 2, and for a moment an old ingest beside it: offsets 0 to 6."""
    log.append([contest()])
    log.append_version_1([FIRST, SECOND])
    if totals is not None:
        aggregate(log, totals)
    log.append([FIXED])
    log.append_version_1([THIRD])
    log.append([FOURTH, STILL])


@pytest.mark.parametrize("upgraded_while_running", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_both_versions_are_added_up_and_replayed_to_one_digest(
    event_log: EventLog, totals: Database, batch_size: int, upgraded_while_running: bool
) -> None:
    write_both(event_log, totals if upgraded_while_running else None)
    aggregate(event_log, totals, batch_size=batch_size)
    count = count_of(totals, CONTEST)
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment())
    assert count.digest == state.root()
    assert ([s.votes for s in count.selections], count.blocked) == ([29, 62], None)
    found = verified(event_log, totals)
    assert (found.equal, found.events, found.differences) == (True, 7, [])


def test_the_note_is_in_the_history_and_in_explain(event_log: EventLog, totals: Database) -> None:
    write_both(event_log)
    aggregate(event_log, totals)
    rows = totals.read("SELECT log_offset, office_note FROM results.update_history ORDER BY log_offset")
    assert rows == [(1, None), (2, None), (3, NOTE), (4, None), (5, "annulled by the jury"), (6, None)]
    command = ["explain", CONTEST, "precinct/000001", "--reader-url", totals.reader_url]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert [line for line in told.stdout.splitlines() if "the office notes" in line] == [
        f"    the office notes: {NOTE}"
    ]
    answer = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert [statement["office_note"] for statement in answer["statements"]] == [None, NOTE, None]


def samples(bootstrap_servers: str) -> tuple[str, str]:
    """The reader of the contract, and the lines of a secured cluster's."""
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8").replace("127.0.0.1:29092", bootstrap_servers)
    reader = text[text.index("    import io, json, fastavro") : text.index("A broker that requires authentication")]
    secured = text[text.index("    secured = dict(") : text.index("Fields are documented where")]
    return textwrap.dedent(reader), textwrap.dedent(secured)


def test_the_reader_of_the_contract_reads_a_secured_cluster(secured_server: SecuredBroker) -> None:
    access = secured_server.access("newsroom-demo")
    told = dict(access.settings)
    sample, secured = samples(access.bootstrap_servers)
    for written, given in (('"…"', repr(told["sasl.password"])), ('"ca.crt"', repr(told["ssl.ca.location"]))):
        assert secured.count(written) == 1
        secured = secured.replace(written, given)
    consumer = next(line for line in sample.splitlines() if line.startswith("consumer = "))
    producer = secured_server.access("ingest").open(KafkaProducer, acks="all")
    for event in (contest(), FIRST):
        message = encode(event)
        place = producer.send("results.events", message.value, message.key, message.headers, partition=0).get(60)
    producer.close()
    # Other tests of the session put what is no event on this log.
    sample = sample.replace("consumer.seek_to_beginning(log)", f"consumer.seek(log, {place.offset - 1})")
    (line,) = first_lines(sample.replace(consumer, secured), 1)
    assert line.startswith(f"{place.offset} REPORTED")


def test_the_reader_of_the_contract_reads_both(event_log: EventLog) -> None:
    write_both(event_log)
    sample, _ = samples(event_log.bootstrap_servers)
    sample = sample.replace("results.events", event_log.topic)
    mine = "mine = fastavro.parse_schema(json.load(open('schemas/count_update.v1.avsc')))\n"
    assert sample.count("), schema, None)") == 1
    as_version_1 = sample.replace("), schema, None)", "), schema, mine if schema['name'].endswith('Update') else None)")
    for code in (sample, as_version_1.replace("for message", f"{mine}for message")):
        lines = first_lines(code, 6)
        assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
        assert lines[2].endswith("precinct 000001 {'a': 9, 'b': 21}")


def first_lines(code: str, number: int) -> list[str]:
    """The first lines that a program prints which never ends by itself."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        given_up = threading.Timer(60, program.kill)
        given_up.start()
        try:
            return [program.stdout.readline().rstrip() for _ in range(number)]
        finally:
            given_up.cancel()
            program.kill()
