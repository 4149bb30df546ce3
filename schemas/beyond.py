"""Tell what a reader knows of an event of a later version, and what it does not (pure).

What it does not know stays with the event (`Event.beyond`), in the form that its canonical text has: the id of an
event of tomorrow is checked today. There, a field with a default is left out where it has that default.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.errors import ContractError
from schemas.types import from_milliseconds, rfc3339


def branch(schema: Any) -> Any:
    """Return the other branch of a union with null, or the schema itself when it is not a union."""
    if not isinstance(schema, list):
        return schema
    others = [s for s in schema if s != "null"]
    if len(others) != 1:
        raise ContractError(f"no released schema uses {schema!r}; extend schemas/codec.py first")
    return others[0]


def kind(schema: Any) -> str:
    """Return the logical type of a schema, or its type where it has none."""
    return schema if isinstance(schema, str) else str(schema.get("logicalType") or schema["type"])


def beyond(value: dict[str, Any], writer: Any, reader: Any) -> dict[str, Any]:
    """Take out of a decoded record what the reader's schema does not know, and return it, as `Event.beyond`.

    What a later version adds to a group that is no part of the canonical text is passed over. Raises ValueError for a
    text with a NUL character, which no table can store.
    """
    found: dict[str, Any] = {}
    known = {field["name"]: field["type"] for field in reader["fields"]}
    for written in writer["fields"]:
        name, of = written["name"], written["type"]
        if name in known:
            value[name], later = _split(value[name], of, known[name])
            if later is not None:
                found[name] = later
        elif not _is_default(later := value.pop(name), written):
            found[name] = _stated(later, of)
    for name in _NO_STATEMENT if reader["name"] == "CountUpdate" else ():
        found.pop(name, None)
    return found


def _split(value: Any, writer: Any, reader: Any) -> tuple[Any, Any]:
    """Return what the reader knows of a value, and what it does not know; None where it knows all."""
    writer, reader = branch(writer), branch(reader)
    if value is None or isinstance(reader, str):
        return value, None
    match reader["type"]:
        case "enum" if value not in reader["symbols"]:
            return reader["default"], value
        case "record":
            return value, beyond(value, writer, reader) or None
        case "array":
            parts = {str(i): _split(one, writer["items"], reader["items"]) for i, one in enumerate(value)}
            return [of for of, _ in parts.values()], _what_is_later(parts)
        case "map":
            parts = {name: _split(one, writer["values"], reader["values"]) for name, one in value.items()}
            return {name: of for name, (of, _) in parts.items()}, _what_is_later(parts)
    return value, None


def _what_is_later(parts: Mapping[str, tuple[Any, Any]]) -> dict[str, Any] | None:
    return {place: later for place, (_, later) in parts.items() if later is not None} or None


def _stated(value: Any, schema: Any) -> Any:
    """Return a value of a type that is not known here, in JSON, without the fields of it that are at their defaults."""
    schema = branch(schema)
    if isinstance(value, str):
        return _storable(value)
    if value is None or isinstance(schema, str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, UUID):
        return str(value)
    match schema["type"]:
        case "record":
            fields = [f for f in schema["fields"] if not _is_default(value[f["name"]], f)]
            return {f["name"]: _stated(value[f["name"]], f["type"]) for f in fields}
        case "array":
            return [_stated(one, schema["items"]) for one in value]
        case "map":
            return {_storable(name): _stated(one, schema["values"]) for name, one in value.items()}
    return value


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text of a later release has a NUL character")
    return text


def _is_default(value: Any, field: Mapping[str, Any]) -> bool:
    """Say whether a field has the default of its schema."""
    return "default" in field and value == _of_json(field["default"], field["type"])


def _of_json(default: Any, schema: Any) -> Any:
    """Convert a default, which is of the first type of a union, to the value that a decoded message has."""
    first = schema[0] if isinstance(schema, list) else schema
    match kind(first):
        case "uuid":
            return UUID(default)
        case "timestamp-millis":
            return from_milliseconds(default)
        case "record":
            return {f["name"]: _of_json(default.get(f["name"], f.get("default")), f["type"]) for f in first["fields"]}
        case "array":
            return [_of_json(one, first["items"]) for one in default]
        case "map":
            return {name: _of_json(one, first["values"]) for name, one in default.items()}
    return default


_NO_STATEMENT = ("reporting_unit", "published_percentages", "source")
"""Groups of a CountUpdate that `identity.statement` leaves out, or takes single fields of."""
