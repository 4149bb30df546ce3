"""Answer what clients ask of a Confluent Schema Registry, from the released schemas alone (pure).

Place in the flow: beside it. `registry.routes` puts the answers on HTTP. Nothing is stored and nothing can be
registered: ids, texts and the order of versions come with a release (`schemas.manifest.json`) and never change, so a
crash leaves nothing, and any number of processes give the same answers.

Subjects. Every record has `escrutinio.RECORD` (RecordNameStrategy) and, for each topic that it stands on,
`TOPIC-escrutinio.RECORD` (TopicRecordNameStrategy). A topic with one record has `TOPIC-value` (TopicNameStrategy, the
default of all clients).

`results.events-value`. The log carries several records, so its schemas are no versions of each other. The subject has
them all, numbered in the order of their ids, because clients with the default strategy look each of them up there:
Kafka Connect's AvroConverter does so for every schema it meets, and its task ends where the lookup fails. But it has no
`latest`: whoever takes that as the schema of the topic (as ksqlDB, Trino and `use.latest.version` do) would read every
other record by it, and get an error at best and empty columns at worst. That is refused with the subjects to take
instead. For the same reason it is not in the list of subjects: each that is listed has a `latest`.

Equality. A schema is looked up by what a reader reads by: full names, types, logical types, defaults, aliases, the
order of fields and symbols. Docs, spacing, other properties and the way in which a name is written are passed over, as
clients in Java and generators of code change them. So `normalize` changes nothing.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from schemas.codec import Schema
from schemas.compatibility import Version, faults
from schemas.errors import EscrutinioError
from schemas.topics import Topic

SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
NO_LEVEL_OF_ITS_OWN, NO_MODE_OF_ITS_OWN = 40408, 40409
INVALID_SCHEMA, INVALID_VERSION, NOT_PERMITTED = 42201, 42202, 42205

LEVEL = "FULL_TRANSITIVE"
"""Every version reads every other: `schemas.compatibility`, which is stricter still."""
MODE = "READONLY"

_ATTRIBUTES = (
    "type", "name", "namespace", "aliases", "fields", "symbols", "items", "values", "size", "default", "logicalType",
    "precision", "scale",
)  # fmt: skip
"""What of a schema a reader reads by."""


class RegistryError(EscrutinioError):
    """A request that is answered with an error, in the protocol's own form. `code`: the protocol's, such as 40403."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code // 100


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject: its schemas in the order of their versions, the first of which is version 1."""

    name: str
    schemas: tuple[Schema, ...]
    has_latest: bool

    def stated(self, version: int) -> dict[str, Any]:
        """Return a version as it is answered."""
        schema = self.schemas[version - 1]
        return {"subject": self.name, "version": version, "id": schema.id, "schema": schema.text}


class Registry:
    """The subjects and schemas of a release. Every method raises RegistryError for what is not there."""

    def __init__(self, schemas: Iterable[Schema], topics: Iterable[Topic], prefix: str = "") -> None:
        """`prefix`: of the topics' names, for rehearsals."""
        self._schemas = {schema.id: schema for schema in sorted(schemas, key=lambda schema: schema.id)}
        self._normal = {schema.id: normal(schema.avro) for schema in self._schemas.values()}
        names = {schema.record: full_name(schema) for schema in self._schemas.values()}
        records = {full: {record} for record, full in names.items()}
        for topic in topics:
            records |= {f"{prefix}{topic.name}-{names[record]}": {record} for record in topic.records}
            records |= {f"{prefix}{topic.name}-value": set(topic.records)} if topic.records else {}
        self._subjects = {
            name: Subject(name, tuple(s for s in self._schemas.values() if s.record in of), has_latest=len(of) == 1)
            for name, of in sorted(records.items())
        }
        self.max_id = max(self._schemas)

    def subjects(self) -> list[str]:
        """List the subjects that have a latest version."""
        return [name for name, subject in self._subjects.items() if subject.has_latest]

    def versions(self, subject: str) -> list[int]:
        """List the numbers of a subject's versions."""
        return list(range(1, len(self._subject(subject).schemas) + 1))

    def version(self, subject: str, version: str) -> dict[str, Any]:
        """Return a version of a subject: its number, id and schema."""
        return self._subject(subject).stated(self._number(subject, version))

    def all_versions(self) -> list[dict[str, Any]]:
        """List every version of the subjects that are listed."""
        return [self._subjects[name].stated(number) for name in self.subjects() for number in self.versions(name)]

    def schema(self, schema_id: str) -> Schema:
        """Return the schema of an id."""
        found = self._schemas.get(int(schema_id)) if re.fullmatch(r"[0-9]{1,10}", schema_id) else None
        if found is None:
            raise RegistryError(SCHEMA_NOT_FOUND, f"Schema {schema_id} not found")
        return found

    def places(self, schema_id: str) -> list[dict[str, Any]]:
        """List the subjects and versions that a schema is, also of subjects that are not listed."""
        schema = self.schema(schema_id)
        found = (subject for subject in self._subjects.values() if schema in subject.schemas)
        return [{"subject": subject.name, "version": subject.schemas.index(schema) + 1} for subject in found]

    def look_up(self, subject: str, request: Any) -> dict[str, Any]:
        """Return the version of a subject that has the request's schema."""
        given, found = _given(request), self._subject(subject)
        for number, schema in enumerate(found.schemas, 1):
            if self._normal[schema.id] == given:
                return found.stated(number)
        raise RegistryError(SCHEMA_NOT_FOUND, "Schema not found")

    def register(self, subject: str, request: Any) -> dict[str, Any]:
        """Return the version that has the request's schema: a registration of what is there changes nothing."""
        try:
            return self.look_up(subject, request)
        except RegistryError as missing:
            if missing.code == INVALID_SCHEMA:
                raise
            raise refused(f"{subject} does not have this schema") from missing

    def compatibility(self, subject: str, version: str | None, request: Any, *, verbose: bool) -> dict[str, Any]:
        """Say whether the request's schema and a version of a subject (None: all of them) read each other's events.

        Where a subject has several records, all of them are those with the schema's name, if there are any.
        """
        given, chosen = _given(request), self._subject(subject).schemas
        if version is not None:
            chosen = (chosen[self._number(subject, version) - 1],)
        elif isinstance(given, dict):
            chosen = tuple(schema for schema in chosen if full_name(schema) == given.get("name")) or chosen
        new = Version("the schema given", given)
        try:
            said = [f"{s.path.name}: {fault}" for s in chosen for fault in faults(Version(s.path.name, s.avro), new)]
        except Exception as error:
            raise _invalid(error) from error
        return {"is_compatible": not said} | ({"messages": said} if verbose else {})

    def level(self, subject: str) -> str:
        """Return the level of compatibility of a subject."""
        if subject in self._subjects:
            return LEVEL
        words = f"Subject '{subject}' does not have subject-level compatibility configured"
        raise RegistryError(NO_LEVEL_OF_ITS_OWN, words)

    def mode(self, subject: str) -> str:
        """Return the mode of a subject."""
        if subject in self._subjects:
            return MODE
        raise RegistryError(NO_MODE_OF_ITS_OWN, f"Subject '{subject}' does not have subject-level mode configured")

    def _subject(self, name: str) -> Subject:
        if (found := self._subjects.get(name)) is None:
            raise RegistryError(SUBJECT_NOT_FOUND, f"Subject '{name}' not found.")
        return found

    def _number(self, subject: str, version: str) -> int:
        """Return the number of a version: digits, `latest`, or -1, which means the same."""
        is_latest = version in ("latest", "-1")
        if not is_latest and not (re.fullmatch(r"[0-9]{1,10}", version) and 0 < int(version) < 2**31):
            words = 'is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"'
            raise RegistryError(INVALID_VERSION, f"The specified version '{version}' {words}")
        found = self._subject(subject)
        if is_latest and not found.has_latest:
            records = ", ".join(dict.fromkeys(map(full_name, found.schemas)))
            words = f"it has several records, {records}; each is a subject by itself, and has a latest version"
            raise RegistryError(VERSION_NOT_FOUND, f"Version latest of {subject} not found: {words}")
        if not is_latest and int(version) > len(found.schemas):
            raise RegistryError(VERSION_NOT_FOUND, f"Version {version} not found.")
        return len(found.schemas) if is_latest else int(version)


