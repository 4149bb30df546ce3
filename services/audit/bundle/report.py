"""Write what a check found for people, as text and as one HTML page, in English and in Spanish (pure).

The page needs no network, no script and no other file: it can be sent, printed and kept. An outcome is said in words,
never by a colour alone.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from audit.bundle.outcome import SHOWN, Check
from audit.bundle.words import TEXTS, Language, Said
from schemas.text import visible

LIMITS = [Said(code) for code in TEXTS if code.startswith("limits.")]
"""What such a check cannot show."""
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
        first = _said("fails" if failed else "holds", count=failed, all=len(self.checks)).text(language)
        return first + (" " + _said("unchecked", count=unchecked).text(language) if unchecked else "")

    def lines(self, language: Language) -> Iterator[str]:
        """Yield it as text."""
        for one in self.checks:
            yield from one.lines(language)
        yield self.verdict(language)
        yield f"{_said('limits').text(language)}:"
        yield from (f"  - {of.text(language)}" for of in LIMITS)

    def html(self, language: Language) -> str:
        """Return it as a page."""

        def of(code: str, **figures: object) -> str:
            return _shown(_said(code, **figures).text(language))

        command = f"escrutinio-audit check --key log.key.pub {shlex.quote(self.bundle)}"
        rows = "\n".join(_row(one, language) for one in self.checks)
        limits = "\n".join(f"<li>{_shown(text.text(language))}" for text in LIMITS)
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


def _said(code: str, **figures: object) -> Said:
    return Said(f"report.{code}", figures)
