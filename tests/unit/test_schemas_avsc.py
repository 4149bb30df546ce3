"""The .avsc files: they say what the models say, are never edited, and read what was ever written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from enum import Enum
from operator import itemgetter
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel

from schemas import codec
from schemas.codec import SCHEMAS, Schema, decode, encode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus
from schemas.identity import is_named_right
from schemas.unit_roll import UnitRoll

FOLDER = Path(codec.__file__).parent
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())["schemas"]
RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.hex"))
NEWEST = {schema.record: schema for schema in SCHEMAS.values()}

PLAIN = {
    str: "string",
    int: "long",
    bool: "boolean",
    UUID: {"type": "string", "logicalType": "uuid"},
    AwareDatetime: {"type": "long", "logicalType": "timestamp-millis"},
}


def avro_of(annotation: Any) -> Any:
    """The Avro type that a model's annotation stands for."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        (other,) = (a for a in arguments if a is not NoneType)
        return ["null", avro_of(other)]
    if origin is tuple:
        assert arguments[1] is ...
        return {"type": "array", "items": avro_of(arguments[0])}
    if origin is dict:
        assert arguments[0] is str
        return {"type": "map", "values": avro_of(arguments[1])}
    if issubclass(annotation, Enum):
        return {"type": "enum", "name": annotation.__name__, "symbols": [member.value for member in annotation]}
    assert issubclass(annotation, BaseModel)
    hints = get_type_hints(annotation)
    fields = [{"name": name, "type": avro_of(hints[name])} for name in annotation.model_fields]
    return {"type": "record", "name": annotation.__name__, "fields": fields}


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that have a default: those that came after its first version."""
    return {f["name"]: f["default"] for f in schema["fields"] if "default" in f}


def bare(schema: Any) -> Any:
    """A schema without what is for people and for older readers; the order of fields and symbols means nothing."""
    if isinstance(schema, list):
        return [bare(s) for s in schema]
    if isinstance(schema, dict):
        plain = {k: bare(v) for k, v in schema.items() if k not in ("doc", "default", "namespace")}
        return plain | ({"fields": sorted(plain["fields"], key=itemgetter("name"))} if "fields" in plain else {})
    return schema


@pytest.mark.parametrize("model", [CountUpdate, ContestDefined, FeedStatus, UnitRoll])
def test_a_schema_says_what_its_model_says(model: type[BaseModel]) -> None:
    assert bare(NEWEST[model.__name__].avro) == bare(avro_of(model))


@pytest.mark.parametrize("model", [CountUpdate, ContestDefined, FeedStatus, UnitRoll])
def test_what_came_later_has_the_default_of_its_schema(model: type[BaseModel]) -> None:
    given = {name: field.default for name, field in model.model_fields.items() if not field.is_required()}
    later = defaults(NEWEST[model.__name__].avro)
    assert {name: given.get(name) for name in later} == later


def definitions(schema: Any) -> Iterator[dict[str, Any]]:
    """Every record, enumeration, list and map of a schema."""
    for part in schema if isinstance(schema, list) else [schema]:
        if isinstance(part, dict):
            yield part
            inner = (part.get("items"), part.get("values"), *(f["type"] for f in part.get("fields", ())))
            for kind in inner:
                yield from definitions(kind)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.path.name)
def test_a_field_of_a_first_version_has_no_default(schema: Schema) -> None:
    """One that has stands in the canonical text only where it is another: that is for fields that come later."""
    if schema.path.name.endswith(".v1.avsc"):
        assert [name for part in definitions(schema.avro) if "fields" in part for name in defaults(part)] == []


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda s: s.path.name)
def test_every_enumeration_has_a_symbol_for_those_of_later_versions(schema: Schema) -> None:
    for part in definitions(schema.avro):
        if part["type"] == "enum":
            assert part["default"] in {"OTHER", "UNKNOWN"} & set(part["symbols"])


def test_ids_on_the_wire_are_unique_and_only_grow() -> None:
    ids = [entry["id"] for entry in MANIFEST]
    assert ids == sorted(set(ids))
    assert ids[0] >= 1


def test_every_schema_file_is_in_the_manifest_once() -> None:
    assert sorted(entry["file"] for entry in MANIFEST) == sorted(p.name for p in FOLDER.glob("*.avsc"))


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda e: e["file"])
def test_the_manifest_has_the_hash_of_each_file(entry: dict[str, Any]) -> None:
    assert hashlib.sha256((FOLDER / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert SCHEMAS[entry["id"]].sha256 == entry["sha256"]


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda e: e["file"])
def test_a_released_file_that_was_edited_is_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    for path in (*FOLDER.glob("*.avsc"), FOLDER / "manifest.json"):
        shutil.copy(path, tmp_path)
    assert codec._load(tmp_path).keys() == SCHEMAS.keys()
    with (tmp_path / entry["file"]).open("a") as file:
        file.write("\n")
    with pytest.raises(ContractError, match=rf"{entry['file']} is not the released file: SHA-256 "):
        codec._load(tmp_path)


def test_bytes_of_every_released_schema_were_recorded() -> None:
    assert {path.name.rsplit(".", 2)[0] for path in RECORDED} == {schema.path.stem for schema in SCHEMAS.values()}


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_recorded_bytes_are_read_as_ever(path: Path) -> None:
    value = bytes.fromhex(path.read_text())
    schema = SCHEMAS[int.from_bytes(value[1:5])]
    assert path.name.startswith(schema.path.stem + ".")
    event = decode(value)
    later = {
        name: content
        for name, content in defaults(NEWEST[schema.record].avro).items()
        if name not in defaults(schema.avro)
    }
    assert event.model_dump(mode="json") == json.loads(path.with_suffix(".json").read_text()) | later
    assert is_named_right(event)
    if schema is NEWEST[schema.record]:
        assert encode(event).value == value
