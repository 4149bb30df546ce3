"""Which changes of a schema are refused, in what words, and that fastavro's own resolution agrees with the verdict."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import release
from schemas.codec import SCHEMAS
from schemas.compatibility import Fault, Version, faults
from schemas.release import RELEASED, Release, check

FOLDER = Path(release.__file__).parent
TOMORROW = Path(__file__).parent / "tomorrow"
UPDATE: dict[str, Any] = json.loads((TOMORROW / "count_update.v2.avsc").read_text())
"""A version that has fields with a default: only those that come later have one."""
Change = Callable[[dict[str, Any]], object]


def field(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The field at `path`, through unions with null, arrays and maps."""
    for name in path.split("."):
        record = schema.get("type", schema) if "fields" not in schema else schema
        while not isinstance(record, dict) or "fields" not in record:
            record = record[1] if isinstance(record, list) else record.get("items") or record["values"]
        schema = next(f for f in record["fields"] if f["name"] == name)
    return schema


def set_type(path: str, kind: Any) -> Change:
    return lambda s: field(s, path).update(type=kind)


def add(*fields: dict[str, Any], to: str | None = None) -> Change:
    return lambda s: (field(s, to)["type"][1] if to else s)["fields"].extend(fields)


def remove(path: str) -> Change:
    *outer, name = path.split(".")

    def change(schema: dict[str, Any]) -> None:
        record = field(schema, ".".join(outer))["type"][1] if outer else schema
        record["fields"] = [f for f in record["fields"] if f["name"] != name]

    return change


def changed(change: Change, schema: dict[str, Any] = UPDATE) -> dict[str, Any]:
    copied = copy.deepcopy(schema)
    change(copied)
    return copied


def between(old: Any, new: Any) -> list[Fault]:
    return faults(Version("old.avsc", old), Version("new.avsc", new))


OLD_BREAKS = "A reader of old.avsc cannot read events of new.avsc"
NEW_BREAKS = "A reader of new.avsc cannot read events of old.avsc"
BOTH_BREAK = (
    "A reader of old.avsc cannot read events of new.avsc, and a reader of new.avsc cannot read events of old.avsc"
)
TWO_THINGS = "Two readers would read the same bytes differently"
TWO_DEFAULTS = "Two readers would read an event without the field differently"
BY_NAME = "A reader finds a type by its full name"

