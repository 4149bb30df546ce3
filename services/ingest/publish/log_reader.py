"""Read a topic from where the last read ended, to restore ingest's memory of what is published.

Place in the flow: at the start (from offset 0), and after a failed delivery (from the last known offset). Reads only,
so a crash leaves nothing. A whole log that does not begin at offset 0, has a hole, or is shorter than before, is
refused: ingest would publish again what is missing.
"""

import time
from collections.abc import Callable, Iterator

from runtime.kafka.access import KafkaAccess
from runtime.kafka.reader import Reader
from schemas.log_record import RawRecord

_NOTIFY_EVERY_S = 2.0


class TopicReader(Reader):
    """A topic and the offsets read so far. `whole`: it must have every message. `notice` receives progress lines."""

    def __init__(self, kafka: KafkaAccess, topic: str, whole: bool, notice: Callable[[str], None]) -> None:
        super().__init__(kafka, topic, whole=whole)
        self._notice = notice
        self.next_offsets: dict[int, int] = {}
        """The first offset not read yet, by partition."""

    def to_end(self) -> Iterator[RawRecord]:
        """Read every message until the topic's end no longer moves; then close the connection."""
        notified_at = time.monotonic()
        try:
            for batch in self.read_on(self.next_offsets):
                yield from batch
                if time.monotonic() - notified_at > _NOTIFY_EVERY_S:
                    notified_at = time.monotonic()
                    self._notice(f"{self.topic}: read {sum(self.next_offsets.values())} of {sum(self.ends().values())}")
        finally:
            self.close()

    def grown(self) -> bool:
        """Return whether there are messages after the last one read. Keeps the connection: opening one is slow."""
        self.kafka.reach()
        return self.has_more(self.next_offsets)
