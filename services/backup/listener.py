"""What a mirror tells whoever counts along. Pure; a `Listener` itself does nothing.

Place in the flow: `mirror` tells it as it goes, `metrics` takes it down. It is told facts that are done, so what a crash loses
of it is lost for the count only.
"""

from collections.abc import Mapping


class Listener:
    """Told by the thread that works, in the order of what happens. Offsets are by partition."""

    def begun(self, topic: str, next_offsets: Mapping[int, int]) -> None:
        """The log is the one that the files are of; before these offsets all of it is in the files."""

    def ends(self, topic: str, ends: Mapping[int, int]) -> None:
        """The offsets that the next records will get, as asked now."""

    def mirrored(self, topic: str, partition: int, next_offset: int, records: int) -> None:
        """So many more records are on the disk: all before `next_offset`."""

    def whole(self, at_s: float) -> None:
        """All that the log had at this time (seconds since 1970) is on the disk."""

    def lost(self, part: str, reason: str) -> None:
        """`kafka` does not answer, or the `folder` cannot be written; it is tried again."""
