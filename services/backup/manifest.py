"""The manifest of a mirror, and the rule by which segments are merged.

Place in the flow: between `mirror`, which adds to it, and the readers of the files. The manifest is replaced whole,
after the files that it names are on disk: a file that it does not name is left over from a crash and is ignored.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from runtime.kafka.topics import Description

Offset = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Segment(_Model):
    """One file: the records of a partition from `first_offset` up to, not including, `next_offset`."""

    partition: Offset
    first_offset: Offset
    next_offset: Offset
    file: Annotated[str, Field(pattern=r"^[0-9]+/[0-9]{20}-[0-9]{20}\.avro$")]
    bytes: Offset
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def events(self) -> int:
        """Number of records."""
        return self.next_offset - self.first_offset


class Topic(_Model):
    """A topic as Kafka describes it. `settings`: those that differ from the broker's defaults."""

    topic: str
    topic_id: UUID
    partitions: Annotated[int, Field(ge=1)]
    replication_factor: Annotated[int, Field(ge=1)]
    settings: dict[str, str]

    @classmethod
    def of(cls, topic: str, found: "Description") -> "Topic":
        """Return a topic as the brokers describe it."""
        return Topic(
            topic=topic, topic_id=found.topic_id, partitions=found.partitions,
            replication_factor=found.copies, settings=dict(found.changed),
        )  # fmt: skip


class Manifest(Topic):
    """`manifest.json`: the topic, and the files in order of partition and offset."""

    format: Literal["escrutinio.mirror.1"] = "escrutinio.mirror.1"
    segments: tuple[Segment, ...] = ()

    @model_validator(mode="after")
    def _consecutive(self) -> Self:
        places = [(s.partition, s.first_offset, s.next_offset) for s in self.segments]
        for partition in {place[0] for place in places}:
            at = 0
            for _, first, following in (place for place in places if place[0] == partition):
                if first != at or following <= first:
                    raise ValueError(
                        f"partition {partition}: a segment from {first} to {following} where {at} comes next"
                    )
                at = following
            if partition >= self.partitions:
                raise ValueError(f"a segment of partition {partition}, of {self.partitions} partitions")
        return self

    def files_of(self, partition: int) -> tuple[Segment, ...]:
        """Return the segments of a partition, in order."""
        return tuple(s for s in self.segments if s.partition == partition)

    def next_offset(self, partition: int) -> int:
        """Return the first offset of a partition that is not mirrored."""
        return max((s.next_offset for s in self.files_of(partition)), default=0)

    @property
    def events(self) -> int:
        """Number of mirrored records."""
        return sum(s.events for s in self.segments)

    def with_last(self, segment: Segment) -> Self:
        """Return a manifest with a new last segment of a partition, which replaces those merged into it."""
        kept = [s for s in self.segments if s.partition != segment.partition or s.next_offset <= segment.first_offset]
        ordered = sorted([*kept, segment], key=lambda s: (s.partition, s.first_offset))
        return type(self)(**{**self.__dict__, "segments": tuple(ordered)})


def absorbed(
    segments: Sequence[Segment], events: int, size: int, most_events: int, most_bytes: int
) -> tuple[Segment, ...]:
    """Return the last segments of a partition to be merged into a new one of `events` records and `size` bytes.

    These are all that are not larger than the rest of the new file, while the whole fits into one file. So the mirror
    of a log that grows slowly has few files, and a record is written again at most as often as its file doubles.
    """
    merged: list[Segment] = []
    for segment in reversed(segments):
        if segment.events > events or segment.events + events > most_events or segment.bytes + size > most_bytes:
            break
        merged.insert(0, segment)
        events += segment.events
        size += segment.bytes
    return tuple(merged)
