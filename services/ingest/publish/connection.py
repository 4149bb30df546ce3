"""Name the Kafka and the topics that an ingest writes to. Values only."""

from dataclasses import dataclass, field

from runtime.kafka.access import KafkaAccess
from schemas.topics import EVENTS, FEED_STATUS, REJECTED, Topic, TopicNames


@dataclass(frozen=True, slots=True)
class Connection:
    """Which Kafka, which topics, and how long a message may wait to be sent with others."""

    kafka: KafkaAccess
    names: TopicNames = field(default_factory=TopicNames)
    linger_ms: int = 20

    def topics(self) -> tuple[tuple[str, Topic], ...]:
        """Return every topic that ingest writes, with its name in use."""
        return ((self.names.events, EVENTS), (self.names.rejected, REJECTED), (self.names.feed_status, FEED_STATUS))
