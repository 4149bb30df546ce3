"""Write batches to PostgreSQL, one transaction each.

Everything a batch changes, and the cursor that says how far the log has been read, is committed together or not at
all. The cursor moves first, and only from the epoch and offset this writer holds: a writer that was replaced while
it was suspended finds no row to move and has written nothing.

What a crash leaves: before the commit, nothing; after it, everything. The next start reads the cursor and continues.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps

from aggregator.fold.evolve import ContestState
from aggregator.tables import binary, rows
from aggregator.tables.batch import Batch, ContestRows, Cursor, TotalRows, UnitRows
from aggregator.tables.errors import Fenced, TablesError
from aggregator.tables.loader import epoch_of, load_blocked, load_states
from aggregator.tables.lock_wait import LockWait
from results.named_sql import named_sql
from results.projection import LIVE, Projection
from results.version import check
from runtime.kafka.producer import elsewhere
from runtime.postgres import COPY_HEADER, COPY_TRAILER, connect, faults_named
from schemas.columns.unit_index import UnitIndex
from schemas.columns.wire import instant
from schemas.contest import ContestDefined
from schemas.types import from_milliseconds

logger = logging.getLogger(__name__)
_SQL = named_sql(__package__, "writer")

COMMIT_S = 120
"""Longest duration of a commit, in seconds; the largest need a few. A writer suspended in the middle holds the row of
the cursor, and the next owner of the partition waits for that row this long at most."""
_CHUNK = 1 << 20
"""Bytes sent at once."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A parameter bigint[]: a list of Python's numbers takes ten times as long."""

    encoded: bytes


class _NumbersDumper(psycopg.adapt.Dumper):
    format = psycopg.pq.Format.BINARY
    oid = psycopg.postgres.types["int8"].array_oid

    def dump(self, obj: _Numbers) -> bytes:
        return obj.encoded


