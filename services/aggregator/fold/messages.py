"""Fold messages of one contest in the order of the log (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from aggregator.fold.evolve import TOO_LARGE, ContestState, Defined, Folded, define, fold_statements
from schemas.columns.decoder import Decoder
from schemas.columns.wire import is_update
from schemas.errors import ContractError
from schemas.log_record import RawRecord, recorded_of_raw

AT_ONCE = 5_000
"""Statements folded at once: more of them take more memory, and no less time."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The first message that cannot be counted, so that none behind it is: `row` is its place among those given."""

    row: int
    reason: str


def fold_messages(
    state: ContestState,
    decoder: Decoder,
    records: Sequence[RawRecord],
    on_step: Callable[[Folded | Defined], None],
    *,
    in_blocks: bool,
) -> Stop | None:
    """Fold messages up to the first that cannot be counted. Returns that message.

    Args:
        decoder: Of the contest, with the index of `state`.
        on_step: Called with what each step did, as soon as it is done.
        in_blocks: Keep totals of the past, as the tables do.
    """
    begin = 0
    for updates, group in groupby(records, is_update):
        while run := list(islice(group, AT_ONCE)):
            stop = _statements(state, decoder, run, on_step, in_blocks) if updates else _define(state, run, on_step)
            if stop is not None:
                return Stop(begin + stop.row, stop.reason)
            begin += len(run)
    return None


def _statements(
    state: ContestState,
    decoder: Decoder,
    run: Sequence[RawRecord],
    on_step: Callable[[Folded | Defined], None],
    in_blocks: bool,
) -> Stop | None:
    contest = state.contest if state.definition is not None else None
    batch, unreadable = decoder.decode(run, contest)
    folded, too_large = fold_statements(state, run[0].partition, batch, in_blocks=in_blocks)
    for step in folded:
        on_step(step)
    if too_large is not None:
        return Stop(too_large, TOO_LARGE)
    return None if unreadable is None else Stop(unreadable.row, str(unreadable.error))


def _define(state: ContestState, run: Sequence[RawRecord], on_step: Callable[[Folded | Defined], None]) -> Stop | None:
    for row, raw in enumerate(run):
        try:
            on_step(define(state, recorded_of_raw(raw)))
        except ContractError as error:
            return Stop(row, str(error))
    return None
