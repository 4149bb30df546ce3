"""Everything from outside, spoilt at random, with a fresh seed in every run: documents, contest files, messages of the
log, `results.rejected` and heartbeats. For `make soak`.

The commands are processes with limits on memory and time. Each document ends in events, in a named rejection, or known
already; each message in an event, a finding, or a blocked contest that `status` tells; no command in a traceback or in
a line with an invisible character. A contest beside them is the same as on a log that nobody attacks.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from schemas.codec import Message, encode
from schemas.contest import ContestDefined
from schemas.identity import named
from schemas.text import first_invisible
from tests.support.builders import AREA_PATH, contest, sheet
from tests.support.fix_setup import EXAMPLE, STATED, Setup
from tests.support.ingest_samples import ACTA, DISTRICTS, FINAL, NATIONAL, many_sheets
from tests.support.servers import Broker
from tests.support.strategies import a_heartbeat
from tests.support.waiting import WITHIN_S

pytestmark = pytest.mark.soak

ROUNDS = 12
MEMORY = 3 << 30
"""Bytes of address space of a command; one with nothing to do has 1.2e9."""
OFFICE, MESSAGES, QUIET = "pe-2021-president-runoff", "xx-2021-messages", "pe-2021-quiet"
"""The contests: whose documents are spoilt, under whose key anything is written, and the one beside them."""

PIECES = [
    b"", b'"', b'""', b",", b";", b"\n", b"\r", b"\r\n", b"\0", b"\x1b[2J", b"\x1b]0;x\x07", b"\x85", b"\xff",
    b"\xef\xbb\xbf", "\u202e".encode(), "\u2028".encode(), "\u0663".encode(), "\uff11".encode(), b"NaN", b"-1",
    b"1e400",     b"9" * 30, b"9" * 5_000, b"0", b"x" * 20_000, b"[bold]", b"{", b"<html>", b"\n" * 1_000, b"," * 1_000,
    b"2021-06-08T16:15:44Z", b"9999-12-31T23:59:59Z",
    b"\x00\x00\x00\x00\x04", b"\x80" * 12, str(2**53).encode(), str(2**63).encode(), b"[" * 3_000,
]  # fmt: skip


def spoilt(chance: random.Random, content: bytes) -> bytes:
    """Some bytes in other places, gone, twice or others."""
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(content))
        end = min(len(content), at + chance.choice((0, 1, 1, 3, 20, 200)))
        piece = chance.choice(PIECES) if chance.random() < 0.7 else content[at:end] * chance.choice((2, 2, 50))
        content = content[:at] + piece + content[end:]
        if chance.random() < 0.1:
            content = content[: chance.randint(0, len(content))]
    return content


@dataclass
class Attack:
    """The attacked log, and who attacks it."""

    setup: Setup
    chance: random.Random
    folder: Path
    producer: Any = field(repr=False)

    def run(self, *command: str | Path, expect: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run a command within its limits. Fails the test when it ends otherwise."""
        form = self.chance.choice(("json", "text"))
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)],
            env=self.setup.environment | {"ESCRUTINIO_LOG_FORMAT": form},
            capture_output=True, text=True, check=False, timeout=WITHIN_S, cwd=self.folder,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )  # fmt: skip
        told = done.stdout + done.stderr
        assert done.returncode in expect, f"{command}: exit code {done.returncode}\n{told[-4000:]}"
        assert "Traceback" not in told, f"{command}:\n{told[-4000:]}"
        assert "unexpected fault" not in told, f"{command}:\n{told[-4000:]}"
        for line in told.split("\n"):
            assert first_invisible(line) is None, ascii(line)
        if form == "json":
            for line in filter(None, done.stderr.split("\n")):
                json.loads(line)
        return done

    def documents(self, number: int) -> list[Path]:
        """Write some spoilt documents, a few of them packed."""
        night = self.folder / f"round {number} \x1b[31m\u202e"
        night.mkdir()
        samples = [ACTA, FINAL, *NATIONAL.values(), *DISTRICTS.values()]
        samples.append((EXAMPLE / "updates.csv").read_text(encoding="utf-8"))
        found = [night / "line ends.csv.gz"]
        found[0].write_bytes(gzip.compress(b"\n" * (64 << 20)))
        for at in range(15):
            content = spoilt(self.chance, self.chance.choice(samples).encode())
            kind = self.chance.random()
            if kind < 0.15:
                content = spoilt(self.chance, gzip.compress(content))
            elif kind < 0.3:
                content = gzip.compress(content)
            path = night / f"document {at}\u2029{'.csv.gz' if kind < 0.3 else '.csv'}"
            path.write_bytes(content)
            found.append(path)
        return found

    def put(self, topic: str, messages: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> None:
        """Write anything on a topic."""
        for key, value, headers in messages:
            self.producer.send(topic, key=key, value=value, headers=headers)
        self.producer.flush()

    def message(self, real: Message) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
        """Spoil a message: its key (never into another contest's), its value, or its headers."""
        key: bytes | None = real.key
        value: bytes | None = real.value
        headers = list(real.headers)
        what = self.chance.randrange(5)
        if what == 0:
            key = self.chance.choice((None, b"", b"\xff", b"nobody", spoilt(self.chance, key or b"")[:200]))
        elif what == 1:
            headers = [(name, spoilt(self.chance, content)) for name, content in headers]
        elif what == 2:
            headers = self.chance.sample(headers, self.chance.randint(0, len(headers)))
        else:
            value = self.chance.choice((None, spoilt(self.chance, value or b""), self.chance.randbytes(40)))
        if real.key == MESSAGES.encode() and key in (OFFICE.encode(), QUIET.encode()):
            key = None
        return key, (b"" if key is None and value is None else value), headers


@pytest.fixture
def attack(kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path) -> Iterator[Attack]:
    seed = random.SystemRandom().getrandbits(64)
    sys.stderr.write(f"random.Random({seed})\n")  # shown with a failure
    with closing(KafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, max_request_size=8 << 20)) as producer:
        yield Attack(new_setup(kafka_server), random.Random(seed), tmp_path, producer)


