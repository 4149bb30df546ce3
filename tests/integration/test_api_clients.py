"""The standard clients, unchanged, against the schema registry over HTTP: every record of ours, both ways."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from deploy.local.server import free_port
from runtime.healthcheck import ask
from schemas.codec import SCHEMAS, WRITTEN, encode
from schemas.count_update import CountUpdate
from schemas.identity import Event
from schemas.topics import TOPICS
from tests.support import tomorrow
from tests.support.fix_ingest import UPDATES, Desk
from tests.support.strategies import one_of_each
from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]
EVENTS = one_of_each()
WHERE = [(topic.name, record) for topic in TOPICS for record in topic.records]


@dataclass(frozen=True)
class Api:
    """A running process, and where it answers."""

    process: subprocess.Popen[str]
    url: str
    health: str


@contextmanager
def running(**settings: str) -> Iterator[Api]:
    """Run the command with these settings; asked to stop, it has to end in good order."""
    listen, http = free_port(), free_port()
    addresses = ["--listen", f"127.0.0.1:{listen}", "--http", f"127.0.0.1:{http}"]
    command = [sys.executable, "-m", "api", "serve", *addresses]
    environment = os.environ | {f"ESCRUTINIO_{name}": value for name, value in settings.items()}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        found = Api(process, f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{http}")
        try:
            eventually(lambda: ask(f"{found.health}/ready") is None)
            yield found
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[1]
            assert (process.returncode, "Traceback" in said) == (0, False), said
        finally:
            process.kill()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running() as found:
        yield found


@pytest.fixture
def client(api: Api) -> Iterator[SchemaRegistryClient]:
    """The standard client, which remembers nothing of other tests."""
    with SchemaRegistryClient({"url": api.url}) as client:
        yield client


def at(topic: str) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE)


def plainly(event: Event) -> Any:
    """What fastavro reads with the schema of our own files."""
    schema = fastavro.parse_schema(WRITTEN[type(event).__name__].avro)
    return fastavro.schemaless_reader(io.BytesIO(encode(event).value[5:]), schema, None)


def test_there_is_an_event_of_every_record() -> None:
    assert EVENTS.keys() == WRITTEN.keys() == {record for _, record in WHERE}


@pytest.mark.parametrize(("topic", "record"), WHERE)
def test_the_standard_deserializer_reads_every_record(client: SchemaRegistryClient, topic: str, record: str) -> None:
    event = EVENTS[record]
    read = AvroDeserializer(client)(encode(event).value, at(topic))
    assert isinstance(read, dict)
    assert (read["event_id"], read) == (event.event_id, plainly(event))


@pytest.mark.parametrize("registers", [True, False])
@pytest.mark.parametrize(("topic", "record"), WHERE)
def test_the_standard_serializer_finds_ours_whether_or_not_it_registers(
    client: SchemaRegistryClient, topic: str, record: str, registers: bool
) -> None:
    event = EVENTS[record]
    conf = {"auto.register.schemas": registers}
    write = AvroSerializer(client, WRITTEN[record].text, conf=conf)
    assert write(plainly(event), at(topic)) == encode(event).value
    by_record = conf | {"subject.name.strategy": record_subject_name_strategy}
    write = AvroSerializer(client, WRITTEN[record].text, conf=by_record)
    assert write(plainly(event), at("a.topic.of.others")) == encode(event).value


@pytest.mark.parametrize(("registers", "status", "code"), [(True, 422, 42205), (False, 404, 40403)])
def test_the_standard_serializer_is_refused_for_a_schema_of_others(
    client: SchemaRegistryClient, registers: bool, status: int, code: int
) -> None:
    foreign = '{"type": "record", "name": "escrutinio.CountUpdate", "fields": [{"name": "votes", "type": "long"}]}'
    write = AvroSerializer(client, foreign, conf={"auto.register.schemas": registers})
    with pytest.raises(SchemaRegistryError) as refused:
        write({"votes": 1}, at("results.events"))
    assert (refused.value.http_status_code, refused.value.error_code) == (status, code)
    assert client.get_versions("results.events-value") == [1, 2, 3, 4]


def test_the_latest_version_is_a_records_and_not_the_logs(client: SchemaRegistryClient) -> None:
    conf = {"use.latest.version": True, "subject.name.strategy": record_subject_name_strategy}
    sheet = EVENTS["CountUpdate"]
    assert AvroDeserializer(client, conf=conf)(encode(sheet).value, at("results.events")) == plainly(sheet)
    read = AvroDeserializer(client, conf={"use.latest.version": True})
    with pytest.raises(SchemaRegistryError, match=r"it has several records, escrutinio\.ContestDefined") as refused:
        read(encode(sheet).value, at("results.events"))
    assert (refused.value.http_status_code, refused.value.error_code) == (404, 40402)


def test_the_standard_client_asks_what_it_can_ask(client: SchemaRegistryClient) -> None:
    ours = Schema(WRITTEN["CountUpdate"].text, "AVRO")
    assert client.get_schema_types() == ["AVRO"]
    assert "escrutinio.CountUpdate" in client.get_subjects()
    for schema in SCHEMAS.values():
        assert client.get_schema(schema.id).schema_str == schema.text
        assert len(client.get_schema_versions(schema.id)) == len(client.get_subjects_by_schema_id(schema.id)) == 3
    found = client.lookup_schema("results.events-value", ours, normalize_schemas=True)
    assert (found.schema_id, found.version) == (2, 2)
    assert client.get_version("results.events-value", 2).schema_id == 2
    assert client.get_latest_version("escrutinio.CountUpdate").schema_id == 2
    assert client.get_referenced_by("escrutinio.CountUpdate", 1) == []
    assert client.test_compatibility("escrutinio.CountUpdate", ours) is True
    assert client.test_compatibility_all_versions("results.events-value", ours) is True
    assert client.get_config().compatibility_level == client.get_compatibility() == "FULL_TRANSITIVE"
    assert client.get_mode("escrutinio.CountUpdate") == client.get_global_mode() == "READONLY"
    for change in (
        lambda: client.set_compatibility(level="NONE"),
        lambda: client.delete_subject("results.events-value"),
    ):
        with pytest.raises(SchemaRegistryError, match="this registry is read-only") as refused:
            change()
        assert refused.value.error_code == 42205


def test_the_text_of_an_id_is_what_each_message_names(api: Api) -> None:
    for event in EVENTS.values():
        message = encode(event)
        with urlopen(f"{api.url}/schemas/ids/{int.from_bytes(message.value[1:5])}/schema", timeout=10) as answer:
            named = dict(message.headers)["schema_sha256"].decode()
            assert hashlib.sha256(answer.read()).hexdigest() == named


def test_it_is_live_and_counts(api: Api, client: SchemaRegistryClient) -> None:
    client.get_subjects()
    assert ask(f"{api.health}/live") is None
    with urlopen(f"{api.health}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'escrutinio_api_requests_total{route="/subjects",status="200"}' in text
    assert "escrutinio_build_info{" in text


def test_asked_to_stop_it_answers_the_request_at_hand_first() -> None:
    body = json.dumps({"schema": WRITTEN["CountUpdate"].text}).encode()
    head = f"POST /subjects/escrutinio.CountUpdate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with (
        running() as api,
        socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30) as at_hand,
    ):
        at_hand.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in at_hand.recv(1000)
        api.process.send_signal(signal.SIGTERM)
        eventually(lambda: "does not answer" in (ask(api.url) or ""))
        with pytest.raises(subprocess.TimeoutExpired):
            api.process.wait(1)
        at_hand.sendall(body)
        assert b"200 OK" in at_hand.recv(1000)


def test_an_address_in_use_ends_it_with_one_line(api: Api) -> None:
    command = [sys.executable, "-m", "api", "serve", "--listen", api.url.removeprefix("http://")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Address already in use; give another address with --listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rehearsal_has_its_prefix_and_a_later_release_is_read_once_its_schemas_are_there(
    client: SchemaRegistryClient,
) -> None:
    sheet = EVENTS["CountUpdate"]
    assert isinstance(sheet, CountUpdate)
    message, where = tomorrow.written(sheet, {"counts.spoiled_ballots": 3}), at("rehearsal.results.events")
    with pytest.raises(SchemaRegistryError, match=f"Schema {tomorrow.IDS['CountUpdate']} not found"):
        AvroDeserializer(client)(message.value, where)
    with (
        running(SCHEMAS=str(tomorrow.FOLDER), TOPIC_PREFIX="rehearsal.") as later,
        SchemaRegistryClient({"url": later.url}) as client_of_later,
    ):
        read = AvroDeserializer(client_of_later)(message.value, where)
        assert isinstance(read, dict)
        assert read["counts"]["spoiled_ballots"] == 3
        assert client_of_later.get_versions("escrutinio.CountUpdate") == [1, 2]
        assert client_of_later.get_versions("rehearsal.results.events-value") == [1, 2, 3, 4, 5, 6]


def test_the_program_of_the_docs_reads_the_whole_log(api: Api, desk: Desk) -> None:
    desk.load(UPDATES)
    page = (CHECKOUT / "docs" / "registry.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^    from confluent_kafka import .*\n(?:(?:    .*)?\n)+?(?=\S)", page, re.MULTILINE)
    for was, becomes in (
        ("http://127.0.0.1:8081", api.url),
        ("127.0.0.1:29092", desk.broker.bootstrap_servers),
        ("results.events", desk.names.events),
    ):
        assert was in program
        program = program.replace(was, becomes)
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(desk.log())), done.stderr
    assert done.stdout.startswith("0 {'event_id': UUID('")
