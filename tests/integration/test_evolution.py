"""Events of today and tomorrow on one log, by a real broker and a real PostgreSQL: added up, replayed, verified."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from kafka import KafkaProducer

from aggregator.replay import replay
from results.cli import main
from results.moment import Moment
from schemas.codec import SCHEMAS, Message, decode, encode
from schemas.count_update import CountUpdate
from schemas.identity import named
from schemas.types import CountStatus
from tests.support import tomorrow
from tests.support.builders import CONTEST, bulletin, contest, revised, sheet
from tests.support.fix_aggregate import EventLog, aggregate, count_of, verified
from tests.support.fix_postgres import Database
from tests.support.fix_secured import SecuredBroker

ROOT = Path(__file__).parents[2]
NOTE = "mesa 1: corrección de digitación"


def noted(update: CountUpdate, note: str) -> CountUpdate:
    return named(update.model_copy(update={"office_note": note}))


def of_tomorrow(message: Message) -> CountUpdate:
    """An update of the later release, as this one reads it."""
    with tomorrow.learnt():
        event = decode(message.value, message.headers)
    assert isinstance(event, CountUpdate)
    return event


FIRST, SECOND, THIRD = (sheet(n) for n in (1, 2, 3))
FIXED = tomorrow.written(
    noted(sheet(1, {"a": 9, "b": 21}, after=FIRST, hours=13), NOTE), {"ruling": tomorrow.RULING, "seals": ["A1"]}
)
STILL = sheet(1, {"a": 9, "b": 22}, after=of_tomorrow(FIXED), hours=14)
FOURTH = tomorrow.written(
    noted(sheet(4, status=CountStatus.ANNULLED, votes={"a": 0, "b": 0}, invalid=20, blank=0), "annulled by the jury"),
    {"counts.spoiled_ballots": 3},
)
REDEFINED = tomorrow.written(revised(contest(), "precinct"), {"observers": [{"name": "OEA", "since": None}]})
SEALED = tomorrow.written(sheet(5), {"count_status": "SEALED"})


@pytest.fixture(autouse=True)
def later_release() -> Iterator[None]:
    """The schemas of the later release are known."""
    with tomorrow.learnt():
        yield


def write_both(log: EventLog, totals: Database | None = None) -> None:
    """Today, tomorrow, and for a moment an ingest of today beside one of tomorrow: offsets 0 to 7."""
    log.append([contest(), FIRST, SECOND])
    if totals is not None:
        aggregate(log, totals)
    log.append_messages([FIXED, REDEFINED])
    if totals is not None:
        aggregate(log, totals)
    log.append([THIRD])
    log.append_messages([FOURTH])
    log.append([STILL])


@pytest.mark.parametrize("batch_by_batch", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_both_versions_are_added_up_and_replayed_to_one_digest(
    event_log: EventLog, totals: Database, batch_size: int, batch_by_batch: bool
) -> None:
    write_both(event_log, totals if batch_by_batch else None)
    aggregate(event_log, totals, batch_size=batch_size)
    count = count_of(totals, CONTEST)
    state = replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment())
    assert count.digest == state.root()
    assert ([s.votes for s in count.selections], count.blocked) == ([29, 62], None)
    found = verified(event_log, totals)
    assert (found.equal, found.events, found.differences) == (True, 8, [])


def test_a_status_of_tomorrow_leaves_the_total_of_the_tables_open(event_log: EventLog, totals: Database) -> None:
    write_both(event_log, totals)
    event_log.append_messages([SEALED])
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert (count.unknown_units, [s.votes for s in count.selections], count.lead) == (1, [None, None], None)
    assert count.digest == replay.replay(event_log.kafka, event_log.topic, CONTEST, Moment()).root()
    event_log.append([sheet(5, after=of_tomorrow(SEALED), hours=15)])
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert (count.unknown_units, [s.votes for s in count.selections]) == (0, [39, 82])
    assert verified(event_log, totals).equal


def test_a_bulletin_of_an_unknown_kind_is_no_count_in_the_views(event_log: EventLog, totals: Database) -> None:
    known = bulletin(10, 20, counted=5)
    unknown = tomorrow.written(bulletin(11, 22, counted=6, after=known, hours=13), {"kind": "REOPENED"})
    event_log.append([contest(level=("country",)), known])
    aggregate(event_log, totals)
    query = "SELECT votes, valid_votes, registered_voters_counted, counted, total FROM results.area_count"
    assert totals.read(query) == [({"a": 10, "b": 20}, 30, 1_500, 5, 100)]
    event_log.append_messages([unknown])
    aggregate(event_log, totals)
    assert totals.read(query) == [({"a": None, "b": None}, None, None, None, None)]
    count = count_of(totals, CONTEST)
    assert (count.unknown_units, count.valid_votes, count.sub_units["counted"]) == (1, None, None)


def test_voters_outstanding_are_told_only_where_a_roll_has_them(event_log: EventLog, totals: Database) -> None:
    write_both(event_log, totals)
    assert totals.read("SELECT DISTINCT voters_outstanding FROM results.area_count") == [(None,)]


def test_without_the_schemas_the_contest_stops_at_tomorrow(event_log: EventLog, totals: Database) -> None:
    write_both(event_log)
    for schema_id in tomorrow.IDS.values():
        del SCHEMAS[schema_id]
    aggregate(event_log, totals)
    count = count_of(totals, CONTEST)
    assert count.blocked is not None
    assert count.as_of.offset == 2
    assert f"schema id {tomorrow.IDS['CountUpdate']} is of a newer release" in str(count.blocked)


def test_the_note_is_in_the_history_and_in_explain(event_log: EventLog, totals: Database) -> None:
    write_both(event_log)
    aggregate(event_log, totals)
    rows = totals.read("SELECT log_offset, office_note FROM results.update_history ORDER BY log_offset")
    assert rows == [(1, None), (2, None), (3, NOTE), (5, None), (6, "annulled by the jury"), (7, None)]
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
    secured = text[text.index("    secured = dict(") : text.index("Three rules to read them by")]
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


def test_the_reader_of_the_contract_reads_both(event_log: EventLog, tmp_path: Path) -> None:
    """With the later schemas in its folder; and with its own as the reader's, when it sees what it knows."""
    write_both(event_log)
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    entries = []
    for folder in (ROOT / "schemas", tomorrow.FOLDER):
        entries += json.loads((folder / "manifest.json").read_text())["schemas"]
        for path in folder.glob("*.avsc"):
            shutil.copy(path, schemas)
    (schemas / "manifest.json").write_text(json.dumps({"schemas": entries}))
    sample, _ = samples(event_log.bootstrap_servers)
    sample = sample.replace("results.events", event_log.topic)
    mine = "mine = fastavro.parse_schema(json.load(open('schemas/count_update.v1.avsc')))\n"
    assert sample.count("), schema, None)") == 1
    as_version_1 = sample.replace("), schema, None)", "), schema, mine if schema['name'].endswith('Update') else None)")
    for code in (sample, as_version_1.replace("for message", f"{mine}for message")):
        lines = first_lines(code, 6, tmp_path)
        assert [line.split()[0] for line in lines] == ["1", "2", "3", "5", "6", "7"]
        assert lines[2].endswith("precinct 000001 {'a': 9, 'b': 21}")


def first_lines(code: str, number: int, folder: Path = ROOT) -> list[str]:
    """The first lines that a program prints which never ends by itself."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        given_up = threading.Timer(60, program.kill)
        given_up.start()
        try:
            return [program.stdout.readline().rstrip() for _ in range(number)]
        finally:
            given_up.cancel()
            program.kill()
