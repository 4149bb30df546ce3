"""A replay that is kept: a past state of one contest in a projection of its own, for every read command to be pointed at.

The live projection is neither read nor touched. A crash leaves a projection that reads as far as its last commit says; it is
dropped and made again.
"""

from collections.abc import Callable

from aggregator.fold.digest import partition_digest
from aggregator.fold.fold import ContestState, Step
from aggregator.log.reader import Log
from aggregator.projections.catalog import Projections
from aggregator.replay.fold_to_moment import Folding
from aggregator.replay.replay import fold_log
from aggregator.tables.batch import Batch
from aggregator.tables.writer import Store
from results.moment import Moment
from results.projection import Projection, ProjectionError
from runtime.kafka.access import KafkaAccess

_BATCH = 20_000


def replay_into(
    owner_url: str,
    writer_url: str,
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    moment: Moment,
    projection: Projection,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
) -> ContestState:
    """The state of a contest at `moment`, also written to `projection`, which is made for it and deleted again on failure.

    Raises ProjectionError when there is one of that name, and what `replay` raises.
    """
    if projection.is_rebuilt:
        raise ProjectionError(f"{projection.name} is a name that `rebuild` gives; take another")
    with Projections(owner_url) as projections:
        projections.create(projection, moment.stated_at)
        try:
            with Store(writer_url, projection) as store, Log(kafka, topic, max_records=_BATCH) as log:
                return _fold_into(store, log, Folding(contest_id, moment), on_progress)
        except BaseException:
            projections.drop(projection)
            raise


def _fold_into(store: Store, log: Log, folding: Folding, on_progress: Callable[[int, int], None]) -> ContestState:
    topic_id = log.topic_id()
    steps: list[Step] = []
    folding.on_step = steps.append
    claimed = {p: store.claim(log.topic, topic_id, p) for p in log.partitions()}

    def write(partition: int, state: ContestState, reached: int) -> None:
        if state.last is None:
            return
        digest = state.root()
        batch = Batch(
            next_offset=max(claimed[partition].next_offset, reached),
            digest=partition_digest({folding.contest_id: digest}),
            steps=list(steps),
            states={folding.contest_id: state},
            digests={folding.contest_id: digest},
        )
        claimed[partition] = store.commit(claimed[partition], batch)
        steps.clear()

    def after_batch(done: int, end: int) -> None:
        if len(steps) >= _BATCH:
            write(steps[0].recorded.partition, folding.then, done)
        on_progress(done, end)

    partition = fold_log(log, folding, after_batch)
    state, offset = folding.state, folding.moment.offset
    reached = state.last.offset + 1 if state.last is not None else 0
    write(partition, state, max(reached, offset + 1 if offset is not None else 0))
    return state
