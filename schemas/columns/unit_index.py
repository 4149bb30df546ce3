"""Number the reporting units of a contest, and the paths of areas that they count in (pure)."""

from schemas.count_update import UnitKey
from schemas.identity import canonical


class UnitIndex:
    """The units and area paths that were met: each has a number, for as long as the index lives.

    A unit that only a refused message names has a number too. Numbers are local to one index: nothing that is published
    depends on them.
    """

    def __init__(self) -> None:
        self.keys: list[UnitKey] = []
        self.texts: list[str] = []
        """The end of each unit's canonical text."""
        self.groups: list[tuple[str, tuple[str, ...]]] = []
        """By group number: the type of the units, and the areas they count in, outermost first."""
        self._numbers: dict[UnitKey, int] = {}
        self._ends: dict[str, str] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], int] = {}

    def number(self, key: UnitKey) -> int:
        """Return the number of a unit, a new one if it has none."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.keys)
            self.keys.append(key)
            unit_type, unit_id = key
            if (end := self._ends.get(unit_type)) is None:
                end = self._ends[unit_type] = f',"unit_type":{_json(unit_type)}}}'
            self.texts.append(f'"unit_id":{_json(unit_id)}{end}')
        return number

    def find(self, key: UnitKey) -> int | None:
        """Return the number of a unit, None if it has none."""
        return self._numbers.get(key)

    def group(self, unit_type: str, areas: tuple[str, ...]) -> int:
        """Return the number of a group of units: those of one type that count in the same areas."""
        group = self._groups.setdefault((unit_type, areas), len(self.groups))
        if group == len(self.groups):
            self.groups.append((unit_type, areas))
        return group


def _json(text: str) -> str:
    return f'"{text}"' if text.isascii() and text.isalnum() else canonical(text).decode()
