"""Folds the messages of one partition into a batch (pure but for the state that it owns)."""

import logging
from dataclasses import dataclass, field
from itertools import groupby

from aggregator.columns.columns import Reader
from aggregator.columns.roll import Roll
from aggregator.columns.runs import fold_run
from aggregator.columns.wire import is_update
from aggregator.fold.digest import partition_digest
from aggregator.fold.fold import ContestState, evolve
from aggregator.replay.fold_to_moment import RUN
from aggregator.tables.batch import Batch, Parked, follows
from aggregator.tables.rows import printable
from schemas.errors import ContractError
from schemas.log_record import RawRecord, Recorded, recorded_of_raw

logger = logging.getLogger(__name__)


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


def _contest_of(raw: RawRecord) -> str:
    return printable((raw.key or b"").decode(errors="replace"))
