"""Selections as tables and sentences name them."""

from __future__ import annotations

from typing import NamedTuple

from results.names import short_names


class One(NamedTuple):
    selection_id: str
    candidate: str
    party: str


def test_a_selection_is_named_by_its_party_unless_another_has_it() -> None:
    named = short_names(
        [One("a", "Ana Lee", "Green"), One("b", "Bo Hill", "Independent"), One("c", "Cy", "Independent")]
    )
    assert named == {"a": "Green", "b": "Bo Hill", "c": "Cy"}


def test_two_of_one_name_are_told_apart_too() -> None:
    named = short_names([One("a", "Jo", "Red"), One("b", "Jo", "Blue"), One("c", "Jo", "Blue"), One("d", "Di", "Blue")])
    assert named == {"a": "Red", "b": "b", "c": "c", "d": "Di"}
