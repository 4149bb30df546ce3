"""Parse ONPE's bulletins: four tables (resultados, totales, resumen, participacion), national or by district. Pure.

A publication is the rows of all four tables with the same `updated`. The national tables have one such row (or one for
each candidate or total), the district tables one for each district. A figure in two tables must be equal in both.
ONPE's words and ours: schemas/types.py. `TOTAL DE VOTOS VÁLIDOS` is missing where it would be 0: it is then not stated.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError

from ingest.feeds.records import Refused
from ingest.feeds.statement import Kept, Rejection, Rejections, Snapshot, Statement
from ingest.feeds.table import FITTING, BadCell, Form, Table, instant, share, whole
from schemas.contest import ContestDefined
from schemas.count_update import Counts, Document, PublishedPercentages, ReportingUnit, SubUnits
from schemas.faults import first_fault
from schemas.types import CountStatus, ReportingUnitType, ResultStage, ReviewReason, rfc3339

NATIONAL, DISTRICTS = "onpe-national", "onpe-districts"
PARTS = ("resultados", "totales", "resumen", "participacion")
_NAMES = ("departamento", "provincia", "distrito")

_COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "resultados": (
        ("C_CODI_AGRUPOL", "TOTAL_VOTOS", "POR_VALIDOS", "updated"),
        ("AGRUPACION", "NLISTA", "POR_EMITIDOS", "NOMBREe_CANDIDATO", "avance"),
    ),
    "totales": (("AGRUPACION", "TOTAL_VOTOS", "updated"), ("POR_EMITIDOS", "avance")),
    "resumen": (
        ("CCODI_UBIGEO", "CONTABILIZA", "CONT_NORMAL", "IMPUGNADA", "ERROR_MAT", "ACTAS_PROCESADAS", "SOL_NULIDAD",
         "ILEGIBLE", "PENDIENTE", "OTRAS_OBS", "CONT_ANULADA", "POR_PROCESAR", "EXTRAVIADA", "SINIESTRADA",
         "INCOMPLETA", "SIN_FIRMA", "MESAS_NO_INST", "MESAS_HABILES", "TOT_CIUDADANOS_VOTARON", "ELECTORES_HABIL",
         "TOTAL_JEE", "updated"),
        ("MESAS_INSTALADAS", "SIN_DATOS", "A_INSTALAR", "FUSIONADAS", "NTOTAL_AUTO", "ELECTORES_HABIL_50", "avance"),
    ),
    "participacion": (
        ("ELECTORES_HABIL", "TOT_CIUDADANOS_VOTARON", "POR_CIUDADANOS_VOTARON", "POR_ACTAS_CONTABILIZADAS",
         "POR_ACTAS_PROCESADAS", "ACTAS_PROCESADAS", "POR_PROCESAR", "CONTABILIZA", "updated"),
        ("POR_POR_PROCESAR", "N_CANDIDATOS", "avance"),
    ),
}  # fmt: skip
FORMS = tuple(
    Form(family, part, (*names, *needed), known, time_columns=("updated",))
    for family, names in ((NATIONAL, ()), (DISTRICTS, _NAMES))
    for part, (needed, known) in _COLUMNS.items()
)

_TOTALS = {
    "TOTAL DE VOTOS VÁLIDOS": "valid_votes",
    "VOTOS EN BLANCO": "blank_votes",
    "VOTOS NULOS": "invalid_votes",
    "VOTOS IMPUGNADOS": "challenged_votes",
    "TOTAL DE VOTOS EMITIDOS": "ballots_cast",
}
_SUB_UNITS = {
    "total": "MESAS_HABILES",
    "processed": "ACTAS_PROCESADAS",
    "counted": "CONTABILIZA",
    "counted_normal": "CONT_NORMAL",
    "annulled": "CONT_ANULADA",
    "not_installed": "MESAS_NO_INST",
    "under_review": "TOTAL_JEE",
    "to_be_processed": "POR_PROCESAR",
    "pending": "PENDIENTE",
}
_REASONS = {
    ReviewReason.CHALLENGED_VOTES: "IMPUGNADA",
    ReviewReason.MATERIAL_ERROR: "ERROR_MAT",
    ReviewReason.NULLITY_REQUEST: "SOL_NULIDAD",
    ReviewReason.ILLEGIBLE: "ILEGIBLE",
    ReviewReason.INCOMPLETE: "INCOMPLETA",
    ReviewReason.MISSING_SIGNATURES: "SIN_FIRMA",
    ReviewReason.LOST: "EXTRAVIADA",
    ReviewReason.DESTROYED: "SINIESTRADA",
    ReviewReason.OTHER: "OTRAS_OBS",
}
_TWICE = ("ELECTORES_HABIL", "TOT_CIUDADANOS_VOTARON", "ACTAS_PROCESADAS", "POR_PROCESAR", "CONTABILIZA")

_Value = TypeVar("_Value")
Place = tuple[str, ...]
"""Names of department, province, district; empty for the country."""


@dataclass(frozen=True, slots=True)
class _Row:
    table: Table
    index: int

    def text(self, column: str) -> str:
        return self.table.get(column).text(self.index)

    @property
    def cells(self) -> dict[str, str]:
        return dict(zip(self.table.header, self.table.rows[self.index], strict=True))

    @property
    def where(self) -> str:
        return f"{self.table.document.name}, {self.table.place(self.index)}"

    def reject(self, column: str | None, code: str, message: str, expected: str) -> Rejection:
        return self.table.reject(self.index, column, code, message, expected)


class _Bad(Exception):
    """The unit's rows do not form a statement."""

    def __init__(self, row: _Row, column: str | None, code: str, message: str, expected: str) -> None:
        super().__init__(message)
        self.rejection = row.reject(column, code, message, expected)


