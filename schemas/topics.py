"""The topics, their records and settings, with the reasons. Data only: services create and check them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, the records that stand on it, and its settings.

    Other `required` settings are refused; `initial` is only set at creation.
    """

    name: str
    records: tuple[str, ...] = ()
    """Names of the Avro records; none where the values are no Avro."""
    required: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, str] = field(default_factory=dict)


_FOREVER = {
    "cleanup.policy": "delete",  # compaction would delete history
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",  # recorded_at is the broker's time, not the producer's
    "compression.type": "uncompressed",  # the broker unpacks, and refuses what is then too large: no reader has a bound
}

EVENTS = Topic(
    "results.events",
    records=("ContestDefined", "CountUpdate", "UnitRoll", "SourceStatus"),
    required=_FOREVER,
    initial={"max.message.bytes": "8388608"},
)
"""The log: one total order per contest, kept forever. The offset is a contest's version number."""

REJECTED = Topic("results.rejected", required=_FOREVER, initial={"max.message.bytes": "8388608"})
"""Rejected input, with its original bytes and the reason in headers."""

FEED_STATUS = Topic("results.feed-status", records=("FeedStatus",), required=_FOREVER)
"""Heartbeats. Kept forever, although the design has them short-lived: with them ingest distinguishes a repetition from
a change, also when a document is read again after a month. They are few."""

INGEST_STATUS = Topic(
    "results.ingest-status",
    records=("IngestStatus",),
    initial={"cleanup.policy": "delete", "retention.ms": "604800000"},
)
"""Signs of life, every few seconds. Nothing depends on an old one: kept for 7 days, and never read back."""

TOTALS = Topic(
    "results.totals",
    records=("AreaCount",),
    required={"cleanup.policy": "compact", "compression.type": "uncompressed"},
    # Compacted soon, so that a reader who begins has the current counts after a few messages for each area.
    # A count has the names of all selections, as a definition does: one that is refused would keep all others waiting.
    initial={
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "600000",
        "max.compaction.lag.ms": "3600000",
        "max.message.bytes": "8388608",
    },
)
"""The count of every area, the latest by contest and area. It can be made again from the log: nothing is read back."""

NOTICES = Topic(
    "results.notices",
    records=("Notice",),
    required={"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
    initial={"max.message.bytes": "8388608"},
)
"""What a newsroom would report. A replay of the log makes the same: it is kept for those who come late."""

COUNT_STATUS = Topic("results.count-status", records=("AggregatorStatus",), initial=INGEST_STATUS.initial)
"""Signs of life of the aggregator, as those of ingest. A topic of their own, since the right to write is by topic: no
other service can say that the count lives."""

CHECKPOINTS = Topic("results.checkpoints", required=_FOREVER)
"""Signed checkpoints of the log's tree (docs/proof.md), each a signed note as any tool of C2SP reads it. All stand in
partition 0, since their order says who was first to claim a tree."""

KEPT = (EVENTS, REJECTED, FEED_STATUS)
"""Topics that are kept for ever, since nothing could make them again."""
BY_INGEST = (*KEPT, INGEST_STATUS)
"""Topics that ingest writes."""
TOPICS = (*BY_INGEST, TOTALS, NOTICES, COUNT_STATUS, CHECKPOINTS)


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

    @property
    def ingest_status(self) -> str:
        """Name of the topic of signs of life."""
        return self.prefix + INGEST_STATUS.name

    @property
    def totals(self) -> str:
        """Name of the topic of counts."""
        return self.prefix + TOTALS.name

    @property
    def notices(self) -> str:
        """Name of the topic of notices."""
        return self.prefix + NOTICES.name

    @property
    def count_status(self) -> str:
        """Name of the topic of the aggregator's signs of life."""
        return self.prefix + COUNT_STATUS.name

    @property
    def checkpoints(self) -> str:
        """Name of the topic of signed checkpoints."""
        return self.prefix + CHECKPOINTS.name
