"""The run: log → decode → evolve → commit, for ever.

State lives in memory and in PostgreSQL; whenever the two could differ (a lost connection in a commit, a partition that
was another's meanwhile) memory is thrown away and read back, so there is one path of recovery and it is walked at every start.

Several runs may share the partitions as a consumer group of Kafka. The group only says who is to work on what. That no
event is lost or doubled rests on the cursor alone, as it does for one run: it is claimed with the partition, moves in the
transaction of the batch, and a writer that was replaced without knowing writes nothing. A run without a group is not a group
of one: it starts without joining, and after a kill -9 it need not wait until the group has given its dead predecessor up.
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
from aggregator.tables.errors import Fenced, TablesChanged
from aggregator.tables.writer import Store
from results.rows import RowError
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway
from runtime.postgres import DatabaseUnreachable

logger = logging.getLogger(__name__)

_CHECK_S = 60.0
"""How often the topic's settings and id are looked at again: somebody may switch retention on while we run."""

_AGAIN_S = 60.0
"""A member of a group that is fenced by somebody else twice within this ends: there is another aggregator."""


_ASK_S = 5.0
"""How often an idle run asks both servers something: that it is alive is a fact, not a guess."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `offset` of `end`, in one partition. `rate` in events/s since the run began."""

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
    batch_size: int = 20_000,
    until_caught_up: bool = False,
    group: str | None = None,
    session_timeout_s: float = 10.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    listener: Listener | None = None,
) -> None:
    """Aggregate every partition until `stop` is set, or with `until_caught_up` until the log's end is reached.

    With `group`, the partitions that this group of aggregators gives to this one, and no others: see `Group`, also for
    `session_timeout_s`. A broker or database that goes away is waited for, and said. Raises what waiting cannot mend: every KafkaFault but
    BrokerAway, StoreError (Fenced and TablesChanged among them), RowError, MigrationError.
    """
    assert group is None or not until_caught_up, "a member does not know how far the others are"
    wait_s, last_fenced = 0.5, -_AGAIN_S
    listener = listener or Listener()
    while not stop.is_set():
        begun = time.monotonic()
        try:
            with (
                Log(kafka, topic, max_records=batch_size) as log,
                _telling_how_far_it_goes(log, listener),
                Store(writer_url) as store,
                Group(kafka, topic, group, session_timeout_s=session_timeout_s)
                if group is not None
                else nullcontext() as member,
            ):
                holding = Assignment(store, log, member, listener)
                _session(store, log, holding, stop, until_caught_up, on_progress, listener)
                return
        except Fenced as fenced:
            if (turn := _turn(writer_url, stop)) is not None and turn != fenced.turn:
                logger.info("another projection has taken over: going on with it")
            elif group is None or time.monotonic() - last_fenced < _AGAIN_S:
                raise
            else:  # whoever woke up late and claimed what is no longer his, drops it when he looks
                last_fenced = time.monotonic()
                logger.warning("%s; joining group %s again", fenced, group)
        except Replaced as replaced:
            logger.warning("%s; joining group %s again", replaced, group)
        except (TablesChanged, RowError):
            listener.changed_outside()
            raise
        except (BrokerAway, DatabaseUnreachable) as error:
            listener.lost("kafka" if isinstance(error, BrokerAway) else "postgres", str(error))
            if time.monotonic() - begun > 30:  # it had worked: this is a new fault
                wait_s = 0.5
            logger.warning("%s; trying again in %.1f s", error, wait_s)
            stop.wait(wait_s)
            wait_s = min(wait_s * 2, 5.0)


@contextmanager
def _telling_how_far_it_goes(log: Log, listener: Listener) -> Iterator[None]:
    """Where the database is away the log may go on, and we fall behind: that is to be seen before it is back."""
    try:
        yield
    except DatabaseUnreachable:
        listener.ends(log.ends())
        raise


def _turn(writer_url: str, stop: threading.Event) -> tuple[int, int] | None:
    """Which projection is live; a database that is away is waited for. None when told to stop."""
    while not stop.wait(0.2):
        try:
            with Store(writer_url) as store:
                return store.turn
        except DatabaseUnreachable as error:
            logger.warning("%s; trying again", error)
    return None


def _session(
    store: Store,
    log: Log,
    holding: Assignment,
    stop: threading.Event,
    until_caught_up: bool,
    on_progress: Callable[[Progress], None],
    listener: Listener,
) -> None:
    """One life of the connections, up to the end that the caller asked for."""
    started, read, asked = time.monotonic(), 0, -_ASK_S
    checked = started
    while not stop.is_set():
        batches = next(holding.reading) if holding.look() else []
        if batches:
            listener.read([record for batch in batches for record in batch])
        for batch in sorted(batches, key=lambda batch: batch.partition):
            holding.commit(batch)
            read += len(batch)
        now = time.monotonic()
        if batches or until_caught_up or now - asked > _ASK_S:
            # Also when nothing came: that a server is gone shows in its answers only.
            ends = log.ends(holding.cursors or None)
            listener.ends(ends)
            store.ask()
            asked = now
            if now - checked > _CHECK_S:
                holding.check_log()
                checked = now
            listener.alive()
            for partition, cursor in holding.cursors.items() if batches else ():
                on_progress(Progress(partition, cursor.next_offset, ends[partition], read / max(now - started, 1e-9)))
            if until_caught_up and all(c.next_offset >= ends[p] for p, c in holding.cursors.items()):
                return