@dataclass(slots=True)
class _Rows:
    """The rows of the four tables about one unit at one time."""

    parts: dict[str, dict[str, _Row]] = field(default_factory=lambda: {part: {} for part in PARTS})
    repeated: dict[tuple[str, str], list[_Row]] = field(default_factory=dict)
    """By table and line, all rows of it where one document has it twice, or two differ."""
    contradicted: set[tuple[str, str]] = field(default_factory=set)
    """Table and line of the rows that others contradict."""

    def all(self) -> Iterator[_Row]:
        for part in self.parts.values():
            yield from part.values()

    def lacking(self) -> tuple[str, ...]:
        return tuple(part for part in PARTS if not self.parts[part])


def parse(tables: Sequence[Table], contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse a snapshot for each `updated`, in the order of time. Raises Refused for a table of another election."""
    publications: dict[datetime, dict[Place, _Rows]] = defaultdict(dict)
    stray, clashes = Rejections(), Rejections()
    for table in tables:
        _refuse_other_election(table, contest)
        for index in range(len(table.rows)):
            row = _Row(table, index)
            try:
                time = instant(row.text("updated"), "updated").astimezone(UTC)
            except BadCell as bad:
                stray.append(row.reject(bad.column, bad.code, str(bad), bad.expected))
                continue
            place = tuple(row.text(name) for name in _NAMES) if table.form.family == DISTRICTS else ()
            _put(publications[time].setdefault(place, _Rows()), row)
    for places in publications.values():
        for rows in places.values():
            clashes.extend(_clashes(rows))
    family = tables[0].form.family
    snapshots = [_snapshot(family, time, places, contest) for time, places in sorted(publications.items())]
    if stray or clashes:
        snapshots.append(Snapshot(f"{family}/rejected", contest.authority, (), (*stray, *clashes)))
    return tuple(snapshots)


def _refuse_other_election(table: Table, contest: ContestDefined) -> None:
    if table.form.name != "resultados":
        return
    at = table.column("C_CODI_AGRUPOL")
    for index, row in enumerate(table.rows):
        if row[at] not in contest.by_external_id:
            known = ", ".join(f"{code} ({s.party})" for code, s in contest.by_external_id.items())
            where, code = table.place(index, "C_CODI_AGRUPOL"), row[at][:40]
            message = f"{where}: {code!r} stands for no selection of {contest.contest_id}: a table of another election?"
            raise Refused(table.document, "F301", message, f"one of {known}")


def _put(rows: _Rows, row: _Row) -> None:
    """Add the row to its table. Overlapping documents may repeat rows; a single document must not."""
    part = row.table.form.name
    name = {"resultados": "C_CODI_AGRUPOL", "totales": "AGRUPACION"}.get(part)
    line = row.text(name) if name else ""
    other = rows.parts[part].get(line)
    if other is None:
        rows.parts[part][line] = row
        return
    same = row.cells == other.cells
    if same and other.table is not row.table:
        return
    rows.repeated.setdefault((part, line), [other]).append(row)
    if not same:
        rows.contradicted.add((part, line))


def _clashes(rows: _Rows) -> Iterator[Rejection]:
    """Reject repeated rows, and name all their partners: of equal ones all but the first, of differing ones all."""
    for place, repeated in rows.repeated.items():
        if place not in rows.contradicted:
            for row in repeated[1:]:
                yield row.reject(None, "F203", f"repeats {repeated[0].where}", "every line once")
            continue
        for row in repeated:
            partners = [other.where for other in repeated[: _NAMED + 1] if other is not row][:_NAMED]
            others = len(repeated) - 1 - len(partners)
            more = f" and {others:,} more" if others else ""
            expected = "every line once; two captures of one update are loaded one after the other"
            yield row.reject(None, "F203", f"contradicts {', '.join(partners)}{more}", expected)


_NAMED = 20
"""Rows that a message names."""


def _snapshot(family: str, time: datetime, places: dict[Place, _Rows], contest: ContestDefined) -> Snapshot:
    statements: list[Statement] = []
    rejections, incomplete = Rejections(), Rejections()
    awaited: dict[str, None] = {}
    for place, rows in places.items():
        if rows.contradicted:
            continue
        if lacking := rows.lacking():
            awaited.update(dict.fromkeys(f"{part} of {rfc3339(time)}" for part in lacking))
            first = next(rows.all())
            what = f"{'/'.join(place) or 'the country'} at {rfc3339(time)} lacks its row in {', '.join(lacking)}"
            incomplete.append(first.reject(None, "F205", what, f"rows in all of {', '.join(PARTS)}"))
            continue
        try:
            statements.append(_statement(time, place, rows, contest))
        except _Bad as bad:
            rejections.append(bad.rejection)
        except ValidationError as error:
            rejections.append(next(rows.all()).reject(None, "F202", first_fault(error), FITTING))
    name = f"{family}/{rfc3339(time)}"
    return Snapshot(name, contest.authority, tuple(statements), tuple(rejections), tuple(awaited), tuple(incomplete))


def _statement(time: datetime, place: Place, rows: _Rows, contest: ContestDefined) -> Statement:
    (summary,) = rows.parts["resumen"].values()
    (turnout,) = rows.parts["participacion"].values()
    votes: dict[str, int | None] = {}
    shares: dict[str, str] = {}
    left_out: list[Rejection] = []

    def percentage(row: _Row, column: str) -> str | None:
        return share(row.text(column), column, lambda bad: left_out.extend(row.table.leave_out(row.index, [bad])))

    lines = rows.parts["resultados"]
    for selection in contest.selections:
        row = lines.get(selection.external_id or "")
        if row is None:
            message = f"no row for {selection.external_id} ({selection.party})"
            raise _Bad(next(iter(lines.values())), "C_CODI_AGRUPOL", "F205", message, "a row for every selection")
        votes[selection.selection_id] = _cell(row, "TOTAL_VOTOS", whole)
        if (stated := percentage(row, "POR_VALIDOS")) is not None:
            shares[selection.selection_id] = stated
    totals: dict[str, int] = {}
    for line, row in rows.parts["totales"].items():
        if line not in _TOTALS:
            raise _Bad(row, "AGRUPACION", "F205", f"unknown total {line[:60]!r}", f"one of {', '.join(_TOTALS)}")
        totals[_TOTALS[line]] = _cell(row, "TOTAL_VOTOS", whole)
    _agree(summary, turnout, rows.parts["totales"].get("TOTAL DE VOTOS EMITIDOS"))
    left_out += (odd for row in rows.all() for odd in row.table.leave_out(row.index, ()))
    return Statement(
        unit=_unit(summary, place, contest),
        reported_at=time,
        stated_at=time,
        observed_at=max(row.table.document.observed_at for row in rows.all()),
        count_status=CountStatus.COUNTED,  # a bulletin is a count
        source_status=None,
        review_reason=None,
        result_stage=ResultStage.PROVISIONAL,
        office_note=None,
        counts=Counts(
            votes=votes,
            registered_voters=None,
            registered_voters_counted=_cell(summary, "ELECTORES_HABIL", whole),
            valid_votes=totals.get("valid_votes"),
            blank_votes=totals.get("blank_votes"),
            invalid_votes=totals.get("invalid_votes"),
            challenged_votes=totals.get("challenged_votes"),
            ballots_cast=totals.get("ballots_cast"),
        ),
        sub_units=SubUnits(
            under_review_by_reason={reason.value: _cell(summary, column, whole) for reason, column in _REASONS.items()},
            **{name: _cell(summary, column, whole) for name, column in _SUB_UNITS.items()},
        ),
        published_percentages=PublishedPercentages(
            valid_votes_share=shares,
            sub_units_processed=percentage(turnout, "POR_ACTAS_PROCESADAS"),
            sub_units_counted=percentage(turnout, "POR_ACTAS_CONTABILIZADAS"),
            turnout=percentage(turnout, "POR_CIUDADANOS_VOTARON"),
        ),
        documents=_documents(rows),
        original=b"".join(row.table.original(row.index) for row in rows.all()),
        left_out=tuple(left_out),
    )


def _documents(rows: _Rows) -> tuple[Document, ...]:
    """Return one document for each file, with all its rows: a national total is stated in several rows."""
    places: dict[str, tuple[Kept, list[int]]] = {}
    for row in rows.all():
        document = row.table.document
        places.setdefault(document.sha256, (document, []))[1].append(row.table.number(row.index))
    return tuple(
        Document(
            name=document.name,
            uri=document.uri,
            sha256=sha256,
            place=f"row{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in sorted(numbers))}",
        )
        for sha256, (document, numbers) in places.items()
    )


def _unit(summary: _Row, place: Place, contest: ContestDefined) -> ReportingUnit:
    ubigeo = summary.text("CCODI_UBIGEO")
    if not (len(ubigeo) == 6 and ubigeo.isascii() and ubigeo.isdigit()):
        raise _Bad(summary, "CCODI_UBIGEO", "F202", f"{ubigeo[:40]!r} is not a ubigeo", "six digits")
    if not place:
        if ubigeo != "000000":
            raise _Bad(
                summary, "CCODI_UBIGEO", "F303", f"{ubigeo} is not the whole country", "000000 in the national table"
            )
        root = contest.root
        return ReportingUnit(id=root.area_id, type=root.type, name=root.name, area_path=())
    path = contest.area_paths.get(ubigeo, (contest.root.area_id, f"{ubigeo[:2]}0000", f"{ubigeo[:4]}00", ubigeo))
    return ReportingUnit(id=ubigeo, type=ReportingUnitType.MUNICIPALITY.value, name=place[-1], area_path=path[:-1])


def _agree(summary: _Row, turnout: _Row, cast: _Row | None) -> None:
    """Raise _Bad for a figure that two tables of one update state differently."""
    figures = [(column, turnout, column) for column in _TWICE]
    if cast is not None:
        figures.append(("TOT_CIUDADANOS_VOTARON", cast, "TOTAL_VOTOS"))
    for column, other, its_column in figures:
        if _cell(summary, column, whole) != _cell(other, its_column, whole):
            said = f"resumen says {summary.text(column)}, {other.table.form.name} {other.text(its_column)}"
            expected = "the same figure in both tables of one update"
            raise _Bad(summary, column, "F205", f"{said} ({other.where})", expected)


def _cell(row: _Row, column: str, read: Callable[[str, str], _Value]) -> _Value:
    try:
        return read(row.text(column), column)
    except BadCell as bad:
        raise _Bad(row, bad.column, bad.code, str(bad), bad.expected) from bad
