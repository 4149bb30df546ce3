"""What is promised of each topic that a newsroom reads, from the schemas, the topics, the grants and `encode`."""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tree.checkpoint import Checkpoint, origin_of
from audit.tree.merkle import EMPTY, leaf_hash
from audit.tree.note import Signer
from schemas.beyond import branch, kind
from schemas.codec import OWN, UNKNOWN, WRITTEN, Schema, encode
from schemas.topics import TOPICS, Topic
from tests.support.contracts import words
from tests.support.contracts.words import OfText
from tests.support.strategies import one_of_each

CHECKOUT = Path(__file__).parents[3]
NEWSROOM = "newsroom-*"
"""The principal of `deploy/kafka/grants.toml`."""
KAFKA, REGISTRY = "127.0.0.1:29092", "http://127.0.0.1:28081"
"""Where docker compose answers, by default."""


@dataclass(frozen=True)
class Promised:
    """A message: a released version of a record, as it stands on its topic."""

    schema: Schema
    headers: Mapping[str, Mapping[str, Any]]
    """By name, in order: a JSON Schema of the header's text, which is UTF-8."""
    key: Mapping[str, Any]
    example: Mapping[str, Any]
    """`headers`, `payload` and `key` of a message, as text and plain values."""

    @property
    def name(self) -> str:
        """The record and its version, as `CountUpdate.v1`."""
        return f"{self.schema.record}.{self.schema.path.stem.rpartition('.')[2]}"


@dataclass(frozen=True)
class Channel:
    """A topic with its messages: every released version of each of its records."""

    topic: Topic
    words: words.OfTopic
    messages: tuple[Promised, ...]
    """None where the values are no Avro."""

    @property
    def text(self) -> OfText | None:
        """What the values are where they are text."""
        return words.TEXTS.get(self.topic.name)

    @property
    def settings(self) -> dict[str, str | int | float]:
        """Those at its creation; `Topic.required` are checked by every service at its start."""
        return {name: _plainly(value) for name, value in {**self.topic.required, **self.topic.initial}.items()}

    @property
    def written(self) -> tuple[Promised, ...]:
        """The messages of the versions that are written today."""
        return tuple(one for one in self.messages if WRITTEN[one.schema.record] is one.schema)


def example_text() -> dict[str, str]:
    """Return a checkpoint by a key that is for everyone: `key`, `payload` and the header `next`."""
    signer = Signer("example.org/escrutinio", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    tree = Checkpoint(origin_of(signer.verifier.name, "results.events", 0), 0, EMPTY)
    later = tree._replace(size=1, root=leaf_hash(b""))
    return {"key": tree.origin, "payload": bytes(tree.signed(signer)).decode(), "next": str(later)}


def version() -> str:
    """Return the release: the contract's version."""
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    release: str = tomllib.loads(text)["project"]["version"]
    return release


def grants() -> Mapping[str, Any]:
    """Return what a newsroom may do."""
    text = (CHECKOUT / "deploy" / "kafka" / "grants.toml").read_text(encoding="utf-8")
    granted: Mapping[str, Any] = tomllib.loads(text)[NEWSROOM]
    return granted


def group_pattern() -> str:
    """Return which consumer groups a newsroom may have."""
    (prefix,) = grants()["groups"]
    return f"^{re.escape(str(prefix))}".replace(r"\*", "[a-z0-9-]+")


def channels() -> list[Channel]:
    """Return every topic that a newsroom reads, in the order of `schemas.topics`."""
    return [
        Channel(topic, words.TOPICS[topic.name], tuple(_promised(s) for s in OWN.values() if s.record in topic.records))
        for topic in TOPICS
        if topic.name in grants()["read"]
    ]


def _promised(schema: Schema) -> Promised:
    event = one_of_each()[schema.record]
    message = encode(event)
    key = message.key.decode()
    of_area = key != event.contest_id
    headers = {name: value.decode() for name, value in (*message.headers, *schema.headers)}
    newest = WRITTEN[schema.record]
    payload = fastavro.schemaless_reader(io.BytesIO(message.value[5:]), _physical(newest.avro), _physical(schema.avro))
    return Promised(
        schema,
        {name: _header(name, schema) for name in headers},
        {
            "type": "string",
            "description": words.AREA_KEY if of_area else words.CONTEST_KEY,
            "pattern": "^[^/]+/.+$" if of_area else "^.+$",
        },
        {"key": key, "headers": headers, "payload": payload},
    )


def _header(name: str, schema: Schema) -> dict[str, Any]:
    of = words.RECORDS[schema.record]
    described: dict[str, Any] = {
        "type": "string",
        "description": words.HEADERS[name].format(subject=of.subject, time=of.time),
    }
    fixed = dict(schema.headers).get(name)
    if fixed is not None:
        return described | {"const": fixed.decode()}
    if name == "ce_id":
        return described | {"format": "uuid"}
    if name == "ce_time":
        return described | {"format": "date-time"}
    if name == "ce_source":
        return described | {"pattern": "^urn:escrutinio:contest:.+$"}
    for field in schema.avro["fields"]:
        if field["name"] == name:  # a filter, which repeats the value's own
            return described | {"enum": symbols(branch(field["type"])) or ["true", "false"]}
    return described


def symbols(schema: Any) -> list[str]:
    """Return the symbols of an enum that are written; none for another type."""
    return [one for one in schema["symbols"] if one != UNKNOWN] if kind(schema) == "enum" else []


def _physical(schema: Any) -> Any:
    """Return a schema without its logical types: what is read by it are plain values."""
    if isinstance(schema, list):
        return [_physical(one) for one in schema]
    if isinstance(schema, dict):
        return {name: _physical(value) for name, value in schema.items() if name != "logicalType"}
    return schema


def _plainly(value: str) -> str | int | float:
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value
