"""The command that puts a made-up night on a topic."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aggregator.log.reader import Log
from runtime.kafka.access import KafkaAccess
from schemas.codec import encode
from schemas.log_record import RawRecord
from tests.bench import fill
from tests.support.nights import Night, log, rough
from tests.support.servers import Broker

EVENTS = 600
UNITS = 30
NIGHT = rough(Night(events=EVENTS, units=UNITS, contests=2, municipalities=200))


def command(servers: str, topic: str) -> None:
    options = f"--bootstrap-servers {servers} --topic {topic} --events {EVENTS} --units {UNITS} --contests 2"
    options += " --municipalities 200 --rough"
    fill.main(options.split())


def read(servers: str, topic: str) -> list[RawRecord]:
    with Log(KafkaAccess(servers), topic) as door:
        return [record for batch in door.read_to_end(0) for record in batch]


def test_the_command_fills_a_topic_and_says_how_fast(
    kafka_server: Broker, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = topic_prefix + "night"
    command(kafka_server.bootstrap_servers, topic)
    assert capsys.readouterr().out.startswith(f"600 events on {topic} in ")
    expected = [encode(event) for _, event in log(NIGHT)]
    found = read(kafka_server.bootstrap_servers, topic)
    assert [(r.offset, r.key, r.value, r.headers) for r in found] == [
        (offset, m.key, m.value, m.headers) for offset, m in enumerate(expected)
    ]
    with pytest.raises(SystemExit, match="holds 600 messages already"):
        command(kafka_server.bootstrap_servers, topic)
    assert len(read(kafka_server.bootstrap_servers, topic)) == 600


def test_what_the_command_cannot_do_it_says(
    kafka_server: Broker, new_topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="no broker answers at"):
        command("127.0.0.1:1", "nowhere")
    with pytest.raises(SystemExit, match="no such night: at least one contest"):
        fill.main(["--bootstrap-servers", "127.0.0.1:1", "--topic", "nowhere", "--units", "0"])
    compacted = new_topic("compacted", cleanup_policy="compact")
    with pytest.raises(SystemExit, match=r"cleanup\.policy=compact"):
        command(kafka_server.bootstrap_servers, compacted)
    assert capsys.readouterr().out == ""
