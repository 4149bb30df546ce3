"""Replay: the log folded from its start to a chosen moment, in memory. The live state is neither read nor touched.

The fold is the live one; only where it starts and stops differs.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from aggregator.consume import recorded_of_raw
from aggregator.count import NothingCounted
from aggregator.fold import ContestState, Step, evolve
from aggregator.log import Log
from aggregator.moment import Moment
from aggregator.records import RawRecord, Recorded
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError


class ReplayError(EscrutinioError):
    """The point asked for does not exist."""


class Folding:
    """A contest's state at a moment, in the making: `take` the log batch by batch, then ask for the `state`."""

    def __init__(self, contest_id: str, moment: Moment, on_step: Callable[[Step], None] = lambda _step: None) -> None:
        self.contest_id, self.moment = contest_id, moment
        self._key, self.on_step = contest_id.encode(), on_step
        # What counts is judged over the whole log, what had been stated by then is folded beside it: an update that the
        # log refuses does not count because the one before it in its chain speaks of a later time.
        self._whole = ContestState()
        self.then = self._whole if moment.stated_at is None else ContestState()
        """What is folded of what belongs to the moment, as far as the log was taken."""
        self._definitions: list[Step] = []
        self._last: Recorded | None = None
        self.found = False
        """Whether the log has anything of the contest."""
        self.others: set[bytes | None] = set()
        """The keys of what else is there."""

    def take(self, records: Iterable[RawRecord]) -> bool:
        """Folds messages, the next of the log. False when the moment has passed: nothing after it is looked at.

        Raises ContractError for a message of the contest that cannot be read.
        """
        for raw in records:
            if raw.key != self._key:
                self.others.add(raw.key)
                continue
            self.found = True
            recorded = recorded_of_raw(raw)
            if self.moment.passed_by(recorded.offset, recorded.recorded_at):
                return False
            step = evolve(self._whole, recorded)
            if self.then is not self._whole:
                self._take_then(step)
            else:
                self.on_step(step)
        return True

    def _take_then(self, step: Step) -> None:
        recorded = step.recorded
        if step.accepted and isinstance(recorded.event, ContestDefined):
            self._definitions.append(step)
        if step.accepted and self.moment.takes(recorded):
            self.on_step(evolve(self.then, recorded))
            self._last = recorded if isinstance(recorded.event, CountUpdate) else self._last

    @property
    def state(self) -> ContestState:
        """What the contest was at the moment."""
        if self.moment.stated_at is not None and self._definitions:
            _count_as_then(self.then, self._definitions, self._last, self.moment.stated_at)
        return self.then


def replay(
    bootstrap_servers: str,
    topic: str,
    contest_id: str,
    moment: Moment,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> ContestState:
    """The state of a contest at `moment`. `on_progress(offset, end)` is called after each batch, `on_step` after each event
    that belongs to the state.

    Raises ContractError for a message of the contest that cannot be read, NothingCounted for an unknown contest,
    ReplayError for an offset beyond the log's end.
    """
    folding = Folding(contest_id, moment, on_step)
    with Log(bootstrap_servers, topic, max_poll_records=20_000) as log:
        log.topic_id()
        fold_log(log, folding, on_progress)
    return folding.state


def fold_log(log: Log, folding: Folding, on_progress: Callable[[int, int], None]) -> int:
    """Reads the log as far as the moment needs; returns the contest's partition. Raises as `replay` does."""
    moment = folding.moment
    for partition in log.partitions():
        end = log.end_offset(partition)
        for records in log.read_to_end(partition, 0, end):
            if not folding.take(records):
                break
            on_progress(records[-1].offset + 1, end)
        if folding.found:
            if moment.offset is not None and moment.offset >= end:
                raise ReplayError(f"the log ends at offset {end - 1}; {moment.offset} is not on it yet")
            return partition
    others = ", ".join(sorted(k.decode(errors="replace") for k in folding.others if k)) or "none yet"
    raise NothingCounted(f"contest {folding.contest_id} is not on {log.topic} (known: {others})")


def _count_as_then(state: ContestState, definitions: list[Step], last: Recorded | None, stated_at: datetime) -> None:
    """What was added up at that time, by the definition that held then; the first where none did yet.

    `last`: the last update that belongs to the state, which then ends with it or with that definition. Where the office's
    order is the log's, that is the state at this offset, and the digest is the same.
    """
    held = definitions[0]
    for step in definitions[1:]:
        assert isinstance(step.recorded.event, ContestDefined)
        if step.recorded.event.effective_at <= stated_at:
            held = step
    then = held.recorded.event
    assert isinstance(then, ContestDefined)
    assert state.definition is not None
    state.digest.definition = held.leaf
    state.last = max(filter(None, (last, held.recorded)), key=lambda recorded: recorded.offset)
    if then.counting_level is not state.contest.counting_level:
        contest = state.contest.model_copy(update={"counting_level": then.counting_level})
        state.definition = replace(state.definition, event=contest)
