"""Publish ingest's messages to its topics, and create the topics.

Place in the flow: the last stage, `send`. A crash leaves the first part of a document on the log; the next run reads it
back and sends the rest. After a failed delivery nothing is sent until the log was read again.
"""

import threading
from collections.abc import Callable, Iterable

from ingest.errors import Stopped
from runtime.kafka.access import KafkaAccess
from runtime.kafka.producer import Producer
from runtime.kafka.topics import Topics, settings_of
from schemas.topics import Topic


class Publisher(Producer):
    """A producer that raises Stopped when `stop` is set while no broker answers, and calls `notice` while it waits."""

    def __init__(
        self, kafka: KafkaAccess, notice: Callable[[str], None], stop: threading.Event, *, linger_ms: int
    ) -> None:
        def waiting(silent_s: float) -> None:
            if stop.is_set():
                raise Stopped("stopped as asked while the broker was away; running the same again does the rest")
            notice(f"no acknowledgement from {kafka} for {silent_s:.0f} s; still trying")

        super().__init__(kafka, waiting, linger_ms=linger_ms)


def create(kafka: KafkaAccess, topics: Iterable[tuple[str, Topic]], *, replication_factor: int) -> dict[str, bool]:
    """Create the missing topics, with one partition each. Returns by name whether the topic was created."""
    with Topics(kafka) as there:
        return {
            name: there.create(name, settings_of(topic, replication_factor), copies=replication_factor)
            for name, topic in topics
        }


def inspect(kafka: KafkaAccess, topics: Iterable[tuple[str, Topic]]) -> None:
    """Raise TopicUnfit for the first topic that is missing or has a setting under which events could be lost."""
    with Topics(kafka) as there:
        for name, topic in topics:
            there.check(name, topic, to_write=True)
