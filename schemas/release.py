"""Check that released schemas are unchanged and that every version reads every other: a step of `make check`.

Place in the flow: before it. Run as `python -m schemas.release`: exit code 0 when all is well, 1 with a line for each
fault. Reads `.avsc` files and the manifest; writes nothing.

RELEASED below says what was released. The manifest alone could be edited along with a file, and a comparison with git
needs a history that a shallow clone or a source archive does not have. So the hashes are also here, in code: a release
adds a line, and **a line that is changed or removed is a broken promise that a reviewer sees**. No check inside the
repository can do more.
"""

import hashlib
import itertools
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import SchemaParseException

from schemas.compatibility import Version, faults


class Release(NamedTuple):
    """A released file, and the SHA-256 of its bytes."""

    file: str
    sha256: str


# Add lines. Never change or remove one: its events stay on the log forever.
RELEASED: Mapping[int, Release] = {
    1: Release("contest.v1.avsc", "698744b62d9bdd183be4ce0e565669184ea3d307207b3f1450ae81186d19bba6"),
    2: Release("count_update.v1.avsc", "8acea1e1cd494a6e16f896bdf69a56460e865c68025044c82d604d775c1ce5b9"),
    3: Release("unit_roll.v1.avsc", "499a243998ecca3367a82dd461071e08ac8e0e53e139b2ffe7266a1c84a12641"),
    4: Release("feed_status.v1.avsc", "6804c86e58659f17d7dfd39246edac78398a6374278defbf8cc360c2e5443f20"),
    5: Release("source_status.v1.avsc", "2576fa16e30b88cae8f7cbd35b4c417032bf902c5a5b24f3c3fdb98522149cfd"),
    6: Release("ingest_status.v1.avsc", "03cb2bb746f083432fb9a8dcb9eb79e0a1dd7419c552201cd2d1b8d9bf17b8b3"),
    7: Release("area_count.v1.avsc", "860f5c66fec2c87acf742e35dae60b29f0e6af29dd622aa39390a7c0ceb38a97"),
    8: Release("notice.v1.avsc", "bef4aafa6ac19b77be4e0805322f79f2dec285ad55bc1f941466ea824ea96256"),
    9: Release("aggregator_status.v1.avsc", "a0c2c49b5d24c5e024219981eb5af8a775b705841020be1bb00ab0e8c51364dc"),
}
"""Released schemas by their id on the wire."""

_NAME = re.compile(r"(?P<record>[a-z_]+)\.v(?P<version>[1-9]\d*)\.avsc")
_FOLDER = Path(__file__).parent


