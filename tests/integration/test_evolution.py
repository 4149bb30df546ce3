"""Old and new events on one log, by a real broker and a real PostgreSQL: added up, replayed, verified, explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from aggregator import replay
from aggregator.cli import main
from aggregator.moment import Moment
from aggregator.verify import verify
from aggregator.views import Views
from schemas.count_update import CountUpdate
from schemas.identity import named
from schemas.types import CountStatus
from tests.builders import CONTEST, contest, sheet
from tests.fix_aggregate import EventLog, aggregate, count_of
from tests.fix_postgres import Database

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
    with Views(totals.reader_url) as views:
        found = verify(views, event_log.kafka, event_log.topic, CONTEST)
    assert (found.equal, found.events, found.differences) == (True, 7, [])


def test_the_note_is_in_the_history_and_in_explain(event_log: EventLog, totals: Database) -> None:
    write_both(event_log)
    aggregate(event_log, totals)
    with psycopg.connect(totals.reader_url) as db:
        rows = db.execute("SELECT log_offset, office_note FROM results.update_history ORDER BY log_offset").fetchall()
    assert rows == [(1, None), (2, None), (3, NOTE), (4, None), (5, "annulled by the jury"), (6, None)]
    command = ["explain", CONTEST, "precinct/000001", "--reader-url", totals.reader_url]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert [line for line in told.stdout.splitlines() if "the office notes" in line] == [
        f"    the office notes: {NOTE}"
    ]
    answer = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert [statement["office_note"] for statement in answer["statements"]] == [None, NOTE, None]


def test_the_reader_of_the_contract_reads_both(event_log: EventLog) -> None:
    write_both(event_log)
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    sample = textwrap.dedent(
        text[text.index("    import io, json, fastavro") : text.index("Fields are documented where")]
    )
    sample = sample.replace("127.0.0.1:29092", event_log.bootstrap_servers).replace("results.events", event_log.topic)
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
