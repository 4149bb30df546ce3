"""Send changes to the topics, and read the log again whenever it is not certain what arrived.

Place in the flow: the last stage. The order is events, rejections, heartbeats. A crash between any two leaves a first
part of them; each follows from the log and the documents alone, so the next run sends the rest.
"""

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from ingest.errors import Stopped
from ingest.feeds.statement import Rejection
from ingest.listener import Listener, Progress
from ingest.news.changes import Changes, adopt, published
from ingest.news.contest_memory import ContestMemory
from ingest.news.new_events import NewEvents
from ingest.publish.connection import Connection
from ingest.publish.encode import encode_all
from ingest.publish.memory import Memory
from ingest.publish.publisher import Publisher
from ingest.report import SHOWN
from runtime.kafka.errors import BrokerAway, DeliveryFailed, KafkaFault
from runtime.kafka.producer import follow
from schemas.codec import Message, encode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.source_status import SourceStatus
from schemas.unit_roll import UnitRoll

_RETRY_S = 2.0
_ATTEMPTS = 3
"""Refused deliveries after which the refusal is raised."""


class Delivery:
    """Send to the topics of a connection. Use as a context manager: leaving it closes the producer."""

    def __init__(
        self,
        connection: Connection,
        memory: Memory,
        progress: Progress,
        listener: Listener,
        stop: threading.Event,
        *,
        log_each: bool,
    ) -> None:
        """`log_each`: log every new event and rejection, for users who do not wait for the report."""
        self._connection, self._memory = connection, memory
        self._progress, self._listener, self._stop = progress, listener, stop
        self._log_each = log_each
        self._publisher: Publisher | None = None
        self.undelivered = 0
        """Rejections of this run that results.rejected does not take."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._publisher is not None:
            self._publisher.__exit__(*exception)
            self._publisher = None

    def publish(self, contest: ContestMemory, compare: Callable[[], Changes], name: str) -> Changes:
        """Send what `compare` finds to be new. Returns what of it is on the log.

        `compare` is called again after a failed delivery, and when another writer's events came before ours: the log
        says what is still new. `name` describes the changes in log lines.
        """
        attempts: list[Changes] = []
        failed, done = 0, False
        self._memory.accepted = {}
        while not done:
            try:
                found = compare()
                attempts.append(found)
                self._progress.start(name, found.statements + found.rejections.rows)
                self._progress.advance(found.statements - len(found.events), 0, found.rejections.rows)
                lost, done = self._send_changes(contest, found)
                if lost:
                    failed += 1
                    if failed == _ATTEMPTS:
                        raise DeliveryFailed(f"{name}: another writer published the same {_ATTEMPTS} times meanwhile")
                    self._wait_for_quiet()
            except (BrokerAway, DeliveryFailed) as fault:
                failed = self._recover(fault, failed)
        self._progress.done()
        return published(attempts, contest)

    def put(self, missing: Callable[[], ContestDefined | SourceStatus | UnitRoll | None]) -> None:
        """Send what `missing` returns and read the log on, until it returns None: the log has everything."""
        failed = 0
        while (event := missing()) is not None:
            try:
                self._send(self._connection.names.events, (encode(event),))
                self.patiently(self._memory.read)
            except (BrokerAway, DeliveryFailed) as fault:
                failed = self._recover(fault, failed)

    def patiently(self, work: Callable[[], object]) -> None:
        """Repeat `work` while no broker answers, and log it. Raises Stopped when asked to stop meanwhile."""
        while True:
            try:
                work()
                return
            except BrokerAway as fault:
                self._say_waiting(f"{fault}; still trying")
                self._wait()

    def _send_changes(self, contest: ContestMemory, found: Changes) -> tuple[int, bool]:
        """Send one attempt. Returns how many sent events do not count, and whether all that counts is on the log.

        When another writer is using the log, `found` keeps the events that count where we put them: the other may have
        put the same ones before ours, and then no more are sent.
        """
        names = self._connection.names
        # A crash here, or anywhere in the sending, leaves a first part of the events; the next run sends the rest.
        items = found.events.items
        offsets = self._send(names.events, encode_all(items), self._memory.next_offsets)
        alone = self._alone(offsets)
        if not alone:
            self._progress.say("another writer is using the log; reading it again")
            self._memory.read()
            sent, accepted = sum(map(len, offsets.values())), self._memory.accepted or {}
            ours = {(partition, offset) for partition, given in offsets.items() for offset in given}
            found.events = NewEvents(event for event in items if accepted.get(event.event_id) in ours)
            if len(found.events) < len(items):
                found.heartbeats.clear()
                return sent - len(found.events), False  # the next comparison says what is still news
        if self._log_each:
            self._log_events(found.events, offsets)
            for rows in found.passed_over[:SHOWN]:
                self._progress.say(str(rows), document=rows.document, sha256=rows.sha256)
        adopt(contest, replace(found, heartbeats=[]), alone=alone)
        # A crash here leaves the events without the rejections; the next run finds the rejections again and sends them.
        self._send_rejections(contest.definition.contest_id, (*found.rejections, *found.left_out))
        # A crash here leaves the heartbeats out; an equal document, or this one again, sends them.
        self._send(names.feed_status, (encode(heartbeat) for heartbeat in found.heartbeats))
        for heartbeat in found.heartbeats:
            contest.hear(heartbeat)
        return 0, True

    def _send_rejections(self, contest_id: str, rejections: Iterable[Rejection]) -> None:
        """Send the rejections that are not there yet. One that the topic does not take is logged, and stops nothing."""
        found = {str(r.id).encode(): r for r in rejections}
        new = {name: r for name, r in found.items() if name not in self._memory.rejected}
        topic = self._connection.names.rejected
        try:
            self._send(topic, (r.message(contest_id) for r in new.values()))
        except BrokerAway:
            raise
        except KafkaFault as fault:
            new = self._send_one_by_one(contest_id, new, fault)
        self._memory.rejected.update(new)
        self._listener.rejected(new.values())
        if not self._log_each:
            return
        for rejection in list(new.values())[:SHOWN]:
            about = {"code": rejection.finding.code, "document": rejection.document, "sha256": rejection.sha256}
            what = "rejected" if rejection.finding.rejects else "published with a finding"
            self._progress.warn(f"{what}: {rejection}", contest_id=contest_id, rejection_id=str(rejection.id), **about)
        if len(new) > SHOWN:
            self._progress.warn(f"and {len(new) - SHOWN:,} more rejected, all in {topic}")

    def _send_one_by_one(
        self, contest_id: str, new: dict[bytes, Rejection], fault: KafkaFault
    ) -> dict[bytes, Rejection]:
        """Send again what did not arrive, each by itself. Returns those that are there now."""
        topic, refused = self._connection.names.rejected, dict[bytes, Rejection]()
        self.__exit__(type(fault), fault, None)
        self.patiently(self._memory.read_rejected)
        for name, rejection in new.items():
            if name in self._memory.rejected:
                continue
            if isinstance(fault, DeliveryFailed):  # it is of a message; other faults are of all
                try:
                    self._send(topic, (rejection.message(contest_id),))
                    continue
                except DeliveryFailed as again:
                    fault = again
                    self.__exit__(type(fault), fault, None)
            refused[name] = rejection
            if len(refused) <= SHOWN:
                self._progress.warn(f"rejected: {rejection}, but {topic} does not take it: {fault}")
        self.undelivered += len(refused)
        self._listener.undelivered(len(refused))
        return {name: rejection for name, rejection in new.items() if name not in refused}

    def _log_events(self, events: Sequence[CountUpdate], offsets: Mapping[int, list[int]]) -> None:
        """Log each event with its offset: as read back from the log, else as acknowledged."""
        given = [(partition, offset) for partition, places in offsets.items() for offset in places]
        accepted = self._memory.accepted or {}
        for event, place in zip(events[:SHOWN], given, strict=False):
            partition, offset = accepted.get(event.event_id, place)
            self._progress.say(
                f"published: offset {offset}, {event.kind} {event.unit} sequence {event.sequence}",
                contest_id=event.contest_id,
                event_id=str(event.event_id),
                partition=partition,
                offset=offset,
            )
        if len(events) > SHOWN:
            self._progress.say(f"and {len(events) - SHOWN:,} more events")

    def _alone(self, offsets: dict[int, list[int]]) -> bool:
        """Say whether only our events follow what was read. If so, moves past them: the caller must adopt them."""
        places = self._memory.next_offsets
        if not follow(places, offsets):
            return False
        for partition, given in offsets.items():
            places[partition] += len(given)
        return True

    def _send(
        self, topic: str, messages: Iterable[Message], places: Mapping[int, int] | None = None
    ) -> dict[int, list[int]]:
        if self._publisher is None:
            connection = self._connection
            self._publisher = Publisher(connection.kafka, self._say_waiting, self._stop, linger_ms=connection.linger_ms)
        news = 1 if topic == self._connection.names.events else 0
        return self._publisher.send(
            topic,
            messages,
            lambda n: self._progress.advance(n * news, n * news, 0),
            places,
            log_id=self._memory.log_id(topic),
        )

    def _recover(self, fault: BrokerAway | DeliveryFailed, failed: int) -> int:
        """Close the producer and read what arrived, however long no broker answers.

        Returns the number of failed attempts: an unreachable broker is not one. Raises the fault at the last attempt.
        """
        if isinstance(fault, DeliveryFailed):
            failed += 1
            if failed >= _ATTEMPTS:
                raise fault
        self._say_waiting(f"{fault}; reading the log again before going on")
        self.__exit__(type(fault), fault, None)
        self._wait()
        self.patiently(self._memory.read)
        return failed

    def _wait_for_quiet(self) -> None:
        """Wait until another writer of the same is finished; a random time, so that two do not wait alike."""
        self._progress.say("another writer publishes the same; waiting until the log does not grow")
        while not self._stop.wait(random.uniform(0.5, 2.0)):
            if not self._memory.grown():
                return
            self._memory.read()
        raise Stopped("stopped as asked while another writer was using the log; running the same again does the rest")

    def _say_waiting(self, line: str) -> None:
        self._listener.waiting(line)
        self._progress.warn(line)

    def _wait(self) -> None:
        if self._stop.wait(_RETRY_S):
            raise Stopped("stopped as asked while the broker was away; running the same again does the rest")