REFUSED: dict[str, tuple[Change, str, str, str]] = {
    "a field without a default": (
        add({"name": "turn", "type": "long"}), "turn", "it was added without a default", NEW_BREAKS),
    "a nested field without a default": (
        add({"name": "turn", "type": ["null", "long"]}, to="counts"), "counts.turn", "it was added without a default",
            NEW_BREAKS),
    "a default that is not of the first type": (
        add({"name": "turn", "type": ["long", "null"], "default": None}), "turn",
            "its default, null, is not of the first of its types, long or null",
        "Readers in other languages refuse such a schema as a whole"),
    "a default of the second type": (
        add({"name": "turn", "type": ["null", "long"], "default": 0}), "turn",
            "its default, 0, is not of the first of its types, null or long",
        "Readers in other languages refuse such a schema as a whole"),
    "a field removed": (remove("is_test"), "is_test", "it was removed, and had no default", OLD_BREAKS),
    "a nested field removed": (remove("counts.blank_votes"), "counts.blank_votes", "it was removed, and had no default",
        OLD_BREAKS),
    "another type": (set_type("sequence", "string"), "sequence", "its type was long and is string", BOTH_BREAK),
    "a wider type": (set_type("sequence", "double"), "sequence", "its type was long and is double", OLD_BREAKS),
    "a narrower type": (set_type("sequence", "int"), "sequence", "its type was long and is int", NEW_BREAKS),
    "a string as bytes": (set_type("contest_id", "bytes"), "contest_id", "its type was string and is bytes",
        BOTH_BREAK),
    "a field made optional": (set_type("contest_id", ["null", "string"]), "contest_id",
        "its type was string and is null or string", OLD_BREAKS),
    "an optional field made required": (set_type("source_status", "string"), "source_status",
        "its type was null or string and is string", NEW_BREAKS),
    "a type more in a union": (set_type("source_status", ["null", "string", "long"]), "source_status",
        "long added to its types", OLD_BREAKS),
    "a type less in a union": (set_type("source_status", ["null"]), "source_status", "string removed from its types",
        NEW_BREAKS),
    "another type in a union": (set_type("counts.valid_votes", ["null", "int"]), "counts.valid_votes",
        "long removed from its types", NEW_BREAKS),
    "no logical type": (set_type("event_id", "string"), "event_id", 'its logical type was "uuid" and is none',
        TWO_THINGS),
    "another logical type": (
        set_type("observed_at", {"type": "long", "logicalType": "timestamp-micros"}), "observed_at",
        'its logical type was "timestamp-millis" and is "timestamp-micros"', TWO_THINGS),
    "a logical type in a union": (
        set_type("previous_event_id", ["null", "string"]), "previous_event_id",
            'its logical type was "uuid" and is none', TWO_THINGS),
    "another default of an enum": (
        lambda s: field(s, "review_reason")["type"][1].update(default="LOST"), "review_reason",
        'the symbol for unknown ones was "OTHER" and is "LOST"', "Two readers would read the same event differently"),
    "another default": (lambda s: field(s, "ruling").pop("default"), "ruling",
        "its default was null and is now none", TWO_DEFAULTS),
    "another alias": (lambda s: field(s, "is_test").update(aliases=["test"]), "is_test",
        'its aliases were none and is now ["test"]', TWO_DEFAULTS),
    "an alias of a record": (lambda s: s.update(aliases=["Update"]), "", 'its aliases was none and is ["Update"]',
        "A reader finds a renamed type by them, in one direction only"),
    "another name": (lambda s: s.update(name="Update"), "",
        'its name was "escrutinio.CountUpdate" and is "escrutinio.Update"', BY_NAME),
    "another namespace": (lambda s: s.update(namespace="other"), "",
        'its name was "escrutinio.CountUpdate" and is "other.CountUpdate"', BY_NAME),
    "a nested record of another name": (
        lambda s: field(s, "source")["type"].update(name="Origin"), "source",
            'its name was "escrutinio.Source" and is "escrutinio.Origin"', BY_NAME),
    "a nested record of another name in a union": (
        lambda s: field(s, "correction")["type"][1].update(name="Fix"), "correction",
            "escrutinio.Correction removed from its types", NEW_BREAKS),
    "in an array": (set_type("source.documents.place", "long"), "source.documents[].place",
        "its type was string and is long", BOTH_BREAK),
    "items of an array": (
        lambda s: field(s, "reporting_unit.area_path")["type"].update(items="long"), "reporting_unit.area_path[]",
            "its type was string and is long", BOTH_BREAK),
    "values of a map": (
        lambda s: field(s, "counts.votes")["type"].update(values="long"), "counts.votes{}",
            "its type was null or long and is long", NEW_BREAKS),
    "an array made a map": (
        set_type("reporting_unit.area_path", {"type": "map", "values": "string"}), "reporting_unit.area_path",
            "its type was array and is map", BOTH_BREAK),
}  # fmt: skip


@pytest.mark.parametrize(("change", "path", "what", "breaks"), REFUSED.values(), ids=REFUSED.keys())
def test_a_change_is_refused_by_name(change: Change, path: str, what: str, breaks: str) -> None:
    first = between(UPDATE, changed(change))[0]
    assert (first.path, first.what, first.breaks) == (path, what, breaks)
    assert first.remedy
    assert str(first).startswith(f"{path or 'the record'}: {what}. {breaks}. ")


@pytest.mark.parametrize(("symbols", "what", "breaks"), [
    (["A", "B", "C"], "C added to its symbols, and it had no default", OLD_BREAKS),
    (["A"], "B removed from its symbols, and it has no default", NEW_BREAKS),
])  # fmt: skip
def test_an_enum_without_a_default_keeps_its_symbols(symbols: list[str], what: str, breaks: str) -> None:
    def record(*symbols: str) -> dict[str, Any]:
        kind = {"type": "enum", "name": "E", "symbols": list(symbols)}
        return {"type": "record", "name": "R", "fields": [{"name": "e", "type": kind}]}

    (fault,) = between(record("A", "B"), record(*symbols))
    assert (fault.path, fault.what, fault.breaks) == ("e", what, breaks)


MIRRORED = REFUSED.keys() - {
    "a default that is not of the first type", "a default of the second type"
}  # fmt: skip
"""What is refused whichever of the two is the older: a removed field with a default, and what it was, is not."""


