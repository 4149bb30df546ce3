"""The programs of examples/subscribers/python as a newsroom runs them: with its two files, on a broker that asks who
it is, beside an ingest, an aggregator and a registry that run.

One story is played once, with both followers and the table's program beside it; the tests look at what they printed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.server import free_port
from runtime.healthcheck import ask
from schemas.area_count import AreaCount
from schemas.codec import decode, encode
from schemas.identity import Event
from schemas.notice import Notice
from schemas.source_status import SourceState
from schemas.topics import TopicNames
from tests.support.fix_postgres import database_of
from tests.support.fix_secured import SecuredBroker, empty
from tests.support.fix_setup import CHECKOUT, CONTEST, EXAMPLE, Setup, in_process
from tests.support.servers import Postgres
from tests.support.small_contest import HEADER, TOML, row, written
from tests.support.strategies import an_ingest_status
from tests.support.waiting import eventually

FOLDER = CHECKOUT / "examples" / "subscribers" / "python"
FOLLOWERS = ("totals_kafka_python.py", "totals_confluent.py")
TABLE = "totals_to_table.py"
NEWSROOMS = {FOLLOWERS[0]: "newsroom-demo", FOLLOWERS[1]: "newsroom-other", TABLE: "newsroom-demo"}
SMALL, REHEARSAL = "ny-2020-president", "ny-2020-rehearsal"
NAMES = TopicNames()


@dataclass
class Program:
    """A program of the folder, started by a newsroom; what it printed is kept in a file."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.read_text(encoding="utf-8").splitlines()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()

    def ends_with(self, words: str) -> None:
        """Wait for a last line that begins so."""
        eventually(lambda: self.lines and self.lines[-1].startswith(words), lambda: self._said((words,)))

    def says(self, *words: str) -> None:
        """Wait for a line with each of the words."""
        eventually(lambda: any(all(word in line for word in words) for line in self.lines), lambda: self._said(words))

    def _said(self, words: tuple[str, ...]) -> str:
        return (
            f"{self.name}: no line has {words}; {self.process.poll()}\n"
            + "\n".join(self.lines)
            + "\n"
            + "".join(p.read_text() for p in self.out.parent.glob("*.log"))
        )


