"""The topics, the settings each must have, and why. Data only: services create and check them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its contract. `required` is refused when different; `initial` is only set at creation."""

    name: str
    required: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, str] = field(default_factory=dict)


_FOREVER = {
    "cleanup.policy": "delete",  # compaction would eat history
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",  # recorded_at is the broker's word, not the producer's
}

EVENTS = Topic("results.events", required=_FOREVER, initial={"max.message.bytes": "8388608"})
"""The log: one total order per contest, for good. The offset is a contest's version number."""

REJECTED = Topic("results.rejected", required=_FOREVER, initial={"max.message.bytes": "8388608"})
"""What could not be published, with its original bytes and the reason in headers."""

FEED_STATUS = Topic("results.feed-status", required=_FOREVER)
"""Heartbeats. Kept for good, though the design has them short-lived: ingest tells a repetition from a change by them, also
when a document is read again after a month, and they are few."""

TOPICS = (EVENTS, REJECTED, FEED_STATUS)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names in use: the contract's own, unless a rehearsal or a test puts a prefix before them."""

    prefix: str = ""

    @property
    def events(self) -> str:
        """Name of the log."""
        return self.prefix + EVENTS.name

    @property
    def rejected(self) -> str:
        """Name of the topic of rejected input."""
        return self.prefix + REJECTED.name

    @property
    def feed_status(self) -> str:
        """Name of the topic of heartbeats."""
        return self.prefix + FEED_STATUS.name
