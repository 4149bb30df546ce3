"""Tell where a publication of the office ends on the log, as the notices do (pure).

No statement says that it is the last of its publication, since what an office only repeats is not on the log. So one
ends where its contest has a statement of another, or where nothing came to the partition for `PAUSE_MS`.
"""

from schemas.codec import decode
from schemas.columns.wire import is_update, string
from schemas.count_update import PAUSE_MS, CountUpdate
from schemas.errors import ContractError
from schemas.log_record import RawRecord


class Publications:
    """The publications that are open, up to the last message of a partition."""

    def __init__(self) -> None:
        self._open: dict[bytes | None, bytes] = {}
        """By contest: the id as it stands in each of its statements, so that only the first one is decoded."""
        self._last_ms = 0

    def ended_before(self, record: RawRecord) -> bool:
        """Read the next message. Returns whether a publication ended before it."""
        has_paused = bool(self._open) and record.timestamp_ms - self._last_ms > PAUSE_MS
        if has_paused:
            self._open.clear()
        self._last_ms = record.timestamp_ms
        known, value = self._open.get(record.key), record.value
        if value is None or (known is not None and known in value) or not is_update(record):
            return has_paused
        try:
            event = decode(value, record.headers)
        except ContractError:
            return has_paused
        assert isinstance(event, CountUpdate)
        self._open[record.key] = string(event.source.snapshot_id.encode())
        return has_paused or known is not None

    def paused(self) -> bool:
        """Note that nothing came for longer than `PAUSE_MS`. Returns whether a publication was open."""
        was_open = bool(self._open)
        self._open.clear()
        return was_open
