"""Ids have one normal form, and a sheet's row needs only the area in which the sheet stands."""

from __future__ import annotations

import pytest

from ingest.news.changes import Changes, changes_since
from ingest.news.contest_memory import ContestMemory
from schemas.text import normal_id
from schemas.types import ReportingUnitType
from tests.support.ingest_samples import kept, parse
from tests.support.small_contest import AREAS, HEADER, row, small


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Kings 1 ", "Kings 1"),
        ("\u00a0Kings\u00a0 1", "Kings 1"),
        ("Kings\u202f1", "Kings 1"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("Kings\t1", "Kings\t1"),
        ("01001", "01001"),
    ],
)
def test_an_id_has_one_normal_form(written: str, normal: str) -> None:
    assert normal_id(written) == normal == normal_id(normal)


def changes(*rows: str) -> Changes:
    """What rows in our own form bring to a contest that was not stated yet."""
    snapshots = parse(kept(HEADER + "".join(rows)), of=small())
    return changes_since(snapshots, ContestMemory(small()))


def test_ids_of_a_document_are_compared_in_their_normal_form() -> None:
    found = changes(row("Kings 1", "us/ny/broome"), row("Kings 1 ", " us / ny/broome", 110, 55, hour=22),
                    row("Kings\u00a0 1", "broome ", 111, 56, hour=23))  # fmt: skip
    assert [(event.reporting_unit.id, event.sequence) for event in found.events] == [("Kings 1", n) for n in (1, 2, 3)]
    assert not found.rejections.rows


@pytest.mark.parametrize("path", ["broome", "ny/broome", "us/ny/broome"])
def test_a_sheet_names_its_nearest_area(path: str) -> None:
    (event,) = changes(row("1", path)).events
    assert event.reporting_unit.area_path == ("us", "ny", "broome")


def test_a_nearest_area_may_have_any_id() -> None:
    contest = small(areas=AREAS + "b/1,B 1,municipality,broome\n")
    (snapshot,) = parse(kept(HEADER + row("1", "b/1")), of=contest)
    assert snapshot.statements[0].unit.area_path == ("us", "ny", "broome", "b/1")


def test_an_area_names_itself_and_the_one_it_is_in() -> None:
    of_kings = row("kings", "").replace("precinct", "county")
    for path in ("", "ny", "us/ny"):
        (event,) = changes(of_kings.replace("kings,", f"kings,{path}")).events
        assert event.reporting_unit.type == ReportingUnitType.COUNTY
        assert event.reporting_unit.area_path == ("us", "ny")


@pytest.mark.parametrize(
    ("path", "place", "says"),
    [
        ("", "row 2, column area_path", "F302 it does not say in which area precinct 1 stands"),
        ("kngs", "row 2, column area_path", "F302 the contest has no area 'kngs'"),
        ("us/ny/Broome", "row 2, column area_path", "F302 the contest has no area 'Broome'; is 'broome' meant?"),
        ("New York", "row 2, column area_path", "F302 the contest has no area 'New York'; is 'ny' meant?"),
        ("00kings", "row 2, column area_path", "F302 the contest has no area '00kings'; is 'kings' meant?"),
        ("us/ny/", "row 2, column area_path", "F302 the contest has no area ''"),
        ("us/kings", "row 2", "F302 area path us/kings of precinct/1 is unknown to the contest"),
        ("kings/broome", "row 2", "F302 area path kings/broome of precinct/1 is unknown to the contest"),
    ],
)
def test_a_sheet_whose_area_is_not_known_is_rejected(path: str, place: str, says: str) -> None:
    found = changes(row("1", path), row("2", "kings"))
    assert [event.reporting_unit.id for event in found.events] == ["2"]
    (rejection,) = found.rejections
    assert (rejection.place, str(rejection.finding)) == (place, says)
