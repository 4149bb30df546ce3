"""Whether two versions of a schema read each other's events: both directions, down to the last nested field (pure).

Place in the flow: before it. `make check` asks for every pair of released versions (`schemas.release`): the log is kept for
good, so a reader of any version meets events of every other, not only of its neighbour's.

It is stricter than Avro's resolution where that would let two readers make two things of the same bytes: a logical type or a
default may not change, and no type may be widened, since what one side widens the other cannot read. It does not compare what
resolution goes past: docs, and the order of fields, of symbols and of a union's branches.

Why not a library: fastavro resolves, but compares nothing. The checker of the `avro` package looks past logical types and
defaults; it would be one more dependency, and this would still have to stand on top. That the verdicts are right is
shown by tests with fastavro's own resolution.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

_WIDER = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}
_KEEP = "Leave it as it was, and say the new thing in a new field with a default"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a schema: the name of its file, and the JSON in it."""

    file: str
    avro: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One change that a reader would stumble over. `path`: of the field, as `counts.votes`; empty for the record itself."""

    path: str
    what: str
    breaks: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or 'the record'}: {self.what}. {self.breaks}. {self.remedy}."


def faults(older: Version, newer: Version) -> list[Fault]:
    """Why the two do not read each other; empty if they do. Raises fastavro's error for what is no schema."""
    pair = _Pair(older.file, newer.file)
    old = fastavro.parse_schema(older.avro, named_schemas=pair.old_names)
    new = fastavro.parse_schema(newer.avro, named_schemas=pair.new_names)
    return list(pair.types(old, new, ""))


@dataclass(slots=True)
class _Pair:
    """Two schemas being compared. fastavro has written every name in full, and a type's second use as its name."""

    older: str
    newer: str
    old_names: dict[str, Any] = field(default_factory=dict)
    new_names: dict[str, Any] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def types(self, old: Any, new: Any, path: str) -> Iterator[Fault]:
        """The faults between two types at one place."""
        old, new = _defined(old, self.old_names), _defined(new, self.new_names)
        if _kind(old) != _kind(new):
            breaks = self._who(old_reads=_reads(old, new), new_reads=_reads(new, old))
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
            ("logicalType", "logical type", "Two readers would make two things of the same bytes"),
            ("precision", "precision", "Two readers would make two things of the same bytes"),
            ("scale", "scale", "Two readers would make two things of the same bytes"),
            ("size", "size", "Neither version can read the other's bytes"),
        ):
            if old.get(key) != new.get(key):
                yield Fault(path, f"its {word} was {_said(old, key)} and is {_said(new, key)}", breaks, _KEEP)
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
                    remedy = "Keep it; a field without a default stays for good"
                    yield Fault(place, "it was removed, and had no default", self._who(old_reads=False), remedy)
            else:
                yield from self._fields(was[name], now[name], place)

    def _added(self, added: Mapping[str, Any], place: str) -> Iterator[Fault]:
        if "default" not in added:
            remedy = 'Give it a default: `"type": ["null", ...], "default": null`'
            yield Fault(place, "it was added without a default", self._who(new_reads=False), remedy)
        elif isinstance(added["type"], list) and (added["type"][0] == "null") != (added["default"] is None):
            what = f"its default, {_said(added, 'default')}, is not of the first of its types, {_words(added['type'])}"
            breaks = "Readers in other languages refuse such a schema as a whole"
            yield Fault(place, what, breaks, "Put the type of the default first")

    def _fields(self, old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[Fault]:
        for key in ("default", "aliases"):
            if _said(old, key) != _said(new, key):
                what = (
                    f"its {key} {'was' if key == 'default' else 'were'} {_said(old, key)} and is now {_said(new, key)}"
                )
                breaks = "Two readers would make two things of an event that does not have the field"
                yield Fault(place, what, breaks, _KEEP)
        yield from self.types(old["type"], new["type"], place)

    def _enums(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Fault]:
        was, now = set(old["symbols"]), set(new["symbols"])
        if _said(old, "default") != _said(new, "default"):
            what = f"the symbol for unknown ones was {_said(old, 'default')} and is {_said(new, 'default')}"
            yield Fault(path, what, "Two readers would make two things of the same event", _KEEP)
        remedy = "Only an enum that had a default from its first version can change; say it in a new field"
        if now - was and "default" not in old:
            what = f"{', '.join(sorted(now - was))} came to its symbols, and it had no default"
            yield Fault(path, what, self._who(old_reads=False), remedy)
        if was - now and "default" not in new:
            what = f"{', '.join(sorted(was - now))} left its symbols, and it has no default"
            yield Fault(path, what, self._who(new_reads=False), remedy)

    def _unions(self, old: list[Any], new: list[Any], path: str) -> Iterator[Fault]:
        was = {_branch(s, self.old_names): s for s in old}
        now = {_branch(s, self.new_names): s for s in new}
        for name in {**was, **now}:
            if name not in was:
                yield Fault(path, f"{name} came to its types", self._who(old_reads=False), _KEEP)
            elif name not in now:
                yield Fault(path, f"{name} left its types", self._who(new_reads=False), _KEEP)
            else:
                yield from self.types(was[name], now[name], path)

    def _who(self, *, old_reads: bool = True, new_reads: bool = True) -> str:
        """Whom a change breaks. `old_reads`: a reader with the older version reads events of the newer one."""
        broken = [] if old_reads else [f"who reads with {self.older} cannot read events of {self.newer}"]
        broken += [] if new_reads else [f"who reads with {self.newer} cannot read events of {self.older}"]
        words = ", and ".join(broken) or "both can read it, but not as the same"
        return words[0].upper() + words[1:]


def _defined(schema: Any, names: Mapping[str, Any]) -> Any:
    return names.get(schema, schema) if isinstance(schema, str) else schema


def _full(schema: Any) -> Mapping[str, Any]:
    return {"type": schema} if isinstance(schema, str) else schema


def _kind(schema: Any) -> str:
    return "union" if isinstance(schema, list) else str(_full(schema)["type"])


def _branch(schema: Any, names: Mapping[str, Any]) -> str:
    """What tells a union's branches apart: the full name of a named type, the kind of any other."""
    schema = _defined(schema, names)
    return str(_full(schema).get("name") or _kind(schema))


def _reads(reader: Any, writer: Any) -> bool:
    """Whether Avro's resolution lets `reader` read what `writer` wrote, by their kinds."""
    if isinstance(writer, list):
        return all(_reads(reader, branch) for branch in writer)
    if isinstance(reader, list):
        return any(_reads(branch, writer) for branch in reader)
    return _kind(reader) == _kind(writer) or _kind(reader) in _WIDER.get(_kind(writer), ())


def _words(schema: Any) -> str:
    return " or ".join(_words(s) for s in schema) if isinstance(schema, list) else _kind(schema)


def _said(schema: Mapping[str, Any], key: str) -> str:
    """JSON, so that `false`, `0` and `0.0` are three things; `none` where the key is missing, which is not `null`."""
    return json.dumps(schema[key]) if key in schema else "none"
