"""Replay the log from its start to a chosen moment, in memory. The live state is neither read nor changed."""

from collections.abc import Callable
from contextlib import suppress

from aggregator.fold.evolve import ContestState
from aggregator.log.reader import Log
from aggregator.replay.fold_to_moment import ContestFold
from results.count import NothingCounted
from results.findings import Collector
from results.moment import Moment
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import Unreadable
from runtime.kafka.producer import elsewhere, partition_of

Progress = Callable[[int, int], None]
"""Called with (next offset, end) after each batch."""


class NotOnTheLog(NothingCounted):
    """The requested offset is beyond the end of the log."""


def replay(
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    moment: Moment,
    on_progress: Progress = lambda _done, _end: None,
    *,
    area_id: str | None = None,
    collector: Collector | None = None,
) -> ContestState:
    """Return the state of a contest at `moment`. `area_id`: the area to be counted, the outermost by default.

    `collector`: is given what is found on the log.

    Raises ContractError for an unreadable message of the contest, NothingCounted for an unknown contest,
    NotOnTheLog for an offset beyond the end of the log.
    """
    fold = ContestFold(contest_id, moment, area_id=area_id, collector=collector)
    with Log(kafka, topic, max_records=10_000) as log:
        log.topic_id()
        fold_log(log, fold, on_progress)
    return fold.state


def fold_log(log: Log, fold: ContestFold, on_progress: Progress) -> int:
    """Fold the log up to the moment. Returns the contest's partition. Raises what `replay` raises."""
    partition = home(log, fold)
    end = log.end_offset(partition)
    to = end if fold.moment.offset is None else min(end, fold.moment.offset + 1)
    fold_here(log, partition, 0, to, fold, on_progress)
    if not fold.found:  # find a contest that begins after the moment
        fold_here(log, partition, to, end, fold, on_progress)
    if not fold.found:
        raise unknown(log, fold)
    if fold.moment.offset is not None and fold.moment.offset >= end:
        raise NotOnTheLog(f"the log ends at offset {end - 1}; {fold.moment.offset} is not on it yet")
    return partition


def home(log: Log, fold: ContestFold) -> int:
    """Return the only partition in which messages of the contest are counted."""
    return partition_of(fold.contest_id.encode(), len(log.partitions()))


def fold_here(log: Log, partition: int, begin: int, end: int, fold: ContestFold, on_progress: Progress) -> None:
    """Fold the offsets from `begin` up to, not including, `end`."""
    for batch in log.read_to_end(partition, begin, end):
        if not fold.apply(batch):
            return
        on_progress(batch.next_offset, end)


def unknown(log: Log, fold: ContestFold) -> NothingCounted:
    """Return the fault of a contest that is not on the log, whose own partition was read."""
    numbers, own = log.partitions(), home(log, fold)
    places = {(key, own) for key in fold.others}
    for partition in numbers:
        with suppress(Unreadable):  # then fewer are named
            for batch in log.read_to_end(partition) if partition != own else ():
                places |= {(raw.key, partition) for raw in batch}
    known = [key.decode(errors="replace") for key, p in places if key and elsewhere(key, p, len(numbers)) is None]
    strays = [partition for key, partition in places if key == fold.contest_id.encode()]
    beside = f"; partition {min(strays)} has messages with its key, which do not belong there" if strays else ""
    names = ", ".join(sorted(known)) or "none yet"
    return NothingCounted(f"contest {fold.contest_id} is not on {log.topic}{beside} (known: {names})")
