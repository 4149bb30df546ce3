"""Write a message as a line of events.jsonl, from what Avro says and without the models (pure).

`export` writes these lines, and `check` makes them again from the messages: the two are equal to the byte. A line has
the fields of the schema in their order, times and symbols as the contract spells them. Of a message that is no event it
has the value, in base 64.
"""

import io
from base64 import b64encode
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import fastavro
import orjson

from schemas.beyond import branch, kind
from schemas.codec import SCHEMAS
from schemas.log_record import RawRecord
from schemas.types import from_milliseconds, rfc3339

_PREFIX = 5
"""Bytes of a value before its Avro body: 0, and the id of the schema."""


class _Reader(NamedTuple):
    """How messages of a schema are read. `times`: puts times in the contract's form, in place."""

    record: str
    avro: Any
    times: Callable[[Any], Any]


def line_of(message: RawRecord) -> bytes:
    """Return the line of a message, with its end."""
    about: dict[str, Any] = {"offset": message.offset, "recorded_at": rfc3339(message.recorded_at)}
    value = message.value or b""
    try:
        schema = SCHEMAS[int.from_bytes(value[1:_PREFIX])]
        reader = _reader(schema.id, schema.sha256)
        body = io.BytesIO(value)
        body.seek(_PREFIX)
        event = reader.times(fastavro.schemaless_reader(body, reader.avro, None))
        if value[0] == 0 and body.tell() == len(value):
            return _json(about | {"event_type": reader.record, "event": event})
    except Exception:  # noqa: S110 - on bytes that are no event fastavro can raise any exception
        pass
    return _json(about | {"value": None if message.value is None else b64encode(value).decode()})


def _json(about: dict[str, Any]) -> bytes:
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


@cache
def _reader(schema_id: int, _: str) -> _Reader:
    schema = SCHEMAS[schema_id]
    return _Reader(schema.record, fastavro.parse_schema(_plain(schema.avro)), _times(schema.avro) or (lambda of: of))


def _plain(schema: Any) -> Any:
    """Return a schema without logical types."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    nested = ("type", "items", "values", "fields")
    return {key: _plain(of) if key in nested else of for key, of in schema.items() if key != "logicalType"}


def _times(schema: Any) -> Callable[[Any], Any] | None:
    """Return what puts the times of a value in the contract's form; None where it has none."""
    match kind(schema):
        case "timestamp-millis":
            return _time
        case "record":
            fields = [(field["name"], _times(branch(field["type"]))) for field in schema["fields"]]
            return _each_of([(name, convert) for name, convert in fields if convert is not None])
        case "array":
            return _all_of(_times(branch(schema["items"])))
        case "map":
            assert _times(branch(schema["values"])) is None, "no map of a schema has times"
    return None


def _all_of(one: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if one is None else lambda values: [one(value) for value in values]


def _each_of(fields: list[tuple[str, Callable[[Any], Any]]]) -> Callable[[Any], Any] | None:
    def convert(record: Any) -> Any:
        for name, one in fields:
            if (value := record[name]) is not None:
                record[name] = one(value)
        return record

    return convert if fields else None


@lru_cache(maxsize=1 << 14)
def _time(milliseconds: int) -> str:
    return rfc3339(from_milliseconds(milliseconds))
