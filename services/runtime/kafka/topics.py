"""Describe, create, change and check topics, for every service. Nothing is cached.

Place in the flow: before a topic is read or written, and periodically meanwhile. Creating a topic is one request, so a
crash leaves it complete or absent.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from kafka import KafkaProducer
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.metadata import MetadataRequest

from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, LogDamaged, TopicUnfit
from schemas.topics import Topic

_ANSWER_S = 10.0
"""Time limit for an answer about a topic's id."""


@dataclass(frozen=True, slots=True)
class Description:
    """A topic as the brokers describe it. `copies`: the fewest of any partition. `changed`: those set on the topic."""

    topic_id: UUID
    partitions: int
    copies: int
    settings: Mapping[str, str]
    changed: Mapping[str, str]


class Topics:
    """The topics of a Kafka cluster. Use as a context manager. Every call may raise AccessRefused and BrokerAway."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._admin: Any = self._opened.enter_context(self._kafka.admin())
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def describe(self, topic: str) -> Description | None:
        """Describe a topic. Returns None when it does not exist."""
        with self._kafka.faults(f"topic {topic}"):
            (about,) = self._admin.describe_topics([topic])
            fault = for_code(about["error_code"])
            if fault is UnknownTopicOrPartitionError:
                return None
            if fault is not NoError:
                raise fault(f"topic {topic}")
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            settings = next(iter(self._admin.describe_configs([resource], config_filter="all").values()))[topic]
            if not settings:  # the client hides the error: every topic has some, so the grant is missing
                raise TopicAuthorizationFailedError(f"the settings of topic {topic}")
        partitions = about["partitions"]
        own = {name: one["value"] for name, one in settings.items() if one["config_source"] == "DYNAMIC_TOPIC_CONFIG"}
        return Description(
            topic_id=UUID(str(about["topic_id"])), partitions=len(partitions),
            copies=min(len(partition["replica_nodes"]) for partition in partitions),
            settings={name: one["value"] for name, one in settings.items()}, changed=dict(sorted(own.items())),
        )  # fmt: skip

    def create(self, topic: str, settings: Mapping[str, str], *, partitions: int = 1, copies: int = 1) -> bool:
        """Create a topic. Returns False when it exists. Raises RequestRefused for settings that the brokers refuse."""
        plan = {"num_partitions": partitions, "replication_factor": copies, "configs": dict(settings)}
        with self._kafka.faults(f"the creation of topic {topic}", final=True):
            try:
                self._admin.create_topics({topic: plan}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                return False
        return True

    def change(self, topic: str, settings: Mapping[str, str | None]) -> None:
        """Change settings of a topic; None restores the broker's default."""
        wanted = {
            name: (AlterConfigOp.DELETE, None) if value is None else (AlterConfigOp.SET, value)
            for name, value in settings.items()
        }
        with self._kafka.faults(f"a change of topic {topic}", final=True):
            self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)])

    def check(self, topic: str, contract: Topic, *, to_write: bool = False) -> Description:
        """Describe a topic that keeps its contract. `to_write`: it must also keep every acknowledged message.

        Raises TopicUnfit when it is missing or could lose, compact or re-time events, with the command to correct it.
        """
        if (found := self.describe(topic)) is None:
            raise missing(self._kafka, topic)
        if fault := unsafe(contract, found.settings, found.copies if to_write else 1):
            setting, value, wanted = fault
            raise TopicUnfit(
                f"topic {topic} has {setting}={value}, and must have {wanted}: it could lose or change events, or "
                "hold a batch that no reader has the memory for. "
                f"Set it: kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
                f"--add-config {setting}={wanted}"
            )
        return found


def confirm(client: Any, topic: str, log_id: UUID | None, place: str) -> UUID:
    """Ask the brokers for a topic's id, and compare it. `client`: as of `metadata_of`. Returns the id.

    An id is never given twice, so what was read or sent between two calls was of that topic. Raises LogDamaged for
    another id than `log_id`, BrokerAway when the brokers know no such topic.
    """
    if (about := metadata_of(client, topic)) is None:
        raise BrokerAway(f"topic {topic} is not there at {place}")
    found = UUID(str(about.topic_id))
    if log_id is not None and found != log_id:
        raise LogDamaged(
            f"topic {topic} is {found} now, {log_id} was read: it was deleted and made again, or this is another "
            "cluster. Nothing of it was used"
        )
    return found


def metadata_of(client: Any, topic: str) -> Any | None:
    """Ask the brokers for a topic's id and leaders; nothing is cached. None when they know no such topic.

    `client`: kafka-python's consumer or producer.
    """
    try:
        about = _answer(client, topic)
    except KafkaConnectionError:  # idle, it was closed meanwhile: a new one is opened
        about = _answer(client, topic)
    if (fault := for_code(about.error_code)) is UnknownTopicOrPartitionError:
        return None
    if about.topic_id is None or fault is TopicAuthorizationFailedError:
        raise fault(f"topic {topic}")
    return about


def _answer(client: Any, topic: str) -> Any:
    has_own_thread = isinstance(client, KafkaProducer)
    manager = client._metadata._manager if has_own_thread else client._manager

    async def answered() -> Any:
        asked = [MetadataRequest.MetadataRequestTopic(name=topic)]
        return await manager.send(MetadataRequest(topics=asked, allow_auto_topic_creation=False))

    if not has_own_thread:
        return manager.run(answered).topics[0]
    done = threading.Event()
    future = manager.call_soon(answered).add_both(lambda _: done.set())
    if not done.wait(_ANSWER_S):
        raise KafkaTimeoutError(f"no answer about topic {topic} in {_ANSWER_S:.0f} s")
    if future.failed():
        raise future.exception
    return future.value.topics[0]


def missing(kafka: KafkaAccess, topic: str) -> TopicUnfit:
    """Return the fault of a topic that is not visible: the brokers do not say whether it exists."""
    return TopicUnfit(
        f"topic {topic} does not exist at {kafka} (create it: `escrutinio-ingest topics`), or is not granted to us "
        "(`escrutinio-grants apply` grants it)"
    )


def settings_of(contract: Topic, copies: int) -> dict[str, str]:
    """Return the settings for a new topic: with several copies, an acknowledged message is on two brokers."""
    safe = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"} if copies > 1 else {}
    return {**contract.initial, **contract.required, **safe}


def unsafe(contract: Topic, settings: Mapping[str, str], copies: int) -> tuple[str, str, str] | None:
    """Return the first setting under which events could be lost: its name, its value, and the value required.

    With several copies an acknowledged message must be on two brokers, and a broker that lacks it must not lead.
    """
    for setting, wanted in contract.required.items():
        if settings[setting] != wanted:
            return setting, settings[setting], wanted
    if copies > 1:
        if int(settings["min.insync.replicas"]) < 2:
            return "min.insync.replicas", settings["min.insync.replicas"], "2"
        if settings["unclean.leader.election.enable"] != "false":
            return "unclean.leader.election.enable", settings["unclean.leader.election.enable"], "false"
    return None
