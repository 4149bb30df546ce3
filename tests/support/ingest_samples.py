"""Small documents in the office's own forms, for the tests of ingest: a few real rows, whole and spoilt."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.feeds import registry as adapters
from ingest.feeds.statement import Kept, Rejection, Snapshot
from ingest.news import contest_file
from schemas.contest import ContestDefined

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "peru-2021-runoff"
DATA = ROOT.parent / "shared" / "data" / "peru-2021-runoff"
OBSERVED = datetime(2021, 7, 1, tzinfo=UTC)

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the collected files are not at {DATA.name}/ beside the checkout"
)

ACTA_HEADER = (
    "num_mesa,observacion,observacion_detalle,ubigeo,departamento,provincia,distrito,local,num_resoluciones,num_electores,"
    "num_votos,votos_perulibre,votos_fuerzapopular,votos_blanco,votos_nulos,votos_impugnados,descargado\n"
)
_PLACE = "010101,AMAZONAS,CHACHAPOYAS,CHACHAPOYAS,IE 18288 ISABEL LYNCH DE RUBIO"
ACTA_ROWS = [
    f"1,CONTABILIZADAS NORMALES,ACTA ELECTORAL NORMAL,{_PLACE},0,300,214,118,81,1,14,0,2021-06-08T16:15:44Z\n",
    f"2,CONTABILIZADAS NORMALES,ACTA ELECTORAL NORMAL,{_PLACE},0,300,226,123,87,0,16,0,2021-06-08T16:15:44Z\n",
    "43,VOTOS IMPUGNADOS,ACTA ELECTORAL PARA ENVÍO AL JEE,010101,AMAZONAS,CHACHAPOYAS,CHACHAPOYAS,IE SEMINARIO JESUS MARIA,0,300,231,109,98,2,19,3,2021-06-08T16:15:44Z\n",  # noqa: E501
    "1671,ILEGIBILIDAD,ACTA ELECTORAL PARA ENVÍO AL JEE,020505,ANCASH,CASMA,YAUTAN,IE 89015,0,300,NA,88,123,4,10,0,2021-06-08T16:15:44Z\n",  # noqa: E501
    "9592,ACTA ELECTORAL PENDIENTE,ACTA ELECTORAL PENDIENTE,050302,AYACUCHO,HUANTA,AYAHUANCO,NA,0,280,0,0,0,0,0,0,2021-06-08T16:15:44Z\n",  # noqa: E501
    "18236,ACTA ELECTORAL ANULADA,ACTA ELECTORAL RESUELTA,090102,HUANUCO,HUANUCO,CHINCHAO,IE NUESTRA SEÑORA DE LOURDES,1,300,199,0,0,0,199,0,2021-06-08T16:15:44Z\n",  # noqa: E501
]
ACTA = ACTA_HEADER + "".join(ACTA_ROWS)

FINAL_HEADER = (
    "rowid,mesa,v2_TOT_CIUDADANOS_VOTARON,v2_fp,v2_perulibre,v2_emitidos,v2_validos,v2_blanco,v2_impugnados,v2_nulos,v2_OBSERVACION,"
    "v2_OBSERVACION_TXT,v2_CCODI_UBIGEO,v2_DEPARTAMENTO,v2_PROVINCIA,v2_DISTRITO,v2_TDIRE_LOCAL,v2_TNOMB_LOCAL,v2_CCOPIA_ACTA,"
    "v2_NNUME_HABILM,v2_N_CANDIDATOS,v2_CCENT_COMPU\n"
)
FINAL_ROWS = [
    "1,000001,214,81,118,214,199,1,0,14,CONTABILIZADAS NORMALES,ACTA ELECTORAL NORMAL,010101,AMAZONAS,CHACHAPOYAS,CHACHAPOYAS,JR AYACUCHO 870,IE 18288 ISABEL LYNCH DE RUBIO,91L,300,0,C45001\n",  # noqa: E501
    '82340,082340,0,0,0,0,0,0,0,0,MESA NO INSTALADA,MESA NO INSTALADA,932801,ASIA,KUWAIT,AL - KUWAIT,"AL ARABIYA TOWER FLOOR 6, SHARQ, KUWAIT\r\n",EMBAJADA DEL PERÚ EN KUWAIT,NA,3,0,C45058\n',  # noqa: E501
    "2336,002336,170,0,0,170,0,0,0,170,ACTA ELECTORAL ANULADA,ACTA ELECTORAL RESUELTA,021301,ANCASH,SANTA,CHIMBOTE,JR CASMA SN,IE SAN PEDRO,93V,300,0,C45008\n",  # noqa: E501
]
FINAL = FINAL_HEADER + "".join(FINAL_ROWS)

NATIONAL = {
    "resultados": (
        "C_CODI_AGRUPOL,AGRUPACION,TOTAL_VOTOS,NLISTA,POR_VALIDOS,POR_EMITIDOS,NOMBREe_CANDIDATO,updated,avance\n"
        "00000014,PARTIDO POLITICO NACIONAL PERU LIBRE,5927689,1,47.525000000000006,44.541,JOSE PEDRO CASTILLO TERRONES,2021-06-07T05:48:00Z,74.9552\n"  # noqa: E501
        "00000007,FUERZA POPULAR,6545132,2,52.475,49.181,KEIKO SOFIA FUJIMORI HIGUCHI,2021-06-07T05:48:00Z,74.9552\n"
    ),
    "totales": (
        "AGRUPACION,TOTAL_VOTOS,POR_EMITIDOS,updated,avance\n"
        "TOTAL DE VOTOS VÁLIDOS,12472821,93.722,2021-06-07T05:48:00Z,74.9552\n"
        "VOTOS EN BLANCO,77098,0.5790000000000001,2021-06-07T05:48:00Z,74.9552\n"
        "VOTOS NULOS,758358,5.6979999999999995,2021-06-07T05:48:00Z,74.9552\n"
        "TOTAL DE VOTOS EMITIDOS,13308277,100,2021-06-07T05:48:00Z,74.9552\n"
    ),
    "resumen": (
        "CCODI_UBIGEO,CONTABILIZA,CONT_NORMAL,IMPUGNADA,ERROR_MAT,MESAS_INSTALADAS,ACTAS_PROCESADAS,SOL_NULIDAD,ILEGIBLE,PENDIENTE,OTRAS_OBS,SIN_DATOS,"
        "CONT_ANULADA,POR_PROCESAR,EXTRAVIADA,SINIESTRADA,INCOMPLETA,SIN_FIRMA,A_INSTALAR,MESAS_NO_INST,FUSIONADAS,NTOTAL_AUTO,MESAS_HABILES,"
        "TOT_CIUDADANOS_VOTARON,ELECTORES_HABIL,ELECTORES_HABIL_50,TOTAL_JEE,updated,avance\n"
        "000000,58137,58137,318,268,58964,58964,1,24,27037,104,0,0,27524,0,0,54,58,86488,0,0,0,86488,13308277,17096826,8548689,827,2021-06-07T05:48:00Z,74.9552\n"
    ),
    "participacion": (
        "ELECTORES_HABIL,TOT_CIUDADANOS_VOTARON,POR_CIUDADANOS_VOTARON,POR_ACTAS_CONTABILIZADAS,POR_ACTAS_PROCESADAS,ACTAS_PROCESADAS,POR_PROCESAR,"
        "CONTABILIZA,POR_POR_PROCESAR,N_CANDIDATOS,updated,avance\n"
        "17096826,13308277,77.84100000000001,67.22,68.17599999999999,58964,27524,58137,31.824,0,2021-06-07T05:48:00Z,74.9552\n"
    ),
}

_NAMES, _KUWAIT = "departamento,provincia,distrito,", "ASIA,KUWAIT,AL - KUWAIT,"
DISTRICTS = {
    part: "".join(
        (_KUWAIT if n else _NAMES) + line.replace("000000,", "932801,") for n, line in enumerate(text.splitlines(True))
    )
    for part, text in NATIONAL.items()
}
"""The national tables' figures as those of one district."""


