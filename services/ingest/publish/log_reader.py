"""Read a topic on from where it was last read: ingest's only memory is what this brings back.

Place in the flow: at the start (from offset 0), and after a failed delivery (from the last known offset). Reads only, so a crash leaves
nothing. A whole log that does not begin at offset 0, has a hole, or is shorter than it once was, is refused: ingest would take what is
missing for news.
"""

import time
from collections.abc import Callable, Iterator

from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from schemas.log_record import RawRecord

_SAY_EVERY_S = 2.0


class TopicReader(Reader):
    """A topic, and the place up to which it was read. `whole` topics must still have every message. `notice` is given progress in words."""

    def __init__(self, kafka: KafkaAccess, topic: str, whole: bool, notice: Callable[[str], None]) -> None:
        super().__init__(kafka, topic, whole=whole)
        self._notice = notice
        self.next_offsets: dict[int, int] = {}
        """By partition: the first offset not read yet."""

    def to_end(self) -> Iterator[RawRecord]:
        """Read every message up to the topic's end, which is asked for again until it holds still; then close the connection."""
        said = time.monotonic()
        try:
            for batch in self.read_on(self.next_offsets):
                yield from batch
                if time.monotonic() - said > _SAY_EVERY_S:
                    said = time.monotonic()
                    self._notice(f"{self.topic}: read {sum(self.next_offsets.values())} of {sum(self.ends().values())}")
        finally:
            self.close()

    def grown(self) -> bool:
        """Say whether there are messages after the last one read. The connection is kept: opening one takes a hundred times as long."""
        self.kafka.reach()
        return self.has_more(self.next_offsets)
