"""Fold messages of one contest in the order of the log (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from aggregator.fold.evolve import TOO_LARGE, ContestState, Defined, Folded, define, fold_statements
from schemas.columns.decoder import Decoder
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.wire import is_update
from schemas.count_update import PAUSE_MS
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
    on_publication: Callable[[StatementBatch | None], None] | None = None,
) -> Stop | None:
    """Fold messages up to the first that cannot be counted. Returns that message.

    Args:
        decoder: Of the contest, with the index of `state`.
        on_step: Called with what each step did, as soon as it is done.
        in_blocks: Keep totals of the past, as the tables do.
        on_publication: Where it is given, each step is of one publication without a pause, and it is called before with
            the statements that are folded next; None: what is folded next is no statement.
    """
    begin = 0
    for updates, group in groupby(records, is_update):
        while run := list(islice(group, AT_ONCE)):
            if updates:
                stop = _statements(state, decoder, run, on_step, in_blocks, on_publication)
            else:
                stop = _define(state, run, on_step, on_publication)
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
    on_publication: Callable[[StatementBatch | None], None] | None,
) -> Stop | None:
    contest = state.contest if state.definition is not None else None
    batch, unreadable = decoder.decode(run, contest)
    begins = [0] if on_publication is None else _begins_of_publications(batch)
    for begin, end in zip(begins, [*begins[1:], len(batch)], strict=True):
        part = batch if len(begins) == 1 else batch[begin:end]
        if on_publication is not None and len(part):
            on_publication(part)
        folded, too_large = fold_statements(state, run[0].partition, part, in_blocks=in_blocks)
        for step in folded:
            on_step(step)
        if too_large is not None:
            return Stop(begin + too_large, TOO_LARGE)
    return None if unreadable is None else Stop(unreadable.row, str(unreadable.error))


def _begins_of_publications(batch: StatementBatch) -> list[int]:
    """Return the entries at which a publication begins, or goes on after a pause; the first at least."""
    of, pauses = batch.publications, np.diff(batch.recorded, prepend=batch.recorded[:1]) > PAUSE_MS
    return [0, *(n for n in range(1, len(of)) if pauses[n] or (of[n] is not of[n - 1] and of[n] != of[n - 1]))]


def _define(
    state: ContestState,
    run: Sequence[RawRecord],
    on_step: Callable[[Folded | Defined], None],
    on_publication: Callable[[StatementBatch | None], None] | None,
) -> Stop | None:
    for row, raw in enumerate(run):
        if on_publication is not None:
            on_publication(None)
        try:
            on_step(define(state, recorded_of_raw(raw)))
        except ContractError as error:
            return Stop(row, str(error))
    return None
