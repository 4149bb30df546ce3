"""Write what a check found for people, as text and as one HTML page, in English and in Spanish (pure).

The page needs no network, no script and no other file: it can be sent, printed and kept. An outcome is said in words,
never by a colour alone.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from audit.bundle.outcome import SHOWN, Check
from audit.bundle.words import LANGUAGES, Language, Said
from schemas.text import visible

_TEXTS = {
    "title": ("Check of a signed election log", "Comprobación del registro firmado de un escrutinio"),
    "bundle": ("Bundle", "Paquete"),
    "key": ("Public key", "Clave pública"),
    "checked": ("Checked", "Comprobado"),
    "with": ("with escrutinio {version}, offline", "con escrutinio {version}, sin red"),
    "holds": ("All that was checked holds.", "Todo lo comprobado se cumple."),
    "fails": ("{count} of {all} checks do not hold.", "{count} de {all} comprobaciones no se cumplen."),
    "unchecked": ("{count} could not be checked.", "Sin poder comprobarse: {count}."),
    "checks": ("What was checked", "Qué se comprobó"),
    "limits": ("What such a check cannot show", "Qué no puede mostrar esta comprobación"),
    "needs": (
        "With the program escrutinio {version}, and a public key that you have from elsewhere than the bundle:",
        "Con el programa escrutinio {version} y una clave pública que no proceda del paquete:",
    ),
    "repeat": ("Do not believe this page: check again", "No crea en esta página: compruebe usted mismo"),
}
LIMITS = (
    (
        "What never reached the log: a document that the office published and nobody loaded, or a sheet that the "
        "office never published.",
        "Lo que nunca llegó al registro: un documento que el organismo electoral publicó y nadie cargó, o un acta que "
        "nunca publicó.",
    ),
    (
        "Whether the log has more partitions than the bundle: their number is not signed. Ask for it.",
        "Si el registro tiene más particiones que el paquete: su número no está firmado. Pregúntelo.",
    ),
    (
        "Whether the documents are those of the office: compare their SHA-256 with what the office publishes itself.",
        "Si los documentos son los del organismo electoral: compare su SHA-256 con lo que este publica.",
    ),
    (
        "Whether the votes were counted rightly and written on the sheets as they were cast: only the paper shows it.",
        "Si los votos se contaron bien y se escribieron en las actas como se emitieron: solo el papel lo muestra.",
    ),
    (
        "What others were shown: whoever has the signing key can sign two histories. Compare your checkpoint with "
        "those that others keep (escrutinio-audit compare).",
        "Lo que se mostró a otros: quien tiene la clave de firma puede firmar dos historias. Compare su punto de "
        "control con los que otros guardan (escrutinio-audit compare).",
    ),
    (
        "Whether the broker's clock was right. The order of the messages does not depend on it.",
        "Si el reloj del servidor era correcto. El orden de los mensajes no depende de él.",
    ),
)
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
table{border-collapse:collapse;width:100%}td,th{border:1px solid #999;padding:.4rem .6rem;text-align:left;
vertical-align:top}.fails{background:#fbe3e1;font-weight:bold}code,li{overflow-wrap:anywhere}
.verdict{border:2px solid;padding:.6rem 1rem;font-size:1.2rem}
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, with what is needed to do it again."""

    bundle: str
    key: str
    """The public key, as its file has it."""
    checked_at: str
    """RFC 3339."""
    version: str
    checks: Sequence[Check]

    def verdict(self, language: Language) -> str:
        """Return the one sentence that stands above all."""
        failed, unchecked = (sum(one.outcome == of for one in self.checks) for of in ("fails", "unchecked"))
        first = _text("fails" if failed else "holds", language, count=failed, all=len(self.checks))
        return first + (" " + _text("unchecked", language, count=unchecked) if unchecked else "")

    def lines(self, language: Language) -> Iterator[str]:
        """Yield it as text."""
        for one in self.checks:
            yield from one.lines(language)
        yield self.verdict(language)
        yield f"{_text('limits', language)}:"
        yield from (f"  - {of[LANGUAGES.index(language)]}" for of in LIMITS)

    def html(self, language: Language) -> str:
        """Return it as a page."""

        def of(code: str, **figures: object) -> str:
            return _shown(_text(code, language, **figures))

        command = f"escrutinio-audit check --key log.key.pub {shlex.quote(self.bundle)}"
        rows = "\n".join(_row(one, language) for one in self.checks)
        limits = "\n".join(f"<li>{_shown(text[LANGUAGES.index(language)])}" for text in LIMITS)
        return f"""<!doctype html>
<html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{of("title")}</title><style>{_STYLE}</style>
<h1>{of("title")}</h1>
<p class="verdict">{_shown(self.verdict(language))}</p>
<p>{of("bundle")}: <code>{_shown(self.bundle)}</code><br>{of("key")}: <code>{_shown(self.key)}</code><br>
{of("checked")}: {_shown(self.checked_at)}, {of("with", version=self.version)}</p>
<h2>{of("checks")}</h2>
<table>
{rows}
</table>
<h2>{of("limits")}</h2>
<ul>
{limits}
</ul>
<h2>{of("repeat")}</h2>
<p>{of("needs", version=self.version)}</p>
<pre><code>{_shown(command)}</code></pre>
</html>
"""


def _row(check: Check, language: Language) -> str:
    name = "<br>".join(_shown(part) for part in (Said(check.code).text(language), check.place) if part)
    more = [Said("more", {"count": len(check.places) - SHOWN})] if len(check.places) > SHOWN else []
    places = "".join(f"<li>{_shown(place.text(language))}" for place in (*check.places[:SHOWN], *more))
    said = _shown(check.said.text(language)) + (f"<ul>{places}</ul>" if places else "")
    outcome = "" if check.outcome == "listed" and not places else _shown(Said(check.outcome).text(language))
    return f'<tr class="{check.outcome}"><th>{name}<td>{outcome}<td>{said}'


def _shown(text: str) -> str:
    """Return text as HTML. What is invisible in it, as a mark that turns its direction, is written out."""
    return escape(visible(text))


def _text(code: str, language: Language, **figures: object) -> str:
    return _TEXTS[code][LANGUAGES.index(language)].format(**figures)
