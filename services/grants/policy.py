"""The policy: what each principal may do, and its quotas (pure).

`grants.toml` has a table for each kind of principal; a table whose name ends in `-*` is for all names with that prefix,
and a `*` in its groups is the rest of the principal's name. The principals are those with an access file.

Kafka grants consumer groups by prefix. No principal's prefix may begin with another's: its groups would be the other's
too. So a prefix ends in a character that no principal's name contains: `newsroom-*.`, with a dot. With a dash,
`newsroom-a` would have the groups of `newsroom-a-b`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas import toml
from schemas.errors import EscrutinioError
from schemas.faults import first_fault


class GrantsError(EscrutinioError):
    """The policy is invalid, or the cluster refuses it."""


class Resource(StrEnum):
    """The kinds of resources that a grant can name."""

    TOPIC = "topic"
    GROUP = "groups that begin with"
    CLUSTER = "the cluster"


class Operation(StrEnum):
    """The operations that a grant can allow, as Kafka names them."""

    READ = "READ"
    WRITE = "WRITE"
    DESCRIBE = "DESCRIBE"
    DESCRIBE_CONFIGS = "DESCRIBE_CONFIGS"


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One operation that one principal may perform."""

    principal: str
    resource: Resource
    name: str
    operation: Operation

    def __str__(self) -> str:
        return f"{self.principal} may {self.operation} {self.resource} {self.name}".rstrip()


_Rate = Annotated[float, Field(gt=0)]


class Quotas(BaseModel):
    """The quotas of a principal, in Kafka's units. None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_byte_rate: _Rate | None = None
    """Bytes a second from each broker."""
    producer_byte_rate: _Rate | None = None
    request_percentage: _Rate | None = None
    """Percent of one thread of each broker."""

    def given(self) -> dict[str, float]:
        """Return the quotas that are set, by Kafka's names."""
        return self.model_dump(exclude_none=True)


class Kind(Quotas):
    """A table of the file: what the principals of a kind may do."""

    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Prefixes of the names of its consumer groups."""
    describe_cluster: bool = False
    """Whether it may list brokers, consumer groups and grants: names, and no message."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants and quotas of a cluster."""

    grants: frozenset[Grant]
    quotas: Mapping[str, Mapping[str, float]]


def kinds(text: str) -> dict[str, Kind]:
    """Parse a grants file. Raises GrantsError, naming table and field."""
    try:
        tables = toml.parse(text)
    except toml.TomlError as error:
        raise GrantsError(str(error)) from error
    found = {}
    for name, table in tables.items():
        try:
            found[name] = Kind.model_validate(table)
        except ValidationError as error:
            raise GrantsError(f"[{name}] {first_fault(error)}") from error
    return found


def declare(kinds: Mapping[str, Kind], principals: Iterable[str], topic_prefix: str = "") -> Policy:
    """Return the policy for the given principals.

    Raises GrantsError for a principal without a table or with two, and for groups that two principals would share.
    """
    grants: set[Grant] = set()
    quotas: dict[str, Mapping[str, float]] = {}
    for principal in principals:
        kind, rest = _kind(kinds, principal)
        for topic in {*kind.write, *kind.read}:
            operations = {Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS}  # to check that the topic keeps every event
            operations |= {Operation.WRITE} if topic in kind.write else set()
            operations |= {Operation.READ} if topic in kind.read else set()
            grants |= {Grant(principal, Resource.TOPIC, topic_prefix + topic, o) for o in operations}
        for group in kind.groups:
            name = group.replace("*", rest)
            grants |= {Grant(principal, Resource.GROUP, name, o) for o in (Operation.READ, Operation.DESCRIBE)}
        if kind.describe_cluster:
            grants.add(Grant(principal, Resource.CLUSTER, "", Operation.DESCRIBE))
        if limits := Quotas.model_validate(kind.model_dump(include=set(Quotas.model_fields))).given():
            quotas[principal] = limits
    _refuse_shared_groups({(g.name, g.principal) for g in grants if g.resource is Resource.GROUP})
    return Policy(frozenset(grants), quotas)


def _refuse_shared_groups(prefixes: set[tuple[str, str]]) -> None:
    """Raise GrantsError where a principal's prefix covers another's, or every group there is."""
    for prefix, principal in sorted(prefixes):
        if not prefix:
            raise GrantsError(f"{principal}: a prefix of groups is empty, and would be every principal's groups")
        for other, whose in sorted(prefixes):
            if whose != principal and other.startswith(prefix):
                raise GrantsError(
                    f"{principal} would have groups of {whose}: {other!r} begins with {prefix!r}. Rename one of them, "
                    "or end the prefix in grants.toml with a character that no principal's name contains, such as a dot"
                )


def _kind(kinds: Mapping[str, Kind], principal: str) -> tuple[Kind, str]:
    if principal in kinds:
        return kinds[principal], ""
    match [name for name in kinds if name.endswith("*") and principal.startswith(name[:-1])]:
        case [name]:
            return kinds[name], principal.removeprefix(name[:-1])
        case []:
            raise GrantsError(f"there is no table for {principal}; the tables are: {', '.join(kinds)}")
        case names:
            raise GrantsError(f"{' and '.join(names)} are both tables for {principal}; give it a table of its own")