@pytest.mark.parametrize("what", sorted(MIRRORED))
def test_the_order_of_the_versions_does_not_matter(what: str) -> None:
    change, path, *_ = REFUSED[what]
    assert path in [fault.path for fault in between(changed(change), UPDATE)]


ACCEPTED: dict[str, Change] = {
    "nothing": lambda _: None,
    "an optional field": add({"name": "turn", "type": ["null", "long"], "default": None}),
    "a field with a default": add({"name": "turn", "type": "long", "default": 1}),
    "a nested optional field": add({"name": "turn", "type": ["null", "long"], "default": None}, to="counts"),
    "a field with a default removed": remove("ruling"),
    "docs": lambda s: field(s, "counts.votes").update(doc="votes"),
    "another order of fields": lambda s: s["fields"].reverse(),
    "another order of a union": set_type("counts.blank_votes", ["long", "null"]),
    "another order of symbols": lambda s: field(s, "kind")["type"]["symbols"].reverse(),
    "a symbol more, with a default": lambda s: field(s, "review_reason")["type"][1]["symbols"].append("BURNT"),
    "a symbol less, with a default": lambda s: field(s, "review_reason")["type"][1]["symbols"].remove("LOST"),
    "a name written in full": lambda s: s.update(name="escrutinio.CountUpdate"),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_change_that_every_reader_survives_is_accepted(change: Change) -> None:
    assert between(UPDATE, changed(change)) == []
    assert between(changed(change), UPDATE) == []


def test_decimals_have_one_precision_and_scale() -> None:
    def amount(**decimal: int) -> dict[str, Any]:
        kind = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2} | decimal
        return {"type": "record", "name": "R", "fields": [{"name": "amount", "type": kind}]}

    assert not between(amount(), amount())
    assert [f.what for f in between(amount(), amount(precision=8))] == ["its precision was 9 and is 8"]
    assert [f.what for f in between(amount(), amount(scale=3))] == ["its scale was 2 and is 3"]


def test_bytes_of_a_fixed_size_keep_it() -> None:
    def digest(size: int) -> dict[str, Any]:
        kind = {"type": "fixed", "name": "Digest", "size": size}
        return {"type": "record", "name": "R", "fields": [{"name": "digest", "type": kind}]}

    assert not between(digest(32), digest(32))
    assert [f.what for f in between(digest(32), digest(20))] == ["its size was 32 and is 20"]


@pytest.mark.parametrize(("old", "new"), [(0, 1), (0, False), (0, 0.0), ("", None)])
def test_a_changed_default_is_refused(old: object, new: object) -> None:
    kinds = {int: "long", bool: "boolean", float: "double", str: "string", type(None): "null"}

    def record(default: object) -> dict[str, Any]:
        kind = [kinds[type(default)], *({"null", "string", "long", "boolean", "double"} - {kinds[type(default)]})]
        return {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind, "default": default}]}

    (fault,) = between(record(old), record(new))
    assert fault.what == f"its default was {json.dumps(old)} and is now {json.dumps(new)}"


def test_a_type_that_contains_itself_is_compared_once() -> None:
    def tree(kind: str) -> dict[str, Any]:
        return {
            "type": "record",
            "name": "Tree",
            "fields": [{"name": "leaf", "type": kind}, {"name": "branches", "type": {"type": "array",
                "items": "Tree"}}],
        }  # fmt: skip

    assert between(tree("long"), tree("long")) == []
    assert [f.path for f in between(tree("long"), tree("string"))] == ["leaf"]


# The verdict and the real resolver

