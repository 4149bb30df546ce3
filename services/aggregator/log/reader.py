"""Read the log, complete and with the settings of its contract; PostgreSQL stores the offset to read from."""

from uuid import UUID

from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from runtime.kafka.topics import Topics
from schemas.log_record import RawRecord
from schemas.topics import EVENTS


class Log(Reader):
    """The log, read from given offsets. Use as a context manager."""

    def topic_id(self) -> UUID:
        """Return the topic's id; created again, it has another. Raises TopicUnfit when it is missing or unsafe."""
        with Topics(self.kafka) as topics:
            found = topics.check(self.topic, EVENTS).topic_id
        self.log_id = self.log_id or found
        return found


def last_heartbeat(kafka: KafkaAccess, topic: str) -> RawRecord | None:
    """Return the latest message of the feed-status topic, None when there is none."""
    newest: RawRecord | None = None
    with Reader(kafka, topic) as reader:
        begins, ends = reader.begins(), reader.ends()
        for partition, end in ends.items():
            for batch in reader.read_to_end(partition, max(begins[partition], end - 1), end):
                newest = max((*batch, *([newest] if newest else [])), key=lambda r: r.timestamp_ms)
    return newest
