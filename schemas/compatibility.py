"""Check that two versions of a schema read each other's events: both directions, every nested field (pure).

Place in the flow: before it. `make check` compares every pair of released versions (`schemas.release`). The log is kept
forever, so a reader of any version meets events of every other version.

It is stricter than Avro's schema resolution where that would let two readers read the same bytes differently: a logical
type or a default must not change, and no type may be widened, because the older reader cannot read the wider type. It
does not compare what resolution ignores: docs, and the order of fields, symbols and branches of a union.

Why not a library: fastavro resolves schemas but does not compare them. The checker of the `avro` package ignores
logical types and defaults, so this module would still be needed. Tests compare the results with fastavro's own
resolution.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

_WIDER = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}
_KEEP = "Leave it as it was, and add a new field with a default"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a schema: the name of its file, and the JSON in it."""

    file: str
    avro: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One incompatible change. `path`: the field, as `counts.votes`; empty for the record itself."""

    path: str
    what: str
    breaks: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or 'the record'}: {self.what}. {self.breaks}. {self.remedy}."


def faults(older: Version, newer: Version) -> list[Fault]:
    """List why two versions do not read each other; empty if they do. Raises fastavro's error for an invalid schema."""
    pair = _Pair(older.file, newer.file)
    old = fastavro.parse_schema(older.avro, named_schemas=pair.old_names)
    new = fastavro.parse_schema(newer.avro, named_schemas=pair.new_names)
    return list(pair.types(old, new, ""))


