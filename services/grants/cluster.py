"""Read and change passwords, grants and quotas of the cluster, connected as the administrator.

A crash leaves the first part of a change; applying again does the rest. Grants are added before any is removed, so that
a grant that stays is never missing.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import SecurityDisabledError, for_code
from kafka.protocol.admin import AlterClientQuotasRequest, DescribeClientQuotasRequest

from grants.policy import Grant, GrantsError, Operation, Policy, Resource
from runtime.kafka.access import KafkaAccess

_MECHANISM = ScramMechanism.SCRAM_SHA_512
_ITERATIONS = 8192
_PATTERNS = {
    Resource.TOPIC: (ResourceType.TOPIC, ACLResourcePatternType.LITERAL),
    Resource.GROUP: (ResourceType.GROUP, ACLResourcePatternType.PREFIXED),
    Resource.CLUSTER: (ResourceType.CLUSTER, ACLResourcePatternType.LITERAL),
}
_CLUSTER = "kafka-cluster"
"""Kafka's name for the one resource of type CLUSTER."""
_EVERY_ACL = ACLFilter(
    None, None, ACLOperation.ANY, ACLPermissionType.ANY,
    ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
)  # fmt: skip
DEFAULT = "<default>"
"""Means every principal without quotas of its own, as in Kafka's tools."""
_RESOURCES = {pattern: resource for resource, pattern in _PATTERNS.items()}


class Cluster:
    """The administrator's connection. Use as a context manager. Raises KafkaFault and GrantsError."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._admin: Any = kafka.open(KafkaAdminClient)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin.close()
        if error is not None:
            with self._kafka.faults("its grants", final=True):
                raise error

    def groups(self) -> dict[str, int]:
        """Return the number of consumer groups by the principal whose they are, "" for those of no principal.

        Every principal that may have groups is named, with 0 where it has none. On a cluster without grants, such as
        the local stack's, no group is a principal's.
        """
        try:
            acls, _ = self._admin.describe_acls(_EVERY_ACL)
        except SecurityDisabledError:
            acls = []
        grants = [grant for grant in map(_grant_of, acls) if grant is not None]
        prefixes = {grant.name: grant.principal for grant in grants if grant.resource is Resource.GROUP}
        found = dict.fromkeys(["", *prefixes.values()], 0)
        for group in self._admin.list_groups():
            name = group["group_id"]
            found[next((who for prefix, who in prefixes.items() if name.startswith(prefix)), "")] += 1
        return found

    def principals(self) -> set[str]:
        """Return the principals that have a password."""
        return set(self._admin.describe_user_scram_credentials())

    def declared(self) -> tuple[Policy, list[ACL]]:
        """Return the policy in force, and the foreign ACLs: those that grants.toml cannot declare."""
        acls, _ = self._admin.describe_acls(_EVERY_ACL)
        grants, foreign = set(), []
        for acl in acls:
            grant = _grant_of(acl)
            if grant is None:
                foreign.append(acl)
            else:
                grants.add(grant)
        return Policy(frozenset(grants), self._quotas()), sorted(foreign, key=repr)

    def put_passwords(self, passwords: Mapping[str, str]) -> None:
        """Set the password of each principal; its former password no longer opens a connection."""
        upsertions = [
            UserScramCredentialUpsertion(principal, _MECHANISM, password, iterations=_ITERATIONS)
            for principal, password in passwords.items()
        ]
        self._alter_credentials(upsertions)

    def remove(self, principals: Iterable[str]) -> None:
        """Delete the passwords of principals. Open connections stay open, but have no grants."""
        known = self._admin.describe_user_scram_credentials()
        self._alter_credentials([
            UserScramCredentialDeletion(principal, credential["mechanism"])
            for principal in principals
            for credential in known[principal]["credential_infos"]
        ])  # fmt: skip

    def _alter_credentials(self, alterations: list[Any]) -> None:
        if not alterations:
            return
        for principal, fault in self._admin.alter_user_scram_credentials(alterations).items():
            if fault is not None:
                raise GrantsError(f"{self._kafka} refused to change the password of {principal}: {fault}")

    def apply(self, now: Policy, wanted: Policy, foreign: Iterable[ACL]) -> None:
        """Apply the wanted grants and quotas, and remove `foreign` ACLs."""
        if added := sorted(wanted.grants - now.grants):
            done = self._admin.create_acls([_acl_of(grant) for grant in added])
            if done["failed"]:
                raise GrantsError(f"{self._kafka} refused to create ACLs: {done['failed']!r}")
        removed = [_filter_of(_acl_of(grant)) for grant in sorted(now.grants - wanted.grants)]
        if removed := [*removed, *map(_filter_of, foreign)]:
            for _, _, error in self._admin.delete_acls(removed):
                if error is not None and error.errno:
                    raise GrantsError(f"{self._kafka} refused to remove an ACL: {error!r}")
        for principal in now.quotas.keys() | wanted.quotas.keys():
            self._put_quotas(principal, now.quotas.get(principal, {}), wanted.quotas.get(principal, {}))

    def _quotas(self) -> dict[str, dict[str, float]]:
        component = DescribeClientQuotasRequest.ComponentData(entity_type="user", match_type=2, match=None)
        answer = self._ask(DescribeClientQuotasRequest(components=[component], strict=True))
        _raise(answer.error_code, answer.error_message)
        return {e.entity[0].entity_name or DEFAULT: {v.key: v.value for v in e.values} for e in answer.entries or []}

    def _put_quotas(self, principal: str, now: Mapping[str, float], wanted: Mapping[str, float]) -> None:
        data = AlterClientQuotasRequest.EntryData
        ops = [
            data.OpData(key=key, value=value, remove=False) for key, value in wanted.items() if now.get(key) != value
        ]
        ops += [data.OpData(key=key, value=0.0, remove=True) for key in now.keys() - wanted.keys()]
        if not ops:
            return
        name = None if principal == DEFAULT else principal
        entry = data(entity=[data.EntityData(entity_type="user", entity_name=name)], ops=ops)
        answer = self._ask(AlterClientQuotasRequest(entries=[entry], validate_only=False))
        for one in answer.entries:
            _raise(one.error_code, one.error_message)

    def _ask(self, request: Any) -> Any:
        """Send a request for which the client has no method."""
        return self._admin._manager.run(self._admin._manager.send, request)


def _raise(code: int, message: str | None) -> None:
    if code:
        raise for_code(code)(message)


def _filter_of(acl: ACL) -> ACLFilter:
    pattern = acl.resource_pattern
    return ACLFilter(
        acl.principal,
        acl.host,
        acl.operation,
        acl.permission_type,
        ResourcePatternFilter(pattern.resource_type, pattern.resource_name, pattern.pattern_type),
    )


def _acl_of(grant: Grant) -> ACL:
    kind, pattern = _PATTERNS[grant.resource]
    return ACL(
        principal=f"User:{grant.principal}",
        host="*",
        operation=ACLOperation[grant.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(kind, grant.name or _CLUSTER, pattern),
    )


def _grant_of(acl: ACL) -> Grant | None:
    """Return the ACL as a grant, None when it is not of the form that `_acl_of` creates."""
    resource = _RESOURCES.get((acl.resource_pattern.resource_type, acl.resource_pattern.pattern_type))
    plain = acl.host == "*" and acl.permission_type == ACLPermissionType.ALLOW and acl.operation.name in list(Operation)
    if resource is None or not plain or not acl.principal.startswith("User:"):
        return None
    name = "" if resource is Resource.CLUSTER else acl.resource_pattern.resource_name
    return Grant(acl.principal.removeprefix("User:"), resource, name, Operation(acl.operation.name))
