"""PostgreSQL, as the writer sees it: a door with one transaction per batch.

Everything a batch changes, and the cursor that says how far the log has been read, is committed together or not at
all. The cursor moves first, and only from the epoch and offset this writer holds: a writer that was replaced while
it slept finds no row to move and has written nothing.

What a crash leaves: before the commit, nothing; after it, everything. The next start reads the cursor and goes on.
"""

import logging
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps
from psycopg.types.range import Range

from aggregator.columns.runs import Run
from aggregator.fold.fold import ContestState, Step, Unit, sum_up
from aggregator.tables import copy_columns as history
from aggregator.tables import rows
from aggregator.tables.batch import Batch, Cursor
from aggregator.tables.errors import Fenced, StoreError, TablesChanged
from results.named_sql import named_sql
from results.projection import LIVE, Projection
from results.rows import CHANGED_OUTSIDE, definition_of, recorded_of, total_of
from results.vectors import FIGURES, AreaTotal, Layout
from results.version import check
from runtime.postgres import connect, faults_named
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate
from schemas.identity import leaf, text_of
from schemas.log_record import Recorded
from schemas.types import AREA_TYPES

logger = logging.getLogger(__name__)
_SQL = named_sql(__package__, "writer")

COMMIT_S = 120
"""How long a commit may take; the largest takes seconds. A writer that is frozen in the middle holds the cursor's row, and
whoever is to take its partition over waits for that row this long and no longer."""


