"""Parse ONPE's tally sheets (actas), one in each row, in the two forms in which they were collected. Pure.

`acta` is the form of the dated captures (mesa numbers without leading zeros, `NA` for what is not stated, time of
capture in `descargado`, which is taken for that of publication); `acta-final` that of the final file (columns `v2_…`,
no time). Neither states an official time. A sheet that is pending or still being typed in states no votes, although the
file prints zeros.

Ordinary rows become columns; every other row is read by itself, by `_reader`, which is the rule for both. A text of a
column is judged once for all rows that have it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import numpy as np

from ingest.feeds.records import Refused
from ingest.feeds.statement import Rejections, SheetColumns, Sheets, Snapshot, Statement
from ingest.feeds.table import BadCell, Form, Table, evidence, fitting, instant, published_at, whole
from schemas.columns.layout import NONE, REASONS, STAGES, Layout, Mask, Numbers, sum_of_votes
from schemas.columns.layout import STATUSES as CODES
from schemas.contest import ContestDefined
from schemas.count_update import Counts, ReportingUnit
from schemas.types import (
    COUNT_LIMIT,
    TEXT_LIMIT,
    CountStatus,
    ReportingUnitType,
    ResultStage,
    ReviewReason,
    to_milliseconds,
)

FAMILY = "onpe-tally-sheets"
_TYPE = ReportingUnitType.PRECINCT.value
_RESOLVED = "ACTA ELECTORAL RESUELTA"
_NOT_STATED = "NA"

STATUSES: dict[str, tuple[CountStatus, ReviewReason | None]] = {
    "CONTABILIZADAS NORMALES": (CountStatus.COUNTED, None),
    "ACTA ELECTORAL PENDIENTE": (CountStatus.PENDING, None),
    "EN PROCESO DE DIGITACION": (CountStatus.IN_PROCESS, None),
    "ACTA ELECTORAL ANULADA": (CountStatus.ANNULLED, None),
    "MESA NO INSTALADA": (CountStatus.NOT_INSTALLED, None),
    "VOTOS IMPUGNADOS": (CountStatus.UNDER_REVIEW, ReviewReason.CHALLENGED_VOTES),
    "ERROR MATERIAL": (CountStatus.UNDER_REVIEW, ReviewReason.MATERIAL_ERROR),
    "OTRAS OBSERVACIONES": (CountStatus.UNDER_REVIEW, ReviewReason.OTHER),
    "INCOMPLETA": (CountStatus.UNDER_REVIEW, ReviewReason.INCOMPLETE),
    "ACTA SIN FIRMAS": (CountStatus.UNDER_REVIEW, ReviewReason.MISSING_SIGNATURES),
    "ILEGIBILIDAD": (CountStatus.UNDER_REVIEW, ReviewReason.ILLEGIBLE),
    "SOLICITUD DE NULIDAD": (CountStatus.UNDER_REVIEW, ReviewReason.NULLITY_REQUEST),
}
"""ONPE's word in `observacion`, and ours."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The column of each figure in a form. `votes`: the authority's code of the selection, by column."""

    mesa: str
    digits: tuple[int, int]
    ubigeo: str
    name: str
    status: str
    detail: str
    voters: str
    cast: str
    blank: str
    invalid: str
    challenged: str
    valid: str | None
    time: str | None
    votes: dict[str, str]

    @property
    def needed(self) -> tuple[str, ...]:
        single = (
            self.mesa, self.ubigeo, self.name, self.status, self.detail, self.voters,
            self.cast, self.blank, self.invalid, self.challenged, self.valid, self.time,
        )  # fmt: skip
        return (*(column for column in single if column), *self.votes)


_DATED = _Columns(
    mesa="num_mesa", digits=(1, 6), ubigeo="ubigeo", name="local", status="observacion", detail="observacion_detalle",
    voters="num_electores", cast="num_votos", blank="votos_blanco", invalid="votos_nulos",
    challenged="votos_impugnados", valid=None, time="descargado",
    votes={"votos_perulibre": "00000014", "votos_fuerzapopular": "00000007"},
)  # fmt: skip
_FINAL = _Columns(
    mesa="mesa", digits=(6, 6), ubigeo="v2_CCODI_UBIGEO", name="v2_TNOMB_LOCAL", status="v2_OBSERVACION",
    detail="v2_OBSERVACION_TXT", voters="v2_NNUME_HABILM", cast="v2_emitidos", blank="v2_blanco", invalid="v2_nulos",
    challenged="v2_impugnados", valid="v2_validos", time=None,
    votes={"v2_perulibre": "00000014", "v2_fp": "00000007"},
)  # fmt: skip
_FORMS = {"acta": _DATED, "acta-final": _FINAL}

FORMS = (
    Form(FAMILY, "acta", _DATED.needed, ("departamento", "provincia", "distrito", "num_resoluciones"), ("descargado",)),
    Form(
        FAMILY, "acta-final", _FINAL.needed,
        ("rowid", "v2_TOT_CIUDADANOS_VOTARON", "v2_DEPARTAMENTO", "v2_PROVINCIA", "v2_DISTRITO", "v2_TDIRE_LOCAL",
         "v2_CCOPIA_ACTA", "v2_N_CANDIDATOS", "v2_CCENT_COMPU"),
    ),
)  # fmt: skip


def parse(tables: Sequence[Table], contest: ContestDefined) -> tuple[Snapshot, ...]:
    """Parse the one snapshot of a document of sheets. Raises Refused for a document of another election."""
    (table,) = tables
    columns = _FORMS[table.form.name]
    _refuse_other_election(table, columns, contest)
    if columns.time is None:
        published_at(table.document)
    rejections, skip = _twice(table, columns)
    read = _reader(table, columns, contest)
    ordinary, sheets = _ordinary(table, columns, contest)
    ordinary[list(skip)] = False
    if table.is_open_ended:
        ordinary[-1] = False
    others: dict[int, Statement] = {}
    for index in np.flatnonzero(~ordinary).tolist():
        if index in skip:
            continue
        try:
            others[index] = fitting(read, index, table.rows[index])
        except BadCell as bad:
            rejections.append(table.reject(index, bad.column or None, bad.code, str(bad), bad.expected))
    stated = ordinary.copy()
    stated[list(others)] = True
    sheets.places = np.cumsum(stated) - 1
    others = {int(sheets.places[index]): statement for index, statement in others.items()}
    statements = Sheets(sheets.of(ordinary), others, lambda index: read(index, table.rows[index]))
    snapshot_id = f"{FAMILY}/{table.document.sha256[:16]}"
    return (Snapshot(snapshot_id, contest.authority, statements, tuple(rejections)),)


def _refuse_other_election(table: Table, columns: _Columns, contest: ContestDefined) -> None:
    for column, code in columns.votes.items():
        if code not in contest.by_external_id:
            raise Refused(
                table.document,
                "F301",
                f"row 1: column {column} counts votes for {code}, which {contest.contest_id} does not have: "
                "a table of another election?",
                f"votes for {', '.join(contest.by_external_id)}",
            )
    lacking = set(contest.by_external_id) - set(columns.votes.values())
    strange = [c for c in table.header if c not in table.form.columns and c.startswith(("votos_", "v2_"))]
    if lacking or strange:
        what = f"column {', '.join(strange)} is unknown" if strange else f"no column for {', '.join(sorted(lacking))}"
        expected = f"votes in {', '.join(columns.votes)} and no others"
        raise Refused(table.document, "F301", f"row 1: {what}: a table of another election?", expected)


def _twice(table: Table, columns: _Columns) -> tuple[Rejections, set[int]]:
    """Reject repeated mesas: of equal rows all but the first, of differing rows all. Returns their indexes too."""
    at = table.column(columns.mesa)
    number = table.header.index("rowid") if "rowid" in table.header else None

    def content(index: int) -> list[str]:
        return [cell for place, cell in enumerate(table.rows[index]) if place not in (at, number)]

    if len({mesa.zfill(6) for mesa in table.get(columns.mesa).texts}) == len(table.rows):
        return Rejections(), set()
    first: dict[str, int] = {}
    more: dict[str, list[int]] = {}
    for index, row in enumerate(table.rows):
        mesa = row[at].zfill(6)
        if first.setdefault(mesa, index) != index:
            more.setdefault(mesa, [first[mesa]]).append(index)
    rejections, skip = Rejections(), set()
    for mesa, places in more.items():
        differ = any(content(place) != content(places[0]) for place in places[1:])
        for place in places if differ else places[1:]:
            said = (
                f"stands in {table.others(places, place)} too, with other figures: none of them is published"
                if differ
                else f"is repeated from row {table.number(places[0])}"
            )
            message = f"mesa {mesa} {said}"
            rejections.append(table.reject(place, columns.mesa, "F203", message, "one row for each mesa"))
            skip.add(place)
    return rejections, skip


_BAD = -3
"""What stands for a text that only `_reader` can judge."""
_SILENT = [CODES.index(CountStatus.PENDING), CODES.index(CountStatus.IN_PROCESS)]


def _ordinary(table: Table, columns: _Columns, contest: ContestDefined) -> tuple[Mask, SheetColumns]:
    """Read every row as columns, and say which are ordinary: `_reader` accepts each text, and some figure is stated."""
    ok = np.full(len(table.rows), contest.is_sheet(_TYPE) and not contest.ended_areas)

    def looked_up(column: str, judge: Callable[[str], int]) -> Numbers:
        of = table.get(column)
        values = np.array([judge(text) for text in of.texts], np.int64)[of.codes]
        np.logical_and(ok, values != _BAD, out=ok)
        return values

    def figure(text: str) -> int:
        if text == _NOT_STATED:
            return NONE
        try:
            return whole(text, "")
        except BadCell:
            return _BAD

    def time(text: str) -> int:
        try:
            return to_milliseconds(instant(text, ""))
        except BadCell:
            return _BAD

    lowest, highest = columns.digits
    mesas, ubigeos, names, words = (
        table.get(column) for column in (columns.mesa, columns.ubigeo, columns.name, columns.status)
    )
    looked_up(columns.mesa, lambda text: 0 if _is_number(text) and lowest <= len(text) <= highest else _BAD)
    looked_up(columns.name, lambda text: 0 if len(text) <= TEXT_LIMIT else _BAD)
    paths = contest.area_paths
    areas = [paths.get(text, ()) if _is_number(text) and len(text) == 6 else () for text in ubigeos.texts]
    ok &= np.array([bool(path) for path in areas], bool)[ubigeos.codes]
    status = looked_up(columns.status, lambda word: CODES.index(STATUSES[word][0]) if word in STATUSES else _BAD)
    reasons = [STATUSES[word][1] if word in STATUSES else None for word in words.texts]
    layout = Layout.of(contest)
    figures = np.full((len(ok), layout.size), NONE, np.int64)
    voters = looked_up(columns.voters, figure)
    stated = {
        "ballots_cast": columns.cast, "blank_votes": columns.blank, "invalid_votes": columns.invalid,
        "challenged_votes": columns.challenged, "valid_votes": columns.valid,
        **{f"votes.{contest.by_external_id[code].selection_id}": column for column, code in columns.votes.items()},
    }  # fmt: skip
    for name, column in stated.items():
        if column is not None:
            figures[:, layout.slots[name]] = looked_up(column, figure)
    figures[np.isin(status, _SILENT)] = NONE
    figures[:, layout.slots["registered_voters"]] = voters
    ok &= sum_of_votes(figures) < COUNT_LIMIT
    ok &= (figures != NONE).any(axis=1) & (len(columns.votes) == len(contest.selection_ids))
    if columns.time is None:
        stated_at = np.full(len(ok), to_milliseconds(published_at(table.document)), np.int64)
    else:
        stated_at = looked_up(columns.time, time)
    return ok, SheetColumns(
        document=table.document,
        places=np.arange(len(ok)),
        rows=np.arange(len(ok)),
        numbers=table.spans[:, 0].copy(),
        ids=[mesas.texts[code].zfill(6) for code in mesas.codes.tolist()],
        area=ubigeos.codes.astype(np.int64),
        areas=areas,
        name=names.codes.astype(np.int64),
        names=[None if text == _NOT_STATED else text for text in names.texts],
        word=words.codes.astype(np.int64),
        words=words.texts,
        status=status,
        reason=np.array([NONE if why is None else REASONS.index(why.value) for why in reasons])[words.codes],
        stage=looked_up(columns.detail, lambda text: STAGES.index(_stage(text))),
        stated=stated_at,
        figures=figures,
    )


def _stage(detail: str) -> ResultStage:
    return ResultStage.ADJUDICATED if detail == _RESOLVED else ResultStage.PROVISIONAL


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _reader(table: Table, columns: _Columns, contest: ContestDefined) -> Callable[[int, list[str]], Statement]:
    """Make the function that reads a row, with everything looked up once that does not depend on the row."""
    at = {column: table.column(column) for column in columns.needed}
    fixed: Any = itemgetter(
        *(at[c] for c in (columns.mesa, columns.ubigeo, columns.name, columns.status, columns.detail))
    )
    names = (columns.voters, columns.cast, columns.blank, columns.invalid, columns.challenged)
    figures: Any = itemgetter(*(at[c] for c in names))
    ballot = [(contest.by_external_id[code].selection_id, column, at[column]) for column, code in columns.votes.items()]
    ballot.sort(key=lambda vote: contest.selection_ids.index(vote[0]))
    times: dict[str, datetime] = {}
    lowest, highest = columns.digits
    paths, root = contest.area_paths, contest.root.area_id
    document = table.document

    def stated_at(row: list[str]) -> datetime:
        if columns.time is None:
            return published_at(document)
        text = row[at[columns.time]]
        if text not in times:
            times[text] = instant(text, columns.time)
        return times[text]

    known: dict[str, int | None] = {_NOT_STATED: None}  # sheets repeat the same few hundred numbers

    def stated(text: str, column: str) -> int | None:
        if text not in known:
            known[text] = whole(text, column)
        return known[text]

    def read(index: int, row: list[str]) -> Statement:
        left_out: list[BadCell] = []

        mesa, ubigeo, place, word, detail = fixed(row)
        if not (_is_number(mesa) and lowest <= len(mesa) <= highest):
            message = f"{mesa[:40]!r} is not the number of a mesa"
            raise BadCell(columns.mesa, "F202", message, "six digits" if lowest == 6 else "up to six digits")
        if word not in STATUSES:
            message = f"{word[:60]!r} is not a known state of a sheet"
            raise BadCell(columns.status, "F204", message, f"one of {', '.join(STATUSES)}")
        if not (_is_number(ubigeo) and len(ubigeo) == 6):
            raise BadCell(columns.ubigeo, "F202", f"{ubigeo[:40]!r} is not a ubigeo", "six digits")
        status, reason = STATUSES[word]
        voters, cast, blank, invalid, challenged = [
            known[text] if text in known else stated(text, name) for text, name in zip(figures(row), names, strict=True)
        ]
        votes = {
            selection: known[row[where]] if row[where] in known else stated(row[where], column)
            for selection, column, where in ballot
        }
        valid = None if columns.valid is None else stated(row[at[columns.valid]], columns.valid)
        if status is CountStatus.PENDING or status is CountStatus.IN_PROCESS:
            cast = blank = invalid = challenged = valid = None
            votes = dict.fromkeys(votes)
        return Statement(
            unit=ReportingUnit(
                id=mesa.zfill(6),
                type=_TYPE,
                name=None if place == _NOT_STATED else evidence(place, columns.name, left_out.append),
                area_path=paths.get(ubigeo) or (root, f"{ubigeo[:2]}0000", f"{ubigeo[:4]}00", ubigeo),
            ),
            reported_at=None,
            stated_at=stated_at(row),
            observed_at=document.observed_at,
            count_status=status,
            source_status=word,
            review_reason=reason,
            result_stage=_stage(detail),
            office_note=None,
            counts=Counts(
                votes=votes,
                ballots_cast=cast,
                valid_votes=valid,
                blank_votes=blank,
                invalid_votes=invalid,
                challenged_votes=challenged,
                registered_voters=voters,
                registered_voters_counted=None,
            ),
            sub_units=None,
            published_percentages=None,
            documents=(table.at(index),),
            original=table.original(index),
            left_out=table.leave_out(index, left_out),
        )

    return read
