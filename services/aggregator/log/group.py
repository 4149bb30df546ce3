"""Share the partitions of the log with other aggregators, by a consumer group of Kafka that commits no offset."""

import os
import socket
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from runtime.kafka.access import KafkaAccess

HEARTBEAT_S = 1.0
"""Interval of a member's heartbeats, and so the delay until it learns of a rebalance."""

PATIENCE_S = 300.0
"""Time limit between two polls of the group: a batch takes seconds, and so does loading a contest's state when a
partition is assigned. A member that hangs for longer loses its partitions, though it sends heartbeats."""


class Group:
    """Membership in a consumer group, which assigns partitions of the topic to this process. Use as a context manager.

    It reads nothing: the reader is assigned its partitions and offsets manually, as without a group. A thread of the
    client sends heartbeats while a batch is processed. Rebalances are cooperative: members keep their partitions, and
    pause only until all have agreed; a partition that moves is revoked before its next owner gets it. The partitions of
    a member that leaves move at once, those of a killed member after `session_timeout_s`.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, name: str, *, session_timeout_s: float) -> None:
        self.name = name
        self._kafka = kafka
        self._member: Any = kafka.open(
            KafkaConsumer,
            group_id=name,
            client_id=f"escrutinio-aggregator-{socket.gethostname()}-{os.getpid()}",
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=round(session_timeout_s * 1000),
            heartbeat_interval_ms=round(min(HEARTBEAT_S, session_timeout_s / 3) * 1000),
            max_poll_interval_ms=round(PATIENCE_S * 1000),
            enable_auto_commit=False,
            auto_offset_reset="none",
            reconnect_backoff_max_ms=1000,
            request_timeout_ms=10_000,
        )
        self._generations = _Generations(self._member)
        self._member.subscribe([topic], listener=self._generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._member.close(timeout_ms=2000)

    def owned(self) -> dict[int, int] | None:
        """Return the partitions of this member with their generations. Drives the rebalance, so call it often.

        A new generation means that the partition was revoked and assigned again, and that its state may be outdated.
        None during a rebalance: call again at once, since a broker's response between two calls is lost.
        """
        with self._kafka.faults(f"group {self.name}", final=True):
            self._member.poll(timeout_ms=10 if self._shared() and self._generations.held else 200)
        return dict(self._generations.held) if self._shared() else None

    def _shared(self) -> bool:
        return bool(self._member.group_metadata().state == MemberState.STABLE)

    def confirms(self, partition: int) -> bool:
        """Ask the broker whether the partition is assigned to this member."""
        own = self._member.group_metadata().member_id
        with self._kafka.admin() as admin, self._kafka.faults(f"group {self.name}"):
            group = admin.describe_groups([self.name])[self.name]
        return group["group_state"] == "Stable" and any(
            member["member_id"] == own and partition in topic["partitions"]
            for member in group["members"]
            for topic in member["member_assignment"]["assigned_partitions"]
        )


class _Generations(ConsumerRebalanceListener):
    """Tracks the partitions assigned to a member. Called while it polls, in the same thread."""

    def __init__(self, member: Any) -> None:
        self.held: dict[int, int] = {}
        self._member = member
        self._count = 0

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._count += 1
        for at in assigned:
            self._member.seek(at, 0)  # else the client requests a committed offset, and there is none
            self._member.pause(at)
            self.held[at.partition] = self._count

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for at in revoked:
            self.held.pop(at.partition, None)
