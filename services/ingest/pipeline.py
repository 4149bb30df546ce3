"""Runs the stages: `fetch → keep → parse → since → send`. Knows the doors and the pure rooms; they do not know it.

Place in the flow: all of it. A batch of documents is parsed, compared and checked to its end before its first event is
sent. The order of sending is events, rejected input, heartbeats, and after them a change of the counting level: each
follows from the log and the documents alone, so a crash between any two is mended by running the same again.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from ingest.errors import IngestError, SourceError, Stopped
from ingest.feeds import registry as adapters
from ingest.feeds.statement import Kept, Rejection, Snapshot
from ingest.listener import Listener
from ingest.news import changes
from ingest.publish import log_reader as recall
from ingest.publish import publisher as publish
from ingest.publish.encode import encode
from ingest.report import SHOWN, Report
from ingest.sources import folder as source
from ingest.sources.archive import Archive
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, DeliveryFailed
from runtime.kafka.producer import follow
from schemas.chain import definition_fault
from schemas.codec import Message, decode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.errors import ContractError, NewerSchema
from schemas.feed_status import FeedStatus
from schemas.identity import named, text_of
from schemas.log_record import RawRecord
from schemas.topics import EVENTS, FEED_STATUS, REJECTED, Topic, TopicNames
from schemas.types import ReportingUnitType, rfc3339

_RETRY_S = 2.0
_ATTEMPTS = 3
"""How often a delivery may be refused before the refusal is the answer."""


class Screen(Protocol):
    """Where a run says what it does."""

    def say(self, line: str, **about: object) -> None:
        """One line, about something that happened; `about`: what of it machines look for, by name."""

    def warn(self, line: str, **about: object) -> None:
        """The same, about something that an operator looks for: input that is not published."""

    def start(self, what: str, rows: int) -> None:
        """A batch of `rows` begins."""

    def advance(self, rows: int, news: int, rejected: int) -> None:
        """So many more rows are done, of which so many were news and rejected."""

    def done(self) -> None:
        """The batch is finished."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Which Kafka, which names, and how long a message may wait for company."""

    kafka: KafkaAccess
    names: TopicNames = field(default_factory=TopicNames)
    linger_ms: int = 20

    def topics(self) -> tuple[tuple[str, Topic], ...]:
        """Every topic ingest writes, by the name in use."""
        return ((self.names.events, EVENTS), (self.names.rejected, REJECTED), (self.names.feed_status, FEED_STATUS))


