"""Decide when a source has fallen silent, and when it speaks again. Pure.

Place in the flow: within `watch`, after each look. What was heard, and the last state, are those on the log, whoever
wrote them: so a restart neither repeats a silence nor forgets one, and a second ingest makes none. Times are those of
clocks of ours, but for the office's word: nothing here changes a figure.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.identity import NIL, named
from schemas.source_status import SourceState, SourceStatus


class Heard(NamedTuple):
    """What the log says of a source.

    `spoke_at`: when the last update or repetition was recorded, None before any. `last`: the last change of the
    source's state. `has_spoken`: whether something came behind it.
    """

    spoke_at: datetime | None = None
    last: SourceStatus | None = None
    has_spoken: bool = False

    @property
    def state(self) -> SourceState:
        """Return the state of the source; one that has never changed speaks."""
        return SourceState.SPEAKING if self.last is None else self.last.state

    def spoke(self, at: datetime) -> "Heard":
        """Return what is heard once the source has said something."""
        return self._replace(spoke_at=max(at, self.spoke_at or at), has_spoken=True)


def changed(
    contest_id: str, heard: Heard, began_at: datetime, now: datetime, silent_after: timedelta, why: str | None
) -> SourceStatus | None:
    """Return the change of the source's state that the log lacks, None when there is none.

    Args:
        began_at: When this ingest began: of a source that never spoke the silence begins then.
        silent_after: How long a source that speaks may say nothing.
        why: What keeps it silent, where that is known.
    """
    if heard.state is not SourceState.SPEAKING:
        return status(contest_id, SourceState.SPEAKING, heard.spoke_at or now) if heard.has_spoken else None
    since = heard.spoke_at or began_at
    return status(contest_id, SourceState.SILENT, since, reason=why) if now - since >= silent_after else None


def status(
    contest_id: str, state: SourceState, since: datetime, *, reason: str | None = None, authority: str | None = None
) -> SourceStatus:
    """Make a change of the source's state. Raises ValidationError."""
    return named(
        SourceStatus(event_id=NIL, contest_id=contest_id, state=state, since=since, reason=reason, authority=authority)
    )
