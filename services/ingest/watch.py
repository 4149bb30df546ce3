"""Watches a folder and loads what appears in it. Runs `pipeline` until asked to stop.

A folder or file that cannot be read, and a broker that is away, are waited for. What waiting does not mend ends the watch
with one line: an archive that cannot be written (ArchiveError), a log that lost events (LogDamaged) or has some of a newer
release (IngestError), a topic that is missing or could lose some (TopicUnfit), an event that the broker refuses again and
again (DeliveryFailed).

Place in the flow: around all of it, on election night. A file is taken once its size and time have held still for one
look; tables of one publication may come one by one, and what is complete is published while the rest is waited for. Tables
that came earlier only fill in what those that came now lack: a second capture of an update stands by itself. A
crash leaves nothing of its own: at the next start every file is looked at again, and the log says what is still news.
"""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds import registry as adapters
from ingest.pipeline import Pipeline, Screen
from ingest.report import SHOWN
from ingest.sources import folder as source

_Signature = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""
_Part = tuple[str, str, datetime | str]
"""Family, table and time: a part of a publication."""


@dataclass(slots=True)
class Watch:
    """A folder under watch. `every_s`: seconds between looks. The pipeline's listener is told of each look."""

    pipeline: Pipeline
    folder: Path
    screen: Screen
    stop: threading.Event
    every_s: float = 5.0
    alive_every_s: float = 60.0
    _seen: dict[Path, _Signature] = field(default_factory=dict)
    _done: dict[Path, _Signature] = field(default_factory=dict)
    _tables: dict[Path, frozenset[_Part]] = field(default_factory=dict)
    """Files that may complete a publication, and the parts they are of it; those that came last are last."""
    _others: set[Path] = field(default_factory=set)
    """Files that are not read, and were said to be none."""

    def run(self) -> None:
        """Looks until asked to stop; the document in hand is finished first."""
        said = time.monotonic()
        self.screen.say(f"watching {self.folder} every {self.every_s:g} s")
        while not self.stop.is_set():
            self.look()
            if time.monotonic() - said >= self.alive_every_s:
                said = time.monotonic()
                report = self.pipeline.report
                self.screen.say(
                    f"alive: {report.documents:,} documents, {report.news.total():,} news, {report.rejected.total():,} rejected, "
                    f"{len(report.awaited):,} awaited"
                )
            self.stop.wait(self.every_s)
        self.screen.say("stopped as asked")

    def look(self) -> bool:
        """One look at the folder: takes what is new and holds still. False when the folder could not be read."""
        try:
            ready = self._still()
        except SourceError as fault:
            self.pipeline.listener.looked(str(fault))
            self.screen.warn(f"{fault}; looking again")
            return False
        self.pipeline.listener.looked(None)
        recognised: dict[Path, adapters.Recognised] = {}
        for path in ready:
            self._tables.pop(path, None)  # came anew: the last of its part
            self._take(path, recognised)
        self._fill_in(recognised)
        awaited: list[str] = []
        late = self.pipeline.report.late
        for batch in adapters.plan(list(recognised.values())):
            if self.stop.is_set():
                return True
            awaited.extend(self.pipeline.run(batch, patient=True))
        if self.pipeline.report.late != late:
            # What a later document only repeated may have to stand behind it: the next look reads the folder once more.
            # This ends, since no unit's figures are published twice for one time.
            self.screen.say("news arrived late; reading the folder once more")
            self._done.clear()
        if recognised:
            if awaited:
                self.screen.say(f"waiting for {', '.join(awaited[:4])}{' …' if len(awaited) > 4 else ''}")
            self.pipeline.report.awaited = tuple(awaited)
            self.pipeline.listener.awaited(len(awaited))
        self.pipeline.listener.pending(sum(self._done.get(path) != now for path, now in self._seen.items()))
        self.pipeline.listener.advanced()
        return True

    def _fill_in(self, recognised: dict[Path, adapters.Recognised]) -> None:
        """Takes the latest of the tables that came earlier for every part which the publications in hand lack."""
        have: set[_Part] = set().union(*(_parts(one) for one in recognised.values()))
        publications = {(family, time) for family, _, time in have}
        for path, parts in reversed(list(self._tables.items())):
            if any((family, time) in publications for family, _, time in parts - have):
                have |= parts
                self._take(path, recognised)

    def _still(self) -> list[Path]:
        """Files that changed since they were last taken, and not since the last look."""
        ready, now = [], {}
        files = source.walk(self.folder)
        self._pass_over({path for path in files if not (source.is_document(path) or source.is_unfinished(path))})
        for path in filter(source.is_document, files):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # gone between listing and looking
            now[path] = (stat.st_size, stat.st_mtime_ns)
            if now[path] != self._done.get(path) and now[path] == self._seen.get(path):
                ready.append(path)
        self._seen = now
        return ready

    def _pass_over(self, others: set[Path]) -> None:
        """Says once of each file that it is not read: whoever put it there waits for its figures."""
        new = sorted(others - self._others)
        for path in new[:SHOWN]:
            name = source.uri(path)
            self.screen.warn(f"{name} is passed over: only {' and '.join(source.DOCUMENTS)} are read", document=name)
        if len(new) > SHOWN:
            self.screen.warn(f"and {len(new) - SHOWN:,} more files that are no documents")
        self._others = others

    def _take(self, path: Path, recognised: dict[Path, adapters.Recognised]) -> None:
        try:
            one = self.pipeline.take(path)
        except SourceError as fault:
            self.screen.warn(f"{fault}; looking again")
            return
        self._done[path] = self._seen.get(path, (0, 0))
        if one is None:
            self._tables.pop(path, None)
            return
        recognised[path] = one
        if parts := _parts(one):
            self._tables[path] = parts


def _parts(one: adapters.Recognised) -> frozenset[_Part]:
    """Of which publications a document is a part; none where its family needs no other."""
    if one.family not in adapters.TOGETHER:
        return frozenset()
    return frozenset((one.family, one.table, time) for time in one.times)
