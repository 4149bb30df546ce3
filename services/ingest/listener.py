"""What a run tells whoever counts along. Pure; a `Listener` itself does nothing.

Place in the flow: `pipeline` and `watch` tell it as they go, `metrics` takes it down. It is told facts that are done, so
what a crash loses of it is lost for the count only.
"""

from collections.abc import Collection

from ingest.feeds.statement import Rejection
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.feed_status import FeedStatus
from schemas.rules import Finding


class Listener:
    """Told by the thread that works, in the order of what happens."""

    def recalled(self, event: CountUpdate | FeedStatus) -> None:
        """The log has this, from whoever published it."""

    def waiting(self, reason: str) -> None:
        """Nothing can be published: the log is being read back, or no broker answers."""

    def advanced(self) -> None:
        """What was to be done is done, and the log can be written."""

    def looked(self, fault: str | None) -> None:
        """The source was looked at; `fault`: why it could not be."""

    def pending(self, documents: int) -> None:
        """So many documents lie in the source and are not taken yet."""

    def awaited(self, tables: int) -> None:
        """So many tables of publications have not come yet."""

    def fetched(self) -> None:
        """A document was fetched and kept."""

    def defined(self, definition: ContestDefined) -> None:
        """A definition of ours is on the log."""

    def published(
        self,
        events: Collection[CountUpdate],
        findings: Collection[tuple[CountUpdate, Finding]],
        heartbeats: Collection[FeedStatus],
    ) -> None:
        """These of ours are on the log, and beside it."""

    def rejected(self, rejections: Collection[Rejection]) -> None:
        """These of ours, which were not there, are in `results.rejected`."""
