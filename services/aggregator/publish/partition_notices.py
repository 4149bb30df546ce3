"""Make the notices of the contests of one partition, from the offset on at which each is published (pure).

A contest whose first event came while this was running is followed from that event on. One that had events before is
followed from where the log ended when this began to read it: its past is no news, and one notice says how it stands.
So is one that was counted on while nobody published it: what is kept of it is not of where its tables are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.publish.notices import NoticeMaker
from schemas.columns.statement_batch import StatementBatch
from schemas.notice import Notice

Taken = Mapping[str, tuple[Sequence[Notice], Mapping[str, Any]]]
"""By contest: its notices, and what is to be kept of it."""


class PartitionNotices:
    """The makers of a partition's contests."""

    def __init__(
        self, end: int, known: Mapping[str, Mapping[str, Any]], next_offset: int, states: Mapping[str, ContestState]
    ) -> None:
        """Begin with the contests that the partition has.

        Args:
            end: Of the partition when this begins to read it.
            known: What is kept of contests that are published, also of other partitions.
            next_offset: Of the log, after `states`.
        """
        self._end = end
        self._makers = {
            contest_id: NoticeMaker(known[contest_id])
            for contest_id, state in states.items()
            if contest_id in known and state.last is not None and known[contest_id]["offset"] == state.last.offset
        }
        self._last: dict[str, StatementBatch] = {}
        """Of contests that are not followed yet: their last statements."""
        self._changed: set[str] = set()
        self._begin(next_offset, states)

    def of(self, contest_id: str, offset: int, state: ContestState) -> NoticeMaker | None:
        """Return the maker of a contest whose next message is at an offset; None while it is not followed."""
        if contest_id not in self._makers and offset >= self._end and state.last is None:
            self._makers[contest_id] = NoticeMaker()
        if contest_id in self._makers:
            self._changed.add(contest_id)
        return self._makers.get(contest_id)

    def passed(self, contest_id: str, step: Folded | Defined) -> None:
        """Note a step of a contest that is not followed yet."""
        if isinstance(step, Folded):
            self._last[contest_id] = step.batch[-1:]

    def pause(self, states: Mapping[str, ContestState]) -> bool:
        """End every publication: nothing came for longer than one may pause. Returns whether any was open."""
        return self._end_those(states, lambda maker: maker.is_open)

    def _end_those(self, states: Mapping[str, ContestState], is_over: Callable[[NoticeMaker], bool]) -> bool:
        ended = {contest_id: maker for contest_id, maker in self._makers.items() if is_over(maker)}
        for contest_id, maker in ended.items():
            maker.end(states[contest_id])
        self._changed |= ended.keys()
        return bool(ended)

    def end_batch(self, next_offset: int, recorded: int, states: Mapping[str, ContestState]) -> None:
        """Note that the log is read up to an offset, and the broker's time there.

        By that time publications may have paused for too long: those of other contests may never do.
        """
        self._end_those(states, lambda maker: maker.has_paused(recorded))
        self._begin(next_offset, states)

    def _begin(self, next_offset: int, states: Mapping[str, ContestState]) -> None:
        """Begin with the contests that are not followed yet, where the log is read as far as when this began."""
        if next_offset < self._end:
            return
        for contest_id, state in states.items():
            if contest_id not in self._makers and state.definition is not None:
                self._makers[contest_id] = NoticeMaker.begun(state, self._last.pop(contest_id, None))
                self._changed.add(contest_id)

    def take(self) -> Taken:
        """Return the notices since they were taken last."""
        changed, self._changed = sorted(self._changed), set()
        return {of: (self._makers[of].take(), self._makers[of].as_json()) for of in changed}