class Store:
    """A writer's connection to one projection. Use as a context manager."""

    def __init__(self, url: str, projection: Projection = LIVE) -> None:
        self._db = connect(url)
        self._rows = history.Rows()
        # Three documents a row: the standard library would take a tenth of a commit for them.
        set_json_dumps(orjson.dumps, self._db)
        try:
            with faults_named():
                check(self._db, projection, projection.tables)
                row = self._db.execute(_SQL["turn"]).fetchone()
                assert row is not None
                self.turn = (int(row["version"]), int(row["take_overs"]))
                """Another one than before under the same name: a rebuild has taken over."""
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def claim(self, topic: str, topic_id: UUID, partition: int) -> Cursor:
        """Take the partition over: from here on, no earlier writer can commit.

        Raises StoreError when the cursor is of another topic under the same name.
        """
        with faults_named(), self._db.transaction():
            other = self._db.execute(_SQL["other_topic"], {"topic": topic}).fetchone()
            if other is not None:
                raise StoreError(
                    f"this database holds the totals of topic {other['topic']}, not of {topic}; give {topic} a database "
                    "of its own"
                )
            row = self._db.execute(
                _SQL["claim_cursor"],
                {"topic": topic, "partition": partition, "topic_id": topic_id, "digest": ""},
            ).fetchone()
            assert row is not None
            if row["topic_id"] != topic_id:
                raise StoreError(
                    f"topic {topic} is {topic_id}, the database was built from {row['topic_id']}: the topic was "
                    "deleted and made again, or this is another cluster. Nothing was read. Point the aggregator at the log it "
                    "was built from; or, where this one is to count from now on: `escrutinio-aggregator rebuild`, then `take-over`."
                )
        return Cursor(topic, partition, row["next_offset"], row["epoch"])

    def ask(self) -> None:
        """Raises DatabaseUnreachable when the database does not answer."""
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
            self.turn,
        )

    def _history(self, batch: Batch) -> None:
        updates = [s for s in batch.steps if isinstance(s.recorded.event, CountUpdate)]
        definitions = [s for s in batch.steps if isinstance(s.recorded.event, ContestDefined)]
        for run in batch.runs:
            self._copy_made("count_update_history", history.COLUMNS, self._rows.copied(run))
        self._copy("count_update_history", rows.UPDATE, map(rows.update_row, updates))
        self._copy("contest_history", rows.DEFINITION, map(rows.definition_row, definitions))
        self._copy("finding", rows.FINDING, (row for step in batch.steps for row in rows.finding_rows(step)))
        self._copy("parked", rows.PARKED, map(rows.parked_row, batch.parked))
        later = [rows.log_time_row(step) for step in batch.steps if step.is_later]
        later += [row for run in batch.runs for row in rows.log_time_rows(run)]
        self._copy("log_time", rows.LOG_TIME, later)
        for run in batch.runs:
            self._copy_made("area_total_block", rows.BLOCK, self._rows.blocks(run))
        blocks = (r for s in batch.steps for r in rows.block_rows(s.recorded.event.contest_id, s.blocks))
        self._copy("area_total_block", rows.BLOCK, ((*row[:3], Range(*row[3]), *row[4:]) for row in blocks))

    def _copy_made(self, table: str, columns: Mapping[str, str], stream: Iterable[bytes]) -> None:
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
            raise StoreError(
                f"an event of {contest_id} stands in partition {cursor.partition}, offset {_first_offset(steps, runs)}, but the "
                f"contest lives in partition {home['partition']}: its order is lost between the two. Nothing was written. "
                "Find who wrote it (only ingest may), or who changed the number of partitions."
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
        # A definition may have added a selection to every total.
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
        """The states of a partition's contests at the cursor, and the contests that are blocked there.

        Totals are not read but added up anew from the units and held against the table, and the digest against the
        one committed: raises TablesChanged naming what differs, so that a row changed by hand is not built upon. Raises Fenced
        when another writer has claimed the partition meanwhile: what it writes is not to be taken for such a change.
        """
        topic, partition = cursor.topic, cursor.partition
        with faults_named(), self._db.transaction():
            self._db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # all of one moment
            states: dict[str, ContestState] = {}
            blocked: dict[str, tuple[int, str]] = {}
            where = {"topic": topic, "partition": partition}
            held = self._db.execute(_SQL["cursor_of_partition"], where).fetchone()
            if held is None or held["epoch"] != cursor.epoch:
                raise self._fenced(cursor)
            for row in self._db.execute(_SQL["contests_of_partition"], where).fetchall():
                states[row["contest_id"]] = self._state(partition, row)
            for row in self._db.execute(_SQL["blocked_of_partition"], where).fetchall():
                blocked[row["contest_id"]] = (row["log_offset"], "blocked by an earlier message")
        return states, blocked

    def parked(self, cursor: Cursor) -> dict[str, int]:
        """How many messages of a partition are parked, by what their key says is their contest."""
        with faults_named():
            found = self._db.execute(_SQL["parked_of_partition"], {"partition": cursor.partition})
            return {row["contest_id"]: row["messages"] for row in found}

    def _state(self, partition: int, row: Mapping[str, Any]) -> ContestState:
        contest_id = row["contest_id"]
        state = ContestState()
        state.last, state.last_recorded_at = self._last(partition, row), row["latest_recorded_at"]
        if row["definition"] is None:
            return state
        contest = definition_of(row["definition"])
        state.definition = Recorded(partition, row["definition_offset"], row["definition_recorded_at"], contest)
        state.layout = Layout.of(contest)
        state.digest.definition = leaf(text_of(contest))
        heads = {
            (h := recorded_of(r)).offset: h
            for r in self._db.execute(_SQL["late_heads_of_contest"], {"contest_id": contest_id})
        }
        with self._db.cursor(name="units") as db:
            db.itersize = 5000
            for unit_row in db.execute(_SQL["units_of_contest"], {"contest_id": contest_id}):
                current = recorded_of(unit_row)
                _put_unit(state, current, heads.get(unit_row["head_offset"], current))
        for official in self._db.execute(
            _SQL["official_of_contest"], {"contest_id": contest_id, "types": sorted(AREA_TYPES)}
        ):
            statement = recorded_of(official)
            state.official.setdefault(official["unit_id"], []).append(statement)
        state.sums = sum_up(state)
        self._compare(contest_id, state, row["digest"])
        state.last_reported_at = row["last_reported_at"]
        return state

    def _last(self, partition: int, row: Mapping[str, Any]) -> Recorded:
        where = {"contest_id": row["contest_id"], "log_offset": row["last_offset"]}
        if (update := self._db.execute(_SQL["update_at"], where).fetchone()) is not None:
            return recorded_of(update)
        if (definition := self._db.execute(_SQL["definition_at"], where).fetchone()) is not None:
            event = definition_of(definition["definition"])
            return Recorded(partition, row["last_offset"], definition["recorded_at"], event)
        raise TablesChanged(
            f"{row['contest_id']} has no event at offset {row['last_offset']}, its last: {CHANGED_OUTSIDE}"
        )

    def _compare(self, contest_id: str, state: ContestState, digest: str) -> None:
        """Both sides of the boundary: what was committed is what is read back."""
        found = self._db.execute(_SQL["totals_of_contest"], {"contest_id": contest_id}).fetchall()
        kept = {(r["unit_type"], r["area_id"]): r for r in found}
        for kind, area in sorted(
            kept.keys() | {(kind, area) for kind, totals in state.sums.items() for area in totals}
        ):
            row, totals = kept.get((kind, area)), state.sums.setdefault(kind, {})
            total = totals.get(area) or AreaTotal(state.layout.zero())  # every unit of it may have left
            if row is None or total.vector != state.layout.vector_of(row):
                raise TablesChanged(
                    f"the total of area {area} of {contest_id} is not the sum of its units: {CHANGED_OUTSIDE}"
                )
            # What last touched an area may be a unit that is no longer in it: only the row knows.
            totals[area] = total_of(row, total.vector)
        if (root := state.root()) != digest:
            raise TablesChanged(
                f"the state of {contest_id} has digest {root[:16]}…, the last commit wrote {digest[:16]}…: "
                f"{CHANGED_OUTSIDE}"
            )


def _copy_to(table: str, columns: Iterable[str]) -> psycopg.sql.Composed:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    return psycopg.sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(psycopg.sql.Identifier(table), names)


def _put_unit(state: ContestState, current: Recorded, head: Recorded) -> None:
    update, last = current.update, head.update
    current_leaf = leaf(text_of(update))
    unit = state.units[update.unit] = Unit(
        areas=update.counting_areas,
        contribution=state.layout.contribution(update),
        stated_at=update.stated_at,
        sequence=update.sequence,
        event_id=update.event_id,
        offset=current.offset,
        leaf=current_leaf,
        head_sequence=last.sequence,
        head_event_id=last.event_id,
        head_offset=head.offset,
        head_leaf=current_leaf if head is current else leaf(text_of(last)),
    )
    state.digest.put(str(update.unit).encode(), unit.leaf + unit.head_leaf)


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
