"""The subscribers of examples/subscribers, in three languages, as a newsroom runs them: a broker that asks who it is,
the schema registry, and nothing else of ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fastavro
import pytest
from kafka import KafkaProducer

from ingest.publish.log_reader import TopicReader
from results.count import percent
from schemas.area_count import AreaCount, CountState
from schemas.codec import WRITTEN, Message, decode, encode
from schemas.identity import named
from schemas.notice import Notice
from schemas.topics import COUNT_STATUS, EVENTS, INGEST_STATUS, NOTICES, TOTALS
from tests.integration.test_api_clients import running
from tests.support.fix_ingest import ignore
from tests.support.fix_postgres import Database
from tests.support.fix_secured import SecuredBroker
from tests.support.fix_setup import CONTEST, EXAMPLE, in_process
from tests.support.fix_subscribers import READ, Subscriber, java_built
from tests.support.small_contest import HEADER, TOML, row, written
from tests.support.strategies import a_notice, an_aggregator_status, an_ingest_status

LATER = {"AreaCount": 101, "Notice": 102}
"""Ids of the schemas of a later release."""
TEST = "TEST, no result: "
REHEARSAL = "ny-2020-president"
DEAD = "DEAD: ingest, or its way to the broker; the figures are no longer new"
DEAD_COUNT = DEAD.replace("ingest", "the count")


@dataclass
class Office:
    """What is published, and what is known of it."""

    broker: SecuredBroker
    database: Database
    folder: Path

    def run(self, principal: str, *command: str | Path, expect: int = 0) -> str:
        """Run a command of ours as a principal."""
        environment = os.environ | {
            "ESCRUTINIO_KAFKA_CONFIG": str(self.broker.secrets / "kafka" / f"{principal}.properties"),
            "ESCRUTINIO_WRITER_URL": self.database.writer_url,
            "ESCRUTINIO_READER_URL": self.database.reader_url,
            "ESCRUTINIO_ARCHIVE": str(self.folder / "archive"),
        }
        environment.pop("ESCRUTINIO_BOOTSTRAP_SERVERS", None)
        code, out, err = in_process(list(map(str, command)), environment)
        assert code == expect, (out, err)
        return out

    def publish(self, contest: Path, document: Path) -> None:
        """Load a document, count it and publish the totals."""
        self.run("ingest", "ingest", "load", "--contest", contest, document, "--json")
        self.count()

    def count(self) -> None:
        """Count what is on the log, and publish the totals."""
        self.run("aggregator", "aggregator", "run", "--until-caught-up", "--publish")

    def show(self, contest: str, *area: str) -> Any:
        """`escrutinio show --json`."""
        return json.loads(self.run("aggregator", "results", "show", contest, *area, "--json"))

    def total(self, contest: str, *area: str) -> str:
        """The line of an area that a subscriber has to print, by what `show` answers."""
        of = self.show(contest, *area)
        as_of = of["as_of"]
        stated = {s["selection_id"]: s["votes"] for s in of["selections"]}
        words = {name: "not stated" if votes is None else str(votes) for name, votes in stated.items()}
        some = {name: " (stated by some)" if f"votes.{name}" in of["stated_by"] else "" for name in stated}
        votes = ", ".join(f"{name} {words[name]}{some[name]}" for name in stated)
        counted = percent(of["progress"]["counted"], of["progress"]["expected"]) or "?"
        return f"TOTAL {of['area_id']} as of {as_of['reported_at']} ({as_of['offset']}): {votes}; {counted} % counted"

    def messages(self, topic: str) -> list[Any]:
        """What stands on a topic."""
        reader = TopicReader(self.broker.access("newsroom-demo"), topic, True, notice=ignore)
        return [decode(record.value, record.headers) for record in reader.to_end()]

    def send(self, principal: str, topic: str, *messages: Message) -> None:
        """Put messages on a topic."""
        producer = self.broker.access(principal).open(KafkaProducer, acks="all")
        for message in messages:
            producer.send(topic, key=message.key, value=message.value, headers=list(message.headers))
        producer.close()


@pytest.fixture
def office(own_secured_server: SecuredBroker, totals: Database, tmp_path: Path) -> Office:
    return Office(own_secured_server, totals, tmp_path)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that knows a later release's schemas too: a field more in each, and a kind of notice more."""
    folder = tmp_path_factory.mktemp("later") / "schemas"
    folder.mkdir()
    entries = []
    for record, schema_id in LATER.items():
        schema = later(record)
        text = json.dumps(schema)
        (folder / f"{record}.avsc").write_text(text, encoding="utf-8")
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        entries.append({"id": schema_id, "file": f"{record}.avsc", "sha256": sha256})
    (folder / "manifest.json").write_text(json.dumps({"schemas": entries}), encoding="utf-8")
    with running(SCHEMAS=str(folder)) as api:
        yield api.url