@dataclass
class Newsroom:
    """The deployment, and the programs of a newsroom beside it."""

    broker: SecuredBroker
    setup: Setup
    folder: Path
    stack: ExitStack
    registry: str = ""
    table: str = ""
    watch: Any = None

    def service(self, *command: str | Path, principal: str | None = None) -> None:
        """Start a service of ours, until the end of the story."""
        line = [sys.executable, "-m", *map(str, command)]
        line += ["--kafka-config", str(self._access(principal))] if principal else []
        said = self.stack.enter_context((self.folder / f"{command[0]}.log").open("w"))
        process = subprocess.Popen(line, cwd=CHECKOUT, env=self.setup.environment, stdout=said, stderr=said)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        if command[0] == "ingest":
            self.watch = process

    def run(self, *command: str | Path, principal: str | None = None) -> str:
        """Run a command of ours to its end."""
        line = [*map(str, command), *(["--kafka-config", str(self._access(principal))] if principal else [])]
        code, out, err = in_process(line, self.setup.environment)
        assert code == 0, out + err
        return out

    def start(self, program: str, what: str) -> Program:
        """Start a program of the folder, about a contest or with the address of a database."""
        out = self.folder / f"{program}.{uuid4().hex}.out"
        line: list[str | Path] = [
            sys.executable,
            FOLDER / program,
            self._access(NEWSROOMS[program]),
            self.registry,
            what,
        ]
        with out.open("w") as to:
            process = subprocess.Popen(line, stdout=to, stderr=to, cwd=self.folder)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return Program(program, process, out)

    def show(self, contest: str, *area: str) -> Any:
        """`escrutinio show --json`."""
        return json.loads(self.run("results", "show", contest, *area, "--json"))

    def send(self, principal: str, topic: str, *messages: Any) -> None:
        """Send messages as they are."""
        with closing(self.broker.access(principal).open(KafkaProducer, acks="all")) as producer:
            for message in messages:
                producer.send(topic, key=message.key, value=message.value, headers=list(message.headers))

    def send_sign(self, within_ms: int = 1000, **changes: Any) -> None:
        """Send a sign of life of ingest that promises the next within a second."""
        now = datetime.now(UTC).replace(microsecond=0)
        sign = an_ingest_status(at=now, started_at=now, asked_at=now, next_within_ms=within_ms, **changes)
        self.send("ingest", NAMES.ingest_status, encode(sign))

    def messages(self, topic: str) -> list[Any]:
        """What stands on a topic."""
        with closing(self.broker.access("newsroom-demo").open(KafkaConsumer, enable_auto_commit=False)) as consumer:
            (partition,) = partitions = [TopicPartition(topic, 0)]
            consumer.assign(partitions)
            consumer.seek_to_beginning(partition)
            end, found = consumer.end_offsets(partitions)[partition], []
            while consumer.position(partition) < end:
                found += consumer.poll(timeout_ms=1000).get(partition, [])
        return found

    def events(self, topic: str) -> list[Event]:
        """The records of a topic."""
        return [decode(message.value, message.headers) for message in self.messages(topic)]

    def totals(self) -> list[AreaCount]:
        """Every total."""
        return [event for event in self.events(NAMES.totals) if isinstance(event, AreaCount)]

    def table_rows(self) -> list[Any]:
        """The newsroom's table."""
        with psycopg.connect(self.table) as db:
            return db.execute("SELECT * FROM totals ORDER BY contest_id, area_id").fetchall()

    def _access(self, principal: str | None) -> Path:
        return self.broker.secrets / "kafka" / f"{principal}.properties"


AREAS = [(CONTEST, "pe"), *((SMALL, area) for area in ("ny", "broome", "kings"))]
AREAS_OF_STATE = "area_id,name,type,parent_id\nny,New York,state,\nbroome,Broome,county,ny\nkings,Kings,county,ny\n"
TEST_TOML = TOML.replace(SMALL, REHEARSAL).replace("expected_units", "is_test = true\nexpected_units")


@pytest.fixture(scope="module")
def newsroom(
    secured_server: SecuredBroker, postgres_server: Postgres, migrated_template: str, new_root: Callable[[], Path]
) -> Iterator[Newsroom]:
    """The deployment: topics are empty, registry, aggregator and ingest run."""
    folder, database = new_root(), f"newsroom_{uuid4().hex[:12]}"
    postgres_server.create_database(database, migrated_template)
    postgres_server.create_database(f"{database}_own")
    (folder / "incoming").mkdir()
    with ExitStack() as stack:
        stack.callback(empty, secured_server)
        empty(secured_server)
        ours = database_of(postgres_server, database)
        setup = Setup(secured_server.access("newsroom-demo").bootstrap_servers, "", ours, folder / "archive")
        found = Newsroom(secured_server, setup, folder, stack)
        listen, http = free_port(), free_port()
        found.registry = f"http://127.0.0.1:{listen}"
        found.table = database_of(postgres_server, f"{database}_own").owner_url
        found.service("api", "serve", "--listen", f"127.0.0.1:{listen}")
        found.service("aggregator", "run", "--publish", "--http", f"127.0.0.1:{http}", principal="aggregator")
        watch = ("watch", "--contest", EXAMPLE / "contest.toml", "--every", "0.2", "--silent-after", "6")
        found.service("ingest", *watch, folder / "incoming", principal="ingest")
        eventually(lambda: ask(f"http://127.0.0.1:{http}/ready") is None)
        yield found
    for name in (f"{database}_own", database):
        postgres_server.drop_database(name)


