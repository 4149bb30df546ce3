"""Hold what was checked of a bundle and what came of it, for people and for programs (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from audit.bundle.words import Language, Said

Outcome = Literal["holds", "fails", "unchecked", "listed"]
SHOWN = 20
"""Places that people are shown of a check; programs get all."""


@dataclass(slots=True)
class Check:
    """What was checked. `holds`: None: it could not be checked, or it is a list, of which nothing has to hold."""

    code: str
    """What was checked: its name in words.TEXTS."""
    place: str
    """TOPIC/PARTITION; empty for what is checked of the whole bundle."""
    holds: bool | None
    said: Said
    places: list[Said] = field(default_factory=list)
    """All at which it does not hold; of a list, what is listed."""
    is_list: bool = False

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        if self.is_list:
            return "listed"
        return "unchecked" if self.holds is None else "holds" if self.holds else "fails"

    def lines(self, language: Language) -> Iterator[str]:
        """Yield what it says to people."""
        name = ": ".join(filter(None, (self.place, Said(self.code).text(language))))
        outcome = "" if self.is_list and not self.places else f"{Said(self.outcome).text(language)}: "
        yield f"{name}: {outcome}{self.said.text(language)}"
        yield from (f"    {place.text(language)}" for place in self.places[:SHOWN])
        if len(self.places) > SHOWN:
            yield f"    {Said('more', {'count': len(self.places) - SHOWN}).text(language)}"

    def facts(self) -> dict[str, Any]:
        """Return what it says to programs."""
        return {
            "check": self.code,
            "place": self.place,
            "outcome": self.outcome,
            "holds": self.holds,
            "says": {"code": self.said.code, **self.said.of, "text": self.said.text()},
            "places": [{"code": place.code, **place.of, "text": place.text()} for place in self.places],
        }


def of_places(code: str, place: str, places: Sequence[Said], **about: Any) -> Check:
    """Return the check of what has to hold everywhere: `places` has where it does not."""
    said = Said("some.fail", {"count": len(places)}) if places else Said(f"{code}.holds", about)
    return Check(code, place, not places, said, list(places))


def list_of(code: str, place: str, listed: Sequence[Said], **about: Any) -> Check:
    """Return a list of what an auditor should look at: it is no fault."""
    said = Said(f"{code}.listed" if listed else f"{code}.none", {"count": len(listed)} | about)
    return Check(code, place, None, said, list(listed), is_list=True)
