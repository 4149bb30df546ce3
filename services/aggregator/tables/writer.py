"""Write batches to PostgreSQL, one transaction each.

Everything a batch changes, and the cursor that says how far the log has been read, is committed together or not at
all. The cursor moves first, and only from the epoch and offset this writer holds: a writer that was replaced while
it was suspended finds no row to move and has written nothing.

What a crash leaves: before the commit, nothing; after it, everything. The next start reads the cursor and continues.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Self
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps
from psycopg.types.range import Range

from aggregator.columns.runs import Run
from aggregator.fold.fold import ContestState, Step
from aggregator.tables import copy_columns, rows
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import Fenced, TablesError
from aggregator.tables.loader import epoch_of, load_blocked, load_states
from results.named_sql import named_sql
from results.projection import LIVE, Projection
from results.vectors import FIGURES
from results.version import check
from runtime.postgres import connect, faults_named
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate

logger = logging.getLogger(__name__)
_SQL = named_sql(__package__, "writer")

COMMIT_S = 120
"""Longest duration of a commit, in seconds; the largest need a few. A writer suspended in the middle holds the row of
the cursor, and the next owner of the partition waits for that row this long at most."""


class Writer:
    """A writer's connection to one projection. Use as a context manager."""

    def __init__(self, url: str, projection: Projection = LIVE) -> None:
        self._db = connect(url)
        self._rows = copy_columns.Rows()
        # Each row has three JSON documents: the standard library would spend a tenth of a commit on them.
        set_json_dumps(orjson.dumps, self._db)
        try:
            with faults_named():
                check(self._db, projection, projection.tables)
                row = self._db.execute(_SQL["generation"]).fetchone()
                assert row is not None
                self.generation = (int(row["version"]), int(row["take_overs"]))
                """Version and number of take-overs: they change when a rebuild becomes the live projection."""
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def claim(self, topic: str, topic_id: UUID, partition: int) -> Cursor:
        """Claim a partition from all earlier writers. Raises TablesError for tables of another topic or log."""
        with faults_named(), self._db.transaction():
            other = self._db.execute(_SQL["other_topic"], {"topic": topic}).fetchone()
            if other is not None:
                raise TablesError(
                    f"this database holds the totals of topic {other['topic']}, not of {topic}; "
                    f"give {topic} a database of its own"
                )
            row = self._db.execute(
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

    def ping(self) -> None:
        """Check that the database answers. Raises DatabaseUnreachable."""
        with faults_named():
            self._db.execute("SELECT 1")

    def commit(self, cursor: Cursor, batch: Batch) -> Cursor:
        """Write a batch. Raises Fenced, having written nothing, when another writer holds the partition."""
        with faults_named(), self._db.transaction():
            self._db.execute(f"SET LOCAL transaction_timeout = '{COMMIT_S}s'")
            moved = self._db.execute(
                _SQL["move_cursor"],
                {
                    "topic": cursor.topic,
                    "partition": cursor.partition,
                    "epoch": cursor.epoch,
                    "expected_offset": cursor.next_offset,
                    "next_offset": batch.next_offset,
                    "digest": batch.digest,
                },
            )
            if moved.rowcount != 1:
                raise self._fenced(cursor)
            self._history(batch)
            for contest_id, state in batch.states.items():
                self._contest(cursor, batch, contest_id, state)
        return Cursor(cursor.topic, cursor.partition, batch.next_offset, cursor.epoch)

    def _fenced(self, cursor: Cursor) -> Fenced:
        return Fenced(
            f"another aggregator holds {cursor.topic}/{cursor.partition} (this one had epoch {cursor.epoch}, "
            f"offset {cursor.next_offset}); nothing was written",
            self.generation,
        )

    def _history(self, batch: Batch) -> None:
        updates = [s for s in batch.steps if isinstance(s.recorded.event, CountUpdate)]
        definitions = [s for s in batch.steps if isinstance(s.recorded.event, ContestDefined)]
        for run in batch.runs:
            self._copy_bytes("count_update_history", copy_columns.COLUMNS, self._rows.updates(run))
        self._copy("count_update_history", rows.UPDATE, map(rows.update_row, updates))
        self._copy("contest_history", rows.DEFINITION, map(rows.definition_row, definitions))
        self._copy("finding", rows.FINDING, (row for step in batch.steps for row in rows.finding_rows(step)))
        self._copy("parked", rows.PARKED, map(rows.parked_row, batch.parked))
        later = [rows.log_time_row(step) for step in batch.steps if step.is_later]
        later += [row for run in batch.runs for row in rows.log_time_rows(run)]
        self._copy("log_time", rows.LOG_TIME, later)
        for run in batch.runs:
            self._copy_bytes("area_total_block", rows.BLOCK, self._rows.blocks(run))
        blocks = (r for s in batch.steps for r in rows.block_rows(s.recorded.event.contest_id, s.blocks))
        self._copy("area_total_block", rows.BLOCK, ((*row[:3], Range(*row[3]), *row[4:]) for row in blocks))

    def _copy_bytes(self, table: str, columns: Mapping[str, str], stream: Iterable[bytes]) -> None:
        with self._db.cursor() as db, db.copy(_copy_to(table, columns)) as copy:
            for part in stream:
                copy.write(part)

    def _copy(self, table: str, columns: Mapping[str, str], values: Iterable[tuple[Any, ...]]) -> None:
        iterator = iter(values)
        first = next(iterator, None)
        if first is None:
            return
        with self._db.cursor() as db, db.copy(_copy_to(table, columns)) as copy:
            copy.set_types(list(columns.values()))
            copy.write_row(first)
            for row in iterator:
                copy.write_row(row)

    def _contest(self, cursor: Cursor, batch: Batch, contest_id: str, state: ContestState) -> None:
        steps = [s for s in batch.steps if s.recorded.event.contest_id == contest_id]
        runs = [run for run in batch.runs if run.contest_id == contest_id]
        block = batch.blocked.get(contest_id)
        if state.last is None:
            if block is not None:
                self._db.execute(
                    _SQL["block_contest"], {"contest_id": contest_id, "offset": block[0], "reason": block[1]}
                )
            return
        defined = any(isinstance(s.recorded.event, ContestDefined) and s.accepted for s in steps)
        definition = state.definition
        put = self._db.execute(
            _SQL["put_contest"],
            {
                "contest_id": contest_id,
                "topic": cursor.topic,
                "partition": cursor.partition,
                "definition_offset": definition.offset if definition is not None else None,
                "definition": Jsonb(state.contest.model_dump(mode="json", exclude={"areas"})) if definition else None,
                "digest": batch.digests[contest_id],
                "last_offset": state.last.offset,
                "last_recorded_at": state.last.recorded_at,
                "last_reported_at": state.last_reported_at,
                "blocked_offset": block[0] if block is not None else None,
                "blocked_reason": block[1] if block is not None else None,
            },
        )
        if put.rowcount != 1:
            home = self._db.execute(_SQL["home_of_contest"], {"contest_id": contest_id}).fetchone()
            assert home is not None
            raise TablesError(
                f"an event of {contest_id} is in partition {cursor.partition}, offset {_first_offset(steps, runs)}, "
                f"but the contest is in partition {home['partition']}: events of two partitions have no order. "
                "Nothing was written. "
                "Find out who wrote it (only ingest may), or who changed the number of partitions."
            )
        if defined:
            self._definition(state.contest)
        updates = [s for s in steps if isinstance(s.recorded.event, CountUpdate)]
        keys = {s.recorded.update.unit for s in updates if s.accepted}.union(*(run.keys() for run in runs))
        if keys:
            ordered = sorted(keys)
            offsets = [state.offsets(key) for key in ordered]
            self._db.execute(
                _SQL["put_units"],
                {
                    "contest_id": contest_id,
                    "types": [key.type for key in ordered],
                    "ids": [key.id for key in ordered],
                    "currents": [current for current, _ in offsets],
                    "heads": [head for _, head in offsets],
                },
            )
        # A new definition may have added a selection to every total.
        touched = {(kind, area) for kind, totals in state.sums.items() for area in totals} if defined else set()
        touched = touched.union(*(run.touched for run in runs))
        touched |= {(s.recorded.update.reporting_unit.type.value, area) for s in updates for area in s.areas}
        if touched:
            totals = [_total_row(contest_id, *key, state) for key in sorted(touched)]
            self._db.execute(_SQL["put_totals"], {"rows": Jsonb(totals)})

    def _definition(self, contest: ContestDefined) -> None:
        self._db.execute(
            _SQL["put_selections"],
            {
                "contest_id": contest.contest_id,
                "ids": [s.selection_id for s in contest.selections],
                "candidates": [s.candidate for s in contest.selections],
                "parties": [s.party for s in contest.selections],
                "orders": [s.ballot_order for s in contest.selections],
            },
        )
        self._db.execute(
            _SQL["put_areas"],
            {
                "contest_id": contest.contest_id,
                "ids": [a.area_id for a in contest.areas],
                "names": [a.name for a in contest.areas],
                "types": [a.type.value for a in contest.areas],
                "parents": [a.parent_id for a in contest.areas],
            },
        )

    def load(self, cursor: Cursor) -> tuple[dict[str, ContestState], dict[str, tuple[int, str]]]:
        """Read the states of a partition's contests at the cursor back, and which contests are blocked.

        Raises TablesChanged, naming the mismatch, when the tables are not what was committed; Fenced when another
        writer has claimed the partition in the meantime, so that its commits are not mistaken for such a change.
        """
        with faults_named(), self._db.transaction():
            self._db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # one snapshot for all queries
            if epoch_of(self._db, cursor) != cursor.epoch:
                raise self._fenced(cursor)
            return load_states(self._db, cursor), load_blocked(self._db, cursor)

    def parked(self, cursor: Cursor) -> dict[str, int]:
        """Count the parked messages of a partition, by the contest that their key names."""
        with faults_named():
            found = self._db.execute(_SQL["parked_of_partition"], {"partition": cursor.partition})
            return {row["contest_id"]: row["messages"] for row in found}


def _copy_to(table: str, columns: Iterable[str]) -> psycopg.sql.Composed:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    return psycopg.sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(psycopg.sql.Identifier(table), names)


def _total_row(contest_id: str, unit_type: str, area: str, state: ContestState) -> dict[str, Any]:
    total, layout = state.sums[unit_type][area], state.layout
    assert total.stated_at is not None
    return {
        "contest_id": contest_id,
        "unit_type": unit_type,
        "area_id": area,
        "votes": layout.votes(total.vector),
        **dict(zip(FIGURES, total.vector, strict=False)),
        "under_review_by_reason": {r: n for r, n in layout.reasons(total.vector).items() if n},
        "stated_at": total.stated_at.isoformat(),
        "last_offset": total.last_offset,
        "last_event_id": str(total.last_event_id),
        "since": total.since,
        "kept_at": total.kept_at,
    }


def _first_offset(steps: list[Step], runs: list[Run]) -> int:
    offsets = [*(step.recorded.offset for step in steps), *(int(run.offsets[0]) for run in runs if len(run))]
    return min(offsets)
