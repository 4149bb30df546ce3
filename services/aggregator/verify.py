"""Verify: the tables beside the log, row by row, and every difference by name.

The log is folded from its start, and each step is compared with the row that was written of it, so that one altered,
added or deleted row is found whether or not it changed a sum. The digest of the state is computed twice: from the log by the
fold, and from the rows of the history without it. Reads Kafka and the views; writes nothing, and live goes on meanwhile.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from aggregator.count import NothingCounted
from aggregator.digest import StateDigest
from aggregator.fold import AreaTotal, ContestState, Step
from aggregator.replay import Until, replay
from aggregator.rows import (
    DEFINITION,
    UPDATE,
    RowError,
    definition_of,
    definition_row,
    finding_rows,
    recorded_of,
    update_row,
)
from aggregator.views import Views
from schemas.contest import ContestDefined
from schemas.count_update import CountUpdate, UnitKey
from schemas.identity import leaf, text_of

SHOWN = 20
"""Differences told one by one; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the tables do not say what the log says. `offset`, `event_id`, `unit`: of the event behind it."""

    table: str
    what: str
    offset: int | None = None
    event_id: UUID | None = None
    unit: str | None = None

    def __str__(self) -> str:
        where = f" offset {self.offset}" if self.offset is not None else ""
        about = f", {self.unit}" if self.unit is not None else ""
        which = f" (event {self.event_id})" if self.event_id is not None else ""
        return f"{self.table}{where}{about}: {self.what}{which}"


@dataclass(slots=True)
class Verdict:
    """What a comparison found, up to and with `offset`."""

    contest_id: str
    offset: int
    events: int = 0
    log_digest: str = ""
    table_digest: str = ""
    count: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first SHOWN."""

    @property
    def equal(self) -> bool:
        """Whether the tables say what the log says."""
        return not self.count

    def add(self, difference: Difference) -> None:
        """Takes a difference down."""
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)

    def as_json(self) -> dict[str, Any]:
        """The verdict for machines."""
        return {
            "contest_id": self.contest_id,
            "offset": self.offset,
            "events": self.events,
            "equal": self.equal,
            "log_digest": self.log_digest,
            "table_digest": self.table_digest,
            "difference_count": self.count,
            "differences": [
                asdict(d) | {"event_id": None if d.event_id is None else str(d.event_id)} for d in self.differences
            ],
        }


def verify(
    views: Views,
    bootstrap_servers: str,
    topic: str,
    contest_id: str,
    to_offset: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _end: None,
) -> Verdict:
    """Compares up to `to_offset`, or with all that is aggregated. Raises NothingCounted for what the tables do not have yet,
    and whatever `replay` raises."""
    _, row = views.contest(contest_id)
    last = int(row["last_offset"])
    if to_offset is not None and to_offset > last:
        raise NothingCounted(f"the tables end at offset {last}; {to_offset} is not aggregated yet")
    verdict = Verdict(contest_id, last if to_offset is None else to_offset)
    tables = _Tables(views, contest_id, verdict)
    state = replay(
        bootstrap_servers, topic, contest_id, Until(offset=verdict.offset), on_progress, on_step=tables.compare
    )
    tables.finish()
    verdict.log_digest, verdict.table_digest = state.digest.root(), tables.digest()
    if verdict.log_digest != verdict.table_digest:
        what = f"its digest is {verdict.table_digest}, the log's is {verdict.log_digest}"
        verdict.add(Difference("update_history", what))
    if to_offset is None:
        _state(views, contest_id, row, state, verdict)
    return verdict


