"""The made-up country of `tests.support.nights`: its areas, named as Peru names them, and its contests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.contest import Area, ContestDefined, Selection
from schemas.identity import NIL, named
from schemas.types import ReportingUnitType

if TYPE_CHECKING:
    from tests.support.nights import Night


def definition(night: Night, number: int) -> ContestDefined:
    """The first definition of the contest of that number, from 1."""
    states = [f"{s:02d}0000" for s in range(1, night.states + 1)]
    counties = [f"{states[c % night.states][:2]}{c // night.states + 1:02d}00" for c in range(night.counties)]
    places = [f"{counties[m % night.counties][:4]}{m // night.counties + 1:02d}" for m in range(night.municipalities)]
    rows = [
        ("pe", ReportingUnitType.COUNTRY, None),
        *((s, ReportingUnitType.STATE, "pe") for s in states),
        *((c, ReportingUnitType.COUNTY, f"{c[:2]}0000") for c in counties),
        *((m, ReportingUnitType.MUNICIPALITY, f"{m[:4]}00") for m in places),
    ]
    letters = [f"{chr(97 + s % 26)}{s // 26 or ''}" for s in range(night.selections)]
    return named(
        ContestDefined(
            event_id=NIL,
            contest_id=f"pe-2021-night-{number}",
            revision=1,
            previous_event_id=None,
            name=f"Made-up contest {number}",
            election_name="Made-up night",
            election_date="2021-06-06",
            authority="ONPE",
            time_zone="America/Lima",
            effective_at=datetime(2021, 6, 6, 5, tzinfo=UTC),
            selections=tuple(
                Selection(
                    selection_id=x, candidate=f"Candidate {x}", party=f"Party {x}", ballot_order=i, external_id=None
                )
                for i, x in enumerate(letters, start=1)
            ),
            areas=tuple(Area(area_id=i, name=f"{kind.value} {i}", type=kind, parent_id=up) for i, kind, up in rows),
            count_starts_at=datetime(2021, 6, 6, 5, tzinfo=UTC),
            counting_level=night.levels[0],
            later_counting_levels=night.levels[1:],
            expected_units=night.units,
            registered_voters=night.units * 300,
            is_test=False,
        )
    )  # fmt: skip


def homes(night: Night, contest: ContestDefined) -> list[tuple[str, ...]]:
    """The area path of each sheet, in the order of their numbers: few municipalities are large, most are small."""
    places = [path for path in contest.area_paths.values() if len(path) == 4]
    return [places[len(places) * unit * unit // night.units**2] for unit in range(night.units)]
