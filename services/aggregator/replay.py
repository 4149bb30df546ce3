"""Replay: the log folded from its start to a chosen point, in memory. The live state is neither read nor touched.

The fold is the live one; only where it starts and stops differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from aggregator.consume import recorded_of_raw
from aggregator.count import NothingCounted
from aggregator.fold import ContestState, Step, add_up, evolve
from aggregator.log import Log
from aggregator.records import Recorded
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.errors import EscrutinioError


class ReplayError(EscrutinioError):
    """The point asked for does not exist."""


@dataclass(frozen=True, slots=True)
class Until:
    """Where a replay ends, inclusive. Each axis is optional; all that are given must hold.

    `offset`: place on the log. `recorded_at`: the broker's time of an event. `stated_at`: the office's time of a
    statement (when it was fetched, where the office states none); a later statement is left out wherever it stands.
    """

    offset: int | None = None
    recorded_at: datetime | None = None
    stated_at: datetime | None = None

    def passed_by(self, offset: int, recorded_at: datetime) -> bool:
        """Whether the log from here on is beyond the point."""
        return (self.offset is not None and offset > self.offset) or (
            self.recorded_at is not None and recorded_at > self.recorded_at
        )

    def takes(self, recorded: Recorded) -> bool:
        """Whether an event before that point belongs to the state asked for."""
        if self.stated_at is None:
            return True
        event = recorded.event
        # Selections and areas hold for all times: a sheet of that night may belong to an area defined later.
        return isinstance(event, ContestDefined) or event.stated_at <= self.stated_at


def replay(
    bootstrap_servers: str,
    topic: str,
    contest_id: str,
    until: Until,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> ContestState:
    """The state of a contest at `until`. `on_progress(offset, end)` is called after each batch, `on_step` after each event.

    Raises ContractError for a message of the contest that cannot be read, NothingCounted for an unknown contest,
    ReplayError for an offset beyond the log's end.
    """
    # What counts is judged over the whole log, what had been stated by then is folded beside it: an update that the
    # log refuses does not count because the one before it in its chain speaks of a later time.
    whole, key = ContestState(), contest_id.encode()
    state = whole if until.stated_at is None else ContestState()
    definitions: list[Step] = []
    keys: set[bytes | None] = set()
    last: Recorded | None = None
    with Log(bootstrap_servers, topic, max_poll_records=20_000) as log:
        log.topic_id()
        found = False
        for partition in log.partitions():
            end = log.end_offset(partition)
            for records in log.read_to_end(partition, 0, end):
                for raw in records:
                    if raw.key != key:
                        keys.add(raw.key)
                        continue
                    found = True
                    recorded = recorded_of_raw(raw)
                    if until.passed_by(recorded.offset, recorded.recorded_at):
                        break
                    step = evolve(whole, recorded)
                    on_step(step)
                    if step.accepted and isinstance(recorded.event, ContestDefined):
                        definitions.append(step)
                    if state is not whole and step.accepted and until.takes(recorded):
                        evolve(state, recorded)
                        last = recorded if isinstance(recorded.event, CountUpdate) else last
                else:
                    on_progress(records[-1].offset + 1, end)
                    continue
                break
            if found:
                if until.offset is not None and until.offset >= end:
                    raise ReplayError(f"the log ends at offset {end - 1}; {until.offset} is not on it yet")
                break
    if not found:
        others = ", ".join(sorted(k.decode(errors="replace") for k in keys if k)) or "none yet"
        raise NothingCounted(f"contest {contest_id} is not on {topic} (known: {others})")
    if until.stated_at is not None and definitions:
        _count_as_then(state, definitions, last, until.stated_at)
    return state


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
        add_up(state)
