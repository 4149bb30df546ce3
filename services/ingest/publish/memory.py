"""Remember what the log says: contests and rejections.

Place in the flow: read at the start, after a failed delivery, and when another writer was there. The log is ingest's
only memory: a crash loses nothing of it, and the next start reads it again. It is read as the fold reads it, by
`schemas.columns`: what the fold does not count is not published for ingest. A message that is no event, or is one of
another contest than its key, blocks the contest of the key: the fold counts nothing of it from there on, and ingest
publishes nothing more for it.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from uuid import UUID

import numpy as np

from ingest.errors import IngestError
from ingest.listener import Latest, Listener, Progress
from ingest.news.contest_memory import ContestMemory, is_of_operator, remember_batch
from ingest.publish.connection import Connection
from ingest.publish.log_reader import TopicReader
from runtime.kafka.errors import BrokerAway, KafkaFault
from runtime.kafka.producer import elsewhere, partition_of
from schemas.chain import definition_fault, source_fault
from schemas.codec import decode
from schemas.columns.decoder import Decoder
from schemas.columns.layout import NONE
from schemas.columns.statement_batch import StatementBatch
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import NO_TIME, is_update
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.errors import ContractError, NewerSchema
from schemas.feed_status import FeedStatus
from schemas.identity import text_of
from schemas.log_record import RawRecord, recorded_of_raw
from schemas.source_status import SourceStatus
from schemas.types import from_milliseconds
from schemas.unit_roll import UnitRoll

_ID = 36
"""Characters of an id."""
_SHOWN = 20
"""Messages of no contest that are named."""
RECENT = 100_000
"""Rejections at the end of `results.rejected` that are read: an older one that is met again is put there again, with
the same id."""


class Memory:
    """What the topics say, up to the last offset that was read."""

    def __init__(
        self, connection: Connection, progress: Progress, listener: Listener, following: UnitKey | None = None
    ) -> None:
        """`following`: a unit whose accepted events are kept in `followed`."""
        self.contests: dict[str, ContestMemory] = {}
        self.rejected: set[bytes] = set()
        """Ids of the RECENT rejections in `results.rejected`."""
        self.accepted: dict[UUID, tuple[int, int]] | None = None
        """Partition and offset of the updates that were read while the current batch is sent; None before the first."""
        self.blocked: dict[bytes, str] = {}
        """By key: the first message that is no event of that contest."""
        self._odd = 0
        """Messages of no contest."""
        self.at_work: str | None = None
        """The contest that is published for: reading raises IngestError once it is blocked."""
        self.followed: dict[str, list[CountUpdate]] = {}
        """Accepted events of the unit `following`, by contest."""
        self._source_at: dict[str, datetime] = {}
        """When the last change of a source's state was recorded, by contest: heartbeats are on another topic."""
        self._homes: dict[str, int] = {}
        """The partition of each contest; of one that is defined in another than its own alone, that one."""
        self.defined_at: dict[str, tuple[int, int]] = {}
        """Partition and offset of the latest definition, by contest."""
        self._progress, self._listener = progress, listener
        self._following = following
        self._decoders: dict[bytes, Decoder] = {}
        """By key, while the log is read: they remember texts."""
        kafka, names = connection.kafka, connection.names
        self._log = TopicReader(kafka, names.events, whole=True, notice=progress.say)
        self._rejected = TopicReader(kafka, names.rejected, whole=False, notice=progress.say)
        self._feed_status = TopicReader(kafka, names.feed_status, whole=False, notice=progress.say)

    @property
    def next_offsets(self) -> dict[int, int]:
        """The first offset of the log that was not read yet, by partition."""
        return self._log.next_offsets

    def log_id(self, topic: str) -> UUID | None:
        """Return the id of a topic as it was read: nothing is sent to another one of its name."""
        return next(reader.log_id for reader in (self._log, self._rejected, self._feed_status) if reader.topic == topic)

    def close(self) -> None:
        """Close the connection."""
        self._log.close()

    def grown(self) -> bool:
        """Say whether the log has messages that were not read yet. Raises BrokerAway."""
        return self._log.grown()

    def read_on(self) -> bool:
        """Read what another writer has put on the log. Returns False when there is nothing. Raises BrokerAway."""
        if not self.grown():
            return False
        self._progress.say("another writer is using the log; reading on")
        self.read()
        return True

    def read(self) -> None:
        """Read on to the end: the log, then the heartbeats, then the last rejections.

        Raises IngestError at an event of a newer release: without it, its unit's next event would follow a wrong one;
        and once all is read, when the contest at work is blocked.
        """
        for batch in self._log.batches():
            by_key: dict[bytes, list[RawRecord]] = {}
            for record in batch:
                by_key.setdefault(record.key or b"", []).append(record)
            for key, records in by_key.items():
                if (what := elsewhere(key, batch.partition, len(self.next_offsets))) is not None:
                    self._pass_over(records, what)
                    continue
                for updates, run in groupby(records, is_update):
                    if key not in self.blocked:
                        (self._read_updates if updates else self._read_others)(key, list(run))
        self._decoders.clear()
        if self.at_work is not None:
            self.refuse_blocked(self.at_work)
        for record in self._feed_status.to_end():
            self._read_beside(record)
        self.read_rejected()

    def read_rejected(self) -> None:
        """Read the end of `results.rejected`. Whatever is odd there is passed over. Raises BrokerAway."""
        reader = self._rejected
        try:
            if not reader.next_offsets:
                reader.next_offsets |= {partition: max(0, end - RECENT) for partition, end in reader.ends().items()}
            for record in reader.to_end():
                self.rejected.update(
                    value for name, value in record.headers if name == "ce_id" and value and len(value) == _ID
                )
        except BrokerAway:
            raise
        except KafkaFault as fault:
            self._progress.warn(f"{fault}; a rejection that is there may be put there again")

    def refuse_blocked(self, contest_id: str) -> None:
        """Raise IngestError when the contest is blocked, by a message or with its partition, or would leave its own."""
        partition = partition_of(contest_id.encode(), len(self.next_offsets))
        if (home := self._homes.get(contest_id, partition)) != partition:
            raise IngestError(
                f"{contest_id} is in partition {home} of {self._log.topic}, and its next events would be in partition "
                f"{partition}, where the aggregator cannot count them: the number of partitions was changed to "
                f"{len(self.next_offsets)}, or somebody else defined it there. Nothing more is published for it: "
                "restore the log with its former number (docs/backup.md)"
            )
        if (fault := self._log.unreadable.get(partition)) is not None:
            raise IngestError(
                f"{fault}. What the log says of {contest_id} behind it is not known, so nothing more is published for "
                "it: see UNREADABLE in docs/operate.md"
            )
        if (why := self.blocked.get(contest_id.encode())) is not None:
            raise IngestError(
                f"{why}. The aggregator counts nothing of {contest_id} from there on, so nothing more is published for "
                "it: find who wrote that message (only ingest may); see BLOCKED in docs/operate.md"
            )

    def _pass_over(self, records: Sequence[RawRecord], what: str) -> None:
        """Pass over messages that stand in another partition than their key's, as the fold does."""
        place = f"{self._log.topic}[{records[0].partition}]@{records[0].offset}"
        self._warn(f"{place} {what}: it is passed over, as the aggregator does")
        for record in records:
            with suppress(ContractError):
                if isinstance(event := recorded_of_raw(record).event, ContestDefined):
                    self._homes.setdefault(event.contest_id, record.partition)

    def _block(self, record: RawRecord, error: ContractError) -> None:
        if isinstance(error, NewerSchema):
            raise IngestError(f"{self._log.topic} offset {record.offset}: {error}; start that one") from error
        place = f"{self._log.topic}[{record.partition}]@{record.offset}"
        self.blocked[record.key or b""] = f"{place} is not an event of the contest of its key: {error}"
        ours = (record.key or b"").decode(errors="replace") in self.contests
        what = "nothing behind it is read" if ours else "it and what follows under that key are passed over"
        self._warn(f"{place} is not an event of the contest of its key: {error}; {what}", always=ours)

    def _warn(self, line: str, *, always: bool = False) -> None:
        """Warn of a message. Of those of no contest the first _SHOWN are named: made-up keys may be very many."""
        self._odd += not always
        if always or self._odd <= _SHOWN:
            self._progress.warn(line)
        elif self._odd == _SHOWN + 1:
            self._progress.warn("and messages with more keys, which are passed over: `escrutinio-aggregator status`")

    def _read_updates(self, key: bytes, run: Sequence[RawRecord]) -> None:
        contest_id = key.decode(errors="replace")
        contest, decoder = self.contests.get(contest_id), self._decoder(key, contest_id)
        batch, unreadable = decoder.decode(run, None if contest is None else contest.definition)
        if contest is not None and len(batch):
            self._remember(contest, run, batch)
        if unreadable is not None:
            self._block(run[unreadable.row], unreadable.error)

    def _decoder(self, key: bytes, contest_id: str) -> Decoder:
        if key not in self._decoders:
            contest = self.contests.get(contest_id)
            self._decoders[key] = Decoder(contest_id, UnitIndex() if contest is None else contest.index)
        return self._decoders[key]

    def _remember(self, contest: ContestMemory, run: Sequence[RawRecord], batch: StatementBatch) -> None:
        for silent in np.flatnonzero((batch.figures == NONE).all(axis=1)).tolist():
            if silent not in batch.updates:  # columns do not say whether its figures are null or not there
                batch.updates[silent] = recorded_of_raw(run[silent]).update
        entries = remember_batch(contest, batch)
        if not len(entries):
            return
        if self.accepted is not None:
            for entry in entries.tolist():
                event_id = UUID(bytes=batch.event_id[entry].tobytes())
                self.accepted[event_id] = run[entry].partition, run[entry].offset
        of_source = [e for e in entries.tolist() if not is_of_operator(batch.updates.get(e))]
        if of_source:
            contest.source = contest.source.spoke(from_milliseconds(int(batch.recorded[of_source].max())))
        reported = int(batch.reported[entries].max())
        self._listener.read_back(
            Latest(
                contest.definition.contest_id,
                from_milliseconds(int(batch.observed[entries].max())),
                None if reported == NO_TIME else from_milliseconds(reported),
            )
        )
        followed = None if self._following is None else contest.index.find(self._following)
        if followed is not None:
            of = self.followed.setdefault(contest.definition.contest_id, [])
            of += [recorded_of_raw(run[e]).update for e in entries[batch.unit[entries] == followed].tolist()]

    def _read_others(self, key: bytes, run: Sequence[RawRecord]) -> None:
        for record in run:
            try:
                event = recorded_of_raw(record).event
            except ContractError as error:
                self._block(record, error)
                return
            if isinstance(event, UnitRoll):
                self._read_roll(event)
            elif isinstance(event, SourceStatus):
                self._read_source(event, record.recorded_at)
            elif isinstance(event, ContestDefined):
                self._read_definition(key, event, (record.partition, record.offset))

    def _read_roll(self, event: UnitRoll) -> None:
        contest = self.contests.get(event.contest_id)
        if contest is not None:  # what is refused is reported by the aggregator
            contest.roll.accept(event, text_of(event), contest.definition)

    def _read_source(self, event: SourceStatus, at: datetime) -> None:
        contest = self.contests.get(event.contest_id)
        if contest is not None and source_fault(event, text_of(event), contest.definition) is None:
            contest.source = contest.source._replace(last=event, has_spoken=False)
            self._source_at[event.contest_id] = at

    def _read_definition(self, key: bytes, event: ContestDefined, place: tuple[int, int]) -> None:
        known = self.contests.get(event.contest_id)
        if definition_fault(event, text_of(event), known.definition if known else None):
            return  # the aggregator does not accept it either, and reports it
        if known is None:
            self._homes[event.contest_id] = place[0]
            self.contests[event.contest_id] = ContestMemory(event, self._decoder(key, event.contest_id).index)
        else:
            known.definition = event
        self.defined_at[event.contest_id] = place

    def _read_beside(self, record: RawRecord) -> None:
        if record.fault is not None:
            return
        try:
            event = decode(record.value, record.headers)
        except ContractError:
            return  # of another program; heartbeats are only compared with
        if isinstance(event, FeedStatus) and event.contest_id in self.contests:
            contest = self.contests[event.contest_id]
            contest.hear(event)
            at = self._source_at.get(event.contest_id)
            if at is None or record.recorded_at > at:
                contest.source = contest.source.spoke(record.recorded_at)
            self._listener.read_back(event)
