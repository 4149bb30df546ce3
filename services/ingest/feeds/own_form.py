"""Parse our own form of table: statements of any contest, in columns named by the event's fields. Pure.

A row is one statement. Nested fields are written with a dot (`votes.peru-libre`,
`sub_units.under_review_by_reason.ILLEGIBLE`, `published.turnout`). An empty cell or a missing column is not stated; a
selection whose votes are "not on ballot" did not stand on that unit's ballots, and is not missing there. Rows with the
same time are one publication. Only an area has `sub_units`: a row of a sheet that states one is rejected.

Rows of another contest are passed over, and with them its columns of votes. What is evidence beside the figures costs
no row: a percentage, a remark or a name that cannot be read is left out of its statement.

A sheet's row names the area in which it stands, in `area_path`: its id alone, or with ids of areas above it before it,
as `ny/broome`. The rest of the path is the contest's. Ids are compared in their normal form (`schemas.text`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from ingest.feeds.records import Refused
from ingest.feeds.statement import PassedOver, Rejection, Rejections, Snapshot, Statement
from ingest.feeds.table import BadCell, Form, Table, evidence, fitting, folded, instant, seen, share, whole
from schemas.contest import ContestDefined
from schemas.count_update import Counts, PublishedPercentages, ReportingUnit, SubUnits
from schemas.text import normal_id
from schemas.types import SHEET_TYPES, CountStatus, ReportingUnitType, ResultStage, ReviewReason, rfc3339

FAMILY = "own-form"
NOT_ON_BALLOT = "not on ballot"
"""The votes of a selection that did not stand on a unit's ballots."""
_VOTES, _REASON = "votes.", "sub_units.under_review_by_reason."
_SHARE, _PUBLISHED, _SUB_UNITS = "published.valid_votes_share.", "published.", "sub_units."
_COUNTS = tuple(name for name in Counts.model_fields if name != "votes")
_SUB = tuple(name for name in SubUnits.model_fields if name != "under_review_by_reason")
_NEAREST = "the area_id of the area in which it stands, as the contest's table of areas has it"
_SHARES = tuple(name for name in PublishedPercentages.model_fields if name != "valid_votes_share")

FORMS = (
    Form(
        FAMILY, "updates", ("contest_id", "unit_type", "unit_id"),
        ("unit_name", "area_path", "reported_at", "observed_at", "count_status", "source_status", "review_reason",
         "result_stage", "office_note", *_COUNTS, *(_SUB_UNITS + name for name in _SUB),
         *(_PUBLISHED + name for name in _SHARES)),
        "reported_at", lambda column: column.startswith((_VOTES, _REASON, _PUBLISHED)),
    ),
)  # fmt: skip


