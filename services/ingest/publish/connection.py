"""Name the Kafka and the topics that an ingest writes to. Values only."""

from dataclasses import dataclass, field

from runtime.kafka.access import KafkaAccess
from schemas.topics import BY_INGEST, TOPICS, Topic, TopicNames


@dataclass(frozen=True, slots=True)
class Connection:
    """Which Kafka, which topics, and how long a message may wait to be sent with others."""

    kafka: KafkaAccess
    names: TopicNames = field(default_factory=TopicNames)
    linger_ms: int = 20

    def topics(self) -> tuple[tuple[str, Topic], ...]:
        """Return every topic that ingest writes, with its name in use."""
        return tuple((self.names.prefix + topic.name, topic) for topic in BY_INGEST)

    def all_topics(self) -> tuple[tuple[str, Topic], ...]:
        """Return every topic there is, with its name in use; ingest may not see those of the aggregator."""
        return tuple((self.names.prefix + topic.name, topic) for topic in TOPICS)
