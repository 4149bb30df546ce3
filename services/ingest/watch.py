"""Watch a folder and load what appears in it, until asked to stop.

A folder or file that cannot be read, and a broker that is away, are waited for. What is no document is passed over and
logged once, as are links that lead out of the folder. What waiting does not cure ends the
watch with one line: an archive that cannot be written (ArchiveError), a log that lost events (LogDamaged), has events
of a newer release or a message that blocks the contest (IngestError), a topic that is missing or could lose events
(TopicUnfit), an event that the broker refuses repeatedly (DeliveryFailed).

Place in the flow: around all of it, on election night. A file is read once its size and time stayed the same between
two looks. Tables of a publication may arrive one by one: what is complete is published, and the rest is waited for.
Tables that arrived earlier only add what the new ones lack: a second capture of an update stands by itself. A crash
leaves nothing of its own: the next start looks at every file again, and the log says what is still news.
"""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from ingest.errors import SourceError
from ingest.feeds.registry import TOGETHER, Recognised
from ingest.listener import Progress
from ingest.news.silence import changed
from ingest.pipeline import Asked, Pipeline
from ingest.report import SHOWN
from ingest.sources import about
from ingest.sources import folder as source

_Signature = tuple[tuple[int, int], tuple[int, int] | None]
"""Of a document, and of the note beside it: size in bytes, and time of the last change in nanoseconds."""
_Part = tuple[str, str, datetime | str]
"""Family, table and time: a part of a publication."""