def many_sheets(path: Path, count: int, minute: int = 15, more: int = 0, first: int = 1) -> Path:
    """A document of `count` sheets, numbered from `first` on; `more` votes on every third."""
    row = ACTA_ROWS[0].partition(",")[2].replace("16:15:44", f"16:{minute}:44")
    grown = row.replace("300,214,118,81", f"300,{214 + more},{118 + more},81")
    rows = [f"{n},{grown if n % 3 == 0 else row}" for n in range(first, first + count)]
    path.write_text(ACTA_HEADER + "".join(rows), encoding="utf-8")
    return path


def contest() -> ContestDefined:
    """The example's contest."""
    return contest_file.read(
        (EXAMPLE / "contest.toml").read_text(encoding="utf-8"), (EXAMPLE / "areas.csv").read_text(encoding="utf-8")
    ).definition


def kept(content: bytes | str, name: str = "x.csv", observed_at: datetime = OBSERVED) -> Kept:
    """A document as the archive hands it on, published when it was fetched."""
    raw = content.encode() if isinstance(content, str) else content
    return Kept(name, raw, hashlib.sha256(raw).hexdigest(), observed_at, None, observed_at)


def read_file(path: Path) -> Kept:
    """A collected file, as the archive hands it on."""
    return kept(path.read_bytes(), path.name)


def parse(*documents: Kept, of: ContestDefined | None = None) -> tuple[Snapshot, ...]:
    """The snapshots of documents, through recognition and planning as in a run; the unreadable as rejections."""
    recognised = [adapters.recognise(document) for document in documents]
    refused = tuple(r for r in recognised if isinstance(r, Rejection))
    batches = adapters.plan([r for r in recognised if not isinstance(r, Rejection)])
    found = [snapshot for batch in batches for snapshot in adapters.parse(batch, of or contest())]
    return (*([Snapshot("unreadable", "", (), refused)] if refused else []), *found)


def packed(text: str) -> bytes:
    """Gzipped."""
    return gzip.compress(text.encode(), mtime=0)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As an account that permissions hold for: they do not for root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)
