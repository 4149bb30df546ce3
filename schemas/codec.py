"""Encode and decode events: Confluent wire format, CloudEvents headers; a partly valid message is refused whole.

Value: byte 0, schema id (4 bytes, big-endian), Avro body. The ids are fixed in `manifest.json` and never reused, so
a message can be read in twenty years with this folder alone. Headers carry the CloudEvents attributes and the SHA-256
of the schema file, so a reader needs no registry.

An event is always written with the newest version of its record. Every released version is read, each with its own
schema. A field that an older version does not have gets the model's default, which is the schema's default too. A
version of a later release is read once its schema is there (`learn`): a field that is not known here is passed over,
and a symbol that is not known is the enumeration's default. Both stay in the event's canonical text, so its id is
checked as any other. A symbol that decides whether a statement counts leaves the total open (F116). Nothing is written
with a schema that was learnt, nor an event that was read with one.

The wire is plain Avro with the standard logical types (`uuid`, `timestamp-millis`). fastavro receives the schemas
without them and this module converts, because fastavro would read a naive time as local time, and is slower.
"""

import hashlib
import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
from fastavro.schema import SchemaParseException
from pydantic import ValidationError

from schemas.aggregator_status import AggregatorStatus
from schemas.area_count import AreaCount
from schemas.beyond import beyond, branch, kind
from schemas.branches import check
from schemas.compatibility import Version, faults
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import ContractError, NewerSchema
from schemas.faults import first_fault
from schemas.feed_status import FeedStatus
from schemas.identity import Event
from schemas.ingest_status import IngestStatus
from schemas.notice import Notice
from schemas.source_status import SourceStatus
from schemas.types import Frozen, ResultStage, UpdateKind, from_milliseconds, rfc3339, to_milliseconds
from schemas.unit_roll import UnitRoll

Headers = list[tuple[str, bytes]]