@dataclass(slots=True)
class Watch:
    """A folder under watch: a look every `every_s` seconds, a log line that it is alive every `alive_every_s`."""

    pipeline: Pipeline
    folder: Path
    progress: Progress
    stop: threading.Event
    every_s: float = 5.0
    silent_after: timedelta = timedelta(minutes=30)
    """After this time without news or a repetition, the log says that the source is silent."""
    alive_every_s: float = 60.0
    _seen: dict[Path, _Signature] = field(default_factory=dict)
    _done: dict[Path, _Signature] = field(default_factory=dict)
    _tables: dict[Path, frozenset[_Part]] = field(default_factory=dict)
    """Files that may complete a publication and the parts that they are of it, in the order of arrival."""
    _ignored: dict[Path, str] = field(default_factory=dict)
    """What is not read, and why; logged once."""
    _unreadable: set[Path] = field(default_factory=set)
    """Folders in it that cannot be read now."""
    _faults: dict[Path, str] = field(default_factory=dict)
    """Documents that cannot be read now, and why; logged once."""
    _asked: Asked = field(default_factory=Asked)
    _unread: str | None = None
    """Why what came last said nothing."""

    def run(self) -> None:
        """Look at the folder until asked to stop; the current document is finished first."""
        self.progress.say(f"watching {self.folder} every {self.every_s:g} s")
        within_ms = round(2_000 * max(self.every_s, 5))
        self._asked = self._asked._replace(source=source.name_of(self.folder.absolute()), within_ms=within_ms)
        with self.pipeline.signs_of_life(lambda: self._asked):
            self._watch()
        self.progress.say("stopped as asked")

    def _watch(self) -> None:
        said = time.monotonic()
        while not self.stop.is_set():
            self.look()
            if time.monotonic() - said >= self.alive_every_s:
                said = time.monotonic()
                self.pipeline.read_on()
                report = self.pipeline.report
                self.progress.say(
                    f"alive: {report.documents:,} documents, {report.news.total():,} news, "
                    f"{report.rejected.total():,} rejected, {len(report.awaited):,} awaited"
                )
            self.stop.wait(self.every_s)

    def look(self) -> bool:
        """Look at the folder once and load new, complete files. Returns False when it cannot be read."""
        report = self.pipeline.report
        rejected, spoke_at = report.rejected.total(), self.pipeline.contest.source.spoke_at
        is_read = self._look()
        if self.pipeline.contest.source.spoke_at != spoke_at:
            self._unread = None
        elif report.rejected.total() > rejected:
            self._unread = "nothing of what came last could be published: see results.rejected"
        self._note_silence()
        return is_read

    def _note_silence(self) -> None:
        """Put it on the log when the source has fallen silent, or speaks again."""
        contest_id, began_at = self.pipeline.contest.definition.contest_id, self.pipeline.began_at
        now, why = source.now(), self._asked.fault or self._unread
        self.pipeline.note(lambda heard: changed(contest_id, heard, began_at, now, self.silent_after, why))

    def _look(self) -> bool:
        listener, report = self.pipeline.listener, self.pipeline.report
        self._asked = self._asked._replace(asked_at=source.now())
        try:
            ready = self._unchanging()
        except SourceError as fault:
            self._asked = self._asked._replace(fault=f"it cannot be read: {str(fault).rpartition(': ')[2]}")
            listener.looked(str(fault))
            self.progress.warn(f"{fault}; trying again")
            return False
        self._asked = self._asked._replace(answered_at=source.now(), fault=None)
        listener.looked(next((f"{path}: {self._ignored[path]}" for path in sorted(self._unreadable)), None))
        recognised: dict[Path, Recognised] = {}
        for path in ready:
            if self.stop.is_set():
                return True
            self._tables.pop(path, None)  # it arrived again: now the last of its part
            self._read(path, recognised)
        self._fill_in(recognised)
        awaited: list[str] = []
        late = report.late
        for batch in self.pipeline.documents.plan(list(recognised.values())):
            if self.stop.is_set():
                return True
            awaited.extend(self.pipeline.run(batch, patient=True))
        if report.late != late:
            # What a later document only repeated may now be news behind it: the next look reads the folder once more.
            # This ends, since no unit's figures are published twice for one time.
            self.progress.say("news arrived late; reading the folder once more")
            self._done.clear()
        if recognised:
            if awaited:
                self.progress.say(f"waiting for {', '.join(awaited[:4])}{' …' if len(awaited) > 4 else ''}")
            report.awaited = tuple(awaited)
            listener.awaited(len(awaited))
        listener.pending(sum(self._done.get(path) != now for path, now in self._seen.items()))
        listener.advanced()
        return True

    def _fill_in(self, recognised: dict[Path, Recognised]) -> None:
        """For each part that the new publications lack, read the latest of the tables that arrived earlier."""
        have: set[_Part] = set().union(*(_parts(one) for one in recognised.values()))
        publications = {(family, time) for family, _, time in have}
        for path, parts in reversed(list(self._tables.items())):
            if any((family, time) in publications for family, _, time in parts - have):
                have |= parts
                self._read(path, recognised)

    def _unchanging(self) -> list[Path]:
        """List the files that changed since they were last read, but not since the last look."""
        ready, now = [], {}
        found = source.walk(self.folder)
        endings = f"only {' and '.join(source.DOCUMENTS)} are read"
        others = (path for path in found.files if not source.is_expected(path))
        self._unreadable = found.unreadable
        self._ignore(found.passed_over | dict.fromkeys(others, endings) | about.of_nothing(found.files))
        for path in filter(source.is_document, found.files):
            try:
                now[path] = _state(path), about.state(path)
            except OSError:
                continue  # removed since the folder was listed
            if now[path] != self._done.get(path) and now[path] == self._seen.get(path):
                ready.append(path)
        self._seen = now
        self._faults = {path: fault for path, fault in self._faults.items() if path in now}
        return ready

    def _ignore(self, others: dict[Path, str]) -> None:
        """Log each ignored file once: the person who put it there expects its figures."""
        new = sorted(others.items() - self._ignored.items())
        for path, why in new[:SHOWN]:
            name = source.name_of(path)
            self.progress.warn(f"{name} is ignored: {why}", document=name)
        if len(new) > SHOWN:
            self.progress.warn(f"{len(new) - SHOWN:,} more files are ignored")
        self._ignored = others

    def _read(self, path: Path, recognised: dict[Path, Recognised]) -> None:
        try:
            one = self.pipeline.read(path, beneath=self.folder)
        except SourceError as fault:
            if self._faults.get(path) != str(fault):
                self._faults[path] = str(fault)
                self.progress.warn(f"{fault}; trying again")
            return
        self._faults.pop(path, None)
        self._done[path] = self._seen.get(path, ((0, 0), None))
        if one is None:
            self._tables.pop(path, None)
            return
        recognised[path] = one
        if parts := _parts(one):
            self._tables[path] = parts


def _state(path: Path) -> tuple[int, int]:
    """Return by what a change of a file is seen."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _parts(one: Recognised) -> frozenset[_Part]:
    """Return the parts of publications that a document is; none when its family needs no other document."""
    if one.family not in TOGETHER:
        return frozenset()
    return frozenset((one.family, one.table, time) for time in one.times)
