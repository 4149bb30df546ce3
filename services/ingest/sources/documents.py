"""Fetch documents, archive them, and read them: the stages `fetch`, `archive` and `parse`.

Place in the flow: the first half of a run. What is read is already safe in the archive; nothing is published yet, so a
crash here leaves at most an archived document, which the next run reads again.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from ingest.errors import SourceError
from ingest.feeds import registry
from ingest.feeds.records import Limits, Refused
from ingest.feeds.registry import Batch, Recognised
from ingest.feeds.statement import Kept, Rejection, Snapshot, by_our_clock
from ingest.sources import folder
from ingest.sources.archive import Archive
from schemas.contest import ContestDefined

logger = logging.getLogger(__name__)

_HELD = 64 << 20
"""Bytes of unpacked documents that stay in memory between `read` and `parse`, with their rows some 5 bytes of memory
each; further documents are dropped and read again from the archive."""


class Documents:
    """Read documents in three steps: `read` each one, `plan` them into batches, `parse` each batch."""

    def __init__(
        self,
        archive: Archive,
        limits: Limits,
        clocks: Mapping[str, timedelta] = MappingProxyType({}),
    ) -> None:
        """`clocks`: see `Pipeline`."""
        self._archive = archive
        self.limits = limits
        self._clocks = clocks
        self._held = 0

    def find(self, paths: Sequence[Path]) -> folder.Listing:
        """List the documents under `paths`. Raises SourceError when there is nothing."""
        found = folder.documents(list(paths))
        if not found.files and not found.passed_over:
            raise SourceError(f"there are no documents in {', '.join(map(str, paths))}")
        return found

    def read(
        self, path: Path, stated_at: datetime | None = None, *, beneath: Path | None = None
    ) -> Recognised | Rejection:
        """Fetch and archive a document and read its rows. A rejection: it is unreadable or of no known form.

        `stated_at`: when it was published, where neither it nor the note beside it says so.
        """
        capture = folder.fetch(path, stated_at, largest=self.limits.document_bytes, beneath=beneath)
        if isinstance(capture, Rejection):
            return capture
        recognised = recognise(self._archive.keep(capture), self.limits)
        if isinstance(recognised, Rejection):
            return recognised
        if self._held + recognised.size > _HELD:
            return replace(recognised, document=replace(recognised.document, content=b""), content=None)
        self._held += recognised.size
        return recognised

    def plan(self, recognised: Sequence[Recognised]) -> tuple[Batch, ...]:
        """Group the documents read since the last plan into batches, in the order of time."""
        self._held = 0
        return registry.plan(recognised, self.limits)

    def parse(self, batch: Batch, contest: ContestDefined, *, patient: bool) -> tuple[Snapshot, ...]:
        """Parse a batch. Unless `patient`, what is incomplete is rejected and not awaited.

        Times of a source whose clock is known to be ahead are those of ours.
        """
        snapshots = parse(replace(batch, parts=tuple(map(self._whole, batch.parts))), contest)
        snapshots = tuple(by_our_clock(s, self._clocks.get(s.source, timedelta(0))) for s in snapshots)
        if patient:
            return snapshots
        return tuple(replace(s, rejections=(*s.rejections, *s.incomplete)) for s in snapshots)

    def _whole(self, part: Recognised) -> Recognised:
        """Read a document again that was dropped to save memory."""
        if part.content is not None:
            return part
        content, _ = self._archive.find(part.document.sha256)
        again = registry.recognise(replace(part.document, content=content), self.limits)
        assert isinstance(again, Recognised), "the same bytes have the same form"
        return again


def recognise(document: Kept, limits: Limits) -> Recognised | Rejection:
    """Read a document as `registry.recognise` does. Of a mistake of ours, log the traceback, and refuse the document.

    What one document brings out must not stop the others.
    """
    try:
        return registry.recognise(document, limits)
    except Exception as fault:
        logger.exception("%s: this release cannot read it", document.name, extra={"document": document.name})
        return _unforeseen(document, fault)


def parse(batch: Batch, contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a batch as `registry.parse` does. Of a mistake of ours, log the traceback, and refuse its documents."""
    try:
        return registry.parse(batch, contest)
    except Exception as fault:
        logger.exception("%s: this release cannot read it", batch.names, extra={"document": batch.names})
        rejections = (_unforeseen(part.document, fault) for part in batch.parts)
        return (registry.refused_batch(batch, contest, rejections),)


def _unforeseen(document: Kept, fault: Exception) -> Rejection:
    message = f"this release cannot read it: {type(fault).__name__}: {fault}"
    return Refused(document, "F207", message, "another release; report the document to those who maintain it").rejection