@dataclass(slots=True)
class _Pair:
    """Two schemas being compared. fastavro has expanded every name, and replaced a type's second use by its name."""

    older: str
    newer: str
    old_names: dict[str, Any] = field(default_factory=dict)
    new_names: dict[str, Any] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def types(self, old: Any, new: Any, path: str) -> Iterator[Fault]:
        """Yield the faults between two types at one place."""
        old, new = _defined(old, self.old_names), _defined(new, self.new_names)
        if _kind(old) != _kind(new):
            breaks = self._broken_readers(old_reads=_reads(old, new), new_reads=_reads(new, old))
            yield Fault(path, f"its type was {_words(old)} and is {_words(new)}", breaks, _KEEP)
            return
        if isinstance(old, list):
            yield from self._unions(old, new, path)
        elif isinstance(old, dict) or isinstance(new, dict):
            yield from self._definitions(_full(old), _full(new), path)

    def _definitions(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Fault]:
        names = old.get("name", ""), new.get("name", "")
        if names in self.seen:
            return
        if all(names):
            self.seen.add(names)
        for key, word, breaks in (
            ("name", "name", "A reader finds a type by its full name"),
            ("aliases", "aliases", "A reader finds a renamed type by them, in one direction only"),
            ("logicalType", "logical type", "Two readers would read the same bytes differently"),
            ("precision", "precision", "Two readers would read the same bytes differently"),
            ("scale", "scale", "Two readers would read the same bytes differently"),
            ("size", "size", "Neither version can read the other's bytes"),
        ):
            if old.get(key) != new.get(key):
                yield Fault(path, f"its {word} was {_json(old, key)} and is {_json(new, key)}", breaks, _KEEP)
        match old["type"]:
            case "record":
                yield from self._records(old, new, path)
            case "enum":
                yield from self._enums(old, new, path)
            case "array":
                yield from self.types(old["items"], new["items"], f"{path}[]")
            case "map":
                yield from self.types(old["values"], new["values"], f"{path}{{}}")

    def _records(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Fault]:
        was, now = ({f["name"]: f for f in record["fields"]} for record in (old, new))
        for name in {**was, **now}:
            place = f"{path}.{name}" if path else name
            if name not in was:
                yield from self._added(now[name], place)
            elif name not in now:
                if "default" not in was[name]:
                    remedy = "Keep it; a field without a default can never be removed"
                    breaks = self._broken_readers(old_reads=False)
                    yield Fault(place, "it was removed, and had no default", breaks, remedy)
            else:
                yield from self._fields(was[name], now[name], place)

    def _added(self, added: Mapping[str, Any], place: str) -> Iterator[Fault]:
        if "default" not in added:
            remedy = 'Give it a default: `"type": ["null", ...], "default": null`'
            yield Fault(place, "it was added without a default", self._broken_readers(new_reads=False), remedy)
        elif isinstance(added["type"], list) and (added["type"][0] == "null") != (added["default"] is None):
            what = f"its default, {_json(added, 'default')}, is not of the first of its types, {_words(added['type'])}"
            breaks = "Readers in other languages refuse such a schema as a whole"
            yield Fault(place, what, breaks, "Put the type of the default first")

    def _fields(self, old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[Fault]:
        for key in ("default", "aliases"):
            if _json(old, key) != _json(new, key):
                was = "was" if key == "default" else "were"
                what = f"its {key} {was} {_json(old, key)} and is now {_json(new, key)}"
                breaks = "Two readers would read an event without the field differently"
                yield Fault(place, what, breaks, _KEEP)
        yield from self.types(old["type"], new["type"], place)

    def _enums(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Fault]:
        was, now = set(old["symbols"]), set(new["symbols"])
        if _json(old, "default") != _json(new, "default"):
            what = f"the symbol for unknown ones was {_json(old, 'default')} and is {_json(new, 'default')}"
            yield Fault(path, what, "Two readers would read the same event differently", _KEEP)
        remedy = "Only an enum that had a default from its first version can change; add a new field"
        if now - was and "default" not in old:
            what = f"{', '.join(sorted(now - was))} added to its symbols, and it had no default"
            yield Fault(path, what, self._broken_readers(old_reads=False), remedy)
        if was - now and "default" not in new:
            what = f"{', '.join(sorted(was - now))} removed from its symbols, and it has no default"
            yield Fault(path, what, self._broken_readers(new_reads=False), remedy)

    def _unions(self, old: list[Any], new: list[Any], path: str) -> Iterator[Fault]:
        was = {_branch(s, self.old_names): s for s in old}
        now = {_branch(s, self.new_names): s for s in new}
        for name in {**was, **now}:
            if name not in was:
                yield Fault(path, f"{name} added to its types", self._broken_readers(old_reads=False), _KEEP)
            elif name not in now:
                yield Fault(path, f"{name} removed from its types", self._broken_readers(new_reads=False), _KEEP)
            else:
                yield from self.types(was[name], now[name], path)

    def _broken_readers(self, *, old_reads: bool = True, new_reads: bool = True) -> str:
        """Name the readers that a change breaks. `old_reads`: the older version reads events of the newer one."""
        broken = [] if old_reads else [f"a reader of {self.older} cannot read events of {self.newer}"]
        broken += [] if new_reads else [f"a reader of {self.newer} cannot read events of {self.older}"]
        words = ", and ".join(broken) or "both can read it, but not as the same value"
        return words[0].upper() + words[1:]


def _defined(schema: Any, names: Mapping[str, Any]) -> Any:
    return names.get(schema, schema) if isinstance(schema, str) else schema


def _full(schema: Any) -> Mapping[str, Any]:
    return {"type": schema} if isinstance(schema, str) else schema


def _kind(schema: Any) -> str:
    return "union" if isinstance(schema, list) else str(_full(schema)["type"])


def _branch(schema: Any, names: Mapping[str, Any]) -> str:
    """Return the name that distinguishes a union's branch: the full name of a named type, the kind of any other."""
    schema = _defined(schema, names)
    return str(_full(schema).get("name") or _kind(schema))


def _reads(reader: Any, writer: Any) -> bool:
    """Say whether Avro's schema resolution lets `reader` read what `writer` wrote, by their kinds."""
    if isinstance(writer, list):
        return all(_reads(reader, branch) for branch in writer)
    if isinstance(reader, list):
        return any(_reads(branch, writer) for branch in reader)
    return _kind(reader) == _kind(writer) or _kind(reader) in _WIDER.get(_kind(writer), ())


def _words(schema: Any) -> str:
    return " or ".join(_words(s) for s in schema) if isinstance(schema, list) else _kind(schema)


def _json(schema: Mapping[str, Any], key: str) -> str:
    """Return a value as JSON, so that `false`, `0` and `0.0` differ; `none` for a missing key, which is not `null`."""
    return json.dumps(schema[key]) if key in schema else "none"
