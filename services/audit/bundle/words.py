"""Say what a check found, in English and in Spanish (pure).

A check says codes and figures; the sentences stand here once for each language, so that the report for people and the
one for programs cannot say two things.
"""

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
        return TEXTS[self.code][LANGUAGES.index(language)].format(**self.of)


TEXTS: Mapping[str, tuple[str, str]] = {
    # The names of the checks
    "signature": ("signature", "firma"),
    "tree": ("tree", "árbol"),
    "events": ("events", "eventos"),
    "ids": ("ids", "identificadores"),
    "chains": ("chains", "cadenas"),
    "events.jsonl": ("events.jsonl", "events.jsonl"),
    "documents": ("documents", "documentos"),
    # The four outcomes
    "holds": ("holds", "se cumple"),
    "fails": ("DOES NOT HOLD", "NO SE CUMPLE"),
    "unchecked": ("not checked", "no se comprobó"),
    "listed": ("to be looked at", "para revisar"),
    "more": ("and {count:,} more", "y {count:,} más"),
    # What they say
    "signature.holds": ("{name} signed {size:,} messages", "{name} firmó {size:,} mensajes"),
    "signature.fails": ("{fault}", "la firma no vale: {fault}"),
    "tree.holds": (
        "the {signed:,} messages are those that were signed, in their order; {more:,} more are not signed",
        "los {signed:,} mensajes son los que se firmaron, en su orden; otros {more:,} no están firmados",
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
        "each of the {count:,} documents that the log names is here, byte by byte",
        "cada uno de los {count:,} documentos que nombra el registro está aquí, byte por byte",
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
    # Totals and bulletins: `totals`, `total`
    "totals": ("totals", "totales"),
    "totals.holds": (
        "{areas:,} published totals in {files:,} files are those that the log gives, counted again",
        "{areas:,} totales publicados, en {files:,} archivos, son los que da el registro al contarlo de nuevo",
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
        "Probado: {count:,} actas están en el registro y suman estas cifras de {area} ({contest}), hasta la posición "
        "{offset:,}:",
    ),
    "total.signed": ("Signed by {origin} at size {size:,}.", "Firmado por {origin} con tamaño {size:,}."),
    "total.more": ("    … and {count:,} more: --json has them all", "    … y {count:,} más: con --json están todas"),
    "total.cannot": (
        "This cannot show that no other statement counts there, nor that none of these was replaced before that "
        "offset: the whole bundle can (`export`, `check`). Voters and sheets that only the roll names are not in it.",
        "Esto no puede mostrar que no cuente ahí otra acta, ni que ninguna de estas se haya reemplazado antes de esa "
        "posición: eso lo muestra el paquete entero (`export`, `check`). No incluye los electores ni las actas que "
        "solo nombra el padrón.",
    ),
}
"""English and Spanish, by code."""
