"""Run the aggregator: read the log, decode, evolve and commit until stopped.

State is in memory and in PostgreSQL; whenever the two could differ (a connection lost in a commit, a partition that
another run held meanwhile) memory is discarded and read back: one path of recovery, which every start follows.

Several runs may share the partitions as a consumer group of Kafka. The group only assigns the work. That no event is
lost or counted twice rests on the cursor alone, as it does for one run: it is claimed with the partition, it moves in
the transaction of the batch, and a writer that was replaced without knowing it writes nothing. A run without a group
does not join one, so after a kill -9 it need not wait for a session to expire.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from aggregator.live.assignment import Assignment, Replaced
from aggregator.live.listener import Listener
from aggregator.log.group import Group
from aggregator.log.reader import Log
from aggregator.publish.alive import CountSigns
from aggregator.publish.sender import Sender
from aggregator.tables.errors import Fenced, TablesChanged
from aggregator.tables.writer import Writer
from results.rows import RowError
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.postgres import DatabaseUnreachable
from schemas.topics import TopicNames

logger = logging.getLogger(__name__)

_CHECK_S = 60.0
"""Interval of checking the topic's settings and id: retention may be switched on while we run. So long after the last
partition was found unreadable, all are tried again: a fault that comes sooner than that does not starve the others."""

_AGAIN_S = 60.0
"""A group member fenced twice within this by a writer outside the group ends: there is another aggregator."""

_QUERY_S = 5.0
"""Interval at which an idle run queries both servers, so that `alive` is known and not assumed."""

_REPORT_S = 0.2
"""Interval at which a run that has caught up queries them while updates come: no update waits for it."""

_ANALYSE = 5_000
"""Events after which a run that has caught up analyses the tables, and again when it has read twice as many."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress in one partition: next `offset` of `end`. `rate` in events/s since the run began."""

    partition: int
    offset: int
    end: int
    rate: float


def run(
    writer_url: str,
    kafka: KafkaAccess,
    topic: str,
    stop: threading.Event,
    *,
    batch_size: int = 10_000,
    until_caught_up: bool = False,
    group: str | None = None,
    session_timeout_s: float = 10.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    listener: Listener | None = None,
    publish: TopicNames | None = None,
) -> None:
    """Aggregate every partition until `stop` is set, or with `until_caught_up` until the end of the log is reached.

    `publish`: the topics that totals and notices are sent to; None: none are. Signs of life are said by a run that goes
    on without end.

    With `group`, only the partitions that the group assigns to this member: see `Group`, also for `session_timeout_s`.
    When a broker or the database does not answer, this logs a warning and tries again. Raises faults that waiting
    cannot cure: every KafkaFault but BrokerAway, DatabaseError, TablesError, RowError, MigrationError.
    """
    assert group is None or not until_caught_up, "a member does not know the position of the others"
    wait_s, last_fenced = 0.5, -_AGAIN_S
    listener = listener or Listener()
    signs = CountSigns(writer_url, kafka, topic, publish)
    with signs if not until_caught_up else nullcontext():
        while not stop.is_set():
            begun = time.monotonic()
            try:
                with (
                    Log(kafka, topic, max_records=batch_size) as log,
                    _reporting_ends(log, listener),
                    Writer(writer_url) as writer,
                    Group(kafka, topic, group, session_timeout_s=session_timeout_s)
                    if group is not None
                    else nullcontext() as member,
                    Sender(writer_url, kafka, publish) if publish is not None else nullcontext() as sender,
                ):
                    with Assignment(writer, log, member, listener, sender) as assignment:
                        signs.held = assignment.held
                        _session(writer, log, assignment, stop, batch_size, until_caught_up, on_progress, listener)
                    return
            except Fenced as fenced:
                if (generation := _live_generation(writer_url, stop)) is not None and generation != fenced.generation:
                    logger.info("another projection has taken over: continuing with that one")
                elif group is None or time.monotonic() - last_fenced < _AGAIN_S:
                    raise
                else:  # a member resumed late may claim a partition revoked from it; it drops it at the next refresh
                    last_fenced = time.monotonic()
                    logger.warning("%s; joining group %s again", fenced, group)
            except Replaced as replaced:
                logger.warning("%s; joining group %s again", replaced, group)
            except (TablesChanged, RowError):
                listener.changed_outside()
                raise
            except (BrokerAway, DatabaseUnreachable) as error:
                listener.lost("kafka" if isinstance(error, BrokerAway) else "postgres", str(error))
                if time.monotonic() - begun > 30:  # it worked before: this is a new fault
                    wait_s = 0.5
                logger.warning("%s; trying again in %.1f s", error, wait_s)
                stop.wait(wait_s)
                wait_s = min(wait_s * 2, 5.0)


@contextmanager
def _reporting_ends(log: Log, listener: Listener) -> Iterator[None]:
    """Report the ends of the log when the database does not answer, so that the lag shows during the outage."""
    try:
        yield
    except DatabaseUnreachable:
        listener.ends(log.ends())
        raise


def _live_generation(writer_url: str, stop: threading.Event) -> tuple[int, int] | None:
    """Return the generation of the live projection, once the database answers; None when stopped."""
    while not stop.wait(0.2):
        try:
            with Writer(writer_url) as writer:
                return writer.generation
        except DatabaseUnreachable as error:
            logger.warning("%s; trying again", error)
    return None


def _session(
    writer: Writer,
    log: Log,
    assignment: Assignment,
    stop: threading.Event,
    batch_size: int,
    until_caught_up: bool,
    on_progress: Callable[[Progress], None],
    listener: Listener,
) -> None:
    started, read, reported, analysed, queried = time.monotonic(), 0, 0, 0, -_QUERY_S
    checked = started
    while not stop.is_set():
        batches = assignment.read() if assignment.refresh() else []
        if batches:
            listener.read([record for batch in batches for record in batch])
        events, is_behind = sum(map(len, batches)), any(len(batch) >= batch_size for batch in batches)
        batches.sort(key=lambda batch: -batch.partition)
        while batches:
            assignment.commit(batches.pop())  # nothing keeps the messages while the next are read
        read += events
        now = time.monotonic()
        waits_s = _QUERY_S if is_behind or read == reported else _REPORT_S
        if not is_behind:
            assignment.tell(is_idle=until_caught_up or not events)
        elif now - queried > waits_s:
            assignment.settle()
        if (until_caught_up and not is_behind) or now - queried > waits_s:
            # Also when no record came: only a query shows that a server no longer answers.
            ends = log.ends(assignment.cursors or None)
            listener.ends(ends)
            if not is_behind and read >= max(2 * analysed, _ANALYSE):
                writer.analyse()
                analysed = read
            writer.ping()
            assignment.report()
            queried = now
            if now - checked > _CHECK_S:
                assignment.check_log()
                checked = now
            if assignment.unreadable and now - assignment.unreadable_since > _CHECK_S:
                assignment.read_all()
            listener.alive()
            for partition, cursor in assignment.cursors.items() if read != reported else ():
                on_progress(Progress(partition, cursor.next_offset, ends[partition], read / max(now - started, 1e-9)))
            reported = read
            waited_for = {p: c for p, c in assignment.cursors.items() if p not in assignment.unreadable}
            if until_caught_up and all(c.next_offset >= ends[p] for p, c in waited_for.items()):
                for fault in assignment.unreadable.values():
                    raise fault
                return
    assignment.settle()
