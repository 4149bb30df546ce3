"""Replay the log from its start to a chosen moment, in memory. The live state is neither read nor changed."""

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from aggregator.fold.fold import ContestState
from aggregator.log.reader import Log
from aggregator.replay import checkpoint
from aggregator.replay.checkpoint import Checkpoint, CheckpointError
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.workers import PARALLEL_FROM, cores, fold_here, fold_in_parts
from results.count import NothingCounted
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

_CHECKED = "started from the checkpoint at offset %d: equal to a replay from zero"
_UNCHECKED = "started from the checkpoint at offset %d: messages verified, completeness not (see --check-checkpoint)"


class NotOnTheLog(NothingCounted):
    """The requested offset is beyond the end of the log."""


def replay(
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    moment: Moment,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
    *,
    processes: int | None = None,
    checkpoints: Path | None = None,
    check_checkpoint: bool = False,
) -> ContestState:
    """Return the state of a contest at `moment`.

    Args:
        on_progress: called with (next offset, end) after each batch.
        processes: number of processes that fold; None for one per core where the log is long enough.
        checkpoints: a folder. The replay starts from the latest fitting checkpoint there, once it is verified, and
            writes a new one when it went far beyond (see `checkpoint`). Ignored for a moment by the office's time,
            which no checkpoint holds.
        check_checkpoint: also fold the log up to the checkpoint from zero, and compare the digests.

    Raises ContractError for an unreadable message of the contest, NothingCounted for an unknown contest,
    NotOnTheLog for an offset beyond the end of the log, CheckpointError for an unusable checkpoint.
    """
    if moment.stated_at is not None:
        checkpoints = None
    fold = ContestFold(contest_id, moment)
    with Log(kafka, topic, max_records=20_000) as log:
        topic_id = log.topic_id()
        for partition in log.partitions():
            end = log.end_offset(partition)
            kept = checkpoint.find(checkpoints, topic_id, contest_id, partition, moment) if checkpoints else None
            if kept is not None:
                if check_checkpoint:
                    _check(kept, kafka, topic, processes)
                checkpoint.apply(kept, fold, log)
                logger.info(_CHECKED if check_checkpoint else _UNCHECKED, kept.offset)
            begin = kept.offset + 1 if kept is not None else 0
            _fold(log, partition, begin, end, fold, on_progress, processes)
            if not fold.found:
                continue
            _on_the_log(moment, end)
            state = fold.state
            if checkpoints and state.last is not None and state.last.offset - begin >= checkpoint.AHEAD:
                rest = log.read_to_end(partition, begin, state.last.offset + 1)
                batches: Iterable[Iterable[RawRecord]] = chain([kept.records] if kept else [], rest)
                checkpoint.write(checkpoints, topic, topic_id, contest_id, state, batches)
            return state
    raise unknown(fold, topic)


def fold_log(log: Log, fold: ContestFold, on_progress: Callable[[int, int], None]) -> int:
    """Fold the log up to the moment, event by event. Returns the contest's partition. Raises what `replay` raises."""
    for partition in log.partitions():
        end = log.end_offset(partition)
        fold_here(log, partition, 0, end, fold, on_progress)
        if fold.found:
            _on_the_log(fold.moment, end)
            return partition
    raise unknown(fold, log.topic)


def _on_the_log(moment: Moment, end: int) -> None:
    if moment.offset is not None and moment.offset >= end:
        raise NotOnTheLog(f"the log ends at offset {end - 1}; {moment.offset} is not on it yet")


def unknown(fold: ContestFold, topic: str) -> NothingCounted:
    """Return the fault of a contest that is not on the log."""
    others = ", ".join(sorted(k.decode(errors="replace") for k in fold.others if k)) or "none yet"
    return NothingCounted(f"contest {fold.contest_id} is not on {topic} (known: {others})")


def _fold(
    log: Log,
    partition: int,
    begin: int,
    end: int,
    fold: ContestFold,
    on_progress: Callable[[int, int], None],
    processes: int | None,
) -> None:
    to = end if fold.moment.offset is None else min(end, fold.moment.offset + 1)
    number = processes or (cores() if to - begin >= PARALLEL_FROM else 1)
    if number == 1:
        fold_here(log, partition, begin, to, fold, on_progress)
    else:
        fold_in_parts(log, partition, begin, to, fold, on_progress, number)
    if not fold.found:  # find a contest that begins after the moment
        fold_here(log, partition, to, end, fold, on_progress)


def _check(kept: Checkpoint, kafka: KafkaAccess, topic: str, processes: int | None) -> None:
    """Compare a checkpoint with a replay from zero. Raises CheckpointError."""
    state = replay(kafka, topic, kept.contest_id, Moment(kept.offset), processes=processes)
    if (root := state.root()) != kept.digest:
        raise CheckpointError(
            kept.path, f"the log up to there has digest {root[:16]}…, the checkpoint names {kept.digest[:16]}…"
        )
