"""Fold the messages of one partition into batches (pure but for the state it owns)."""

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
    """The states of all contests of one partition."""

    states: dict[str, ContestState] = field(default_factory=dict)
    blocked: dict[str, tuple[int, str]] = field(default_factory=dict)
    run: int = RUN
    """Consecutive updates from which they are folded as columns."""
    _readers: dict[str, Reader] = field(default_factory=dict)

    def apply(self, records: list[RawRecord]) -> Batch:
        """Apply the next messages. An unreadable one blocks its contest: it and all later ones are parked."""
        batch = Batch(next_offset=records[-1].offset + 1, digest="", blocked=self.blocked)
        blocked_before = set(self.blocked)
        own: dict[str, list[RawRecord]] = {}
        for raw in records:
            own.setdefault(_contest_of(raw), []).append(raw)
        for contest_id, messages in own.items():
            self._apply_contest(contest_id, messages, batch)
        batch.steps.sort(key=lambda step: step.recorded.offset)
        batch.parked.sort(key=lambda parked: parked.raw.offset)
        touched = sorted((own.keys() & self.states.keys()) - blocked_before)
        batch.states = {contest_id: self.states[contest_id] for contest_id in touched}
        batch.digests = {contest_id: state.root() for contest_id, state in self.states.items()}
        batch.digest = partition_digest(batch.digests)
        return batch

    def _apply_contest(self, contest_id: str, messages: list[RawRecord], batch: Batch) -> None:
        """Apply messages of one contest in order: long runs of updates as columns, all others one by one."""
        for updates, group in groupby(messages, is_update):
            run = list(group)
            state = self.states.get(contest_id)
            if updates and len(run) >= self.run and state is not None and state.definition is not None:
                run = self._apply_columns(contest_id, state, run, batch)
            for raw in run:
                self._apply_one(contest_id, raw, batch)

    def _apply_columns(
        self, contest_id: str, state: ContestState, run: list[RawRecord], batch: Batch
    ) -> list[RawRecord]:
        """Apply updates as columns. Returns those left: from the first unreadable one on, all if blocked."""
        if contest_id in self.blocked:
            return run
        reader = self._readers.setdefault(contest_id, Reader(Roll()))
        columns = reader.read(run, state.contest)
        plain: dict[int, Recorded] = {}
        for row in sorted(set(range(len(run))).difference(columns.rows.tolist())):
            try:
                plain[row] = recorded_of_raw(run[row])
            except ContractError:
                return [*self._apply_columns(contest_id, state, run[:row], batch), *run[row:]] if row else run
        done, steps = fold_run(state, run, columns, plain, reader.roll)
        batch.runs.append(done)
        batch.steps += steps
        return []

    def _apply_one(self, contest_id: str, raw: RawRecord, batch: Batch) -> None:
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