@dataclass
class Story:
    """What was printed, and what stood on the topics and in our tables at the end."""

    lives: dict[str, list[list[str]]]
    """Of the followers of Peru, by name: the lines of each life, of which the first was killed."""
    small: list[str]
    rehearsal: list[str]
    table: list[str]
    rows: list[Any]
    shown: dict[tuple[str, str], Any]
    notices: list[Notice]
    totals: dict[tuple[str, str], AreaCount]
    """The last with the highest offset, of each area."""


def rows_of(first: int, last: int) -> str:
    """Rows of the example's updates, by number, with the header."""
    header, *rows = (EXAMPLE / "updates.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join([header, *rows[first - 1 : last]])


@pytest.fixture(scope="module")
def story(newsroom: Newsroom) -> Story:
    """The night of Peru, in which the followers are killed after its second fall; a small state, and its rehearsal."""
    n, incoming = newsroom, newsroom.folder / "incoming"
    table = n.start(TABLE, n.table)
    followers = [n.start(name, CONTEST) for name in FOLLOWERS]
    for program in followers:
        program.says("FEED")
    for number, (first, last) in enumerate([(1, 31), (32, 32)]):
        (incoming / f"{number}.csv").write_text(rows_of(first, last), encoding="utf-8")
        for program in followers:
            program.says("NOTICE FELL", ("Fuerza Popular −276", "Fuerza Popular −90")[number])
    # sent again, as after a crash of ours: the last of each, and a total that was replaced since
    before = n.messages(NAMES.totals)
    n.send("aggregator", NAMES.totals, before[-1], before[0])
    n.send("aggregator", NAMES.notices, n.messages(NAMES.notices)[-1])
    for program in (*followers, table):
        program.says("REFUSED a total", "offset")
    for program in followers:
        program.says("REFUSED a notice")
        program.says("FEED SILENT")
    for program in (*followers, table):
        program.kill()
    n.watch.kill()
    n.watch.wait()

    (n.folder / "rest.csv").write_text(rows_of(33, 48), encoding="utf-8")
    n.run("ingest", "load", "--contest", EXAMPLE / "contest.toml", n.folder / "rest.csv", principal="ingest")
    small = n.start(FOLLOWERS[0], SMALL)
    _small(n, small)
    table_again = n.start(TABLE, n.table)
    again = [n.start(name, CONTEST) for name in FOLLOWERS]
    rehearsal = n.start(FOLLOWERS[1], REHEARSAL)
    n.run("ingest", "close", "--contest", EXAMPLE / "contest.toml", "--authority", "ONPE", "--reason", "all is counted",
          principal="ingest")  # fmt: skip
    for program in again:
        program.says("NOTICE FINAL")  # the last on the topic
    small.says("Kings: Green Party 280")
    rehearsal.says("Kings: Green Party 300")
    table_again.says("TEST", "Kings")
    shown = {(of, area): n.show(of, area) for of, area in AREAS}
    eventually(lambda: [row[:2] for row in n.table_rows()] == sorted(AREAS), n.table_rows)

    # ingest is dead, and is told so within what it promised
    for program in again:
        program.says("FEED DEAD: no sign of life from ingest since")
    for changes in ({"state": SourceState.CLOSED}, {"fault": "No such file"}, {}):
        n.send_sign(**changes)
        for program in again:
            program.says("FEED " + ("CLOSED" if "state" in changes else "BROKEN" if changes else "ALIVE"))
    for program in again:
        program.ends_with("FEED DEAD: no sign of life from ingest since")
    n.broker.kill()
    for program in again:
        program.says("FEED DEAD: the broker does not answer")
    n.broker.start()
    n.send_sign(60_000)
    for program in again:
        program.ends_with("FEED ALIVE")
    return Story(
        {p.name: [p.lines, q.lines] for p, q in zip(followers, again, strict=True)},
        small.lines,
        rehearsal.lines,
        table.lines + table_again.lines,
        n.table_rows(),
        shown,
        [event for event in n.events(NAMES.notices) if isinstance(event, Notice)],
        {(of.contest_id, of.area_id): of for of in sorted(n.totals(), key=lambda of: of.as_of_offset)},
    )


def _small(n: Newsroom, follower: Program) -> None:
    """A state of two counties, one of which is corrected; and its rehearsal, whose figures state no time."""
    first = HEADER + row("0001", "ny/broome") + row("0002", "ny/kings", 300, 400)
    of_kings = HEADER + row("0002", "ny/kings", 280, 400, hour=22)
    documents = {"first": first, "second": of_kings}
    contest = written(n.folder / "small", TOML, AREAS_OF_STATE, **documents)
    untimed = first.replace(SMALL, REHEARSAL).replace("2020-11-03T21:30:00-05:00", "")
    test = written(n.folder / "rehearsal", TEST_TOML, AREAS_OF_STATE, first=untimed)
    for of, document in ((contest, "first"), (test, "first"), (contest, "second")):
        if document == "second":
            follower.says("TOTAL Kings")
        stated = ("--stated-at", "2020-11-04T04:00:00Z")
        n.run("ingest", "load", "--contest", of, *stated, of.parent / f"{document}.csv", principal="ingest")


def beginning(lines: list[str], word: str) -> list[str]:
    """The lines that begin so."""
    return [line for line in lines if line.startswith(word)]


def is_told(line: str, shown: Any) -> bool:
    """Whether a line of a total tells what `show` answered."""
    votes = [f"{s['party']} {s['votes']:,} ({s['share']} %)" for s in shown["selections"]]
    counted, expected = shown["progress"]["counted"], shown["progress"]["expected"]
    percent = "–" if expected is None else f"{Decimal(100 * counted) / expected:.3f}"
    sheets = f"{counted:,} of {'not stated' if expected is None else f'{expected:,}'} tally sheets ({percent} %)"
    return all(words in line for words in (f"TOTAL {shown['area_name']}: ", *votes, sheets))


@pytest.mark.parametrize("name", FOLLOWERS)
def test_the_totals_are_those_that_show_answers(story: Story, name: str) -> None:
    shown = story.shown[CONTEST, "pe"]
    first, *_ = beginning(story.lives[name][1], "TOTAL")
    assert is_told(first, shown), (first, shown)
    assert "as of 2021-06-08 23:19:00Z" in first


@pytest.mark.parametrize("area", [area for of, area in AREAS if of == SMALL])
def test_so_are_those_of_the_areas_directly_in_it(story: Story, area: str) -> None:
    shown = story.shown[SMALL, area]
    assert is_told(beginning(story.small, f"TOTAL {shown['area_name']}")[-1], shown)


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_fall_is_told_with_the_statement_behind_it(story: Story, name: str) -> None:
    lines = story.lives[name][0]
    why = "  CORRECTED country/pe: peru-libre −90, fuerza-popular −90"
    fell = lines.index("  FELL: counted -1, under_review +1, votes.fuerza-popular -90, votes.peru-libre -90")
    assert lines[fell + 1].startswith(why)
    (notice,) = [at for at, line in enumerate(lines) if line.startswith("NOTICE FELL") and "Perú Libre −90" in line]
    assert lines[notice + 1].startswith(why)


def test_a_fall_of_a_county_is_told_with_its_sheet(story: Story) -> None:
    kings = story.small.index(beginning(story.small, "TOTAL Kings")[-1])
    assert story.small[kings + 1] == "  FELL: votes.lee -20"
    assert story.small[kings + 2].startswith("  CORRECTED precinct/0002: lee −20")


@pytest.mark.parametrize("name", FOLLOWERS)
def test_each_notice_is_told_once_though_it_is_killed(story: Story, name: str) -> None:
    ours = {notice.event_id: notice for notice in story.notices if notice.contest_id == CONTEST}
    assert len(ours) < len([notice for notice in story.notices if notice.contest_id == CONTEST]), "one was sent again"
    told = [line for life in story.lives[name] for line in beginning(life, "NOTICE")]
    assert told == [f"NOTICE {notice.kind} {notice.sentence}" for notice in ours.values()]
    assert all(beginning(life, "NOTICE") for life in story.lives[name])


@pytest.mark.parametrize("name", FOLLOWERS)
def test_what_is_refused_is_named(story: Story, name: str) -> None:
    first, second = story.lives[name]
    whys = ("ours is as of offset", "it is the one that we have, sent again", "it was told, and is sent again")
    refused = beginning(first, "REFUSED")
    assert [sum(why in line for line in refused) for why in whys] == [1, 1, 1]
    assert len(refused) == 3
    assert beginning(second, "REFUSED") == []


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_feed_is_alive_silent_closed_or_dead(story: Story, name: str) -> None:
    first, second = (beginning(life, "FEED") for life in story.lives[name])
    assert [line.split(":")[0] for line in first][-2:] == ["FEED ALIVE", "FEED SILENT"]
    told = second[[line.startswith("FEED DEAD") for line in second].index(True) :]  # before, ingest is not missed yet
    expected = [
        "FEED DEAD: no sign of life from ingest since",
        "FEED CLOSED",
        "FEED BROKEN: the source does not answer: No such file",
        "FEED ALIVE",
        "FEED DEAD: no sign of life from ingest since",
        "FEED DEAD: the broker does not answer",
    ]
    assert [line.startswith(words) for line, words in zip(told, expected, strict=False)] == [True] * 6, told
    assert told[-1].startswith("FEED ALIVE")


def test_a_rehearsal_is_no_result(story: Story) -> None:
    told = [line for line in story.rehearsal if "TOTAL" in line or "NOTICE" in line]
    assert [line for line in told if not line.startswith("TEST, no result: ")] == []
    assert any("Kings: Green Party 300" in line and "the office states no time" in line for line in told), told
    assert not any(row[0] == REHEARSAL for row in story.rows)
    assert any(line.startswith("TEST, no result: the total of Kings") for line in story.table)


def test_the_table_has_what_show_answers_though_its_program_was_killed(story: Story) -> None:
    rows = {(row[0], row[1]): row for row in story.rows}
    assert rows.keys() == story.shown.keys()
    for key, shown in story.shown.items():
        _, _, name, path, state, reason, votes, leader, lead, counted, expected, *_ = rows[key]
        assert (name, path[-1], state, reason) == (shown["area_name"], key[1], "COUNTED", None)
        assert votes == {s["selection_id"]: s["votes"] for s in shown["selections"]}
        assert (leader, lead) == (shown["leader"], shown["lead"])
        assert (counted, expected) == (shown["progress"]["counted"], shown["progress"]["expected"])
        assert rows[key][14:] == (story.totals[key].as_of_offset, story.totals[key].event_id)
    assert len(beginning(story.table, "REFUSED")) >= 1


@pytest.mark.parametrize("name", FOLLOWERS)
def test_the_output_in_the_docs_is_what_is_printed(story: Story, name: str) -> None:
    page = (CHECKOUT / "docs" / "newsrooms.md").read_text(encoding="utf-8")
    printed = [line for life in story.lives[name] for line in life]
    (block,) = re.findall(r"\n    \$ python totals_kafka_python\.py .*\n((?:    .+\n)+)", page)
    lines = [line[4:] for line in block.splitlines()]
    assert len(lines) > 5
    told = {_without_ours(line) for line in printed}
    assert [line for line in lines if _without_ours(line) not in told] == []


def _without_ours(line: str) -> str:
    """Without what differs from run to run: our times, and offsets, since the log has the source's silences, too."""
    return re.sub(r"(since|offset) [0-9][0-9: -]*Z?", r"\1 …", line)


def test_the_table_in_the_docs_is_the_one_that_is_filled(story: Story) -> None:
    page = (CHECKOUT / "docs" / "newsrooms.md").read_text(encoding="utf-8")
    (of_peru,) = (row for row in story.rows if row[0] == CONTEST)
    said = [of_peru[2], json.dumps(of_peru[6]), str(of_peru[11]), f"{of_peru[12].astimezone(UTC):%F %T}+00"]
    assert f"\n    {'|'.join(said)}\n" in page