class _Tables:
    """The rows of a contest's history, walked beside the log."""

    def __init__(self, views: Views, contest_id: str, verdict: Verdict) -> None:
        self._verdict = verdict
        self._states: dict[str, tuple[tuple[datetime, int], bytes]] = {}
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._definition: tuple[int, bytes] = (0, b"\0" * 32)
        self._findings: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for found in views.all_findings(contest_id, verdict.offset):
            self._findings[found["log_offset"]].append((found["code"], found["message"]))
        self._definitions = iter(views.all_definitions(contest_id, verdict.offset))
        self._updates = iter(views.all_updates(contest_id, verdict.offset))
        self._next = {"definition_history": next(self._definitions, None), "update_history": next(self._updates, None)}

    def compare(self, step: Step) -> None:
        """One step of the fold with its row."""
        offset, event = step.recorded.offset, step.recorded.event
        self._verdict.events += 1
        if isinstance(event, ContestDefined):
            table, columns, expected, unit = "definition_history", DEFINITION, definition_row(step), None
        else:
            table, columns, expected, unit = "update_history", UPDATE, update_row(step), str(event.unit)

        def differs(where: str, what: str) -> None:
            self._verdict.add(Difference(where, what, offset, event.event_id, unit))

        for row in self._before(table, offset):
            self._stranger(table, row)
        own = self._next[table]
        if own is None or own["log_offset"] != offset:
            differs(table, "the event is on the log and has no row")
        else:
            self._advance(table)
            self._take(table, own)
            for column, value in zip(columns, expected, strict=True):
                if own[column] != value:
                    differs(table, f"{column} is {_short(own[column])}, by the log {_short(value)}")
        findings = [(code, message) for *_, code, _rule, message in finding_rows(step)]
        if (kept := self._findings.pop(offset, [])) != findings:
            differs("finding", f"{_short(kept)}, by the log {_short(findings)}")

    def finish(self) -> None:
        """What is left of the tables when the log has come to its end stands in them alone."""
        for table in self._next:
            for row in self._before(table, None):
                self._stranger(table, row)
        for offset, kept in self._findings.items():
            self._verdict.add(Difference("finding", f"{_short(kept)}, of no event of the log", offset))

    def digest(self) -> str:
        """The state's digest, from the rows alone."""
        digest = StateDigest()
        digest.definition = self._definition[1]
        for unit, (_, of_state) in self._states.items():
            digest.put(unit.encode(), of_state + self._heads[unit][1])
        return digest.root()

    def _before(self, table: str, offset: int | None) -> Iterator[Mapping[str, Any]]:
        while (row := self._next[table]) is not None and (offset is None or row["log_offset"] < offset):
            self._advance(table)
            yield row

    def _advance(self, table: str) -> None:
        self._next[table] = next(self._updates if table == "update_history" else self._definitions, None)

    def _stranger(self, table: str, row: Mapping[str, Any]) -> None:
        self._take(table, row)
        unit = f"{row['unit_type']}/{row['unit_id']}" if table == "update_history" else None
        what = "a row of no event of the log"
        self._verdict.add(Difference(table, what, row["log_offset"], row["event_id"], unit))

    def _take(self, table: str, row: Mapping[str, Any]) -> None:
        """Adds a row to the state that the tables give."""
        if not row["accepted"]:
            return
        try:
            if table == "definition_history":
                definition = definition_of(row["definition"])
                self._definition = max(self._definition, (definition.revision, leaf(text_of(definition))))
                return
            event = recorded_of(row).event
        except RowError as error:
            self._verdict.add(Difference(table, str(error), row["log_offset"], row["event_id"]))
            return
        assert isinstance(event, CountUpdate)
        unit, its_leaf = str(event.unit), leaf(text_of(event))
        order = (event.stated_at, event.sequence)
        if unit not in self._states or order > self._states[unit][0]:
            self._states[unit] = (order, its_leaf)
        if unit not in self._heads or event.sequence > self._heads[unit][0]:
            self._heads[unit] = (event.sequence, its_leaf)


def _state(views: Views, contest_id: str, contest: Mapping[str, Any], state: ContestState, verdict: Verdict) -> None:
    """The tables that hold the state of now."""
    if contest["digest"] != verdict.log_digest:
        verdict.add(Difference("contest", f"digest is {contest['digest']}, by the log {verdict.log_digest}"))
    rows = {UnitKey(row["unit_type"], row["unit_id"]): row for row in views.all_units(contest_id)}
    for key in sorted(rows.keys() | state.units.keys()):
        row, unit = rows.get(key), state.units.get(key)
        kept = (row["log_offset"], row["head_offset"]) if row is not None else None
        true = (unit.offset, unit.head_offset) if unit is not None else None
        if kept != true:
            offset, event_id = (unit.offset, unit.event_id) if unit is not None else (None, None)
            what = f"state and end of chain stand at {_offsets(kept)}, by the log at {_offsets(true)}"
            verdict.add(Difference("unit_count", what, offset, event_id, str(key)))
    totals = {row["area_id"]: row for row in views.all_totals(contest_id)}
    for area in sorted(totals.keys() | state.totals.keys()):
        row, total = totals.get(area), state.totals.get(area) or AreaTotal(state.layout.zero())
        what = "has no row"
        if row is not None:
            vector = state.layout.vector(row, row["under_review_by_reason"], row["votes"])
            changes = state.layout.changes(total.vector, vector)
            touched = (row["stated_at"], row["last_offset"], row["last_event_id"])
            what = ", ".join(f"{name} differs by {change:+,}" for name, change in changes.items())
            if touched != (total.stated_at, total.last_offset, total.last_event_id):
                what += (", " if what else "") + "another update is named as the last"
        if what:
            verdict.add(Difference("area_total", f"{area}: {what}", total.last_offset, total.last_event_id))


def _offsets(place: tuple[int, int] | None) -> str:
    return "no offset" if place is None else " and ".join(map(str, place))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
