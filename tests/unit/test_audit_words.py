"""What a check says: in both languages, with the same figures."""

import string

import pytest

from audit.bundle.words import TEXTS


@pytest.mark.parametrize("code", TEXTS)
def test_both_languages_have_the_same_figures(code: str) -> None:
    english, spanish = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in TEXTS[code])
    assert english == spanish
