"""The events that a mirror reports to its metrics while it works (pure): completed work only."""

from collections.abc import Mapping


class Listener:
    """Base of listeners: the working thread calls its methods; they do nothing here. Offsets are by partition."""

    def begun(self, topic: str, next_offsets: Mapping[int, int]) -> None:
        """The log is the one mirrored; all records before these offsets are in the files."""

    def ends(self, topic: str, ends: Mapping[int, int]) -> None:
        """The end offsets of the log were read."""

    def mirrored(self, topic: str, partition: int, next_offset: int, records: int) -> None:
        """Records were synced to disk: all before `next_offset` are there now."""

    def unreadable(self, topic: str, partition: int) -> None:
        """The log cannot be read on: all before that is in the files, and other partitions are mirrored on."""

    def whole(self, at_s: float) -> None:
        """All records that the log had at this time (seconds since 1970) are on disk."""

    def lost(self, part: str, reason: str) -> None:
        """`kafka` does not answer, or the `folder` cannot be written; the mirror tries again."""
