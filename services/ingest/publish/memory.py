"""Remember what the log says: contests, rejections, and when each document was first seen.

Place in the flow: read at the start, after a failed delivery, and when another writer was there. The log is ingest's
only memory: a crash loses nothing of it, and the next start reads it again.
"""

from datetime import datetime
from uuid import UUID

from ingest.errors import IngestError
from ingest.listener import Listener, Progress
from ingest.news.contest_memory import ContestMemory, remember
from ingest.publish.connection import Connection
from ingest.publish.log_reader import TopicReader
from schemas.chain import definition_fault
from schemas.codec import decode
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.errors import ContractError, NewerSchema
from schemas.feed_status import FeedStatus
from schemas.identity import text_of
from schemas.log_record import RawRecord


class Memory:
    """What the topics say, up to the last offset that was read."""

    def __init__(
        self, connection: Connection, progress: Progress, listener: Listener, following: UnitKey | None = None
    ) -> None:
        """`following`: a unit whose accepted events are kept in `followed`."""
        self.contests: dict[str, ContestMemory] = {}
        self.rejected: set[str] = set()
        """Ids of the rejections in `results.rejected`."""
        self.accepted: dict[UUID, tuple[int, int]] = {}
        """Partition and offset of the updates that were read while the current batch is sent."""
        self.first_seen: dict[str, datetime | None] = {}
        """When the log says a document was first seen, by SHA-256; None where its events disagree."""
        self.followed: dict[str, list[CountUpdate]] = {}
        """Accepted events of the unit `following`, by contest."""
        self._progress, self._listener = progress, listener
        self._following = following
        kafka, names = connection.kafka, connection.names
        self._log = TopicReader(kafka, names.events, whole=True, notice=progress.say)
        self._beside = [
            TopicReader(kafka, names.rejected, whole=True, notice=progress.say),
            TopicReader(kafka, names.feed_status, whole=False, notice=progress.say),
        ]

    @property
    def next_offsets(self) -> dict[int, int]:
        """The first offset of the log that was not read yet, by partition."""
        return self._log.next_offsets

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
        """Read on to the end: the log, then the rejections, then the heartbeats.

        Raises IngestError at an event of a newer release: without it, its unit's next event would follow a wrong one.
        """
        for record in self._log.to_end():
            self._read_event(record)
        for reader in self._beside:
            for record in reader.to_end():
                self._read_beside(record)

    def _read_event(self, record: RawRecord) -> None:
        try:
            event = decode(record.value, record.headers)
        except NewerSchema as error:
            raise IngestError(f"{self._log.topic} offset {record.offset}: {error}; start that one") from error
        except ContractError as error:
            self._progress.say(f"{self._log.topic}[{record.partition}]@{record.offset} is not an event: {error}")
            return
        if isinstance(event, ContestDefined):
            self._read_definition(event)
        elif (
            isinstance(event, CountUpdate)
            and event.contest_id in self.contests
            and remember(self.contests[event.contest_id], event)
        ):
            self.accepted[event.event_id] = (record.partition, record.offset)
            self._listener.read_back(event)
            if event.unit == self._following:
                self.followed.setdefault(event.contest_id, []).append(event)
            for document in event.source.documents:
                self._note_first_seen(document.sha256, event)

    def _read_definition(self, event: ContestDefined) -> None:
        known = self.contests.get(event.contest_id)
        if definition_fault(event, text_of(event), known.definition if known else None):
            return  # the aggregator does not accept it either, and reports it
        if known is None:
            self.contests[event.contest_id] = ContestMemory(event)
        else:
            known.definition = event

    def _read_beside(self, record: RawRecord) -> None:
        headers = dict(record.headers)
        if headers.get("ce_type") == b"escrutinio.Rejected" and (rejection_id := headers.get("ce_id")):
            self.rejected.add(rejection_id.decode())
            return
        try:
            event = decode(record.value, record.headers)
        except ContractError:
            return  # of another program; heartbeats are only compared with
        if isinstance(event, FeedStatus) and event.contest_id in self.contests:
            self.contests[event.contest_id].hear(event)
            self._listener.read_back(event)
            self._note_first_seen(event.document_sha256, event)

    def _note_first_seen(self, sha256: str, event: CountUpdate | FeedStatus) -> None:
        """Note when an undated document was first seen; where its events disagree, its rows state the time."""
        if event.reported_at is None and self.first_seen.setdefault(sha256, event.observed_at) != event.observed_at:
            self.first_seen[sha256] = None
