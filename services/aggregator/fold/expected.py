"""Compare the tally sheets that are known with those that roll or definition expect, area by area (pure)."""

from collections.abc import Mapping

import numpy as np

from aggregator.fold.totals import Totals
from schemas.columns.layout import Layout, Numbers
from schemas.columns.roll import Roll
from schemas.contest import ContestDefined


class Expected:
    """The limits of a contest's areas, kept between two questions: they are asked for at every commit."""

    def __init__(self) -> None:
        self._of: tuple[int, int, int] | None = None
        self._areas: list[str] = []
        self._limits: Numbers = np.zeros(0, np.int64)
        self._places: Numbers = np.zeros((0, 0), np.int64)

    def exceeded(self, contest: ContestDefined, roll: Roll, totals: Totals) -> dict[str, int]:
        """Return by how many the known sheets of areas exceed their limits, without those that do not."""
        of = contest.revision, roll.revision, len(totals.places)
        if of != self._of:
            self._of = of
            self._read(contest, roll, totals)
        known = np.append(totals.vector[:, Layout(()).slots["total"]], 0)
        beyond = known[self._places].sum(axis=1) - self._limits
        return {self._areas[i]: int(beyond[i]) for i in np.flatnonzero(beyond > 0).tolist()}

    def _read(self, contest: ContestDefined, roll: Roll, totals: Totals) -> None:
        limits = limits_of(contest, roll)
        level = contest.counting_level
        types = [name for name in level if contest.is_sheet(name)] or level
        self._areas, self._limits = list(limits), np.array(list(limits.values()), np.int64)
        numbers = [[totals.find((name, area)) for name in types] for area in limits]
        self._places = np.array(
            [[-1 if number is None else number for number in row] for row in numbers], np.int64
        ).reshape(len(limits), len(types))


def limits_of(contest: ContestDefined, roll: Roll) -> Mapping[str, int]:
    """Return how many tally sheets areas have at most, by the roll, else by the definition."""
    if roll.holds:
        units = roll.units_of(contest.sheets_expected)
        return {area.area_id: units.get(area.area_id, (0, None))[0] for area in contest.areas}
    defined = {area.area_id: area.expected_units for area in contest.areas if area.expected_units is not None}
    if contest.expected_units is not None:
        defined.setdefault(contest.root.area_id, contest.expected_units)
    return {area: number for area, number in defined.items() if number is not None}
