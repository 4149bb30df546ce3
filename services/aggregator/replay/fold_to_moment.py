"""Fold one contest up to a moment, batch by batch (pure).

On the axes of the log (offset, recorded time) the fold ends at the first message of the contest beyond the moment. On
the office's own axis a second fold applies only what had been stated by then.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from aggregator.fold.evolve import TOO_LARGE, ContestState, Defined, Folded, Position, define, fold_statements
from aggregator.fold.messages import fold_messages
from results.findings import Collector
from results.moment import Moment
from schemas.columns.decoder import Decoder
from schemas.contest import ContestDefined
from schemas.errors import ContractError
from schemas.identity import leaf, text_of
from schemas.log_record import RawRecord, Recorded
from schemas.types import to_milliseconds
from schemas.unit_roll import UnitRoll

Step = Folded | Defined


class ContestFold:
    """The fold of one contest up to a moment: `apply` the log batch by batch, then read the `state`."""

    def __init__(
        self,
        contest_id: str,
        moment: Moment,
        on_step: Callable[[Step], None] | None = None,
        *,
        area_id: str | None = None,
        collector: Collector | None = None,
    ) -> None:
        """Begin a fold.

        Args:
            on_step: Called with what each step did to the state at the moment.
            area_id: See `ContestState`.
            collector: Is given what is found on the log, whatever the official time of the moment.
        """
        self.contest_id, self.moment, self.on_step = contest_id, moment, on_step
        self._collector = collector
        self._key = contest_id.encode()
        # The whole log decides which updates are accepted; those stated by the moment are folded into a second state.
        # An update that the log refuses must not count because its predecessor was stated after the moment.
        self._log_state = ContestState(area_id=area_id)
        self.moment_state = self._log_state
        """The state at the moment, as far as the log was applied."""
        if moment.stated_at is not None:
            self.moment_state = ContestState(index=self._log_state.index, area_id=area_id)
        self._decoder = Decoder(contest_id, self._log_state.index)
        self._definitions: list[Recorded] = []
        self._last: Position | None = None
        """The last update applied."""
        self.found = False
        """Whether the log has any message of the contest."""
        self.others: set[bytes | None] = set()
        """The keys of all other messages."""
        self.stopped: tuple[int, str] | None = None
        """Offset of the first message that cannot be counted, and why."""
        self.ended = False
        """Whether the moment has passed: no later message is applied."""

    def apply(self, records: Iterable[RawRecord]) -> bool:
        """Apply messages. Returns False when the moment has passed. Raises ContractError for an unreadable one."""
        own = self._own(records)
        in_blocks, by_official_time = self.on_step is not None, self.moment_state is not self._log_state
        stop = fold_messages(
            self._log_state, self._decoder, own, self._step, in_blocks=in_blocks and not by_official_time
        )
        if stop is not None:
            self.stopped = offset, _ = own[stop.row].offset, stop.reason
            raise ContractError(
                f"contest {self.contest_id} is blocked at offset {offset}: {stop.reason}. "
                f"Moments before that offset can be replayed."
            )
        return not self.ended

    def _step(self, step: Step) -> None:
        if isinstance(step, Defined) and step.accepted and isinstance(step.recorded.event, ContestDefined):
            self._definitions.append(step.recorded)
        if self._collector is not None:
            _collect(step, self._collector)
        for applied in (step,) if self.moment_state is self._log_state else self._to_moment(step):
            if isinstance(applied, Folded) or isinstance(applied.recorded.event, UnitRoll):
                self._last = self.moment_state.last
            if self.on_step is not None:
                self.on_step(applied)

    def _own(self, records: Iterable[RawRecord]) -> list[RawRecord]:
        key, moment, own = self._key, self.moment, list[RawRecord]()
        limited = moment.offset is not None or moment.recorded_at is not None
        for raw in records:
            if raw.key != key:
                self.others.add(raw.key)
                continue
            self.found = True
            if limited and moment.passed_by(raw.offset, raw.recorded_at):
                self.ended = True
                break
            own.append(raw)
        return own

    def _to_moment(self, step: Step) -> Iterable[Step]:
        """Apply what was accepted and stated by the moment to its state."""
        assert self.moment.stated_at is not None
        if isinstance(step, Defined):
            return (define(self.moment_state, step.recorded),) if step.accepted else ()
        stated = step.batch.stated <= to_milliseconds(self.moment.stated_at)
        assert self._log_state.last is not None
        chosen, partition = step.batch[step.accepted & stated], self._log_state.last.partition
        folded, too_large = fold_statements(self.moment_state, partition, chosen, in_blocks=self.on_step is not None)
        if too_large is not None:
            raise ContractError(f"offset {int(chosen.offset[too_large])}: {TOO_LARGE}")
        return folded

    @property
    def state(self) -> ContestState:
        """The contest's state at the moment."""
        if self.moment.stated_at is not None and self._definitions:
            _count_as_then(self.moment_state, self.moment.definition_in_force(self._definitions), self._last)
        return self.moment_state


def _collect(step: Step, collector: Collector) -> None:
    if isinstance(step, Defined):
        collector.add(step.recorded.offset, None, step.findings, accepted=step.accepted)
        return
    batch = step.batch
    for entry in sorted(step.findings):
        unit, accepted = str(batch.index.keys[int(batch.unit[entry])]), bool(step.accepted[entry])
        collector.add(int(batch.offset[entry]), unit, step.findings[entry], accepted=accepted)


def _count_as_then(state: ContestState, held: Recorded, last: Position | None) -> None:
    """Give a state the definition in force at the moment.

    `last`: the last update applied. The state then ends with it or with that definition. Where the office's order is
    that of the log, this is the state at that offset, with the same digest.
    """
    assert state.definition is not None
    state.digest.definition = leaf(text_of(held.event))
    of_definition = Position(held.partition, held.offset, to_milliseconds(held.recorded_at))
    state.last = max(filter(None, (last, of_definition)), key=lambda position: position.offset)
    level = held.definition.counting_level
    if level != state.contest.counting_level:
        contest = state.contest.model_copy(update={"counting_level": level})
        state.definition = replace(state.definition, event=contest)
