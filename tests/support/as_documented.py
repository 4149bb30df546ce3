"""The canonical text of an event, by the words of docs/contract.md and with nothing of ours but the schema files.

Given what a plain fastavro client reads with the schema that a message was written with: also one of tomorrow.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import fastavro

NAMESPACE = UUID("6f1c43a2-97d0-5e0b-8c1e-2b6f0c9d3a51")
PROVENANCE = ("event_id", "observed_at", "published_percentages", "reporting_unit", "source")
WHERE_STATED = ("office_note", "recount", "registered_at", "replaced_by", "rules_version", "signed_at")


def rfc8785(value: Any) -> str:
    """Canonical JSON as RFC 8785 has it, for strings, whole numbers, booleans, nulls, lists and maps."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
        return '"' + "".join(short.get(c) or (c if c >= " " else f"\\u{ord(c):04x}") for c in value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(rfc8785, value)) + "]"
    members = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
    return "{" + ",".join(f"{rfc8785(k)}:{rfc8785(v)}" for k, v in members) + "}"


def read(value: bytes, writer: Any, reader: Any = None) -> Any:
    """What a plain client reads: the schema of the message, and its own as the reader's."""
    found = fastavro.schemaless_reader(io.BytesIO(value[5:]), writer, reader)
    assert isinstance(found, dict)
    return found


def text_of(event: Mapping[str, Any], schema: Any) -> str:
    """The canonical text of what `read` gives with the schema (its JSON) that the message was written with."""
    said = _in_words(event, schema)
    if schema["name"] != "CountUpdate":
        return rfc8785({name: value for name, value in said.items() if name not in ("event_id", "observed_at")})
    unit, counts = said["reporting_unit"], said["counts"]
    if counts is not None:
        said["counts"] = _where_stated(counts, "by_vote_type", "suppressed")
    stated = {name: value for name, value in said.items() if name not in PROVENANCE}
    unit = {"area_path": unit["area_path"], "unit_id": unit["id"], "unit_type": unit["type"]} | _where_stated(
        {"counted_with": unit["counted_with"]}, "counted_with"
    )
    return rfc8785(_where_stated(stated, *WHERE_STATED) | unit)


def id_of(text: str) -> UUID:
    """The id of the event with this text."""
    return uuid5(NAMESPACE, text)


def _where_stated(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None or name not in names}


def _in_words(value: Any, schema: Any) -> Any:
    """A value in JSON, without the fields that have the default of the schema."""
    if isinstance(schema, list):
        (schema,) = (branch for branch in schema if branch != "null")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if value is None or isinstance(schema, str):
        return value
    match schema["type"]:
        case "record":
            words = {f["name"]: _in_words(value[f["name"]], f["type"]) for f in schema["fields"]}
            return {f["name"]: words[f["name"]] for f in schema["fields"] if words[f["name"]] != f.get("default", ...)}
        case "array":
            return [_in_words(one, schema["items"]) for one in value]
        case "map":
            return {name: _in_words(one, schema["values"]) for name, one in value.items()}
    return value
