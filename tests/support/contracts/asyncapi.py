"""The contract as an AsyncAPI 3.0 document with Kafka bindings: what a newsroom receives, and how it is let in."""

from __future__ import annotations

from typing import Any

from tests.support.contracts import words
from tests.support.contracts.promised import (
    KAFKA,
    REGISTRY,
    Channel,
    Promised,
    channels,
    example_text,
    group_pattern,
    version,
)

AVRO = "application/vnd.apache.avro;version=1.9.0"
"""The `schemaFormat` of the payloads."""
_BINDING = {"bindingVersion": "0.5.0"}


def document() -> dict[str, Any]:
    """Return the document, as plain values."""
    every = channels()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:escrutinio",
        "info": {
            "title": "escrutinio: the count of an election, for newsrooms",
            "version": version(),
            "description": words.PROMISE,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/avro",
        "servers": {"compose": _server()},
        "channels": {one.topic.name: _channel(one) for one in every},
        "operations": {f"receive.{one.topic.name}": _operation(one) for one in every},
        "components": {
            "messages": {
                **{message.name: _message(message) for one in every for message in one.messages},
                **{one.text.name: _text(one.text) for one in every if one.text is not None},
            },
            "securitySchemes": {"password": {"type": "scramSha512", "description": words.ACCESS}},
        },
    }


def _server() -> dict[str, Any]:
    registry = {"schemaRegistryUrl": REGISTRY, "schemaRegistryVendor": "confluent"}
    return {
        "host": KAFKA,
        "protocol": "kafka-secure",
        "description": words.COMPOSE,
        "security": [{"$ref": "#/components/securitySchemes/password"}],
        "bindings": {"kafka": registry | _BINDING},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    settings: dict[str, Any] = dict(channel.settings)
    settings["cleanup.policy"] = str(settings["cleanup.policy"]).split(",")
    names = [one.name for one in channel.messages] or [channel.text.name if channel.text else ""]
    return {
        "address": channel.topic.name,
        "summary": channel.words.purpose,
        "description": f"{channel.words.usage} {channel.words.limitations}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": channel.topic.name,
                "partitions": 1,  # at its creation; with more, a contest still lives in one
                "topicConfiguration": settings,
                "x-checked-at-start": sorted(channel.topic.required),
            }
            | _BINDING
        },
    }


def _operation(channel: Channel) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel.topic.name}"},
        "summary": channel.words.purpose,
        "bindings": {"kafka": {"groupId": {"type": "string", "pattern": group_pattern()}} | _BINDING},
    }


def _message(message: Promised) -> dict[str, Any]:
    schema = message.schema
    return {
        "name": f"escrutinio.{schema.record}",
        "title": schema.record,
        "summary": schema.avro["doc"],
        "contentType": "application/avro",
        "headers": {
            "type": "object",
            "description": words.HEADERS_ARE_FOR_FINDING,
            "required": list(message.headers),
            "properties": {name: dict(header) for name, header in message.headers.items()},
        },
        "payload": {"schemaFormat": AVRO, "schema": schema.avro},
        "bindings": {
            "kafka": {
                "key": dict(message.key),
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicRecordNameStrategy",
                "x-schema-id": schema.id,
                "x-schema-file": schema.path.name,
                "x-schema-sha256": schema.sha256,
                "x-example-key": message.example["key"],
            }
            | _BINDING
        },
        "examples": [
            {
                "name": message.name,
                "summary": "Made up. A time is in milliseconds since 1970 in UTC",
                "headers": message.example["headers"],
                "payload": message.example["payload"],
            }
        ],
    }


def _text(text: words.OfText) -> dict[str, Any]:
    example = example_text()
    key = {"type": "string", "description": text.key, "pattern": "^.+/[0-9]+$"}
    return {
        "name": f"escrutinio.{text.name}",
        "title": text.name,
        "summary": text.summary,
        "contentType": "text/plain",
        "headers": {
            "type": "object",
            "required": [],
            "properties": {text.header: {"type": "string", "description": text.header_is}},
        },
        "payload": {"type": "string", "pattern": text.pattern},
        "bindings": {"kafka": {"key": key, "x-example-key": example["key"]} | _BINDING},
        "examples": [
            {
                "name": text.name,
                "summary": "Made up, with the key whose private half is zeros",
                "headers": {text.header: example[text.header]},
                "payload": example["payload"],
            }
        ],
    }
