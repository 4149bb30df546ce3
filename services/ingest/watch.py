"""Watches a folder and loads what appears in it. Runs `pipeline`; stops only when asked to.

Place in the flow: around all of it, on election night. A file is taken once its size and time have held still for one
look; tables of one publication may come one by one, and what is complete is published while the rest is waited for. A
crash leaves nothing of its own: at the next start every file is looked at again, and the log says what is still news.
"""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ingest import adapters, source
from ingest.errors import SourceError
from ingest.pipeline import Pipeline, Screen

_Signature = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(slots=True)
class Watch:
    """A folder under watch. `every_s`: seconds between looks. `health_file` is touched at each look, for who asks if we live."""

    pipeline: Pipeline
    folder: Path
    screen: Screen
    stop: threading.Event
    every_s: float = 5.0
    alive_every_s: float = 60.0
    health_file: Path | None = None
    _seen: dict[Path, _Signature] = field(default_factory=dict)
    _done: dict[Path, _Signature] = field(default_factory=dict)
    _tables: dict[Path, frozenset[str]] = field(default_factory=dict)
    """Files whose publication may be completed by another, and the times they state."""

    def run(self) -> None:
        """Looks until asked to stop; the document in hand is finished first."""
        said = time.monotonic()
        self.screen.say(f"watching {self.folder} every {self.every_s:g} s")
        while not self.stop.is_set():
            self.look()
            if self.health_file is not None:
                self.health_file.touch()
            if time.monotonic() - said >= self.alive_every_s:
                said = time.monotonic()
                report = self.pipeline.report
                self.screen.say(
                    f"alive: {report.documents:,} documents, {report.news.total():,} news, {report.rejected.total():,} rejected, "
                    f"{len(report.awaited):,} awaited"
                )
            self.stop.wait(self.every_s)
        self.screen.say("stopped as asked")

    def look(self) -> None:
        """One look at the folder: takes what is new and holds still."""
        try:
            ready = self._still()
        except SourceError as fault:
            self.screen.say(f"{fault}; looking again")
            return
        recognised: dict[Path, adapters.Recognised] = {}
        for path in ready:
            self._take(path, recognised)
        times = frozenset().union(*(one.times for one in recognised.values() if one.family in adapters.TOGETHER))
        for path, theirs in list(self._tables.items()):
            if path not in recognised and theirs & times:
                self._take(path, recognised)  # came earlier, and belongs to what came now
        awaited: list[str] = []
        late = self.pipeline.report.late
        for batch in adapters.plan(list(recognised.values())):
            if self.stop.is_set():
                return
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

    def _still(self) -> list[Path]:
        """Files that changed since they were last taken, and not since the last look."""
        ready, now = [], {}
        for path in source.walk(self.folder):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # gone between listing and looking
            now[path] = (stat.st_size, stat.st_mtime_ns)
            if now[path] != self._done.get(path) and now[path] == self._seen.get(path):
                ready.append(path)
        self._seen = now
        return ready

    def _take(self, path: Path, recognised: dict[Path, adapters.Recognised]) -> None:
        try:
            one = self.pipeline.take(path)
        except SourceError as fault:
            self.screen.say(f"{fault}; looking again")
            return
        self._done[path] = self._seen.get(path, (0, 0))
        self._tables.pop(path, None)
        if one is None:
            return
        recognised[path] = one
        if one.family in adapters.TOGETHER:
            self._tables[path] = one.times
