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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby

from aggregator.columns import Reader
from aggregator.digest import partition_digest
from aggregator.fold import ContestState, evolve
from aggregator.folding import RUN
from aggregator.log import Group, Log, LogError, LogUnreachable
from aggregator.records import Parked, RawRecord, Recorded, follows, recorded_of_raw
from aggregator.roll import Roll
from aggregator.rows import CHANGED_OUTSIDE, RowError, printable
from aggregator.runs import fold_run
from aggregator.store import Batch, Cursor, Fenced, Store, StoreUnreachable, TablesChanged
from aggregator.wire import is_update
from runtime.access import KafkaAccess
from schemas.errors import ContractError

logger = logging.getLogger(__name__)

_CHECK_S = 60.0
"""How often the topic's settings and id are looked at again: somebody may switch retention on while we run."""

_AGAIN_S = 60.0
"""A member of a group that is fenced by somebody else twice within this ends: there is another aggregator."""

_SHOWN = 20
"""Findings of a batch that are said one by one; all are in the tables."""

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
    run: int = RUN
    """Updates that follow each other from which they are folded as columns."""
    _readers: dict[str, Reader] = field(default_factory=dict)

    def take(self, records: list[RawRecord]) -> Batch:
        """Fold a run of messages; the batch is what has to be written. Pure but for the state it owns.

        A message that cannot be read stops its own contest: it and what follows of that contest are parked.
        """
        batch = Batch(next_offset=records[-1].offset + 1, digest="", blocked=self.blocked)
        were_blocked = set(self.blocked)
        own: dict[str, list[RawRecord]] = {}
        for raw in records:
            own.setdefault(_contest_of(raw), []).append(raw)
        for contest_id, messages in own.items():
            self._take(contest_id, messages, batch)
        batch.steps.sort(key=lambda step: step.recorded.offset)
        batch.parked.sort(key=lambda parked: parked.raw.offset)
        touched = sorted((own.keys() & self.states.keys()) - were_blocked)
        batch.states = {contest_id: self.states[contest_id] for contest_id in touched}
        batch.digests = {contest_id: state.root() for contest_id, state in self.states.items()}
        batch.digest = partition_digest(batch.digests)
        return batch

    def _take(self, contest_id: str, messages: list[RawRecord], batch: Batch) -> None:
        """Folds messages of one contest, in their order: long runs of updates as columns, what is between them one by one."""
        for updates, group in groupby(messages, is_update):
            run = list(group)
            state = self.states.get(contest_id)
            if updates and len(run) >= self.run and state is not None and state.definition is not None:
                run = self._take_run(contest_id, state, run, batch)
            for raw in run:
                self._take_one(contest_id, raw, batch)

    def _take_run(self, contest_id: str, state: ContestState, run: list[RawRecord], batch: Batch) -> list[RawRecord]:
        """Folds updates as columns; those from the first one on that cannot be read, and all of a blocked contest, are left."""
        if contest_id in self.blocked:
            return run
        reader = self._readers.setdefault(contest_id, Reader(Roll()))
        columns = reader.read(run, state.contest)
        plain: dict[int, Recorded] = {}
        for row in sorted(set(range(len(run))).difference(columns.rows.tolist())):
            try:
                plain[row] = recorded_of_raw(run[row])
            except ContractError:
                return [*self._take_run(contest_id, state, run[:row], batch), *run[row:]] if row else run
        done, steps = fold_run(state, run, columns, plain, reader.roll)
        batch.runs.append(done)
        batch.steps += steps
        return []

    def _take_one(self, contest_id: str, raw: RawRecord, batch: Batch) -> None:
        if contest_id in self.blocked:
            offset, _ = self.blocked[contest_id]
            batch.parked.append(Parked(raw, contest_id, follows(offset)))
            return
        try:
            recorded = recorded_of_raw(raw)
        except ContractError as error:
            reason = printable(str(error))
            about = {"contest_id": contest_id, "partition": raw.partition, "offset": raw.offset}
            logger.error(
                "offset %d: %s; contest %r is blocked from here on", raw.offset, reason, contest_id, extra=about
            )
            self.blocked[contest_id] = (raw.offset, reason)
            batch.parked.append(Parked(raw, contest_id, reason))
            return
        batch.steps.append(evolve(self.states.setdefault(contest_id, ContestState()), recorded))


