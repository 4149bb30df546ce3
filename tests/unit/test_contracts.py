"""`docs/contracts/` is what the schemas, the topics and the words make. To renew: `python -m tests.support.contracts`.

On real topics it is compared by `tests/integration/test_contracts_on_kafka.py`; as documents of their kinds they are
checked by `tests/integration/test_contracts_checked.py`.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

import fastavro
import pytest
import yaml
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from schemas.codec import OWN, WRITTEN, encode
from schemas.topics import REJECTED
from schemas.types import rfc3339
from tests.support.contracts import words
from tests.support.contracts.asyncapi import document
from tests.support.contracts.files import ASYNCAPI, FOLDER, files
from tests.support.contracts.held import faults, of_headers
from tests.support.contracts.promised import CHECKOUT, KAFKA, REGISTRY, grants, group_pattern
from tests.support.fix_contracts import LINT
from tests.support.strategies import one_of_each

EVENTS = one_of_each()


def avro_messages() -> list[Any]:
    messages = document()["components"]["messages"].values()
    return [one for one in messages if one.get("contentType") == "application/avro"]


def test_the_contracts_are_those_of_the_schemas() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == files()
    assert yaml.safe_load(ASYNCAPI.read_text(encoding="utf-8")) == document()


def test_each_topic_that_a_newsroom_reads_has_a_contract_and_no_other() -> None:
    read = grants()["read"]
    assert REJECTED.name not in read
    assert {path.name for path in FOLDER.iterdir()} == {"asyncapi.yaml", *(f"{name}.odcs.yaml" for name in read)}
    contract = document()
    assert contract["channels"].keys() == words.TOPICS.keys() == set(read)
    assert [one["channel"]["$ref"] for one in contract["operations"].values()] == [
        f"#/channels/{name}" for name in contract["channels"]
    ]


def test_every_released_schema_is_a_message_with_its_own_text() -> None:
    messages = avro_messages()
    found = {one["bindings"]["kafka"]["x-schema-id"]: one["payload"]["schema"] for one in messages}
    assert found == {schema.id: json.loads(schema.text) for schema in OWN.values()}


def test_every_record_and_every_header_has_its_words_and_nothing_else_has() -> None:
    assert words.RECORDS.keys() == WRITTEN.keys() == EVENTS.keys()
    assert words.HEADERS.keys() == {name for event in EVENTS.values() for name, _ in encode(event).headers}


def test_the_addresses_and_groups_are_those_of_compose() -> None:
    compose = (CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8")
    assert f"${{ESCRUTINIO_KAFKA_ADDRESS:-{KAFKA}}}" in compose
    host, _, port = REGISTRY.removeprefix("http://").partition(":")
    assert f'"{host}:${{ESCRUTINIO_API_PORT:-{port}}}:' in compose
    assert re.search(group_pattern(), "newsroom-demo.1")
    for other in ("newsroom-demo", "newsroom-demo-2", "escrutinio-newsroom-demo.1", "newsroom-.1"):
        assert not re.search(group_pattern(), other)


def test_the_example_of_a_text_is_what_it_is_said_to_be() -> None:
    (message,) = (one for one in document()["components"]["messages"].values() if one["contentType"] == "text/plain")
    (example,) = message["examples"]
    assert faults(example["payload"], message["payload"]) == []
    assert faults(example["payload"].replace("\n\n", "\n"), message["payload"]) != []
    assert faults(message["bindings"]["kafka"]["x-example-key"], message["bindings"]["kafka"]["key"]) == []
    assert of_headers(example["headers"], message["headers"]) == []


def test_an_example_is_what_its_message_is_said_to_be() -> None:
    for message in avro_messages():
        (example,) = message["examples"]
        binding, body = message["bindings"]["kafka"], io.BytesIO()
        assert of_headers(example["headers"], message["headers"]) == []
        assert faults(binding["x-example-key"], binding["key"]) == []
        fastavro.schemaless_writer(body, fastavro.parse_schema(message["payload"]["schema"]), example["payload"])
        assert body.getvalue() == encode(EVENTS[message["title"]]).value[5:]


@pytest.mark.parametrize("record", EVENTS)
def test_the_standard_package_reads_every_record_as_a_cloudevent(record: str) -> None:
    event, message = EVENTS[record], encode(EVENTS[record])
    found = from_binary(KafkaMessage(dict(message.headers), message.key, message.value), JSONFormat())
    of = words.RECORDS[record]
    time = getattr(event, of.time)
    assert found.get_attributes() == {
        "specversion": "1.0",
        "id": str(event.event_id),
        "type": f"escrutinio.{record}",
        "source": f"urn:escrutinio:contest:{event.contest_id}",
        "subject": dict(message.headers)["ce_subject"].decode(),
        "time": time,
        "datacontenttype": "application/avro",
        "partitionkey": message.key.decode(),
    }
    assert dict(message.headers)["ce_time"].decode() == rfc3339(time)
    form = re.sub(r"[A-Z]{2,}", "[^/]+", of.subject.split(" ")[0].rstrip(";"))
    assert re.fullmatch(form, found.get_subject() or ""), "the words say another subject"
    assert found.get_data() == message.value


def test_the_locks_of_the_checkers_name_sums_and_no_addresses() -> None:
    npm, pip = ((LINT / name).read_text(encoding="utf-8") for name in ("package-lock.json", "requirements.lock"))
    packages = json.loads(npm)["packages"]
    assert [name for name, one in packages.items() if name and "integrity" not in one] == []
    assert len(re.findall(r"^[\w.-]+==", pip, re.MULTILINE)) == len(re.findall(r"\\\n    --hash=(?:.*\\\n)*", pip))
    assert "://" not in npm + pip
