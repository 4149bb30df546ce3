"""Parse our own form of table: statements of any contest, in columns named by the event's fields. Pure.

A row is one statement. Nested fields are written with a dot (`votes.peru-libre`,
`sub_units.under_review_by_reason.ILLEGIBLE`, `published.turnout`). An empty cell or a missing column is not stated; a
selection whose votes are "not on ballot" did not stand on that unit's ballots, and is not missing there. Rows with the
same time are one publication. Only an area has `sub_units`: a row of a sheet that states one is rejected. A figure that
the office holds back is the word "suppressed". Rows of one unit that differ in `vote_type` are parts of one statement
(`vote_types`).

Rows of another contest are passed over, and with them its columns of votes. What is evidence beside the figures costs
no row: a percentage, a remark, a name, a code or the time of a signature that cannot be read is left out of its
statement.

A sheet's row names the area in which it stands, in `area_path`: its id alone, or with ids of areas above it before it,
as `ny/broome`. The rest of the path is the contest's. Ids are compared in their normal form (`schemas.text`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ingest.feeds import vote_types
from ingest.feeds.cells import Cells
from ingest.feeds.records import Refused
from ingest.feeds.statement import PassedOver, Rejection, Rejections, Snapshot, Statement
from ingest.feeds.table import PUBLICATION, BadCell, Form, Table, fitting, folded, published_at
from schemas.contest import ContestDefined
from schemas.count_update import FIGURES, Code, Counts, PublishedPercentages, ReportingUnit, SubUnits
from schemas.text import normal_id
from schemas.types import (
    OTHER_TYPE,
    CountStatus,
    Id,
    ReportingUnitType,
    ResultStage,
    ReviewReason,
    is_type,
    rfc3339,
)

_ID: TypeAdapter[str] = TypeAdapter(Id)
FAMILY = "own-form"
NOT_ON_BALLOT = "not on ballot"
"""The votes of a selection that did not stand on a unit's ballots."""
_VOTES, _CODE, _REASON = "votes.", "code:", "sub_units.under_review_by_reason."
_SHARE, _PUBLISHED, _SUB_UNITS = "published.valid_votes_share.", "published.", "sub_units."
_SUB = tuple(name for name in SubUnits.model_fields if name != "under_review_by_reason")
_NEAREST = "the area_id of the area in which it stands, as the contest's table of areas has it"
_SHARES = tuple(name for name in PublishedPercentages.model_fields if name != "valid_votes_share")

FORMS = (
    Form(
        FAMILY, "updates", ("contest_id", "unit_type", "unit_id"),
        ("unit_name", "area_path", "reported_at", "stated_at", "count_status", "source_status", "review_reason",
         "result_stage", "office_note", "signed_at", "registered_at", "recount", "counted_with", "channel",
         "source_authority", "rules_version", vote_types.COLUMN, *FIGURES, *(_SUB_UNITS + name for name in _SUB),
         *(_PUBLISHED + name for name in _SHARES)),
        ("reported_at", "stated_at"), lambda column: column.startswith((_VOTES, _CODE, _REASON, _PUBLISHED)),
    ),
)  # fmt: skip


