"""Parse our own form of table: statements of any contest, in columns named by the event's fields. Pure.

A row is one statement. Nested fields are written with a dot (`votes.peru-libre`,
`sub_units.under_review_by_reason.ILLEGIBLE`, `published.turnout`). An empty cell or a missing column is not stated.
Rows with the same time are one publication. Only an area has `sub_units`: a row of a sheet that states one is rejected.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ingest.feeds.statement import Rejection, Snapshot, Statement
from ingest.feeds.table import BadCell, Form, Refused, Table, fitting, instant, percent, seen, whole
from schemas.contest import ContestDefined
from schemas.count_update import Counts, PublishedPercentages, ReportingUnit, SubUnits
from schemas.types import SHEET_TYPES, CountStatus, ReportingUnitType, ResultStage, ReviewReason, rfc3339

FAMILY = "own-form"
_VOTES, _REASON = "votes.", "sub_units.under_review_by_reason."
_SHARE, _PUBLISHED, _SUB_UNITS = "published.valid_votes_share.", "published.", "sub_units."
_COUNTS = tuple(name for name in Counts.model_fields if name != "votes")
_SUB = tuple(name for name in SubUnits.model_fields if name != "under_review_by_reason")
_SHARES = tuple(name for name in PublishedPercentages.model_fields if name != "valid_votes_share")

FORMS = (
    Form(
        FAMILY, "updates", ("contest_id", "unit_type", "unit_id"),
        ("unit_name", "area_path", "reported_at", "observed_at", "count_status", "source_status", "review_reason",
         "result_stage", "office_note", *_COUNTS, *(_SUB_UNITS + name for name in _SUB),
         *(_PUBLISHED + name for name in _SHARES)),
        "reported_at", lambda column: column.startswith((_VOTES, _REASON, _SHARE)),
    ),
)  # fmt: skip


def parse(tables: Sequence[Table], contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a snapshot for each stated time, in the order of time. Raises Refused for a document of another contest."""
    (table,) = tables
    _refuse_strange(table, contest)
    read = _reader(table, contest)
    times: dict[datetime, list[Statement]] = {}
    rejections: list[Rejection] = []
    first_rows: dict[tuple[str, str, datetime], int] = {}
    twice: dict[int, Rejection] = {}
    rows: dict[int, Statement] = {}
    timed = {"reported_at", "observed_at"} & set(table.header)
    expected = "one row for each unit and time" if timed else "one row for each unit, or a column reported_at"
    for index, row in enumerate(table.rows):
        try:
            statement = fitting(read, index, row)
        except BadCell as bad:
            rejections.append(table.reject(index, bad.column or None, bad.code, str(bad), bad.expected))
            continue
        key = (statement.unit.type, statement.unit.id, statement.stated_at)
        first = first_rows.setdefault(key, index)
        if first != index:
            same = table.rows[first] == row
            for place, other in ((index, first),) if same else ((index, first), (first, index)):
                said = "is repeated from" if same else "stands with other figures in"
                message = f"{key[0]} {key[1]} {said} row {other + 2}"
                twice[place] = table.reject(place, "unit_id", "F203", message, expected)
        rows[index] = statement
    for index, statement in rows.items():
        if index not in twice:
            times.setdefault(statement.stated_at, []).append(statement)
    rejections.extend(twice.values())
    sha = table.document.sha256[:16]
    snapshots = [
        Snapshot(f"{FAMILY}/{sha}/{rfc3339(time)}", contest.authority, tuple(statements), ())
        for time, statements in sorted(times.items())
    ]
    if rejections:
        snapshots.append(Snapshot(f"{FAMILY}/{sha}/rejected", contest.authority, (), tuple(rejections)))
    return tuple(snapshots)


def _refuse_strange(table: Table, contest: ContestDefined) -> None:
    """Refuse a document with unknown columns, whose figures would be lost silently, or of another contest."""
    document, form = table.document, table.form
    for column in table.header:
        kind = next((prefix for prefix in (_VOTES, _SHARE) if column.startswith(prefix)), None)
        if kind is not None and column.removeprefix(kind) not in contest.selection_ids:
            message = f"row 1: column {column} names no selection of {contest.contest_id}: a table of another election?"
            raise Refused(document, "F301", message, f"one of {', '.join(contest.selection_ids)}")
        if column.startswith(_REASON) and column.removeprefix(_REASON) not in list(ReviewReason):
            raise Refused(
                document, "F207", f"row 1: column {column} names no reason", f"one of {', '.join(ReviewReason)}"
            )
        if column not in form.columns and not form.accepts(column):
            raise Refused(
                document, "F207", f"row 1: column {column} is unknown", f"one of {', '.join(sorted(form.columns))}"
            )
    at = table.column("contest_id")
    for index, row in enumerate(table.rows):
        if row[at] != contest.contest_id:
            message = f"{table.place(index, 'contest_id')}: {row[at][:60]!r} is another contest"
            raise Refused(document, "F301", message, f"{contest.contest_id} in every row")