class Writer:
    """A writer's connection to one projection. Use as a context manager.

    `lock_wait_s`: how long to wait for another writer's commit when a partition is claimed; by default until it ends.
    """

    def __init__(self, url: str, projection: Projection = LIVE, lock_wait_s: float | None = None) -> None:
        self.connection = connect(url)
        """For what is written in a writer's transactions besides: `commit`, `holding`."""
        self._locks = LockWait(url, self.connection, lock_wait_s) if lock_wait_s is not None else None
        self._projection = projection
        set_json_dumps(orjson.dumps, self.connection)
        self.connection.adapters.register_dumper(_Numbers, _NumbersDumper)
        try:
            with faults_named():
                check(self.connection, projection, projection.tables)
                row = self.connection.execute(_SQL["generation"]).fetchone()
                assert row is not None
                self.generation = (int(row["version"]), int(row["take_overs"]))
                """Version and number of take-overs: they change when a rebuild becomes the live projection."""
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()

    def claim(self, topic: str, topic_id: UUID, partition: int) -> Cursor:
        """Claim a partition from all earlier writers.

        Raises TablesError for tables of another topic or log, LockedOut where another writer's commit does not end.
        """

        def claim() -> Cursor:
            other = self.connection.execute(_SQL["other_topic"], {"topic": topic}).fetchone()
            if other is not None:
                raise TablesError(
                    f"this database holds the totals of topic {other['topic']}, not of {topic}; "
                    f"give {topic} a database of its own"
                )
            row = self.connection.execute(
                _SQL["claim_cursor"], {"topic": topic, "partition": partition, "topic_id": topic_id, "digest": ""}
            ).fetchone()
            assert row is not None
            if row["topic_id"] != topic_id:
                raise TablesError(
                    f"topic {topic} is {topic_id}, the database was built from {row['topic_id']}: the topic was "
                    "deleted and made again, or this is another cluster. Nothing was read. "
                    "Point the aggregator at the log it was built from; "
                    "to build from this one instead: `escrutinio-aggregator rebuild`, then `take-over`."
                )
            return Cursor(topic, partition, row["next_offset"], row["epoch"])

        with faults_named():
            if self._locks is not None:
                return self._locks.run(f"claiming {topic}/{partition} in {self._projection}", claim)
            with self.connection.transaction():
                return claim()

    def ping(self) -> None:
        """Check that the database answers. Raises DatabaseUnreachable."""
        with faults_named():
            self.connection.execute("SELECT 1")

    def analyse(self) -> None:
        """Analyse the tables: see `analyse`."""
        with faults_named():
            analyse(self.connection)

    def commit(self, cursor: Cursor, *batches: Batch, also: Callable[[Cursor], None] = lambda _: None) -> Cursor:
        """Write batches that follow each other. Raises Fenced, having written nothing, when another writer came.

        `also`: is called last in the transaction, with the cursor after them.
        """
        with self.writing(cursor) as write:
            for batch in batches:
                moved = write(batch)
            also(moved)
        if self._projection == LIVE:
            with suppress(psycopg.Error):  # a hint: the queue of notifications may be full, of anyone's
                self.connection.execute(_SQL["notify"])
        return moved

    @contextmanager
    def holding(self, cursor: Cursor) -> Iterator[None]:
        """Open a transaction that is nobody else's while it lasts. Raises Fenced when another writer came."""
        where = {"topic": cursor.topic, "partition": cursor.partition, "epoch": cursor.epoch}
        limits = {"next_offset": cursor.next_offset, "timeout": f"{COMMIT_S}s"}
        with faults_named(), self.connection.transaction():
            if self.connection.execute(_SQL["hold_cursor"], where | limits).fetchone() is None:
                raise self._fenced(cursor)
            yield

    @contextmanager
    def writing(self, cursor: Cursor) -> Iterator[Callable[[Batch], Cursor]]:
        """Write batches that follow each other, in one transaction: yields what writes one and returns the new cursor.

        Raises Fenced, having written nothing, when another writer holds the partition.
        """
        now = cursor

        def write(batch: Batch) -> Cursor:
            nonlocal now
            moved = self.connection.execute(
                _SQL["move_cursor"],
                {
                    "topic": now.topic,
                    "partition": now.partition,
                    "epoch": now.epoch,
                    "expected_offset": now.next_offset,
                    "next_offset": batch.next_offset,
                    "digest": batch.digest,
                    "timeout": f"{COMMIT_S}s",
                },
            )
            if moved.rowcount != 1:
                raise self._fenced(now)
            self._copy("parked", rows.PARKED, map(rows.parked_row, batch.parked))
            for contest in batch.contests:
                self._contest(now, batch, contest)  # first: it refuses a contest of another partition
                self._history(contest)
            self._block(batch)
            now = Cursor(now.topic, now.partition, batch.next_offset, now.epoch)
            return now

        with faults_named(), self.connection.transaction():
            yield write

    def put_unreadable(self, cursor: Cursor, reason: str) -> None:
        """Note that the log cannot be read from the cursor on, which blocks every contest of the partition.

        The next commit removes the note. Raises Fenced when another writer holds the partition.
        """
        where = {"topic": cursor.topic, "partition": cursor.partition, "epoch": cursor.epoch}
        with faults_named(), self.connection.transaction():
            noted = self.connection.execute(
                _SQL["put_unreadable"], where | {"next_offset": cursor.next_offset, "reason": rows.reason_of(reason)}
            )
            if noted.rowcount != 1:
                raise self._fenced(cursor)

    def _fenced(self, cursor: Cursor) -> Fenced:
        return Fenced(
            f"another aggregator holds {cursor.topic}/{cursor.partition} (this one had epoch {cursor.epoch}, "
            f"offset {cursor.next_offset}); nothing was written",
            self.generation,
        )

    def _history(self, contest: ContestRows) -> None:
        contest_id, groups = contest.contest_id, contest.index.groups
        paths = ((contest_id, number, groups[number][0], list(groups[number][1])) for number in contest.groups)
        self._copy("area_path", rows.AREA_PATH, paths)
        for table, columns, encoded in contest.copies:
            with self.connection.cursor() as db, db.copy(_copy_to(table, columns)) as copy:
                copy.write(COPY_HEADER)
                for begin in range(0, len(encoded), _CHUNK):
                    copy.write(encoded[begin : begin + _CHUNK])
                copy.write(COPY_TRAILER)
        for table, of_table in contest.few.items():
            self._copy(table, rows.FEW[table], of_table)

    def _copy(self, table: str, columns: Mapping[str, str], values: Iterable[tuple[Any, ...]]) -> None:
        iterator = iter(values)
        first = next(iterator, None)
        if first is None:
            return
        with self.connection.cursor() as db, db.copy(_copy_to(table, columns)) as copy:
            copy.set_types(list(columns.values()))
            copy.write_row(first)
            for row in iterator:
                copy.write_row(row)

    def _block(self, batch: Batch) -> None:
        for contest_id, (offset, reason) in batch.blocked.items():
            if contest_id not in batch.states:  # no row: of made-up keys there may be very many
                continue
            self.connection.execute(
                _SQL["block_contest"], {"contest_id": contest_id, "offset": offset, "reason": reason}
            )

    def _contest(self, cursor: Cursor, batch: Batch, contest: ContestRows) -> None:
        contest_id, definition = contest.contest_id, contest.definition
        content = contest.contest.model_dump(mode="json", exclude={"areas"}) if contest.contest is not None else None
        block = batch.blocked.get(contest_id)
        put = self.connection.execute(
            _SQL["put_contest"],
            {
                "contest_id": contest_id,
                "topic": cursor.topic,
                "partition": cursor.partition,
                "definition_offset": definition.offset if definition is not None else None,
                "definition": Jsonb(content) if content is not None else None,
                "digest": contest.digest,
                "last_offset": contest.last.offset,
                "last_recorded_at": from_milliseconds(contest.last.recorded),
                "last_reported_at": instant(contest.last_reported),
                "blocked_offset": block[0] if block is not None else None,
                "blocked_reason": block[1] if block is not None else None,
            },
        )
        if put.rowcount != 1:
            home = self.connection.execute(_SQL["home_of_contest"], {"contest_id": contest_id}).fetchone()
            assert home is not None
            raise TablesError(
                f"an event of {contest_id} is in partition {cursor.partition}, offset {contest.first_offset}, "
                f"but the contest is in partition {home['partition']}: events of two partitions have no order. "
                "Nothing was written. "
                "Find out who wrote it (only ingest may), or who changed the number of partitions."
            )
        if contest.is_defined and contest.contest is not None:
            self._definition(contest.contest)
        if contest.units is not None:
            self._units(contest_id, contest.index, contest.units)
        if contest.totals is not None:
            self._totals(contest_id, contest.totals)

    def _units(self, contest_id: str, index: UnitIndex, units: UnitRows) -> None:
        new = units.is_new
        columns = (column[new].tolist() for column in (units.number, units.current, units.head))
        self._copy(
            "unit_state",
            rows.UNIT,
            (
                (contest_id, number, *index.keys[number], *(None if at < 0 else at for at in offsets))
                for number, *offsets in zip(*columns, strict=True)
            ),
        )
        known = ~new & (units.head >= 0)
        if known.any():
            changed = {"units": units.number, "currents": units.current, "heads": units.head}
            parameters = {name: _Numbers(binary.numbers(column[known])) for name, column in changed.items()}
            self.connection.execute(_SQL["move_units"], {"contest_id": contest_id, **parameters})

    def _totals(self, contest_id: str, totals: TotalRows) -> None:
        self.connection.execute(
            _SQL["put_totals"],
            {
                "contest_id": contest_id,
                "types": [unit_type for unit_type, _ in totals.places],
                "areas": [area for _, area in totals.places],
                "figures": [_array(vector) for vector in totals.vector.tolist()],
                "stated": [instant(ms) for ms in totals.stated.tolist()],
                "offsets": totals.last_offset.tolist(),
                "event_ids": [UUID(bytes=event_id) for event_id in totals.event_id],
                "since": [_array(since) for since in totals.since],
                "kept_at": totals.kept_at.tolist(),
            },
        )

    def _definition(self, contest: ContestDefined) -> None:
        self.connection.execute(
            _SQL["put_selections"],
            {
                "contest_id": contest.contest_id,
                "ids": [s.selection_id for s in contest.selections],
                "candidates": [s.candidate for s in contest.selections],
                "parties": [s.party for s in contest.selections],
                "orders": [s.ballot_order for s in contest.selections],
                "kinds": [s.kind.value for s in contest.selections],
                "lists": [s.list_id for s in contest.selections],
                "withdrawn": [s.withdrawn_at for s in contest.selections],
            },
        )
        self.connection.execute(
            _SQL["put_areas"],
            {
                "contest_id": contest.contest_id,
                "ids": [a.area_id for a in contest.areas],
                "names": [a.name for a in contest.areas],
                "types": [a.type for a in contest.areas],
                "parents": [a.parent_id for a in contest.areas],
                "expected": [a.expected_units for a in contest.areas],
                "ends": [a.ends_at for a in contest.areas],
                "replaced_by": [_texts(a.replaced_by) for a in contest.areas],
                "codes": [Jsonb({code.registry: code.value for code in a.codes}) for a in contest.areas],
                "within": [Jsonb(contest.areas_within[a.area_id]) for a in contest.areas],
            },
        )

    def load(
        self, cursor: Cursor, partitions: int | None = None
    ) -> tuple[dict[str, ContestState], dict[str, tuple[int, str]]]:
        """Read the states of a partition's contests at the cursor back, and which contests are blocked.

        `partitions`: of the log; None: every contest may stand in every partition. Raises TablesError for a contest
        that was counted in another than its own; TablesChanged, naming the mismatch, when the tables are not what was
        committed; Fenced when another writer has claimed the partition in the meantime, so that its commits are not
        mistaken for such a change.
        """
        with faults_named(), self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # one snapshot for all queries
            if epoch_of(self.connection, cursor) != cursor.epoch:
                raise self._fenced(cursor)
            states = load_states(self.connection, cursor, self._projection)
            blocked = load_blocked(self.connection, cursor, partitions)
        for contest_id in states:
            if (what := elsewhere(contest_id.encode(), cursor.partition, partitions)) is not None:
                raise TablesError(
                    f"contest {contest_id} {what}, of the {partitions} of {cursor.topic}. Nothing was read. The number "
                    "of partitions was changed: ingest would write the contest to another, and events of two have no "
                    "order. Restore the log with the number that it had (docs/backup.md), and rebuild from that."
                )
        return states, blocked

    def parked(self, cursor: Cursor) -> dict[str, int]:
        """Count the parked messages of a partition, by the contest that their key names."""
        with faults_named():
            found = self.connection.execute(_SQL["parked_of_partition"], {"partition": cursor.partition})
            return {row["contest_id"]: row["messages"] for row in found}


def analyse(db: psycopg.Connection[Any]) -> None:
    """Let PostgreSQL count what a projection's tables hold: until then it plans queries as if they were small."""
    db.execute(_SQL["analyse"])


def _copy_to(table: str, columns: Iterable[str]) -> psycopg.sql.Composed:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    return psycopg.sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(psycopg.sql.Identifier(table), names)


def _texts(values: Iterable[str]) -> str:
    """Return an array of text as JSON, which a query makes an array of, for the same reason."""
    return orjson.dumps(list(values)).decode()


def _array(values: list[int]) -> str:
    """Return an array of bigint as text: parameters have no arrays of different lengths in an array."""
    return "{" + str(values)[1:-1] + "}"