class Pipeline:
    """One ingest at work. Use as a context manager: entering reads the log and publishes the contest if it is new to it."""

    def __init__(
        self,
        connection: Connection,
        archive: Archive,
        definition: ContestDefined | None,
        screen: Screen,
        stop: threading.Event,
        *,
        revising: bool = False,
        aloud: bool = False,
        listener: Listener | None = None,
        following: UnitKey | None = None,
    ) -> None:
        """`revising`: a definition on the log that differs from the file's is no fault; `revise` is about to publish it.
        `aloud`: new events and rejections are said as they come, for who does not wait for the report.
        `following`: a unit whose accepted events are kept in `followed`, by contest."""
        self.report = Report()
        self.contest: changes.ContestMemory
        self._connection = connection
        self._archive = archive
        self._wanted = definition
        self._screen = screen
        self._stop = stop
        self._revising = revising
        self._aloud = aloud
        self.listener = listener or Listener()
        self._following = following
        self.followed: dict[str, list[CountUpdate]] = {}
        self._contests: dict[str, changes.ContestMemory] = {}
        self._rejected: set[str] = set()
        self._accepted: dict[UUID, tuple[int, int]] = {}
        """Partition and offset of the updates that were read back while the batch in hand is sent."""
        self._observed: dict[str, datetime | None] = {}
        """When a document was first seen, by its SHA-256, as the log says; None where it does not."""
        self._publisher: publish.Publisher | None = None
        kafka, names = connection.kafka, connection.names
        self._log = recall.TopicReader(kafka, names.events, whole=True, notice=screen.say)
        self._beside = [
            recall.TopicReader(kafka, names.rejected, whole=True, notice=screen.say),
            recall.TopicReader(kafka, names.feed_status, whole=False, notice=screen.say),
        ]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._archive)
            stack.callback(self._log.close)
            self._patiently(lambda: publish.inspect(self._connection.kafka, self._connection.topics()))
            self._patiently(self._recall)
            self._choose_contest()
            self._move_level()  # a crash may have come between the last sheet and this
            self.listener.advanced()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._publisher is not None:
            self._publisher.__exit__(kind, error, trace)
        self._stack.close()

    # --- documents

    def load(self, paths: Sequence[Path], observed_at: datetime | None = None) -> Report:
        """Takes the documents under `paths`, in the order of the time they state, and says what came of them."""
        found = source.documents(list(paths))
        if not found:
            raise SourceError(f"there are no documents in {', '.join(map(str, paths))}")
        recognised = [one for path in found if (one := self.take(path, observed_at))]
        batches, again = adapters.plan(recognised), False
        while True:
            late = self.report.late
            for batch in batches:
                if self._stop.is_set():
                    self._screen.say("stopped as asked, after a whole document; running the same again does the rest")
                    self.report.stopped = True
                    return self.report
                self.run(batch, again=again)
            if self.report.late == late:
                return self.report
            # A later document may have repeated only what stood before the late news. This ends: see `watch.look`.
            again = True

    def take(self, path: Path, observed_at: datetime | None = None) -> adapters.Recognised | None:
        """Fetches and keeps a document and says what it is; one that cannot be read is rejected, and None returned."""
        kept = self._archive.keep(source.fetch(path, observed_at), self._observed)
        self.report.documents += 1
        self.listener.fetched()
        recognised = adapters.recognise(kept)
        if isinstance(recognised, Rejection):
            unreadable = Snapshot("unreadable", "", (), (recognised,))
            self.publish(lambda: self._since((unreadable,)), kept.uri)
            return None
        return recognised

    def run(self, batch: adapters.Batch, *, patient: bool = False, again: bool = False) -> tuple[str, ...]:
        """Parses, compares and sends one batch. `patient`: what is incomplete is not rejected but awaited; returns it.

        `again`: the batch was run before, and the report is to count only what is new.
        """
        name = ", ".join(_short(batch.documents))
        started = time.monotonic()
        self._screen.start(name, 0)
        snapshots = adapters.parse(batch, self.contest.definition)
        self.report.seconds += time.monotonic() - started
        awaited = tuple(what for snapshot in snapshots for what in snapshot.awaited)
        if not patient:
            snapshots = tuple(replace(s, rejections=(*s.rejections, *s.incomplete)) for s in snapshots)
        self.publish(lambda: self._since(snapshots), name, again=again)
        self._move_level()
        return awaited

    def publish(self, compare: Callable[[], changes.Changes], name: str, *, again: bool = False) -> None:
        """Sends what `compare` finds that the log does not have. It is asked again after a failed delivery, and when someone
        else's events came before ours: the log says what of it is still news."""
        started = time.monotonic()
        attempts: list[changes.Changes] = []
        failed, done = 0, False
        self._accepted.clear()
        while not done:
            try:
                found = compare()
                attempts.append(found)
                self._screen.start(name, found.statements + len(found.rejections))
                self._screen.advance(found.statements - len(found.events), 0, len(found.rejections))
                lost, done = self._send(found)
                if lost:
                    failed += 1
                    if failed == _ATTEMPTS:
                        raise DeliveryFailed(f"{name}: {_ATTEMPTS} times someone else published the same meanwhile")
                    self._wait_for_quiet()
            except (BrokerAway, DeliveryFailed) as fault:
                failed = self._recover(fault, failed)
        self._screen.done()
        brought = changes.published(attempts, self.contest)
        self.report.add(brought, again=again)
        self.listener.published(brought.events, brought.findings, brought.heartbeats)
        self.listener.advanced()
        self.report.seconds += time.monotonic() - started

    def _since(self, snapshots: Sequence[Snapshot]) -> changes.Changes:
        """What the snapshots bring that the log does not have, also when someone else wrote to it since it was read."""
        found = changes.since(snapshots, self.contest)
        return changes.since(snapshots, self.contest) if found.events and self.read_on() else found

    def read_on(self) -> bool:
        """Reads what someone else has written to the log since it was last read; False when there is nothing. Raises BrokerAway."""
        if not self._log.grown():
            return False
        self._screen.say("someone else is writing to the log; reading on")
        self._recall()
        return True

    def _send(self, found: changes.Changes) -> tuple[int, bool]:
        """Sends it. Returns how many of the events sent do not count, and whether all that counts is on the log.

        Where someone else writes meanwhile, `found` keeps the events that count where we put them: a second writer may
        have put the same ones before ours, and then no more are sent.
        """
        names = self._connection.names
        contest_id = self.contest.definition.contest_id
        # A crash here, or anywhere in the sending, leaves a first part of the events; the next run sends the rest.
        offsets = self._deliver(names.events, (encode(event) for event in found.events), self._log.next_offsets)
        alone = self._alone(offsets)
        if not alone:
            self._screen.say("someone else is writing to the log; reading it again")
            self._recall()
            sent, whole = sum(map(len, offsets.values())), len(found.events)
            ours = {(partition, offset) for partition, given in offsets.items() for offset in given}
            found.events = [event for event in found.events if self._accepted.get(event.event_id) in ours]
            if len(found.events) < whole:
                found.heartbeats.clear()
                return sent - len(found.events), False  # what of it is still news?
        if self._aloud:
            self._say_published(found.events, offsets)
        changes.adopt(self.contest, replace(found, units=found.units if alone else {}, heartbeats=[]))
        # A crash here leaves the events without the rejections; they are met, and sent, again.
        new = {str(r.id): r for r in found.rejections if str(r.id) not in self._rejected}
        self._deliver(names.rejected, (r.message(contest_id) for r in new.values()))
        # A crash here leaves the heartbeats out; an equal document, or this one again, sends them.
        self._deliver(names.feed_status, (encode(heartbeat) for heartbeat in found.heartbeats))
        self._rejected.update(new)
        self.listener.rejected(new.values())
        if self._aloud:
            for rejection in list(new.values())[:SHOWN]:
                about = {"code": rejection.finding.code, "document": rejection.uri, "sha256": rejection.sha256}
                self._screen.warn(
                    f"rejected: {rejection}", contest_id=contest_id, rejection_id=str(rejection.id), **about
                )
            if len(new) > SHOWN:
                self._screen.warn(f"and {len(new) - SHOWN:,} more rejected, all in {names.rejected}")
        for heartbeat in found.heartbeats:
            self.contest.hear(heartbeat)
        return 0, True

    def _say_published(self, events: Sequence[CountUpdate], offsets: Mapping[int, list[int]]) -> None:
        """Each event and its place: where nobody else wrote meanwhile as it was given out, else as it was read back."""
        given = [(partition, offset) for partition, places in offsets.items() for offset in places]
        for event, place in list(zip(events, given, strict=False))[:SHOWN]:
            partition, offset = self._accepted.get(event.event_id, place)
            self._screen.say(
                f"published: offset {offset}, {event.kind} {event.unit} sequence {event.sequence}",
                contest_id=event.contest_id,
                event_id=str(event.event_id),
                partition=partition,
                offset=offset,
            )
        if len(events) > SHOWN:
            self._screen.say(f"and {len(events) - SHOWN:,} more events")

    def _alone(self, offsets: dict[int, list[int]]) -> bool:
        """Whether our events, and nothing else, follow what we had read. Moves the place in the log if so: they must
        then be adopted at once, since they will not be read back."""
        places = self._log.next_offsets
        if not follow(places, offsets):
            return False
        for partition, given in offsets.items():
            places[partition] += len(given)
        return True

    def _wait_for_quiet(self) -> None:
        """Lets whoever else publishes the same finish; not for the same time as they wait."""
        self._screen.say("someone else publishes the same; waiting until the log holds still")
        while not self._stop.wait(random.uniform(0.5, 2.0)):
            if not self._log.grown():
                return
            self._recall()
        raise Stopped("stopped as asked while someone else was writing; running the same again does the rest")

    def _deliver(
        self, topic: str, messages: Iterable[Message], places: Mapping[int, int] | None = None
    ) -> dict[int, list[int]]:
        if self._publisher is None:
            connection = self._connection
            self._publisher = publish.Publisher(
                connection.kafka, self._say_waiting, self._stop, linger_ms=connection.linger_ms
            )
        news = 1 if topic == self._connection.names.events else 0
        return self._publisher.send(topic, messages, lambda n: self._screen.advance(n * news, n * news, 0), places)

    def _recover(self, fault: BrokerAway | DeliveryFailed, failed: int) -> int:
        """Drops the producer and reads what did arrive, however long no broker answers.

        Returns how many attempts have failed by now: a broker that is away is none. Raises the refusal that is one too many.
        """
        if isinstance(fault, DeliveryFailed):
            failed += 1
            if failed >= _ATTEMPTS:
                raise fault
        self._say_waiting(f"{fault}; reading the log again before going on")
        if self._publisher is not None:
            self._publisher.__exit__(type(fault), fault, None)
            self._publisher = None
        self._wait()
        self._patiently(self._recall)
        return failed

    # --- the log

    def _recall(self) -> None:
        """Reads on from the last known offset: the log, then what was rejected, then the heartbeats.

        Raises IngestError at an event of a newer release: without it, what its unit says next would be named after the wrong event.
        """
        for record in self._log.to_end():
            try:
                event = decode(record.value, record.headers)
            except NewerSchema as error:
                raise IngestError(f"{self._log.topic} offset {record.offset}: {error}; start that one") from error
            except ContractError as error:
                self._screen.say(f"{self._log.topic}[{record.partition}]@{record.offset} is not an event: {error}")
                continue
            if isinstance(event, ContestDefined):
                self._recall_definition(event)
            elif (
                isinstance(event, CountUpdate)
                and event.contest_id in self._contests
                and changes.remember(self._contests[event.contest_id], event)
            ):
                self._accepted[event.event_id] = (record.partition, record.offset)
                self.listener.recalled(event)
                if event.unit == self._following:
                    self.followed.setdefault(event.contest_id, []).append(event)
                for document in event.source.documents:
                    self._recall_observed(document.sha256, event)
        for reader in self._beside:
            for record in reader.to_end():
                self._recall_beside(record)

    def _recall_definition(self, event: ContestDefined) -> None:
        known = self._contests.get(event.contest_id)
        if definition_fault(event, text_of(event), known.definition if known else None):
            return  # whoever folds the log does not accept it either, and reports it
        if known is None:
            self._contests[event.contest_id] = changes.ContestMemory(event)
        else:
            known.definition = event

    def _recall_observed(self, sha256: str, event: CountUpdate | FeedStatus) -> None:
        """When an undated document was first seen. Where its events do not agree, rows of it say so themselves."""
        if event.reported_at is None and self._observed.setdefault(sha256, event.observed_at) != event.observed_at:
            self._observed[sha256] = None

    def _recall_beside(self, record: RawRecord) -> None:
        headers = dict(record.headers)
        if headers.get("ce_type") == b"escrutinio.Rejected" and (rejection_id := headers.get("ce_id")):
            self._rejected.add(rejection_id.decode())
            return
        try:
            event = decode(record.value, record.headers)
        except ContractError:
            return  # another's record; heartbeats are only compared with
        if isinstance(event, FeedStatus) and event.contest_id in self._contests:
            self._contests[event.contest_id].hear(event)
            self.listener.recalled(event)
            self._recall_observed(event.document_sha256, event)

    def _choose_contest(self) -> None:
        if self._wanted is None:
            if len(self._contests) != 1:
                names = ", ".join(sorted(self._contests)) or "none"
                raise IngestError(f"the log has {len(self._contests)} contests ({names}); name one with --contest FILE")
            (self.contest,) = self._contests.values()
            return
        wanted = self._wanted
        known = self._contests.get(wanted.contest_id)
        if known is not None:
            if not self._revising and (differences := differing(wanted, known.definition)):
                raise IngestError(
                    f"{wanted.contest_id} is defined otherwise on the log, in {', '.join(differences)}; "
                    "publish the change as a revision: escrutinio-ingest define CONTEST_FILE"
                )
            self.contest = known
            return
        self._define(wanted)
        self.contest = self._contests[wanted.contest_id]

    def _define(self, definition: ContestDefined) -> None:
        """Puts a definition on the log, and takes it from there. A crash before it leaves none, and the next run sends it.

        Raises IngestError when it is not what readers accept, or someone else's revision came first.
        """
        failed = 0
        while True:
            held = self._contests.get(definition.contest_id)
            if held is not None and held.definition.event_id == definition.event_id:
                self.report.definitions += 1
                self.listener.defined(held.definition)
                return
            if refused := definition_fault(definition, text_of(definition), held.definition if held else None):
                raise IngestError(f"{definition.contest_id} cannot be defined so: {refused.message}")
            try:
                self._deliver(self._connection.names.events, (encode(definition),))
                self._patiently(self._recall)
            except (BrokerAway, DeliveryFailed) as fault:
                failed = self._recover(fault, failed)

    def revise(
        self,
        definition: ContestDefined,
        effective_at: datetime | None = None,
        counting_level: ReportingUnitType | None = None,
    ) -> bool:
        """Publishes the file's definition as the contest's next revision; False when it says nothing new.

        `effective_at`: as the known definition's if not given, or for a move of the level, when the last of its units was
        first stated. `counting_level` moves the level by an operator's decision.
        """
        known = self.contest.definition
        levels = (definition.counting_level, *definition.later_counting_levels)
        level = counting_level or known.counting_level
        if (
            level is known.counting_level
            and not differing(definition, known)
            and effective_at in (None, known.effective_at)
        ):
            return False
        if level not in levels:
            raise IngestError(f"{level} is none of the contest's counting_levels: {', '.join(levels)}")
        later = levels[levels.index(level) + 1 :]
        if beyond := complete(later, definition, self.contest):
            raise IngestError(
                f"every expected {beyond[0]} is stated, so that the next run would move on from {level} again; "
                f"to stay there, let counting_levels of the contest's file end with {level}"
            )
        start = known.effective_at
        if level is not known.counting_level and self.contest.count(level):
            start = max(start, self.contest.complete_since(level))
        effective_at = effective_at or start
        if effective_at < known.effective_at:
            raise IngestError(
                f"a revision must not hold from before the one it follows: {rfc3339(effective_at)} is earlier than "
                f"{rfc3339(known.effective_at)}"
            )
        self._define(_revision(definition, known, levels[levels.index(level) :], effective_at))
        return True

    def _move_level(self) -> None:
        """Moves the counting level on to the last of which every expected unit has been stated. Follows from the log alone."""
        definition = self.contest.definition
        levels = complete(definition.later_counting_levels, definition, self.contest)
        if not levels:
            return
        level = levels[0]
        since = max(definition.effective_at, self.contest.complete_since(level))
        self._define(_revision(definition, definition, levels, since))
        self._screen.say(
            f"all {expected(level, definition):,} expected units are stated: the {level} is now what is added up"
        )

    # --- patience

    def _patiently(self, work: Callable[[], None]) -> None:
        """Tries again for as long as no broker answers, and says so. Raises Stopped when asked to stop meanwhile."""
        while True:
            try:
                return work()
            except BrokerAway as fault:
                self._say_waiting(f"{fault}; still trying")
                self._wait()

    def _say_waiting(self, line: str) -> None:
        self.listener.waiting(line)
        self._screen.warn(line)

    def _wait(self) -> None:
        if self._stop.wait(_RETRY_S):
            raise Stopped("stopped as asked while the broker was away; running the same again does the rest")


