"""Fold the messages of one partition into batches (pure but for the state it owns)."""

import logging
from collections.abc import Mapping, Sequence

from aggregator.fold.digest import partition_digest
from aggregator.fold.evolve import ContestState, Defined, Folded
from aggregator.fold.messages import fold_messages
from aggregator.publish.partition_notices import PartitionNotices, Taken
from aggregator.tables.batch import Batch, Unwritten, follows
from aggregator.tables.rows import Parked, printable, reason_of
from runtime.kafka.producer import elsewhere
from schemas.columns.decoder import Decoder
from schemas.log_record import RawRecord

logger = logging.getLogger(__name__)

_LONGEST = 800
"""Bytes of the longest id of a contest: of a longer key, so many are kept as its name."""


class PartitionFold:
    """The states of all contests of one partition."""

    def __init__(
        self,
        states: Mapping[str, ContestState] | None = None,
        blocked: Mapping[str, tuple[int, str]] | None = None,
        *,
        partitions: int | None = None,
        notices: PartitionNotices | None = None,
    ) -> None:
        """Begin with `states` and `blocked` as the tables have them.

        Args:
            partitions: Of the log; None: every key may stand here.
            notices: Follows the fold, where notices are published.
        """
        self._notices = notices
        self.states = dict(states or {})
        self._partitions = partitions
        self.blocked = dict(blocked or {})
        """Contests with an unreadable message, by its offset and the reason."""
        self._decoders: dict[str, Decoder] = {}
        self._unwritten = {contest_id: Unwritten(contest_id, state) for contest_id, state in self.states.items()}

    def apply(self, records: Sequence[RawRecord], *, whole: bool = True) -> Batch:
        """Fold the next messages. An unreadable one blocks its contest: it and all later ones are parked.

        One that stands in another partition than its contest is parked and blocks nothing: the two have no order.

        `whole` False: the batch lacks units and totals, and must be written in one transaction with a later one.
        """
        parked: list[Parked] = []
        own: dict[str, list[RawRecord]] = {}
        strays: dict[bytes | None, str | None] = {}
        for raw in records:
            contest_id = _contest_of(raw)
            if raw.key not in strays:
                strays[raw.key] = self._elsewhere(raw, contest_id)
            if (reason := strays[raw.key]) is not None:
                parked.append(Parked(raw, contest_id, reason))
            else:
                own.setdefault(contest_id, []).append(raw)
        for contest_id, messages in own.items():
            parked += self._apply(contest_id, messages)
        if self._notices is not None:
            self._notices.end_batch(records[-1].offset + 1, records[-1].timestamp_ms, self.states)
        digests = {contest_id: state.root() for contest_id, state in self.states.items()}
        return Batch(
            next_offset=records[-1].offset + 1,
            digest=partition_digest(digests),
            events=len(records),
            recorded=records[-1].timestamp_ms,
            contests=[
                unwritten.rows(self.states[contest_id], digests[contest_id], whole=whole)
                for contest_id, unwritten in sorted(self._unwritten.items())
                if unwritten
            ],
            parked=sorted(parked, key=lambda one: one.raw.offset),
            blocked=dict(self.blocked),
            states=self.states,
        )

    def take_notices(self) -> Taken:
        """Return the notices since they were taken last."""
        return self._notices.take() if self._notices is not None else {}

    def pause(self) -> bool:
        """Note that nothing came for longer than a publication may pause. Returns whether there may be notices."""
        return self._notices is not None and self._notices.pause(self.states)

    def _elsewhere(self, raw: RawRecord, contest_id: str) -> str | None:
        if (reason := elsewhere(raw.key, raw.partition, self._partitions)) is not None:
            about = {"contest_id": contest_id, "partition": raw.partition, "offset": raw.offset}
            logger.error("offset %d: key %r %s; it is parked", raw.offset, contest_id, reason, extra=about)
        return reason

    def _apply(self, contest_id: str, messages: list[RawRecord]) -> list[Parked]:
        """Fold messages of one contest. Returns those that are parked."""
        if contest_id in self.blocked:
            return [Parked(raw, contest_id, follows(self.blocked[contest_id][0])) for raw in messages]
        state = self.states.get(contest_id) or ContestState()
        decoder = self._decoders.setdefault(contest_id, Decoder(contest_id, state.index))
        unwritten = self._unwritten.get(contest_id)
        if unwritten is None:
            unwritten = Unwritten(contest_id, ContestState())
        maker = self._notices.of(contest_id, messages[0].offset, state) if self._notices is not None else None

        def on_step(step: Folded | Defined) -> None:
            unwritten.add(step, state)
            if maker is not None:
                maker.step(state, step)
            elif self._notices is not None:
                self._notices.passed(contest_id, step)

        before = (lambda batch: maker.before(state, batch)) if maker is not None else None
        stop = fold_messages(state, decoder, messages, on_step, in_blocks=True, on_publication=before)
        if state.last is not None:
            self.states[contest_id], self._unwritten[contest_id] = state, unwritten
        if stop is None:
            return []
        raw, reason = messages[stop.row], reason_of(stop.reason)
        about = {"contest_id": contest_id, "partition": raw.partition, "offset": raw.offset}
        logger.error("offset %d: %s; contest %r is blocked from here on", raw.offset, reason, contest_id, extra=about)
        self.blocked[contest_id] = raw.offset, reason
        if maker is not None:
            maker.blocked(state, raw, reason)
        rest = [Parked(behind, contest_id, follows(raw.offset)) for behind in messages[stop.row + 1 :]]
        return [Parked(raw, contest_id, reason), *rest]


def _contest_of(raw: RawRecord) -> str:
    """Return the contest that a key names. One that is no text, or too long, is marked as no id can be."""
    key = raw.key or b""
    text = printable(key[:_LONGEST].decode(errors="replace"))
    return text if text.encode() == key else f"\N{SUBSTITUTE}{text}"
