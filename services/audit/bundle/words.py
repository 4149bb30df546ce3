"""Say what a check found, in English and in Spanish (pure).

A check says codes and figures; the sentences stand here once for each language, so that the report for people and the
one for programs cannot say two things.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

Language = Literal["en", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Said(NamedTuple):
    """A sentence: its code in TEXTS, and the figures in it."""

    code: str
    of: Mapping[str, Any] = {}

    def text(self, language: Language = "en") -> str:
        """Return the sentence."""
        of = dict(self.of)
        if language == "es":
            of |= {name: _in_spanish(of[name]) for name in _NAMED if isinstance(of.get(name), str)}
        return TEXTS[self.code][LANGUAGES.index(language)].format(**of)


_NAMED = ("words", "figure", "what", "unit")
"""Parts of a sentence that name figures and units as the contract does."""
_SPANISH = {
    "country": "país", "state": "departamento", "county": "provincia", "municipality": "distrito",
    "polling-place": "local", "precinct": "mesa", "votes": "votos", "ballots_cast": "votos emitidos",
    "valid_votes": "votos válidos", "blank_votes": "votos en blanco", "invalid_votes": "votos nulos",
    "challenged_votes": "votos impugnados", "registered_voters": "electores hábiles",
    "registered_voters_counted": "electores hábiles de actas contabilizadas", "total": "actas",
    "processed": "actas procesadas", "counted": "actas contabilizadas",
    "counted_normal": "actas contabilizadas normales", "annulled": "actas anuladas",
    "not_installed": "mesas no instaladas", "under_review": "actas enviadas al JEE", "pending": "actas pendientes",
    "in_process": "actas en digitación", "to_be_processed": "actas por procesar",
}  # fmt: skip


def _in_spanish(names: str) -> str:
    return re.sub("[a-z_]+(?:-place)?", lambda name: _SPANISH.get(name[0], name[0]), names)


TEXTS: Mapping[str, tuple[str, str]] = {
    # The names of the checks
    "signature": ("signature", "firma"),
    "tree": ("tree", "árbol"),
    "checkpoints": ("checkpoints", "puntos de control"),
    "events": ("events", "eventos"),
    "ids": ("ids", "identificadores"),
    "chains": ("chains", "cadenas"),
    "events.jsonl": ("events.jsonl", "events.jsonl"),
    "documents": ("documents", "documentos"),
    "statements": ("statements", "actas y boletines"),
    "rows": ("rows", "filas"),
    "not_summed": ("published and not summed", "publicado y no sumado"),
    "operators": ("decided by people", "decidido por personas"),
    "clocks": ("clocks ahead", "relojes adelantados"),
    "rejected": ("rejected", "rechazado"),
    "times": ("odd orders of time", "órdenes de tiempo extraños"),
    "silences": ("silences", "silencios"),
    "tiny": ("tiny stations", "mesas muy pequeñas"),
    "schemas": ("schemas", "esquemas"),
    "files": ("other files", "otros archivos"),
    "rejections": ("rejected, and why", "rechazado y por qué"),
    # The four outcomes
    "holds": ("holds", "se cumple"),
    "fails": ("DOES NOT HOLD", "NO SE CUMPLE"),
    "unchecked": ("not checked", "no se comprobó"),
    "listed": ("to be looked at", "para revisar"),
    "more": ("and {count:,} more", "y {count:,} más"),
    # What they say
    "signature.holds": ("{name} signed {size:,} messages", "{name} firmó {size:,} mensajes"),
    "signature.stranger": (
        "no trusted key has signed it; these have: {by}; trusted: {given}",
        "no lleva la firma de la clave que usted dio, {given}; lo firmó: {by}",
    ),
    "signature.fails": ("{fault}", "la firma no vale: {fault}"),
    "tree.holds": (
        "the {signed:,} messages are those that were signed, in their order",
        "los {signed:,} mensajes son los que se firmaron, en su orden",
    ),
    "tree.more": (
        "{signed:,} messages are signed, and behind them stand {more:,} more that nobody signed",
        "{signed:,} mensajes están firmados, y detrás hay otros {more:,} que nadie firmó",
    ),
    "checkpoints.holds": (
        "those of before, where publications ended, are signed and of this same tree: {count:,}",
        "los anteriores, de cuando terminó cada publicación, están firmados y son de este mismo árbol: {count:,}",
    ),
    "checkpoints.unsigned": ("that of size {size:,}: {fault}", "el de tamaño {size:,}: {fault}"),
    "checkpoints.other": (
        "that of size {size:,} is not of the tree of these messages",
        "el de tamaño {size:,} no es del árbol de estos mensajes",
    ),
    "tree.short": (
        "{signed:,} messages were signed, and there are {size:,}: some are missing",
        "se firmaron {signed:,} mensajes y hay {size:,}: faltan algunos",
    ),
    "tree.altered": (
        "the {signed:,} messages are not those that were signed",
        "los {signed:,} mensajes no son los que se firmaron",
    ),
    "tree.unchecked": (
        "{size:,} messages, and nothing signed to compare them with",
        "{size:,} mensajes, y nada firmado con que compararlos",
    ),
    "some.fail": ("{count:,} do not hold", "{count:,} no se cumplen"),
    "events.holds": ("every message is an event: {types}", "cada mensaje es un evento: {types}"),
    "events.place": ("offset {offset:,}: {fault}", "posición {offset:,}: {fault}"),
    "ids.holds": (
        "every event has the id that follows from its content",
        "cada evento lleva el identificador que resulta de su contenido",
    ),
    "ids.place": (
        "offset {offset:,}: {event_id} is not the id of its content",
        "posición {offset:,}: {event_id} no es el identificador de su contenido",
    ),
    "chains.holds": (
        "every statement names the one before it of its unit",
        "cada acta y boletín nombra al anterior de su unidad",
    ),
    "chains.place": (
        "offset {offset:,}: {unit} follows {named}, not {last}",
        "posición {offset:,}: {unit} sigue a {named}, no a {last}",
    ),
    "chains.refused": ("offset {offset:,}: {fault}", "posición {offset:,}: {fault}"),
    "events.jsonl.holds": ("it has the same events as the messages", "tiene los mismos eventos que los mensajes"),
    "events.jsonl.place": (
        "offset {offset:,} is another event than the message",
        "posición {offset:,}: es otro evento que el del mensaje",
    ),
    "events.jsonl.more": ("{count:,} lines have no message", "{count:,} líneas no tienen mensaje"),
    "documents.holds": (
        "every document that the log names is here, byte by byte: {count:,}",
        "cada documento que nombra el registro está aquí, byte por byte: {count:,}",
    ),
    "documents.unchecked": (
        "the bundle has none of the {count:,} that the log names",
        "el paquete no tiene ninguno de los {count:,} que nombra el registro",
    ),
    "documents.missing": ("{sha256}, named by {place}, is missing", "falta {sha256}, que nombra {place}"),
    "documents.swapped": (
        "{sha256}, named by {place}, is another document",
        "{sha256}, que nombra {place}, es otro documento",
    ),
    "no_documents": ("the bundle has no documents", "el paquete no tiene documentos"),
    "statements.holds": (
        "{count:,} statements are as their documents state them. Dated by whoever loaded the document: {claimed:,}. "
        "Without their document here: {skipped:,}",
        "{count:,} actas y boletines coinciden con sus documentos. Con hora dada por quien cargó el documento: "
        "{claimed:,}. Sin su documento aquí: {skipped:,}",
    ),
    "statements.invented": (
        "{log}, offset {offset:,}: {unit}: no row of document {sha256} states it ({row})",
        "{log}, posición {offset:,}: {unit}: ninguna fila del documento {sha256} lo dice ({row})",
    ),
    "statements.again": (
        "{log}, offset {offset:,}: {unit}: {row} of document {sha256} was stated before: what is known is no news",
        "{log}, posición {offset:,}: {unit}: {row} del documento {sha256} ya se dijo antes: lo sabido no es novedad",
    ),
    "statements.undecided": (
        "{log}, offset {offset:,}: {unit}: none of its documents is this decision, signed by two people",
        "{log}, posición {offset:,}: {unit}: ninguno de sus documentos es esta decisión, firmada por dos personas",
    ),
    "statements.no_document": (
        "{log}, offset {offset:,}: {unit}: it names no document",
        "{log}, posición {offset:,}: {unit}: no nombra ningún documento",
    ),
    "statements.refused": (
        "{log}, offset {offset:,}: {unit}: {row} of document {sha256} is no statement: {fault}",
        "{log}, posición {offset:,}: {unit}: {row} del documento {sha256} no es un acta ni un boletín: {fault}",
    ),
    "statements.unreadable": (
        "{log}, offset {offset:,}: {unit}: document {sha256} cannot be parsed: {fault}",
        "{log}, posición {offset:,}: {unit}: el documento {sha256} no se puede leer: {fault}",
    ),
    "statements.differs": (
        "{log}, offset {offset:,}: {unit}: {what} is {log_has} on the log, and {document_has} in {row} of document "
        "{sha256}",
        "{log}, posición {offset:,}: {unit}: {what} es {log_has} en el registro y {document_has} en {row} del "
        "documento {sha256}",
    ),
    "rows.holds": (
        "every row of the documents is on the log, or it is known why not",
        "cada fila de los documentos está en el registro, o se sabe por qué no",
    ),
    "rows.place": (
        "document {sha256}, {row}: {unit}, stated for {stated}, is left out of the log",
        "documento {sha256}, {row}: falta en el registro {unit}, con hora {stated}",
    ),
    "not_summed.none": ("nothing", "nada"),
    "not_summed.listed": ("{rows:,} rows, by document and reason", "{rows:,} filas, por documento y motivo"),
    "not_summed.again": (
        "document {sha256}: {count:,} rows repeat what is published for their time",
        "documento {sha256}: {count:,} filas repiten lo publicado para su hora",
    ),
    "not_summed.repeated": (
        "document {sha256}: {count:,} rows repeat the latest figures of their unit for a later time",
        "documento {sha256}: {count:,} filas repiten las últimas cifras de su mesa o ámbito para una hora posterior",
    ),
    "not_summed.older": (
        "document {sha256}: {count:,} rows repeat the figures that stood at their time; later ones followed",
        "documento {sha256}: {count:,} filas repiten las cifras vigentes a su hora; después hubo otras",
    ),
    "not_summed.passed_over": (
        "document {sha256}: {count:,} rows are passed over: {of}",
        "documento {sha256}: {count:,} filas no se toman en cuenta: {of}",
    ),
    "not_summed.rejected": (
        "document {sha256}: {count:,} rows are rejected by {of}",
        "documento {sha256}: {count:,} filas se rechazan por {of}",
    ),
    "not_summed.excused": (
        "document {sha256}: {count:,} rows would count, and only an unsigned record says that {of} rejects them",
        "documento {sha256}: {count:,} filas contarían, y solo un registro sin firma dice que las rechaza {of}",
    ),
    "not_summed.refused": (
        "document {sha256} is refused by {of}",
        "el documento {sha256} se rechaza entero por {of}",
    ),
    "not_summed.log_ends": (
        "document {sha256}: {count:,} rows come after the last message of this bundle",
        "documento {sha256}: {count:,} filas vienen después del último mensaje de este paquete",
    ),
    "operators.none": ("no statement", "ningún acta ni boletín"),
    "operators.listed": (
        "events without a document of the office: {count:,}",
        "eventos sin documento del organismo electoral: {count:,}",
    ),
    "operators.definition": (
        "{log}, offset {offset:,}: definition {revision} of {contest}, from the operator's file",
        "{log}, posición {offset:,}: definición {revision} de {contest}, del archivo del operador",
    ),
    "operators.place": (
        "{log}, offset {offset:,}: {unit}: {kind}, proposed by {proposed_by}, confirmed by {confirmed_by}",
        "{log}, posición {offset:,}: {unit}: {kind}, propuesto por {proposed_by}, confirmado por {confirmed_by}",
    ),
    "clocks.listed": (
        "in {count:,} publications all times are before those of the document",
        "en {count:,} publicaciones todas las horas son anteriores a las del documento",
    ),
    "clocks.place": (
        "offset {offset:,}: the times of {count:,} statements are {seconds:,} s before those of the document: its "
        "clock was said to be ahead",
        "posición {offset:,}: las horas de {count:,} actas o boletines son {seconds:,} s anteriores a las del "
        "documento: se dijo que su reloj estaba adelantado",
    ),
    "rejected.unchecked": (
        "the bundle does not have what was rejected",
        "el paquete no tiene lo que se rechazó",
    ),
    "rejected.holds": (
        "the records, which nobody signed, are those that the documents give: {count:,}",
        "los rechazos, que nadie firmó, son los que resultan de los documentos: {count:,}",
    ),
    "rejected.lines": ("{file} is not what the messages say", "{file} no es lo que dicen los mensajes"),
    "rejected.unreadable": (
        "record {offset:,} lacks what every record has",
        "al registro {offset:,} le falta lo que tiene todo registro",
    ),
    "rejected.misnamed": (
        "record {offset:,} ({code}, {row} of document {sha256}) has not the id of what it says",
        "el registro {offset:,} ({code}, {row} del documento {sha256}) no lleva el identificador de lo que dice",
    ),
    "rejected.differs": (
        "record {offset:,} ({code}, {row} of document {sha256}) is not what the document gives",
        "el registro {offset:,} ({code}, {row} del documento {sha256}) no es lo que da el documento",
    ),
    "rejected.missing": (
        "{code}, {row} of document {sha256}: rejected when it is parsed, and there is no record",
        "{code}, {row} del documento {sha256}: se rechaza al leerlo y no hay registro",
    ),
    "rejections.none": ("nothing", "nada"),
    "rejections.listed": ("{count:,} records, which nobody signed", "{count:,} rechazos, que nadie firmó"),
    "rejections.place": (
        "{code}: {document}, {row}: {message}",
        "{code}: {document}, {row}: {message}",
    ),
    # Totals and bulletins: `totals`, `total`
    "totals": ("totals", "totales"),
    "totals.holds": (
        "every published total is that of the log, counted again: totals {areas:,}, files {files:,}",
        "cada total publicado es el que da el registro al contarlo de nuevo: totales {areas:,}, archivos {files:,}",
    ),
    "totals.unchecked": (
        "the bundle has no published totals to compare the recount with",
        "el paquete no tiene totales publicados con que comparar el recuento",
    ),
    "totals.place": (
        "{file}, {area} at offset {offset:,}: {figure} is {stated}, and the recount has {recounted}",
        "{file}, {area} en la posición {offset:,}: {figure} es {stated}, y el recuento da {recounted}",
    ),
    "totals.nothing": (
        "{file}, {area} at offset {offset:,}: nothing was stated about it by then",
        "{file}, {area} en la posición {offset:,}: hasta ahí no se había declarado nada sobre esta área",
    ),
    "totals.strange": (
        "{file}, {area}: the log does not define the contest {contest} by then",
        "{file}, {area}: hasta ahí el registro no define la contienda {contest}",
    ),
    "totals.beyond": (
        "{file}, {area}: it is as of offset {offset:,}, and there are {size:,} messages",
        "{file}, {area}: es de la posición {offset:,}, y hay {size:,} mensajes",
    ),
    "totals.unreadable": (
        "{file} has no answer of `escrutinio show --json`: {fault}",
        "{file} no tiene ninguna respuesta de `escrutinio show --json`: {fault}",
    ),
    "bulletins": ("bulletins", "boletines"),
    "bulletins.listed": (
        "of {compared:,} bulletins, {count:,} state other figures than the sheets that were stated by then add up to",
        "de {compared:,} boletines, {count:,} declaran otras cifras que la suma de las actas declaradas hasta entonces",
    ),
    "bulletins.none": (
        "{compared:,} bulletins were compared with the sheets that were stated by then, and none differs",
        "se compararon {compared:,} boletines con las actas declaradas hasta entonces, y ninguno difiere",
    ),
    "bulletins.place": (
        "offset {offset:,}, {area} at {stated_at}, sheets of up to {sheets_at} (bulletin / sum): {words}",
        "posición {offset:,}, {area} a las {stated_at}, actas de hasta {sheets_at} (boletín / suma): {words}",
    ),
    "total.holds": (
        "Proved: {count:,} statements are on the log and add up to these figures of {area} ({contest}), as of offset "
        "{offset:,}:",
        "Probado: {count:,} actas o boletines están en el registro y suman estas cifras de {area} ({contest}), hasta "
        "la posición {offset:,}:",
    ),
    "total.signed": ("Signed by {origin} at size {size:,}.", "Firmado por {origin} con tamaño {size:,}."),
    "total.more": ("    … and {count:,} more: --json has them all", "    … y {count:,} más: con --json están todas"),
    "total.cannot": (
        "This cannot show that no other statement counts there, nor that none of these, or the contest's definition, "
        "was replaced before that offset: the whole bundle can (`export`, `check`). Voters and sheets that only the "
        "roll names are not in it.",
        "Esto no puede mostrar que no cuente ahí otra acta, ni que ninguna de estas, o la definición de la contienda, "
        "se haya reemplazado antes de esa posición: eso lo muestra el paquete entero (`export`, `check`). No incluye "
        "los electores ni las actas que solo nombra el padrón.",
    ),
    "times.none": (
        "each time is in its order, within {minutes} minutes",
        "cada hora está en su orden, con {minutes} minutos de tolerancia",
    ),
    "times.listed": (
        "{count:,} times are not in their order, beyond {minutes} minutes",
        "{count:,} horas no están en su orden, más allá de {minutes} minutos",
    ),
    "times.backwards": (
        "{log}, offset {offset:,}: {unit} is stated for {time}, after a statement for {other}",
        "{log}, posición {offset:,}: {unit} se dice con hora {time}, después de uno con hora {other}",
    ),
    "times.before_recorded": (
        "{log}, offset {offset:,}: {unit} is stated for {time}, and was recorded before, at {other}",
        "{log}, posición {offset:,}: {unit} se dice con hora {time} y se registró antes, a las {other}",
    ),
    "times.before_observed": (
        "{log}, offset {offset:,}: {unit} is stated for {time}, and its document was fetched before, at {other}",
        "{log}, posición {offset:,}: {unit} se dice con hora {time} y su documento se obtuvo antes, a las {other}",
    ),
    "times.signed_later": (
        "{log}, offset {offset:,}: {unit} was signed at {time}, and registered before, at {other}",
        "{log}, posición {offset:,}: {unit} se firmó a las {time} y se registró antes, a las {other}",
    ),
    "times.registered_later": (
        "{log}, offset {offset:,}: {unit} was registered by the office at {time}, and recorded before, at {other}",
        "{log}, posición {offset:,}: la autoridad registró {unit} a las {time}, y consta en el registro antes, a las "
        "{other}",
    ),
    "times.observed_later": (
        "{log}, offset {offset:,}: the document of {unit} was fetched at {time}, and recorded before, at {other}",
        "{log}, posición {offset:,}: el documento de {unit} se obtuvo a las {time} y se registró antes, a las {other}",
    ),
    "silences.none": (
        "none, and no gap of more than {minutes} minutes",
        "ninguno, ni pausas de más de {minutes} minutos",
    ),
    "silences.listed": (
        "{count:,} silences of the source, and gaps of more than {minutes} minutes",
        "{count:,} silencios de la fuente y pausas de más de {minutes} minutos",
    ),
    "silences.place": (
        "{contest}: silent from {begin} to {end}, {minutes:,} minutes: {reason}",
        "{contest}: en silencio de {begin} a {end}, {minutes:,} minutos: {reason}",
    ),
    "silences.open": (
        "{contest}: silent since {begin}, to the end of the log: {reason}",
        "{contest}: en silencio desde {begin} hasta el final del registro: {reason}",
    ),
    "silences.gap": (
        "{log}, offset {offset:,}: {contest}: nothing was recorded from {begin} to {end}, {minutes:,} minutes",
        "{log}, posición {offset:,}: {contest}: nada se registró de {begin} a {end}, {minutes:,} minutos",
    ),
    "tiny.none": (
        "no sheet has fewer than {votes} valid votes, or all for one option",
        "ningún acta tiene menos de {votes} votos válidos, ni todos sus votos para una sola opción",
    ),
    "tiny.listed": (
        "{count:,} sheets could betray a vote: fewer than {votes} valid votes, or all for one option",
        "{count:,} actas podrían revelar un voto: menos de {votes} votos válidos, o todos para una sola opción",
    ),
    "tiny.few": (
        "{log}, offset {offset:,}: {unit} has {valid:,} valid votes",
        "{log}, posición {offset:,}: {unit} tiene {valid:,} votos válidos",
    ),
    "tiny.alone": (
        "{log}, offset {offset:,}: all {valid:,} valid votes of {unit} are for one option",
        "{log}, posición {offset:,}: los {valid:,} votos válidos de {unit} son para una sola opción",
    ),
    "schemas.holds": (
        "the {count:,} schemas are those of the release, byte by byte",
        "los {count:,} esquemas son los de la versión publicada, byte por byte",
    ),
    "schemas.swapped": ("schema swapped: {file} is not {name}", "esquema cambiado: {file} no es {name}"),
    "schemas.unknown": (
        "schema swapped: {file} is of no schema of the release",
        "esquema cambiado: {file} no es de ningún esquema de la versión publicada",
    ),
    "schemas.missing": ("the schema {name} is missing", "falta el esquema {name}"),
    "files.none": ("none", "ninguno"),
    "files.listed": (
        "{count:,} files are not of the bundle, and nothing of them was checked",
        "{count:,} archivos no son del paquete y no se comprobó nada de ellos",
    ),
    "files.place": ("{file}", "{file}"),
    # The report on a bundle, and what no check of it can show: `report`
    "report.title": ("Check of a signed election log", "Comprobación del registro firmado de un escrutinio"),
    "report.bundle": ("Bundle", "Paquete"),
    "report.key": ("Public key", "Clave pública"),
    "report.checked": ("Checked", "Comprobado"),
    "report.with": ("with escrutinio {version}, offline", "con escrutinio {version}, sin red"),
    "report.holds": ("All that was checked holds.", "Todo lo comprobado se cumple."),
    "report.fails": ("{count} of {all} checks do not hold.", "{count} de {all} comprobaciones no se cumplen."),
    "report.unchecked": ("{count} could not be checked.", "Sin poder comprobarse: {count}."),
    "report.checks": ("What was checked", "Qué se comprobó"),
    "report.limits": ("What such a check cannot show", "Qué no puede mostrar esta comprobación"),
    "report.needs": (
        "With the program escrutinio {version}, and a public key that you have from elsewhere than the bundle:",
        "Con el programa escrutinio {version} y una clave pública que no proceda del paquete:",
    ),
    "report.repeat": ("Do not believe this page: check again", "No crea en esta página: compruebe usted mismo"),
    "limits.log": (
        "What never reached the log: a document that the office published and nobody loaded, or a sheet that the "
        "office never published.",
        "Lo que nunca llegó al registro: un documento que el organismo electoral publicó y nadie cargó, o un acta que "
        "nunca publicó.",
    ),
    "limits.partitions": (
        "Whether the log has more partitions than the bundle: their number is not signed. Ask for it.",
        "Si el registro tiene más particiones que el paquete: su número no está firmado. Pregúntelo.",
    ),
    "limits.documents": (
        "Whether the documents are those of the office: compare their SHA-256 with what the office publishes itself.",
        "Si los documentos son los del organismo electoral: compare su SHA-256 con lo que este publica.",
    ),
    "limits.votes": (
        "Whether the votes were counted rightly and written on the sheets as they were cast: only the paper shows it.",
        "Si los votos se contaron bien y se escribieron en las actas como se emitieron: solo el papel lo muestra.",
    ),
    "limits.others": (
        "What others were shown: whoever has the signing key can sign two histories. Compare your checkpoint with "
        "those that others keep (escrutinio-audit compare).",
        "Lo que se mostró a otros: quien tiene la clave de firma puede firmar dos historias. Compare su punto de "
        "control con los que otros guardan (escrutinio-audit compare).",
    ),
    "limits.clock": (
        "Whether the broker's clock was right. The order of the messages does not depend on it.",
        "Si el reloj del servidor era correcto. El orden de los mensajes no depende de él.",
    ),
}
"""English and Spanish, by code."""