def _reader(table: Table, contest: ContestDefined) -> Callable[[int, list[str]], Statement]:
    at = {name: place for place, name in enumerate(table.header)}
    under = {
        prefix: [(column.removeprefix(prefix), column) for column in table.header if column.startswith(prefix)]
        for prefix in (_VOTES, _REASON, _SHARE)
    }
    sub_columns = [column for column in table.header if column.startswith(_SUB_UNITS)]

    def read(index: int, row: list[str]) -> Statement:
        def cell(column: str) -> str | None:
            place = at.get(column)
            return row[place] or None if place is not None else None

        def stated(column: str) -> int | None:
            text = cell(column)
            return None if text is None else whole(text, column)

        def share(column: str) -> str | None:
            text = cell(column)
            return None if text is None else percent(text, column)

        def time(column: str) -> datetime | None:
            text = cell(column)
            return None if text is None else instant(text, column).astimezone(UTC)

        def word(column: str, words: Any, default: Any) -> Any:
            text = cell(column)
            if text is None:
                return default
            if text not in list(words):
                raise BadCell(column, "F204", f"{text[:40]!r} is unknown", f"one of {', '.join(words)}")
            return words(text)

        kind, seen_at = word("unit_type", ReportingUnitType, None), cell("observed_at")
        has_sub_units = next((column for column in sub_columns if cell(column) is not None), None)
        if has_sub_units is not None and kind in SHEET_TYPES:
            raise BadCell(
                has_sub_units, "F205", f"a {kind} has no sub-units to state", "an empty cell, or an area's row"
            )
        counts = Counts(
            votes={name: stated(column) for name, column in under[_VOTES]}, **{name: stated(name) for name in _COUNTS}
        )
        sub_units = SubUnits(
            under_review_by_reason={name: n for name, column in under[_REASON] if (n := stated(column)) is not None},
            **{name: stated(_SUB_UNITS + name) for name in _SUB},
        )
        published = PublishedPercentages(
            valid_votes_share={name: s for name, column in under[_SHARE] if (s := share(column)) is not None},
            **{name: share(_PUBLISHED + name) for name in _SHARES},
        )
        return Statement(
            unit=_unit(cell, kind, contest),
            reported_at=time("reported_at"),
            observed_at=table.document.observed_at if seen_at is None else seen(seen_at, "observed_at", table.document),
            count_status=word("count_status", CountStatus, CountStatus.COUNTED),
            source_status=cell("source_status"),
            review_reason=word("review_reason", ReviewReason, None),
            result_stage=word("result_stage", ResultStage, ResultStage.PROVISIONAL),
            office_note=cell("office_note"),
            counts=counts,
            sub_units=sub_units if has_sub_units is not None else None,
            published_percentages=published
            if any((published.valid_votes_share, *(getattr(published, s) for s in _SHARES)))
            else None,
            documents=(table.at(index),),
            original=table.original(index),
        )

    return read


def _unit(cell: Callable[[str], str | None], kind: ReportingUnitType | None, contest: ContestDefined) -> ReportingUnit:
    """Build the unit. An area's path and name come from the contest; a sheet's row states its own path."""
    unit_id = cell("unit_id")
    if unit_id is None or kind is None:
        missing = "unit_id" if unit_id is None else "unit_type"
        raise BadCell(missing, "F202", f"{missing} is empty", "the unit's own id and type in every row")
    area, path = contest.areas_by_id.get(unit_id), cell("area_path")
    if path is not None:
        area_path = tuple(path.split("/"))
    elif area is not None and area.type is kind:
        area_path = contest.area_paths[unit_id][:-1]
    else:
        area_path = ()
    return ReportingUnit(
        id=unit_id,
        type=kind,
        name=cell("unit_name") or (area.name if area and area.type is kind else None),
        area_path=area_path,
    )
