"""Make the notices of a contest again, from its log: those that were published have the same ids."""

from collections.abc import Callable, Iterator

from aggregator.fold.evolve import ContestState
from aggregator.fold.messages import fold_messages
from aggregator.log.reader import Log
from aggregator.publish.notices import NoticeMaker
from aggregator.tables.rows import reason_of
from results.count import NothingCounted
from runtime.kafka.producer import partition_of
from schemas.columns.decoder import Decoder
from schemas.notice import Notice


def notices(log: Log, contest_id: str, on_progress: Callable[[int, int], None]) -> Iterator[Notice]:
    """Yield the notices of a contest, from its first event to the end of the log. Raises NothingCounted."""
    key, state, maker = contest_id.encode(), ContestState(), NoticeMaker()
    decoder = Decoder(contest_id, state.index)
    partition = partition_of(key, len(log.partitions()))
    end = log.end_offset(partition)
    for batch in log.read_to_end(partition, 0, end):
        own = [raw for raw in batch if raw.key == key]
        stop = fold_messages(
            state,
            decoder,
            own,
            lambda step: maker.step(state, step),
            in_blocks=False,
            on_publication=lambda statements: maker.before(state, statements),
        )
        if stop is not None:
            maker.blocked(state, own[stop.row], reason_of(stop.reason))
            break
        yield from maker.take()
        on_progress(batch.next_offset, end)
    if state.last is None:
        raise NothingCounted(f"contest {contest_id} is not on {log.topic}")
    maker.end(state)
    yield from maker.take()