def later(record: str) -> dict[str, Any]:
    """The schema of a later release."""
    schema: dict[str, Any] = json.loads(WRITTEN[record].text)
    schema["fields"].append({"name": "signature", "type": ["null", "string"], "default": None})
    for field in schema["fields"]:
        if field["name"] == "kind":
            field["type"]["symbols"].append("RECOUNT_ORDERED")
    return schema


def of_later(event: AreaCount | Notice, **changes: Any) -> Message:
    """The message of an event as the later release writes it."""
    record, message = type(event).__name__, encode(event)
    said: Any = fastavro.schemaless_reader(io.BytesIO(message.value[5:]), WRITTEN[record].avro, None)
    body = io.BytesIO()
    body.write(b"\0" + LATER[record].to_bytes(4))
    fastavro.schemaless_writer(body, fastavro.parse_schema(later(record)), said | {"signature": "x"} | changes)
    return Message(message.key, body.getvalue(), [])


LANGUAGES = ("go", "javascript", "java")


@pytest.fixture(scope="session")
def java_of_later_subscriber(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The one in Java with classes of the later release's schemas: what is on the topics is older."""
    made = tmp_path_factory.mktemp("subscriber")
    files = {name: WRITTEN[name].path for name in READ}
    for record in LATER:
        files[record] = made / f"{record}.avsc"
        files[record].write_text(json.dumps(later(record)), encoding="utf-8")
    return java_built(made, files)


@pytest.fixture(params=[*LANGUAGES, pytest.param("java_of_later", marks=pytest.mark.soak)])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def follow(
    language: str, office: Office, registry: str, subscribe: Callable[[Sequence[str]], Subscriber],
    request: pytest.FixtureRequest,
) -> Callable[[str], Subscriber]:  # fmt: skip
    """Starts the program of the language for a contest, as `newsroom-demo`."""
    program = request.getfixturevalue(f"{language}_subscriber")
    access = str(office.broker.secrets / "kafka" / "newsroom-demo.properties")
    return lambda contest: subscribe([*program, access, registry, contest])


def of_notices(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if "NOTICE " in line]


def test_it_keeps_the_totals_says_why_they_fell_and_goes_on_after_a_restart(
    language: str, follow: Callable[[str], Subscriber], office: Office, tmp_path: Path
) -> None:
    header, *rows = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    parts = [tmp_path / f"{number}.csv" for number in range(4)]
    for part, some in zip(parts, (rows[:31], rows[31:32], rows[32:33], rows[33:]), strict=True):
        part.write_text(header + "".join(some), encoding="utf-8")

    office.publish(EXAMPLE / "contest.toml", parts[0])
    program = follow(CONTEST)
    program.prints(office.total(CONTEST))
    office.publish(EXAMPLE / "contest.toml", parts[1])
    fallen = office.messages(EVENTS.name)[-1]
    reason = f"  CORRECTED country/pe: {fallen.correction.reason}"
    assert "votes" in reason
    program.prints(office.total(CONTEST), "  votes.fuerza-popular -90", "  votes.peru-libre -90", reason)
    office.publish(EXAMPLE / "contest.toml", parts[2])
    (notice,) = [
        of for of in office.messages(NOTICES.name) if of.kind == "FELL" and of.change["votes.fuerza-popular"] == -90
    ]
    program.prints(f"NOTICE FELL: {notice.sentence}", "  votes.fuerza-popular -90", "  votes.peru-libre -90", reason)
    program.prints(office.total(CONTEST))
    before = of_notices(program.end())

    office.publish(EXAMPLE / "contest.toml", parts[3])
    program = follow(CONTEST)
    told = [f"NOTICE {of.kind}: {of.sentence}" for of in office.messages(NOTICES.name)]
    program.prints(office.total(CONTEST))
    program.prints(*told[len(before) :])
    first, *_, last = office.messages(TOTALS.name)
    newer = last.model_copy(update={"as_of_offset": last.as_of_offset + 1, "previous_event_id": last.event_id})
    office.send("aggregator", TOTALS.name, encode(first), encode(last), of_later(newer, event_id=first.event_id))
    program.prints(office.total(CONTEST).replace(f"({last.as_of_offset})", f"({newer.as_of_offset})"))
    kind = "UNKNOWN" if language == "java" else "RECOUNT_ORDERED"
    ordered = a_notice(contest_id=CONTEST, sentence="A recount\u202e is ordered.", is_test=False)
    office.send("aggregator", NOTICES.name, of_later(ordered, kind="RECOUNT_ORDERED"))
    program.prints(f"NOTICE {kind}: A recount? is ordered.")
    lines = program.end()
    assert len([line for line in lines if line.startswith("TOTAL ")]) == 2
    assert before + of_notices(lines)[:-1] == told


@pytest.mark.parametrize("language", ["go", *(pytest.param(name, marks=pytest.mark.soak) for name in LANGUAGES[1:])])
def test_it_keeps_areas_corrections_and_a_rehearsal_apart_and_sees_a_dead_feed(
    follow: Callable[[str], Subscriber], office: Office, tmp_path: Path
) -> None:
    areas = "area_id,name,type,parent_id\nny,New York,state,\nbroome,Broome,county,ny\nkings,Kings,county,ny\n"
    areas += "inner,Inner,city,kings\n"
    toml = "is_test = true\n" + TOML
    documents = {
        "first": HEADER
        + row("0001", "ny/broome")
        + row("0002", "ny/kings", 70, "")
        + row("0003", "ny/kings/inner", 100, ""),
        "second": HEADER + row("0001", "ny/broome", 90, 50, 22) + row("0002", "ny/kings", 70, "", 22),
    }
    contest = written(tmp_path / "small", toml, areas, **{name: HEADER + rows for name, rows in documents.items()})
    office.publish(contest, contest.with_name("first.csv"))
    program = follow(REHEARSAL)
    known = [office.total(REHEARSAL, area) for area in ("broome", "kings", "ny")]
    assert "roe not stated" in known[1]
    assert "roe 50 (stated by some)" in known[2]
    program.prints(*(TEST + line for line in known))
    office.publish(contest, contest.with_name("second.csv"))
    reason = office.messages(EVENTS.name)[-1].correction.reason
    corrected = ["  votes.lee -10", f"  CORRECTED precinct/0001: {reason}"]
    program.prints(*(TEST + line for line in (office.total(REHEARSAL, "broome"), *corrected)))
    program.prints(*(TEST + line for line in (office.total(REHEARSAL), *corrected)))

    retract = ("ingest", "ingest", "retract", "--contest", contest, "--json", "--operator")
    why = ("--authority", "the clerk", "--reason", "of another district", "precinct/0001")
    code = json.loads(office.run(*retract, "Ana", *why))["code"]
    office.run(*retract, "Luis", "--confirm", code)
    office.count()
    retracted = ["  votes.lee -90", "  RETRACTED precinct/0001: of another district"]
    program.prints(*(TEST + line for line in (office.total(REHEARSAL, "broome"), *retracted)))
    *_, last = [of for of in office.messages(TOTALS.name) if of.area_id == "broome"]
    gone = named(last.model_copy(update={"state": CountState.NOT_COUNTED, "reason": "nothing is stated"}))
    office.send("aggregator", TOTALS.name, encode(gone))
    program.prints(
        f"{TEST}TOTAL broome as of 2020-11-04T03:30:00Z ({gone.as_of_offset}): NOT_COUNTED, nothing is stated"
    )

    program.prints(DEAD)
    program.prints(DEAD_COUNT)
    sign = an_ingest_status(contest_id=REHEARSAL, next_within_ms=500)
    another = an_ingest_status(contest_id=CONTEST, next_within_ms=60_000, fault="of another")
    office.send("ingest", INGEST_STATUS.name, encode(another), encode(sign))
    program.prints("INGEST: alive", DEAD)
    faulty = an_ingest_status(contest_id=REHEARSAL, next_within_ms=60_000, fault="no route")
    office.send("ingest", INGEST_STATUS.name, encode(faulty))
    program.prints("INGEST: no route")
    counted = partial(an_aggregator_status, contest_id=REHEARSAL, next_within_ms=60_000)
    for changes in ({}, {"end_offset": 99}, {}, {"blocked": "no event"}, {"next_within_ms": 500, "next_offset": 99}):
        office.send("aggregator", COUNT_STATUS.name, encode(counted(**changes)))
    of_count = ["alive", "behind the log", "no event", "alive"]
    program.prints(*(f"THE COUNT: {now}" for now in of_count), DEAD_COUNT)
    lines = [line for line in program.end() if not line.startswith(TEST)]
    of_ingest = [DEAD, "INGEST: alive", DEAD, "INGEST: no route"]
    assert [line for line in lines if "COUNT" not in line and line != DEAD_COUNT] == of_ingest
    assert len(lines) == len(of_ingest) + 1 + len(of_count) + 1
