"""Replay: the log folded from its start to a chosen moment, in memory. The live state is neither read nor touched.

The fold is the live one; only where it starts and stops differs.
"""

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from aggregator.fold.fold import ContestState
from aggregator.log.reader import Log
from aggregator.replay import checkpoint
from aggregator.replay.checkpoint import Checkpoint, CheckpointError
from aggregator.replay.fold_to_moment import Folding
from aggregator.replay.workers import WORTH_IT, cores, fold_here, fold_in_parts
from results.count import NothingCounted
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

_CHECKED = "the checkpoint of offset %d was checked from zero: equal"
_UNCHECKED = "begun with the checkpoint of offset %d: what is in it is verified, that nothing is missing is not (--check-checkpoint)"


class NotOnTheLog(NothingCounted):
    """The point asked for is beyond the log's end."""


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
    """The state of a contest at `moment`. `on_progress(offset, end)` is called after each batch.

    `processes`: how many fold at the same time; None for one per core where the log is long enough.

    `checkpoints`: a folder. The replay begins with the latest checkpoint there that fits, once it is verified, and leaves a
    new one when it went far beyond (see `checkpoint`). For a moment of the office's time there are none: a checkpoint
    does not hold what had been stated then. `check_checkpoint`: the log up to it is folded from zero as well, and the
    two digests are compared.

    Raises ContractError for a message of the contest that cannot be read, NothingCounted for an unknown contest,
    NotOnTheLog for an offset beyond the log's end, CheckpointError for a checkpoint that may not be used.
    """
    if moment.stated_at is not None:
        checkpoints = None
    folding = Folding(contest_id, moment)
    with Log(kafka, topic, max_records=20_000) as log:
        topic_id = log.topic_id()
        for partition in log.partitions():
            end = log.end_offset(partition)
            kept = checkpoint.find(checkpoints, topic_id, contest_id, partition, moment) if checkpoints else None
            if kept is not None:
                if check_checkpoint:
                    _check(kept, kafka, topic, processes)
                checkpoint.take(kept, folding, log)
                logger.info(_CHECKED if check_checkpoint else _UNCHECKED, kept.offset)
            begin = kept.offset + 1 if kept is not None else 0
            _fold(log, partition, begin, end, folding, on_progress, processes)
            if not folding.found:
                continue
            _on_the_log(moment, end)
            state = folding.state
            if checkpoints and state.last is not None and state.last.offset - begin >= checkpoint.AHEAD:
                rest = log.read_to_end(partition, begin, state.last.offset + 1)
                batches: Iterable[Iterable[RawRecord]] = chain([kept.records] if kept else [], rest)
                checkpoint.write(checkpoints, topic, topic_id, contest_id, state, batches)
            return state
    raise unknown(folding, topic)


def fold_log(log: Log, folding: Folding, on_progress: Callable[[int, int], None]) -> int:
    """Folds the log as far as the moment needs, event by event; returns the contest's partition. Raises as `replay` does."""
    for partition in log.partitions():
        end = log.end_offset(partition)
        fold_here(log, partition, 0, end, folding, on_progress)
        if folding.found:
            _on_the_log(folding.moment, end)
            return partition
    raise unknown(folding, log.topic)


def _on_the_log(moment: Moment, end: int) -> None:
    if moment.offset is not None and moment.offset >= end:
        raise NotOnTheLog(f"the log ends at offset {end - 1}; {moment.offset} is not on it yet")


def unknown(folding: Folding, topic: str) -> NothingCounted:
    """What is to be said of a contest that the log does not have."""
    others = ", ".join(sorted(k.decode(errors="replace") for k in folding.others if k)) or "none yet"
    return NothingCounted(f"contest {folding.contest_id} is not on {topic} (known: {others})")


def _fold(
    log: Log,
    partition: int,
    begin: int,
    end: int,
    folding: Folding,
    on_progress: Callable[[int, int], None],
    processes: int | None,
) -> None:
    to = end if folding.moment.offset is None else min(end, folding.moment.offset + 1)
    number = processes or (cores() if to - begin >= WORTH_IT else 1)
    if number == 1:
        fold_here(log, partition, begin, to, folding, on_progress)
    else:
        fold_in_parts(log, partition, begin, to, folding, on_progress, number)
    if not folding.found:  # a contest that begins after the moment is known all the same
        fold_here(log, partition, to, end, folding, on_progress)


def _check(kept: Checkpoint, kafka: KafkaAccess, topic: str, processes: int | None) -> None:
    """Compares a checkpoint with the log, folded from zero."""
    state = replay(kafka, topic, kept.contest_id, Moment(kept.offset), processes=processes)
    if (root := state.root()) != kept.digest:
        raise CheckpointError(
            kept.path, f"the log up to there gives the digest {root[:16]}…, it says {kept.digest[:16]}…"
        )
