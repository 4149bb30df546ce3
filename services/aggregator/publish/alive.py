"""Say every few seconds that the aggregator lives, and how far it is: also while nothing comes, or a batch takes long.

Place in the flow: beside the count, in a thread with connections of its own. Each contest is said by who holds its
partition: to newsrooms as `AggregatorStatus`, and in the tables for readers without Kafka. Nothing reads a sign back,
so a crash loses nothing. While the database does not answer, the last known position is said, with the fault.

What only a look from outside can tell becomes a notice here: that the count is behind the log for long, and that a
contest's ingest gives no sign of life. Each is said once for each change, in the transaction that notes the change.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from aggregator.publish.notices import operational
from aggregator.publish.outbox import Database, put_notices
from aggregator.tables.batch import Cursor
from results.named_sql import named_sql
from results.projection import LIVE
from results.version import point_at
from runtime.kafka.access import KafkaAccess
from runtime.kafka.errors import BrokerAway, KafkaFault
from runtime.kafka.producer import Producer
from runtime.kafka.reader import Reader
from runtime.postgres import DatabaseError, connect, faults_named
from runtime.repeating import NEXT_WITHIN_MS, SIGN_EVERY_S, Repeating
from schemas.aggregator_status import AggregatorStatus
from schemas.codec import decode, encode
from schemas.errors import ContractError
from schemas.identity import NIL, named
from schemas.ingest_status import IngestStatus
from schemas.notice import NoticeKind
from schemas.topics import TopicNames
from schemas.types import TEXT_LIMIT, from_milliseconds, rfc3339

_SQL = named_sql(__package__, "alive")

BEHIND_S = 60.0
"""The count is behind when what was on the log so long ago is not counted yet."""
_TAIL = 1_000
"""Messages at the end of a partition of results.ingest-status that are read at the start: what is older is no life."""

_Read = Callable[[], list[IngestStatus]]
_Send = Callable[[list[AggregatorStatus]], object]


def _now() -> datetime:
    return from_milliseconds(time.time_ns() // 1_000_000)


class CountSigns(Repeating):
    """Say it while it is open. Use as a context manager, and set `held` to what returns the partitions' cursors."""

    def __init__(
        self,
        writer_url: str,
        kafka: KafkaAccess,
        topic: str,
        publish: TopicNames | None,
        *,
        now: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`publish`: the topics that signs and notices are sent to; None: only the tables say it."""
        self.held: Callable[[], Mapping[int, Cursor]] = dict
        self._url, self._kafka, self._topic, self._names = writer_url, kafka, topic, publish
        self._now, self._monotonic, self._began_at = now, monotonic, now()
        self._ends: dict[int, int] = {}
        """Of the log; without what the broker did not say."""
        self._contests: list[dict[str, Any]] = []
        """As they were known last."""
        self._current: dict[int, tuple[float, int]] = {}
        """By partition: when the count was last known to be up to date, and the end of the log at the last look."""
        super().__init__(
            "count-signs", self._saying, every_s=SIGN_EVERY_S, again_s=SIGN_EVERY_S, fault="no sign of life can be sent"
        )

    @contextmanager
    def _saying(self) -> Iterator[Callable[[], None]]:
        self._ends = {}
        try:
            with Reader(self._kafka, self._topic) as log, self._publishing() as (read, send):
                yield lambda: self._say(log, read, send)
        except KafkaFault:
            self._note(dict(self.held()), None)
            raise

    @contextmanager
    def _publishing(self) -> Iterator[tuple[_Read, _Send]]:
        """Yield what reads ingest's signs of life, and what sends ours."""
        if self._names is None:
            yield list, lambda _: None
            return
        topic, places = self._names.count_status, dict[int, int]()
        with (
            Producer(self._kafka, _waiting, linger_ms=0) as producer,
            Reader(self._kafka, self._names.ingest_status, whole=False) as ingest,
        ):
            begins = ingest.begins()
            places |= {partition: max(begins[partition], end - _TAIL) for partition, end in ingest.ends().items()}
            yield lambda: _read_on(ingest, places), lambda signs: producer.send(topic, map(encode, signs))

    def _say(self, log: Reader, read: _Read, send: _Send) -> None:
        if not (held := dict(self.held())):
            return
        self._ends = {}
        self._ends = log.ends(held)
        signs = read()
        try:
            self._contests = self._note(held, signs)
        except DatabaseError as fault:
            send([self._status(of, str(fault)) for of in self._contests if of["partition"] in held])
            raise
        send([self._status(of, of["blocked_reason"]) for of in self._contests])

    def _status(self, of: Mapping[str, Any], blocked: str | None) -> AggregatorStatus:
        return named(
            AggregatorStatus(
                event_id=NIL,
                contest_id=of["contest_id"],
                at=self._now(),
                next_within_ms=NEXT_WITHIN_MS,
                started_at=self._began_at,
                partition=of["partition"],
                next_offset=of["told_to"],
                end_offset=self._ends.get(of["partition"]),
                unsent=of["unsent"],
                blocked=blocked and blocked[:TEXT_LIMIT],
            )
        )

    def _note(self, held: Mapping[int, Cursor], signs: Sequence[IngestStatus] | None) -> list[dict[str, Any]]:
        """Note in the tables that we live, and the notices that are due. Returns the contests of the partitions.

        `signs`: new ones of ingest; None: they could not be read, so that nothing is known of it, nor of the log.
        """
        ours = {"partitions": list(held), "epochs": [cursor.epoch for cursor in held.values()]}
        with connect(self._url) as db, faults_named():
            point_at(db, *LIVE.readable)
            said = {"next_within_ms": NEXT_WITHIN_MS, "started_at": self._began_at}
            db.execute(_SQL["say"], ours | said | {"ends": [self._ends.get(partition) for partition in held]})
            if self._names is None:
                return []
            if signs:
                db.execute(_SQL["put_signs"], {"signs": Jsonb([sign.model_dump(mode="json") for sign in signs])})
            contests = db.execute(_SQL["contests"], ours).fetchall()
            if signs is not None:
                self._note_changes(db, contests)
            return contests

    def _note_changes(self, db: Database, contests: Sequence[Mapping[str, Any]]) -> None:
        ends, places = self._ends, {of["partition"]: of["next_offset"] for of in contests}
        behind = {partition: self._is_behind(partition, at, ends[partition]) for partition, at in places.items()}
        self._current = {partition: known for partition, known in self._current.items() if partition in places}
        now = self._now()
        for of in contests:
            if (is_behind := behind[of["partition"]]) is not None:
                kind = NoticeKind.COUNT_BEHIND if is_behind else NoticeKind.COUNT_CURRENT
                events = ends[of["partition"]] - of["next_offset"]
                words = f"is behind the log by {events:,}" if is_behind else "is up to date"
                self._change(db, of, is_behind, NoticeKind.COUNT_BEHIND, kind, f"At {rfc3339(now)} the count {words}.")
            if (at := of["ingest_at"]) is None:
                continue
            if (is_dead := now - at > 2 * of["ingest_within"]) and of["is_closed"]:
                continue
            kind, words = (
                (NoticeKind.INGEST_DEAD, "Ingest is dead, or cannot reach us: its last sign of life is of")
                if is_dead
                else (NoticeKind.INGEST_BACK, "Ingest lives again: its last sign of life is of")
            )
            self._change(db, of, is_dead, NoticeKind.INGEST_DEAD, kind, f"{words} {rfc3339(at)}.")

    def _is_behind(self, partition: int, next_offset: int, end: int) -> bool | None:
        """Say whether the count is behind for long; None: it is neither that, nor known to be up to date."""
        now = self._monotonic()
        since, before = self._current.get(partition, (now, end))
        is_current = next_offset >= before
        self._current[partition] = now if is_current else since, end
        return False if is_current else True if now - since > BEHIND_S else None

    def _change(
        self, db: Database, of: Mapping[str, Any], is_on: bool, trouble: NoticeKind, kind: NoticeKind, sentence: str
    ) -> None:
        """Put a notice into the outbox where it says something else than the last of its kind."""
        about = {"contest_id": of["contest_id"], "trouble": trouble.value, "is_on": is_on}
        with db.transaction():
            if db.execute(_SQL["change_trouble"], about).rowcount:
                put_notices(db, of["contest_id"], of["partition"], [operational(kind, sentence, of)])


def _read_on(reader: Reader, places: dict[int, int]) -> list[IngestStatus]:
    """Return the last sign of each contest since the last call."""
    last: dict[str, IngestStatus] = {}
    for batch in reader.read_on(places):
        for raw in batch:
            try:
                sign = decode(raw.value, raw.headers)
            except ContractError:
                continue
            if isinstance(sign, IngestStatus):
                last[sign.contest_id] = sign
    return list(last.values())


def _waiting(silent_s: float) -> None:
    raise BrokerAway(f"no acknowledgement of a sign of life for {silent_s:.0f} s")