def check(folder: Path = _FOLDER, released: Mapping[int, Release] = RELEASED) -> list[str]:
    """List every fault of the folder, each a line that begins with its file; empty when all is well."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["schemas"]
    return [*_manifest(entries, released), *_files(folder, entries), *_versions(folder, entries)]


def _manifest(entries: list[dict[str, Any]], released: Mapping[int, Release]) -> Iterator[str]:
    """Check that the manifest lists what was released, each id once and in order."""
    ids = [entry["id"] for entry in entries]
    for schema_id in sorted({i for i in ids if ids.count(i) > 1}):
        files = " and ".join(entry["file"] for entry in entries if entry["id"] == schema_id)
        yield f"manifest.json: id {schema_id} is given to {files}. Give the new one the next id, {max(ids) + 1}."
    for entry in entries:
        was = released.get(entry["id"])
        if was is None:
            yield (
                f"{entry['file']}: id {entry['id']} is not released. It could still be edited. Add its line to "
                f'RELEASED in schemas/release.py: {entry["id"]}: Release("{entry["file"]}", "{entry["sha256"]}"),'
            )
        elif was.file != entry["file"]:
            yield (
                f"{entry['file']}: id {entry['id']} was released as {was.file}. Events on the log would be read with "
                f"another schema. Put it back, and use the next id, {max(*ids, *released) + 1}."
            )
        elif was.sha256 != entry["sha256"]:
            yield (
                f"{entry['file']}: its SHA-256 in the manifest is {entry['sha256'][:16]}…, the released one is "
                f"{was.sha256[:16]}…. Readers of the released one would refuse it. Put it back, and make a new version."
            )
    for schema_id in sorted(released.keys() - set(ids)):
        file = released[schema_id].file
        yield f"{file}: id {schema_id} is missing in manifest.json. Its events could not be read. Put it back."
    if ids != sorted(ids):
        yield "manifest.json: the ids are not in order. The newest version has the highest id. Add new ones at the end."


def _files(folder: Path, entries: list[dict[str, Any]]) -> Iterator[str]:
    """Check that the folder has the files of the manifest, byte for byte, and no others."""
    names = {entry["file"] for entry in entries}
    for entry in entries:
        path = folder / entry["file"]
        if not path.is_file():
            yield f"{path.name}: the file is missing. Events of id {entry['id']} could not be read. Put it back."
        elif (sha256 := hashlib.sha256(path.read_bytes()).hexdigest()) != entry["sha256"]:
            yield (
                f"{path.name}: it was edited: its SHA-256 is {sha256[:16]}…, the released one is "
                f"{entry['sha256'][:16]}…. Events were written with that one. Put it back, and make a new version."
            )
    for path in sorted(folder.glob("*.avsc")):
        if path.name not in names:
            yield f"{path.name}: it is not in manifest.json, so it has no id. Give it the next id, or delete it."


def _versions(folder: Path, entries: list[dict[str, Any]]) -> Iterator[str]:
    """Check that each record's versions are numbered 1, 2, 3 … in the order of their ids, and read each other."""
    records: dict[str, list[Version]] = defaultdict(list)
    stems: dict[str, str] = {}
    for file in dict.fromkeys(entry["file"] for entry in sorted(entries, key=lambda entry: int(entry["id"]))):
        match = _NAME.fullmatch(file)
        stem = match["record"] if match else ""
        if match is None or int(match["version"]) != len(records[stem]) + 1:
            yield f"{file}: its name is out of order. Name it RECORD.vN.avsc, N growing with the id, to be compared."
            continue
        try:
            avro = json.loads((folder / file).read_bytes())
            parsed: Any = fastavro.parse_schema(avro)
            name = parsed["name"]
        except FileNotFoundError:
            continue  # already reported
        except (ValueError, TypeError, KeyError, SchemaParseException) as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            yield f"{file}: it is not an Avro record ({reason}). Correct it before it is released."
            continue
        if stems.setdefault(name, stem) != stem:
            yield f"{file}: {name} is the record of {stems[name]}.v*.avsc. Name the file after it, to be compared."
        records[stem].append(Version(file, avro))
        yield from (f"{file}: {fault}" for fault in _unreadable(avro, ""))
        taken = {f["name"] for f in avro["fields"]} & _KEYS if stem == "count_update" else set()
        for key in sorted(taken):
            yield f"{file}: {key}: it is a key of the canonical text already. Choose another name."
    for versions in records.values():
        for older, newer in itertools.combinations(versions, 2):
            yield from (f"{newer.file}, against {older.file}: {fault}" for fault in faults(older, newer))


def _unreadable(schema: Any, path: str) -> Iterator[str]:
    """Yield the types that a reader of another version, or the canonical text, could not write as a value of JSON."""
    place = path or "the record"
    if isinstance(schema, list):
        others = [kind for kind in schema if kind != "null"]
        if len(others) != 1 or len(schema) != 2:
            yield f"{place}: it is a union of more than null and one type. Make a field of each."
        for kind in others:
            yield from _unreadable(kind, path)
        return
    kind = schema if isinstance(schema, str) else schema.get("logicalType") or schema["type"]
    if kind not in (_PLAIN if isinstance(schema, str) else _DEFINED):
        yield f"{place}: its type is {kind}, which the canonical text does not have. {_TYPES}"
    elif kind == "enum" and "default" not in schema:
        yield f"{place}: its enum has no default, so that it could never get a symbol. Give it one."
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            yield from _unreadable(field["type"], f"{path}.{field['name']}".lstrip("."))
        for inner in (schema[key] for key in ("items", "values") if key in schema):
            yield from _unreadable(inner, f"{path}[]")


_PLAIN = {"string", "long", "boolean"}
_DEFINED = {*_PLAIN, "uuid", "timestamp-millis", "record", "enum", "array", "map"}
_TYPES = "Take a string, long, boolean, enum, uuid or timestamp-millis, or a record, list or map written out here."
_KEYS = {"area_path", "counted_with", "unit_id", "unit_type"}
"""Keys of the canonical text of a CountUpdate that are no fields of its own."""


def main() -> int:
    """Print the result. Returns the exit code."""
    found = check()
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        print(f"{len(RELEASED)} released schemas: all unchanged, and every version reads every other.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
