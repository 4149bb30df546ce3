"""Keep a replay: write a past state of one contest to a projection of its own, which every read command can query.

The live projection is neither read nor changed. A crash leaves a projection that ends at its last commit: drop it.
"""

from collections.abc import Callable

from aggregator.fold.digest import partition_digest
from aggregator.fold.fold import ContestState, Step
from aggregator.log.reader import Log
from aggregator.projections.catalog import Projections
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.replay import fold_log
from aggregator.tables.batch import Batch
from aggregator.tables.writer import Writer
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
    """Write the state at `moment` to a new `projection`, dropped on failure. Raises ProjectionError if it exists."""
    if projection.is_rebuilt:
        raise ProjectionError(f"{projection.name} is a name that `rebuild` gives; choose another")
    with Projections(owner_url) as projections:
        projections.create(projection, moment.stated_at)
        try:
            with Writer(writer_url, projection) as writer, Log(kafka, topic, max_records=_BATCH) as log:
                return _fold_into(writer, log, ContestFold(contest_id, moment), on_progress)
        except BaseException:
            projections.drop(projection)
            raise


def _fold_into(writer: Writer, log: Log, fold: ContestFold, on_progress: Callable[[int, int], None]) -> ContestState:
    topic_id = log.topic_id()
    steps: list[Step] = []
    fold.on_step = steps.append
    claimed = {p: writer.claim(log.topic, topic_id, p) for p in log.partitions()}

    def write(partition: int, state: ContestState, reached: int) -> None:
        if state.last is None:
            return
        digest = state.root()
        batch = Batch(
            next_offset=max(claimed[partition].next_offset, reached),
            digest=partition_digest({fold.contest_id: digest}),
            steps=list(steps),
            states={fold.contest_id: state},
            digests={fold.contest_id: digest},
        )
        claimed[partition] = writer.commit(claimed[partition], batch)
        steps.clear()

    def after_batch(done: int, end: int) -> None:
        if len(steps) >= _BATCH:
            write(steps[0].recorded.partition, fold.moment_state, done)
        on_progress(done, end)

    partition = fold_log(log, fold, after_batch)
    state, offset = fold.state, fold.moment.offset
    reached = state.last.offset + 1 if state.last is not None else 0
    write(partition, state, max(reached, offset + 1 if offset is not None else 0))
    return state
