"""Say what is wrong with a contest's files, in words for whoever wrote them. Values only; pure.

A fault names the file, the place, what is allowed, and an example.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.types import OTHER_TYPE

MOST_FAULTS = 100
"""Faults of a file that are listed: behind them, the file is of another kind."""
TYPES = (
    "country, state, county, municipality, city, town, ward, polling-place, precinct and the other types in "
    f"docs/contest.md, or {OTHER_TYPE} and the office's own word"
)
"""What a type of an area or unit may be, in words."""
_MOST_COMPARED = 3_000
"""Known words among which a similar one is looked for: that takes some milliseconds a thousand."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is missing, not allowed or contradictory.

    `refuses`: with it, the contest cannot be defined. Otherwise it is odd, and may be meant.
    """

    file: str
    place: str
    """Line, or row and column; empty for the whole file."""
    message: str
    allowed: str
    example: str
    refuses: bool = True

    def __str__(self) -> str:
        where = f"{self.file}, {self.place}" if self.place else self.file
        stop = "" if self.message.endswith("?") else "."
        return f"{where}: {self.message}{stop} Allowed: {self.allowed}. Example: {self.example}"


def meant(word: str, known: Iterable[str]) -> str:
    """Return `; is 'precinct' meant?` for a word that is nearly a known one, else nothing."""
    if (near := nearest(word, known)) is None:
        return ""
    return f"; is {near!r} meant?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that another one was most likely meant to be; None when none is near."""
    choices = list(map(str, known))
    folded = {_folded(choice): choice for choice in choices}
    if (same := folded.get(_folded(word))) is not None:
        return same
    if len(choices) > _MOST_COMPARED or len(word) > 200:
        return None
    near = difflib.get_close_matches(_folded(word), folded, n=1, cutoff=0.75)
    return folded[near[0]] if near else None


def listed(names: Sequence[str], most: int = 12) -> str:
    """List names with "and" before the last; of a long list, the first."""
    shown = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _folded(word: str) -> str:
    """Return a word as people compare it: without case, outer spaces, leading zeros; `-`, `_` and a space are one."""
    return word.strip().casefold().replace("_", "-").replace(" ", "-").lstrip("0")
