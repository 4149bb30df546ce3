"""Share the partitions of the log with other aggregators, by a consumer group of Kafka that commits no offset."""

import os
import socket
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from runtime.kafka.access import KafkaAccess

HEARTBEAT_S = 1.0
"""How often a member of a group speaks to the broker, and so how soon it hears of a rebalance."""

PATIENCE_S = 300.0
"""How long a member may work without looking at its group: a batch takes seconds, and so does a contest's state when a
partition is assigned. One that hangs for longer, though its heart beats, loses its partitions."""


class Group:
    """A membership of a consumer group: which partitions of the topic are this process's. Use as a context manager.

    It reads nothing. The reader beside it is given its partitions and offsets by hand, as it is without a group, and the heartbeats are
    sent by a thread of their own while a batch is worked on. Members keep what they hold while others come and go, and pause only
    until all have agreed; a partition that moves is revoked first, and assigned to its next owner after. A member that leaves says so, and
    its partitions move at once; those of a member that was killed move when it has been silent for `session_timeout_s`.
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
            allow_auto_create_topics=False,
            reconnect_backoff_max_ms=1000,
            request_timeout_ms=10_000,
        )
        self._generations = _Generations(self._member)
        self._member.subscribe([topic], listener=self._generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._member.close(timeout_ms=2000)

    def owned(self) -> dict[int, int] | None:
        """Return the partitions that are ours, each with its generation. Takes part in the rebalance, so call it often.

        Another generation than before: the partition was revoked and assigned again, and what was known of it may be old. None
        during a rebalance: ask again at once, since an answer of the broker that comes between two calls is lost.
        """
        with self._kafka.faults(f"group {self.name}", final=True):
            self._member.poll(timeout_ms=10 if self._shared() and self._generations.held else 200)
        return dict(self._generations.held) if self._shared() else None

    def _shared(self) -> bool:
        return bool(self._member.group_metadata().state == MemberState.STABLE)

    def confirms(self, partition: int) -> bool:
        """Ask the broker whether the partition is this member's."""
        own = self._member.group_metadata().member_id
        with self._kafka.admin() as admin, self._kafka.faults(f"group {self.name}"):
            group = admin.describe_groups([self.name])[self.name]
        return group["group_state"] == "Stable" and any(
            member["member_id"] == own and partition in topic["partitions"]
            for member in group["members"]
            for topic in member["member_assignment"]["assigned_partitions"]
        )


class _Generations(ConsumerRebalanceListener):
    """Records what is assigned to a member and what is revoked. Called while it polls, in the client's thread."""

    def __init__(self, member: Any) -> None:
        self.held: dict[int, int] = {}
        self._member = member
        self._count = 0

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._count += 1
        for at in assigned:
            self._member.seek(at, 0)  # else it asks Kafka for an offset that nobody commits
            self._member.pause(at)
            self.held[at.partition] = self._count

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for at in revoked:
            self.held.pop(at.partition, None)
