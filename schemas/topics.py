"""The topics and their settings, with the reasons. Data only: services create and check them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its settings. Other `required` settings are refused; `initial` is only set at creation."""

    name: str
    required: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, str] = field(default_factory=dict)


_FOREVER = {
    "cleanup.policy": "delete",  # compaction would delete history
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",  # recorded_at is the broker's time, not the producer's
    "compression.type": "uncompressed",  # the broker unpacks, and refuses what is then too large: no reader has a bound
}

EVENTS = Topic("results.events", required=_FOREVER, initial={"max.message.bytes": "8388608"})
"""The log: one total order per contest, kept forever. The offset is a contest's version number."""

REJECTED = Topic("results.rejected", required=_FOREVER, initial={"max.message.bytes": "8388608"})
"""Rejected input, with its original bytes and the reason in headers."""

FEED_STATUS = Topic("results.feed-status", required=_FOREVER)
"""Heartbeats. Kept forever, although the design has them short-lived: with them ingest distinguishes a repetition from
a change, also when a document is read again after a month. They are few."""

TOPICS = (EVENTS, REJECTED, FEED_STATUS)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names of the topics, with the prefix of a rehearsal or a test."""

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