_UUID = {"type": "string", "logicalType": "uuid"}
_TYPES: list[tuple[Any, Any, st.SearchStrategy[Any]]] = [
    ("int", 0, st.integers(-5, 5)),
    ("long", 0, st.integers(-5, 5)),
    ("double", 0.5, st.just(1.5)),
    ("string", "", st.text(max_size=3)),
    ("bytes", "", st.binary(max_size=3)),
    (["null", "long"], None, st.none() | st.integers(-5, 5)),
    (["null", "string"], None, st.none() | st.text(max_size=3)),
    (["null", "long", "string"], None, st.none() | st.integers(-5, 5) | st.text(max_size=3)),
    (_UUID, "6f1c43a2-97d0-5e0b-8c1e-2b6f0c9d3a51", st.uuids()),
    ({"type": "array", "items": "long"}, [], st.lists(st.integers(-5, 5), max_size=2)),
    ({"type": "map", "values": ["null", "long"]}, {}, st.dictionaries(st.text(max_size=2), st.none() | st.integers(-5,
        5), max_size=2)),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "A", st.sampled_from("AB")),
    ({"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}, "A", st.sampled_from("ABC")),
    ({"type": "enum", "name": "F", "symbols": ["A", "B"], "default": "A"}, "A", st.sampled_from("AB")),
    ({"type": "enum", "name": "F", "symbols": ["A", "C"], "default": "A"}, "A", st.sampled_from("AC")),
]  # fmt: skip


@st.composite
def records(draw: st.DrawFn, turn: int, where: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """A record of up to four fields, the last one a record, and a value of it. Most pairs with one `turn` are alike."""
    fields: list[dict[str, Any]] = []
    value: dict[str, Any] = {}
    for name in sorted(draw(st.sets(st.sampled_from("abcd" if not where else "abc"), min_size=1))):
        if name == "d":
            kind, value[name] = draw(records(turn + 5, where=name))
            fields.append({"name": name, "type": ["null", kind], "default": None})
            continue
        another = draw(st.integers(0, 7)) == 7
        kind, default, values = _TYPES[(turn + ord(name) + another * draw(st.integers(1, 5))) % len(_TYPES)]
        if isinstance(kind, dict) and "name" in kind:
            kind = kind | {"name": kind["name"] + where + name}
        fields.append({"name": name, "type": kind} | ({"default": default} if draw(st.integers(0, 7)) else {}))
        value[name] = draw(values)
    return {"type": "record", "name": f"R{where}", "fields": fields}, value


_pairs = st.integers(0, len(_TYPES)).flatmap(lambda turn: st.tuples(records(turn), records(turn)))


def through(value: Any, writer: Any, reader: Any) -> Any:
    """What a reader with its own schema reads: Avro's resolution, as fastavro does it."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(writer), value)
    body.seek(0)
    return fastavro.schemaless_reader(body, fastavro.parse_schema(writer), fastavro.parse_schema(reader))


def agrees(read: Any, written: Any, writer: Any, reader: Any) -> bool:
    """Whether reader and writer agree on a record: common fields are equal, the reader's own have their defaults."""
    was = {f["name"]: f for f in writer["fields"]}
    for f in reader["fields"]:
        name, kind = f["name"], f["type"]
        if name not in was:
            if read[name] != f["default"]:
                return False
        elif name == "d":
            if not agrees(read[name], written[name], was[name]["type"][1], kind[1]):
                return False
        elif read[name] != written[name] and read[name] != "A":  # A: for a symbol that the reader does not know
            return False
    return set(read) == {f["name"] for f in reader["fields"]}


@given(_pairs)
def test_what_is_accepted_is_read_in_both_directions(pair: tuple[tuple[Any, Any], tuple[Any, Any]]) -> None:
    (one, written), (other, also_written) = pair
    if not between(one, other):
        assert agrees(through(written, one, other), written, one, other)
        assert agrees(through(also_written, other, one), also_written, other, one)


SMALL = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}
BROKEN: dict[str, tuple[list[dict[str, Any]], dict[str, Any], bool, bool]] = {
    "a field without a default": ([{"name": "a", "type": "long"}, {"name": "b", "type": "long"}], {"a": 1, "b": 1},
        False, True),
    "a field removed": ([], {}, True, False),
    "a wider type": ([{"name": "a", "type": "double"}], {"a": 1.5}, True, False),
    "another type": ([{"name": "a", "type": "string"}], {"a": "x"}, False, False),
    "made optional": ([{"name": "a", "type": ["null", "long"]}], {"a": None}, True, False),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "value", "new_reads", "old_reads"), BROKEN.values(), ids=BROKEN.keys())
def test_who_is_said_to_break_does(fields: list[dict[str, Any]], value: Any, new_reads: bool, old_reads: bool) -> None:
    new = SMALL | {"fields": fields}
    (fault,) = between(SMALL, new)
    for datum, writer, reader, reads, told in (
        ({"a": 1}, SMALL, new, new_reads, NEW_BREAKS),
        (value, new, SMALL, old_reads, OLD_BREAKS),
    ):
        assert (told.lower() in fault.breaks.lower()) is not reads
        if reads:
            through(datum, writer, reader)
        else:
            with pytest.raises((fastavro.read.SchemaResolutionError, ValueError)):
                through(datum, writer, reader)