def full_name(schema: Schema) -> str:
    """Return the full name of a schema's record, `escrutinio.CountUpdate`."""
    return f"{schema.avro['namespace']}.{schema.record}"


def refused(what: str) -> RegistryError:
    """Return the refusal of a change."""
    return RegistryError(NOT_PERMITTED, f"{what}; this registry is read-only: its schemas come with a release")


def normal(schema: Any) -> Any:
    """Return what of a schema a reader reads by, with full names. Raises any error for what is no schema.

    Names are expanded by fastavro, which is compiled and does not count how deeply it is nested: `_attributes`, which
    Python counts, goes first.
    """
    return _attributes(fastavro.parse_schema(_attributes(schema), _write_hint=False))


def _attributes(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_attributes(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    nested = ("type", "fields", "items", "values")
    kept = {key: _attributes(schema[key]) if key in nested else schema[key] for key in _ATTRIBUTES if key in schema}
    return kept["type"] if kept.keys() == {"type"} else kept


def _given(request: Any) -> Any:
    """Return the normal schema of a request's body."""
    text = request.get("schema") if isinstance(request, Mapping) else None
    kind = request.get("schemaType") if isinstance(request, Mapping) else None
    if kind not in (None, "AVRO"):
        raise RegistryError(INVALID_SCHEMA, f"Invalid schema type {kind}: every schema here is AVRO")
    if not isinstance(text, str) or not text:
        raise RegistryError(INVALID_SCHEMA, "Empty schema")
    try:
        return normal(json.loads(text))
    except Exception as error:
        raise _invalid(error) from error


def _invalid(error: Exception) -> RegistryError:
    """Return the answer to what fastavro does not read: on a malformed schema it can raise any exception."""
    return RegistryError(INVALID_SCHEMA, f"Invalid schema: it is no Avro ({type(error).__name__}: {str(error)[:200]})")
