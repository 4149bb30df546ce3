"""Send what stands in the outbox to its topics, in a thread of its own, and delete it once the broker has it.

At least once: what was sent and not yet deleted when this was killed is sent again, the same bytes in the same order.
One sender at a time, over all processes of a group: it holds a lock of the database for each round, and a round that
takes too long is ended by the database. A broker that refuses the topics keeps no count from being committed: it is
logged, and the messages wait.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from results.named_sql import named_sql
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.kafka.producer import Producer
from runtime.postgres import connect, faults_named
from runtime.repeating import Repeating
from schemas.codec import Message
from schemas.topics import TopicNames

_SQL = named_sql(__package__, "outbox")
_AT_ONCE = 2_000
"""Messages of a round."""
_ROUND_S = 60
"""Longest duration of a round."""
_BROKER_S = 20.0
"""How long a round waits for the broker."""
_POLL_S = 1.0
"""Interval of looking into the outbox unasked: what a process that was killed has left there."""
_AGAIN_S = 2.0


class Sender(Repeating):
    """Send while it is open. Use as a context manager: leaving it sends what is there, while that succeeds at once.

    `wake` says that something was committed to the outbox.
    """

    def __init__(self, writer_url: str, kafka: KafkaAccess, names: TopicNames) -> None:
        self._url, self._kafka = writer_url, kafka
        self._topics = {"totals": names.totals, "notices": names.notices}
        super().__init__(
            "outbox", self._sending, every_s=_POLL_S, again_s=_AGAIN_S, fault="totals and notices wait to be sent"
        )

    @contextmanager
    def _sending(self) -> Iterator[Callable[[], None]]:
        with connect(self._url) as db, Producer(self._kafka, _patience, linger_ms=5) as producer, faults_named():

            def send_all() -> None:
                while self._round(db, producer):
                    pass

            yield send_all
            send_all()

    def _round(self, db: Any, producer: Producer) -> int:
        """Send the next messages, and delete them. Returns how many."""
        with db.transaction():
            db.execute(_SQL["one_sender"], {"timeout": f"{_ROUND_S}s"})
            rows = db.execute(_SQL["next_messages"], {"limit": _AT_ONCE}).fetchall()
            for topic, group in groupby(rows, lambda row: row["topic"]):
                producer.send(self._topics[topic], map(_message, group))
            if rows:
                db.execute(_SQL["sent"], {"numbers": [row["number"] for row in rows]})
        return len(rows)


def _message(row: Mapping[str, Any]) -> Message:
    headers = [(name, value.encode()) for name, value in row["headers"]]
    return Message(bytes(row["key"]), bytes(row["value"]), headers)


def _patience(silent_s: float) -> None:
    if silent_s > _BROKER_S:
        raise BrokerAway(f"no acknowledgement for {silent_s:.0f} s")