def quiet_contest(folder: Path) -> Path:
    """The example's contest under another id, of which the sheets are added up."""
    file, text = folder / "quiet.toml", (EXAMPLE / "contest.toml").read_text(encoding="utf-8")
    text = re.sub("counting_levels = .*", 'counting_levels = ["precinct"]', text.replace(OFFICE, QUIET))
    file.write_text(text, encoding="utf-8")
    (folder / "areas.csv").write_bytes((EXAMPLE / "areas.csv").read_bytes())
    return file


def real_messages(chance: random.Random, number: int) -> list[Message]:
    """A night of the contest under whose key anything is written; an event may be of the far future, or name itself."""
    events = [
        sheet(mesa, {"a": chance.randrange(200), "b": 5}, contest_id=MESSAGES)
        for mesa in range(number * 10, number * 10 + 10)
    ]
    one = events[0].model_copy(
        update={"sequence": chance.choice((2, 2**31, 2**53 - 1)), "previous_event_id": events[0].event_id}
    )
    return [encode(event) for event in (*events, named(one))]


def test_whatever_comes_from_outside_the_contest_beside_it_is_counted(
    attack: Attack, kafka_server: Broker, new_setup: Callable[[Broker], Setup], tmp_path: Path
) -> None:
    calm, chance, setup = new_setup(kafka_server), attack.chance, attack.setup
    office, quiet = ("--contest", EXAMPLE / "contest.toml"), ("--contest", quiet_contest(tmp_path))
    fetched = ("--stated-at", STATED)
    attack.run("ingest", "define", EXAMPLE / "contest.toml")
    of_messages: ContestDefined = contest(MESSAGES)
    assert of_messages.areas[-1].area_id == AREA_PATH[-1]
    first = encode(of_messages)
    attack.put(setup.names.events, [(first.key, first.value, list(first.headers))])
    is_blocked = False
    for number in range(ROUNDS):
        # documents
        documents = attack.documents(number)
        done = attack.run("ingest", "load", *office, *fetched, "--json", *documents, expect=(0, 1, 2))
        report = json.loads(done.stdout)
        assert report["documents"] == len(documents)
        rejected = sum(report["rejected"].values())
        assert report["statements"] + rejected, "every document states something, or is rejected"
        assert all(one["code"] and one["expected"] for one in report["rejections"])
        again = json.loads(
            attack.run("ingest", "load", *office, *fetched, "--json", *documents, expect=(0, 1, 2)).stdout
        )
        assert not again["news"], "nothing is published twice"
        # contest files
        for at in range(3):
            text = spoilt(
                chance,
                (EXAMPLE / "contest.toml").read_text(encoding="utf-8").replace(OFFICE, f"xx-{number}-{at}").encode(),
            )
            (tmp_path / "spoilt.toml").write_bytes(text)
            attack.run("ingest", "define", tmp_path / "spoilt.toml", expect=(0, 2))
        # messages, rejections and heartbeats
        real = real_messages(chance, number)
        attack.put(setup.names.events, [attack.message(chance.choice(real)) for _ in range(20)])
        heartbeat = encode(a_heartbeat(contest_id=OFFICE))
        beside = [attack.message(heartbeat) for _ in range(10)]
        rejection = Message(OFFICE.encode(), b"x", [("ce_type", b"escrutinio.Rejected"), ("ce_id", b"\xff")])
        attack.put(setup.names.feed_status, [*beside, attack.message(rejection)])
        attack.put(
            setup.names.rejected,
            [
                attack.message(rejection),
                attack.message(heartbeat),
                (None, b"", [("ce_type", b"escrutinio.Rejected"), ("ce_id", b"\xff")]),
            ],
        )
        # the contest beside them, here and where nobody attacks
        sheets = many_sheets(tmp_path / f"quiet-{number}.csv", 50, number + 10, number, first=1 + 20 * number)
        attack.run("ingest", "load", *quiet, *fetched, sheets)
        calm.run("ingest", "load", *map(str, (*quiet, *fetched, sheets)))
        attack.run("aggregator", "run", "--until-caught-up")
        status = json.loads(attack.run("aggregator", "status", "--json", expect=(0, 1)).stdout)
        blocked = {one["contest_id"] for one in status["contests"] if one["blocked"]}
        is_blocked = is_blocked or bool(blocked) or bool(status["unattributed"])
        assert not blocked & {OFFICE, QUIET}
        assert (attack.run("aggregator", "status", expect=(0, 1)).returncode == 1) == is_blocked
        assert all(p["lag"] == 0 for p in status["partitions"])
        attack.run("aggregator", "verify", QUIET)
        attack.run("aggregator", "verify", OFFICE)
    assert is_blocked, "what is no event blocks its contest"
    calm.run("aggregator", "run", "--until-caught-up")
    shown = [
        json.loads(one)
        for one in (attack.run("results", "show", QUIET, "--json").stdout, calm.run("results", "show", QUIET, "--json"))
    ]
    assert shown[0]["digest"] == shown[1]["digest"]
    assert shown[0]["selections"] == shown[1]["selections"]
    attack.run("results", "explain", OFFICE, expect=(0, 1))