def differing(wanted: ContestDefined, known: ContestDefined) -> list[str]:
    """The fields in which two definitions differ, apart from their place in the chain and how far the level has moved."""
    own = {"event_id", "revision", "previous_event_id", "counting_level", "later_counting_levels", "effective_at"}
    differ = [
        name
        for name in ContestDefined.model_fields
        if name not in own and getattr(wanted, name) != getattr(known, name)
    ]
    levels, level = (wanted.counting_level, *wanted.later_counting_levels), known.counting_level
    if level not in levels or levels[levels.index(level) + 1 :] != known.later_counting_levels:
        differ.append("counting_levels")
    return differ


def complete(
    levels: tuple[ReportingUnitType, ...], definition: ContestDefined, memory: changes.ContestMemory
) -> tuple[ReportingUnitType, ...]:
    """The levels from the last one on of which every expected unit has been stated; none when there is no such level."""
    for at in reversed(range(len(levels))):
        if 0 < expected(levels[at], definition) <= memory.count(levels[at]):
            return levels[at:]
    return ()


def expected(level: ReportingUnitType, definition: ContestDefined) -> int:
    """How many units of a level are expected: of areas those that are defined, of sheets as many as the contest says."""
    if level in (ReportingUnitType.PRECINCT, ReportingUnitType.POLLING_PLACE):
        return definition.expected_units
    return sum(1 for area in definition.areas if area.type is level)


def _revision(
    content: ContestDefined, after: ContestDefined, levels: tuple[ReportingUnitType, ...], effective_at: datetime
) -> ContestDefined:
    values = {name: getattr(content, name) for name in ContestDefined.model_fields}
    values |= {
        "revision": after.revision + 1,
        "previous_event_id": after.event_id,
        "counting_level": levels[0],
        "later_counting_levels": levels[1:],
        "effective_at": effective_at.astimezone(UTC),
    }
    return named(ContestDefined(**values))


def _short(documents: Sequence[Kept]) -> list[str]:
    names = [document.uri for document in documents]
    return names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
