"""The events that a run reports while it works."""

from collections.abc import Collection, Mapping, Sequence

from aggregator.live.partition import PartitionFold
from aggregator.tables.batch import Batch, Cursor
from schemas.log_record import RawRecord


class Listener:
    """Base of listeners: every method is called by the working thread, and does nothing here."""

    def loaded(self, cursor: Cursor, fold: PartitionFold, parked: Mapping[str, int]) -> None:
        """A partition was assigned and loaded. `parked`: its parked messages, by the contest that their key names."""

    def holds(self, partitions: Collection[int]) -> None:
        """Exactly these partitions are assigned to this run."""

    def read(self, records: Sequence[RawRecord]) -> None:
        """Records were read, at least one; they are committed next."""

    def folded(self, partition: int, batch: Batch) -> None:
        """A batch was folded, and is being committed: its `states` are as it made them, until the next is folded."""

    def committed(self, cursor: Cursor, batch: Batch, seconds: float) -> None:
        """A batch of one partition was committed. `cursor`: after it; `seconds`: duration of the transaction."""

    def unreadable(self, partition: int) -> None:
        """A partition cannot be read beyond its cursor, which blocks its contests. The next commit ends that."""

    def ends(self, ends: Mapping[int, int]) -> None:
        """The end offsets of the log were read, by partition."""

    def unsent(self, messages: int) -> None:
        """So many totals and notices wait to be sent."""

    def alive(self) -> None:
        """All records read are committed, and both servers answer."""

    def lost(self, part: str, reason: str) -> None:
        """`kafka` or `postgres` does not answer; the run connects again and starts from the cursor."""

    def changed_outside(self) -> None:
        """The tables are not what was committed; the run ends."""