def parse(tables: Sequence[Table], contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a snapshot for each stated time, in the order of time. Raises Refused for a document of another contest."""
    (table,) = tables
    ours, foreign, rejections = _contests(table, contest)
    left_out = _refuse_strange(table, contest, ours if foreign else None)
    read = _reader(table, contest)
    rows: dict[int, Statement] = {}
    places: dict[tuple[str, str, datetime], list[int]] = {}
    for index in ours:
        try:
            statement = fitting(read, index, table.rows[index])
        except BadCell as bad:
            rejections.append(table.reject(index, bad.column or None, bad.code, str(bad), bad.expected))
            continue
        rows[index] = statement
        places.setdefault((statement.unit.type, statement.unit.id, statement.stated_at), []).append(index)
    rejections.extend(_twice(table, places, rows))
    times: dict[datetime, list[Statement]] = {}
    for statement in rows.values():
        times.setdefault(statement.stated_at, []).append(statement)
    sha = table.document.sha256[:16]
    snapshots = [
        Snapshot(f"{FAMILY}/{sha}/{rfc3339(time)}", contest.authority, tuple(statements), ())
        for time, statements in sorted(times.items())
    ]
    if rejections or left_out or foreign:
        told = Snapshot(f"{FAMILY}/{sha}/rejected", contest.authority, (), tuple(rejections))
        snapshots.append(replace(told, left_out=tuple(left_out), passed_over=tuple(_passed_over(table, foreign))))
    return tuple(snapshots)


def _passed_over(table: Table, foreign: Mapping[str, list[int]]) -> Iterator[PassedOver]:
    """Tell the rows of other contests: of many, the last as one."""
    names = list(foreign)
    for name in names[:_CONTESTS]:
        yield table.pass_over(f"of another contest, {name[:60]!r}", table.numbers(foreign[name]))
    if more := names[_CONTESTS:]:
        rows = sorted(index for name in more for index in foreign[name])
        yield table.pass_over(f"of {len(more):,} other contests", table.numbers(rows))


_CONTESTS = 20


def _twice(
    table: Table, places: Mapping[tuple[str, str, datetime], list[int]], rows: dict[int, Statement]
) -> Iterator[Rejection]:
    """Reject repeated units, and take them out of `rows`: of equal rows all but the first, of differing ones all."""
    timed = {"reported_at", "observed_at"} & set(table.header)
    expected = "one row for each unit and time" if timed else "one row for each unit, or a column reported_at"
    for (kind, unit_id, _), found in places.items():
        first = table.rows[found[0]]
        differ = any(table.rows[place] != first for place in found[1:])
        for place in found if differ else found[1:]:
            del rows[place]
            said = (
                f"stands in {table.others(found, place)} too, with other figures: none of them is published"
                if differ
                else f"is repeated from row {table.number(found[0])}"
            )
            yield table.reject(place, "unit_id", "F203", f"{kind} {unit_id} {said}", expected)


def _contests(table: Table, contest: ContestDefined) -> tuple[list[int], dict[str, list[int]], Rejections]:
    """Find the rows of the contest, and those of each other one. Rejects rows whose contest is not clear.

    Raises Refused for a document without a row of the contest.
    """
    of, wanted = table.get("contest_id"), contest.contest_id
    ours: list[int] = []
    foreign: dict[str, list[int]] = {}
    rejections = Rejections()
    for index, code in enumerate(of.codes.tolist()):
        text = of.texts[code]
        if text == wanted:
            ours.append(index)
        elif not text.strip() or folded(text) == folded(wanted):
            message = f"{text[:60]!r} is not {wanted!r}, nor another contest"
            rejections.append(table.reject(index, "contest_id", "F301", message, f"{wanted}, letter by letter"))
        else:
            foreign.setdefault(text, []).append(index)
    if not ours:
        message = f"{table.place(0, 'contest_id')}: {of.text(0)[:60]!r} is another contest, and no row is of {wanted}"
        raise Refused(table.document, "F301", message, f"{wanted} in column contest_id")
    return ours, foreign, rejections


def _refuse_strange(table: Table, contest: ContestDefined, ours: list[int] | None) -> list[Rejection]:
    """Refuse a document with unknown columns, whose figures would be lost silently. Returns what is left out of it.

    `ours`: the rows of the contest, where others have rows of other contests. Votes for those are theirs.
    """
    document, form, left_out = table.document, table.form, list[Rejection]()
    for column in table.header:
        if column.startswith(_PUBLISHED):
            of_selection = column.startswith(_SHARE) and column.removeprefix(_SHARE) in contest.selection_ids
            if not of_selection and column not in form.columns and _says(table, column, ours):
                message = f"column {column} is no percentage of {contest.contest_id}: left out"
                expected = f"one of {', '.join((*(_PUBLISHED + name for name in _SHARES), _SHARE + 'SELECTION'))}"
                odd = Refused(document, "F112", message, expected).rejection
                left_out.append(replace(odd, place=f"row 1, column {column}", original=b""))
            continue
        selection = column.removeprefix(_VOTES)
        if column.startswith(_VOTES) and selection not in contest.selection_ids:
            if ours is not None and not _says(table, column, ours):
                continue
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
    return left_out


def _says(table: Table, column: str, ours: list[int] | None) -> bool:
    """Say whether a column has a text in a row of the contest."""
    of = table.get(column)
    codes = of.codes if ours is None else of.codes[ours]
    return any(of.texts[code] for code in np.unique(codes).tolist())


def _reader(table: Table, contest: ContestDefined) -> Callable[[int, list[str]], Statement]:
    at = {name: place for place, name in enumerate(table.header)}
    under = {
        prefix: [(column.removeprefix(prefix), column) for column in table.header if column.startswith(prefix)]
        for prefix in (_REASON, _SHARE)
    }
    under[_SHARE] = [(name, column) for name, column in under[_SHARE] if name in contest.selection_ids]
    meant = _similar(contest)
    sub_columns = [column for column in table.header if column.startswith(_SUB_UNITS)]

    def read(index: int, row: list[str]) -> Statement:
        def cell(column: str) -> str | None:
            place = at.get(column)
            return row[place] or None if place is not None else None

        def stated(column: str) -> int | None:
            text = cell(column)
            return None if text is None else whole(text, column)

        left_out: list[BadCell] = []

        def percentage(column: str) -> str | None:
            return share(cell(column), column, left_out.append)

        def reason() -> ReviewReason | None:
            try:
                return word("review_reason", ReviewReason, None)  # type: ignore[no-any-return]
            except BadCell as bad:
                left_out.append(bad)
                return None

        def said(column: str) -> str | None:
            return evidence(cell(column), column, left_out.append)

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
        on_ballot = [s for s in contest.selection_ids if cell(_VOTES + s) != NOT_ON_BALLOT]
        counts = Counts(votes={s: stated(_VOTES + s) for s in on_ballot}, **{name: stated(name) for name in _COUNTS})
        sub_units = SubUnits(
            under_review_by_reason={name: n for name, column in under[_REASON] if (n := stated(column)) is not None},
            **{name: stated(_SUB_UNITS + name) for name in _SUB},
        )
        published = PublishedPercentages(
            valid_votes_share={name: s for name, column in under[_SHARE] if (s := percentage(column)) is not None},
            **{name: percentage(_PUBLISHED + name) for name in _SHARES},
        )
        return Statement(
            unit=_unit(cell, said("unit_name"), kind, contest, meant),
            reported_at=time("reported_at"),
            observed_at=table.document.observed_at if seen_at is None else seen(seen_at, "observed_at", table.document),
            count_status=word("count_status", CountStatus, CountStatus.COUNTED),
            source_status=said("source_status"),
            review_reason=reason(),
            result_stage=word("result_stage", ResultStage, ResultStage.PROVISIONAL),
            office_note=said("office_note"),
            counts=counts,
            sub_units=sub_units if has_sub_units is not None else None,
            published_percentages=published
            if any((published.valid_votes_share, *(getattr(published, s) for s in _SHARES)))
            else None,
            documents=(table.at(index),),
            original=table.original(index),
            left_out=table.leave_out(index, left_out),
        )

    return read


def _unit(
    cell: Callable[[str], str | None],
    name: str | None,
    kind: ReportingUnitType | None,
    contest: ContestDefined,
    meant: Callable[[str], str | None],
) -> ReportingUnit:
    """Build the unit. An area's path and name come from the contest; a sheet's row names its nearest area.

    `meant`: finds the area that an unknown one was meant to be.
    """
    unit_id = normal_id(cell("unit_id") or "")
    if not unit_id or kind is None:
        missing = "unit_type" if unit_id else "unit_id"
        raise BadCell(missing, "F202", f"{missing} is empty", "the unit's own id and type in every row")
    area, path = contest.areas_by_id.get(unit_id), normal_id(cell("area_path") or "")
    if path:
        area_path = _whole_path(path, contest)
    elif area is not None and area.type is kind:
        area_path = contest.area_paths[unit_id][:-1]
    elif kind in SHEET_TYPES:
        raise BadCell("area_path", "F302", f"it does not say in which area {kind} {unit_id} stands", _NEAREST)
    else:
        area_path = ()
    if kind in SHEET_TYPES and (nearest := area_path[-1]) not in contest.areas_by_id:
        near = meant(nearest)
        hint = f"; is {near!r} meant?" if near else ""
        raise BadCell("area_path", "F302", f"the contest has no area {nearest[:60]!r}{hint}", _NEAREST)
    return ReportingUnit(
        id=unit_id,
        type=kind,
        name=name or (area.name if area and area.type is kind else None),
        area_path=area_path,
    )


def _similar(contest: ContestDefined) -> Callable[[str], str | None]:
    """Return a function that finds the area of a name, or of an id with other zeros before it or in another case."""

    @cache
    def ids() -> dict[str, str]:
        names = {area.name.casefold(): area.area_id for area in contest.areas}
        return names | {area.area_id.casefold().lstrip("0"): area.area_id for area in contest.areas}

    return lambda text: ids().get(text.casefold().lstrip("0"))


def _whole_path(path: str, contest: ContestDefined) -> tuple[str, ...]:
    """Complete a path from the contest's areas. One that contradicts them stays as it is, and breaks F302."""
    stated = (path,) if path in contest.area_paths else tuple(map(normal_id, path.split("/")))
    whole = contest.area_paths.get(stated[-1], ())
    return whole if whole[-len(stated) :] == stated else stated
