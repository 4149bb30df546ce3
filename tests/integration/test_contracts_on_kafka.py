"""The written contracts hold on a real broker: of topics that our command made, and of every message of a night.

Read is what stands in `docs/contracts/`, as a newsroom would. Besides, on each topic stand the records that
`schemas.topics` names, and no others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import yaml
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from runtime.kafka.topics import Description, Topics
from schemas.codec import decode
from schemas.log_record import RawRecord
from schemas.topics import REJECTED, TOPICS, TopicNames
from tests.support.contracts.files import ASYNCAPI, FOLDER
from tests.support.contracts.held import faults, of_headers
from tests.support.fix_ingest import UPDATES, Desk
from tests.support.fix_postgres import Database
from tests.support.fix_setup import Setup
from tests.support.ingest_samples import EXAMPLE
from tests.support.published import at_work
from tests.support.servers import Broker
from tests.support.small_contest import HEADER, TOML, row, written
from tests.support.waiting import eventually

REGISTERED = {topic.name: topic.records for topic in TOPICS}
"""The records of each topic; none where the values are no Avro."""
OF_THE_CLUSTER = {"min.insync.replicas"}
"""Follows from how many brokers there are, so no contract can say it."""


def asyncapi() -> Any:
    return yaml.safe_load(ASYNCAPI.read_text(encoding="utf-8"))


def odcs(topic: str) -> Any:
    return yaml.safe_load((FOLDER / f"{topic}.odcs.yaml").read_text(encoding="utf-8"))


def custom(properties: Any) -> dict[str, Any]:
    return {one["property"]: one["value"] for one in properties}


def as_kafka_has(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def check(message: RawRecord, described: Any) -> Any:
    """Compare a message with what the AsyncAPI document says of it, and return its value."""
    binding, headers = described["bindings"]["kafka"], dict(message.headers)
    assert len(headers) == len(message.headers), "a header stands twice"
    assert of_headers({name: (value or b"").decode() for name, value in headers.items()}, described["headers"]) == []
    assert message.key is not None
    assert faults(message.key.decode(), binding["key"]) == []
    assert message.value is not None
    body = io.BytesIO(message.value[5:])
    schema = fastavro.parse_schema(described["payload"]["schema"])
    read: Any = fastavro.schemaless_reader(body, schema, None)
    assert body.read() == b""
    return read


def check_cloudevent(message: RawRecord, value: Any) -> None:
    """The standard package reads the message as an event in binary mode, and it is the value's."""
    headers = {name: content for name, content in message.headers if content is not None}
    event = from_binary(KafkaMessage(headers, message.key, message.value or b""), JSONFormat())
    assert (event.get_specversion(), event.get_datacontenttype()) == ("1.0", "application/avro")
    assert event.get_id() == str(value["event_id"])
    assert event.get_source() == f"urn:escrutinio:contest:{value['contest_id']}"
    assert event.get_subject()
    assert event.get_time() in value.values()
    assert event.get_data() == message.value


def check_settings(binding: Any, of_topic: Any, about: Description) -> None:
    """The topic has these settings and no others of its own."""
    settings = {key: as_kafka_has(value) for key, value in binding["topicConfiguration"].items()}
    assert settings == {key: value for key, value in about.changed.items() if key not in OF_THE_CLUSTER}
    assert settings == {key: as_kafka_has(value) for key, value in of_topic["topicConfiguration"].items()}
    assert binding["partitions"] == of_topic["partitions"] == about.partitions


def check_record(message: RawRecord, value: Any, record: Any) -> None:
    """Compare a message with what the data contract says of it."""
    assert list(value) == [one["name"] for one in record["properties"]]
    assert [one["name"] for one in record["properties"] if one["required"] and value[one["name"]] is None] == []
    promised = custom(record["customProperties"])
    assert {one["name"] for one in promised["headers"]} == dict(message.headers).keys()
    for one in promised["headers"]:
        described = {name: said for name, said in one.items() if name != "name"}
        assert faults((dict(message.headers)[one["name"]] or b"").decode(), described) == []


