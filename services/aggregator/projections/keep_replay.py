"""Keep a replay: write a past state of one contest to a projection of its own, which every read command can query.

The live projection is neither read nor changed. A crash leaves a projection that ends at its last commit: drop it.
"""

from collections.abc import Callable

from aggregator.fold.digest import partition_digest
from aggregator.fold.evolve import ContestState
from aggregator.log.reader import Log
from aggregator.projections.catalog import Projections
from aggregator.replay.fold_to_moment import ContestFold
from aggregator.replay.replay import fold_log
from aggregator.tables.batch import Batch, Unwritten
from aggregator.tables.writer import Writer
from results.findings import Collector
from results.moment import Moment
from results.projection import Projection, ProjectionError
from runtime.kafka.access import KafkaAccess

_BATCH = 10_000


def replay_into(
    owner_url: str,
    writer_url: str,
    kafka: KafkaAccess,
    topic: str,
    contest_id: str,
    moment: Moment,
    projection: Projection,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
    *,
    area_id: str | None = None,
    collector: Collector | None = None,
) -> ContestState:
    """Write the state at `moment` to a new `projection`, dropped on failure. Raises ProjectionError if it exists.

    `collector`: is given what is found on the log.
    """
    if projection.is_rebuilt:
        raise ProjectionError(f"{projection.name} is a name that `rebuild` gives; choose another")
    with Projections(owner_url) as projections:
        projections.create(projection, moment.stated_at)
        try:
            with Writer(writer_url, projection) as writer, Log(kafka, topic, max_records=_BATCH) as log:
                return _fold_into(writer, log, contest_id, moment, area_id, collector, on_progress)
        except BaseException:
            projections.drop(projection)
            raise


def _fold_into(
    writer: Writer,
    log: Log,
    contest_id: str,
    moment: Moment,
    area_id: str | None,
    collector: Collector | None,
    on_progress: Callable[[int, int], None],
) -> ContestState:
    unwritten = Unwritten(contest_id, ContestState())
    fold = ContestFold(
        contest_id,
        moment,
        lambda step: unwritten.add(step, fold.moment_state),
        area_id=area_id,
        collector=collector,
    )
    topic_id = log.topic_id()
    claimed = {p: writer.claim(log.topic, topic_id, p) for p in log.partitions()}

    def write(state: ContestState, reached: int, *, is_final: bool = False) -> None:
        if state.last is None or not (unwritten or is_final):
            return
        cursor, digest = claimed[state.last.partition], state.root()
        batch = Batch(
            next_offset=max(cursor.next_offset, reached),
            digest=partition_digest({contest_id: digest}),
            contests=[unwritten.rows(state, digest)],
        )
        claimed[state.last.partition] = writer.commit(cursor, batch)

    def after_batch(done: int, end: int) -> None:
        write(fold.moment_state, done)
        on_progress(done, end)

    fold_log(log, fold, after_batch)
    state, offset = fold.state, moment.offset
    reached = state.last.offset + 1 if state.last is not None else 0
    write(state, max(reached, offset + 1 if offset is not None else 0), is_final=True)
    return state
