"""Fetch documents, archive them, and read them: the stages `fetch`, `archive` and `parse`.

Place in the flow: the first half of a run. What is read is already safe in the archive; nothing is published yet, so a
crash here leaves at most an archived document, which the next run reads again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds import registry
from ingest.feeds.registry import Batch, Recognised
from ingest.feeds.statement import Rejection, Snapshot
from ingest.sources import folder
from ingest.sources.archive import Archive
from schemas.contest import ContestDefined

_HELD = 64 << 20
"""Characters of documents whose rows stay in memory between `read` and `parse`, some 5 bytes of memory each; the rows
of further documents are dropped and read again."""


class Documents:
    """Read documents in three steps: `read` each one, `plan` them into batches, `parse` each batch."""

    def __init__(self, archive: Archive, first_seen: Mapping[str, datetime | None]) -> None:
        """`first_seen`: when the log says a document was first seen, by SHA-256."""
        self._archive = archive
        self._first_seen = first_seen
        self._held = 0

    def find(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """List the documents under `paths`. Raises SourceError when there are none."""
        found = folder.documents(list(paths))
        if not found:
            raise SourceError(f"there are no documents in {', '.join(map(str, paths))}")
        return found

    def read(self, path: Path, observed_at: datetime | None = None) -> Recognised | Rejection:
        """Fetch and archive a document and read its rows. A rejection: it is unreadable or of no known form."""
        recognised = registry.recognise(self._archive.keep(folder.fetch(path, observed_at), self._first_seen))
        if isinstance(recognised, Rejection):
            return recognised
        if self._held + recognised.size > _HELD:
            return replace(recognised, content=None)
        self._held += recognised.size
        return recognised

    def plan(self, recognised: Sequence[Recognised]) -> tuple[Batch, ...]:
        """Group the documents read since the last plan into batches, in the order of time."""
        self._held = 0
        return registry.plan(recognised)

    def parse(self, batch: Batch, contest: ContestDefined, *, patient: bool) -> tuple[Snapshot, ...]:
        """Parse a batch. Unless `patient`, what is incomplete is rejected and not awaited."""
        snapshots = registry.parse(batch, contest)
        if patient:
            return snapshots
        return tuple(replace(s, rejections=(*s.rejections, *s.incomplete)) for s in snapshots)
