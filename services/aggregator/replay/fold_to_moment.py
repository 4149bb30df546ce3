"""A contest folded up to a moment, batch by batch (pure): what a replay does with what it reads.

On the axes of the log (offset, recorded time) the log ends at the first message of the contest beyond the moment. On the
office's own axis a second fold takes only what had been stated by then. Where a part of the log is folded by another
process, it begins with the definition that is taken to be in force, and its `part` is joined to what came before it.
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
from aggregator.replay.join_parts import begun, has_same_rules, joins, merge
from results.moment import Moment
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, Recorded, recorded_of_raw
from schemas.types import from_milliseconds, to_milliseconds

RUN = 100
"""Updates that follow each other from which reading them as columns is worth its beginning."""


@dataclass(slots=True)
class Part:
    """What one process found in its part of the log: plain data, to be sent to another process."""

    assumed: Recorded
    """The definition it began with."""
    whole: ContestState
    then: ContestState | None
    """What had been stated by the moment; None where the moment is none of the office's time."""
    definitions: list[Recorded]
    """Every definition that stands in it, accepted or not."""
    last: Recorded | None
    """The last update that belongs to `then`."""
    found: bool
    others: set[bytes | None]
    ended: bool


class Folding:
    """A contest's state at a moment, in the making: `take` the log batch by batch, then ask for the `state`."""

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
        # What counts is judged over the whole log, what had been stated by then is folded beside it: an update that the
        # log refuses does not count because the one before it in its chain speaks of a later time.
        self._whole = begun(assumed)
        self.then = self._whole if moment.stated_at is None else begun(assumed)
        """What is folded of what belongs to the moment, as far as the log was taken."""
        self._definitions: list[Recorded] = []
        self._accepted_definitions: list[Recorded] = []
        self._last: Recorded | None = None
        self._reader = Reader(Roll())
        self.found = False
        """Whether the log has anything of the contest."""
        self.others: set[bytes | None] = set()
        """The keys of what else is there."""
        self.ended = False
        """Whether the moment has passed: nothing after it is looked at."""

    @property
    def definition(self) -> Recorded | None:
        """The definition in force so far."""
        return self._whole.definition

    def take(self, records: Iterable[RawRecord]) -> bool:
        """Folds messages, the next of the log. False when the moment has passed.

        Raises ContractError for a message of the contest that cannot be read.
        """
        for updates, group in groupby(self._own(records), is_update):
            run = list(group)
            if updates and len(run) >= RUN and self.on_step is None and self.definition is not None:
                self._take_run(run)
                continue
            for raw in run:
                recorded = recorded_of_raw(raw)
                if isinstance(recorded.event, ContestDefined):
                    self._definitions.append(recorded)
                self._take(recorded)
        return not self.ended

    def _own(self, records: Iterable[RawRecord]) -> Iterator[RawRecord]:
        """The contest's messages, up to the moment."""
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

    def _take(self, recorded: Recorded) -> None:
        step = evolve(self._whole, recorded)
        if self.then is not self._whole:
            if step.accepted and isinstance(recorded.event, ContestDefined):
                self._accepted_definitions.append(recorded)
            if not step.accepted or not self.moment.includes(recorded):
                return
            step = evolve(self.then, recorded)
            self._last = recorded if isinstance(recorded.event, CountUpdate) else self._last
        if self.on_step is not None:
            self.on_step(step)

    def _take_run(self, run: list[RawRecord]) -> None:
        """Folds updates as columns, and what is not ordinary among them plainly: the same state, sooner."""
        columns = self._reader.read(run, self._whole.contest)
        others = set(range(len(run))).difference(columns.rows.tolist())
        plain = {row: recorded_of_raw(run[row]) for row in sorted(others)}
        entries, steps = fold_run(self._whole, run, columns, np.arange(len(columns)), plain, self._reader.roll)
        if self.then is self._whole:
            return
        assert self.moment.stated_at is not None
        entries = entries[columns.stated[entries] <= to_milliseconds(self.moment.stated_at)]
        plain = {row: step.recorded for row, step in steps if step.accepted and self.moment.includes(step.recorded)}
        if entries.size or plain:
            fold_run(self.then, run, columns, entries, plain, self._reader.roll)
            self._last = self.then.last

    def part(self) -> Part:
        """What was taken, to be joined to what stands before it on the log. The folding is used up."""
        assert self._assumed is not None
        self._settle()
        then = None if self.then is self._whole else self.then
        for state in (self._whole, self.then):
            state.digest = StateDigest()  # `merge` makes it of the units: not worth sending
        return Part(
            self._assumed, self._whole, then, self._definitions, self._last, self.found, self.others, self.ended
        )

    def join(self, part: Part) -> bool:
        """Takes a whole part, the next of the log. False, and nothing is taken, where that would not be the plain fold."""
        assert not self.ended
        assert self.definition is not None
        self._settle()
        if not (
            has_same_rules(self.definition, part.assumed, part.definitions)
            and joins(self._whole, part.whole)
            and (part.then is None or joins(self.then, part.then))
        ):
            return False
        for recorded in part.definitions:
            self._take(recorded)
        merge(self._whole, part.whole)
        if part.then is not None:
            merge(self.then, part.then)
        self._last = part.last or self._last
        self.found, self.others, self.ended = self.found or part.found, self.others | part.others, part.ended
        return True

    def _settle(self) -> None:
        settle(self._whole)
        settle(self.then)

    @property
    def state(self) -> ContestState:
        """What the contest was at the moment."""
        self._settle()
        if self.moment.stated_at is not None and self._accepted_definitions:
            _count_as_then(self.then, self.moment.definition_in_force(self._accepted_definitions), self._last)
        return self.then


def _count_as_then(state: ContestState, held: Recorded, last: Recorded | None) -> None:
    """What was added up at that time, by the definition that held then.

    `last`: the last update that belongs to the state, which then ends with it or with that definition. Where the office's
    order is the log's, that is the state at this offset, and the digest is the same.
    """
    assert state.definition is not None
    state.digest.definition = leaf(text_of(held.event))
    state.last = max(filter(None, (last, held)), key=lambda recorded: recorded.offset)
    level = held.definition.counting_level
    if level is not state.contest.counting_level:
        contest = state.contest.model_copy(update={"counting_level": level})
        state.definition = replace(state.definition, event=contest)
