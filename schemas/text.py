"""Make every character of a text visible, for terminals, logs and JSON; ids have no invisible one at all (pure).

An id has one normal form (`normal_id`), so that two spellings of it are one id. That form is the same in every release
of Python, as long as the text has no code point that is unassigned (`schemas.unassigned`).

Invisible are control characters, ends of line, those that turn the direction of writing, those of no width, fillers,
tags, and lone surrogates: they can hide a part of a name, draw over a screen, or forge a line of a log.
"""

import re
import unicodedata

_C0 = r"\x00-\x1f"
_INVISIBLE = (
    rf"{_C0}\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff\ud800-\udfff"
)
"""Unicode's Cc, Zl, Zp and Cs, what it calls default-ignorable, and two noncharacters. They are written out: every
release of Python agrees on what is an id."""

_SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
"""Spaces of every width, those among them that do not break a line: Unicode's Zs."""
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
_HIDDEN_IN_JSON = re.compile(f"[{_INVISIBLE.removeprefix(_C0)}]")  # the line ends between its values stay


def first_invisible(text: str) -> str | None:
    """Return the first invisible character of a text, as `U+202E`; None when there is none."""
    if text.isascii() and text.isprintable():
        return None
    found = _HIDDEN.search(text)
    return None if found is None else f"U+{ord(found[0]):04X}"


def normal_id(text: str) -> str:
    """Return an id in its normal form: without outer spaces, each run of spaces as one plain space, and in NFC."""
    if text.isascii() and " " not in text:
        return text
    return unicodedata.normalize("NFC", _SPACES.sub(" ", text).strip(" "))


def visible(text: str) -> str:
    r"""Write each invisible character as Python does, `\x1b` or `\u202e`: the text is one line, and all of it is seen.

    A backslash stays one, so what is visible already stays as it is.
    """
    return _HIDDEN.sub(_as_python, text)


def visible_json(text: str) -> str:
    """Write each invisible character inside JSON as JSON does: the value stays the same."""
    return _HIDDEN_IN_JSON.sub(_as_json, text)


def _as_python(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def _as_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
