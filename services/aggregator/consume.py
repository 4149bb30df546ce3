"""The run: log → decode → evolve → commit, for ever.

State lives in memory and in PostgreSQL; whenever the two could differ (a lost connection in a commit, say) memory is
thrown away and read back, so there is one path of recovery and it is walked at every start.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aggregator.fold import ContestState, evolve
from aggregator.log import Log, LogUnreachable
from aggregator.records import Parked, RawRecord, Recorded
from aggregator.rows import printable
from aggregator.store import Batch, Cursor, Fenced, Store, StoreError, StoreUnreachable
from schemas.codec import decode
from schemas.errors import ContractError
from schemas.feed_status import FeedStatus
from schemas.types import from_milliseconds

logger = logging.getLogger(__name__)

_ASK_S = 5.0
"""How often an idle run asks both servers something: that it is alive is a fact, not a guess."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `offset` of `end`, in one partition. `rate` in events/s since the run began."""

    partition: int
    offset: int
    end: int
    rate: float


@dataclass(slots=True)
class PartitionFold:
    """Every contest of one partition, folded."""

    states: dict[str, ContestState] = field(default_factory=dict)
    blocked: dict[str, tuple[int, str]] = field(default_factory=dict)

    def take(self, records: list[RawRecord]) -> Batch:
        """Fold a run of messages; the batch is what has to be written. Pure but for the state it owns.

        A message that cannot be read stops its own contest: it and what follows of that contest are parked.
        """
        batch = Batch(next_offset=records[-1].offset + 1, digest="", blocked=self.blocked)
        touched: set[str] = set()
        for raw in records:
            contest_id = _contest_of(raw)
            if contest_id in self.blocked:
                offset, _ = self.blocked[contest_id]
                batch.parked.append(Parked(raw, contest_id, f"follows the unreadable message at offset {offset}"))
                continue
            try:
                recorded = recorded_of_raw(raw)
            except ContractError as error:
                reason = printable(str(error))
                logger.error("offset %d: %s; contest %r is blocked from here on", raw.offset, reason, contest_id)
                self.blocked[contest_id] = (raw.offset, reason)
                batch.parked.append(Parked(raw, contest_id, reason))
                if contest_id in self.states:
                    touched.add(contest_id)
                continue
            state = self.states.get(contest_id)
            if state is None:
                state = self.states[contest_id] = ContestState()
            step = evolve(state, recorded)
            batch.steps.append(step)
            touched.add(contest_id)
        batch.states = {contest_id: self.states[contest_id] for contest_id in sorted(touched)}
        batch.digests = {contest_id: state.digest.root() for contest_id, state in self.states.items()}
        batch.digest = partition_digest(batch.digests)
        return batch


def recorded_of_raw(raw: RawRecord) -> Recorded:
    """The event in a message of the log. Raises ContractError for what is not one."""
    event = decode(raw.value, raw.headers)
    if isinstance(event, FeedStatus):
        raise ContractError("a heartbeat does not belong on the log")
    if raw.key != event.contest_id.encode():
        raise ContractError(f"key {raw.key!r} is not the event's contest {event.contest_id}")
    return Recorded(raw.partition, raw.offset, from_milliseconds(raw.timestamp_ms), event)


def partition_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the lines `contest_id digest`, sorted: the digest that the cursor carries."""
    lines = "".join(f"{contest_id} {digest}\n" for contest_id, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _contest_of(raw: RawRecord) -> str:
    return printable((raw.key or b"").decode(errors="replace"))


def run(
    writer_url: str,
    bootstrap_servers: str,
    topic: str,
    stop: threading.Event,
    *,
    batch_size: int = 20_000,
    until_caught_up: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_alive: Callable[[], None] = lambda: None,
) -> None:
    """Aggregate until `stop` is set, or with `until_caught_up` until the log's end is reached.

    A broker or database that goes away is waited for, and said. `on_alive` is called whenever the log was read and what
    it brought is committed. Raises what waiting cannot mend: LogError, StoreError
    (Fenced among them), MigrationError.
    """
    wait_s = 0.5
    while not stop.is_set():
        begun = time.monotonic()
        try:
            if _session(writer_url, bootstrap_servers, topic, stop, batch_size, until_caught_up, on_progress, on_alive):
                return
        except Fenced as fenced:
            if _version(writer_url) == fenced.version:
                raise
            logger.info("another projection has taken over: going on with it")
        except (LogUnreachable, StoreUnreachable) as error:
            if time.monotonic() - begun > 30:  # it had worked: this is a new fault
                wait_s = 0.5
            logger.warning("%s; trying again in %.1f s", error, wait_s)
            stop.wait(wait_s)
            wait_s = min(wait_s * 2, 5.0)


def _version(writer_url: str) -> int:
    with Store(writer_url) as store:
        return store.version


def _session(
    writer_url: str,
    bootstrap_servers: str,
    topic: str,
    stop: threading.Event,
    batch_size: int,
    until_caught_up: bool,
    on_progress: Callable[[Progress], None],
    on_alive: Callable[[], None],
) -> bool:
    """One life of the connections. True when the end was reached that the caller asked for."""
    with Store(writer_url) as store, Log(bootstrap_servers, topic, max_poll_records=batch_size) as log:
        topic_id = log.topic_id()
        cursors: dict[int, Cursor] = {}
        folds: dict[int, PartitionFold] = {}
        for partition in log.partitions():
            cursors[partition] = store.claim(topic, topic_id, partition)
            states, blocked = store.load(topic, partition)
            if any(s.last is not None and s.last.offset >= cursors[partition].next_offset for s in states.values()):
                raise StoreError(
                    f"the cursor of {topic}/{partition} stands at offset {cursors[partition].next_offset}, behind what is "
                    "aggregated: it was changed outside the aggregator. `escrutinio-aggregator rebuild` makes the tables anew."
                )
            folds[partition] = PartitionFold(states, blocked)
            logger.info(
                "%s/%d: at offset %d, epoch %d",
                topic,
                partition,
                cursors[partition].next_offset,
                cursors[partition].epoch,
            )
        started, read, asked = time.monotonic(), 0, -_ASK_S
        for records in log.read({p: c.next_offset for p, c in cursors.items()}):
            for partition in sorted({r.partition for r in records}):
                own = [r for r in records if r.partition == partition]
                cursors[partition] = store.commit(cursors[partition], folds[partition].take(own))
                read += len(own)
            now = time.monotonic()
            if records or until_caught_up or now - asked > _ASK_S:
                # Also when nothing came: that a server is gone shows in its answers only.
                ends = {p: log.end_offset(p) for p in cursors}
                store.ask()
                asked = now
                on_alive()
                for partition, end in ends.items() if records else ():
                    rate = read / max(now - started, 1e-9)
                    on_progress(Progress(partition, cursors[partition].next_offset, end, rate))
                if until_caught_up and all(cursors[p].next_offset >= end for p, end in ends.items()):
                    return True
            if stop.is_set():
                return True
    return True