def check_texts(messages: Sequence[RawRecord], described: Any) -> None:
    """Compare messages that are no Avro with what the AsyncAPI document says of them."""
    assert len(messages) > 1, "a claim, and a checkpoint"
    for message in messages:
        headers = {name: (value or b"").decode() for name, value in message.headers}
        assert faults((message.value or b"").decode(), described["payload"]) == []
        assert faults((message.key or b"").decode(), described["bindings"]["kafka"]["key"]) == []
        assert of_headers(headers, described["headers"]) == []


def described(desk: Desk) -> dict[str, Description]:
    """What the broker says of each topic."""
    with Topics(desk.connection.kafka) as topics:
        found = {topic.name: topics.describe(desk.names.prefix + topic.name) for topic in TOPICS}
    return {name: about for name, about in found.items() if about is not None}


def fill(desk: Desk, totals: Database, folder: Path) -> None:
    """Let ingest and aggregator write every record: a night of the example, and the roll of another contest."""
    example, incoming = desk.contest, folder / "incoming"
    incoming.mkdir()
    toml = TOML.replace("expected_units = 3\n", 'roll = "roll.csv"\n')
    roll = "unit_id,area_id,registered_voters\n0001,broome,500\n"
    desk.contest = written(folder / "small", toml, t1=HEADER + row("0001", "broome"), roll=roll)
    assert desk.run("define", desk.contest).returncode == 0
    desk.contest = example
    desk.load(UPDATES)
    assert desk.run("close", "--authority", "ONPE", "--reason", "all is counted").returncode == 0
    watching = desk.begin("watch", "--every", "0.2", incoming)
    try:
        eventually(lambda: desk.messages(desk.names.ingest_status))
    finally:
        watching.terminate()
        watching.communicate()
    setup = Setup(desk.broker.bootstrap_servers, desk.names.prefix, totals, folder / "archive")
    setup.run("audit", "key", "log.example/test", str(folder / "log.key"))
    setup.run("audit", "run", "--once", "--signing-key", str(folder / "log.key"), str(folder / "proof"))
    with at_work(setup):
        eventually(lambda: all(desk.messages(topic) for topic in (desk.names.count_status, desk.names.notices)))


def test_the_contracts_hold_on_a_real_broker(
    kafka_server: Broker, topic_prefix: str, totals: Database, tmp_path: Path
) -> None:
    desk = Desk(kafka_server, TopicNames(topic_prefix), tmp_path, EXAMPLE / "contest.toml")
    assert desk.run("topics").returncode == 0
    fill(desk, totals, tmp_path)
    made, contract = described(desk), asyncapi()
    assert made.keys() - contract["channels"].keys() == {REJECTED.name}, "which a newsroom may not read"
    for name, channel in contract["channels"].items():
        of_topic, about = odcs(name), made[name]
        check_settings(channel["bindings"]["kafka"], custom(of_topic["customProperties"]), about)
        if REGISTERED[name] == ():
            (text,) = (contract["components"]["messages"][message] for message in channel["messages"])
            check_texts(desk.messages(topic_prefix + name), text)
            continue
        described_by_id = {}
        for message in channel["messages"]:
            one = contract["components"]["messages"][message]
            described_by_id[one["bindings"]["kafka"]["x-schema-id"]] = one
        records = {custom(one["customProperties"])["schemaId"]: one for one in of_topic["schema"]}
        found = set()
        for message in desk.messages(topic_prefix + name):
            schema_id = int.from_bytes((message.value or b"")[1:5])
            value = check(message, described_by_id[schema_id])
            check_cloudevent(message, value)
            check_record(message, value, records[schema_id])
            found.add(type(decode(message.value, message.headers)).__name__)
        assert found == {one["name"] for one in of_topic["schema"]} == set(REGISTERED[name]), name
