"""The contract of one topic as an Open Data Contract (ODCS 3.2, the first with maps and enumerations)."""

from __future__ import annotations

from typing import Any

from schemas.beyond import branch, kind
from schemas.rules import RULES
from tests.support.contracts import words
from tests.support.contracts.promised import KAFKA, NEWSROOM, Channel, Promised, symbols, version

_LOGICAL = {
    "string": "string",
    "uuid": "string",
    "enum": "string",
    "long": "integer",
    "timestamp-millis": "timestamp",
    "boolean": "boolean",
    "record": "object",
    "array": "array",
    "map": "map",
}
_DAY_MS = 86_400_000


def document(channel: Channel) -> dict[str, Any]:
    """Return the contract of a topic, as plain values."""
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": f"urn:escrutinio:topic:{channel.topic.name}",
        "name": channel.topic.name,
        "version": version(),
        "status": "active",
        "domain": "elections",
        "description": {
            "purpose": channel.words.purpose,
            "usage": channel.words.usage,
            "limitations": f"{channel.words.limitations} {words.PROMISE}",
        },
        "servers": [
            {
                "server": "compose",
                "type": "kafka",
                "description": f"{words.COMPOSE} {words.ACCESS}",
                "host": KAFKA,
                "format": "avro" if channel.text is None else "text",
                "customProperties": _custom({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}),
            }
        ],
        "schema": [_record(channel, message) for message in channel.written]
        if channel.text is None
        else [_text(channel, channel.text)],
        "roles": [{"role": NEWSROOM, "access": "read"}],
        "slaProperties": _kept(channel),
        "customProperties": _custom(
            {
                "partitions": 1,
                "topicConfiguration": dict(channel.settings),
                "checkedAtStart": sorted(channel.topic.required),
            }
        ),
    }


def _kept(channel: Channel) -> list[dict[str, Any]]:
    settings = channel.settings
    if settings["cleanup.policy"] == "compact":
        return [{"property": "retention", "value": "the last of each key"}]
    if (kept := settings["retention.ms"]) == -1:
        return [{"property": "retention", "value": "for ever"}]
    assert isinstance(kept, int)
    return [{"property": "retention", "value": kept // _DAY_MS, "unit": "d"}]


def _record(channel: Channel, message: Promised) -> dict[str, Any]:
    schema = message.schema
    found = {
        "name": schema.record,
        "physicalName": channel.topic.name,
        "physicalType": "record",
        "logicalType": "object",
        "description": schema.avro["doc"],
        "properties": [_property(field) for field in schema.avro["fields"]],
        "customProperties": _custom(
            {
                "namespace": schema.avro["namespace"],
                "schemaId": schema.id,
                "schemaIdPayloadEncoding": "confluent",
                "schemaFile": schema.path.name,
                "schemaSha256": schema.sha256,
                "key": dict(message.key),
                "headers": [{"name": name} | dict(header) for name, header in message.headers.items()],
            }
        ),
    }
    if schema.record == "CountUpdate":
        found["quality"] = [
            {"name": code, "type": "text", "description": rule}
            for code, rule in RULES.items()
            if not code.startswith("F2")  # those are of documents: what breaks one is on no topic of these
        ]
    return found


def _text(channel: Channel, text: words.OfText) -> dict[str, Any]:
    about = {"key": {"type": "string", "description": text.key}}
    headers = [{"name": text.header, "type": "string", "description": text.header_is}]
    return {
        "name": text.name,
        "physicalName": channel.topic.name,
        "physicalType": "message",
        "logicalType": "object",
        "description": text.summary,
        "properties": [
            {
                "name": "value",
                "description": "The whole value of the message",
                "logicalType": "string",
                "physicalType": "text",
                "required": True,
                "logicalTypeOptions": {"pattern": text.pattern},
            }
        ],
        "customProperties": _custom({**about, "headers": headers}),
    }


def _property(field: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": field["name"]}
    if "doc" in field:
        found["description"] = field["doc"]
    return found | _typed(field["type"])


def _typed(schema: Any) -> dict[str, Any]:
    """Describe a type. `required` is that it is never null."""
    of = branch(schema)
    found: dict[str, Any] = {
        "logicalType": _LOGICAL[kind(of)],
        "physicalType": of if isinstance(of, str) else of["type"],
        "required": not isinstance(schema, list),
    }
    match kind(of):
        case "uuid":
            found["logicalTypeOptions"] = {"format": "uuid"}
        case "timestamp-millis":
            found["logicalTypeOptions"] = {"timezone": True}
        case "enum":
            found["enum"] = [{"value": symbol} for symbol in symbols(of)]
        case "record":
            found["properties"] = [_property(field) for field in of["fields"]]
        case "array":
            found["items"] = _typed(of["items"])
        case "map":
            found["map"] = {"key": _typed("string"), "value": _typed(of["values"])}
    if not isinstance(of, str) and "logicalType" in of:
        found["customProperties"] = _custom({"avroLogicalType": of["logicalType"]})
    return found


def _custom(properties: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"property": name, "value": value} for name, value in properties.items()]
