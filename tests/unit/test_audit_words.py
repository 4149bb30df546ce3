"""What a check says: in both languages, with the same figures."""

import string

import pytest

from audit.bundle.words import TEXTS, Said


@pytest.mark.parametrize("code", TEXTS)
def test_both_languages_have_the_same_figures(code: str) -> None:
    english, spanish = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in TEXTS[code])
    assert english == spanish


def test_figures_and_units_have_the_words_of_the_office_in_spanish() -> None:
    place = Said("chains.place", {"offset": 7, "unit": "precinct/000658", "named": "a", "last": "b"})
    assert place.text("es") == "posición 7: mesa/000658 sigue a a, no a b"
    named = {"what": "votes.peru-libre", "unit": "country/pe", "log": "x/0", "offset": 1, "log_has": 1}
    differs = Said("statements.differs", named | {"document_has": 2, "row": "row 3", "sha256": "ab"})
    assert "país/pe: votos.peru-libre es 1" in differs.text("es")
    assert "country/pe: votes.peru-libre is 1" in differs.text()