# The folder of released schemas


def test_what_is_released_is_in_order() -> None:
    assert check() == []


SECOND = 10, "count_update.v2.avsc", hashlib.sha256((TOMORROW / "count_update.v2.avsc").read_bytes()).hexdigest()
PINNED = {**RELEASED, SECOND[0]: Release(*SECOND[1:])}
Edit = Callable[[Path], object]


def release_after(folder: Path) -> None:
    """Fills a folder with what is released, and a second version of an update."""
    for path in (*FOLDER.glob("*.avsc"), FOLDER / "manifest.json", TOMORROW / SECOND[1]):
        shutil.copy(path, folder)
    manifest(folder, lambda entries: entries.append(dict(zip(("id", "file", "sha256"), SECOND, strict=True))))


def manifest(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    edit(content["schemas"])
    path.write_text(json.dumps(content))


def rewrite(folder: Path, file: str, schema: dict[str, Any]) -> str:
    """Writes a schema; its hash."""
    (folder / file).write_text(json.dumps(schema))
    return hashlib.sha256((folder / file).read_bytes()).hexdigest()


def edit_file(folder: Path) -> None:
    rewrite(folder, "count_update.v1.avsc", SCHEMAS[2].avro)


def edit_file_and_manifest(folder: Path) -> None:
    sha256 = rewrite(folder, "count_update.v1.avsc", SCHEMAS[2].avro)
    manifest(folder, lambda entries: entries[1].update(sha256=sha256))


def third_version(change: Change, schema_id: int = 11, file: str = "count_update.v3.avsc") -> Edit:
    def edit(folder: Path) -> None:
        sha256 = rewrite(folder, file, changed(change))
        manifest(folder, lambda entries: entries.append({"id": schema_id, "file": file, "sha256": sha256}))

    return edit


UNRELEASED = (
    r"count_update\.v3\.avsc: id 11 is not released\. .* Add its line to RELEASED in schemas/release\.py: 11: Release\("
)
SPOILT: dict[str, tuple[Edit, list[str]]] = {
    "a released file edited": (edit_file,
        [r"count_update\.v1\.avsc: it was edited: its SHA-256 is \w{16}…, the released one is \w{16}…\."]),
    "a released file and its hash edited": (edit_file_and_manifest,
        [r"count_update\.v1\.avsc: its SHA-256 in the manifest is \w{16}…, the released one is \w{16}…\."]),
    "an id given twice": (
        lambda folder: manifest(folder, lambda entries: entries.append(entries[2] | {"id": 2})),
        [r"manifest\.json: id 2 is given to count_update\.v1\.avsc and unit_roll\.v1\.avsc\. .* the next id, 11\.",
         r"unit_roll\.v1\.avsc: id 2 was released as count_update\.v1\.avsc\. .* the next id, 11\.",
             r"manifest\.json: the ids are not in order"]),
    "an id given to another file": (
        lambda folder: manifest(folder, lambda entries: entries[0].update(file="feed_status.v1.avsc",
            sha256=entries[3]["sha256"])),
        [r"feed_status\.v1\.avsc: id 1 was released as contest\.v1\.avsc\.",
            r"contest\.v1\.avsc: it is not in manifest\.json"]),
    "an id taken out": (
        lambda folder: manifest(folder, lambda entries: entries.pop(2)),
        [r"unit_roll\.v1\.avsc: id 3 is missing in manifest\.json\.",
            r"unit_roll\.v1\.avsc: it is not in manifest\.json"]),
    "a file deleted": (lambda folder: (folder / "contest.v1.avsc").unlink(),
        [r"contest\.v1\.avsc: the file is missing\. Events of id 1 "]),
    "a file of no id": (
        lambda folder: rewrite(folder, "totals.v1.avsc", UPDATE),
            [r"totals\.v1\.avsc: it is not in manifest\.json, so it has no id\. Give it the next id"]),
    "ids out of order": (lambda folder: manifest(folder, lambda entries: entries.reverse()),
        [r"manifest\.json: the ids are not in order\."]),
    "a version that is not pinned": (third_version(lambda _: None), [UNRELEASED]),
    "a version that breaks both before it": (
        third_version(add({"name": "turn", "type": "long"})),
        [UNRELEASED,
            r"count_update\.v3\.avsc, against count_update\.v1\.avsc: turn: it was added without a default\. "
            r"A reader of count_update\.v3\.avsc cannot read events of count_update\.v1\.avsc\. Give it a default",
             r"count_update\.v3\.avsc, against count_update\.v2\.avsc: turn: "]),
    # A field with a default may be removed, but must not come back with another type.
    "a version that breaks the first only": (
        lambda folder: (third_version(remove("ruling"))(folder), third_version(
            lambda s: field(s, "ruling").update(default=None, type=["null", "long"]), 12,
                "count_update.v4.avsc")(folder)),
        [UNRELEASED, r"count_update\.v4\.avsc: id 12 is not released",
            r"count_update\.v4\.avsc, against count_update\.v2\.avsc: ruling: ",
         r"count_update\.v4\.avsc, against count_update\.v2\.avsc: ruling: "]),
    "a version under another name": (
        third_version(lambda s: s.update(name="Update")), [UNRELEASED,
            *[rf'count_update\.v3\.avsc, against count_update\.v{v}\.avsc: the record: its name was ' for v in (1,
            2)]]),
    "a record under the name of another file": (
        third_version(lambda _: None, 11, "update.v1.avsc"), [r"update\.v1\.avsc: id 11 is not released",
            r"update\.v1\.avsc: escrutinio\.CountUpdate is the record of count_update\.v\*\.avsc\."]),
    "a version left out": (
        third_version(lambda _: None, 11, "count_update.v4.avsc"), [r"count_update\.v4\.avsc: id 11 is not released",
            r"count_update\.v4\.avsc: its name is out of order\."]),
    "a type that the canonical text does not have": (
        third_version(add({"name": "share", "type": ["null", "double"], "default": None})),
        [UNRELEASED, r"count_update\.v3\.avsc: share: its type is double, which the canonical text does not have\. "]),
    "a type that is named and not written out": (
        third_version(add({"name": "ids", "type": ["null", {"type": "array", "items": "Code"}], "default": None})),
        [UNRELEASED, r"count_update\.v3\.avsc: ids\[\]: its type is Code, which the canonical text does not have\. "
            r"Take a string, .* written out here\."]),
    "a union of three": (
        third_version(add({"name": "share", "type": ["null", "long", "string"], "default": None})),
        [UNRELEASED, r"count_update\.v3\.avsc: share: it is a union of more than null and one type\. "]),
    "an enum that could never grow": (
        third_version(add({"name": "colour", "type": ["null", {"type": "enum", "name": "Colour", "symbols": ["RED"]}],
            "default": None})),
        [UNRELEASED, r"count_update\.v3\.avsc: colour: its enum has no default"]),
    "a name that the canonical text has already": (
        third_version(add({"name": "unit_id", "type": ["null", "string"], "default": None})),
        [UNRELEASED, r"count_update\.v3\.avsc: unit_id: it is a key of the canonical text already\. "]),
    "no schema": (third_version(lambda s: s.update(type="recrod")), [UNRELEASED,
        r"count_update\.v3\.avsc: it is not an Avro record \(UnknownType: "]),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "told"), SPOILT.values(), ids=SPOILT.keys())
def test_a_spoilt_folder_is_refused_by_name(edit: Edit, told: list[str], tmp_path: Path) -> None:
    release_after(tmp_path)
    assert check(tmp_path, PINNED) == []
    edit(tmp_path)
    found = check(tmp_path, PINNED)
    assert len(found) == len(told), found
    for fault, pattern in zip(found, told, strict=True):
        assert re.match(pattern, fault), fault


def test_a_compatible_version_is_accepted_once_it_is_pinned(tmp_path: Path) -> None:
    release_after(tmp_path)
    third_version(add({"name": "turn", "type": ["null", "long"], "default": None}))(tmp_path)
    sha256 = hashlib.sha256((tmp_path / "count_update.v3.avsc").read_bytes()).hexdigest()
    assert check(tmp_path, {**PINNED, 11: Release("count_update.v3.avsc", sha256)}) == []


def test_the_command_answers_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release.main() == 0
    assert capsys.readouterr().out.startswith(f"{len(RELEASED)} released schemas: all unchanged")
    monkeypatch.setattr(release, "check", lambda: ["x.avsc: a fault"])
    assert release.main() == 1
    assert capsys.readouterr() == ("", "x.avsc: a fault\n")