MAGIC = 0
_PREFIX = struct.Struct(">BI")
UNKNOWN = "UNKNOWN"
"""A symbol that stands for those of later versions, and is never written."""
_MODELS: dict[str, type[Event]] = {
    model.__name__: model
    for model in (
        AggregatorStatus, AreaCount, CountUpdate, ContestDefined, FeedStatus, IngestStatus, Notice, SourceStatus,
        UnitRoll,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A message for Kafka. The key is the contest id, so that all of a contest is in one partition.

    That of an AreaCount names the area, too: `key_of_area`.
    """

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Schema:
    """A released schema: its id on the wire, its file, and the hash by which anyone can check the file."""

    id: int
    path: Path
    record: str
    sha256: str
    text: str = field(repr=False)
    avro: dict[str, Any] = field(repr=False)
    wire: Any = field(repr=False)
    to_wire: Callable[[Any], Any] = field(repr=False)
    from_wire: Callable[[Any], Any] = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)


def encode(event: Event) -> Message:
    """Encode an event. Raises ContractError when it does not fit the schema, or a reader would refuse it."""
    schema = WRITTEN[type(event).__name__]
    body = io.BytesIO()
    body.write(_PREFIX.pack(MAGIC, schema.id))
    try:
        if event.beyond:
            raise ValueError(f"it states what only a later release knows: {', '.join(event.beyond)}")
        _check(event)
        fastavro.schemaless_writer(body, schema.wire, schema.to_wire(event), strict=True)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise ContractError(
            f"{type(event).__name__} {event.event_id} does not fit {schema.path.name}: {reason}"
        ) from error
    filters: Headers = []
    key = event.contest_id.encode()
    if isinstance(event, CountUpdate):
        subject, time = str(event.unit), event.stated_at
        filters = filters_of(event.kind, event.result_stage, event.is_test)
    elif isinstance(event, ContestDefined):
        subject, time = f"contest/{event.contest_id}", event.effective_at
    elif isinstance(event, UnitRoll):
        subject, time = f"roll/{event.revision}/{event.part}", event.observed_at
    elif isinstance(event, SourceStatus):
        subject, time = "source", event.since
    elif isinstance(event, IngestStatus):
        subject, time = "ingest", event.at
    elif isinstance(event, AggregatorStatus):
        subject, time = "count", event.at
    elif isinstance(event, AreaCount):
        subject, time, key = (
            f"area/{event.area_id}",
            event.as_of_recorded_at,
            key_of_area(event.contest_id, event.area_id),
        )
        filters = [_is_test(event.is_test)]
    elif isinstance(event, Notice):
        subject, time = "contest" if event.area_id is None else f"area/{event.area_id}", event.recorded_at
        filters = [("kind", event.kind.value.encode()), _is_test(event.is_test)]
    else:
        subject, time = f"{event.unit_type}/{event.unit_id}", event.stated_at
    return Message(
        key=key,
        value=body.getvalue(),
        headers=[
            *schema.headers,
            ("ce_id", str(event.event_id).encode()),
            ("ce_source", f"urn:escrutinio:contest:{event.contest_id}".encode()),
            ("ce_subject", subject.encode()),
            ("ce_time", rfc3339(time).encode()),
            *filters,
        ],
    )


def filters_of(kind: UpdateKind, stage: ResultStage, is_test: bool) -> Headers:
    """Return the headers by which a reader can pass over updates without decoding them."""
    return [
        ("kind", kind.value.encode()),
        ("result_stage", stage.value.encode()),
        _is_test(is_test),
    ]


def _is_test(is_test: bool) -> tuple[str, bytes]:
    return "is_test", b"true" if is_test else b"false"


def key_of_area(contest_id: str, area_id: str) -> bytes:
    """Return the key of an area's count, `CONTEST/AREA`: the contest's own slashes are written %2F, its % is %25."""
    return f"{contest_id.replace('%', '%25').replace('/', '%2F')}/{area_id}".encode()


def _check(model: Frozen) -> None:
    """Validate a model again: a copy with other values was never validated. Raises ValidationError."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    type(model).model_validate(values)
    for value in values.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Frozen):
                _check(one)


def decode(value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> Event:
    """Decode the event in a message's value. Raises ContractError, or NewerSchema when it needs a newer release.

    The headers are optional (a log exported without them is still a log). Where they name a schema, it must be the same
    as in the value.
    """
    if value is None or len(value) < _PREFIX.size:
        raise ContractError(f"a value of {len(value or b'')} bytes is too short to name a schema")
    magic, schema_id = _PREFIX.unpack_from(value)
    if magic != MAGIC:
        raise ContractError(f"first byte is {magic}, not {MAGIC}: not the Confluent wire format")
    schema = SCHEMAS.get(schema_id)
    if schema is None:
        known = ", ".join(str(i) for i in SCHEMAS)
        if schema_id > max(OWN) and any(name == "schema_sha256" and content for name, content in headers):
            raise NewerSchema(f"schema id {schema_id} is of a newer release (this one knows {known})")
        raise ContractError(f"schema id {schema_id} is not in the manifest (known: {known})")
    for name, content in headers:
        if name == "schema_sha256" and content != schema.sha256.encode():
            named = content and content[:16]  # Kafka lets a header be null
            raise ContractError(f"header names schema {named!r}…, id {schema_id} is {schema.sha256[:16]}…")
    body = io.BytesIO(value)
    body.seek(_PREFIX.size)
    try:
        plain = fastavro.schemaless_reader(body, schema.wire, None)
    except Exception as error:  # on corrupt bytes fastavro can raise any exception
        raise ContractError(f"not a {schema.record}: {type(error).__name__}: {error}") from error
    if body.tell() != len(value):
        raise ContractError(f"{len(value) - body.tell()} bytes left over after a {schema.record}")
    again = io.BytesIO()
    fastavro.schemaless_writer(again, schema.wire, plain)
    if again.getbuffer() != memoryview(value)[_PREFIX.size :]:  # as our encoder writes it, it has none
        try:
            check(value[_PREFIX.size :], schema.avro)
        except (ValueError, IndexError) as error:
            raise ContractError(f"not a {schema.record}: {error}") from error
    try:
        # Avro has already fixed the types; strict mode would refuse the strings that stand for UUIDs and enums.
        content = schema.from_wire(plain)
        later = {} if schema.id in OWN else beyond(content, schema.avro, WRITTEN[schema.record].avro)
        event = _MODELS[schema.record].model_validate(content, strict=False)
        event.beyond.update(later)
        return event
    except ValidationError as error:
        raise ContractError(f"not a {schema.record}: {first_fault(error)}") from error
    except ValueError as error:
        raise ContractError(f"not a {schema.record}: {error}") from error


def _load(directory: Path) -> dict[int, Schema]:
    """Load the released schemas. Raises ContractError for a file that was edited after its release."""
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    schemas = {}
    for entry in manifest["schemas"]:
        path = directory / entry["file"]
        raw = path.read_bytes()
        sha256 = hashlib.sha256(raw).hexdigest()
        if sha256 != entry["sha256"]:
            raise ContractError(f"{path} is not the released file: SHA-256 {sha256}, released {entry['sha256']}")
        avro = json.loads(raw)
        if entry["id"] in schemas:
            raise ContractError(f"schema id {entry['id']} is given twice in {directory / 'manifest.json'}")
        schemas[entry["id"]] = Schema(
            id=entry["id"],
            path=path,
            record=avro["name"],
            sha256=sha256,
            text=raw.decode(),
            avro=avro,
            wire=fastavro.parse_schema(_plain(avro)),
            to_wire=_to_wire(avro),
            from_wire=_from_wire(avro) or (lambda value: value),
            headers=(
                ("ce_specversion", b"1.0"),
                ("ce_type", f"escrutinio.{avro['name']}".encode()),
                ("content-type", b"application/avro"),
                ("schema_sha256", sha256.encode()),
            ),
        )
    return schemas


def _plain(schema: Any) -> Any:
    """Convert a schema for fastavro: without logical types, and an enum as the int that it is on the wire."""
    if isinstance(schema, list):
        return [_plain(s) for s in schema]
    if isinstance(schema, dict):
        if schema.get("type") == "enum":
            return "int"
        return {
            k: _plain(v) if k in ("type", "items", "values", "fields") else v
            for k, v in schema.items()
            if k != "logicalType"
        }
    return schema


def _to_wire(schema: Any) -> Callable[[Any], Any]:
    """Build the function that converts a model's value to the form that fastavro writes; once per schema.

    It raises ValueError with the field's name for a value of another type: fastavro would write any value as a boolean
    and the integer part of a float as a long.
    """
    match kind(schema):
        case "uuid":
            return _exactly(UUID, str)
        case "timestamp-millis":
            return to_milliseconds
        case "enum":
            symbols = {symbol: index for index, symbol in enumerate(schema["symbols"]) if symbol != UNKNOWN}

            def code(value: Any) -> int:
                if value not in symbols:
                    raise ValueError(f"{str(value)!r} is none of {', '.join(symbols)}")
                return symbols[value]

            return code
        case "record":
            fields = [(f["name"], _to_wire(branch(f["type"])), isinstance(f["type"], list)) for f in schema["fields"]]

            def record(value: Any) -> dict[str, Any]:
                wire: dict[str, Any] = {}
                for name, convert, nullable in fields:
                    item = getattr(value, name)
                    try:
                        wire[name] = None if item is None and nullable else convert(item)
                    except (ValueError, TypeError, KeyError, AttributeError) as error:
                        raise ValueError(f"{name}: {error}") from error
                return wire

            return record
        case "array":
            one = _to_wire(schema["items"])
            return lambda value: [one(item) for item in value]
        case "map":
            each, may_be_null = _to_wire(branch(schema["values"])), isinstance(schema["values"], list)
            return lambda value: {k: None if item is None and may_be_null else each(item) for k, item in value.items()}
        case "long":
            return _exactly(int)
        case "boolean":
            return _exactly(bool)
        case "string":
            return _exactly(str)
        case other:
            raise ContractError(f"no released schema uses {other!r}; extend schemas/codec.py first")


def _exactly(kind: type, convert: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{value!r} is not {kind.__name__}")
        return value if convert is None else convert(value)

    return check


def _uuid(text: str) -> UUID:
    """Read a UUID in its one usual spelling: Python knows others, and another language has others again."""
    value = UUID(text)
    if str(value) != text:
        raise ValueError(f"{text[:40]!r} is not spelled {value}")
    return value


def _from_wire(schema: Any) -> Callable[[Any], Any] | None:
    """Build the function that converts, in place, a decoded record's ids, times and enums for the models.

    Returns None when there are none. The function raises ValueError with the field's name.
    """
    match kind(schema):
        case "uuid":
            return _uuid
        case "timestamp-millis":
            return from_milliseconds
        case "enum":
            symbols: tuple[str, ...] = tuple(schema["symbols"])

            def symbol(index: int) -> str:
                if not 0 <= index < len(symbols):
                    raise ValueError(f"no symbol {index}; there are {', '.join(symbols)}")
                return symbols[index]

            return symbol
        case "record":
            fields = [(f["name"], c) for f in schema["fields"] if (c := _from_wire(branch(f["type"])))]
            if not fields:
                return None

            def record(value: dict[str, Any]) -> dict[str, Any]:
                for name, convert in fields:
                    if value[name] is not None:
                        try:
                            value[name] = convert(value[name])
                        except ValueError as error:
                            raise ValueError(f"{name}: {error}") from error
                return value

            return record
        case "array":
            one = _from_wire(branch(schema["items"]))
            return one and (lambda value: [None if item is None else one(item) for item in value])
        case "map":
            each = _from_wire(branch(schema["values"]))
            return each and (lambda value: {k: None if item is None else each(item) for k, item in value.items()})
    return None


OWN: Mapping[int, Schema] = _load(Path(__file__).parent)
"""The schemas of this release, by their id on the wire."""
WRITTEN: Mapping[str, Schema] = {schema.record: schema for schema in OWN.values()}
"""The schema that each record is written with, its newest: ids only grow."""
SCHEMAS: dict[int, Schema] = dict(OWN)
"""Every schema that can be read: those of this release, and those that were learnt."""


def learn(directory: Path) -> None:
    """Read the schemas of a later release, so that its events can be read: a folder as this one, with its manifest.

    A record that is not known here is passed over: a message of it needs the later release (NewerSchema). Raises
    ContractError for a folder that cannot be read, or that changes a released schema, or with a schema that this
    release cannot read by. Nothing of it is learnt then.
    """
    later = {}
    try:
        found = _load(directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SchemaParseException) as error:
        raise ContractError(
            f"the schemas of a later release cannot be read from {directory}: {type(error).__name__}: {error}. "
            "Give the folder with its manifest.json"
        ) from error
    for schema_id, schema in found.items():
        if (known := SCHEMAS.get(schema_id)) is not None or schema_id < max(OWN):
            if known is None or known.sha256 != schema.sha256:
                raise ContractError(f"{schema.path} is not the schema that this release has as id {schema_id}")
        elif (own := WRITTEN.get(schema.record)) is not None:
            for fault in faults(Version(own.path.name, own.avro), Version(schema.path.name, schema.avro)):
                raise ContractError(f"{schema.path} cannot be read by {own.path.name}: {fault}")
            later[schema_id] = schema
    SCHEMAS.update(later)
