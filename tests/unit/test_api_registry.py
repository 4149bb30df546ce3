"""What the schema registry answers, by the released schemas and those of tomorrow, without HTTP."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.registry.schemas import INVALID_SCHEMA, Registry, RegistryError, full_name
from schemas.codec import SCHEMAS, WRITTEN, Schema
from schemas.topics import TOPICS
from tests.support import tomorrow

LOG, UPDATE = "results.events-value", "escrutinio.CountUpdate"
REGISTRY = Registry(SCHEMAS.values(), TOPICS)
ON_THE_LOG = ("ContestDefined", "CountUpdate", "UnitRoll", "SourceStatus")


def asked(schema: Any) -> dict[str, Any]:
    """The body of a request with a schema."""
    return {"schema": schema if isinstance(schema, str) else json.dumps(schema)}


def code(ask: Callable[[], object]) -> int:
    """The code of the error that a question is answered with."""
    with pytest.raises(RegistryError) as error:
        ask()
    return error.value.code


def test_every_topic_names_released_records_and_every_released_record_stands_on_one() -> None:
    named = [record for topic in TOPICS for record in topic.records]
    assert sorted(named) == sorted(WRITTEN)


def test_the_subjects_are_those_of_the_three_strategies() -> None:
    records = {full_name(schema) for schema in SCHEMAS.values()}
    assert set(REGISTRY.subjects()) == {
        *records,
        *(f"results.events-escrutinio.{record}" for record in ON_THE_LOG),
        "results.count-status-escrutinio.AggregatorStatus",
        "results.count-status-value",
        "results.feed-status-escrutinio.FeedStatus",
        "results.feed-status-value",
        "results.ingest-status-escrutinio.IngestStatus",
        "results.ingest-status-value",
        "results.notices-escrutinio.Notice",
        "results.notices-value",
        "results.totals-escrutinio.AreaCount",
        "results.totals-value",
    }
    assert REGISTRY.subjects() == sorted(REGISTRY.subjects())
    rehearsal = Registry(SCHEMAS.values(), TOPICS, "rehearsal.").subjects()
    assert {name.removeprefix("rehearsal.") for name in rehearsal} == set(REGISTRY.subjects())
    assert records == {name for name in rehearsal if not name.startswith("rehearsal.")}


def test_the_text_of_an_id_is_the_released_file_byte_for_byte() -> None:
    for schema in SCHEMAS.values():
        text = REGISTRY.schema(str(schema.id)).text
        assert hashlib.sha256(text.encode()).hexdigest() == schema.sha256
        assert REGISTRY.version(full_name(schema), "1")["schema"] == text
    assert REGISTRY.max_id == max(SCHEMAS)


def test_every_listed_subject_has_a_latest_version_which_is_its_last() -> None:
    for name in REGISTRY.subjects():
        assert REGISTRY.versions(name) == [1]
        assert REGISTRY.version(name, "latest") == REGISTRY.version(name, "-1") == REGISTRY.version(name, "1")
    assert [one["subject"] for one in REGISTRY.all_versions()] == REGISTRY.subjects()


def test_the_log_has_every_record_under_its_topics_name_and_no_latest() -> None:
    assert REGISTRY.versions(LOG) == [1, 2, 3, 4]
    assert [REGISTRY.version(LOG, str(n))["id"] for n in (1, 2, 3, 4)] == [1, 2, 3, 5]
    for record in ON_THE_LOG:
        assert REGISTRY.look_up(LOG, asked(WRITTEN[record].text))["id"] == WRITTEN[record].id
    assert code(lambda: REGISTRY.look_up(LOG, asked(WRITTEN["FeedStatus"].text))) == 40403
    assert LOG not in REGISTRY.subjects()
    with pytest.raises(RegistryError, match=r"several records, escrutinio.ContestDefined, escrutinio.CountUpdate, "):
        REGISTRY.version(LOG, "latest")
    assert code(lambda: REGISTRY.version(LOG, "-1")) == 40402


def test_an_id_says_under_which_subjects_it_is() -> None:
    assert REGISTRY.places("2") == [
        {"subject": UPDATE, "version": 1},
        {"subject": "results.events-escrutinio.CountUpdate", "version": 1},
        {"subject": LOG, "version": 2},
    ]


def test_a_later_release_adds_versions_and_moves_none() -> None:
    before = [REGISTRY.version(LOG, str(n)) for n in REGISTRY.versions(LOG)]
    with tomorrow.learnt():
        later = Registry(SCHEMAS.values(), TOPICS)
    assert later.versions(UPDATE) == [1, 2]
    assert (later.version(UPDATE, "1")["id"], later.version(UPDATE, "latest")["id"]) == (2, tomorrow.IDS["CountUpdate"])
    assert later.versions(LOG) == [1, 2, 3, 4, 5, 6]
    assert [later.version(LOG, str(n)) for n in REGISTRY.versions(LOG)] == before
    assert later.max_id == max(tomorrow.IDS.values())


def java(schema: Any, namespace: str = "") -> Any:
    """A schema as a client in Java writes it: nested names without their namespace, strings with a property."""
    if isinstance(schema, list):
        return [java(one, namespace) for one in schema]
    if schema == "string":
        return {"type": "string", "avro.java.string": "String"}
    if not isinstance(schema, dict):
        return schema
    inner = schema.get("namespace", namespace)
    changed = {k: java(v, inner) if k in ("type", "items", "values", "fields") else v for k, v in schema.items()}
    return {k: v for k, v in changed.items() if k != "doc"}


SPELLINGS: dict[str, Callable[[Schema], Any]] = {
    "as it was released": lambda s: s.text,
    "without spaces": lambda s: json.dumps(s.avro, separators=(",", ":")),
    "its attributes in another order": lambda s: json.dumps(s.avro, sort_keys=True),
    "as fastavro has parsed it": lambda s: fastavro.parse_schema(copy.deepcopy(s.avro)),
    "as a client in Java writes it": lambda s: java(s.avro),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_schema_is_found_however_it_is_spelled(spelling: str) -> None:
    for schema in SCHEMAS.values():
        found = REGISTRY.look_up(full_name(schema), asked(SPELLINGS[spelling](schema)))
        assert found == {"subject": full_name(schema), "version": 1, "id": schema.id, "schema": schema.text}
        assert REGISTRY.register(full_name(schema), asked(SPELLINGS[spelling](schema))) == found


def other_type(schema: dict[str, Any]) -> None:
    schema["fields"][1]["type"] = "bytes"


def other_logical_type(schema: dict[str, Any]) -> None:
    schema["fields"][0]["type"] = "string"


def other_default(schema: dict[str, Any]) -> None:
    schema["fields"][1]["default"] = ""


def other_order(schema: dict[str, Any]) -> None:
    schema["fields"].reverse()


def other_name(schema: dict[str, Any]) -> None:
    schema["namespace"] = "elsewhere"


def one_more(schema: dict[str, Any]) -> None:
    schema["fields"].append({"name": "more", "type": ["null", "string"], "default": None})


@pytest.mark.parametrize("change", [other_type, other_logical_type, other_default, other_order, other_name, one_more])
def test_a_schema_that_reads_otherwise_is_not_found_and_not_registered(change: Callable[[Any], None]) -> None:
    for schema in SCHEMAS.values():
        foreign = copy.deepcopy(schema.avro)
        change(foreign)
        assert code(lambda s=schema, f=foreign: REGISTRY.look_up(full_name(s), asked(f))) == 40403  # type: ignore[misc]
        assert code(lambda s=schema, f=foreign: REGISTRY.register(full_name(s), asked(f))) == 42205  # type: ignore[misc]


def test_what_is_not_there_has_the_codes_of_the_protocol() -> None:
    ours = asked(WRITTEN["CountUpdate"].text)
    assert code(lambda: REGISTRY.versions("nobody-value")) == 40401
    assert code(lambda: REGISTRY.version("nobody-value", "latest")) == 40401
    assert code(lambda: REGISTRY.look_up("nobody-value", ours)) == 40401
    assert code(lambda: REGISTRY.compatibility("nobody-value", None, ours, verbose=False)) == 40401
    assert code(lambda: REGISTRY.register("nobody-value", ours)) == 42205
    assert code(lambda: REGISTRY.version(UPDATE, "2")) == 40402
    assert code(lambda: REGISTRY.version(UPDATE, "2147483647")) == 40402
    for version in ("0", "-2", "2147483648", "first", "1.0", "", "１", "+1"):
        assert code(lambda v=version: REGISTRY.version(UPDATE, v)) == 42202  # type: ignore[misc]
    for schema_id in ("0", "10", "-1", "two", "", "２", "9" * 5000):
        assert code(lambda i=schema_id: REGISTRY.schema(i)) == 40403  # type: ignore[misc]
    assert code(lambda: REGISTRY.level("nobody-value")) == 40408
    assert code(lambda: REGISTRY.mode("nobody-value")) == 40409
    assert (REGISTRY.level(LOG), REGISTRY.mode(LOG)) == ("FULL_TRANSITIVE", "READONLY")


DEEP = 3000
INVALID = (
    "", "{", "null", "5", '"foo"', '{"type": "record"}', '{"type": "record", "name": 5, "fields": []}',
    '{"type": "enum", "name": "x", "symbols": 5}', '{"type": "array", "items": ' * DEEP + '"int"' + "}" * DEEP,
    '{"type": "array", "items": ' * 700 + '"int"' + "}" * 700, '[{"type": "fixed"}]', '{"type": {}}',
)  # fmt: skip


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_what_is_no_schema_is_said_to_be_invalid(text: str) -> None:
    assert code(lambda: REGISTRY.look_up(UPDATE, asked(text))) == INVALID_SCHEMA
    assert code(lambda: REGISTRY.register(UPDATE, asked(text))) == INVALID_SCHEMA
    assert code(lambda: REGISTRY.compatibility(UPDATE, None, asked(text), verbose=True)) == INVALID_SCHEMA


@pytest.mark.parametrize("body", [None, 5, [], {}, {"schema": None}, {"schema": 5}, {"schema": {"type": "int"}}])
def test_a_request_without_the_text_of_a_schema_is_invalid(body: Any) -> None:
    assert code(lambda: REGISTRY.look_up(UPDATE, body)) == INVALID_SCHEMA


def test_every_schema_here_is_avro() -> None:
    assert REGISTRY.look_up(UPDATE, {"schemaType": "AVRO", **asked(WRITTEN["CountUpdate"].text)})["id"] == 2
    for kind in ("JSON", "PROTOBUF", "", 5, ["AVRO"]):
        ours = {"schemaType": kind, **asked(WRITTEN["CountUpdate"].text)}
        assert code(lambda ours=ours: REGISTRY.look_up(UPDATE, ours)) == INVALID_SCHEMA  # type: ignore[misc]


_words = st.sampled_from(["record", "enum", "array", "map", "fixed", "int", "null", "x", "__fastavro_parsed", "1"])
_keys = st.sampled_from(["type", "name", "fields", "items", "values", "symbols", "default", "aliases", "namespace"])
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys | _words, inner, max_size=5),
)


@given(_anything)
def test_whatever_is_asked_is_answered_or_refused_by_a_code(schema: Any) -> None:
    for ask in (REGISTRY.look_up, REGISTRY.register):
        assert code(lambda ask=ask: ask(UPDATE, asked(schema))) in (40403, 42201, 42205)  # type: ignore[misc]
    with suppress(RegistryError):
        assert REGISTRY.compatibility(UPDATE, "1", asked(schema), verbose=True)["messages"]


def test_compatibility_is_by_our_rules() -> None:
    assert REGISTRY.compatibility(UPDATE, None, asked(tomorrow.SCHEMAS["CountUpdate"]), verbose=False) == {
        "is_compatible": True
    }
    for version in ("1", "latest"):
        found = REGISTRY.compatibility(UPDATE, version, asked(tomorrow.SCHEMAS["CountUpdate"]), verbose=True)
        assert found == {"is_compatible": True, "messages": []}
    changed = copy.deepcopy(WRITTEN["CountUpdate"].avro)
    other_logical_type(changed)  # Avro's own resolution would read it
    assert REGISTRY.compatibility(UPDATE, "latest", asked(changed), verbose=False) == {"is_compatible": False}
    found = REGISTRY.compatibility(UPDATE, None, asked(changed), verbose=True)
    assert found["messages"] == [
        'count_update.v1.avsc: event_id: its logical type was "uuid" and is none. Two readers would read the same '
        "bytes differently. Leave it as it was, and add a new field with a default."
    ]
    assert code(lambda: REGISTRY.compatibility(UPDATE, "9", asked(changed), verbose=True)) == 40402


def test_a_schema_is_compared_with_every_version_of_its_record() -> None:
    with tomorrow.learnt():
        later = Registry(SCHEMAS.values(), TOPICS)
    third = copy.deepcopy(tomorrow.SCHEMAS["CountUpdate"])
    added = next(f for f in third["fields"] if f not in WRITTEN["CountUpdate"].avro["fields"] and "default" in f)
    third["fields"].remove(added)
    del added["default"]
    third["fields"].append(added)  # what only the second version has, without its default
    assert later.compatibility(UPDATE, None, asked(third), verbose=True)["messages"][0].startswith("count_update.v1")
    for record in ON_THE_LOG:  # the log's own subject compares each with its own kind
        assert later.compatibility(LOG, None, asked(WRITTEN[record].text), verbose=True)["messages"] == []
    foreign = asked({"type": "record", "name": "escrutinio.Foreign", "fields": []})
    assert later.compatibility(LOG, None, foreign, verbose=False) == {"is_compatible": False}
    assert code(lambda: later.compatibility(LOG, "latest", foreign, verbose=False)) == 40402
