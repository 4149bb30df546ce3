"""What a run reports of itself as it goes."""

from collections.abc import Collection, Mapping, Sequence

from aggregator.live.partition import PartitionFold
from aggregator.tables.batch import Batch, Cursor
from schemas.log_record import RawRecord


class Listener:
    """Told by a run what it does, by the thread that works; does nothing itself."""

    def loaded(self, cursor: Cursor, fold: PartitionFold, parked: Mapping[str, int]) -> None:
        """A partition is this run's, and read back. `parked`: its parked messages by what their key says is their contest."""

    def holds(self, partitions: Collection[int]) -> None:
        """These partitions are this run's, and no others."""

    def read(self, records: Sequence[RawRecord]) -> None:
        """These, at least one, are next to be committed."""

    def committed(self, cursor: Cursor, records: Sequence[RawRecord], batch: Batch, seconds: float) -> None:
        """A batch of one partition is; the cursor is the one after it. `seconds`: what the transaction took."""

    def ends(self, ends: Mapping[int, int]) -> None:
        """The end of the log, by partition."""

    def alive(self) -> None:
        """The log was read, what it brought is committed, and both servers answer."""

    def lost(self, part: str, reason: str) -> None:
        """`kafka` or `postgres` does not answer; the run begins anew when it does."""

    def changed_outside(self) -> None:
        """The tables are not what was committed: the run ends."""
