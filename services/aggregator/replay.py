"""Replay: the log folded from its start to a chosen point, in memory. The live state is neither read nor touched.

The fold is the live one; only where it starts and stops differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aggregator.consume import recorded_of_raw
from aggregator.fold import ContestState, evolve
from aggregator.log import Log
from aggregator.records import Recorded
from schemas.contest import ContestDefined
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
        # The first definition holds for all times: without it there is no contest to count.
        if isinstance(event, ContestDefined):
            return event.revision == 1 or event.effective_at <= self.stated_at
        return event.stated_at <= self.stated_at


def replay(
    bootstrap_servers: str,
    topic: str,
    contest_id: str,
    until: Until,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
) -> ContestState:
    """The state of a contest at `until`. `on_progress(offset, end)` is called after each batch.

    Raises ContractError for a message of the contest that cannot be read, ReplayError for an unknown contest.
    """
    state, key = ContestState(), contest_id.encode()
    with Log(bootstrap_servers, topic, max_poll_records=20_000) as log:
        log.topic_id()
        found = False
        for partition in log.partitions():
            end = log.end_offset(partition)
            if until.offset is not None and until.offset >= end:
                raise ReplayError(f"the log ends at offset {end - 1}; {until.offset} is not on it yet")
            for records in log.read_to_end(partition, 0, end):
                for raw in records:
                    if raw.key != key:
                        continue
                    found = True
                    recorded = recorded_of_raw(raw)
                    if until.passed_by(recorded.offset, recorded.recorded_at):
                        break
                    if until.takes(recorded):
                        evolve(state, recorded)
                else:
                    on_progress(records[-1].offset + 1, end)
                    continue
                break
            if found:
                break
    if not found:
        raise ReplayError(f"contest {contest_id} is not on {topic}")
    return state