class Listener:
    """Told by a run what it does, by the thread that works; does nothing itself."""

    def loaded(self, cursor: Cursor, fold: PartitionFold, parked: Mapping[str, int]) -> None:
        """A partition is this run's, and read back. `parked`: its parked messages by what their key says is their contest."""

    def holds(self, partitions: Collection[int]) -> None:
        """These partitions are this run's, and no others."""

    def read(self, records: Sequence[RawRecord]) -> None:
        """These, at least one, are next to be committed."""

    def committed(self, cursor: Cursor, records: Sequence[RawRecord], batch: Batch, seconds: float) -> None:
        """A batch of one partition is; the cursor is the one after it. `seconds`: what the transaction took."""

    def ends(self, ends: Mapping[int, int]) -> None:
        """The end of the log, by partition."""

    def alive(self) -> None:
        """The log was read, what it brought is committed, and both servers answer."""

    def lost(self, part: str, reason: str) -> None:
        """`kafka` or `postgres` does not answer; the run begins anew when it does."""

    def changed_outside(self) -> None:
        """The tables are not what was committed: the run ends."""


def _contest_of(raw: RawRecord) -> str:
    return printable((raw.key or b"").decode(errors="replace"))


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
    `session_timeout_s`. A broker or database that goes away is waited for, and said. Raises what waiting cannot mend: LogError,
    AccessRefused, StoreError (Fenced and TablesChanged among them), RowError, MigrationError.
    """
    assert group is None or not until_caught_up, "a member does not know how far the others are"
    wait_s, last_fenced = 0.5, -_AGAIN_S
    listener = listener or Listener()
    while not stop.is_set():
        begun = time.monotonic()
        try:
            with (
                Log(kafka, topic, max_poll_records=batch_size) as log,
                _telling_how_far_it_goes(log, listener),
                Store(writer_url) as store,
                Group(kafka, topic, group, session_timeout_s=session_timeout_s)
                if group is not None
                else nullcontext() as member,
            ):
                holding = _Holding(store, log, member, listener)
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
        except _Replaced as replaced:
            logger.warning("%s; joining group %s again", replaced, group)
        except (TablesChanged, RowError):
            listener.changed_outside()
            raise
        except (LogUnreachable, StoreUnreachable) as error:
            listener.lost("kafka" if isinstance(error, LogUnreachable) else "postgres", str(error))
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
    except StoreUnreachable:
        listener.ends({partition: log.end_offset(partition) for partition in log.partitions()})
        raise


def _turn(writer_url: str, stop: threading.Event) -> tuple[int, int] | None:
    """Which projection is live; a database that is away is waited for. None when told to stop."""
    while not stop.wait(0.2):
        try:
            with Store(writer_url) as store:
                return store.turn
        except StoreUnreachable as error:
            logger.warning("%s; trying again", error)
    return None


class _Replaced(Exception):
    """Another member of the group has the partition, and this one had not heard of it yet."""


class _Holding:
    """The partitions of this process: claimed and loaded when they are given to it, forgotten when they are taken.

    Who is given a partition claims it, nobody else does; so two members never take it from each other in turn.
    """

    def __init__(self, store: Store, log: Log, group: Group | None, listener: Listener) -> None:
        self.cursors: dict[int, Cursor] = {}
        self._folds: dict[int, PartitionFold] = {}
        self._tenures: dict[int, int] = {}
        self.reading: Iterator[list[RawRecord]] = iter(())
        self._store, self._log, self._group, self._listener = store, log, group, listener
        self._topic, self._topic_id = log.topic, log.topic_id()
        self._everything = dict.fromkeys(log.partitions(), 0)

    def look(self) -> bool:
        """Ask what is ours, and make it so. False when nothing may be worked on now: it is being settled, or nothing is ours."""
        owned = self._everything if self._group is None else self._group.owned()
        if owned is not None:
            self._listener.holds(owned)
        if owned is None or owned == self._tenures:
            return bool(owned)
        given = sorted(partition for partition, tenure in owned.items() if self._tenures.get(partition) != tenure)
        for partition in sorted(self._tenures.keys() - owned.keys()):
            at = self.cursors[partition].next_offset
            about = {"partition": partition, "offset": at}
            logger.info("%s/%d: given up at offset %d", self._topic, partition, at, extra=about)
        if self._group is not None:
            has = ", ".join(map(str, sorted(owned))) or "none"
            logger.info("%s: this member of group %s has partitions: %s", self._topic, self._group.name, has)
        self.cursors = {p: cursor for p, cursor in self.cursors.items() if p in owned}
        self._folds = {p: fold for p, fold in self._folds.items() if p in owned}
        self._tenures = owned
        for partition in given:  # all of them before any is loaded, which takes long: the group may change its mind
            self.cursors[partition] = self._store.claim(self._topic, self._topic_id, partition)
        for partition in given:
            with self._fencing(partition):
                self._folds[partition] = self._load(self.cursors[partition])
            parked = self._store.parked(self.cursors[partition])
            self._listener.loaded(self.cursors[partition], self._folds[partition], parked)
        self.reading = self._log.read({partition: cursor.next_offset for partition, cursor in self.cursors.items()})
        return bool(owned)

    def _load(self, cursor: Cursor) -> PartitionFold:
        states, blocked = self._store.load(cursor)
        if any(s.last is not None and s.last.offset >= cursor.next_offset for s in states.values()):
            raise TablesChanged(
                f"the cursor of {cursor.topic}/{cursor.partition} stands at offset {cursor.next_offset}, behind what is "
                f"aggregated: {CHANGED_OUTSIDE}"
            )
        logger.info(
            "%s/%d: at offset %d, epoch %d",
            cursor.topic,
            cursor.partition,
            cursor.next_offset,
            cursor.epoch,
            extra={"partition": cursor.partition, "offset": cursor.next_offset},
        )
        return PartitionFold(states, blocked)

    def commit(self, partition: int, records: list[RawRecord]) -> None:
        """Fold the records of a partition and write what they make. Raises _Replaced, or Fenced for what is not the group's
        doing."""
        batch = self._folds[partition].take(records)
        begun = time.monotonic()
        with self._fencing(partition):
            self.cursors[partition] = self._store.commit(self.cursors[partition], batch)
        self._listener.committed(self.cursors[partition], records, batch, time.monotonic() - begun)
        _say_findings(batch)

    @contextmanager
    def _fencing(self, partition: int) -> Iterator[None]:
        """Tells who has fenced us: another member, to whom the group has given the partition, or somebody else."""
        try:
            yield
        except Fenced as error:
            if self._group is None:
                raise
            if self._group.confirms(partition):
                raise Fenced(
                    f"{error}, though group {self._group.name} gives it to this one: the other is not of that group",
                    error.turn,
                ) from error
            raise _Replaced(str(error)) from error

    def check_log(self) -> None:
        """Raises LogError when the log is no longer the one that is read, or could now lose events."""
        if (found := self._log.topic_id()) != self._topic_id:
            raise LogError(
                f"topic {self._topic} is {found} now, {self._topic_id} was read: it was deleted and made again"
            )


def _say_findings(batch: Batch) -> None:
    found = [(step.recorded, finding) for step in batch.steps for finding in step.findings]
    for recorded, finding in found[:_SHOWN]:
        about = {
            "contest_id": recorded.event.contest_id,
            "event_id": str(recorded.event.event_id),
            "partition": recorded.partition,
            "offset": recorded.offset,
            "code": finding.code,
        }
        logger.warning("offset %d: %s", recorded.offset, finding, extra=about)
    if len(found) > _SHOWN:
        logger.warning("and %d more findings, all in the tables", len(found) - _SHOWN)


def _session(
    store: Store,
    log: Log,
    holding: _Holding,
    stop: threading.Event,
    until_caught_up: bool,
    on_progress: Callable[[Progress], None],
    listener: Listener,
) -> None:
    """One life of the connections, up to the end that the caller asked for."""
    started, read, asked = time.monotonic(), 0, -_ASK_S
    checked = started
    while not stop.is_set():
        records = next(holding.reading) if holding.look() else []
        if records:
            listener.read(records)
        for partition in sorted({r.partition for r in records}):
            own = [r for r in records if r.partition == partition]
            holding.commit(partition, own)
            read += len(own)
        now = time.monotonic()
        if records or until_caught_up or now - asked > _ASK_S:
            # Also when nothing came: that a server is gone shows in its answers only.
            ends = {p: log.end_offset(p) for p in holding.cursors or log.partitions()}
            listener.ends(ends)
            store.ask()
            asked = now
            if now - checked > _CHECK_S:
                holding.check_log()
                checked = now
            listener.alive()
            for partition, cursor in holding.cursors.items() if records else ():
                on_progress(Progress(partition, cursor.next_offset, ends[partition], read / max(now - started, 1e-9)))
            if until_caught_up and all(c.next_offset >= ends[p] for p, c in holding.cursors.items()):
                return
