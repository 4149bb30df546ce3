"""When ingest gives up reading a topic."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from ingest.errors import BrokerAway
from ingest.publish.log_reader import Record, TopicReader
from runtime.kafka.access import KafkaAccess


@dataclass(slots=True)
class Halting(TopicReader):
    """A topic of which every consumer gives out as many messages as planned, and then stands still."""

    plan: list[int] = field(default_factory=list)

    def _read(self) -> Generator[Record, None, bool]:
        for _ in range(self.plan.pop(0)):
            at = self.next_offsets.get(0, 0)
            self.next_offsets[0] = at + 1
            yield Record(0, at, b"", [])
        return not self.plan


def halting(*plan: int) -> Halting:
    return Halting(KafkaAccess("nowhere:1"), "t", True, notice=lambda _: None, plan=list(plan))


def test_a_reading_that_gets_on_is_not_given_up_however_often_it_halts() -> None:
    assert [r.offset for r in halting(1, 1, 1, 0, 0, 1, 0, 0, 1).to_end()] == [0, 1, 2, 3, 4]


def test_a_reading_that_does_not_get_on_is_given_up_after_three_times() -> None:
    reader = halting(1, 0, 0, 0, 1)
    with pytest.raises(BrokerAway, match="after 3 attempts"):
        list(reader.to_end())
    assert reader.plan == [1]
