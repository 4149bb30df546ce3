"""Read a topic from where the last read ended, to restore ingest's memory of what is published.

Place in the flow: at the start (from offset 0), and after a failed delivery (from the last known offset). Reads only,
so a crash leaves nothing. A whole log that does not begin at offset 0, has a hole, or is shorter than before, is
refused: ingest would publish again what is missing.
"""

import time
from collections.abc import Callable, Iterator

from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import Unreadable
from runtime.kafka.reader import Batch, Reader
from schemas.log_record import RawRecord

_NOTIFY_EVERY_S = 2.0


class TopicReader(Reader):
    """A topic and the offsets read so far. `whole`: it must have every message. `notice` receives progress lines."""

    def __init__(self, kafka: KafkaAccess, topic: str, whole: bool, notice: Callable[[str], None]) -> None:
        super().__init__(kafka, topic, whole=whole)
        self._notice = notice
        self.next_offsets: dict[int, int] = {}
        """The first offset not read yet, by partition."""
        self.unreadable: dict[int, Unreadable] = {}
        """Partitions that the last reading left out, and why."""

    def batches(self) -> Iterator[Batch]:
        """Read every message until the topic's end no longer moves; then close the connection.

        A partition that cannot be read is left out from then on, and noted in `unreadable`; the next reading tries it
        again, since it may have been repaired meanwhile.
        """
        self.unreadable.clear()
        try:
            while True:
                try:
                    yield from self._batches()
                except Unreadable as fault:
                    self.unreadable[fault.partition] = fault
                    self._notice(f"{fault}; other partitions are read on")
                else:
                    return
        finally:
            self.close()

    def _batches(self) -> Iterator[Batch]:
        notified_at = time.monotonic()
        for batch in self.read_on(self.next_offsets, without=self.unreadable):
            yield batch
            if time.monotonic() - notified_at > _NOTIFY_EVERY_S:
                notified_at = time.monotonic()
                self._notice(f"{self.topic}: read {sum(self.next_offsets.values())} of {sum(self.ends().values())}")

    def to_end(self) -> Iterator[RawRecord]:
        """Read as `batches` does, message by message."""
        for batch in self.batches():
            yield from batch

    def grown(self) -> bool:
        """Return whether there are messages after the last one read. Keeps the connection: opening one is slow."""
        self.kafka.reach()
        return self.has_more({p: offset for p, offset in self.next_offsets.items() if p not in self.unreadable})
