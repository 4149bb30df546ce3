"""Fold one contest up to a moment, batch by batch (pure).

On the axes of the log (offset, recorded time) the fold ends at the first message of the contest beyond the moment. On
the office's own axis a second fold applies only what had been stated by then. Another process that folds a part of the
log begins with the definition assumed to be in force, and its `part` is joined to the state before it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from aggregator.columns.columns import Reader
from aggregator.columns.roll import Roll
from aggregator.columns.sheets import fold_run, settle
from aggregator.columns.wire import is_update
from aggregator.fold.digest import StateDigest
from aggregator.fold.fold import ContestState, Step, evolve
from aggregator.replay.join_parts import can_join, has_same_rules, initial_state, merge
from results.moment import Moment
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.types import from_milliseconds, to_milliseconds

RUN = 100
"""Consecutive updates from which decoding them as columns is faster."""


@dataclass(slots=True)
class Part:
    """A folded part of the log, as plain data to be sent to another process."""

    assumed: Recorded
    """The definition it began with."""
    log_state: ContestState
    moment_state: ContestState | None
    """The state of what had been stated by the moment; None unless the moment is by the office's time."""
    definitions: list[Recorded]
    """Every definition in it, accepted or not."""
    last: Recorded | None
    """The last update applied to `moment_state`."""
    found: bool
    others: set[bytes | None]
    ended: bool


class ContestFold:
    """The fold of one contest up to a moment: `apply` the log batch by batch, then read the `state`."""

    def __init__(
        self,
        contest_id: str,
        moment: Moment,
        on_step: Callable[[Step], None] | None = None,
        *,
        assumed: Recorded | None = None,
    ) -> None:
        self.contest_id, self.moment = contest_id, moment
        self._key, self.on_step, self._assumed = contest_id.encode(), on_step, assumed
        # The whole log decides which updates are accepted; those stated by the moment are folded into a second state.
        # An update that the log refuses must not count because its predecessor was stated after the moment.
        self._log_state = initial_state(assumed)
        self.moment_state = self._log_state if moment.stated_at is None else initial_state(assumed)
        """The state at the moment, as far as the log was applied."""
        self._definitions: list[Recorded] = []
        self._accepted_definitions: list[Recorded] = []
        self._last: Recorded | None = None
        self._reader = Reader(Roll())
        self.found = False
        """Whether the log has any message of the contest."""
        self.others: set[bytes | None] = set()
        """The keys of all other messages."""
        self.ended = False
        """Whether the moment has passed: no later message is applied."""

    @property
    def definition(self) -> Recorded | None:
        """The definition in force, None before the first."""
        return self._log_state.definition

    def apply(self, records: Iterable[RawRecord]) -> bool:
        """Apply messages. Returns False when the moment has passed. Raises ContractError for an unreadable one."""
        for updates, group in groupby(self._own(records), is_update):
            run = list(group)
            if updates and len(run) >= RUN and self.on_step is None and self.definition is not None:
                self._apply_columns(run)
                continue
            for raw in run:
                recorded = recorded_of_raw(raw)
                if isinstance(recorded.event, ContestDefined):
                    self._definitions.append(recorded)
                self._apply_one(recorded)
        return not self.ended

    def _own(self, records: Iterable[RawRecord]) -> Iterator[RawRecord]:
        key, moment = self._key, self.moment
        limited = moment.offset is not None or moment.recorded_at is not None
        for raw in records:
            if raw.key != key:
                self.others.add(raw.key)
                continue
            self.found = True
            if limited and moment.passed_by(raw.offset, from_milliseconds(raw.timestamp_ms)):
                self.ended = True
                return
            yield raw

    def _apply_one(self, recorded: Recorded) -> None:
        step = evolve(self._log_state, recorded)
        if self.moment_state is not self._log_state:
            if step.accepted and isinstance(recorded.event, ContestDefined):
                self._accepted_definitions.append(recorded)
            if not step.accepted or not self.moment.includes(recorded):
                return
            step = evolve(self.moment_state, recorded)
            self._last = recorded if isinstance(recorded.event, CountUpdate) else self._last
        if self.on_step is not None:
            self.on_step(step)

    def _apply_columns(self, run: list[RawRecord]) -> None:
        """Apply updates as columns, and the extraordinary ones among them one by one: the same state, faster."""
        columns = self._reader.read(run, self._log_state.contest)
        others = set(range(len(run))).difference(columns.rows.tolist())
        plain = {row: recorded_of_raw(run[row]) for row in sorted(others)}
        entries, steps = fold_run(self._log_state, run, columns, np.arange(len(columns)), plain, self._reader.roll)
        if self.moment_state is self._log_state:
            return
        assert self.moment.stated_at is not None
        entries = entries[columns.stated[entries] <= to_milliseconds(self.moment.stated_at)]
        plain = {row: step.recorded for row, step in steps if step.accepted and self.moment.includes(step.recorded)}
        if entries.size or plain:
            fold_run(self.moment_state, run, columns, entries, plain, self._reader.roll)
            self._last = self.moment_state.last

    def part(self) -> Part:
        """Return the folded part, to be joined to the state before it. This fold must not be used afterwards."""
        assert self._assumed is not None
        self._settle()
        moment_state = None if self.moment_state is self._log_state else self.moment_state
        for state in (self._log_state, self.moment_state):
            state.digest = StateDigest()  # `merge` computes it from the units: not worth sending
        return Part(
            self._assumed,
            self._log_state,
            moment_state,
            self._definitions,
            self._last,
            self.found,
            self.others,
            self.ended,
        )

    def join(self, part: Part) -> bool:
        """Join the next part of the log. Returns False, unchanged, where one fold could give another state."""
        assert not self.ended
        assert self.definition is not None
        self._settle()
        if not (
            has_same_rules(self.definition, part.assumed, part.definitions)
            and can_join(self._log_state, part.log_state)
            and (part.moment_state is None or can_join(self.moment_state, part.moment_state))
        ):
            return False
        for recorded in part.definitions:
            self._apply_one(recorded)
        merge(self._log_state, part.log_state)
        if part.moment_state is not None:
            merge(self.moment_state, part.moment_state)
        self._last = part.last or self._last
        self.found, self.others, self.ended = self.found or part.found, self.others | part.others, part.ended
        return True

    def _settle(self) -> None:
        settle(self._log_state)
        settle(self.moment_state)

    @property
    def state(self) -> ContestState:
        """The contest's state at the moment."""
        self._settle()
        if self.moment.stated_at is not None and self._accepted_definitions:
            _count_as_then(self.moment_state, self.moment.definition_in_force(self._accepted_definitions), self._last)
        return self.moment_state


def _count_as_then(state: ContestState, held: Recorded, last: Recorded | None) -> None:
    """Give a state the definition in force at the moment.

    `last`: the last update applied. The state then ends with it or with that definition. Where the office's order is
    that of the log, this is the state at that offset, with the same digest.
    """
    assert state.definition is not None
    state.digest.definition = leaf(text_of(held.event))
    state.last = max(filter(None, (last, held)), key=lambda recorded: recorded.offset)
    level = held.definition.counting_level
    if level is not state.contest.counting_level:
        contest = state.contest.model_copy(update={"counting_level": level})
        state.definition = replace(state.definition, event=contest)
