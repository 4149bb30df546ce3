"""Report what a run does: `Listener` receives facts for the metrics, `Progress` lines and rows for people. Pure.

Place in the flow: `pipeline`, `publish` and `watch` call them. A crash loses a fact for the metrics only.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from ingest.feeds.statement import Rejection
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.feed_status import FeedStatus
from schemas.rules import Finding
from schemas.types import UpdateKind


class Progress(Protocol):
    """Log what a run does, and show how far it is."""

    def say(self, line: str, **about: object) -> None:
        """Log a line. `about`: fields for machines, by name."""

    def warn(self, line: str, **about: object) -> None:
        """Log a line that an operator must notice, such as input that is not published."""

    def start(self, what: str, rows: int) -> None:
        """Begin a batch of `rows`."""

    def advance(self, rows: int, news: int, rejected: int) -> None:
        """Add finished rows, and how many of them were news and rejected."""

    def done(self) -> None:
        """End the batch."""


class Latest(NamedTuple):
    """The latest times of updates of a contest."""

    contest_id: str
    observed_at: datetime
    reported_at: datetime | None


class Listener:
    """Do nothing with each fact. Called by the working thread, in the order of what happens."""

    def read_back(self, read: Latest | FeedStatus) -> None:
        """Updates or a heartbeat were read from the log; any ingest may have published them."""

    def waiting(self, reason: str) -> None:
        """Nothing can be published: the log is being read again, or no broker answers."""

    def advanced(self) -> None:
        """A piece of work is finished, and the log can be written."""

    def looked(self, fault: str | None) -> None:
        """The source was read, or could not be: `fault` says why."""

    def pending(self, documents: int) -> None:
        """So many documents of the source are not read yet."""

    def awaited(self, tables: int) -> None:
        """So many tables of publications are still missing."""

    def fetched(self) -> None:
        """A document was fetched and archived."""

    def defined(self, definition: ContestDefined) -> None:
        """A definition of this run is on the log."""

    def enrolled(self, contest_id: str, parts: int) -> None:
        """So many parts of a roll of this run are on the log."""

    def waits(self, contest_id: str, contradicted: bool) -> None:
        """The counting level was looked at: whether it waits because official statements contradict the next one."""

    def published(
        self,
        kinds: Mapping[UpdateKind, int],
        latest: Latest | None,
        findings: Collection[tuple[CountUpdate, Finding]],
        heartbeats: Collection[FeedStatus],
    ) -> None:
        """So many events of this run by kind, findings and heartbeats are published. `latest`: None without events."""

    def rejected(self, rejections: Collection[Rejection]) -> None:
        """These rejections of this run are new in `results.rejected`."""

    def undelivered(self, rejections: int) -> None:
        """`results.rejected` does not take so many rejections of this run."""
