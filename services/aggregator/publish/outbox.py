"""Write what is published into the outbox, in the transaction of the count that it tells.

So no count is committed whose totals and notices can be lost, none is told that was not committed, and a message that
is sent again has the same bytes. Counts are made by `results`, from the tables as the batch leaves them: what is
published is what `escrutinio show` answers.

Where much changes at once, making counts takes a bounded share of the time (`_SHARE`), so that counting goes on: the
outer areas, the whole contest and those directly in it, are told first, and several batches of the others at once. The
topic is compacted, and nobody needs a count that was replaced a second later. Notices are of every publication.

What is told, and how far, stands beside the projections: a rebuild writes nothing here, and after a take-over only
counts that differ are told. A contest that had events before it was published begins with its counts as they are then.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import psycopg
from psycopg.types.json import Jsonb

from aggregator.publish.area_counts import Causes, Told, area_count, causes_by_area, content_of, figures, is_outer
from aggregator.publish.partition_notices import Taken
from aggregator.tables.batch import Batch, Cursor
from results.count import NothingCounted
from results.named_sql import named_sql
from results.projection import LIVE
from results.reader import Reader, as_of_row, blocked_of
from results.version import point_at_locally
from runtime.postgres import faults_named
from schemas.area_count import AreaCount, Cause
from schemas.codec import Message, encode
from schemas.contest import ContestDefined
from schemas.notice import Notice
from schemas.types import CorrectionBasis, UpdateKind

_SQL = named_sql(__package__, "outbox")
_SHARE = 20
"""Counts are made again after so many times the time that it took, while more is read."""
_FEW = 100
"""Areas whose counts are always made with their batch."""
_FIRST_S = 20.0
"""Seconds from the beginning until counts of more areas are made, while more is read."""
_SHORT_S = 0.05
"""Duration of making counts that keeps nothing up: they are made with each batch."""
_UNSENT = 50_000
"""Messages that may wait to be sent before no more counts are added: the broker refuses them. Later ones tell more."""

Database = psycopg.Connection[dict[str, Any]]


class Outbox:
    """Adds to the outbox what the transactions of one writer's connection change."""

    def __init__(self, db: Database, version: int) -> None:
        """`version`: of the live projection."""
        self._db, self._version, self._reader = db, version, Reader.within(db)
        self._ends: dict[int, int] = {}
        self._pending: dict[int, dict[str, set[str]]] = {}
        """By partition, contests whose counts are committed and not told, with the areas that are known to differ."""
        self._outer_at = time.monotonic()
        self._whole_at = self._outer_at + _FIRST_S
        """When counts may be made again: of all areas, and of the outer ones."""

    def begin(self, partition: int, end: int, contests: Iterable[str]) -> None:
        """Begin with a partition. `end`: that of the log; `contests`: whose counts may be committed and not told."""
        self._ends[partition], self._pending[partition] = end, {contest_id: set() for contest_id in contests}

    def is_due(self, partition: int, *, is_idle: bool) -> bool:
        """Say whether a count of the partition is committed and not told, and it is time to."""
        return bool(self._pending.get(partition)) and (is_idle or time.monotonic() >= self._whole_at)

    def known_notices(self) -> dict[str, Mapping[str, Any]]:
        """Return what is kept of the notices of contests, by their ids."""
        return {row["contest_id"]: row["notices"] for row in self._run("known_notices")}

    def unsent(self) -> int:
        """Return how many messages wait to be sent."""
        return int(self._one("unsent")["messages"])

    def add(self, cursor: Cursor, batch: Batch | None, notices: Taken, *, is_idle: bool = False) -> int:
        """Add what a batch changed, and what earlier ones left. Returns the number of messages.

        Args:
            cursor: After the batch.
            batch: None: nothing but what was left.
            notices: Those of the batch.
            is_idle: Whether nothing more is read: counts of all areas keep nothing up.
        """
        for contest_id, (told, known) in notices.items():
            self._run("know_notices", contest_id=contest_id, version=self._version, notices=Jsonb(known))
            put_notices(self._db, contest_id, cursor.partition, told)
        added = sum(len(told) for told, _ in notices.values()) + self._add_counts(cursor, batch, is_idle)
        if not self._pending[cursor.partition]:
            self._run("told_partition", partition=cursor.partition, next_offset=cursor.next_offset)
        return added

    def _add_counts(self, cursor: Cursor, batch: Batch | None, is_idle: bool) -> int:
        pending = self._pending[cursor.partition]
        if batch is not None:
            for contest in batch.contests:
                places = contest.totals.places if contest.totals is not None else ()
                pending.setdefault(contest.contest_id, set()).update(area_id for _, area_id in places)
            blocked = {contest_id: offset for contest_id, (offset, _) in batch.blocked.items()}
            for one in batch.parked:
                if blocked.get(one.contest_id) == one.raw.offset:
                    pending.setdefault(one.contest_id, set())
        begun = time.monotonic()
        is_whole = is_idle or begun >= self._whole_at or sum(map(len, pending.values())) <= _FEW
        if not pending or not (is_whole or begun >= self._outer_at) or self._is_old(cursor) or self.unsent() > _UNSENT:
            return 0
        point_at_locally(self._db, *LIVE.readable)
        messages = [message for contest_id in sorted(pending) for message in self._counts(contest_id, is_whole)]
        _put(self._db, "totals", cursor.partition, messages)
        now = time.monotonic()
        due_at = now + _SHARE * (now - begun) if now - begun > _SHORT_S else 0.0  # a short one puts nothing off
        if is_whole:
            pending.clear()
            self._whole_at = max(self._whole_at, due_at)
        else:
            self._outer_at = due_at
        return len(messages)

    def _is_old(self, cursor: Cursor) -> bool:
        return cursor.next_offset < self._ends.get(cursor.partition, 0)

    def _counts(self, contest_id: str, is_whole: bool) -> Iterator[Message]:
        """Yield the counts of a contest that say something new: of all areas, or not `is_whole`: of the outer ones."""
        try:
            contest, row = self._reader.contest(contest_id)
        except NothingCounted:  # it is not defined yet
            return
        unknown = {"totals_to": -1, "outer_to": -1, "version": self._version}
        told, last = self._one("contest", contest_id=contest_id) or unknown, row["last_offset"]
        is_first, after = told["totals_to"] < 0, told["totals_to" if is_whole else "outer_to"]
        updates = [] if is_first else self._run("updates_since", contest_id=contest_id, after=after, to_offset=last)
        causes = causes_by_area(contest, updates, told["outer_to"])
        areas = {contest.root.area_id, *causes}
        is_other = is_first or told["version"] != self._version
        if is_other or self._one("redefined", contest_id=contest_id, after=after)["redefined"]:
            areas |= {of["area_id"] for of in self._run("counted_areas", contest_id=contest_id)}
        areas &= contest.areas_by_id.keys()
        if not is_whole and not is_first:
            areas = {area for area in areas if is_outer(contest, area)}
        made = self._made(contest, row, areas, causes)
        self._tell(contest_id, made)
        is_whole = is_whole or is_first
        told_to = {"totals_to": last if is_whole else told["totals_to"], "outer_to": last}
        version = self._version if is_whole else told["version"]
        self._run("told_to", contest_id=contest_id, version=version, **told_to)
        yield from map(encode, made)

    def _made(
        self, contest: ContestDefined, row: Mapping[str, Any], areas: Collection[str], causes: Mapping[str, Causes]
    ) -> list[AreaCount]:
        """Return the counts of areas that differ from those that were told, outermost areas first."""
        contest_id = contest.contest_id
        told = {
            of["area_id"]: Told(of["event_id"], of["figures"], bytes(of["content"]))
            for of in self._run("told", contest_id=contest_id, areas=list(areas))
        }
        offsets = sorted({offset for area in areas if area in causes for offset in causes[area].offsets})
        known = {of["log_offset"]: _cause(of) for of in self._run("causes", contest_id=contest_id, offsets=offsets)}
        found = self._reader.counts(contest_id, areas)
        as_of, made = as_of_row(row), []
        for area in contest.areas:
            if (count := found.get(area.area_id)) is None:
                continue
            before = told.get(area.area_id)
            if before is None and isinstance(count, NothingCounted):
                continue
            since = causes.get(area.area_id, Causes())
            event = area_count(contest, area, count, as_of, blocked_of(row), before, since, known)
            if before is None or before.content != content_of(event):
                made.append(event)
        return made

    def _tell(self, contest_id: str, made: Sequence[AreaCount]) -> None:
        self._run(
            "put_told",
            contest_id=contest_id,
            areas=[count.area_id for count in made],
            event_ids=[count.event_id for count in made],
            figures=[orjson.dumps(figures(count)).decode() for count in made],
            contents=[content_of(count) for count in made],
        )

    def _run(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        with faults_named():
            cursor = self._db.execute(_SQL[query], parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def _one(self, query: str, **parameters: object) -> Any:
        return next(iter(self._run(query, **parameters)), None)


def put_notices(db: Database, contest_id: str, partition: int, notices: Sequence[Notice]) -> None:
    """Add notices of a contest to the outbox, and keep them for readers without Kafka.

    The caller's transaction has changed the contest's row of `publish.contest`, so that one at a time numbers them.
    """
    bodies = [notice.model_dump_json() for notice in notices]
    db.execute(_SQL["keep_notices"], {"contest_id": contest_id, "bodies": bodies})
    _put(db, "notices", partition, list(map(encode, notices)))


def _put(db: Database, topic: str, partition: int, messages: Sequence[Message]) -> None:
    """Add messages about a partition of the log to the outbox."""
    if not messages:
        return
    headers = ([(name, value.decode()) for name, value in message.headers] for message in messages)
    columns = {
        "keys": [message.key for message in messages],
        "values": [message.value for message in messages],
        "headers": [orjson.dumps(of).decode() for of in headers],
    }
    db.execute(_SQL["put_messages"], {"topic": topic, "partition": partition, **columns})


def _cause(update: Mapping[str, Any]) -> Cause:
    return Cause(
        event_id=update["event_id"],
        offset=update["log_offset"],
        unit=f"{update['unit_type']}/{update['unit_id']}",
        kind=UpdateKind(update["kind"]) if update["kind"] != UpdateKind.UNKNOWN else None,
        reason=update["reason"],
        basis=CorrectionBasis(update["basis"]) if update["basis"] not in (None, CorrectionBasis.UNKNOWN) else None,
    )