def parse(tables: Sequence[Table], contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a snapshot for each stated time, in the order of time. Raises Refused for a document of another contest."""
    (table,) = tables
    ours, foreign, rejections = _contests(table, contest)
    left_out = _refuse_strange(table, contest, ours if foreign else None)
    if not {"reported_at", "stated_at"} & set(table.header):
        published_at(table.document)
    read = _reader(table, contest)
    rows: dict[int, Statement] = {}
    places: dict[tuple[str, datetime], list[int]] = {}
    unread: dict[str, list[int]] = {}
    for index in ours:
        try:
            statement = fitting(read, index, table.rows[index])
        except BadCell as bad:
            rejections.append(table.reject(index, bad.column or None, bad.code, str(bad), bad.expected))
            kind, unit_id = (table.get(name).text(index) for name in ("unit_type", "unit_id"))
            unread.setdefault(f"{normal_id(kind)} {normal_id(unit_id)}", []).append(index)
            continue
        rows[index] = statement
        places.setdefault((f"{statement.unit.type} {statement.unit.id}", statement.stated_at), []).append(index)
    if vote_types.COLUMN not in table.header:
        rejections.extend(_twice(table, places, rows))
    else:
        rejections.extend(_joined(table, places, rows, unread))
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
    table: Table, places: Mapping[tuple[str, datetime], list[int]], rows: dict[int, Statement]
) -> Iterator[Rejection]:
    """Reject repeated units, and take them out of `rows`: of equal rows all but the first, of differing ones all."""
    timed = {"reported_at", "stated_at"} & set(table.header)
    once = "one row for each unit and time" if timed else "one row for each unit, or a column reported_at"
    kept_apart = f"{once}; rows of one unit can be kept apart by a column {vote_types.COLUMN}"
    for (unit, _), found in places.items():
        first = table.rows[found[0]]
        differ = any(table.rows[place] != first for place in found[1:])
        for place in found if differ else found[1:]:
            del rows[place]
            said = (
                f"stands in {table.others(found, place)} too, with other figures: none of them is published"
                if differ
                else f"is repeated from row {table.number(found[0])}"
            )
            yield table.reject(place, "unit_id", "F203", f"{unit} {said}", kept_apart if differ else once)


def _joined(
    table: Table,
    places: Mapping[tuple[str, datetime], list[int]],
    rows: dict[int, Statement],
    unread: dict[str, list[int]],
) -> Iterator[Rejection]:
    """Join rows that differ in their vote type in `rows`. Yields the rejections of repeated and of incomplete ones."""
    words = table.get(vote_types.COLUMN)
    apart: dict[tuple[str, datetime], list[int]] = {}
    for (unit, at), found in places.items():
        for index in found:
            word = words.text(index)
            part = "the whole" if vote_types.is_whole(word) else folded(word)
            apart.setdefault((f"{unit}, {part},", at), []).append(index)
    repeated = list(_twice(table, apart, rows))
    yield from repeated
    units: list[tuple[str, list[int]]] = []
    for (unit, _), found in places.items():
        left = [index for index in found if index in rows]
        if any(index not in rows for index in found) and not _stands_for(table, found, left):
            unread.setdefault(unit, []).extend(index for index in found if index not in rows)
        units.append((unit, left))
    yield from vote_types.join(table, units, rows, unread)


def _stands_for(table: Table, found: Sequence[int], left: Sequence[int]) -> bool:
    """Say whether every row of a unit is there, or is a copy of one that is."""
    there = {tuple(table.rows[index]) for index in left}
    return all(tuple(table.rows[index]) in there for index in found)


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
        if column == _CODE or (column not in form.columns and not form.accepts(column)):
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
    """Make the function that reads a row, with everything looked up once that does not depend on the row."""
    header, document = table.header, table.document
    at = {name: place for place, name in enumerate(header)}
    figures_there = [name for name in FIGURES if name in at]
    not_there = dict.fromkeys(FIGURES)
    ballot = [(selection, _VOTES + selection) for selection in contest.selection_ids]
    registries = [(column.removeprefix(_CODE), column) for column in header if column.startswith(_CODE)]
    sub_columns = [column for column in header if column.startswith(_SUB_UNITS)]
    published = _published_columns(table, contest)
    meant = _similar(contest)
    withdrawn = {s.selection_id: s.withdrawn_at for s in contest.selections if s.withdrawn_at is not None}

    def stood(selection: str, text: str | None, at: datetime) -> bool:
        """Say whether a selection stood on the ballots. One that had withdrawn did not where nothing is stated."""
        since = withdrawn.get(selection) if text is None else None
        return text != NOT_ON_BALLOT and (since is None or at < since)

    def counts(cells: Cells, at: datetime) -> Counts:
        votes = {s: cells.figure(column) for s, column in ballot if stood(s, cells.text(column), at)}
        figures = not_there | {name: cells.figure(name) for name in figures_there}
        return Counts.model_validate({"votes": votes, **figures, "suppressed": tuple(cells.suppressed) or None})

    def read(index: int, row: list[str]) -> Statement:
        cells = Cells(at, row)
        kind, reported_at = _kind(cells), cells.time("reported_at")
        stated_at = reported_at or cells.time("stated_at") or document.stated_at
        if stated_at is None:
            raise BadCell("reported_at", "F211", "the row states no time", f"a time in it, or {PUBLICATION}")
        codes = tuple(code for registry, column in registries if (code := cells.code(registry, column)) is not None)
        return Statement(
            sub_units=_sub_units(cells, kind, sub_columns, contest),
            counts=counts(cells, stated_at),
            published_percentages=_percentages(cells, published),
            unit=_unit(cells, kind, contest, meant, codes),
            reported_at=reported_at,
            stated_at=stated_at,
            observed_at=document.observed_at,
            count_status=cells.word("count_status", CountStatus) or CountStatus.COUNTED,
            source_status=cells.said("source_status"),
            review_reason=cells.beside(lambda: cells.word("review_reason", ReviewReason)),
            result_stage=cells.word("result_stage", ResultStage) or ResultStage.PROVISIONAL,
            office_note=cells.said("office_note"),
            signed_at=cells.beside(lambda: cells.time("signed_at")),
            registered_at=cells.beside(lambda: cells.time("registered_at")),
            recount=_recount(cells),
            rules_version=cells.said("rules_version"),
            authority=cells.said("source_authority"),
            channel=cells.said("channel"),
            documents=(table.at(index),),
            original=table.original(index),
            left_out=table.leave_out(index, cells.left_out),
        )

    return read


def _kind(cells: Cells) -> str | None:
    kind = normal_id(cells.text("unit_type") or "")
    if kind.startswith(OTHER_TYPE) or is_type(kind):
        return kind
    word = cells.word("unit_type", ReportingUnitType)
    return None if word is None else word.value


def _recount(cells: Cells) -> int | None:
    if (number := cells.count("recount")) == 0:
        raise BadCell("recount", "F201", "0 is no recount", "1, 2, … or an empty cell")
    return number


def _sub_units(cells: Cells, kind: str | None, columns: Sequence[str], contest: ContestDefined) -> SubUnits | None:
    stated = [column for column in columns if cells.text(column) is not None]
    if not stated:
        return None
    if kind is not None and contest.is_sheet(kind):
        raise BadCell(stated[0], "F205", f"a {kind} has no sub-units to state", "an empty cell, or an area's row")
    reasons = [column for column in stated if column.startswith(_REASON)]
    return SubUnits.model_validate(
        {
            **{name: cells.count(_SUB_UNITS + name) for name in _SUB},
            "under_review_by_reason": {column.removeprefix(_REASON): cells.count(column) for column in reasons},
        }
    )


def _published_columns(table: Table, contest: ContestDefined) -> list[tuple[str, str]]:
    """Return the table's columns of percentages: of a selection with its id, of others with an empty one."""
    shares = [(s, _SHARE + s) for s in contest.selection_ids]
    others = [("", _PUBLISHED + name) for name in _SHARES]
    return [(selection, column) for selection, column in (*shares, *others) if column in table.header]


def _percentages(cells: Cells, columns: Sequence[tuple[str, str]]) -> PublishedPercentages | None:
    shares: dict[str, str] = {}
    others: dict[str, str | None] = dict.fromkeys(_SHARES)
    for selection, column in columns:
        if (stated := cells.percentage(column)) is not None:
            if selection:
                shares[selection] = stated
            else:
                others[column.removeprefix(_PUBLISHED)] = stated
    if not shares and not any(others.values()):
        return None
    return PublishedPercentages(valid_votes_share=shares, **others)


def _unit(
    cells: Cells,
    kind: str | None,
    contest: ContestDefined,
    meant: Callable[[str], str | None],
    codes: tuple[Code, ...],
) -> ReportingUnit:
    """Build the unit. An area's path and name come from the contest; every other unit's row names its nearest area.

    `meant`: finds the area that an unknown one was meant to be.
    """
    office_id, name = cells.text("unit_id") or "", cells.said("unit_name")
    unit_id = normal_id(office_id)
    if not unit_id or kind is None:
        missing = "unit_type" if unit_id else "unit_id"
        raise BadCell(missing, "F202", f"{missing} is empty", "the unit's own id and type in every row")
    area, path = contest.areas_by_id.get(unit_id), normal_id(cells.text("area_path") or "")
    is_area = area is not None and area.type == kind
    stands_in_area = not is_area and (contest.is_sheet(kind) or kind not in contest.area_types)
    if not is_area and not stands_in_area and _is_id(unit_id):
        hint = f"; is {near!r} meant?" if (near := meant(unit_id)) else ""
        message = f"the contest defines no {kind} {unit_id[:60]!r}{hint}"
        raise BadCell("unit_id", "F303", message, f"the area_id of a {kind}, as the contest's table of areas has it")
    if is_area:
        area_path = contest.area_paths[unit_id][:-1]
        if path and _whole_path(path, contest) != area_path:
            message = f"{kind} {unit_id} stands in {'/'.join(area_path) or 'no other area'}, not in {path[:60]!r}"
            raise BadCell("area_path", "F302", message, "an empty cell: the contest says where its areas stand")
    elif path:
        area_path = _whole_path(path, contest)
    elif stands_in_area:
        raise BadCell("area_path", "F302", f"it does not say in which area {kind} {unit_id} stands", _NEAREST)
    else:
        area_path = ()
    if stands_in_area and (nearest := area_path[-1]) not in contest.areas_by_id:
        near = meant(nearest)
        hint = f"; is {near!r} meant?" if near else ""
        raise BadCell("area_path", "F302", f"the contest has no area {nearest[:60]!r}{hint}", _NEAREST)
    elsewhere = cells.text("counted_with")
    return ReportingUnit(
        id=unit_id,
        type=kind,
        name=name or (area.name if area is not None and is_area else None),
        area_path=area_path,
        office_id=office_id if office_id != unit_id else None,
        codes=codes or None,
        counted_with=normal_id(elsewhere) if elsewhere else None,
    )


def _is_id(text: str) -> bool:
    """Say whether a text could be an id; another one is refused as such."""
    try:
        _ID.validate_python(text)
    except ValidationError:
        return False
    return True


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
